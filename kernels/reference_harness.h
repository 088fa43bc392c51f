// References in double for tests of every target's kernels, and the data that they need: they know
// nothing of tiles, pages or panels. Header-only.
#pragma once

#include "kernels/data_harness.h"
#include "kernels/specs.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

namespace platen::kernels::harness {

// --- Matmul

struct Exact {
  double value;     // the sum
  double magnitude; // the sum of absolute values, for the bound
};

/// A row of x as f8 and f4 matmuls round it (specs.h).
inline std::vector<double> narrowRow(const Packing &packing, const float *x, uint64_t k) {
  constexpr float kMost = 3.40282347e38F;
  std::vector<double> rounded(k);
  float most = 0;
  for (uint64_t i = 0; i < k; ++i)
    most = std::max(most, std::abs(x[i]));
  if (most == 0)
    return rounded;
  if (packing.element == Packing::Element::kF8) {
    const float inverse = std::min(448.0F / most, kMost), scale = most / 448.0F;
    for (uint64_t i = 0; i < k; ++i)
      rounded[i] = double{e4m3ToFloat(floatToE4m3(x[i] * inverse))} * scale;
    return rounded;
  }
  const float scale = most / 2688.0F;
  for (uint64_t first = 0; first < k; first += kFloatGroup) {
    const uint64_t last = std::min(first + kFloatGroup, k);
    float largest = 0;
    for (uint64_t i = first; i < last; ++i)
      largest = std::max(largest, std::abs(x[i]));
    const float group = e4m3ToFloat(floatToE4m3(largest / 6.0F / scale));
    const float inverse = group > 0 ? std::min(1.0F / (group * scale), kMost) : 0;
    for (uint64_t i = first; i < last; ++i)
      rounded[i] = double{e2m1ToFloat(floatToE2m1(x[i] * inverse))} * group * scale;
  }
  return rounded;
}

/// x as matmuls by bf16 and f16 weights round it, where they do (specs.h).
inline float roundedToHalf(const Packing &packing, float x) {
  if (packing.element != Packing::Element::kF16)
    return base::bf16ToFloat(base::floatToBf16(x));
  constexpr float kMost = 65504; // NaN passes
  return base::f16ToFloat(base::floatToF16(x > kMost ? kMost : x < -kMost ? -kMost : x));
}

/// Row `t` of x times channel `n` of the weight, in double, from the numbers the kernel sees.
inline Exact dot(const RandomWeight &w, const Buffer &x, uint64_t t, uint64_t n, bool roundX) {
  Exact sum{0, 0};
  if (w.packing.isNarrowFloat()) {
    const std::vector<double> row = narrowRow(w.packing, x.as<float>() + t * w.k, w.k);
    for (uint64_t k = 0; k < w.k; ++k) {
      const double term = row[k] * w.values[n * w.k + k];
      sum.value += term, sum.magnitude += std::abs(term);
    }
    return sum;
  }
  if (!w.packing.isQuantized()) {
    for (uint64_t k = 0; k < w.k; ++k) {
      float value = x.as<float>()[t * w.k + k];
      if (roundX)
        value = roundedToHalf(w.packing, value);
      const double term = double{value} * w.values[n * w.k + k];
      sum.value += term, sum.magnitude += std::abs(term);
    }
    return sum;
  }
  const QuantizedRow layout{w.k};
  const uint8_t *row = x.data() + t * layout.bytes();
  for (uint64_t group = 0; group < layout.groups(); ++group) {
    int64_t integer = 0;
    for (uint64_t k = group * kGroup; k < (group + 1) * kGroup; ++k)
      integer += int64_t{w.codes[n * w.k + k]} * static_cast<int8_t>(row[k]);
    float scale = 0;
    std::memcpy(&scale, row + layout.scalesOffset() + group * 4, 4);
    const double term =
        static_cast<double>(integer) * scale * w.scales[n * layout.groups() + group];
    sum.value += term, sum.magnitude += std::abs(term);
  }
  return sum;
}

inline BufferPtr randomX(const Packing &packing, uint64_t rows, uint64_t k, uint32_t seed) {
  return packing.isQuantized() ? randomPanel(rows, k, seed) : floats(randomFloats(rows * k, seed));
}

/// First `rows` rows of x in a buffer of their own, so that reading further faults.
inline BufferPtr firstRows(const BufferPtr &x, const Packing &packing, uint64_t rows, uint64_t k) {
  const size_t bytes = rows * (packing.isQuantized() ? QuantizedRow{k}.bytes() : k * 4);
  auto part = std::make_shared<Buffer>(bytes);
  std::memcpy(part->data(), x->data(), bytes);
  return part;
}

// --- Rows

/// Checks a panel against the rows it was made of: nearest code to x * 127 / amax, ties to even,
/// exact sums.
inline void expectQuantized(const Buffer &panel, const std::vector<float> &x, uint64_t rows,
                            uint64_t k) {
  const QuantizedRow layout{k};
  for (uint64_t row = 0; row < rows; ++row) {
    const uint8_t *bytes = panel.data() + row * layout.bytes();
    for (uint64_t group = 0; group < layout.groups(); ++group) {
      float largest = 0, scale = 0;
      for (uint64_t i = 0; i < kGroup; ++i)
        largest = std::max(largest, std::abs(x[row * k + group * kGroup + i]));
      std::memcpy(&scale, bytes + layout.scalesOffset() + group * 4, 4);
      ASSERT_EQ(scale, largest / 127.0F);
      const float inverse = largest > 0 ? 127.0F / largest : 0;
      int32_t sum = 0, stored = 0;
      for (uint64_t i = 0; i < kGroup; ++i) {
        const auto code = static_cast<int8_t>(bytes[group * kGroup + i]);
        ASSERT_EQ(code, static_cast<int>(std::nearbyint(x[row * k + group * kGroup + i] * inverse)))
            << row << ' ' << i;
        sum += code;
      }
      std::memcpy(&stored, bytes + layout.sumsOffset() + group * 4, 4);
      ASSERT_EQ(stored, sum);
    }
  }
}

/// y = x / max(x) + column, rows of width 24 within tokens of 100 elements, 3 heads from
/// element 10.
inline RowProgramSpec headsOverMaximum() {
  RowProgramSpec spec;
  spec.rowsPerToken = 3, spec.width = 24;
  spec.rowInputs = {{100, 10}}, spec.columnInputs = 1;
  spec.outputs.resize(1);
  RowStage maximum, divide;
  maximum.inputs = {{RowInput::Kind::kRow, 0}};
  maximum.reductions = {{maximum.block.input(0), RowStage::ReduceKind::kMax}};
  divide.inputs = {
      {RowInput::Kind::kRow, 0}, {RowInput::Kind::kReduction, 0}, {RowInput::Kind::kColumn, 0}};
  const auto x = divide.block.input(0), top = divide.block.input(1), column = divide.block.input(2);
  divide.stores = {{divide.block.add(divide.block.div(x, top), column), 0}};
  spec.stages = {maximum, divide};
  return spec;
}
inline void expectHeadsOverMaximum(const Buffer &y, const std::vector<float> &in,
                                   const std::vector<float> &bias, uint64_t tokens) {
  for (uint64_t t = 0; t < tokens; ++t)
    for (uint64_t head = 0; head < 3; ++head) {
      const float *row = &in[t * 100 + 10 + head * 24];
      const float largest = *std::max_element(row, row + 24);
      for (uint64_t c = 0; c < 24; ++c)
        ASSERT_EQ(y.as<float>()[(t * 3 + head) * 24 + c], row[c] / largest + bias[c]);
    }
}

/// Where exp has no ordinary result, and what it must be there.
inline std::vector<float> expSpecialValues() {
  const float infinity = std::numeric_limits<float>::infinity();
  return {0.0F, -infinity, infinity, std::nanf(""), 200.0F, -200.0F};
}
inline void expectExpOfSpecialValues(const Buffer &y) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float *value = y.as<float>();
  EXPECT_EQ(value[0], 1.0F);
  EXPECT_EQ(value[1], 0.0F);
  EXPECT_EQ(value[2], infinity);
  EXPECT_TRUE(std::isnan(value[3]));
  EXPECT_EQ(value[4], infinity);
  EXPECT_EQ(value[5], 0.0F);
}

