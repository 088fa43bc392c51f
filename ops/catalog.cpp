// The one list of operators. A row here, a line in ir/ops.td and a folder are all that an operator
// needs.
#include "ops/add/add.h"
#include "ops/rms_norm/rms_norm.h"

#include <unordered_map>

namespace platen::ops {

std::span<const OpSpec *const> catalog() {
  static const OpSpec *const kOps[] = {
      &kAdd,
      &kRmsNorm,
  };
  return kOps;
}

const OpSpec *findOp(std::string_view name) {
  static const auto kByName = [] {
    std::unordered_map<std::string_view, const OpSpec *> byName;
    for (const OpSpec *op : catalog())
      byName.emplace(op->name, op);
    return byName;
  }();
  auto found = kByName.find(name);
  return found == kByName.end() ? nullptr : found->second;
}

} // namespace platen::ops
