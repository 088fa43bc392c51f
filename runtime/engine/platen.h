// platen's public C++ interface: load a plan, submit requests, receive text.
//
//   auto engine = platen::engine::Engine::load("model.plan");
//   auto id = engine->submit({.prompt = "Once upon a time", .max_tokens = 64});
//   auto result = engine->wait(*id);            // runs the engine until the request is done
//   std::cout << result->text;
//
// Requests run together (continuous batching): each step executes one token of every generating
// request and fills up with chunks of new prompts. A request's tokens depend on nothing but the
// request itself: not on its neighbours, its chunks, the number of threads, or on preemption.
//
// Two ways to drive an engine. Either the caller does: wait(), read(), runUntilIdle() and step()
// execute steps on the calling thread. Or start() does it on a thread of its own, and any thread
// may submit and wait.
//
// Thread-safety: every member may be called from any thread at any time, except that the engine
// must outlive all calls and callbacks. Callbacks run on the thread that executes the step, one at
// a time, without a lock held: they may call submit(), cancel(), metrics() and model(), but calls
// that would execute a step or wait for one fail with kInvalidArgument. A slow callback delays
// every request. An exception that escapes a callback fails that request alone.
//
// Errors: functions return Status or Result and throw nothing (except std::bad_alloc). What
// concerns one request stands in its RequestResult and never touches another.
#pragma once

#include "runtime/base/status.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace platen::engine {

/// 0 means "choose" everywhere.
struct EngineOptions {
  unsigned threads = 0; ///< threads that execute kernels; 0: one a core that the process may use
  int64_t context_tokens =
      0; ///< positions a request may take; 0: the plan's limit, larger values are refused
  int64_t step_tokens = 0;   ///< tokens a step may execute; 0: the plan's limit
  int64_t max_sequences = 0; ///< requests that run at the same time; 0: the plan's limit
  int64_t max_waiting = 0;   ///< unfinished requests beyond which submit() refuses; 0: no limit
  /// Memory for keys and values. 0: what max_sequences whole contexts take, but at most 1 GiB or
  /// one whole context, whichever is more (pages are touched, and thus take memory, only when
  /// used); on CUDA devices, at most what weights and activations leave free. kv_pages, if given,
  /// wins.
  uint64_t kv_bytes = 0;
  int64_t kv_pages = 0;
  /// What executes steps: "auto" (or ""): the first CUDA device for which the plan has code, else
  /// the host; "host"; "cuda": as auto, without the host; "cuda:N". ModelInfo says what was chosen
  /// and why.
  std::string device = {};
  /// On CUDA devices: steps of few tokens are recorded and replayed. Results are the same without.
  bool cuda_graphs = true;
  /// On CUDA devices whose plan can: tokens are drawn on the device, and only they are read, for
  /// requests without repetition penalty and log probabilities. A seed means the same there as on
  /// the host; see runtime/decode/sampler.h for how closely.
  bool device_sampling = true;
};

/// Order: repetition penalty, top-k, top-p, min-p, temperature, draw (as llama.cpp). See
/// runtime/decode/sampler.h.
struct Sampling {
  float temperature = 0;           ///< 0: greedy
  int32_t top_k = 0;               ///< 0: off
  float top_p = 1;                 ///< 1: off; in (0, 1]
  float min_p = 0;                 ///< 0: off; in [0, 1]
  float repeat_penalty = 1;        ///< 1: off; in [0.01, 100]
  int32_t repeat_last_tokens = 64; ///< window of the penalty; -1: whole sequence, 0: off
  uint64_t seed = 0;               ///< equal seeds give equal draws
};

using RequestId = uint64_t; ///< never 0, never reused by one engine

enum class FinishReason : int {
  kStopToken = 0,   ///< the model's end of sequence or one of the request's stop tokens
  kStopString = 1,  ///< one of the request's stop strings
  kMaxTokens = 2,   ///< max_tokens were generated
  kContextFull = 3, ///< no position is left in the context (or, for max_tokens = 0, in the KV pool)
  kCancelled = 4,
  kError = 5, ///< see RequestResult::status
};
/// "stop_token", "stop_string", "max_tokens", "context_full", "cancelled", "error".
std::string_view finishReasonName(FinishReason reason);

struct TokenLogprob {
  int32_t token = 0;
  float logprob =
      0; ///< ln p under the model's raw distribution: before penalty, filters and temperature
};

struct GeneratedLogprob {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top; ///< the most probable tokens, best first
};

struct Timings {
  double queue_seconds = 0; ///< from submit() to the first step that executes the prompt
  double time_to_first_token_seconds = 0; ///< from submit(); 0 if there was none
  double prefill_seconds = 0;             ///< from that first step to the first token
  double decode_seconds = 0;              ///< from the first token to the last
  double mean_inter_token_seconds = 0;    ///< decode_seconds / (generated - 1)
  double max_inter_token_seconds = 0;
};

struct RequestResult {
  RequestId id = 0;
  base::Status status; ///< not Ok exactly if finish is kError
  FinishReason finish = FinishReason::kError;
  std::string
      text; ///< generated text, valid UTF-8; ends before a stop string; empty without a tokenizer
  std::vector<int32_t> tokens;            ///< every generated token, a final stop token included
  std::vector<GeneratedLogprob> logprobs; ///< [tokens.size()] if asked for, else empty
  int64_t prompt_tokens = 0;
  int64_t preemptions = 0; ///< times it lost its pages to older requests and was prefilled again
  Timings timings;
};

/// What one step added to a request.
struct Output {
  RequestId id = 0;
  std::string_view text; ///< new text, whole characters; may be empty: text that might begin a stop
                         ///< string, or half a character, is held back. Valid during the callback.
  std::span<const int32_t> tokens; ///< new tokens. Valid during the callback.
};

