// Sums of exponentials over a vocabulary, fast enough to be done once a token.
//
// exp is a degree-6 polynomial on [-ln2/2, ln2/2] after Cody-Waite range reduction: relative error
// below 2e-7 for arguments in [-87, 0], 0 below. Written without branches, so that compilers
// vectorise the loops. Sums run over blocks of 1024 in eight f32 lanes and then in double, in a
// fixed order: the result is a pure function of the input.
#pragma once

#include <cstddef>
#include <span>

namespace platen::decode {

inline constexpr size_t kSoftmaxBlock = 1024;

/// exp(x) for x <= 0.
float expNonPositive(float x);

/// sum over i of exp((logits[i] - best) * scale), for logits[i] <= best and scale > 0. At most
/// kSoftmaxBlock logits.
double sumExpBlock(std::span<const float> logits, float best, float scale);

/// The same over any number of logits.
double sumExp(std::span<const float> logits, float best, float scale);

} // namespace platen::decode
