// Selection, from the top: walks @step once, op by op; see select.h.
#include "compiler/select/select.h"
#include "compiler/fuse/match.h"
#include "compiler/select/selector.h"
#include "ops/ir/adaptor.h"

#include "llvm/Support/raw_ostream.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

std::string describe(mlir::Operation &op) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << op.getName() << " (";
  llvm::interleaveComma(op.getOperandTypes(), stream);
  stream << ") -> (";
  llvm::interleaveComma(op.getResultTypes(), stream);
  stream << ")";
  return text;
}

} // namespace

Status selectProgram(mlir::ModuleOp module, KernelSource &source, PlanDraft &draft) {
  return Selector(module, source, draft).run();
}

Status Selector::run() {
  auto step = module_.lookupSymbol<mlir::func::FuncOp>("step");
  if (!step)
    return base::invalidArgument("the module has no func @step; graphs that are no decoders cannot "
                                 "be compiled to a plan yet");
  program_.device = source_.device();
  for (const WeightRequest &weight : draft_.weights)
    weightIndex_.try_emplace(weight.key(), static_cast<uint32_t>(weightIndex_.size()));
  findPanelUsers(step);
  for (mlir::Operation &op : step.getBody().front()) {
    Status status = selectOp(op);
    if (!status.isOk())
      return status.at(nodeName(&op));
  }
  planArena(draft_.manifest.limits, lifetimes_, program_);
  draft_.manifest.programs.push_back(std::move(program_));
  return Status::ok();
}

Status Selector::selectOp(mlir::Operation &op) {
  if (mlir::isa<ir::ConstantOp, ir::AbsentOp, ir::WeightOp>(op) ||
      (op.getNumResults() == 1 && isWeight(op.getResult(0))))
    return Status::ok();
  if (auto fused = mlir::dyn_cast<ir::FusedOp>(op))
    return selectFused(fused);
  if (auto returnOp = mlir::dyn_cast<mlir::func::ReturnOp>(op))
    return finish(returnOp);
  if (isWeightMatmul(&op))
    return selectMatmul(op, {&op}, op.getResults());
  if (isOp(&op, "select_rows"))
    return selectRowsGather(op);
  if (isOp(&op, "reshape"))
    return selectReshape(op);
  return unsupported("there is no kernel for " + describe(op) +
                     "; kernels exist for matmuls by weights, row-wise ops over [tokens, "
                     "features], paged attention, "
                     "embeddings and row selection");
}

Status Selector::selectFused(ir::FusedOp fused) {
  if (fused.getKind() == "embedding")
    return selectEmbedding(fused);
  if (fused.getKind() == "attention")
    return selectAttention(fused);
  if (fused.getKind() == "rows")
    return selectRows(fused);
  llvm::SmallVector<mlir::Operation *> body;
  for (mlir::Operation &op : fused.getBody().front().without_terminator())
    body.push_back(&op);
  return selectMatmul(*fused.getOperation(), body,
                      fused.getBody().front().getTerminator()->getOperands());
}

Status Selector::selectEmbedding(ir::FusedOp fused) {
  mlir::Operation *gather = &fused.getBody().front().front();
  float scale = 1;
  for (mlir::Operation &op : fused.getBody().front()) {
    if (isOp(&op, "gather") || isOp(&op, "gather_block_quantized"))
      gather = &op;
    else if (isOp(&op, "mul"))
      scale = static_cast<float>(
          scalarConstant(op.getOperand(0)).value_or(scalarConstant(op.getOperand(1)).value_or(1)));
  }
  auto tokens = mlir::dyn_cast<mlir::BlockArgument>(outerValue(gather->getOperand(1)));
  if (!tokens || tokens.getArgNumber() != 0)
    return unsupported("a table is gathered by something other than the step's token ids");
  PLATEN_ASSIGN_OR_RETURN(uint32_t table, tableWeight(gather));
  const WeightRequest &request = draft_.weights[table];
  kernels::EmbedSpec spec{request.n, request.k, request.packing, scale};
  View y = addResult(fused.getResult(0), plan::Extent::kTokens, request.k);
  return addLaunch(launchName(*fused, "embedding"), spec,
                   {{plan::OperandKind::kWeight, table}, {plan::OperandKind::kBuffer, y.buffer}});
}

