// Field meanings: onnx-ml.proto, TensorProto.
#include "compiler/import/tensor_reader.h"

#include "ops/onnx_map.h"
#include "runtime/base/checked.h"

#include <charconv>
#include <cstring>

namespace platen::compiler {

using base::corrupt;
using base::DType;
using base::Result;
using base::Status;
using ops::Tensor;
using ops::TensorType;

namespace {

constexpr int64_t kMaxRank = 64;

Result<TensorType> typeOf(const onnx::TensorProto &tensor) {
  PLATEN_ASSIGN_OR_RETURN(DType dtype, ops::onnxDType(tensor.data_type()));
  TensorType type{dtype, {tensor.dims().begin(), tensor.dims().end()}};
  if (type.rank() > kMaxRank)
    return base::unsupported("has rank " + std::to_string(type.rank()) + "; at most " +
                             std::to_string(kMaxRank) + " is supported");
  if (!type.isStatic()) // the number that stands for "dynamic" elsewhere
    return corrupt("dimension " + std::to_string(ops::kDynamic) + " is negative");
  return type;
}

bool isConstant(const TensorType &type, uint64_t bytes) {
  bool shapeLike = type.rank() <= 1 && (type.dtype == DType::kI64 || type.dtype == DType::kI32 ||
                                        type.dtype == DType::kBool);
  return bytes <= (shapeLike ? kShapeLikeBytes : kConstantBytes);
}

Result<uint64_t> parseSize(const std::string &key, const std::string &text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return corrupt("external data: " + key + " '" + text + "' is no size in bytes");
  return value;
}

/// Elements of the typed field that the dtype uses, widened or as bit patterns.
struct TypedField {
  const char *name;
  int64_t count;
};
TypedField typedField(const onnx::TensorProto &tensor, DType dtype) {
  switch (dtype) {
  case DType::kF32:
    return {"float_data", tensor.float_data_size()};
  case DType::kF64:
    return {"double_data", tensor.double_data_size()};
  case DType::kI64:
    return {"int64_data", tensor.int64_data_size()};
  case DType::kU32:
  case DType::kU64:
    return {"uint64_data", tensor.uint64_data_size()};
  default:
    return {"int32_data", tensor.int32_data_size()};
  }
}

/// Typed fields hold one element each, except that 4-bit types hold two in an int32.
void copyTyped(const onnx::TensorProto &tensor, Tensor &out) {
  int64_t count = out.elementCount();
  for (int64_t i = 0; i < count; ++i) {
    int at = static_cast<int>(i);
    switch (out.dtype()) {
    case DType::kF32:
      out.as<float>()[static_cast<size_t>(i)] = tensor.float_data(at);
      break;
    case DType::kF64:
      out.as<double>()[static_cast<size_t>(i)] = tensor.double_data(at);
      break;
    case DType::kI64:
      out.setInt(i, tensor.int64_data(at));
      break;
    case DType::kU32:
    case DType::kU64:
      out.setInt(i, static_cast<int64_t>(tensor.uint64_data(at)));
      break;
    case DType::kF16:
    case DType::kBF16:
      out.as<uint16_t>()[static_cast<size_t>(i)] = static_cast<uint16_t>(tensor.int32_data(at));
      break;
    case DType::kI4:
    case DType::kU4:
      out.setInt(i, tensor.int32_data(at / 2) >> (i % 2 * 4));
      break;
    case DType::kBool:
      out.setInt(i, tensor.int32_data(at) != 0);
      break;
    default:
      out.setInt(i, tensor.int32_data(at));
    }
  }
}

Status checkTypedCount(const onnx::TensorProto &tensor, const TensorType &type) {
  TypedField field = typedField(tensor, type.dtype);
  int64_t expected = type.elementCount();
  if (base::bitWidth(type.dtype) == 4)
    expected = (expected + 1) / 2;
  if (field.count != expected)
    return corrupt("is " + type.toString() + ", but its " + field.name + " holds " +
                   std::to_string(field.count) + " elements, not " + std::to_string(expected));
  return Status::ok();
}

} // namespace

Result<uint64_t> checkedBytes(const TensorType &type) {
  uint64_t bits = static_cast<uint64_t>(base::bitWidth(type.dtype));
  bool empty = false;
  for (int64_t dim : type.dims) {
    if (dim == ops::kDynamic)
      continue;
    if (dim < 0)
      return corrupt("dimension " + std::to_string(dim) + " is negative");
    empty |= dim == 0;
    uint64_t factor = dim == 0 ? 1 : static_cast<uint64_t>(dim);
    if (__builtin_mul_overflow(bits, factor, &bits) || bits > uint64_t{1} << 62)
      return corrupt("the size of " + type.toString() + " overflows");
  }
  return empty ? 0 : (bits + 7) / 8;
}

Result<ImportedTensor> TensorReader::read(const onnx::TensorProto &tensor,
                                          const std::string &name) {
  PLATEN_ASSIGN_OR_RETURN(TensorType type, typeOf(tensor));
  PLATEN_ASSIGN_OR_RETURN(uint64_t bytes, checkedBytes(type));
  if (tensor.has_segment())
    return base::unsupported("is a segment of a larger tensor, which is not supported");
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) {
    PLATEN_ASSIGN_OR_RETURN(WeightRange range, external(tensor, bytes));
    return fromRange(std::move(type), std::move(range));
  }
  if (!tensor.has_raw_data())
    return readTyped(tensor, name, std::move(type));
  RawRange raw = rawRange(tensor);
  if (raw.bytes != bytes)
    return corrupt("is " + type.toString() + ", which takes " + std::to_string(bytes) +
                   " bytes, but its raw_data has " + std::to_string(raw.bytes));
  return fromRange(std::move(type), WeightRange{modelFile_, raw.offset, raw.bytes});
}

