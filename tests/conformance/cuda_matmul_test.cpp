// CUDA matmuls of every packing, executed from their PTX: against a double reference over the same
// dequantised weights with a rigorous rounding bound, and bit for bit against themselves whatever
// the tile, the size of the step and the order of asynchronous copies.
#include "kernels/descriptor.h"
#include "kernels/reference_harness.h"
#include "tests/conformance/kernel_set.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;

std::vector<Packing> matmulPackings() {
  std::vector<Packing> packings;
  for (const KernelDescriptor &row : kHostKernels)
    if (row.op == "matmul")
      packings.push_back(*parsePacking(row.packing));
  for (const KernelDescriptor &row : kDeviceKernels)
    packings.push_back(*parsePacking(row.packing));
  return packings;
}

struct Shape {
  uint64_t k;
  std::vector<uint64_t> n;
};

/// Ragged panels, one to four slices of k, an odd half block; where the packing allows it odd k,
/// and a k that ends inside a stage.
std::vector<Shape> shapesOf(const Packing &packing) {
  std::vector<Shape> shapes = {{96, {37}}, {640, {48, 20, 5}}};
  if (!packing.isQuantized())
    shapes.insert(shapes.end(), {{37, {24}}, {39, {8}}, {1100, {24}}});
  if (!wholeProduct())
    return shapes;
  shapes.insert(shapes.end(), {{32, {16}}, {64, {16 * 37}}, {1056, {40}}, {2080, {33}}});
  if (!packing.isQuantized())
    shapes.insert(shapes.end(), {{1, {16}}, {550, {20}}});
  return shapes;
}

Step stepOf(uint64_t tokens) {
  Step step;
  step.tokens = static_cast<int64_t>(tokens), step.rows = step.tokens;
  return step;
}

class CudaMatmul : public testing::TestWithParam<std::tuple<std::string, int>> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
    if (!isTaken())
      GTEST_SKIP() << "no family of this architecture multiplies " << packing().name;
  }
  /// Narrow floats need instructions that older architectures lack.
  bool isTaken() const {
    const CudaArchitecture &own = *findCudaArchitecture(architecture());
    if (packing().element == Packing::Element::kF8)
      return own.major * 10 + own.minor >= 89;
    return packing().element != Packing::Element::kF4 || own.major >= 10;
  }
  const std::string &architecture() const { return std::get<0>(GetParam()); }
  Packing packing() const { return matmulPackings()[static_cast<size_t>(std::get<1>(GetParam()))]; }
  bool roundX() const { return packing().isHalf() || packing().isNarrowFloat(); }

  void gatedEpilogueInPlace(uint64_t k);

  /// How far a sum may be from the exact one: each addition and scaling rounds once. Tensor cores
  /// cut off what lies below the unit in the last place of the largest term.
  double bound(uint64_t k, double magnitude) const {
    const double terms = static_cast<double>(packing().isQuantized() ? k / kGroup : k) + 12;
    return terms * (roundX() ? 0x1p-22 : 0x1p-24) * magnitude;
  }
};

/// Rows of a step that a kernel is run for: edges of every tile, and nothing.
const std::vector<uint64_t> kRows = {131, 64, 33, 9, 8, 1, 0};

