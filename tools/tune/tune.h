// Settles on a device what the compiler only predicted of a plan's CUDA kernels.
//
// The host's program and a CUDA program of a plan correspond launch by launch, over the same
// buffers. So each kernel of the CUDA program that the device runs (every variant and alternative)
// is given, in the first and the last launch of those that share it, what that launch reads when
// the host executes a step (workload.h), and what it leaves is compared with what the host's kernel
// leaves: every buffer of the launch and every page of its cache, within bounds.h. Kernels of one
// launch must besides leave the same bits. Buffers that the launch is the first to touch and the
// cache's places for the step's tokens are filled with NaNs before, so that what stays unwritten
// shows. Steps have 1 token, the first, the last and an odd number between them of each variant's
// range, the budget permitting.
//
// A kernel that passed is simulated (on a simulated device) or, after it was timed, measured. Where
// the plan has no program for the host, or its launch has no counterpart there, kernels are
// compared with each other alone and nothing vouches for them: their proof stays what it was.
// A kernel that fails leaves the rankings.
//
// Times (never of simulated devices): median of 20 runs by CUDA events, each after twice the
// second-level cache was overwritten, so that weights come from memory as they do in a step; at the
// extent that the prediction is for. Of several launches the fastest counts.
#pragma once

#include "runtime/plan/reader.h"
#include "tools/tune/verdicts.h"

#include <functional>
#include <string>
#include <vector>

namespace platen::tune {

struct TuneOptions {
  int ordinal = 0;
  std::string driver{};     ///< see device::CudaOptions
  uint64_t step_tokens = 0; ///< the largest step; 0: 80 on a simulated device, else 512
  uint64_t past_tokens = 300;
  uint64_t seed = 1;
  unsigned threads = 0; ///< of the host; 0: one a core
  std::function<void(std::string_view phase, uint64_t done, uint64_t total)> progress{};
  std::function<bool()> cancelled{};
};

struct TuneReport {
  std::string device, target; ///< "cuda:0, …", "sm_80"
  bool is_simulated = false;
  uint32_t program = 0;          ///< index of the program that was examined
  std::string no_reference{};    ///< why the host vouches for nothing; empty: it does
  std::vector<Verdict> verdicts; ///< of the program's kernels
  plan::Manifest manifest;       ///< with rankings and proofs as found
};

/// Examines the plan's kernels on a CUDA device. Failed kernels are verdicts, not errors, while
/// each variant keeps one. Errors: kUnsupported for plans of graphs; kInternal when a variant has
/// none left; kCancelled; what opening the device and running the host meet.
base::Result<TuneReport> tune(const plan::Plan &plan, const TuneOptions &options);

/// Writes a plan of the same sections with that manifest. Atomic: `path` appears whole or stays
/// what it was. May be the plan's own path.
base::Status writePlan(const plan::Plan &plan, const plan::Manifest &manifest,
                       const std::string &path, const TuneOptions &options);

} // namespace platen::tune
