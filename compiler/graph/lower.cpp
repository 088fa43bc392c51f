// @main → launches, op by op.
#include "compiler/fuse/match.h"
#include "compiler/graph/launches.h"
#include "compiler/quantize/quantize.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"
#include "ops/loops/lowering.h"

namespace platen::compiler {

using base::Result;
using base::Size;
using base::Status;
using ops::loops::TensorSpec;
using Role = GraphTensor::Role;

namespace {

/// Elements of a matrix below which a matmul is left to loops.
constexpr int64_t kLeastMatrix = 1024;

class GraphLowering {
public:
  GraphLowering(mlir::func::FuncOp function, const GraphSizes &sizes)
      : function_(function), sizes_(sizes) {}

  Result<GraphDraft> run() {
    draft_.symbols = sizes_.symbols();
    for (mlir::BlockArgument argument : function_.getArguments())
      addInput(argument);
    for (mlir::Operation &op : function_.getBody().front()) {
      if (mlir::isa<ir::AbsentOp>(op))
        continue;
      if (auto returnOp = mlir::dyn_cast<mlir::func::ReturnOp>(op)) {
        PLATEN_RETURN_IF_ERROR(finish(returnOp));
        continue;
      }
      if (mlir::isa<ir::ConstantOp, ir::WeightOp>(op))
        continue; // made when they are read
      Status status = lowerOp(op);
      if (!status.isOk())
        return status.at(nodeName(&op));
    }
    return std::move(draft_);
  }

private:
  TensorSpec specOf(mlir::Value value) const {
    return {*ir::toDType(mlir::cast<mlir::RankedTensorType>(value.getType()).getElementType()),
            sizes_.dims(value)};
  }
  uint32_t add(GraphTensor tensor) {
    const auto number = static_cast<uint32_t>(draft_.tensors.size());
    tensor.storage = number;
    draft_.tensors.push_back(std::move(tensor));
    return number;
  }

  void addInput(mlir::BlockArgument argument) {
    const auto number = argument.getArgNumber();
    const auto name = function_.getArgAttrOfType<mlir::StringAttr>(number, "platen.name");
    const uint32_t tensor = add({.role = Role::kInput, .spec = specOf(argument), .number = number});
    tensors_[argument] = tensor;
    draft_.inputs.push_back({name ? name.str() : "input" + std::to_string(number), tensor});
  }

  /// The tensor of a value that is read.
  Result<uint32_t> tensorOf(mlir::Value value) {
    if (auto found = tensors_.find(value); found != tensors_.end())
      return found->second;
    GraphTensor tensor{.role = Role::kWeight, .spec = specOf(value)};
    if (auto weight = value.getDefiningOp<ir::WeightOp>())
      tensor.weight.data.initializer = weight.getInitializer().str();
    else if (const ops::Tensor *constant = sizes_.constant(value))
      tensor.weight.data.constant = *constant;
    else if (std::optional<std::vector<Size>> elements = sizes_.elements(value))
      return computeElements(value, *elements);
    else
      return base::internalError("a value is read before a launch writes it");
    WeightRequest &request = tensor.weight;
    request.form = WeightRequest::Form::kBytes;
    request.packing = *kernels::parsePacking("raw.bytes");
    PLATEN_ASSIGN_OR_RETURN(const Size bytes,
                            plan::tensorBytes(tensor.spec.dtype, tensor.spec.dims));
    request.n = 1;
    request.k = static_cast<uint64_t>(std::max<int64_t>(1, *bytes.constant()));
    return tensors_[value] = add(std::move(tensor));
  }

  /// A small tensor of sizes, made by a launch.
  Result<uint32_t> computeElements(mlir::Value value, const std::vector<Size> &elements) {
    const uint32_t tensor = add({.role = Role::kTemporary, .spec = specOf(value)});
    ops::loops::Builder builder;
    const TensorSpec &spec = draft_.tensors[tensor].spec;
    const uint32_t out = builder.tensor(spec);
    for (size_t i = 0; i < elements.size(); ++i)
      builder.store(out, builder.coordinates(builder.integer(static_cast<int64_t>(i)), spec.dims),
                    builder.size(elements[i]));
    addLaunch("sizes", {builder.finish({}, 0)}, {tensor});
    return tensors_[value] = tensor;
  }

  void addLaunch(std::string name, kernels::LoopSpec spec, std::vector<uint32_t> tensors) {
    const ops::loops::Program &program = spec.program;
    const Size extent = base::productOf(std::span(program.extents).first(program.parallel));
    draft_.launches.push_back({std::move(name), std::move(spec), std::move(tensors), extent});
  }

  /// A view of the operand's memory: what reshapes and their kin are.
  bool isView(mlir::Operation &op) const {
    for (const char *name : {"reshape", "squeeze", "unsqueeze", "flatten"})
      if (isOp(&op, name))
        return true;
    return false;
  }

