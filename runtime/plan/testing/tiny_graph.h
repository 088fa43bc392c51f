// A complete, tiny plan of a graph that is no decoder, with real machine code, written without the
// compiler: for tests of the runtime, as tiny_plan.h is for decoders.
//
//   inputs   a: i32[n, 4], b: i32[m, 4]       n in [1, 1000], m in [0, 100]
//   outputs  total: i32[n], sums: i32[n, m]
// by two launches over one temporary, products: i32[n, m, 4] (see tiny_graph_kernels.h). x86-64
// and, if asked for, CUDA.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"
#include "runtime/plan/testing/tiny_plan.h"
#include "runtime/plan/writer.h"

namespace platen::plan::testing {

struct TinyGraphOptions {
  std::vector<TinyTarget> targets{TinyTarget{}};
  /// As TinyPlanOptions::cuda_targets.
  std::vector<TinyTarget> cuda_targets{};
};

/// Writes the plan to `path`.
base::Status writeTinyGraph(const std::string &path, const TinyGraphOptions &options = {});

/// Appends the plan's sections to `writer` and returns the manifest that finish() needs; tests
/// change it first.
base::Result<Manifest> buildTinyGraph(PlanWriter &writer, const TinyGraphOptions &options = {});

struct TinyGraphOutputs {
  std::vector<int32_t> total; // [n]
  std::vector<int32_t> sums;  // [n, m]
};
/// What the graph gives for a [n, 4] and b [m, 4].
TinyGraphOutputs tinyGraph(std::span<const int32_t> a, std::span<const int32_t> b);

} // namespace platen::plan::testing
