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

} // namespace platen::ops
