// Row-wise CUDA kernels and embeddings, executed from their PTX, against double references;
// quantised panels code by code.
#include "kernels/descriptor.h"
#include "kernels/reference_harness.h"
#include "tests/conformance/kernel_set.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;

class CudaRows : public testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
  }
  /// Runs the request's only kernel in every order: all give the same bytes.
  std::string run(KernelSet &set, const CudaKernelSpec &spec, const Step &step,
                  const std::vector<BufferPtr> &operands) {
    const CudaKernelInfo kernel = set.add(spec).front();
    std::map<BufferPtr, BufferPtr> results;
    for (const Order &order : orders()) {
      std::map<BufferPtr, BufferPtr> copies; // an operand may stand twice
      std::vector<BufferPtr> own;
      for (const BufferPtr &operand : operands) {
        BufferPtr &copy = copies[operand];
        if (!copy)
          copy = copyOf(*operand);
        own.push_back(copy);
      }
      if (std::string why = set.run(kernel, step, own, {.order = order}); !why.empty())
        return why;
      if (results.empty())
        results = copies;
      for (const auto &[operand, copy] : copies)
        if (std::memcmp(copy->data(), results[operand]->data(), copy->bytes()) != 0)
          return kernel.name + " gives other bytes with " + order.name;
    }
    for (const auto &[operand, result] : results)
      std::memcpy(operand->data(), result->data(), result->bytes());
    return "";
  }

private:
  static BufferPtr copyOf(const Buffer &buffer) {
    auto copy = std::make_shared<Buffer>(buffer.bytes());
    std::memcpy(copy->data(), buffer.data(), buffer.bytes());
    return copy;
  }
};

Step tokensStep(int64_t tokens) {
  Step step;
  step.tokens = tokens;
  return step;
}
BufferPtr output(uint64_t elements) { return std::make_shared<Buffer>(elements * 4); }

TEST_P(CudaRows, QuantizeRows) {
  KernelSet set(GetParam());
  for (uint64_t k : {32U, 96U, 640U})
    set.add(QuantizeRowsSpec{Extent::kTokens, k});
  ASSERT_EQ(set.compile(), "");
  for (uint64_t k : {32U, 96U, 640U}) {
    const uint64_t rows = 5;
    std::vector<float> x = randomFloats(rows * k, 1);
    std::fill_n(x.begin(), 32, 0.0F);                                  // a group of zeros
    x[k] = 254.0F, x[k + 1] = 1.0F, x[k + 2] = 3.0F, x[k + 3] = -5.0F; // ties: codes 0.5, 1.5, -2.5
    std::fill_n(x.begin() + static_cast<int64_t>(k) + 4, 28, 0.0F);
    const auto panel = std::make_shared<Buffer>(rows * QuantizedRow{k}.bytes());
    ASSERT_EQ(run(set, QuantizeRowsSpec{Extent::kTokens, k}, tokensStep(rows), {floats(x), panel}),
              "");
    expectQuantized(*panel, x, rows, k);
    ASSERT_EQ(run(set, QuantizeRowsSpec{Extent::kTokens, k}, tokensStep(0),
                  {floats({}), std::make_shared<Buffer>(0)}),
              "");
  }
}

std::vector<RowProgramSpec> normPrograms(uint64_t width) {
  const bool quantize = width % 32 == 0;
  return {rmsNormProgram(width, 1e-6F, quantize), addNormProgram(width, 1e-5F, quantize),
          normAddNormProgram(width, 1e-6F, 1e-5F, quantize)};
}

