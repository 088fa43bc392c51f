// cp.async.bulk and cp.reduce.async.bulk without tensors, bulk groups, st.async and red.async.
#include "tools/ptxsim/core/forms_async.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

enum : uint8_t { kMulticast = 1, kReadOnly = 2, kByteMask = 4 };

void checkBulk(uint64_t a, uint64_t b, uint64_t bytes, uint32_t lane) {
  if (bytes % 16 != 0)
    stop(ViolationKind::kIllegalInstruction,
         "a bulk copy of " + std::to_string(bytes) + " bytes: a multiple of 16 is needed", lane);
  if ((a & 15) != 0 || (b & 15) != 0)
    stop(ViolationKind::kMisaligned,
         "a bulk copy between " + hexOf(a) + " and " + hexOf(b) + ": multiples of 16 are needed",
         lane, a & 15 ? a : b);
}

/// Arguments: target, source, bytes, mbarrier[, blocks].
void runLoadBulk(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t to = argument(warp, op, 0).at(warp, l), from = argument(warp, op, 1).at(warp, l);
    auto bytes = static_cast<uint32_t>(argument(warp, op, 2).at(warp, l));
    uint64_t barrier = argument(warp, op, 3).at(warp, l);
    checkBulk(to & 0xFFFFFF, from, bytes, l);
    uint32_t offset = 0, barrierOffset = 0;
    Block *target = &sharedBlock(warp, to, bytes, l, offset), *signals = nullptr;
    mbarrierAt(warp, barrier, l, signals, barrierOffset);
    if (bytes != 0)
      resolveGlobal(warp, from, bytes, kRead | kUnchecked, l, 16);
    uint32_t blocks = 1u << target->rank;
    if (op.variant & kMulticast)
      blocks = static_cast<uint32_t>(argument(warp, op, 4).at(warp, l)) & 0xFFFF;
    Cluster &cluster = *warp.block->cluster;
    if (blocks >> cluster.blocks.size())
      stop(ViolationKind::kIllegalInstruction, "a multicast to blocks outside the cluster", l);
    for (uint32_t b = 0; b < cluster.blocks.size(); ++b) {
      if (!(blocks & 1u << b))
        continue;
      Block *receiver = op.variant & kMulticast ? &cluster.blocks[b] : target;
      Pending pending;
      pending.lane = l;
      pending.mbarrierBlock = op.variant & kMulticast ? receiver : signals;
      pending.mbarrier = barrierOffset;
      pending.ranges.push_back({receiver, offset, bytes, true});
      pending.perform = [&warp, receiver, offset, from, bytes, l](const Pending &p) {
        if (bytes != 0)
          std::memcpy(receiver->shared.data() + offset,
                      resolveGlobal(warp, from, bytes, kRead, l, 16), bytes);
        completeTx(*p.mbarrierBlock, p.mbarrier, bytes, pendingClock(p));
      };
      issue(warp, op, std::move(pending));
    }
  }
}

/// From the own block's shared memory to another block's. variant2: the reduced type, if any.
void runToBlock(Warp &warp, const Op &op, uint32_t mask) {
  auto reducer = reinterpret_cast<Reducer>(op.immediate);
  uint32_t step = op.bytes;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t to = argument(warp, op, 0).at(warp, l), from = argument(warp, op, 1).at(warp, l);
    auto bytes = static_cast<uint32_t>(argument(warp, op, 2).at(warp, l));
    checkBulk(to & 0xFFFFFF, from & 0xFFFFFF, bytes, l);
    uint32_t offset = 0, source = 0, barrier = 0;
    Block *target = &sharedBlock(warp, to, bytes, l, offset), *signals = nullptr;
    Block *own = &sharedBlock(warp, from, bytes, l, source);
    mbarrierAt(warp, argument(warp, op, 3).at(warp, l), l, signals, barrier);
    Pending pending;
    pending.lane = l;
    pending.mbarrierBlock = signals;
    pending.mbarrier = barrier;
    pending.ranges.push_back({own, source, bytes, false});
    // A reduction leaves its target readable: only a plain copy poisons it.
    if (!reducer)
      pending.ranges.push_back({target, offset, bytes, true});
    pending.perform = [=](const Pending &p) {
      uint8_t *out = target->shared.data() + offset;
      const uint8_t *in = own->shared.data() + source;
      if (!reducer)
        std::memmove(out, in, bytes);
      else
        for (uint32_t at = 0; at + step <= bytes; at += step)
          reducer(out + at, in + at);
      completeTx(*p.mbarrierBlock, p.mbarrier, bytes, pendingClock(p));
    };
    issue(warp, op, std::move(pending));
  }
}

