// Logarithm of softmax along an axis. Contract: log_softmax.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kLogSoftmax;
} // namespace platen::ops
