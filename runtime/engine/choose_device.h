// Which device executes a plan, and why that one.
#pragma once

#include <memory>
#include <string>

#include "runtime/device/device.h"
#include "runtime/engine/platen.h"

namespace platen::engine {

struct ChosenDevice {
  std::unique_ptr<device::Device> device;
  uint32_t target = 0; ///< index of the plan's target that it runs
  std::string reason;  ///< one clause, for reports
};

/// By EngineOptions::device. "auto" tries the CUDA devices in turn if the plan has code for any,
/// then the host. The CUDA driver is loaded only when it may be used. Errors: kInvalidArgument (no
/// such choice), kUnsupported and kNotFound saying for each device that was tried what it lacks.
base::Result<ChosenDevice> chooseDevice(const plan::Plan &plan, const EngineOptions &options);

} // namespace platen::engine
