// See rotation.h.
#include "ops/rotation.h"

namespace platen::ops {

void rotateHead(std::span<double> head, const Tensor &cos, const Tensor &sin, int64_t position,
                bool interleaved) {
  int64_t half = cos.dims()[1];
  for (int64_t i = 0; i < half; ++i) {
    double &a = head[static_cast<size_t>(interleaved ? 2 * i : i)];
    double &b = head[static_cast<size_t>(interleaved ? 2 * i + 1 : i + half)];
    double c = cos.get(position * half + i), s = sin.get(position * half + i), first = a;
    a = first * c - b * s;
    b = b * c + first * s;
  }
}

loops::Value rotatedFeature(loops::Stage &s, const Rotation &rotation, loops::Value index) {
  using loops::Value;
  const Value zero = s.integer(0), one = s.integer(1), half = rotation.half;
  const Value outside = rotation.whole ? s.boolean(false) : s.lessEqual(s.add(half, half), index);
  // Of each pair the first turns by -sin of the other, the second by +sin.
  const Value isFirst = rotation.interleaved ? s.equal(s.binary(loops::Op::kAnd, index, one), zero)
                                             : s.less(index, half);
  const Value other = rotation.interleaved
                          ? s.binary(loops::Op::kXor, index, one)
                          : s.select(isFirst, s.add(index, half), s.sub(index, half));
  const Value pair = rotation.interleaved ? s.div(index, s.integer(2))
                                          : s.select(isFirst, index, s.sub(index, half));
  const Value entry = s.select(outside, zero, pair), own = rotation.feature(index),
              partner = rotation.feature(s.select(outside, index, other));
  const Value kept = s.mul(own, rotation.cos(entry)), turned = s.mul(partner, rotation.sin(entry));
  const Value rotated = s.select(isFirst, s.sub(kept, turned), s.add(kept, turned));
  return s.select(outside, own, rotated);
}

} // namespace platen::ops
