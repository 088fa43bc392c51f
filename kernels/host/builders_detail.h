// One builder a request, and what builders share.
#pragma once

#include "kernels/host/ir.h"

namespace platen::kernels {

void buildMatmul(Ir &ir, const MatmulSpec &spec);
void buildQuantizeRows(Ir &ir, const QuantizeRowsSpec &spec);
void buildRowProgram(Ir &ir, const RowProgramSpec &spec);
void buildEmbed(Ir &ir, const EmbedSpec &spec);
void buildQkvFinish(Ir &ir, const QkvFinishSpec &spec);
void buildPagedAttention(Ir &ir, const PagedAttentionSpec &spec);
void buildSelectRows(Ir &ir, const SelectRowsSpec &spec);
/// kInternal where a node is no operation of its operands' kinds.
base::Status buildLoops(Ir &ir, const LoopSpec &spec);

/// The widest of 16, 8, 4, 2, 1 lanes that divides `count`.
constexpr int64_t lanesDividing(uint64_t count) {
  int64_t lanes = 16;
  while (count % static_cast<uint64_t>(lanes) != 0)
    lanes /= 2;
  return lanes;
}

/// Quantises 32 floats, two vectors of 16, into a QuantizedRow at `row`: codes at byte `element`
/// (the index of the first element, i64), scale and sum at its group's places.
void storeQuantizedGroup(Ir &ir, Value low, Value high, Value row, Value element,
                         const QuantizedRow &layout);

} // namespace platen::kernels
