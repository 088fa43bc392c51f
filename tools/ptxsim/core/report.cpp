// Violations and counters as text.
#include "tools/ptxsim/core/simulator.h"

#include <cstdio>

namespace platen::ptxsim {
namespace {

struct Row {
  const char *name;
  uint64_t Counters::*value;
};
constexpr Row kRows[] = {
    {"warp_instructions", &Counters::warpInstructions},
    {"global_load_requests", &Counters::globalLoadRequests},
    {"global_load_sectors", &Counters::globalLoadSectors},
    {"global_store_requests", &Counters::globalStoreRequests},
    {"global_store_sectors", &Counters::globalStoreSectors},
    {"shared_load_requests", &Counters::sharedLoadRequests},
    {"shared_load_waves", &Counters::sharedLoadWaves},
    {"shared_store_requests", &Counters::sharedStoreRequests},
    {"shared_store_waves", &Counters::sharedStoreWaves},
    {"matrix_instructions", &Counters::matrixInstructions},
    {"matrix_macs", &Counters::matrixMacs},
    {"branches", &Counters::branches},
    {"divergent_branches", &Counters::divergentBranches},
    {"barriers", &Counters::barriers},
    {"blocks", &Counters::blocks},
};

std::string dims(const Dim3 &d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

} // namespace

std::string_view pipeName(Pipe pipe) {
  constexpr std::string_view kNames[] = {"alu", "fma", "sfu", "mma", "lsu", "async", "control"};
  return kNames[static_cast<size_t>(pipe)];
}

std::string_view violationName(ViolationKind kind) {
  switch (kind) {
  case ViolationKind::kOutOfBounds:
    return "out-of-bounds";
  case ViolationKind::kUninitialisedRead:
    return "uninitialised-read";
  case ViolationKind::kMisaligned:
    return "misaligned";
  case ViolationKind::kSharedRace:
    return "shared-race";
  case ViolationKind::kGlobalRace:
    return "global-race";
  case ViolationKind::kDeadlock:
    return "deadlock";
  case ViolationKind::kHang:
    return "hang";
  case ViolationKind::kIllegalInstruction:
    return "illegal-instruction";
  case ViolationKind::kTrap:
    return "trap";
  }
  return "unknown";
}

std::string Violation::toString() const {
  return std::string(violationName(kind)) + ": kernel " + kernel + ", line " +
         std::to_string(line) + " `" + instruction + "`, block " + dims(block) + ", warp " +
         std::to_string(warp) + ", lane " + std::to_string(lane) + ": " + message;
}

void Counters::add(const Counters &other) {
  for (const Row &row : kRows)
    this->*row.value += other.*row.value;
  for (int p = 0; p < kPipes; ++p)
    byPipe[p] += other.byPipe[p];
}

std::string Counters::toTable() const {
  std::string text;
  char line[96];
  auto add = [&](const std::string &name, uint64_t value) {
    std::snprintf(line, sizeof line, "%-26s %16llu\n", name.c_str(),
                  static_cast<unsigned long long>(value));
    text += line;
  };
  auto ratio = [&](const char *name, uint64_t sum, uint64_t count) {
    if (count == 0)
      return;
    std::snprintf(line, sizeof line, "%-26s %16.2f\n", name,
                  static_cast<double>(sum) / static_cast<double>(count));
    text += line;
  };
  for (const Row &row : kRows)
    add(row.name, this->*row.value);
  for (int p = 0; p < kPipes; ++p)
    add("pipe_" + std::string(pipeName(static_cast<Pipe>(p))), byPipe[p]);
  ratio("sectors_per_global_load", globalLoadSectors, globalLoadRequests);
  ratio("sectors_per_global_store", globalStoreSectors, globalStoreRequests);
  ratio("waves_per_shared_load", sharedLoadWaves, sharedLoadRequests);
  ratio("waves_per_shared_store", sharedStoreWaves, sharedStoreRequests);
  return text;
}

std::string Counters::toJson() const {
  std::string text = "{";
  for (const Row &row : kRows)
    text += "\"" + std::string(row.name) + "\": " + std::to_string(this->*row.value) + ", ";
  text += "\"pipes\": {";
  for (int p = 0; p < kPipes; ++p)
    text += (p ? ", \"" : "\"") + std::string(pipeName(static_cast<Pipe>(p))) +
            "\": " + std::to_string(byPipe[p]);
  return text + "}}";
}

} // namespace platen::ptxsim