TEST_P(CudaRows, UsualNormPrograms) {
  const std::vector<uint64_t> widths = {5, 40, 64, 640};
  KernelSet set(GetParam());
  for (uint64_t width : widths)
    for (const RowProgramSpec &spec : normPrograms(width))
      set.add(spec);
  ASSERT_EQ(set.compile(), "");
  for (uint64_t width : widths) {
    const bool quantize = width % 32 == 0;
    const uint64_t rows = 7;
    const std::vector<float> h = randomFloats(rows * width, 1),
                             x = randomFloats(rows * width, 2, 3), w1 = randomFloats(width, 3),
                             w2 = randomFloats(width, 4);
    const std::vector<RowProgramSpec> specs = normPrograms(width);
    for (size_t program = 0; program < specs.size(); ++program) {
      const BufferPtr residual = floats(h), y = output(rows * width); // h in place
      std::vector<BufferPtr> operands;
      if (program == 0)
        operands = {floats(x), floats(w1), y};
      if (program == 1)
        operands = {residual, floats(x), floats(w2), residual, y};
      if (program == 2)
        operands = {residual, floats(x), floats(w1), floats(w2), residual, y};
      if (quantize)
        operands.push_back(std::make_shared<Buffer>(rows * QuantizedRow{width}.bytes()));
      ASSERT_EQ(run(set, specs[program], tokensStep(rows), operands), "");
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

struct ScalarCase {
  ScalarOpKind op;
  double (*reference)(double);
  double ulps; ///< as the CUDA programming guide lists them; 0: correctly rounded
  float low, high;
};
const std::vector<ScalarCase> kScalarCases = {
    {ScalarOpKind::kExp, [](double x) { return std::exp(x); }, 2, -87, 88.7F},
    {ScalarOpKind::kTanh, [](double x) { return std::tanh(x); }, 2, -12, 12},
    {ScalarOpKind::kErf, [](double x) { return std::erf(x); }, 2, -5, 5},
    {ScalarOpKind::kLog, [](double x) { return std::log(x); }, 1, 1e-6F, 100},
    {ScalarOpKind::kSqrt, [](double x) { return std::sqrt(x); }, 0, 0, 1000},
    {ScalarOpKind::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, 1, 1e-6F, 1000},
    {ScalarOpKind::kNeg, [](double x) { return -x; }, 0, -5, 5},
    {ScalarOpKind::kAbs, [](double x) { return std::abs(x); }, 0, -5, 5},
};

RowProgramSpec scalarProgram(uint64_t count, ScalarOpKind op) {
  ScalarBlock block;
  block.unary(op, block.input(0));
  return elementwiseProgram(count, block, 1);
}

TEST_P(CudaRows, ScalarOperations) {
  constexpr uint64_t kCount = 4000;
  KernelSet set(GetParam());
  for (const ScalarCase &one : kScalarCases)
    set.add(scalarProgram(kCount, one.op));
  set.add(scalarProgram(6, ScalarOpKind::kExp));
  ASSERT_EQ(set.compile(), "");
  for (const ScalarCase &one : kScalarCases) {
    std::vector<float> x(kCount);
    for (size_t i = 0; i < kCount; ++i)
      x[i] = one.low + (one.high - one.low) * static_cast<float>(i) / kCount;
    const BufferPtr y = output(kCount);
    ASSERT_EQ(run(set, scalarProgram(kCount, one.op), tokensStep(1), {floats(x), y}), "");
    for (size_t i = 0; i < kCount; ++i) {
      const double want = one.reference(x[i]), got = y->as<float>()[i];
      ASSERT_LE(std::abs(got - want), (one.ulps + 0.5) * 0x1p-23 * std::abs(want))
          << "op " << static_cast<int>(one.op) << " of " << x[i];
    }
  }
  const BufferPtr y = output(6);
  ASSERT_EQ(run(set, scalarProgram(6, ScalarOpKind::kExp), tokensStep(1),
                {floats(expSpecialValues()), y}),
            "");
  expectExpOfSpecialValues(*y);
}

TEST_P(CudaRows, HeadsInStridedRowsWithMaximum) {
  const RowProgramSpec spec = headsOverMaximum();
  KernelSet set(GetParam());
  set.add(spec);
  ASSERT_EQ(set.compile(), "");
  const uint64_t tokens = 4;
  const std::vector<float> in = randomFloats(tokens * 100, 3), bias = randomFloats(24, 4);
  const BufferPtr y = output(tokens * 72);
  ASSERT_EQ(run(set, spec, tokensStep(tokens), {floats(in), floats(bias), y}), "");
  expectHeadsOverMaximum(*y, in, bias, tokens);
}

TEST_P(CudaRows, SelectRows) {
  KernelSet set(GetParam());
  set.add(SelectRowsSpec{20});
  ASSERT_EQ(set.compile(), "");
  Step step = tokensStep(6);
  step.rows = 4, step.rowTokens = {5, 0, 3, 3};
  const std::vector<float> x = randomFloats(6 * 20, 1);
  const BufferPtr y = output(4 * 20);
  ASSERT_EQ(run(set, SelectRowsSpec{20}, step, {floats(x), y}), "");
  for (size_t i = 0; i < 80; ++i)
    EXPECT_EQ(y->as<float>()[i], x[static_cast<size_t>(step.rowTokens[i / 20]) * 20 + i % 20]);
}

std::vector<EmbedSpec> embeddings() {
  std::vector<EmbedSpec> all;
  for (const KernelDescriptor &row : kHostKernels)
    if (row.op == "embed")
      for (uint64_t width : {96U, 128U})
        if (width == 96 || wholeProduct())
          all.push_back({37, width, *parsePacking(row.packing), 3.5F});
  return all;
}

TEST_P(CudaRows, EmbedOfEveryPacking) {
  KernelSet set(GetParam());
  for (const EmbedSpec &spec : embeddings())
    set.add(spec);
  ASSERT_EQ(set.compile(), "");
  for (const EmbedSpec &spec : embeddings()) {
    const RandomWeight table = randomWeight(spec.packing, 37, spec.width, 9);
    Step step = tokensStep(5);
    step.tokenIds = {36, 0, 17, 16, 15};
    const BufferPtr y = output(5 * spec.width);
    ASSERT_EQ(run(set, spec, step, {table.packed, y}), "");
    for (size_t i = 0; i < 5 * spec.width; ++i) {
      // The stored value is exact in f32 up to one rounding of code * scale.
      const double value =
          table.values[static_cast<size_t>(step.tokenIds[i / spec.width]) * spec.width +
                       i % spec.width];
      ASSERT_EQ(y->as<float>()[i], static_cast<float>(value) * 3.5F)
          << spec.packing.name << ' ' << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaRows, testing::ValuesIn(testedArchitectures()),
                         [](const auto &info) { return info.param; });

} // namespace
} // namespace platen::conformance
