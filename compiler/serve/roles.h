// What each input and output of an exported decoder is for, told by its name (never by its place).
#pragma once

#include "runtime/base/status.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace platen::compiler::serve {

/// Argument (or result) numbers of one layer's cache.
struct CachePair {
  std::optional<unsigned> key, value;
};

struct Roles {
  unsigned tokens = 0;                              ///< i64[b,s] input_ids
  std::optional<unsigned> attentionMask, positions; ///< i64[b,p+s], i64[b,s]
  std::map<int64_t, CachePair> past, present;       ///< by layer; both members set
  unsigned logits = 0;                              ///< [b,s,V]
  std::vector<unsigned> hidden;                     ///< further results [b,s,H], in their order
};

/// The name that the model gives argument or result `index`.
std::string inputName(mlir::func::FuncOp function, unsigned index);
std::string outputName(mlir::func::FuncOp function, unsigned index);

/// Whether the graph has a cache among its inputs, so that it must be brought to the serving form.
bool isDecoder(mlir::func::FuncOp function);

/// InvalidArgument or Unsupported naming the input or output that is missing or has no known role.
base::Result<Roles> findRoles(mlir::func::FuncOp function);

} // namespace platen::compiler::serve
