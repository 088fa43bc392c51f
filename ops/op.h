// The contract of an operator: what every room may know of it, in plain C++.
//
// An operator is one folder (`ops/<op>/`) and one OpSpec in the catalog. The MLIR dialect, the
// importer, the interpreter and the kernels' conformance tests all read the same OpSpec; there is
// no second list of operators. Labels (I1…, C1…, O1…) are those of the operator's .md; error
// messages cite them. Everything here is immutable after start-up and safe to use from several
// threads.
#pragma once

#include "ops/tensor.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace platen::ops {

/// Attribute values. Dtypes travel as their dtypeName(), booleans as 0 or 1.
using Attribute =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, Tensor>;
using Attributes = std::map<std::string, Attribute, std::less<>>;

/// Typed access. Requires that the attribute exists and has that type, which validate() has
/// established.
int64_t intAttribute(const Attributes &attributes, std::string_view name);
double floatAttribute(const Attributes &attributes, std::string_view name);
const std::string &stringAttribute(const Attributes &attributes, std::string_view name);
const std::vector<int64_t> &intsAttribute(const Attributes &attributes, std::string_view name);

struct OperandSpec {
  std::string_view name;
  bool optional = false;
  bool variadic = false; ///< only the last operand may be variadic
};

struct AttributeSpec {
  std::string_view name;
  Attribute example; ///< fixes the type; also the default value unless `required`
  bool required = false;
};

/// What a shape rule sees. An absent optional operand has a null type.
struct InferContext {
  std::span<const TensorType *const> types;
  /// Values known at compile time (constants), null where unknown; same length as `types`.
  std::span<const Tensor *const> values;
  const Attributes &attributes;
};

/// Absent optional operands are null.
using Inputs = std::span<const Tensor *const>;

// --- ONNX mapping
// -------------------------------------------------------------------------------------------

/// One ONNX node as an operator's mapping sees it. `version` is the opset version of the node's
/// domain.
struct OnnxNode {
  std::string_view domain, opType;
  int64_t version;
  std::span<const bool> inputPresent;
  std::span<const bool> outputPresent;
  const Attributes &attributes;
};

/// An operand of the platen op: the node's input of that index, a constant, or absent.
struct OnnxOperand {
  enum class Kind { kInput, kConstant, kAbsent } kind = Kind::kAbsent;
  size_t input = 0;
  Tensor constant;
  static OnnxOperand ofInput(size_t index) { return {Kind::kInput, index, {}}; }
  static OnnxOperand ofConstant(Tensor value) { return {Kind::kConstant, 0, std::move(value)}; }
  static OnnxOperand absent() { return {}; }
};

struct OpCall {
  std::vector<OnnxOperand> operands;
  Attributes attributes;
  /// Result i of the op is the node's output outputs[i]. An index at or beyond the node's output
  /// count, or of an output that the node leaves unnamed, means that nobody reads the result.
  std::vector<size_t> outputs;
};

/// A row of the importer's table: which ONNX operator this op implements, and how.
struct OnnxRow {
  std::string_view domain; ///< "" is ai.onnx
  std::string_view opType;
  int64_t minVersion = 1;
  int64_t maxVersion = std::numeric_limits<int64_t>::max();
  /// Null: inputs in order, attributes of the same name, outputs in order.
  base::Result<OpCall> (*map)(const OnnxNode &) = nullptr;
};

/// The mapping that a null OnnxRow::map stands for; also the usual first step of a special one.
struct OpSpec;
base::Result<OpCall> defaultOnnxMap(const OpSpec &op, const OnnxNode &node);

namespace loops {
class Lowering;
}

// --- The operator
// ------------------------------------------------------------------------------------------------

struct OpSpec {
  std::string_view name; ///< mnemonic in the dialect: "rms_norm"
  std::vector<OperandSpec> operands;
  std::vector<AttributeSpec> attributes;
  /// Result types from operand types; checks the constraints and cites their labels.
  base::Result<std::vector<TensorType>> (*infer)(const InferContext &);
  /// Results from operand values. Called only after infer() accepted the same operands.
  base::Result<std::vector<Tensor>> (*reference)(Inputs, const Attributes &);
  std::vector<OnnxRow> onnx;
  /// The only result, where the operand types decide it although operands are unknown (`shape` of
  /// static dimensions); nullopt otherwise. Null for operators of which that is never true.
  std::optional<Tensor> (*valueFromTypes)(const InferContext &) = nullptr;
  /// How loops compute the results (loops/lowering.h), for graphs in which no kernel does; null:
  /// they cannot. kUnsupported names what loops cannot compute.
  base::Status (*loops)(loops::Lowering &) = nullptr;
};

/// Checks operand count and presence, attribute names and types; fills in defaults.
base::Result<Attributes> validate(const OpSpec &op, size_t operandCount, const Attributes &given);

/// validate + infer, with the op's name as origin of errors.
base::Result<std::vector<TensorType>> inferTypes(const OpSpec &op,
                                                 std::span<const TensorType *const> types,
                                                 std::span<const Tensor *const> values,
                                                 const Attributes &given);
/// validate + infer + reference; also checks that the reference kept the promised types.
base::Result<std::vector<Tensor>> evaluate(const OpSpec &op, Inputs inputs,
                                           const Attributes &given);

/// The only result, if the operands' types and known values decide it without all being known.
/// Requires that inferTypes() accepted the same operands.
std::optional<Tensor> valueFromTypes(const OpSpec &op, std::span<const TensorType *const> types,
                                     std::span<const Tensor *const> values,
                                     const Attributes &given);

/// All operators, in catalog order, and one by name (null if there is none).
std::span<const OpSpec *const> catalog();
const OpSpec *findOp(std::string_view name);

/// The operator that implements a node, and the row that says how; both null if there is none.
/// "ai.onnx" and "" are the same domain.
struct OnnxMatch {
  const OpSpec *op = nullptr;
  const OnnxRow *row = nullptr;
};
OnnxMatch findOnnx(std::string_view domain, std::string_view opType, int64_t version);
/// findOnnx and the row's mapping. Unsupported where no row covers the node's type and version.
struct MappedCall {
  const OpSpec *op;
  OpCall call;
};
base::Result<MappedCall> mapOnnx(const OnnxNode &node);

} // namespace platen::ops
