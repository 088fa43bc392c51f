// The public engine: threads around a Core.
//
// Two locks. `step_mutex_` is held by whoever executes a step; the core belongs to its holder.
// `mutex_` guards the mailbox between threads – new sequences, cancellations, tickets, published
// metrics – and is never held while a step runs or a callback is called. Order: step_mutex_ before
// mutex_.
#include "runtime/engine/core.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

namespace platen::engine {

using base::invalidArgument;
using base::Result;
using base::Status;

namespace {

// What the outside can still ask about a request.
struct Ticket {
  bool keeps_result = true; // no on_finish: wait() takes it
  bool keeps_text = true;   // no on_output: read() takes it
  bool is_score = false;
  std::string unread; // text that read() has not given yet
  std::optional<RequestResult> result;
  std::vector<float> scores;
};

Status unknownRequest(RequestId id) {
  return base::notFound("there is no request " + std::to_string(id) +
                        " here, or its result was taken or given to on_finish");
}

// Calls a user's function; what it throws becomes a Status.
template <typename Call> Status guarded(const Call &call) {
  try {
    call();
    return {};
  } catch (const std::exception &exception) {
    return base::internalError(std::string("the request's callback threw: ") + exception.what());
  } catch (...) {
    return base::internalError("the request's callback threw something that is no std::exception");
  }
}

} // namespace

struct Engine::Impl {
  explicit Impl(EngineParts parts) : core_(std::move(parts)), metrics_(core_.metrics()) {}
  ~Impl() { (void)stop(); }

  Result<RequestId> submit(std::unique_ptr<Sequence> sequence);
  Status cancel(RequestId id);
  Result<bool> step();
  Status start();
  Status stop();
  Result<RequestResult> wait(RequestId id);
  Result<std::string> read(RequestId id);
  Result<std::vector<float>> score(std::span<const int32_t> tokens);
  Metrics metrics() const;
  template <typename T> Result<T> countRefusal(Result<T> result);

  Status checkNotInCallback() const;
  Status waitUntil(RequestId id, const std::function<bool(const Ticket &)> &done);
  void takeMail(std::vector<Event> &events);
  void publish(std::vector<Event> &events);
  void callBack(Event &event);
  void failAfterCallback(Event &event, const Status &status);
  void record(Event &event);
  void runInBackground();

  std::mutex step_mutex_;
  Core core_; // by step_mutex_, except parts(), which never changes
  std::atomic<std::thread::id> stepping_thread_{};

  mutable std::mutex mutex_;
  std::condition_variable work_arrived_; // for the background thread
  std::condition_variable progress_;     // for waiters
  std::vector<std::shared_ptr<Sequence>> inbox_;
  std::vector<RequestId> cancelled_;
  std::map<RequestId, Ticket> tickets_; // unfinished, or finished and not taken
  int64_t unfinished_ = 0;
  RequestId last_id_ = 0;
  Status lost_; // kDeviceLost once the device is gone
  Metrics metrics_;
  bool background_ = false;
  bool stop_requested_ = false;

  std::mutex thread_mutex_; // start() and stop() exclude each other
  std::thread thread_;
};

Result<RequestId> Engine::Impl::submit(std::unique_ptr<Sequence> sequence) {
  std::lock_guard lock(mutex_);
  PLATEN_RETURN_IF_ERROR(lost_);
  int64_t most = core_.parts().max_waiting;
  if (most > 0 && unfinished_ >= most)
    return base::resourceExhausted("the engine has " + std::to_string(unfinished_) +
                                   " unfinished requests, max_waiting is " + std::to_string(most) +
                                   "; try again later");
  RequestId id = ++last_id_;
  sequence->id = id;
  Ticket &ticket = tickets_[id];
  ticket.keeps_result = !sequence->request.on_finish;
  ticket.keeps_text = !sequence->request.on_output;
  ticket.is_score = sequence->score_only;
  inbox_.push_back(std::move(sequence));
  ++unfinished_;
  ++metrics_.submitted;
  work_arrived_.notify_one();
  return id;
}

Status Engine::Impl::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  auto ticket = tickets_.find(id);
  if (ticket == tickets_.end() || ticket->second.result)
    return base::notFound("there is no unfinished request " + std::to_string(id));
  cancelled_.push_back(id);
  work_arrived_.notify_one();
  return {};
}

