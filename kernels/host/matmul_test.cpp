// Matmul kernels of every packing in the descriptor table, on every target's code that this machine
// can run: against a double reference over the same dequantised weights, with a rigorous rounding
// bound, and bit for bit against themselves.
#include "kernels/host/kernel_harness.h"
#include "kernels/reference_harness.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::kernels {
namespace {

using namespace harness;

std::vector<Packing> matmulPackings() {
  std::vector<Packing> packings;
  for (const KernelDescriptor &row : kHostKernels)
    if (row.op == "matmul")
      packings.push_back(*parsePacking(row.packing));
  return packings;
}

Step stepOf(int64_t tokens) {
  Step step;
  step.tokens = tokens, step.rows = tokens;
  return step;
}

MatmulSpec specOf(const Packing &packing, uint64_t k, std::vector<uint64_t> n,
                  uint32_t rowsPerTile) {
  MatmulSpec spec;
  spec.k = k, spec.n = std::move(n), spec.packing = packing, spec.rowsPerTile = rowsPerTile;
  return spec;
}

void expectIntact(const std::vector<BufferPtr> &buffers, const std::string &what) {
  for (const BufferPtr &buffer : buffers)
    ASSERT_TRUE(buffer->intact()) << what << " wrote outside a buffer";
}

/// Runs all row variants at several sizes and cuts; checks the first against the reference and all
/// others by bits.
void checkMatmul(const HostTarget &target, const Packing &packing, uint64_t k,
                 const std::vector<uint64_t> &n) {
  const bool quantized = packing.isQuantized(),
             roundX = target.bf16 && packing.element == Packing::Element::kBF16;
  const std::string what =
      std::string(target.name) + " " + std::string(packing.name) + " k=" + std::to_string(k);
  std::vector<RandomWeight> weights;
  uint64_t columns = 0;
  for (uint64_t one : n) {
    weights.push_back(randomWeight(packing, one, k, static_cast<uint32_t>(one + k)));
    columns += one;
  }
  std::vector<HostKernelSpec> specs;
  for (const MatmulVariant &variant : matmulVariants(packing))
    specs.push_back(specOf(packing, k, n, variant.rowsPerTile));
  const Code code = compile(specs, target);
  constexpr uint64_t kMostRows = 51;
  const BufferPtr x = randomX(packing, kMostRows, k, 7);
  std::vector<float> bits; // of the widest run
  for (uint64_t rows : {kMostRows, uint64_t{48}, uint64_t{9}, uint64_t{8}, uint64_t{5}, uint64_t{2},
                        uint64_t{1}, uint64_t{0}})
    for (size_t variant = 0; variant < specs.size(); ++variant)
      for (unsigned pieces : {1U, 3U}) {
        auto y = std::make_shared<Buffer>(rows * columns * 4);
        std::vector<BufferPtr> operands = {firstRows(x, packing, rows, k)};
        for (const RandomWeight &weight : weights)
          operands.push_back(weight.packed);
        operands.push_back(y);
        run(code, specs[variant], stepOf(static_cast<int64_t>(rows)), operands, pieces);
        expectIntact(operands, what);
        const std::vector<float> result = toFloats(*y);
        if (bits.empty()) {
          bits = result;
          for (size_t i = 0; i < result.size(); ++i) {
            const uint64_t t = i / columns;
            uint64_t c = i % columns, w = 0;
            while (c >= weights[w].n)
              c -= weights[w++].n;
            const Exact exact = dot(weights[w], *x, t, c, roundX);
            // Each of the terms' additions and scalings rounds once, relative 2^-24.
            const double terms = static_cast<double>(quantized ? k / kGroup : k) + 3;
            ASSERT_LE(std::abs(result[i] - exact.value), terms * 0x1p-24 * exact.magnitude)
                << what << " row " << t << " column " << i % columns;
          }
        }
        ASSERT_TRUE(std::equal(result.begin(), result.end(), bits.begin()))
            << what << ": rows of a step of " << rows << ", variant " << variant << ", " << pieces
            << " pieces differ";
      }
}

class MatmulOn : public testing::TestWithParam<std::tuple<int, int>> {
protected:
  const HostTarget &target() const {
    return executableTargets()[static_cast<size_t>(std::get<0>(GetParam()))];
  }
  Packing packing() const { return matmulPackings()[static_cast<size_t>(std::get<1>(GetParam()))]; }
};

TEST_P(MatmulOn, EvenShape) { checkMatmul(target(), packing(), 128, {64}); }
TEST_P(MatmulOn, HalfBlockAndRaggedPanels) { checkMatmul(target(), packing(), 96, {37}); }
TEST_P(MatmulOn, ThreeWeightsConcatenated) { checkMatmul(target(), packing(), 64, {48, 16, 16}); }
TEST_P(MatmulOn, RaggedWeightsConcatenated) { checkMatmul(target(), packing(), 32, {20, 5, 33}); }
TEST_P(MatmulOn, ManyPanels) { checkMatmul(target(), packing(), 64, {16 * 37}); }
TEST_P(MatmulOn, OddK) {
  if (packing().isQuantized()) {
    EXPECT_FALSE(describeHostKernel(specOf(packing(), 35, {16}, 1)).isOk());
    return checkMatmul(target(), packing(), 160, {32});
  }
  checkMatmul(target(), packing(), 1, {16});
  checkMatmul(target(), packing(), 35, {32});
}

/// gelu_tanh(gate) * up + residual * bias, in place of the residual.
TEST_P(MatmulOn, GatedEpilogueInPlace) {
  const uint64_t k = 64, n = 48, rows = 11;
  MatmulSpec spec = specOf(packing(), k, {n, n}, 4);
  spec.mode = MatmulSpec::Mode::kGated;
  spec.rowOperands = 1, spec.columnOperands = 1;
  ScalarBlock &block = spec.epilogue;
  const auto gate = block.input(0), up = block.input(1), residual = block.input(2),
             bias = block.input(3);
  block.yield(block.add(block.mul(block.geluTanh(gate), up), block.mul(residual, bias)));
  const RandomWeight g = randomWeight(packing(), n, k, 1), u = randomWeight(packing(), n, k, 2);
  const BufferPtr x = randomX(packing(), rows, k, 3), bias_ = floats(randomFloats(n, 5));
  const std::vector<float> before = randomFloats(rows * n, 4);
  const bool roundX = target().bf16 && packing().element == Packing::Element::kBF16;
  std::vector<float> first;
  for (const MatmulVariant &variant : matmulVariants(packing())) {
    spec.rowsPerTile = variant.rowsPerTile;
    const Code code = compile({spec}, target());
    const BufferPtr y = floats(before);
    const std::vector<BufferPtr> operands = {x, g.packed, u.packed, y, bias_, y};
    run(code, spec, stepOf(rows), operands, 2);
    expectIntact(operands, "gated matmul");
    const std::vector<float> result = toFloats(*y);
    if (first.empty())
      first = result;
    EXPECT_EQ(result, first) << "variant of " << variant.rowsPerTile << " rows";
    for (uint64_t i = 0; i < rows * n; ++i) {
      const double a = dot(g, *x, i / n, i % n, roundX).value,
                   b = dot(u, *x, i / n, i % n, roundX).value;
      const double gelu =
          0.5 * a * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a)));
      const double extra = double{before[i]} * bias_->as<float>()[i % n];
      ASSERT_NEAR(result[i], gelu * b + extra, 3e-5 * (1 + std::abs(a * b) + std::abs(extra))) << i;
    }
  }
}

