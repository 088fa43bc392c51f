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
using detail::checkEach;
using detail::checkIndex;
using detail::checkName;
using detail::checkRange;
using detail::isCuda;
using detail::isPrintable;
using detail::kMaxFeatures;
using detail::number;
using detail::place;

constexpr uint64_t kMaxContextTokens = uint64_t{1} << 24;
constexpr uint64_t kMaxStepTokens = uint64_t{1} << 20; // also rows
constexpr uint64_t kMaxStepSequences = uint64_t{1} << 16;
constexpr uint64_t kMaxPageTokens = 4096;
constexpr uint64_t kMaxPageTableEntries = uint64_t{1} << 26;
constexpr uint64_t kMaxVocabulary = uint64_t{1} << 24;
constexpr uint64_t kMaxSectionAlignment = uint64_t{2} << 20;
constexpr size_t kMaxSections = 256;
constexpr size_t kMaxPrograms = 64;
constexpr size_t kMaxRank = 8;

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
  if (manifest.graph) {
    PLATEN_RETURN_IF_ERROR(detail::checkGraph(manifest).at("graph"));
  } else {
    PLATEN_RETURN_IF_ERROR(checkLimits(manifest.limits).at("limits"));
    PLATEN_RETURN_IF_ERROR(checkModel(manifest.model).at("model"));
  }
  PLATEN_RETURN_IF_ERROR(checkSections(manifest.sections, file_bytes));
  PLATEN_RETURN_IF_ERROR(checkWeights(manifest));
  if (manifest.programs.size() > kMaxPrograms)
    return corrupt(number(manifest.programs.size()) + " programs, more than 64");
  for (size_t i = 0; i < manifest.programs.size(); ++i) {
    PLATEN_RETURN_IF_ERROR(checkName("programs", i, manifest.programs[i].device));
    PLATEN_RETURN_IF_ERROR(detail::checkProgram(manifest.programs[i], manifest)
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
