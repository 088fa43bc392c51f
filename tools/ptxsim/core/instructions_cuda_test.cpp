// Code that nobody here wrote: CUDA's own mathematics, integer intrinsics, half and 8-bit types,
// compiled to PTX by nvcc when the test runs, executed by the simulator and compared with the host.
//
// Errors allowed are the ones that the CUDA C++ Programming Guide documents for each function.
#include "tools/ptxsim/core/instructions_exact.h"
#include "tools/ptxsim/core/simulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

namespace platen::ptxsim::testing {
namespace {

constexpr const char *kProgram = R"cuda(
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#define STORE for (int k = 0; k < int(sizeof r / sizeof *r); ++k) out[k * n + i] = r[k]
extern "C" {
__global__ void singles(const float *x, const float *y, float *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float a = x[i], b = y[i], p = fabsf(a);
  float r[] = {expf(a), logf(p), sinf(a), cosf(a), powf(p, b), erff(a), tanhf(a), fmodf(a, b),
               rsqrtf(p), exp2f(a), log2f(p), log1pf(p), expm1f(a), cbrtf(a), atan2f(a, b), sinhf(a),
               a / b, sqrtf(p), hypotf(a, b), rintf(a), fmaxf(a, b), remainderf(a, b), erfcf(a),
               truncf(a), a * b + 1.0f};
  STORE;
}
__global__ void doubles(const double *x, const double *y, double *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  double a = x[i], b = y[i], p = fabs(a);
  double r[] = {exp(a), log(p), sin(a), cos(a), pow(p, b), erf(a), tanh(a), fmod(a, b), rsqrt(p),
                exp2(a), a / b, sqrt(p), cbrt(a), atan2(a, b)};
  STORE;
}
typedef unsigned u;
typedef unsigned long long ull;
__global__ void integers(const u *x, const u *y, u *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  u a = x[i], b = y[i];
  ull w = (ull)a << 32 | b;
  u r[] = {__byte_perm(a, b, 0x5140), __funnelshift_l(a, b, b), __funnelshift_r(a, b, b),
           __funnelshift_lc(a, b, b), __brev(a), u(__popc(a)), u(__clz(a)), u(__ffs(a)),
           u(__dp4a(int(a), int(b), 7)), __dp4a(a, b, 7u), __vadd4(a, b), __vmaxs2(a, b),
           __vsub2(a, b), __vcmpgtu4(a, b), __umulhi(a, b), u(__mulhi(int(a), int(b))), a / (b | 1),
           a % (b | 1), u(int(a) / int(b | 1)), u(w / (b | 1)), u(w % (a | 1)), u(__brevll(w)),
           u(__mul24(int(a), int(b))), u(__sad(int(a), int(b), 3)), u(__hadd(int(a), int(b))),
           u(__popcll(w)), u(__umul64hi(w, ~w))};
  STORE;
}
__global__ void halves(const float *x, const float *y, u *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float a = x[i], b = y[i];
  __half2 p = __floats2half2_rn(a, b), q = __floats2half2_rn(b, a);
  __nv_bfloat162 s = __floats2bfloat162_rn(a, b), t = __floats2bfloat162_rn(b, a);
  auto h = [](__half2 v) { return *(u *)&v; };
  auto g = [](__nv_bfloat162 v) { return *(u *)&v; };
  u r[] = {h(p), h(__hadd2(p, q)), h(__hmul2(p, q)), h(__hfma2(p, q, p)), h(__hmax2(p, q)), g(s),
           g(__hadd2(s, t)), g(__hmul2(s, t)), g(__hfma2(s, t, s)), g(__hmin2(s, t)),
           u(__half2int_rn(__low2half(p))), u(__hlt(__low2half(p), __high2half(p))),
           u(__nv_cvt_float_to_fp8(a, __NV_SATFINITE, __NV_E4M3)),
           u(__nv_cvt_float_to_fp8(a, __NV_SATFINITE, __NV_E5M2)),
           u(__nv_cvt_fp8_to_halfraw(
                 __nv_cvt_float_to_fp8(b, __NV_SATFINITE, __NV_E4M3), __NV_E4M3).x)};
  STORE;
}
}
)cuda";
constexpr const char *kCompiler = "/usr/local/cuda/bin/nvcc";
constexpr size_t kCount = 4096;

/// PTX of the program for an architecture; empty where nvcc fails.
std::string compile(const std::string &architecture) {
  auto folder = std::filesystem::temp_directory_path() /
                ("ptxsim_cuda_" + std::to_string(std::random_device()()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "program.cu") << kProgram;
  std::string command = std::string(kCompiler) + " -ptx -arch=" + architecture + " -o " +
                        (folder / "program.ptx").string() + " " + (folder / "program.cu").string() +
                        " > " + (folder / "log").string() + " 2>&1";
  int code = std::system(command.c_str());
  std::ifstream in(folder / (code == 0 ? "program.ptx" : "log"));
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(code, 0) << text;
  std::filesystem::remove_all(folder);
  return code == 0 ? text : std::string();
}

/// out[k][n] of one kernel, with `results` rows.
template <class In, class Out>
std::vector<std::vector<Out>> execute(const std::shared_ptr<const Module> &module,
                                      const std::string &kernel, const std::vector<In> &x,
                                      const std::vector<In> &y, size_t results) {
  std::vector<std::vector<Out>> rows(results, std::vector<Out>(x.size()));
  const KernelInfo *info = module->kernel(kernel);
  if (!info) {
    ADD_FAILURE() << "no kernel " << kernel;
    return rows;
  }
  for (const Refusal &refusal : info->refusals)
    ADD_FAILURE() << kernel << ": " << refusal.toString();
  if (!info->refusals.empty())
    return rows;
  Memory memory;
  auto loaded = LoadedModule::load(module, memory, 0);
  size_t in = x.size() * sizeof(In), out = x.size() * sizeof(Out);
  uint64_t a = *memory.allocate(in, 0), b = *memory.allocate(in, 0),
           c = *memory.allocate(out * results, 0);
  EXPECT_TRUE(memory.write(a, x.data(), in).isOk() && memory.write(b, y.data(), in).isOk());
  struct {
    uint64_t x, y, out;
    int32_t n;
  } parameters{a, b, c, static_cast<int32_t>(x.size())};
  Launch launch;
  launch.kernel = kernel;
  launch.grid.x = static_cast<uint32_t>(x.size() / 128), launch.block.x = 128;
  launch.parameters = std::span(reinterpret_cast<const std::byte *>(&parameters), 28);
  auto report = run(**loaded, memory, launch, {});
  EXPECT_TRUE(report.isOk()) << report.status().toString();
  if (report.isOk() && report->violation)
    ADD_FAILURE() << report->violation->toString();
  for (size_t k = 0; k < results; ++k)
    EXPECT_TRUE(memory.read(c + k * out, rows[k].data(), out).isOk());
  return rows;
}

/// Ordinary magnitudes, a few large and small ones, and the special values.
template <class T> std::vector<T> numbers(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> near(-8, 8), exponent(-40, 40);
  std::vector<T> values{0,
                        static_cast<T>(-0.0),
                        1,
                        -1,
                        std::numeric_limits<T>::infinity(),
                        -std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::quiet_NaN(),
                        std::numeric_limits<T>::denorm_min(),
                        std::numeric_limits<T>::max(),
                        std::numeric_limits<T>::min()};
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < kCount)
    values.push_back(static_cast<T>(
        values.size() % 8 ? near(random)
                          : std::copysign(std::exp2(exponent(random)), near(random))));
  return values;
}

template <class T> double unitsApart(T wanted, T got) {
  if (wanted != wanted || got != got)
    return wanted != wanted && got != got ? 0 : HUGE_VAL;
  if (wanted == got)
    return 0;
  if (std::isinf(wanted) || std::isinf(got)) // one step beyond the largest value is one unit
    wanted = std::isinf(wanted) ? std::copysign(std::numeric_limits<T>::max(), wanted) : wanted,
    got = std::isinf(got) ? std::copysign(std::numeric_limits<T>::max(), got) : got;
  int exponent = 0;
  std::frexp(std::max(std::fabs(wanted), std::numeric_limits<T>::min()), &exponent);
  double unit = std::ldexp(1.0, exponent - std::numeric_limits<T>::digits);
  if (unit == 0)
    unit = std::numeric_limits<double>::denorm_min();
  return std::fabs(static_cast<double>(wanted - got)) / unit;
}

struct Function {
  const char *name;
  double units;
  std::function<long double(long double, long double)> reference;
};
#define REFERENCE(expression)                                                                      \
  [](long double a, long double b) -> long double {                                                \
    (void)a, (void)b;                                                                              \
    return expression;                                                                             \
  }
const std::vector<Function> kSingles{{"expf", 1, REFERENCE(expl(a))},
                                     {"logf", 1, REFERENCE(logl(fabsl(a)))},
                                     {"sinf", 2, REFERENCE(sinl(a))},
                                     {"cosf", 2, REFERENCE(cosl(a))},
                                     {"powf", 4, REFERENCE(powl(fabsl(a), b))},
                                     {"erff", 2, REFERENCE(erfl(a))},
                                     {"tanhf", 2, REFERENCE(tanhl(a))},
                                     {"fmodf", 0, REFERENCE(fmodl(a, b))},
                                     {"rsqrtf", 2, REFERENCE(1 / sqrtl(fabsl(a)))},
                                     {"exp2f", 2, REFERENCE(exp2l(a))},
                                     {"log2f", 1, REFERENCE(log2l(fabsl(a)))},
                                     {"log1pf", 1, REFERENCE(log1pl(fabsl(a)))},
                                     {"expm1f", 1, REFERENCE(expm1l(a))},
                                     {"cbrtf", 1, REFERENCE(cbrtl(a))},
                                     {"atan2f", 3, REFERENCE(atan2l(a, b))},
                                     {"sinhf", 3, REFERENCE(sinhl(a))},
                                     {"a / b", 0, REFERENCE(a / b)},
                                     {"sqrtf", 0, REFERENCE(sqrtl(fabsl(a)))},
                                     {"hypotf", 3, REFERENCE(hypotl(a, b))},
                                     {"rintf", 0, REFERENCE(rintl(a))},
                                     {"fmaxf", 0, REFERENCE(fmaxl(a, b))},
                                     {"remainderf", 0, REFERENCE(remainderl(a, b))},
                                     {"erfcf", 4, REFERENCE(erfcl(a))},
                                     {"truncf", 0, REFERENCE(truncl(a))},
                                     {"a * b + 1", 0, REFERENCE(fmal(a, b, 1))}};
const std::vector<Function> kDoubles{{"exp", 1, REFERENCE(expl(a))},
                                     {"log", 1, REFERENCE(logl(fabsl(a)))},
                                     {"sin", 2, REFERENCE(sinl(a))},
                                     {"cos", 2, REFERENCE(cosl(a))},
                                     {"pow", 2, REFERENCE(powl(fabsl(a), b))},
                                     {"erf", 2, REFERENCE(erfl(a))},
                                     {"tanh", 1, REFERENCE(tanhl(a))},
                                     {"fmod", 0, REFERENCE(fmodl(a, b))},
                                     {"rsqrt", 1, REFERENCE(1 / sqrtl(fabsl(a)))},
                                     {"exp2", 1, REFERENCE(exp2l(a))},
                                     {"a / b", 0,
                                      [](long double a, long double b) -> long double {
                                        return static_cast<double>(a) / static_cast<double>(b);
                                      }},
                                     {"sqrt", 0,
                                      [](long double a, long double) -> long double {
                                        return std::sqrt(std::fabs(static_cast<double>(a)));
                                      }},
                                     {"cbrt", 1, REFERENCE(cbrtl(a))},
                                     {"atan2", 2, REFERENCE(atan2l(a, b))}};
#undef REFERENCE

template <class T>
void checkFunctions(const std::shared_ptr<const Module> &module, const char *kernel,
                    const std::vector<Function> &functions) {
  std::vector<T> x = numbers<T>(1), y = numbers<T>(2);
  auto rows = execute<T, T>(module, kernel, x, y, functions.size());
  for (size_t k = 0; k < functions.size(); ++k) {
    double worst = 0;
    size_t shown = 0;
    for (size_t n = 0; n < x.size(); ++n) {
      T wanted = static_cast<T>(functions[k].reference(x[n], y[n]));
      double units = unitsApart(wanted, rows[k][n]);
      worst = std::max(worst, units);
      if (units > functions[k].units && shown++ < 3)
        ADD_FAILURE() << functions[k].name << " of " << x[n] << ", " << y[n] << ": wanted "
                      << wanted << ", got " << rows[k][n] << ", " << units << " units apart";
    }
    std::printf("%-12s %5.2f of %g units\n", functions[k].name, worst, functions[k].units);
  }
}

using Word = std::function<uint32_t(uint32_t, uint32_t)>;
uint32_t bytewise(uint32_t a, uint32_t b, const std::function<uint32_t(uint32_t, uint32_t)> &f) {
  uint32_t result = 0;
  for (int n = 0; n < 32; n += 8)
    result |= (f(a >> n & 0xFF, b >> n & 0xFF) & 0xFF) << n;
  return result;
}
uint32_t reversed(uint32_t a) {
  uint32_t result = 0;
  for (int n = 0; n < 32; ++n)
    result |= (a >> n & 1) << (31 - n);
  return result;
}
int32_t asSigned(uint32_t v) { return static_cast<int32_t>(v); }
uint64_t joined(uint32_t a, uint32_t b) { return uint64_t{a} << 32 | b; }
std::vector<Word> integerReferences() {
  using U = uint32_t;
  auto low24 = [](U v) { return int64_t{asSigned(v << 8) >> 8}; };
  return {
      [](U a, U b) {
        return (a & 0xFF) | (b & 0xFF) << 8 | (a >> 8 & 0xFF) << 16 | (b >> 8 & 0xFF) << 24;
      },
      [](U a, U b) { return static_cast<U>(joined(b, a) << (b & 31) >> 32); },
      [](U a, U b) { return static_cast<U>(joined(b, a) >> (b & 31)); },
      [](U a, U b) { return b >= 32 ? a : static_cast<U>(joined(b, a) << b >> 32); },
      [](U a, U) { return reversed(a); },
      [](U a, U) { return static_cast<U>(__builtin_popcount(a)); },
      [](U a, U) { return a ? static_cast<U>(__builtin_clz(a)) : 32; },
      [](U a, U) { return static_cast<U>(__builtin_ffs(asSigned(a))); },
      [](U a, U b) {
        int32_t sum = 7;
        for (int n = 0; n < 32; n += 8)
          sum += static_cast<int8_t>(a >> n) * static_cast<int8_t>(b >> n);
        return static_cast<U>(sum);
      },
      [](U a, U b) {
        U sum = 7;
        for (int n = 0; n < 32; n += 8)
          sum += (a >> n & 0xFF) * (b >> n & 0xFF);
        return sum;
      },
      [](U a, U b) { return bytewise(a, b, [](U x, U y) { return x + y; }); },
      [](U a, U b) {
        auto most = [](U x, U y) {
          return static_cast<uint16_t>(std::max(static_cast<int16_t>(x), static_cast<int16_t>(y)));
        };
        return U{most(a, b)} | U{most(a >> 16, b >> 16)} << 16;
      },
      [](U a, U b) { return ((a - b) & 0xFFFF) | ((a >> 16) - (b >> 16)) << 16; },
      [](U a, U b) { return bytewise(a, b, [](U x, U y) { return x > y ? 0xFF : 0; }); },
      [](U a, U b) { return static_cast<U>(uint64_t{a} * b >> 32); },
      [](U a, U b) { return static_cast<U>(int64_t{asSigned(a)} * asSigned(b) >> 32); },
      [](U a, U b) { return a / (b | 1); },
      [](U a, U b) { return a % (b | 1); },
      [](U a, U b) { return static_cast<U>(int64_t{asSigned(a)} / asSigned(b | 1)); },
      [](U a, U b) { return static_cast<U>(joined(a, b) / (b | 1)); },
      [](U a, U b) { return static_cast<U>(joined(a, b) % (a | 1)); },
      [](U a, U) { return reversed(a); },
      [=](U a, U b) { return static_cast<U>(low24(a) * low24(b)); },
      [](U a, U b) { return static_cast<U>(std::abs(int64_t{asSigned(a)} - asSigned(b))) + 3; },
      [](U a, U b) { return static_cast<U>((int64_t{asSigned(a)} + asSigned(b)) >> 1); },
      [](U a, U b) { return static_cast<U>(__builtin_popcountll(joined(a, b))); },
      [](U a, U b) {
        return static_cast<U>(static_cast<uint64_t>(
            static_cast<unsigned __int128>(joined(a, b)) * ~joined(a, b) >> 64));
      },
  };
}

/// Both halves of pairs made of (a, b) and (b, a), by f on exact numbers.
using Pairwise = std::function<uint64_t(uint64_t, uint64_t)>;
std::function<uint32_t(float, float)> pairs(const Binary &format, const Pairwise &f) {
  return [=](float a, float b) {
    uint64_t x = pack(unpack(std::bit_cast<uint32_t>(a), kBinary32), format);
    uint64_t y = pack(unpack(std::bit_cast<uint32_t>(b), kBinary32), format);
    return static_cast<uint32_t>(f(x, y) | f(y, x) << 16);
  };
}
std::vector<std::function<uint32_t(float, float)>> halfReferences() {
  std::vector<std::function<uint32_t(float, float)>> rows;
  for (const Binary &f : {kBinary16, kBfloat16}) {
    auto exact = [f](uint64_t v) { return unpack(v, f); };
    bool isF16 = f.mantissaBits == 10;
    rows.push_back(pairs(f, [](uint64_t x, uint64_t) { return x; }));
    rows.push_back(
        pairs(f, [=](uint64_t x, uint64_t y) { return pack(sum(exact(x), exact(y)), f); }));
    rows.push_back(
        pairs(f, [=](uint64_t x, uint64_t y) { return pack(product(exact(x), exact(y)), f); }));
    rows.push_back(pairs(f, [=](uint64_t x, uint64_t y) {
      return pack(sum(product(exact(x), exact(y)), exact(x)), f);
    }));
    rows.push_back(pairs(f, [=](uint64_t x, uint64_t y) {
      bool p = exact(x).isNan, q = exact(y).isNan;
      if (p || q)
        return p && q ? f.nan : p ? y : x;
      auto key = [](uint64_t v) {
        return v & 0x8000 ? -1 - static_cast<int64_t>(v & 0x7FFF) : static_cast<int64_t>(v);
      };
      return (key(x) > key(y)) == isF16 ? x : y;
    }));
  }
  auto asHalf = [](float v) {
    return pack(unpack(std::bit_cast<uint32_t>(v), kBinary32), kBinary16);
  };
  auto value = [](uint64_t half) {
    Exact e = unpack(half, kBinary16);
    double magnitude = e.isNan ? NAN
                       : e.isInfinite
                           ? HUGE_VAL
                           : std::ldexp(static_cast<double>(e.magnitude.word[0]), e.exponent);
    return e.negative ? -magnitude : magnitude;
  };
  rows.push_back([=](float a, float) {
    double v = value(asHalf(a));
    int32_t i = v != v          ? 0
                : std::isinf(v) ? (v < 0 ? INT32_MIN : INT32_MAX)
                                : static_cast<int32_t>(std::nearbyint(v));
    return static_cast<uint32_t>(i);
  });
  rows.push_back([=](float a, float b) { return uint32_t{value(asHalf(a)) < value(asHalf(b))}; });
  for (const Binary &f : {kE4M3, kE5M2})
    rows.push_back([f](float a, float) {
      return static_cast<uint32_t>(
          pack(unpack(std::bit_cast<uint32_t>(a), kBinary32), f, Round::kNearest, true));
    });
  rows.push_back([](float, float b) {
    uint64_t byte =
        pack(unpack(std::bit_cast<uint32_t>(b), kBinary32), kE4M3, Round::kNearest, true);
    return static_cast<uint32_t>(pack(unpack(byte, kE4M3), kBinary16));
  });
  return rows;
}

template <class In, class References>
void checkWords(const std::shared_ptr<const Module> &module, const char *kernel,
                const std::vector<In> &x, const std::vector<In> &y, const References &references) {
  auto rows = execute<In, uint32_t>(module, kernel, x, y, references.size());
  for (size_t k = 0; k < references.size(); ++k) {
    size_t shown = 0;
    for (size_t n = 0; n < x.size() && shown < 3; ++n)
      if (uint32_t wanted = references[k](x[n], y[n]); wanted != rows[k][n]) {
        ADD_FAILURE() << kernel << " row " << k << " of " << x[n] << ", " << y[n] << ": wanted "
                      << std::hex << wanted << ", got " << rows[k][n] << std::dec;
        ++shown;
      }
  }
}

TEST(Instructions, CudaProgramsComputeWhatTheHostDoes) {
  if (!std::filesystem::exists(kCompiler))
    GTEST_SKIP() << "no nvcc";
  std::vector<uint32_t> words(kCount), others(kCount);
  std::mt19937_64 random(3);
  for (size_t n = 0; n < kCount; ++n) {
    words[n] = static_cast<uint32_t>(random()) >> (n % 3 * 8);
    others[n] = static_cast<uint32_t>(random()) >> (n % 5 * 6);
  }
  for (const char *architecture : {"sm_80", "sm_100a"}) {
    SCOPED_TRACE(architecture);
    std::string text = compile(architecture);
    if (text.empty())
      continue;
    auto module = Module::parse(text);
    ASSERT_TRUE(module.isOk()) << module.status().toString();
    checkFunctions<float>(*module, "singles", kSingles);
    checkFunctions<double>(*module, "doubles", kDoubles);
    checkWords(*module, "integers", words, others, integerReferences());
    checkWords(*module, "halves", numbers<float>(4), numbers<float>(5), halfReferences());
  }
}

} // namespace
} // namespace platen::ptxsim::testing
