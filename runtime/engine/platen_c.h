/* platen's C interface: platen.h for other languages. It adds nothing and leaves out score() and
 * log probabilities' top lists.
 *
 * Conventions. Functions return 0 or a PlatenStatus; platen_last_error() then tells, on the same
 * thread, what went wrong. No exception leaves. Structs begin with `struct_bytes`, which the caller
 * sets to sizeof: newer libraries accept the shorter structs of older callers and take missing
 * members as 0. Zero means "default" in every member. Thread-safety is that of platen.h: all
 * functions may be called from any thread; an engine must outlive all calls on it.
 */
#ifndef PLATEN_RUNTIME_ENGINE_PLATEN_C_H
#define PLATEN_RUNTIME_ENGINE_PLATEN_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when a function or a meaning changes incompatibly; members are only ever added at the end.
 */
#define PLATEN_C_ABI_VERSION 1
uint32_t platen_abi_version(void);

typedef enum PlatenStatus {
  PLATEN_OK = 0,
  PLATEN_INVALID_ARGUMENT = 1,
  PLATEN_CORRUPT = 2,
  PLATEN_UNSUPPORTED = 3,
  PLATEN_NOT_FOUND = 4,
  PLATEN_RESOURCE_EXHAUSTED = 5,
  PLATEN_CANCELLED = 6,
  PLATEN_DEVICE_LOST = 7,
  PLATEN_IO = 8,
  PLATEN_INTERNAL = 9
} PlatenStatus;

/* The message of this thread's last failed call; "" if none failed. Valid until its next call. */
const char *platen_last_error(void);

typedef struct PlatenEngine PlatenEngine;

typedef struct PlatenEngineOptions {
  size_t struct_bytes;
  uint32_t threads;
  int64_t context_tokens;
  int64_t step_tokens;
  int64_t max_sequences;
  int64_t max_waiting;
  uint64_t kv_bytes;
  int64_t kv_pages;
  const char *device;         /* "auto", "host", "cuda" or "cuda:N"; NULL: auto */
  int32_t no_cuda_graphs;     /* not 0: steps are launched one by one on CUDA devices */
  int32_t no_device_sampling; /* not 0: CUDA devices give logits, and the host draws from them */
} PlatenEngineOptions;

/* `options` may be NULL. On success *engine must be freed by platen_engine_free(). */
int platen_engine_load(const char *plan_path, const PlatenEngineOptions *options,
                       PlatenEngine **engine);
/* NULL is ignored. Unfinished requests are dropped. */
void platen_engine_free(PlatenEngine *engine);
/* A thread of the engine's own executes the steps; without it, platen_read() and platen_wait() do.
 */
int platen_engine_start(PlatenEngine *engine);
int platen_engine_stop(PlatenEngine *engine);

typedef struct PlatenRequest {
  size_t struct_bytes;
  const char *prompt; /* UTF-8, ends with NUL; NULL if token_ids are given */
  const int32_t *token_ids;
  size_t token_count;
  int64_t max_tokens; /* 0: as many as fit */
  float temperature;  /* 0: greedy */
  int32_t top_k;      /* 0: off */
  float top_p;        /* 0 and 1: off */
  float min_p;
  float repeat_penalty;       /* 0 and 1: off */
  int32_t repeat_last_tokens; /* 0: 64; -1: the whole sequence */
  uint64_t seed;
  const char *const *stop; /* stop strings */
  size_t stop_count;
  const int32_t *stop_tokens;
  size_t stop_token_count;
  int32_t no_bos;        /* not 0: no beginning-of-sequence token before the prompt */
  int32_t parse_special; /* not 0: control tokens spelled out in the prompt become their ids */
  int32_t ignore_eos;    /* not 0: the model's end-of-sequence tokens do not stop */
} PlatenRequest;

/* Everything is copied. */
int platen_submit(PlatenEngine *engine, const PlatenRequest *request, uint64_t *id);
int platen_cancel(PlatenEngine *engine, uint64_t id);

/* Waits for new text and copies at most `capacity` bytes of it, whole characters, into `text`,
 * without NUL. *bytes == 0: the request is finished. Text that did not fit comes with the next
 * call. capacity >= 4. One thread at a time reads a request. */
int platen_read(PlatenEngine *engine, uint64_t id, char *text, size_t capacity, size_t *bytes);

