// Permutation of axes. Contract: transpose.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kTranspose;
} // namespace platen::ops
