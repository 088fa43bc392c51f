// Prints the warpgroup matrix instructions of sm_90a for one number of columns: their operand lists
// have a register for every two columns, which no template can spell.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace platen::kernels::cuda {

/// `template <> struct Wgmma<n>` with static functions, d (+)= a * b, 64 x n, f32 sums:
///   bf16, f16, f8   a from registers (16 or 32 k), b rows of k; add == 0 starts from zeros
///   bf16Values a from registers (16 k), b 16 rows of values (k is the slow dimension)
///   bf16Keys   a from shared memory, rows of k; b as bf16Values
std::string printWgmma(uint32_t n);

} // namespace platen::kernels::cuda
