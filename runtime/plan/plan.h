// What a plan says, as plain C++ structs: manifest.proto without protobuf.
//
// The compiler fills a Manifest and hands it to PlanWriter (writer.h); the runtime gets a validated
// one from Plan (reader.h). Everything is a value; copying is the only cost. Field meanings, units
// and invariants are those of manifest.proto; where a comment here says "validated", Plan::load
// refuses a file that breaks it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/dtype.h"
#include "runtime/base/size.h"
#include "runtime/base/status.h"
#include "runtime/plan/cuda_kernel.h"
#include "runtime/plan/extent.h"
#include "runtime/plan/graph.h"

namespace platen::plan {

/// Every section starts at a multiple of at least this many bytes, so that it can be mapped by
/// itself.
inline constexpr uint64_t kSectionAlignment = 4096;
/// Weights, activation buffers and every array that a kernel sees start at a multiple of this.
inline constexpr uint64_t kDataAlignment = 64;

/// Validated: all at least 1; page_tokens a power of two. All 0 in plans of graphs.
struct Limits {
  uint32_t context_tokens = 0; ///< positions a sequence may have, prompt and generated together
  uint32_t step_tokens = 0;
  uint32_t step_rows = 0;
  uint32_t step_sequences = 0;
  uint32_t page_tokens = 0; ///< positions a KV page holds
  bool operator==(const Limits &) const = default;
};

/// In plans of graphs nothing but `weight_format` is set.
struct ModelInfo {
  uint32_t vocabulary = 0; ///< validated: at least 1
  uint32_t hidden = 0;
  uint32_t layers = 0;
  std::vector<uint32_t> eos_tokens; ///< validated: below vocabulary
  int32_t bos_token = -1;           ///< -1: none; validated: below vocabulary
  bool add_bos = false;
  std::string weight_format; ///< "f32", "bf16", "int8", "int4" or "mixed"
  bool operator==(const ModelInfo &) const = default;
};

enum class SectionKind : uint8_t { kWeights = 1, kCode = 2, kTokenizer = 3 };

/// Validated: inside the file, overlapping nothing, hash equal to the bytes.
struct Section {
  SectionKind kind = SectionKind::kWeights;
  std::string name;                       ///< "weights", "code.x86-64-avx2", "tokenizer"
  uint64_t offset = 0;                    ///< from the start of the file, multiple of `alignment`
  uint64_t bytes = 0;                     ///< at least 1
  uint64_t alignment = kSectionAlignment; ///< power of two in [4096, 2 MiB]
  uint64_t xxh3 = 0;                      ///< sectionHash() of the bytes, see hash.h
  bool operator==(const Section &) const = default;
};

/// A packed weight or a table computed at compile time. Validated: inside the one weights section.
struct Weight {
  std::string name;
  uint64_t offset = 0;         ///< from the start of the weights section, multiple of 64
  uint64_t bytes = 0;          ///< at least 1
  std::string packing;         ///< a packing of kernels/packing.h, e.g. "panel16.bf16"
  std::vector<uint64_t> shape; ///< logical shape before packing, at most 8 dimensions
  bool operator==(const Weight &) const = default;
};

/// The largest value `extent` takes in a step.
constexpr uint64_t extentLimit(const Limits &limits, Extent extent) {
  switch (extent) {
  case Extent::kOne:
    return 1;
  case Extent::kTokens:
    return limits.step_tokens;
  case Extent::kRows:
    return limits.step_rows;
  case Extent::kSequences:
    return limits.step_sequences;
  }
  return 0;
}

/// An activation buffer. For decoders: extentLimit() rows of `row_bytes`. Validated: inside the
/// arena. For graphs: `bytes` in a slot of the arena (see manifest.proto). Validated: what belongs
/// to the other kind of plan is as it stands here; within kMaxArenaBytes for all values of the
/// symbols.
struct Buffer {
  std::string name;
  Extent extent = Extent::kOne;
  uint64_t row_bytes = 0;
  uint64_t arena_offset = 0; ///< multiple of 64
  base::Size bytes{};
  uint32_t slot = 0; ///< validated: below the number of buffers
  bool operator==(const Buffer &) const = default;
};

/// The KV cache of one attention layer; its memory layout stands in manifest.proto.
struct Cache {
  uint32_t kv_heads = 0;                 ///< validated: at least 1
  uint32_t head_dim = 0;                 ///< validated: at least 1
  base::DType dtype = base::DType::kF32; ///< validated: f32, f16, bf16 or i8
  uint32_t window = 0;                   ///< 0: all earlier positions
  bool operator==(const Cache &) const = default;
};

/// Bytes that one page of this cache takes (keys and values of all heads). Exact for validated
/// plans.
constexpr uint64_t pageBytes(const Limits &limits, const Cache &cache) {
  return uint64_t{cache.kv_heads} * 2 * limits.page_tokens * cache.head_dim *
         static_cast<uint64_t>(base::bitWidth(cache.dtype)) / 8;
}

struct Kernel {
  std::string name; ///< <op>_<dtypes>__<target>_<tile>_<variant>, see kernels/descriptor.h
  /// Host: a thread. CUDA: the workspace, one for all launches of a stream.
  uint64_t scratch_bytes = 0;
  std::optional<CudaKernel> cuda{}; ///< validated: present exactly in programs for CUDA
  bool operator==(const Kernel &) const = default;
};

enum class OperandKind : uint8_t { kBuffer = 1, kWeight = 2, kCache = 3 };

/// Validated: index is below the size of the list that `kind` names.
struct Operand {
  OperandKind kind = OperandKind::kBuffer;
  uint32_t index = 0;
  bool operator==(const Operand &) const = default;
};

/// The kernel for steps up to `max_extent` of the launch's extent.
struct Variant {
  uint64_t max_extent = 0;
  uint32_t kernel = 0; ///< index into the program's kernels
  Units units;         ///< host; validated: as it stands here in programs for CUDA
  /// CUDA: other kernels that do the same, the best predicted first. Validated: distinct, at most
  /// kMaxAlternatives, empty in programs for the host.
  std::vector<uint32_t> alternatives{};
  bool operator==(const Variant &) const = default;
};

struct Launch {
  std::string name;                ///< for traces: "layer3.qkv"
  Extent extent = Extent::kTokens; ///< a launch whose extent is 0 in a step is skipped; graphs: so
  std::vector<Variant>
      variants; ///< at least one, max_extent strictly ascending; the last takes all
  std::vector<Operand> operands; ///< operands[1..] of the kernel ABI, at most kMaxOperands
  /// Graphs: tokens and rows of this launch (its sequences are 1). Decoders: as it stands here.
  base::Size points{};
  bool operator==(const Launch &) const = default;
};
inline constexpr uint32_t kMaxOperands = 64;
inline constexpr uint32_t kMaxAlternatives = 16;
/// What a step's buffers, and those of a run, may take together.
inline constexpr uint64_t kMaxArenaBytes = uint64_t{1} << 44;

/// The `device` of programs for CPUs, and of those for NVIDIA GPUs.
inline constexpr const char *kHostDevice = "host";
inline constexpr const char *kCudaDevice = "cuda";

/// How one kind of device executes a step. Several programs may be for one kind of device. In plans
/// of graphs nothing stands behind `launches`, and there are no caches.
struct DeviceProgram {
  std::string device; ///< kHostDevice or kCudaDevice
  std::vector<Buffer> buffers;
  std::vector<Cache> caches;
  std::vector<Kernel> kernels;
  std::vector<Launch> launches; ///< in execution order
  uint64_t arena_bytes = 0;
  uint32_t logits_buffer = 0; ///< validated: extent kRows, row_bytes = 4 * vocabulary
  int32_t hidden_buffer = -1; ///< -1: none; validated: extent kRows, row_bytes = 4 * hidden
  /// CUDA: the kernel that draws a token from each row of logits; see manifest.proto.
  std::optional<uint32_t> sampler{};
  bool operator==(const DeviceProgram &) const = default;
};

/// Machine code of a program for one kind of processor.
struct CodeTarget {
  std::string name;                    ///< "x86-64-avx2", "sm_90a"
  std::vector<std::string> features;   ///< all of which the processor must have; see manifest.proto
  uint32_t section = 0;                ///< index into sections, of kind kCode
  std::vector<uint64_t> entry_offsets; ///< [kernels], bytes from the start of the code section
  uint32_t program = 0;                ///< index into programs
  /// CUDA: [kernels], bytes of each kernel's image; validated: at least 1, offsets multiples of 64.
  /// Host: empty.
  std::vector<uint64_t> entry_bytes{};
  bool operator==(const CodeTarget &) const = default;
};

struct Tokenizer {
  std::string kind;     ///< "" (none) or e.g. "sentencepiece-bpe"
  uint32_t section = 0; ///< index into sections, of kind kTokenizer, when kind is not empty
  bool operator==(const Tokenizer &) const = default;
};

struct Manifest {
  std::string producer;
  std::string model_name;
  uint32_t kernel_abi_version = 0; ///< PlanWriter sets it; validated: PLATEN_KERNEL_ABI_VERSION
  uint32_t cuda_abi_version = 0; ///< PlanWriter sets it; validated: kCudaAbiVersion, or 0 in a plan
                                 ///< that has no program for CUDA
  Limits limits;
  ModelInfo model;
  std::vector<Section> sections; ///< PlanWriter sets them
  std::vector<Weight> weights;
  std::vector<DeviceProgram> programs;
  std::vector<CodeTarget>
      targets; ///< in order of preference: a device takes the first that it can run
  Tokenizer tokenizer;
  /// Present exactly in plans of graphs that are no decoders.
  std::optional<GraphSignature> graph{};
  bool operator==(const Manifest &) const = default;
};

/// Graphs: what the buffers of a checked program take together in any run, at most. Slots stand one
/// after another, each with the padding that kernel_abi.h promises.
uint64_t arenaLimit(const DeviceProgram &program, const GraphSignature &graph);

/// Checks every promise above for a file of `file_bytes` (hashes and padding excepted: they need
/// the bytes). Returns kCorrupt, or kUnsupported for versions and dtypes this runtime does not
/// know. Linear in the manifest.
base::Status validate(const Manifest &manifest, uint64_t file_bytes);

} // namespace platen::plan
