// What every target's kernel of one request has in common: names' parts, key, operands.
#pragma once

#include "kernels/specs.h"
#include "runtime/base/status.h"

#include <string>
#include <string_view>
#include <vector>

namespace platen::kernels {

struct KernelRequest {
  std::string op, dtypes; ///< first two parts of a kernel's name
  std::string key;        ///< canonical text: equal for equal requests and for no others
  Extent extent = Extent::kTokens;
  std::vector<OperandInfo> operands; ///< in the order in which every target's kernel takes them
};

/// Checks the request (kInvalidArgument or kUnsupported, naming the field) and lists its operands.
base::Result<KernelRequest> describeRequest(const KernelSpec &spec);

/// 16 hexadecimal digits (FNV-1a, 64 bits) of a key, the last part of a kernel's name.
std::string requestHash(std::string_view key);

} // namespace platen::kernels