Status Engine::Impl::checkNotInCallback() const {
  if (stepping_thread_.load() == std::this_thread::get_id())
    return invalidArgument("a callback must not execute steps or wait for them");
  return {};
}

Result<bool> Engine::Impl::step() {
  PLATEN_RETURN_IF_ERROR(checkNotInCallback());
  std::lock_guard lock(step_mutex_);
  stepping_thread_ = std::this_thread::get_id();
  std::vector<Event> events;
  takeMail(events);
  Result<bool> stepped = core_.step(events);
  bool worked = !events.empty() || (stepped.isOk() && *stepped);
  if (!stepped.isOk()) {
    std::lock_guard mail_lock(mutex_);
    lost_ = stepped.status();
  }
  publish(events);
  stepping_thread_ = std::thread::id();
  if (!stepped.isOk())
    return stepped.status();
  return worked;
}

// Moves what other threads left into the core.
void Engine::Impl::takeMail(std::vector<Event> &events) {
  std::vector<std::shared_ptr<Sequence>> arrived;
  std::vector<RequestId> cancelled;
  Status lost;
  {
    std::lock_guard lock(mutex_);
    arrived.swap(inbox_);
    cancelled.swap(cancelled_);
    lost = lost_;
  }
  for (auto &sequence : arrived) {
    RequestId id = sequence->id;
    core_.add(std::move(sequence));
    if (!lost.isOk()) // submitted while the step ran that lost the device
      core_.finish(id, FinishReason::kError, lost, events);
  }
  for (RequestId id : cancelled)
    core_.finish(id, FinishReason::kCancelled, {}, events);
}

void Engine::Impl::publish(std::vector<Event> &events) {
  for (Event &event : events)
    callBack(event);
  std::lock_guard lock(mutex_);
  for (Event &event : events)
    record(event);
  Metrics now = core_.metrics();
  now.submitted = metrics_.submitted;
  now.refused = metrics_.refused;
  now.finished = metrics_.finished;
  now.cancelled = metrics_.cancelled;
  now.failed = metrics_.failed;
  metrics_ = now;
  progress_.notify_all();
}

void Engine::Impl::callBack(Event &event) {
  const Request &request = event.sequence->request;
  if (request.on_output && (!event.tokens.empty() || !event.text.empty())) {
    Status status =
        guarded([&] { request.on_output({event.sequence->id, event.text, event.tokens}); });
    if (!status.isOk())
      failAfterCallback(event, status);
  }
  if (request.on_finish && event.result) {
    Status status = guarded([&] { request.on_finish(*event.result); });
    if (!status.isOk())
      failAfterCallback(event, status);
  }
}

void Engine::Impl::failAfterCallback(Event &event, const Status &status) {
  if (event.result) {
    event.result->finish = FinishReason::kError;
    event.result->status = status;
    return;
  }
  std::vector<Event> ended;
  core_.finish(event.sequence->id, FinishReason::kError, status, ended);
  for (Event &end : ended)
    event.result = std::move(end.result);
}

// Under mutex_: what wait(), read() and metrics() will see.
void Engine::Impl::record(Event &event) {
  auto found = tickets_.find(event.sequence->id);
  if (found == tickets_.end())
    return;
  Ticket &ticket = found->second;
  if (ticket.keeps_text)
    ticket.unread += event.text;
  if (!event.result)
    return;
  --unfinished_;
  ++metrics_.finished;
  metrics_.cancelled += event.result->finish == FinishReason::kCancelled;
  metrics_.failed += event.result->finish == FinishReason::kError;
  if (!ticket.keeps_result) {
    tickets_.erase(found);
    return;
  }
  ticket.scores = std::move(event.sequence->scores);
  ticket.result = std::move(event.result);
}

