// See machine.h. Memory is laid out as the executor lays it out.
#include "tools/tune/machine.h"

#include "runtime/base/checked.h"

#include <algorithm>
#include <string>

namespace platen::tune {

using base::Result;
using base::Status;

namespace {
constexpr uint64_t kSlackBytes = 64; // kernel_abi.h: readable behind a buffer's last row
} // namespace

Machine::Machine(const plan::Plan &plan, device::Device &device, uint32_t target)
    : manifest_(plan.manifest()), program_(manifest_.programs[manifest_.targets[target].program]),
      device_(device) {}

Result<std::unique_ptr<Machine>> Machine::create(const plan::Plan &plan, device::Device &device,
                                                 uint32_t target, uint32_t pages,
                                                 std::shared_ptr<device::Memory> weights) {
  std::unique_ptr<Machine> made(new Machine(plan, device, target));
  PLATEN_ASSIGN_OR_RETURN(made->code_, device.loadCode(plan, target));
  made->weights_ = std::move(weights);
  if (made->weights_ == nullptr) {
    PLATEN_ASSIGN_OR_RETURN(made->weights_, device.placeWeights(plan));
  }
  PLATEN_RETURN_IF_ERROR(made->allocate(pages));
  return made;
}

Status Machine::allocate(uint32_t pages) {
  pages_ = pages;
  PLATEN_ASSIGN_OR_RETURN(arena_,
                          device_.allocate(program_.arena_bytes + kSlackBytes, "activations"));
  PLATEN_ASSIGN_OR_RETURN(
      step_memory_, device_.allocate(exec::StepBuffer::maxBytes(manifest_.limits), "step inputs"));
  step_ = std::make_unique<exec::StepBuffer>(manifest_.limits, step_memory_->address());
  for (const plan::Cache &cache : program_.caches) {
    PLATEN_ASSIGN_OR_RETURN(
        const uint64_t bytes,
        base::checkedMul<uint64_t>(plan::pageBytes(manifest_.limits, cache), pages, "KV pages"));
    PLATEN_ASSIGN_OR_RETURN(caches_.emplace_back(), device_.allocate(bytes, "KV pages"));
  }
  return Status::ok();
}

device::Operand Machine::locate(const plan::Operand &operand) const {
  switch (operand.kind) {
  case plan::OperandKind::kBuffer: {
    const plan::Buffer &buffer = program_.buffers[operand.index];
    return {arena_->at(buffer.arena_offset),
            plan::extentLimit(manifest_.limits, buffer.extent) * buffer.row_bytes};
  }
  case plan::OperandKind::kWeight: {
    const plan::Weight &weight = manifest_.weights[operand.index];
    return {weights_->at(weight.offset), weight.bytes};
  }
  case plan::OperandKind::kCache:
    return {caches_[operand.index]->address(), caches_[operand.index]->bytes()};
  }
  return {};
}

Status Machine::begin(const exec::StepInputs &inputs) {
  PLATEN_RETURN_IF_ERROR(exec::checkInputs(inputs, manifest_, program_.caches, pages_));
  extents_ = {static_cast<int64_t>(inputs.token_ids.size()),
              static_cast<int64_t>(inputs.row_tokens.size()), inputs.sequences};
  return device_.upload(*step_memory_, 0, step_->fill(inputs));
}

std::optional<uint32_t> Machine::choice(size_t index) const {
  const plan::Launch &launch = program_.launches[index];
  const int64_t extent = extents_[launch.extent];
  if (extent == 0)
    return std::nullopt;
  const auto variant = std::find_if(
      launch.variants.begin(), launch.variants.end() - 1,
      [&](const plan::Variant &one) { return static_cast<uint64_t>(extent) <= one.max_extent; });
  return variant->kernel;
}

Result<device::Launch> Machine::prepare(size_t index, uint32_t kernel) {
  const plan::Launch &launch = program_.launches[index];
  auto &bound = bound_[{index, kernel}];
  if (bound == nullptr) {
    std::vector<device::Operand> operands{{step_memory_->address(), step_memory_->bytes()}};
    for (const plan::Operand &operand : launch.operands)
      operands.push_back(locate(operand));
    PLATEN_ASSIGN_OR_RETURN(bound, device_.bind(code_->kernel(kernel), operands));
  }
  plan::Units units; // CUDA kernels count for themselves
  for (const plan::Variant &variant : launch.variants) {
    units = variant.units;
    if (static_cast<uint64_t>(extents_[launch.extent]) <= variant.max_extent)
      break;
  }
  return device::Launch{bound.get(), extents_, units.count(extents_)};
}

Status Machine::run(size_t index, uint32_t kernel) {
  PLATEN_ASSIGN_OR_RETURN(const device::Launch launch, prepare(index, kernel));
  PLATEN_RETURN_IF_ERROR(device_.launch(launch));
  return device_.synchronize();
}

uint64_t Machine::bufferBytes(uint32_t buffer) const {
  const plan::Buffer &rows = program_.buffers[buffer];
  return static_cast<uint64_t>(extents_[rows.extent]) * rows.row_bytes;
}

Result<Bytes> Machine::readBuffer(uint32_t buffer) {
  PLATEN_ASSIGN_OR_RETURN(
      auto view, device_.read(*arena_, program_.buffers[buffer].arena_offset, bufferBytes(buffer)));
  return Bytes(view.begin(), view.end());
}

Status Machine::writeBuffer(uint32_t buffer, std::span<const std::byte> bytes) {
  return device_.upload(*arena_, program_.buffers[buffer].arena_offset, bytes);
}

Result<Bytes> Machine::readCache(uint32_t cache) {
  PLATEN_ASSIGN_OR_RETURN(auto view, device_.read(*caches_[cache], 0, caches_[cache]->bytes()));
  return Bytes(view.begin(), view.end());
}

Status Machine::writeCache(uint32_t cache, std::span<const std::byte> bytes) {
  return device_.upload(*caches_[cache], 0, bytes);
}

} // namespace platen::tune
