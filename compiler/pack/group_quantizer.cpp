#include "compiler/pack/group_quantizer.h"

#include "runtime/base/dtype.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace platen::compiler {

namespace {

constexpr size_t kGroup = kernels::kGroup;
constexpr size_t kLanes = 8; // independent partial sums, so that compilers vectorise them

float asStored(float scale, bool f16) {
  return f16 ? base::f16ToFloat(base::floatToF16(scale)) : scale;
}

/// Nearest integer, ties to even, for |x| < 2^22; vectorises on every x86-64.
inline float nearest(float x) { return (x + 12582912.0F) - 12582912.0F; }

struct Weighted {
  std::array<float, kGroup> x{}, weight{};
  float low = 0, high = 0; // range, including 0
};

Weighted weigh(const float *x) {
  Weighted group;
  float squares = 0;
  for (size_t i = 0; i < kGroup; ++i) {
    group.x[i] = x[i];
    group.low = std::min(group.low, x[i]), group.high = std::max(group.high, x[i]);
    squares += x[i] * x[i];
  }
  const float rms = std::sqrt(squares / kGroup);
  for (size_t i = 0; i < kGroup; ++i)
    group.weight[i] = rms + std::abs(x[i]);
  return group;
}

struct Fit {
  float product = 0, square = 0; // sums of w x c and w c^2 over centred codes c
  float bestScale() const { return square > 0 ? product / square : 0; }
  /// Weighted squared error at bestScale(), less the constant sum of w x^2.
  float error() const { return square > 0 ? -product * product / square : 0; }
};

/// Codes of x at 1/scale and zero point, centred on the zero point, and how well a refitted scale
/// would do.
Fit fitAt(const Weighted &group, float inverse, float zero) {
  std::array<float, kLanes> product{}, square{};
  for (size_t i = 0; i < kGroup; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float code = std::clamp(nearest(group.x[i + lane] * inverse), -zero, 15.0F - zero);
      const float weighted = group.weight[i + lane] * code;
      product[lane] += weighted * group.x[i + lane];
      square[lane] += weighted * code;
    }
  Fit fit;
  for (size_t lane = 0; lane < kLanes; ++lane)
    fit.product += product[lane], fit.square += square[lane];
  return fit;
}

/// Codes at the scale that is stored.
QuantizedGroup finish(const Weighted &group, float scale, int zero, bool f16Scale) {
  QuantizedGroup result;
  result.scale = asStored(scale, f16Scale);
  result.zero = static_cast<int8_t>(zero);
  const float inverse = result.scale != 0 ? 1.0F / result.scale : 0;
  for (size_t i = 0; i < kGroup; ++i) {
    const float low = static_cast<float>(-zero),
                code = std::clamp(group.x[i] * inverse, low, low + 15.0F);
    result.codes[i] = static_cast<int8_t>(static_cast<int>(nearest(code)) + zero);
  }
  if (result.scale == 0) // the value 0 must be representable with any code
    result.codes.fill(static_cast<int8_t>(std::clamp(zero, 0, 15)));
  return result;
}

struct Best {
  float error = std::numeric_limits<float>::infinity(), scale = 0;
  int zero = 8;
  void offer(const Fit &fit, int zeroPoint) {
    if (fit.error() < error)
      error = fit.error(), scale = fit.bestScale(), zero = zeroPoint;
  }
};

} // namespace

QuantizedGroup quantizeGroup8(const float *x, bool f16Scale) {
  float largest = 0;
  for (size_t i = 0; i < kGroup; ++i)
    largest = std::max(largest, std::abs(x[i]));
  QuantizedGroup result;
  result.scale = asStored(largest / 127.0F, f16Scale);
  const float inverse = result.scale > 0 ? 1.0F / result.scale : 0;
  for (size_t i = 0; i < kGroup; ++i)
    result.codes[i] = static_cast<int8_t>(nearest(std::clamp(x[i] * inverse, -127.0F, 127.0F)));
  return result;
}

QuantizedGroup quantizeGroup4(const float *x, bool f16Scale) {
  const Weighted group = weigh(x);
  // The side with the larger magnitude gets code -8.
  const float extreme = -group.low > group.high ? group.low : group.high;
  if (extreme == 0)
    return finish(group, 0, 8, f16Scale);
  Best best;
  for (int step = -10; step <= 10; ++step)
    best.offer(fitAt(group, -(8.0F + 0.12F * static_cast<float>(step)) / extreme, 8), 8);
  return finish(group, best.scale, 8, f16Scale);
}

QuantizedGroup quantizeGroup4WithZero(const float *x, bool f16Scale) {
  const Weighted group = weigh(x);
  if (group.low == group.high)
    return finish(group, 0, 8, f16Scale);
  const auto [least, most] = std::minmax_element(group.x.begin(), group.x.end());
  Best best;
  for (int step = -9; step <= 3; ++step) {
    // A narrower range than the whole clips its ends and refines the rest.
    const float range = std::max(*most - *least, 1e-3F * (group.high - group.low));
    const float inverse = (15.0F - 0.5F * static_cast<float>(step)) / range;
    const int centre = static_cast<int>(
        std::clamp(nearest(7.5F - 0.5F * (*least + *most) * inverse), -100.0F, 115.0F));
    for (int zero = centre - 1; zero <= centre + 1; ++zero)
      best.offer(fitAt(group, inverse, static_cast<float>(zero)), zero);
  }
  return finish(group, best.scale, best.zero, f16Scale);
}

} // namespace platen::compiler
