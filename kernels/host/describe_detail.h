// How a matmul request is cut, shared by its description and its builder.
#pragma once

#include "kernels/host/specs.h"

namespace platen::kernels {

/// Unit u covers rows [b * rowsPerUnit, …) and panels [g * panelsPerUnit, …) with b = u % blocks, g
/// = u / blocks, blocks = ceil(E / rowsPerUnit): weights are read once, x again for every panel
/// group.
struct MatmulTiling {
  uint64_t panels = 0; ///< of y (gated: of one weight)
  uint64_t panelsPerUnit = 1;
  uint64_t rowsPerUnit = 1;
};
MatmulTiling matmulTiling(const MatmulSpec &spec);

/// Points of a loop program that one unit covers: as many as share a byte of what it stores.
uint32_t loopPointsPerUnit(const ops::loops::Program &program);

} // namespace platen::kernels
