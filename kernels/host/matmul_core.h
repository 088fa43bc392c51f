// Inner loops of matmuls: one register tile of x rows by panels over the whole of k.
#pragma once

#include "kernels/host/ir.h"

namespace platen::kernels {

/// What a core multiplies: `rows` pointers to rows of x (f32, bf16 pairs, or QuantizedRow) and the
/// panels' bases.
struct MatmulTile {
  Values rows;
  Values panels;
};

/// Accumulators, vector<16xf32>, [row * panels + panel]. Order of k ascending, one chain an element
/// (see MatmulSpec).
Values matmulCore(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile);

/// Whether x is read as bf16 pairs, [ceil(K/2)] i32 a row, which convertToBf16Pairs makes from f32.
bool readsBf16Pairs(const MatmulSpec &spec, const HostTarget &target);
/// Writes row `from` (f32 [K]) as bf16 pairs to `to`, rounding to nearest even; odd K is padded
/// with zero.
void convertToBf16Pairs(Ir &ir, Value from, Value to, uint64_t k);

} // namespace platen::kernels
