#include "compiler/emit/cuda/resources.h"

#include <charconv>

namespace platen::compiler {

namespace {

/// The number that stands before `unit` in `line`; 0 if there is none.
uint32_t numberBefore(std::string_view line, std::string_view unit) {
  const size_t at = line.find(unit);
  if (at == std::string_view::npos)
    return 0;
  size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9')
    --begin;
  uint32_t value = 0;
  std::from_chars(line.data() + begin, line.data() + at, value);
  return value;
}

} // namespace

base::Result<std::vector<CudaEntryResources>> parsePtxasLog(std::string_view log) {
  std::vector<CudaEntryResources> entries;
  while (!log.empty()) {
    const size_t end = std::min(log.find('\n'), log.size() - 1);
    const std::string_view line = log.substr(0, end + 1);
    log.remove_prefix(end + 1);
    constexpr std::string_view kCompiling = "Compiling entry function '";
    if (const size_t at = line.find(kCompiling); at != std::string_view::npos) {
      const size_t from = at + kCompiling.size();
      entries.emplace_back().entry = line.substr(from, line.find('\'', from) - from);
    }
    if (entries.empty())
      continue;
    CudaEntryResources &entry = entries.back();
    if (line.find("bytes stack frame") != std::string_view::npos) {
      entry.stackBytes = numberBefore(line, " bytes stack frame");
      entry.spillStoreBytes = numberBefore(line, " bytes spill stores");
      entry.spillLoadBytes = numberBefore(line, " bytes spill loads");
    }
    constexpr std::string_view kUsed = "Used ";
    if (const size_t at = line.find(kUsed); at != std::string_view::npos) {
      entry.registers = numberBefore(line, " registers");
      entry.staticSharedBytes = numberBefore(line, " bytes smem");
      entry.barriers = numberBefore(line, " barriers");
    }
  }
  for (const CudaEntryResources &entry : entries)
    if (entry.registers == 0)
      return base::corrupt("no register count for '" + entry.entry + "'", "ptxas log");
  return entries;
}

} // namespace platen::compiler
