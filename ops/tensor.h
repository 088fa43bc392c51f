// Plain tensors of the operator contracts: dense, row-major, owned. Used by shape rules,
// references, the importer's constants and tests; never on a serving path, so clarity beats speed
// here.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace platen::ops {

using base::DType;

/// A dimension that only a run knows.
inline constexpr int64_t kDynamic = std::numeric_limits<int64_t>::min();

/// dtype and dimensions; a dimension may be kDynamic.
struct TensorType {
  DType dtype = DType::kF32;
  std::vector<int64_t> dims;

  int64_t rank() const { return static_cast<int64_t>(dims.size()); }
  bool isStatic() const;
  /// Product of the dimensions, INT64_MAX where that overflows; requires isStatic().
  int64_t elementCount() const;
  /// "f32[?,640]".
  std::string toString() const;
  friend bool operator==(const TensorType &, const TensorType &) = default;
};

/// A value: static type and its bytes. 4-bit types take two elements a byte, low nibble first.
class Tensor {
public:
  Tensor() = default;
  /// Zero-filled. Requires a static type.
  explicit Tensor(TensorType type);
  template <typename T>
  static Tensor of(DType dtype, std::vector<int64_t> dims, std::span<const T> values) {
    Tensor tensor(TensorType{dtype, std::move(dims)});
    for (size_t i = 0; i < values.size(); ++i)
      tensor.set(static_cast<int64_t>(i), static_cast<double>(values[i]));
    return tensor;
  }
  static Tensor scalarI64(int64_t value);
  static Tensor vectorI64(std::span<const int64_t> values);

  const TensorType &type() const { return type_; }
  DType dtype() const { return type_.dtype; }
  std::span<const int64_t> dims() const { return type_.dims; }
  int64_t elementCount() const { return type_.elementCount(); }
  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// The elements as T; requires that sizeof(T) is the dtype's width.
  template <typename T> std::span<T> as() {
    return {reinterpret_cast<T *>(bytes_.data()), bytes_.size() / sizeof(T)};
  }
  template <typename T> std::span<const T> as() const {
    return {reinterpret_cast<const T *>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

  /// Element `index` (row-major) widened to double, resp. rounded from double to the dtype
  /// (integers truncate toward zero and saturate at 64 bits, NaN becomes 0; bool is != 0). 64-bit
  /// integers beyond 2^53 need getInt/setInt.
  double get(int64_t index) const;
  void set(int64_t index, double value);
  int64_t getInt(int64_t index) const;
  void setInt(int64_t index, int64_t value);
  /// All elements as int64, for shapes and axes.
  std::vector<int64_t> toInts() const;

  /// Elements [begin, begin + out.size()) widened to double, in one go.
  void read(int64_t begin, std::span<double> out) const;
  /// Copies `count` consecutive elements of `from`, which has the same dtype, bit for bit.
  void copyFrom(const Tensor &from, int64_t fromIndex, int64_t toIndex, int64_t count);

private:
  TensorType type_;
  std::vector<std::byte> bytes_;
};

/// Row-major strides, in elements.
std::vector<int64_t> stridesOf(std::span<const int64_t> dims);

/// ONNX multidirectional broadcast of two shapes (dynamic dimensions allowed), or why there is
/// none.
base::Result<std::vector<int64_t>> broadcastDims(std::span<const int64_t> a,
                                                 std::span<const int64_t> b);

/// Strides with which a tensor of `dims` is read under the coordinates of `outDims`, to which it
/// broadcasts: 0 where it repeats.
std::vector<int64_t> broadcastStrides(std::span<const int64_t> dims,
                                      std::span<const int64_t> outDims);

/// Visits the coordinates of `dims` in row-major order and keeps, for each of several operands,
/// the element index that its strides (one list of dims.size() each) give.
class StridedWalk {
public:
  StridedWalk(std::span<const int64_t> dims, std::vector<std::vector<int64_t>> strides);
  int64_t index(size_t operand) const { return indices_[operand]; }
  std::span<const int64_t> coordinates() const { return coordinates_; }
  void next();

private:
  std::vector<int64_t> dims_, coordinates_, indices_;
  std::vector<std::vector<int64_t>> strides_;
};

/// The tensor of `dims` whose element at coordinates c is x's element offset + c·strides.
Tensor gatherStrided(const Tensor &x, std::vector<int64_t> dims, std::vector<int64_t> strides,
                     int64_t offset = 0);

/// Equal, or one of them unknown until the run.
inline bool mayEqual(int64_t a, int64_t b) { return a == b || a == kDynamic || b == kDynamic; }
/// Product of dimensions, kDynamic if one of them is (and none before it is 0), INT64_MAX where it
/// overflows.
int64_t productOf(std::span<const int64_t> dims);

/// Normalises an axis of [-rank, rank) to [0, rank), or InvalidArgument naming `what`.
base::Result<int64_t> normalizeAxis(int64_t axis, int64_t rank, std::string_view what);

} // namespace platen::ops