Status Engine::Impl::start() {
  PLATEN_RETURN_IF_ERROR(checkNotInCallback());
  std::lock_guard thread_lock(thread_mutex_);
  if (thread_.joinable())
    return invalidArgument("the background thread runs already");
  {
    std::lock_guard lock(mutex_);
    background_ = true;
    stop_requested_ = false;
  }
  try {
    thread_ = std::thread([this] { runInBackground(); });
  } catch (const std::system_error &error) {
    std::lock_guard lock(mutex_);
    background_ = false;
    return base::resourceExhausted(std::string("no thread can be started: ") + error.what());
  }
  return {};
}

Status Engine::Impl::stop() {
  PLATEN_RETURN_IF_ERROR(checkNotInCallback());
  std::lock_guard thread_lock(thread_mutex_);
  if (!thread_.joinable())
    return {};
  {
    std::lock_guard lock(mutex_);
    stop_requested_ = true;
    work_arrived_.notify_all();
  }
  thread_.join();
  std::lock_guard lock(mutex_);
  background_ = false;
  progress_.notify_all(); // waiters go on by stepping themselves
  return {};
}

void Engine::Impl::runInBackground() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      work_arrived_.wait(lock, [this] { return stop_requested_ || unfinished_ > 0; });
      if (stop_requested_)
        return;
    }
    (void)step(); // failures stand in the results; a lost device is remembered in lost_
  }
}

// Steps, or lets the background thread step, until `done` holds for the request's ticket.
Status Engine::Impl::waitUntil(RequestId id, const std::function<bool(const Ticket &)> &done) {
  PLATEN_RETURN_IF_ERROR(checkNotInCallback());
  while (true) {
    {
      std::unique_lock lock(mutex_);
      bool finished = false;
      auto ready = [&] {
        auto ticket = tickets_.find(id);
        finished = ticket == tickets_.end() || done(ticket->second);
        return finished || !background_;
      };
      progress_.wait(lock, ready);
      if (finished)
        return tickets_.contains(id) ? Status() : unknownRequest(id);
    }
    auto stepped = step();
    if (!stepped.isOk() && stepped.status().code() != base::StatusCode::kDeviceLost)
      return stepped.status();
  }
}

Result<RequestResult> Engine::Impl::wait(RequestId id) {
  PLATEN_RETURN_IF_ERROR(waitUntil(id, [](const Ticket &ticket) {
    return ticket.result.has_value() || !ticket.keeps_result || ticket.is_score;
  }));
  std::lock_guard lock(mutex_);
  auto ticket = tickets_.find(id);
  if (ticket == tickets_.end() || !ticket->second.keeps_result || ticket->second.is_score)
    return unknownRequest(id);
  RequestResult result = std::move(*ticket->second.result);
  tickets_.erase(ticket);
  return result;
}

Result<std::string> Engine::Impl::read(RequestId id) {
  PLATEN_RETURN_IF_ERROR(waitUntil(id, [](const Ticket &ticket) {
    return ticket.result.has_value() || !ticket.unread.empty() || !ticket.keeps_text;
  }));
  std::lock_guard lock(mutex_);
  auto ticket = tickets_.find(id);
  if (ticket == tickets_.end())
    return unknownRequest(id);
  if (!ticket->second.keeps_text)
    return invalidArgument("the text of request " + std::to_string(id) + " goes to its on_output");
  return std::exchange(ticket->second.unread, {});
}

