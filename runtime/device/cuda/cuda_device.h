// An NVIDIA GPU as a device, through the driver API alone.
//
// Opening one loads the driver (libcuda.so.1) at run time: neither toolkit nor driver are needed to
// build or to run on other devices. Memory is the device's own; weights are copied there once,
// through two page-locked buffers. Everything runs on one stream. A step's launches can be recorded
// into a CUDA graph and replayed by one call.
#pragma once

#include <memory>
#include <string>

#include "runtime/device/device.h"

namespace platen::device {

struct CudaOptions {
  int ordinal = 0;
  /// The driver library; "": the environment's PLATEN_CUDA_DRIVER, else libcuda.so.1.
  std::string driver{};
};

/// What the device is and did, for reports.
struct CudaReport {
  std::string name;           ///< "NVIDIA H100 80GB HBM3"
  std::string driver_version; ///< "13.0"
  uint32_t capability = 0;    ///< 10 * major + minor
  uint64_t total_bytes = 0;
  uint64_t weight_bytes = 0; ///< uploaded by placeWeights()
  double weight_upload_seconds = 0;
};

class CudaDevice : public Device {
public:
  /// Errors: kUnsupported (no driver, or too old), kNotFound (no such device), what the driver
  /// answers.
  static base::Result<std::unique_ptr<CudaDevice>> open(const CudaOptions &options = {});
  virtual const CudaReport &report() const = 0;
};

} // namespace platen::device
