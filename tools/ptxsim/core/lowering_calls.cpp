// Labels, branches and calls: a call is inlined, each call site gets its own copy of the function.
#include "tools/ptxsim/core/lowering.h"

namespace platen::ptxsim {
namespace {

constexpr uint32_t kMaxInlineDepth = 32, kMaxInlinedCalls = 65536;

} // namespace

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

} // namespace platen::ptxsim
