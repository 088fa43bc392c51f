// A strided part of a tensor. Contract: slice.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSlice;
} // namespace platen::ops
