// Packing: the one place where weight bytes are transformed. Reads them from their files, writes
// them packed.
//
// Streams panel by panel: memory is a few panels, never a whole tensor's packed form.
// Deterministic, whatever the number of threads.
#pragma once

#include "compiler/import/weight_store.h"
#include "compiler/select/draft.h"
#include "runtime/plan/writer.h"

#include <functional>

namespace platen::compiler {

/// Bytes of a weight's sources, by what a WeightSource names.
class SourceReader {
public:
  SourceReader(mlir::ModuleOp module, WeightStore &store) : module_(module), store_(store) {}

  struct Bytes {
    std::span<const std::byte> bytes;
    ops::TensorType type;
  };
  /// The span lives as long as the reader's parts and `source`.
  base::Result<Bytes> read(const WeightSource &source);

private:
  mlir::ModuleOp module_;
  WeightStore &store_;
};

struct PackOptions {
  unsigned threads = 1;
  /// Called after each panel run, with packed bytes so far and in all. Returning false cancels.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

/// Writes the weights section of `draft` into `writer`, filling in offset and bytes of
/// manifest.weights.
base::Status packWeights(PlanDraft &draft, SourceReader &reader, plan::PlanWriter &writer,
                         const PackOptions &options);

} // namespace platen::compiler