Result<std::vector<float>> Engine::Impl::score(std::span<const int32_t> tokens) {
  PLATEN_RETURN_IF_ERROR(checkNotInCallback());
  PLATEN_ASSIGN_OR_RETURN(auto sequence, countRefusal(makeScoreSequence(tokens, core_.parts())));
  PLATEN_ASSIGN_OR_RETURN(RequestId id, countRefusal(submit(std::move(sequence))));
  PLATEN_RETURN_IF_ERROR(
      waitUntil(id, [](const Ticket &ticket) { return ticket.result.has_value(); }));
  std::lock_guard lock(mutex_);
  auto ticket = tickets_.extract(id);
  PLATEN_RETURN_IF_ERROR(ticket.mapped().result->status);
  return std::move(ticket.mapped().scores);
}

template <typename T> Result<T> Engine::Impl::countRefusal(Result<T> result) {
  if (!result.isOk()) {
    std::lock_guard lock(mutex_);
    ++metrics_.refused;
  }
  return result;
}

Metrics Engine::Impl::metrics() const {
  std::lock_guard lock(mutex_);
  Metrics metrics = metrics_;
  metrics.waiting += static_cast<int64_t>(inbox_.size());
  return metrics;
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::Engine(Engine &&) noexcept = default;
Engine &Engine::operator=(Engine &&) noexcept = default;
Engine::~Engine() = default;

Engine EngineAccess::make(EngineParts parts) {
  return Engine(std::make_unique<Engine::Impl>(std::move(parts)));
}

Result<RequestId> Engine::submit(Request request) {
  PLATEN_ASSIGN_OR_RETURN(
      auto sequence, impl_->countRefusal(makeSequence(std::move(request), impl_->core_.parts())));
  return impl_->countRefusal(impl_->submit(std::move(sequence)));
}

Status Engine::cancel(RequestId id) { return impl_->cancel(id); }
Result<bool> Engine::step() { return impl_->step(); }
Status Engine::start() { return impl_->start(); }
Status Engine::stop() { return impl_->stop(); }
Result<RequestResult> Engine::wait(RequestId id) { return impl_->wait(id); }
Result<std::string> Engine::read(RequestId id) { return impl_->read(id); }
Result<std::vector<float>> Engine::score(std::span<const int32_t> tokens) {
  return impl_->score(tokens);
}
Metrics Engine::metrics() const { return impl_->metrics(); }
const ModelInfo &Engine::model() const { return impl_->core_.parts().model; }

Status Engine::runUntilIdle() {
  while (true) {
    PLATEN_ASSIGN_OR_RETURN(bool worked, step());
    if (!worked)
      return {};
  }
}

Result<std::vector<int32_t>> Engine::encode(std::string_view text, bool add_bos,
                                            bool parse_special) const {
  const EngineParts &parts = impl_->core_.parts();
  if (!parts.text)
    return base::unsupported("the plan holds no tokenizer");
  return parts.text->encode(text, add_bos && parts.add_bos, parse_special);
}

Result<std::string> Engine::decode(std::span<const int32_t> tokens) const {
  const EngineParts &parts = impl_->core_.parts();
  if (!parts.text)
    return base::unsupported("the plan holds no tokenizer");
  return parts.text->decode(tokens);
}

Result<std::string> Engine::renderChat(const std::string &messages,
                                       const ChatOptions &options) const {
  const EngineParts &parts = impl_->core_.parts();
  if (!parts.text)
    return base::unsupported("the plan holds no tokenizer");
  return parts.text->renderChat(messages, options);
}

std::string_view finishReasonName(FinishReason reason) {
  switch (reason) {
  case FinishReason::kStopToken:
    return "stop_token";
  case FinishReason::kStopString:
    return "stop_string";
  case FinishReason::kMaxTokens:
    return "max_tokens";
  case FinishReason::kContextFull:
    return "context_full";
  case FinishReason::kCancelled:
    return "cancelled";
  case FinishReason::kError:
    return "error";
  }
  return "unknown";
}

} // namespace platen::engine
