// A plan compiled for a test, and one step of it executed without the engine. For tests only.
#pragma once

#include "compiler/pipeline.h"
#include "runtime/device/host/host_device.h"
#include "runtime/exec/executor.h"

#include <filesystem>
#include <string>
#include <vector>

namespace platen::end_to_end {

/// A folder of the running test, removed by its destructor.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;
  std::filesystem::path operator/(const std::string &name) const { return path_ / name; }
  const std::filesystem::path &path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// Where the shared fixtures lie (environment PLATEN_SHARED); empty if they are missing.
std::filesystem::path sharedFixtures();
/// Where the exported Gemma 3 270M lies (environment PLATEN_GEMMA_DIR); empty if it is missing.
std::filesystem::path gemmaFolder();

/// Compiles for this machine's best target alone, with small limits.
base::Result<compiler::CompileReport> compileForTest(const std::filesystem::path &model,
                                                     const std::filesystem::path &plan,
                                                     compiler::WeightFormat weights,
                                                     plan::Limits limits = {0, 64, 64, 8, 16});

/// A loaded plan with an executor of its own.
class StepRunner {
public:
  static base::Result<std::unique_ptr<StepRunner>> load(const std::filesystem::path &plan,
                                                        unsigned threads = 1);
  /// On a device that is there.
  static base::Result<std::unique_ptr<StepRunner>> load(const std::filesystem::path &plan,
                                                        std::unique_ptr<device::Device> device);
  struct Sequence {
    std::vector<int32_t> tokens; ///< at positions [start, start + tokens.size())
    int32_t start = 0;
    std::vector<int32_t> pages; ///< of the positions from 0 on
  };
  /// Logits of every token: [sum of tokens, vocabulary].
  base::Result<std::vector<float>> run(const std::vector<Sequence> &sequences);
  const plan::Manifest &manifest() const { return plan_.manifest(); }

private:
  StepRunner(plan::Plan plan) : plan_(std::move(plan)) {}
  plan::Plan plan_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<exec::Executor> executor_;
};

} // namespace platen::end_to_end