TEST_P(CudaMatmul, AgreesWithTheReferenceAndWithItself) {
  KernelSet set(architecture());
  std::vector<MatmulSpec> specs;
  for (const Shape &shape : shapesOf(packing())) {
    MatmulSpec spec;
    spec.k = shape.k, spec.n = shape.n, spec.packing = packing();
    specs.push_back(spec);
    set.add(spec);
  }
  ASSERT_EQ(set.compile(), "");
  for (const MatmulSpec &spec : specs) {
    SCOPED_TRACE("k=" + std::to_string(spec.k));
    std::vector<RandomWeight> weights;
    for (uint64_t n : spec.n)
      weights.push_back(randomWeight(packing(), n, spec.k, static_cast<uint32_t>(n + spec.k)));
    const uint64_t columns = spec.columns();
    const BufferPtr x = randomX(packing(), kRows[0], spec.k, 7);
    std::vector<float> bits; // of the most rows
    size_t turn = 0;
    for (const CudaKernelInfo &kernel : set.add(spec))
      for (uint64_t rows : kRows) {
        if (rows > kernel.maxExtent)
          continue;
        // Every order at one size, one order in turn at the others.
        std::vector<Order> all = orders();
        if (rows != 9)
          all = {all[turn++ % all.size()]};
        for (const Order &order : all) {
          const auto y = std::make_shared<Buffer>(rows * columns * 4);
          std::vector<BufferPtr> operands = {firstRows(x, packing(), rows, spec.k)};
          for (const RandomWeight &weight : weights)
            operands.push_back(weight.packed);
          operands.push_back(y);
          ASSERT_EQ(set.run(kernel, stepOf(rows), operands, {.order = order}), "");
          const std::vector<float> result = toFloats(*y);
          const size_t known = bits.size() / columns;
          for (size_t i = 0; i < result.size(); ++i) {
            const uint64_t t = i / columns;
            if (t < known) {
              ASSERT_EQ(std::bit_cast<uint32_t>(result[i]), std::bit_cast<uint32_t>(bits[i]))
                  << kernel.name << ", " << rows << " rows, " << order.name << ": row " << t
                  << " column " << i % columns << " differs from what another kernel gave";
              continue;
            }
            uint64_t c = i % columns, w = 0;
            while (c >= weights[w].n)
              c -= weights[w++].n;
            const Exact exact = dot(weights[w], *x, t, c, roundX());
            ASSERT_LE(std::abs(result[i] - exact.value), bound(spec.k, exact.magnitude))
                << kernel.name << ", " << rows << " rows, " << order.name << ": row " << t
                << " column " << i % columns << " is " << result[i] << ", not " << exact.value;
          }
          if (result.size() > bits.size())
            bits = result;
        }
      }
  }
}

/// gelu_tanh(gate) * up + residual * bias, in place of the residual.
void CudaMatmul::gatedEpilogueInPlace(uint64_t k) {
  const uint64_t n = 40;
  MatmulSpec spec;
  spec.k = k, spec.n = {n, n}, spec.packing = packing();
  spec.mode = MatmulSpec::Mode::kGated;
  spec.rowOperands = 1, spec.columnOperands = 1;
  ScalarBlock &block = spec.epilogue;
  const auto gate = block.input(0), up = block.input(1), residual = block.input(2),
             bias = block.input(3);
  block.yield(block.add(block.mul(block.geluTanh(gate), up), block.mul(residual, bias)));
  KernelSet set(architecture());
  const std::vector<CudaKernelInfo> kernels = set.add(spec);
  ASSERT_EQ(set.compile(), "");
  const RandomWeight g = randomWeight(packing(), n, k, 1), u = randomWeight(packing(), n, k, 2);
  const uint64_t most = 43;
  const BufferPtr x = randomX(packing(), most, k, 3), columns = floats(randomFloats(n, 5));
  const std::vector<float> before = randomFloats(most * n, 4);
  std::vector<float> first;
  size_t turn = 0;
  for (const CudaKernelInfo &kernel : kernels)
    for (const uint64_t rows : {most, uint64_t{11}}) {
      if (rows > kernel.maxExtent)
        continue;
      const BufferPtr y = floats({before.begin(), before.begin() + static_cast<int64_t>(rows * n)});
      const std::vector<BufferPtr> operands = {
          firstRows(x, packing(), rows, k), g.packed, u.packed, y, columns, y};
      const Order order = orders()[turn++ % orders().size()];
      ASSERT_EQ(set.run(kernel, stepOf(rows), operands, {.order = order}), "");
      const std::vector<float> result = toFloats(*y);
      for (size_t i = 0; i < result.size(); ++i) {
        if (i < first.size()) {
          ASSERT_EQ(result[i], first[i]) << kernel.name << ' ' << i;
          continue;
        }
        const Exact a = dot(g, *x, i / n, i % n, roundX()), b = dot(u, *x, i / n, i % n, roundX());
        const double gelu = 0.5 * a.value *
                            (1 + std::tanh(std::sqrt(2 / M_PI) *
                                           (a.value + 0.044715 * a.value * a.value * a.value)));
        const double extra = double{before[i]} * columns->as<float>()[i % n];
        // The slope of gelu is at most 1.13; its own rounding is a few units of its terms.
        const double bounds =
            1.2 * bound(k, a.magnitude) * std::abs(b.value) +
            (std::abs(gelu) + 1.2 * bound(k, a.magnitude)) * bound(k, b.magnitude) +
            0x1p-20 * (std::abs(a.value * b.value) + std::abs(extra));
        ASSERT_NEAR(result[i], gelu * b.value + extra, bounds) << kernel.name << ' ' << i;
      }
      if (result.size() > first.size())
        first = result;
    }
}

