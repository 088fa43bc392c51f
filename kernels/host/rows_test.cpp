// Row-wise kernels and embeddings against double references; quantised panels code by code.
#include "kernels/host/kernel_harness.h"
#include "kernels/reference_harness.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::kernels {
namespace {

using namespace harness;

Step tokensStep(int64_t tokens) {
  Step step;
  step.tokens = tokens;
  return step;
}

BufferPtr output(uint64_t elements) { return std::make_shared<Buffer>(elements * 4); }

class OnTarget : public testing::TestWithParam<int> {
protected:
  const HostTarget &target() const { return executableTargets()[static_cast<size_t>(GetParam())]; }
};

TEST_P(OnTarget, QuantizeRows) {
  for (uint64_t k : {32U, 96U, 640U}) {
    QuantizeRowsSpec spec;
    spec.k = k;
    const Code code = compile({spec}, target());
    const uint64_t rows = 5;
    std::vector<float> x = randomFloats(rows * k, 1);
    std::fill_n(x.begin(), 32, 0.0F);                                  // a group of zeros
    x[k] = 254.0F, x[k + 1] = 1.0F, x[k + 2] = 3.0F, x[k + 3] = -5.0F; // ties: codes 0.5, 1.5, -2.5
    std::fill_n(x.begin() + static_cast<int64_t>(k) + 4, 28, 0.0F);
    auto panel = std::make_shared<Buffer>(rows * QuantizedRow{k}.bytes());
    const std::vector<BufferPtr> operands = {floats(x), panel};
    run(code, spec, tokensStep(rows), operands, 2);
    EXPECT_TRUE(operands[0]->intact() && panel->intact());
    expectQuantized(*panel, x, rows, k);
  }
}

TEST_P(OnTarget, UsualNormPrograms) {
  for (uint64_t width : {5U, 16U, 40U, 64U, 640U}) {
    const bool quantize = width % 32 == 0;
    const uint64_t rows = 7;
    const std::vector<HostKernelSpec> specs = {rmsNormProgram(width, 1e-6F, quantize),
                                               addNormProgram(width, 1e-5F, quantize),
                                               normAddNormProgram(width, 1e-6F, 1e-5F, quantize)};
    const Code code = compile(specs, target());
    const std::vector<float> h = randomFloats(rows * width, 1),
                             x = randomFloats(rows * width, 2, 3), w1 = randomFloats(width, 3),
                             w2 = randomFloats(width, 4);
    for (size_t program = 0; program < specs.size(); ++program) {
      const BufferPtr residual = output(rows * width), y = output(rows * width);
      std::vector<BufferPtr> operands;
      if (program == 0)
        operands = {floats(x), floats(w1), y};
      if (program == 1)
        operands = {floats(h), floats(x), floats(w2), residual, y};
      if (program == 2)
        operands = {floats(h), floats(x), floats(w1), floats(w2), residual, y};
      if (quantize)
        operands.push_back(std::make_shared<Buffer>(rows * QuantizedRow{width}.bytes()));
      run(code, specs[program], tokensStep(rows), operands, 3);
      for (const BufferPtr &operand : operands)
        EXPECT_TRUE(operand->intact());
      const std::vector<float> out = toFloats(*y), sums = toFloats(*residual);
      for (uint64_t row = 0; row < rows; ++row) {
        const std::vector<double> n1 = normRow(&x[row * width], w1, 1e-6);
        std::vector<float> sum(width);
        for (uint64_t c = 0; c < width && program != 0; ++c) {
          const double add = program == 1 ? x[row * width + c] : n1[c];
          sum[c] = static_cast<float>(h[row * width + c] + add);
          ASSERT_NEAR(sums[row * width + c], sum[c], 1e-6 * (1 + std::abs(sum[c])));
        }
        const std::vector<double> n2 = program == 0 ? n1 : normRow(sum.data(), w2, 1e-5);
        for (uint64_t c = 0; c < width; ++c)
          ASSERT_NEAR(out[row * width + c], n2[c], 2e-6 * (1 + std::abs(n2[c])))
              << program << ' ' << row << ' ' << c;
      }
      if (quantize)
        expectQuantized(*operands.back(), out, rows, width);
    }
  }
}

/// Every scalar operation, over a wide range of arguments, and strided operands with heads.
TEST_P(OnTarget, ScalarOperations) {
  using Op = ScalarOpKind;
  struct Case {
    Op op;
    double (*reference)(double);
    double tolerance; // relative to 1 + |value|, or to the value alone where relative
    float low, high;
    bool relative;
  };
  const std::vector<Case> cases = {
      {Op::kExp, [](double x) { return std::exp(x); }, 1.5e-7, -87, 88.7F, true},
      {Op::kTanh, [](double x) { return std::tanh(x); }, 6e-7, -12, 12, false},
      {Op::kErf, [](double x) { return std::erf(x); }, 6e-7, -5, 5, false},
      {Op::kLog, [](double x) { return std::log(x); }, 3e-7, 1e-6F, 100, false},
      {Op::kSqrt, [](double x) { return std::sqrt(x); }, 1e-7, 0, 1000, true},
      {Op::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, 2e-7, 1e-6F, 1000, true},
      {Op::kNeg, [](double x) { return -x; }, 0, -5, 5, true},
      {Op::kAbs, [](double x) { return std::abs(x); }, 0, -5, 5, true},
  };
  constexpr uint64_t kCount = 4000;
  for (const Case &one : cases) {
    ScalarBlock block;
    block.unary(one.op, block.input(0));
    const RowProgramSpec spec = elementwiseProgram(kCount, block, 1);
    const Code code = compile({spec}, target());
    std::vector<float> x(kCount);
    for (size_t i = 0; i < kCount; ++i)
      x[i] = one.low + (one.high - one.low) * static_cast<float>(i) / kCount;
    const BufferPtr y = output(kCount);
    run(code, spec, tokensStep(1), {floats(x), y});
    for (size_t i = 0; i < kCount; ++i) {
      const double want = one.reference(x[i]), got = y->as<float>()[i];
      ASSERT_LE(std::abs(got - want), one.tolerance * (std::abs(want) + (one.relative ? 0 : 1)))
          << "op " << static_cast<int>(one.op) << " of " << x[i];
    }
  }
}

TEST_P(OnTarget, ExpSpecialValues) {
  ScalarBlock block;
  block.unary(ScalarOpKind::kExp, block.input(0));
  const RowProgramSpec spec = elementwiseProgram(6, block, 1);
  const Code code = compile({spec}, target());
  const BufferPtr y = output(6);
  run(code, spec, tokensStep(1), {floats(expSpecialValues()), y});
  expectExpOfSpecialValues(*y);
}

TEST_P(OnTarget, HeadsInStridedRowsWithMaximum) {
  const RowProgramSpec spec = headsOverMaximum();
  const Code code = compile({spec}, target());
  const uint64_t tokens = 4;
  const std::vector<float> in = randomFloats(tokens * 100, 3), bias = randomFloats(24, 4);
  const BufferPtr y = output(tokens * 72);
  run(code, spec, tokensStep(tokens), {floats(in), floats(bias), y}, 5);
  EXPECT_TRUE(y->intact());
  expectHeadsOverMaximum(*y, in, bias, tokens);
}

TEST_P(OnTarget, SelectRows) {
  SelectRowsSpec spec;
  spec.width = 20;
  const Code code = compile({spec}, target());
  Step step = tokensStep(6);
  step.rows = 4, step.rowTokens = {5, 0, 3, 3};
  const std::vector<float> x = randomFloats(6 * 20, 1);
  const BufferPtr y = output(4 * 20);
  run(code, spec, step, {floats(x), y}, 3);
  EXPECT_TRUE(y->intact());
  for (size_t i = 0; i < 80; ++i)
    EXPECT_EQ(y->as<float>()[i], x[static_cast<size_t>(step.rowTokens[i / 20]) * 20 + i % 20]);
}

TEST_P(OnTarget, EmbedOfEveryPacking) {
  for (const KernelDescriptor &row : kHostKernels) {
    if (row.op != "embed")
      continue;
    const Packing packing = *parsePacking(row.packing);
    for (uint64_t width : {32U, 96U, 128U}) {
      EmbedSpec spec;
      spec.vocabulary = 37, spec.width = width, spec.packing = packing, spec.scale = 3.5F;
      const Code code = compile({spec}, target());
      const RandomWeight table = randomWeight(packing, 37, width, 9);
      Step step = tokensStep(5);
      step.tokenIds = {36, 0, 17, 16, 15};
      const BufferPtr y = output(5 * width);
      run(code, spec, step, {table.packed, y}, 2);
      EXPECT_TRUE(y->intact());
      for (size_t i = 0; i < 5 * width; ++i) {
        // The stored value is exact in f32 up to one rounding of code * scale.
        const double value =
            table.values[static_cast<size_t>(step.tokenIds[i / width]) * width + i % width];
        ASSERT_EQ(y->as<float>()[i], static_cast<float>(value) * 3.5F) << row.packing << ' ' << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, OnTarget,
                         testing::Range(0, static_cast<int>(executableTargets().size())));

TEST(RowRequest, RefusesByName) {
  RowProgramSpec spec = rmsNormProgram(40, 1e-6F, true);
  EXPECT_NE(describeHostKernel(spec).status().message().find("multiple of 32"), std::string::npos);
  spec = rmsNormProgram(64, 1e-6F);
  spec.stages[1].inputs[1].index = 1;
  EXPECT_FALSE(describeHostKernel(spec).isOk());
  spec = rmsNormProgram(64, 1e-6F);
  spec.stages.pop_back();
  EXPECT_NE(describeHostKernel(spec).status().message().find("never stored"), std::string::npos);
  spec = rmsNormProgram(64, 1e-6F);
  spec.rowInputs[0] = {64, 1};
  EXPECT_FALSE(describeHostKernel(spec).isOk());
  EXPECT_FALSE(describeHostKernel(QuantizeRowsSpec{Extent::kTokens, 33}).isOk());
}

} // namespace
} // namespace platen::kernels
