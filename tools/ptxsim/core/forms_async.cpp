// cp.async: copies of 4, 8 or 16 bytes a lane, by groups; and the table of all asynchronous forms.
#include "tools/ptxsim/core/forms_async.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {

bool Arguments::address(const Operand &operand) {
  if (operand.kind != Operand::Kind::kAddress || operand.elements.empty())
    return lowering_.refuse("an address in brackets is needed");
  Op op; // a stand-in: address() fills in slot and offset
  if (!lowering_.address(operand, op, 1))
    return false;
  list_.push_back({op.r[1], op.wideAddress, op.immediate});
  return true;
}

bool Arguments::value(const Operand &operand, bool wide) {
  Place place;
  if (!lowering_.source(operand, wide, place))
    return false;
  list_.push_back({place.offset, place.wide, 0});
  return true;
}

void Arguments::put(Op &op) const {
  std::vector<uint32_t> &lists = lowering_.code().lists;
  op.list = static_cast<uint32_t>(lists.size());
  op.count = static_cast<uint32_t>(list_.size());
  for (const Argument &a : list_) {
    auto bits = static_cast<uint64_t>(a.offset);
    lists.insert(lists.end(),
                 {a.slot, a.wide, static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)});
  }
}

Argument argument(Warp &warp, const Op &op, uint32_t number) {
  const uint32_t *at = warp.block->cluster->state->code->lists.data() + op.list + 4 * number;
  return {at[0], at[1], static_cast<int64_t>(uint64_t{at[3]} << 32 | at[2])};
}

namespace {

enum : uint8_t { kHasSize = 1, kHasIgnore = 2, kNegated = 4 };

/// r[2]: source size, r[3]: the ignore-src predicate; arguments: target, source.
void runCopy(Warp &warp, const Op &op, uint32_t mask) {
  Argument target = argument(warp, op, 0), source = argument(warp, op, 1);
  Copy copy;
  copy.op = &op;
  copy.lanes = mask;
  copy.bytes = op.bytes;
  uint32_t ignored =
      op.variant & kHasIgnore ? warp.predicate(op.r[3]) ^ (op.variant & kNegated ? ~0u : 0) : 0;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t to = target.at(warp, l);
    copy.source[l] = source.at(warp, l);
    copy.sourceBytes[l] = op.variant & kHasSize ? warp.lanes<uint32_t>(op.r[2])[l] : op.bytes;
    if (copy.sourceBytes[l] > op.bytes)
      stop(ViolationKind::kIllegalInstruction,
           "cp.async of " + std::to_string(op.bytes) + " bytes takes " +
               std::to_string(copy.sourceBytes[l]) + " bytes of its source",
           l);
    if (ignored & 1u << l)
      copy.sourceBytes[l] = 0;
    Block &block = sharedBlock(warp, to, op.bytes, l, copy.target[l]);
    if (&block != warp.block || copy.target[l] % op.bytes != 0 || copy.source[l] % op.bytes != 0)
      stop(&block != warp.block ? ViolationKind::kIllegalInstruction : ViolationKind::kMisaligned,
           "cp.async from " + hexOf(copy.source[l]) + " to shared address " +
               hexOf(copy.target[l]) + ": both are multiples of " + std::to_string(op.bytes) +
               " in the own block",
           l, copy.source[l]);
    if (copy.sourceBytes[l] != 0)
      resolveGlobal(warp, copy.source[l], copy.sourceBytes[l], kRead | kUnchecked, l, 1);
  }
  issueCopy(warp, copy);
}

