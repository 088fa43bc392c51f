// Classification is one forward pass; runs are the interpreter's.
#include "compiler/serve/evaluation.h"
#include "compiler/serve/group_query.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cstring>

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using ir::Knowledge;
using ops::DType;
using ops::Tensor;
using ops::TensorType;

namespace {

/// Whether the op's result depends on its operands' types only (`shape`).
bool readsTypesOnly(mlir::Operation &op) {
  llvm::StringRef name = op.getName().stripDialect();
  const ops::OpSpec *spec = ops::findOp({name.data(), name.size()});
  return spec && spec->valueFromTypes;
}

bool sameTensor(const Tensor &a, const Tensor &b) {
  return a.type() == b.type() && std::ranges::equal(a.bytes(), b.bytes());
}

Tensor filled(std::vector<int64_t> dims, int64_t value) {
  Tensor tensor(TensorType{DType::kI64, std::move(dims)});
  for (int64_t i = 0; i < tensor.elementCount(); ++i)
    tensor.setInt(i, value);
  return tensor;
}

Tensor positionIds(const Sizes &sizes) {
  Tensor tensor(TensorType{DType::kI64, {sizes.batch, sizes.sequence}});
  for (int64_t i = 0; i < tensor.elementCount(); ++i)
    tensor.setInt(i, sizes.past + i % sizes.sequence);
  return tensor;
}

Knowledge asType(Tensor tensor, DType dtype) {
  if (tensor.dtype() == dtype)
    return Knowledge::of(std::move(tensor));
  Tensor cast(TensorType{dtype, tensor.type().dims});
  for (int64_t i = 0; i < cast.elementCount(); ++i)
    cast.setInt(i, tensor.getInt(i));
  return Knowledge::of(std::move(cast));
}

} // namespace

std::string originOf(mlir::Operation *op) {
  mlir::Location location = op->getLoc();
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(location))
    return "node '" + name.getName().str() + "' (" + op->getName().getStringRef().str() + ")";
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << op->getName() << " at " << location;
  return text;
}

void Evaluation::classify() {
  for (auto [i, argument] : llvm::enumerate(function_.getArguments()))
    kinds_[argument] =
        i == roles_.attentionMask || i == roles_.positions ? Kind::kPosition : Kind::kData;
  for (mlir::Operation &op : function_.getBody().front()) {
    Kind kind = mlir::isa<ir::WeightOp>(op) ? Kind::kWeight : Kind::kConstant;
    for (mlir::Value operand : op.getOperands())
      kind = std::max(kind, kinds_.lookup(operand));
    if (kind == Kind::kData && readsTypesOnly(op))
      kind = Kind::kPosition;
    for (mlir::Value result : op.getResults())
      kinds_[result] = kind;
  }
}

ir::WeightReader Evaluation::positionalReader(const ir::WeightReader &reader) const {
  if (!reader)
    return nullptr;
  // Weights that some position-only op reads, directly or through weight-only ops.
  llvm::SmallVector<mlir::Value> work;
  mlir::func::FuncOp function = function_;
  for (mlir::Operation &op : function.getBody().front())
    if (op.getNumResults() > 0 && kind(op.getResult(0)) == Kind::kPosition && !readsTypesOnly(op))
      llvm::append_range(work, op.getOperands());
  llvm::DenseSet<mlir::Value> seen;
  auto names = std::make_shared<llvm::DenseSet<mlir::StringAttr>>();
  while (!work.empty()) {
    mlir::Value value = work.pop_back_val();
    if (kind(value) != Kind::kWeight || !seen.insert(value).second)
      continue;
    if (auto weight = value.getDefiningOp<ir::WeightOp>())
      names->insert(weight.getInitializerAttr().getAttr());
    else
      llvm::append_range(work, value.getDefiningOp()->getOperands());
  }
  mlir::MLIRContext *context = function.getContext();
  return [names, reader, context](llvm::StringRef name) -> Result<std::shared_ptr<const Tensor>> {
    if (!names->contains(mlir::StringAttr::get(context, name)))
      return std::shared_ptr<const Tensor>();
    return reader(name);
  };
}

