// QKV finishing and paged attention: against double references that know nothing of pages, and bit
// for bit whatever the batch and the cuts. Cache bytes that no position owns are NaN, absent pages
// are -1.
#include "kernels/host/kernel_harness.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::kernels {
namespace {

using namespace harness;

class AttentionOn : public testing::TestWithParam<int> {
protected:
  const HostTarget &target() const { return executableTargets()[static_cast<size_t>(GetParam())]; }
};

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
    int64_t next = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int32_t page = 0; page * 16 < lengths[s];
           ++page) // 7 is coprime to the page counts used here
        entry(s, page) = static_cast<int32_t>(next++ * 7 % pages);
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
size_t cacheIndex(const Heads &shape, int64_t page, uint32_t head, int values, int64_t slot,
                  uint32_t d) {
  const size_t base =
      ((static_cast<size_t>(page) * shape.kvHeads + head) * 2 + static_cast<size_t>(values)) * 16 *
      shape.headDim;
  return base + (values == 0 ? d * 16 + static_cast<size_t>(slot)
                             : static_cast<size_t>(slot) * shape.headDim + d);
}

BufferPtr nanCache(const Heads &shape, int64_t pages) {
  return floats(std::vector<float>(
      static_cast<size_t>(pages) * shape.kvHeads * 2 * 16 * shape.headDim, std::nanf("")));
}

TEST_P(AttentionOn, QkvFinishAgainstReference) {
  const std::vector<Heads> shapes = {{4, 1, 256}, {4, 2, 32}, {3, 3, 20}, {8, 4, 64}};
  for (const Heads &shape : shapes)
    for (int variant = 0; variant < 8; ++variant) {
      QkvFinishSpec spec;
      spec.heads = shape.heads, spec.kvHeads = shape.kvHeads, spec.headDim = shape.headDim;
      spec.separateInputs = (variant & 1) != 0;
      spec.qNorm = spec.kNorm = (variant & 2) != 0;
      spec.interleaved = (variant & 4) != 0;
      spec.ropeDim = variant == 0 ? 0 : variant == 5 ? shape.headDim / 4 * 2 : shape.headDim;
      spec.qScale = variant % 3 == 0 ? 1.0F : 0.0625F;
      const Code code = compile({spec}, target());
      Ragged batch({40, 3, 17}, {2, 3, 1});
      const size_t tokens = static_cast<size_t>(batch.step.tokens), half = spec.ropeDim / 2;
      const uint32_t hd = shape.headDim, all = shape.heads + 2 * shape.kvHeads;
      const std::vector<float> qkv = randomFloats(tokens * all * hd, 1), qw = randomFloats(hd, 2),
                               kw = randomFloats(hd, 3);
      std::vector<float> cos, sin;
      for (size_t i = 0; i < 64 * half; ++i) {
        const double angle =
            static_cast<double>(i / half) *
            std::pow(100.0, -static_cast<double>(i % half) / static_cast<double>(half));
        cos.push_back(static_cast<float>(std::cos(angle))),
            sin.push_back(static_cast<float>(std::sin(angle)));
      }
      std::vector<BufferPtr> operands;
      if (spec.separateInputs) {
        std::vector<float> parts[3];
        for (size_t i = 0; i < qkv.size(); ++i) {
          const size_t head = i / hd % all;
          parts[head < shape.heads                   ? 0
                : head < shape.heads + shape.kvHeads ? 1
                                                     : 2]
              .push_back(qkv[i]);
        }
        operands = {floats(parts[0]), floats(parts[1]), floats(parts[2])};
      } else {
        operands = {floats(qkv)};
      }
      if (spec.qNorm)
        operands.insert(operands.end(), {floats(qw), floats(kw)});
      if (spec.ropeDim != 0)
        operands.insert(operands.end(), {floats(cos), floats(sin)});
      const auto q = std::make_shared<Buffer>(tokens * shape.heads * hd * 4);
      const BufferPtr cache = nanCache(shape, batch.pages);
      operands.insert(operands.end(), {q, cache});
      run(code, spec, batch.step, operands, 3);
      for (const BufferPtr &operand : operands)
        ASSERT_TRUE(operand->intact());
      size_t written = 0;
      for (size_t t = 0; t < tokens; ++t)
        for (uint32_t head = 0; head < all; ++head) {
          const bool isQ = head < shape.heads, isK = !isQ && head < shape.heads + shape.kvHeads;
          std::vector<double> row(&qkv[(t * all + head) * hd], &qkv[(t * all + head) * hd] + hd);
          const int32_t position = batch.step.positions[t];
          if (spec.qNorm && (isQ || isK)) {
            double sum = 0;
            for (double x : row)
              sum += x * x;
            for (uint32_t d = 0; d < hd; ++d)
              row[d] = row[d] / std::sqrt(sum / hd + double{spec.epsilon}) * (isQ ? qw : kw)[d];
          }
          for (size_t i = 0; i < half && (isQ || isK); ++i) {
            const size_t ia = spec.interleaved ? 2 * i : i,
                         ib = spec.interleaved ? 2 * i + 1 : i + half;
            const double c = cos[static_cast<size_t>(position) * half + i],
                         s = sin[static_cast<size_t>(position) * half + i];
            const double a = row[ia], b = row[ib];
            row[ia] = a * c - b * s, row[ib] = b * c + a * s;
          }
          for (uint32_t d = 0; d < hd; ++d) {
            float got = 0;
            if (isQ) {
              got = q->as<float>()[(t * shape.heads + head) * hd + d];
              row[d] *= double{spec.qScale};
            } else {
              const uint32_t kvHead = head - shape.heads - (isK ? 0 : shape.kvHeads);
              const int32_t page =
                  batch.entry(static_cast<size_t>(batch.step.sequences[t]), position / 16);
              got =
                  cache
                      ->as<float>()[cacheIndex(shape, page, kvHead, isK ? 0 : 1, position % 16, d)];
              ++written;
            }
            ASSERT_NEAR(got, row[d], 2e-6 * (1 + std::abs(row[d])))
                << variant << " token " << t << " head " << head << ' ' << d;
          }
        }
      size_t numbers = 0;
      for (float x : toFloats(*cache))
        numbers += std::isnan(x) ? 0 : 1;
      EXPECT_EQ(numbers, written) << "elements of other positions were written";
    }
}

