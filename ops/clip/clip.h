// Limits elements to an interval. Contract: clip.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kClip;
} // namespace platen::ops
