// Softmax along an axis. Contract: softmax.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSoftmax;
} // namespace platen::ops