inline std::vector<double> normRow(const float *x, const std::vector<float> &w, double epsilon) {
  double sum = 0;
  for (size_t c = 0; c < w.size(); ++c)
    sum += double{x[c]} * x[c];
  std::vector<double> y;
  for (size_t c = 0; c < w.size(); ++c)
    y.push_back(x[c] / std::sqrt(sum / static_cast<double>(w.size()) + epsilon) * w[c]);
  return y;
}

// --- Attention

/// Sequences with `lengths` cached positions, of which this step computes the last `fresh`; pages
/// in shuffled order.
struct Ragged {
  Step step;
  int64_t pages = 0;
  Ragged(const std::vector<int32_t> &lengths, const std::vector<int32_t> &fresh) {
    step.sequenceCount = static_cast<int64_t>(lengths.size());
    int32_t longest = 0;
    for (int32_t length : lengths)
      longest = std::max(longest, length);
    step.pageTableStride = (longest + 15) / 16 + 1;
    for (int32_t length : lengths)
      pages += (length + 15) / 16;
    step.pageTable.assign(static_cast<size_t>(step.pageTableStride * step.sequenceCount), -1);
    int64_t next = 0, stride = 7;
    while (std::gcd(stride, pages) != 1)
      ++stride;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int32_t page = 0; page * 16 < lengths[s]; ++page)
        entry(s, page) = static_cast<int32_t>(next++ * stride % pages);
      for (int32_t position = lengths[s] - fresh[s]; position < lengths[s]; ++position) {
        step.positions.push_back(position);
        step.sequences.push_back(static_cast<int32_t>(s));
      }
    }
    step.tokens = static_cast<int64_t>(step.positions.size());
  }
  int32_t &entry(size_t sequence, int32_t page) {
    return step.pageTable[sequence * static_cast<size_t>(step.pageTableStride) +
                          static_cast<size_t>(page)];
  }
};