bool lowerCopy(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (!l.operands(i, 3, 5) || i.operands[2].kind != Operand::Kind::kInteger)
    return l.refuse("cp.async needs [target], [source], size");
  uint64_t bytes = i.operands[2].bits;
  if (!(bytes == 16 || (L::has(i, "ca") && (bytes == 4 || bytes == 8))))
    return l.refuse("cp.async copies 16 bytes, .ca also 4 or 8");
  Arguments arguments(l);
  if (!arguments.address(i.operands[0]) || !arguments.address(i.operands[1]))
    return false;
  uint8_t variant = 0;
  uint32_t slots[2] = {};
  for (size_t n = 3; n < i.operands.size(); ++n) {
    Place place;
    bool negated = false;
    const Operand &operand = i.operands[n];
    if (L::has(i, "L2::cache_hint") && n + 1 == i.operands.size())
      break; // the cache policy
    if (l.isPredicate(operand)) {
      if (!l.predicate(operand, slots[1], negated))
        return false;
      variant |= static_cast<uint8_t>(kHasIgnore | (negated ? kNegated : 0));
    } else {
      if (!l.source(operand, false, place))
        return false;
      slots[0] = place.offset;
      variant |= kHasSize;
    }
  }
  Op &op = l.emit(&runCopy);
  op.bytes = static_cast<uint8_t>(bytes);
  op.variant = variant;
  op.r[2] = slots[0], op.r[3] = slots[1];
  arguments.put(op);
  return true;
}

void runCommit(Warp &warp, const Op &, uint32_t mask) { commitGroup(warp, Track::kCopy, mask); }
void runWait(Warp &warp, const Op &op, uint32_t mask) {
  performCopies(warp, mask, static_cast<uint32_t>(op.immediate), op.variant != 0);
}

/// The executing thread's copies so far, then an arrival at the mbarrier.
void runCopyArrive(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    Block *block = nullptr;
    uint32_t offset = 0;
    mbarrierAt(warp, argument(warp, op, 0).at(warp, l), l, block, offset);
    // Without .noinc the pending count grows by one first, so that the arrival changes nothing.
    bool grows = op.variant == 0;
    if (grows)
      addPending(*block, offset, 1);
    Pending pending;
    pending.lane = l;
    pending.mbarrierBlock = block;
    pending.mbarrier = offset;
    pending.perform = [&warp, l, block, offset](const Pending &) {
      performCopies(warp, 1u << l, 0, true);
      Clock clock = warp.clock;
      arriveOn(*block, offset, 1, clock);
      tick(warp);
    };
    issue(warp, op, std::move(pending));
  }
}

bool lowerCopyGroup(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "commit_group")) {
    l.emit(&runCommit);
    return l.operands(i, 0, 0);
  }
  if (L::has(i, "mbarrier")) {
    Arguments arguments(l);
    if (!l.operands(i, 1, 1) || !arguments.address(i.operands[0]))
      return false;
    Op &op = l.emit(&runCopyArrive);
    op.variant = L::has(i, "noinc");
    arguments.put(op);
    return true;
  }
  bool all = L::has(i, "wait_all");
  if (!l.operands(i, all ? 0 : 1, all ? 0 : 1) ||
      (!all && i.operands[0].kind != Operand::Kind::kInteger))
    return l.refuse("cp.async.wait_group needs a number");
  Op &op = l.emit(&runWait);
  op.variant = all;
  op.immediate = all ? 0 : static_cast<int64_t>(i.operands[0].bits);
  return true;
}

bool lowerCp(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "tensor"))
    return lowerTensor(l, i);
  if (L::has(i, "bulk"))
    return lowerBulk(l, i);
  if (i.parts.size() < 2 || i.parts[1] != "async")
    return l.refuse("an unknown kind of cp");
  if (L::has(i, "commit_group") || L::has(i, "wait_group") || L::has(i, "wait_all") ||
      L::has(i, "mbarrier"))
    return lowerCopyGroup(l, i);
  return lowerCopy(l, i);
}

constexpr Form kForms[] = {
    {"cp", &lowerCp, Pipe::kAsync},
    {"mbarrier", &lowerMbarrier, Pipe::kAsync},
    {"tensormap", &lowerTensormap, Pipe::kAsync},
};

} // namespace

std::span<const Form> asyncForms() { return kForms; }

} // namespace platen::ptxsim
