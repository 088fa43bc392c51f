// A plan before its bytes exist: what selection decides, and what pack, emit and write then carry
// out.
#pragma once

#include "kernels/packing.h"
#include "ops/tensor.h"
#include "runtime/plan/plan.h"

#include <optional>
#include <string>
#include <vector>

namespace platen::compiler {

/// Where bytes of a weight come from: an initializer of the module, or a constant of the graph.
struct WeightSource {
  std::string initializer;
  std::optional<ops::Tensor> constant;
  bool isAbsent() const { return initializer.empty() && !constant; }
};

/// One weight of the plan, to be packed. Weights that compare equal in key() are stored once.
struct WeightRequest {
  enum class Form : uint8_t {
    kDense,  ///< `data` holds elements of a float dtype, [n, k] or, if transposed, [k, n]
    kBlocks, ///< `data` holds integer blocks (MatMulNBits, GatherBlockQuantized) with `scales` and
             ///< `zeros`
    kBytes,  ///< `data` is stored as it is, k bytes (1 if there are none)
  };
  Form form = Form::kDense;
  WeightSource data, scales, zeros;
  bool transposed = false;
  int bits = 0;           ///< blocks: 4 or 8
  uint64_t blockSize = 0; ///< blocks: elements of k that share a scale, multiple of 32
  kernels::Packing packing;
  uint64_t n = 0, k = 0;
  std::string key() const;
};

struct PlanDraft {
  /// Complete but for sections, weights' offsets and bytes, code targets.
  plan::Manifest manifest;
  /// manifest.weights[i] is made from weights[i]; all programs share them.
  std::vector<WeightRequest> weights;
};

} // namespace platen::compiler
