// QKV finishing and paged attention: against double references that know nothing of pages, and bit
// for bit whatever the batch and the cuts. Cache bytes that no position owns are NaN, absent pages
// are -1.
#include "kernels/host/kernel_harness.h"
#include "kernels/reference_harness.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::kernels {
namespace {

using namespace harness;

class AttentionOn : public testing::TestWithParam<int> {
protected:
  const HostTarget &target() const { return executableTargets()[static_cast<size_t>(GetParam())]; }
};

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
      const auto [cos, sin] = ropeTables(64, half);
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
      const std::vector<double> want = finishedQkv(spec, batch.step, qkv, qw, kw, cos, sin);
      for (size_t t = 0; t < tokens; ++t)
        for (uint32_t head = 0; head < all; ++head) {
          const bool isQ = head < shape.heads, isK = !isQ && head < shape.heads + shape.kvHeads;
          const double *row = &want[(t * all + head) * hd];
          for (uint32_t d = 0; d < hd; ++d) {
            float got = 0;
            if (isQ) {
              got = q->as<float>()[(t * shape.heads + head) * hd + d];
            } else {
              const uint32_t kvHead = head - shape.heads - (isK ? 0 : shape.kvHeads);
              const int32_t position = batch.step.positions[t];
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
    const Attended want =
        attend(spec, batch.step, filled, q, sinks, [](float value) { return value; });
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t i = t * width; i < (t + 1) * width; ++i)
        ASSERT_NEAR(result[i], want.value[i], 5e-6) << "token " << t << " element " << i % width;
      // The token alone, as a decode step would run it.
      Step single = batch.step;
      single.tokens = 1, single.positions = {batch.step.positions[t]},
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
