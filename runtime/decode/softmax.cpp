// The vectorisable exponential and its sums.
#include "runtime/decode/softmax.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace platen::decode {
namespace {

constexpr size_t kLanes = 8;

// x <= 0. Compares bits, not floats: with float comparisons compilers see branches and do not
// vectorise.
inline float exponential(float x) {
  constexpr int32_t kLargest = std::bit_cast<int32_t>(87.0F); // exp(-87) is still a normal float
  int32_t magnitude = std::bit_cast<int32_t>(x) & 0x7fffffff;
  int32_t clamped_magnitude = magnitude < kLargest ? magnitude : kLargest;
  float clamped = -std::bit_cast<float>(clamped_magnitude);
  float shifted =
      clamped * 1.44269504F + 12582912.0F; // 1.5 * 2^23: the low bits are round(x / ln2)
  float n = shifted - 12582912.0F;
  float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float y = 1.0F / 720;
  y = y * r + 1.0F / 120;
  y = y * r + 1.0F / 24;
  y = y * r + 1.0F / 6;
  y = y * r + 0.5F;
  y = y * r + 1.0F;
  y = y * r + 1.0F;
  uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  uint32_t keep = 0U - static_cast<uint32_t>(magnitude <= kLargest); // 0 beyond
  return std::bit_cast<float>((std::bit_cast<uint32_t>(y) + exponent) & keep);
}

} // namespace

float expNonPositive(float x) { return exponential(x); }

double sumExpBlock(std::span<const float> logits, float best, float scale) {
  float terms[kSoftmaxBlock];
  size_t count = logits.size();
  const float *values = logits.data();
  for (size_t i = 0; i < count; ++i)
    terms[i] = exponential((values[i] - best) * scale);
  std::fill(terms + count, terms + (count + kLanes - 1) / kLanes * kLanes, 0.0F);
  float lanes[kLanes] = {};
  for (size_t i = 0; i < count; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] += terms[i + lane];
  double sum = 0;
  for (float lane : lanes)
    sum += lane;
  return sum;
}

double sumExp(std::span<const float> logits, float best, float scale) {
  double sum = 0;
  for (size_t first = 0; first < logits.size(); first += kSoftmaxBlock)
    sum += sumExpBlock(logits.subspan(first, std::min(kSoftmaxBlock, logits.size() - first)), best,
                       scale);
  return sum;
}

} // namespace platen::decode
