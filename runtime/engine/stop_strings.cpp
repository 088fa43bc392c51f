// Straightforward search: stop strings are few and short.
#include "runtime/engine/stop_strings.h"

#include <algorithm>
#include <string_view>

namespace platen::engine {

bool StopStrings::push(const std::string &text, std::string &released) {
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string &stop : stops_)
    first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    released.append(held_, 0, first);
    held_.clear();
    return true;
  }
  size_t free = held_.size() - heldBytes();
  released.append(held_, 0, free);
  held_.erase(0, free);
  return false;
}

void StopStrings::finish(std::string &released) {
  released += held_;
  held_.clear();
}

// The longest end of the text that is the beginning of a stop string.
size_t StopStrings::heldBytes() const {
  size_t longest = 0;
  for (const std::string &stop : stops_) {
    size_t bytes = std::min(stop.size() - 1, held_.size());
    while (bytes > longest &&
           !std::string_view(held_).ends_with(std::string_view(stop).substr(0, bytes)))
      --bytes;
    longest = std::max(longest, bytes);
  }
  return longest;
}

} // namespace platen::engine
