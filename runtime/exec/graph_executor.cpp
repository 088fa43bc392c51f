// A run is: bind symbols; if they changed, lay the arena out, write the steps, bind kernels; upload
// inputs; launch or replay; read the outputs. Reads of the manifest are unchecked here because
// Plan::load has checked them.
#include "runtime/exec/graph_executor.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>

#include "runtime/base/checked.h"
#include "runtime/exec/graph_shapes.h"
#include "runtime/plan/kernel_abi.h"

namespace platen::exec {
namespace {

using base::Result;
using base::Status;

constexpr uint64_t kStepAlignment = 64;
/// When the arena grows, it grows by an n-th more than is needed: shapes often grow step by step.
constexpr uint64_t kSpareArenaPart = 4;

uint64_t nowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

/// A launch of the plan, as it stands for the current symbols.
struct BoundLaunch {
  uint64_t step_offset = 0; // of its PlatenGraphStep, in the steps' memory
  plan::Extents extents;    // tokens == rows == points
  int64_t units = 0;
  // What the kernel was bound to, so that it is bound again only if that changed.
  uint32_t kernel_index = 0;
  std::vector<device::Operand> operands;
  std::unique_ptr<device::BoundKernel> kernel; // null: never bound, or to be bound again
};

const plan::Variant &pick(const plan::Launch &launch, uint64_t points) {
  for (const plan::Variant &variant : launch.variants) {
    if (points <= variant.max_extent)
      return variant;
  }
  return launch.variants.back();
}

bool same(const device::Operand &a, const device::Operand &b) {
  return a.address == b.address && a.bytes == b.bytes;
}

} // namespace

struct GraphExecutor::Impl {
  Impl(const plan::Plan &plan, device::Device &the_device, uint32_t program_index)
      : manifest(plan.manifest()), graph(*manifest.graph), route(manifest.programs[program_index]),
        device(the_device) {}

  Status allocateSteps();
  Status prepare();
  Status growArena();
  Status writeSteps();
  Status bindLaunch(size_t index);
  device::Operand locate(const plan::Operand &operand) const;
  Status uploadInputs(std::span<const GraphInput> inputs);
  Status launchAll();
  Status launchOne(size_t index);
  Result<bool> replay();
  Result<std::span<const GraphOutput>> readOutputs();

  const plan::Manifest &manifest;
  const plan::GraphSignature &graph;
  const plan::DeviceProgram &route; // how this device executes the plan
  device::Device &device;
  std::unique_ptr<device::Program> program;
  std::unique_ptr<device::Memory> weights; // null without weights
  std::unique_ptr<device::Memory> arena;   // null: none yet, or it could not grow
  // [distinct numbers of points] PlatenGraphStep, each with the symbols behind it.
  std::unique_ptr<device::Memory> step_memory;
  std::vector<std::byte> steps; // their image on the host
  uint64_t step_bytes = 0;

  bool ready = false;            // what follows is that of `symbols`
  std::vector<int64_t> symbols;  // [symbols]
  std::vector<int64_t> incoming; // those of the run that begins
  ArenaLayout layout;
  std::vector<BoundLaunch> launches; // [launches]
  std::vector<std::vector<int64_t>> output_dims;
  std::vector<GraphOutput> outputs;

