// One program of a plan on a device, launch by launch: what the executor does in a step, but every
// launch alone, by whichever kernel is asked for, and with its buffers in reach.
//
// Holds the weights, an arena, a step and the cache of `pages` pages. The plan and the device
// outlive it. Not thread-safe.
#pragma once

#include "runtime/device/device.h"
#include "runtime/exec/step_buffer.h"

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace platen::tune {

using Bytes = std::vector<std::byte>;

class Machine {
public:
  /// `target` is an index into the plan's targets that the device can run. `weights`: those of
  /// another machine on the same device, or null. Errors: what the device meets.
  static base::Result<std::unique_ptr<Machine>>
  create(const plan::Plan &plan, device::Device &device, uint32_t target, uint32_t pages,
         std::shared_ptr<device::Memory> weights = nullptr);

  const plan::DeviceProgram &program() const { return program_; }
  const std::shared_ptr<device::Memory> &weights() const { return weights_; }
  const plan::Extents &extents() const { return extents_; }

  /// Checks and uploads the step that the following launches execute.
  base::Status begin(const exec::StepInputs &inputs);
  /// Launch `index` by that kernel of the program; waits for its end.
  base::Status run(size_t index, uint32_t kernel);
  /// The same launch, for others to enqueue; valid as long as the machine.
  base::Result<device::Launch> prepare(size_t index, uint32_t kernel);
  /// The kernel that the plan takes for the launch in this step; nothing if the step skips it.
  std::optional<uint32_t> choice(size_t index) const;

  /// The bytes that a buffer has in this step: as many rows as its extent says.
  uint64_t bufferBytes(uint32_t buffer) const;
  base::Result<Bytes> readBuffer(uint32_t buffer);
  base::Status writeBuffer(uint32_t buffer, std::span<const std::byte> bytes);
  /// The pages of one layer.
  base::Result<Bytes> readCache(uint32_t cache);
  base::Status writeCache(uint32_t cache, std::span<const std::byte> bytes);

private:
  Machine(const plan::Plan &plan, device::Device &device, uint32_t target);
  base::Status allocate(uint32_t pages);
  device::Operand locate(const plan::Operand &operand) const;

  const plan::Manifest &manifest_;
  const plan::DeviceProgram &program_;
  device::Device &device_;
  std::shared_ptr<device::Memory> weights_;
  std::unique_ptr<device::Program> code_;
  std::unique_ptr<device::Memory> arena_, step_memory_;
  std::vector<std::unique_ptr<device::Memory>> caches_; // [caches]
  std::unique_ptr<exec::StepBuffer> step_;
  std::map<std::pair<size_t, uint32_t>, std::unique_ptr<device::BoundKernel>> bound_;
  plan::Extents extents_;
  uint32_t pages_ = 0;
};

} // namespace platen::tune
