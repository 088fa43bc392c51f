/* Kernels of the tiny graph (tiny_graph.h) in integer C, as tiny_kernels.h has them. The symbols
 * are n and m. Numbers are int32 and wrap around. */
#ifndef PLATEN_RUNTIME_PLAN_TESTING_TINY_GRAPH_KERNELS_H
#define PLATEN_RUNTIME_PLAN_TESTING_TINY_GRAPH_KERNELS_H

#include "runtime/plan/kernel_abi.h"

#define TINY_GRAPH_WIDTH 4

#ifdef __cplusplus
extern "C" {
#endif

/* products [n, m, 4] = a [n, 1, 4] * b [1, m, 4], sums [n, m] = those of its rows. Operands: step,
 * a, b, products, sums. A unit is a row of products; points: n * m. */
void platenTinyOuter(void *const *operands, int64_t begin, int64_t end);
/* total [n] = sum over m and columns of products * factors [4], plus n + 1000 * m. Operands: step,
 * factors, products, total. Points and units: n. */
void platenTinyTotal(void *const *operands, int64_t begin, int64_t end);

/* First byte of the kernels' section and the byte behind it. */
extern const char __start_platen_tiny_graph_code[] __attribute__((visibility("hidden")));
extern const char __stop_platen_tiny_graph_code[] __attribute__((visibility("hidden")));

#ifdef __cplusplus
}
#endif
#endif