/// From shared to global memory, by bulk groups. Arguments: target, source, bytes[, byte mask].
void runStoreBulk(Warp &warp, const Op &op, uint32_t mask) {
  auto reducer = reinterpret_cast<Reducer>(op.immediate);
  uint32_t step = op.bytes;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t to = argument(warp, op, 0).at(warp, l), from = argument(warp, op, 1).at(warp, l);
    auto bytes = static_cast<uint32_t>(argument(warp, op, 2).at(warp, l));
    checkBulk(to, from & 0xFFFFFF, bytes, l);
    uint32_t source = 0;
    Block *own = &sharedBlock(warp, from, bytes, l, source);
    if (bytes != 0)
      resolveGlobal(warp, to, bytes, kWrite | kUnchecked, l, 16);
    uint32_t byteMask =
        op.variant & kByteMask ? static_cast<uint32_t>(argument(warp, op, 3).at(warp, l)) : 0xFFFF;
    auto buffer = std::make_shared<std::vector<uint8_t>>();
    auto read = [=] {
      buffer->assign(own->shared.data() + source, own->shared.data() + source + bytes);
    };
    Pending pending;
    pending.track = Track::kBulk;
    pending.lane = l;
    pending.ranges.push_back({own, source, bytes, false});
    pending.readSources = read;
    pending.perform = [=, &warp](const Pending &p) {
      if (!p.sourcesRead)
        read();
      if (bytes == 0)
        return;
      uint8_t *out =
          resolveGlobal(warp, to, bytes, reducer ? kRead | kWrite | kAtomic : kWrite, l, 16);
      for (uint32_t at = 0; at < bytes; at += reducer ? step : 1)
        if (reducer)
          reducer(out + at, buffer->data() + at);
        else if (byteMask >> at % 16 & 1)
          out[at] = (*buffer)[at];
    };
    issue(warp, op, std::move(pending));
  }
}

void runCommit(Warp &warp, const Op &, uint32_t mask) { commitGroup(warp, Track::kBulk, mask); }
void runWait(Warp &warp, const Op &op, uint32_t mask) {
  waitGroups(warp, Track::kBulk, mask, static_cast<uint32_t>(op.immediate), op.variant != 0);
}
void runNothing(Warp &, const Op &, uint32_t) {}

bool lowerGroup(Lowering &l, const Instruction &i) {
  if (Lowering::has(i, "commit_group")) {
    l.emit(&runCommit);
    return l.operands(i, 0, 0);
  }
  if (!l.operands(i, 1, 1) || i.operands[0].kind != Operand::Kind::kInteger)
    return l.refuse("cp.async.bulk.wait_group needs a number");
  Op &op = l.emit(&runWait);
  op.variant = Lowering::has(i, "read");
  op.immediate = static_cast<int64_t>(i.operands[0].bits);
  return true;
}

/// The operation of a cp.reduce; false: it has one that is not executed.
bool reduction(Lowering &l, const Instruction &i, Reducer &reducer, uint32_t &step) {
  reducer = nullptr;
  if (i.parts.size() < 2 || i.parts[1] != "reduce")
    return true;
  Type type = Lowering::type(i);
  reducer = reducerOf(i, type);
  step = ptx::bitsOf(type) / 8;
  return reducer || l.refuse("this reduction is not executed for this type");
}

