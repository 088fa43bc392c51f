#include "tools/ptxsim/driver/report.h"

#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace platen::ptxsim::driver {
namespace {

/// Appends in one call, so that processes that share the file do not mix their lines.
void appendTo(const std::string &path, std::string line) {
  line += '\n';
  int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0 || ::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    logLine("cannot write " + path);
  if (file >= 0)
    close(file);
}

std::string dimensions(const Dim3 &d) {
  return "[" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + "]";
}

std::string violationJson(int device, const Violation &v) {
  return "{\"kind\":" + jsonString(violationName(v.kind)) +
         ",\"device\":" + std::to_string(device) + ",\"kernel\":" + jsonString(v.kernel) +
         ",\"line\":" + std::to_string(v.line) + ",\"instruction\":" + jsonString(v.instruction) +
         ",\"block\":" + dimensions(v.block) + ",\"warp\":" + std::to_string(v.warp) +
         ",\"lane\":" + std::to_string(v.lane) + ",\"address\":" + std::to_string(v.address) +
         ",\"message\":" + jsonString(v.message) + "}";
}

} // namespace

std::string jsonString(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      (result += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      result += code;
    } else {
      result += c;
    }
  }
  return result + '"';
}

void logLine(std::string_view text) {
  std::string line = "ptxsim: " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void ReportBook::launched(const std::string &kernel, int device, const Report &report) {
  std::lock_guard lock(mutex_);
  Kernel &entry = kernels_[kernel];
  ++entry.launches;
  entry.counters.add(report.counters);
  if (!report.violation)
    return;
  violations_.emplace_back(device, *report.violation);
  std::string text =
      "violation on device " + std::to_string(device) + ": " + report.violation->toString();
  logLine(text);
  if (!settings_.log.empty())
    appendTo(settings_.log, text);
}

void ReportBook::note(const std::string &text) {
  std::lock_guard lock(mutex_);
  if (notes_.insert(text).second)
    logLine(text);
}

std::string ReportBook::toJson() const {
  std::lock_guard lock(mutex_);
  std::string json = "{\"devices\":[";
  for (size_t i = 0; i < settings_.devices.size(); ++i)
    json += (i ? "," : "") + jsonString(settings_.devices[i].name());
  json += "],\"async\":" + jsonString(orderName(settings_.order)) +
          ",\"seed\":" + std::to_string(settings_.seed) + ",\"simulated\":true,\"kernels\":[";
  bool first = true;
  for (const auto &[name, kernel] : kernels_) {
    json += (first ? "" : ",") + std::string("\n {\"name\":") + jsonString(name) +
            ",\"launches\":" + std::to_string(kernel.launches) +
            ",\"counters\":" + kernel.counters.toJson() + "}";
    first = false;
  }
  json += "],\"violations\":[";
  for (size_t i = 0; i < violations_.size(); ++i)
    json += (i ? ",\n " : "\n ") + violationJson(violations_[i].first, violations_[i].second);
  json += "],\"notes\":[";
  first = true;
  for (const std::string &note : notes_) {
    json += (first ? "\n " : ",\n ") + jsonString(note);
    first = false;
  }
  return json + "]}\n";
}

void ReportBook::write() {
  std::string json = toJson();
  if (!settings_.report.empty()) {
    std::FILE *file = std::fopen(settings_.report.c_str(), "w");
    bool written = file && std::fwrite(json.data(), 1, json.size(), file) == json.size();
    if ((file && std::fclose(file) != 0) || !written)
      logLine("cannot write the report to " + settings_.report);
  }
  if (settings_.counters == CounterFormat::kJson && settings_.report.empty())
    std::fwrite(json.data(), 1, json.size(), stderr);
  if (settings_.counters == CounterFormat::kTable) {
    std::lock_guard lock(mutex_);
    for (const auto &[name, kernel] : kernels_)
      logLine(name + ": " + std::to_string(kernel.launches) + " launches\n" +
              kernel.counters.toTable());
  }
}

} // namespace platen::ptxsim::driver
