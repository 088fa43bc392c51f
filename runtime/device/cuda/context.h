// One CUDA device as this room uses it: its primary context, one stream, and the first failure that
// lost it.
#pragma once

#include <memory>
#include <string>

#include "runtime/device/cuda/driver.h"
#include "runtime/device/device.h"

namespace platen::device::cuda {

class Context {
public:
  /// Errors: kNotFound when there is no such device; what the driver answers.
  static base::Result<std::unique_ptr<Context>> open(std::shared_ptr<const Driver> driver,
                                                     int ordinal);
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;
  ~Context();

  /// Makes the context the calling thread's current one as long as it lives, and the former one
  /// again afterwards: the caller may use CUDA itself.
  class Scope {
  public:
    explicit Scope(const Context &context);
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;
    ~Scope();

  private:
    const Context &context_;
    bool pushed_;
  };

  const DriverApi &api() const { return driver_->api(); }
  const Driver &driver() const { return *driver_; }
  CUstream stream() const { return stream_; }
  int ordinal() const { return ordinal_; }
  const std::string &name() const { return name_; }
  uint64_t totalBytes() const { return total_bytes_; }
  uint64_t cacheBytes() const { return cache_bytes_; } ///< second level; 0: unknown
  uint32_t capability() const { return capability_; }  ///< 10 * major + minor
  /// Free and total bytes for messages and budgets; 0 if the driver does not say. Needs a Scope.
  uint64_t freeBytes() const;

  /// Turns a result into a Status and remembers a loss; `what` was attempted.
  base::Status check(CUresult result, const char *what);
  /// Ok, or why the device is lost.
  const base::Status &lost() const { return lost_; }

  /// Device memory, contents unspecified. kResourceExhausted names the purpose, both sizes and what
  /// is free. Needs a Scope.
  base::Result<std::unique_ptr<Memory>> allocate(uint64_t bytes, std::string_view purpose);

private:
  Context(std::shared_ptr<const Driver> driver, int ordinal)
      : driver_(std::move(driver)), ordinal_(ordinal) {}
  base::Status readProperties();

  std::shared_ptr<const Driver> driver_;
  int ordinal_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  std::string name_;
  uint64_t total_bytes_ = 0, cache_bytes_ = 0;
  uint32_t capability_ = 0;
  base::Status lost_;
};

inline CUdeviceptr addressOf(const void *address) {
  return static_cast<CUdeviceptr>(reinterpret_cast<uintptr_t>(address));
}

} // namespace platen::device::cuda
