// What tests and benchmarks of every target's kernels share: guarded buffers, steps, and packed
// random weights together with the numbers they stand for. Header-only.
#pragma once

#include "kernels/narrow_float.h"
#include "kernels/packing.h"
#include "runtime/base/status.h"
#include "runtime/plan/kernel_abi.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace platen::kernels::harness {

[[noreturn]] inline void die(const std::string &why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}
template <typename T> T must(base::Result<T> result) {
  if (!result.isOk())
    die(result.status().toString());
  return std::move(result).value();
}

/// Bytes between canaries, an unreadable page right after the padding that the ABI promises: an
/// access beyond it faults.
class Buffer {
public:
  /// `padding`: readable bytes after the content (64 for activations, 0 for weights, rounded to the
  /// alignment of 64).
  explicit Buffer(size_t bytes, size_t padding = 64) : bytes_(bytes) {
    content_ = (bytes + 63) / 64 * 64 + padding;
    const size_t pages = (content_ + 64 + kPage - 1) / kPage * kPage;
    mapped_ = pages + kPage;
    memory_ = static_cast<uint8_t *>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED)
      die("mmap failed");
    mprotect(memory_ + pages, kPage, PROT_NONE);
    data_ = memory_ + pages - content_;
    std::memset(memory_, kCanary, pages);
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { munmap(memory_, mapped_); }

  uint8_t *data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <typename T> T *as() const { return reinterpret_cast<T *>(data_); }
  /// Whether nothing was written around the content.
  bool intact() const {
    const uint8_t *end = data_ + content_;
    return std::all_of(memory_, data_, [](uint8_t b) { return b == kCanary; }) &&
           std::all_of(static_cast<const uint8_t *>(data_ + bytes_), end,
                       [](uint8_t b) { return b == kCanary; });
  }

private:
  static constexpr size_t kPage = 4096;
  static constexpr uint8_t kCanary = 0xa5;
  size_t bytes_, content_, mapped_;
  uint8_t *memory_, *data_;
};
using BufferPtr = std::shared_ptr<Buffer>;

