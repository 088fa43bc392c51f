// The declared type decides; a payload in the field of another type is an error, not a default of
// zero.
#include "compiler/import/onnx_attributes.h"

namespace platen::compiler {

using base::Result;
using Type = onnx::AttributeProto;

namespace {

/// Whether the field of the declared type is the one that is filled. Lists may be empty.
bool payloadMatches(const onnx::AttributeProto &attribute) {
  Type::AttributeType type = attribute.type();
  bool others =
      (attribute.has_f() && type != Type::FLOAT) || (attribute.has_i() && type != Type::INT) ||
      (attribute.has_s() && type != Type::STRING) || (attribute.has_t() && type != Type::TENSOR) ||
      (attribute.floats_size() > 0 && type != Type::FLOATS) ||
      (attribute.ints_size() > 0 && type != Type::INTS) ||
      (attribute.strings_size() > 0 && type != Type::STRINGS);
  return !others && (type != Type::TENSOR || attribute.has_t());
}

} // namespace

Result<ops::Attribute> readAttribute(const onnx::AttributeProto &attribute, TensorReader &tensors) {
  std::string name = "attribute '" + attribute.name() + "'";
  if (!payloadMatches(attribute))
    return base::corrupt(name + " holds a value of another type than the declared " +
                         Type::AttributeType_Name(attribute.type()));
  switch (attribute.type()) {
  case Type::FLOAT:
    return ops::Attribute(static_cast<double>(attribute.f()));
  case Type::INT:
    return ops::Attribute(int64_t{attribute.i()});
  case Type::STRING:
    return ops::Attribute(attribute.s());
  case Type::FLOATS:
    return ops::Attribute(
        std::vector<double>(attribute.floats().begin(), attribute.floats().end()));
  case Type::INTS:
    return ops::Attribute(std::vector<int64_t>(attribute.ints().begin(), attribute.ints().end()));
  case Type::TENSOR: {
    auto tensor = tensors.readSmall(attribute.t(), attribute.name());
    if (!tensor)
      return tensor.status().at(name);
    return ops::Attribute(std::move(*tensor));
  }
  case Type::GRAPH:
  case Type::GRAPHS:
    return base::unsupported(
        name + " holds a subgraph; control flow (If, Loop, Scan) is not supported. Export "
               "the model without it (torch.onnx.export(..., dynamo=True) unrolls it)");
  case Type::UNDEFINED:
    return base::corrupt(name + " declares no type");
  default:
    return base::unsupported(name + " has type " + Type::AttributeType_Name(attribute.type()) +
                             ", which is not supported");
  }
}

} // namespace platen::compiler
