// Element access goes through double (or int64), one element at a time: a reference to be read, not
// raced.
#include "ops/tensor.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace platen::ops {

using base::bf16ToFloat;
using base::f16ToFloat;
using base::floatToBf16;
using base::floatToF16;
using base::invalidArgument;
using base::Result;

bool TensorType::isStatic() const {
  for (int64_t dim : dims)
    if (dim == kDynamic)
      return false;
  return true;
}

int64_t TensorType::elementCount() const { return productOf(dims); }

std::string TensorType::toString() const {
  std::string text(base::dtypeName(dtype));
  text += '[';
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i != 0)
      text += ',';
    text += dims[i] == kDynamic ? "?" : std::to_string(dims[i]);
  }
  return text + ']';
}

Tensor::Tensor(TensorType type) : type_(std::move(type)) {
  bytes_.resize((static_cast<size_t>(type_.elementCount()) * base::bitWidth(type_.dtype) + 7) / 8);
}

Tensor Tensor::scalarI64(int64_t value) {
  Tensor tensor(TensorType{DType::kI64, {}});
  tensor.setInt(0, value);
  return tensor;
}

Tensor Tensor::vectorI64(std::span<const int64_t> values) {
  Tensor tensor(TensorType{DType::kI64, {static_cast<int64_t>(values.size())}});
  for (size_t i = 0; i < values.size(); ++i)
    tensor.setInt(static_cast<int64_t>(i), values[i]);
  return tensor;
}

