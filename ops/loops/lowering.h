// What an operator's `loops` function sees and makes: its operands and results as tensors, and
// launches over them.
//
//   Status lower(Lowering &op) {                       // y = x + 1
//     const TensorRef x = op.operand(0), y = op.result(0);
//     return op.compute(y, [&](Stage &s, Coordinates at) {
//       return s.add(s.load(x, at), s.number(x.kind(), 1));
//     });
//   }
//
// Dimensions are Sizes: numbers, or polynomials of what only a run knows. An operator whose loops
// need more than is known (the value of an operand that only a run has) says so with kUnsupported,
// naming the operand. Not thread-safe.
#pragma once

#include "ops/loops/builder.h"
#include "ops/op.h"

namespace platen::ops::loops {

/// A tensor of the operator: an operand, a result or a temporary.
struct TensorRef {
  uint32_t id = 0; ///< of the Lowering
  DType dtype = DType::kF32;
  std::vector<Size> dims;
  size_t rank() const { return dims.size(); }
  Kind kind() const { return loops::kindOf(dtype); }
};

using Coordinates = std::span<const Value>;

/// One launch under construction: a builder whose tensors are the Lowering's.
class Stage : public Builder {
public:
  using Builder::load;
  using Builder::loadWhere;
  using Builder::store;
  Value load(const TensorRef &tensor, Coordinates at) { return load(local(tensor), at); }
  Value loadWhere(Value condition, const TensorRef &tensor, Coordinates at, Value otherwise) {
    return loadWhere(condition, local(tensor), at, otherwise);
  }
  /// The element under the coordinates of a result that the tensor broadcasts to (ONNX rules).
  Value loadBroadcast(const TensorRef &tensor, Coordinates at, std::span<const Size> resultDims);
  void store(const TensorRef &tensor, Coordinates at, Value value, Value condition = kNoValue) {
    store(local(tensor), at, value, condition);
  }
  Value dim(const TensorRef &tensor, size_t axis) { return size(tensor.dims[axis]); }
  /// Element `index` of a tensor that is known at compile time.
  Value literal(const Tensor &tensor, int64_t index = 0);
  /// The only element of a tensor of one element.
  Value scalar(const TensorRef &tensor);
  /// An index as ONNX counts it: negative ones from the end of an axis of `length` elements.
  Value wrapped(Value index, Value length);
  /// The nearest number of [0, length).
  Value clamped(Value index, Value length) {
    return max(integer(0), min(index, sub(length, integer(1))));
  }
  /// 0 <= index < length.
  Value isInside(Value index, Value length);
  /// A fold over all coordinates of dims, the last axis innermost.
  using Step = std::function<std::vector<Value>(Coordinates, std::span<const Value> carried)>;
  std::vector<Value> foldOver(std::span<const Size> dims, std::vector<Value> initial,
                              const Step &step, bool anyOrder = false);
  Value sumOver(std::span<const Size> dims, Kind kind, const std::function<Value(Coordinates)> &f);
  /// `value` in the kind of `tensor`'s elements.
  Value as(const TensorRef &tensor, Value value) { return convert(tensor.kind(), value); }

private:
  friend class Lowering;
  uint32_t local(const TensorRef &tensor);
  std::vector<uint32_t> ids_; ///< [local] of the Lowering
};

/// The float that sums over elements of a float dtype are kept in: f32, or f64 of f64.
inline DType accumulatorOf(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

/// A finished launch: operand i of the program is tensor tensors[i] of the Lowering.
struct Launch {
  Program program;
  std::vector<uint32_t> tensors;
};

/// What the lowering of one operator is given.
struct Given {
  /// Absent operands are empty.
  std::vector<std::optional<TensorSpec>> operands;
  std::vector<const Tensor *> constants; ///< [operands] known values, or null
  /// [operands] elements of small integer operands as sizes, where they are known so.
  std::vector<std::optional<std::vector<Size>>> sizes;
  std::vector<TensorSpec> results;
  Attributes attributes; ///< validated
};

class Lowering {
public:
  explicit Lowering(Given given);

  const Attributes &attributes() const { return given_.attributes; }
  size_t operandCount() const { return given_.operands.size(); }
  bool has(size_t operand) const {
    return operand < given_.operands.size() && given_.operands[operand].has_value();
  }
  TensorRef operand(size_t index) const; ///< requires has(index)
  size_t resultCount() const { return given_.results.size(); }
  TensorRef result(size_t index) const;
  /// The operand's value if it is known at compile time, or null.
  const Tensor *constant(size_t operand) const { return given_.constants[operand]; }
  /// The elements of a small integer operand: known numbers or sizes. kUnsupported, naming the
  /// operand, where only a run knows them.
  base::Result<std::vector<Size>> sizes(size_t operand) const;
  TensorRef temporary(DType dtype, std::vector<Size> dims);

  /// One launch over all elements of `out`: each is body's value, converted to its kind.
  base::Status compute(const TensorRef &out,
                       const std::function<Value(Stage &, Coordinates)> &body);
  /// One launch over a domain; body stores what it wants. `parallel`: leading axes whose points may
  /// run at once.
  base::Status launch(std::vector<Size> extents, size_t parallel,
                      const std::function<void(Stage &, Coordinates)> &body);
  /// out = in, element by element in row-major order (one shape may be another's reshape). Shapes
  /// that differ in axes of length 1 alone need no division.
  base::Status copy(const TensorRef &in, const TensorRef &out);

  // What was made: operands first (absent ones too), then results, then temporaries.
  const std::vector<Launch> &launches() const { return launches_; }
  const std::vector<TensorSpec> &tensors() const { return tensors_; }
  uint32_t firstResult() const { return static_cast<uint32_t>(given_.operands.size()); }
  uint32_t firstTemporary() const {
    return firstResult() + static_cast<uint32_t>(given_.results.size());
  }

private:
  base::Status finish(Stage stage, std::vector<Size> extents, size_t parallel);
  Given given_;
  std::vector<TensorSpec> tensors_;
  std::vector<Launch> launches_;
};

/// The operator's launches for static operands, by infer() and its `loops`; kUnsupported if it has
/// none.
base::Result<Lowering> lowerStatic(const OpSpec &op, Inputs operands, const Attributes &attributes);

/// lowerStatic and evaluate(): the results, to be compared with the reference's.
base::Result<std::vector<Tensor>> evaluateByLoops(const OpSpec &op, Inputs operands,
                                                  const Attributes &attributes);

} // namespace platen::ops::loops
