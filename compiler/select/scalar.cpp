// See scalar.h. Formulas are those of the ops' contracts.
#include "compiler/select/scalar.h"
#include "compiler/fuse/match.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/StringSwitch.h"

namespace platen::compiler {

using kernels::ScalarBlock;
using kernels::ScalarOpKind;
using Value = ScalarBlock::Value;

namespace {

base::Result<Value> appendPow(mlir::Operation *op, Value x, ScalarBlock &block) {
  double exponent = scalarConstant(op->getOperand(1)).value_or(0);
  if (exponent == 2)
    return block.mul(x, x);
  if (exponent == 3)
    return block.mul(block.mul(x, x), x);
  if (exponent == 0.5)
    return block.unary(ScalarOpKind::kSqrt, x);
  if (exponent == -0.5)
    return block.unary(ScalarOpKind::kRsqrt, x);
  return base::unsupported("pow with exponent " + std::to_string(exponent) +
                           " has no host kernel; supported exponents are 2, 3, 0.5 and -0.5");
}

std::optional<ScalarOpKind> unaryKind(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<ScalarOpKind>>(name)
      .Case("neg", ScalarOpKind::kNeg)
      .Case("abs", ScalarOpKind::kAbs)
      .Case("sqrt", ScalarOpKind::kSqrt)
      .Case("exp", ScalarOpKind::kExp)
      .Case("log", ScalarOpKind::kLog)
      .Case("tanh", ScalarOpKind::kTanh)
      .Case("erf", ScalarOpKind::kErf)
      .Default(std::nullopt);
}

} // namespace

base::Result<Value> appendScalar(mlir::Operation *op, std::span<const Value> operands,
                                 ScalarBlock &block) {
  llvm::StringRef name = op->getName().stripDialect();
  if (name == "add")
    return block.add(operands[0], operands[1]);
  if (name == "sub")
    return block.sub(operands[0], operands[1]);
  if (name == "mul")
    return block.mul(operands[0], operands[1]);
  if (name == "div")
    return block.div(operands[0], operands[1]);
  if (name == "max" && operands.size() == 2)
    return block.max(operands[0], operands[1]);
  if (name == "min" && operands.size() == 2)
    return block.min(operands[0], operands[1]);
  if (name == "pow")
    return appendPow(op, operands[0], block);
  if (name == "reciprocal")
    return block.div(block.constant(1), operands[0]);
  if (name == "sigmoid")
    return block.sigmoid(operands[0]);
  if (name == "gelu") {
    auto approximate = op->getAttrOfType<mlir::StringAttr>("approximate");
    return approximate && approximate == "tanh" ? block.geluTanh(operands[0])
                                                : block.geluErf(operands[0]);
  }
  if (auto kind = unaryKind(name))
    return block.unary(*kind, operands[0]);
  return base::unsupported("platen." + name.str() + " has no scalar form in host kernels");
}

} // namespace platen::compiler
