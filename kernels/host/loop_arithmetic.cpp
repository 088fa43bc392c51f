#include "kernels/host/loop_arithmetic.h"

#include "kernels/host/loop_math.h"
#include "kernels/host/loop_memory.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace platen::kernels {

namespace arith = mlir::arith;
namespace math = mlir::math;
namespace loops = ops::loops;
using loops::Kind;
using loops::Op;

namespace {

bool isFloatKind(Kind kind) { return kind == Kind::kF32 || kind == Kind::kF64; }

class Operation {
public:
  Operation(Ir &ir, const loops::Node &node, Kind operandKind, llvm::ArrayRef<Value> operands)
      : ir_(ir), b_(ir.builder()), node_(node), operandKind_(operandKind) {
    a = operands[0];
    if (operands.size() > 1)
      b = operands[1];
    if (operands.size() > 2)
      c = operands[2];
  }

  Value onFloats(bool mayRegroup);
  Value onIntegers();
  Value onBooleans();
  Value convert();
  Value bits();

private:
  Value constant(int64_t value) { return ir_.intConst(a.getType(), value); }
  Value equals(Value x, Value y) {
    return b_.create<arith::CmpIOp>(arith::CmpIPredicate::eq, x, y);
  }
  Value compareFloats(arith::CmpFPredicate predicate) {
    return b_.create<arith::CmpFOp>(predicate, a, b);
  }
  Value compareIntegers(arith::CmpIPredicate signedOne, arith::CmpIPredicate unsignedOne) {
    return b_.create<arith::CmpIOp>(node_.isUnsigned ? unsignedOne : signedOne, a, b);
  }
  Value divide(bool remainder);
  Value shift();

