// The serving form: rewrites an exported decoder into `func @step`, see ARCHITECTURE.md, "Serving
// form by evaluation".
//
//   func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %rows:
//   tensor<?xi32>)
//       -> (logits tensor<?xVxf32>[, hidden states tensor<?xHxf32>…])
//
// Applies to decoders with past/present tensors whose attention is decomposed (optimum, torch) or
// com.microsoft GroupQueryAttention (onnxruntime-genai). Everything else is refused, naming the
// ONNX node. Costs three passes of type propagation over the graph and the evaluation of masks and
// rotary tables; reads no weight but cached cosines.
#pragma once

#include "ops/ir/interpreter.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>

namespace platen::compiler {

struct ServeOptions {
  /// Positions that a sequence may reach; sizes the rotary tables. Windows at least this long are
  /// none.
  int64_t maxContext = 4096;
  /// Keeps @main beside @step (for tests and dumps).
  bool keepMain = false;
};

/// A weight that the compiler computed: initializer @name refers to the whole of the virtual file
/// `file`, which the caller must put into its weight store.
struct ComputedWeight {
  std::string name, file;
  std::shared_ptr<const ops::Tensor> value;
};

struct ServedLayer {
  int64_t layer, heads, kvHeads, headSize;
  int64_t window; ///< 0: the whole context
  double scale, softcap;
};

struct ServeInfo {
  std::string dialect; ///< "decomposed attention" or "GroupQueryAttention"
  int64_t vocabulary = 0, hidden = 0, maxContext = 0;
  std::vector<ServedLayer> layers;          ///< in the order of execution
  std::map<std::string, std::string> roles; ///< input or output name → what it was taken for
  std::vector<ComputedWeight> computed;     ///< rotary tables f32[maxContext, r/2]
};

/// Replaces @main by @step. On failure the module keeps @main as it was (duplicates removed) and
/// has no @step. `reader` gives the bytes of the few weights that position-only values read; null
/// if there are none.
base::Result<ServeInfo> convertToServingForm(mlir::ModuleOp module, const ir::WeightReader &reader,
                                             const ServeOptions &options);

} // namespace platen::compiler
