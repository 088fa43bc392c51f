// What a manifest says of one program: buffers, caches, kernels, launches.
#include <algorithm>

#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"
#include "runtime/plan/validate_detail.h"

namespace platen::plan::detail {
namespace {

using base::corrupt;
using base::Status;

constexpr uint64_t kMaxPageBytes = uint64_t{1} << 32;
constexpr uint64_t kMaxScratchBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxWorkspaceBytes = uint64_t{1} << 36;
constexpr uint64_t kMaxTensorMapUses = uint64_t{1} << 20; // of all launches of a program
constexpr uint64_t kMaxUnits = uint64_t{1} << 40;

/// Of a decoder's plan. Fills in its bytes.
Status checkBuffer(const Buffer &buffer, const DeviceProgram &program, const Limits &limits,
                   uint64_t &bytes) {
  if (buffer.bytes != base::Size() || buffer.slot != 0)
    return corrupt("it has a size or a slot of its own, which only plans of graphs have");
  PLATEN_RETURN_IF_ERROR(checkExtent(buffer.extent));
  PLATEN_RETURN_IF_ERROR(checkRange("row_bytes", buffer.row_bytes, 1, kMaxArenaBytes));
  PLATEN_ASSIGN_OR_RETURN(
      bytes, base::checkedMul(buffer.row_bytes, extentLimit(limits, buffer.extent), "bytes"));
  if (!base::fitsInside(buffer.arena_offset, bytes, program.arena_bytes))
    return corrupt(number(bytes) + " bytes at offset " + number(buffer.arena_offset) +
                   " do not lie inside the arena of " + number(program.arena_bytes) + " bytes");
  if (buffer.arena_offset % kDataAlignment != 0)
    return corrupt("arena_offset " + number(buffer.arena_offset) + " is no multiple of 64");
  return Status::ok();
}

Status checkCache(const Cache &cache, const Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkRange("kv_heads", cache.kv_heads, 1, kMaxFeatures));
  PLATEN_RETURN_IF_ERROR(checkRange("head_dim", cache.head_dim, 1, kMaxFeatures));
  using base::DType;
  if (cache.dtype != DType::kF32 && cache.dtype != DType::kF16 && cache.dtype != DType::kBF16 &&
      cache.dtype != DType::kI8)
    return base::unsupported("dtype " + number(static_cast<uint64_t>(cache.dtype)) +
                             " is no cache type that this runtime knows (f32, f16, bf16, i8)");
  // At most 2^20 * 2 * 2^12 * 2^20 * 32: fits.
  return checkRange("the size of a page", pageBytes(limits, cache), 1, kMaxPageBytes);
}

Status checkKernel(const Kernel &kernel, const DeviceProgram &program, const Extents &most) {
  PLATEN_RETURN_IF_ERROR(checkRange("scratch_bytes", kernel.scratch_bytes, 0,
                                    isCuda(program) ? kMaxWorkspaceBytes : kMaxScratchBytes));
  if (kernel.cuda.has_value() != isCuda(program))
    return corrupt(isCuda(program) ? "it does not say how it is launched"
                                   : "it is a CUDA kernel, but no CUDA device runs the program");
  return kernel.cuda ? checkCudaKernel(*kernel.cuda, most) : Status::ok();
}

Status checkAlternatives(const Variant &variant, const DeviceProgram &program) {
  if (!variant.alternatives.empty() && !isCuda(program))
    return corrupt("it has alternatives, which only programs for CUDA may have");
  if (variant.alternatives.size() > kMaxAlternatives)
    return corrupt(number(variant.alternatives.size()) + " alternatives, more than 16");
  for (size_t i = 0; i < variant.alternatives.size(); ++i) {
    uint32_t kernel = variant.alternatives[i];
    PLATEN_RETURN_IF_ERROR(
        checkIndex("kernel", kernel, program.kernels.size()).at(place("alternatives", i, "")));
    auto before = variant.alternatives.begin() + static_cast<ptrdiff_t>(i);
    if (kernel == variant.kernel ||
        std::find(variant.alternatives.begin(), before, kernel) != before)
      return corrupt("kernel " + number(kernel) + " is named twice", place("alternatives", i, ""));
  }
  return Status::ok();
}

Status checkVariant(const Variant &variant, const DeviceProgram &program, const Extents &most) {
  PLATEN_RETURN_IF_ERROR(checkIndex("kernel", variant.kernel, program.kernels.size()));
  PLATEN_RETURN_IF_ERROR(checkAlternatives(variant, program));
  if (isCuda(program) && variant.units != Units{})
    return corrupt("it counts units, but CUDA kernels say their grids themselves");
  PLATEN_RETURN_IF_ERROR(checkExtent(variant.units.extent));
  PLATEN_RETURN_IF_ERROR(checkRange("units.per", variant.units.per, 1, ~uint32_t{0}));
  PLATEN_RETURN_IF_ERROR(checkRange("units.times", variant.units.times, 1, kMaxUnits));
  const Units &units = variant.units;
  uint64_t blocks = (static_cast<uint64_t>(most[units.extent]) + units.per - 1) / units.per;
  PLATEN_ASSIGN_OR_RETURN(blocks, base::checkedMul(blocks, units.times, "the number of units"));
  return checkRange("the number of units", blocks, 1, kMaxUnits);
}

Status checkOperand(const Operand &operand, const DeviceProgram &program, size_t weights) {
  switch (operand.kind) {
  case OperandKind::kBuffer:
    return checkIndex("buffer", operand.index, program.buffers.size());
  case OperandKind::kWeight:
    return checkIndex("weight", operand.index, weights);
  case OperandKind::kCache:
    return checkIndex("cache", operand.index, program.caches.size());
  }
  return corrupt("an operand is neither buffer nor weight nor cache");
}

/// What sizes a program's steps have at most.
struct Greatest {
  std::vector<uint64_t> buffer_bytes; // [buffers]
  std::vector<Extents> launches;      // [launches]
  std::vector<Extents> kernels;       // [kernels], of all launches that may run it
};

/// For checked operands: bytes of each. Of a cache one page, which it has at least.
std::vector<uint64_t> operandBytes(const Launch &launch, const DeviceProgram &program,
                                   const Manifest &manifest, const Greatest &greatest) {
  std::vector<uint64_t> bytes;
  for (const Operand &operand : launch.operands) {
    if (operand.kind == OperandKind::kBuffer)
      bytes.push_back(greatest.buffer_bytes[operand.index]);
    else if (operand.kind == OperandKind::kWeight)
      bytes.push_back(manifest.weights[operand.index].bytes);
    else
      bytes.push_back(pageBytes(manifest.limits, program.caches[operand.index]));
  }
  return bytes;
}

/// That every kernel which a checked launch may run finds the operands that it walks. `budget`
/// bounds the work that a manifest can ask for.
Status checkOperandUse(const Launch &launch, const DeviceProgram &program, const Manifest &manifest,
                       const Greatest &greatest, uint64_t &budget) {
  std::vector<uint64_t> bytes = operandBytes(launch, program, manifest, greatest);
  auto check = [&](uint32_t index) {
    const Kernel &kernel = program.kernels[index];
    uint64_t maps = kernel.cuda->tensor_maps.size();
    if (maps > budget)
      return corrupt("its launches use more than 2^20 tensor maps");
    budget -= maps;
    Status status = checkTensorMaps(kernel, bytes);
    return status.isOk() ? status : status.at(place("kernels", index, kernel.name));
  };
  for (const Variant &variant : launch.variants) {
    PLATEN_RETURN_IF_ERROR(check(variant.kernel));
    for (uint32_t kernel : variant.alternatives)
      PLATEN_RETURN_IF_ERROR(check(kernel));
  }
  return Status::ok();
}

Status checkLaunch(const Launch &launch, const DeviceProgram &program, const Manifest &manifest,
                   const Extents &most) {
  PLATEN_RETURN_IF_ERROR(checkExtent(launch.extent));
  if (manifest.graph && launch.extent != Extent::kTokens)
    return corrupt("extent is " + number(static_cast<uint64_t>(launch.extent)) +
                   ", must be that of tokens, which in plans of graphs counts the launch's points");
  if (!manifest.graph && launch.points != base::Size())
    return corrupt("it has points of its own, which only launches of graphs have");
  if (launch.variants.empty())
    return corrupt("it has no variant");
  for (size_t i = 0; i < launch.variants.size(); ++i) {
    std::string where = place("variants", i, "");
    PLATEN_RETURN_IF_ERROR(checkVariant(launch.variants[i], program, most).at(where));
    if (i > 0 && launch.variants[i].max_extent <= launch.variants[i - 1].max_extent)
      return corrupt("max_extent does not ascend", where);
  }
  if (launch.operands.size() > kMaxOperands)
    return corrupt(number(launch.operands.size()) + " operands, more than 64");
  for (size_t i = 0; i < launch.operands.size(); ++i)
    PLATEN_RETURN_IF_ERROR(checkOperand(launch.operands[i], program, manifest.weights.size())
                               .at(place("operands", i, "")));
  return Status::ok();
}

/// Logits or hidden states: one row of f32 for each row of the step.
Status checkOutput(const DeviceProgram &program, uint64_t index, uint64_t columns) {
  PLATEN_RETURN_IF_ERROR(checkIndex("buffer", index, program.buffers.size()));
  const Buffer &buffer = program.buffers[index];
  if (buffer.extent != Extent::kRows || buffer.row_bytes != columns * 4)
    return corrupt("buffer '" + buffer.name + "' has rows of " + number(buffer.row_bytes) +
                   " bytes; one row of " + number(columns) +
                   " f32 for each row of the step is due");
  return Status::ok();
}

/// Decoders: the arena's buffers, and what the program gives.
Status checkDecoderBuffers(const DeviceProgram &program, const Manifest &manifest,
                           std::vector<uint64_t> &bytes) {
  PLATEN_RETURN_IF_ERROR(checkRange("arena_bytes", program.arena_bytes, 1, kMaxArenaBytes));
  bytes.resize(program.buffers.size());
  PLATEN_RETURN_IF_ERROR(checkEach("buffers", program.buffers, [&](const Buffer &buffer, size_t i) {
    return checkBuffer(buffer, program, manifest.limits, bytes[i]);
  }));
  return checkEach("caches", program.caches,
                   [&](const Cache &cache) { return checkCache(cache, manifest.limits); });
}

Status checkOutputs(const DeviceProgram &program, const ModelInfo &model) {
  PLATEN_RETURN_IF_ERROR(
      checkOutput(program, program.logits_buffer, model.vocabulary).at("logits_buffer"));
  if (program.hidden_buffer < -1)
    return corrupt("is " + std::to_string(program.hidden_buffer) + ", must be a buffer or -1",
                   "hidden_buffer");
  if (program.hidden_buffer >= 0)
    PLATEN_RETURN_IF_ERROR(
        checkOutput(program, static_cast<uint64_t>(program.hidden_buffer), model.hidden)
            .at("hidden_buffer"));
  return Status::ok();
}

Status checkSampler(const DeviceProgram &program) {
  if (!program.sampler)
    return Status::ok();
  if (!isCuda(program))
    return corrupt("only programs for CUDA may have one");
  PLATEN_RETURN_IF_ERROR(checkIndex("kernel", *program.sampler, program.kernels.size()));
  if (!program.kernels[*program.sampler].cuda->tensor_maps.empty())
    return corrupt("its kernel has tensor maps, for which a sampler's operands are not described");
  return Status::ok();
}

/// The greatest extents of launches and kernels. A kernel that no launch runs is checked for one
/// point.
Status findGreatest(const DeviceProgram &program, const Manifest &manifest, Greatest &greatest) {
  if (!manifest.graph) {
    Extents most{.tokens = manifest.limits.step_tokens,
                 .rows = manifest.limits.step_rows,
                 .sequences = manifest.limits.step_sequences};
    greatest.launches.assign(program.launches.size(), most);
    greatest.kernels.assign(program.kernels.size(), most);
    return Status::ok();
  }
  greatest.kernels.assign(program.kernels.size(), {.tokens = 1, .rows = 1, .sequences = 1});
  return checkEach("launches", program.launches, [&](const Launch &launch) -> Status {
    auto points = sizeLimit(launch.points, *manifest.graph, kMaxGraphExtent);
    if (!points.isOk())
      return points.status().at("points");
    auto most = static_cast<int64_t>(std::max<uint64_t>(1, *points));
    greatest.launches.push_back({.tokens = most, .rows = most, .sequences = 1});
    auto use = [&](uint32_t kernel) {
      if (kernel < greatest.kernels.size() && greatest.kernels[kernel].tokens < most)
        greatest.kernels[kernel] = greatest.launches.back();
    };
    for (const Variant &variant : launch.variants) {
      use(variant.kernel);
      std::ranges::for_each(variant.alternatives, use);
    }
    return Status::ok();
  });
}

} // namespace

