// Elementwise activation function. Contract: activation.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kActivation;
} // namespace platen::ops
