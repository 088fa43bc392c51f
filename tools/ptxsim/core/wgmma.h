// wgmma.mma_async: what an instruction does, and what is known when it is issued.
#pragma once

#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/machine.h"

namespace platen::ptxsim {

inline constexpr uint32_t kWgmmaRows = 16; // of A in one warp
inline constexpr uint32_t kWgmmaRowBytes =
    32; // of A, and of a column of B: k elements, in every shape
inline constexpr uint32_t kWgmmaChunks = 2;

/// What a wgmma.mma_async does, in eight bytes.
struct WgmmaPlan {
  uint16_t n = 0;
  Element a{}, b{}, d{};
  uint8_t flags = 0;
  uint16_t unused = 0;
  enum : uint8_t {
    kSaturate = 1,
    kARegisters = 2, // A lies in registers
    kTransposeA = 4,
    kTransposeB = 8,
    kNegate = 16, // the products
    kNegatedPredicate = 32,
  };
  bool has(uint8_t flag) const { return flags & flag; }
  uint32_t k() const { return kWgmmaRowBytes * 8 / static_cast<uint32_t>(bitsOf(a)); }
  uint32_t accumulators() const { return d == Element::kF16 ? n / 4u : n / 2u; }
};
static_assert(sizeof(WgmmaPlan) == 8);

/// Everything that is known when the operation is issued.
struct WgmmaJob {
  Warp *warp;
  WgmmaPlan plan;
  const uint32_t *d, *a; // register slots
  std::vector<uint32_t> aChunks, bChunks;
  bool accumulate;
};

/// Does the warp's part of the product, when it is due.
void performWgmma(const WgmmaJob &job);

} // namespace platen::ptxsim
