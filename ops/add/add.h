// Elementwise sum with ONNX broadcasting. Contract: add.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kAdd;
} // namespace platen::ops
