/* Integer code only: no constant ever leaves the instruction stream. See tiny_graph_kernels.h. */
#include "runtime/plan/testing/tiny_graph_kernels.h"

#define KERNEL __attribute__((section("platen_tiny_graph_code"), noinline, used))

KERNEL void platenTinyOuter(void *const *operands, int64_t begin, int64_t end) {
  const int64_t *symbols = ((const PlatenGraphStep *)operands[0])->symbols;
  int64_t m = symbols[1];
  const uint32_t *a = (const uint32_t *)operands[1];
  const uint32_t *b = (const uint32_t *)operands[2];
  uint32_t *products = (uint32_t *)operands[3];
  uint32_t *sums = (uint32_t *)operands[4];
  for (int64_t row = begin; row < end; ++row) {
    uint32_t sum = 0;
    for (int64_t j = 0; j < TINY_GRAPH_WIDTH; ++j) {
      uint32_t product =
          a[row / m * TINY_GRAPH_WIDTH + j] * b[row % m * TINY_GRAPH_WIDTH + j];
      products[row * TINY_GRAPH_WIDTH + j] = product;
      sum += product;
    }
    sums[row] = sum;
  }
}

KERNEL void platenTinyTotal(void *const *operands, int64_t begin, int64_t end) {
  const int64_t *symbols = ((const PlatenGraphStep *)operands[0])->symbols;
  int64_t n = symbols[0], m = symbols[1];
  const uint32_t *factors = (const uint32_t *)operands[1];
  const uint32_t *products = (const uint32_t *)operands[2];
  uint32_t *total = (uint32_t *)operands[3];
  for (int64_t row = begin; row < end; ++row) {
    uint32_t sum = (uint32_t)n + 1000u * (uint32_t)m;
    for (int64_t i = row * m * TINY_GRAPH_WIDTH; i < (row + 1) * m * TINY_GRAPH_WIDTH; ++i)
      sum += products[i] * factors[i % TINY_GRAPH_WIDTH];
    total[row] = sum;
  }
}
