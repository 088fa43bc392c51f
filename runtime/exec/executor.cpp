// Everything that does not change between steps is computed in create(): memory, bound kernels,
// variants. run() only counts units, or replays what was recorded for steps of that size. Reads of
// the manifest are unchecked here because Plan::load has checked them.
#include "runtime/exec/executor.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>

#include "runtime/base/checked.h"
#include "runtime/exec/recordings.h"
#include "runtime/exec/step_buffer.h"

namespace platen::exec {
namespace {

using base::Result;
using base::Status;
using plan::Extents;

// kernel_abi.h: activation buffers have 64 readable bytes behind their last row.
constexpr uint64_t kArenaSlackBytes = 64;
constexpr uint64_t kCacheAlignment = 4096;
constexpr uint64_t kMostReservedReads = uint64_t{64} << 20;

struct PreparedVariant {
  int64_t max_extent;
  std::unique_ptr<device::BoundKernel> kernel;
  plan::Units units;
  uint32_t kernel_index;
};

struct PreparedLaunch {
  plan::Extent extent;
  std::vector<PreparedVariant> variants; // never empty
};

const PreparedVariant &pick(const PreparedLaunch &launch, int64_t extent) {
  for (const PreparedVariant &variant : launch.variants) {
    if (extent <= variant.max_extent)
      return variant;
  }
  return launch.variants.back();
}

uint64_t nowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

} // namespace

struct Executor::Impl {
  Impl(const plan::Plan &the_plan, device::Device &the_device, uint32_t program_index)
      : plan(the_plan), manifest(the_plan.manifest()), route(manifest.programs[program_index]),
        device(the_device) {}

  Status allocate(uint32_t page_count);
  Status prepareLaunches();
  device::Operand locate(const plan::Operand &operand) const;
  Status launchAll(const Extents &extents);
  Result<bool> replay(const Extents &extents);
  Result<std::unique_ptr<device::Recording>> record(const Extents &extents);
  Result<std::span<const float>> readRows(uint32_t buffer, int64_t rows);
  Status prepareSampler();

