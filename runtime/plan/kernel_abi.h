/* The contract between host kernels (machine code inside a plan) and the runtime that calls them.
 *
 * Versioned on its own and including nothing: a plan records kPlatenKernelAbiVersion, and a runtime
 * refuses a plan whose version it does not know. Plain C, so that any code generator can restate
 * it.
 *
 * A host kernel is a leaf function: it calls nothing, owns nothing, keeps no state, never fails.
 * Shapes known at compile time are baked into its code; what varies from step to step stands in
 * PlatenStep. The runtime cuts a launch's work into units [0, units) and gives each worker thread
 * one contiguous range [begin, end). Results never depend on how the range was cut.
 */
#ifndef PLATEN_RUNTIME_PLAN_KERNEL_ABI_H
#define PLATEN_RUNTIME_PLAN_KERNEL_ABI_H

#include <stdint.h>

#define PLATEN_KERNEL_ABI_VERSION 1

/* What one engine step executes: `tokens` flattened over all its sequences. Arrays are read-only
 * for kernels, 64-byte aligned and readable (contents unspecified) up to the next multiple of 16
 * elements.
 *
 * Token t belongs to sequence `sequence_of_token[t]` of this step and stands at absolute position
 * `positions[t]` (0-based) of it; the tokens of one sequence are adjacent and in ascending
 * position. Keys and values of position p of sequence s live in page `page_table[s *
 * page_table_stride + p / page_tokens]`, slot p % page_tokens. Every page that a position <=
 * max(positions) of the sequence needs is present (sliding-window layers: pages that lie wholly
 * before the window of every token may hold -1 and must not be touched).
 */
typedef struct PlatenStep {
  int64_t tokens;                   /* T >= 0 */
  int64_t rows;                     /* R >= 0: rows of hidden state that go through the head */
  int64_t sequences;                /* S >= 0 */
  int64_t page_table_stride;        /* entries a sequence */
  const int32_t *token_ids;         /* [T] */
  const int32_t *positions;         /* [T] */
  const int32_t *sequence_of_token; /* [T], values in [0, S) */
  const int32_t *row_tokens; /* [R], values in [0, T): the token whose hidden state is row r */
  const int32_t *page_table; /* [S, page_table_stride], page numbers; -1 where absent */
} PlatenStep;

/* The step of one launch in a graph that has no serving form: `step.tokens` and `step.rows` are the
 * launch's points, `step.sequences` is 1, its arrays are null, and the run's symbols (sizes that
 * only a run knows) follow. */
typedef struct PlatenGraphStep {
  PlatenStep step;
  int64_t symbols[1]; /* as many as the graph has */
} PlatenGraphStep;

/* How a sampler draws one row's token: the filters and the draw of runtime/decode/sampler.h,
 * without the penalty. The token is -1 where the logits hold NaN or +infinity or are all -infinity.
 */
typedef struct PlatenSampling {
  uint64_t uniform;  /* the draw of this row, in units of 2^-64 */
  float temperature; /* below 1e-6: greedy */
  int32_t top_k;     /* <= 0: off */
  float top_p;       /* 1: off; in (0, 1] */
  float log_min_p;   /* natural logarithm of min-p; -infinity: off */
} PlatenSampling;

/* operands[0] is the PlatenStep; operands[1..] are the launch's operands in the kernel descriptor's
 * order (activations, packed weights, KV cache bases, tables); the last is this thread's scratch
 * (64-byte aligned, as many bytes as the kernel entry says; absent when it says 0). Activation
 * buffers are row-major [T or R, columns] f32 unless the descriptor says otherwise, 64-byte
 * aligned, with 64 readable bytes of padding after the last row.
 */
typedef void (*PlatenHostKernel)(void *const *operands, int64_t begin, int64_t end);

#endif /* PLATEN_RUNTIME_PLAN_KERNEL_ABI_H */
