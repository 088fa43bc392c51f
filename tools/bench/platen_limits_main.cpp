// platen_limits: what this CPU can do at most, measured: reading memory and multiplying.
// tools/bench/bench.py drives it.
//
//   platen_limits --threads 2 [--bytes N]
//
// Each line of stdin is one measurement of about 0.2 seconds, answered by one JSON line
// {"per_second", "code"}:
//
//   stream   bytes read from a buffer of N bytes (default: 256 MiB or four times the last-level
//   cache, if that is more;
//            every thread reads its own part, in huge pages where the kernel gives them)
//   f32      floating-point operations of register-only multiply-adds (2 each)
//   bf16     the same in products of bf16 pairs summed in f32 where the CPU has them (vdpbf16ps),
//   else as f32 i8       integer operations (2 a product) of u8 × i8 summed in i32 i4       the
//   same summed in i16 first, which products of 4-bit codes allow; as i8 where vpdpbusd exists
//
// "code" names the instructions. Threads are pinned to the CPUs that the process may use, in
// ascending order. Costs the buffer's memory. x86-64 with AVX2 and FMA.
#include <algorithm>
#include <barrier>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <immintrin.h>
#include <iostream>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include <pthread.h>

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kSeconds = 0.2; // of one measurement
constexpr int kChains =
    12; // independent accumulators: latency × throughput of every kernel here is at most 10
constexpr int kIterations = 20000;

// Makes the compiler believe that a register was changed, so that chains of equal operations stay.
template <typename T> inline void keep(T &value) { asm volatile("" : "+x"(value)); }
template <typename T> inline void keepZmm(T &value) { asm volatile("" : "+v"(value)); }

__attribute__((target("avx2,fma"), noinline)) double f32Avx2() {
  __m256 sums[kChains] = {}, x = _mm256_set1_ps(0.5F), y = _mm256_set1_ps(0.25F);
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m256 &sum : sums) {
      sum = _mm256_fmadd_ps(x, y, sum);
      keep(sum);
    }
  return double{kIterations} * kChains * 8 * 2;
}

__attribute__((target("avx512f"), noinline)) double f32Avx512() {
  __m512 sums[kChains] = {}, x = _mm512_set1_ps(0.5F), y = _mm512_set1_ps(0.25F);
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m512 &sum : sums) {
      sum = _mm512_fmadd_ps(x, y, sum);
      keepZmm(sum);
    }
  return double{kIterations} * kChains * 16 * 2;
}

__attribute__((target("avx512f,avx512bf16"), noinline)) double bf16Avx512() {
  __m512 sums[kChains] = {};
  auto x = (__m512bh)_mm512_set1_epi32(0x3f003f00), y = x;
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m512 &sum : sums) {
      sum = _mm512_dpbf16_ps(sum, x, y);
      keepZmm(sum);
    }
  return double{kIterations} * kChains * 32 * 2;
}

__attribute__((target("avx2"), noinline)) double i8Avx2() {
  __m256i sums[kChains] = {}, u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-2),
          ones = _mm256_set1_epi16(1);
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m256i &sum : sums) {
      keep(u); // otherwise the product is computed once
      __m256i pairs = _mm256_maddubs_epi16(u, s);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
      keep(sum);
    }
  return double{kIterations} * kChains * 32 * 2;
}

__attribute__((target("avx2"), noinline)) double i4Avx2() {
  __m256i sums[kChains] = {}, u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-2);
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m256i &sum : sums) {
      keep(u); // otherwise the product is computed once
      __m256i pairs = _mm256_maddubs_epi16(u, s);
      sum = _mm256_add_epi16(sum, pairs);
      keep(sum);
    }
  return double{kIterations} * kChains * 32 * 2;
}

__attribute__((target("avx512f,avx512vnni"), noinline)) double i8Avx512() {
  __m512i sums[kChains] = {}, u = _mm512_set1_epi32(0x03030303), s = _mm512_set1_epi32(0x02fe02fe);
  for (int i = 0; i < kIterations; ++i)
#pragma GCC unroll 12
    for (__m512i &sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, u, s);
      keepZmm(sum);
    }
  return double{kIterations} * kChains * 64 * 2;
}

/// Reads [begin, end), both multiples of 256 bytes.
__attribute__((target("avx2"), noinline)) double readAll(const char *begin, const char *end) {
  __m256i sums[8] = {};
  for (const char *at = begin; at != end; at += 256)
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      sums[i] =
          _mm256_xor_si256(sums[i], _mm256_load_si256(reinterpret_cast<const __m256i *>(at) + i));
  for (__m256i &sum : sums)
    keep(sum);
  return static_cast<double>(end - begin);
}

struct Kernel {
  std::function<double()> run; // returns the operations done
  const char *code;
};

bool has(const char *name) {
  // __builtin_cpu_supports takes literals only.
  const std::string_view feature = name;
  if (feature == "avx512f")
    return __builtin_cpu_supports("avx512f");
  if (feature == "avx512bf16")
    return __builtin_cpu_supports("avx512bf16");
  return __builtin_cpu_supports("avx512vnni");
}

