// Copies and fills: what the API's descriptors mean, and when the host may go on.
//
// The CUDA documentation's rules, taken at their most adverse: what may be asynchronous is;
// pageable sources are read at the call (staged), pinned ones when the copy happens, as late as the
// engine likes; a target in pageable memory is complete at return.
#pragma once

#include "tools/ptxsim/driver/memory_blocks.h"

namespace platen::ptxsim::driver {

/// A contiguous copy.
CopyOperation flatCopy(uint64_t to, uint64_t from, size_t bytes);
/// CUDA_ERROR_NOT_SUPPORTED for arrays.
CUresult describeCopy(const CUDA_MEMCPY3D &descriptor, CopyOperation &copy);
CUresult describeCopy(const CUDA_MEMCPY2D &descriptor, CopyOperation &copy);
CUresult describeFill(uint64_t address, size_t pitch, uint32_t value, uint32_t elementBytes,
                      size_t width, size_t height, FillOperation &fill);

/// `isSync`: the variant without a stream. `needsDevice`: ends that must be device addresses.
CUresult queueCopy(Driver &driver, Lock &lock, const std::shared_ptr<Stream> &stream,
                   CopyOperation copy, bool isSync, bool toDevice = false, bool fromDevice = false);
CUresult queueFill(Driver &driver, Lock &lock, const std::shared_ptr<Stream> &stream,
                   const FillOperation &fill, bool isSync);

} // namespace platen::ptxsim::driver
