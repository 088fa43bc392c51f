/* The contract between CUDA kernels (PTX and cubins inside a plan) and the runtime that launches
 * them.
 *
 * Versioned on its own and including nothing: plain C, read by NVRTC as well as by the runtime.
 *
 * Parameters. An entry takes pointers only, 8 bytes each, in this order:
 *   1. const PlatenCudaStep *step   (device memory; the pointers inside are device pointers)
 *   2. the launch's operands in the order of the request (kernels/request.h): the same buffers,
 *      weights and caches that host kernels of the same request take
 *   3. the workspace, where the kernel entry says workspace bytes > 0 (256-byte aligned, contents
 *      unspecified before and after; one for all launches of a stream is enough)
 *   4. one CUtensorMap in device memory (64-byte aligned) for each tensor map that the kernel lists
 *
 * Buffers. Row-major [E, columns] f32 unless the operand says otherwise, 64-byte aligned, E =
 * tokens or rows of the step; packed weights as kernels/packing.h lays them down, 64-byte aligned.
 *
 * Grid. A launch has one or more phases, launched in order on one stream. A phase's grid is
 * (gridX, gridY, gridZ); each dimension is  times * ceil(extent / per)  where extent is the
 * launch's actual extent (tokens or rows), or any larger one: blocks beyond the actual sizes, which
 * they read from the step in device memory, return at once. A captured graph therefore fixes the
 * grid for the largest extent of its bucket and stays valid while the step's contents change.
 *
 * Results never depend on the grid's surplus, on the batch, or on how a prompt was cut into steps.
 */
#ifndef PLATEN_KERNELS_CUDA_ABI_H
#define PLATEN_KERNELS_CUDA_ABI_H

#define PLATEN_CUDA_ABI_VERSION 1

/* The fields and the layout of PlatenStep (runtime/plan/kernel_abi.h), in device memory. */
typedef struct PlatenCudaStep {
  long long tokens;             /* T >= 0 */
  long long rows;               /* R >= 0 */
  long long sequences;          /* S >= 0 */
  long long page_table_stride;  /* entries a sequence */
  const int *token_ids;         /* [T] */
  const int *positions;         /* [T] */
  const int *sequence_of_token; /* [T], values in [0, S) */
  const int *row_tokens;        /* [R], values in [0, T) */
  const int *page_table;        /* [S, page_table_stride]; -1 where absent */
} PlatenCudaStep;

/* One row's sampling, an operand of the sample kernel: [R] of these. Fields and layout of
 * PlatenSampling (runtime/plan/kernel_abi.h); semantics of filters and draw:
 * runtime/decode/sampler.h. */
typedef struct PlatenCudaSampling {
  unsigned long long uniform; /* the draw of this row, in units of 2^-64 */
  float temperature;          /* below 1e-6: greedy */
  int top_k;                  /* <= 0: off */
  float top_p;                /* 1: off; in (0, 1] */
  float log_min_p;            /* natural logarithm of min-p; -infinity: off */
} PlatenCudaSampling;

#endif /* PLATEN_KERNELS_CUDA_ABI_H */
