// Packings: how a weight's bytes lie in the plan. One table; packers write it, kernels read it.
//
// A weight is W[n][k] (n: output channel, k: reduced dimension; for an embedding table n is the
// token). Rows are cut into panels of 16 channels, padded with zeros, so that a vector register
// holds the same k of neighbouring channels. Panels follow each other; a panel's blocks follow each
// other in ascending k.
//
//   panel16.f32          [N/16][K][16] f32
//   panel16.bf16         [N/16][ceil(K/2)][16][2] bf16
//   panel16.f16          [N/16][ceil(K/2)][16][2] f16
//   panel16.q8g32.S[z]   [N/16][ceil(K/64)] blocks of 64 k: codes [2][8][16][4] i8, scales [2][16]
//   S, zero points [2][16] i8 panel16.q4g32.S[z]   [N/16][ceil(K/64)] blocks of 64 k: codes
//   [8][16][4] bytes (low nibble: first 32 k, high nibble:
//                        second 32 k; codes 0..15), scales [2][16] S, zero points [2][16] i8
//   panel16.f8           [N/16] panels: codes [ceil(K/32)][2][16][16] e4m3, then scales [16]
//                        f32
//   panel16.f4           [N/16] panels: codes [ceil(K/64)][2][16][16] bytes (each 2 e2m1 of
//                        neighbouring k, the first in the low nibble), then group scales
//                        [ceil(K/64)][16][4] e4m3 (of 16 k each), then scales [16] f32
//   raw.D                row-major, as many bytes as the elements take
//
// S is f16 or f32. Value of an element: (code - zero) * scale; without `z`, zero is 0 for q8 and 8
// for q4. Padding (n >= N, k >= K) has scale 0. f8 and f4 are code * scale and code * group scale *
// scale, with the scales of the channel: 16 bytes of a channel's k lie together, 16 channels beside
// them, which is both the fragment of mma.sync and the core of tcgen05's operands. Everything here
// is constexpr, thread-safe and free of allocation.
#pragma once

#include "runtime/base/dtype.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace platen::kernels {

/// Channels a panel has; also the vector width (in f32) that every host kernel is written for.
inline constexpr uint64_t kPanelRows = 16;
/// Elements of k that share one scale.
inline constexpr uint64_t kGroup = 32;
/// Elements of k that share one scale of f4.
inline constexpr uint64_t kFloatGroup = 16;
/// Elements of k in one block of an integer packing (two groups), and of f4.
inline constexpr uint64_t kQuantBlock = 64;

struct Packing {
  enum class Layout : uint8_t { kRaw, kPanel16 };
  enum class Element : uint8_t { kF32, kBF16, kF16, kI32, kQ8, kQ4, kF8, kF4 };

  std::string_view name;
  Layout layout = Layout::kRaw;
  Element element = Element::kF32;
  base::DType scale = base::DType::kF32; ///< f16 or f32; meaningless unless isQuantized()
  bool zeroPoints = false;

  /// Integer codes, whose matmuls read a QuantizedRow.
  constexpr bool isQuantized() const { return element == Element::kQ8 || element == Element::kQ4; }
  /// 8- or 4-bit floats, whose matmuls read f32 and round it themselves; GPUs alone have them.
  constexpr bool isNarrowFloat() const {
    return element == Element::kF8 || element == Element::kF4;
  }
  /// bf16 or f16: panels hold pairs of neighbouring k.
  constexpr bool isHalf() const { return element == Element::kBF16 || element == Element::kF16; }
  constexpr bool operator==(const Packing &other) const { return name == other.name; }

