// See onnx_map.h.
#include "ops/onnx_map.h"

namespace platen::ops {

using base::Result;
using base::Status;
using base::unsupported;

Result<DType> onnxDType(int64_t number) {
  switch (number) { // onnx.proto, TensorProto.DataType
  case 1:
    return DType::kF32;
  case 2:
    return DType::kU8;
  case 3:
    return DType::kI8;
  case 4:
    return DType::kU16;
  case 5:
    return DType::kI16;
  case 6:
    return DType::kI32;
  case 7:
    return DType::kI64;
  case 9:
    return DType::kBool;
  case 10:
    return DType::kF16;
  case 11:
    return DType::kF64;
  case 12:
    return DType::kU32;
  case 13:
    return DType::kU64;
  case 16:
    return DType::kBF16;
  case 21:
    return DType::kU4;
  case 22:
    return DType::kI4;
  default:
    return unsupported("ONNX data type " + std::to_string(number) +
                       " (string, complex, float8, float4 or 2-bit) is not supported");
  }
}

namespace {

template <typename T>
Result<T> attributeOr(const OnnxNode &node, std::string_view name, T fallback) {
  auto found = node.attributes.find(name);
  if (found == node.attributes.end())
    return fallback;
  if (const T *value = std::get_if<T>(&found->second))
    return *value;
  return base::corrupt("attribute '" + std::string(name) + "' has the wrong type");
}

} // namespace

Result<int64_t> onnxInt(const OnnxNode &node, std::string_view name, int64_t fallback) {
  return attributeOr<int64_t>(node, name, fallback);
}
Result<double> onnxFloat(const OnnxNode &node, std::string_view name, double fallback) {
  return attributeOr<double>(node, name, fallback);
}
Result<std::string> onnxString(const OnnxNode &node, std::string_view name, std::string fallback) {
  return attributeOr<std::string>(node, name, std::move(fallback));
}

bool hasInput(const OnnxNode &node, size_t index) {
  return index < node.inputPresent.size() && node.inputPresent[index];
}
bool hasOutput(const OnnxNode &node, size_t index) {
  return index < node.outputPresent.size() && node.outputPresent[index];
}

OnnxOperand inputOrAbsent(const OnnxNode &node, size_t index) {
  return hasInput(node, index) ? OnnxOperand::ofInput(index) : OnnxOperand::absent();
}

OnnxOperand intsAsOperand(const OnnxNode &node, std::string_view name) {
  auto found = node.attributes.find(name);
  if (found == node.attributes.end())
    return OnnxOperand::absent();
  const auto *values = std::get_if<std::vector<int64_t>>(&found->second);
  return values ? OnnxOperand::ofConstant(Tensor::vectorI64(*values)) : OnnxOperand::absent();
}

Status requireInt(const OnnxNode &node, std::string_view name, int64_t only,
                  std::string_view label) {
  PLATEN_ASSIGN_OR_RETURN(int64_t value, onnxInt(node, name, only));
  if (value == only)
    return Status::ok();
  return unsupported(std::string(label) + ": attribute '" + std::string(name) + "' is " +
                     std::to_string(value) + "; only " + std::to_string(only) + " is supported");
}

Status refuseOutput(const OnnxNode &node, size_t index, std::string_view label) {
  if (!hasOutput(node, index))
    return Status::ok();
  return unsupported(std::string(label) + ": output " + std::to_string(index) +
                     " is asked for, which is not supported");
}

Status refuseInput(const OnnxNode &node, size_t index, std::string_view label) {
  if (!hasInput(node, index))
    return Status::ok();
  return unsupported(std::string(label) + ": input " + std::to_string(index) +
                     " is given, which is not supported");
}

} // namespace platen::ops
