// Benchmark of the host matmuls on one thread: decode (one row, weights from memory) and prefill
// (512 rows), for the shapes of Gemma 3 270M and every packing, beside the stream-read bandwidth
// and the fma peak of the same core in the same run.
//
// Times are thread-CPU time, the best of several repetitions, so that a busy machine disturbs them
// little. Usage: kernels_bench [rows of prefill, default 512]
#include "kernels/host/kernel_harness.h"

#include <ctime>
#include <immintrin.h>

namespace {

using namespace platen::kernels;
using namespace platen::kernels::harness;

double threadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Best time of `body` in seconds, over at least `repeats` runs.
template <typename Body> double best(int repeats, const Body &body) {
  double least = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const double start = threadSeconds();
    body(i);
    least = std::min(least, threadSeconds() - start);
  }
  return least;
}

/// GFLOP/s of independent fma chains in registers.
__attribute__((target("avx2,fma"))) void fmaRounds(int64_t rounds) {
  __m256 a = _mm256_set1_ps(1.000001F), c0 = a, c1 = a, c2 = a, c3 = a, c4 = a, c5 = a, c6 = a,
         c7 = a, c8 = a, c9 = a;
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile("vfmadd231ps %10, %10, %0\n vfmadd231ps %10, %10, %1\n vfmadd231ps %10, %10, %2\n"
                 "vfmadd231ps %10, %10, %3\n vfmadd231ps %10, %10, %4\n vfmadd231ps %10, %10, %5\n"
                 "vfmadd231ps %10, %10, %6\n vfmadd231ps %10, %10, %7\n vfmadd231ps %10, %10, %8\n"
                 "vfmadd231ps %10, %10, %9\n"
                 : "+x"(c0), "+x"(c1), "+x"(c2), "+x"(c3), "+x"(c4), "+x"(c5), "+x"(c6), "+x"(c7),
                   "+x"(c8), "+x"(c9)
                 : "x"(a));
}
double fmaPeak() {
  constexpr int64_t kRounds = 10'000'000;
  return 10.0 * 8 * 2 * kRounds / best(8, [](int) { fmaRounds(kRounds); }) * 1e-9;
}

