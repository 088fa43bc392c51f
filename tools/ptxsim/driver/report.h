// ReportBook: what a run found: violations, counters of each kernel, notes. Written at exit.
// Thread-safety: any thread.
#pragma once

#include "tools/ptxsim/driver/settings.h"

#include <map>
#include <mutex>
#include <set>

namespace platen::ptxsim::driver {

class ReportBook {
public:
  explicit ReportBook(const Settings &settings) : settings_(settings) {}
  /// Counts a launch; prints a violation to stderr and to the log at once.
  void launched(const std::string &kernel, int device, const Report &report);
  /// A line on stderr, once for each text.
  void note(const std::string &text);
  /// The table on stderr and the JSON report, as the settings ask.
  void write();
  std::string toJson() const;

private:
  struct Kernel {
    uint64_t launches = 0;
    Counters counters;
  };
  const Settings &settings_;
  mutable std::mutex mutex_;
  std::map<std::string, Kernel> kernels_;
  std::vector<std::pair<int, Violation>> violations_; // with the device
  std::set<std::string> notes_;
};

/// `text` in quotes, as JSON.
std::string jsonString(std::string_view text);
/// A line on stderr that says who speaks.
void logLine(std::string_view text);

} // namespace platen::ptxsim::driver
