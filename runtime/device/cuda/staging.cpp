// Rings and bump allocation.
#include "runtime/device/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/checked.h"

namespace platen::device::cuda {

using base::Result;
using base::Status;

Result<std::unique_ptr<PinnedBuffer>> PinnedBuffer::create(Context &context, uint64_t bytes) {
  void *address = nullptr;
  CUresult result = context.api().cuMemHostAlloc(&address, bytes, 0);
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return base::resourceExhausted("cannot get " + std::to_string(bytes) +
                                   " bytes of page-locked host memory");
  PLATEN_RETURN_IF_ERROR(context.check(result, "allocating page-locked host memory"));
  return std::unique_ptr<PinnedBuffer>(
      new PinnedBuffer(context, {static_cast<std::byte *>(address), bytes}));
}

PinnedBuffer::~PinnedBuffer() {
  Context::Scope scope(context_);
  (void)context_.api().cuMemFreeHost(bytes_.data());
}

Result<std::unique_ptr<UploadRing>> UploadRing::create(Context &context, size_t slots,
                                                       uint64_t slot_bytes) {
  std::unique_ptr<UploadRing> ring(new UploadRing(context, slot_bytes));
  PLATEN_ASSIGN_OR_RETURN(ring->buffer_, PinnedBuffer::create(context, slots * slot_bytes));
  for (size_t i = 0; i < slots; ++i) {
    CUevent event = nullptr;
    PLATEN_RETURN_IF_ERROR(context.check(
        context.api().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "making a CUDA event"));
    ring->events_.push_back(event);
  }
  return ring;
}

UploadRing::~UploadRing() {
  Context::Scope scope(context_);
  for (CUevent event : events_) {
    (void)context_.api().cuEventSynchronize(event); // transfers out of buffer_ have ended
    (void)context_.api().cuEventDestroy(event);
  }
}

Status UploadRing::copy(CUdeviceptr to, std::span<const std::byte> bytes) {
  const DriverApi &api = context_.api();
  while (!bytes.empty()) {
    size_t count = std::min<uint64_t>(bytes.size(), slot_bytes_);
    // An event that was never recorded is complete.
    PLATEN_RETURN_IF_ERROR(
        context_.check(api.cuEventSynchronize(events_[next_]), "waiting for an upload"));
    std::byte *slot = buffer_->bytes().data() + next_ * slot_bytes_;
    std::memcpy(slot, bytes.data(), count);
    PLATEN_RETURN_IF_ERROR(
        context_.check(api.cuMemcpyHtoDAsync(to, slot, count, context_.stream()), "an upload"));
    PLATEN_RETURN_IF_ERROR(
        context_.check(api.cuEventRecord(events_[next_], context_.stream()), "an upload"));
    next_ = (next_ + 1) % events_.size();
    to += count;
    bytes = bytes.subspan(count);
  }
  return Status::ok();
}

Status ReadStaging::reserve(uint64_t bytes) {
  reset();
  if (bytes == 0 || (!buffers_.empty() && buffers_.back()->bytes().size() >= bytes))
    return Status::ok();
  buffers_.clear();
  // Views are aligned, so a few of them take a little more than their bytes.
  PLATEN_ASSIGN_OR_RETURN(auto buffer, PinnedBuffer::create(context_, bytes + 4096));
  buffers_.push_back(std::move(buffer));
  return Status::ok();
}

Result<std::span<std::byte>> ReadStaging::take(uint64_t bytes) {
  uint64_t begin = base::alignUp(used_, 64);
  if (buffers_.empty() || !base::fitsInside(begin, bytes, buffers_.back()->bytes().size())) {
    uint64_t before = buffers_.empty() ? 0 : buffers_.back()->bytes().size();
    PLATEN_ASSIGN_OR_RETURN(
        auto buffer,
        PinnedBuffer::create(context_, std::max({bytes, 2 * before, uint64_t{1} << 16})));
    buffers_.push_back(std::move(buffer));
    begin = 0;
  }
  used_ = begin + bytes;
  return buffers_.back()->bytes().subspan(begin, bytes);
}

void ReadStaging::reset() {
  used_ = 0;
  if (buffers_.size() > 1) // the last is the largest
    buffers_.erase(buffers_.begin(), buffers_.end() - 1);
}

} // namespace platen::device::cuda
