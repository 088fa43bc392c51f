// Random loop programs for tests: every kind, dtype and operation but the elementary functions,
// nested folds, guarded loads, several stores, scattered accumulation, symbols. Header-only.
//
// Their floats are exact: what is rounded differently by a right implementation (sums in any order,
// the bits of NaN) does not occur.
#pragma once

#include "ops/loops/builder.h"

#include <algorithm>
#include <array>
#include <random>

namespace platen::kernels::harness {

class RandomProgram {
public:
  using Value = ops::loops::Value;
  using Kind = ops::loops::Kind;
  using Op = ops::loops::Op;
  using Size = base::Size;
  static constexpr size_t kSymbols = 2;

  explicit RandomProgram(uint32_t seed) : random_(seed) {}

  /// Valid for symbols in [1, 9].
  ops::loops::Program make() {
    const size_t axes = 1 + pick(3);
    const auto parallel = static_cast<uint32_t>(pick(axes + 1));
    for (size_t axis = 0; axis < axes; ++axis)
      extents_.push_back(randomSize());
    for (size_t i = 0; i < 3; ++i)
      inputs_.push_back(b_.tensor({randomDtype(), randomDims(pick(4))}));
    for (uint32_t axis = 0; axis < axes; ++axis)
      ints_.push_back(b_.axis(axis));
    ints_.push_back(b_.symbol(0));
    const size_t stores = 1 + pick(3);
    for (size_t i = 0; i < stores; ++i)
      addStore(parallel);
    return b_.finish(extents_, parallel);
  }

private:
  size_t pick(size_t count) { return random_() % count; }
  bool chance(size_t in) { return pick(in) == 0; }
  Size randomSize() {
    if (chance(3))
      return Size::symbol(static_cast<uint32_t>(pick(kSymbols)));
    return Size(static_cast<int64_t>(chance(6) ? 1 : chance(3) ? 17 + pick(4) : 2 + pick(6)));
  }
  std::vector<Size> randomDims(size_t rank) {
    std::vector<Size> dims;
    for (size_t i = 0; i < rank; ++i)
      dims.push_back(randomSize());
    return dims;
  }
  base::DType randomDtype() {
    using D = base::DType;
    constexpr std::array kAll = {D::kF32, D::kF16, D::kBF16, D::kF64, D::kI64,
                                 D::kI32, D::kI16, D::kI8,   D::kI4,  D::kU64,
                                 D::kU32, D::kU16, D::kU8,   D::kU4,  D::kBool};
    return kAll[pick(kAll.size())];
  }

  /// Some integer brought into [0, dim).
  Value inside(Value value, const Size &size) {
    const Value dim = b_.size(size);
    return b_.rem(b_.add(b_.rem(value, dim), dim), dim);
  }

  Value load(size_t depth) {
    const uint32_t tensor = chance(4) && !outputs_.empty() ? outputs_[pick(outputs_.size())]
                                                           : inputs_[pick(inputs_.size())];
    return loadFrom(tensor, depth);
  }
  Value loadFrom(uint32_t tensor, size_t depth) {
    const std::vector<Size> dims = b_.spec(tensor).dims;
    std::vector<Value> at;
    if (chance(2) && !dims.empty()) { // may be outside: guarded
      Value condition = b_.boolean(true);
      for (const Size &dim : dims) {
        at.push_back(integer(depth));
        condition = b_.both(condition, b_.both(b_.lessEqual(b_.integer(0), at.back()),
                                               b_.less(at.back(), b_.size(dim))));
      }
      const Kind kind = ops::loops::kindOf(b_.spec(tensor).dtype);
      return b_.loadWhere(condition, tensor, at, b_.number(kind, chance(2) ? 0 : 1));
    }
    for (const Size &dim : dims)
      at.push_back(inside(integer(depth), dim));
    return b_.load(tensor, at);
  }

  Value of(Kind kind, size_t depth) {
    switch (kind) {
    case Kind::kBool:
      return boolean(depth);
    case Kind::kInt:
      return integer(depth);
    default:
      return real(kind, depth);
    }
  }
  Kind anyKind() { return static_cast<Kind>(pick(4)); }

  Value leaf(Kind kind) {
    if (kind == Kind::kInt && chance(2))
      return ints_[pick(ints_.size())];
    if (!carried_.empty() && chance(2)) {
      const Value value = carried_[pick(carried_.size())];
      return b_.convert(kind, value);
    }
    if (chance(2))
      return b_.convert(kind, load(0), chance(2));
    constexpr std::array<double, 8> kNumbers = {0, 1, -1, 2, 0.5, -3, 7, 100};
    return b_.number(kind, kNumbers[pick(kNumbers.size())]);
  }

  Value boolean(size_t depth) {
    if (depth == 0)
      return leaf(Kind::kBool);
    constexpr std::array kCompare = {Op::kEqual, Op::kLess, Op::kLessEqual};
    constexpr std::array kBits = {Op::kAnd, Op::kOr, Op::kXor, Op::kMin, Op::kMax, Op::kLess};
    switch (pick(4)) {
    case 0:
      return b_.negate(boolean(depth - 1));
    case 1:
      return b_.binary(kBits[pick(kBits.size())], boolean(depth - 1), boolean(depth - 1));
    default: {
      const Kind kind = anyKind();
      return b_.binary(kCompare[pick(3)], of(kind, depth - 1), of(kind, depth - 1), chance(2));
    }
    }
  }

