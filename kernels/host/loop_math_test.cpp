// The elementary functions of loop programs against libm's in long double: dense ranges, every
// scale, special values.
#include "kernels/host/loop_harness.h"
#include "ops/loops/builder.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace platen::kernels {
namespace {

using namespace harness;
using base::DType;
using loops::Builder;
using loops::Op;
using loops::Program;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Function {
  const char *name;
  Op op;
  long double (*reference)(long double, long double);
  double low, high;           ///< a dense range
  double ulpOfF64;            ///< what the function keeps in f64
  double greatest = 0x1p1023; ///< of the arguments that the function takes
};

const std::vector<Function> &functions() {
  using L = long double;
  static const std::vector<Function> all = {
      {"exp", Op::kExp, [](L x, L) { return std::exp(x); }, -750, 712, 1},
      {"log", Op::kLog, [](L x, L) { return std::log(x); }, 0.3, 3, 1},
      {"sin", Op::kSin, [](L x, L) { return std::sin(x); }, -30, 30, 1, 0x1p45},
      {"cos", Op::kCos, [](L x, L) { return std::cos(x); }, -30, 30, 1, 0x1p45},
      {"tan", Op::kTan, [](L x, L) { return std::tan(x); }, -30, 30, 2.5, 0x1p45},
      {"asin", Op::kAsin, [](L x, L) { return std::asin(x); }, -1.01, 1.01, 1.5},
      {"acos", Op::kAcos, [](L x, L) { return std::acos(x); }, -1.01, 1.01, 1.5},
      {"atan", Op::kAtan, [](L x, L) { return std::atan(x); }, -6, 6, 1.5},
      {"sinh", Op::kSinh, [](L x, L) { return std::sinh(x); }, -30, 30, 2.5},
      {"cosh", Op::kCosh, [](L x, L) { return std::cosh(x); }, -30, 30, 1.5},
      {"tanh", Op::kTanh, [](L x, L) { return std::tanh(x); }, -23, 23, 2.5},
      {"asinh", Op::kAsinh, [](L x, L) { return std::asinh(x); }, -9, 9, 3},
      {"acosh", Op::kAcosh, [](L x, L) { return std::acosh(x); }, 0.99, 9, 3},
      {"atanh", Op::kAtanh, [](L x, L) { return std::atanh(x); }, -1.01, 1.01, 3},
      {"erf", Op::kErf, [](L x, L) { return std::erf(x); }, -6.5, 6.5, 2},
      {"pow", Op::kPow, [](L x, L y) { return std::pow(x, y); }, -20, 20, 1.5},
      {"fmod", Op::kRem, [](L x, L y) { return std::fmod(x, y); }, -100, 100, 0},
  };
  return all;
}

bool isBinary(Op op) { return op == Op::kPow || op == Op::kRem; }

Program programOf(Op op, DType dtype, int64_t count) {
  Builder b;
  const uint32_t x = b.tensor({dtype, {count}}), y = b.tensor({dtype, {count}});
  const std::vector<loops::Value> at = {b.axis(0)};
  if (isBinary(op)) {
    const uint32_t z = b.tensor({dtype, {count}});
    b.store(z, at, b.binary(op, b.load(x, at), b.load(y, at)));
  } else {
    b.store(y, at, b.unary(op, b.load(x, at)));
  }
  return b.finish({count}, 1);
}

const std::vector<double> &specialValues() {
  static const std::vector<double> values = [] {
    std::vector<double> found = {0,
                                 0.5,
                                 1,
                                 1.5,
                                 2,
                                 3,
                                 4,
                                 5,
                                 10,
                                 22,
                                 100,
                                 709.7,
                                 709.8,
                                 710.4,
                                 710.5,
                                 745,
                                 1e5,
                                 1e9,
                                 0x1p45,
                                 1e-9,
                                 1e-20,
                                 0x1p31,
                                 0x1p52,
                                 0x1p53,
                                 1e-5,
                                 std::numeric_limits<double>::min(),
                                 std::numeric_limits<double>::denorm_min(),
                                 1e-310,
                                 std::numeric_limits<float>::min(),
                                 1e-40,
                                 kInfinity};
    for (size_t i = found.size(); i-- > 0;)
      found.push_back(-found[i]);
    found.push_back(kNan);
    return found;
  }();
  return values;
}

/// Pairs of arguments (of unary functions the second does not matter).
std::vector<std::pair<double, double>> argumentsOf(const Function &function) {
  std::vector<std::pair<double, double>> all;
  for (double x : specialValues())
    if (isBinary(function.op)) {
      for (double y : specialValues())
        all.emplace_back(x, y);
    } else if (std::abs(x) <= function.greatest || std::isinf(x) || std::isnan(x)) {
      all.emplace_back(x, 0);
    }
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> dense(function.low, function.high), other(-30, 30),
      scale(-1074, std::log2(function.greatest)), around(-300, 300);
  for (int i = 0; i < 4000; ++i) {
    all.emplace_back(dense(random), other(random));
    const double sign = i % 2 == 0 ? 1 : -1;
    all.emplace_back(sign * std::exp2(scale(random)), std::exp2(around(random)));
    all.emplace_back(1 + sign * std::exp2(-std::abs(other(random))), 100 * other(random));
    if (isBinary(function.op))
      all.emplace_back(std::trunc(other(random)), std::trunc(other(random)));
    else // multiples of pi / 2 as near as doubles come
      all.emplace_back(std::trunc(std::exp2(std::abs(other(random)))) * (M_PI / 2), 0);
  }
  return all;
}

/// How far `got` is from `want`, in units of the last place of T at `want`; infinite where one of
/// them is special or of another sign and the other is not.
template <typename T> double distance(T got, long double want) {
  const T rounded = static_cast<T>(want);
  if (std::isnan(rounded) || std::isnan(got))
    return std::isnan(rounded) && std::isnan(got) ? 0 : kInfinity;
  if (got == rounded)
    return rounded != 0 || std::signbit(got) == std::signbit(rounded) ? 0 : kInfinity;
  constexpr T kMost = std::numeric_limits<T>::max();
  if (std::isinf(got) || std::isinf(rounded)) // at the border one may be the greatest number
    return std::abs(got) >= kMost && std::abs(rounded) >= kMost &&
                   std::signbit(got) == std::signbit(rounded)
               ? 1
               : kInfinity;
  const T magnitude = std::max(std::abs(rounded), std::numeric_limits<T>::min());
  const long double unit =
      static_cast<long double>(std::nextafter(magnitude, std::numeric_limits<T>::infinity())) -
      magnitude;
  return static_cast<double>(std::abs((static_cast<long double>(got) - want) / unit));
}

template <typename T>
void expectNear(const Code &code, const Function &function, DType dtype, double ulps) {
  const auto arguments = argumentsOf(function);
  const auto count = static_cast<int64_t>(arguments.size());
  const Program program = programOf(function.op, dtype, count);
  std::vector<ops::Tensor> tensors;
  for (const loops::TensorSpec &spec : program.tensors)
    tensors.emplace_back(ops::TensorType{spec.dtype, {count}});
  for (int64_t i = 0; i < count; ++i) {
    tensors[0].set(i, arguments[static_cast<size_t>(i)].first);
    if (isBinary(function.op))
      tensors[1].set(i, arguments[static_cast<size_t>(i)].second);
  }
  tensors = runLoops(code, program, std::move(tensors), {}, 3);
  double worst = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const T x = tensors[0].as<T>()[i];
    const T y = isBinary(function.op) ? tensors[1].as<T>()[i] : T{};
    const T got = tensors.back().as<T>()[i];
    const long double want = function.reference(x, y);
    const double off = distance(got, want);
    worst = std::max(worst, off);
    ASSERT_LE(off, ulps) << function.name << "(" << x << ", " << y << ") of "
                         << base::dtypeName(dtype) << " is " << got << ", not "
                         << static_cast<T>(want);
  }
  testing::Test::RecordProperty(std::string(function.name) + "_" +
                                    std::string(base::dtypeName(dtype)),
                                std::to_string(worst));
}

