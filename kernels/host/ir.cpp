#include "kernels/host/ir.h"

#include "runtime/plan/kernel_abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cstddef>

namespace platen::kernels {

namespace arith = mlir::arith;
namespace math = mlir::math;
namespace LLVM = mlir::LLVM;
namespace vector = mlir::vector;

namespace {
bool isFloat(Value value) {
  return mlir::isa<mlir::FloatType>(mlir::getElementTypeOrSelf(value.getType()));
}
int64_t lanesOf(Value value) {
  return mlir::cast<mlir::VectorType>(value.getType()).getNumElements();
}
} // namespace

Ir::Ir(mlir::ModuleOp module, const std::string &name, const HostTarget &target)
    : b_(module.getLoc(), module.getContext()), target_(target) {
  b_.setInsertionPointToEnd(module.getBody());
  auto function =
      b_.create<mlir::func::FuncOp>(name, b_.getFunctionType({ptr(), i(64), i(64)}, {}));
  mlir::Block *entry = function.addEntryBlock();
  b_.setInsertionPointToStart(entry);
  operands_ = entry->getArgument(0), begin_ = entry->getArgument(1), end_ = entry->getArgument(2);
  step_ = operand(0);
}

void Ir::finish() { b_.create<mlir::func::ReturnOp>(); }

Value Ir::operand(unsigned i) { return load(ptr(), operands_, {}, 8 * int64_t{i}); }
Value Ir::stepField(unsigned i64Index) { return load(i(64), step_, {}, 8 * int64_t{i64Index}); }
Value Ir::stepArray(unsigned pointerIndex) {
  return load(ptr(), step_, {}, 32 + 8 * int64_t{pointerIndex});
}

Value Ir::symbol(uint32_t index) {
  constexpr auto kFirst = static_cast<int64_t>(offsetof(PlatenGraphStep, symbols));
  return load(i(64), step_, {}, kFirst + 8 * int64_t{index});
}

Type Ir::ptr() { return LLVM::LLVMPointerType::get(b_.getContext()); }
Type Ir::vec(int64_t lanes, Type element) { return mlir::VectorType::get({lanes}, element); }

Value Ir::intConst(Type type, int64_t value) {
  if (auto vectorType = mlir::dyn_cast<mlir::VectorType>(type))
    return b_.create<arith::ConstantOp>(mlir::DenseElementsAttr::get(
        vectorType, b_.getIntegerAttr(vectorType.getElementType(), value).getValue()));
  return b_.create<arith::ConstantOp>(b_.getIntegerAttr(type, value));
}

Value Ir::floatConst(Type type, float value) {
  if (auto vectorType = mlir::dyn_cast<mlir::VectorType>(type))
    return b_.create<arith::ConstantOp>(mlir::DenseElementsAttr::get(vectorType, value));
  return b_.create<arith::ConstantOp>(b_.getFloatAttr(type, value));
}

Value Ir::iota(int64_t lanes) {
  llvm::SmallVector<int64_t> values(lanes);
  for (int64_t lane = 0; lane < lanes; ++lane)
    values[lane] = lane;
  return b_.create<arith::ConstantOp>(b_.getI64VectorAttr(values));
}

Value Ir::add(Value a, Value b) {
  return isFloat(a) ? b_.create<arith::AddFOp>(a, b).getResult()
                    : b_.create<arith::AddIOp>(a, b).getResult();
}
Value Ir::sub(Value a, Value b) {
  return isFloat(a) ? b_.create<arith::SubFOp>(a, b).getResult()
                    : b_.create<arith::SubIOp>(a, b).getResult();
}
Value Ir::mul(Value a, Value b) {
  return isFloat(a) ? b_.create<arith::MulFOp>(a, b).getResult()
                    : b_.create<arith::MulIOp>(a, b).getResult();
}
Value Ir::div(Value a, Value b) {
  return isFloat(a) ? b_.create<arith::DivFOp>(a, b).getResult()
                    : b_.create<arith::DivUIOp>(a, b).getResult();
}
Value Ir::rem(Value a, Value b) { return b_.create<arith::RemUIOp>(a, b); }
Value Ir::fma(Value a, Value b, Value c) { return b_.create<math::FmaOp>(a, b, c); }
Value Ir::neg(Value a) { return b_.create<arith::NegFOp>(a); }
Value Ir::abs(Value a) {
  return isFloat(a) ? b_.create<math::AbsFOp>(a).getResult()
                    : b_.create<math::AbsIOp>(a).getResult();
}
Value Ir::sqrt(Value a) { return b_.create<math::SqrtOp>(a); }
Value Ir::roundEven(Value a) { return b_.create<math::RoundEvenOp>(a); }
Value Ir::tanh(Value a) { return b_.create<math::TanhOp>(a); }
Value Ir::erf(Value a) { return b_.create<math::ErfOp>(a); }
Value Ir::log(Value a) { return b_.create<math::LogOp>(a); }

Value Ir::exp(Value a) {
  const Type type = a.getType(), ints = vec(lanesOf(a), i(32));
  auto constant = [&](float value) { return floatConst(type, value); };
  // e^x = 2^n e^r with |r| <= ln2 / 2; 2^n in two halves so that n may leave the exponent's range.
  Value x = min(constant(89.0F), max(constant(-104.0F), a));
  const Value n = roundEven(mul(x, constant(1.44269504F)));
  Value r = fma(n, constant(-0.693359375F), x);
  r = fma(n, constant(2.12194440e-4F), r);
  Value p = constant(1.9875691500e-4F);
  for (float c :
       {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F})
    p = fma(p, r, constant(c));
  p = add(fma(mul(r, r), p, r), constant(1.0F));
  const Value whole = floatToInt(n, ints), half = shrArith(whole, intConst(ints, 1));
  auto power = [&](Value exponent) {
    return bitcast(shl(add(exponent, intConst(ints, 127)), intConst(ints, 23)), type);
  };
  return mul(mul(p, power(half)), power(sub(whole, half)));
}

// The operand order makes NaN in `b` survive, which is what the clamps above rely on.
Value Ir::max(Value a, Value b) {
  if (!isFloat(a))
    return b_.create<arith::MaxSIOp>(a, b);
  return select(b_.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, a, b), a, b);
}
Value Ir::min(Value a, Value b) {
  if (!isFloat(a))
    return b_.create<arith::MinSIOp>(a, b);
  return select(b_.create<arith::CmpFOp>(arith::CmpFPredicate::OLT, a, b), a, b);
}
Value Ir::bitAnd(Value a, Value b) { return b_.create<arith::AndIOp>(a, b); }
Value Ir::bitOr(Value a, Value b) { return b_.create<arith::OrIOp>(a, b); }
Value Ir::bitXor(Value a, Value b) { return b_.create<arith::XOrIOp>(a, b); }
Value Ir::shl(Value a, Value b) { return b_.create<arith::ShLIOp>(a, b); }
Value Ir::shrLogical(Value a, Value b) { return b_.create<arith::ShRUIOp>(a, b); }
Value Ir::shrArith(Value a, Value b) { return b_.create<arith::ShRSIOp>(a, b); }
Value Ir::lessThan(Value a, Value b) {
  return isFloat(a) ? b_.create<arith::CmpFOp>(arith::CmpFPredicate::OLT, a, b).getResult()
                    : b_.create<arith::CmpIOp>(arith::CmpIPredicate::slt, a, b).getResult();
}
Value Ir::notEqual(Value a, Value b) {
  return b_.create<arith::CmpIOp>(arith::CmpIPredicate::ne, a, b);
}
Value Ir::select(Value condition, Value a, Value b) {
  // LLVM's select, because arith's refuses pointers.
  return b_.create<LLVM::SelectOp>(a.getType(), condition, a, b);
}

