// See bounds.h.
#include "tools/tune/bounds.h"

#include "kernels/packing.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace platen::tune {

using base::Result;

namespace {

constexpr double kF32Unit = 0x1p-24, kBF16Unit = 0x1p-9;
constexpr uint32_t kFillWord = 0xffffffff;

/// The second part of a kernel's name, e.g. "q8_q4g32".
std::string_view dtypesOf(const plan::Kernel &kernel, std::string_view operation) {
  std::string_view name = kernel.name;
  name = name.substr(0, name.find("__"));
  return name.starts_with(operation) && name.size() > operation.size()
             ? name.substr(operation.size() + 1)
             : std::string_view();
}

/// What a launch's sums run over: the last dimension of its largest matrix, or its longest row.
uint64_t summedElements(const plan::Manifest &manifest, const plan::DeviceProgram &program,
                        const plan::Launch &launch, bool matrices) {
  uint64_t k = 0;
  for (const plan::Operand &operand : launch.operands) {
    if (operand.kind == plan::OperandKind::kBuffer && !matrices)
      k = std::max(k, program.buffers[operand.index].row_bytes / 4);
    if (operand.kind == plan::OperandKind::kWeight && matrices &&
        manifest.weights[operand.index].shape.size() == 2)
      k = std::max(k, manifest.weights[operand.index].shape.back());
  }
  return k;
}

double cacheUnit(base::DType dtype) {
  switch (dtype) {
  case base::DType::kBF16:
    return 2 * kBF16Unit;
  case base::DType::kF16:
    return 0x1p-10;
  default:
    return 0;
  }
}

template <typename T> T load(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string describe(const std::string &where, double got, double want, double allowed) {
  char text[200];
  if (!std::isfinite(got)) {
    std::snprintf(text, sizeof text, "%s: no number, as what stays unwritten, instead of %.9g",
                  where.c_str(), want);
    return text;
  }
  std::snprintf(text, sizeof text, "%s: %.9g instead of %.9g, at most %.3g apart", where.c_str(),
                got, want, allowed);
  return text;
}

/// Values of one row, next to the host's; `device` and `host` give element i.
class RowComparison {
public:
  RowComparison(Difference &result, double bound) : result_(result), bound_(bound) {}
  /// False: the host's value is no number.
  template <typename Device, typename Host, typename Where>
  bool compare(uint64_t count, Device device, Host host, Where where) {
    double magnitude = 0;
    for (uint64_t i = 0; i < count; ++i)
      if (const auto value = host(i)) {
        if (!std::isfinite(*value))
          return false;
        magnitude = std::max(magnitude, std::abs(*value));
      }
    const double allowed = bound_ * magnitude;
    for (uint64_t i = 0; i < count; ++i)
      if (const auto want = host(i))
        check(device(i), *want, allowed, [&] { return where(i); });
    return true;
  }

private:
  template <typename Where> void check(double got, double want, double allowed, Where where) {
    if (got == want)
      return;
    const double apart = std::abs(got - want);
    const double share = std::isfinite(got) && allowed > 0 ? apart / allowed : INFINITY;
    result_.worst = std::max(result_.worst, share);
    if (share > 1 && !result_.first)
      result_.first = describe(where(), got, want, allowed);
  }
  Difference &result_;
  double bound_;
};

std::string rowAndElement(uint64_t row, uint64_t element) {
  return "row " + std::to_string(row) + ", element " + std::to_string(element);
}

/// A quantised row: scales within the bound, codes that are neighbours. A row of the fill differs
/// from any other in its scales, which are then no numbers.
bool compareQuantized(Difference &result, std::span<const std::byte> device,
                      std::span<const std::byte> host, uint64_t row, const BufferLayout &layout,
                      double bound) {
  const kernels::QuantizedRow format{layout.k};
  using Value = std::optional<double>;
  RowComparison scales(result, bound);
  const bool sound = scales.compare(
      format.groups(),
      [&](uint64_t g) { return double{load<float>(device, format.scalesOffset() + g * 4)}; },
      [&](uint64_t g) { return Value(load<float>(host, format.scalesOffset() + g * 4)); },
      [&](uint64_t g) { return rowAndElement(row, g * kernels::kGroup) + " (the group's scale)"; });
  for (uint64_t i = 0; sound && i < layout.k; ++i) {
    const int got = load<int8_t>(device, i), want = load<int8_t>(host, i);
    if (std::abs(got - want) > 1 && !result.first) {
      result.worst = INFINITY;
      result.first = describe(rowAndElement(row, i) + " (its code)", got, want, 1);
    }
  }
  for (uint64_t g = 0; sound && g < format.groups(); ++g) {
    int sum = 0;
    for (uint64_t i = 0; i < kernels::kGroup; ++i)
      sum += load<int8_t>(device, g * kernels::kGroup + i);
    const int got = load<int32_t>(device, format.sumsOffset() + g * 4);
    if (got != sum && !result.first) {
      result.worst = INFINITY;
      result.first = describe(rowAndElement(row, g * kernels::kGroup) +
                                  " (the group's sum; its own codes give the other)",
                              got, sum, 0);
    }
  }
  return sound;
}

} // namespace

Result<std::vector<BufferLayout>> bufferLayouts(const plan::Manifest &manifest,
                                                const plan::DeviceProgram &program) {
  std::vector<BufferLayout> layouts(program.buffers.size());
  for (const plan::Launch &launch : program.launches) {
    const plan::Kernel &kernel = program.kernels[launch.variants.front().kernel];
    if (!dtypesOf(kernel, "matmul").starts_with("q8_"))
      continue;
    const uint64_t k = summedElements(manifest, program, launch, true);
    const plan::Operand &x = launch.operands.front();
    if (x.kind != plan::OperandKind::kBuffer ||
        program.buffers[x.index].row_bytes != kernels::QuantizedRow{k}.bytes())
      return base::unsupported("launch '" + launch.name + "' should read rows of " +
                               std::to_string(k) + " quantised elements, as '" + kernel.name +
                               "' says, but its first operand has another size");
    layouts[x.index] = {true, k};
  }
  return layouts;
}

double relativeBound(const plan::Manifest &manifest, const plan::DeviceProgram &program,
                     const plan::Launch &launch, const plan::Kernel &kernel) {
  const std::string &operation = kernel.cuda->operation;
  const std::string_view dtypes = dtypesOf(kernel, operation);
  if (dtypes.find("i32") != std::string_view::npos)
    return 0;
  if (operation == "embed" || operation == "quantize_rows")
    return 16 * kF32Unit;
  const bool is_matmul = operation == "matmul";
  const auto k = static_cast<double>(summedElements(manifest, program, launch, is_matmul));
  if (operation == "row_program" || operation == "qkv_finish") {
    double narrow = 0;
    for (const plan::Operand &operand : launch.operands)
      if (operand.kind == plan::OperandKind::kCache)
        narrow = std::max(narrow, cacheUnit(program.caches[operand.index].dtype));
    return (64 + k) * kF32Unit + narrow;
  }
  if (operation == "paged_attention")
    return 16 * kBF16Unit;
  if (!is_matmul)
    return 0;
  const bool is_narrow = dtypes.ends_with("_bf16") || dtypes.ends_with("_f16");
  return is_narrow ? 8 * kBF16Unit : 4 * (64 + k) * kF32Unit;
}

Result<Difference> compareRows(std::span<const std::byte> device, std::span<const std::byte> host,
                               uint64_t row_bytes, const BufferLayout &layout, double bound) {
  Difference result;
  for (uint64_t row = 0; row * row_bytes < device.size(); ++row) {
    const auto got = device.subspan(row * row_bytes, row_bytes);
    const auto want = host.subspan(row * row_bytes, row_bytes);
    bool sound = true;
    if (std::memcmp(got.data(), want.data(), row_bytes) == 0 && layout.is_quantized)
      continue;
    if (layout.is_quantized) {
      sound = compareQuantized(result, got, want, row, layout, bound);
    } else {
      RowComparison comparison(result, bound);
      sound = comparison.compare(
          row_bytes / 4, [&](uint64_t i) { return double{load<float>(got, i * 4)}; },
          [&](uint64_t i) -> std::optional<double> {
            if (load<uint32_t>(want, i * 4) == kFillWord)
              return std::nullopt;
            return load<float>(want, i * 4);
          },
          [&](uint64_t i) { return rowAndElement(row, i); });
    }
    if (!sound)
      return base::internalError("row " + std::to_string(row) +
                                 " of the reference is no number: nothing can be compared with it");
  }
  return result;
}

namespace {

double cacheValue(std::span<const std::byte> bytes, uint64_t element, base::DType dtype) {
  switch (dtype) {
  case base::DType::kF32:
    return load<float>(bytes, element * 4);
  case base::DType::kBF16: {
    const uint32_t bits = uint32_t{load<uint16_t>(bytes, element * 2)} << 16U;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  case base::DType::kF16: {
    const auto bits = load<uint16_t>(bytes, element * 2);
    const int exponent = bits >> 10U & 31U;
    const double fraction = bits & 1023U;
    const double magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(1024 + fraction, exponent - 25);
    return bits >> 15U != 0 ? -magnitude : magnitude;
  }
  default:
    return load<int8_t>(bytes, element);
  }
}

} // namespace

Result<Difference> comparePages(std::span<const std::byte> device, std::span<const std::byte> host,
                                const plan::Cache &cache, uint32_t page_tokens, double bound) {
  Difference result;
  RowComparison comparison(result, bound);
  const uint64_t half = uint64_t{page_tokens} * cache.head_dim;
  const uint64_t bytes = static_cast<uint64_t>(base::bitWidth(cache.dtype)) / 8;
  const auto filled = static_cast<uint64_t>(kFill);
  for (uint64_t base = 0, block = 0; base * bytes < device.size(); base += half, ++block) {
    const bool keys = block % 2 == 0; // [head_dim, page_tokens], values [page_tokens, head_dim]
    for (uint64_t slot = 0; slot < page_tokens; ++slot) {
      auto element = [&](uint64_t d) {
        return base + (keys ? d * page_tokens + slot : slot * cache.head_dim + d);
      };
      auto isFill = [&](uint64_t d) {
        const auto begin = host.begin() + static_cast<std::ptrdiff_t>(element(d) * bytes);
        return bytes > 1 &&
               std::all_of(begin, begin + static_cast<std::ptrdiff_t>(bytes),
                           [&](std::byte b) { return static_cast<uint64_t>(b) == filled; });
      };
      const bool sound = comparison.compare(
          cache.head_dim, [&](uint64_t d) { return cacheValue(device, element(d), cache.dtype); },
          [&](uint64_t d) -> std::optional<double> {
            if (isFill(d))
              return std::nullopt;
            return cacheValue(host, element(d), cache.dtype);
          },
          [&](uint64_t d) {
            return "page " + std::to_string(block / 2 / cache.kv_heads) + ", head " +
                   std::to_string(block / 2 % cache.kv_heads) + (keys ? ", key " : ", value ") +
                   std::to_string(slot) + ", element " + std::to_string(d);
          });
      if (!sound)
        return base::internalError("a page of the reference's cache holds no numbers");
    }
  }
  return result;
}

void clearPadding(std::span<std::byte> rows, uint64_t row_bytes, const BufferLayout &layout) {
  if (!layout.is_quantized)
    return;
  const kernels::QuantizedRow format{layout.k};
  const uint64_t used = format.sumsOffset() + format.groups() * 4;
  for (uint64_t row = 0; row * row_bytes < rows.size(); ++row)
    std::fill(rows.begin() + static_cast<std::ptrdiff_t>(row * row_bytes + used),
              rows.begin() + static_cast<std::ptrdiff_t>((row + 1) * row_bytes), std::byte{0});
}

} // namespace platen::tune
