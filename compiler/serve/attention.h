// Decomposed attention, recognised from its softmax outwards:
//   softmax(softcap(scale · q kᵀ) + mask) v,  k and v = concat(past, new) repeated to the query
//   heads.
#pragma once

#include "compiler/serve/evaluation.h"

namespace platen::compiler::serve {

/// What one attention reads and how. q [b,heads,s,hd], k and v [b,kv,s,hd] are values of the
/// exported graph.
struct Attention {
  mlir::Value q, k, v;
  int64_t layer = 0;
  int64_t heads = 0, kvHeads = 0, headSize = 0, valueHeadSize = 0;
  double scale = 1;
  double softcap = 0; ///< 0: none
  mlir::Value mask;   ///< known from positions; added to the scores, or bool
  bool maskHides = false;
};

/// The attention that ends in `matmul` (probabilities · v), or nullopt if that matmul multiplies no
/// softmax with a value cache. Unsupported, naming the node, if it does but in a way that is not
/// understood.
base::Result<std::optional<Attention>> matchAttention(const Evaluation &evaluation,
                                                      mlir::Operation *matmul);

} // namespace platen::compiler::serve