namespace {

template <typename T> T load(const std::byte *bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T> void store(std::byte *bytes, int64_t index, T value) {
  std::memcpy(bytes + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

int nibble(const std::byte *bytes, int64_t index) {
  int both = std::to_integer<int>(bytes[index / 2]);
  return (index % 2 == 0) ? (both & 15) : (both >> 4);
}

void setNibble(std::byte *bytes, int64_t index, int64_t value) {
  int both = std::to_integer<int>(bytes[index / 2]);
  int low = static_cast<int>(value & 15);
  both = (index % 2 == 0) ? ((both & 0xf0) | low) : ((both & 0x0f) | (low << 4));
  bytes[index / 2] = static_cast<std::byte>(both);
}

int64_t saturate(double value) {
  if (std::isnan(value))
    return 0;
  if (value >= 0x1p63)
    return std::numeric_limits<int64_t>::max();
  return value < -0x1p63 ? std::numeric_limits<int64_t>::min() : static_cast<int64_t>(value);
}

} // namespace

double Tensor::get(int64_t index) const {
  switch (type_.dtype) {
  case DType::kF32:
    return load<float>(bytes_.data(), index);
  case DType::kF64:
    return load<double>(bytes_.data(), index);
  case DType::kF16:
    return f16ToFloat(load<uint16_t>(bytes_.data(), index));
  case DType::kBF16:
    return bf16ToFloat(load<uint16_t>(bytes_.data(), index));
  case DType::kU64:
    return static_cast<double>(load<uint64_t>(bytes_.data(), index));
  default:
    return static_cast<double>(getInt(index));
  }
}

void Tensor::set(int64_t index, double value) {
  switch (type_.dtype) {
  case DType::kF32:
    return store(bytes_.data(), index, static_cast<float>(value));
  case DType::kF64:
    return store(bytes_.data(), index, value);
  case DType::kF16:
    return store(bytes_.data(), index, floatToF16(static_cast<float>(value)));
  case DType::kBF16:
    return store(bytes_.data(), index, floatToBf16(static_cast<float>(value)));
  case DType::kBool:
    return setInt(index, value != 0);
  case DType::kU64:
    return store(bytes_.data(), index,
                 value > 0x1p63 ? (value < 0x1p64 ? static_cast<uint64_t>(value) : ~uint64_t{0})
                                : static_cast<uint64_t>(saturate(value)));
  default:
    return setInt(index, saturate(value));
  }
}

int64_t Tensor::getInt(int64_t index) const {
  switch (type_.dtype) {
  case DType::kI64:
  case DType::kU64:
    return load<int64_t>(bytes_.data(), index);
  case DType::kI32:
    return load<int32_t>(bytes_.data(), index);
  case DType::kU32:
    return load<uint32_t>(bytes_.data(), index);
  case DType::kI16:
    return load<int16_t>(bytes_.data(), index);
  case DType::kU16:
    return load<uint16_t>(bytes_.data(), index);
  case DType::kI8:
    return load<int8_t>(bytes_.data(), index);
  case DType::kU8:
  case DType::kBool:
    return load<uint8_t>(bytes_.data(), index);
  case DType::kU4:
    return nibble(bytes_.data(), index);
  case DType::kI4: {
    int value = nibble(bytes_.data(), index);
    return value >= 8 ? value - 16 : value;
  }
  default:
    return static_cast<int64_t>(get(index));
  }
}

void Tensor::setInt(int64_t index, int64_t value) {
  switch (type_.dtype) {
  case DType::kI64:
  case DType::kU64:
    return store(bytes_.data(), index, value);
  case DType::kI32:
  case DType::kU32:
    return store(bytes_.data(), index, static_cast<int32_t>(value));
  case DType::kI16:
  case DType::kU16:
    return store(bytes_.data(), index, static_cast<int16_t>(value));
  case DType::kI8:
  case DType::kU8:
    return store(bytes_.data(), index, static_cast<int8_t>(value));
  case DType::kBool:
    return store(bytes_.data(), index, static_cast<uint8_t>(value != 0));
  case DType::kI4:
  case DType::kU4:
    return setNibble(bytes_.data(), index, value);
  default:
    return set(index, static_cast<double>(value));
  }
}

void Tensor::read(int64_t begin, std::span<double> out) const {
  if (type_.dtype == DType::kF32) {
    const float *values = as<float>().data() + begin;
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = values[i];
    return;
  }
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = get(begin + static_cast<int64_t>(i));
}

void Tensor::copyFrom(const Tensor &from, int64_t fromIndex, int64_t toIndex, int64_t count) {
  int64_t bits = base::bitWidth(type_.dtype);
  if (bits == 4) {
    for (int64_t i = 0; i < count; ++i)
      setNibble(bytes_.data(), toIndex + i, nibble(from.bytes_.data(), fromIndex + i));
    return;
  }
  if (count > 0)
    std::memcpy(bytes_.data() + toIndex * bits / 8, from.bytes_.data() + fromIndex * bits / 8,
                static_cast<size_t>(count * bits / 8));
}

std::vector<int64_t> Tensor::toInts() const {
  std::vector<int64_t> values(static_cast<size_t>(elementCount()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = getInt(static_cast<int64_t>(i));
  return values;
}

std::vector<int64_t> stridesOf(std::span<const int64_t> dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Result<std::vector<int64_t>> broadcastDims(std::span<const int64_t> a, std::span<const int64_t> b) {
  size_t rank = std::max(a.size(), b.size());
  std::vector<int64_t> out(rank);
  for (size_t i = 0; i < rank; ++i) {
    int64_t left = i < rank - a.size() ? 1 : a[i - (rank - a.size())];
    int64_t right = i < rank - b.size() ? 1 : b[i - (rank - b.size())];
    if (left == 1 || left == right)
      out[i] = right;
    else if (right == 1)
      out[i] = left;
    else if (left == kDynamic || right == kDynamic)
      out[i] = left == kDynamic ? right : left; // the run must find them equal
    else
      return invalidArgument("dimension " + std::to_string(i) + " is " + std::to_string(left) +
                             " on one side and " + std::to_string(right) +
                             " on the other; they must be equal or one of them 1");
  }
  return out;
}

std::vector<int64_t> broadcastStrides(std::span<const int64_t> dims,
                                      std::span<const int64_t> outDims) {
  std::vector<int64_t> own = stridesOf(dims), strides(outDims.size(), 0);
  size_t lead = outDims.size() - dims.size();
  for (size_t i = 0; i < dims.size(); ++i)
    strides[lead + i] = dims[i] == 1 ? 0 : own[i];
  return strides;
}

StridedWalk::StridedWalk(std::span<const int64_t> dims, std::vector<std::vector<int64_t>> strides)
    : dims_(dims.begin(), dims.end()), coordinates_(dims.size(), 0), indices_(strides.size(), 0),
      strides_(std::move(strides)) {}

void StridedWalk::next() {
  for (size_t axis = dims_.size(); axis-- > 0;) {
    for (size_t operand = 0; operand < strides_.size(); ++operand)
      indices_[operand] += strides_[operand][axis];
    if (++coordinates_[axis] < dims_[axis])
      return;
    for (size_t operand = 0; operand < strides_.size(); ++operand)
      indices_[operand] -= strides_[operand][axis] * dims_[axis];
    coordinates_[axis] = 0;
  }
}

Tensor gatherStrided(const Tensor &x, std::vector<int64_t> dims, std::vector<int64_t> strides,
                     int64_t offset) {
  Tensor result(TensorType{x.dtype(), std::move(dims)});
  StridedWalk walk(result.dims(), {std::move(strides)});
  for (int64_t i = 0; i < result.elementCount(); ++i, walk.next())
    result.copyFrom(x, offset + walk.index(0), i, 1);
  return result;
}

int64_t productOf(std::span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t dim : dims) {
    if (dim == 0)
      return 0;
    if (product == kDynamic || dim == kDynamic)
      product = kDynamic;
    else if (__builtin_mul_overflow(product, dim, &product))
      product = std::numeric_limits<int64_t>::max();
  }
  return product;
}

Result<int64_t> normalizeAxis(int64_t axis, int64_t rank, std::string_view what) {
  if (axis < -rank || axis >= rank)
    return invalidArgument(std::string(what) + " is " + std::to_string(axis) +
                           ", which lies outside [-" + std::to_string(rank) + ", " +
                           std::to_string(rank) + ")");
  return axis < 0 ? axis + rank : axis;
}

} // namespace platen::ops
