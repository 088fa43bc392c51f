// Names become places in the signature here; everything else is exec::GraphExecutor's.
#include "runtime/engine/graph.h"

#include <mutex>
#include <optional>

#include "runtime/engine/choose_device.h"
#include "runtime/exec/graph_executor.h"

namespace platen::engine {
namespace {

using base::invalidArgument;
using base::Result;
using base::Status;

std::string listOf(const std::vector<GraphTensorInfo> &tensors) {
  std::string text;
  for (const GraphTensorInfo &tensor : tensors)
    text += (text.empty() ? "" : ", ") + tensor.toString();
  return text.empty() ? "none" : text;
}

GraphTensorInfo describe(const plan::GraphTensor &tensor, const plan::GraphSignature &graph) {
  GraphTensorInfo info{.name = tensor.name, .dtype = tensor.dtype, .dims = {}};
  for (const base::Size &dim : tensor.dims)
    info.dims.push_back(
        {.size = dim.constant().value_or(-1), .text = plan::toString(dim, graph.symbols)});
  return info;
}

GraphInfo describe(const plan::Manifest &manifest) {
  GraphInfo info;
  info.name = manifest.model_name;
  info.weight_format = manifest.model.weight_format;
  for (const plan::Symbol &symbol : manifest.graph->symbols)
    info.symbols.push_back({.name = symbol.name,
                            .least = static_cast<int64_t>(symbol.least),
                            .greatest = static_cast<int64_t>(symbol.greatest)});
  for (const plan::GraphTensor &input : manifest.graph->inputs)
    info.inputs.push_back(describe(input, *manifest.graph));
  for (const plan::GraphTensor &output : manifest.graph->outputs)
    info.outputs.push_back(describe(output, *manifest.graph));
  return info;
}

} // namespace

struct Graph::Impl {
  explicit Impl(plan::Plan loaded) : plan(std::move(loaded)), info(describe(plan.manifest())) {}

  Status open(const GraphOptions &options);
  Result<std::vector<exec::GraphInput>> order(std::span<const TensorView> given) const;

  plan::Plan plan;
  GraphInfo info;
  // In the order of dependence.
  std::unique_ptr<device::Device> device;
  std::unique_ptr<exec::GraphExecutor> executor;
  std::mutex mutex; // around the executor
};

Status Graph::Impl::open(const GraphOptions &options) {
  EngineOptions choice;
  choice.threads = options.threads;
  choice.device = options.device;
  PLATEN_ASSIGN_OR_RETURN(ChosenDevice chosen, chooseDevice(plan, choice));
  device = std::move(chosen.device);
  PLATEN_ASSIGN_OR_RETURN(
      executor, exec::GraphExecutor::create(plan, *device, {.record = options.cuda_graphs}));
  info.code_target = executor->target();
  info.device = device->description();
  info.device_reason = std::move(chosen.reason);
  return Status::ok();
}

/// The given tensors in the order of the signature.
Result<std::vector<exec::GraphInput>> Graph::Impl::order(std::span<const TensorView> given) const {
  std::vector<exec::GraphInput> inputs(info.inputs.size());
  std::vector<bool> seen(info.inputs.size());
  for (const TensorView &tensor : given) {
    std::string name(tensor.name);
    size_t index = 0;
    while (index < info.inputs.size() && info.inputs[index].name != name)
      ++index;
    if (index == info.inputs.size())
      return invalidArgument("the graph has no input '" + name + "'; its inputs are " +
                             listOf(info.inputs));
    if (seen[index])
      return invalidArgument("input '" + name + "' is given twice");
    if (tensor.dtype != info.inputs[index].dtype)
      return invalidArgument("input '" + name + "' is given as " +
                             std::string(base::dtypeName(tensor.dtype)) + ", it must be " +
                             info.inputs[index].toString());
    seen[index] = true;
    inputs[index] = {.dims = tensor.dims, .bytes = tensor.bytes};
  }
  for (size_t i = 0; i < seen.size(); ++i)
    if (!seen[i])
      return invalidArgument("input " + info.inputs[i].toString() + " is not given");
  return inputs;
}

std::string GraphTensorInfo::toString() const {
  std::string text = name + ": " + std::string(base::dtypeName(dtype)) + "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i == 0 ? "" : ", ") + dims[i].text;
  return text + "]";
}

Graph::Graph(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Graph::Graph(Graph &&) noexcept = default;
Graph &Graph::operator=(Graph &&) noexcept = default;
Graph::~Graph() = default;

const GraphInfo &Graph::info() const { return impl_->info; }

Result<Graph> Graph::load(const std::string &plan_path, const GraphOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(plan::Plan plan, plan::Plan::load(plan_path));
  if (!plan.manifest().graph)
    return invalidArgument("the plan holds a decoder that generates tokens, no graph with named "
                           "inputs and outputs; load it with Engine::load (in C "
                           "platen_engine_load, in a shell `platen run PLAN --prompt TEXT`)",
                           plan_path);
  auto impl = std::make_unique<Impl>(std::move(plan));
  if (Status status = impl->open(options); !status.isOk()) {
    bool named = status.origin().find(plan_path) != std::string_view::npos;
    return named ? status : status.at(plan_path);
  }
  return Graph(std::move(impl));
}

Result<std::vector<NamedTensor>> Graph::run(std::span<const TensorView> inputs) {
  PLATEN_ASSIGN_OR_RETURN(auto ordered, impl_->order(inputs));
  std::lock_guard lock(impl_->mutex);
  PLATEN_ASSIGN_OR_RETURN(auto outputs, impl_->executor->run(ordered));
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < outputs.size(); ++i)
    tensors.push_back({.name = impl_->info.outputs[i].name,
                       .dtype = impl_->info.outputs[i].dtype,
                       .dims = {outputs[i].dims.begin(), outputs[i].dims.end()},
                       .bytes = {outputs[i].bytes.begin(), outputs[i].bytes.end()}});
  return tensors;
}

} // namespace platen::engine
