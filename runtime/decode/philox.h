// Philox4x32-10, a counter-based random generator (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). The n-th draw of a request is a pure function of its seed and n, so a
// sequence's samples depend neither on its neighbours in a batch nor on preemption. One block costs
// about 10 ns.
#pragma once

#include <array>
#include <cstdint>

namespace platen::decode {

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                          std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t left = uint64_t{0xD2511F53U} * counter[0];
    uint64_t right = uint64_t{0xCD9E8D57U} * counter[2];
    counter = {
        static_cast<uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(right),
        static_cast<uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(left)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

/// Draw `index` of stream `stream` of a request: uniform in [0, 1), 53 bits, in units of 2^-64.
/// Stream 0 picks tokens; others are free.
inline uint64_t uniformFraction(uint64_t seed, uint64_t index, uint32_t stream = 0) {
  auto block =
      philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), stream, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (uint64_t{block[1]} << 32 | block[0]) & ~uint64_t{0x7ff};
}

/// The same number.
inline double uniform(uint64_t seed, uint64_t index, uint32_t stream = 0) {
  return static_cast<double>(uniformFraction(seed, index, stream)) * 0x1p-64;
}

} // namespace platen::decode
