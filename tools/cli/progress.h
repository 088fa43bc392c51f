// Progress of long work on stderr: a bar on a terminal, plain lines elsewhere, one JSON object a
// line with --json.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace platen::cli {

/// Not thread-safe; give it calls from one thread at a time.
class ProgressDisplay {
public:
  enum class Style { kBar, kLines, kJson };
  /// kJson if `json`; else what stderr is good for.
  explicit ProgressDisplay(bool json);
  ~ProgressDisplay();

  /// A new phase begins when its name differs from the last call's. `total` 0: no count known.
  void update(std::string_view phase, uint64_t done, uint64_t total);
  /// Ends the present phase's line.
  void finish();

private:
  void draw(uint64_t done, uint64_t total);

  Style style_;
  std::string phase_;
  std::chrono::steady_clock::time_point phaseStart_, lastDraw_;
  bool lineOpen_ = false;
};

} // namespace platen::cli
