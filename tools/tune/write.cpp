// Copies a plan's sections under another manifest.
#include "runtime/plan/writer.h"
#include "tools/tune/tune.h"

#include <algorithm>

namespace platen::tune {

using base::Status;

Status writePlan(const plan::Plan &plan, const plan::Manifest &manifest, const std::string &path,
                 const TuneOptions &options) {
  constexpr uint64_t kChunkBytes = uint64_t{4} << 20;
  PLATEN_ASSIGN_OR_RETURN(plan::PlanWriter writer, plan::PlanWriter::create(path));
  const std::vector<plan::Section> &sections = plan.manifest().sections;
  uint64_t total = 0, done = 0;
  for (const plan::Section &section : sections)
    total += section.bytes;
  for (uint32_t i = 0; i < sections.size(); ++i) {
    PLATEN_ASSIGN_OR_RETURN(
        const uint32_t index,
        writer.beginSection(sections[i].kind, sections[i].name, sections[i].alignment));
    if (index != i)
      return base::internalError("sections would change their order", path);
    const std::span<const std::byte> bytes = plan.section(i);
    for (uint64_t at = 0; at < bytes.size(); at += kChunkBytes) {
      if (options.cancelled && options.cancelled())
        return {base::StatusCode::kCancelled, "interrupted", path};
      const auto chunk = bytes.subspan(at, std::min<uint64_t>(kChunkBytes, bytes.size() - at));
      PLATEN_RETURN_IF_ERROR(writer.append(chunk));
      done += chunk.size();
      if (options.progress)
        options.progress("write", done, total);
    }
    PLATEN_RETURN_IF_ERROR(writer.endSection());
  }
  return writer.finish(manifest);
}

} // namespace platen::tune
