// Tests of the conformance tests: kernels broken in one place, each as a slip of the pen would.
// Every mutant must be seen: by a check of the simulator, or by a result that is not the kernel's.
#include "kernels/reference_harness.h"
#include "tests/conformance/simulated_kernels.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;

struct Mutant {
  const char *tile; ///< how the mutated kernel's tile begins
  const char *from, *to;
};

class CudaMutants : public testing::Test {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
  }

  using Operands = std::function<std::vector<BufferPtr>()>; ///< new ones; the last is the output

  /// Every mutant differs from its kernel, in one of the orders at least.
  void expectSeen(const CudaKernelSpec &spec, const std::vector<Mutant> &mutants, const Step &step,
                  const Operands &operands) {
    KernelSet set("sm_80", {.contextTokens = 512, .stepExtent = 64});
    const std::vector<CudaKernelInfo> kernels = set.add(spec);
    std::vector<std::pair<CudaKernelInfo, CudaKernelInfo>> pairs;
    for (const Mutant &mutant : mutants) {
      const auto kernel = std::find_if(kernels.begin(), kernels.end(), [&](const auto &one) {
        return one.tile.starts_with(mutant.tile);
      });
      ASSERT_NE(kernel, kernels.end()) << mutant.tile;
      pairs.emplace_back(*kernel, set.addMutant(*kernel, mutant.from, mutant.to));
    }
    ASSERT_EQ(set.compile(), "");
    for (size_t i = 0; i < mutants.size(); ++i) {
      const std::vector<BufferPtr> right = operands();
      ASSERT_EQ(set.run(pairs[i].first, step, right, {}), "");
      bool isSeen = false;
      for (const Order &order : orders()) {
        const std::vector<BufferPtr> wrong = operands();
        const std::string why = set.run(pairs[i].second, step, wrong, {.order = order});
        isSeen |= !why.empty() || std::memcmp(wrong.back()->data(), right.back()->data(),
                                              right.back()->bytes()) != 0;
      }
      EXPECT_TRUE(isSeen) << "nothing shows that '" << mutants[i].from << "' became '"
                          << mutants[i].to << "'";
    }
  }
};

TEST_F(CudaMutants, OfMatmulsInBf16AreSeen) {
  MatmulSpec spec;
  spec.k = 602, spec.n = {40}, spec.packing = *parsePacking("panel16.bf16");
  const RandomWeight weight = randomWeight(spec.packing, 40, spec.k, 1);
  const BufferPtr x = randomX(spec.packing, 13, spec.k, 2);
  Step step;
  step.tokens = 13;
  expectSeen(
      spec,
      {
          {"prefill", "copyAsyncWait<C::kStages - 2>", "copyAsyncWait<C::kStages - 1>"},
          {"prefill", "__syncthreads(); // stage i is there for all; all are done with stage i - 1",
           ""},
          {"prefill", "s.x + i % 2 * kXStage, 0)", "s.x, 0)"},
          {"prefill", "const u32 chunk = c < kCodeChunks ? c ^ (row / 2 % 2 * 2) : c;",
           "const u32 chunk = c;"},
          {"prefill", "loadShared8(a[2], a[3], at + 256);", "loadShared8(a[2], a[3], at + 192);"},
          {"prefill", "M::kInteger || step * 16 + row < kWordRows", "true"},
          {"decode", "row + 4 < wordRows ? __ldg(words + 32)", "true ? __ldg(words + 32)"},
          {"decode", "if (exists && k < C::kK) {", "if (exists) {"},
          {"decode", "sums[w] += partial[s][p][w][i % kTile];",
           "sums[w] = partial[s][p][w][i % kTile];"},
          {"decode", "if (channel >= at.channels)", "if (channel > at.channels)"},
      },
      step, [&] {
        return std::vector<BufferPtr>{x, weight.packed, std::make_shared<Buffer>(13 * 40 * 4)};
      });
}

