// What the files of validate() share: checks of numbers and names, and how messages say where.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "runtime/plan/plan.h"

namespace platen::plan::detail {

inline std::string number(uint64_t value) { return std::to_string(value); }

/// "buffers[3] 'hidden'": where in the manifest a message belongs.
inline std::string place(std::string_view list, size_t index, std::string_view name) {
  std::string text(list);
  text.append("[").append(number(index)).append("]");
  // A name that cannot be printed is itself refused, so it never reaches a message.
  return name.empty() ? text : text.append(" '").append(name).append("'");
}

inline bool isPrintable(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

inline base::Status checkRange(std::string_view what, uint64_t value, uint64_t low, uint64_t high) {
  if (value < low || value > high)
    return base::corrupt(std::string(what) + " is " + number(value) + ", must be in [" +
                         number(low) + ", " + number(high) + "]");
  return base::Status::ok();
}

inline base::Status checkIndex(std::string_view what, uint64_t index, size_t size) {
  if (index >= size)
    return base::corrupt(std::string(what) + " is " + number(index) + ", but there are only " +
                         number(size));
  return base::Status::ok();
}

inline base::Status checkExtent(Extent extent) {
  return checkRange("extent", static_cast<uint64_t>(extent), 0, 3);
}

/// A kernel of a program for CUDA, for any operands. Its scratch_bytes are not looked at.
base::Status checkCudaKernel(const CudaKernel &kernel, const Limits &limits);

/// The kernel's tensor maps over a launch's operands; `operand_bytes` [operands], as many as each
/// has at least. For a checked kernel.
base::Status checkTensorMaps(const Kernel &kernel, std::span<const uint64_t> operand_bytes);

/// The features of a target for CUDA.
base::Status checkCudaFeatures(const CodeTarget &target);

} // namespace platen::plan::detail
