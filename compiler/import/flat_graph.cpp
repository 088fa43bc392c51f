// Two steps: Flattener walks the nodes (and the functions that they call) in file order and
// renames; sortNodes then checks definitions and orders the nodes.
#include "compiler/import/flat_graph.h"

#include "compiler/import/onnx_attributes.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace platen::compiler {

using base::corrupt;
using base::Result;
using base::Status;
using base::unsupported;

namespace {

constexpr int64_t kMaxOpset = 28;      ///< of ai.onnx, as of onnx 1.23
constexpr int kMaxCallDepth = 16;      ///< functions that call functions
constexpr size_t kMaxNodes = 1U << 18; ///< after inlining

using Opsets = std::map<std::string, int64_t>;

std::string normalDomain(const std::string &domain) { return domain == "ai.onnx" ? "" : domain; }

/// What a function body sees instead of the graph's own names.
struct Scope {
  Opsets opsets;
  std::string prefix;                                   ///< of names that are local to the body
  std::unordered_map<std::string, std::string> renamed; ///< its inputs and outputs
  std::map<std::string, const onnx::AttributeProto *> attributes; ///< what ref_attr_name finds
  int depth = 0;

  std::string operator()(const std::string &name) const {
    if (name.empty())
      return name;
    auto found = renamed.find(name);
    return found != renamed.end() ? found->second : prefix + name;
  }
};

Result<Opsets>
readOpsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto> &imports) {
  Opsets opsets;
  for (const onnx::OperatorSetIdProto &import : imports) {
    std::string domain = normalDomain(import.domain());
    if (!opsets.emplace(domain, import.version()).second)
      return corrupt("opset domain '" + domain + "' is imported twice");
    if (domain.empty() && import.version() > kMaxOpset)
      return unsupported("opset " + std::to_string(import.version()) +
                         " is newer than the newest known one, " + std::to_string(kMaxOpset));
    if (import.version() < 1)
      return corrupt("opset version " + std::to_string(import.version()) + " of domain '" + domain +
                     "' is not positive");
  }
  return opsets;
}

class Flattener {
public:
  Flattener(const onnx::ModelProto &model, TensorReader &tensors, FlatGraph &graph)
      : model_(model), tensors_(tensors), graph_(graph) {}

  Status run() {
    for (const onnx::FunctionProto &function : model_.functions())
      functions_.emplace(
          std::tuple(normalDomain(function.domain()), function.name(), function.overload()),
          &function);
    PLATEN_RETURN_IF_ERROR(initializers());
    Scope scope;
    PLATEN_ASSIGN_OR_RETURN(scope.opsets, readOpsets(model_.opset_import()));
    for (const onnx::NodeProto &node : model_.graph().node())
      PLATEN_RETURN_IF_ERROR(visit(node, scope));
    return Status::ok();
  }

private:
  Status initializers() {
    if (model_.graph().sparse_initializer_size() > 0)
      return unsupported("sparse initializers are not supported");
    for (const onnx::TensorProto &tensor : model_.graph().initializer()) {
      std::string label = "initializer '" + tensor.name() + "'";
      auto imported = tensors_.read(tensor, tensor.name());
      if (!imported)
        return imported.status().at(label);
      if (!graph_.tensors.emplace(tensor.name(), std::move(*imported)).second)
        return corrupt("is defined twice", label);
    }
    for (const onnx::ValueInfoProto &input : model_.graph().input())
      if (!graph_.tensors.contains(input.name())) // before IR 4, initializers were listed as inputs
        graph_.inputs.push_back(&input);
    for (const onnx::ValueInfoProto &output : model_.graph().output())
      graph_.outputs.push_back(&output);
    return Status::ok();
  }

  Status visit(const onnx::NodeProto &node, const Scope &scope) {
    std::string name = !node.name().empty()     ? node.name()
                       : node.output_size() > 0 ? node.output(0)
                                                : std::string("#") + node.op_type();
    FlatNode flat{scope.prefix + name, normalDomain(node.domain()), node.op_type(), 1, {}, {}, {}};
    Status status = visitNamed(node, scope, flat);
    return status.isOk() ? status : status.at(flat.label());
  }

