// Reduction over axes by a function. Contract: reduce.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReduce;
} // namespace platen::ops
