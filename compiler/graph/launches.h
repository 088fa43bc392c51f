// A graph as launches: what lowering makes of @main, what fusion changes, what selection turns into
// a program of the plan.
//
// Tensors are numbered; a launch names them. Every tensor is written by at most one launch, and
// launches stand in an order in which every tensor is written before it is read.
#pragma once

#include "compiler/graph/sizes.h"
#include "compiler/select/draft.h"
#include "kernels/specs.h"

#include "mlir/IR/BuiltinOps.h"

#include <variant>

namespace platen::compiler {

struct GraphTensor {
  enum class Role : uint8_t { kTemporary, kInput, kOutput, kWeight };
  Role role = Role::kTemporary;
  ops::loops::TensorSpec spec;
  uint32_t number = 0; ///< of the input or output
  /// Of a weight. Loops read its bytes as they are; matmuls (`packing` set) packed.
  WeightRequest weight{};
  /// The tensor whose memory this one is, under other dims; its own number otherwise.
  uint32_t storage = 0;
};

struct GraphLaunch {
  std::string name; ///< operator and ONNX node, for traces
  kernels::KernelSpec spec;
  std::vector<uint32_t> tensors; ///< the kernel's operands
  base::Size extent;             ///< tokens of its step
};

struct GraphPort {
  std::string name;
  uint32_t tensor = 0;
};

struct GraphDraft {
  std::vector<std::string> symbols;
  std::vector<GraphTensor> tensors;
  std::vector<GraphLaunch> launches;
  std::vector<GraphPort> inputs, outputs;
};

/// Lowers `func @main` after folding. Matmuls by weights become matmul kernels whose weights have
/// the packing that `packingOf` (quantize.h) says; everything else loops. Errors: kUnsupported
/// naming the ONNX node, its operator and what cannot be computed.
base::Result<GraphDraft> lowerGraph(mlir::ModuleOp module, const ir::WeightReader &reader);

/// Puts pointwise launches into those that read them, where that saves memory traffic and does not
/// repeat much work; drops launches whose results nobody reads.
void fuseGraph(GraphDraft &draft);

} // namespace platen::compiler