  Status visitNamed(const onnx::NodeProto &node, const Scope &scope, FlatNode &flat) {
    if (++visits_ > kMaxNodes)
      return unsupported("the graph has more than " + std::to_string(kMaxNodes) + " nodes");
    for (const std::string &input : node.input())
      flat.inputs.push_back(scope(input));
    for (const std::string &output : node.output())
      flat.outputs.push_back(scope(output));
    auto function = functions_.find(std::tuple(flat.domain, node.op_type(), node.overload()));
    if (function != functions_.end())
      return inlineCall(node, flat, *function->second, scope);
    if (auto version = scope.opsets.find(flat.domain); version != scope.opsets.end())
      flat.version = version->second;
    else if (flat.domain.empty())
      return corrupt("the model imports no version of the default opset");
    if (flat.domain.empty() && node.op_type() == "Constant")
      return constant(node, flat, scope);
    PLATEN_RETURN_IF_ERROR(attributes(node, scope, flat));
    if (flat.domain.empty() && node.op_type() == "Identity")
      return alias(flat);
    if (flat.domain.empty() && node.op_type() == "Dropout")
      return dropout(flat);
    graph_.nodes.push_back(std::move(flat));
    return Status::ok();
  }

  /// The attribute itself, or what the calling node gave for the one that it refers to; null if it
  /// gave none.
  static const onnx::AttributeProto *dereference(const onnx::AttributeProto &attribute,
                                                 const Scope &scope) {
    if (attribute.ref_attr_name().empty())
      return &attribute;
    auto found = scope.attributes.find(attribute.ref_attr_name());
    return found == scope.attributes.end() ? nullptr : found->second;
  }

  Status attributes(const onnx::NodeProto &node, const Scope &scope, FlatNode &flat) {
    for (const onnx::AttributeProto &attribute : node.attribute()) {
      const onnx::AttributeProto *actual = dereference(attribute, scope);
      if (!actual)
        continue;
      PLATEN_ASSIGN_OR_RETURN(ops::Attribute value, readAttribute(*actual, tensors_));
      if (!flat.attributes.emplace(attribute.name(), std::move(value)).second)
        return corrupt("attribute '" + attribute.name() + "' is given twice");
    }
    return Status::ok();
  }

  Status constant(const onnx::NodeProto &node, const FlatNode &flat, const Scope &scope) {
    if (node.attribute_size() != 1 || node.output_size() != 1)
      return corrupt("a Constant has exactly one attribute and one output");
    const onnx::AttributeProto *attribute = dereference(node.attribute(0), scope);
    if (!attribute)
      return corrupt("the function's caller gave no value for it");
    PLATEN_ASSIGN_OR_RETURN(ImportedTensor tensor, constantValue(*attribute, flat.outputs[0]));
    if (!graph_.tensors.emplace(flat.outputs[0], std::move(tensor)).second)
      return corrupt("'" + flat.outputs[0] + "' is defined twice");
    return Status::ok();
  }

  Result<ImportedTensor> constantValue(const onnx::AttributeProto &attribute,
                                       const std::string &name) {
    if (attribute.type() == onnx::AttributeProto::TENSOR && attribute.has_t())
      return tensors_.read(attribute.t(), name);
    PLATEN_ASSIGN_OR_RETURN(ops::Attribute value, readAttribute(attribute, tensors_));
    ops::Tensor tensor;
    if (auto *number = std::get_if<int64_t>(&value))
      tensor = ops::Tensor::scalarI64(*number);
    else if (auto *numbers = std::get_if<std::vector<int64_t>>(&value))
      tensor = ops::Tensor::vectorI64(*numbers);
    else if (auto *real = std::get_if<double>(&value))
      tensor = ops::Tensor::of<double>(ops::DType::kF32, {}, std::span<const double>(real, 1));
    else if (auto *reals = std::get_if<std::vector<double>>(&value))
      tensor =
          ops::Tensor::of<double>(ops::DType::kF32, {static_cast<int64_t>(reals->size())}, *reals);
    else
      return unsupported("a Constant of strings is not supported");
    if (tensor.bytes().size() > kShapeLikeBytes)
      return unsupported("value_floats and value_ints above " + std::to_string(kShapeLikeBytes) +
                         " bytes are not supported; store the value as a tensor");
    ops::TensorType type = tensor.type();
    return ImportedTensor{std::move(type), std::move(tensor)};
  }

