#include "compiler/pack/packers.h"

#include "compiler/pack/group_quantizer.h"
#include "compiler/pack/narrow_quantizer.h"
#include "runtime/base/dtype.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace platen::compiler {

using base::DType;
using base::Result;
using base::Status;
using kernels::kGroup;
using kernels::kPanelRows;
using kernels::kQuantBlock;
using kernels::Packing;

namespace {

float loadFloat(const void *data, DType dtype, uint64_t index) {
  const auto *bytes = static_cast<const uint8_t *>(data);
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, bytes + index * 4, 4);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, bytes + index * 2, 2);
  return dtype == DType::kBF16 ? base::bf16ToFloat(bits) : base::f16ToFloat(bits);
}

void storeFloat(uint8_t *to, Packing::Element element, float value) {
  if (element == Packing::Element::kF32) {
    std::memcpy(to, &value, 4);
    return;
  }
  const uint16_t bits =
      element == Packing::Element::kBF16 ? base::floatToBf16(value) : base::floatToF16(value);
  std::memcpy(to, &bits, 2);
}

void storeScale(uint8_t *to, const Packing &packing, float scale) {
  storeFloat(to, packing.scale == DType::kF16 ? Packing::Element::kF16 : Packing::Element::kF32,
             scale);
}

bool isFloatType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::string at(uint64_t n, uint64_t k) {
  return "row " + std::to_string(n) + ", elements from " + std::to_string(k);
}

Status checkRange(const Packing &packing, uint64_t n, uint64_t k, uint64_t first, uint64_t count,
                  size_t bytes) {
  if (packing.layout != Packing::Layout::kPanel16)
    return base::invalidArgument("packing '" + std::string(packing.name) + "' has no panels",
                                 "pack");
  if (n == 0 || k == 0 || first > packing.panels(n) || count > packing.panels(n) - first)
    return base::invalidArgument("panels " + std::to_string(first) + " + " + std::to_string(count) +
                                     " of " + std::to_string(n) + " x " + std::to_string(k),
                                 "pack");
  if (bytes != count * packing.panelBytes(k))
    return base::invalidArgument("the output has " + std::to_string(bytes) + " bytes instead of " +
                                     std::to_string(count * packing.panelBytes(k)),
                                 "pack");
  return Status::ok();
}

/// Element (n, k) of a source, 0 outside it.
float element(const DenseSource &source, uint64_t n, uint64_t k) {
  if (n >= source.n || k >= source.k)
    return 0;
  return loadFloat(source.data, source.dtype,
                   source.transposed ? k * source.n + n : n * source.k + k);
}

/// Writes a quantised group of row `lane` of a one-panel weight of `k` elements a row.
void storeGroup(const QuantizedGroup &group, const Packing &packing, uint64_t lane, uint64_t k0,
                uint64_t k, uint8_t *panel) {
  for (uint64_t i = 0; i < kGroup; ++i) {
    uint8_t &to = panel[packing.elementOffset(lane, k0 + i, k)];
    const auto code = static_cast<uint8_t>(group.codes[i]);
    to = packing.element == Packing::Element::kQ8
             ? code
             : static_cast<uint8_t>(to | code << Packing::nibbleShift(k0 + i));
  }
  storeScale(panel + packing.scaleOffset(lane, k0, k), packing, group.scale);
  if (packing.zeroPoints)
    panel[packing.zeroOffset(lane, k0, k)] = static_cast<uint8_t>(group.zero);
}

QuantizedGroup quantize(const float *x, const Packing &packing) {
  const bool f16 = packing.scale == DType::kF16;
  if (packing.element == Packing::Element::kQ8)
    return quantizeGroup8(x, f16);
  return packing.zeroPoints ? quantizeGroup4WithZero(x, f16) : quantizeGroup4(x, f16);
}

Status packQuantizedPanel(const DenseSource &source, const Packing &packing, uint64_t panel,
                          uint8_t *out) {
  for (uint64_t lane = 0; lane < kPanelRows && panel * kPanelRows + lane < source.n; ++lane)
    for (uint64_t k0 = 0; k0 < source.k; k0 += kGroup) {
      float x[kGroup];
      for (uint64_t i = 0; i < kGroup; ++i) {
        x[i] = element(source, panel * kPanelRows + lane, k0 + i);
        if (!std::isfinite(x[i]))
          return base::unsupported("a weight that is not finite cannot be quantised: " +
                                       at(panel * kPanelRows + lane, k0),
                                   "pack");
      }
      const QuantizedGroup group = quantize(x, packing);
      if (!std::isfinite(group.scale))
        return base::unsupported("a scale does not fit f16: " + at(panel * kPanelRows + lane, k0) +
                                     "; use a packing with f32 scales",
                                 "pack");
      storeGroup(group, packing, lane, k0, source.k, out);
    }
  return Status::ok();
}

