// One pass over each block in order; fused regions are entered, everything else is one catalog
// call.
#include "ops/ir/interpreter.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "llvm/Support/raw_ostream.h"

namespace platen::ir {

using base::internalError;
using base::Result;
using base::Status;
using Known = llvm::DenseMap<mlir::Value, Knowledge>;

namespace {

std::string locationText(mlir::Operation &op) {
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(op.getLoc()))
    return name.getName().str();
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << op.getName();
  return text;
}

/// A weight that lies in another float format than its users see it in.
std::shared_ptr<const ops::Tensor> converted(const ops::Tensor &stored, ops::DType dtype) {
  auto tensor = std::make_shared<ops::Tensor>(
      ops::TensorType{dtype, {stored.dims().begin(), stored.dims().end()}});
  for (int64_t i = 0, count = tensor->elementCount(); i < count; ++i)
    tensor->set(i, stored.get(i));
  return tensor;
}

} // namespace

Status Interpreter::evaluateCatalogOp(mlir::Operation &op, Known &known) const {
  llvm::StringRef name = op.getName().stripDialect();
  const ops::OpSpec *spec = ops::findOp({name.data(), name.size()});
  if (!spec)
    return internalError("the interpreter does not know op '" + op.getName().getStringRef().str() +
                         "'");
  ops::Attributes attributes = toAttributes(*spec, op.getAttrDictionary());
  std::vector<const ops::TensorType *> types;
  std::vector<const ops::Tensor *> values;
  bool allKnown = true;
  for (mlir::Value operand : op.getOperands()) {
    auto found = known.find(operand);
    bool absent = mlir::isa<mlir::NoneType>(operand.getType());
    types.push_back(absent ? nullptr : &found->second.type);
    values.push_back(absent ? nullptr : found->second.value.get());
    allKnown &= absent || values.back() != nullptr;
  }
  if (allKnown) {
    PLATEN_ASSIGN_OR_RETURN(std::vector<ops::Tensor> results,
                            ops::evaluate(*spec, values, attributes));
    for (auto [result, tensor] : llvm::zip(op.getResults(), results))
      known[result] = Knowledge::of(std::move(tensor));
    return Status::ok();
  }
  PLATEN_ASSIGN_OR_RETURN(std::vector<ops::TensorType> results,
                          ops::inferTypes(*spec, types, values, attributes));
  if (auto value = ops::valueFromTypes(*spec, types, values, attributes)) {
    known[op.getResult(0)] = Knowledge::of(std::move(*value));
    return Status::ok();
  }
  for (auto [result, type] : llvm::zip(op.getResults(), results))
    known[result] = Knowledge{type, nullptr};
  return Status::ok();
}

Status Interpreter::evaluateFused(mlir::Operation &op, Known &known) const {
  auto fused = mlir::cast<FusedOp>(op);
  mlir::Block &block = fused.getBody().front();
  Known inner;
  for (auto [argument, input] : llvm::zip(block.getArguments(), fused.getInputs()))
    inner[argument] = known[input];
  PLATEN_RETURN_IF_ERROR(evaluateBlock(block, inner));
  for (auto [result, value] : llvm::zip(op.getResults(), block.getTerminator()->getOperands()))
    known[result] = inner[value];
  return Status::ok();
}

Status Interpreter::evaluateOp(mlir::Operation &op, Known &known) const {
  if (op.hasTrait<mlir::OpTrait::IsTerminator>() || mlir::isa<AbsentOp>(op))
    return Status::ok();
  if (auto constant = mlir::dyn_cast<ConstantOp>(op)) {
    auto tensor = toTensor(constant.getValue());
    if (!tensor)
      return internalError("a constant of type that no tensor can hold");
    known[constant.getResult()] = Knowledge::of(std::move(*tensor));
    return Status::ok();
  }
  if (auto weight = mlir::dyn_cast<WeightOp>(op)) {
    auto type = toTensorType(weight.getResult().getType());
    if (!type)
      return internalError("a weight of type that no tensor can hold");
    Knowledge knowledge{*type, nullptr};
    if (reader_) {
      PLATEN_ASSIGN_OR_RETURN(knowledge.value, reader_(weight.getInitializer()));
      if (knowledge.value && knowledge.value->dtype() != type->dtype)
        knowledge.value = converted(*knowledge.value, type->dtype);
    }
    known[weight.getResult()] = std::move(knowledge);
    return Status::ok();
  }
  if (mlir::isa<FusedOp>(op))
    return evaluateFused(op, known);
  return evaluateCatalogOp(op, known);
}

Status Interpreter::evaluateBlock(mlir::Block &block, Known &known) const {
  for (mlir::Operation &op : block)
    if (Status status = evaluateOp(op, known); !status.isOk())
      return status.at(locationText(op));
  return Status::ok();
}

Result<Known> Interpreter::propagate(mlir::func::FuncOp function,
                                     std::span<const Knowledge> arguments) const {
  if (function.getNumArguments() != arguments.size())
    return base::invalidArgument("the function takes " +
                                 std::to_string(function.getNumArguments()) + " arguments, not " +
                                 std::to_string(arguments.size()));
  Known known;
  for (auto [argument, knowledge] : llvm::zip(function.getArguments(), arguments))
    known[argument] = knowledge;
  PLATEN_RETURN_IF_ERROR(evaluateBlock(function.getBody().front(), known));
  return known;
}

Result<std::vector<ops::Tensor>> Interpreter::run(mlir::func::FuncOp function,
                                                  std::span<const ops::Tensor> arguments) const {
  std::vector<Knowledge> knowledge;
  for (const ops::Tensor &argument : arguments)
    knowledge.push_back(Knowledge::of(argument));
  PLATEN_ASSIGN_OR_RETURN(Known known, propagate(function, knowledge));
  std::vector<ops::Tensor> results;
  for (mlir::Value value : function.getBody().front().getTerminator()->getOperands()) {
    const Knowledge &result = known[value];
    if (!result.value)
      return base::invalidArgument("result " + std::to_string(results.size()) +
                                   " depends on a weight that was not read");
    results.push_back(*result.value);
  }
  return results;
}

} // namespace platen::ir
