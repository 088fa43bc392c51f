// Emission: a flat, sorted graph becomes ops through the rows of the catalog. All mapping knowledge
// is in those rows.
#include "compiler/import/importer.h"

#include "compiler/import/flat_graph.h"
#include "compiler/import/onnx_index.h"
#include "compiler/import/shared_weights.h"
#include "ops/ir/dialect.h"
#include "ops/onnx_map.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringMap.h"

#include <set>

namespace platen::compiler {

using base::corrupt;
using base::Result;
using base::Status;

namespace {

mlir::Location nameLocation(mlir::MLIRContext *context, llvm::StringRef name) {
  return mlir::NameLoc::get(mlir::StringAttr::get(context, name));
}

/// A graph input's or output's type as declared, and the names of its dimensions.
struct DeclaredType {
  ops::TensorType type;
  llvm::SmallVector<std::string> dimNames;
};

bool isNumber(llvm::StringRef text) {
  return !text.empty() && text.size() < 19 &&
         llvm::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

Result<DeclaredType> declaredType(const onnx::ValueInfoProto &value) {
  if (!value.type().has_tensor_type())
    return base::unsupported("is no tensor (sequences, maps and optionals are not supported)");
  const onnx::TypeProto::Tensor &tensor = value.type().tensor_type();
  PLATEN_ASSIGN_OR_RETURN(base::DType dtype, ops::onnxDType(tensor.elem_type()));
  if (!tensor.has_shape())
    return base::unsupported("has no shape; run onnx.shape_inference or export with shapes");
  DeclaredType declared{{dtype, {}}, {}};
  for (const onnx::TensorShapeProto::Dimension &dim : tensor.shape().dim()) {
    std::string name = dim.has_dim_value() ? std::to_string(dim.dim_value()) : dim.dim_param();
    if (dim.has_dim_value() && dim.dim_value() < 0)
      return corrupt("dimension " + name + " is negative");
    declared.type.dims.push_back(isNumber(name) ? std::stoll(name) : ops::kDynamic);
    declared.dimNames.push_back(std::move(name));
  }
  PLATEN_RETURN_IF_ERROR(checkedBytes(declared.type).status());
  return declared;
}

struct PreparedNode {
  const FlatNode *node;
  const ops::OpSpec *op;
  ops::OpCall call;
};

Result<PreparedNode> prepare(const FlatNode &node) {
  PLATEN_ASSIGN_OR_RETURN(OnnxMatch match,
                          OnnxIndex::get().find(node.domain, node.opType, node.version));
  llvm::SmallVector<bool> inputs, outputs;
  for (const std::string &name : node.inputs)
    inputs.push_back(!name.empty());
  for (const std::string &name : node.outputs)
    outputs.push_back(!name.empty());
  ops::OnnxNode view{node.domain, node.opType, node.version, inputs, outputs, node.attributes};
  auto call = match.row->map ? match.row->map(view) : ops::defaultOnnxMap(*match.op, view);
  if (!call)
    return call.status();
  return PreparedNode{&node, match.op, std::move(*call)};
}

/// All nodes mapped, or one message about all that cannot be.
Result<std::vector<PreparedNode>> prepareAll(const FlatGraph &graph, size_t maxReported) {
  std::vector<PreparedNode> prepared;
  llvm::StringMap<size_t> problems; // message → number of nodes
  std::vector<std::string> lines;
  size_t count = 0;
  for (const FlatNode &node : graph.nodes) {
    auto one = prepare(node);
    if (one) {
      prepared.push_back(std::move(*one));
      continue;
    }
    if (one.status().code() != base::StatusCode::kUnsupported)
      return one.status().at(node.label());
    ++count;
    std::string text(one.status().message());
    if (++problems[text] == 1 && lines.size() < maxReported)
      lines.push_back(node.label() + ": " + text);
  }
  if (count == 0)
    return prepared;
  std::string message = std::to_string(count) + " of " + std::to_string(graph.nodes.size()) +
                        " nodes are not supported";
  for (const std::string &line : lines)
    message += "\n  " + line;
  if (problems.size() > lines.size())
    message +=
        "\n  and " + std::to_string(problems.size() - lines.size()) + " more kinds of problem";
  return base::unsupported(message);
}

class Emitter {
public:
  Emitter(const FlatGraph &graph, std::shared_ptr<WeightStore> weights, mlir::MLIRContext &context)
      : graph_(graph), weights_(std::move(weights)), context_(context), builder_(&context) {}

  Result<mlir::OwningOpRef<mlir::ModuleOp>> run(std::span<const PreparedNode> nodes) {
    module_ = mlir::ModuleOp::create(builder_.getUnknownLoc());
    PLATEN_RETURN_IF_ERROR(shareWeights(nodes));
    PLATEN_RETURN_IF_ERROR(beginFunction());
    for (const PreparedNode &node : nodes)
      if (Status status = emit(node); !status.isOk())
        return status.at(node.node->label());
    PLATEN_RETURN_IF_ERROR(endFunction());
    PLATEN_RETURN_IF_ERROR(verify());
    return std::move(module_);
  }

private:
  /// Weights in order of first use; those that a gather reads first, so that of an embedding and
  /// its transposed head the embedding is kept.
  std::vector<WeightView> weightsInUse(std::span<const PreparedNode> nodes) const {
    std::vector<WeightView> gathered, others;
    std::set<std::string> seen;
    for (bool gathers : {true, false})
      for (const PreparedNode &node : nodes)
        for (const std::string &input : node.node->inputs)
          if (gathers == (node.op->name == "gather"))
            if (auto found = graph_.tensors.find(graph_.resolve(input));
                found != graph_.tensors.end())
              if (const auto *range = std::get_if<WeightRange>(&found->second.data))
                if (seen.insert(found->first).second)
                  (gathers ? gathered : others)
                      .push_back({found->first, found->second.type, *range});
    gathered.insert(gathered.end(), others.begin(), others.end());
    return gathered;
  }

  Status shareWeights(std::span<const PreparedNode> nodes) {
    std::vector<WeightView> weights = weightsInUse(nodes);
    PLATEN_ASSIGN_OR_RETURN(copies_, findCopies(weights, *weights_));
    std::erase_if(weights, [&](const WeightView &weight) { return copies_.contains(weight.name); });
    if (ops::findOp("transpose")) {
      PLATEN_ASSIGN_OR_RETURN(twins_, findTransposedTwins(weights, *weights_));
    }
    return Status::ok();
  }

  void annotate(mlir::func::FuncOp function, unsigned index, bool isArgument, llvm::StringRef name,
                llvm::ArrayRef<std::string> dimNames) {
    llvm::SmallVector<llvm::StringRef> dims(dimNames.begin(), dimNames.end());
    for (auto [key, value] :
         {std::pair<const char *, mlir::Attribute>{"platen.name", builder_.getStringAttr(name)},
          {"platen.dims", builder_.getStrArrayAttr(dims)}})
      isArgument ? function.setArgAttr(index, key, value)
                 : function.setResultAttr(index, key, value);
  }

  Status beginFunction() {
    llvm::SmallVector<mlir::Type> types;
    std::vector<DeclaredType> declared;
    for (const onnx::ValueInfoProto *input : graph_.inputs) {
      auto type = declaredType(*input);
      if (!type)
        return type.status().at("input '" + input->name() + "'");
      types.push_back(ir::toMlirType(&context_, type->type));
      declared.push_back(std::move(*type));
    }
    builder_.setInsertionPointToEnd(module_->getBody());
    function_ = builder_.create<mlir::func::FuncOp>(builder_.getUnknownLoc(), "main",
                                                    builder_.getFunctionType(types, {}));
    mlir::Block *block = function_.addEntryBlock();
    for (auto [index, input] : llvm::enumerate(graph_.inputs)) {
      mlir::BlockArgument argument = block->getArgument(static_cast<unsigned>(index));
      argument.setLoc(nameLocation(&context_, input->name()));
      values_[input->name()] = argument;
      annotate(function_, static_cast<unsigned>(index), true, input->name(),
               declared[index].dimNames);
    }
    builder_.setInsertionPointToEnd(block);
    return Status::ok();
  }

  /// The value of a name; tensors come to life at their first use. Null only for what is defined
  /// nowhere.
  Result<mlir::Value> valueOf(const std::string &name) {
    const std::string &resolved = graph_.resolve(name);
    if (auto found = values_.find(resolved); found != values_.end())
      return mlir::Value(found->second);
    auto tensor = graph_.tensors.find(resolved);
    if (tensor == graph_.tensors.end())
      return corrupt("'" + name + "' is defined by no node, input or initializer");
    mlir::Value value;
    if (const auto *constant = std::get_if<ops::Tensor>(&tensor->second.data)) {
      value = builder_.create<ir::ConstantOp>(
          nameLocation(&context_, resolved),
          mlir::ElementsAttr(ir::toMlirConstant(&context_, *constant)));
    } else {
      PLATEN_ASSIGN_OR_RETURN(value, weight(resolved));
    }
    values_[resolved] = value;
    return value;
  }

  Result<mlir::Value> weight(const std::string &name) {
    if (auto copy = copies_.find(name); copy != copies_.end())
      return valueOf(copy->second);
    mlir::Location location = nameLocation(&context_, name);
    if (auto twin = twins_.find(name); twin != twins_.end()) {
      PLATEN_ASSIGN_OR_RETURN(mlir::Value original, valueOf(twin->second));
      PLATEN_ASSIGN_OR_RETURN(mlir::Operation * transpose,
                              ir::createOp(builder_, location, "transpose", original,
                                           {{"perm", std::vector<int64_t>{1, 0}}}));
      return mlir::Value(transpose->getResult(0));
    }
    const ImportedTensor &tensor = graph_.tensors.at(name);
    mlir::RankedTensorType type = ir::toMlirType(&context_, tensor.type);
    std::string symbol = name == "main" ? "main#weight" : name; // @main is the function
    const auto &range = std::get<WeightRange>(tensor.data);
    {
      mlir::OpBuilder::InsertionGuard guard(builder_);
      builder_.setInsertionPoint(function_);
      builder_.create<ir::InitializerOp>(location, symbol, type, range.file, range.offset,
                                         range.bytes);
    }
    return mlir::Value(builder_.create<ir::WeightOp>(location, type, symbol).getResult());
  }

  Result<mlir::Value> operandValue(const ops::OnnxOperand &operand, const FlatNode &node) {
    switch (operand.kind) {
    case ops::OnnxOperand::Kind::kInput:
      if (operand.input >= node.inputs.size())
        return corrupt("input " + std::to_string(operand.input) + " is missing; it has " +
                       std::to_string(node.inputs.size()));
      if (node.inputs[operand.input].empty())
        return mlir::Value();
      return valueOf(node.inputs[operand.input]);
    case ops::OnnxOperand::Kind::kConstant: {
      mlir::Value value = builder_.create<ir::ConstantOp>(
          nameLocation(&context_, node.name),
          mlir::ElementsAttr(ir::toMlirConstant(&context_, operand.constant)));
      return value;
    }
    case ops::OnnxOperand::Kind::kAbsent:
      break;
    }
    return mlir::Value();
  }

  Status emit(const PreparedNode &prepared) {
    const FlatNode &node = *prepared.node;
    llvm::SmallVector<mlir::Value> operands;
    for (const ops::OnnxOperand &operand : prepared.call.operands) {
      PLATEN_ASSIGN_OR_RETURN(mlir::Value value, operandValue(operand, node));
      operands.push_back(value);
    }
    auto op = ir::createOp(builder_, nameLocation(&context_, node.name), prepared.op->name,
                           operands, prepared.call.attributes);
    if (!op)
      return Status(op.status().code(),
                    std::string(op.status().message()) + inputsText(node, operands),
                    std::string(op.status().origin()));
    for (auto [result, output] : llvm::zip((*op)->getResults(), prepared.call.outputs))
      if (output < node.outputs.size() && !node.outputs[output].empty())
        values_[node.outputs[output]] = result;
    for (const std::string &output : node.outputs)
      if (!output.empty() && !values_.contains(output))
        return base::unsupported("output '" + output + "' is asked for, which is not supported");
    return Status::ok();
  }

  static std::string inputsText(const FlatNode &node, llvm::ArrayRef<mlir::Value> operands) {
    std::string text;
    for (auto [index, operand] : llvm::enumerate(operands)) {
      auto type = operand ? ir::toTensorType(operand.getType()) : std::nullopt;
      std::string name = index < node.inputs.size() ? "'" + node.inputs[index] + "' " : "";
      text += (text.empty() ? " (operands: " : ", ") + name + (type ? type->toString() : "absent");
    }
    return text.empty() ? text : text + ")";
  }

  Status endFunction() {
    llvm::SmallVector<mlir::Value> results;
    std::vector<DeclaredType> declared;
    for (const onnx::ValueInfoProto *output : graph_.outputs) {
      std::string label = "output '" + output->name() + "'";
      auto value = valueOf(output->name());
      if (!value)
        return value.status().at(label);
      PLATEN_ASSIGN_OR_RETURN(DeclaredType type, resultType(*output, *value, label));
      results.push_back(*value);
      declared.push_back(std::move(type));
    }
    builder_.create<mlir::func::ReturnOp>(builder_.getUnknownLoc(), results);
    function_.setType(builder_.getFunctionType(function_.getArgumentTypes(),
                                               mlir::ValueRange(results).getTypes()));
    for (auto [index, output] : llvm::enumerate(graph_.outputs))
      annotate(function_, static_cast<unsigned>(index), false, output->name(),
               declared[index].dimNames);
    return Status::ok();
  }

  /// An output may be declared without a shape; what is declared must not contradict what was
  /// inferred.
  static Result<DeclaredType> resultType(const onnx::ValueInfoProto &output, mlir::Value value,
                                         const std::string &label) {
    ops::TensorType inferred = *ir::toTensorType(value.getType());
    DeclaredType declared{inferred, llvm::SmallVector<std::string>(inferred.dims.size())};
    if (output.type().has_tensor_type() && output.type().tensor_type().has_shape()) {
      auto given = declaredType(output);
      if (!given)
        return given.status().at(label);
      declared = std::move(*given);
    }
    bool fits = declared.type.dtype == inferred.dtype && declared.type.rank() == inferred.rank();
    for (size_t d = 0; fits && d < inferred.dims.size(); ++d)
      fits = inferred.dims[d] == ops::kDynamic || declared.type.dims[d] == ops::kDynamic ||
             inferred.dims[d] == declared.type.dims[d];
    if (!fits)
      return base::invalidArgument("is declared as " + declared.type.toString() +
                                       ", but the graph computes " + inferred.toString(),
                                   label);
    return declared;
  }

  Status verify() {
    std::string diagnostics;
    mlir::ScopedDiagnosticHandler handler(&context_, [&](mlir::Diagnostic &diagnostic) {
      diagnostics += (diagnostics.empty() ? "" : "; ") + diagnostic.str();
      return mlir::success();
    });
    if (mlir::failed(mlir::verify(*module_)))
      return base::internalError("the imported module does not verify: " + diagnostics);
    return Status::ok();
  }

  const FlatGraph &graph_;
  std::shared_ptr<WeightStore> weights_;
  mlir::MLIRContext &context_;
  mlir::OpBuilder builder_;
  mlir::OwningOpRef<mlir::ModuleOp> module_;
  mlir::func::FuncOp function_;
  std::unordered_map<std::string, mlir::Value> values_;
  std::map<std::string, std::string> copies_, twins_;
};

ModelMetadata metadataOf(const onnx::ModelProto &model) {
  ModelMetadata metadata{model.graph().name(),
                         model.producer_name(),
                         model.producer_version(),
                         model.ir_version(),
                         {},
                         {}};
  for (const onnx::OperatorSetIdProto &opset : model.opset_import())
    metadata.opsets[opset.domain() == "ai.onnx" ? "" : opset.domain()] = opset.version();
  for (const onnx::StringStringEntryProto &entry : model.metadata_props())
    metadata.properties[entry.key()] = entry.value();
  return metadata;
}

Result<ImportedModel> importParsed(std::span<const std::byte> bytes,
                                   std::shared_ptr<WeightStore> weights, const std::string &name,
                                   mlir::MLIRContext &context, const ImportOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(std::unique_ptr<onnx::ModelProto> model, parseOnnx(bytes));
  TensorReader tensors(*weights, name);
  PLATEN_ASSIGN_OR_RETURN(FlatGraph graph, flatten(*model, tensors));
  PLATEN_ASSIGN_OR_RETURN(std::vector<PreparedNode> nodes, prepareAll(graph, options.maxReported));
  context.loadDialect<ir::PlatenDialect, mlir::func::FuncDialect>();
  PLATEN_ASSIGN_OR_RETURN(mlir::OwningOpRef<mlir::ModuleOp> module,
                          Emitter(graph, weights, context).run(nodes));
  return ImportedModel{std::move(module), std::move(weights), metadataOf(*model)};
}

} // namespace

Result<ImportedModel> importOnnxBytes(std::span<const std::byte> bytes,
                                      std::shared_ptr<const void> owner, const std::string &name,
                                      const std::filesystem::path &folder,
                                      mlir::MLIRContext &context, const ImportOptions &options) {
  auto weights = std::make_shared<WeightStore>(folder);
  PLATEN_RETURN_IF_ERROR(weights->add(name, bytes, std::move(owner)));
  auto imported = importParsed(bytes, std::move(weights), name, context, options);
  if (!imported)
    return imported.status().at(name);
  return imported;
}

Result<ImportedModel> importOnnx(const std::filesystem::path &model, mlir::MLIRContext &context,
                                 const ImportOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(base::MappedFile mapped, base::MappedFile::open(model.string()));
  auto owner = std::make_shared<base::MappedFile>(std::move(mapped));
  return importOnnxBytes(owner->bytes(), owner, model.filename().string(), model.parent_path(),
                         context, options);
}

} // namespace platen::compiler
