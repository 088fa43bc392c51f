// Scaled dot product attention over whole sequences, as ONNX defines it. Contract: attention.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kAttention;
} // namespace platen::ops
