// The five verbs.
#include "runtime/engine/core.h"

#include <algorithm>
#include <cmath>

namespace platen::engine {

using base::Status;
using schedule::Assignment;
using schedule::StepPlan;

namespace {

/// Counts a request's draws.
uint64_t nextDraw(const Sequence &sequence) { return static_cast<uint64_t>(sequence.generated()); }

std::string nextPosition(const Sequence &sequence) {
  return "position " + std::to_string(sequence.tokens.size());
}

} // namespace

Core::Core(EngineParts parts) : parts_(std::move(parts)), pool_(parts_.limits.total_pages) {
  updateState();
}

void Core::add(std::shared_ptr<Sequence> sequence) {
  sequence->pages = std::make_unique<cache::SequencePages>(pool_, parts_.limits.page_tokens);
  queue_.push_back(std::move(sequence));
  updateState();
}

base::Result<bool> Core::step(std::vector<Event> &events) {
  if (queue_.empty())
    return false;
  auto begin = Clock::now();
  StepPlan plan = admit();
  Status status = reserve(plan);
  auto launched_at = Clock::now();
  auto outputs = status.isOk() ? launch(plan) : base::Result<exec::StepOutputs>(status);
  auto decided_at = Clock::now();
  if (outputs.isOk()) {
    std::vector<Decision> decisions = decide(plan, *outputs);
    metrics_.decide_seconds += secondsBetween(decided_at, Clock::now());
    commit(plan, std::move(decisions), events);
  } else {
    status = outputs.status();
    failStep(plan, status, events);
  }
  std::erase_if(queue_, [](const auto &sequence) { return sequence->pages == nullptr; });
  ++metrics_.steps;
  metrics_.launch_seconds += secondsBetween(launched_at, decided_at);
  metrics_.step_seconds += secondsBetween(begin, Clock::now());
  updateState();
  if (status.code() == base::StatusCode::kDeviceLost)
    return status;
  return true;
}

StepPlan Core::admit() {
  states_.clear();
  for (const auto &sequence : queue_)
    states_.push_back(sequence->state());
  StepPlan plan = schedule::schedule(states_, pool_.freePages(), parts_.limits);
  for (size_t index : plan.preempted) {
    Sequence &sequence = *queue_[index];
    sequence.pages->clear();
    sequence.running = false;
    ++sequence.result.preemptions;
    ++metrics_.preemptions;
  }
  for (const Assignment &range : plan.assignments) {
    Sequence &sequence = *queue_[range.sequence];
    sequence.running = true;
    if (sequence.started_at == Clock::time_point())
      sequence.started_at = Clock::now();
  }
  return plan;
}

Status Core::reserve(const StepPlan &plan) {
  if (plan.assignments.empty())
    return base::internalError("the scheduler let nobody advance");
  for (const Assignment &range : plan.assignments)
    PLATEN_RETURN_IF_ERROR(queue_[range.sequence]->pages->reserve(range.first + range.tokens));
  return {};
}

void Core::buildInputs(const StepPlan &plan) {
  for (auto *array : {&token_ids_, &positions_, &sequence_of_token_, &row_tokens_})
    array->clear();
  page_table_stride_ = 0;
  for (const Assignment &range : plan.assignments)
    page_table_stride_ = std::max(
        page_table_stride_, static_cast<int64_t>(queue_[range.sequence]->pages->pages().size()));
  page_table_.assign(plan.assignments.size() * static_cast<size_t>(page_table_stride_),
                     cache::kNoPage);
  int32_t slot = 0;
  for (const Assignment &range : plan.assignments) {
    const Sequence &sequence = *queue_[range.sequence];
    for (int64_t i = 0; i < range.tokens; ++i) {
      if (i >= range.tokens - range.rows)
        row_tokens_.push_back(static_cast<int32_t>(token_ids_.size()));
      token_ids_.push_back(sequence.tokens[static_cast<size_t>(range.first + i)]);
      positions_.push_back(static_cast<int32_t>(range.first + i));
      sequence_of_token_.push_back(slot);
    }
    std::ranges::copy(sequence.pages->pages(), page_table_.begin() + slot * page_table_stride_);
    ++slot;
    int64_t end = range.first + range.tokens;
    auto prefilled = static_cast<uint64_t>(
        std::clamp<int64_t>(sequence.prompt_tokens - range.first, 0, range.tokens));
    metrics_.prefill_tokens += prefilled;
    metrics_.decode_tokens += static_cast<uint64_t>(end - range.first) - prefilled;
  }
}

bool Core::isDrawnByDevice(const Sequence &sequence) const {
  return parts_.executor->samples() && !sequence.score_only &&
         !decode::hasPenalty(sequence.sampling) && sequence.request.top_logprobs < 0;
}

bool Core::buildSampling(const StepPlan &plan) {
  sampling_.clear();
  if (!parts_.executor->samples())
    return true;
  bool on_device = false, on_host = false;
  for (const Assignment &range : plan.assignments) {
    const Sequence &sequence = *queue_[range.sequence];
    bool drawn = isDrawnByDevice(sequence);
    if (range.rows > 0)
      (drawn ? on_device : on_host) = true;
    // Rows of the others are drawn too, in the cheapest way, and nobody looks at their tokens.
    sampling_.insert(
        sampling_.end(), static_cast<size_t>(range.rows),
        decode::onDevice(drawn ? sequence.sampling : decode::SamplingParams{}, nextDraw(sequence)));
  }
  if (!on_device)
    sampling_.clear();
  return on_host;
}

base::Result<exec::StepOutputs> Core::launch(const StepPlan &plan) {
  buildInputs(plan);
  exec::StepInputs inputs;
  inputs.token_ids = token_ids_;
  inputs.positions = positions_;
  inputs.sequence_of_token = sequence_of_token_;
  inputs.row_tokens = row_tokens_;
  inputs.sequences = static_cast<int64_t>(plan.assignments.size());
  inputs.page_table_stride = page_table_stride_;
  inputs.page_table = page_table_;
  inputs.read_logits = buildSampling(plan);
  inputs.read_hidden = false;
  inputs.sampling = sampling_;
  PLATEN_ASSIGN_OR_RETURN(exec::StepOutputs outputs, parts_.executor->run(inputs));
  size_t expected =
      inputs.read_logits ? row_tokens_.size() * static_cast<size_t>(parts_.model.vocabulary) : 0;
  if (outputs.logits.size() != expected || outputs.tokens.size() != sampling_.size())
    return base::internalError("the executor gave " + std::to_string(outputs.logits.size()) +
                               " logits and " + std::to_string(outputs.tokens.size()) +
                               " tokens, expected " + std::to_string(expected) + " and " +
                               std::to_string(sampling_.size()));
  return outputs;
}

std::vector<Core::Decision> Core::decide(const StepPlan &plan, exec::StepOutputs outputs) {
  std::vector<Decision> decisions;
  auto vocabulary = static_cast<size_t>(parts_.model.vocabulary);
  for (const Assignment &range : plan.assignments) {
    const Sequence &sequence = *queue_[range.sequence];
    auto count = static_cast<size_t>(range.rows);
    std::span<const float> rows;
    if (!outputs.logits.empty()) {
      rows = outputs.logits.first(count * vocabulary);
      outputs.logits = outputs.logits.subspan(rows.size());
    }
    if (count > 0 && isDrawnByDevice(sequence))
      decisions.push_back(decideDrawn(sequence, outputs.tokens[count - 1]));
    else
      decisions.push_back(decideOne(sequence, range, rows));
    if (!outputs.tokens.empty())
      outputs.tokens = outputs.tokens.subspan(count);
  }
  return decisions;
}

Core::Decision Core::decideDrawn(const Sequence &sequence, int32_t token) const {
  Decision decision;
  if (token < 0)
    decision.status = decode::brokenLogits().at(nextPosition(sequence));
  else if (token >= parts_.model.vocabulary) // the kernel came with the plan
    decision.status =
        base::internalError("the plan's sampler drew token " + std::to_string(token) +
                                ", the vocabulary has " + std::to_string(parts_.model.vocabulary),
                            nextPosition(sequence));
  else
    decision.token = token;
  return decision;
}

Core::Decision Core::decideOne(const Sequence &sequence, const Assignment &range,
                               std::span<const float> rows) {
  Decision decision;
  auto vocabulary = static_cast<size_t>(parts_.model.vocabulary);
  if (sequence.score_only) {
    auto next = static_cast<size_t>(range.first + range.tokens - range.rows + 1);
    for (; !rows.empty(); rows = rows.subspan(vocabulary), ++next) {
      decision.scores.push_back(decode::logprob(rows.first(vocabulary), sequence.tokens[next]));
      if (std::isnan(decision.scores.back()))
        decision.status = base::internalError("the logits that predict position " +
                                              std::to_string(next) + " hold NaN or +infinity");
    }
    return decision;
  }
  if (rows.empty())
    return decision;
  auto token = sampler_.sample(rows, sequence.sampling, sequence.tokens, nextDraw(sequence));
  if (!token.isOk()) {
    decision.status = token.status().at(nextPosition(sequence));
    return decision;
  }
  decision.token = *token;
  if (sequence.request.top_logprobs >= 0) {
    GeneratedLogprob &logprob = decision.logprob.emplace();
    logprob.chosen = {*token, decode::logprob(rows, *token)};
    std::vector<decode::TokenLogprob> top;
    decode::topLogprobs(rows, static_cast<size_t>(sequence.request.top_logprobs), top);
    for (const decode::TokenLogprob &item : top)
      logprob.top.push_back({item.token, item.logprob});
  }
  return decision;
}

void Core::commit(const StepPlan &plan, std::vector<Decision> decisions,
                  std::vector<Event> &events) {
  for (size_t i = 0; i < plan.assignments.size(); ++i) {
    const Assignment &range = plan.assignments[i];
    Sequence &sequence = *queue_[range.sequence];
    Decision &decision = decisions[i];
    Event event{queue_[range.sequence], {}, {}, {}};
    Status status = decision.status;
    if (status.isOk())
      status = sequence.pages->commit(range.first + range.tokens);
    if (!status.isOk()) {
      finish(sequence, FinishReason::kError, status, event);
    } else if (sequence.score_only) {
      sequence.scores.insert(sequence.scores.end(), decision.scores.begin(), decision.scores.end());
      if (sequence.cachedTokens() + 1 == sequence.prompt_tokens)
        finish(sequence, FinishReason::kMaxTokens, {}, event);
    } else if (decision.token) {
      commitToken(sequence, std::move(decision), event);
    }
    if (event.result || !event.tokens.empty())
      events.push_back(std::move(event));
  }
}

// Appends one token and its text and sees whether it ends the sequence.
void Core::commitToken(Sequence &sequence, Decision decision, Event &event) {
  int32_t token = *decision.token;
  auto now = Clock::now();
  Timings &timings = sequence.result.timings;
  if (sequence.generated() == 0)
    sequence.first_token_at = now;
  else
    timings.max_inter_token_seconds =
        std::max(timings.max_inter_token_seconds, secondsBetween(sequence.last_token_at, now));
  sequence.last_token_at = now;
  sequence.tokens.push_back(token);
  event.tokens.push_back(token);
  ++metrics_.generated_tokens;
  if (decision.logprob)
    sequence.result.logprobs.push_back(std::move(*decision.logprob));
  if (sequence.stop_tokens.contains(token))
    return finish(sequence, FinishReason::kStopToken, {}, event);
  if (sequence.decoder) {
    std::string text;
    sequence.decoder->push(token, text);
    if (sequence.stop_strings.push(text, event.text)) {
      sequence.decoder = nullptr; // what it still holds stands after the stop string
      return finish(sequence, FinishReason::kStopString, {}, event);
    }
  }
  if (sequence.generated() == sequence.most_generated) {
    bool asked = sequence.most_generated == sequence.request.max_tokens;
    return finish(sequence, asked ? FinishReason::kMaxTokens : FinishReason::kContextFull, {},
                  event);
  }
  sequence.result.text += event.text;
}

void Core::finish(Sequence &sequence, FinishReason reason, Status status, Event &event) {
  if (sequence.decoder) {
    std::string rest;
    sequence.decoder->finish(rest);
    if (!sequence.stop_strings.push(rest, event.text))
      sequence.stop_strings.finish(event.text);
  }
  sequence.result.text += event.text;
  event.result = sequence.takeResult(reason, std::move(status));
  sequence.pages = nullptr; // leaves the queue at the end of the step
}

void Core::finish(RequestId id, FinishReason reason, Status status, std::vector<Event> &events) {
  auto found = std::ranges::find_if(queue_, [&](const auto &item) { return item->id == id; });
  if (found == queue_.end())
    return;
  Event event{*found, {}, {}, {}};
  finish(**found, reason, std::move(status), event);
  events.push_back(std::move(event));
  queue_.erase(found);
  updateState();
}

void Core::failStep(const StepPlan &plan, const Status &status, std::vector<Event> &events) {
  auto fail = [&](const std::shared_ptr<Sequence> &sequence) {
    Event event{sequence, {}, {}, {}};
    finish(*sequence, FinishReason::kError, status, event);
    events.push_back(std::move(event));
  };
  bool all = status.code() == base::StatusCode::kDeviceLost || plan.assignments.empty();
  if (all)
    std::ranges::for_each(queue_, fail);
  else
    for (const Assignment &range : plan.assignments)
      fail(queue_[range.sequence]);
}

void Core::updateState() {
  metrics_.running =
      std::ranges::count_if(queue_, [](const auto &sequence) { return sequence->running; });
  metrics_.waiting = static_cast<int64_t>(queue_.size()) - metrics_.running;
  metrics_.free_pages = pool_.freePages();
}

} // namespace platen::engine