Value Ir::signExtend(Value a, Type type) { return b_.create<arith::ExtSIOp>(type, a); }
Value Ir::zeroExtend(Value a, Type type) { return b_.create<arith::ExtUIOp>(type, a); }
Value Ir::truncate(Value a, Type type) { return b_.create<arith::TruncIOp>(type, a); }
Value Ir::intToFloat(Value a, Type type) { return b_.create<arith::SIToFPOp>(type, a); }
Value Ir::floatToInt(Value a, Type type) { return b_.create<arith::FPToSIOp>(type, a); }
Value Ir::extendFloat(Value a, Type type) { return b_.create<arith::ExtFOp>(type, a); }
Value Ir::bitcast(Value a, Type type) { return b_.create<LLVM::BitcastOp>(type, a); }

Value Ir::splat(Value scalar, int64_t lanes) {
  return b_.create<vector::BroadcastOp>(vec(lanes, scalar.getType()), scalar);
}
Value Ir::shuffle(Value a, Value b, llvm::ArrayRef<int64_t> lanes) {
  return b_.create<vector::ShuffleOp>(a, b, lanes);
}
Value Ir::extract(Value a, int64_t lane) { return b_.create<vector::ExtractOp>(a, lane); }
Value Ir::insert(Value scalar, Value into, int64_t lane) {
  return b_.create<vector::InsertOp>(scalar, into, lane);
}

