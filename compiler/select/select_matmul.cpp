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
  kernels::QuantizeRowsSpec spec{extent == plan::Extent::kRows ? kernels::Extent::kRows
                                                               : kernels::Extent::kTokens,
                                 view.columns};
  PLATEN_RETURN_IF_ERROR(addLaunch(
      std::to_string(draft_.manifest.launches.size()) + ".quantize_rows", {{UINT64_MAX, spec}},
      {{plan::OperandKind::kBuffer, view.buffer}, {plan::OperandKind::kBuffer, panel}}));
  panels_[view.buffer] = panel;
  return plan::Operand{plan::OperandKind::kBuffer, panel};
}

namespace {

/// The epilogue of a region under construction. Inputs are numbered accumulators, row operands,
/// column operands, so the operands are collected before the block is built.
struct Epilogue {
  llvm::SmallVector<mlir::Value> accumulators, rows, columns;
  llvm::SmallVector<mlir::Operation *> ops;
};

} // namespace

Status Selector::selectMatmul(mlir::Operation &op, llvm::ArrayRef<mlir::Operation *> body,
                              mlir::ValueRange yielded) {
  Epilogue epilogue;
  mlir::Operation *split = nullptr;
  for (mlir::Operation *inner : body) {
    if (isOp(inner, "matmul") || isOp(inner, "matmul_nbits"))
      epilogue.accumulators.push_back(inner->getResult(0));
    else if (isOp(inner, "split"))
      split = inner;
    else if (isElementwise(inner))
      epilogue.ops.push_back(inner);
  }
  if (epilogue.accumulators.empty())
    return unsupported("a fused region of this kind has no kernel");

  // Results of several matmuls stand side by side in the order in which the region yields them.
  bool concat = yielded.size() > 1 && split == nullptr;
  if (concat)
    epilogue.accumulators.assign(yielded.begin(), yielded.end());
  kernels::MatmulSpec spec;
  spec.mode = epilogue.accumulators.size() > 1 && !concat ? kernels::MatmulSpec::Mode::kGated
                                                          : kernels::MatmulSpec::Mode::kConcat;
  std::vector<plan::Operand> operands(1);
  for (mlir::Value accumulator : epilogue.accumulators) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, matmulWeight(accumulator.getDefiningOp()));
    const WeightRequest &request = draft_.weights[weight];
    if (!spec.n.empty() && !(spec.packing == request.packing))
      return unsupported("matmuls of one region are stored in different packings");
    spec.packing = request.packing;
    spec.k = request.k;
    spec.n.push_back(request.n);
    operands.push_back({plan::OperandKind::kWeight, weight});
  }
  mlir::Value x = outerValue(epilogue.accumulators[0].getDefiningOp()->getOperand(0));
  PLATEN_ASSIGN_OR_RETURN(operands[0], matmulInput(x, spec.packing));
  PLATEN_ASSIGN_OR_RETURN(View xView, viewOf(x));
  plan::Extent extent = extentOf(xView);
  spec.extent = extent == plan::Extent::kRows ? kernels::Extent::kRows : kernels::Extent::kTokens;

  for (mlir::Operation *inner : epilogue.ops)
    for (mlir::Value operand : inner->getOperands()) {
      bool inside = llvm::is_contained(body, operand.getDefiningOp());
      if (inside || scalarConstant(operand))
        continue;
      auto rank = mlir::cast<mlir::RankedTensorType>(operand.getType()).getRank();
      auto &list = rank == 1 ? epilogue.columns : epilogue.rows;
      if (!llvm::is_contained(list, operand))
        list.push_back(operand);
    }
  llvm::DenseMap<mlir::Value, ScalarBlock::Value> known;
  uint32_t next = 0;
  if (!epilogue.ops.empty())
    for (auto *list : {&epilogue.accumulators, &epilogue.rows, &epilogue.columns})
      for (mlir::Value value : *list)
        known[value] = spec.epilogue.input(next++);
  for (mlir::Operation *inner : epilogue.ops) {
    llvm::SmallVector<ScalarBlock::Value> inputs;
    for (mlir::Value operand : inner->getOperands()) {
      if (auto scalar = scalarConstant(operand); scalar && !known.contains(operand))
        known[operand] = spec.epilogue.constant(static_cast<float>(*scalar));
      inputs.push_back(known[operand]);
    }
    PLATEN_ASSIGN_OR_RETURN(known[inner->getResult(0)], appendScalar(inner, inputs, spec.epilogue));
  }
  if (!epilogue.ops.empty())
    spec.epilogue.yield(known[yielded[0]]);
  spec.rowOperands = static_cast<uint32_t>(epilogue.rows.size());
  spec.columnOperands = static_cast<uint32_t>(epilogue.columns.size());
  for (mlir::Value row : epilogue.rows) {
    PLATEN_ASSIGN_OR_RETURN(View view, denseViewOf(outerValue(row)));
    operands.push_back({plan::OperandKind::kBuffer, view.buffer});
  }
  for (mlir::Value column : epilogue.columns) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, rawWeight(outerValue(column)));
    operands.push_back({plan::OperandKind::kWeight, weight});
  }

  View y = addResult(op.getResult(0), extent, spec.columns());
  operands.push_back({plan::OperandKind::kBuffer, y.buffer});
  if (op.getNumResults() > 1) {
    uint64_t column = 0;
    for (mlir::Value result : op.getResults()) {
      auto columns = static_cast<uint64_t>(
          mlir::cast<mlir::RankedTensorType>(result.getType()).getShape().back());
      views_[result] = {y.buffer, column, columns};
      column += columns;
    }
  }
  std::vector<std::pair<uint64_t, kernels::HostKernelSpec>> variants;
  for (const kernels::MatmulVariant &variant : kernels::matmulVariants(spec.packing)) {
    spec.rowsPerTile = variant.rowsPerTile;
    variants.emplace_back(variant.maxExtent, spec);
  }
  auto fused = mlir::dyn_cast<ir::FusedOp>(op);
  return addLaunch(launchName(op, fused ? fused.getKind() : llvm::StringRef("matmul")), variants,
                   std::move(operands));
}

} // namespace platen::compiler
