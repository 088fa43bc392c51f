// Pinned host memory, through which everything passes between host and device: the driver copies
// from and to it asynchronously and at full speed.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/device/cuda/context.h"

namespace platen::device::cuda {

/// Page-locked host memory; freed by its destructor.
class PinnedBuffer {
public:
  static base::Result<std::unique_ptr<PinnedBuffer>> create(Context &context, uint64_t bytes);
  PinnedBuffer(const PinnedBuffer &) = delete;
  PinnedBuffer &operator=(const PinnedBuffer &) = delete;
  ~PinnedBuffer();
  std::span<std::byte> bytes() const { return bytes_; }

private:
  PinnedBuffer(Context &context, std::span<std::byte> bytes) : context_(context), bytes_(bytes) {}
  Context &context_;
  std::span<std::byte> bytes_;
};

/// Uploads through a ring of equal slots: copying into one slot overlaps the transfer of the
/// others, and the caller's bytes are free when copy() returns. Methods need a Context::Scope.
class UploadRing {
public:
  static base::Result<std::unique_ptr<UploadRing>> create(Context &context, size_t slots,
                                                          uint64_t slot_bytes);
  ~UploadRing();
  base::Status copy(CUdeviceptr to, std::span<const std::byte> bytes);

private:
  UploadRing(Context &context, uint64_t slot_bytes) : context_(context), slot_bytes_(slot_bytes) {}

  Context &context_;
  uint64_t slot_bytes_;
  std::unique_ptr<PinnedBuffer> buffer_; // [slots, slot_bytes_]
  std::vector<CUevent> events_;          // [slots], each recorded behind its slot's last transfer
  size_t next_ = 0;
};

/// Where reads arrive. Views stay valid until reset(); in between memory only grows. Methods need a
/// Context::Scope.
class ReadStaging {
public:
  explicit ReadStaging(Context &context) : context_(context) {}
  /// Room for so many bytes without allocating.
  base::Status reserve(uint64_t bytes);
  /// Pinned bytes for the next view.
  base::Result<std::span<std::byte>> take(uint64_t bytes);
  /// Ends the life of all views.
  void reset();

private:
  Context &context_;
  std::vector<std::unique_ptr<PinnedBuffer>> buffers_; // views begin in the last one
  uint64_t used_ = 0;                                  // of the last one
};

} // namespace platen::device::cuda