  const plan::Plan &plan;
  const plan::Manifest &manifest;
  const plan::DeviceProgram &route; // how this device executes the plan
  device::Device &device;
  std::unique_ptr<device::Program> program;
  std::unique_ptr<device::Memory> weights;
  std::unique_ptr<device::Memory> arena;       // [arena_bytes + slack]
  std::unique_ptr<device::Memory> step_memory; // PlatenStep and its arrays
  std::unique_ptr<device::Memory> cache;       // regions of all layers; null without caches
  std::vector<device::Operand> cache_regions;  // [caches]
  uint64_t cache_bytes = 0;
  uint32_t pages = 0;
  std::unique_ptr<StepBuffer> step;
  std::vector<PreparedLaunch> launches;
  std::unique_ptr<device::Memory> sampling; // PlatenSampling [step_rows]; null without a sampler
  std::unique_ptr<device::Memory> tokens;   // i32 [step_rows]
  std::unique_ptr<device::BoundKernel> sampler;
  Recordings recordings; // after what they replay
  bool records = false;
  bool profiling = false;
  std::vector<LaunchProfile> profile; // [launches]
};

Status Executor::Impl::allocate(uint32_t page_count) {
  pages = page_count;
  std::vector<uint64_t> offsets;
  for (const plan::Cache &layer : route.caches) {
    PLATEN_ASSIGN_OR_RETURN(uint64_t region,
                            base::checkedMul<uint64_t>(plan::pageBytes(manifest.limits, layer),
                                                       pages, "KV cache bytes"));
    offsets.push_back(cache_bytes);
    cache_regions.push_back({.address = nullptr, .bytes = region});
    PLATEN_ASSIGN_OR_RETURN(
        cache_bytes,
        base::checkedAdd(cache_bytes, base::alignUp(region, kCacheAlignment), "KV cache bytes"));
  }
  if (cache_bytes != 0) {
    PLATEN_ASSIGN_OR_RETURN(
        cache, device.allocate(cache_bytes, "KV cache of " + std::to_string(pages) + " pages in " +
                                                std::to_string(route.caches.size()) + " layers"));
  }
  for (size_t i = 0; i < offsets.size(); ++i)
    cache_regions[i].address = cache->at(offsets[i]);
  PLATEN_ASSIGN_OR_RETURN(arena,
                          device.allocate(route.arena_bytes + kArenaSlackBytes, "activations"));
  PLATEN_ASSIGN_OR_RETURN(step_memory,
                          device.allocate(StepBuffer::maxBytes(manifest.limits), "step inputs"));
  step = std::make_unique<StepBuffer>(manifest.limits, step_memory->address());
  uint64_t row_bytes = route.buffers[route.logits_buffer].row_bytes;
  if (route.hidden_buffer >= 0)
    row_bytes += route.buffers[static_cast<size_t>(route.hidden_buffer)].row_bytes;
  uint64_t rows = std::min(manifest.limits.step_rows, manifest.limits.step_sequences);
  return device.reserveReads(std::min(rows * row_bytes, kMostReservedReads));
}

device::Operand Executor::Impl::locate(const plan::Operand &operand) const {
  switch (operand.kind) {
  case plan::OperandKind::kBuffer: {
    const plan::Buffer &buffer = route.buffers[operand.index];
    return {.address = arena->at(buffer.arena_offset),
            .bytes = plan::extentLimit(manifest.limits, buffer.extent) * buffer.row_bytes};
  }
  case plan::OperandKind::kWeight:
    return {.address = weights->at(manifest.weights[operand.index].offset),
            .bytes = manifest.weights[operand.index].bytes};
  case plan::OperandKind::kCache:
    return cache_regions[operand.index];
  }
  return {};
}

Status Executor::Impl::prepareLaunches() {
  for (const plan::Launch &launch : route.launches) {
    PreparedLaunch prepared{.extent = launch.extent, .variants = {}};
    std::vector<device::Operand> operands{
        {.address = step_memory->address(), .bytes = step_memory->bytes()}};
    for (const plan::Operand &operand : launch.operands)
      operands.push_back(locate(operand));
    for (const plan::Variant &variant : launch.variants) {
      auto bound = device.bind(program->kernel(variant.kernel), operands);
      if (!bound.isOk())
        return bound.status().at("kernel '" + route.kernels[variant.kernel].name + "' of launch '" +
                                 launch.name + "'");
      prepared.variants.push_back({.max_extent = static_cast<int64_t>(std::min<uint64_t>(
                                       variant.max_extent, std::numeric_limits<int64_t>::max())),
                                   .kernel = std::move(*bound),
                                   .units = variant.units,
                                   .kernel_index = variant.kernel});
    }
    launches.push_back(std::move(prepared));
    profile.push_back(
        {.launch = launch.name, .kernel = route.kernels[launch.variants.back().kernel].name});
  }
  return Status::ok();
}

Status Executor::Impl::prepareSampler() {
  if (!route.sampler)
    return Status::ok();
  uint64_t rows = manifest.limits.step_rows;
  PLATEN_ASSIGN_OR_RETURN(sampling,
                          device.allocate(rows * sizeof(PlatenSampling), "sampling parameters"));
  PLATEN_ASSIGN_OR_RETURN(tokens, device.allocate(rows * sizeof(int32_t), "drawn tokens"));
  device::Operand operands[] = {
      {.address = step_memory->address(), .bytes = step_memory->bytes()},
      locate({.kind = plan::OperandKind::kBuffer, .index = route.logits_buffer}),
      {.address = sampling->address(), .bytes = sampling->bytes()},
      {.address = tokens->address(), .bytes = tokens->bytes()}};
  auto bound = device.bind(program->kernel(*route.sampler), operands);
  if (!bound.isOk())
    return bound.status().at("sampler '" + route.kernels[*route.sampler].name + "'");
  sampler = std::move(*bound);
  return Status::ok();
}

/// The launches of a step of `extents`, recorded.
Result<std::unique_ptr<device::Recording>> Executor::Impl::record(const Extents &extents) {
  std::vector<device::Launch> calls;
  for (const PreparedLaunch &launch : launches) {
    int64_t extent = extents[launch.extent];
    if (extent == 0)
      continue;
    const PreparedVariant &variant = pick(launch, extent);
    calls.push_back({.kernel = variant.kernel.get(),
                     .extents = extents,
                     .units = variant.units.count(extents)});
  }
  return device.record(calls);
}

/// Runs the step by a recording; false if it has none and is to be launched.
Result<bool> Executor::Impl::replay(const Extents &extents) {
  auto bucket = recordingBucket(extents, manifest.limits);
  if (!bucket)
    return false;
  Recordings::Entry *entry = recordings.find(*bucket);
  if (entry == nullptr) {
    auto recording = record(*bucket);
    if (recording.status().code() == base::StatusCode::kDeviceLost)
      return recording.status();
    // A step that cannot be recorded, for want of memory say, can still be launched.
    entry = recordings.add(*bucket, recording.isOk() ? std::move(*recording) : nullptr);
  }
  if (entry->recording == nullptr)
    return false;
  PLATEN_RETURN_IF_ERROR(device.replay(*entry->recording));
  return true;
}

Status Executor::Impl::launchAll(const Extents &extents) {
  if (records && !profiling) {
    PLATEN_ASSIGN_OR_RETURN(bool done, replay(extents));
    if (done)
      return Status::ok();
  }
  for (size_t i = 0; i < launches.size(); ++i) {
    const PreparedLaunch &launch = launches[i];
    int64_t extent = extents[launch.extent];
    if (extent == 0)
      continue;
    const PreparedVariant &variant = pick(launch, extent);
    uint64_t begin = profiling ? nowNs() : 0;
    Status status = device.launch({.kernel = variant.kernel.get(),
                                   .extents = extents,
                                   .units = variant.units.count(extents)});
    if (profiling && status.isOk())
      status = device.synchronize();
    if (!status.isOk())
      return status.at("launch '" + route.launches[i].name + "'");
    if (profiling) {
      profile[i].kernel = route.kernels[variant.kernel_index].name;
      profile[i].calls += 1;
      profile[i].total_ns += nowNs() - begin;
    }
  }
  return Status::ok();
}

Result<std::span<const float>> Executor::Impl::readRows(uint32_t buffer, int64_t rows) {
  const plan::Buffer &rows_of = route.buffers[buffer];
  PLATEN_ASSIGN_OR_RETURN(auto bytes, device.read(*arena, rows_of.arena_offset,
                                                  rows_of.row_bytes * static_cast<uint64_t>(rows)));
  return std::span<const float>(reinterpret_cast<const float *>(bytes.data()),
                                bytes.size() / sizeof(float));
}

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::create(const plan::Plan &plan, device::Device &device,
                                                   const ExecutorOptions &options) {
  constexpr uint32_t kMaxPages = std::numeric_limits<int32_t>::max(); // page tables hold int32
  if (plan.manifest().graph)
    return base::invalidArgument("the plan is that of a graph with named inputs and outputs, which "
                                 "has no steps of tokens; a GraphExecutor runs it",
                                 plan.path());
  PLATEN_ASSIGN_OR_RETURN(uint32_t target, device.chooseTarget(plan));
  auto impl = std::make_unique<Impl>(plan, device, plan.manifest().targets[target].program);
  if (!impl->route.caches.empty() && (options.pages == 0 || options.pages > kMaxPages))
    return base::invalidArgument(
        std::to_string(options.pages) +
        " KV pages were asked for; at least 1 and fewer than 2^31 are needed");
  PLATEN_ASSIGN_OR_RETURN(impl->program, device.loadCode(plan, target));
  PLATEN_ASSIGN_OR_RETURN(impl->weights, device.placeWeights(plan));
  PLATEN_RETURN_IF_ERROR(impl->allocate(options.pages));
  PLATEN_RETURN_IF_ERROR(impl->prepareLaunches());
  PLATEN_RETURN_IF_ERROR(impl->prepareSampler());
  impl->records = options.record_steps && device.recordsLaunches();
  return std::unique_ptr<Executor>(new Executor(std::move(impl)));
}

uint64_t Executor::fixedBytes(const plan::Plan &plan, uint32_t target) {
  const plan::Manifest &manifest = plan.manifest();
  const plan::DeviceProgram &route = manifest.programs[manifest.targets[target].program];
  uint64_t scratch = 0;
  for (const plan::Kernel &kernel : route.kernels)
    scratch = std::max(scratch, kernel.scratch_bytes);
  uint64_t sampler =
      route.sampler ? manifest.limits.step_rows * (sizeof(PlatenSampling) + sizeof(int32_t)) : 0;
  return plan.weights().size() + route.arena_bytes + kArenaSlackBytes + scratch + sampler +
         route.caches.size() * kCacheAlignment + StepBuffer::maxBytes(manifest.limits);
}

Result<StepOutputs> Executor::run(const StepInputs &inputs) {
  Impl &self = *impl_;
  PLATEN_RETURN_IF_ERROR(checkInputs(inputs, self.manifest, self.route.caches, self.pages));
  Extents extents{.tokens = static_cast<int64_t>(inputs.token_ids.size()),
                  .rows = static_cast<int64_t>(inputs.row_tokens.size()),
                  .sequences = inputs.sequences};
  bool draws = !inputs.sampling.empty();
  if (draws && (self.sampler == nullptr || inputs.sampling.size() != inputs.row_tokens.size()))
    return base::invalidArgument(
        std::to_string(inputs.sampling.size()) + " rows are to be sampled of " +
        std::to_string(inputs.row_tokens.size()) +
        (self.sampler == nullptr ? "; this plan cannot sample on this device" : ""));
  if (draws)
    PLATEN_RETURN_IF_ERROR(self.device.upload(*self.sampling, 0, std::as_bytes(inputs.sampling)));
  PLATEN_RETURN_IF_ERROR(self.device.upload(*self.step_memory, 0, self.step->fill(inputs)));
  PLATEN_RETURN_IF_ERROR(self.launchAll(extents));
  StepOutputs outputs;
  if (draws) {
    // Behind the step's other launches, whether those were replayed or not.
    Status drawn =
        self.device.launch({.kernel = self.sampler.get(), .extents = extents, .units = 1});
    if (!drawn.isOk())
      return drawn.at("sampler");
    PLATEN_ASSIGN_OR_RETURN(auto bytes,
                            self.device.read(*self.tokens, 0, inputs.sampling.size() * 4));
    outputs.tokens = {reinterpret_cast<const int32_t *>(bytes.data()), inputs.sampling.size()};
  }
  if (inputs.read_logits) {
    PLATEN_ASSIGN_OR_RETURN(outputs.logits, self.readRows(self.route.logits_buffer, extents.rows));
  }
  if (inputs.read_hidden && self.route.hidden_buffer >= 0) {
    PLATEN_ASSIGN_OR_RETURN(
        outputs.hidden,
        self.readRows(static_cast<uint32_t>(self.route.hidden_buffer), extents.rows));
  }
  return outputs;
}

bool Executor::samples() const { return impl_->sampler != nullptr; }
uint32_t Executor::pages() const { return impl_->pages; }
size_t Executor::recordedSteps() const { return impl_->recordings.size(); }
uint64_t Executor::arenaBytes() const { return impl_->route.arena_bytes; }
uint64_t Executor::cacheBytes() const { return impl_->cache_bytes; }
std::string_view Executor::target() const { return impl_->program->target(); }

void Executor::setProfiling(bool on) {
  impl_->profiling = on;
  for (LaunchProfile &entry : impl_->profile)
    entry.calls = entry.total_ns = 0;
}

std::span<const LaunchProfile> Executor::profile() const { return impl_->profile; }

} // namespace platen::exec