  /// Elements of k in one block, the unit in which a panel is laid out.
  constexpr uint64_t blockK() const {
    switch (element) {
    case Element::kQ8:
    case Element::kQ4:
    case Element::kF4:
      return kQuantBlock;
    case Element::kF8:
      return 32;
    default:
      return isHalf() ? 2 : 1;
    }
  }
  constexpr uint64_t codeBytes() const { // of a block
    switch (element) {
    case Element::kQ8:
      return kQuantBlock * kPanelRows;
    case Element::kQ4:
    case Element::kF4:
      return kQuantBlock * kPanelRows / 2;
    default:
      return blockK() * kPanelRows * elementBytes();
    }
  }
  constexpr uint64_t elementBytes() const { // of unquantised elements
    return element == Element::kF32 || element == Element::kI32 ? 4
           : element == Element::kF8                            ? 1
                                                                : 2;
  }
  constexpr uint64_t scaleBytes() const { return scale == base::DType::kF16 ? 2 : 4; }
  constexpr uint64_t scalesOffset() const { return codeBytes(); } // within a block
  constexpr uint64_t zerosOffset() const { return codeBytes() + 2 * kPanelRows * scaleBytes(); }
  constexpr uint64_t blockBytes() const {
    if (!isQuantized())
      return codeBytes();
    return zerosOffset() + (zeroPoints ? 2 * kPanelRows : 0);
  }
  /// The zero point of every group when there are none stored.
  constexpr int32_t defaultZero() const { return element == Element::kQ4 ? 8 : 0; }

  constexpr uint64_t blocks(uint64_t k) const { return (k + blockK() - 1) / blockK(); }
  constexpr uint64_t panels(uint64_t n) const { return (n + kPanelRows - 1) / kPanelRows; }
  /// Bytes of the codes of a panel, behind which narrow floats have their scales.
  constexpr uint64_t panelCodeBytes(uint64_t k) const { return blocks(k) * codeBytes(); }
  constexpr uint64_t groupScaleBytes(uint64_t k) const { // of a panel of f4
    return element == Element::kF4 ? blocks(k) * (kQuantBlock / kFloatGroup) * kPanelRows : 0;
  }
  constexpr uint64_t panelBytes(uint64_t k) const {
    return isNarrowFloat() ? panelCodeBytes(k) + groupScaleBytes(k) + kPanelRows * sizeof(float)
                           : blocks(k) * blockBytes();
  }
  /// Bytes a weight of n channels by k takes.
  constexpr uint64_t bytes(uint64_t n, uint64_t k) const {
    return layout == Layout::kRaw ? n * k * elementBytes() : panels(n) * panelBytes(k);
  }

  /// Byte of element (n, k) of a panel packing with `K` elements a row; for 4 bits see
  /// nibbleShift() and floatNibbleShift().
  constexpr uint64_t elementOffset(uint64_t n, uint64_t k, uint64_t K) const {
    if (isNarrowFloat()) {
      const uint64_t byte = element == Element::kF4 ? k / 2 : k;
      return (n / kPanelRows) * panelBytes(K) + (byte / 16 * kPanelRows + n % kPanelRows) * 16 +
             byte % 16;
    }
    const uint64_t block = (n / kPanelRows) * panelBytes(K) + (k / blockK()) * blockBytes();
    const uint64_t lane = n % kPanelRows;
    const uint64_t inGroup = ((k % kGroup) / 4 * kPanelRows + lane) * 4 + k % 4;
    switch (element) {
    case Element::kQ8:
      return block + (k % kQuantBlock) / kGroup * (kGroup * kPanelRows) + inGroup;
    case Element::kQ4:
      return block + inGroup;
    default:
      return block + (lane * blockK() + k % blockK()) * elementBytes();
    }
  }
  /// 0 or 4: which nibble of the byte at elementOffset() holds element k: of q4, of f4.
  static constexpr unsigned nibbleShift(uint64_t k) { return k % kQuantBlock < kGroup ? 0 : 4; }
  static constexpr unsigned floatNibbleShift(uint64_t k) { return k % 2 == 0 ? 0 : 4; }
  /// Byte of the group scale (e4m3) of element (n, k) of f4, and of the scale (f32) of channel n.
  constexpr uint64_t groupScaleOffset(uint64_t n, uint64_t k, uint64_t K) const {
    return (n / kPanelRows) * panelBytes(K) + panelCodeBytes(K) +
           (k / kQuantBlock * kPanelRows + n % kPanelRows) * (kQuantBlock / kFloatGroup) +
           k % kQuantBlock / kFloatGroup;
  }
  constexpr uint64_t channelScaleOffset(uint64_t n, uint64_t K) const {
    return (n / kPanelRows) * panelBytes(K) + panelCodeBytes(K) + groupScaleBytes(K) +
           n % kPanelRows * sizeof(float);
  }
  /// Byte of the scale of element (n, k).
  constexpr uint64_t scaleOffset(uint64_t n, uint64_t k, uint64_t K) const {
    return (n / kPanelRows) * panelBytes(K) + (k / kQuantBlock) * blockBytes() + scalesOffset() +
           ((k % kQuantBlock) / kGroup * kPanelRows + n % kPanelRows) * scaleBytes();
  }
  /// Byte of the zero point (i8) of element (n, k); only with zeroPoints.
  constexpr uint64_t zeroOffset(uint64_t n, uint64_t k, uint64_t K) const {
    return (n / kPanelRows) * panelBytes(K) + (k / kQuantBlock) * blockBytes() + zerosOffset() +
           (k % kQuantBlock) / kGroup * kPanelRows + n % kPanelRows;
  }
};

