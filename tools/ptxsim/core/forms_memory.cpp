// Loads and stores of every space, type and vector length.
#include "tools/ptxsim/core/forms_async.h"

#include "tools/ptxsim/core/access.h"
#include "tools/ptxsim/core/global_races.h"
#include "tools/ptxsim/core/lane_races.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {

Strength strengthOf(const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "acq_rel") || L::has(i, "sc"))
    return kAcquireRelease;
  if (L::has(i, "acquire"))
    return kAcquire;
  if (L::has(i, "release"))
    return kRelease;
  return L::has(i, "volatile") || L::has(i, "relaxed") || L::has(i, "mmio") ? kRelaxed : kWeak;
}

bool setSpace(Lowering &l, const Instruction &i, Op &op) {
  constexpr std::pair<std::string_view, Space> kSpaces[] = {
      {"global", Space::kGlobal},      {"shared", Space::kShared},
      {"shared::cta", Space::kShared}, {"shared::cluster", Space::kShared},
      {"const", Space::kConst},        {"local", Space::kLocal},
      {"param", Space::kParam},        {"param::entry", Space::kParam},
      {"param::func", Space::kLocal},
  };
  op.generic = true;
  for (const auto &[name, space] : kSpaces)
    if (Lowering::has(i, name)) {
      op.space = space;
      op.generic = false;
    }
  return !(op.generic && Lowering::has(i, "surface")) || l.refuse("an unknown space");
}

bool knownQualifiers(Lowering &l, const Instruction &i,
                     std::initializer_list<std::string_view> more) {
  constexpr std::string_view kKnown[] = {"global",      "shared",  "shared::cta", "shared::cluster",
                                         "const",       "local",   "param",       "param::entry",
                                         "param::func", "weak",    "volatile",    "relaxed",
                                         "acquire",     "release", "acq_rel",     "mmio",
                                         "cta",         "cluster", "gpu",         "sys",
                                         "ca",          "cg",      "cs",          "lu",
                                         "cv",          "wb",      "wt",          "nc",
                                         "v2",          "v4",      "v8",          "unified"};
  for (size_t n = 1; n < i.parts.size(); ++n) {
    std::string_view part = i.parts[n];
    if (part.starts_with("L1::") || part.starts_with("L2::") ||
        ptx::typeFromName(part) != Type::kNone ||
        std::find(std::begin(kKnown), std::end(kKnown), part) != std::end(kKnown) ||
        std::find(more.begin(), more.end(), part) != more.end())
      continue;
    return l.refuse("the qualifier '." + std::string(part) + "' is not executed");
  }
  return true;
}

void writesShared(Lowering &l, const Op &op, uint32_t bytes) {
  if (op.generic || op.space == Space::kShared)
    l.code().sharedGranularity = std::min(l.code().sharedGranularity, bytes);
  if (op.generic || op.space == Space::kGlobal)
    l.code().globalGranularity = std::min(l.code().globalGranularity, bytes);
}

/// A strong access may be a spin: it counts as so many instructions of the warp's turn.
constexpr int64_t kSpinCost = 200;

/// The same through words of global memory, between clusters (global_races.h).
static void synchroniseGlobal(Warp &warp, const Op &op, uint32_t mask,
                              const uint64_t (&address)[32], bool releases, bool reads,
                              bool writes) {
  Cluster &cluster = *warp.block->cluster;
  for (uint32_t l = 0; l < 32; ++l) {
    bool isGlobal = op.generic ? (address[l] & kWindowMask) == 0 : op.space == Space::kGlobal;
    if (mask & 1u << l && isGlobal)
      cluster.state->globalRaces->synchronise(cluster, address[l], reads, writes,
                                              releases ? cluster.globalTime : warp.globalRelease);
  }
  if (writes && releases)
    ++cluster.globalTime;
}

void synchronise(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32],
                 Strength strength, bool reads, bool writes) {
  bool releases = strength == kRelease || strength == kAcquireRelease;
  warp.budget = std::max<int64_t>(1, warp.budget - kSpinCost);
  if (reads && (strength == kAcquire || strength == kAcquireRelease))
    syncLanes(warp);
  if (warp.block->cluster->state->globalRaces)
    synchroniseGlobal(warp, op, mask, address, releases, reads, writes);
  for (uint32_t l = 0; l < 32; ++l) {
    bool isShared =
        op.generic ? (address[l] & kWindowMask) == kSharedWindow : op.space == Space::kShared;
    if (!(mask & 1u << l) || !isShared)
      continue;
    uint32_t offset = 0;
    Clock &location = sharedBlock(warp, address[l], 1, l, offset).locations[offset];
    if (reads && (strength == kAcquire || strength == kAcquireRelease)) {
      warp.clock.merge(location);
    } else if (reads) {
      warp.acquired.merge(location);
      warp.hasAcquired = true;
    }
    if (writes)
      location.merge(releases ? warp.clock : warp.release);
  }
  if (writes && releases)
    tick(warp);
}

