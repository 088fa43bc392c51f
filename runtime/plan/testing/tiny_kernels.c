/* Integer code only: no constant ever leaves the instruction stream. See tiny_kernels.h. */
#include "runtime/plan/testing/tiny_kernels.h"

#define KERNEL __attribute__((section("platen_tiny_code"), noinline, used))

KERNEL void platenTinyEmbed(void *const *operands, int64_t begin, int64_t end) {
  const PlatenStep *step = (const PlatenStep *)operands[0];
  const int32_t *table = (const int32_t *)operands[1];
  int32_t *x = (int32_t *)operands[2];
  for (int64_t t = begin; t < end; ++t)
    for (int64_t j = 0; j < TINY_WIDTH; ++j)
      x[t * TINY_WIDTH + j] = table[(int64_t)step->token_ids[t] * TINY_WIDTH + j];
}

KERNEL void platenTinyStore(void *const *operands, int64_t begin, int64_t end) {
  const PlatenStep *step = (const PlatenStep *)operands[0];
  int64_t page_tokens = ((const int32_t *)operands[1])[1];
  const int32_t *x = (const int32_t *)operands[2];
  int32_t *cache = (int32_t *)operands[3];
  for (int64_t t = begin; t < end; ++t) {
    int64_t sequence = step->sequence_of_token[t], position = step->positions[t];
    int64_t page = step->page_table[sequence * step->page_table_stride + position / page_tokens];
    int32_t *keys = cache + page * 2 * page_tokens * TINY_WIDTH;
    for (int64_t j = 0; j < TINY_WIDTH; ++j)
      keys[j * page_tokens + position % page_tokens] = x[t * TINY_WIDTH + j];
  }
}

KERNEL void platenTinySum(void *const *operands, int64_t begin, int64_t end) {
  const PlatenStep *step = (const PlatenStep *)operands[0];
  int64_t page_tokens = ((const int32_t *)operands[1])[1];
  const int32_t *cache = (const int32_t *)operands[2];
  int32_t *hidden = (int32_t *)operands[3];
  for (int64_t r = begin; r < end; ++r) {
    int64_t t = step->row_tokens[r];
    const int32_t *pages = step->page_table + step->sequence_of_token[t] * step->page_table_stride;
    for (int64_t j = 0; j < TINY_WIDTH; ++j) {
      uint32_t sum = 0;
      for (int64_t p = 0; p <= step->positions[t]; ++p) {
        const int32_t *keys =
            cache + (int64_t)pages[p / page_tokens] * 2 * page_tokens * TINY_WIDTH;
        sum += (uint32_t)keys[j * page_tokens + p % page_tokens];
      }
      hidden[r * TINY_WIDTH + j] = (int32_t)sum;
    }
  }
}

KERNEL void platenTinyHead(void *const *operands, int64_t begin, int64_t end) {
  const uint32_t *meta = (const uint32_t *)operands[1];
  uint32_t vocabulary = meta[0];
  const uint32_t *hidden = (const uint32_t *)operands[2];
  uint32_t *logits = (uint32_t *)operands[3];
  volatile uint32_t *scratch = (volatile uint32_t *)operands[4]; /* [4] */
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t row = unit / 2;
    for (int64_t j = 0; j < TINY_WIDTH; ++j)
      scratch[j] = hidden[row * TINY_WIDTH + j] * (uint32_t)(2 * j + 1);
    uint32_t next = (scratch[0] + scratch[1] + scratch[2] + scratch[3]) % vocabulary;
    uint32_t logit = next == meta[2] ? 0x7fc00000u : 0x3f800000u;
    for (int64_t v = unit % 2; v < (int64_t)vocabulary; v += 2)
      logits[row * vocabulary + v] = v == next ? logit : 0u;
  }
}
