// The engine without threads: a queue of sequences and the five verbs of a step.
//
//   admit    schedule() chooses token ranges; preempted sequences lose their pages
//   reserve  pages for the ranges
//   launch   the executor runs them
//   decide   logits become tokens or scores; nothing is changed yet
//   commit   pages become valid, tokens and text are appended, finished sequences leave
//
// A failure in decide concerns one sequence; a failed launch concerns the sequences of the step.
// Used by one thread at a time; a step costs O(queue) beside the executor and the sampler.
#pragma once

#include "runtime/engine/sequence.h"

#include <optional>

namespace platen::engine {

/// What a step tells the outside about one request.
struct Event {
  std::shared_ptr<Sequence> sequence;  ///< keeps callbacks alive; not to be changed
  std::string text;                    ///< new text
  std::vector<int32_t> tokens;         ///< new tokens
  std::optional<RequestResult> result; ///< set when it finished
};

class Core {
public:
  explicit Core(EngineParts parts);

  const EngineParts &parts() const { return parts_; }
  bool isIdle() const { return queue_.empty(); }
  /// Puts a sequence at the end of the queue.
  void add(std::shared_ptr<Sequence> sequence);
  /// One step; appends what happened to `events`. False if there was nothing to do. Errors:
  /// kDeviceLost, after which every request has failed.
  base::Result<bool> step(std::vector<Event> &events);
  /// Ends one request outside of a step; ignored if it is not in the queue.
  void finish(RequestId id, FinishReason reason, base::Status status, std::vector<Event> &events);
  /// Counters and the present state; the request counts are the caller's.
  const Metrics &metrics() const { return metrics_; }
  const cache::PagePool &pool() const { return pool_; }

private:
  /// What decide() concluded for one assignment.
  struct Decision {
    std::optional<int32_t> token;
    std::optional<GeneratedLogprob> logprob;
    std::vector<float> scores;
    base::Status status;
  };

  schedule::StepPlan admit();
  base::Status reserve(const schedule::StepPlan &plan);
  base::Result<exec::StepOutputs> launch(const schedule::StepPlan &plan);
  std::vector<Decision> decide(const schedule::StepPlan &plan, exec::StepOutputs outputs);
  void commit(const schedule::StepPlan &plan, std::vector<Decision> decisions,
              std::vector<Event> &events);

  Decision decideOne(const Sequence &sequence, const schedule::Assignment &range,
                     std::span<const float> rows);
  Decision decideDrawn(const Sequence &sequence, int32_t token) const;
  /// Whether the executor draws this sequence's tokens. That depends on the request alone, and so
  /// its tokens do too.
  bool isDrawnByDevice(const Sequence &sequence) const;
  /// Fills sampling_ for the step's rows; whether the host needs logits of one.
  bool buildSampling(const schedule::StepPlan &plan);
  void commitToken(Sequence &sequence, Decision decision, Event &event);
  void finish(Sequence &sequence, FinishReason reason, base::Status status, Event &event);
  void failStep(const schedule::StepPlan &plan, const base::Status &status,
                std::vector<Event> &events);
  void buildInputs(const schedule::StepPlan &plan);
  void updateState();

  EngineParts parts_;
  cache::PagePool pool_;
  std::vector<std::shared_ptr<Sequence>> queue_; // in order of arrival
  decode::Sampler sampler_;
  Metrics metrics_;

  // The step's inputs; capacity is kept from step to step.
  std::vector<schedule::SequenceState> states_;                    // [queue]
  std::vector<int32_t> token_ids_, positions_, sequence_of_token_; // [T]
  std::vector<int32_t> row_tokens_;                                // [R]
  std::vector<PlatenSampling> sampling_; // [R]; empty unless the executor draws one
  std::vector<int32_t> page_table_;      // [S, page_table_stride_]
  int64_t page_table_stride_ = 0;
};

} // namespace platen::engine
