// Matmul regions: one or more matmuls by weights that share x, and an elementwise epilogue.
#include "compiler/fuse/match.h"
#include "compiler/quantize/quantize.h"
#include "compiler/select/scalar.h"
#include "compiler/select/selector.h"
#include "ops/ir/adaptor.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using base::unsupported;
using kernels::ScalarBlock;

void Selector::findPanelUsers(mlir::func::FuncOp function) {
  function.walk([&](mlir::Operation *op) {
    if (!isOp(op, "matmul") && !isOp(op, "matmul_nbits"))
      return;
    auto packing = packingOf(op);
    if (packing.isOk() && packing->isQuantized())
      wantPanel_.insert(outerValue(op->getOperand(0)));
  });
}

Result<plan::Operand> Selector::matmulInput(mlir::Value x, const kernels::Packing &packing) {
  PLATEN_ASSIGN_OR_RETURN(View view, denseViewOf(x));
  if (!packing.isQuantized())
    return plan::Operand{plan::OperandKind::kBuffer, view.buffer};
  if (auto found = panels_.find(view.buffer); found != panels_.end())
    return plan::Operand{plan::OperandKind::kBuffer, found->second};
  plan::Extent extent = extentOf(view);
  uint32_t panel = addBuffer("panel", extent, kernels::QuantizedRow{view.columns}.bytes());
  kernels::QuantizeRowsSpec spec{kernelExtent(extent), view.columns};
  PLATEN_RETURN_IF_ERROR(
      addLaunch(std::to_string(program_.launches.size()) + ".quantize_rows", spec,
                {{plan::OperandKind::kBuffer, view.buffer}, {plan::OperandKind::kBuffer, panel}}));
  panels_[view.buffer] = panel;
  return plan::Operand{plan::OperandKind::kBuffer, panel};
}

namespace {

/// A matmul region taken apart. Inputs of the epilogue are numbered accumulators, row operands,
/// column operands.
struct MatmulRegion {
  llvm::SmallVector<mlir::Value> accumulators;  ///< results of the matmuls, in operand order
  llvm::SmallVector<mlir::Value> rows, columns; ///< what the epilogue reads besides
  llvm::SmallVector<mlir::Operation *> epilogue;
  bool concat = false; ///< several matmuls whose results stand side by side, not gated
};

Result<MatmulRegion> takeApart(llvm::ArrayRef<mlir::Operation *> body, mlir::ValueRange yielded) {
  MatmulRegion region;
  bool splits = false;
  for (mlir::Operation *inner : body) {
    if (isOp(inner, "matmul") || isOp(inner, "matmul_nbits"))
      region.accumulators.push_back(inner->getResult(0));
    else if (isElementwise(inner))
      region.epilogue.push_back(inner);
    splits |= isOp(inner, "split");
  }
  if (region.accumulators.empty())
    return unsupported("a fused region of this kind has no kernel");
  // Results of several matmuls stand side by side in the order in which the region yields them.
  region.concat = yielded.size() > 1 && !splits;
  if (region.concat)
    region.accumulators.assign(yielded.begin(), yielded.end());
  for (mlir::Operation *inner : region.epilogue)
    for (mlir::Value operand : inner->getOperands()) {
      if (llvm::is_contained(body, operand.getDefiningOp()) || scalarConstant(operand))
        continue;
      bool isVector = mlir::cast<mlir::RankedTensorType>(operand.getType()).getRank() == 1;
      auto &list = isVector ? region.columns : region.rows;
      if (!llvm::is_contained(list, operand))
        list.push_back(operand);
    }
  return region;
}

Result<ScalarBlock> epilogueOf(const MatmulRegion &region, mlir::Value yielded) {
  ScalarBlock block;
  if (region.epilogue.empty())
    return block;
  llvm::DenseMap<mlir::Value, ScalarBlock::Value> known;
  uint32_t next = 0;
  for (const auto *list : {&region.accumulators, &region.rows, &region.columns})
    for (mlir::Value value : *list)
      known[value] = block.input(next++);
  for (mlir::Operation *inner : region.epilogue) {
    llvm::SmallVector<ScalarBlock::Value> inputs;
    for (mlir::Value operand : inner->getOperands()) {
      if (auto scalar = scalarConstant(operand); scalar && !known.contains(operand))
        known[operand] = block.constant(static_cast<float>(*scalar));
      inputs.push_back(known[operand]);
    }
    PLATEN_ASSIGN_OR_RETURN(known[inner->getResult(0)], appendScalar(inner, inputs, block));
  }
  block.yield(known[yielded]);
  return block;
}

} // namespace