struct Request {
  std::string prompt = {};          ///< text (needs a plan with a tokenizer), or
  std::vector<int32_t> tokens = {}; ///< token ids, taken as they are; exactly one of the two
  bool add_bos =
      true; ///< text prompts: put the beginning-of-sequence token first if the model wants one
  bool parse_special =
      false; ///< text prompts: control tokens spelled out ("<start_of_turn>") become their ids;
             ///< leave it off for text from outside, which could forge them
  int64_t max_tokens =
      0; ///< tokens to generate; 0: until a stop or until the context or the pool is full
  Sampling sampling = {};
  std::vector<std::string> stop = {}; ///< stop strings, none empty; matched in the generated text
  std::vector<int32_t> stop_tokens = {}; ///< besides the model's own
  bool ignore_eos = false;               ///< the model's end-of-sequence tokens do not stop
  int top_logprobs =
      -1; ///< -1: no log probabilities; n >= 0: those of each token and of the n best
  std::function<void(const Output &)> on_output = {}; ///< optional
  std::function<void(const RequestResult &)> on_finish =
      {}; ///< optional; takes the place of wait()
};

struct ModelInfo {
  std::string name = {};
  std::string weight_format = {}; ///< "f32", "bf16", "int8", "int4", "mixed"
  std::string code_target = {};   ///< the plan's code that the device runs, e.g. "x86-64-avx2"
  std::string device = {};        ///< "host, 2 threads on CPUs 0-1"
  std::string device_reason = {}; ///< why this device: "asked for"
  bool is_simulated = false; ///< the device imitates a GPU: timings of requests say nothing of one
  int64_t vocabulary = 0;
  int64_t context_tokens = 0;
  int64_t step_tokens = 0;
  int64_t max_sequences = 0;
  int64_t page_tokens = 0; ///< positions a KV page holds
  int64_t kv_pages = 0;
  uint64_t kv_page_bytes = 0; ///< over all layers
  std::vector<int32_t> eos_tokens = {};
  bool has_tokenizer = false;
};

/// Totals since load, and the state after the last step.
struct Metrics {
  uint64_t steps = 0;
  uint64_t submitted = 0; ///< accepted by submit() or score()
  uint64_t refused = 0;   ///< refused by submit() or score()
  uint64_t finished = 0;  ///< with any reason; cancelled and failed ones are counted below as well
  uint64_t cancelled = 0;
  uint64_t failed = 0;
  uint64_t preemptions = 0;
  uint64_t prefill_tokens = 0;   ///< executed positions of prompts, recomputation included
  uint64_t decode_tokens = 0;    ///< executed positions of generated tokens
  uint64_t generated_tokens = 0; ///< sampled
  double step_seconds = 0;       ///< in step(), callbacks excluded
  double launch_seconds = 0;     ///< of which in kernels
  double decide_seconds = 0;     ///< of which in sampling
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t free_pages = 0;
};

class Engine {
public:
  /// Errors: kNotFound/kIo/kCorrupt (the file, or no such device), kUnsupported (its version, or no
  /// code for a device that is here), kInvalidArgument (options; or the plan is that of a graph,
  /// which Graph::load of graph.h loads), kResourceExhausted (memory).
  static base::Result<Engine> load(const std::string &plan_path, const EngineOptions &options = {});
  Engine(Engine &&) noexcept;
  Engine &operator=(Engine &&) noexcept;
  /// Stops the background thread after its current step and drops unfinished requests; no callback
  /// runs any more.
  ~Engine();

  /// Queues a request. Errors: kInvalidArgument (a bad parameter, an empty or too long prompt, a
  /// token outside the vocabulary), kUnsupported (text without a tokenizer), kResourceExhausted (it
  /// can never fit into the KV pool, or max_waiting is reached), kDeviceLost. The message holds the
  /// offending value and the limit.
  base::Result<RequestId> submit(Request request);
  /// Ends a request before its next step; what it generated so far is its result. kNotFound if it
  /// is not unfinished.
  base::Status cancel(RequestId id);

  /// Executes one step: admit, reserve, launch, decide, commit. False if nothing was left to do.
  base::Result<bool> step();
  /// Steps until every request is finished.
  base::Status runUntilIdle();
  /// Starts the background thread, which steps whenever there is work. kInvalidArgument if it runs
  /// already.
  base::Status start();
  /// Ends the background thread after its current step. Unfinished requests stay and can go on
  /// later.
  base::Status stop();

  /// Waits for a request (stepping, unless a background thread runs) and takes its result: a second
  /// wait() gets kNotFound, as does one for a request with on_finish. Results that nobody takes are
  /// kept as long as the engine.
  base::Result<RequestResult> wait(RequestId id);
  /// Waits for new text and returns it; an empty string means that the request is finished (take
  /// the result by wait()). kNotFound as for wait(); kInvalidArgument for requests with on_output.
  base::Result<std::string> read(RequestId id);

  /// ln p(tokens[i + 1] | tokens[0..i]) for i in [0, N - 1), N >= 2. Runs beside other requests, in
  /// chunks.
  base::Result<std::vector<float>> score(std::span<const int32_t> tokens);

  /// Text <-> token ids. kUnsupported without a tokenizer.
  base::Result<std::vector<int32_t>> encode(std::string_view text, bool add_bos = true,
                                            bool parse_special = false) const;
  base::Result<std::string> decode(std::span<const int32_t> tokens) const;

  const ModelInfo &model() const;
  Metrics metrics() const;

private:
  struct Impl;
  friend struct EngineAccess; // builds engines from parts: see parts.h
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace platen::engine
