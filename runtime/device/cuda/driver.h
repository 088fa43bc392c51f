// The CUDA driver, found at run time.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/status.h"
#include "runtime/device/cuda/driver_api.h"

namespace platen::device::cuda {

class Driver {
public:
  /// Opens and initialises the driver library `path`; "": the environment's PLATEN_CUDA_DRIVER,
  /// else libcuda.so.1. It stays open as long as the process. Errors: kUnsupported when there is
  /// none or it is too old, kNotFound when it knows no device.
  static base::Result<std::shared_ptr<const Driver>> load(const std::string &path = {});

  const DriverApi &api() const { return api_; }
  /// "13.0": the newest CUDA version that the driver supports.
  std::string version() const;
  /// Whether it imitates devices: it exports "platenSimulatedDriver", as tools/ptxsim's does.
  bool isSimulated() const { return is_simulated_; }
  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string describe(CUresult result) const;
  /// `result` as a Status; `what` was attempted. kDeviceLost when nothing can be done with the
  /// device any more, kResourceExhausted, kUnsupported, kCorrupt, else kInternal.
  base::Status status(CUresult result, const std::string &what) const;

private:
  Driver() = default;
  DriverApi api_{};
  bool is_simulated_ = false;
};

} // namespace platen::device::cuda