namespace {

/// genai leaves the head size of its caches symbolic; the attention that reads the cache knows it.
/// A sliding cache holds as many rows as its window, whatever the past: returns their number, or 0.
Result<int64_t> refineCacheType(mlir::Value cache, TensorType &type) {
  int64_t rows = 0;
  for (mlir::Operation *user : cache.getUsers())
    if (isGroupQuery(user)) {
      PLATEN_ASSIGN_OR_RETURN(GroupQueryHeads heads, groupQueryHeads(user));
      type.dims[1] = heads.kvHeads;
      type.dims[3] = heads.headSize;
      rows = heads.slidingRows;
    }
  return rows;
}

} // namespace

Status Evaluation::resolveCacheTypes() {
  for (mlir::Type type : function_.getArgumentTypes()) {
    auto tensor = ir::toTensorType(type);
    if (!tensor)
      return base::unsupported("an input is no tensor of a known dtype and rank");
    argumentTypes_.push_back(std::move(*tensor));
  }
  for (const auto &[layer, pair] : roles_.past)
    for (unsigned index : {*pair.key, *pair.value}) {
      TensorType &type = argumentTypes_[index];
      std::string origin = "input '" + inputName(function_, index) + "'";
      if (type.rank() != 4)
        return base::unsupported("the cache is " + type.toString() +
                                     "; it must be [batch, heads, past, head size]",
                                 origin);
      PLATEN_ASSIGN_OR_RETURN(int64_t rows, refineCacheType(function_.getArgument(index), type));
      if (rows > 0)
        cacheRows_[index] = rows;
      if (type.dims[1] == ops::kDynamic || type.dims[3] == ops::kDynamic)
        return base::unsupported("the cache is " + type.toString() +
                                     ": its number of heads and head size must be constant",
                                 origin);
    }
  return Status::ok();
}

Result<std::vector<Knowledge>> Evaluation::arguments(const RunInput &input) const {
  const Sizes &sizes = input.sizes;
  std::vector<Knowledge> arguments;
  for (unsigned i = 0; i < argumentTypes_.size(); ++i) {
    const TensorType &type = argumentTypes_[i];
    if (i == roles_.tokens)
      arguments.push_back({TensorType{type.dtype, {sizes.batch, sizes.sequence}}, nullptr});
    else if (i == roles_.attentionMask)
      arguments.push_back(asType(input.attentionMask ? *input.attentionMask
                                                     : filled({sizes.batch, sizes.total()}, 1),
                                 type.dtype));
    else if (i == roles_.positions)
      arguments.push_back(asType(positionIds(sizes), type.dtype));
    else {
      auto rows = cacheRows_.find(i);
      int64_t past = rows == cacheRows_.end() ? sizes.past : rows->second;
      arguments.push_back(
          {TensorType{type.dtype, {sizes.batch, type.dims[1], past, type.dims[3]}}, nullptr});
    }
  }
  return arguments;
}

Result<Evaluation> Evaluation::create(mlir::func::FuncOp function, const Roles &roles,
                                      const ir::WeightReader &reader) {
  Evaluation evaluation(function, roles);
  PLATEN_RETURN_IF_ERROR(evaluation.resolveCacheTypes());
  evaluation.classify();
  evaluation.interpreter_ = ir::Interpreter(evaluation.positionalReader(reader));
  for (const Sizes &sizes : kSizes) {
    PLATEN_ASSIGN_OR_RETURN(std::vector<Knowledge> arguments,
                            evaluation.arguments({sizes, std::nullopt}));
    auto known = evaluation.interpreter_.propagate(function, arguments);
    if (!known.isOk())
      return known.status().at("with batch " + std::to_string(sizes.batch) + ", sequence " +
                               std::to_string(sizes.sequence) + ", past " +
                               std::to_string(sizes.past));
    evaluation.runs_.push_back(std::move(*known));
  }
  return evaluation;
}

