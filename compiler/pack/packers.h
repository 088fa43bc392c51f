// Packers: weight bytes as a model file stores them become weight bytes as kernels read them
// (kernels/packing.h).
//
// Pure functions over a range of panels, so that callers stream a tensor with little memory and
// share the ranges among threads: the bytes of a panel depend on its 16 rows alone, never on how
// ranges were cut. Cost on one core: 100 to 180
// million elements a second for floats, q8 and repacking, 20 million for the searching int4
// quantiser.
#pragma once

#include "kernels/packing.h"
#include "runtime/base/status.h"

#include <cstdint>
#include <span>

namespace platen::compiler {

/// Dense weight bytes in a file, W[n][k] or, if `transposed`, stored as [k][n].
struct DenseSource {
  const void *data = nullptr;            ///< n * k elements, any alignment
  base::DType dtype = base::DType::kF32; ///< f32, f16 or bf16
  uint64_t n = 0, k = 0;
  bool transposed = false;
};

/// Block-quantised weight bytes as MatMulNBits and GatherBlockQuantized store them.
///   codes  u8 [n][ceil(k/block)][block * bits / 8], 4-bit codes low nibble first
///   scales f32 or f16 [n][ceil(k/block)]
///   zeros  u8 [n][ceil(ceil(k/block) * bits / 8)], 4-bit ones low nibble first; null: 2^(bits-1)
/// Value: (code - zero) * scale.
struct BlockSource {
  const uint8_t *codes = nullptr;
  const void *scales = nullptr;
  base::DType scaleType = base::DType::kF32;
  const uint8_t *zeros = nullptr;
  uint32_t bits = 4;   ///< 4 or 8
  uint32_t block = 32; ///< 32, 64, 128 or 256
  uint64_t n = 0, k = 0;
};

/// The smallest packing that holds the blocks exactly: f16 scales where every scale survives f16,
/// zero points only where one differs from 2^(bits-1). kUnsupported for other bits or blocks.
base::Result<kernels::Packing> packingFor(const BlockSource &source);

/// Packs panels [first, first + count) of the source to `out`, count * packing.panelBytes(k) bytes.
/// q8: symmetric per 32-group, scale = amax / 127. q4: scale (and zero point, for `z` packings) by
/// search for the least weighted squared error. f8 and f4: narrow_quantizer.h. Errors:
/// kInvalidArgument for ranges, sizes or a packing of the wrong kind; kUnsupported for values that
/// the packing cannot hold (not finite, or a scale beyond f16).
base::Status packDense(const DenseSource &source, const kernels::Packing &packing, uint64_t first,
                       uint64_t count, std::span<uint8_t> out);
base::Status packBlocks(const BlockSource &source, const kernels::Packing &packing, uint64_t first,
                        uint64_t count, std::span<uint8_t> out);

/// Elements [first, first + count) as raw.f32, raw.f16 or raw.bf16, in the file's order.
base::Status packRaw(const DenseSource &source, const kernels::Packing &packing, uint64_t first,
                     uint64_t count, std::span<uint8_t> out);

} // namespace platen::compiler
