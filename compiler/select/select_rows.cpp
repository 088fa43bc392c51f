// "rows" regions: elementwise ops and rms_norm over rows become one row program.
//
// Stages are cut where a norm needs its row's sum of squares. A value of an earlier stage is read
// back where the region stores it anyway, and recomputed from its inputs otherwise: rows stay in
// L1, so both are cheap and give equal bits.
#include "compiler/fuse/match.h"
#include "compiler/select/scalar.h"
#include "compiler/select/selector.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using kernels::RowInput;
using kernels::RowStage;
using kernels::ScalarBlock;

namespace {

class RowProgramBuilder {
public:
  explicit RowProgramBuilder(mlir::Block &body) : yielded_(body.getTerminator()->getOperands()) {
    stages_.emplace_back();
  }

  /// Adds one op of the region, in block order.
  Status add(mlir::Operation &op) {
    if (isOp(&op, "rms_norm"))
      PLATEN_RETURN_IF_ERROR(reduceSquares(op));
    PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value value, use(op.getResult(0)));
    for (auto [index, result] : llvm::enumerate(yielded_))
      if (result == op.getResult(0)) {
        stage().stores.push_back({value, static_cast<uint32_t>(index)});
        storedIn_.try_emplace(result, stages_.size() - 1, static_cast<uint32_t>(index));
      }
    return Status::ok();
  }

  std::vector<RowStage> takeStages() {
    if (stages_.back().stores.empty() && stages_.back().reductions.empty())
      stages_.pop_back();
    return std::move(stages_);
  }
  llvm::SmallVector<mlir::Value> rows, columns; ///< operands, in the program's order

private:
  RowStage &stage() { return stages_.back(); }

  ScalarBlock::Value input(RowInput::Kind kind, uint32_t index) {
    stage().inputs.push_back({kind, index});
    return stage().block.input(static_cast<uint32_t>(stage().inputs.size() - 1));
  }

  /// Ends the stage with the sum of squares of the norm's input.
  Status reduceSquares(mlir::Operation &norm) {
    PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value x, use(norm.getOperand(0)));
    stage().reductions.push_back({stage().block.mul(x, x), RowStage::ReduceKind::kSum});
    reductionOf_[norm.getResult(0)] = reductions_++;
    stages_.emplace_back();
    known_.clear();
    return Status::ok();
  }

  /// `value` as a value of the present stage's block.
  Result<ScalarBlock::Value> use(mlir::Value value) {
    if (auto found = known_.find(value); found != known_.end())
      return found->second;
    PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value made, make(value));
    known_[value] = made;
    return made;
  }

  Result<ScalarBlock::Value> make(mlir::Value value) {
    if (auto scalar = scalarConstant(value))
      return stage().block.constant(static_cast<float>(*scalar));
    if (auto stored = storedIn_.find(value);
        stored != storedIn_.end() && stored->second.first + 1 < stages_.size())
      return input(RowInput::Kind::kOutput, stored->second.second);
    mlir::Operation *op = value.getDefiningOp();
    if (op == nullptr || mlir::isa<ir::ConstantOp>(op)) {
      bool column = mlir::cast<mlir::RankedTensorType>(value.getType()).getRank() == 1;
      auto &list = column ? columns : rows;
      auto *found = llvm::find(list, value);
      auto index = static_cast<uint32_t>(found - list.begin());
      if (found == list.end())
        list.push_back(value);
      return input(column ? RowInput::Kind::kColumn : RowInput::Kind::kRow, index);
    }
    if (isOp(op, "rms_norm"))
      return makeNorm(*op);
    llvm::SmallVector<ScalarBlock::Value> operands;
    for (mlir::Value operand : op->getOperands()) {
      PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value made, use(operand));
      operands.push_back(made);
    }
    return appendScalar(op, operands, stage().block);
  }

  Result<ScalarBlock::Value> makeNorm(mlir::Operation &op) {
    ScalarBlock &block = stage().block;
    double columns = static_cast<double>(
        mlir::cast<mlir::RankedTensorType>(op.getResult(0).getType()).getShape().back());
    double epsilon = floatAttributeOf(&op, "epsilon");
    ScalarBlock::Value sum = input(RowInput::Kind::kReduction, reductionOf_[op.getResult(0)]);
    ScalarBlock::Value mean = block.mul(sum, block.constant(static_cast<float>(1 / columns)));
    ScalarBlock::Value inverse =
        block.unary(kernels::ScalarOpKind::kRsqrt,
                    block.add(mean, block.constant(static_cast<float>(epsilon))));
    PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value x, use(op.getOperand(0)));
    PLATEN_ASSIGN_OR_RETURN(ScalarBlock::Value weight, use(op.getOperand(1)));
    return stage().block.mul(stage().block.mul(x, inverse), weight);
  }

  mlir::ValueRange yielded_;
  std::vector<RowStage> stages_;
  llvm::DenseMap<mlir::Value, ScalarBlock::Value> known_;             ///< in the present stage
  llvm::DenseMap<mlir::Value, std::pair<size_t, uint32_t>> storedIn_; ///< stage and output
  llvm::DenseMap<mlir::Value, uint32_t> reductionOf_;                 ///< of a norm's result
  uint32_t reductions_ = 0;
};

} // namespace

Status Selector::selectRows(ir::FusedOp fused) {
  mlir::Block &body = fused.getBody().front();
  RowProgramBuilder builder(body);
  for (mlir::Operation &op : body.without_terminator())
    if (!mlir::isa<ir::ConstantOp, ir::AbsentOp>(op))
      PLATEN_RETURN_IF_ERROR(builder.add(op));

  auto shape = mlir::cast<mlir::RankedTensorType>(fused.getResult(0).getType()).getShape();
  kernels::RowProgramSpec spec;
  spec.width = static_cast<uint64_t>(shape.back());
  for (int64_t dim : shape.drop_front().drop_back())
    spec.rowsPerToken *= static_cast<uint64_t>(dim);
  spec.stages = builder.takeStages();
  std::vector<plan::Operand> operands;
  plan::Extent extent = plan::Extent::kTokens;
  for (mlir::Value row : builder.rows) {
    PLATEN_ASSIGN_OR_RETURN(View view, viewOf(outerValue(row)));
    extent = extentOf(view);
    spec.rowInputs.push_back(
        {rowColumns(view) == spec.width * spec.rowsPerToken ? 0 : rowColumns(view), view.column});
    operands.push_back({plan::OperandKind::kBuffer, view.buffer});
  }
  spec.extent = kernelExtent(extent);
  spec.columnInputs = static_cast<uint32_t>(builder.columns.size());
  for (mlir::Value column : builder.columns) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, rawWeight(outerValue(column)));
    operands.push_back({plan::OperandKind::kWeight, weight});
  }
  std::optional<View> quantized;
  for (auto [index, result] : llvm::enumerate(fused.getResults())) {
    View view = addResult(result, extent, spec.width * spec.rowsPerToken);
    spec.outputs.push_back({});
    operands.push_back({plan::OperandKind::kBuffer, view.buffer});
    if (!quantized && wantPanel_.contains(result) && spec.width % kernels::kGroup == 0) {
      quantized = view;
      spec.quantize = true;
      spec.quantizedOutput = static_cast<uint32_t>(index);
    }
  }
  if (quantized) {
    uint32_t panel = addBuffer("panel", extent, kernels::QuantizedRow{quantized->columns}.bytes());
    panels_[quantized->buffer] = panel;
    operands.push_back({plan::OperandKind::kBuffer, panel});
  }
  return addLaunch(launchName(*fused, "rows"), spec, std::move(operands));
}

} // namespace platen::compiler
