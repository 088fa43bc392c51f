// An NVIDIA GPU as a device, through the driver API alone.
//
// Opening one loads the driver (libcuda.so.1) at run time: neither toolkit nor driver are needed to
// build or to run on other devices. Memory is the device's own; weights are copied there once,
// through two page-locked buffers. Everything runs on one stream. A step's launches can be recorded
// into a CUDA graph and replayed by one call.
#pragma once

#include <memory>
#include <string>
#include <vector>

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
  bool is_simulated = false;  ///< the driver says so, see Driver::isSimulated()
  uint64_t total_bytes = 0;
  uint64_t cache_bytes = 0;  ///< of the second-level cache; 0: the driver does not say
  uint64_t weight_bytes = 0; ///< uploaded by placeWeights()
  double weight_upload_seconds = 0;
};

class CudaDevice : public Device {
public:
  /// Errors: kUnsupported (no driver, or too old), kNotFound (no such device), what the driver
  /// answers.
  static base::Result<std::unique_ptr<CudaDevice>> open(const CudaOptions &options = {});
  virtual const CudaReport &report() const = 0;
  bool isSimulated() const override { return report().is_simulated; }

  /// Times a launch alone by events on the stream: nanoseconds of each of `repeats` runs, which
  /// follow one that is not timed. Before each run `flush`, if it is not null, is overwritten, so
  /// that a second-level cache smaller than it holds nothing of the launch's operands. Errors:
  /// kUnsupported on a simulated device, which has no times; what the driver answers.
  virtual base::Result<std::vector<double>> time(const Launch &launch, unsigned repeats,
                                                 Memory *flush) = 0;
};

} // namespace platen::device
