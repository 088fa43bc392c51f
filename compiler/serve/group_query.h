// com.microsoft GroupQueryAttention, as onnxruntime-genai writes it: packed or separate q, k, v;
// optional q/k norms and rotary embedding inside; a sliding window and a softcap as attributes.
#pragma once

#include "compiler/serve/rules.h"
#include "compiler/serve/serve.h"
#include "compiler/serve/tables.h"

namespace platen::compiler::serve {

bool isGroupQuery(mlir::Operation *op);

/// Head counts and size, from the attributes and the static width of the (packed) query.
struct GroupQueryHeads {
  int64_t heads, kvHeads, headSize;
  bool packed;
  int64_t slidingRows; ///< rows of a cache that holds one window; 0: it holds the past
};
base::Result<GroupQueryHeads> groupQueryHeads(mlir::Operation *op);

/// The operands of the paged attention that takes its place.
struct GroupQuery {
  ServedLayer layer;
  mlir::Value q, k, v; ///< [T,heads,hd], [T,kv,hd], [T,kv,hd]; rotated
  mlir::Value sinks;   ///< f32[heads] or null
};

class GroupQueryWriter {
public:
  mlir::Operation *op;
  RuleContext context;
  Tables &tables;
  mlir::Value positions; ///< i32[T]

  base::Result<GroupQuery> write();

private:
  base::Status checkLengths() const;
  base::Status checkCaches(int64_t &layer) const;
  base::Result<std::array<mlir::Value, 3>> splitHeads(const GroupQueryHeads &heads);
  base::Result<mlir::Value> normalize(mlir::Value x, unsigned weight);
  base::Result<mlir::Value> rotate(mlir::Value x);
};

} // namespace platen::compiler::serve