  Status lowerOp(mlir::Operation &op) {
    if (std::all_of(op.result_begin(), op.result_end(), [&](mlir::Value result) {
          return result.use_empty() || sizes_.constant(result) || sizes_.elements(result);
        }))
      return Status::ok(); // made when they are read
    if (isView(op)) {
      PLATEN_ASSIGN_OR_RETURN(const uint32_t from, tensorOf(op.getOperand(0)));
      GraphTensor view = draft_.tensors[from];
      view.spec = specOf(op.getResult(0));
      const uint32_t storage = view.storage;
      const uint32_t tensor = add(std::move(view));
      draft_.tensors[tensor].storage = storage;
      tensors_[op.getResult(0)] = tensor;
      return Status::ok();
    }
    PLATEN_ASSIGN_OR_RETURN(const bool isMatmul, lowerWeightMatmul(op));
    return isMatmul ? Status::ok() : lowerByLoops(op);
  }

  /// The constant matrix [n, k] or, transposed, [k, n] that a matmul multiplies by; nullopt if it
  /// multiplies by something else or is too small to be worth a kernel of its own.
  static std::optional<WeightRequest> matrixOf(mlir::Operation &op) {
    bool transposed = true; // stored as [k, n]
    if (isOp(&op, "matmul"))
      transposed = intAttributeOf(&op, "transpose_b") == 0;
    else if (isOp(&op, "gemm") && intAttributeOf(&op, "transA") == 0 &&
             floatAttributeOf(&op, "alpha") == 1 && floatAttributeOf(&op, "beta") == 1)
      transposed = intAttributeOf(&op, "transB") == 0;
    else
      return std::nullopt;
    mlir::Value value = op.getOperand(1);
    while (mlir::Operation *transpose = definedBy(value, "transpose")) {
      transposed = !transposed; // of two dimensions there is no other
      value = transpose->getOperand(0);
    }
    auto weight = value.getDefiningOp<ir::WeightOp>();
    const auto x = mlir::cast<mlir::RankedTensorType>(op.getOperand(0).getType());
    const auto type = mlir::cast<mlir::RankedTensorType>(value.getType());
    if (!weight || type.getRank() != 2 || x.getRank() == 0 || !x.getElementType().isF32() ||
        type.getNumElements() < kLeastMatrix)
      return std::nullopt;
    WeightRequest request;
    request.data.initializer = weight.getInitializer().str();
    request.transposed = transposed;
    request.n = static_cast<uint64_t>(type.getShape()[transposed ? 1 : 0]);
    request.k = static_cast<uint64_t>(type.getShape()[transposed ? 0 : 1]);
    return request;
  }

  /// Whether it was a matmul by a constant matrix, which has a kernel of its own.
  Result<bool> lowerWeightMatmul(mlir::Operation &op) {
    std::optional<WeightRequest> request = matrixOf(op);
    std::optional<mlir::Value> bias;
    if (isOp(&op, "gemm") && hasOperand(&op, 2)) {
      bias = op.getOperand(2);
      if (request && !(sizes_.dims(*bias) == std::vector<Size>{static_cast<int64_t>(request->n)}))
        return false;
    }
    if (!request)
      return false;
    PLATEN_ASSIGN_OR_RETURN(request->packing, packingOf(&op));
    kernels::MatmulSpec spec;
    spec.k = request->k, spec.n = {request->n}, spec.packing = request->packing;
    if (bias) {
      spec.columnOperands = 1;
      spec.epilogue.yield(spec.epilogue.add(spec.epilogue.input(0), spec.epilogue.input(1)));
    }
    PLATEN_ASSIGN_OR_RETURN(uint32_t x, tensorOf(op.getOperand(0)));
    std::vector<Size> rows = draft_.tensors[x].spec.dims;
    rows.pop_back();
    const Size extent = base::productOf(rows);
    const std::string name = op.getName().stripDialect().str() + ":" + nodeName(&op);
    if (spec.packing.isQuantized()) {
      rows.emplace_back(static_cast<int64_t>(kernels::QuantizedRow{spec.k}.bytes()));
      const uint32_t panel =
          add({.role = Role::kTemporary, .spec = {ops::DType::kU8, std::move(rows)}});
      draft_.launches.push_back(
          {name, kernels::QuantizeRowsSpec{kernels::Extent::kTokens, spec.k}, {x, panel}, extent});
      x = panel;
    }
    GraphTensor weight{
        .role = Role::kWeight,
        .spec = {ops::DType::kF32,
                 {static_cast<int64_t>(request->n), static_cast<int64_t>(request->k)}},
        .weight = std::move(*request)};
    std::vector<uint32_t> tensors = {x, add(std::move(weight))};
    if (bias) {
      PLATEN_ASSIGN_OR_RETURN(tensors.emplace_back(), tensorOf(*bias));
    }
    tensors.push_back(tensors_[op.getResult(0)] =
                          add({.role = Role::kTemporary, .spec = specOf(op.getResult(0))}));
    draft_.launches.push_back({name, std::move(spec), std::move(tensors), extent});
    return true;
  }