inline BufferPtr floats(const std::vector<float> &values) {
  auto buffer = std::make_shared<Buffer>(values.size() * 4);
  std::memcpy(buffer->data(), values.data(), values.size() * 4);
  return buffer;
}
inline std::vector<float> toFloats(const Buffer &buffer) {
  return {buffer.as<float>(), buffer.as<float>() + buffer.bytes() / 4};
}
inline std::vector<float> randomFloats(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// The arrays of a PlatenStep.
struct Step {
  std::vector<int32_t> tokenIds, positions, sequences, rowTokens, pageTable;
  int64_t tokens = 0, rows = 0, sequenceCount = 0, pageTableStride = 0;
  PlatenStep abi() const {
    return {tokens,           rows,
            sequenceCount,    pageTableStride,
            tokenIds.data(),  positions.data(),
            sequences.data(), rowTokens.data(),
            pageTable.data()};
  }
};

/// A packed weight with random content and the values it stands for, [n][k].
struct RandomWeight {
  Packing packing;
  uint64_t n, k;
  BufferPtr packed;
  std::vector<double> values;
  std::vector<int32_t> codes; // quantised: code - zero point
  std::vector<float> scales;  // quantised: [n][k/32]
};

/// Element (row, i) of f8 or f4 with a random code, and its scales where they begin; all bits of a
/// group's scale occur. Returns its value.
inline double putNarrow(uint8_t *bytes, const Packing &packing, uint64_t row, uint64_t i,
                        uint64_t k, std::mt19937 &random) {
  const bool f4 = packing.element == Packing::Element::kF4;
  const uint64_t scaleAt = packing.channelScaleOffset(row, k);
  float scale = 0, group = 1;
  if (i == 0) {
    scale = 0.01F * (1 + static_cast<float>(random() % 1000) / 300);
    std::memcpy(bytes + scaleAt, &scale, 4);
  }
  std::memcpy(&scale, bytes + scaleAt, 4);
  if (f4) {
    uint8_t &at = bytes[packing.groupScaleOffset(row, i, k)];
    if (i % kFloatGroup == 0)
      at = static_cast<uint8_t>(random() % 8 == 0 ? random() % 0x7f : 0x30 + random() % 0x10);
    group = e4m3ToFloat(at);
  }
  uint8_t code = static_cast<uint8_t>(random() % (f4 ? 16 : 256));
  if (!f4 && (code & 0x7fU) == 0x7f) // not a number
    code ^= 1U;
  uint8_t &to = bytes[packing.elementOffset(row, i, k)];
  to = f4 ? static_cast<uint8_t>(to | code << Packing::floatNibbleShift(i)) : code;
  return double{f4 ? e2m1ToFloat(code) : e4m3ToFloat(code)} * group * scale;
}

inline RandomWeight randomWeight(const Packing &packing, uint64_t n, uint64_t k, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  RandomWeight weight{
      packing, n, k, std::make_shared<Buffer>(packing.bytes(n, k), 0), std::vector<double>(n * k),
      {},      {}};
  uint8_t *bytes = weight.packed->data();
  std::memset(bytes, 0, weight.packed->bytes());
  const bool q8 = packing.element == Packing::Element::kQ8;
  weight.codes.resize(packing.isQuantized() ? n * k : 0);
  weight.scales.resize(packing.isQuantized() ? n * (k / kGroup) : 0);
  auto putFloat = [](uint8_t *at, float value, unsigned width,
                     bool half) { // returns what is stored
    if (width == 4) {
      std::memcpy(at, &value, 4);
      return value;
    }
    const uint16_t bits = half ? base::floatToF16(value) : base::floatToBf16(value);
    std::memcpy(at, &bits, 2);
    return half ? base::f16ToFloat(bits) : base::bf16ToFloat(bits);
  };
  for (uint64_t row = 0; row < n; ++row) {
    float scale = 0;
    int32_t zero = packing.defaultZero();
    for (uint64_t i = 0; i < k; ++i) {
      double &value = weight.values[row * k + i];
      if (packing.isNarrowFloat()) {
        value = putNarrow(bytes, packing, row, i, k, random);
        continue;
      }
      if (!packing.isQuantized()) {
        const uint64_t at = packing.layout == Packing::Layout::kRaw
                                ? (row * k + i) * packing.elementBytes()
                                : packing.elementOffset(row, i, k);
        value = putFloat(bytes + at, normal(random), static_cast<unsigned>(packing.elementBytes()),
                         packing.element == Packing::Element::kF16);
        continue;
      }
      if (i % kGroup == 0) {
        scale = putFloat(bytes + packing.scaleOffset(row, i, k),
                         std::abs(normal(random)) * 0.01F + 0.001F,
                         static_cast<unsigned>(packing.scaleBytes()), true);
        weight.scales[row * (k / kGroup) + i / kGroup] = scale;
        if (packing.zeroPoints) {
          zero =
              q8 ? static_cast<int32_t>(random() % 256) - 128 : static_cast<int32_t>(random() % 16);
          bytes[packing.zeroOffset(row, i, k)] = static_cast<uint8_t>(zero);
        }
      }
      // Extremes often: -128 and 127 are where saturation would show.
      const uint32_t dice = random() % 8;
      const int32_t code = q8 ? (dice == 0   ? -128
                                 : dice == 1 ? 127
                                             : static_cast<int32_t>(random() % 256) - 128)
                              : (dice == 0 ? 15 : static_cast<int32_t>(random() % 16));
      uint8_t &at = bytes[packing.elementOffset(row, i, k)];
      at = q8 ? static_cast<uint8_t>(code)
              : static_cast<uint8_t>(at | code << Packing::nibbleShift(i));
      weight.codes[row * k + i] = code - zero;
      value = double{scale} * (code - zero);
    }
  }
  return weight;
}

/// A QuantizedRow panel with random codes, full range, [rows].
inline BufferPtr randomPanel(uint64_t rows, uint64_t k, uint32_t seed) {
  const QuantizedRow layout{k};
  std::mt19937 random(seed);
  auto panel = std::make_shared<Buffer>(rows * layout.bytes());
  std::memset(panel->data(), 0, panel->bytes());
  for (uint64_t row = 0; row < rows; ++row) {
    uint8_t *bytes = panel->data() + row * layout.bytes();
    for (uint64_t group = 0; group < layout.groups(); ++group) {
      int32_t sum = 0;
      for (uint64_t i = 0; i < kGroup; ++i) {
        const uint32_t dice = random() % 6;
        const int32_t code = dice == 0   ? 127
                             : dice == 1 ? -127
                                         : static_cast<int32_t>(random() % 255) - 127;
        bytes[group * kGroup + i] = static_cast<uint8_t>(code);
        sum += code;
      }
      const float scale = static_cast<float>(random() % 1000 + 1) * 1e-4F;
      std::memcpy(bytes + layout.scalesOffset() + group * 4, &scale, 4);
      std::memcpy(bytes + layout.sumsOffset() + group * 4, &sum, 4);
    }
  }
  return panel;
}

} // namespace platen::kernels::harness
