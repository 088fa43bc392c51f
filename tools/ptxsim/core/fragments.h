// Fragments: which lane of a warp holds which element of the matrices of mma, as formulas.
//
// The PTX ISA prints one table for each shape and type; all of them (mma, mma.sp without its
// metadata, wgmma's A and D, ldmatrix) are one rule once a 32-bit register is taken as a word of
// e = 32 / bits elements that are adjacent along k (f64: one element in a 64-bit register):
//   A[m][word w]: register (m >> 3) + (M / 8) * (w >> 2), lane (m & 7) * 4 + (w & 3)
//   B[word w][n]: register w >> 2,                       lane n * 4 + (w & 3)
//   C[m][n]:      register (n & 1) + 2 * (m >> 3),        lane (m & 7) * 4 + (n >> 1)
// (f16 accumulators pack the two of a pair into one register). So four lanes of a register are 16
// bytes of a row of A or of a column of B, and tiles are gathered by 16-byte copies.
#pragma once

#include "tools/ptxsim/core/machine.h"

#include <cstring>

namespace platen::ptxsim {

inline constexpr int kTileN = 8; // columns of B and C in every mma

/// Row `m` of A as packed bytes: `words` 4-byte words (a multiple of 4, or 4 f64 words each 8
/// bytes). `registers` are the slots of A; Word is uint32_t or uint64_t.
template <class Word>
inline void gatherA(Warp &warp, const uint32_t *registers, int m, int words, Word *tile) {
  int halves = m / 8;
  for (int row = 0; row < m; ++row)
    for (int block = 0; block < words / 4; ++block)
      std::memcpy(tile + row * words + block * 4,
                  warp.lanes<Word>(registers[(row >> 3) + halves * block]) + (row & 7) * 4,
                  4 * sizeof(Word));
}

/// Column n of B as packed bytes, k adjacent.
template <class Word>
inline void gatherB(Warp &warp, const uint32_t *registers, int words, Word *tile) {
  for (int column = 0; column < kTileN; ++column)
    for (int block = 0; block < words / 4; ++block)
      std::memcpy(tile + column * words + block * 4,
                  warp.lanes<Word>(registers[block]) + column * 4, 4 * sizeof(Word));
}

/// The same with the words of one k beside each other: tile[word][n].
template <class Word>
inline void gatherBTransposed(Warp &warp, const uint32_t *registers, int words, Word *tile) {
  for (int block = 0; block < words / 4; ++block) {
    const Word *lanes = warp.lanes<Word>(registers[block]);
    for (int word = 0; word < 4; ++word)
      for (int column = 0; column < kTileN; ++column)
        tile[(block * 4 + word) * kTileN + column] = lanes[column * 4 + word];
  }
}

/// C as [m][8], one register for each element of a lane.
template <class Word>
inline void gatherC(Warp &warp, const uint32_t *registers, int m, Word *tile) {
  for (int half = 0; half < m / 8; ++half) {
    const Word *even = warp.lanes<Word>(registers[2 * half]);
    const Word *odd = warp.lanes<Word>(registers[2 * half + 1]);
    for (int lane = 0; lane < 32; ++lane) {
      tile[half * 64 + 2 * lane] = even[lane];
      tile[half * 64 + 2 * lane + 1] = odd[lane];
    }
  }
}

template <class Word>
inline void scatterC(Warp &warp, const uint32_t *registers, int m, const Word *tile) {
  for (int half = 0; half < m / 8; ++half) {
    Word *even = warp.lanes<Word>(registers[2 * half]);
    Word *odd = warp.lanes<Word>(registers[2 * half + 1]);
    for (int lane = 0; lane < 32; ++lane) {
      even[lane] = tile[half * 64 + 2 * lane];
      odd[lane] = tile[half * 64 + 2 * lane + 1];
    }
  }
}

} // namespace platen::ptxsim
