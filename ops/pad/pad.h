// Elements around a tensor. Contract: pad.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kPad;
} // namespace platen::ops
