// Fusion: what one kernel executes becomes one platen.fused region (or one catalog op).
//
// Works on the serving form (`func @step`), after which every op of it is one that selection maps
// to kernels. Passes, in the order in which `fuse` runs them; each is registered under its name:
//   platen-fuse-rms-norm    x / sqrt(mean(x²) + ε) · w  →  platen.rms_norm
//   platen-fuse-attention   per-head norm, RoPE, scaling and paged_attention  →  "attention"
//   platen-fuse-qkv         the matmuls (or matmul and split) that feed an attention  →  "qkv"
//   platen-fuse-matmul      matmul and its elementwise epilogue: "gated_ffn", "matmul_residual",
//   "matmul_epilogue" platen-fuse-embedding   table gather and its scale  →  "embedding"
//   platen-fuse-rows        what is left of row-wise ops, norms included  →  "rows"
#pragma once

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

#include <memory>

namespace platen::compiler {

void populateFuseRmsNorm(mlir::RewritePatternSet &patterns);
void populateFuseAttention(mlir::RewritePatternSet &patterns);
void populateFuseQkv(mlir::RewritePatternSet &patterns);
void populateFuseMatmul(mlir::RewritePatternSet &patterns);
void populateFuseEmbedding(mlir::RewritePatternSet &patterns);
void populateFuseRows(mlir::RewritePatternSet &patterns);

struct FusePass {
  llvm::StringRef argument, description;
  void (*populate)(mlir::RewritePatternSet &);
};
/// All fusion passes, in order.
llvm::ArrayRef<FusePass> fusePasses();
std::unique_ptr<mlir::Pass> createFusePass(const FusePass &pass);
void registerFusePasses();

} // namespace platen::compiler
