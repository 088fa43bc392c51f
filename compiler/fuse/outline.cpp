// See outline.h.
#include "compiler/fuse/outline.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace platen::compiler {

namespace {

bool isCloned(mlir::Value value) {
  mlir::Operation *op = value.getDefiningOp();
  return op != nullptr && mlir::isa<ir::ConstantOp, ir::AbsentOp>(op);
}

} // namespace

ir::FusedOp outline(mlir::PatternRewriter &rewriter, llvm::ArrayRef<mlir::Operation *> ops,
                    llvm::StringRef kind, llvm::ArrayRef<mlir::Value> results) {
  llvm::SmallPtrSet<mlir::Operation *, 8> inside(ops.begin(), ops.end());
  llvm::SetVector<mlir::Value> inputs, escaping(results.begin(), results.end());
  llvm::SmallVector<mlir::Location> locations;
  for (mlir::Operation *op : ops) {
    locations.push_back(op->getLoc());
    for (mlir::Value operand : op->getOperands())
      if (!inside.contains(operand.getDefiningOp()) && !isCloned(operand))
        inputs.insert(operand);
    for (mlir::Value result : op->getResults())
      if (results.empty() &&
          llvm::any_of(result.getUsers(), [&](auto *user) { return !inside.contains(user); }))
        escaping.insert(result);
  }

  rewriter.setInsertionPointAfter(ops.back());
  llvm::SmallVector<mlir::Value> escapes(escaping.begin(), escaping.end());
  auto fused =
      rewriter.create<ir::FusedOp>(ops.back()->getLoc(), mlir::TypeRange(mlir::ValueRange(escapes)),
                                   rewriter.getStringAttr(kind), inputs.getArrayRef());
  mlir::Block *body = rewriter.createBlock(&fused.getBody());
  mlir::IRMapping mapping;
  for (mlir::Value input : inputs)
    mapping.map(input, body->addArgument(input.getType(), input.getLoc()));
  for (mlir::Operation *op : ops) {
    for (mlir::Value operand : op->getOperands())
      if (isCloned(operand) && !mapping.contains(operand))
        mapping.map(operand, rewriter.clone(*operand.getDefiningOp())->getResult(0));
    rewriter.clone(*op, mapping);
  }
  llvm::SmallVector<mlir::Value> yielded;
  for (mlir::Value value : escapes)
    yielded.push_back(mapping.lookup(value));
  rewriter.create<ir::YieldOp>(ops.back()->getLoc(), yielded);
  for (auto [value, result] : llvm::zip(escapes, fused.getResults()))
    rewriter.replaceAllUsesWith(value, result);
  for (mlir::Operation *op : llvm::reverse(ops))
    rewriter.eraseOp(op);
  return fused;
}

} // namespace platen::compiler