struct AttentionCase {
  Heads shape;
  uint32_t window;
  float softcap;
  bool sinks;
};

/// Keys and values of every position, and a cache that holds them.
struct Filled {
  std::vector<std::vector<float>> keys, values; // by sequence: [position][kv head][d]
  BufferPtr cache;
};
Filled fill(const Heads &shape, Ragged &batch, const std::vector<int32_t> &lengths, uint32_t window,
            const std::vector<int32_t> &fresh) {
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

TEST_P(AttentionOn, PagedAttentionAgainstReference) {
  const std::vector<AttentionCase> cases = {
      {{4, 1, 256}, 0, 0, false}, {{4, 1, 256}, 32, 0, false}, {{4, 2, 32}, 0, 5, false},
      {{3, 3, 20}, 17, 0, true},  {{10, 2, 64}, 0, 0, true},   {{12, 2, 16}, 1, 0, false},
      {{2, 2, 128}, 16, 2, true},
  };
  const std::vector<int32_t> lengths = {1, 16, 17, 200, 47}, fresh = {1, 16, 2, 3, 40};
  for (const AttentionCase &one : cases) {
    const Heads &shape = one.shape;
    PagedAttentionSpec spec;
    spec.heads = shape.heads, spec.kvHeads = shape.kvHeads, spec.headDim = shape.headDim;
    spec.scale = 1.0F / std::sqrt(static_cast<float>(shape.headDim));
    spec.window = one.window, spec.softcap = one.softcap, spec.sinks = one.sinks;
    PagedAttentionSpec blocked = spec;
    blocked.blockTokens = 8;
    const Code code = compile({spec, blocked}, target());
    Ragged batch(lengths, fresh);
    const Filled filled = fill(shape, batch, lengths, one.window, fresh);
    const size_t tokens = static_cast<size_t>(batch.step.tokens),
                 width = size_t{shape.heads} * shape.headDim;
    const std::vector<float> q = randomFloats(tokens * width, 5, 2),
                             sinks = randomFloats(shape.heads, 6);
    auto runWith = [&](const HostKernelSpec &which, const Step &step,
                       const std::vector<float> &queries, unsigned pieces) {
      const auto out = std::make_shared<Buffer>(queries.size() * 4);
      std::vector<BufferPtr> operands = {floats(queries), filled.cache};
      if (one.sinks)
        operands.push_back(floats(sinks));
      operands.push_back(out);
      run(code, which, step, operands, pieces);
      EXPECT_TRUE(out->intact());
      return toFloats(*out);
    };
    const std::vector<float> result = runWith(spec, batch.step, q, 1);
    EXPECT_EQ(runWith(spec, batch.step, q, 7), result);
    EXPECT_EQ(runWith(blocked, batch.step, q, 3), result);
    for (size_t t = 0; t < tokens; ++t) {
      const auto sequence = static_cast<size_t>(batch.step.sequences[t]);
      const int32_t position = batch.step.positions[t];
      const int32_t first =
          one.window == 0 ? 0 : std::max(0, position - static_cast<int32_t>(one.window) + 1);
      for (uint32_t head = 0; head < shape.heads; ++head) {
        const size_t kvHead = head / (shape.heads / shape.kvHeads),
                     row = size_t{shape.kvHeads} * shape.headDim;
        std::vector<double> scores;
        double largest = one.sinks ? double{sinks[head]} : -1e300;
        for (int32_t p = first; p <= position; ++p) {
          double dot = 0;
          for (uint32_t d = 0; d < shape.headDim; ++d)
            dot += double{q[t * width + head * shape.headDim + d]} *
                   filled.keys[sequence][static_cast<size_t>(p) * row + kvHead * shape.headDim + d];
          dot *= double{spec.scale};
          if (one.softcap != 0)
            dot = one.softcap * std::tanh(dot / one.softcap);
          scores.push_back(dot), largest = std::max(largest, dot);
        }
        double sum = one.sinks ? std::exp(double{sinks[head]} - largest) : 0;
        for (double &score : scores)
          sum += score = std::exp(score - largest);
        for (uint32_t d = 0; d < shape.headDim; ++d) {
          double want = 0;
          for (int32_t p = first; p <= position; ++p)
            want +=
                scores[static_cast<size_t>(p - first)] / sum *
                filled.values[sequence][static_cast<size_t>(p) * row + kvHead * shape.headDim + d];
          ASSERT_NEAR(result[t * width + head * shape.headDim + d], want, 5e-6)
              << "token " << t << " head " << head << ' ' << d;
        }
      }
      // The token alone, as a decode step would run it.
      Step single = batch.step;
      single.tokens = 1, single.positions = {position},
      single.sequences = {batch.step.sequences[t]};
      const auto at = static_cast<std::ptrdiff_t>(t * width),
                 after = static_cast<std::ptrdiff_t>((t + 1) * width);
      const std::vector<float> alone =
          runWith(spec, single, {q.begin() + at, q.begin() + after}, 1);
      ASSERT_TRUE(std::equal(alone.begin(), alone.end(), result.begin() + at))
          << "token " << t << " alone differs";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionOn,
                         testing::Range(0, static_cast<int>(executableTargets().size())));

TEST(AttentionRequest, RefusesByName) {
  PagedAttentionSpec spec;
  spec.heads = 4, spec.kvHeads = 3, spec.headDim = 64;
  EXPECT_NE(describeHostKernel(spec).status().message().find("4 heads"), std::string::npos);
  spec.kvHeads = 2, spec.headDim = 30;
  EXPECT_EQ(describeHostKernel(spec).status().code(), base::StatusCode::kUnsupported);
  QkvFinishSpec finish;
  finish.heads = 4, finish.kvHeads = 2, finish.headDim = 32, finish.ropeDim = 34;
  EXPECT_FALSE(describeHostKernel(finish).isOk());
}

} // namespace
} // namespace platen::kernels
