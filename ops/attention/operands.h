// What the reference and the loops of attention share.
#pragma once

#include "ops/loops/lowering.h"

namespace platen::ops::attention {

/// Numbered like the ONNX operator's inputs.
enum Operand : size_t { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kValidKeys };

base::Status lower(loops::Lowering &op);

} // namespace platen::ops::attention
