// Opening and closing a device, and its plain memory.
#include "runtime/device/cuda/context.h"

namespace platen::device::cuda {
namespace {

using base::Result;
using base::Status;

class CudaMemory : public Memory {
public:
  CudaMemory(Context &context, CUdeviceptr address, uint64_t bytes)
      : Memory(reinterpret_cast<void *>(address), bytes), context_(context) {}
  ~CudaMemory() override {
    Context::Scope scope(context_);
    (void)context_.api().cuMemFree(addressOf(address()));
  }

private:
  Context &context_;
};

} // namespace

Context::Scope::Scope(const Context &context)
    : context_(context), pushed_(context.api().cuCtxPushCurrent(context.context_) == CUDA_SUCCESS) {
}

Context::Scope::~Scope() {
  CUcontext popped = nullptr;
  if (pushed_)
    (void)context_.api().cuCtxPopCurrent(&popped);
}

Result<std::unique_ptr<Context>> Context::open(std::shared_ptr<const Driver> driver, int ordinal) {
  std::unique_ptr<Context> opened(new Context(std::move(driver), ordinal));
  const DriverApi &api = opened->api();
  int count = 0;
  PLATEN_RETURN_IF_ERROR(opened->check(api.cuDeviceGetCount(&count), "counting CUDA devices"));
  if (ordinal < 0 || ordinal >= count)
    return base::notFound("there is no CUDA device " + std::to_string(ordinal) +
                          "; the driver knows " + std::to_string(count));
  PLATEN_RETURN_IF_ERROR(
      opened->check(api.cuDeviceGet(&opened->device_, ordinal), "opening the CUDA device"));
  PLATEN_RETURN_IF_ERROR(opened->readProperties());
  PLATEN_RETURN_IF_ERROR(opened->check(
      api.cuDevicePrimaryCtxRetain(&opened->context_, opened->device_), "making a CUDA context"));
  Scope scope(*opened);
  PLATEN_RETURN_IF_ERROR(opened->check(api.cuStreamCreate(&opened->stream_, CU_STREAM_NON_BLOCKING),
                                       "making a CUDA stream"));
  return opened;
}

Context::~Context() {
  if (context_ == nullptr)
    return;
  if (stream_ != nullptr) {
    Scope scope(*this);
    (void)api().cuStreamDestroy(stream_);
  }
  (void)api().cuDevicePrimaryCtxRelease(device_);
}

Status Context::readProperties() {
  char name[256] = {};
  PLATEN_RETURN_IF_ERROR(
      check(api().cuDeviceGetName(name, sizeof name - 1, device_), "asking for a device's name"));
  name_ = name;
  int major = 0, minor = 0;
  auto ask = [&](int &value, CUdevice_attribute attribute) {
    return check(api().cuDeviceGetAttribute(&value, attribute, device_),
                 "asking for a compute capability");
  };
  PLATEN_RETURN_IF_ERROR(ask(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  PLATEN_RETURN_IF_ERROR(ask(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  capability_ = static_cast<uint32_t>(major * 10 + minor);
  size_t total = 0;
  PLATEN_RETURN_IF_ERROR(
      check(api().cuDeviceTotalMem(&total, device_), "asking for a device's memory"));
  total_bytes_ = total;
  int cache = 0; // for measurements alone: nothing is lost without it
  if (api().cuDeviceGetAttribute(&cache, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device_) ==
          CUDA_SUCCESS &&
      cache > 0)
    cache_bytes_ = static_cast<uint64_t>(cache);
  return Status::ok();
}

uint64_t Context::freeBytes() const {
  size_t free = 0, total = 0;
  return api().cuMemGetInfo(&free, &total) == CUDA_SUCCESS ? free : 0;
}

Status Context::check(CUresult result, const char *what) {
  if (result == CUDA_SUCCESS)
    return Status::ok();
  Status status = driver_->status(result, what).at("cuda:" + std::to_string(ordinal_));
  if (status.code() == base::StatusCode::kDeviceLost && lost_.isOk())
    lost_ = status;
  return status;
}

Result<std::unique_ptr<Memory>> Context::allocate(uint64_t bytes, std::string_view purpose) {
  if (bytes == 0)
    return base::invalidArgument("an allocation of 0 bytes", std::string(purpose));
  CUdeviceptr address = 0;
  CUresult result = api().cuMemAlloc(&address, bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return base::resourceExhausted("cannot get " + std::to_string(bytes) +
                                       " bytes of device memory: " + std::to_string(freeBytes()) +
                                       " of " + std::to_string(total_bytes_) +
                                       " are free on cuda:" + std::to_string(ordinal_),
                                   std::string(purpose));
  PLATEN_RETURN_IF_ERROR(check(result, "allocating device memory").at(purpose));
  return std::unique_ptr<Memory>(std::make_unique<CudaMemory>(*this, address, bytes));
}

} // namespace platen::device::cuda
