// CUDA kernels of the attention: finished q, k, v, and attention over the paged cache, executed
// from their PTX against double references that know nothing of pages, tiles or splits; bit for bit
// whatever the kernel, the batch and the chunking. Slots of the cache that no position owns are
// uninitialised: reading one fails. Absent pages are -1.
#include "kernels/reference_harness.h"
#include "tests/conformance/kernel_set.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;

struct AttentionCase;

class CudaAttention : public testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
  }
  void pagedAttention(const std::vector<AttentionCase> &cases);
  CudaLimits limits_{.contextTokens = 1024, .stepExtent = 128};
};

float roundBf16(float value) { return base::bf16ToFloat(base::floatToBf16(value)); }

/// The f32 cache as one of bf16; NaN stays NaN.
BufferPtr bf16Cache(const Buffer &cache) {
  const auto half = std::make_shared<Buffer>(cache.bytes() / 2);
  for (size_t i = 0; i < cache.bytes() / 4; ++i) {
    const float value = cache.as<float>()[i];
    half->as<uint16_t>()[i] = std::isnan(value) ? 0x7fc0 : base::floatToBf16(value);
  }
  return half;
}
/// Makes element 0 of every value 1: it comes out as the sum of the weights over itself, whatever
/// they are.
void setFirstValues(const Heads &shape, const std::vector<int32_t> &lengths, Ragged &batch,
                    Filled &filled) {
  const size_t row = size_t{shape.kvHeads} * shape.headDim;
  for (size_t s = 0; s < lengths.size(); ++s)
    for (int32_t position = 0; position < lengths[s]; ++position)
      for (uint32_t head = 0; head < shape.kvHeads; ++head) {
        filled.values[s][static_cast<size_t>(position) * row + head * shape.headDim] = 1;
        if (const int64_t page = batch.entry(s, position / 16); page >= 0)
          filled.cache->as<float>()[cacheIndex(shape, page, head, 1, position % 16, 0)] = 1;
      }
}
float cacheElement(const Buffer &cache, size_t index, bool bf16) {
  return bf16 ? base::bf16ToFloat(cache.as<uint16_t>()[index]) : cache.as<float>()[index];
}

/// q, k and v of `qkv` [T, heads, hd] as one buffer, or as three.
std::vector<BufferPtr> qkvBuffers(const QkvFinishSpec &spec, const std::vector<float> &qkv) {
  if (!spec.separateInputs)
    return {floats(qkv)};
  std::vector<float> parts[3];
  const uint32_t all = spec.heads + 2 * spec.kvHeads;
  for (size_t i = 0; i < qkv.size(); ++i) {
    const size_t head = i / spec.headDim % all;
    parts[head < spec.heads ? 0 : head < spec.heads + spec.kvHeads ? 1 : 2].push_back(qkv[i]);
  }
  return {floats(parts[0]), floats(parts[1]), floats(parts[2])};
}

std::vector<QkvFinishSpec> qkvSpecs() {
  std::vector<QkvFinishSpec> specs;
  const std::vector<Heads> shapes = {{4, 1, 256}, {3, 3, 20}, {8, 4, 64}};
  for (int variant = 0; variant < 8; ++variant)
    for (const Heads &shape : shapes) {
      if (!wholeProduct() && static_cast<size_t>(variant) % shapes.size() !=
                                 static_cast<size_t>(&shape - shapes.data()))
        continue;
      QkvFinishSpec spec;
      spec.heads = shape.heads, spec.kvHeads = shape.kvHeads, spec.headDim = shape.headDim;
      spec.separateInputs = (variant & 1) != 0;
      spec.qNorm = spec.kNorm = (variant & 2) != 0;
      spec.interleaved = (variant & 4) != 0;
      spec.ropeDim = variant == 0 ? 0 : variant == 5 ? shape.headDim / 4 * 2 : shape.headDim;
      spec.qScale = variant % 3 == 0 ? 1.0F : 0.0625F;
      spec.cacheDtype = variant % 3 == 1 ? base::DType::kBF16 : base::DType::kF32;
      specs.push_back(spec);
    }
  return specs;
}

