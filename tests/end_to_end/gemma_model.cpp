// See gemma_model.h.
#include "tests/end_to_end/gemma_model.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace platen::end_to_end {

std::vector<Expected> readExpected() {
  std::ifstream file(sharedFixtures() / "gemma3-270m-greedy-fp32.json");
  std::vector<Expected> list;
  const nlohmann::json json = nlohmann::json::parse(file);
  for (const auto &entry : json.at("prompts"))
    list.push_back({entry["name"], entry["prompt_ids"], entry["tokens"], entry["margins"]});
  EXPECT_EQ(list.size(), 8U);
  return list;
}

engine::Request greedy(const Expected &expected, size_t tokens) {
  engine::Request request;
  request.tokens = expected.prompt;
  request.max_tokens = static_cast<int64_t>(tokens);
  request.ignore_eos = true;
  return request;
}

} // namespace platen::end_to_end
