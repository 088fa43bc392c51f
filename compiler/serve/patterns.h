// What the rewriter finds in the graph before it writes anything: attentions with their windows,
// and rotary embeddings.
#pragma once

#include "compiler/serve/attention.h"
#include "compiler/serve/rope.h"

#include "llvm/ADT/MapVector.h"

namespace platen::compiler::serve {

struct Patterns {
  llvm::MapVector<mlir::Operation *, Attention> attentions; ///< by the op that ends them
  llvm::DenseMap<mlir::Value, int64_t> windows;             ///< of attentions' masks; 0: none
  llvm::DenseMap<mlir::Operation *, Rope> ropes;            ///< by the op that ends them
};

/// Unsupported, naming the node, for an attention or a mask that is not understood.
base::Result<Patterns> findPatterns(const Evaluation &evaluation, int64_t maxContext);

} // namespace platen::compiler::serve
