// The numbers of one run of a graph: symbols from the shapes of its inputs, and what they give.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/exec/graph_executor.h"
#include "runtime/plan/plan.h"

namespace platen::exec {

/// Binds every symbol from the shapes of `inputs`, one for each input of the graph, into `symbols`
/// [graph.symbols]. Errors: kInvalidArgument naming the input, its dimension and both values; or
/// that its bytes are not those of its shape.
base::Status bindSymbols(const plan::GraphSignature &graph, std::span<const GraphInput> inputs,
                         std::vector<int64_t> &symbols);

/// Where a run's buffers lie: inputs' slots, then those of temporaries, then outputs' slots, so
/// that one read brings all outputs; 64-byte aligned, each with 64 bytes behind it.
struct ArenaLayout {
  std::vector<uint64_t> bytes;   // [buffers]
  std::vector<uint64_t> offsets; // [buffers]
  uint64_t arena_bytes = 0;
  uint64_t outputs_begin = 0; // of the outputs' part, which ends with the arena
};

/// For symbols within their ranges. Errors: kInvalidArgument if they make a size negative.
base::Status layOut(const plan::DeviceProgram &program, const plan::GraphSignature &graph,
                    std::span<const int64_t> symbols, ArenaLayout &layout);

/// A size that may not be negative. `what` names it: "buffer 'x'".
base::Result<int64_t> evaluate(const base::Size &size, const plan::GraphSignature &graph,
                               std::span<const int64_t> symbols, const std::string &what);

} // namespace platen::exec
