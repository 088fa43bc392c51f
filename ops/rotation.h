// The rotation of feature pairs that every rotary embedding shares (Su et al. 2021,
// arXiv 2104.09864, eq. 34).
#pragma once

#include "ops/loops/lowering.h"
#include "ops/tensor.h"

namespace platen::ops {

/// Rotates the features of one head in place: pair i by the angle whose cosine and sine stand at
/// row `position` of the tables [P, half]. Pairs are (i, i + half), or (2i, 2i + 1) if interleaved;
/// features from 2 * half on stay. Requires 2 * half <= head.size() and a position inside.
void rotateHead(std::span<double> head, const Tensor &cos, const Tensor &sin, int64_t position,
                bool interleaved);

/// The same in loops: feature `index` of a head after the rotation. `feature` gives the head's
/// features, `cos` and `sin` entry i < half of the token's table row. `whole`: 2 half is the head.
struct Rotation {
  std::function<loops::Value(loops::Value)> feature, cos, sin;
  loops::Value half;
  bool whole, interleaved;
};
loops::Value rotatedFeature(loops::Stage &s, const Rotation &rotation, loops::Value index);

} // namespace platen::ops
