// The vectorisable exponential and its sums.
#include "runtime/decode/softmax.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace platen::decode {
namespace {

constexpr size_t kLanes = 8;

inline float exponential(float x) {
  constexpr float kLowest = -87.0F; // exp(-87) is still a normal float
  float clamped = x < kLowest ? kLowest : x;
  float shifted =
      clamped * 1.44269504F + 12582912.0F; // 1.5 * 2^23: the sum's low bits are round(x / ln2)
  float n = shifted - 12582912.0F;
  float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float y = 1.0F / 720;
  y = y * r + 1.0F / 120;
  y = y * r + 1.0F / 24;
  y = y * r + 1.0F / 6;
  y = y * r + 0.5F;
  y = y * r + 1.0F;
  y = y * r + 1.0F;
  auto exponent = static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) << 23);
  float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(y) + exponent);
  return x < kLowest ? 0.0F : scaled;
}

} // namespace

float expNonPositive(float x) { return exponential(x); }

double sumExpBlock(std::span<const float> logits, float best, float scale) {
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] += exponential((logits[i + lane] - best) * scale);
  double sum = 0;
  for (; i < logits.size(); ++i)
    sum += exponential((logits[i] - best) * scale);
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