  Value integer(size_t depth) {
    if (depth == 0)
      return leaf(Kind::kInt);
    constexpr std::array kBinary = {Op::kAdd,       Op::kSub,        Op::kMul, Op::kDiv,
                                    Op::kRem,       Op::kMin,        Op::kMax, Op::kAnd,
                                    Op::kShiftLeft, Op::kShiftRight, Op::kOr,  Op::kXor};
    constexpr std::array kUnary = {Op::kNeg, Op::kAbs, Op::kNot};
    switch (pick(7)) {
    case 0:
      return b_.unary(kUnary[pick(3)], integer(depth - 1));
    case 1:
      return b_.select(boolean(depth - 1), integer(depth - 1), integer(depth - 1));
    case 2:
      return b_.convert(Kind::kInt, of(anyKind(), depth - 1));
    case 3:
      return fold(Kind::kInt, depth);
    case 4: {
      const Kind kind = chance(2) ? Kind::kF32 : Kind::kF64;
      const Value value = b_.add(real(kind, depth - 1), b_.number(kind, 0)); // no -0
      return b_.bits(b_.select(b_.isNan(value), b_.number(kind, 1), value));
    }
    default:
      return b_.binary(kBinary[pick(kBinary.size())], integer(depth - 1), integer(depth - 1),
                       chance(2));
    }
  }

  Value real(Kind kind, size_t depth) {
    if (depth == 0)
      return leaf(kind);
    constexpr std::array kBinary = {Op::kAdd, Op::kSub, Op::kMul, Op::kDiv, Op::kRem};
    constexpr std::array kUnary = {Op::kNeg,   Op::kAbs,  Op::kSqrt,     Op::kFloor,
                                   Op::kTrunc, Op::kCeil, Op::kRoundEven};
    constexpr std::array kRounds = {base::DType::kF16, base::DType::kBF16, base::DType::kF32};
    switch (pick(8)) {
    case 0:
      return b_.unary(kUnary[pick(kUnary.size())], real(kind, depth - 1));
    case 1:
      return b_.select(boolean(depth - 1), real(kind, depth - 1), real(kind, depth - 1));
    case 2:
      return b_.convert(kind, of(anyKind(), depth - 1), chance(2));
    case 3:
      return fold(kind, depth);
    case 4: // no -0, which of two zeros is the lesser is nobody's business
      return b_.add(
          b_.binary(chance(2) ? Op::kMin : Op::kMax, real(kind, depth - 1), real(kind, depth - 1)),
          b_.number(kind, 0));
    case 5:
      return kind == Kind::kF32 ? b_.round(kRounds[pick(kRounds.size())], real(kind, depth - 1))
                                : b_.fma(real(kind, depth - 1), real(kind, depth - 1), leaf(kind));
    default:
      return b_.binary(kBinary[pick(kBinary.size())], real(kind, depth - 1), real(kind, depth - 1));
    }
  }

  Value fold(Kind kind, size_t depth) {
    if (open_ == 2)
      return leaf(kind);
    ++open_;
    const Kind other = anyKind();
    const Value to = chance(3) ? b_.symbol(0) : b_.integer(static_cast<int64_t>(pick(5)));
    const bool isSum = kind == Kind::kInt && chance(2); // whose order nobody sees
    const Value last = isSum ? b_.integer(20) : to;
    const size_t ints = ints_.size(), carried = carried_.size();
    const std::vector<Value> initial = {leaf(kind), leaf(other)};
    const Value result = b_.fold(
        b_.integer(0), last, initial,
        [&](Value index, std::span<const Value> values) -> std::vector<Value> {
          ints_.push_back(index);
          if (isSum)
            return {b_.add(values[0], integer(depth - 1)), values[1]};
          carried_.insert(carried_.end(), values.begin(), values.end());
          const Value first = of(kind, depth - 1);
          return {first, chance(2) ? values[1] : of(other, depth - 1)};
        },
        isSum)[0];
    ints_.resize(ints), carried_.resize(carried);
    --open_;
    return result;
  }

  void addStore(uint32_t parallel) {
    const bool isAgain = !outputs_.empty() && chance(4);
    const bool scatters = parallel < extents_.size();
    if (!isAgain) {
      std::vector<Size> dims(extents_.begin(), extents_.begin() + parallel);
      if (scatters)
        dims.push_back(randomSize());
      outputs_.push_back(b_.tensor({randomDtype(), dims}));
    }
    const uint32_t tensor = outputs_.back();
    const std::vector<Size> dims = b_.spec(tensor).dims;
    std::vector<Value> at;
    for (uint32_t axis = 0; axis < parallel; ++axis)
      at.push_back(b_.axis(axis));
    // Other points' elements must not be read, so only the own ones are.
    const std::vector<uint32_t> all = std::exchange(outputs_, {});
    if (scatters)
      at.push_back(inside(integer(1), dims.back()));
    const Kind kind = ops::loops::kindOf(b_.spec(tensor).dtype);
    Value value = of(kind, 3);
    if (scatters && chance(2)) {
      const Value before = b_.load(tensor, at);
      value = kind == Kind::kBool ? b_.either(before, value) : b_.add(before, value);
    }
    const Value condition = chance(3) ? boolean(1) : ops::loops::kNoValue;
    outputs_ = all;
    b_.store(tensor, at, value, condition);
  }

  std::mt19937 random_;
  ops::loops::Builder b_;
  std::vector<Size> extents_;
  std::vector<uint32_t> inputs_, outputs_;
  std::vector<Value> ints_, carried_;
  size_t open_ = 0; ///< folds
};

} // namespace platen::kernels::harness