/// GB/s of reading memory well beyond the caches, as four streams: a kernel that reads four panels
/// does better than one stream.
__attribute__((target("avx2"))) void readAll(const uint8_t *from, size_t bytes) {
  const size_t quarter = bytes / 4 / 64 * 64;
  for (size_t i = 0; i < quarter; i += 64)
    asm volatile("vmovdqu (%0), %%ymm0\n vmovdqu 32(%0), %%ymm1\n vmovdqu (%1), %%ymm2\n vmovdqu "
                 "32(%1), %%ymm3\n"
                 "vmovdqu (%2), %%ymm4\n vmovdqu 32(%2), %%ymm5\n vmovdqu (%3), %%ymm6\n vmovdqu "
                 "32(%3), %%ymm7\n"
                 :
                 : "r"(from + i), "r"(from + quarter + i), "r"(from + 2 * quarter + i),
                   "r"(from + 3 * quarter + i)
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}
double streamRead(const Buffer &memory) {
  return static_cast<double>(memory.bytes()) /
         best(8, [&](int) { readAll(memory.data(), memory.bytes()); }) * 1e-9;
}

MatmulSpec specOf(const Packing &packing, uint64_t k, uint64_t n, uint32_t rowsPerTile) {
  MatmulSpec spec;
  spec.k = k, spec.n = {n}, spec.packing = packing, spec.rowsPerTile = rowsPerTile;
  return spec;
}

struct Measured {
  double seconds, weightBytes, flops;
};

/// Times rows x k x n with weights rotating through `arena`, whose panels all hold the same
/// numbers.
Measured measure(const Packing &packing, const Buffer &arena, uint64_t rows, uint64_t k,
                 uint64_t n) {
  uint32_t rowsPerTile = 0;
  for (const MatmulVariant &variant : matmulVariants(packing))
    if (rowsPerTile == 0 && rows <= variant.maxExtent)
      rowsPerTile = variant.rowsPerTile;
  const MatmulSpec spec = specOf(packing, k, n, rowsPerTile);
  const HostKernelInfo info = must(describeHostKernel(spec));
  const Code code = compile({spec}, kAvx2Target);
  const size_t bytes = packing.bytes(n, k), copies = std::max<size_t>(1, arena.bytes() / bytes);
  const BufferPtr x =
      packing.isQuantized() ? randomPanel(rows, k, 1) : floats(randomFloats(rows * k, 1));
  const Buffer y(rows * n * 4), scratch(info.scratchBytes + 64, 0);
  PlatenStep step{};
  step.tokens = static_cast<int64_t>(rows);
  const PlatenHostKernel kernel = code.entry(info.name);
  const auto units =
      static_cast<int64_t>((rows + info.rowsPerUnit - 1) / info.rowsPerUnit * info.unitsPerRows);
  const bool decode = rows == 1;
  const size_t inner = decode ? std::max<size_t>(copies, n > 100000 ? 2 : 20)
                              : 1; // one timing covers the whole arena
  const double seconds = best(decode ? (n > 100000 ? 2 : 6) : 5, [&](int) {
    for (size_t copy = 0; copy < inner; ++copy) {
      void *operands[] = {&step, x->data(), arena.data() + copy % copies * bytes, y.data(),
                          scratch.data()};
      kernel(operands, 0, units);
    }
  });
  return {seconds / static_cast<double>(inner), static_cast<double>(bytes),
          2.0 * static_cast<double>(rows) * static_cast<double>(k) * static_cast<double>(n)};
}

void benchmark(const Packing &packing, uint64_t prefillRows, uint64_t arenaMiB, double stream,
               double peak) {
  constexpr uint64_t kShapes[][2] = {
      {640, 1536}, {640, 4096}, {1024, 640}, {2048, 640}, {640, 262144}};
  for (const auto &[k, n] : kShapes) {
    // As many panels as asked for, or as the shape needs.
    const RandomWeight pattern = randomWeight(packing, 64, k, 1);
    const size_t unit = pattern.packed->bytes();
    Buffer arena(std::max<size_t>(packing.bytes(n, k), (arenaMiB << 20U) / unit * unit), 0);
    for (size_t offset = 0; offset < arena.bytes(); offset += unit)
      std::memcpy(arena.data() + offset, pattern.packed->data(), unit);
    const Measured decode = measure(packing, arena, 1, k, n);
    const double bandwidth = decode.weightBytes / decode.seconds * 1e-9;
    std::printf("%-20s %5lu x %-6lu  decode %8.1f us %6.1f GB/s (%3.0f %%)", packing.name.data(), k,
                n, decode.seconds * 1e6, bandwidth, 100 * bandwidth / stream);
    if (n < 100000) {
      const Measured prefill = measure(packing, arena, prefillRows, k, n);
      const double speed = prefill.flops / prefill.seconds * 1e-9;
      std::printf("   prefill %8.1f us %6.1f GFLOP/s (%3.0f %%)", prefill.seconds * 1e6, speed,
                  100 * speed / peak);
    }
    std::printf("\n");
  }
}

} // namespace

int main(int argc, char **argv) {
  const uint64_t rows = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 512;
  const uint64_t arenaMiB = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 160;
  const Buffer memory(256U << 20U, 0);
  const double stream = streamRead(memory), peak = fmaPeak();
  std::printf("stream read %.1f GB/s, fp32 fma peak %.1f GFLOP/s (one thread)\n", stream, peak);
  if (argc > 3) {
    benchmark(*parsePacking(argv[3]), rows, arenaMiB, stream, peak);
    return 0;
  }
  for (const char *name : {"panel16.f32", "panel16.bf16", "panel16.q8g32.f16", "panel16.q4g32.f16",
                           "panel16.q4g32.f16z"})
    benchmark(*parsePacking(name), rows, arenaMiB, stream, peak);
  std::printf("stream read %.1f GB/s, fp32 fma peak %.1f GFLOP/s (again, for drift)\n",
              streamRead(memory), fmaPeak());
}
