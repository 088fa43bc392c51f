// The architectures that CUDA code is made for, and who may run what.
//
// A plan carries a cubin for each architecture asked for and PTX as fallback for devices that none
// of them fits. Numbers are a typical board's, from NVIDIA's public data sheets; they feed
// predictions only (cost.h), correctness needs the two limits of shared memory alone.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace platen::kernels {

struct CudaArchitecture {
  std::string_view name;         ///< what NVRTC is asked for: "sm_80", "sm_90a", "compute_80"
  uint32_t major = 0, minor = 0; ///< compute capability
  bool isPtx = false;            ///< a virtual architecture: PTX only, no cubin
  uint32_t sharedPerBlock = 0;   ///< bytes a block may use at most (opt-in)
  uint32_t sharedPerSm = 0;      ///< bytes of a multiprocessor
  uint32_t threadsPerSm = 0;
  uint32_t multiprocessors = 0;
  double bytesPerNs = 0;     ///< of device memory
  double bf16FlopsPerNs = 0; ///< dense tensor-core rate
};

inline constexpr std::array<CudaArchitecture, 9> kCudaArchitectures = {{
    {"sm_80", 8, 0, false, 163 << 10, 164 << 10, 2048, 108, 1555, 312e3},
    {"sm_86", 8, 6, false, 99 << 10, 100 << 10, 1536, 84, 768, 71e3},
    {"sm_89", 8, 9, false, 99 << 10, 100 << 10, 1536, 142, 864, 181e3},
    {"sm_90a", 9, 0, false, 227 << 10, 228 << 10, 2048, 132, 3350, 989e3},
    {"sm_100f", 10, 0, false, 227 << 10, 228 << 10, 2048, 148, 8000, 2250e3},
    {"sm_110f", 11, 0, false, 227 << 10, 228 << 10, 1536, 20, 273, 250e3},
    {"sm_120f", 12, 0, false, 99 << 10, 100 << 10, 1536, 170, 1792, 209e3},
    {"compute_80", 8, 0, true, 99 << 10, 100 << 10, 1536, 108, 1555, 312e3},
    {"compute_90", 9, 0, true, 99 << 10, 100 << 10, 1536, 132, 3350, 989e3},
}};

/// The architecture called `name`, or nullptr.
constexpr const CudaArchitecture *findCudaArchitecture(std::string_view name) {
  for (const CudaArchitecture &architecture : kCudaArchitectures)
    if (architecture.name == name)
      return &architecture;
  return nullptr;
}

/// A family of kernels: one template, written for the features of one architecture. An architecture
/// without an own family of an operation takes the newest older one; descriptions say which.
struct CudaFamily {
  std::string_view operation; ///< "matmul", "paged_attention", …
  std::string_view target;    ///< the third part of a kernel's name: "sm80"
  uint32_t major = 8;         ///< the oldest architecture that can run it
  uint32_t minor = 0;
  /// Uses instructions that only the machine code of this major version knows (the a and f
  /// variants).
  bool isSpecific = false;

  constexpr bool runsOn(const CudaArchitecture &architecture) const {
    if (isSpecific)
      return !architecture.isPtx && architecture.major == major && architecture.minor >= minor;
    return architecture.major > major ||
           (architecture.major == major && architecture.minor >= minor);
  }
  constexpr bool operator<(const CudaFamily &other) const {
    return major != other.major ? major < other.major : minor < other.minor;
  }
};
inline constexpr std::array kCudaFamilies = {
    CudaFamily{"matmul", "sm80", 8, 0},
    CudaFamily{"paged_attention", "sm80", 8, 0},
    CudaFamily{"row_program", "sm80", 8, 0},
    CudaFamily{"qkv_finish", "sm80", 8, 0},
    CudaFamily{"embed", "sm80", 8, 0},
    CudaFamily{"quantize_rows", "sm80", 8, 0},
    CudaFamily{"select_rows", "sm80", 8, 0},
    CudaFamily{"sample", "sm80", 8, 0},
    CudaFamily{"matmul", "sm89", 8, 9},
    CudaFamily{"matmul", "sm90a", 9, 0, true},
    CudaFamily{"paged_attention", "sm90a", 9, 0, true},
    CudaFamily{"matmul", "sm100f", 10, 0, true},
    CudaFamily{"matmul", "sm100f", 11, 0, true},
    CudaFamily{"matmul", "sm120f", 12, 0, true},
};

/// The newest family of the operation that the architecture can run and that is older than `before`
/// (a family need not take every request), or nullptr.
constexpr const CudaFamily *findCudaFamily(std::string_view operation,
                                           const CudaArchitecture &architecture,
                                           const CudaFamily *before = nullptr) {
  const CudaFamily *best = nullptr;
  for (const CudaFamily &family : kCudaFamilies)
    if (family.operation == operation && family.runsOn(architecture) &&
        (before == nullptr || family < *before) && (best == nullptr || *best < family))
      best = &family;
  return best;
}

} // namespace platen::kernels