TEST_F(CudaMutants, OfMatmulsInQ4AreSeen) {
  MatmulSpec spec;
  spec.k = 96, spec.n = {40}, spec.packing = *parsePacking("panel16.q4g32.f16z");
  const RandomWeight weight = randomWeight(spec.packing, 40, spec.k, 1);
  const BufferPtr x = randomX(spec.packing, 13, spec.k, 2);
  Step step;
  step.tokens = 13;
  expectSeen(spec,
             {
                 {"prefill", "copyAsync4(scales + token * 16 + chunk * 4,",
                  "copyAsync4(scales + token * 16 + (chunk ^ 1) * 4,"},
                 {"prefill", "v[2] -= zero.y * xSum.x, v[3] -= zero.y * xSum.y;",
                  "v[2] -= zero.x * xSum.x, v[3] -= zero.y * xSum.y;"},
                 {"decode", "if (group >= M::kGroups || group * 32 >= end)", "if (false)"},
                 {"decode", "(half == 0 ? word : word >> 4)", "(half == 0 ? word : word >> 3)"},
             },
             step, [&] {
               return std::vector<BufferPtr>{x, weight.packed,
                                             std::make_shared<Buffer>(13 * 40 * 4)};
             });
}

TEST_F(CudaMutants, OfAttentionAreSeen) {
  PagedAttentionSpec spec;
  spec.heads = 4, spec.kvHeads = 2, spec.headDim = 32, spec.scale = 0.2F, spec.window = 290;
  const std::vector<int32_t> lengths = {40, 300, 17}, fresh = {3, 5, 2};
  const Heads shape{4, 2, 32};
  Ragged batch(lengths, fresh);
  const Filled filled = fill(shape, batch, lengths, spec.window, fresh);
  const size_t width = 128, tokens = static_cast<size_t>(batch.step.tokens);
  const BufferPtr q = floats(randomFloats(tokens * width, 5, 2));
  expectSeen(spec,
             {
                 {"prefill", "const bool seen = key <= own", "const bool seen = key < own"},
                 {"prefill", "key > own - static_cast<int>(C::kWindow)",
                  "key >= own - static_cast<int>(C::kWindow)"},
                 {"prefill", "__syncthreads(); // all are done with the tile before", "//"},
                 {"prefill", "static_cast<int>(slot) < count ? 4 : 0", "4"},
                 {"prefill", "loadTile(cache, run, kvHead, tile);\n      __syncthreads();",
                  "loadTile(cache, run, kvHead, tile);"},
                 {"prefill", "storeShared4(base + kProbabilityAt + row * kKeyPitch",
                  "storeShared4(base + kProbabilityAt + (row ^ 1) * kKeyPitch"},
                 {"decode", "if (chunk > run.highest / static_cast<int>(kChunkKeys))",
                  "if (chunk >= run.highest / static_cast<int>(kChunkKeys))"},
                 {"decode", "for (u32 z = 0; z < parts; ++z)", "for (u32 z = 0; z <= parts; ++z)"},
                 {"decode", "value = mergeSum(value, a, workspace[at * C::kHeadDim + d], b);",
                  "value = mergeSum(value, b, workspace[at * C::kHeadDim + d], a);"},
             },
             batch.step, [&] {
               return std::vector<BufferPtr>{q, filled.cache,
                                             std::make_shared<Buffer>(tokens * width * 4)};
             });
}

TEST_F(CudaMutants, OfQuantisedRowsAreSeen) {
  const BufferPtr x = floats(randomFloats(5 * 96, 1));
  Step step;
  step.tokens = 5;
  expectSeen(QuantizeRowsSpec{Extent::kTokens, 96},
             {
                 {"row", "__float2int_rn(value * inverse)", "__float2int_rz(value * inverse)"},
                 {"row", "reinterpret_cast<int *>(row + kK)[kK / 32 + group] = sum;",
                  "reinterpret_cast<int *>(row + kK)[kK / 32 + group] = code;"},
                 {"row", "if (row >= C::extent(step))", "if (row > C::extent(step))"},
             },
             step, [&] {
               return std::vector<BufferPtr>{
                   x, std::make_shared<Buffer>(5 * QuantizedRow{96}.bytes())};
             });
}

} // namespace
} // namespace platen::conformance
