// "Nearest" is edit distance over operator types, without regard to case, when it is small against
// the name.
#include "compiler/import/onnx_index.h"

#include "llvm/ADT/StringRef.h"

namespace platen::compiler {

using base::Result;

namespace {

std::string domainName(const std::string &domain) { return domain.empty() ? "ai.onnx" : domain; }

std::string versionsText(const std::vector<OnnxMatch> &rows) {
  std::string text;
  for (const OnnxMatch &match : rows) {
    text += (text.empty() ? "" : ", ") + std::to_string(match.row->minVersion);
    text += match.row->maxVersion == std::numeric_limits<int64_t>::max()
                ? "+"
                : "-" + std::to_string(match.row->maxVersion);
  }
  return text;
}

} // namespace

const OnnxIndex &OnnxIndex::get() {
  static const OnnxIndex kIndex;
  return kIndex;
}

OnnxIndex::OnnxIndex() {
  for (const ops::OpSpec *op : ops::catalog())
    for (const ops::OnnxRow &row : op->onnx)
      byType_[std::string(row.opType)][std::string(row.domain)].push_back({op, &row});
}

Result<OnnxMatch> OnnxIndex::find(const std::string &domain, const std::string &opType,
                                  int64_t version) const {
  if (auto type = byType_.find(opType); type != byType_.end())
    if (auto rows = type->second.find(domain); rows != type->second.end())
      for (const OnnxMatch &match : rows->second)
        if (match.row->minVersion <= version && version <= match.row->maxVersion)
          return match;
  return base::unsupported("operator " + opType + " of domain " + domainName(domain) + ", opset " +
                           std::to_string(version) + ", is not supported; " +
                           advice(domain, opType));
}

std::string OnnxIndex::advice(const std::string &domain, const std::string &opType) const {
  if (auto type = byType_.find(opType); type != byType_.end()) {
    if (auto rows = type->second.find(domain); rows != type->second.end())
      return "supported are opsets " + versionsText(rows->second) +
             "; convert the model (onnx.version_converter)";
    return "it is supported in domain " + domainName(type->second.begin()->first);
  }
  llvm::StringRef wanted(opType);
  unsigned best = static_cast<unsigned>(wanted.size()) / 2 + 1;
  std::string nearest;
  for (const auto &[name, domains] : byType_)
    if (unsigned distance = wanted.edit_distance_insensitive(name, true, best); distance < best) {
      best = distance;
      nearest = name + " (" + domainName(domains.begin()->first) + ", opset " +
                versionsText(domains.begin()->second) + ")";
    }
  return nearest.empty() ? "no supported operator resembles it"
                         : "the nearest supported operator is " + nearest;
}

} // namespace platen::compiler
