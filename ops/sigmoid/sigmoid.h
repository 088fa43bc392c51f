// Elementwise logistic function. Contract: sigmoid.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSigmoid;
} // namespace platen::ops