Extents Evaluation::extents(mlir::Value value) const {
  Extents extents;
  for (size_t run = 0; run < runs_.size(); ++run) {
    const TensorType &type = runs_[run].find(value)->second.type;
    extents.resize(type.dims.size());
    for (size_t i = 0; i < type.dims.size(); ++i)
      extents[i][run] = type.dims[i];
  }
  return extents;
}

const Tensor *Evaluation::valueAt(size_t run, mlir::Value value) const {
  auto found = runs_[run].find(value);
  return found == runs_[run].end() ? nullptr : found->second.value.get();
}

const Tensor *Evaluation::constant(mlir::Value value) const {
  const Tensor *first = valueAt(0, value);
  for (size_t run = 1; first && run < runs_.size(); ++run) {
    const Tensor *other = valueAt(run, value);
    if (!other || !sameTensor(*first, *other))
      return nullptr;
  }
  return first;
}

std::optional<double> Evaluation::scalar(mlir::Value value) const {
  const Tensor *tensor = constant(value);
  if (!tensor || tensor->elementCount() != 1)
    return std::nullopt;
  return tensor->get(0);
}

std::string Evaluation::describe(mlir::Operation *op) const {
  std::string text = op->getName().getStringRef().str() + "(";
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    auto type = ir::toTensorType(operand.getType());
    text += i == 0 ? "" : ", ";
    text +=
        type ? std::string(base::dtypeName(type->dtype)) + toString(extents(operand)) : "absent";
  }
  return text + ")";
}

// --- Probe
// ----------------------------------------------------------------------------------------------------------

Probe::Probe(const Evaluation &evaluation, llvm::ArrayRef<mlir::Value> values)
    : evaluation_(evaluation) {
  mlir::func::FuncOp function = evaluation.function();
  llvm::DenseSet<mlir::Operation *> needed;
  llvm::SmallVector<mlir::Value> work(values);
  while (!work.empty()) {
    mlir::Operation *op = work.pop_back_val().getDefiningOp();
    if (op && needed.insert(op).second)
      llvm::append_range(work, op->getOperands());
  }
  mlir::OpBuilder builder(function.getContext());
  auto type =
      builder.getFunctionType(function.getArgumentTypes(), mlir::ValueRange(values).getTypes());
  slice_ = mlir::func::FuncOp::create(function.getLoc(), "probe", type);
  builder.setInsertionPointToStart(slice_.addEntryBlock());
  mlir::IRMapping mapping;
  mapping.map(function.getArguments(), slice_.getArguments());
  for (mlir::Operation &op : function.getBody().front())
    if (needed.contains(&op))
      builder.clone(op, mapping);
  llvm::SmallVector<mlir::Value> results;
  for (mlir::Value value : values)
    results.push_back(mapping.lookup(value));
  builder.create<mlir::func::ReturnOp>(function.getLoc(), results);
}

Probe::~Probe() { slice_.erase(); }

Result<std::vector<std::shared_ptr<const Tensor>>> Probe::at(const RunInput &input) const {
  PLATEN_ASSIGN_OR_RETURN(std::vector<Knowledge> arguments, evaluation_.arguments(input));
  PLATEN_ASSIGN_OR_RETURN(auto known, evaluation_.interpreter().propagate(slice_, arguments));
  std::vector<std::shared_ptr<const Tensor>> values;
  mlir::func::FuncOp slice = slice_;
  for (mlir::Value value : slice.getBody().front().getTerminator()->getOperands()) {
    values.push_back(known[value].value);
    if (!values.back())
      return base::unsupported(
          "the value depends on tokens, caches or unread weights, not on positions alone");
  }
  return values;
}

} // namespace platen::compiler::serve
