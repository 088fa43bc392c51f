// platen-fuse-matmul: a matmul by a weight takes the elementwise ops behind it as its epilogue.
//
//   "gated_ffn"        two matmuls of one input and width, combined elementwise: act(x·G) · (x·U)
//   "matmul_residual"  one matmul whose epilogue reads another [T, N] value: h + x·W
//   "matmul_epilogue"  one matmul with an epilogue of its own: activation, scale, softcap, bias
//
// Starting at a matmul, elementwise ops of the same [T, N] join in block order as long as their
// other operands are constants, columns [N], values that exist before the first matmul, or (once) a
// second matmul of the same input. The longest prefix out of which exactly one value escapes
// becomes the region.
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "compiler/fuse/outline.h"

#include <algorithm>

namespace platen::compiler {

namespace {

using Ops = llvm::SmallVector<mlir::Operation *>;

class EpilogueSearch {
public:
  explicit EpilogueSearch(mlir::Operation *matmul) : first_(matmul), members_{matmul} {}

  /// The ops of the best region, the matmul among them; only the matmul if nothing joins.
  Ops run() {
    for (mlir::Operation *op = first_->getNextNode(); op != nullptr; op = op->getNextNode()) {
      if (!joins(op))
        continue;
      members_.push_back(op);
      if (escapes() == 1)
        best_ = members_;
    }
    std::sort(best_.begin(), best_.end(), [](auto *a, auto *b) { return a->isBeforeInBlock(b); });
    return best_;
  }

private:
  mlir::Type type() const { return first_->getResult(0).getType(); }

  bool joins(mlir::Operation *op) {
    if (!isElementwise(op) || op->getResult(0).getType() != type())
      return false;
    bool fromMember = false;
    Ops partners;
    for (mlir::Value operand : op->getOperands()) {
      mlir::Operation *def = operand.getDefiningOp();
      if (llvm::is_contained(members_, def)) {
        fromMember = true;
        continue;
      }
      if (scalarConstant(operand) || isColumn(operand))
        continue;
      if (operand.getType() != type())
        return false;
      if (isPartner(def))
        partners.push_back(def);
      else if (def != nullptr && !def->isBeforeInBlock(first_))
        return false;
    }
    if (!fromMember || partners.size() + matmuls() > 2)
      return false;
    members_.append(partners.begin(), partners.end());
    return true;
  }

  bool isColumn(mlir::Value value) const {
    auto column = mlir::cast<mlir::RankedTensorType>(value.getType());
    auto full = mlir::cast<mlir::RankedTensorType>(type());
    bool constant = isWeight(value) || mlir::isa_and_nonnull<ir::ConstantOp>(value.getDefiningOp());
    return constant && column.getRank() == 1 && column.getShape()[0] == full.getShape().back();
  }

  bool isPartner(mlir::Operation *op) const {
    return isWeightMatmul(op) && op->getOperand(0) == first_->getOperand(0) &&
           op->getName() == first_->getName() && first_->isBeforeInBlock(op);
  }

  size_t matmuls() const {
    return static_cast<size_t>(std::count_if(members_.begin(), members_.end(), isWeightMatmul));
  }

  size_t escapes() const {
    size_t count = 0;
    for (mlir::Operation *member : members_)
      count += llvm::any_of(member->getUsers(), [&](mlir::Operation *user) {
        return !llvm::is_contained(members_, user);
      });
    return count;
  }

  mlir::Operation *first_;
  Ops members_, best_{first_};
};

llvm::StringRef kindOf(const Ops &ops) {
  if (std::count_if(ops.begin(), ops.end(), isWeightMatmul) == 2)
    return "gated_ffn";
  for (mlir::Operation *op : ops)
    for (mlir::Value operand : op->getOperands())
      if (isElementwise(op) && operand.getType() == op->getResult(0).getType() &&
          !llvm::is_contained(ops, operand.getDefiningOp()))
        return "matmul_residual";
  return "matmul_epilogue";
}

struct FuseMatmul : mlir::RewritePattern {
  FuseMatmul(llvm::StringRef op, mlir::MLIRContext *context) : RewritePattern(op, 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *op,
                                      mlir::PatternRewriter &rewriter) const override {
    if (!isTopLevel(op) || !isWeightMatmul(op))
      return mlir::failure();
    Ops ops = EpilogueSearch(op).run();
    if (ops.size() == 1)
      return rewriter.notifyMatchFailure(op, "no elementwise op can join");
    outline(rewriter, ops, kindOf(ops));
    return mlir::success();
  }
};

} // namespace

void populateFuseMatmul(mlir::RewritePatternSet &patterns) {
  patterns.add<FuseMatmul>("platen.matmul", patterns.getContext());
  patterns.add<FuseMatmul>("platen.matmul_nbits", patterns.getContext());
}

} // namespace platen::compiler
