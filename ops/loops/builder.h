// Builds the expressions of a Program, folding constants and sharing equal nodes on the way.
//
// Values belong to the builder that made them. Misuse (kinds that do not fit, values of another
// builder) is a mistake of the caller: verify() finds it. Not thread-safe.
#pragma once

#include "ops/loops/program.h"

#include <functional>
#include <map>
#include <span>

namespace platen::ops::loops {

class Builder {
public:
  /// Adds an operand.
  uint32_t tensor(TensorSpec spec);
  const TensorSpec &spec(uint32_t tensor) const { return program_.tensors[tensor]; }

  // Leaves.
  Value integer(int64_t value);
  Value boolean(bool value);
  Value number(Kind kind, double value); ///< of any kind; integers truncate
  Value least(Kind kind);                ///< of floats -infinity
  Value greatest(Kind kind);             ///< of floats infinity
  Value symbol(uint32_t index);
  Value size(const Size &size);
  Value axis(uint32_t index);
  Value load(uint32_t tensor, std::span<const Value> coordinates);
  /// The element where the condition holds (elsewhere nothing beyond the tensor is read), else
  /// `otherwise`.
  Value loadWhere(Value condition, uint32_t tensor, std::span<const Value> coordinates,
                  Value otherwise);

  Kind kind(Value value) const { return program_.nodes[value].kind; }
  bool isConstant(Value value) const { return program_.nodes[value].op == Op::kConstant; }

  // Operations. Operands of one kind; comparisons give kBool.
  Value unary(Op op, Value a);
  Value binary(Op op, Value a, Value b, bool isUnsigned = false);
  Value add(Value a, Value b) { return binary(Op::kAdd, a, b); }
  Value sub(Value a, Value b) { return binary(Op::kSub, a, b); }
  Value mul(Value a, Value b) { return binary(Op::kMul, a, b); }
  Value div(Value a, Value b) { return binary(Op::kDiv, a, b); }
  Value rem(Value a, Value b) { return binary(Op::kRem, a, b); }
  Value min(Value a, Value b) { return binary(Op::kMin, a, b); }
  Value max(Value a, Value b) { return binary(Op::kMax, a, b); }
  Value equal(Value a, Value b) { return binary(Op::kEqual, a, b); }
  Value less(Value a, Value b) { return binary(Op::kLess, a, b); }
  Value lessEqual(Value a, Value b) { return binary(Op::kLessEqual, a, b); }
  Value both(Value a, Value b) { return binary(Op::kAnd, a, b); }
  Value either(Value a, Value b) { return binary(Op::kOr, a, b); }
  Value negate(Value a) { return unary(Op::kNot, a); } ///< of kBool
  Value isNan(Value a);
  Value isInfinite(Value a);
  Value fma(Value a, Value b, Value c);
  Value select(Value condition, Value a, Value b);
  Value convert(Kind kind, Value a, bool isUnsigned = false);
  /// As a tensor of that dtype would hold it, in the same kind.
  Value round(DType dtype, Value a);
  Value bits(Value a);                ///< kF32, kF64 → kInt
  Value fromBits(Kind kind, Value a); ///< kInt → kF32, kF64

  using Body = std::function<std::vector<Value>(Value index, std::span<const Value> carried)>;
  /// The values carried after the last turn.
  std::vector<Value> fold(Value from, Value to, std::vector<Value> initial, const Body &body,
                          bool anyOrder = false);
  /// f(0) + … + f(count - 1), in any order where the kind is a float.
  Value sum(Value count, Kind kind, const std::function<Value(Value)> &f);
  Value product(Value count, Kind kind, const std::function<Value(Value)> &f);
  /// The greatest, resp. least, of f(0) … f(count - 1); of none: the kind's least, resp. greatest.
  Value maximum(Value count, Kind kind, const std::function<Value(Value)> &f);
  Value minimum(Value count, Kind kind, const std::function<Value(Value)> &f);

  /// Row-major position of coordinates under dims, and back.
  Value linear(std::span<const Value> coordinates, std::span<const Size> dims);
  std::vector<Value> coordinates(Value linear, std::span<const Size> dims);

  void store(uint32_t tensor, std::span<const Value> coordinates, Value value,
             Value condition = kNoValue);
  /// Ends the program. `parallel` counts leading axes whose points may run at once.
  Program finish(std::vector<Size> extents, uint32_t parallel);

private:
  Value push(Node node);
  std::optional<Value> simplify(const Node &node);
  std::optional<int64_t> asInteger(Value value) const;

  Program program_;
  std::map<std::string, Value> known_; ///< by the node's text
};

/// A node's text within a program, for keys and equality.
std::string textOf(const Node &node);

} // namespace platen::ops::loops
