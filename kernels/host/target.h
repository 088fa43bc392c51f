// CPUs that host kernels are compiled for. A plan carries the same kernels once a target; the
// runtime takes the first target (best first) whose features the CPU has all.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace platen::kernels {

struct HostTarget {
  std::string_view name;                      ///< as CodeTarget.name of the manifest
  std::span<const std::string_view> features; ///< LLVM feature names, all required of the CPU
  unsigned vectorBits = 256;                  ///< preferred register width
  bool vnni = false;                          ///< vpdpbusd on 512 bits
  bool bf16 = false;                          ///< vdpbf16ps on 512 bits
  /// Tests only: keep the 512-bit code, but spell vpdpbusd and vdpbf16ps in generic vector
  /// arithmetic, so that a CPU without AVX-512 can execute it.
  bool emulate = false;
};

inline constexpr std::array<std::string_view, 14> kAvx2Features = {
    "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16",  "avx",
    "avx2", "fma",   "f16c",   "bmi",    "bmi2",   "lzcnt", "movbe"};
inline constexpr std::array<std::string_view, 20> kAvx512Features = {
    "sse3",    "ssse3",    "sse4.1",   "sse4.2",   "popcnt",     "cx16",      "avx",
    "avx2",    "fma",      "f16c",     "bmi",      "bmi2",       "lzcnt",     "movbe",
    "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512bf16"};

inline constexpr HostTarget kAvx2Target = {"x86-64-avx2", kAvx2Features, 256};
inline constexpr HostTarget kAvx512Target = {"x86-64-avx512", kAvx512Features, 512, true, true};
/// The AVX-512 kernels in a form that AVX2 executes.
inline constexpr HostTarget kAvx512OnAvx2Target = {
    "x86-64-avx512-on-avx2", kAvx2Features, 512, true, true, true};

/// Targets a plan is compiled for, best first.
inline constexpr std::array<HostTarget, 2> kHostTargets = {kAvx512Target, kAvx2Target};

} // namespace platen::kernels
