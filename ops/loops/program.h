// Loops: how operators without a kernel of their own are computed, on every target.
//
// A Program is one launch: for every point of a domain it evaluates expressions over elements of
// tensors and stores the results. Host and CUDA emitters turn the same program into code; so there
// is one description of an operator's computation beside its reference, and fusing two operators is
// putting one expression into the other (fuse.h).
//
// Expressions are nodes in a list; a node names earlier ones. Reductions are folds: counted loops
// that carry values, nested as deep as need be. Everything is a plain value.
//
// Evaluation: `stores` are executed for every point, in their order; points of the first `parallel`
// axes in any order or at once, those of the others in row-major order. A tensor that is loaded as
// well as stored holds, at each load, what was stored before.
#pragma once

#include "ops/tensor.h"
#include "runtime/base/size.h"

#include <cstdint>
#include <string>
#include <vector>

namespace platen::ops::loops {

using base::Size;

/// What an expression computes in. Elements are widened to it when they are loaded (integers to 64
/// bits, floats narrower than f32 to f32) and brought back to the tensor's dtype when they are
/// stored: integers wrap, floats round to nearest even, bool is not 0.
enum class Kind : uint8_t { kBool, kInt, kF32, kF64 };

Kind kindOf(DType dtype);

enum class Op : uint8_t {
  // Leaves.
  kConstant,    ///< `integer` of kInt and kBool, `number` of floats
  kSymbol,      ///< kInt: the run's value of symbol `index`
  kAxis,        ///< kInt: the point's coordinate on axis `index`
  kFoldIndex,   ///< kInt: the counter of fold `index`, inside it
  kFoldCarried, ///< value `part` that fold `index` carries, inside it
  kFoldResult,  ///< the same after its last turn
  kLoad,        ///< element `coordinates` of tensor `index`
  // Arithmetic of kInt (wrapping), kF32, kF64.
  kAdd,
  kSub,
  kMul,
  kDiv, ///< integers: towards zero; by 0 gives 0
  kRem, ///< integers: with the dividend's sign, by 0 gives 0; floats: fmod
  kMin, ///< floats: NaN if one of them is
  kMax,
  kNeg,
  kAbs,
  // Floats.
  kFma, ///< a * b + c, rounded once
  kSqrt,
  kFloor,
  kCeil,
  kTrunc,
  kRoundEven,
  kExp,
  kLog,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kPow,
  // kBool of numbers; ordered: false if one of them is NaN.
  kEqual,
  kLess,
  kLessEqual,
  // Bits: kBool or kInt.
  kAnd,
  kOr,
  kXor,
  kNot,
  kShiftLeft,  ///< kInt; by 64 and more gives 0
  kShiftRight, ///< kInt; with isUnsigned zeros come in, else the sign
  kSelect,     ///< a (kBool) ? b : c; both are evaluated
  kConvert, ///< a in the node's kind: floats to integers towards zero, saturating, NaN gives 0; to
            ///< kBool: is not 0
  kRound,   ///< a as a tensor of dtype `dtype` would hold it
  kBits,    ///< the bits of a: kF32 and kF64 to kInt (f32 zero-extended), and back
};

using Value = uint32_t;
inline constexpr Value kNoValue = UINT32_MAX;

struct Node {
  Op op = Op::kConstant;
  Kind kind = Kind::kInt;
  /// kDiv, kRem, kMin, kMax, kLess, kLessEqual, kShiftRight and kConvert of kInt: the operands are
  /// unsigned 64-bit numbers.
  bool isUnsigned = false;
  DType dtype = DType::kF32; ///< of kRound
  Value a = kNoValue, b = kNoValue, c = kNoValue;
  uint32_t index = 0, part = 0;
  int64_t integer = 0;
  double number = 0;
  std::vector<Value> coordinates{}; ///< of kLoad: one for each dimension, inside the tensor
  bool operator==(const Node &) const = default;
};

/// for (index = from; index < to; ++index) carried = next(index, carried).
struct Fold {
  Value from = kNoValue, to = kNoValue; ///< kInt
  std::vector<Value> initial, next;     ///< of each carried value
  /// Sums and products may be grouped as the target likes, the same way for equal counts.
  bool anyOrder = false;
  bool operator==(const Fold &) const = default;
};

/// An operand of the launch, row-major. 4-bit elements: two a byte, low nibble first.
struct TensorSpec {
  DType dtype = DType::kF32;
  std::vector<Size> dims;
  bool operator==(const TensorSpec &) const = default;
};

struct Store {
  uint32_t tensor = 0;
  std::vector<Value> coordinates; ///< inside the tensor, or anything where the condition is false
  Value value = kNoValue;
  Value condition = kNoValue; ///< kBool; kNoValue: always
  bool operator==(const Store &) const = default;
};

struct Program {
  std::vector<TensorSpec> tensors;
  std::vector<Node> nodes;
  std::vector<Fold> folds;
  std::vector<Size> extents; ///< of the domain's axes
  uint32_t parallel = 0;     ///< leading axes whose points may run at once
  std::vector<Store> stores;
  bool operator==(const Program &) const = default;

  uint32_t symbolCount() const; ///< one more than the largest that it mentions
  bool isStored(uint32_t tensor) const;
  bool isLoaded(uint32_t tensor) const;
  /// Text that is equal for equal programs and for no others.
  std::string key() const;
};

/// kInternal, saying where, unless every index is in range, nodes name earlier ones, folds nest,
/// and kinds fit.
base::Status verify(const Program &program);

} // namespace platen::ops::loops
