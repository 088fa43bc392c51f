// The table of host kernels: one constexpr row a family × packing, which selection, conformance
// tests and benchmarks enumerate. A kernel of a plan is a row plus a request (specs.h).
//
// Names follow one grammar: <op>_<dtypes>__<target>_<tile>_<variant>; target is "host" for kernels
// that a plan carries for every CPU target, variant is a hash of the request.
#pragma once

#include "kernels/packing.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace platen::kernels {

/// Sizes of one launch, for costs: rows (tokens), k reduced elements, n output columns.
struct KernelShape {
  uint64_t rows = 0, n = 0, k = 0;
};

struct KernelDescriptor {
  std::string_view op;
  std::string_view dtypes;     ///< activations and weights, e.g. "f32_bf16"
  std::string_view packing;    ///< name in kPackings; "" if the kernel reads no packed weight
  uint64_t kMultiple = 1;      ///< constraint: k is a multiple of this
  bool quantizedInput = false; ///< x is a QuantizedRow panel
  uint32_t maxRowsPerTile = 0; ///< tunable: x rows a register tile holds at most (matmul)
  double bytesPerWeight = 0;   ///< streamed once a launch
  double macsPerCycle = 0;     ///< of one AVX2 core at full occupancy, for costs

  /// Rough time of a launch on one core that reads `bytesPerNs` and runs at `cyclesPerNs`: the
  /// larger of streaming the weights and multiplying.
  constexpr double costNs(const KernelShape &shape, double bytesPerNs, double cyclesPerNs) const {
    const double weights = static_cast<double>(shape.n) * static_cast<double>(shape.k);
    const double stream = weights * bytesPerWeight / bytesPerNs;
    const double compute = macsPerCycle == 0 ? 0
                                             : weights * static_cast<double>(shape.rows) /
                                                   (macsPerCycle * cyclesPerNs);
    return stream > compute ? stream : compute;
  }
};

inline constexpr std::array<KernelDescriptor, 30> kHostKernels = {{
    {"matmul", "f32_f32", "panel16.f32", 1, false, 6, 4.0, 16},
    {"matmul", "f32_bf16", "panel16.bf16", 1, false, 6, 2.0, 16},
    {"matmul", "f32_f16", "panel16.f16", 1, false, 6, 2.0, 16},
    {"matmul", "q8_q8g32", "panel16.q8g32.f16", 32, true, 4, 1.0625, 24},
    {"matmul", "q8_q8g32", "panel16.q8g32.f32", 32, true, 4, 1.125, 24},
    {"matmul", "q8_q8g32", "panel16.q8g32.f16z", 32, true, 4, 1.09375, 24},
    {"matmul", "q8_q8g32", "panel16.q8g32.f32z", 32, true, 4, 1.15625, 24},
    {"matmul", "q8_q4g32", "panel16.q4g32.f16", 32, true, 4, 0.5625, 32},
    {"matmul", "q8_q4g32", "panel16.q4g32.f32", 32, true, 4, 0.625, 32},
    {"matmul", "q8_q4g32", "panel16.q4g32.f16z", 32, true, 4, 0.59375, 32},
    {"matmul", "q8_q4g32", "panel16.q4g32.f32z", 32, true, 4, 0.65625, 32},
    {"embed", "f32_f32", "raw.f32"},
    {"embed", "f32_bf16", "raw.bf16"},
    {"embed", "f32_f16", "raw.f16"},
    {"embed", "f32_f32", "panel16.f32"},
    {"embed", "f32_bf16", "panel16.bf16"},
    {"embed", "f32_f16", "panel16.f16"},
    {"embed", "f32_q8g32", "panel16.q8g32.f16"},
    {"embed", "f32_q8g32", "panel16.q8g32.f32"},
    {"embed", "f32_q8g32", "panel16.q8g32.f16z"},
    {"embed", "f32_q8g32", "panel16.q8g32.f32z"},
    {"embed", "f32_q4g32", "panel16.q4g32.f16"},
    {"embed", "f32_q4g32", "panel16.q4g32.f32"},
    {"embed", "f32_q4g32", "panel16.q4g32.f16z"},
    {"embed", "f32_q4g32", "panel16.q4g32.f32z"},
    {"quantize_rows", "f32_q8", "", 32},
    {"row_program", "f32", ""},
    {"qkv_finish", "f32_f32", ""},
    {"paged_attention", "f32_f32", ""},
    {"select_rows", "f32", ""},
}};

/// Kernels that GPUs alone have, by the same fields (costs are kernels/cuda/cost.h's).
inline constexpr std::array<KernelDescriptor, 2> kDeviceKernels = {{
    {"matmul", "f8_f8", "panel16.f8"},
    {"matmul", "f4_f4", "panel16.f4"},
}};

/// The host's row for an op and packing ("" if it reads none), or nullptr.
constexpr const KernelDescriptor *findKernel(std::string_view op, std::string_view packing) {
  for (const KernelDescriptor &row : kHostKernels)
    if (row.op == op && row.packing == packing)
      return &row;
  return nullptr;
}
/// As above on any target.
constexpr const KernelDescriptor *findAnyKernel(std::string_view op, std::string_view packing) {
  for (const KernelDescriptor &row : kDeviceKernels)
    if (row.op == op && row.packing == packing)
      return &row;
  return findKernel(op, packing);
}

} // namespace platen::kernels
