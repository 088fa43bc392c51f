// Runs a plan's launches over one step of tokens on a device.
//
// Built once: allocates the arena and the KV pages, places weights, loads code, and binds every
// kernel to its operands. A step then copies its small arrays, picks each launch's variant by size
// and launches it. Nothing is allocated in run(), but when a device records steps of a size for the
// first time. Not thread-safe. The plan and the device outlive the
// executor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/device/device.h"
#include "runtime/plan/kernel_abi.h"

namespace platen::exec {

/// One step, as PlatenStep defines it (kernel_abi.h); plain host arrays that need no alignment or
/// padding. They may be reused when run() returns.
struct StepInputs {
  std::span<const int32_t> token_ids;         ///< [T], values in [0, vocabulary)
  std::span<const int32_t> positions;         ///< [T], values in [0, context_tokens)
  std::span<const int32_t> sequence_of_token; ///< [T], values in [0, sequences), ascending
  std::span<const int32_t> row_tokens;        ///< [R], values in [0, T)
  int64_t sequences = 0;                      ///< S
  int64_t page_table_stride = 0;              ///< entries a sequence
  std::span<const int32_t> page_table; ///< [S, page_table_stride], -1 or a page in [0, pages)
  /// [R], or empty: no tokens are drawn. Only where Executor::samples().
  std::span<const PlatenSampling> sampling{};
  bool read_logits = true;
  bool read_hidden = true;
};

/// Valid until the next run().
struct StepOutputs {
  std::span<const int32_t> tokens; ///< [R] drawn as `sampling` asked; -1: the logits are no numbers
  std::span<const float> logits;   ///< [R, vocabulary] f32, row-major; empty unless read
  std::span<const float> hidden;   ///< [R, hidden] f32; empty unless read, or if the plan has none
};

struct ExecutorOptions {
  /// KV pages of each layer. At least 1 (plans without caches ignore it).
  uint32_t pages = 0;
  /// On devices that record launches: small steps are recorded once for each power of two of their
  /// sizes, and replayed. The outputs are the same bits without.
  bool record_steps = true;
};

/// Time of one launch of the plan since profiling started.
struct LaunchProfile {
  std::string_view launch; ///< the launch's name, owned by the plan
  std::string_view kernel; ///< the kernel of the variant that ran last
  uint64_t calls = 0;
  uint64_t total_ns = 0;
};

class Executor {
public:
  /// Errors: kResourceExhausted (memory, with the sizes), kUnsupported (no code for this device),
  /// kInvalidArgument (also for the plan of a graph, which a GraphExecutor runs).
  static base::Result<std::unique_ptr<Executor>>
  create(const plan::Plan &plan, device::Device &device, const ExecutorOptions &options);
  ~Executor();
  /// Device memory that create() takes beside the KV pages, when weights are copied there.
  static uint64_t fixedBytes(const plan::Plan &plan, uint32_t target);

  /// Executes one step. T, R and S may be 0. Errors: kInvalidArgument when the inputs exceed the
  /// plan's limits or name absent tokens, sequences or pages; nothing was launched then. Otherwise
  /// the device's own errors: the contents of the KV pages that this step writes are then
  /// unspecified.
  base::Result<StepOutputs> run(const StepInputs &inputs);

  /// Whether the plan can draw tokens on this device.
  bool samples() const;
  uint32_t pages() const;
  size_t recordedSteps() const; ///< sizes of steps that are replayed
  uint64_t arenaBytes() const;  ///< bytes of activations
  uint64_t cacheBytes() const;  ///< bytes of all KV pages of all layers
  /// The chosen code target, e.g. "x86-64-avx2".
  std::string_view target() const;

  /// Starts (and clears) or stops the measurement of each launch; each is then followed by a
  /// synchronize().
  void setProfiling(bool on);
  /// One entry for each launch of the plan, in execution order.
  std::span<const LaunchProfile> profile() const;

private:
  struct Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace platen::exec
