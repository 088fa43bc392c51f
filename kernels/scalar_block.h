// ScalarBlock: a straight-line block of scalar f32 operations, the body of a fused epilogue or row
// stage.
//
// It is the plain form of an MLIR block of arith/math ops: it can be compared, hashed into a
// kernel's name and built without MLIR; builders turn each operation into the arith/math op of the
// same name over vectors. A value is the index of the operation that makes it. Inputs are numbered
// by whoever uses the block (see specs.h). A plain value type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace platen::kernels {

enum class ScalarOpKind : uint8_t {
  kInput,    ///< input number `index`
  kConstant, ///< `constant`
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kFma, ///< a * b + c, rounded once
  kNeg,
  kAbs,
  kSqrt,
  kRsqrt, ///< 1 / sqrt(a), by square root and division
  kExp,
  kLog,
  kTanh,
  kErf,
};

struct ScalarOp {
  ScalarOpKind kind = ScalarOpKind::kInput;
  uint32_t a = 0, b = 0, c = 0; ///< values
  uint32_t index = 0;           ///< of an input
  float constant = 0;
  bool operator==(const ScalarOp &) const = default;
};

class ScalarBlock {
public:
  using Value = uint32_t;

  Value input(uint32_t index) { return push({ScalarOpKind::kInput, 0, 0, 0, index}); }
  Value constant(float value) { return push({ScalarOpKind::kConstant, 0, 0, 0, 0, value}); }
  Value add(Value a, Value b) { return push({ScalarOpKind::kAdd, a, b}); }
  Value sub(Value a, Value b) { return push({ScalarOpKind::kSub, a, b}); }
  Value mul(Value a, Value b) { return push({ScalarOpKind::kMul, a, b}); }
  Value div(Value a, Value b) { return push({ScalarOpKind::kDiv, a, b}); }
  Value max(Value a, Value b) { return push({ScalarOpKind::kMax, a, b}); }
  Value min(Value a, Value b) { return push({ScalarOpKind::kMin, a, b}); }
  Value fma(Value a, Value b, Value c) { return push({ScalarOpKind::kFma, a, b, c}); }
  Value unary(ScalarOpKind kind, Value a) { return push({kind, a}); }
  /// The value that the block yields, where a user wants exactly one.
  void yield(Value value) { result_ = value; }

  Value result() const { return result_; }
  const std::vector<ScalarOp> &ops() const { return ops_; }
  bool operator==(const ScalarBlock &) const = default;
  /// Text that is equal for equal blocks and for no others, for kernel keys and dumps.
  std::string key() const;

  // Usual compositions. Formulas as the ONNX operators of the same names define them.
  Value sigmoid(Value x);            ///< 1 / (1 + exp(-x))
  Value silu(Value x);               ///< x * sigmoid(x)
  Value geluTanh(Value x);           ///< 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  Value geluErf(Value x);            ///< 0.5 x (1 + erf(x / sqrt 2))
  Value softcap(Value x, float cap); ///< cap * tanh(x / cap)

private:
  Value push(const ScalarOp &op) {
    ops_.push_back(op);
    return result_ = static_cast<Value>(ops_.size() - 1);
  }
  std::vector<ScalarOp> ops_;
  Value result_ = 0;
};

} // namespace platen::kernels
