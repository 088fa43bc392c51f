// Operands of instructions: registers, constants, special registers, variables, addresses.
#include "tools/ptxsim/core/lowering.h"

#include <bit>

namespace platen::ptxsim {
namespace {

struct SpecialRow {
  std::string_view name;
  Special special;
  bool wide;
};
constexpr SpecialRow kSpecials[] = {
    {"%tid.x", Special::kTidX, false},
    {"%tid.y", Special::kTidY, false},
    {"%tid.z", Special::kTidZ, false},
    {"%ntid.x", Special::kNtidX, false},
    {"%ntid.y", Special::kNtidY, false},
    {"%ntid.z", Special::kNtidZ, false},
    {"%ctaid.x", Special::kCtaidX, false},
    {"%ctaid.y", Special::kCtaidY, false},
    {"%ctaid.z", Special::kCtaidZ, false},
    {"%nctaid.x", Special::kNctaidX, false},
    {"%nctaid.y", Special::kNctaidY, false},
    {"%nctaid.z", Special::kNctaidZ, false},
    {"%laneid", Special::kLaneId, false},
    {"%warpid", Special::kWarpId, false},
    {"%nwarpid", Special::kNwarpId, false},
    {"WARP_SZ", Special::kWarpSize, false},
    {"%lanemask_eq", Special::kLaneMaskEq, false},
    {"%lanemask_lt", Special::kLaneMaskLt, false},
    {"%lanemask_le", Special::kLaneMaskLe, false},
    {"%lanemask_gt", Special::kLaneMaskGt, false},
    {"%lanemask_ge", Special::kLaneMaskGe, false},
    {"%clusterid.x", Special::kClusterIdX, false},
    {"%clusterid.y", Special::kClusterIdY, false},
    {"%clusterid.z", Special::kClusterIdZ, false},
    {"%nclusterid.x", Special::kNclusterIdX, false},
    {"%nclusterid.y", Special::kNclusterIdY, false},
    {"%nclusterid.z", Special::kNclusterIdZ, false},
    {"%cluster_ctaid.x", Special::kClusterCtaidX, false},
    {"%cluster_ctaid.y", Special::kClusterCtaidY, false},
    {"%cluster_ctaid.z", Special::kClusterCtaidZ, false},
    {"%cluster_nctaid.x", Special::kClusterNctaidX, false},
    {"%cluster_nctaid.y", Special::kClusterNctaidY, false},
    {"%cluster_nctaid.z", Special::kClusterNctaidZ, false},
    {"%cluster_ctarank", Special::kClusterCtarank, false},
    {"%cluster_nctarank", Special::kClusterNctarank, false},
    {"%smid", Special::kSmId, false},
    {"%nsmid", Special::kNsmId, false},
    {"%gridid", Special::kGridId, true},
    {"%dynamic_smem_size", Special::kDynamicSharedBytes, false},
    {"%total_smem_size", Special::kTotalSharedBytes, false},
    {"%clock", Special::kClock, false},
    {"%clock64", Special::kClock64, true},
    {"%globaltimer", Special::kGlobalTimer, true},
};

} // namespace

uint32_t Lowering::constant(uint64_t bits, bool wide) {
  if (!wide)
    bits &= 0xFFFFFFFFu;
  auto [it, isNew] = constants_.try_emplace((wide ? "w" : "n") + std::to_string(bits), 0);
  if (isNew) {
    it->second = allocate(wide ? 256 : 128);
    code_.slots.push_back({Slot::Kind::kBits, {}, wide, it->second, 0, bits});
  }
  return it->second;
}

bool Lowering::findRegister(std::string_view name, Place &place) {
  const auto &scopes = frame_->function->scopes;
  for (uint32_t s = current_->scope;; s = scopes[s].parent) {
    const auto &registers = scopes[s].registers;
    auto it = registers.find(name);
    bool found = it != registers.end() && it->second.count == 0;
    if (!found && name.size() > 1 && name.back() >= '0' && name.back() <= '9') {
      // A range's member: every split of prefix and number may be meant.
      uint64_t index = 0, scale = 1;
      for (size_t cut = name.size();
           cut-- > 1 && !found && name[cut] >= '0' && name[cut] <= '9' && scale < 100000000;) {
        index += scale * static_cast<uint64_t>(name[cut] - '0');
        scale *= 10;
        it = registers.find(name.substr(0, cut));
        found = it != registers.end() && index < it->second.count;
      }
    }
    if (found) {
      auto [slot, isNew] =
          frame_->registers.try_emplace(std::to_string(s) + ":" + std::string(name));
      if (isNew) {
        Type type = it->second.type;
        slot->second.wide = ptx::bitsOf(type) == 64;
        slot->second.isPredicate = type == Type::kPred;
        slot->second.bits = static_cast<uint8_t>(ptx::bitsOf(type));
        slot->second.offset = allocate(type == Type::kB128 ? 512 : slot->second.wide ? 256 : 128);
      }
      place = slot->second;
      if (place.bits == 128 && !takesQuads_)
        return refuse("only mov, ld, st and atom take 128-bit registers");
      return true;
    }
    if (s == scopes[s].parent)
      return false;
  }
}

bool Lowering::quad(const Operand &operand, uint32_t (&halves)[2], bool isDestination) {
  Place place;
  takesQuads_ = true;
  bool found = operand.kind == Operand::Kind::kName && findRegister(operand.name, place);
  takesQuads_ = false;
  if (found && place.bits == 128) {
    halves[0] = place.offset, halves[1] = place.offset + 256;
    return true;
  }
  if (isDestination && operand.kind == Operand::Kind::kName && operand.name == "_") {
    halves[0] = scratch(true), halves[1] = scratch(true);
    return true;
  }
  return refuse("a 128-bit register is needed");
}

bool Lowering::special(std::string_view name, Place &place) {
  for (const SpecialRow &row : kSpecials)
    if (row.name == name) {
      auto [it, isNew] = specials_.try_emplace(static_cast<uint32_t>(row.special));
      if (isNew) {
        it->second = {allocate(row.wide ? 256 : 128), row.wide, false};
        code_.slots.push_back(
            {Slot::Kind::kSpecial, row.special, row.wide, it->second.offset, 0, 0});
      }
      place = it->second;
      return true;
    }
  return false;
}

bool Lowering::findVariable(std::string_view name, Space &space, uint64_t &value, bool &isGlobal) {
  isGlobal = false;
  if (auto it = frame_->variables.find(std::string(name)); it != frame_->variables.end()) {
    space = it->second.first;
    value = it->second.second;
    return true;
  }
  if (auto it = root_.variables.find(std::string(name));
      it != root_.variables.end() && it->second.first == Space::kShared) {
    space = Space::kShared;
    value = it->second.second;
    return true;
  }
  auto it = program_.globalIndex.find(name);
  if (it == program_.globalIndex.end())
    return false;
  isGlobal = true;
  space = Space::kGlobal;
  value = it->second;
  return true;
}

bool Lowering::source(const Operand &operand, bool wide, Place &place, Type immediate) {
  place = {0, wide, false};
  if (operand.kind == Operand::Kind::kInteger) {
    place.offset = constant(operand.bits, wide);
    return true;
  }
  if (operand.kind == Operand::Kind::kFloat32 || operand.kind == Operand::Kind::kFloat64) {
    uint64_t bits = operand.bits;
    if (operand.kind == Operand::Kind::kFloat64 && !wide)
      bits = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
    if (operand.kind == Operand::Kind::kFloat32 && wide && immediate != Type::kB64)
      bits = std::bit_cast<uint64_t>(
          static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits))));
    place.offset = constant(bits, wide);
    return true;
  }
  if (operand.kind != Operand::Kind::kName)
    return refuse("an operand is neither a register nor a number");
  if (findRegister(operand.name, place) || (!refused_ && special(operand.name, place))) {
    if (place.isPredicate)
      return refuse("predicate '" + std::string(operand.name) + "' is no value");
    if (place.wide && !wide)
      return refuse("'" + std::string(operand.name) + "' is 64 bits wide");
    if (!place.wide && wide)
      return refuse("'" + std::string(operand.name) + "' is not 64 bits wide");
    return true;
  }
  Space space;
  uint64_t value = 0;
  bool isGlobal = false;
  if (refused_ || !findVariable(operand.name, space, value, isGlobal))
    return refuse("unknown name '" + std::string(operand.name) + "'");
  if (isGlobal) {
    if (!wide)
      return refuse("the address of '" + std::string(operand.name) + "' needs 64 bits");
    place.offset = allocate(256);
    code_.slots.push_back({Slot::Kind::kGlobal,
                           {},
                           true,
                           place.offset,
                           static_cast<uint32_t>(value),
                           static_cast<uint64_t>(operand.offset)});
  } else {
    place.offset = constant(value + static_cast<uint64_t>(operand.offset), wide);
  }
  return true;
}