/// Every packing there is. `weights` of the manifest name one of these.
inline constexpr std::array<Packing, 17> kPackings = {{
    {"raw.f32", Packing::Layout::kRaw, Packing::Element::kF32},
    {"raw.bf16", Packing::Layout::kRaw, Packing::Element::kBF16},
    {"raw.f16", Packing::Layout::kRaw, Packing::Element::kF16},
    {"raw.i32", Packing::Layout::kRaw, Packing::Element::kI32},
    {"panel16.f32", Packing::Layout::kPanel16, Packing::Element::kF32},
    {"panel16.bf16", Packing::Layout::kPanel16, Packing::Element::kBF16},
    {"panel16.f16", Packing::Layout::kPanel16, Packing::Element::kF16},
    {"panel16.q8g32.f16", Packing::Layout::kPanel16, Packing::Element::kQ8, base::DType::kF16},
    {"panel16.q8g32.f32", Packing::Layout::kPanel16, Packing::Element::kQ8, base::DType::kF32},
    {"panel16.q8g32.f16z", Packing::Layout::kPanel16, Packing::Element::kQ8, base::DType::kF16,
     true},
    {"panel16.q8g32.f32z", Packing::Layout::kPanel16, Packing::Element::kQ8, base::DType::kF32,
     true},
    {"panel16.q4g32.f16", Packing::Layout::kPanel16, Packing::Element::kQ4, base::DType::kF16},
    {"panel16.q4g32.f32", Packing::Layout::kPanel16, Packing::Element::kQ4, base::DType::kF32},
    {"panel16.q4g32.f16z", Packing::Layout::kPanel16, Packing::Element::kQ4, base::DType::kF16,
     true},
    {"panel16.q4g32.f32z", Packing::Layout::kPanel16, Packing::Element::kQ4, base::DType::kF32,
     true},
    {"panel16.f8", Packing::Layout::kPanel16, Packing::Element::kF8},
    {"panel16.f4", Packing::Layout::kPanel16, Packing::Element::kF4},
}};

/// The packing called `name`, if there is one.
constexpr std::optional<Packing> parsePacking(std::string_view name) {
  for (const Packing &packing : kPackings)
    if (packing.name == name)
      return packing;
  return std::nullopt;
}

/// The panel packing of the given element, scale and zero points, e.g. (kQ4, kF16, true).
constexpr Packing panelPacking(Packing::Element element, base::DType scale = base::DType::kF32,
                               bool zeroPoints = false) {
  for (const Packing &packing : kPackings)
    if (packing.layout == Packing::Layout::kPanel16 && packing.element == element &&
        (!packing.isQuantized() || (packing.scale == scale && packing.zeroPoints == zeroPoints)))
      return packing;
  return {};
}

/// One row of a quantised activation panel, what integer matmuls read instead of f32 x. `k` is a
/// multiple of 32.
///   codes i8 [k] | scales f32 [k/32] | sums i32 [k/32] (sum of the group's codes) | padding to 64
///   bytes
/// Value of element i: codes[i] * scales[i/32].
struct QuantizedRow {
  uint64_t k = 0;
  constexpr uint64_t groups() const { return k / kGroup; }
  constexpr uint64_t scalesOffset() const { return k; }
  constexpr uint64_t sumsOffset() const { return k + groups() * 4; }
  constexpr uint64_t bytes() const { return (k + groups() * 8 + 63) / 64 * 64; }
};

} // namespace platen::kernels
