// From ONNX operators to the catalog: an index over the rows of all OpSpecs, and what to say when
// none fits.
#pragma once

#include "ops/op.h"

#include <map>
#include <string>
#include <vector>

namespace platen::compiler {

struct OnnxMatch {
  const ops::OpSpec *op;
  const ops::OnnxRow *row;
};

/// Immutable; safe from several threads.
class OnnxIndex {
public:
  /// Of the catalog. Built once.
  static const OnnxIndex &get();

  /// Errors: kUnsupported, saying which versions, which domain or which nearest name is supported.
  base::Result<OnnxMatch> find(const std::string &domain, const std::string &opType,
                               int64_t version) const;

private:
  OnnxIndex();
  std::string advice(const std::string &domain, const std::string &opType) const;
  std::map<std::string, std::map<std::string, std::vector<OnnxMatch>>> byType_; ///< type → domain
};

} // namespace platen::compiler
