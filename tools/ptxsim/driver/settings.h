// Settings: what the environment asks of the simulated driver. Read once, by cuInit.
//
//   PLATEN_PTXSIM_DEVICES    "sm_80,sm_90a" (default one sm_80; "none" for a machine without)
//   PLATEN_PTXSIM_MEMORY     of each device, "2GiB" (default 8GiB)
//   PLATEN_PTXSIM_PEER       "all" (default), "none", or pairs that may reach each other: "0-1,2-3"
//   PLATEN_PTXSIM_ASYNC      earliest | latest (default) | random: when asynchronous work happens,
//                            inside kernels and between streams
//   PLATEN_PTXSIM_SEED       of random
//   PLATEN_PTXSIM_CHECKS     "races,uninitialised,tensor-fences" (default); also lane-races and
//                            global-races, which cost more; "all", "none"
//   PLATEN_PTXSIM_THREADS    host threads that execute a kernel (default: all cores)
//   PLATEN_PTXSIM_COUNTERS   table | json: count, and print at exit
//   PLATEN_PTXSIM_REPORT     file for the report as JSON (kernels, counters, violations)
//   PLATEN_PTXSIM_LOG        file to which every violation is appended as it happens
//   PLATEN_PTXSIM_PTX_PATH   folder with <hash of a cubin>.ptx, for cubins without PTX beside them
//   PLATEN_PTXSIM_EVENT_TIME "wall": cuEventElapsedTime answers with the host's time; else refused
//   PLATEN_PTXSIM_GRACE_MS   queued work that nobody waits for starts after this time (default 50)
#pragma once

#include "tools/ptxsim/core/simulator.h"
#include "tools/ptxsim/driver/architecture.h"

#include <chrono>
#include <functional>

namespace platen::ptxsim::driver {

enum class CounterFormat { kNone, kTable, kJson };

struct Settings {
  std::vector<Architecture> devices{Architecture{80, 0}};
  size_t memoryBytes = size_t{8} << 30;
  std::vector<std::vector<bool>> peer; // [from][to]
  AsyncOrder order = AsyncOrder::kLatest;
  uint64_t seed = 0;
  struct Checks {
    bool races = true, initialised = true, tensorFences = true, laneRaces = false,
         globalRaces = false;
  } checks;
  unsigned threads = 0;
  CounterFormat counters = CounterFormat::kNone;
  std::string report, log, ptxPath;
  bool wallEventTime = false;
  std::chrono::milliseconds grace{50};

  /// `lookup` is std::getenv, or a test's.
  static base::Result<Settings> read(const std::function<const char *(const char *)> &lookup);
};

/// "512", "64KiB", "16MiB", "2GiB".
base::Result<size_t> parseBytes(std::string_view text);
std::string_view orderName(AsyncOrder order);

} // namespace platen::ptxsim::driver