TEST_P(CudaMatmul, GatedEpilogueInPlace) { gatedEpilogueInPlace(160); }

/// Every family beyond sm_80 once, where the whole product is not asked for.
class CudaMatmulFamilies : public CudaMatmul {};
TEST_P(CudaMatmulFamilies, GatedEpilogueInPlace) { gatedEpilogueInPlace(416); }

/// f16 weights: what is beyond the range of f16 becomes its largest number, NaN stays NaN.
class CudaMatmulF16 : public testing::TestWithParam<std::string> {};
TEST_P(CudaMatmulF16, LargeActivationsStayNumbers) {
  if (const std::string why = missingTools(); !why.empty())
    GTEST_SKIP() << why;
  const float infinity = std::numeric_limits<float>::infinity();
  MatmulSpec spec;
  spec.k = 70, spec.n = {24}, spec.packing = *parsePacking("panel16.f16");
  KernelSet set(GetParam());
  const std::vector<CudaKernelInfo> kernels = set.add(spec);
  ASSERT_EQ(set.compile(), "");
  const RandomWeight weight = randomWeight(spec.packing, 24, spec.k, 1);
  const uint64_t rows = 5;
  std::vector<float> x = randomFloats(rows * spec.k, 2, 3e4F); // one in 30 is beyond the range
  x[0] = 65519.99F, x[1] = -65520, x[2] = 1e30F; // nearest to 65504; halfway to what would follow
  x[spec.k] = infinity, x[spec.k + 1] = -infinity;
  x[4 * spec.k + 69] = std::nanf("");
  for (const CudaKernelInfo &kernel : kernels) {
    const auto in = floats(x), y = std::make_shared<Buffer>(rows * 24 * 4);
    ASSERT_EQ(set.run(kernel, stepOf(rows), {in, weight.packed, y}, {.order = orders()[0]}), "");
    for (uint64_t i = 0; i < rows * 24; ++i) {
      const float result = y->as<float>()[i];
      if (i / 24 == 4) {
        ASSERT_TRUE(std::isnan(result)) << kernel.name << ' ' << i;
        continue;
      }
      const Exact exact = dot(weight, *in, i / 24, i % 24, true);
      ASSERT_LE(std::abs(result - exact.value), 82 * 0x1p-22 * exact.magnitude)
          << kernel.name << " row " << i / 24 << " column " << i % 24;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Cuda, CudaMatmulF16,
                         testing::ValuesIn(wholeProduct() || onDriver()
                                               ? testedArchitectures()
                                               : std::vector<std::string>{"sm_80", "sm_90a",
                                                                          "sm_100f"}),
                         [](const auto &info) { return info.param; });

std::vector<std::tuple<std::string, int>> families() {
  std::vector<std::tuple<std::string, int>> all;
  if (wholeProduct() || onDriver())
    return all;
  const std::vector<std::pair<const char *, const char *>> names = {
      {"sm_89", "panel16.f8"},   {"sm_90a", "panel16.bf16"},  {"sm_90a", "panel16.f16"},
      {"sm_90a", "panel16.f8"},  {"sm_100f", "panel16.bf16"}, {"sm_100f", "panel16.f16"},
      {"sm_100f", "panel16.f8"}, {"sm_100f", "panel16.f4"},   {"sm_120f", "panel16.f4"}};
  const std::vector<Packing> packings = matmulPackings();
  for (const auto &[architecture, packing] : names)
    for (size_t i = 0; i < packings.size(); ++i)
      if (packings[i].name == packing)
        all.emplace_back(architecture, static_cast<int>(i));
  return all;
}

std::string nameOf(const testing::TestParamInfo<std::tuple<std::string, int>> &info) {
  std::string name =
      std::get<0>(info.param) + "_" +
      std::string(matmulPackings()[static_cast<size_t>(std::get<1>(info.param))].name);
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Cuda, CudaMatmul,
    testing::Combine(testing::ValuesIn(testedArchitectures()),
                     testing::Range(0, static_cast<int>(matmulPackings().size()))),
    nameOf);
INSTANTIATE_TEST_SUITE_P(Cuda, CudaMatmulFamilies, testing::ValuesIn(families()), nameOf);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaMatmulFamilies);

} // namespace
} // namespace platen::conformance
