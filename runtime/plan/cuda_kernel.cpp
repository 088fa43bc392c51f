// Arithmetic on what a plan says of CUDA kernels. The limits of tensors are those that the driver
// API documents for cuTensorMapEncodeTiled.
#include "runtime/plan/cuda_kernel.h"

#include "runtime/base/checked.h"
#include "runtime/plan/validate_detail.h"

namespace platen::plan {
namespace {

using base::corrupt;
using base::Result;
using base::Status;

constexpr size_t kMaxTensorRank = 5;
constexpr uint64_t kMaxTensorSize = uint64_t{1} << 32;
constexpr uint64_t kMaxTensorStride = uint64_t{1} << 40; // exclusive
constexpr uint64_t kTensorAlignment = 16;

Status checkShape(const TensorMap &map) {
  PLATEN_RETURN_IF_ERROR(detail::checkRange("element", static_cast<uint64_t>(map.element), 0,
                                            static_cast<uint64_t>(TensorElement::kBF16)));
  PLATEN_RETURN_IF_ERROR(detail::checkRange("swizzle", static_cast<uint64_t>(map.swizzle), 0,
                                            static_cast<uint64_t>(TensorSwizzle::k128B)));
  PLATEN_RETURN_IF_ERROR(
      detail::checkRange("the number of dimensions", map.dimensions.size(), 1, kMaxTensorRank));
  if (map.offset_bytes % kTensorAlignment != 0)
    return corrupt("offset_bytes " + std::to_string(map.offset_bytes) + " is no multiple of 16");
  uint64_t element = elementBytes(map.element);
  if (map.dimensions[0].stride_bytes != element)
    return corrupt("the first stride is " + std::to_string(map.dimensions[0].stride_bytes) +
                   " bytes, must be the element's " + std::to_string(element));
  for (size_t i = 0; i < map.dimensions.size(); ++i) {
    const TensorDimension &dimension = map.dimensions[i];
    bool last = i + 1 == map.dimensions.size();
    PLATEN_RETURN_IF_ERROR(
        detail::checkRange("size", dimension.size, last ? 0 : 1, kMaxTensorSize));
    PLATEN_RETURN_IF_ERROR(detail::checkRange("box", dimension.box, 1, 256));
    if (i == 0)
      continue;
    PLATEN_RETURN_IF_ERROR(
        detail::checkRange("stride_bytes", dimension.stride_bytes, 16, kMaxTensorStride - 1));
    if (dimension.stride_bytes % kTensorAlignment != 0)
      return corrupt("stride_bytes " + std::to_string(dimension.stride_bytes) +
                     " is no multiple of 16");
  }
  uint64_t row = map.dimensions[0].box * element;
  if (row % kTensorAlignment != 0)
    return corrupt("a box has rows of " + std::to_string(row) + " bytes, no multiple of 16");
  if (map.swizzle != TensorSwizzle::kNone) {
    uint64_t swizzled = uint64_t{16} << static_cast<unsigned>(map.swizzle);
    PLATEN_RETURN_IF_ERROR(detail::checkRange("the bytes of a box's row", row, 1, swizzled));
  }
  return Status::ok();
}

} // namespace

Result<std::vector<TensorDimension>> resolveDimensions(const TensorMap &map,
                                                       uint64_t operand_bytes) {
  PLATEN_RETURN_IF_ERROR(checkShape(map));
  std::vector<TensorDimension> dimensions = map.dimensions;
  // Bytes from the first element to the last of all dimensions but the last: at most 4 * 2^72 in
  // theory, so sums are checked.
  uint64_t inner = elementBytes(map.element);
  for (size_t i = 0; i + 1 < dimensions.size(); ++i) {
    PLATEN_ASSIGN_OR_RETURN(uint64_t step, base::checkedMul(dimensions[i].size - 1,
                                                            dimensions[i].stride_bytes, "tensor"));
    PLATEN_ASSIGN_OR_RETURN(inner, base::checkedAdd(inner, step, "tensor"));
  }
  if (!base::fitsInside(map.offset_bytes, inner, operand_bytes))
    return corrupt("the tensor does not lie inside its operand of " +
                   std::to_string(operand_bytes) + " bytes");
  TensorDimension &last = dimensions.back();
  uint64_t most = (operand_bytes - map.offset_bytes - inner) / last.stride_bytes + 1;
  if (last.size > most)
    return corrupt("the tensor does not lie inside its operand of " +
                   std::to_string(operand_bytes) + " bytes, which hold " + std::to_string(most) +
                   " of its " + std::to_string(last.size));
  if (last.size == 0)
    last.size = std::min(most, kMaxTensorSize);
  return dimensions;
}

std::optional<CudaArchitecture> parseCudaArchitecture(std::string_view text) {
  CudaArchitecture parsed;
  parsed.is_ptx = text.starts_with("compute_");
  if (!parsed.is_ptx && !text.starts_with("sm_"))
    return std::nullopt;
  text.remove_prefix(parsed.is_ptx ? 8 : 3);
  if (text.ends_with('a') || text.ends_with('f')) {
    parsed.suffix = text.back();
    text.remove_suffix(1);
  }
  if (text.size() < 2 || text.size() > 3 || text[0] == '0' ||
      !std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  for (char digit : text)
    parsed.capability = parsed.capability * 10 + static_cast<uint32_t>(digit - '0');
  return parsed;
}

bool CudaArchitecture::runsOn(uint32_t device) const {
  bool same_major = capability / 10 == device / 10;
  if (suffix == 'a')
    return capability == device;
  if (suffix == 'f' || !is_ptx)
    return same_major && capability <= device;
  return capability <= device;
}

} // namespace platen::plan