  Status lowerByLoops(mlir::Operation &op) {
    const llvm::StringRef name = op.getName().stripDialect();
    const ops::OpSpec *spec = ops::findOp({name.data(), name.size()});
    if (spec == nullptr || spec->loops == nullptr)
      return base::unsupported("'" + name.str() +
                               "' has neither a kernel nor loops, outside of decoders");
    ops::loops::Given given;
    std::vector<std::optional<uint32_t>> numbers; // of the Lowering's tensors
    for (mlir::Value operand : op.getOperands()) {
      const bool isAbsent = mlir::isa<mlir::NoneType>(operand.getType());
      given.operands.push_back(isAbsent ? std::nullopt : std::optional(specOf(operand)));
      given.constants.push_back(isAbsent ? nullptr : sizes_.constant(operand));
      given.sizes.push_back(isAbsent ? std::nullopt : sizes_.elements(operand));
      numbers.emplace_back();
    }
    for (mlir::Value result : op.getResults()) {
      given.results.push_back(specOf(result));
      numbers.emplace_back();
    }
    given.attributes =
        ops::validate(*spec, op.getNumOperands(), ir::toAttributes(*spec, op.getAttrDictionary()))
            .value();
    ops::loops::Lowering lowering(std::move(given));
    PLATEN_RETURN_IF_ERROR(spec->loops(lowering));
    numbers.resize(lowering.tensors().size());
    for (const ops::loops::Launch &launch : lowering.launches()) {
      std::vector<uint32_t> tensors;
      for (size_t i = 0; i < launch.tensors.size(); ++i) {
        const uint32_t id = launch.tensors[i];
        PLATEN_ASSIGN_OR_RETURN(uint32_t tensor, numberOf(op, lowering, id, numbers));
        tensors.push_back(tensor);
      }
      addLaunch(name.str() + ":" + nodeName(&op), {launch.program}, std::move(tensors));
    }
    return Status::ok();
  }

  Result<uint32_t> numberOf(mlir::Operation &op, const ops::loops::Lowering &lowering, uint32_t id,
                            std::vector<std::optional<uint32_t>> &numbers) {
    if (numbers[id])
      return *numbers[id];
    if (id < lowering.firstResult()) {
      PLATEN_ASSIGN_OR_RETURN(numbers[id], tensorOf(op.getOperand(id)));
      return *numbers[id];
    }
    numbers[id] = add({.role = Role::kTemporary, .spec = lowering.tensors()[id]});
    if (id < lowering.firstTemporary())
      tensors_[op.getResult(id - lowering.firstResult())] = *numbers[id];
    return *numbers[id];
  }

  /// Results get tensors of their own: what is an input, a weight, a view or a result already is
  /// copied.
  Status finish(mlir::func::ReturnOp returnOp) {
    for (auto [index, value] : llvm::enumerate(returnOp.getOperands())) {
      const auto number = static_cast<uint32_t>(index);
      PLATEN_ASSIGN_OR_RETURN(uint32_t tensor, tensorOf(value));
      const GraphTensor &made = draft_.tensors[tensor];
      if (made.role != Role::kTemporary || made.storage != tensor) {
        const uint32_t out = add({.role = Role::kOutput, .spec = made.spec, .number = number});
        copy(tensor, out);
        tensor = out;
      } else {
        draft_.tensors[tensor].role = Role::kOutput;
        draft_.tensors[tensor].number = number;
      }
      const auto name = function_.getResultAttrOfType<mlir::StringAttr>(number, "platen.name");
      draft_.outputs.push_back({name ? name.str() : "output" + std::to_string(number), tensor});
    }
    return Status::ok();
  }

  void copy(uint32_t from, uint32_t to) {
    ops::loops::Builder builder;
    const TensorSpec spec = draft_.tensors[from].spec;
    const uint32_t in = builder.tensor(spec), out = builder.tensor(spec);
    std::vector<ops::loops::Value> at;
    for (uint32_t axis = 0; axis < spec.dims.size(); ++axis)
      at.push_back(builder.axis(axis));
    builder.store(out, at, builder.load(in, at));
    addLaunch("copy", {builder.finish(spec.dims, static_cast<uint32_t>(spec.dims.size()))},
              {from, to});
  }

  mlir::func::FuncOp function_;
  const GraphSizes &sizes_;
  GraphDraft draft_;
  llvm::DenseMap<mlir::Value, uint32_t> tensors_;
};

} // namespace

Result<GraphDraft> lowerGraph(mlir::ModuleOp module, const ir::WeightReader &reader) {
  auto function = module.lookupSymbol<mlir::func::FuncOp>("main");
  if (!function)
    return base::internalError("the module has no func @main");
  PLATEN_ASSIGN_OR_RETURN(const GraphSizes sizes, GraphSizes::of(function, reader));
  return GraphLowering(function, sizes).run();
}

} // namespace platen::compiler