/// Adds the region's weights to `operands`, and what they say to `spec`.
Status Selector::matmulWeights(llvm::ArrayRef<mlir::Value> accumulators, kernels::MatmulSpec &spec,
                               std::vector<plan::Operand> &operands) {
  for (mlir::Value accumulator : accumulators) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, matmulWeight(accumulator.getDefiningOp()));
    const WeightRequest &request = draft_.weights[weight];
    if (!spec.n.empty() && !(spec.packing == request.packing))
      return unsupported("matmuls of one region are stored in different packings");
    spec.packing = request.packing;
    spec.k = request.k;
    spec.n.push_back(request.n);
    operands.push_back({plan::OperandKind::kWeight, weight});
  }
  return Status::ok();
}

/// Several results are columns of one buffer.
plan::Operand Selector::addMatmulResults(mlir::Operation &op, plan::Extent extent,
                                         uint64_t columns) {
  View y = addResult(op.getResult(0), extent, columns);
  if (op.getNumResults() > 1) {
    uint64_t column = 0;
    for (mlir::Value result : op.getResults()) {
      auto width = static_cast<uint64_t>(
          mlir::cast<mlir::RankedTensorType>(result.getType()).getShape().back());
      views_[result] = {y.buffer, column, width};
      column += width;
    }
  }
  return {plan::OperandKind::kBuffer, y.buffer};
}

Status Selector::selectMatmul(mlir::Operation &op, llvm::ArrayRef<mlir::Operation *> body,
                              mlir::ValueRange yielded) {
  PLATEN_ASSIGN_OR_RETURN(MatmulRegion region, takeApart(body, yielded));
  kernels::MatmulSpec spec;
  spec.mode = region.accumulators.size() > 1 && !region.concat ? kernels::MatmulSpec::Mode::kGated
                                                               : kernels::MatmulSpec::Mode::kConcat;
  std::vector<plan::Operand> operands(1);
  PLATEN_RETURN_IF_ERROR(matmulWeights(region.accumulators, spec, operands));
  mlir::Value x = outerValue(region.accumulators[0].getDefiningOp()->getOperand(0));
  PLATEN_ASSIGN_OR_RETURN(operands[0], matmulInput(x, spec.packing));
  PLATEN_ASSIGN_OR_RETURN(View xView, viewOf(x));
  plan::Extent extent = extentOf(xView);
  spec.extent = kernelExtent(extent);

  PLATEN_ASSIGN_OR_RETURN(spec.epilogue, epilogueOf(region, yielded[0]));
  spec.rowOperands = static_cast<uint32_t>(region.rows.size());
  spec.columnOperands = static_cast<uint32_t>(region.columns.size());
  for (mlir::Value row : region.rows) {
    PLATEN_ASSIGN_OR_RETURN(View view, denseViewOf(outerValue(row)));
    operands.push_back({plan::OperandKind::kBuffer, view.buffer});
  }
  for (mlir::Value column : region.columns) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, rawWeight(outerValue(column)));
    operands.push_back({plan::OperandKind::kWeight, weight});
  }
  operands.push_back(addMatmulResults(op, extent, spec.columns()));

  auto fused = mlir::dyn_cast<ir::FusedOp>(op);
  return addLaunch(launchName(op, fused ? fused.getKind() : llvm::StringRef("matmul")), spec,
                   std::move(operands));
}

} // namespace platen::compiler
