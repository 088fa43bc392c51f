// The state of one selection, shared by the files that lower one family of regions each. Internal
// to this room.
#pragma once

#include "compiler/select/arena.h"
#include "compiler/select/draft.h"
#include "compiler/select/select.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"

namespace platen::compiler {

/// A value as memory: columns [column, column + columns) of every row of a buffer of f32.
struct View {
  uint32_t buffer = 0;
  uint64_t column = 0, columns = 0;
};

/// What a kernel calls what the plan calls `extent`, and back. No host kernel counts sequences.
constexpr kernels::Extent kernelExtent(plan::Extent extent) {
  switch (extent) {
  case plan::Extent::kTokens:
    return kernels::Extent::kTokens;
  case plan::Extent::kRows:
    return kernels::Extent::kRows;
  case plan::Extent::kOne:
  case plan::Extent::kSequences:
    break;
  }
  return kernels::Extent::kOne;
}
constexpr plan::Extent planExtent(kernels::Extent extent) {
  switch (extent) {
  case kernels::Extent::kTokens:
    return plan::Extent::kTokens;
  case kernels::Extent::kRows:
    return plan::Extent::kRows;
  case kernels::Extent::kOne:
    break;
  }
  return plan::Extent::kOne;
}

class Selector {
public:
  Selector(mlir::ModuleOp module, const SelectOptions &options)
      : module_(module), options_(options) {}
  base::Result<PlanDraft> run();

private:
  // --- select.cpp: dispatch, buffers, launches
  base::Status selectOp(mlir::Operation &op);
  base::Status selectFused(ir::FusedOp fused);
  base::Status selectEmbedding(ir::FusedOp fused);
  base::Status selectRowsGather(mlir::Operation &op);
  base::Status selectReshape(mlir::Operation &op);
  base::Status finish(mlir::func::ReturnOp returnOp);
  uint32_t addBuffer(std::string name, plan::Extent extent, uint64_t rowBytes);
  View addResult(mlir::Value value, plan::Extent extent, uint64_t columns);
  base::Result<View> viewOf(mlir::Value value) const;
  /// The view as a buffer of its own; kernels that take dense operands need that.
  base::Result<View> denseViewOf(mlir::Value value) const;
  plan::Extent extentOf(const View &view) const {
    return draft_.program.buffers[view.buffer].extent;
  }
  uint64_t rowColumns(const View &view) const {
    return draft_.program.buffers[view.buffer].row_bytes / 4;
  }
  /// Adds a launch; `specs` are its variants, ascending, each for steps up to its extent.
  base::Status addLaunch(std::string name,
                         const std::vector<std::pair<uint64_t, kernels::HostKernelSpec>> &specs,
                         std::vector<plan::Operand> operands);
  base::Result<uint32_t> kernelOf(const kernels::HostKernelSpec &spec,
                                  kernels::HostKernelInfo &info);
  std::string launchName(mlir::Operation &op, llvm::StringRef what) const;

  // --- select_weights.cpp
  base::Result<uint32_t> addWeight(WeightRequest request);
  base::Result<WeightSource> sourceOf(mlir::Value value) const;
  /// The right-hand side of a matmul op, or the table of a gather, in the packing that format and
  /// graph ask for.
  base::Result<uint32_t> matmulWeight(mlir::Operation *matmul);
  base::Result<uint32_t> tableWeight(mlir::Operation *gather);
  /// A vector or table as f32 rows.
  base::Result<uint32_t> rawWeight(mlir::Value value);
  base::Result<WeightRequest> matmulRequest(mlir::Operation *matmul) const;
  base::Result<WeightRequest> blockRequest(mlir::Operation *op, mlir::Value data,
                                           mlir::Value scales, mlir::Value zeros, uint64_t n,
                                           uint64_t k) const;

  // --- select_matmul.cpp
  base::Status selectMatmul(mlir::Operation &op, llvm::ArrayRef<mlir::Operation *> body,
                            mlir::ValueRange yielded);
  base::Status matmulWeights(llvm::ArrayRef<mlir::Value> accumulators, kernels::MatmulSpec &spec,
                             std::vector<plan::Operand> &operands);
  plan::Operand addMatmulResults(mlir::Operation &op, plan::Extent extent, uint64_t columns);
  base::Result<plan::Operand> matmulInput(mlir::Value x, const kernels::Packing &packing);
  void findPanelUsers(mlir::func::FuncOp function);

  // --- select_rows.cpp
  base::Status selectRows(ir::FusedOp fused);

  // --- select_attention.cpp
  base::Status selectAttention(ir::FusedOp fused);

  mlir::ModuleOp module_;
  SelectOptions options_;
  PlanDraft draft_;
  std::vector<Lifetime> lifetimes_; ///< of draft_.program.buffers
  llvm::DenseMap<mlir::Value, View> views_;
  llvm::DenseMap<uint32_t, uint32_t> panels_; ///< buffer → its quantised panel
  llvm::DenseSet<mlir::Value> wantPanel_;     ///< values that integer matmuls read
  llvm::StringMap<uint32_t> kernelIndex_, weightIndex_;
};

} // namespace platen::compiler