TEST_P(CudaAttention, QkvFinish) {
  KernelSet set(GetParam(), limits_);
  for (const QkvFinishSpec &spec : qkvSpecs())
    set.add(spec);
  ASSERT_EQ(set.compile(), "");
  size_t turn = 0;
  for (const QkvFinishSpec &spec : qkvSpecs()) {
    const Heads shape{spec.heads, spec.kvHeads, spec.headDim};
    Ragged batch({40, 3, 17}, {2, 3, 2}); // among them the last slot of a page
    const auto tokens = static_cast<size_t>(batch.step.tokens);
    const uint32_t hd = shape.headDim, all = shape.heads + 2 * shape.kvHeads;
    std::vector<float> qkv = randomFloats(tokens * all * hd, 1);
    for (size_t i = 0; i < size_t{all} * hd; ++i)
      qkv[i] *= 1e-3F; // a token whose mean square is about the epsilon
    const std::vector<float> qw = randomFloats(hd, 2), kw = randomFloats(hd, 3);
    const auto [cos, sin] = ropeTables(40, spec.ropeDim / 2);
    std::vector<BufferPtr> operands = qkvBuffers(spec, qkv);
    if (spec.qNorm)
      operands.insert(operands.end(), {floats(qw), floats(kw)});
    if (spec.ropeDim != 0)
      operands.insert(operands.end(), {floats(cos), floats(sin)});
    const bool bf16 = spec.cacheDtype == base::DType::kBF16;
    const auto q = std::make_shared<Buffer>(tokens * shape.heads * hd * 4);
    const BufferPtr empty = nanCache(shape, batch.pages), cache = bf16 ? bf16Cache(*empty) : empty;
    operands.insert(operands.end(), {q, cache});
    const CudaKernelInfo &kernel = set.add(spec).front();
    const KernelSet::Run how{.cacheElementBytes = bf16 ? 2U : 4U,
                             .order = orders()[turn++ % orders().size()]};
    ASSERT_EQ(set.run(kernel, batch.step, operands, how), "");
    const std::vector<double> want = finishedQkv(spec, batch.step, qkv, qw, kw, cos, sin);
    size_t written = 0;
    for (size_t t = 0; t < tokens; ++t)
      for (uint32_t head = 0; head < all; ++head)
        for (uint32_t d = 0; d < hd; ++d) {
          const double exact = want[(t * all + head) * hd + d];
          double bound = 2e-6 * (1 + std::abs(exact));
          float got = 0;
          if (head < shape.heads) {
            got = q->as<float>()[(t * shape.heads + head) * hd + d];
          } else {
            const bool isK = head < shape.heads + shape.kvHeads;
            const int32_t position = batch.step.positions[t];
            const int32_t page =
                batch.entry(static_cast<size_t>(batch.step.sequences[t]), position / 16);
            got = cacheElement(*cache,
                               cacheIndex(shape, page, (head - shape.heads) % shape.kvHeads,
                                          isK ? 0 : 1, position % 16, d),
                               bf16);
            bound += bf16 ? 0x1p-8 * std::abs(exact) : 0;
            ++written;
          }
          ASSERT_NEAR(got, exact, bound)
              << kernel.name << ": token " << t << " head " << head << ' ' << d;
        }
    size_t numbers = 0;
    for (size_t i = 0; i < cache->bytes() / (bf16 ? 2 : 4); ++i)
      numbers += std::isnan(cacheElement(*cache, i, bf16)) ? 0 : 1;
    EXPECT_EQ(numbers, written) << kernel.name << " wrote elements of other positions";
  }
}

struct AttentionCase {
  Heads shape;
  uint32_t window = 0;
  float softcap = 0;
  bool sinks = false, bf16 = false;
};

std::vector<AttentionCase> attentionCases() {
  std::vector<AttentionCase> cases = {
      {{4, 1, 256}, 0, 0, false, false},
      {{4, 2, 64}, 300, 5, false, true},
      {{10, 2, 80}, 17, 0, true, false},
  };
  if (wholeProduct())
    cases.insert(cases.end(), {{{4, 1, 256}, 32, 0, false, true},
                               {{4, 2, 32}, 300, 5, false, true},
                               {{12, 2, 16}, 1, 0, false, false},
                               {{3, 3, 80}, 0, 0, true, false},
                               {{2, 2, 128}, 16, 2, true, true},
                               {{8, 2, 128}, 0, 0, false, true},
                               {{6, 2, 64}, 300, 0, true, true},
                               {{4, 1, 256}, 0, 3, true, true},
                               {{24, 1, 48}, 0, 30, false, false}});
  return cases;
}

PagedAttentionSpec specOf(const AttentionCase &one) {
  PagedAttentionSpec spec;
  spec.heads = one.shape.heads, spec.kvHeads = one.shape.kvHeads, spec.headDim = one.shape.headDim;
  spec.scale = 1.0F / std::sqrt(static_cast<float>(one.shape.headDim));
  spec.window = one.window, spec.softcap = one.softcap, spec.sinks = one.sinks;
  spec.cacheDtype = one.bf16 ? base::DType::kBF16 : base::DType::kF32;
  return spec;
}

/// Sequences that end in a page, at its end, a key before the end of a tile of a later chunk, and
/// at the longest context.
const std::vector<int32_t> kLengths = {1, 16, 17, 703, 47, 1024, 257},
                           kFresh = {1, 16, 2, 3, 37, 2, 2};

/// The step's tokens [first, last) alone.
Step part(const Step &step, size_t first, size_t last) {
  Step alone = step;
  alone.tokens = static_cast<int64_t>(last - first);
  auto cut = [&](const std::vector<int32_t> &all) {
    return std::vector<int32_t>(all.begin() + static_cast<int64_t>(first),
                                all.begin() + static_cast<int64_t>(last));
  };
  alone.positions = cut(step.positions), alone.sequences = cut(step.sequences);
  return alone;
}

