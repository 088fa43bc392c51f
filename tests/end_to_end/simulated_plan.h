// A plan's CUDA program executed by the PTX simulator, launch by launch as the manifest says and
// with nothing of the runtime between: a witness of the plan's content. For tests only.
#pragma once

#include "runtime/plan/reader.h"
#include "tests/end_to_end/compiled_plan.h"
#include "tools/ptxsim/core/simulator.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace platen::end_to_end {

class SimulatedPlan {
public:
  /// The program of `target` ("sm_80") with its PTX, its weights in simulated memory, and `pages`
  /// pages of cache that nothing has written yet.
  static base::Result<std::unique_ptr<SimulatedPlan>>
  load(const std::filesystem::path &plan, const std::string &target, uint32_t pages = 64);
  /// Which of a variant's kernels run: 0 the best predicted, 1 its first alternative, …
  void useAlternative(size_t rank) { rank_ = rank; }
  void useOrder(ptxsim::AsyncOrder order, uint64_t seed) { order_ = order, seed_ = seed; }
  /// Logits of every token: [sum of tokens, vocabulary]. Violations are kInternal.
  base::Result<std::vector<float>> run(const std::vector<StepRunner::Sequence> &sequences);
  uint64_t warpInstructions() const { return warpInstructions_; }

private:
  explicit SimulatedPlan(plan::Plan plan) : plan_(std::move(plan)) {}
  base::Status loadImages(const plan::CodeTarget &target);
  base::Status allocate(uint32_t pages);
  base::Status launch(const plan::Launch &launch, const plan::Extents &extents, uint64_t step);
  base::Status runPhase(uint32_t kernel, const plan::Phase &phase, const plan::Extents &extents,
                        std::span<const uint64_t> parameters);
  uint64_t addressOf(const plan::Operand &operand) const;
  uint64_t bytesOf(const plan::Operand &operand) const; ///< of the largest step
  const plan::DeviceProgram &program() const { return plan_.manifest().programs[program_]; }

  plan::Plan plan_;
  uint32_t program_ = 0, pages_ = 0;
  ptxsim::Memory memory_;
  std::vector<std::unique_ptr<ptxsim::LoadedModule>> modules_; ///< of the program's kernels
  uint64_t weights_ = 0, arena_ = 0, workspace_ = 0;
  std::vector<uint64_t> caches_;
  size_t rank_ = 0;
  ptxsim::AsyncOrder order_ = ptxsim::AsyncOrder::kLatest;
  uint64_t seed_ = 0, warpInstructions_ = 0;
};

} // namespace platen::end_to_end
