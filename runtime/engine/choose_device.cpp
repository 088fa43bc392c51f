// A device is chosen when it can be opened and can run one of the plan's targets.
#include "runtime/engine/choose_device.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "runtime/device/cuda/cuda_device.h"
#include "runtime/device/host/host_device.h"

namespace platen::engine {
namespace {

using base::Result;
using base::Status;

bool hasCodeFor(const plan::Manifest &manifest, std::string_view kind) {
  return std::ranges::any_of(manifest.targets, [&](const plan::CodeTarget &target) {
    return manifest.programs[target.program].device == kind;
  });
}

Result<ChosenDevice> host(const plan::Plan &plan, const EngineOptions &options,
                          std::string reason) {
  device::HostOptions host;
  host.threads = options.threads;
  PLATEN_ASSIGN_OR_RETURN(auto device, device::HostDevice::create(host));
  PLATEN_ASSIGN_OR_RETURN(uint32_t target, device->chooseTarget(plan));
  return ChosenDevice{std::move(device), target, std::move(reason)};
}

Result<ChosenDevice> cuda(const plan::Plan &plan, int ordinal, const char *reason) {
  PLATEN_ASSIGN_OR_RETURN(auto device,
                          device::CudaDevice::open({.ordinal = ordinal, .driver = {}}));
  PLATEN_ASSIGN_OR_RETURN(uint32_t target, device->chooseTarget(plan));
  return ChosenDevice{std::move(device), target, reason};
}

/// The first CUDA device that runs the plan; else why none does.
Result<ChosenDevice> anyCuda(const plan::Plan &plan) {
  Status first;
  for (int ordinal = 0;; ++ordinal) {
    auto chosen = cuda(plan, ordinal, "the first CUDA device for which the plan has code");
    if (chosen.isOk())
      return chosen;
    // Behind the last device there is none; without a driver there is nothing to go on with either.
    bool more = chosen.status().code() == base::StatusCode::kUnsupported && ordinal < 64 &&
                chosen.status().origin().find(plan.path()) != std::string_view::npos;
    if (first.isOk())
      first = chosen.status();
    if (!more)
      return first;
  }
}

Result<ChosenDevice> automatic(const plan::Plan &plan, const EngineOptions &options) {
  if (!hasCodeFor(plan.manifest(), plan::kCudaDevice))
    return host(plan, options, "the plan has code for the host alone");
  auto chosen = anyCuda(plan);
  if (chosen.isOk())
    return chosen;
  std::string why(chosen.status().message());
  auto fallback = host(plan, options, "no CUDA device can run the plan: " + why);
  if (fallback.isOk())
    return fallback;
  return Status(fallback.status().code(),
                std::string(fallback.status().message()) + "; and no CUDA device can: " + why,
                std::string(fallback.status().origin()));
}

/// N of "cuda:N".
std::optional<int> ordinalOf(std::string_view text) {
  int ordinal = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ordinal);
  bool whole = error == std::errc() && end == text.data() + text.size() && ordinal >= 0;
  return whole ? std::optional(ordinal) : std::nullopt;
}

} // namespace

Result<ChosenDevice> chooseDevice(const plan::Plan &plan, const EngineOptions &options) {
  std::string_view choice = options.device;
  if (choice.empty() || choice == "auto")
    return automatic(plan, options);
  if (choice == "host")
    return host(plan, options, "asked for");
  if (choice == "cuda")
    return anyCuda(plan);
  if (choice.starts_with("cuda:"))
    if (auto ordinal = ordinalOf(choice.substr(5)))
      return cuda(plan, *ordinal, "asked for");
  return base::invalidArgument("device is '" + options.device +
                               "', it must be auto, host, cuda or cuda:N");
}

} // namespace platen::engine