bool arithmeticKernel(const std::string &name, Kernel &kernel) {
  if (name == "bf16" && has("avx512bf16"))
    kernel = {bf16Avx512, "vdpbf16ps zmm"};
  else if (name == "f32" || name == "bf16")
    kernel =
        has("avx512f") ? Kernel{f32Avx512, "vfmadd231ps zmm"} : Kernel{f32Avx2, "vfmadd231ps ymm"};
  else if ((name == "i8" || name == "i4") && has("avx512vnni"))
    kernel = {i8Avx512, "vpdpbusd zmm"};
  else if (name == "i8")
    kernel = {i8Avx2, "vpmaddubsw + vpmaddwd + vpaddd ymm"};
  else if (name == "i4")
    kernel = {i4Avx2, "vpmaddubsw + vpaddw ymm"};
  else
    return false;
  return true;
}

std::vector<int> allowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set))
      cpus.push_back(cpu);
  return cpus;
}

/// Calls body(thread) in `threads` pinned threads between two barriers until kSeconds are over;
/// operations a second.
double ratePerSecond(unsigned threads, const std::function<double(unsigned)> &body) {
  const std::vector<int> cpus = allowedCpus();
  std::barrier start(threads);
  std::vector<double> rates(threads);
  std::vector<std::thread> workers;
  for (unsigned thread = 0; thread < threads; ++thread)
    workers.emplace_back([&, thread] {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cpus[thread % cpus.size()], &set);
      pthread_setaffinity_np(pthread_self(), sizeof set, &set);
      body(thread); // warms up
      start.arrive_and_wait();
      const Clock::time_point begin = Clock::now();
      double operations = 0, seconds = 0;
      do {
        operations += body(thread);
        seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      } while (seconds < kSeconds);
      rates[thread] = operations / seconds;
    });
  double sum = 0;
  for (unsigned thread = 0; thread < threads; ++thread) {
    workers[thread].join();
    sum += rates[thread];
  }
  return sum;
}

/// A buffer of zeros, bytes [size], mapped once and never freed.
class StreamBuffer {
public:
  explicit StreamBuffer(size_t bytes) : bytes_(bytes) {}

  double ratePerSecond(unsigned threads) {
    if (data_ == nullptr && !map())
      return 0;
    const size_t part = bytes_ / threads / 256 * 256;
    return ::ratePerSecond(threads, [&](unsigned thread) {
      return readAll(data_ + thread * part, data_ + (thread + 1) * part);
    });
  }

private:
  bool map() {
    void *data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
      return false;
    madvise(data, bytes_, MADV_HUGEPAGE); // a wish: the measurement holds either way
    data_ = static_cast<char *>(data);
    std::memset(data, 1, bytes_); // otherwise every page is the one page of zeros
    return true;
  }

  size_t bytes_;
  char *data_ = nullptr;
};

size_t defaultBytes() {
  // Not sysconf(): it reports eight times the size on some virtual machines.
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size"); // "32768K"
  size_t kilobytes = 0;
  file >> kilobytes;
  return std::max<size_t>(size_t{256} << 20, 4 * (kilobytes << 10));
}

template <typename Number> bool parse(const char *text, Number &value) {
  auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  return error == std::errc() && *end == '\0' && value > 0;
}

} // namespace

int main(int argc, char **argv) {
  unsigned threads = 1;
  size_t bytes = defaultBytes();
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    const bool good = i + 1 < argc && ((option == "--threads" && parse(argv[i + 1], threads)) ||
                                       (option == "--bytes" && parse(argv[i + 1], bytes)));
    if (!good) {
      std::fprintf(stderr, "usage: platen_limits [--threads N] [--bytes N]   (measurements on "
                           "stdin, see its source)\n");
      return 2;
    }
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::cout
        << R"({"error":"this CPU has no AVX2 and FMA, which the measurements are written in"})"
        << std::endl;
    return 1;
  }
  std::cout << R"({"engine":"limits","stream_bytes":)" << bytes << "}" << std::endl;
  StreamBuffer buffer(bytes);
  for (std::string line; std::getline(std::cin, line);) {
    Kernel kernel{{}, "vmovdqa ymm"};
    double rate = 0;
    if (line == "stream")
      rate = buffer.ratePerSecond(threads);
    else if (arithmeticKernel(line, kernel))
      rate = ratePerSecond(threads, [&](unsigned) { return kernel.run(); });
    if (rate > 0)
      std::cout << R"({"per_second":)" << rate << R"(,"code":")" << kernel.code << "\"}"
                << std::endl;
    else
      std::cout << R"({"error":"no measurement ')" << line.substr(0, 20)
                << R"(' (or no memory for it); send stream, f32, bf16, i8 or i4"})" << std::endl;
  }
  return 0;
}
