// The set of tokens that end a sequence: the model's end-of-sequence tokens and those the request
// adds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace platen::decode {

class StopTokens {
public:
  StopTokens() = default;
  StopTokens(std::span<const int32_t> model, std::span<const int32_t> request) {
    tokens_.assign(model.begin(), model.end());
    tokens_.insert(tokens_.end(), request.begin(), request.end());
    std::sort(tokens_.begin(), tokens_.end());
  }
  bool contains(int32_t token) const {
    return std::binary_search(tokens_.begin(), tokens_.end(), token);
  }

private:
  std::vector<int32_t> tokens_; // sorted
};

} // namespace platen::decode
