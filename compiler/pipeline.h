// The whole compile route: an ONNX file becomes a plan file.
//
// Not thread-safe per call; several compilations in one process are independent. Memory: the IR
// plus what the largest tensor needs; weight bytes are mapped and streamed. Deterministic: equal
// inputs and options give equal bytes.
#pragma once

#include "compiler/quantize/quantize.h"
#include "runtime/plan/plan.h"

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace platen::compiler {

inline constexpr uint32_t kDefaultContext = 4096;

struct CompileOptions {
  std::filesystem::path model;  ///< model.onnx
  std::filesystem::path output; ///< model.plan; written to a temporary file and renamed at the end
  WeightFormat weights = WeightFormat::kAuto;
  /// Code is generated for these: names of kernels::kHostTargets, best first, or "host" for all of
  /// them, and names of kernels::kCudaArchitectures. Empty: "host".
  std::vector<std::string> targets;
  /// tokenizer.model or tokenizer.json; empty: the one beside the model, if there is one.
  std::filesystem::path tokenizer;
  bool withoutTokenizer = false;
  /// context_tokens 0: what the model was made for, but at most kDefaultContext.
  plan::Limits limits{0, 512, 32, 16, 16};
  unsigned threads = 0; ///< 0: one a core
  /// A phase's name (see phaseNames()): stop after it, writing no plan.
  std::string stopAfter;
  /// Folder into which the IR is written after each phase that changes it, as <n>.<phase>.mlir.
  std::filesystem::path dump;
  /// Checked between steps; once true, compilation ends with kCancelled and leaves nothing behind.
  const std::atomic<bool> *cancelled = nullptr;
};

/// One phase done or going on, for progress display. `total` 0: no count.
struct Progress {
  std::string_view phase;
  uint64_t done = 0, total = 0;
};

struct PhaseReport {
  std::string name;
  double seconds = 0;
};

struct CompileReport {
  std::vector<PhaseReport> phases;
  std::string dialect;      ///< of the decoder, as serve recognised it
  std::string weightFormat; ///< as the manifest says: "mixed" where the graph brings integer blocks
                            ///< of its own
  size_t launches = 0;      ///< of the first program
  size_t kernels = 0;       ///< of all programs
  size_t weights = 0;
  uint64_t planBytes = 0;
};

/// Names of the phases, in order.
std::vector<std::string_view> phaseNames();

base::Result<CompileReport> compile(const CompileOptions &options,
                                    const std::function<void(const Progress &)> &progress);

} // namespace platen::compiler
