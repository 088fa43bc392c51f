// Finds stop strings in text that arrives piece by piece, and holds back what might be the
// beginning of one.
//
// Cost: O(held text x stop strings) a piece; the held text is shorter than the longest stop string.
#pragma once

#include <string>
#include <vector>

namespace platen::engine {

class StopStrings {
public:
  /// No stop string is empty.
  explicit StopStrings(std::vector<std::string> stops = {}) : stops_(std::move(stops)) {}

  /// Takes new text and appends to `released` what is certain to stand before any stop string.
  /// Returns true once a stop string is complete: `released` then ends right before the earliest
  /// one (of those that begin at the same place, it does not matter which), and later text must not
  /// be pushed.
  bool push(const std::string &text, std::string &released);
  /// The text ends here: releases what was held back.
  void finish(std::string &released);

private:
  size_t heldBytes() const;

  std::vector<std::string> stops_;
  std::string held_; // a proper prefix of a stop string between calls
};

} // namespace platen::engine