Status packNarrowPanel(const DenseSource &source, const Packing &packing, uint64_t panel,
                       uint8_t *out) {
  std::vector<float> row(source.k);
  for (uint64_t lane = 0; lane < kPanelRows && panel * kPanelRows + lane < source.n; ++lane) {
    for (uint64_t k = 0; k < source.k; ++k) {
      row[k] = element(source, panel * kPanelRows + lane, k);
      if (!std::isfinite(row[k]))
        return base::unsupported("a weight that is not finite cannot be quantised: " +
                                     at(panel * kPanelRows + lane, k),
                                 "pack");
    }
    const NarrowRow narrow =
        packing.element == Packing::Element::kF8 ? quantizeRow8(row) : quantizeRow4(row);
    for (uint64_t k = 0; k < source.k; ++k) {
      uint8_t &to = out[packing.elementOffset(lane, k, source.k)];
      to = packing.element == Packing::Element::kF8
               ? narrow.codes[k]
               : static_cast<uint8_t>(to | narrow.codes[k] << Packing::floatNibbleShift(k));
    }
    for (uint64_t group = 0; group < narrow.groupScales.size(); ++group)
      out[packing.groupScaleOffset(lane, group * kernels::kFloatGroup, source.k)] =
          narrow.groupScales[group];
    std::memcpy(out + packing.channelScaleOffset(lane, source.k), &narrow.scale, sizeof(float));
  }
  return Status::ok();
}

Status packFloatPanel(const DenseSource &source, const Packing &packing, uint64_t panel,
                      uint8_t *out) {
  for (uint64_t k = 0; k < source.k; ++k)
    for (uint64_t lane = 0; lane < kPanelRows; ++lane) {
      const float value = element(source, panel * kPanelRows + lane, k);
      if (packing.element == Packing::Element::kF16 && std::isfinite(value) &&
          !std::isfinite(base::f16ToFloat(base::floatToF16(value))))
        return base::unsupported("a weight of " + std::to_string(value) +
                                     ", which is beyond the range of f16: " +
                                     at(panel * kPanelRows + lane, k) + "; use bf16 or f32",
                                 "pack");
      storeFloat(out + packing.elementOffset(lane, k, source.k), packing.element, value);
    }
  return Status::ok();
}

} // namespace

Status packDense(const DenseSource &source, const Packing &packing, uint64_t first, uint64_t count,
                 std::span<uint8_t> out) {
  PLATEN_RETURN_IF_ERROR(checkRange(packing, source.n, source.k, first, count, out.size()));
  if (!isFloatType(source.dtype))
    return base::unsupported("weights of " + std::string(base::dtypeName(source.dtype)) +
                                 "; f32, f16 and bf16 can be packed",
                             "pack");
  std::fill(out.begin(), out.end(), uint8_t{0});
  for (uint64_t i = 0; i < count; ++i) {
    uint8_t *to = out.data() + i * packing.panelBytes(source.k);
    if (packing.isQuantized())
      PLATEN_RETURN_IF_ERROR(packQuantizedPanel(source, packing, first + i, to));
    else if (packing.isNarrowFloat())
      PLATEN_RETURN_IF_ERROR(packNarrowPanel(source, packing, first + i, to));
    else
      PLATEN_RETURN_IF_ERROR(packFloatPanel(source, packing, first + i, to));
  }
  return Status::ok();
}

Status packRaw(const DenseSource &source, const Packing &packing, uint64_t first, uint64_t count,
               std::span<uint8_t> out) {
  if (packing.layout != Packing::Layout::kRaw || packing.element == Packing::Element::kI32)
    return base::invalidArgument(
        "packing '" + std::string(packing.name) + "' is not a raw float packing", "pack");
  const uint64_t elements = source.n * source.k;
  if (first > elements || count > elements - first || out.size() != count * packing.elementBytes())
    return base::invalidArgument("elements " + std::to_string(first) + " + " +
                                     std::to_string(count) + " of " + std::to_string(elements) +
                                     " into " + std::to_string(out.size()) + " bytes",
                                 "pack");
  if (!isFloatType(source.dtype))
    return base::unsupported("weights of " + std::string(base::dtypeName(source.dtype)) +
                                 "; f32, f16 and bf16 can be packed",
                             "pack");
  for (uint64_t i = 0; i < count; ++i)
    storeFloat(out.data() + i * packing.elementBytes(), packing.element,
               loadFloat(source.data, source.dtype, first + i));
  return Status::ok();
}

