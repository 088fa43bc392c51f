// Runs a graph that is no decoder (plan::Manifest::graph) on a device: named inputs in, outputs
// out.
//
// Each run binds the graph's symbols from the shapes of its inputs. When they differ from those of
// the run before, sizes are computed, the arena of activations grows if it must, and the kernels
// that a launch needs are bound to their operands. Runs of equal shapes only copy inputs, launch
// and read; they allocate nothing (but a recording, in the second run, where the device records).
//
// Not thread-safe. The plan and the device outlive the executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/device/device.h"
#include "runtime/exec/executor.h"

namespace platen::exec {

/// An input by its place in the signature: dense, row-major, of the signature's dtype; no alignment
/// is needed. Its bytes are copied.
struct GraphInput {
  std::span<const int64_t> dims;
  std::span<const std::byte> bytes;
};

/// An output by its place in the signature. Valid until the next run().
struct GraphOutput {
  std::span<const int64_t> dims;
  std::span<const std::byte> bytes; ///< 64-byte aligned on the host
};

struct GraphExecutorOptions {
  /// On devices that record launches: the launches of a shape that comes twice in a row are
  /// recorded and replayed. The outputs are the same bits without.
  bool record = true;
};

class GraphExecutor {
public:
  /// Errors: kInvalidArgument (a plan of a decoder), kResourceExhausted, kUnsupported (no code for
  /// this device).
  static base::Result<std::unique_ptr<GraphExecutor>>
  create(const plan::Plan &plan, device::Device &device, const GraphExecutorOptions &options = {});
  ~GraphExecutor();

  /// Errors: kInvalidArgument when the inputs do not fit the signature, naming the input, its
  /// dimension and both values, and kResourceExhausted when the arena cannot grow, with the sizes:
  /// nothing ran then, and later runs may fit. Otherwise the device's own errors.
  base::Result<std::span<const GraphOutput>> run(std::span<const GraphInput> inputs);

  /// Bytes of activations of the last run, and what is held for them.
  uint64_t arenaBytes() const;
  uint64_t heldBytes() const;
  /// The chosen code target, e.g. "x86-64-avx2".
  std::string_view target() const;

  /// As Executor's.
  void setProfiling(bool on);
  std::span<const LaunchProfile> profile() const;

private:
  struct Impl;
  explicit GraphExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace platen::exec
