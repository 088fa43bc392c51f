// Gemma 3 270M in tests: what the framework generates in fp32, and requests for it.
#pragma once

#include "runtime/engine/platen.h"
#include "tests/end_to_end/compiled_plan.h"

#include <string>
#include <vector>

namespace platen::end_to_end {

/// Greedy tokens of one prompt by the framework in fp32; margins[i]: logit of tokens[i] less that
/// of the second best.
struct Expected {
  std::string name;
  std::vector<int32_t> prompt, tokens;
  std::vector<double> margins;
};

/// All eight prompts of the shared fixture.
std::vector<Expected> readExpected();

/// The prompt, `tokens` to generate, greedily and past any end of sequence.
engine::Request greedy(const Expected &expected, size_t tokens);

} // namespace platen::end_to_end
