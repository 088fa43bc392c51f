// The inputs of one step, checked and laid out as kernels see them: a PlatenStep followed by its
// arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/exec/executor.h"
#include "runtime/plan/plan.h"

namespace platen::exec {

/// Checks that `inputs` keep what kernel_abi.h promises to kernels, for a plan's limits, the caches
/// of one of its programs and `pages` KV pages. Linear in tokens, rows and the page table entries
/// in use. Errors: kInvalidArgument saying which value.
base::Status checkInputs(const StepInputs &inputs, const plan::Manifest &manifest,
                         std::span<const plan::Cache> caches, uint32_t pages);

/// Host image of the step; its copy on the device begins at a fixed address.
class StepBuffer {
public:
  /// Bytes that the largest step of a plan with these limits takes.
  static uint64_t maxBytes(const plan::Limits &limits);
  StepBuffer(const plan::Limits &limits, const void *device_address);

  /// Lays out checked inputs and returns the bytes to upload to `device_address`; valid until the
  /// next call.
  std::span<const std::byte> fill(const StepInputs &inputs);

private:
  const int32_t *append(std::span<const int32_t> values);

  std::vector<std::byte> bytes_; // [maxBytes]
  uint64_t used_ = 0;
  const std::byte *device_address_;
};

} // namespace platen::exec
