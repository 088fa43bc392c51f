// The state of one selection, shared by the files that lower one family of regions each. Internal
// to this room.
#pragma once

#include "compiler/select/arena.h"
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

class Selector {
public:
  Selector(mlir::ModuleOp module, KernelSource &source, PlanDraft &draft)
      : module_(module), source_(source), draft_(draft) {}
  /// Adds the program to the draft; on failure the draft is not to be used.
  base::Status run();

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
  plan::Extent extentOf(const View &view) const { return program_.buffers[view.buffer].extent; }
  uint64_t rowColumns(const View &view) const {
    return program_.buffers[view.buffer].row_bytes / 4;
  }
  base::Status addLaunch(std::string name, const kernels::KernelSpec &spec,
                         std::vector<plan::Operand> operands);
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
  KernelSource &source_;
  PlanDraft &draft_;
  plan::DeviceProgram program_;
  std::vector<Lifetime> lifetimes_; ///< of program_.buffers
  llvm::DenseMap<mlir::Value, View> views_;
  llvm::DenseMap<uint32_t, uint32_t> panels_; ///< buffer → its quantised panel
  llvm::DenseSet<mlir::Value> wantPanel_;     ///< values that integer matmuls read
  llvm::StringMap<uint32_t> weightIndex_;     ///< by key, of draft_.weights
};

} // namespace platen::compiler