  Status alias(const FlatNode &flat) {
    if (flat.inputs.size() != 1 || flat.inputs[0].empty() || flat.outputs.size() != 1)
      return corrupt("it must have one input and one output");
    if (!graph_.aliases.emplace(flat.outputs[0], flat.inputs[0]).second)
      return corrupt("'" + flat.outputs[0] + "' is defined twice");
    return Status::ok();
  }

  Status dropout(FlatNode flat) {
    if (flat.outputs.size() > 1 && !flat.outputs[1].empty())
      return unsupported("its mask is asked for; only inference is supported");
    if (flat.inputs.size() > 2 && !flat.inputs[2].empty()) {
      auto mode = graph_.tensors.find(flat.inputs[2]);
      const auto *value =
          mode == graph_.tensors.end() ? nullptr : std::get_if<ops::Tensor>(&mode->second.data);
      if (!value || value->elementCount() != 1 || value->getInt(0) != 0)
        return unsupported("training_mode is not a constant false; only inference is supported");
    }
    flat.inputs.resize(std::min<size_t>(flat.inputs.size(), 1));
    flat.outputs.resize(std::min<size_t>(flat.outputs.size(), 1));
    return alias(flat);
  }

  Status inlineCall(const onnx::NodeProto &node, const FlatNode &call,
                    const onnx::FunctionProto &function, const Scope &outer) {
    if (outer.depth == kMaxCallDepth)
      return unsupported("functions call functions more than " + std::to_string(kMaxCallDepth) +
                         " deep");
    if (node.input_size() > function.input_size() || node.output_size() > function.output_size())
      return corrupt("has more inputs or outputs than function '" + function.name() + "'");
    Scope scope;
    scope.depth = outer.depth + 1;
    scope.prefix = call.name + "#" + std::to_string(calls_++) + "/";
    PLATEN_ASSIGN_OR_RETURN(scope.opsets, readOpsets(function.opset_import()));
    for (int i = 0; i < function.input_size(); ++i)
      scope.renamed[function.input(i)] =
          i < node.input_size() ? call.inputs[static_cast<size_t>(i)] : std::string();
    for (const onnx::AttributeProto &attribute : function.attribute_proto())
      scope.attributes[attribute.name()] = &attribute;
    for (const onnx::AttributeProto &attribute : node.attribute())
      if (const onnx::AttributeProto *actual = dereference(attribute, outer))
        scope.attributes[attribute.name()] = actual;
    for (const onnx::NodeProto &inner : function.node())
      PLATEN_RETURN_IF_ERROR(visit(inner, scope));
    for (int i = 0; i < node.output_size(); ++i)
      if (const std::string &result = call.outputs[static_cast<size_t>(i)]; !result.empty())
        if (!graph_.aliases.emplace(result, scope(function.output(i))).second)
          return corrupt("'" + result + "' is defined twice");
    return Status::ok();
  }

  const onnx::ModelProto &model_;
  TensorReader &tensors_;
  FlatGraph &graph_;
  std::map<std::tuple<std::string, std::string, std::string>, const onnx::FunctionProto *>
      functions_;
  size_t visits_ = 0; ///< nodes seen, inlined ones included
  int calls_ = 0;
};

/// Depth first from every node in file order, with an explicit stack: graphs are deeper than call
/// stacks.
class Sorter {
public:
  explicit Sorter(FlatGraph &graph) : graph_(graph), state_(graph.nodes.size(), State::kNew) {}

  Status run() {
    PLATEN_RETURN_IF_ERROR(define());
    for (size_t node = 0; node < graph_.nodes.size(); ++node)
      PLATEN_RETURN_IF_ERROR(place(node));
    std::vector<FlatNode> sorted;
    for (size_t node : order_)
      sorted.push_back(std::move(graph_.nodes[node]));
    graph_.nodes = std::move(sorted);
    return Status::ok();
  }

private:
  enum class State : uint8_t { kNew, kOpen, kPlaced };
  static constexpr size_t kNoNode = std::numeric_limits<size_t>::max();

