// Checks that are the same for every operator, so that an operator's own file holds only its
// semantics.
#include "ops/op.h"

namespace platen::ops {

using base::internalError;
using base::invalidArgument;
using base::Result;
using base::Status;

int64_t intAttribute(const Attributes &attributes, std::string_view name) {
  return std::get<int64_t>(attributes.find(name)->second);
}
double floatAttribute(const Attributes &attributes, std::string_view name) {
  return std::get<double>(attributes.find(name)->second);
}
const std::string &stringAttribute(const Attributes &attributes, std::string_view name) {
  return std::get<std::string>(attributes.find(name)->second);
}
const std::vector<int64_t> &intsAttribute(const Attributes &attributes, std::string_view name) {
  return std::get<std::vector<int64_t>>(attributes.find(name)->second);
}

Result<OpCall> defaultOnnxMap(const OpSpec &op, const OnnxNode &node) {
  OpCall call;
  for (size_t i = 0; i < node.inputPresent.size(); ++i)
    call.operands.push_back(node.inputPresent[i] ? OnnxOperand::ofInput(i) : OnnxOperand::absent());
  bool variadic = !op.operands.empty() && op.operands.back().variadic;
  while (!variadic && call.operands.size() < op.operands.size())
    call.operands.push_back(OnnxOperand::absent());
  while (!variadic && call.operands.size() > op.operands.size() &&
         call.operands.back().kind == OnnxOperand::Kind::kAbsent)
    call.operands.pop_back();
  for (const AttributeSpec &spec : op.attributes)
    if (auto found = node.attributes.find(spec.name); found != node.attributes.end())
      call.attributes.emplace(spec.name, found->second);
  for (size_t i = 0; i < node.outputPresent.size(); ++i)
    call.outputs.push_back(i);
  return call;
}

Result<Attributes> validate(const OpSpec &op, size_t operandCount, const Attributes &given) {
  bool variadic = !op.operands.empty() && op.operands.back().variadic;
  size_t fixed = op.operands.size() - (variadic ? 1 : 0);
  if (operandCount < fixed || (!variadic && operandCount != fixed))
    return invalidArgument("takes " + std::to_string(fixed) + (variadic ? " or more" : "") +
                               " operands, not " + std::to_string(operandCount),
                           std::string(op.name));
  Attributes full;
  for (const AttributeSpec &spec : op.attributes) {
    auto found = given.find(spec.name);
    if (found == given.end()) {
      if (spec.required)
        return invalidArgument("attribute '" + std::string(spec.name) + "' is missing",
                               std::string(op.name));
      full.emplace(spec.name, spec.example);
    } else if (found->second.index() != spec.example.index()) {
      return invalidArgument("attribute '" + std::string(spec.name) + "' has the wrong type",
                             std::string(op.name));
    } else {
      full.emplace(spec.name, found->second);
    }
  }
  for (const auto &[name, value] : given)
    if (!full.contains(name))
      return invalidArgument("there is no attribute '" + name + "'", std::string(op.name));
  return full;
}

namespace {

Status checkPresence(const OpSpec &op, std::span<const TensorType *const> types) {
  for (size_t i = 0; i < types.size() && !op.operands.empty(); ++i) {
    const auto &operand =
        op.operands[std::min(i, op.operands.size() - 1)]; // the last may be variadic
    if (types[i] == nullptr && !operand.optional)
      return invalidArgument("operand I" + std::to_string(i + 1) + " '" +
                                 std::string(operand.name) + "' is absent but not optional",
                             std::string(op.name));
  }
  return Status::ok();
}

/// A hostile graph may ask for any shape; evaluation refuses what no model's folding needs.
constexpr int64_t kMaxEvaluatedElements = int64_t{1} << 32;

Status checkSizes(const OpSpec &op, const std::vector<TensorType> &types) {
  for (const TensorType &type : types)
    if (type.isStatic() && type.elementCount() > kMaxEvaluatedElements)
      return base::resourceExhausted("a result would be " + type.toString() +
                                         ", more than the 2^32 elements that are evaluated",
                                     std::string(op.name));
  return Status::ok();
}

} // namespace

Result<std::vector<TensorType>> inferTypes(const OpSpec &op,
                                           std::span<const TensorType *const> types,
                                           std::span<const Tensor *const> values,
                                           const Attributes &given) {
  PLATEN_ASSIGN_OR_RETURN(Attributes attributes, validate(op, types.size(), given));
  PLATEN_RETURN_IF_ERROR(checkPresence(op, types));
  auto result = op.infer(InferContext{types, values, attributes});
  if (!result)
    return result.status().at(op.name);
  return result;
}

Result<std::vector<Tensor>> evaluate(const OpSpec &op, Inputs inputs, const Attributes &given) {
  std::vector<const TensorType *> types;
  for (const Tensor *input : inputs)
    types.push_back(input ? &input->type() : nullptr);
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> promised, inferTypes(op, types, inputs, given));
  PLATEN_RETURN_IF_ERROR(checkSizes(op, promised));
  PLATEN_ASSIGN_OR_RETURN(Attributes attributes, validate(op, inputs.size(), given));
  auto results = op.reference(inputs, attributes);
  if (!results)
    return results.status().at(op.name);
  if (results->size() != promised.size())
    return internalError("the reference gave " + std::to_string(results->size()) +
                             " results, the shape rule " + std::to_string(promised.size()),
                         std::string(op.name));
  for (size_t i = 0; i < promised.size(); ++i) {
    const TensorType &actual = (*results)[i].type();
    bool same = actual.dtype == promised[i].dtype && actual.dims.size() == promised[i].dims.size();
    for (size_t d = 0; same && d < actual.dims.size(); ++d)
      same = promised[i].dims[d] == kDynamic || promised[i].dims[d] == actual.dims[d];
    if (!same)
      return internalError("result O" + std::to_string(i + 1) + " is " + actual.toString() +
                               ", the shape rule said " + promised[i].toString(),
                           std::string(op.name));
  }
  return results;
}

std::optional<Tensor> valueFromTypes(const OpSpec &op, std::span<const TensorType *const> types,
                                     std::span<const Tensor *const> values,
                                     const Attributes &given) {
  if (!op.valueFromTypes)
    return std::nullopt;
  auto attributes = validate(op, types.size(), given);
  if (!attributes)
    return std::nullopt;
  return op.valueFromTypes(InferContext{types, values, *attributes});
}

Result<MappedCall> mapOnnx(const OnnxNode &node) {
  OnnxMatch match = findOnnx(node.domain, node.opType, node.version);
  if (!match.op)
    return base::unsupported("there is no operator for ONNX '" +
                             (node.domain.empty() ? "" : std::string(node.domain) + ".") +
                             std::string(node.opType) + "' of opset " +
                             std::to_string(node.version));
  auto call = match.row->map ? match.row->map(node) : defaultOnnxMap(*match.op, node);
  if (!call)
    return call.status().at(match.op->name);
  return MappedCall{match.op, std::move(*call)};
}

} // namespace platen::ops
