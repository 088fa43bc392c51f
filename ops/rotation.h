// The rotation of feature pairs that every rotary embedding shares (Su et al. 2021,
// arXiv 2104.09864, eq. 34).
#pragma once

#include "ops/tensor.h"

namespace platen::ops {

/// Rotates the features of one head in place: pair i by the angle whose cosine and sine stand at
/// row `position` of the tables [P, half]. Pairs are (i, i + half), or (2i, 2i + 1) if interleaved;
/// features from 2 * half on stay. Requires 2 * half <= head.size() and a position inside.
void rotateHead(std::span<double> head, const Tensor &cos, const Tensor &sin, int64_t position,
                bool interleaved);

} // namespace platen::ops
