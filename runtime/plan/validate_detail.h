// What the files of validate() share: checks of numbers and names, and how messages say where.
#pragma once

#include <algorithm>
#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

constexpr uint64_t kMaxFeatures = uint64_t{1} << 20; // hidden, kv_heads, head_dim

inline bool isCuda(const DeviceProgram &program) { return program.device == kCudaDevice; }

inline base::Status checkName(std::string_view list, size_t index, std::string_view name) {
  if (!isPrintable(name))
    return base::corrupt("its name holds control characters", place(list, index, ""));
  return base::Status::ok();
}

/// Applies check(item), or check(item, index), to each item of a named list and says in which item
/// it failed.
template <typename Item, typename Check>
base::Status checkEach(std::string_view list, const std::vector<Item> &items, Check check) {
  auto apply = [&](size_t i) -> base::Status {
    if constexpr (std::invocable<Check, const Item &, size_t>)
      return check(items[i], i);
    else
      return check(items[i]);
  };
  for (size_t i = 0; i < items.size(); ++i) {
    if constexpr (requires { items[i].name; }) {
      PLATEN_RETURN_IF_ERROR(checkName(list, i, items[i].name));
      PLATEN_RETURN_IF_ERROR(apply(i).at(place(list, i, items[i].name)));
    } else {
      PLATEN_RETURN_IF_ERROR(apply(i).at(place(list, i, "")));
    }
  }
  return base::Status::ok();
}

/// A program, for a manifest whose limits or graph, and weights, are checked.
base::Status checkProgram(const DeviceProgram &program, const Manifest &manifest);

/// A kernel of a program for CUDA, for any operands and steps of at most `most`. Its scratch_bytes
/// are not looked at.
base::Status checkCudaKernel(const CudaKernel &kernel, const Extents &most);

/// The kernel's tensor maps over a launch's operands; `operand_bytes` [operands], as many as each
/// has at least. For a checked kernel.
base::Status checkTensorMaps(const Kernel &kernel, std::span<const uint64_t> operand_bytes);

/// The features of a target for CUDA.
base::Status checkCudaFeatures(const CodeTarget &target);

/// The signature of a graph, and what a manifest with one must not say.
base::Status checkGraph(const Manifest &manifest);

/// For the checked signature of `manifest`: the buffers of a program. Fills `bytes` [buffers] with
/// what each takes at most.
base::Status checkGraphBuffers(const DeviceProgram &program, const GraphSignature &graph,
                               std::vector<uint64_t> &bytes);

/// The largest value that a size takes in any run, or more. kCorrupt if that is beyond `most`, or
/// if computing its value could overflow.
base::Result<uint64_t> sizeLimit(const base::Size &size, const GraphSignature &graph,
                                 uint64_t most);

} // namespace platen::plan::detail
