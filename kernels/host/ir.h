// Ir: a short hand for emitting one host kernel as MLIR (func, scf, arith, vector, llvm pointers).
//
// Everything is untyped by design of MLIR: a Value knows its type, and arithmetic picks the integer
// or float op by it. Offsets are in bytes, loop counters i64, panels vector<16xf32> (two registers
// on AVX2, one on AVX-512: LLVM splits them). Not thread-safe; one Ir belongs to one MLIRContext.
#pragma once

#include "kernels/host/specs.h"
#include "kernels/host/target.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <functional>
#include <string>

namespace platen::kernels {

using mlir::Type;
using mlir::Value;
using Values = llvm::SmallVector<Value, 8>;

class Ir {
public:
  /// Opens `func @name(operands: ptr, begin: i64, end: i64)` at the end of `module`; finish()
  /// closes it.
  Ir(mlir::ModuleOp module, const std::string &name, const HostTarget &target);
  void finish();

  const HostTarget &target() const { return target_; }
  /// For operations that have no short hand here, at the place where the next one goes.
  mlir::ImplicitLocOpBuilder &builder() { return b_; }
  Value begin() const { return begin_; }
  Value end() const { return end_; }
  /// operands[i] of the ABI.
  Value operand(unsigned i);
  /// A size that only a run knows, of PlatenGraphStep.
  Value symbol(uint32_t index);
  /// Fields of PlatenStep.
  Value stepField(unsigned i64Index); // tokens, rows, sequences, page_table_stride
  Value stepArray(
      unsigned pointerIndex); // token_ids, positions, sequence_of_token, row_tokens, page_table
  Value extent(Extent extent) { return stepField(extent == Extent::kRows ? 1 : 0); }

  // Types.
  Type f32() { return b_.getF32Type(); }
  Type f64() { return b_.getF64Type(); }
  Type f16() { return b_.getF16Type(); }
  Type bf16() { return b_.getBF16Type(); }
  Type i(unsigned bits) { return b_.getIntegerType(bits); }
  Type ptr();
  Type vec(int64_t lanes, Type element);
  Type vecF32(int64_t lanes) { return vec(lanes, f32()); }

  // Constants; of a vector type they are splats.
  Value i64(int64_t value) { return intConst(i(64), value); }
  Value intConst(Type type, int64_t value);
  Value floatConst(Type type, float value);
  Value iota(int64_t lanes); // <lanes x i64>: 0, 1, …

  // Arithmetic; floats or integers by the operands' type.
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); // integers: unsigned
  Value rem(Value a, Value b); // unsigned
  Value fma(Value a, Value b, Value c);
  Value neg(Value a);
  Value abs(Value a);
  Value sqrt(Value a);
  Value roundEven(Value a);
  Value tanh(Value a);
  Value erf(Value a);
  Value log(Value a);
  /// Within 1 ulp; 0 below -104, infinity above 89, NaN stays NaN. For f32 vectors.
  Value exp(Value a);
  Value max(Value a, Value b); // floats: a > b ? a : b; integers: signed
  Value min(Value a, Value b);
  Value bitAnd(Value a, Value b);
  Value bitOr(Value a, Value b);
  Value bitXor(Value a, Value b);
  Value shl(Value a, Value b);
  Value shrLogical(Value a, Value b);
  Value shrArith(Value a, Value b);
  Value lessThan(Value a, Value b); // signed or ordered
  Value notEqual(Value a, Value b); // integers
  Value select(Value condition, Value a, Value b);

  // Conversions.
  Value signExtend(Value a, Type type);
  Value zeroExtend(Value a, Type type);
  Value truncate(Value a, Type type);
  Value intToFloat(Value a, Type type);
  Value floatToInt(Value a, Type type);
  Value extendFloat(Value a, Type type);
  Value bitcast(Value a, Type type); // vectors of equal size

  // Vectors.
  Value splat(Value scalar, int64_t lanes);
  Value shuffle(Value a, Value b, llvm::ArrayRef<int64_t> lanes);
  Value extract(Value a, int64_t lane);
  Value insert(Value scalar, Value into, int64_t lane);
  /// Sums or maxima of all lanes (a power of two), halving in a fixed order.
  Value reduceAdd(Value a);
  Value reduceMax(Value a);

  // Memory: address = base + offset (i64 bytes, may be null) + constant.
  Value address(Value base, Value offset, int64_t constant = 0);
  Value load(Type type, Value base, Value offset = {}, int64_t constant = 0);
  void store(Value value, Value base, Value offset = {}, int64_t constant = 0);
  Value maskedLoad(Type type, Value mask, Value base, Value offset = {}, int64_t constant = 0);
  void maskedStore(Value value, Value mask, Value base, Value offset = {}, int64_t constant = 0);
  /// Asks for the cache line at the address, which need not exist.
  void prefetch(Value base, Value offset, int64_t constant);
  /// <lanes x i1>: lane < count (i64).
  Value laneMask(int64_t lanes, Value count);

  Value intrinsic(const char *name, Type result, llvm::ArrayRef<Value> arguments);

  // Control.
  using Body = std::function<Values(Value counter, llvm::ArrayRef<Value> carried)>;
  Values loop(Value from, Value to, int64_t step, llvm::ArrayRef<Value> initial, const Body &body);
  void loop(Value from, Value to, int64_t step, const std::function<void(Value)> &body);
  void ifThen(Value condition, const std::function<void()> &body);

private:
  mlir::ImplicitLocOpBuilder b_;
  const HostTarget &target_;
  Value operands_, begin_, end_, step_;
};

/// One operation (no input) on the values before it, as the arith/math op of the same name.
Value evaluateOne(Ir &ir, const ScalarOp &op, llvm::ArrayRef<Value> values, Type type);

/// Values of every operation of `block` over the given inputs (all of one f32 vector type). Where
/// `known` holds a value, it is used instead.
std::vector<Value> evaluate(Ir &ir, const ScalarBlock &block, llvm::ArrayRef<Value> inputs,
                            Type type, const std::vector<Value> &known = {});

} // namespace platen::kernels
