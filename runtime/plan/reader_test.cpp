// Plans as an enemy or a bad disk would have them: every flipped bit, every truncation, every
// number out of range is refused with a message that says where.
#include "runtime/plan/reader.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/plan/codec.h"
#include "runtime/plan/hash.h"
#include "runtime/plan/header.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::plan {
namespace {

using base::Status;
using base::StatusCode;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

std::filesystem::path temporaryFile() {
  return std::filesystem::temp_directory_path() /
         ("platen_reader_" + std::to_string(getpid()) + ".plan");
}

/// A small valid plan: header, weights, two code targets, tokenizer, manifest.
const Bytes &goodPlan() {
  static const Bytes bytes = [] {
    testing::TinyPlanOptions options;
    options.targets = {{"x86-64-avx2", {"avx2"}}, {"x86-64", {}}};
    options.tokenizer_kind = "sentencepiece-bpe";
    options.tokenizer = "pieces";
    auto path = temporaryFile();
    Status status = testing::writeTinyPlan(path, options);
    EXPECT_TRUE(status.isOk()) << status.toString();
    std::ifstream stream(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    std::filesystem::remove(path);
    auto view = std::as_bytes(std::span(text));
    return Bytes(view.begin(), view.end());
  }();
  return bytes;
}

Status check(std::span<const std::byte> bytes, const LoadOptions &options = {.hash_threads = 1}) {
  return readManifest(bytes, options, "test.plan").status();
}

/// The good plan with another manifest, whose hash and the header's are right: what an enemy would
/// send.
Bytes withManifest(const std::string &encoded, uint64_t extra_gap = 0) {
  Bytes bytes = goodPlan();
  auto header = decodeHeader(bytes);
  bytes.resize(header->manifest_offset);
  bytes.resize(header->manifest_offset + extra_gap); // of zeros
  auto manifest = std::as_bytes(std::span(encoded));
  header->manifest_offset = bytes.size();
  bytes.insert(bytes.end(), manifest.begin(), manifest.end());
  header->manifest_bytes = manifest.size();
  header->manifest_xxh3 = hashBytes(manifest);
  header->file_bytes = bytes.size();
  auto encoded_header = encodeHeader(*header);
  std::copy(encoded_header.begin(), encoded_header.end(), bytes.begin());
  return bytes;
}

Manifest goodManifest() { return *readManifest(goodPlan(), {}, ""); }

TEST(Reader, AcceptsTheGoodPlan) {
  EXPECT_TRUE(check(goodPlan()).isOk()) << check(goodPlan()).toString();
  EXPECT_TRUE(check(withManifest(encodeManifest(goodManifest()))).isOk());
  EXPECT_LT(goodPlan().size(), 32768U);
}

TEST(Reader, RefusesEveryFlippedBit) {
  Bytes bytes = goodPlan();
  for (size_t at = 0; at < bytes.size(); ++at) {
    // All bits of a byte that says something; one of each zero, which is mostly padding.
    bool zero = bytes[at] == std::byte{0};
    int first = zero ? static_cast<int>(at % 8) : 0, last = zero ? first : 7;
    for (int bit = first; bit <= last; ++bit) {
      bytes[at] ^= static_cast<std::byte>(1 << bit);
      ASSERT_FALSE(check(bytes).isOk()) << "bit " << bit << " of byte " << at;
      bytes[at] ^= static_cast<std::byte>(1 << bit);
    }
  }
  EXPECT_TRUE(check(bytes).isOk());
}

TEST(Reader, RefusesEveryTruncationAndAppendedBytes) {
  Bytes bytes = goodPlan();
  for (size_t size = 0; size < bytes.size(); ++size)
    ASSERT_EQ(check(std::span(bytes).first(size)).code(), StatusCode::kCorrupt) << size;
  bytes.push_back(std::byte{0});
  EXPECT_EQ(check(bytes).code(), StatusCode::kCorrupt);
}

TEST(Reader, SaysWhatIsWrong) {
  Bytes bytes = goodPlan();
  EXPECT_EQ(check({}).toString(), "CORRUPT: test.plan: header: the file has 0 bytes, fewer than "
                                  "the 64 of a plan's header; it is truncated or "
                                  "no plan");
  EXPECT_THAT(check(std::span(bytes).first(9000)).toString(), HasSubstr("it was truncated"));
  bytes[0] ^= std::byte{1};
  EXPECT_THAT(check(bytes).toString(), HasSubstr("does not begin as a platen plan"));
  bytes = goodPlan();
  bytes[8] = std::byte{3};
  EXPECT_EQ(check(bytes).code(), StatusCode::kUnsupported);
  EXPECT_THAT(check(bytes).toString(),
              HasSubstr("format version 3, this runtime reads versions 1 and 2"));
  bytes = goodPlan();
  bytes[goodManifest().sections[2].offset] ^= std::byte{1};
  EXPECT_THAT(check(bytes).toString(), HasSubstr("section 'code.x86-64': its hash does not match"));
  EXPECT_TRUE(check(bytes, {.hash_threads = 1, .verify_sections = false}).isOk());
}

TEST(Reader, LoadsFromFiles) {
  (void)goodPlan(); // made through the same path when it is first asked for
  auto path = temporaryFile();
  EXPECT_EQ(Plan::load(path).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Plan::load(path.parent_path()).status().code(), StatusCode::kIo);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(goodPlan().data()),
             static_cast<std::streamsize>(goodPlan().size()));
  auto plan = Plan::load(path);
  ASSERT_TRUE(plan.isOk()) << plan.status().toString();
  EXPECT_EQ(plan->fileBytes(), goodPlan().size());
  EXPECT_EQ(plan->tokenizer().size(), 6U);
  std::filesystem::resize_file(path, 5000);
  EXPECT_EQ(Plan::load(path).status().code(), StatusCode::kCorrupt);
  std::filesystem::resize_file(path, 0);
  EXPECT_EQ(Plan::load(path).status().code(), StatusCode::kCorrupt);
  std::filesystem::remove(path);
}

struct Mutation {
  const char *name;
  std::function<void(Manifest &)> apply;
  const char *message; // part of the status
};

void PrintTo(const Mutation &mutation, std::ostream *out) { *out << mutation.name; }

const std::vector<Mutation> &mutations() {
  constexpr uint64_t kHuge = ~uint64_t{0};
  static const std::vector<Mutation> all = {
      {"AbiVersion", [](Manifest &m) { m.kernel_abi_version = 2; },
       "UNSUPPORTED: test.plan: manifest: the plan's kernels speak ABI version 2"},
      {"ContextZero", [](Manifest &m) { m.limits.context_tokens = 0; },
       "limits: context_tokens is 0"},
      {"ContextHuge", [](Manifest &m) { m.limits.context_tokens = 1U << 31; },
       "limits: context_tokens is 2147483648"},
      {"StepTokensZero", [](Manifest &m) { m.limits.step_tokens = 0; }, "limits: step_tokens is 0"},
      {"StepTokensHuge", [](Manifest &m) { m.limits.step_tokens = ~0U; }, "limits: step_tokens"},
      {"StepRowsZero", [](Manifest &m) { m.limits.step_rows = 0; }, "limits: step_rows"},
      {"StepSequencesZero", [](Manifest &m) { m.limits.step_sequences = 0; },
       "limits: step_sequences"},
      {"PageTokensZero", [](Manifest &m) { m.limits.page_tokens = 0; }, "limits: page_tokens is 0"},
      {"PageTokensOdd", [](Manifest &m) { m.limits.page_tokens = 6; },
       "page_tokens is 6, must be a power of two"},
      {"PageTableHuge",
       [](Manifest &m) {
         m.limits.context_tokens = 1U << 24;
         m.limits.page_tokens = 1;
       },
       "limits: the page table's size"},
      {"VocabularyZero", [](Manifest &m) { m.model.vocabulary = 0; }, "model: vocabulary is 0"},
      {"EosBeyondVocabulary", [](Manifest &m) { m.model.eos_tokens = {32}; },
       "model: eos token is 32, but there are only 32"},
      {"BosBeyondVocabulary", [](Manifest &m) { m.model.bos_token = 32; },
       "model: bos_token is 32"},
      {"BosNegative", [](Manifest &m) { m.model.bos_token = -2; }, "model: bos_token is -2"},
      {"AddBosWithoutBos", [](Manifest &m) { m.model.add_bos = true; }, "model: add_bos"},
      {"SectionKind", [](Manifest &m) { m.sections[0].kind = static_cast<SectionKind>(0); },
       "sections[0] 'weights': kind is 0"},
      {"SectionOutside", [](Manifest &m) { m.sections[3].bytes = 1 << 20; },
       "sections[3] 'tokenizer': 1048576 bytes at offset"},
      {"SectionWraps",
       [](Manifest &m) {
         m.sections[3].offset = kHuge - 4095;
         m.sections[3].bytes = 4200;
       },
       "do not lie inside the file"},
      {"SectionEmpty", [](Manifest &m) { m.sections[3].bytes = 0; },
       "sections[3] 'tokenizer': 0 bytes"},
      {"SectionMisaligned", [](Manifest &m) { m.sections[3].offset -= 64; },
       "is no positive multiple of its alignment"},
      {"SectionAlignmentSmall", [](Manifest &m) { m.sections[3].alignment = 64; },
       "alignment is 64"},
      {"SectionAlignmentOdd", [](Manifest &m) { m.sections[3].alignment = 4097; },
       "alignment is 4097"},
      {"SectionsOverlap", [](Manifest &m) { m.sections[3].offset = m.sections[2].offset; },
       "sections[3] 'tokenizer': it overlaps sections[2]"},
      {"SectionOverHeader", [](Manifest &m) { m.sections[0].offset = 0; },
       "sections[0] 'weights': offset 0"},
      {"SectionOverManifest", [](Manifest &m) { m.sections[3].bytes = 4300; },
       "the manifest overlaps"},
      {"SectionHash", [](Manifest &m) { m.sections[3].xxh3 ^= 1; },
       "section 'tokenizer': its hash"},
      {"SectionForgotten",
       [](Manifest &m) {
         m.tokenizer = {};
         m.sections.pop_back();
       },
       "the padding before the manifest is not zero"},
      {"TwoWeightSections", [](Manifest &m) { m.sections[3].kind = SectionKind::kWeights; },
       "2 weights sections"},
      {"WeightOutside", [](Manifest &m) { m.weights[0].bytes = 1 << 20; },
       "weights[0] 'table': 1048576 bytes at offset 0"},
      {"WeightWraps",
       [](Manifest &m) {
         m.weights[1].offset = kHuge - 63;
         m.weights[1].bytes = 128;
       },
       "weights[1] 'meta': 128 bytes"},
      {"WeightEmpty", [](Manifest &m) { m.weights[1].bytes = 0; }, "weights[1] 'meta': 0 bytes"},
      {"WeightMisaligned", [](Manifest &m) { m.weights[1].offset -= 4; }, "is no multiple of 64"},
      {"WeightRank", [](Manifest &m) { m.weights[0].shape.assign(9, 1); }, "9 dimensions"},
      {"WeightShapeWraps", [](Manifest &m) { m.weights[0].shape = {1ULL << 40, 1ULL << 40}; },
       "overflows"},
      {"ArenaZero", [](Manifest &m) { m.programs[0].arena_bytes = 0; }, "arena_bytes is 0"},
      {"ArenaHuge", [](Manifest &m) { m.programs[0].arena_bytes = kHuge; }, "arena_bytes is"},
      {"BufferExtent",
       [](Manifest &m) { m.programs[0].buffers[0].extent = static_cast<Extent>(4); },
       "buffers[0] 'x': extent is 4"},
      {"BufferRowZero", [](Manifest &m) { m.programs[0].buffers[0].row_bytes = 0; },
       "buffers[0] 'x': row_bytes is 0"},
      {"BufferWraps",
       [](Manifest &m) {
         m.programs[0].buffers[0].row_bytes = 1ULL << 44;
         m.limits.step_tokens = 1 << 20;
       },
       "overflows"},
      {"BufferOutside",
       [](Manifest &m) { m.programs[0].buffers[0].arena_offset = m.programs[0].arena_bytes; },
       "buffers[0] 'x': 256 bytes at offset"},
      {"BufferOutsideWraps",
       [](Manifest &m) { m.programs[0].buffers[0].arena_offset = kHuge - 63; },
       "do not lie inside the arena"},
      {"BufferMisaligned", [](Manifest &m) { m.programs[0].buffers[0].arena_offset = 4; },
       "arena_offset 4 is no multiple of 64"},
      {"CacheHeads", [](Manifest &m) { m.programs[0].caches[0].kv_heads = 0; },
       "caches[0]: kv_heads is 0"},
      {"CacheHeadDim", [](Manifest &m) { m.programs[0].caches[0].head_dim = ~0U; },
       "caches[0]: head_dim"},
      {"CacheDtype", [](Manifest &m) { m.programs[0].caches[0].dtype = base::DType::kF64; },
       "UNSUPPORTED: test.plan: manifest: programs[0] 'host': caches[0]: dtype 4"},
      {"CacheDtypeUnknown",
       [](Manifest &m) { m.programs[0].caches[0].dtype = static_cast<base::DType>(200); },
       "caches[0]: dtype 200"},
      {"CachePageHuge",
       [](Manifest &m) {
         m.programs[0].caches[0].head_dim = m.programs[0].caches[0].kv_heads = 1 << 20;
       },
       "caches[0]: the size of a page"},
      {"ScratchHuge", [](Manifest &m) { m.programs[0].kernels[1].scratch_bytes = kHuge; },
       "kernels[1] 'store_i32__test_v1': scratch_bytes"},
      {"LaunchExtent",
       [](Manifest &m) { m.programs[0].launches[0].extent = static_cast<Extent>(9); },
       "launches[0] 'embed': extent is 9"},
      {"NoVariant", [](Manifest &m) { m.programs[0].launches[0].variants.clear(); },
       "launches[0] 'embed': it has no variant"},
      {"VariantKernel", [](Manifest &m) { m.programs[0].launches[0].variants[0].kernel = 4; },
       "variants[0]: kernel is 4, but there are only 4"},
      {"VariantOrder", [](Manifest &m) { m.programs[0].launches[3].variants[1].max_extent = 1; },
       "launches[3] 'head': variants[1]: max_extent does not ascend"},
      {"UnitsExtent",
       [](Manifest &m) {
         m.programs[0].launches[0].variants[0].units.extent = static_cast<Extent>(77);
       },
       "variants[0]: extent is 77"},
      {"UnitsPerZero", [](Manifest &m) { m.programs[0].launches[0].variants[0].units.per = 0; },
       "units.per is 0"},
      {"UnitsTimesZero", [](Manifest &m) { m.programs[0].launches[0].variants[0].units.times = 0; },
       "units.times is 0"},
      {"UnitsTimesHuge",
       [](Manifest &m) { m.programs[0].launches[0].variants[0].units.times = kHuge; },
       "units.times is"},
      {"UnitsHuge",
       [](Manifest &m) { m.programs[0].launches[0].variants[0].units.times = 1ULL << 40; },
       "the number of units"},
      {"OperandBuffer", [](Manifest &m) { m.programs[0].launches[0].operands[1].index = 3; },
       "operands[1]: buffer is 3, but there are only 3"},
      {"OperandWeight", [](Manifest &m) { m.programs[0].launches[0].operands[0].index = 2; },
       "operands[0]: weight is 2"},
      {"OperandCache", [](Manifest &m) { m.programs[0].launches[1].operands[2].index = 1; },
       "operands[2]: cache is 1"},
      {"OperandKind",
       [](Manifest &m) {
         m.programs[0].launches[0].operands[0].kind = static_cast<OperandKind>(0);
       },
       "launches[0] 'embed': operands[0]: an operand is neither buffer nor weight nor cache"},
      {"OperandsMany", [](Manifest &m) { m.programs[0].launches[0].operands.resize(65); },
       "65 operands"},
      {"TargetProgram", [](Manifest &m) { m.targets[0].program = 1; },
       "target 'x86-64-avx2': program is 1, but there are only 1"},
      {"ProgramsMany", [](Manifest &m) { m.programs.resize(65, m.programs[0]); }, "65 programs"},
      {"ProgramDeviceWithEscape", [](Manifest &m) { m.programs[0].device = "\x1b"; },
       "programs[0]: its name holds control characters"},
      {"TargetSection", [](Manifest &m) { m.targets[0].section = 99; },
       "targets[0] 'x86-64-avx2': section is 99"},
      {"TargetSectionKind", [](Manifest &m) { m.targets[0].section = 0; },
       "section 'weights' holds no code"},
      {"TargetOffset", [](Manifest &m) { m.targets[1].entry_offsets[2] = 1 << 20; },
       "targets[1] 'x86-64': kernels[2] 'sum_i32__test_v1': code offset"},
      {"TargetEntryMissing", [](Manifest &m) { m.targets[1].entry_offsets.pop_back(); },
       "target 'x86-64': code for 3 of 4 kernels"},
      {"TargetFeatureEmpty", [](Manifest &m) { m.targets[0].features = {""}; },
       "targets[0] 'x86-64-avx2': a feature's name is empty"},
      {"TargetsMany", [](Manifest &m) { m.targets.resize(65, m.targets[0]); }, "65 code targets"},
      {"LogitsBuffer", [](Manifest &m) { m.programs[0].logits_buffer = 3; },
       "logits_buffer: buffer is 3"},
      {"LogitsRow", [](Manifest &m) { m.programs[0].logits_buffer = 1; },
       "logits_buffer: buffer 'hidden' has rows of 16 bytes"},
      {"LogitsExtent", [](Manifest &m) { m.programs[0].buffers[2].extent = Extent::kSequences; },
       "logits_buffer: buffer 'logits'"},
      {"HiddenBuffer", [](Manifest &m) { m.programs[0].hidden_buffer = 3; },
       "hidden_buffer: buffer is 3"},
      {"HiddenNegative", [](Manifest &m) { m.programs[0].hidden_buffer = -2; },
       "hidden_buffer: is -2"},
      {"HiddenRow", [](Manifest &m) { m.model.hidden = 5; }, "hidden_buffer: buffer 'hidden'"},
      {"TokenizerSection", [](Manifest &m) { m.tokenizer.section = 4; }, "tokenizer: section is 4"},
      {"TokenizerKind", [](Manifest &m) { m.tokenizer.section = 1; },
       "tokenizer: section 'code.x86-64-avx2' holds no tokenizer"},
      {"NameWithEscape", [](Manifest &m) { m.programs[0].kernels[0].name = "\x1b[2J"; },
       "kernels[0]: its name holds control characters"},
      {"SectionNameWithNewline", [](Manifest &m) { m.sections[0].name = "a\nb"; },
       "sections[0]: its name holds control characters"},
      {"TokenizerKindWithNul", [](Manifest &m) { m.tokenizer.kind = std::string("\0x", 2); },
       "tokenizer: kind holds control"},
  };
  return all;
}

class ReaderMutation : public ::testing::TestWithParam<Mutation> {};

TEST_P(ReaderMutation, IsRefusedByName) {
  Manifest manifest = goodManifest();
  GetParam().apply(manifest);
  Status status = check(withManifest(encodeManifest(manifest)));
  ASSERT_FALSE(status.isOk());
  EXPECT_THAT(status.toString(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(All, ReaderMutation, ::testing::ValuesIn(mutations()),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(Reader, RefusesManifestsThatAreNoProtobuf) {
  EXPECT_THAT(check(withManifest("\xff\xff\xff\xff")).toString(), HasSubstr("does not decode"));
  // Kernels named twice by a target cannot be said with our structs.
  std::string encoded = encodeManifest(goodManifest());
  std::string target("\x4a\x08\x22\x00\x22\x00\x22\x00\x22\x00", 10);
  EXPECT_THAT(check(withManifest(encoded + target)).toString(),
              HasSubstr("its entries do not name every kernel once"));
  EXPECT_EQ(check(withManifest("")).code(), StatusCode::kUnsupported); // ABI version 0
}

TEST(Reader, RefusesManifestsOutsideTheFile) {
  for (uint64_t offset : {uint64_t{0}, uint64_t{63}, ~uint64_t{0}, uint64_t{goodPlan().size()}}) {
    Bytes bytes = goodPlan();
    auto header = decodeHeader(bytes);
    header->manifest_offset = offset;
    auto encoded = encodeHeader(*header);
    std::copy(encoded.begin(), encoded.end(), bytes.begin());
    EXPECT_THAT(check(bytes).toString(), HasSubstr("which does not fit the file")) << offset;
  }
}

TEST(Reader, RefusesUnclaimedBytes) {
  Manifest manifest = goodManifest();
  EXPECT_TRUE(check(withManifest(encodeManifest(manifest), 64)).isOk());
  EXPECT_THAT(check(withManifest(encodeManifest(manifest), 3 << 20)).toString(),
              HasSubstr("belong to no section"));
}

} // namespace
} // namespace platen::plan