  Ir &ir_;
  mlir::ImplicitLocOpBuilder &b_;
  const loops::Node &node_;
  Kind operandKind_;
  Value a, b, c;
};

Value Operation::onFloats(bool mayRegroup) {
  const auto flags = mayRegroup ? arith::FastMathFlags::reassoc : arith::FastMathFlags::none;
  switch (node_.op) {
  case Op::kAdd:
    return b_.create<arith::AddFOp>(a, b, flags);
  case Op::kSub:
    return b_.create<arith::SubFOp>(a, b);
  case Op::kMul:
    return b_.create<arith::MulFOp>(a, b, flags);
  case Op::kDiv:
    return b_.create<arith::DivFOp>(a, b);
  case Op::kMin:
    return b_.create<arith::MinimumFOp>(a, b);
  case Op::kMax:
    return b_.create<arith::MaximumFOp>(a, b);
  case Op::kNeg:
    return b_.create<arith::NegFOp>(a);
  case Op::kAbs:
    return b_.create<math::AbsFOp>(a);
  case Op::kFma:
    return b_.create<math::FmaOp>(a, b, c);
  case Op::kSqrt:
    return b_.create<math::SqrtOp>(a);
  case Op::kFloor:
    return b_.create<math::FloorOp>(a);
  case Op::kCeil:
    return b_.create<math::CeilOp>(a);
  case Op::kTrunc:
    return b_.create<math::TruncOp>(a);
  case Op::kRoundEven:
    return b_.create<math::RoundEvenOp>(a);
  case Op::kEqual:
    return compareFloats(arith::CmpFPredicate::OEQ);
  case Op::kLess:
    return compareFloats(arith::CmpFPredicate::OLT);
  case Op::kLessEqual:
    return compareFloats(arith::CmpFPredicate::OLE);
  default:
    return mathFunction(ir_, node_.op, a, b);
  }
}

/// By 0 gives 0, the least number by -1 wraps: neither reaches the instruction, which would trap.
Value Operation::divide(bool remainder) {
  const Value zero = constant(0), one = constant(1), byZero = equals(b, zero);
  if (node_.isUnsigned) {
    const Value by = ir_.select(byZero, one, b);
    const Value result = remainder ? b_.create<arith::RemUIOp>(a, by).getResult()
                                   : b_.create<arith::DivUIOp>(a, by).getResult();
    return ir_.select(byZero, zero, result);
  }
  const Value byMinusOne = equals(b, constant(-1));
  const Value by = ir_.select(ir_.bitOr(byZero, byMinusOne), one, b);
  if (remainder)
    return ir_.select(byZero, zero, b_.create<arith::RemSIOp>(a, by).getResult());
  const Value result =
      ir_.select(byMinusOne, ir_.sub(zero, a), b_.create<arith::DivSIOp>(a, by).getResult());
  return ir_.select(byZero, zero, result);
}

Value Operation::shift() {
  const Value inside = b_.create<arith::CmpIOp>(arith::CmpIPredicate::ult, b, constant(64));
  if (node_.op == Op::kShiftRight && !node_.isUnsigned)
    return ir_.shrArith(a, ir_.select(inside, b, constant(63)));
  const Value by = ir_.bitAnd(b, constant(63));
  return ir_.select(inside, node_.op == Op::kShiftLeft ? ir_.shl(a, by) : ir_.shrLogical(a, by),
                    constant(0));
}

Value Operation::onIntegers() {
  switch (node_.op) {
  case Op::kAdd:
    return ir_.add(a, b);
  case Op::kSub:
    return ir_.sub(a, b);
  case Op::kMul:
    return ir_.mul(a, b);
  case Op::kDiv:
    return divide(false);
  case Op::kRem:
    return divide(true);
  case Op::kMin:
    return node_.isUnsigned ? b_.create<arith::MinUIOp>(a, b).getResult() : ir_.min(a, b);
  case Op::kMax:
    return node_.isUnsigned ? b_.create<arith::MaxUIOp>(a, b).getResult() : ir_.max(a, b);
  case Op::kNeg:
    return ir_.sub(constant(0), a);
  case Op::kAbs:
    return ir_.max(a, ir_.sub(constant(0), a));
  case Op::kAnd:
    return ir_.bitAnd(a, b);
  case Op::kOr:
    return ir_.bitOr(a, b);
  case Op::kXor:
    return ir_.bitXor(a, b);
  case Op::kNot:
    return ir_.bitXor(a, constant(-1));
  case Op::kShiftLeft:
  case Op::kShiftRight:
    return shift();
  case Op::kEqual:
    return equals(a, b);
  case Op::kLess:
    return compareIntegers(arith::CmpIPredicate::slt, arith::CmpIPredicate::ult);
  case Op::kLessEqual:
    return compareIntegers(arith::CmpIPredicate::sle, arith::CmpIPredicate::ule);
  default:
    return {};
  }
}

Value Operation::onBooleans() {
  switch (node_.op) {
  case Op::kAnd:
  case Op::kMin:
    return ir_.bitAnd(a, b);
  case Op::kOr:
  case Op::kMax:
    return ir_.bitOr(a, b);
  case Op::kXor:
    return ir_.bitXor(a, b);
  case Op::kNot:
    return ir_.bitXor(a, constant(1));
  case Op::kEqual:
    return equals(a, b);
  case Op::kLess:
    return b_.create<arith::CmpIOp>(arith::CmpIPredicate::ult, a, b);
  case Op::kLessEqual:
    return b_.create<arith::CmpIOp>(arith::CmpIPredicate::ule, a, b);
  default:
    return {};
  }
}

Value Operation::convert() {
  const Type to = loopType(ir_, node_.kind);
  if (node_.kind == operandKind_)
    return a;
  if (node_.kind == Kind::kBool) {
    if (!isFloatKind(operandKind_))
      return ir_.notEqual(a, constant(0));
    const Value zero = b_.create<arith::ConstantOp>(b_.getFloatAttr(a.getType(), 0));
    return b_.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, a, zero);
  }
  if (node_.kind == Kind::kInt)
    return operandKind_ == Kind::kBool ? ir_.zeroExtend(a, to)
                                       : ir_.intrinsic("llvm.fptosi.sat", to, a);
  if (isFloatKind(operandKind_))
    return node_.kind == Kind::kF64 ? ir_.extendFloat(a, to)
                                    : b_.create<arith::TruncFOp>(to, a).getResult();
  return node_.isUnsigned || operandKind_ == Kind::kBool
             ? b_.create<arith::UIToFPOp>(to, a).getResult()
             : b_.create<arith::SIToFPOp>(to, a).getResult();
}

Value Operation::bits() {
  if (operandKind_ == Kind::kF64)
    return ir_.bitcast(a, ir_.i(64));
  if (operandKind_ == Kind::kF32)
    return ir_.zeroExtend(ir_.bitcast(a, ir_.i(32)), ir_.i(64));
  return node_.kind == Kind::kF64 ? ir_.bitcast(a, ir_.f64())
                                  : ir_.bitcast(ir_.truncate(a, ir_.i(32)), ir_.f32());
}

} // namespace

Value loopOperation(Ir &ir, const loops::Node &node, Kind operandKind,
                    llvm::ArrayRef<Value> operands, bool mayRegroup) {
  Operation operation(ir, node, operandKind, operands);
  switch (node.op) {
  case Op::kSelect:
    return ir.select(operands[0], operands[1], operands[2]);
  case Op::kConvert:
    return operation.convert();
  case Op::kBits:
    return operation.bits();
  default:
    return isFloatKind(operandKind)    ? operation.onFloats(mayRegroup)
           : operandKind == Kind::kInt ? operation.onIntegers()
                                       : operation.onBooleans();
  }
}

} // namespace platen::kernels