TEST_P(CudaAttention, PagedAttention) { pagedAttention(attentionCases()); }

/// Families beyond sm_80 with one case, where the whole product is not asked for.
class CudaAttentionFamilies : public CudaAttention {};
TEST_P(CudaAttentionFamilies, PagedAttention) {
  pagedAttention({{{2, 1, 64}, 300, 0, true, true}});
}

void CudaAttention::pagedAttention(const std::vector<AttentionCase> &cases) {
  KernelSet set(GetParam(), limits_);
  for (const AttentionCase &one : cases)
    set.add(specOf(one));
  ASSERT_EQ(set.compile(), "");
  size_t turn = 0;
  for (const AttentionCase &one : cases) {
    const PagedAttentionSpec spec = specOf(one);
    Ragged batch(kLengths, kFresh);
    Filled filled = fill(one.shape, batch, kLengths, one.window, kFresh);
    setFirstValues(one.shape, kLengths, batch, filled);
    const BufferPtr cache = one.bf16 ? bf16Cache(*filled.cache) : filled.cache;
    const auto tokens = static_cast<size_t>(batch.step.tokens);
    const size_t width = size_t{one.shape.heads} * one.shape.headDim;
    std::vector<float> q = randomFloats(tokens * width, 5, 2);
    for (size_t i = tokens / 2 * width; i < tokens * width; i += 7 * width)
      for (size_t d = 0; d < width; ++d)
        q[i + d] *= 40; // scores whose exponential is infinite
    const std::vector<float> sinks = randomFloats(one.shape.heads, 6);
    std::string why;
    auto runPart = [&](const CudaKernelInfo &kernel, size_t first, size_t last,
                       const Order &order) {
      const auto at = q.begin() + static_cast<int64_t>(first * width),
                 end = q.begin() + static_cast<int64_t>(last * width);
      const auto out = std::make_shared<Buffer>((last - first) * width * 4);
      std::vector<BufferPtr> operands = {floats({at, end}), cache};
      if (one.sinks)
        operands.push_back(floats(sinks));
      operands.push_back(out);
      why = set.run(kernel, part(batch.step, first, last), operands,
                    {.cacheElementBytes = one.bf16 ? 2U : 4U, .order = order});
      return toFloats(*out);
    };
    const Attended want = attend(spec, batch.step, filled, q, sinks, roundBf16);
    std::vector<float> bits;
    for (const CudaKernelInfo &kernel : set.add(spec)) {
      SCOPED_TRACE(kernel.name);
      ASSERT_GE(kernel.maxExtent, tokens) << "the test's step fits every kernel";
      for (const Order &order : orders()) {
        const std::vector<float> result = runPart(kernel, 0, tokens, order);
        ASSERT_EQ(why, "");
        if (bits.empty())
          bits = result;
        for (size_t i = 0; i < result.size(); ++i) {
          // p is rounded to bf16 relative to the row's maximum; scores carry the rounding of their
          // sums, softcaps a little more.
          const double weight =
              0x1p-8 + 0x1p-18 + 4 * 0x1p-22 * (one.shape.headDim + 8) * (want.scores[i] + 1);
          const double bound = weight * want.spread[i] * 1.1 + 0x1p-23 * 1100 * want.magnitude[i];
          ASSERT_LE(std::abs(result[i] - want.value[i]), bound)
              << order.name << ": token " << i / width << " element " << i % width << " is "
              << result[i] << ", not " << want.value[i];
          ASSERT_EQ(std::bit_cast<uint32_t>(result[i]), std::bit_cast<uint32_t>(bits[i]))
              << order.name << ": token " << i / width << " element " << i % width;
        }
      }
      // Tokens alone, as decode steps would run them, and a prompt cut elsewhere.
      for (const auto &[first, last] : std::vector<std::pair<size_t, size_t>>{
               {0, 1}, {19, 20}, {5, 22}, {30, 61}, {tokens - 3, tokens - 1}}) {
        const std::vector<float> alone =
            runPart(kernel, first, last, orders()[turn++ % orders().size()]);
        ASSERT_EQ(why, "");
        for (size_t i = 0; i < alone.size(); ++i)
          ASSERT_EQ(std::bit_cast<uint32_t>(alone[i]),
                    std::bit_cast<uint32_t>(bits[first * width + i]))
              << "tokens " << first << " to " << last << " alone: element " << i;
      }
      ASSERT_EQ((runPart(kernel, 0, 0, orders()[1]), why), "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttention, testing::ValuesIn(testedArchitectures()),
                         [](const auto &info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttentionFamilies,
                         testing::ValuesIn(wholeProduct() || onDriver()
                                               ? std::vector<std::string>{}
                                               : std::vector<std::string>{"sm_90a"}),
                         [](const auto &info) { return info.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaAttentionFamilies);

} // namespace
} // namespace platen::conformance
