// Upper or lower triangle of matrices. Contract: trilu.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kTrilu;
} // namespace platen::ops