  Status defineOne(const std::string &name, size_t node, const std::string &label) {
    auto [entry, isNew] = producers_.try_emplace(name, node);
    if (isNew && !name.empty())
      return Status::ok();
    if (name.empty())
      return corrupt("has no name", label);
    std::string other = entry->second == kNoNode ? "an input, initializer or Constant"
                                                 : graph_.nodes[entry->second].label();
    return corrupt("defines '" + name + "', which " + other + " defines too", label);
  }

  Status define() {
    for (const onnx::ValueInfoProto *input : graph_.inputs)
      PLATEN_RETURN_IF_ERROR(defineOne(input->name(), kNoNode, "input '" + input->name() + "'"));
    for (const auto &[name, tensor] : graph_.tensors)
      PLATEN_RETURN_IF_ERROR(defineOne(name, kNoNode, "tensor '" + name + "'"));
    for (const auto &[name, target] : graph_.aliases)
      PLATEN_RETURN_IF_ERROR(defineOne(name, kNoNode, "Identity of '" + target + "'"));
    for (size_t node = 0; node < graph_.nodes.size(); ++node)
      for (const std::string &output : graph_.nodes[node].outputs)
        if (!output.empty())
          PLATEN_RETURN_IF_ERROR(defineOne(output, node, graph_.nodes[node].label()));
    return Status::ok();
  }

  Status place(size_t root) {
    std::vector<std::pair<size_t, size_t>> stack; // node, next input
    if (state_[root] == State::kNew)
      stack.emplace_back(root, 0);
    while (!stack.empty()) {
      auto [node, input] = stack.back();
      state_[node] = State::kOpen;
      if (input == graph_.nodes[node].inputs.size()) {
        state_[node] = State::kPlaced;
        order_.push_back(node);
        stack.pop_back();
        continue;
      }
      ++stack.back().second;
      PLATEN_ASSIGN_OR_RETURN(size_t producer, producerOf(node, input));
      if (producer == kNoNode || state_[producer] == State::kPlaced)
        continue;
      if (state_[producer] == State::kOpen)
        return corrupt("depends on its own result: the graph has a cycle through " +
                           graph_.nodes[producer].label(),
                       graph_.nodes[node].label());
      stack.emplace_back(producer, 0);
    }
    return Status::ok();
  }

  Result<size_t> producerOf(size_t node, size_t input) {
    const std::string &name = graph_.nodes[node].inputs[input];
    if (name.empty())
      return size_t{kNoNode};
    auto found = producers_.find(graph_.resolve(name));
    if (found == producers_.end() || graph_.aliases.contains(found->first))
      return corrupt("reads '" + name + "' (input " + std::to_string(input) +
                         "), which no node, input or initializer defines",
                     graph_.nodes[node].label());
    return size_t{found->second};
  }

  FlatGraph &graph_;
  std::vector<State> state_;
  std::vector<size_t> order_;
  std::unordered_map<std::string, size_t> producers_;
};

} // namespace

const std::string &FlatGraph::resolve(const std::string &name) const {
  const std::string *current = &name;
  for (size_t steps = 0; steps <= aliases.size(); ++steps) { // a cycle of aliases ends, too
    auto found = aliases.find(*current);
    if (found == aliases.end())
      return *current;
    current = &found->second;
  }
  return *current;
}

Result<FlatGraph> flatten(const onnx::ModelProto &model, TensorReader &tensors) {
  if (!model.has_graph())
    return corrupt("the model has no graph");
  if (model.ir_version() < 3 || model.ir_version() > onnx::Version::IR_VERSION)
    return unsupported("ONNX IR version " + std::to_string(model.ir_version()) +
                       " is not supported; versions 3 to " +
                       std::to_string(static_cast<int>(onnx::Version::IR_VERSION)) + " are");
  FlatGraph graph;
  PLATEN_RETURN_IF_ERROR(Flattener(model, tensors, graph).run());
  if (graph.nodes.empty() && graph.outputs.empty())
    return corrupt("the graph is empty: it has neither nodes nor outputs");
  PLATEN_RETURN_IF_ERROR(Sorter(graph).run());
  return graph;
}

} // namespace platen::compiler