struct Heads {
  uint32_t heads, kvHeads, headDim;
};

/// Element of the cache: key (values = 0) or value (1) of `position`.
inline size_t cacheIndex(const Heads &shape, int64_t page, uint32_t head, int values, int64_t slot,
                         uint32_t d) {
  const size_t base =
      ((static_cast<size_t>(page) * shape.kvHeads + head) * 2 + static_cast<size_t>(values)) * 16 *
      shape.headDim;
  return base + (values == 0 ? d * 16 + static_cast<size_t>(slot)
                             : static_cast<size_t>(slot) * shape.headDim + d);
}

/// What qkv_finish leaves of `qkv` [T, (nh + 2 kv) hd], in the same places: q scaled, k rotated.
inline std::vector<double>
finishedQkv(const QkvFinishSpec &spec, const Step &step, const std::vector<float> &qkv,
            const std::vector<float> &qNorm, const std::vector<float> &kNorm,
            const std::vector<float> &cos, const std::vector<float> &sin) {
  std::vector<double> all(qkv.begin(), qkv.end());
  const uint32_t hd = spec.headDim, heads = spec.heads + 2 * spec.kvHeads;
  const size_t half = spec.ropeDim / 2;
  for (size_t unit = 0; unit * hd < all.size(); ++unit) {
    const bool isQ = unit % heads < spec.heads,
               isK = !isQ && unit % heads < spec.heads + spec.kvHeads;
    if (!isQ && !isK)
      continue;
    double *row = &all[unit * hd];
    const auto position = static_cast<size_t>(step.positions[unit / heads]);
    if (isQ ? spec.qNorm : spec.kNorm) {
      const double sum = std::inner_product(row, row + hd, row, 0.0);
      for (uint32_t d = 0; d < hd; ++d)
        row[d] = row[d] / std::sqrt(sum / hd + double{spec.epsilon}) * (isQ ? qNorm : kNorm)[d];
    }
    for (size_t i = 0; i < half; ++i) {
      const size_t ia = spec.interleaved ? 2 * i : i, ib = spec.interleaved ? 2 * i + 1 : i + half;
      const double c = cos[position * half + i], s = sin[position * half + i], a = row[ia],
                   b = row[ib];
      row[ia] = a * c - b * s, row[ib] = b * c + a * s;
    }
    for (uint32_t d = 0; d < hd && isQ; ++d)
      row[d] *= double{spec.qScale};
  }
  return all;
}

/// Cosines and sines [positions, half] of RoPE with base 100.
inline std::pair<std::vector<float>, std::vector<float>> ropeTables(size_t positions, size_t half) {
  std::vector<float> cos, sin;
  for (size_t i = 0; i < positions * half; ++i) {
    const double angle =
        static_cast<double>(i / half) *
        std::pow(100.0, -static_cast<double>(i % half) / static_cast<double>(half));
    cos.push_back(static_cast<float>(std::cos(angle)));
    sin.push_back(static_cast<float>(std::sin(angle)));
  }
  return {cos, sin};
}

inline BufferPtr nanCache(const Heads &shape, int64_t pages) {
  return floats(std::vector<float>(
      static_cast<size_t>(pages) * shape.kvHeads * 2 * 16 * shape.headDim, std::nanf("")));
}

