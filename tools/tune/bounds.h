// What a launch's operands hold, how far a CUDA kernel's results may be from the host's, and the
// comparison.
//
// Both kernels compute the same from the same inputs; they differ in how they round. A difference
// is measured against the largest magnitude of its row (a token's part of a buffer; one position's
// keys or values of one head), because a sum's rounding error follows its terms, not its result.
// u = 2^-24 is half a unit in the last place of f32, v = 2^-9 that of bf16; k is what a sum runs
// over.
//   embed               16 u     a dequantised value times a scale: a few roundings
//   select_rows         0        a copy
//   row_program, qkv_finish
//                       (64 + k) u   sums of k = the row in another order; 64 u for the approximate
//                                    exp2, rsqrt and reciprocal of the GPU
//   quantize_rows       16 u     of a scale; a code may be the next one, where both stand at a tie
//   matmul, f32 and integer weights
//                       4 (64 + k) u   f32 sums of k products (integers: of k / 32 groups) in
//                                      another order; a gate multiplies two of them, each with its
//                                      error, and the row's largest product may be smaller than
//                                      the product of its largest factors: 4 stands for both
//   matmul, bf16 and f16 weights
//                       8 v      the GPU rounds x to bf16, the host need not: v a term, of random
//                                sign; 8 = 4 for a sum whose terms cancel to a quarter of their
//                                norm, 2 for a gate's two factors
//   paged_attention     16 v     q, k, v and p are rounded to bf16: a score of size s moves by s v,
//                                and p by as much relatively; scores that matter stay below 12;
//                                v and p themselves add 2 v
// What the cache stores narrower than f32 adds a unit of that format. Kernels on integers (i32 in
// their name) and of operations that are not in this list must give equal bits. A kernel without a
// host's to compare with is bound by none of this: see tune.h.
#pragma once

#include "runtime/plan/plan.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace platen::tune {

/// How the bytes of a buffer are to be read.
struct BufferLayout {
  bool is_quantized = false; ///< QuantizedRow (kernels/packing.h) of k elements; else f32
  uint64_t k = 0;
  bool operator==(const BufferLayout &) const = default;
};

/// The layout of each buffer of a program: quantised where an integer matmul reads it. Errors:
/// kUnsupported naming the launch whose rows are not what its kernel's name says.
base::Result<std::vector<BufferLayout>> bufferLayouts(const plan::Manifest &manifest,
                                                      const plan::DeviceProgram &program);

/// Largest difference, as a share of the row's largest magnitude.
double relativeBound(const plan::Manifest &manifest, const plan::DeviceProgram &program,
                     const plan::Launch &launch, const plan::Kernel &kernel);

struct Difference {
  double worst = 0; ///< the largest difference, as a share of its bound; above 1: too large
  /// The first element that is too far off, or not a number: "row 3, element 17: 1.5 instead of
  /// 1.25, at most 0.01 apart".
  std::optional<std::string> first;
};

/// What the fill before a launch leaves where nothing is written.
inline constexpr std::byte kFill{0xff};

/// Compares rows of `row_bytes` with a reference's. Elements that the reference itself left as the
/// fill are nobody's and not compared. Errors: kInternal when the reference's own values are no
/// numbers.
base::Result<Difference> compareRows(std::span<const std::byte> device,
                                     std::span<const std::byte> reference, uint64_t row_bytes,
                                     const BufferLayout &layout, double bound);

/// Compares the pages of one cache, position by position.
base::Result<Difference> comparePages(std::span<const std::byte> device,
                                      std::span<const std::byte> reference,
                                      const plan::Cache &cache, uint32_t page_tokens, double bound);

/// Sets to zero what no kernel promises: the padding of quantised rows.
void clearPadding(std::span<std::byte> rows, uint64_t row_bytes, const BufferLayout &layout);

} // namespace platen::tune
