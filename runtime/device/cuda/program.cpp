// Modules, functions, parameters.
#include "runtime/device/cuda/program.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/checked.h"

namespace platen::device::cuda {
namespace {

using base::Result;
using base::Status;

constexpr uint32_t kPortableClusterBlocks = 8;
constexpr int kDefaultSharedBytes = 48 << 10;
constexpr size_t kLogBytes = 8 << 10;
constexpr uint64_t kMapChunkBytes = 64 << 10;

/// The driver reads as far as an image says that it goes; this is whether that is inside its bytes.
Status checkImage(std::span<const std::byte> image) {
  auto number = [&](size_t offset, auto value) {
    std::memcpy(&value, image.data() + offset, sizeof value);
    return value;
  };
  constexpr uint32_t kFatBinary = 0xba55ed50, kElf = 0x464c457f;
  if (image.size() >= 16 && number(0, uint32_t{}) == kFatBinary) {
    // Magic, u16 version, u16 bytes of this header, u64 bytes behind it.
    if (!base::fitsInside(number(6, uint16_t{}), number(8, uint64_t{}), image.size()))
      return base::corrupt("a fat binary is longer than its image");
    return Status::ok();
  }
  constexpr size_t kElfHeaderBytes = 64;
  if (image.size() >= kElfHeaderBytes && number(0, uint32_t{}) == kElf) {
    // Section and program headers: offset, size of one, how many.
    uint64_t sections = uint64_t{number(58, uint16_t{})} * number(60, uint16_t{});
    uint64_t programs = uint64_t{number(54, uint16_t{})} * number(56, uint16_t{});
    if (!base::fitsInside(number(40, uint64_t{}), sections, image.size()) ||
        !base::fitsInside(number(32, uint64_t{}), programs, image.size()))
      return base::corrupt("a cubin is longer than its image");
    return Status::ok();
  }
  if (image.back() != std::byte{0})
    return base::corrupt(
        "an image is no fat binary and no cubin, and as PTX it must end with a NUL");
  return Status::ok();
}

unsigned blocks(const plan::Units &grid, const plan::Extents &extents) {
  return static_cast<unsigned>(grid.count(extents));
}

CUtensorMapDataType typeOf(plan::TensorElement element) {
  switch (element) {
  case plan::TensorElement::kU8:
    return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  case plan::TensorElement::kU16:
    return CU_TENSOR_MAP_DATA_TYPE_UINT16;
  case plan::TensorElement::kU32:
    return CU_TENSOR_MAP_DATA_TYPE_UINT32;
  case plan::TensorElement::kF16:
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  case plan::TensorElement::kF32:
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  case plan::TensorElement::kBF16:
    return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  }
  return CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

} // namespace

CudaBoundKernel::CudaBoundKernel(Context &context, const plan::CudaKernel &kernel,
                                 const std::vector<CUfunction> &functions,
                                 std::vector<CUdeviceptr> parameters, CudaProgram &program)
    : context_(context), kernel_(kernel), functions_(functions), program_(program),
      maps_(kernel.tensor_maps.size()), parameters_(std::move(parameters)) {
  for (CUdeviceptr &parameter : parameters_)
    pointers_.push_back(&parameter);
}

CudaBoundKernel::~CudaBoundKernel() {
  // Tensor maps are the last parameters.
  program_.takeBack(std::span(parameters_).last(maps_));
}

Status CudaBoundKernel::launch(const plan::Extents &extents) const {
  for (size_t i = 0; i < functions_.size(); ++i)
    PLATEN_RETURN_IF_ERROR(launchPhase(i, extents));
  return Status::ok();
}

Status CudaBoundKernel::launchPhase(size_t index, const plan::Extents &extents) const {
  const plan::Phase &phase = kernel_.phases[index];
  unsigned x = blocks(phase.grid_x, extents), y = blocks(phase.grid_y, extents),
           z = blocks(phase.grid_z, extents);
  if (x == 0 || y == 0 || z == 0) // an extent of 0: nothing to do
    return Status::ok();
  CUresult result = 0;
  if (phase.hasCluster()) {
    CUlaunchAttribute cluster{.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .pad = {}, .value = {}};
    cluster.value.clusterDim = {phase.cluster_x, phase.cluster_y, phase.cluster_z};
    CUlaunchConfig config{.gridDimX = x,
                          .gridDimY = y,
                          .gridDimZ = z,
                          .blockDimX = phase.threads,
                          .blockDimY = 1,
                          .blockDimZ = 1,
                          .sharedMemBytes = phase.dynamic_shared_bytes,
                          .hStream = context_.stream(),
                          .attrs = &cluster,
                          .numAttrs = 1};
    result = context_.api().cuLaunchKernelEx(&config, functions_[index], pointers_.data(), nullptr);
  } else {
    result = context_.api().cuLaunchKernel(functions_[index], x, y, z, phase.threads, 1, 1,
                                           phase.dynamic_shared_bytes, context_.stream(),
                                           pointers_.data(), nullptr);
  }
  Status status = context_.check(result, "launching a kernel");
  return status.isOk() ? status : status.at(phase.entry);
}

CudaProgram::CudaProgram(Context &context, UploadRing &uploads, const plan::Plan &plan,
                         uint32_t target)
    : context_(context), uploads_(uploads), target_(plan.manifest().targets[target]),
      kernels_(plan.manifest().programs[target_.program].kernels),
      code_(plan.section(target_.section)) {
  for (uint32_t i = 0; i < kernels_.size(); ++i)
    entries_.push_back({.program = this, .index = i});
}

Result<std::unique_ptr<CudaProgram>> CudaProgram::create(Context &context, UploadRing &uploads,
                                                         const plan::Plan &plan, uint32_t target) {
  std::unique_ptr<CudaProgram> program(new CudaProgram(context, uploads, plan, target));
  uint64_t workspace = 0;
  for (const plan::Kernel &kernel : program->kernels_)
    workspace = std::max(workspace, kernel.scratch_bytes);
  if (workspace != 0) {
    PLATEN_ASSIGN_OR_RETURN(program->workspace_,
                            context.allocate(workspace, "workspace of the kernels"));
  }
  return program;
}

CudaProgram::~CudaProgram() {
  Context::Scope scope(context_);
  for (const auto &[offset, module] : modules_)
    (void)context_.api().cuModuleUnload(module);
}

Kernel CudaProgram::kernel(uint32_t index) const {
  return {.entry = &entries_[index], .scratch_bytes = kernels_[index].scratch_bytes};
}

Result<CUmodule> CudaProgram::module(uint32_t index) {
  uint64_t offset = target_.entry_offsets[index];
  if (auto found = modules_.find(offset); found != modules_.end())
    return found->second;
  auto image = code_.subspan(offset, target_.entry_bytes[index]);
  PLATEN_RETURN_IF_ERROR(checkImage(image));
  std::array<char, kLogBytes> log{};
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log.data(), reinterpret_cast<void *>(uintptr_t{kLogBytes - 1})};
  CUmodule module = nullptr;
  CUresult result = context_.api().cuModuleLoadDataEx(&module, image.data(), 2, options, values);
  std::string what = "loading " + std::to_string(image.size()) + " bytes of code for " +
                     std::string(target_.features[0]) + " on a device of compute capability " +
                     std::to_string(context_.capability() / 10) + "." +
                     std::to_string(context_.capability() % 10);
  Status status = context_.check(result, what.c_str());
  if (!status.isOk()) {
    std::string text = log.data();
    while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
      text.pop_back();
    return text.empty() ? status
                        : Status(status.code(), std::string(status.message()) + ": " + text,
                                 std::string(status.origin()));
  }
  modules_.emplace(offset, module);
  return module;
}

Result<CUfunction> CudaProgram::function(CUmodule module, const plan::Phase &phase) {
  const DriverApi &api = context_.api();
  CUfunction function = nullptr;
  PLATEN_RETURN_IF_ERROR(context_.check(
      api.cuModuleGetFunction(&function, module, phase.entry.c_str()), "looking the entry up"));
  int threads = 0;
  PLATEN_RETURN_IF_ERROR(context_.check(
      api.cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function),
      "asking for its threads"));
  if (phase.threads > static_cast<uint32_t>(threads))
    return base::corrupt("blocks of " + std::to_string(phase.threads) +
                         " threads, but its code allows " + std::to_string(threads));
  if (phase.dynamic_shared_bytes > kDefaultSharedBytes)
    PLATEN_RETURN_IF_ERROR(context_.check(
        api.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                               static_cast<int>(phase.dynamic_shared_bytes)),
        ("asking for " + std::to_string(phase.dynamic_shared_bytes) +
         " bytes of dynamic shared memory")
            .c_str()));
  if (!phase.hasCluster())
    return function;
  if (api.cuLaunchKernelEx == nullptr)
    return base::unsupported("it runs in clusters, which the driver of CUDA " +
                             context_.driver().version() + " cannot launch; update the driver");
  if (phase.cluster_x * phase.cluster_y * phase.cluster_z > kPortableClusterBlocks)
    PLATEN_RETURN_IF_ERROR(context_.check(
        api.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1),
        "asking for clusters of more than 8 blocks"));
  return function;
}