/// Keys and values of every position, and a cache that holds them.
struct Filled {
  std::vector<std::vector<float>> keys, values; // by sequence: [position][kv head][d]
  BufferPtr cache;
};
inline Filled fill(const Heads &shape, Ragged &batch, const std::vector<int32_t> &lengths,
                   uint32_t window, const std::vector<int32_t> &fresh) {
  Filled filled;
  filled.cache = nanCache(shape, batch.pages);
  for (size_t s = 0; s < lengths.size(); ++s) {
    const size_t row = size_t{shape.kvHeads} * shape.headDim;
    filled.keys.push_back(
        randomFloats(static_cast<size_t>(lengths[s]) * row, static_cast<uint32_t>(10 + s)));
    filled.values.push_back(
        randomFloats(static_cast<size_t>(lengths[s]) * row, static_cast<uint32_t>(20 + s)));
    for (int32_t position = 0; position < lengths[s]; ++position)
      for (uint32_t head = 0; head < shape.kvHeads; ++head)
        for (uint32_t d = 0; d < shape.headDim; ++d) {
          const size_t from = static_cast<size_t>(position) * row + head * shape.headDim + d;
          const int64_t page = batch.entry(s, position / 16);
          filled.cache->as<float>()[cacheIndex(shape, page, head, 0, position % 16, d)] =
              filled.keys[s][from];
          filled.cache->as<float>()[cacheIndex(shape, page, head, 1, position % 16, d)] =
              filled.values[s][from];
        }
    // Pages wholly before every token's window are gone.
    const int32_t first = lengths[s] - fresh[s];
    for (int32_t page = 0;
         window != 0 && (page + 1) * 16 <= first - static_cast<int32_t>(window) + 1; ++page)
      batch.entry(s, page) = -1;
  }
  return filled;
}

/// Attention of every element [T, nh, hd], and what bounds of its rounding are made of.
struct Attended {
  std::vector<double> value;
  std::vector<double> spread;    ///< sum of weights * |v - value|: how errors of weights show
  std::vector<double> magnitude; ///< sum of weights * |v|
  std::vector<double> scores;    ///< largest sum of |q k| * scale of the row's keys
};

/// `round` is what the kernel makes of q, k and v before it multiplies them.
inline Attended attend(const PagedAttentionSpec &spec, const Step &step, const Filled &filled,
                       const std::vector<float> &q, const std::vector<float> &sinks,
                       float (*round)(float)) {
  const size_t hd = spec.headDim, width = spec.heads * hd, row = spec.kvHeads * hd;
  Attended all;
  for (std::vector<double> *list : {&all.value, &all.spread, &all.magnitude, &all.scores})
    list->resize(q.size());
  for (size_t unit = 0; unit * hd < q.size(); ++unit) {
    const size_t t = unit / spec.heads, head = unit % spec.heads,
                 kvHead = head / (spec.heads / spec.kvHeads),
                 sequence = static_cast<size_t>(step.sequences[t]);
    const int32_t position = step.positions[t];
    const int32_t first =
        spec.window == 0 ? 0 : std::max(0, position - static_cast<int32_t>(spec.window) + 1);
    std::vector<double> weights;
    double largest = spec.sinks ? double{sinks[head]} : -1e300, scores = 0;
    for (int32_t p = first; p <= position; ++p) {
      const float *key = &filled.keys[sequence][static_cast<size_t>(p) * row + kvHead * hd];
      double dot = 0, magnitude = 0;
      for (size_t d = 0; d < hd; ++d) {
        const double term = double{round(q[t * width + head * hd + d])} * round(key[d]);
        dot += term, magnitude += std::abs(term);
      }
      dot *= double{spec.scale};
      scores = std::max(scores, magnitude * double{spec.scale});
      if (spec.softcap != 0)
        dot = spec.softcap * std::tanh(dot / spec.softcap);
      weights.push_back(dot), largest = std::max(largest, dot);
    }
    const double sink = spec.sinks ? std::exp(double{sinks[head]} - largest) : 0;
    double sum = sink;
    for (double &weight : weights)
      sum += weight = std::exp(weight - largest);
    for (size_t d = 0; d < hd; ++d) {
      const size_t at = unit * hd + d;
      auto value = [&](size_t i) {
        return double{round(
            filled.values[sequence][(static_cast<size_t>(first) + i) * row + kvHead * hd + d])};
      };
      for (size_t i = 0; i < weights.size(); ++i) {
        all.value[at] += weights[i] / sum * value(i);
        all.magnitude[at] += weights[i] / sum * std::abs(value(i));
      }
      for (size_t i = 0; i < weights.size(); ++i)
        all.spread[at] += weights[i] / sum * std::abs(value(i) - all.value[at]);
      all.spread[at] += sink / sum * std::abs(all.value[at]);
      all.scores[at] = scores;
    }
  }
  return all;
}

} // namespace platen::kernels::harness
