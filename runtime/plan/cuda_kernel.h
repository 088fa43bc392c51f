// How a CUDA kernel of a plan is launched, and the kernel ABI that it is launched by.
//
// An entry's parameters are pointers, 8 bytes each, in this order:
//   1. the step: a PlatenStep (kernel_abi.h) in device memory, whose pointers are device pointers
//   2. the launch's operands
//   3. the workspace, if the kernel's scratch_bytes are not 0: 256-byte aligned, contents
//   unspecified
//      before and after
//   4. one CUtensorMap in device memory for each tensor map of the kernel, 64-byte aligned
// A kernel's phases are launched in order, each with all of these. A phase's grid may be counted
// with larger extents than the step's: blocks beyond the actual sizes, which they read from the
// step, return at once. So a captured launch stays valid while the step's contents change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/plan/extent.h"

namespace platen::plan {

inline constexpr uint32_t kCudaAbiVersion = 1;
inline constexpr uint32_t kMaxPhases = 16;
inline constexpr uint32_t kMaxTensorMaps = 16;

/// One grid of blocks. Validated for every step within the plan's limits: the grid fits CUDA's
/// limits and whole clusters.
struct Phase {
  std::string entry;            ///< symbol in the kernel's image; validated: not empty
  Units grid_x, grid_y, grid_z; ///< blocks
  uint32_t threads = 0;         ///< of a block, all in x; validated: 1 to 1024
  /// Blocks of a cluster; all 1: no cluster. Validated: product at most 16, each divides the
  /// `times` of its grid dimension.
  uint32_t cluster_x = 1, cluster_y = 1, cluster_z = 1;
  uint32_t dynamic_shared_bytes = 0; ///< validated: at most 227 KiB
  bool operator==(const Phase &) const = default;

  bool hasCluster() const { return cluster_x != 1 || cluster_y != 1 || cluster_z != 1; }
};

enum class TensorElement : uint8_t { kU8 = 0, kU16 = 1, kU32 = 2, kF16 = 3, kF32 = 4, kBF16 = 5 };
enum class TensorSwizzle : uint8_t { kNone = 0, k32B = 1, k64B = 2, k128B = 3 };

constexpr uint32_t elementBytes(TensorElement element) {
  switch (element) {
  case TensorElement::kU8:
    return 1;
  case TensorElement::kU16:
  case TensorElement::kF16:
  case TensorElement::kBF16:
    return 2;
  case TensorElement::kU32:
  case TensorElement::kF32:
    return 4;
  }
  return 0;
}

struct TensorDimension {
  uint64_t size = 0;         ///< elements; 0 (the last alone): as many as the operand's bytes hold
  uint64_t stride_bytes = 0; ///< multiple of 16; of the first dimension: the element's bytes
  uint32_t box = 0;          ///< elements that one copy takes
  bool operator==(const TensorDimension &) const = default;
};

/// A tensor that the copy engine walks: what cuTensorMapEncodeTiled is given once the operand's
/// address is known. No interleave, element strides 1, what lies outside reads as zeros. Validated
/// against that function's documented limits and the size of the operand.
struct TensorMap {
  static constexpr uint32_t kWorkspace = UINT32_MAX;
  uint32_t operand = 0;      ///< index into the launch's operands, or kWorkspace
  uint64_t offset_bytes = 0; ///< of the tensor in the operand, multiple of 16
  TensorElement element = TensorElement::kU8;
  TensorSwizzle swizzle = TensorSwizzle::kNone;
  std::vector<TensorDimension> dimensions; ///< 1 to 5, the contiguous one first
  bool operator==(const TensorMap &) const = default;
};

/// The map's dimensions with the last one's size filled in, for an operand of `operand_bytes`.
/// Errors: kCorrupt if the tensor does not lie inside the operand. The numbers may be anything.
base::Result<std::vector<TensorDimension>> resolveDimensions(const TensorMap &map,
                                                             uint64_t operand_bytes);

/// "sm_90a": the architecture whose code a target's images hold; "compute_80": whose PTX.
struct CudaArchitecture {
  bool is_ptx = false;     ///< to be compiled by the driver
  uint32_t capability = 0; ///< 10 * major + minor
  char suffix = 0;         ///< 0, 'a' (that device alone) or 'f' (its family)

  /// Whether a device of that compute capability (10 * major + minor) runs it. Machine code runs on
  /// its own minor version and later ones of its major version, as does PTX with 'f'; other PTX on
  /// later major versions too; what has the suffix 'a' nowhere else.
  bool runsOn(uint32_t device) const;
};
std::optional<CudaArchitecture> parseCudaArchitecture(std::string_view text);

/// What stands behind the claim that a kernel computes what it should on its target.
enum class Proof : uint8_t {
  kUnverified = 0, ///< compiled
  kSimulated = 1,  ///< its image gave what the host's kernel gives, on a simulated device
  kMeasured = 2,   ///< and on a device of the target, where it was timed
};

struct CudaKernel {
  std::vector<Phase> phases;          ///< validated: 1 to kMaxPhases
  std::vector<TensorMap> tensor_maps; ///< validated: at most kMaxTensorMaps
  std::string operation;              ///< "matmul", "paged_attention", …
  std::string tile;                   ///< "decode8x4s2"
  std::string family;                 ///< "sm80": whose template it is
  bool is_fallback = false;           ///< the target has no family of its own for the operation
  /// By the compiler's cost model, never measured; 0: no prediction. Validated: finite, not
  /// negative.
  double predicted_ns = 0;
  Proof proof = Proof::kUnverified;
  double measured_ns = 0; ///< 0: never measured; validated: 0 unless proof is kMeasured
  bool operator==(const CudaKernel &) const = default;
};

} // namespace platen::plan