  bool records = false;
  uint64_t runs = 0;                            // of the current symbols
  std::unique_ptr<device::Recording> recording; // after what it replays
  bool profiling = false;
  std::vector<LaunchProfile> profile; // [launches]
};

/// One step for each number of points that launches have.
Status GraphExecutor::Impl::allocateSteps() {
  step_bytes =
      base::alignUp(sizeof(PlatenStep) + graph.symbols.size() * sizeof(int64_t), kStepAlignment);
  std::map<std::string, uint64_t> offsets;
  for (const plan::Launch &launch : route.launches) {
    auto [place, added] =
        offsets.try_emplace(launch.points.toString(), offsets.size() * step_bytes);
    launches.emplace_back().step_offset = place->second;
    profile.push_back(
        {.launch = launch.name, .kernel = route.kernels[launch.variants.back().kernel].name});
  }
  steps.resize(std::max<size_t>(1, offsets.size()) * step_bytes);
  PLATEN_ASSIGN_OR_RETURN(step_memory, device.allocate(steps.size(), "steps of the launches"));
  return Status::ok();
}

/// Makes everything fit `symbols`. Afterwards `ready`, or nothing of it is used.
Status GraphExecutor::Impl::prepare() {
  ready = false;
  recording.reset();
  runs = 0;
  PLATEN_RETURN_IF_ERROR(layOut(route, graph, symbols, layout));
  for (size_t i = 0; i < launches.size(); ++i) {
    const plan::Launch &launch = route.launches[i];
    PLATEN_ASSIGN_OR_RETURN(
        int64_t points, evaluate(launch.points, graph, symbols, "launch '" + launch.name + "'"));
    launches[i].extents = {.tokens = points, .rows = points, .sequences = 1};
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    for (size_t d = 0; d < output_dims[i].size(); ++d) {
      PLATEN_ASSIGN_OR_RETURN(output_dims[i][d],
                              evaluate(graph.outputs[i].dims[d], graph, symbols,
                                       "a dimension of output '" + graph.outputs[i].name + "'"));
    }
  PLATEN_RETURN_IF_ERROR(growArena());
  PLATEN_RETURN_IF_ERROR(writeSteps());
  for (size_t i = 0; i < launches.size(); ++i)
    PLATEN_RETURN_IF_ERROR(bindLaunch(i));
  PLATEN_RETURN_IF_ERROR(device.reserveReads(layout.arena_bytes - layout.outputs_begin));
  ready = true;
  return Status::ok();
}

Status GraphExecutor::Impl::growArena() {
  uint64_t needed = layout.arena_bytes;
  if (arena != nullptr && needed <= arena->bytes())
    return Status::ok();
  // What is bound goes with the old arena, and that goes before the new one is there: memory may
  // hold one of them only.
  for (BoundLaunch &launch : launches)
    launch.kernel.reset();
  bool grows = arena != nullptr;
  arena.reset();
  if (grows) {
    auto spacious = device.allocate(needed + needed / kSpareArenaPart, "activations");
    if (spacious.isOk()) {
      arena = std::move(*spacious);
      return Status::ok();
    }
  }
  PLATEN_ASSIGN_OR_RETURN(arena, device.allocate(needed, "activations"));
  return Status::ok();
}

Status GraphExecutor::Impl::writeSteps() {
  for (size_t i = 0; i < launches.size(); ++i) {
    PlatenStep step{};
    step.tokens = launches[i].extents.tokens;
    step.rows = launches[i].extents.rows;
    step.sequences = launches[i].extents.sequences;
    std::byte *place = steps.data() + launches[i].step_offset;
    std::memcpy(place, &step, sizeof step);
    if (!symbols.empty())
      std::memcpy(place + sizeof step, symbols.data(), symbols.size() * sizeof(int64_t));
  }
  return device.upload(*step_memory, 0, steps);
}

device::Operand GraphExecutor::Impl::locate(const plan::Operand &operand) const {
  if (operand.kind == plan::OperandKind::kWeight)
    return {.address = weights->at(manifest.weights[operand.index].offset),
            .bytes = manifest.weights[operand.index].bytes};
  return {.address = arena->at(layout.offsets[operand.index]),
          .bytes = layout.bytes[operand.index]};
}

Status GraphExecutor::Impl::bindLaunch(size_t index) {
  const plan::Launch &launch = route.launches[index];
  BoundLaunch &bound = launches[index];
  auto points = static_cast<uint64_t>(bound.extents.tokens);
  if (points == 0)
    return Status::ok(); // it will not run
  const plan::Variant &variant = pick(launch, points);
  bound.units = variant.units.count(bound.extents);
  std::vector<device::Operand> operands{
      {.address = step_memory->at(bound.step_offset), .bytes = step_bytes}};
  for (const plan::Operand &operand : launch.operands)
    operands.push_back(locate(operand));
  if (bound.kernel != nullptr && bound.kernel_index == variant.kernel &&
      std::ranges::equal(bound.operands, operands, same))
    return Status::ok();
  bound.kernel.reset();
  auto kernel = device.bind(program->kernel(variant.kernel), operands);
  if (!kernel.isOk())
    return kernel.status().at("kernel '" + route.kernels[variant.kernel].name + "' of launch '" +
                              launch.name + "'");
  bound.kernel = std::move(*kernel);
  bound.kernel_index = variant.kernel;
  bound.operands = std::move(operands);
  return Status::ok();
}

Status GraphExecutor::Impl::uploadInputs(std::span<const GraphInput> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    Status status = device.upload(*arena, layout.offsets[graph.inputs[i].buffer], inputs[i].bytes);
    if (!status.isOk())
      return status.at("input '" + graph.inputs[i].name + "'");
  }
  return Status::ok();
}

/// Runs the launches by a recording; false if there is none and they are to be launched.
Result<bool> GraphExecutor::Impl::replay() {
  if (!records || profiling)
    return false;
  if (recording == nullptr && runs == 1) { // the second run of a shape: there may be more
    std::vector<device::Launch> calls;
    for (const BoundLaunch &launch : launches)
      if (launch.extents.tokens != 0)
        calls.push_back(
            {.kernel = launch.kernel.get(), .extents = launch.extents, .units = launch.units});
    auto made = device.record(calls);
    if (made.status().code() == base::StatusCode::kDeviceLost)
      return made.status();
    // What cannot be recorded, for want of memory say, can still be launched.
    if (made.isOk())
      recording = std::move(*made);
  }
  if (recording == nullptr)
    return false;
  PLATEN_RETURN_IF_ERROR(device.replay(*recording));
  return true;
}

Status GraphExecutor::Impl::launchOne(size_t index) {
  const BoundLaunch &launch = launches[index];
  if (launch.extents.tokens == 0)
    return Status::ok();
  uint64_t begin = profiling ? nowNs() : 0;
  Status status = device.launch(
      {.kernel = launch.kernel.get(), .extents = launch.extents, .units = launch.units});
  if (profiling && status.isOk())
    status = device.synchronize();
  if (!status.isOk())
    return status.at("launch '" + route.launches[index].name + "'");
  if (profiling) {
    profile[index].kernel = route.kernels[launch.kernel_index].name;
    profile[index].calls += 1;
    profile[index].total_ns += nowNs() - begin;
  }
  return Status::ok();
}

Status GraphExecutor::Impl::launchAll() {
  PLATEN_ASSIGN_OR_RETURN(bool done, replay());
  for (size_t i = 0; i < launches.size() && !done; ++i)
    PLATEN_RETURN_IF_ERROR(launchOne(i));
  ++runs;
  return Status::ok();
}

Result<std::span<const GraphOutput>> GraphExecutor::Impl::readOutputs() {
  PLATEN_ASSIGN_OR_RETURN(auto bytes, device.read(*arena, layout.outputs_begin,
                                                  layout.arena_bytes - layout.outputs_begin));
  for (size_t i = 0; i < outputs.size(); ++i) {
    uint32_t buffer = graph.outputs[i].buffer;
    outputs[i] = {.dims = output_dims[i],
                  .bytes = bytes.subspan(layout.offsets[buffer] - layout.outputs_begin,
                                         layout.bytes[buffer])};
  }
  return std::span<const GraphOutput>(outputs);
}

GraphExecutor::GraphExecutor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GraphExecutor::~GraphExecutor() = default;

Result<std::unique_ptr<GraphExecutor>> GraphExecutor::create(const plan::Plan &plan,
                                                             device::Device &device,
                                                             const GraphExecutorOptions &options) {
  const plan::Manifest &manifest = plan.manifest();
  if (!manifest.graph)
    return base::invalidArgument("the plan is that of a decoder, which has no named inputs and "
                                 "outputs; an Executor runs it",
                                 plan.path());
  PLATEN_ASSIGN_OR_RETURN(uint32_t target, device.chooseTarget(plan));
  auto impl = std::make_unique<Impl>(plan, device, manifest.targets[target].program);
  PLATEN_ASSIGN_OR_RETURN(impl->program, device.loadCode(plan, target));
  if (!manifest.weights.empty()) {
    PLATEN_ASSIGN_OR_RETURN(impl->weights, device.placeWeights(plan));
  }
  PLATEN_RETURN_IF_ERROR(impl->allocateSteps());
  for (const plan::GraphTensor &output : impl->graph.outputs)
    impl->output_dims.emplace_back(output.dims.size());
  impl->outputs.resize(impl->graph.outputs.size());
  impl->records = options.record && device.recordsLaunches();
  return std::unique_ptr<GraphExecutor>(new GraphExecutor(std::move(impl)));
}

Result<std::span<const GraphOutput>> GraphExecutor::run(std::span<const GraphInput> inputs) {
  Impl &self = *impl_;
  PLATEN_RETURN_IF_ERROR(bindSymbols(self.graph, inputs, self.incoming));
  if (!self.ready || self.incoming != self.symbols) {
    self.symbols = self.incoming;
    PLATEN_RETURN_IF_ERROR(self.prepare());
  }
  PLATEN_RETURN_IF_ERROR(self.uploadInputs(inputs));
  PLATEN_RETURN_IF_ERROR(self.launchAll());
  return self.readOutputs();
}

uint64_t GraphExecutor::arenaBytes() const { return impl_->layout.arena_bytes; }
uint64_t GraphExecutor::heldBytes() const { return impl_->arena ? impl_->arena->bytes() : 0; }
std::string_view GraphExecutor::target() const { return impl_->program->target(); }

void GraphExecutor::setProfiling(bool on) {
  impl_->profiling = on;
  for (LaunchProfile &entry : impl_->profile)
    entry.calls = entry.total_ns = 0;
}

std::span<const LaunchProfile> GraphExecutor::profile() const { return impl_->profile; }

} // namespace platen::exec
