// See progress.h. Redraws at most ten times a second; plain lines come at a phase's start, end and
// every two seconds.
#include "tools/cli/progress.h"

#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace platen::cli {

using Clock = std::chrono::steady_clock;

ProgressDisplay::ProgressDisplay(bool json)
    : style_(json                         ? Style::kJson
             : isatty(STDERR_FILENO) != 0 ? Style::kBar
                                          : Style::kLines) {}

ProgressDisplay::~ProgressDisplay() { finish(); }

void ProgressDisplay::update(std::string_view phase, uint64_t done, uint64_t total) {
  Clock::time_point now = Clock::now();
  bool starts = phase != phase_;
  if (starts) {
    finish();
    phase_ = phase;
    phaseStart_ = now;
  }
  auto interval =
      style_ == Style::kBar ? std::chrono::milliseconds(100) : std::chrono::milliseconds(2000);
  if (!starts && now - lastDraw_ < interval)
    return;
  lastDraw_ = now;
  draw(done, total);
}

void ProgressDisplay::draw(uint64_t done, uint64_t total) {
  double percent = total == 0 ? 0 : 100.0 * static_cast<double>(done) / static_cast<double>(total);
  switch (style_) {
  case Style::kJson:
    fmt::print(stderr, "{{\"phase\":\"{}\",\"done\":{},\"total\":{}}}\n", phase_, done, total);
    return;
  case Style::kLines:
    if (total != 0)
      fmt::print(stderr, "{:<9}{:5.1f} %\n", phase_, percent);
    return;
  case Style::kBar: {
    int filled = static_cast<int>(percent / 100 * 30);
    if (total == 0)
      fmt::print(stderr, "\r\033[K{:<9}…", phase_);
    else
      fmt::print(stderr, "\r\033[K{:<9}[{:<30}] {:5.1f} %", phase_,
                 std::string(static_cast<size_t>(filled), '#'), percent);
    std::fflush(stderr);
    lineOpen_ = true;
  }
  }
}

void ProgressDisplay::finish() {
  if (phase_.empty())
    return;
  std::chrono::duration<double> seconds = Clock::now() - phaseStart_;
  if (style_ == Style::kJson)
    fmt::print(stderr, "{{\"phase\":\"{}\",\"seconds\":{:.3f}}}\n", phase_, seconds.count());
  else
    fmt::print(stderr, "{}{:<9}done in {:.2f} s\n", lineOpen_ ? "\r\033[K" : "", phase_,
               seconds.count());
  lineOpen_ = false;
  phase_.clear();
}

} // namespace platen::cli