namespace {

uint64_t blocksOf(const BlockSource &source) {
  return (source.k + source.block - 1) / source.block;
}

Status checkBlocks(const BlockSource &source) {
  if (source.bits != 4 && source.bits != 8)
    return base::unsupported(
        std::to_string(source.bits) + "-bit blocks; 4 and 8 bits are supported", "pack");
  if (source.block < kGroup || source.block > 256 || (source.block & (source.block - 1)) != 0)
    return base::unsupported("blocks of " + std::to_string(source.block) +
                                 " elements; 32, 64, 128 and 256 are supported",
                             "pack");
  if (source.scaleType != DType::kF32 && source.scaleType != DType::kF16)
    return base::unsupported("block scales of " + std::string(base::dtypeName(source.scaleType)) +
                                 "; f32 and f16 are supported",
                             "pack");
  return Status::ok();
}

/// Zero point of block b of row n, in the source's unsigned codes.
int32_t zeroOf(const BlockSource &source, uint64_t n, uint64_t b) {
  if (source.zeros == nullptr)
    return 1 << (source.bits - 1);
  if (source.bits == 8)
    return source.zeros[n * blocksOf(source) + b];
  return source.zeros[n * ((blocksOf(source) + 1) / 2) + b / 2] >> (b % 2 * 4) & 15;
}

int32_t codeOf(const BlockSource &source, uint64_t n, uint64_t k) {
  const uint64_t index =
      (n * blocksOf(source) + k / source.block) * source.block + k % source.block;
  return source.bits == 8 ? source.codes[index] : source.codes[index / 2] >> (index % 2 * 4) & 15;
}

} // namespace

Result<Packing> packingFor(const BlockSource &source) {
  PLATEN_RETURN_IF_ERROR(checkBlocks(source));
  bool f16 = true, zeros = false;
  for (uint64_t n = 0; n < source.n; ++n)
    for (uint64_t b = 0; b < blocksOf(source); ++b) {
      const float scale = loadFloat(source.scales, source.scaleType, n * blocksOf(source) + b);
      f16 = f16 && base::f16ToFloat(base::floatToF16(scale)) == scale;
      zeros = zeros || zeroOf(source, n, b) != 1 << (source.bits - 1);
    }
  return kernels::panelPacking(source.bits == 8 ? Packing::Element::kQ8 : Packing::Element::kQ4,
                               f16 ? DType::kF16 : DType::kF32, zeros);
}

Status packBlocks(const BlockSource &source, const Packing &packing, uint64_t first, uint64_t count,
                  std::span<uint8_t> out) {
  PLATEN_RETURN_IF_ERROR(checkBlocks(source));
  PLATEN_RETURN_IF_ERROR(checkRange(packing, source.n, source.k, first, count, out.size()));
  if (packing.element != (source.bits == 8 ? Packing::Element::kQ8 : Packing::Element::kQ4))
    return base::invalidArgument("packing '" + std::string(packing.name) + "' does not hold " +
                                     std::to_string(source.bits) + "-bit codes",
                                 "pack");
  std::fill(out.begin(), out.end(), uint8_t{0});
  const int32_t shift = source.bits == 8 ? 128 : 0; // q8 codes are signed in panels
  for (uint64_t row = first * kPanelRows; row < std::min((first + count) * kPanelRows, source.n);
       ++row)
    for (uint64_t k0 = 0; k0 < source.k; k0 += kGroup) {
      const uint64_t b = k0 / source.block;
      const float scale = loadFloat(source.scales, source.scaleType, row * blocksOf(source) + b);
      const int32_t zero = zeroOf(source, row, b);
      if (packing.scale == DType::kF16 && base::f16ToFloat(base::floatToF16(scale)) != scale)
        return base::unsupported("a scale is not exact in f16: " + at(row, k0) +
                                     "; use a packing with f32 scales",
                                 "pack");
      if (!packing.zeroPoints && zero != 1 << (source.bits - 1))
        return base::unsupported("zero point " + std::to_string(zero) + ": " + at(row, k0) +
                                     "; use a packing with zero points",
                                 "pack");
      QuantizedGroup group;
      group.scale = scale, group.zero = static_cast<int8_t>(zero - shift);
      for (uint64_t i = 0; i < kGroup; ++i) // padding stands for zero
        group.codes[i] =
            static_cast<int8_t>((k0 + i < source.k ? codeOf(source, row, k0 + i) : zero) - shift);
      uint8_t *panel = out.data() + (row / kPanelRows - first) * packing.panelBytes(source.k);
      storeGroup(group, packing, row % kPanelRows, k0, source.k, panel);
    }
  return Status::ok();
}

} // namespace platen::compiler
