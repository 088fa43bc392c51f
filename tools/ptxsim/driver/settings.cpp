#include "tools/ptxsim/driver/settings.h"

#include <charconv>

namespace platen::ptxsim::driver {
namespace {

const char *kDefaultChecks = "races,uninitialised,tensor-fences";

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    parts.push_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

base::Result<uint64_t> number(std::string_view name, std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return base::invalidArgument(std::string(name) + "='" + std::string(text) +
                                 "' is no whole number");
  return value;
}

base::Status unknown(std::string_view name, std::string_view value, std::string_view known) {
  return base::invalidArgument(std::string(name) + "='" + std::string(value) + "'; there are " +
                               std::string(known));
}

base::Status readDevices(std::string_view text, Settings &settings) {
  settings.devices.clear();
  if (text == "none")
    return {};
  for (std::string_view part : split(text)) {
    PLATEN_ASSIGN_OR_RETURN(Architecture device, parseArchitecture(part));
    settings.devices.push_back(device);
  }
  return {};
}

base::Status readPeers(std::string_view text, Settings &settings) {
  size_t n = settings.devices.size();
  settings.peer.assign(n, std::vector<bool>(n, text == "all"));
  if (text == "all" || text == "none")
    return {};
  for (std::string_view part : split(text)) {
    size_t dash = part.find('-');
    if (dash == std::string_view::npos)
      return unknown("PLATEN_PTXSIM_PEER", text, "all, none, and pairs such as 0-1,2-3");
    PLATEN_ASSIGN_OR_RETURN(uint64_t a, number("PLATEN_PTXSIM_PEER", part.substr(0, dash)));
    PLATEN_ASSIGN_OR_RETURN(uint64_t b, number("PLATEN_PTXSIM_PEER", part.substr(dash + 1)));
    if (a >= n || b >= n)
      return base::invalidArgument("PLATEN_PTXSIM_PEER names device " +
                                   std::to_string(std::max(a, b)) + " of " + std::to_string(n));
    settings.peer[a][b] = settings.peer[b][a] = true;
  }
  return {};
}

base::Status readChecks(std::string_view text, Settings &settings) {
  settings.checks = {false, false, false, false, false};
  const std::pair<std::string_view, bool *> kChecks[] = {
      {"races", &settings.checks.races},
      {"uninitialised", &settings.checks.initialised},
      {"tensor-fences", &settings.checks.tensorFences},
      {"lane-races", &settings.checks.laneRaces},
      {"global-races", &settings.checks.globalRaces},
  };
  for (std::string_view part : split(text)) {
    bool isKnown = part == "none" || part == "all";
    for (auto [name, check] : kChecks)
      if (part == name || part == "all")
        *check = isKnown = true;
    if (!isKnown)
      return unknown("PLATEN_PTXSIM_CHECKS", text,
                     "races, uninitialised, tensor-fences, lane-races, global-races, all and none");
  }
  return {};
}

base::Status readChoices(const std::function<std::string(const char *, const char *)> &get,
                         Settings &settings) {
  std::string order = get("PLATEN_PTXSIM_ASYNC", "latest");
  if (order != "earliest" && order != "latest" && order != "random")
    return unknown("PLATEN_PTXSIM_ASYNC", order, "earliest, latest and random");
  settings.order = order == "earliest" ? AsyncOrder::kEarliest
                   : order == "latest" ? AsyncOrder::kLatest
                                       : AsyncOrder::kRandom;
  std::string counters = get("PLATEN_PTXSIM_COUNTERS", "none");
  if (counters != "none" && counters != "table" && counters != "json")
    return unknown("PLATEN_PTXSIM_COUNTERS", counters, "none, table and json");
  settings.counters = counters == "table"  ? CounterFormat::kTable
                      : counters == "json" ? CounterFormat::kJson
                                           : CounterFormat::kNone;
  std::string time = get("PLATEN_PTXSIM_EVENT_TIME", "none");
  if (time != "none" && time != "wall")
    return unknown("PLATEN_PTXSIM_EVENT_TIME", time, "none and wall");
  settings.wallEventTime = time == "wall";
  return {};
}

} // namespace

std::string_view orderName(AsyncOrder order) {
  return order == AsyncOrder::kEarliest ? "earliest"
         : order == AsyncOrder::kLatest ? "latest"
                                        : "random";
}

base::Result<size_t> parseBytes(std::string_view text) {
  size_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : unit == "GiB" ? 30 : -1;
  if (error != std::errc() || shift < 0 || value == 0 || value > (size_t{1} << 44) >> shift)
    return base::invalidArgument("'" + std::string(text) + "' is no size such as 512MiB or 2GiB");
  return value << shift;
}

base::Result<Settings> Settings::read(const std::function<const char *(const char *)> &lookup) {
  auto get = [&](const char *name, const char *otherwise) {
    const char *value = lookup(name);
    return std::string(value && *value ? value : otherwise);
  };
  Settings settings;
  PLATEN_RETURN_IF_ERROR(readDevices(get("PLATEN_PTXSIM_DEVICES", "sm_80"), settings));
  PLATEN_RETURN_IF_ERROR(readPeers(get("PLATEN_PTXSIM_PEER", "all"), settings));
  PLATEN_RETURN_IF_ERROR(readChecks(get("PLATEN_PTXSIM_CHECKS", kDefaultChecks), settings));
  PLATEN_RETURN_IF_ERROR(readChoices(get, settings));
  PLATEN_ASSIGN_OR_RETURN(settings.memoryBytes, parseBytes(get("PLATEN_PTXSIM_MEMORY", "8GiB")));
  PLATEN_ASSIGN_OR_RETURN(settings.seed,
                          number("PLATEN_PTXSIM_SEED", get("PLATEN_PTXSIM_SEED", "0")));
  PLATEN_ASSIGN_OR_RETURN(uint64_t threads,
                          number("PLATEN_PTXSIM_THREADS", get("PLATEN_PTXSIM_THREADS", "0")));
  PLATEN_ASSIGN_OR_RETURN(uint64_t grace,
                          number("PLATEN_PTXSIM_GRACE_MS", get("PLATEN_PTXSIM_GRACE_MS", "50")));
  settings.threads = static_cast<unsigned>(std::min<uint64_t>(threads, 1024));
  settings.grace = std::chrono::milliseconds(std::min<uint64_t>(grace, 3600 * 1000));
  settings.report = get("PLATEN_PTXSIM_REPORT", "");
  settings.log = get("PLATEN_PTXSIM_LOG", "");
  settings.ptxPath = get("PLATEN_PTXSIM_PTX_PATH", "");
  return settings;
}

} // namespace platen::ptxsim::driver
