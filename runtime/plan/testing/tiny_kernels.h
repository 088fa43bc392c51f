/* Kernels of the tiny plan (tiny_plan.h) in integer C. They are compiled into a section of their
 * own, free of calls, constants and relocations, so that the section's bytes are a code section of
 * a plan. All buffers hold int32. `meta` is the weight [2]: vocabulary, page_tokens. The width of
 * rows is TINY_WIDTH.
 */
#ifndef PLATEN_RUNTIME_PLAN_TESTING_TINY_KERNELS_H
#define PLATEN_RUNTIME_PLAN_TESTING_TINY_KERNELS_H

#include "runtime/plan/kernel_abi.h"

#define TINY_WIDTH 4

#ifdef __cplusplus
extern "C" {
#endif

/* x [T, 4] = table [V, 4] at token_ids. Operands: step, table, x. Units: tokens. */
void platenTinyEmbed(void *const *operands, int64_t begin, int64_t end);
/* Writes x [T, 4] as keys of each token's position. Operands: step, meta, x, cache. Units: tokens.
 */
void platenTinyStore(void *const *operands, int64_t begin, int64_t end);
/* hidden [R, 4] = sum over positions 0..p of the keys in the cache. Operands: step, meta, cache,
 * hidden. Units: rows. */
void platenTinySum(void *const *operands, int64_t begin, int64_t end);
/* logits [R, V] f32 = 1.0 (NaN, if that is the plan's broken token) at tinyNextToken(), else 0.0.
 * Operands: step, meta, hidden, logits, scratch (16 bytes). Units: 2 a row, one for the even, one
 * for the odd tokens. */
void platenTinyHead(void *const *operands, int64_t begin, int64_t end);

/* First byte of the kernels' section and the byte behind it. */
extern const char __start_platen_tiny_code[] __attribute__((visibility("hidden")));
extern const char __stop_platen_tiny_code[] __attribute__((visibility("hidden")));

#ifdef __cplusplus
}
#endif
#endif
