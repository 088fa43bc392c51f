#include "tools/ptxsim/core/lowering.h"

#include <cfenv>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kMaxInlineDepth = 32;
constexpr size_t kMaxOps = size_t{1} << 22;
constexpr uint32_t kMaxInlinedCalls = 65536;
constexpr size_t kMaxLocalBytes = 512 * 1024; // that a thread can have on every architecture

const Form *findForm(std::string_view opcode) {
  for (std::span<const Form> table : {integerForms(), floatForms(), convertForms(), memoryForms(),
                                      controlForms(), warpForms(), matrixForms(), asyncForms()})
    for (const Form &form : table)
      if (form.opcode == opcode)
        return &form;
  return nullptr;
}

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

void runRounded(Warp &warp, const Op &op, uint32_t mask) {
  constexpr int kModes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  std::fesetround(kModes[op.variant & 3]);
  op.inner(warp, op, mask);
  std::fesetround(FE_TONEAREST);
}

uint8_t roundingOf(const Instruction &i) {
  return Lowering::has(i, "rz") ? 1 : Lowering::has(i, "rm") ? 2 : Lowering::has(i, "rp") ? 3 : 0;
}

Lowering::Lowering(const Program &program, const ptx::Function &function, Code &code)
    : program_(program), code_(code) {
  root_.function = &function;
  alwaysTrue_ = constant(~0u, false);
}

uint32_t Lowering::allocate(uint32_t bytes) {
  uint32_t offset = code_.registerBytes;
  code_.registerBytes += bytes;
  return offset;
}

bool Lowering::refuse(std::string why) {
  if (!refused_)
    code_.info.refusals.push_back({current_ ? current_->line : root_.function->line,
                                   current_ ? std::string(current_->text) : std::string(),
                                   std::move(why)});
  refused_ = true;
  return false;
}

Type Lowering::type(const Instruction &i, int nth) {
  for (size_t n = 1; n < i.parts.size(); ++n)
    if (Type t = ptx::typeFromName(i.parts[n]); t != Type::kNone && nth-- == 0)
      return t;
  return Type::kNone;
}

bool Lowering::operands(const Instruction &i, size_t least, size_t most) {
  if (i.operands.size() >= least && i.operands.size() <= most)
    return true;
  return refuse("it has " + std::to_string(i.operands.size()) + " operands");
}

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