Status Selector::selectRowsGather(mlir::Operation &op) {
  auto rows = mlir::dyn_cast<mlir::BlockArgument>(op.getOperand(1));
  if (!rows || rows.getArgNumber() != 3)
    return unsupported("rows are selected by something other than the step's rows");
  PLATEN_ASSIGN_OR_RETURN(View x, denseViewOf(op.getOperand(0)));
  View y = addResult(op.getResult(0), plan::Extent::kRows, x.columns);
  return addLaunch(
      launchName(op, "select_rows"), kernels::SelectRowsSpec{x.columns},
      {{plan::OperandKind::kBuffer, x.buffer}, {plan::OperandKind::kBuffer, y.buffer}});
}

Status Selector::selectReshape(mlir::Operation &op) {
  PLATEN_ASSIGN_OR_RETURN(View view, viewOf(op.getOperand(0)));
  auto type = mlir::cast<mlir::RankedTensorType>(op.getResult(0).getType());
  uint64_t columns = 1;
  for (int64_t dim : type.getShape().drop_front())
    columns *= static_cast<uint64_t>(dim);
  if (!type.isDynamicDim(0) || type.getNumDynamicDims() != 1 || columns != view.columns)
    return unsupported("reshape to " + describe(op) + " moves elements between tokens");
  views_[op.getResult(0)] = view;
  return Status::ok();
}

Status Selector::finish(mlir::func::ReturnOp returnOp) {
  if (returnOp.getNumOperands() == 0 || returnOp.getNumOperands() > 2)
    return unsupported("the step must return logits, or logits and hidden states");
  PLATEN_ASSIGN_OR_RETURN(View logits, denseViewOf(returnOp.getOperand(0)));
  program_.logits_buffer = logits.buffer;
  draft_.manifest.model.vocabulary = static_cast<uint32_t>(logits.columns);
  program_.hidden_buffer = -1;
  lifetimes_[logits.buffer].last = program_.launches.size();
  if (returnOp.getNumOperands() == 2) {
    PLATEN_ASSIGN_OR_RETURN(View hidden, denseViewOf(returnOp.getOperand(1)));
    if (extentOf(hidden) != plan::Extent::kRows)
      return unsupported("hidden states must be returned for the selected rows");
    program_.hidden_buffer = static_cast<int32_t>(hidden.buffer);
    lifetimes_[hidden.buffer].last = program_.launches.size();
  }
  if (extentOf(logits) != plan::Extent::kRows)
    return unsupported("logits must be computed for the selected rows");
  return Status::ok();
}

uint32_t Selector::addBuffer(std::string name, plan::Extent extent, uint64_t rowBytes) {
  program_.buffers.push_back({std::move(name), extent, rowBytes, 0});
  lifetimes_.push_back({program_.launches.size(), program_.launches.size()});
  return static_cast<uint32_t>(program_.buffers.size() - 1);
}

View Selector::addResult(mlir::Value value, plan::Extent extent, uint64_t columns) {
  View view{addBuffer("v" + std::to_string(program_.buffers.size()), extent, columns * 4), 0,
            columns};
  views_[value] = view;
  return view;
}

Result<View> Selector::viewOf(mlir::Value value) const {
  auto found = views_.find(value);
  if (found == views_.end())
    return base::internalError("a value is read before a launch writes it");
  return found->second;
}

Result<View> Selector::denseViewOf(mlir::Value value) const {
  PLATEN_ASSIGN_OR_RETURN(View view, viewOf(value));
  if (view.column != 0 || view.columns != rowColumns(view))
    return unsupported("a kernel that reads whole rows is given a part of a wider value");
  return view;
}

Status Selector::addLaunch(std::string name, const kernels::KernelSpec &spec,
                           std::vector<plan::Operand> operands) {
  PLATEN_ASSIGN_OR_RETURN(KernelChoice choice, source_.choose(spec, program_));
  if (choice.operands != operands.size())
    return base::internalError("a kernel takes " + std::to_string(choice.operands) +
                               " operands, not " + std::to_string(operands.size()));
  for (const plan::Operand &operand : operands)
    if (operand.kind == plan::OperandKind::kBuffer)
      lifetimes_[operand.index].last = program_.launches.size();
  program_.launches.push_back(
      {std::move(name), choice.extent, std::move(choice.variants), std::move(operands)});
  return Status::ok();
}

std::string Selector::launchName(mlir::Operation &op, llvm::StringRef what) const {
  std::string name = std::to_string(program_.launches.size()) + "." + what.str();
  if (auto node = op.getLoc()->findInstanceOf<mlir::NameLoc>())
    name += ":" + node.getName().str();
  return name;
}

} // namespace platen::compiler
