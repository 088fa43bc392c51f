// See simulated_plan.h.
#include "tests/end_to_end/simulated_plan.h"

#include "kernels/cuda/abi.h"
#include "tests/conformance/image_ptx.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <algorithm>
#include <array>

namespace platen::end_to_end {

using base::Result;
using base::Status;
using plan::Extents;
using plan::Units;

namespace {

uint64_t roundUp(uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

/// A copy of the values in simulated memory.
Result<uint64_t> upload(ptxsim::Memory &memory, const void *bytes, size_t size) {
  PLATEN_ASSIGN_OR_RETURN(const uint64_t address, memory.allocate(std::max<size_t>(size, 4), 0));
  if (size != 0)
    PLATEN_RETURN_IF_ERROR(memory.write(address, bytes, size));
  return address;
}

ptxsim::TensorType typeOf(plan::TensorElement element) {
  switch (element) {
  case plan::TensorElement::kU8:
    return ptxsim::TensorType::kU8;
  case plan::TensorElement::kU16:
    return ptxsim::TensorType::kU16;
  case plan::TensorElement::kU32:
    return ptxsim::TensorType::kU32;
  case plan::TensorElement::kF16:
    return ptxsim::TensorType::kF16;
  case plan::TensorElement::kF32:
    return ptxsim::TensorType::kF32;
  case plan::TensorElement::kBF16:
    return ptxsim::TensorType::kBF16;
  }
  return ptxsim::TensorType::kU8;
}

/// Arrays of a step or a launch, freed when it ends.
class StepArrays {
public:
  explicit StepArrays(ptxsim::Memory &memory) : memory_(memory) {}
  StepArrays(const StepArrays &) = delete;
  StepArrays &operator=(const StepArrays &) = delete;
  ~StepArrays() {
    for (uint64_t address : addresses_)
      (void)memory_.free(address);
  }
  Result<const int *> add(const std::vector<int32_t> &values) {
    PLATEN_ASSIGN_OR_RETURN(addresses_.emplace_back(),
                            upload(memory_, values.data(), values.size() * 4));
    return reinterpret_cast<const int *>(addresses_.back());
  }
  /// The map's 128 bytes, in the simulator's encoding.
  Result<uint64_t> add(const plan::TensorMap &map, uint64_t address, uint64_t bytes) {
    PLATEN_ASSIGN_OR_RETURN(const auto dimensions, plan::resolveDimensions(map, bytes));
    ptxsim::TensorMap tensor;
    tensor.type = typeOf(map.element);
    tensor.rank = static_cast<uint32_t>(dimensions.size());
    tensor.address = address + map.offset_bytes;
    for (size_t i = 0; i < dimensions.size(); ++i) {
      tensor.extent[i] = dimensions[i].size;
      tensor.stride[i] = dimensions[i].stride_bytes;
      tensor.box[i] = dimensions[i].box;
    }
    tensor.swizzle = static_cast<ptxsim::Swizzle>(map.swizzle);
    std::array<std::byte, ptxsim::kTensorMapBytes> encoded{};
    PLATEN_RETURN_IF_ERROR(ptxsim::encodeTensorMap(tensor, encoded));
    PLATEN_ASSIGN_OR_RETURN(addresses_.emplace_back(),
                            upload(memory_, encoded.data(), encoded.size()));
    return addresses_.back();
  }
  Result<uint64_t> add(const PlatenCudaStep &step) {
    PLATEN_ASSIGN_OR_RETURN(addresses_.emplace_back(), upload(memory_, &step, sizeof step));
    return addresses_.back();
  }

private:
  ptxsim::Memory &memory_;
  std::vector<uint64_t> addresses_;
};

/// The sequences one after the other, every token a row.
struct Flat {
  std::vector<int32_t> tokens, positions, owners, rows, pages;
  size_t stride = 1;
  explicit Flat(const std::vector<StepRunner::Sequence> &sequences) {
    for (const StepRunner::Sequence &sequence : sequences)
      stride = std::max(stride, sequence.pages.size());
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (size_t i = 0; i < sequences[s].tokens.size(); ++i) {
        rows.push_back(static_cast<int32_t>(tokens.size()));
        tokens.push_back(sequences[s].tokens[i]);
        positions.push_back(sequences[s].start + static_cast<int32_t>(i));
        owners.push_back(static_cast<int32_t>(s));
      }
      std::vector<int32_t> row = sequences[s].pages;
      row.resize(stride, -1);
      pages.insert(pages.end(), row.begin(), row.end());
    }
  }
};

} // namespace

Result<std::unique_ptr<SimulatedPlan>>
SimulatedPlan::load(const std::filesystem::path &path, const std::string &target, uint32_t pages) {
  PLATEN_ASSIGN_OR_RETURN(plan::Plan plan, plan::Plan::load(path.string()));
  std::unique_ptr<SimulatedPlan> loaded(new SimulatedPlan(std::move(plan)));
  for (const plan::CodeTarget &code : loaded->plan_.manifest().targets) {
    if (code.name != target)
      continue;
    loaded->program_ = code.program;
    PLATEN_RETURN_IF_ERROR(loaded->loadImages(code));
    PLATEN_RETURN_IF_ERROR(loaded->allocate(pages));
    return loaded;
  }
  return base::notFound("the plan has no target " + target, path.string());
}

Status SimulatedPlan::loadImages(const plan::CodeTarget &target) {
  const std::span<const std::byte> section = plan_.section(target.section);
  for (size_t i = 0; i < program().kernels.size(); ++i) {
    const auto image = section.subspan(target.entry_offsets[i], target.entry_bytes[i]);
    auto module = ptxsim::Module::parse(
        conformance::ptxOf({reinterpret_cast<const char *>(image.data()), image.size()}));
    if (!module.isOk())
      return module.status().at(program().kernels[i].name);
    PLATEN_ASSIGN_OR_RETURN(modules_.emplace_back(),
                            ptxsim::LoadedModule::load(*module, memory_, 0));
  }
  return Status::ok();
}

Status SimulatedPlan::allocate(uint32_t pages) {
  pages_ = pages;
  const std::span<const std::byte> weights = plan_.weights();
  PLATEN_ASSIGN_OR_RETURN(weights_, upload(memory_, weights.data(), weights.size()));
  PLATEN_ASSIGN_OR_RETURN(arena_, memory_.allocate(program().arena_bytes + 64, 0));
  uint64_t workspace = 256;
  for (const plan::Kernel &kernel : program().kernels)
    workspace = std::max(workspace, kernel.scratch_bytes);
  PLATEN_ASSIGN_OR_RETURN(workspace_, memory_.allocate(workspace, 0));
  for (const plan::Cache &cache : program().caches) {
    PLATEN_ASSIGN_OR_RETURN(
        caches_.emplace_back(),
        memory_.allocate(roundUp(plan::pageBytes(plan_.manifest().limits, cache) * pages), 0));
  }
  return Status::ok();
}

uint64_t SimulatedPlan::addressOf(const plan::Operand &operand) const {
  switch (operand.kind) {
  case plan::OperandKind::kBuffer:
    return arena_ + program().buffers[operand.index].arena_offset;
  case plan::OperandKind::kWeight:
    return weights_ + plan_.manifest().weights[operand.index].offset;
  case plan::OperandKind::kCache:
    return caches_[operand.index];
  }
  return 0;
}

uint64_t SimulatedPlan::bytesOf(const plan::Operand &operand) const {
  const plan::Manifest &manifest = plan_.manifest();
  switch (operand.kind) {
  case plan::OperandKind::kBuffer: {
    const plan::Buffer &buffer = program().buffers[operand.index];
    return plan::extentLimit(manifest.limits, buffer.extent) * buffer.row_bytes;
  }
  case plan::OperandKind::kWeight:
    return manifest.weights[operand.index].bytes;
  case plan::OperandKind::kCache:
    return plan::pageBytes(manifest.limits, program().caches[operand.index]) * pages_;
  }
  return 0;
}

Status SimulatedPlan::runPhase(uint32_t kernel, const plan::Phase &phase, const Extents &extents,
                               std::span<const uint64_t> parameters) {
  ptxsim::Launch launch;
  launch.kernel = phase.entry;
  auto blocks = [&](const Units &units) { return static_cast<uint32_t>(units.count(extents)); };
  launch.grid = {blocks(phase.grid_x), blocks(phase.grid_y), blocks(phase.grid_z)};
  launch.block = {phase.threads, 1, 1};
  launch.cluster = {phase.cluster_x, phase.cluster_y, phase.cluster_z};
  launch.dynamicSharedBytes = phase.dynamic_shared_bytes;
  launch.parameters = std::as_bytes(parameters);
  ptxsim::Options options;
  options.asyncOrder = order_;
  options.seed = seed_;
  PLATEN_ASSIGN_OR_RETURN(const ptxsim::Report report,
                          ptxsim::run(*modules_[kernel], memory_, launch, options));
  warpInstructions_ += report.counters.warpInstructions;
  if (report.violation)
    return base::internalError(report.violation->toString());
  return Status::ok();
}

Status SimulatedPlan::launch(const plan::Launch &launch, const Extents &extents, uint64_t step) {
  const auto extent = static_cast<uint64_t>(extents[launch.extent]);
  if (extent == 0)
    return Status::ok();
  const auto variant =
      std::find_if(launch.variants.begin(), launch.variants.end() - 1,
                   [&](const plan::Variant &one) { return extent <= one.max_extent; });
  uint32_t index = variant->kernel;
  if (rank_ != 0 && !variant->alternatives.empty())
    index = variant->alternatives[std::min(rank_, variant->alternatives.size()) - 1];
  const plan::Kernel &kernel = program().kernels[index];
  std::vector<uint64_t> parameters = {step};
  for (const plan::Operand &operand : launch.operands)
    parameters.push_back(addressOf(operand));
  if (kernel.scratch_bytes != 0)
    parameters.push_back(workspace_);
  StepArrays maps(memory_);
  for (const plan::TensorMap &map : kernel.cuda->tensor_maps) {
    const bool own = map.operand == plan::TensorMap::kWorkspace;
    PLATEN_ASSIGN_OR_RETURN(
        parameters.emplace_back(),
        maps.add(map, own ? workspace_ : addressOf(launch.operands[map.operand]),
                 own ? kernel.scratch_bytes : bytesOf(launch.operands[map.operand])));
  }
  for (const plan::Phase &phase : kernel.cuda->phases) {
    Status status = runPhase(index, phase, extents, parameters);
    if (!status.isOk())
      return status.at(launch.name);
  }
  return Status::ok();
}

Result<std::vector<float>> SimulatedPlan::run(const std::vector<StepRunner::Sequence> &sequences) {
  const Flat flat(sequences);
  StepArrays arrays(memory_);
  PlatenCudaStep abi{};
  abi.tokens = static_cast<int64_t>(flat.tokens.size()), abi.rows = abi.tokens;
  abi.sequences = static_cast<int64_t>(sequences.size());
  abi.page_table_stride = static_cast<int64_t>(flat.stride);
  PLATEN_ASSIGN_OR_RETURN(abi.token_ids, arrays.add(flat.tokens));
  PLATEN_ASSIGN_OR_RETURN(abi.positions, arrays.add(flat.positions));
  PLATEN_ASSIGN_OR_RETURN(abi.sequence_of_token, arrays.add(flat.owners));
  PLATEN_ASSIGN_OR_RETURN(abi.row_tokens, arrays.add(flat.rows));
  PLATEN_ASSIGN_OR_RETURN(abi.page_table, arrays.add(flat.pages));
  PLATEN_ASSIGN_OR_RETURN(const uint64_t step, arrays.add(abi));
  // What another step left in the arena is nothing that this one may compute with.
  PLATEN_RETURN_IF_ERROR(memory_.poison(arena_, program().arena_bytes));
  const Extents extents{abi.tokens, abi.rows, abi.sequences};
  for (const plan::Launch &one : program().launches)
    PLATEN_RETURN_IF_ERROR(launch(one, extents, step));
  std::vector<float> logits(flat.rows.size() * plan_.manifest().model.vocabulary);
  PLATEN_RETURN_IF_ERROR(
      memory_.read(addressOf({plan::OperandKind::kBuffer, program().logits_buffer}), logits.data(),
                   logits.size() * 4));
  return logits;
}

} // namespace platen::end_to_end
