// Requests as CUDA kernels: source text, launch geometry, candidates. The one header of this room
// that compiler and runtime need, beside abi.h (what a launch passes) and architectures.h.
//
// From a request to a launch:
//   cudaCandidates(request, architecture, limits) -> CudaKernelInfo…, grouped by maxExtent
//   ascending,
//     in each group the best predicted first; a plan keeps the first few of each group
//   compiler/emit/cuda compiles info.source for an architecture -> PTX, cubin, resources
//   the runtime takes, of a launch's variants, the first whose maxExtent >= the step's extent, and
//     launches info.phases in order, each with the parameters of abi.h
// Every candidate of a request is correct for every extent up to its maxExtent and all of them give
// the same bits on one architecture: how sums are grouped depends on the request alone.
//
// Activations are f32 in memory, as on the host: buffers, arena and operands of a launch are the
// same on every target, so that one plan serves host and devices and weights are stored once (the
// panels of packing.h are laid out as mma.sync wants its operand). Matmul and attention round
// activations to bf16 when they load them (nearest even); q8/q4 matmuls read the host's
// QuantizedRow panels and give the host's group sums exactly. f32 weights are multiplied in f32.
#pragma once

#include "kernels/cuda/architectures.h"
#include "kernels/request.h"

#include <string>
#include <variant>
#include <vector>

namespace platen::kernels {

/// tokens[r] = a token drawn from logits [R, V]. Operands: logits [R, V], PlatenCudaSampling [R],
/// tokens i32 [R]. Semantics: runtime/decode/sampler.h without penalties; abi.h names the fields.
struct SampleSpec {
  uint64_t vocabulary = 0;
  bool operator==(const SampleSpec &) const = default;
};

using CudaKernelSpec =
    std::variant<MatmulSpec, QuantizeRowsSpec, RowProgramSpec, EmbedSpec, QkvFinishSpec,
                 PagedAttentionSpec, SelectRowsSpec, LoopSpec, SampleSpec>;
CudaKernelSpec cudaSpec(const KernelSpec &spec);

/// Limits of the plan that kernels are sized for.
struct CudaLimits {
  uint64_t contextTokens = 4096; ///< positions a sequence may have
  uint64_t stepExtent = 4096;    ///< tokens or rows that one step has at most: sizes workspaces
};

/// times * ceil(extent / per) blocks; extent kOne counts 1.
struct CudaGridDimension {
  Extent extent = Extent::kOne;
  uint64_t per = 1, times = 1;
  uint64_t blocks(uint64_t extentValue) const {
    return times * (((extent == Extent::kOne ? 1 : extentValue) + per - 1) / per);
  }
};

/// A tensor that the copy engine walks (a CUtensorMap): what cuTensorMapEncodeTiled is given when
/// the plan is loaded. Interleave none, element strides 1, what lies outside reads as zeros.
struct CudaTensorMap {
  static constexpr uint32_t kWorkspace = UINT32_MAX;
  enum class Element : uint8_t { kU8, kU32, kF32, kBF16 };
  enum class Swizzle : uint8_t { kNone, k32, k64, k128 }; ///< bytes of a swizzled row
  struct Dimension {
    uint64_t size = 0;        ///< elements; 0 (the last alone): as many as the operand's bytes hold
    uint64_t strideBytes = 0; ///< a multiple of 16; the first dimension's is the element itself
    uint32_t box = 0;         ///< elements that one copy takes, at most 256
  };
  uint32_t operand = 0;     ///< index into CudaKernelInfo::operands, or kWorkspace
  uint64_t offsetBytes = 0; ///< of the tensor in the operand; the address is a multiple of 16
  Element element = Element::kBF16;
  Swizzle swizzle = Swizzle::kNone;
  std::vector<Dimension> dimensions; ///< the contiguous one first
};

/// One launch of an entry.
struct CudaPhase {
  std::string entry; ///< symbol
  CudaGridDimension gridX, gridY, gridZ;
  uint32_t threads = 0;            ///< of a block, all in x
  uint32_t clusterX = 1;           ///< blocks of a cluster, all in x; gridX is a multiple of it
  uint32_t dynamicSharedBytes = 0; ///< above 48 KiB the launch must opt in
};

/// What a launch moves and computes, for predictions.
struct CudaWork {
  double fixedBytes = 0;  ///< weights
  double extentBytes = 0; ///< activations, for each token or row
  double extentFlops = 0; ///< for each token or row
  bool tensorCores = false;
};

struct CudaKernelInfo {
  std::string name;        ///< <op>_<dtypes>__<family>_<tile>_<hash>, an identifier
  std::string key;         ///< canonical text of request and tile
  std::string operation;   ///< "matmul", …
  std::string tile;        ///< "decode8x4s2", "prefill64x64s3", …
  std::string family;      ///< "sm80": whose template it is
  bool isFallback = false; ///< the architecture has no family of its own for the operation
  Extent extent = Extent::kTokens;
  uint64_t maxExtent = UINT64_MAX;   ///< the launch takes this kernel up to this extent
  std::vector<OperandInfo> operands; ///< as describeRequest lists them
  uint64_t workspaceBytes = 0;
  std::vector<CudaTensorMap> tensorMaps; ///< every phase takes all of them, after the workspace
  std::vector<CudaPhase> phases;
  std::string source; ///< CUDA C++, complete in itself
  /// Instructions that the machine code must hold, by the beginnings of their SASS names.
  std::vector<std::string> expectedSass;
  CudaWork work;
  double predictedNs = 0; ///< at min(maxExtent, 512); predicted, never measured
};

/// All kernels for the request that fit the architecture. Errors: what describeRequest reports;
/// kUnsupported naming the field for which no template is legal.
base::Result<std::vector<CudaKernelInfo>> cudaCandidates(const CudaKernelSpec &spec,
                                                         const CudaArchitecture &architecture,
                                                         const CudaLimits &limits = {});

} // namespace platen::kernels
