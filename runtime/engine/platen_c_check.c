/* Compiled as C: proves that platen_c.h is C, and drives one request through it. Called by
 * platen_c_test.cpp. */
#include "runtime/engine/platen_c.h"

#include <string.h>

int platenCheckFromC(PlatenEngine *engine, char *text, size_t capacity);

/* Reads a request in pieces of 4 bytes into `text` (ends with NUL). Returns the first code that is
 * not 0. */
int platenCheckFromC(PlatenEngine *engine, char *text, size_t capacity) {
  PlatenRequest request;
  uint64_t id = 0;
  size_t used = 0, bytes = 0;
  int code;
  memset(&request, 0, sizeof request);
  request.struct_bytes = sizeof request;
  request.prompt = "a";
  request.max_tokens = 10;
  code = platen_submit(engine, &request, &id);
  if (code != PLATEN_OK)
    return code;
  do {
    if (capacity - used < 5)
      return PLATEN_RESOURCE_EXHAUSTED;
    code = platen_read(engine, id, text + used, 4, &bytes);
    if (code != PLATEN_OK)
      return code;
    used += bytes;
  } while (bytes > 0);
  text[used] = '\0';
  return PLATEN_OK;
}

int platenCheckGraphFromC(PlatenGraph *graph, const int32_t *a, const int32_t *b, int32_t *total);

/* Runs the tiny graph (runtime/plan/testing/tiny_graph.h) for n = 3, m = 2. Returns the first code
 * that is not 0. */
int platenCheckGraphFromC(PlatenGraph *graph, const int32_t *a, const int32_t *b, int32_t *total) {
  const int64_t a_dims[] = {3, 4}, b_dims[] = {2, 4};
  PlatenTensor inputs[2], output;
  PlatenGraphResult *result = NULL;
  int code;
  memset(inputs, 0, sizeof inputs);
  inputs[0].name = "a";
  inputs[0].dtype = PLATEN_I32;
  inputs[0].rank = 2;
  inputs[0].dims = a_dims;
  inputs[0].data = a;
  inputs[0].bytes = 48;
  inputs[1] = inputs[0];
  inputs[1].name = "b";
  inputs[1].dims = b_dims;
  inputs[1].data = b;
  inputs[1].bytes = 32;
  code = platen_graph_run(graph, inputs, 2, &result);
  if (code != PLATEN_OK)
    return code;
  code = platen_graph_result_tensor(result, 0, &output);
  if (code == PLATEN_OK) {
    if (strcmp(output.name, "total") != 0 || output.rank != 1 || output.dims[0] != 3 ||
        output.bytes != 12)
      code = PLATEN_INTERNAL;
    else
      memcpy(total, output.data, 12);
  }
  platen_graph_result_free(result);
  return code;
}