namespace {
template <typename Combine> Value reduceHalves(Ir &ir, Value a, const Combine &combine) {
  for (int64_t half = lanesOf(a) / 2; half >= 1; half /= 2) {
    llvm::SmallVector<int64_t> low(half), high(half);
    for (int64_t lane = 0; lane < half; ++lane)
      low[lane] = lane, high[lane] = lane + half;
    a = combine(ir.shuffle(a, a, low), ir.shuffle(a, a, high));
  }
  return ir.extract(a, 0);
}
} // namespace

Value Ir::reduceAdd(Value a) {
  return reduceHalves(*this, a, [&](Value x, Value y) { return add(x, y); });
}
Value Ir::reduceMax(Value a) {
  return reduceHalves(*this, a, [&](Value x, Value y) { return max(x, y); });
}

Value Ir::address(Value base, Value offset, int64_t constant) {
  if (offset)
    base = b_.create<LLVM::GEPOp>(ptr(), i(8), base, llvm::ArrayRef<LLVM::GEPArg>{offset});
  if (constant != 0)
    base = b_.create<LLVM::GEPOp>(ptr(), i(8), base,
                                  llvm::ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(constant)});
  return base;
}

namespace {
unsigned alignmentOf(Type type) {
  Type element = mlir::getElementTypeOrSelf(type);
  return mlir::isa<LLVM::LLVMPointerType>(element)
             ? 8
             : std::max(1U, element.getIntOrFloatBitWidth() / 8);
}
} // namespace

Value Ir::load(Type type, Value base, Value offset, int64_t constant) {
  return b_.create<LLVM::LoadOp>(type, address(base, offset, constant), alignmentOf(type));
}
void Ir::store(Value value, Value base, Value offset, int64_t constant) {
  b_.create<LLVM::StoreOp>(value, address(base, offset, constant), alignmentOf(value.getType()));
}
Value Ir::maskedLoad(Type type, Value mask, Value base, Value offset, int64_t constant) {
  return b_.create<LLVM::MaskedLoadOp>(
      type, address(base, offset, constant), mask, floatConst(type, 0),
      b_.getI32IntegerAttr(static_cast<int32_t>(alignmentOf(type))));
}
void Ir::maskedStore(Value value, Value mask, Value base, Value offset, int64_t constant) {
  b_.create<LLVM::MaskedStoreOp>(
      value, address(base, offset, constant), mask,
      b_.getI32IntegerAttr(static_cast<int32_t>(alignmentOf(value.getType()))));
}
void Ir::prefetch(Value base, Value offset, int64_t constant) {
  b_.create<LLVM::Prefetch>(address(base, offset, constant), /*rw=*/0, /*hint=*/3, /*cache=*/1);
}
Value Ir::laneMask(int64_t lanes, Value count) {
  const Type ints = vec(lanes, i(32));
  llvm::SmallVector<int32_t> values(lanes);
  for (int64_t lane = 0; lane < lanes; ++lane)
    values[lane] = static_cast<int32_t>(lane);
  const Value index = b_.create<arith::ConstantOp>(b_.getI32VectorAttr(values));
  return lessThan(index, b_.create<vector::BroadcastOp>(ints, truncate(count, i(32))));
}

