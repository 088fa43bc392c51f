// Every number of a manifest against what it indexes, counts or measures. After this the runtime
// adds and multiplies them without further checks; the caps below leave room for that and for far
// larger models than exist.
#include <algorithm>
#include <string_view>

#include "runtime/base/checked.h"
#include "runtime/plan/kernel_abi.h"
#include "runtime/plan/plan.h"
#include "runtime/plan/validate_detail.h"

namespace platen::plan {
namespace {

using base::corrupt;
using base::Status;
using detail::checkExtent;
using detail::checkIndex;
using detail::checkRange;
using detail::isPrintable;
using detail::number;
using detail::place;

constexpr uint64_t kMaxContextTokens = uint64_t{1} << 24;
constexpr uint64_t kMaxStepTokens = uint64_t{1} << 20; // also rows
constexpr uint64_t kMaxStepSequences = uint64_t{1} << 16;
constexpr uint64_t kMaxPageTokens = 4096;
constexpr uint64_t kMaxPageTableEntries = uint64_t{1} << 26;
constexpr uint64_t kMaxVocabulary = uint64_t{1} << 24;
constexpr uint64_t kMaxFeatures = uint64_t{1} << 20; // hidden, kv_heads, head_dim
constexpr uint64_t kMaxPageBytes = uint64_t{1} << 32;
constexpr uint64_t kMaxArenaBytes = uint64_t{1} << 44;
constexpr uint64_t kMaxScratchBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxWorkspaceBytes = uint64_t{1} << 36;
constexpr uint64_t kMaxTensorMapUses = uint64_t{1} << 20; // of all launches of a program
constexpr uint64_t kMaxUnits = uint64_t{1} << 40;
constexpr uint64_t kMaxSectionAlignment = uint64_t{2} << 20;
constexpr size_t kMaxSections = 256;
constexpr size_t kMaxPrograms = 64;
constexpr size_t kMaxRank = 8;

Status checkName(std::string_view list, size_t index, std::string_view name) {
  if (!isPrintable(name))
    return corrupt("its name holds control characters", place(list, index, ""));
  return Status::ok();
}

Status checkLimits(const Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkRange("context_tokens", limits.context_tokens, 1, kMaxContextTokens));
  PLATEN_RETURN_IF_ERROR(checkRange("step_tokens", limits.step_tokens, 1, kMaxStepTokens));
  PLATEN_RETURN_IF_ERROR(checkRange("step_rows", limits.step_rows, 1, kMaxStepTokens));
  PLATEN_RETURN_IF_ERROR(checkRange("step_sequences", limits.step_sequences, 1, kMaxStepSequences));
  PLATEN_RETURN_IF_ERROR(checkRange("page_tokens", limits.page_tokens, 1, kMaxPageTokens));
  if (!base::isPowerOfTwo(limits.page_tokens))
    return corrupt("page_tokens is " + number(limits.page_tokens) + ", must be a power of two");
  uint64_t pages = (uint64_t{limits.context_tokens} + limits.page_tokens - 1) / limits.page_tokens;
  return checkRange("the page table's size, step_sequences * context_tokens / page_tokens,",
                    pages * limits.step_sequences, 1, kMaxPageTableEntries);
}

Status checkModel(const ModelInfo &model) {
  PLATEN_RETURN_IF_ERROR(checkRange("vocabulary", model.vocabulary, 1, kMaxVocabulary));
  PLATEN_RETURN_IF_ERROR(checkRange("hidden", model.hidden, 0, kMaxFeatures));
  for (uint32_t token : model.eos_tokens)
    PLATEN_RETURN_IF_ERROR(checkIndex("eos token", token, model.vocabulary));
  if (model.bos_token < -1)
    return corrupt("bos_token is " + std::to_string(model.bos_token) + ", must be a token or -1");
  if (model.bos_token >= 0)
    PLATEN_RETURN_IF_ERROR(
        checkIndex("bos_token", static_cast<uint64_t>(model.bos_token), model.vocabulary));
  if (model.add_bos && model.bos_token < 0)
    return corrupt("add_bos is set, but there is no bos_token");
  if (!isPrintable(model.weight_format))
    return corrupt("weight_format holds control characters");
  return Status::ok();
}

Status checkSection(const Section &section, uint64_t file_bytes) {
  PLATEN_RETURN_IF_ERROR(checkRange("kind", static_cast<uint64_t>(section.kind), 1, 3));
  if (!base::isPowerOfTwo(section.alignment) || section.alignment < kSectionAlignment ||
      section.alignment > kMaxSectionAlignment)
    return corrupt("alignment is " + number(section.alignment) +
                   ", must be a power of two from 4096 to 2 MiB");
  if (section.bytes == 0 || !base::fitsInside(section.offset, section.bytes, file_bytes))
    return corrupt(number(section.bytes) + " bytes at offset " + number(section.offset) +
                   " do not lie inside the file of " + number(file_bytes) + " bytes");
  if (section.offset == 0 || section.offset % section.alignment != 0)
    return corrupt("offset " + number(section.offset) +
                   " is no positive multiple of its alignment " + number(section.alignment));
  return Status::ok();
}

Status checkSections(const std::vector<Section> &sections, uint64_t file_bytes) {
  if (sections.size() > kMaxSections)
    return corrupt(number(sections.size()) + " sections, more than 256");
  size_t weight_sections = 0;
  for (size_t i = 0; i < sections.size(); ++i) {
    PLATEN_RETURN_IF_ERROR(checkName("sections", i, sections[i].name));
    PLATEN_RETURN_IF_ERROR(
        checkSection(sections[i], file_bytes).at(place("sections", i, sections[i].name)));
    weight_sections += sections[i].kind == SectionKind::kWeights;
    for (size_t j = 0; j < i; ++j) {
      bool apart = sections[i].offset + sections[i].bytes <= sections[j].offset ||
                   sections[j].offset + sections[j].bytes <= sections[i].offset;
      if (!apart)
        return corrupt("it overlaps " + place("sections", j, sections[j].name),
                       place("sections", i, sections[i].name));
    }
  }
  if (weight_sections > 1)
    return corrupt(number(weight_sections) + " weights sections, there may be one");
  return Status::ok();
}

Status checkWeights(const Manifest &manifest) {
  uint64_t section_bytes = 0;
  for (const Section &section : manifest.sections)
    section_bytes += section.kind == SectionKind::kWeights ? section.bytes : 0;
  for (size_t i = 0; i < manifest.weights.size(); ++i) {
    const Weight &weight = manifest.weights[i];
    PLATEN_RETURN_IF_ERROR(checkName("weights", i, weight.name));
    std::string where = place("weights", i, weight.name);
    if (weight.bytes == 0 || !base::fitsInside(weight.offset, weight.bytes, section_bytes))
      return corrupt(number(weight.bytes) + " bytes at offset " + number(weight.offset) +
                         " do not lie inside the weights section of " + number(section_bytes) +
                         " bytes",
                     where);
    if (weight.offset % kDataAlignment != 0)
      return corrupt("offset " + number(weight.offset) + " is no multiple of 64", where);
    if (weight.shape.size() > kMaxRank)
      return corrupt(number(weight.shape.size()) + " dimensions, more than 8", where);
    uint64_t elements = 1;
    for (uint64_t dimension : weight.shape) {
      PLATEN_ASSIGN_OR_RETURN(uint64_t product,
                              base::checkedMul(elements, dimension, where + ": elements"));
      elements = product;
    }
    if (!isPrintable(weight.packing))
      return corrupt("packing holds control characters", where);
  }
  return Status::ok();
}

Status checkBuffer(const Buffer &buffer, const DeviceProgram &program, const Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkExtent(buffer.extent));
  PLATEN_RETURN_IF_ERROR(checkRange("row_bytes", buffer.row_bytes, 1, kMaxArenaBytes));
  PLATEN_ASSIGN_OR_RETURN(
      uint64_t bytes,
      base::checkedMul(buffer.row_bytes, extentLimit(limits, buffer.extent), "bytes"));
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

bool isCuda(const DeviceProgram &program) { return program.device == kCudaDevice; }

Status checkKernel(const Kernel &kernel, const DeviceProgram &program, const Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkRange("scratch_bytes", kernel.scratch_bytes, 0,
                                    isCuda(program) ? kMaxWorkspaceBytes : kMaxScratchBytes));
  if (kernel.cuda.has_value() != isCuda(program))
    return corrupt(isCuda(program) ? "it does not say how it is launched"
                                   : "it is a CUDA kernel, but no CUDA device runs the program");
  return kernel.cuda ? detail::checkCudaKernel(*kernel.cuda, limits) : Status::ok();
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

Status checkVariant(const Variant &variant, const DeviceProgram &program, const Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkIndex("kernel", variant.kernel, program.kernels.size()));
  PLATEN_RETURN_IF_ERROR(checkAlternatives(variant, program));
  if (isCuda(program) && variant.units != Units{})
    return corrupt("it counts units, but CUDA kernels say their grids themselves");
  PLATEN_RETURN_IF_ERROR(checkExtent(variant.units.extent));
  PLATEN_RETURN_IF_ERROR(checkRange("units.per", variant.units.per, 1, ~uint32_t{0}));
  PLATEN_RETURN_IF_ERROR(checkRange("units.times", variant.units.times, 1, kMaxUnits));
  uint64_t blocks = (extentLimit(limits, variant.units.extent) + variant.units.per - 1) /
                    variant.units.per; // at most 2^20
  return checkRange("the number of units", blocks * variant.units.times, 1, kMaxUnits);
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

/// For checked operands: bytes of each. Of a cache one page, which it has at least.
std::vector<uint64_t> operandBytes(const Launch &launch, const DeviceProgram &program,
                                   const Manifest &manifest) {
  std::vector<uint64_t> bytes;
  for (const Operand &operand : launch.operands) {
    const auto &buffers = program.buffers;
    if (operand.kind == OperandKind::kBuffer)
      bytes.push_back(extentLimit(manifest.limits, buffers[operand.index].extent) *
                      buffers[operand.index].row_bytes);
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
                       uint64_t &budget) {
  std::vector<uint64_t> bytes = operandBytes(launch, program, manifest);
  auto check = [&](uint32_t index) {
    const Kernel &kernel = program.kernels[index];
    uint64_t maps = kernel.cuda->tensor_maps.size();
    if (maps > budget)
      return corrupt("its launches use more than 2^20 tensor maps");
    budget -= maps;
    Status status = detail::checkTensorMaps(kernel, bytes);
    return status.isOk() ? status : status.at(place("kernels", index, kernel.name));
  };
  for (const Variant &variant : launch.variants) {
    PLATEN_RETURN_IF_ERROR(check(variant.kernel));
    for (uint32_t kernel : variant.alternatives)
      PLATEN_RETURN_IF_ERROR(check(kernel));
  }
  return Status::ok();
}

Status checkLaunch(const Launch &launch, const DeviceProgram &program, const Manifest &manifest) {
  PLATEN_RETURN_IF_ERROR(checkExtent(launch.extent));
  if (launch.variants.empty())
    return corrupt("it has no variant");
  for (size_t i = 0; i < launch.variants.size(); ++i) {
    std::string where = place("variants", i, "");
    PLATEN_RETURN_IF_ERROR(checkVariant(launch.variants[i], program, manifest.limits).at(where));
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

/// The images of a target for CUDA.
Status checkImages(const CodeTarget &target, const std::vector<Kernel> &kernels,
                   const Section &section) {
  PLATEN_RETURN_IF_ERROR(detail::checkCudaFeatures(target));
  if (target.entry_bytes.size() != kernels.size())
    return corrupt("the sizes of " + number(target.entry_bytes.size()) + " of " +
                   number(kernels.size()) + " images");
  for (size_t i = 0; i < kernels.size(); ++i) {
    uint64_t offset = target.entry_offsets[i], bytes = target.entry_bytes[i];
    std::string where = place("kernels", i, kernels[i].name);
    if (bytes == 0 || !base::fitsInside(offset, bytes, section.bytes))
      return corrupt("an image of " + number(bytes) + " bytes at offset " + number(offset) +
                         " does not lie inside the code section of " + number(section.bytes) +
                         " bytes",
                     where);
    if (offset % kDataAlignment != 0)
      return corrupt("the offset " + number(offset) + " of its image is no multiple of 64", where);
  }
  return Status::ok();
}

Status checkTarget(const CodeTarget &target, const Manifest &manifest) {
  for (const std::string &feature : target.features) {
    if (feature.empty() || !isPrintable(feature))
      return corrupt("a feature's name is empty or holds control characters");
  }
  PLATEN_RETURN_IF_ERROR(checkIndex("section", target.section, manifest.sections.size()));
  const Section &section = manifest.sections[target.section];
  if (section.kind != SectionKind::kCode)
    return corrupt("section '" + section.name + "' holds no code");
  PLATEN_RETURN_IF_ERROR(checkIndex("program", target.program, manifest.programs.size()));
  const std::vector<Kernel> &kernels = manifest.programs[target.program].kernels;
  if (target.entry_offsets.size() != kernels.size())
    return corrupt("code for " + number(target.entry_offsets.size()) + " of " +
                   number(kernels.size()) + " kernels");
  for (size_t i = 0; i < target.entry_offsets.size(); ++i)
    PLATEN_RETURN_IF_ERROR(checkIndex("code offset", target.entry_offsets[i], section.bytes)
                               .at(place("kernels", i, kernels[i].name)));
  if (isCuda(manifest.programs[target.program]))
    return checkImages(target, kernels, section);
  if (!target.entry_bytes.empty())
    return corrupt("it has images of kernels, which only targets for CUDA have");
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

Status checkTokenizer(const Manifest &manifest) {
  const Tokenizer &tokenizer = manifest.tokenizer;
  if (!isPrintable(tokenizer.kind))
    return corrupt("kind holds control characters");
  if (tokenizer.kind.empty())
    return Status::ok();
  PLATEN_RETURN_IF_ERROR(checkIndex("section", tokenizer.section, manifest.sections.size()));
  if (manifest.sections[tokenizer.section].kind != SectionKind::kTokenizer)
    return corrupt("section '" + manifest.sections[tokenizer.section].name +
                   "' holds no tokenizer");
  return Status::ok();
}

/// Applies check(item) to each item of a named list and says in which item it failed.
template <typename Item, typename Check>
Status checkEach(std::string_view list, const std::vector<Item> &items, Check check) {
  for (size_t i = 0; i < items.size(); ++i) {
    if constexpr (requires { items[i].name; }) {
      PLATEN_RETURN_IF_ERROR(checkName(list, i, items[i].name));
      PLATEN_RETURN_IF_ERROR(check(items[i]).at(place(list, i, items[i].name)));
    } else {
      PLATEN_RETURN_IF_ERROR(check(items[i]).at(place(list, i, "")));
    }
  }
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

Status checkProgram(const DeviceProgram &program, const Manifest &manifest) {
  if (program.device != kHostDevice && !isCuda(program))
    return base::unsupported("this runtime knows no device of that kind, but 'host' and 'cuda'");
  PLATEN_RETURN_IF_ERROR(checkRange("arena_bytes", program.arena_bytes, 1, kMaxArenaBytes));
  PLATEN_RETURN_IF_ERROR(checkEach("buffers", program.buffers, [&](const Buffer &buffer) {
    return checkBuffer(buffer, program, manifest.limits);
  }));
  PLATEN_RETURN_IF_ERROR(checkEach("caches", program.caches, [&](const Cache &cache) {
    return checkCache(cache, manifest.limits);
  }));
  PLATEN_RETURN_IF_ERROR(checkEach("kernels", program.kernels, [&](const Kernel &kernel) {
    return checkKernel(kernel, program, manifest.limits);
  }));
  PLATEN_RETURN_IF_ERROR(checkEach("launches", program.launches, [&](const Launch &launch) {
    return checkLaunch(launch, program, manifest);
  }));
  uint64_t budget = kMaxTensorMapUses;
  if (isCuda(program))
    PLATEN_RETURN_IF_ERROR(checkEach("launches", program.launches, [&](const Launch &launch) {
      return checkOperandUse(launch, program, manifest, budget);
    }));
  PLATEN_RETURN_IF_ERROR(
      checkOutput(program, program.logits_buffer, manifest.model.vocabulary).at("logits_buffer"));
  if (program.hidden_buffer < -1)
    return corrupt("is " + std::to_string(program.hidden_buffer) + ", must be a buffer or -1",
                   "hidden_buffer");
  if (program.hidden_buffer >= 0)
    PLATEN_RETURN_IF_ERROR(
        checkOutput(program, static_cast<uint64_t>(program.hidden_buffer), manifest.model.hidden)
            .at("hidden_buffer"));
  return checkSampler(program).at("sampler");
}

Status checkCudaAbi(const Manifest &manifest) {
  uint32_t due = std::ranges::any_of(manifest.programs, isCuda) ? kCudaAbiVersion : 0;
  if (manifest.cuda_abi_version == due)
    return Status::ok();
  if (due == 0 || manifest.cuda_abi_version == 0)
    return corrupt("cuda_abi_version is " + number(manifest.cuda_abi_version) +
                   ", must be set in plans that have programs for CUDA, and in no others");
  return base::unsupported("the plan's CUDA kernels speak ABI version " +
                           number(manifest.cuda_abi_version) + ", this runtime version " +
                           number(due) + "; compile the model again with the platen that matches");
}

Status checkAll(const Manifest &manifest, uint64_t file_bytes) {
  if (manifest.kernel_abi_version != PLATEN_KERNEL_ABI_VERSION)
    return base::unsupported("the plan's kernels speak ABI version " +
                             number(manifest.kernel_abi_version) + ", this runtime version " +
                             number(PLATEN_KERNEL_ABI_VERSION) +
                             "; compile the model again with the platen that matches");
  if (!isPrintable(manifest.producer) || !isPrintable(manifest.model_name))
    return corrupt("producer or model_name holds control characters");
  PLATEN_RETURN_IF_ERROR(checkLimits(manifest.limits).at("limits"));
  PLATEN_RETURN_IF_ERROR(checkModel(manifest.model).at("model"));
  PLATEN_RETURN_IF_ERROR(checkSections(manifest.sections, file_bytes));
  PLATEN_RETURN_IF_ERROR(checkWeights(manifest));
  if (manifest.programs.size() > kMaxPrograms)
    return corrupt(number(manifest.programs.size()) + " programs, more than 64");
  for (size_t i = 0; i < manifest.programs.size(); ++i) {
    PLATEN_RETURN_IF_ERROR(checkName("programs", i, manifest.programs[i].device));
    PLATEN_RETURN_IF_ERROR(checkProgram(manifest.programs[i], manifest)
                               .at(place("programs", i, manifest.programs[i].device)));
  }
  PLATEN_RETURN_IF_ERROR(checkCudaAbi(manifest));
  PLATEN_RETURN_IF_ERROR(checkEach("targets", manifest.targets, [&](const CodeTarget &target) {
    return checkTarget(target, manifest);
  }));
  return checkTokenizer(manifest).at("tokenizer");
}

} // namespace

base::Status validate(const Manifest &manifest, uint64_t file_bytes) {
  return checkAll(manifest, file_bytes).at("manifest");
}

} // namespace platen::plan
