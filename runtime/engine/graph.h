// platen's public C++ interface for graphs that are no decoders: encoders, classifiers, drafter
// heads. Load a plan, give it named tensors, receive named tensors.
//
//   auto graph = platen::engine::Graph::load("encoder.plan");
//   std::vector<TensorView> inputs{
//       {"input_ids", DType::kI64, {1, 5}, std::as_bytes(std::span(ids))}};
//   auto outputs = graph->run(inputs);
//   use(outputs->front().bytes);
//
// Dimensions that the ONNX graph leaves open are symbols: every run binds them from the shapes of
// its inputs. Runs of shapes like the one before are cheapest: nothing is prepared again.
//
// Thread-safety: every member may be called from any thread at any time, except that the graph must
// outlive all calls. Runs take turns: one at a time, each on all of the device's threads.
//
// Errors: functions return Status or Result and throw nothing (except std::bad_alloc). A run that
// is refused leaves the graph as it was; after kDeviceLost no run succeeds any more.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace platen::engine {

/// As EngineOptions has them.
struct GraphOptions {
  unsigned threads = 0;    ///< threads that execute kernels; 0: one a core that the process may use
  std::string device = {}; ///< "auto" (or ""), "host", "cuda", "cuda:N"
  bool cuda_graphs = true;
};

/// A dimension of an input or output.
struct GraphDimension {
  int64_t size = -1;     ///< -1: it depends on symbols
  std::string text = {}; ///< "8", "batch", "past + sequence"
};

struct GraphTensorInfo {
  std::string name;
  base::DType dtype = base::DType::kF32;
  std::vector<GraphDimension> dims;
  /// "input_ids: i64[batch, sequence]".
  std::string toString() const;
};

/// A number that every run binds, and the values that it may have.
struct GraphSymbol {
  std::string name;
  int64_t least = 0, greatest = 0;
};

struct GraphInfo {
  std::string name = {};
  std::string weight_format = {}; ///< as ModelInfo's, as are the next three
  std::string code_target = {};
  std::string device = {};
  std::string device_reason = {};
  std::vector<GraphSymbol> symbols = {};
  std::vector<GraphTensorInfo> inputs = {}; ///< in the order of the ONNX graph, as are outputs
  std::vector<GraphTensorInfo> outputs = {};
};

/// A tensor that somebody else owns: dense, row-major, little endian; 4-bit types two a byte, low
/// nibble first. No alignment is needed.
struct TensorView {
  std::string_view name;
  base::DType dtype = base::DType::kF32;
  std::vector<int64_t> dims;
  std::span<const std::byte> bytes;
};

struct NamedTensor {
  std::string name;
  base::DType dtype = base::DType::kF32;
  std::vector<int64_t> dims = {};
  std::vector<std::byte> bytes = {};
};

class Graph {
public:
  /// Errors: as Engine::load's; kInvalidArgument also for the plan of a decoder, which
  /// Engine::load loads.
  static base::Result<Graph> load(const std::string &plan_path, const GraphOptions &options = {});
  Graph(Graph &&) noexcept;
  Graph &operator=(Graph &&) noexcept;
  ~Graph();

  const GraphInfo &info() const;

  /// Runs the graph. `inputs` are all of its inputs, in any order. Gives all of its outputs, in
  /// their order. Errors: kInvalidArgument (a name, dtype or shape that does not fit: the message
  /// holds both sides), kResourceExhausted (memory for these shapes), kDeviceLost.
  base::Result<std::vector<NamedTensor>> run(std::span<const TensorView> inputs);

private:
  struct Impl;
  explicit Graph(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace platen::engine