Value Ir::intrinsic(const char *name, Type result, llvm::ArrayRef<Value> arguments) {
  return b_
      .create<LLVM::CallIntrinsicOp>(result, b_.getStringAttr(name), mlir::ValueRange(arguments),
                                     LLVM::FastmathFlagsAttr{})
      .getResult(0);
}

Values Ir::loop(Value from, Value to, int64_t step, llvm::ArrayRef<Value> initial,
                const Body &body) {
  auto loop = b_.create<mlir::scf::ForOp>(from, to, i64(step), mlir::ValueRange(initial));
  mlir::OpBuilder::InsertionGuard guard(b_);
  b_.setInsertionPointToStart(loop.getBody());
  Values carried(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end());
  Values results = body(loop.getInductionVar(), carried);
  // Without carried values the builder has already put the terminator.
  if (!initial.empty())
    b_.create<mlir::scf::YieldOp>(results);
  return Values(loop.getResults().begin(), loop.getResults().end());
}

void Ir::loop(Value from, Value to, int64_t step, const std::function<void(Value)> &body) {
  loop(from, to, step, {}, [&](Value counter, llvm::ArrayRef<Value>) {
    body(counter);
    return Values{};
  });
}

void Ir::ifThen(Value condition, const std::function<void()> &body) {
  auto branch = b_.create<mlir::scf::IfOp>(condition, /*withElseRegion=*/false);
  mlir::OpBuilder::InsertionGuard guard(b_);
  b_.setInsertionPointToStart(branch.thenBlock());
  body();
}

Value evaluateOne(Ir &ir, const ScalarOp &op, llvm::ArrayRef<Value> values, Type type) {
  const Value a = values[op.a], b = values[op.b], c = values[op.c];
  switch (op.kind) {
  case ScalarOpKind::kInput:
    break; // the caller's
  case ScalarOpKind::kConstant:
    return ir.floatConst(type, op.constant);
  case ScalarOpKind::kAdd:
    return ir.add(a, b);
  case ScalarOpKind::kSub:
    return ir.sub(a, b);
  case ScalarOpKind::kMul:
    return ir.mul(a, b);
  case ScalarOpKind::kDiv:
    return ir.div(a, b);
  case ScalarOpKind::kMax:
    return ir.max(a, b);
  case ScalarOpKind::kMin:
    return ir.min(a, b);
  case ScalarOpKind::kFma:
    return ir.fma(a, b, c);
  case ScalarOpKind::kNeg:
    return ir.neg(a);
  case ScalarOpKind::kAbs:
    return ir.abs(a);
  case ScalarOpKind::kSqrt:
    return ir.sqrt(a);
  case ScalarOpKind::kRsqrt:
    return ir.div(ir.floatConst(type, 1.0F), ir.sqrt(a));
  case ScalarOpKind::kExp:
    return ir.exp(a);
  case ScalarOpKind::kLog:
    return ir.log(a);
  case ScalarOpKind::kTanh:
    return ir.tanh(a);
  case ScalarOpKind::kErf:
    return ir.erf(a);
  }
  return {};
}

std::vector<Value> evaluate(Ir &ir, const ScalarBlock &block, llvm::ArrayRef<Value> inputs,
                            Type type, const std::vector<Value> &known) {
  std::vector<Value> values(block.ops().size());
  for (size_t index = 0; index < values.size(); ++index) {
    const ScalarOp &op = block.ops()[index];
    if (index < known.size() && known[index])
      values[index] = known[index];
    else
      values[index] =
          op.kind == ScalarOpKind::kInput ? inputs[op.index] : evaluateOne(ir, op, values, type);
  }
  return values;
}

} // namespace platen::kernels
