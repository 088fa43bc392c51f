// Elementwise cosine. Contract: cos.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kCos;
} // namespace platen::ops
