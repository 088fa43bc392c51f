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