Status checkProgram(const DeviceProgram &program, const Manifest &manifest) {
  if (program.device != kHostDevice && !isCuda(program))
    return base::unsupported("this runtime knows no device of that kind, but 'host' and 'cuda'");
  Greatest greatest;
  PLATEN_RETURN_IF_ERROR(manifest.graph
                             ? checkGraphBuffers(program, *manifest.graph, greatest.buffer_bytes)
                             : checkDecoderBuffers(program, manifest, greatest.buffer_bytes));
  PLATEN_RETURN_IF_ERROR(findGreatest(program, manifest, greatest));
  PLATEN_RETURN_IF_ERROR(checkEach("kernels", program.kernels, [&](const Kernel &kernel, size_t i) {
    return checkKernel(kernel, program, greatest.kernels[i]);
  }));
  PLATEN_RETURN_IF_ERROR(
      checkEach("launches", program.launches, [&](const Launch &launch, size_t i) {
        return checkLaunch(launch, program, manifest, greatest.launches[i]);
      }));
  uint64_t budget = kMaxTensorMapUses;
  if (isCuda(program))
    PLATEN_RETURN_IF_ERROR(checkEach("launches", program.launches, [&](const Launch &launch) {
      return checkOperandUse(launch, program, manifest, greatest, budget);
    }));
  if (manifest.graph)
    return Status::ok();
  PLATEN_RETURN_IF_ERROR(checkOutputs(program, manifest.model));
  return checkSampler(program).at("sampler");
}

} // namespace platen::plan::detail
