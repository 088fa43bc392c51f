// What an engine is put together from. Engine::load fills it from a plan; tests fill it with a
// model made of arithmetic.
#pragma once

#include "runtime/engine/platen.h"
#include "runtime/exec/executor.h"
#include "runtime/schedule/schedule.h"

namespace platen::engine {

/// Executes steps; exec::Executor behind a plan. Called by one thread at a time.
class StepExecutor {
public:
  virtual ~StepExecutor() = default;
  /// Valid until the next call. An error fails the requests of this step; kDeviceLost fails all,
  /// for good.
  virtual base::Result<exec::StepOutputs> run(const exec::StepInputs &inputs) = 0;
  /// Whether it draws tokens itself, as StepInputs::sampling asks.
  virtual bool samples() const { return false; }
};

/// Turns one sequence's tokens into text; whole characters only.
class TextDecoder {
public:
  virtual ~TextDecoder() = default;
  /// Appends what `token` completes to `text`. A token that the tokenizer does not know adds
  /// nothing.
  virtual void push(int32_t token, std::string &text) = 0;
  /// Appends what an unfinished character is replaced by.
  virtual void finish(std::string &text) = 0;
};

/// A tokenizer. Safe to call from several threads.
class TextCodec {
public:
  virtual ~TextCodec() = default;
  virtual base::Result<std::vector<int32_t>> encode(std::string_view text, bool add_bos,
                                                    bool parse_special) const = 0;
  virtual base::Result<std::string> decode(std::span<const int32_t> tokens) const = 0;
  virtual std::unique_ptr<TextDecoder> decoder() const = 0;
};

struct EngineParts {
  std::unique_ptr<StepExecutor> executor;
  std::unique_ptr<TextCodec> text; ///< null: the plan has no tokenizer
  schedule::Limits limits;         ///< valid
  ModelInfo model;
  int64_t max_waiting = 0;
  bool add_bos = false; ///< the model wants a beginning-of-sequence token before text
};

struct EngineAccess {
  static Engine make(EngineParts parts);
};

} // namespace platen::engine
