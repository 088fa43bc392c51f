// The way from a function to ops: layout of its variables, then one instruction after the other.
#include "tools/ptxsim/core/lowering.h"

#include <cfenv>

namespace platen::ptxsim {
namespace {

constexpr size_t kMaxOps = size_t{1} << 22;
constexpr size_t kMaxLocalBytes = 512 * 1024; // that a thread can have on every architecture

const Form *findForm(std::string_view opcode) {
  for (std::span<const Form> table : {integerForms(), floatForms(), convertForms(), memoryForms(),
                                      controlForms(), warpForms(), matrixForms(), asyncForms()})
    for (const Form &form : table)
      if (form.opcode == opcode)
        return &form;
  return nullptr;
}

} // namespace

void runRounded(Warp &warp, const Op &op, uint32_t mask) {
  constexpr int kModes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  struct Mode { // also when the handler throws
    explicit Mode(int mode) { std::fesetround(mode); }
    ~Mode() { std::fesetround(FE_TONEAREST); }
  } mode(kModes[op.variant & 3]);
  op.inner(warp, op, mask);
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