class MathOnTarget : public testing::TestWithParam<int> {};

TEST_P(MathOnTarget, IsAsLibm) {
  const HostTarget &target = loopTargets()[static_cast<size_t>(GetParam())];
  std::vector<HostKernelSpec> specs;
  for (const Function &function : functions())
    for (DType dtype : {DType::kF32, DType::kF64})
      specs.push_back(LoopSpec{
          programOf(function.op, dtype, static_cast<int64_t>(argumentsOf(function).size()))});
  const Code code = compile(specs, target);
  for (const Function &function : functions()) {
    expectNear<double>(code, function, DType::kF64, function.ulpOfF64);
    expectNear<float>(code, function, DType::kF32, function.ulpOfF64 == 0 ? 0 : 0.51);
  }
}

/// Circles know no turn beyond 2^45.
TEST_P(MathOnTarget, NoGuessOfFarTurns) {
  for (Op op : {Op::kSin, Op::kCos, Op::kTan}) {
    const Program program = programOf(op, DType::kF64, 3);
    std::vector<ops::Tensor> tensors(2, ops::Tensor(ops::TensorType{DType::kF64, {3}}));
    tensors[0].set(0, 0x1p45), tensors[0].set(1, 0x1.0000000000001p45), tensors[0].set(2, -1e300);
    tensors = runLoops(compile({LoopSpec{program}}, loopTargets()[0]), program, tensors, {}, 1);
    EXPECT_FALSE(std::isnan(tensors[1].get(0)));
    EXPECT_TRUE(std::isnan(tensors[1].get(1)) && std::isnan(tensors[1].get(2)));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MathOnTarget,
                         testing::Range(0, static_cast<int>(loopTargets().size())));

} // namespace
} // namespace platen::kernels
