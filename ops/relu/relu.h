// Elementwise positive part. Contract: relu.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kRelu;
} // namespace platen::ops