Result<Tensor> TensorReader::readSmall(const onnx::TensorProto &tensor, const std::string &name) {
  PLATEN_ASSIGN_OR_RETURN(ImportedTensor imported, read(tensor, name));
  if (auto *constant = std::get_if<Tensor>(&imported.data))
    return std::move(*constant);
  return base::unsupported("tensor attribute '" + name + "' is " + imported.type.toString() +
                           "; at most " + std::to_string(kConstantBytes) + " bytes are supported");
}

Result<ImportedTensor> TensorReader::readTyped(const onnx::TensorProto &tensor,
                                               const std::string &name, TensorType type) {
  PLATEN_RETURN_IF_ERROR(checkTypedCount(tensor, type));
  Tensor converted(type);
  copyTyped(tensor, converted);
  if (isConstant(type, converted.bytes().size()))
    return ImportedTensor{std::move(type), std::move(converted)};
  auto owner = std::make_shared<const Tensor>(std::move(converted));
  WeightRange range{modelFile_ + "#" + name, 0, owner->bytes().size()};
  PLATEN_RETURN_IF_ERROR(store_.add(range.file, owner->bytes(), owner));
  return ImportedTensor{std::move(type), std::move(range)};
}

Result<WeightRange> TensorReader::external(const onnx::TensorProto &tensor,
                                           uint64_t expectedBytes) {
  WeightRange range{"", 0, expectedBytes};
  uint64_t length = expectedBytes;
  for (const onnx::StringStringEntryProto &entry : tensor.external_data()) {
    if (entry.key() == "location") {
      range.file = entry.value();
    } else if (entry.key() == "offset") {
      PLATEN_ASSIGN_OR_RETURN(range.offset, parseSize("offset", entry.value()));
    } else if (entry.key() == "length") {
      PLATEN_ASSIGN_OR_RETURN(length, parseSize("length", entry.value()));
    }
  }
  if (range.file.empty())
    return corrupt("external data names no location");
  if (length != expectedBytes)
    return corrupt("external data: length is " + std::to_string(length) +
                   " bytes, but shape and dtype take " + std::to_string(expectedBytes));
  return range;
}

Result<ImportedTensor> TensorReader::fromRange(TensorType type, WeightRange range) {
  PLATEN_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, store_.view(range));
  if (!isConstant(type, bytes.size()))
    return ImportedTensor{std::move(type), std::move(range)};
  Tensor tensor(type);
  if (!bytes.empty())
    std::memcpy(tensor.bytes().data(), bytes.data(), bytes.size());
  return ImportedTensor{std::move(type), std::move(tensor)};
}

} // namespace platen::compiler
