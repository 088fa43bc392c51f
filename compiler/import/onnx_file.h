// Reads a ModelProto without copying its weights.
//
// Exporters put hundreds of megabytes into TensorProto.raw_data inside the file. Before protobuf
// sees the bytes, one scan of the wire format rewrites each raw_data field to 16 bytes that say
// where in the file the data lies (rawRange); everything else reaches protobuf unchanged. Cost: one
// pass over the file's structure, not its weights.
#pragma once

#include "runtime/base/status.h"

#include "compiler/import/onnx-ml.pb.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace platen::compiler {

/// Protobuf messages end at 2 GiB.
inline constexpr uint64_t kMaxOnnxBytes = (uint64_t{1} << 31) - 1;

/// `bytes` may be hostile. Errors: kCorrupt (no ModelProto), kUnsupported (2 GiB and more).
base::Result<std::unique_ptr<onnx::ModelProto>> parseOnnx(std::span<const std::byte> bytes);

struct RawRange {
  uint64_t offset = 0, bytes = 0; ///< in the bytes given to parseOnnx
};
/// Where the raw_data of a tensor of a parsed model lies. Requires tensor.has_raw_data().
RawRange rawRange(const onnx::TensorProto &tensor);

} // namespace platen::compiler