typedef enum PlatenFinish {
  PLATEN_FINISH_STOP_TOKEN = 0,
  PLATEN_FINISH_STOP_STRING = 1,
  PLATEN_FINISH_MAX_TOKENS = 2,
  PLATEN_FINISH_CONTEXT_FULL = 3,
  PLATEN_FINISH_CANCELLED = 4,
  PLATEN_FINISH_ERROR = 5
} PlatenFinish;

/* A result; owned by the caller, freed by platen_result_free(). */
typedef struct PlatenResult PlatenResult;

/* Waits for a request and takes its result, once. A request that failed gives a result too: its
 * finish is PLATEN_FINISH_ERROR and platen_result_status() and _error() tell why. */
int platen_wait(PlatenEngine *engine, uint64_t id, PlatenResult **result);
void platen_result_free(PlatenResult *result);
PlatenFinish platen_result_finish(const PlatenResult *result);
int platen_result_status(const PlatenResult *result);
const char *platen_result_error(const PlatenResult *result); /* "" if it did not fail */
const char *platen_result_text(const PlatenResult *result, size_t *bytes); /* bytes may be NULL */
const int32_t *platen_result_tokens(const PlatenResult *result, size_t *count);
int64_t platen_result_prompt_tokens(const PlatenResult *result);
double platen_result_time_to_first_token_seconds(const PlatenResult *result);
double platen_result_decode_seconds(const PlatenResult *result);

/* Graphs that are no decoders: graph.h for other languages. */
typedef struct PlatenGraph PlatenGraph;

typedef struct PlatenGraphOptions {
  size_t struct_bytes;
  uint32_t threads;
  const char *device; /* as PlatenEngineOptions has it */
  int32_t no_cuda_graphs;
} PlatenGraphOptions;

/* Element types; 4-bit ones take two elements a byte, low nibble first. */
typedef enum PlatenDType {
  PLATEN_F32 = 1,
  PLATEN_F16 = 2,
  PLATEN_BF16 = 3,
  PLATEN_F64 = 4,
  PLATEN_I64 = 5,
  PLATEN_I32 = 6,
  PLATEN_I16 = 7,
  PLATEN_I8 = 8,
  PLATEN_I4 = 9,
  PLATEN_U64 = 10,
  PLATEN_U32 = 11,
  PLATEN_U16 = 12,
  PLATEN_U8 = 13,
  PLATEN_U4 = 14,
  PLATEN_BOOL = 15
} PlatenDType;

/* A dense, row-major tensor. This struct and the next stand in arrays and never change. */
typedef struct PlatenTensor {
  const char *name;
  int32_t dtype; /* a PlatenDType */
  uint32_t rank;
  const int64_t *dims; /* [rank] */
  const void *data;
  size_t bytes;
} PlatenTensor;

typedef struct PlatenTensorInfo {
  const char *name;
  int32_t dtype;
  uint32_t rank;
  const int64_t *dims;          /* [rank]; -1 where only a run knows */
  const char *const *dim_texts; /* [rank]: "8", "batch", "past + sequence" */
} PlatenTensorInfo;

/* `options` may be NULL. On success *graph must be freed by platen_graph_free(). */
int platen_graph_load(const char *plan_path, const PlatenGraphOptions *options,
                      PlatenGraph **graph);
/* NULL is ignored. */
void platen_graph_free(PlatenGraph *graph);

/* What the graph takes and gives; pointers are valid as long as the graph. */
size_t platen_graph_input_count(const PlatenGraph *graph);
size_t platen_graph_output_count(const PlatenGraph *graph);
int platen_graph_input(const PlatenGraph *graph, size_t index, PlatenTensorInfo *info);
int platen_graph_output(const PlatenGraph *graph, size_t index, PlatenTensorInfo *info);

/* All outputs of one run; owned by the caller, freed by platen_graph_result_free(). */
typedef struct PlatenGraphResult PlatenGraphResult;

/* `inputs` [count] are all inputs of the graph, in any order; they are copied. Runs of several
 * threads take turns. */
int platen_graph_run(PlatenGraph *graph, const PlatenTensor *inputs, size_t count,
                     PlatenGraphResult **result);
void platen_graph_result_free(PlatenGraphResult *result);
/* Output `index`, in the graph's order; pointers are valid as long as the result. */
int platen_graph_result_tensor(const PlatenGraphResult *result, size_t index, PlatenTensor *tensor);

#ifdef __cplusplus
}
#endif

#endif /* PLATEN_RUNTIME_ENGINE_PLATEN_C_H */
