// Kernels in a plan, run by platen's own runtime on the first device of a CUDA driver. What the
// simulator's core sees by itself (reads of what nobody wrote, races) does not show here; outputs
// begin as 0xff, so that bytes which nobody wrote come back as they do from the simulator.
#include "compiler/emit/cuda/plan_code.h"
#include "kernels/cuda/abi.h"
#include "runtime/device/cuda/cuda_device.h"
#include "runtime/plan/reader.h"
#include "tests/conformance/mutant.h"
#include "tests/conformance/runner.h"

#include <cstring>
#include <filesystem>
#include <unistd.h>

namespace platen::conformance {

using base::Status;
using kernels::CudaKernelInfo;
using kernels::OperandInfo;
using kernels::harness::must;
using kernels::harness::Step;

namespace {

device::CudaDevice &theDevice() {
  static const std::unique_ptr<device::CudaDevice> device = must(device::CudaDevice::open());
  return *device;
}

/// A plan that can do nothing but hold kernels.
Status writePlan(const std::string &path, const kernels::CudaArchitecture &architecture,
                 const std::vector<const CudaKernelInfo *> &kernels,
                 const std::vector<compiler::CudaCode> &code) {
  PLATEN_ASSIGN_OR_RETURN(plan::PlanWriter writer, plan::PlanWriter::create(path));
  plan::Manifest manifest;
  manifest.producer = "conformance";
  manifest.limits = {1 << 20, 1 << 16, 1 << 16, 64, 16};
  manifest.model.vocabulary = 1;
  plan::DeviceProgram program;
  program.device = plan::kCudaDevice;
  program.arena_bytes = uint64_t{4} * manifest.limits.step_rows;
  program.buffers = {{"logits", plan::Extent::kRows, 4, 0}};
  for (const CudaKernelInfo *kernel : kernels) {
    PLATEN_ASSIGN_OR_RETURN(program.kernels.emplace_back(), compiler::planKernel(*kernel));
  }
  manifest.programs = {program};
  std::vector<std::string> images;
  for (const compiler::CudaCode &one : code)
    images.push_back(one.image);
  PLATEN_ASSIGN_OR_RETURN(manifest.targets.emplace_back(),
                          compiler::writeCudaCode(writer, std::string(architecture.name), images));
  return writer.finish(std::move(manifest));
}

/// A loaded plan; its file is gone once it is mapped.
class Loaded {
public:
  static base::Result<std::unique_ptr<Loaded>> create(const std::string &path) {
    PLATEN_ASSIGN_OR_RETURN(plan::Plan plan, plan::Plan::load(path));
    auto loaded = std::unique_ptr<Loaded>(new Loaded(std::move(plan)));
    PLATEN_ASSIGN_OR_RETURN(const uint32_t target, theDevice().chooseTarget(loaded->plan_));
    PLATEN_ASSIGN_OR_RETURN(loaded->program_, theDevice().loadCode(loaded->plan_, target));
    return loaded;
  }
  device::Program &program() { return *program_; }

private:
  explicit Loaded(plan::Plan plan) : plan_(std::move(plan)) {}
  plan::Plan plan_;
  std::unique_ptr<device::Program> program_;
};

/// Device memory of one launch.
class Arena {
public:
  device::Operand copyOf(const void *bytes, size_t size) {
    const device::Operand operand = allocate(size);
    if (size != 0)
      must(theDevice().upload(*memory_.back(), 0, {static_cast<const std::byte *>(bytes), size}));
    return operand;
  }
  device::Operand unwritten(size_t size) {
    const std::vector<uint8_t> fill(size, 0xff);
    return copyOf(fill.data(), size);
  }
  device::Operand step(const Step &step) {
    PlatenCudaStep abi{
        step.tokens, step.rows, step.sequenceCount, step.pageTableStride, nullptr, nullptr, nullptr,
        nullptr,     nullptr};
    abi.token_ids = ints(step.tokenIds), abi.positions = ints(step.positions);
    abi.sequence_of_token = ints(step.sequences), abi.row_tokens = ints(step.rowTokens);
    abi.page_table = ints(step.pageTable);
    return copyOf(&abi, sizeof abi);
  }
  void readBack(device::Operand from, const kernels::harness::Buffer &to) {
    for (const auto &memory : memory_)
      if (memory->address() == from.address && to.bytes() != 0)
        std::memcpy(to.data(), must(theDevice().read(*memory, 0, to.bytes())).data(), to.bytes());
  }

private:
  static void must(const Status &status) {
    if (!status.isOk())
      kernels::harness::die(status.toString());
  }
  template <typename T> static T must(base::Result<T> result) {
    return kernels::harness::must(std::move(result));
  }
  device::Operand allocate(size_t size) {
    memory_.push_back(must(theDevice().allocate(std::max<size_t>(size, 1), "an operand")));
    return {memory_.back()->address(), size};
  }
  const int *ints(const std::vector<int32_t> &values) {
    return static_cast<const int *>(copyOf(values.data(), values.size() * 4).address);
  }
  std::vector<std::unique_ptr<device::Memory>> memory_;
};

class DriverRunner : public Runner {
public:
  std::string compiledFor(const kernels::CudaArchitecture &architecture) const override {
    architecture_ = &architecture;
    return std::string(architecture.name);
  }
  std::string load(const std::vector<const CudaKernelInfo *> &kernels,
                   const std::vector<compiler::CudaCode> &code) override {
    if (Mutant::requested() != nullptr)
      return "mutants run on the simulator's core alone";
    if (kernels.empty())
      return "";
    const std::string path = (std::filesystem::temp_directory_path() /
                              ("platen-conformance-" + std::to_string(::getpid()) + ".plan"))
                                 .string();
    if (Status status = writePlan(path, *architecture_, kernels, code); !status.isOk())
      return status.toString();
    auto loaded = Loaded::create(path);
    std::filesystem::remove(path);
    if (!loaded.isOk())
      return loaded.status().toString();
    for (size_t i = 0; i < kernels.size(); ++i)
      kernels_[kernels[i]->name] = {loaded->get(), static_cast<uint32_t>(i)};
    loaded_.push_back(std::move(*loaded));
    return "";
  }
  bool has(const std::string &kernel) const override { return kernels_.contains(kernel); }
  std::string run(const CudaKernelInfo &kernel, const Step &step,
                  const std::vector<BufferPtr> &operands, const KernelSet::Run &how) override {
    Arena arena;
    std::map<const kernels::harness::Buffer *, device::Operand> places; // one may stand twice
    for (const bool isOutput : {false, true}) // what is also read begins with its content
      for (size_t i = 0; i < operands.size(); ++i) {
        const kernels::harness::Buffer &buffer = *operands[i];
        if ((kernel.operands[i].role == OperandInfo::Role::kOutput) != isOutput ||
            places.contains(&buffer))
          continue;
        places[&buffer] = isOutput ? arena.unwritten(buffer.bytes())
                                   : arena.copyOf(buffer.data(), buffer.bytes());
      }
    std::vector<device::Operand> table = {arena.step(step)};
    for (const BufferPtr &operand : operands)
      table.push_back(places[operand.get()]);
    const LaunchExtent extent = extentOf(kernel, step, how.order);
    if (Status status = launch(kernel, table, extent); !status.isOk())
      return kernel.name + ": " + status.toString() + " (" + how.order.name + ", extent " +
             std::to_string(extent.actual) + ")";
    for (size_t i = 0; i < operands.size(); ++i)
      if (const OperandInfo::Role role = kernel.operands[i].role;
          role == OperandInfo::Role::kOutput || role == OperandInfo::Role::kCache)
        arena.readBack(places[operands[i].get()], *operands[i]);
    return "";
  }

private:
  struct Place {
    Loaded *plan = nullptr;
    uint32_t index = 0;
  };
  Status launch(const CudaKernelInfo &kernel, std::span<const device::Operand> operands,
                LaunchExtent extent) {
    const Place place = kernels_.at(kernel.name);
    PLATEN_ASSIGN_OR_RETURN(auto bound,
                            theDevice().bind(place.plan->program().kernel(place.index), operands));
    const auto size = static_cast<int64_t>(extent.grid);
    PLATEN_RETURN_IF_ERROR(theDevice().launch(
        {.kernel = bound.get(), .extents = {size, size, 1}, .units = size == 0 ? 0 : 1}));
    return theDevice().synchronize();
  }

  mutable const kernels::CudaArchitecture *architecture_ = nullptr;
  std::vector<std::unique_ptr<Loaded>> loaded_;
  std::map<std::string, Place> kernels_;
};

} // namespace

std::vector<std::string> architecturesOfDevice() {
  const uint32_t capability = theDevice().report().capability;
  std::string code, ptx; // they stand in ascending order
  for (const kernels::CudaArchitecture &architecture : kernels::kCudaArchitectures)
    if (plan::parseCudaArchitecture(architecture.name)->runsOn(capability))
      (architecture.isPtx ? ptx : code) = architecture.name;
  std::vector<std::string> names;
  for (const std::string &name : {code, ptx})
    if (!name.empty())
      names.push_back(name);
  return names;
}

std::unique_ptr<Runner> makeDriverRunner() { return std::make_unique<DriverRunner>(); }

} // namespace platen::conformance
