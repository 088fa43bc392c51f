// The PTX of plans' images, executed by the simulator's core with all its checks.
#include "tests/conformance/runner.h"

#include "kernels/cuda/abi.h"
#include "tests/conformance/image_ptx.h"
#include "tests/conformance/mutant.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <array>
#include <cstring>
#include <gtest/gtest.h>

namespace platen::conformance {

using kernels::CudaGridDimension;
using kernels::CudaKernelInfo;
using kernels::CudaPhase;
using kernels::CudaTensorMap;
using kernels::Extent;
using kernels::OperandInfo;
using kernels::harness::Step;

namespace {

/// One launch's memory: copies of its operands, the step, the workspace.
class Arena {
public:
  ptxsim::Memory &memory() { return memory_; }

  uint64_t allocate(size_t bytes) {
    return kernels::harness::must(memory_.allocate(std::max<size_t>(bytes, 1), 0));
  }
  uint64_t copyOf(const void *bytes, size_t size) {
    const uint64_t address = allocate(size);
    if (size != 0)
      check(memory_.write(address, bytes, size));
    return address;
  }
  template <typename T> const T *copyOf(const std::vector<T> &values) {
    return reinterpret_cast<const T *>(copyOf(values.data(), values.size() * sizeof(T)));
  }
  uint64_t step(const Step &step) {
    const PlatenCudaStep abi{step.tokens,
                             step.rows,
                             step.sequenceCount,
                             step.pageTableStride,
                             copyOf(step.tokenIds),
                             copyOf(step.positions),
                             copyOf(step.sequences),
                             copyOf(step.rowTokens),
                             copyOf(step.pageTable)};
    return copyOf(&abi, sizeof abi);
  }
  /// Elements that are NaN stay uninitialised.
  uint64_t cache(const kernels::harness::Buffer &buffer, unsigned elementBytes) {
    const uint64_t address = allocate(buffer.bytes());
    for (size_t at = 0; at < buffer.bytes(); at += elementBytes)
      if (!isNan(buffer.data() + at, elementBytes))
        check(memory_.write(address + at, buffer.data() + at, elementBytes));
    return address;
  }
  /// What was written comes back, the rest as 0xff.
  void readBack(uint64_t address, const kernels::harness::Buffer &to, unsigned step) {
    std::memset(to.data(), 0xff, to.bytes());
    if (kernels::harness::must(memory_.isInitialised(address, std::max<size_t>(to.bytes(), 1)))) {
      check(memory_.read(address, to.data(), to.bytes()));
      return;
    }
    for (size_t at = 0; at < to.bytes(); at += step)
      if (kernels::harness::must(memory_.isInitialised(address + at, step)))
        check(memory_.read(address + at, to.data() + at, step));
  }

private:
  static bool isNan(const uint8_t *at, unsigned elementBytes) {
    if (elementBytes == 2) {
      uint16_t bits = 0;
      std::memcpy(&bits, at, 2);
      return (bits & 0x7fffU) > 0x7f80U;
    }
    float value = 0;
    std::memcpy(&value, at, 4);
    return std::isnan(value);
  }
  static void check(const base::Status &status) {
    if (!status.isOk())
      kernels::harness::die(status.toString());
  }
  ptxsim::Memory memory_;
};

/// As the runtime does when it loads a plan, with the simulator's encoding.
base::Result<std::array<std::byte, ptxsim::kTensorMapBytes>>
encode(const CudaTensorMap &map, uint64_t address, uint64_t bytes) {
  using Element = CudaTensorMap::Element;
  ptxsim::TensorMap tensor;
  tensor.type = map.element == Element::kU8    ? ptxsim::TensorType::kU8
                : map.element == Element::kU32 ? ptxsim::TensorType::kU32
                : map.element == Element::kF32 ? ptxsim::TensorType::kF32
                                               : ptxsim::TensorType::kBF16;
  tensor.rank = static_cast<uint32_t>(map.dimensions.size());
  tensor.address = address + map.offsetBytes;
  for (size_t i = 0; i < map.dimensions.size(); ++i) {
    const CudaTensorMap::Dimension &dimension = map.dimensions[i];
    tensor.extent[i] =
        dimension.size != 0 ? dimension.size : (bytes - map.offsetBytes) / dimension.strideBytes;
    tensor.stride[i] = dimension.strideBytes;
    tensor.box[i] = dimension.box;
  }
  tensor.swizzle = static_cast<ptxsim::Swizzle>(map.swizzle);
  std::array<std::byte, ptxsim::kTensorMapBytes> encoded{};
  PLATEN_RETURN_IF_ERROR(ptxsim::encodeTensorMap(tensor, encoded));
  return encoded;
}

struct Parameters {
  std::vector<uint64_t> values;
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(values.size() * 8);
    std::memcpy(all.data(), values.data(), all.size());
    return all;
  }
};

std::string launch(const ptxsim::LoadedModule &module, const ptxsim::Memory &memory,
                   const CudaPhase &phase, uint64_t extent, const Parameters &parameters,
                   const KernelSet::Run &how) {
  ptxsim::Launch what;
  what.kernel = phase.entry;
  auto blocks = [&](const CudaGridDimension &dimension) {
    return static_cast<uint32_t>(dimension.blocks(extent));
  };
  what.grid = {blocks(phase.gridX), blocks(phase.gridY), blocks(phase.gridZ)};
  if (what.grid.count() == 0)
    return "";
  what.block = {phase.threads, 1, 1};
  what.cluster = {phase.clusterX, 1, 1};
  what.dynamicSharedBytes = phase.dynamicSharedBytes;
  const std::vector<std::byte> bytes = parameters.bytes();
  what.parameters = bytes;
  ptxsim::Options options;
  options.asyncOrder = how.order.async;
  options.seed = how.order.seed;
  options.counters = how.counters != nullptr;
  // What lanes and blocks race for does not depend on when copies complete: one order is enough.
  options.checkLaneRaces = options.checkGlobalRaces =
      how.order.async == ptxsim::AsyncOrder::kLatest;
  if (Mutant::requested() != nullptr)
    options.warpInstructionLimit = Mutant::kHangLimit;
  auto report = ptxsim::run(module, memory, what, options);
  if (!report.isOk())
    return phase.entry + ": " + report.status().toString();
  if (report.value().violation)
    return phase.entry + ": " + report.value().violation->toString();
  if (how.counters != nullptr)
    how.counters->add(report.value().counters);
  return "";
}

class SimulatorRunner : public Runner {
public:
  std::string compiledFor(const kernels::CudaArchitecture &architecture) const override {
    // The virtual architecture of the same name gives the same PTX without machine code.
    const std::string name(architecture.name);
    return architecture.isPtx ? name : "compute_" + name.substr(3);
  }
  std::string load(const std::vector<const CudaKernelInfo *> &kernels,
                   const std::vector<compiler::CudaCode> &code) override {
    for (size_t i = 0; i < kernels.size(); ++i) {
      auto module = ptxsim::Module::parse(ptxOf(code[i].image));
      if (!module.isOk())
        return code[i].name + ": " + module.status().toString();
      for (const ptxsim::KernelInfo &kernel : module.value()->kernels())
        if (!kernel.refusals.empty())
          return kernel.name + ": " + kernel.refusals.front().toString();
      modules_[kernels[i]->name] = std::move(module).value();
    }
    return "";
  }
  bool has(const std::string &kernel) const override { return modules_.contains(kernel); }
  std::string run(const CudaKernelInfo &kernel, const Step &step,
                  const std::vector<BufferPtr> &operands, const KernelSet::Run &how) override;

private:
  std::map<std::string, std::shared_ptr<const ptxsim::Module>> modules_; // by kernel's name
};

std::string SimulatorRunner::run(const CudaKernelInfo &kernel, const Step &step,
                                 const std::vector<BufferPtr> &operands,
                                 const KernelSet::Run &how) {
  Arena arena;
  Parameters parameters{{arena.step(step)}};
  std::map<const kernels::harness::Buffer *, uint64_t> places; // an operand may stand twice
  for (const bool isOutput : {false, true}) // what is also read begins with its content
    for (size_t i = 0; i < operands.size(); ++i) {
      const OperandInfo::Role role = kernel.operands[i].role;
      const kernels::harness::Buffer &buffer = *operands[i];
      if ((role == OperandInfo::Role::kOutput) != isOutput || places.contains(&buffer))
        continue;
      places[&buffer] = isOutput ? arena.allocate(buffer.bytes())
                        : role == OperandInfo::Role::kCache
                            ? arena.cache(buffer, how.cacheElementBytes)
                            : arena.copyOf(buffer.data(), buffer.bytes());
    }
  for (const BufferPtr &operand : operands)
    parameters.values.push_back(places[operand.get()]);
  uint64_t workspace = 0;
  if (kernel.workspaceBytes != 0)
    parameters.values.push_back(workspace = arena.allocate(kernel.workspaceBytes));
  for (const CudaTensorMap &map : kernel.tensorMaps) {
    const bool own = map.operand == CudaTensorMap::kWorkspace;
    auto encoded = encode(map, own ? workspace : places[operands[map.operand].get()],
                          own ? kernel.workspaceBytes : operands[map.operand]->bytes());
    if (!encoded.isOk())
      return kernel.name + ": " + encoded.status().toString();
    parameters.values.push_back(arena.copyOf(encoded.value().data(), encoded.value().size()));
  }
  auto loaded = ptxsim::LoadedModule::load(modules_.at(kernel.name), arena.memory(), 0);
  if (!loaded.isOk())
    return kernel.name + ": " + loaded.status().toString();
  const LaunchExtent extent = extentOf(kernel, step, how.order);
  for (const CudaPhase &phase : kernel.phases)
    if (std::string why =
            launch(*loaded.value(), arena.memory(), phase, extent.grid, parameters, how);
        !why.empty())
      return why + " (" + how.order.name + ", extent " + std::to_string(extent.actual) + ")";
  for (size_t i = 0; i < operands.size(); ++i) {
    const OperandInfo::Role role = kernel.operands[i].role;
    if (role == OperandInfo::Role::kOutput)
      arena.readBack(places[operands[i].get()], *operands[i], 1);
    else if (role == OperandInfo::Role::kCache)
      arena.readBack(places[operands[i].get()], *operands[i], how.cacheElementBytes);
  }
  return "";
}

} // namespace

std::unique_ptr<Runner> makeSimulatorRunner() { return std::make_unique<SimulatorRunner>(); }

} // namespace platen::conformance