/// st.async, red.async. Arguments: target, mbarrier, values.
void runStoreAsync(Warp &warp, const Op &op, uint32_t mask) {
  auto reducer = reinterpret_cast<Reducer>(op.immediate);
  uint32_t step = op.bytes, bytes = step * (op.count - 2);
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint32_t offset = 0, barrier = 0;
    uint64_t to = argument(warp, op, 0).at(warp, l);
    Block *target = &sharedBlock(warp, to, bytes, l, offset), *signals = nullptr;
    mbarrierAt(warp, argument(warp, op, 1).at(warp, l), l, signals, barrier);
    if (offset % bytes != 0)
      stop(ViolationKind::kMisaligned,
           "shared address " + hexOf(offset) + " is no multiple of " + std::to_string(bytes), l,
           offset);
    std::array<uint8_t, 64> value{};
    for (uint32_t n = 0; n + 2 < op.count; ++n) {
      uint64_t bits = argument(warp, op, n + 2).at(warp, l);
      std::memcpy(value.data() + n * step, &bits, step);
    }
    Pending pending;
    pending.lane = l;
    pending.genericProxy = true;
    pending.mbarrierBlock = signals;
    pending.mbarrier = barrier;
    if (!reducer)
      pending.ranges.push_back({target, offset, bytes, true});
    pending.perform = [=](const Pending &p) {
      uint8_t *out = target->shared.data() + offset;
      if (reducer)
        reducer(out, value.data());
      else
        std::memcpy(out, value.data(), bytes);
      completeTx(*p.mbarrierBlock, p.mbarrier, bytes, pendingClock(p));
    };
    issue(warp, op, std::move(pending));
  }
}

} // namespace

bool lowerBulk(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "commit_group") || L::has(i, "wait_group"))
    return lowerGroup(l, i);
  if (L::has(i, "prefetch")) {
    l.emit(&runNothing);
    return l.operands(i, 2, 3);
  }
  Reducer reducer = nullptr;
  uint32_t step = 1;
  if (!reduction(l, i, reducer, step))
    return false;
  bool multicast = L::has(i, "multicast::cluster"), masked = L::has(i, "cp_mask");
  bool toGlobal = L::has(i, "bulk_group");
  size_t needed = (toGlobal ? 3 : 4) + (multicast ? 1 : 0);
  if (!l.operands(i, needed, needed + 2))
    return false;
  Arguments arguments(l);
  if (!arguments.address(i.operands[0]) || !arguments.address(i.operands[1]) ||
      !arguments.value(i.operands[2], false) || (!toGlobal && !arguments.address(i.operands[3])) ||
      (multicast && !arguments.value(i.operands[4], false)) ||
      (masked && !arguments.value(i.operands.back(), false)))
    return false;
  bool fromGlobal = !toGlobal && L::has(i, "global");
  Op &op = l.emit(toGlobal ? &runStoreBulk : fromGlobal ? &runLoadBulk : &runToBlock);
  op.variant = static_cast<uint8_t>((multicast ? kMulticast : 0) | (masked ? kByteMask : 0));
  op.bytes = static_cast<uint8_t>(step);
  op.immediate = reinterpret_cast<int64_t>(reducer);
  if (toGlobal && masked)
    l.code().globalGranularity = 1;
  arguments.put(op);
  return true;
}

bool lowerStoreAsync(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 3, 3))
    return l.refuse("st.async needs [target], value, [mbarrier]");
  Type type = Lowering::type(i);
  Reducer reducer = nullptr;
  if (i.parts[0] == "red" && !(reducer = reducerOf(i, type)))
    return l.refuse("this reduction is not executed for this type");
  bool wide = ptx::bitsOf(type) == 64;
  Arguments arguments(l);
  if (!arguments.address(i.operands[0]) || !arguments.address(i.operands[2]))
    return false;
  const Operand &data = i.operands[1];
  if (data.kind == Operand::Kind::kVector) {
    for (const Operand &element : data.elements)
      if (!arguments.value(element, wide))
        return false;
  } else if (!arguments.value(data, wide)) {
    return false;
  }
  uint32_t bits = ptx::bitsOf(type);
  size_t elements = Lowering::has(i, "v2") ? 2 : Lowering::has(i, "v4") ? 4 : 1;
  if ((bits != 32 && bits != 64) || arguments.size() != 2 + elements)
    return l.refuse("it takes 1, 2 or 4 elements of 32 or 64 bits");
  Op &op = l.emit(&runStoreAsync, Pipe::kAsync);
  op.bytes = static_cast<uint8_t>(ptx::bitsOf(type) / 8);
  op.immediate = reinterpret_cast<int64_t>(reducer);
  arguments.put(op);
  return true;
}

} // namespace platen::ptxsim