namespace {

/// How wide memory (M, extended by its sign) and register lanes (L) are; halfRegister: 16 bits.
template <class M, class L> L extend(M value, bool halfRegister) {
  L lane = static_cast<L>(static_cast<std::make_signed_t<L>>(value));
  if constexpr (std::is_unsigned_v<M>)
    lane = static_cast<L>(value);
  return halfRegister ? lane & 0xFFFF : lane;
}

int accessOf(const Op &op, int access) { return op.atomic ? access | kAtomic : access; }

/// Whether all lanes mean the same bytes: each has local memory of its own.
bool allEqual(const Op &op, const uint64_t (&address)[32]) {
  if (op.generic ? (address[0] & kWindowMask) == kLocalWindow : op.space == Space::kLocal)
    return false;
  uint64_t different = 0;
  for (int l = 1; l < 32; ++l)
    different |= address[l] ^ address[0];
  return different == 0;
}

template <class M, class L>
void scatter(Warp &warp, const Op &op, uint32_t mask, const uint8_t *const (&host)[32]) {
  const uint32_t *list = warp.block->cluster->state->code->lists.data() + op.list;
  for (uint32_t e = 0; e < op.count; ++e) {
    L *target = warp.lanes<L>(list[e]);
    for (uint32_t l = 0; l < 32; ++l)
      if (mask & 1u << l) {
        const uint8_t *from = host[l] + e * sizeof(M);
        M value;
        if (op.atomic) // blocks on other host threads may write it
          value = __atomic_load_n(reinterpret_cast<const M *>(from), __ATOMIC_ACQUIRE);
        else
          std::memcpy(&value, from, sizeof(M));
        target[l] = extend<M, L>(value, op.variant2 != 0);
      }
  }
}

/// 32 lanes from consecutive places (stride: bytes between lanes; 0: all read the same).
template <class M, class L, uint32_t kCount>
void gatherBlock(Warp &warp, const Op &op, const uint8_t *from, uint32_t stride) {
  const uint32_t *list = warp.block->cluster->state->code->lists.data() + op.list;
  for (uint32_t e = 0; e < kCount; ++e) {
    L *target = warp.lanes<L>(list[e]);
    if (stride == 0) {
      M value;
      std::memcpy(&value, from + e * sizeof(M), sizeof(M));
      L lane = extend<M, L>(value, op.variant2 != 0);
      for (int l = 0; l < 32; ++l)
        target[l] = lane;
    } else if constexpr (kCount == 1 && sizeof(M) == sizeof(L)) {
      std::memcpy(target, from, 32 * sizeof(L));
    } else {
      for (size_t l = 0; l < 32; ++l) {
        M value;
        std::memcpy(&value, from + (l * kCount + e) * sizeof(M), sizeof(M));
        target[l] = extend<M, L>(value, op.variant2 != 0);
      }
    }
  }
}

template <class M, class L, uint32_t kCount> void runLoad(Warp &warp, const Op &op, uint32_t mask) {
  alignas(64) uint64_t address[32];
  addresses(warp, op, 1, address);
  uint8_t *host[32];
  int access = accessOf(op, kRead);
  if (mask == ~0u && !op.atomic) {
    constexpr uint32_t kBytes = sizeof(M) * kCount;
    if (allEqual(op, address)) {
      resolve(warp, op, checksLanes(*warp.block) ? mask : 1, address, kBytes, access, host);
      gatherBlock<M, L, kCount>(warp, op, host[0], 0);
    } else if (const uint8_t *p = resolveBlock(warp, op, address, kBytes, access)) {
      gatherBlock<M, L, kCount>(warp, op, p, kBytes);
    } else {
      resolve(warp, op, mask, address, kBytes, access, host);
      scatter<M, L>(warp, op, mask, host);
    }
  } else {
    resolve(warp, op, mask, address, sizeof(M) * kCount, access, host);
    scatter<M, L>(warp, op, mask, host);
  }
  if (op.atomic)
    synchronise(warp, op, mask, address, static_cast<Strength>(op.variant), true, false);
}

template <class M, class L, uint32_t kCount>
void runStore(Warp &warp, const Op &op, uint32_t mask) {
  alignas(64) uint64_t address[32];
  addresses(warp, op, 1, address);
  const uint32_t *list = warp.block->cluster->state->code->lists.data() + op.list;
  constexpr uint32_t kBytes = sizeof(M) * kCount;
  int access = accessOf(op, kWrite);
  if (op.atomic)
    synchronise(warp, op, mask, address, static_cast<Strength>(op.variant), false, true);
  uint8_t *block =
      mask == ~0u && !op.atomic ? resolveBlock(warp, op, address, kBytes, access) : nullptr;
  if (block) {
    for (uint32_t e = 0; e < kCount; ++e) {
      const L *source = warp.lanes<L>(list[e]);
      if constexpr (kCount == 1 && sizeof(M) == sizeof(L)) {
        std::memcpy(block, source, 32 * sizeof(L));
      } else {
        for (size_t l = 0; l < 32; ++l) {
          M value = static_cast<M>(source[l]);
          std::memcpy(block + (l * kCount + e) * sizeof(M), &value, sizeof(M));
        }
      }
    }
    return;
  }
  uint8_t *host[32];
  resolve(warp, op, mask, address, kBytes, access, host);
  for (uint32_t e = 0; e < kCount; ++e) {
    const L *source = warp.lanes<L>(list[e]);
    for (uint32_t l = 0; l < 32; ++l)
      if (mask & 1u << l) {
        M value = static_cast<M>(source[l]);
        uint8_t *to = host[l] + e * sizeof(M);
        if (op.atomic)
          __atomic_store_n(reinterpret_cast<M *>(to), value, __ATOMIC_RELEASE);
        else
          std::memcpy(to, &value, sizeof(M));
      }
  }
}

template <class M, class L> Handler transferOf(bool loads, size_t count) {
  switch (count) {
  case 1:
    return loads ? &runLoad<M, L, 1> : &runStore<M, L, 1>;
  case 2:
    return loads ? &runLoad<M, L, 2> : &runStore<M, L, 2>;
  case 4:
    return loads ? &runLoad<M, L, 4> : &runStore<M, L, 4>;
  case 8:
    return loads ? &runLoad<M, L, 8> : &runStore<M, L, 8>;
  default:
    return nullptr;
  }
}

Handler transferOf(Type type, bool wide, bool loads, size_t count) {
  bool isSigned = loads && ptx::isSigned(type);
  switch (ptx::bitsOf(type)) {
  case 8:
    if (isSigned)
      return wide ? transferOf<int8_t, uint64_t>(loads, count)
                  : transferOf<int8_t, uint32_t>(loads, count);
    return wide ? transferOf<uint8_t, uint64_t>(loads, count)
                : transferOf<uint8_t, uint32_t>(loads, count);
  case 16:
    if (isSigned)
      return wide ? transferOf<int16_t, uint64_t>(loads, count)
                  : transferOf<int16_t, uint32_t>(loads, count);
    return wide ? transferOf<uint16_t, uint64_t>(loads, count)
                : transferOf<uint16_t, uint32_t>(loads, count);
  case 32:
    if (isSigned && wide)
      return transferOf<int32_t, uint64_t>(loads, count);
    return wide ? transferOf<uint32_t, uint64_t>(loads, count)
                : transferOf<uint32_t, uint32_t>(loads, count);
  case 64:
    return wide ? transferOf<uint64_t, uint64_t>(loads, count) : nullptr;
  default:
    return nullptr;
  }
}

/// The slots of the vector's elements; `wide`: all have 64 bits, `half`: one has 16.
bool transferSlots(Lowering &l, std::span<const Operand> elements, Type type, bool loads,
                   std::vector<uint32_t> &offsets, bool &wide, bool &half) {
  bool first = true;
  for (const Operand &element : elements) {
    Place place;
    bool isName = element.kind == Operand::Kind::kName && element.name != "_";
    // The register's own width counts: loads extend, stores truncate.
    if (isName  ? !l.destination(element, place)
        : loads ? !l.destination(element, place, wide)
                : !l.source(element, wide, place, type))
      return false;
    if (place.isPredicate || (!first && isName && place.wide != wide) ||
        (isName && place.bits < ptx::bitsOf(type)))
      return l.refuse("a register does not fit the type");
    if (isName) {
      if (first)
        wide = place.wide;
      half |= place.bits == 16;
      first = false;
    }
    offsets.push_back(place.offset);
  }
  return true;
}

bool lowerTransfer(Lowering &l, const Instruction &i, bool loads) {
  if (!knownQualifiers(l, i, {}) || !l.operands(i, 2, 3))
    return false;
  Type type = Lowering::type(i);
  if (type == Type::kNone)
    return l.refuse("loads and stores of this type are not executed");
  const Operand &data = i.operands[loads ? 0 : 1], &memory = i.operands[loads ? 1 : 0];
  std::span<const Operand> elements(&data, 1);
  if (data.kind == Operand::Kind::kVector)
    elements = data.elements;
  size_t written = Lowering::has(i, "v2")   ? 2
                   : Lowering::has(i, "v4") ? 4
                   : Lowering::has(i, "v8") ? 8
                                            : 1;
  if (elements.size() != written)
    return l.refuse("the vector has " + std::to_string(elements.size()) + " elements");
  std::vector<uint32_t> offsets;
  bool wide = ptx::bitsOf(type) >= 64, half = false;
  if (type == Type::kB128) { // two halves, as a vector of 64-bit words
    uint32_t halves[2];
    if (written != 1 || data.kind == Operand::Kind::kVector)
      return l.refuse("vectors of 128-bit elements are not executed");
    if (!l.quad(data, halves, loads))
      return false;
    offsets.assign(halves, halves + 2);
    type = Type::kB64;
  } else if (!transferSlots(l, elements, type, loads, offsets, wide, half)) {
    return false;
  }
  Handler handler = transferOf(type, wide, loads, offsets.size());
  if (!handler)
    return l.refuse("a register does not fit the type");
  Op &op = l.emit(handler);
  Strength strength = strengthOf(i);
  op.atomic = strength != kWeak;
  op.variant = strength;
  op.variant2 = half;
  op.bytes = static_cast<uint8_t>(ptx::bitsOf(type) / 8);
  op.list = static_cast<uint32_t>(l.code().lists.size());
  op.count = static_cast<uint32_t>(offsets.size());
  l.code().lists.insert(l.code().lists.end(), offsets.begin(), offsets.end());
  if (!setSpace(l, i, op) || !l.address(memory, op, 1))
    return false;
  if (!loads)
    writesShared(l, op, op.bytes);
  return true;
}

bool lowerLoad(Lowering &l, const Instruction &i) { return lowerTransfer(l, i, true); }
bool lowerStore(Lowering &l, const Instruction &i) {
  if (Lowering::has(i, "async"))
    return lowerStoreAsync(l, i);
  return lowerTransfer(l, i, false);
}

void runHint(Warp &, const Op &, uint32_t) {}
bool lowerHint(Lowering &l, const Instruction &) {
  l.emit(&runHint);
  return true;
}

void runPolicy(Warp &warp, const Op &op, uint32_t mask) {
  auto *target = warp.lanes<uint64_t>(op.r[0]);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      target[l] = 0;
}
bool lowerPolicy(Lowering &l, const Instruction &i) {
  Place target;
  if (!l.operands(i, 1, 4) || !l.destination(i.operands[0], target, true))
    return false;
  if (!target.wide)
    return l.refuse("a cache policy has 64 bits");
  l.emit(&runPolicy).r[0] = target.offset;
  return true;
}

constexpr Form kForms[] = {
    {"ld", &lowerLoad, Pipe::kLsu},
    {"ldu", &lowerLoad, Pipe::kLsu},
    {"st", &lowerStore, Pipe::kLsu},
    {"atom", &lowerAtomic, Pipe::kLsu},
    {"red", &lowerAtomic, Pipe::kLsu},
    {"prefetch", &lowerHint, Pipe::kLsu},
    {"prefetchu", &lowerHint, Pipe::kLsu},
    {"applypriority", &lowerHint, Pipe::kLsu},
    {"createpolicy", &lowerPolicy, Pipe::kAlu},
    {"cvta", &lowerCvta, Pipe::kAlu},
    {"isspacep", &lowerIsSpace, Pipe::kAlu},
    {"mapa", &lowerMapa, Pipe::kAlu},
    {"getctarank", &lowerRank, Pipe::kAlu},
};

} // namespace

std::span<const Form> memoryForms() { return kForms; }

} // namespace platen::ptxsim
