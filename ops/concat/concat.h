// Tensors one after another along an axis. Contract: concat.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kConcat;
} // namespace platen::ops
