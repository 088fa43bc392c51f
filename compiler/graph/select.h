// From launches over numbered tensors to a program of the plan: buffers, slots, weights, kernels.
#pragma once

#include "compiler/graph/launches.h"
#include "compiler/select/kernel_source.h"

namespace platen::compiler {

/// Adds to `draft` a program with kernels of `source`, the weights that it reads, and, with the
/// first program, the graph's signature. All programs of one graph have the same buffers.
base::Status selectGraph(const GraphDraft &graph, KernelSource &source, PlanDraft &draft);

} // namespace platen::compiler