Op &Lowering::emit(Handler handler, Pipe pipe) {
  Op &op = code_.ops.emplace_back();
  op.run = handler;
  op.guard = guard_;
  op.guardXor = guardXor_;
  op.line = current_ ? current_->line : 0;
  op.instruction = text_;
  op.pipe = pipe;
  return op;
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

bool Lowering::vector(const Operand &operand, Op &op, bool isDestination, Type type) {
  bool wide = ptx::bitsOf(type) == 64;
  std::span<const Operand> elements(&operand, 1);
  if (operand.kind == Operand::Kind::kVector)
    elements = operand.elements;
  op.list = static_cast<uint32_t>(code_.lists.size());
  op.count = static_cast<uint32_t>(elements.size());
  std::vector<uint32_t> offsets;
  for (const Operand &element : elements) {
    Place place;
    if (isDestination ? !destination(element, place, wide)
                      : (element.kind == Operand::Kind::kName && findRegister(element.name, place)
                             ? false
                             : !source(element, wide, place)))
      return false;
    if (place.isPredicate)
      return refuse("a predicate stands where a value is needed");
    if (ptx::bitsOf(type) >= 32 && place.wide != wide && !(isDestination && place.wide))
      return refuse("an element's register has another width");
    op.wide = place.wide;
    offsets.push_back(place.offset);
  }
  code_.lists.insert(code_.lists.end(), offsets.begin(), offsets.end());
  return true;
}

bool Lowering::label(std::string_view name, uint32_t scope, uint32_t &instruction) {
  const auto &scopes = frame_->function->scopes;
  for (uint32_t s = scope;; s = scopes[s].parent) {
    if (auto it = scopes[s].labels.find(name); it != scopes[s].labels.end()) {
      instruction = it->second;
      return true;
    }
    if (s == scopes[s].parent)
      return refuse("unknown label '" + std::string(name) + "'");
  }
}

void Lowering::layOut(Frame &frame, bool isEntry) {
  auto align = [](uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
  };
  KernelInfo &info = code_.info;
  if (isEntry) {
    for (const ptx::Variable &p : frame.function->parameters) {
      info.parameterBytes = align(info.parameterBytes, p.alignment);
      info.parameters.push_back({std::string(p.name), info.parameterBytes, p.bytes(), p.alignment});
      frame.variables[std::string(p.name)] = {Space::kParam, info.parameterBytes};
      info.parameterBytes += p.bytes();
    }
    for (const ptx::Variable &v : program_.ast->variables)
      if (v.space == Space::kShared && !(v.isArray && v.count == 0)) {
        info.staticSharedBytes = align(info.staticSharedBytes, v.alignment);
        frame.variables[std::string(v.name)] = {Space::kShared, info.staticSharedBytes};
        info.staticSharedBytes += v.bytes();
      }
  }
  for (const ptx::Variable &v : frame.function->variables) {
    bool isLocal = v.space == Space::kLocal || v.space == Space::kParam;
    if (!isLocal && v.space != Space::kShared)
      continue;
    size_t &bytes = isLocal ? info.localBytes : info.staticSharedBytes;
    bytes = align(bytes, v.alignment);
    frame.variables[std::string(v.name)] = {isLocal ? Space::kLocal : Space::kShared, bytes};
    bytes += v.bytes();
  }
  if (!isEntry)
    return;
  // Dynamic shared memory begins after all static variables, at the strictest alignment asked for.
  auto dynamic = [&](const ptx::Variable &v) {
    if (v.space == Space::kShared && v.isArray && v.count == 0)
      code_.dynamicSharedAlignment = std::max(code_.dynamicSharedAlignment, v.alignment);
  };
  for (const ptx::Variable &v : program_.ast->variables)
    dynamic(v);
  for (const ptx::Variable &v : frame.function->variables)
    dynamic(v);
  info.staticSharedBytes =
      info.staticSharedBytes == 0 ? 0 : align(info.staticSharedBytes, code_.dynamicSharedAlignment);
  for (const ptx::Variable &v : program_.ast->variables)
    if (v.space == Space::kShared && v.isArray && v.count == 0)
      frame.variables[std::string(v.name)] = {Space::kShared, info.staticSharedBytes};
}

void Lowering::lowerFunction() {
  layOut(root_, true);
  lowerBody(root_);
  current_ = nullptr;
  refused_ = false;
  if (code_.info.localBytes > kMaxLocalBytes)
    refuse("a thread's local memory has " + std::to_string(code_.info.localBytes) +
           " bytes, more than 512 KiB");
  code_.info.localBytes = (code_.info.localBytes + 15) / 16 * 16;
}

void Lowering::lowerBody(Frame &frame) {
  Frame *outer = std::exchange(frame_, &frame);
  const auto &instructions = frame.function->instructions;
  for (const Instruction &i : instructions) {
    frame.opOf.push_back(static_cast<uint32_t>(code_.ops.size()));
    current_ = &i;
    text_ = static_cast<uint32_t>(code_.texts.size());
    code_.texts.push_back(i.text);
    refused_ = false;
    lowerOne(i);
  }
  frame.opOf.push_back(static_cast<uint32_t>(code_.ops.size()));
  guard_ = alwaysTrue_, guardXor_ = 0;
  if (frame.depth == 0)
    ret(); // falling off the end leaves
  for (size_t index : frame.fixes)
    code_.ops[index].target = frame.opOf[code_.ops[index].target];
  for (size_t index : frame.listFixes)
    code_.lists[index] = frame.opOf[code_.lists[index]];
  frame_ = outer;
}

void Lowering::lowerOne(const Instruction &i) {
  guard_ = alwaysTrue_, guardXor_ = 0;
  if (code_.ops.size() > kMaxOps) {
    refuse("the kernel grows beyond 4 million operations");
    return;
  }
  if (!i.guard.empty()) {
    Place place;
    if (!findRegister(i.guard, place) || !place.isPredicate) {
      refuse("unknown predicate '" + std::string(i.guard) + "'");
      return;
    }
    guard_ = place.offset;
    guardXor_ = i.guardNegated ? ~0u : 0;
  }
  const Form *form = findForm(i.parts[0]);
  if (!form) {
    refuse("unknown instruction '" + std::string(i.opcode) + "'");
    return;
  }
  pipe_ = form->pipe;
  form->lower(*this, i);
}

bool Lowering::branch(const Instruction &i, std::string_view name, bool) {
  uint32_t target = 0;
  if (!label(name, i.scope, target))
    return false;
  frame_->fixes.push_back(code_.ops.size() - 1);
  code_.ops.back().target = target;
  return true;
}

void runBranch(Warp &warp, const Op &op, uint32_t mask);
void runExit(Warp &warp, const Op &op, uint32_t mask);

void Lowering::ret() {
  if (frame_->depth == 0) {
    emit(&runExit, Pipe::kControl);
    return;
  }
  Op &op = emit(&runBranch, Pipe::kControl); // to behind the inlined body
  op.target = static_cast<uint32_t>(frame_->function->instructions.size());
  frame_->fixes.push_back(code_.ops.size() - 1);
}

bool Lowering::bindCall(const Instruction &i, const ptx::Function &callee, Frame &inner) {
  std::span<const Operand> results, arguments;
  size_t at = i.operands[0].kind == Operand::Kind::kList ? 1 : 0;
  if (at == 1)
    results = i.operands[0].elements;
  if (i.operands.size() > at + 1 && i.operands[at + 1].kind == Operand::Kind::kList)
    arguments = i.operands[at + 1].elements;
  if (results.size() != callee.results.size() || arguments.size() != callee.parameters.size())
    return refuse("the call does not fit the function's parameters");
  auto bind = [&](const Operand &actual, const ptx::Variable &formal) {
    if (formal.space != Space::kParam)
      return refuse("functions with .reg parameters are not executed");
    Space space;
    uint64_t value = 0;
    bool isGlobal = false;
    if (actual.kind != Operand::Kind::kName || !findVariable(actual.name, space, value, isGlobal) ||
        space != Space::kLocal)
      return refuse("an argument is no .param variable");
    inner.variables[std::string(formal.name)] = {Space::kLocal, value};
    return true;
  };
  for (size_t n = 0; n < results.size(); ++n)
    if (!bind(results[n], callee.results[n]))
      return false;
  for (size_t n = 0; n < arguments.size(); ++n)
    if (!bind(arguments[n], callee.parameters[n]))
      return false;
  return true;
}

/// Calls are inlined: each call site gets its own copy of the function.
bool Lowering::call(const Instruction &i) {
  if (i.operands.empty())
    return refuse("a call without a function");
  const Operand &name =
      i.operands[i.operands[0].kind == Operand::Kind::kList ? 1 % i.operands.size() : 0];
  const ptx::Function *callee = nullptr;
  for (const ptx::Function &f : program_.ast->functions)
    if (!f.isEntry && f.name == name.name && (f.hasBody || !callee))
      callee = &f;
  if (!callee)
    return refuse("indirect calls are not executed");
  if (!callee->hasBody)
    return refuse("external function '" + std::string(name.name) + "' is not executed");
  if (frame_->depth >= kMaxInlineDepth)
    return refuse("calls are nested deeper than 32 (recursion is not executed)");
  if (++calls_ > kMaxInlinedCalls)
    return refuse("the kernel has more than 65536 calls, those of inlined functions included");
  Frame inner;
  inner.function = callee;
  inner.depth = frame_->depth + 1;
  if (!bindCall(i, *callee, inner))
    return false;
  const Instruction *here = current_;
  if (guard_ != alwaysTrue_) { // the others jump over the body
    guardXor_ = ~guardXor_;
    Op &skip = emit(&runBranch, Pipe::kControl);
    skip.target = static_cast<uint32_t>(here - frame_->function->instructions.data()) + 1;
    frame_->fixes.push_back(code_.ops.size() - 1);
  }
  layOut(inner, false);
  lowerBody(inner);
  current_ = here;
  return true;
}

Code lowerKernel(const Program &program, const ptx::Function &function) {
  Code code;
  KernelInfo &info = code.info;
  info.name = std::string(function.name);
  info.line = function.line;
  auto product = [](const uint32_t(&v)[3]) { return v[0] * v[1] * v[2]; };
  info.maxThreads = product(function.maxThreads);
  info.requiredThreads = product(function.requiredThreads);
  info.requiredBlock = {function.requiredThreads[0], function.requiredThreads[1],
                        function.requiredThreads[2]};
  info.requiredCluster = {function.cluster[0], function.cluster[1], function.cluster[2]};
  Lowering(program, function, code).lowerFunction();
  size_t registers = code.registerBytes / 128;
  for (const Slot &slot : code.slots)
    registers -= slot.wide ? 2 : 1;
  info.registerEstimate = static_cast<uint32_t>(std::min<size_t>(registers, 255));
  return code;
}

} // namespace platen::ptxsim
