// mma.sync: what an instruction does, in eight bytes, so that an op carries it.
#pragma once

#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/program.h"

#include <bit>
#include <cstdint>

namespace platen::ptxsim {

struct MmaPlan {
  uint8_t m = 0;     // 8 or 16; n is 8
  uint8_t words = 0; // of a row of A: k elements packed into 32 bits (f64: 64 bits)
  Element a{}, b{};
  Element d{};        // also of C: f16, f32, f64 or s32
  Element scale{};    // kNone: no block scaling
  uint8_t scales = 0; // 1, 2 or 4 scales along k
  uint8_t flags = 0;
  // kAnd: of b1, otherwise xor. kSparse: A is stored without its zeros, half of k (mma_sparse.cpp).
  enum : uint8_t { kSaturate = 1, kAnd = 2, kSparse = 4, kOrdered = 8 };

  int bitsOfWord() const { return a == Element::kF64 ? 64 : 32; }
  bool isSparse() const { return flags & kSparse; }
  int k() const { return words * bitsOfWord() / bitsOf(a) * (isSparse() ? 2 : 1); }
  int accumulators() const { return m / 4; } // elements of C in a lane
  int registersOfC() const { return d == Element::kF16 ? accumulators() / 2 : accumulators(); }
  int registersOfA() const { return words / 4 * (m / 8); }
  int registersOfB() const { return words / 4 * (isSparse() ? 2 : 1); }
  int64_t encode() const { return std::bit_cast<int64_t>(*this); }
  static MmaPlan decode(int64_t bits) { return std::bit_cast<MmaPlan>(bits); }
};
static_assert(sizeof(MmaPlan) == 8);

/// Executes what the op's immediate, a plan, says; its list holds D, A, B, C and the scales, or the
/// metadata of a sparse A, whose selector is op.variant2.
Handler mmaHandler(const MmaPlan &plan);
void runSparseMma(Warp &warp, const Op &op, uint32_t mask);

/// The operand list of an mma op.
struct MmaOperands {
  const uint32_t *d, *a, *b, *c,
      *rest; // rest: data a, byte a, thread a, the same of b; or metadata
  MmaOperands(const Warp &warp, const Op &op, const MmaPlan &plan);
};
/// C as [m][8] to and from registers; integers are added to it.
void loadC(Warp &warp, const uint32_t *registers, const MmaPlan &plan, double *tile);
void storeC(Warp &warp, const uint32_t *registers, const MmaPlan &plan, const double *tile);
void storeIntegers(Warp &warp, const MmaOperands &at, const MmaPlan &plan, const int32_t *product);

} // namespace platen::ptxsim