std::string caseName(const testing::TestParamInfo<std::tuple<int, int>> &info) {
  std::string name =
      std::string(executableTargets()[static_cast<size_t>(std::get<0>(info.param))].name) + "_" +
      std::string(matmulPackings()[static_cast<size_t>(std::get<1>(info.param))].name);
  for (char &c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0)
      c = '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(
    Table, MatmulOn,
    testing::Combine(testing::Range(0, static_cast<int>(executableTargets().size())),
                     testing::Range(0, static_cast<int>(matmulPackings().size()))),
    caseName);

TEST(MatmulRequest, RefusesByName) {
  const Packing q8 = *parsePacking("panel16.q8g32.f16");
  EXPECT_NE(describeHostKernel(specOf(q8, 40, {16}, 1)).status().message().find("multiple of 32"),
            std::string::npos);
  EXPECT_EQ(describeHostKernel(specOf(*parsePacking("raw.f32"), 32, {16}, 1)).status().code(),
            base::StatusCode::kUnsupported);
  EXPECT_FALSE(describeHostKernel(specOf(q8, 32, {}, 1)).isOk());
  MatmulSpec gated = specOf(q8, 32, {16, 32}, 1);
  gated.mode = MatmulSpec::Mode::kGated;
  EXPECT_FALSE(describeHostKernel(gated).isOk());
  MatmulSpec epilogue = specOf(q8, 32, {16}, 1);
  epilogue.epilogue.input(1);
  EXPECT_FALSE(describeHostKernel(epilogue).isOk());
}

} // namespace
} // namespace platen::kernels