Status CudaProgram::load(CudaEntry &entry) {
  PLATEN_ASSIGN_OR_RETURN(CUmodule loaded, module(entry.index));
  std::vector<CUfunction> functions;
  for (const plan::Phase &phase : kernels_[entry.index].cuda->phases) {
    auto found = function(loaded, phase);
    if (!found.isOk())
      return found.status().at(phase.entry);
    functions.push_back(*found);
  }
  entry.functions = std::move(functions);
  return Status::ok();
}

Result<CUdeviceptr> CudaProgram::placeTensorMap(const plan::TensorMap &map, Operand operand) {
  const DriverApi &api = context_.api();
  if (api.cuTensorMapEncodeTiled == nullptr)
    return base::unsupported("the kernel needs tensor maps, which the driver of CUDA " +
                             context_.driver().version() + " does not know; update the driver");
  PLATEN_ASSIGN_OR_RETURN(auto dimensions, plan::resolveDimensions(map, operand.bytes));
  std::array<uint64_t, 5> sizes{}, strides{};
  std::array<uint32_t, 5> box{}, ones{};
  for (size_t i = 0; i < dimensions.size(); ++i) {
    sizes[i] = dimensions[i].size;
    box[i] = dimensions[i].box;
    ones[i] = 1;
    if (i > 0) // the first stride is the element's
      strides[i - 1] = dimensions[i].stride_bytes;
  }
  CUtensorMap encoded{};
  PLATEN_RETURN_IF_ERROR(
      context_.check(api.cuTensorMapEncodeTiled(
                         &encoded, typeOf(map.element), static_cast<uint32_t>(dimensions.size()),
                         static_cast<std::byte *>(operand.address) + map.offset_bytes, sizes.data(),
                         strides.data(), box.data(), ones.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
                         static_cast<int>(map.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                     "encoding a tensor map"));
  if (free_maps_.empty()) {
    PLATEN_ASSIGN_OR_RETURN(auto chunk, context_.allocate(kMapChunkBytes, "tensor maps"));
    for (uint64_t offset = kMapChunkBytes; offset != 0; offset -= sizeof encoded)
      free_maps_.push_back(addressOf(chunk->at(offset - sizeof encoded)));
    map_chunks_.push_back(std::move(chunk));
  }
  // Enqueued behind whatever may still read the map that lay there before.
  CUdeviceptr address = free_maps_.back();
  PLATEN_RETURN_IF_ERROR(uploads_.copy(address, std::as_bytes(std::span(&encoded, 1))));
  free_maps_.pop_back();
  return address;
}

void CudaProgram::takeBack(std::span<const CUdeviceptr> maps) {
  free_maps_.insert(free_maps_.end(), maps.rbegin(), maps.rend());
}

Result<std::unique_ptr<BoundKernel>> CudaProgram::bind(const CudaEntry &entry,
                                                       std::span<const Operand> operands) {
  CudaEntry &loaded = entries_[entry.index];
  if (loaded.functions.empty())
    PLATEN_RETURN_IF_ERROR(load(loaded));
  const plan::Kernel &kernel = kernels_[entry.index];
  std::vector<CUdeviceptr> parameters;
  for (const Operand &operand : operands)
    parameters.push_back(addressOf(operand.address));
  Operand workspace;
  if (kernel.scratch_bytes != 0) {
    workspace = {.address = workspace_->address(), .bytes = kernel.scratch_bytes};
    parameters.push_back(addressOf(workspace.address));
  }
  for (size_t i = 0; i < kernel.cuda->tensor_maps.size(); ++i) {
    const plan::TensorMap &map = kernel.cuda->tensor_maps[i];
    // Operand 0 of a launch stands behind the step.
    bool known = map.operand == plan::TensorMap::kWorkspace || map.operand + 1 < operands.size();
    if (!known) {
      takeBack(std::span(parameters).last(i));
      return base::invalidArgument("bind() without the operand " + std::to_string(map.operand) +
                                   " that a tensor map walks");
    }
    auto placed = placeTensorMap(
        map, map.operand == plan::TensorMap::kWorkspace ? workspace : operands[map.operand + 1]);
    if (!placed.isOk()) {
      takeBack(std::span(parameters).last(i));
      return placed.status().at("tensor map " + std::to_string(i));
    }
    parameters.push_back(*placed);
  }
  return std::unique_ptr<BoundKernel>(std::make_unique<CudaBoundKernel>(
      context_, *kernel.cuda, loaded.functions, std::move(parameters), *this));
}

} // namespace platen::device::cuda