bool Lowering::destination(const Operand &operand, Place &place, bool wideSink) {
  if (operand.kind != Operand::Kind::kName)
    return refuse("the result is no register");
  if (operand.name == "_") {
    place = {scratch(wideSink), wideSink, false};
    return true;
  }
  return findRegister(operand.name, place) ||
         refuse("unknown register '" + std::string(operand.name) + "'");
}

bool Lowering::predicate(const Operand &operand, uint32_t &offset, bool &negated) {
  if (operand.kind == Operand::Kind::kInteger) {
    offset = constant(operand.bits ? ~0u : 0, false);
    negated = false;
    return true;
  }
  Place place;
  negated = operand.negated;
  if (operand.kind == Operand::Kind::kName && operand.name == "_") {
    offset = scratch(false);
    return true;
  }
  if (operand.kind != Operand::Kind::kName || !findRegister(operand.name, place) ||
      !place.isPredicate)
    return refuse("'" + std::string(operand.name) + "' is no predicate");
  offset = place.offset;
  return true;
}

bool Lowering::isPredicate(const Operand &operand) {
  Place place;
  return operand.kind == Operand::Kind::kName && findRegister(operand.name, place) &&
         place.isPredicate;
}

bool Lowering::address(const Operand &operand, Op &op, int slot) {
  if (operand.kind != Operand::Kind::kAddress || operand.elements.empty())
    return refuse("an address in brackets is needed");
  const Operand &base = operand.elements[0];
  op.immediate = operand.offset;
  Place place;
  if (base.kind == Operand::Kind::kInteger) {
    op.r[slot] = constant(base.bits, true);
    op.wideAddress = true;
    return true;
  }
  if (base.kind == Operand::Kind::kName && (findRegister(base.name, place))) {
    if (place.isPredicate)
      return refuse("a predicate is no address");
    op.r[slot] = place.offset;
    op.wideAddress = place.wide;
    return true;
  }
  Space space;
  uint64_t value = 0;
  bool isGlobal = false;
  if (refused_ || !findVariable(base.name, space, value, isGlobal))
    return refuse("unknown name '" + std::string(base.name) + "' in an address");
  op.wideAddress = true;
  if (isGlobal) {
    if (!source(base, true, place))
      return false;
    op.r[slot] = place.offset;
    return true;
  }
  if (space == Space::kLocal || space == Space::kShared)
    op.space = space;
  op.generic = false;
  op.r[slot] = constant(value, true);
  return true;
}

} // namespace platen::ptxsim
