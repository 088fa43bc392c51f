// What PlanWriter writes, Plan reads back; equal inputs give equal bytes; misuse and bad manifests
// leave no file.
#include "runtime/plan/writer.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "runtime/plan/kernel_abi.h"
#include "runtime/plan/reader.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::plan {
namespace {

using base::StatusCode;
using testing::TinyPlanOptions;

class Writer : public ::testing::Test {
protected:
  Writer() {
    std::string pattern = (std::filesystem::temp_directory_path() / "platen_plan_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Writer() override { std::filesystem::remove_all(folder_); }
  std::string file(const char *name) const { return folder_ / name; }
  static std::string slurp(const std::string &path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  bool folderIsEmpty() const { return std::filesystem::is_empty(folder_); }
  std::filesystem::path folder_;
};

TinyPlanOptions richOptions() {
  TinyPlanOptions options;
  options.eos_tokens = {1, 31};
  options.bos_token = 2;
  options.add_bos = true;
  options.targets = {{"x86-64-avx2", {"avx2", "fma"}}, {"x86-64", {}}};
  options.tokenizer_kind = "sentencepiece-bpe";
  options.tokenizer = "pieces";
  options.extra_weight_bytes = 3'000'001;
  return options;
}

TEST_F(Writer, ReadsBackEveryField) {
  auto writer = PlanWriter::create(file("a.plan"));
  ASSERT_TRUE(writer.isOk());
  auto manifest = testing::buildTinyPlan(*writer, richOptions());
  ASSERT_TRUE(manifest.isOk()) << manifest.status().toString();
  ASSERT_TRUE(writer->finish(*manifest).isOk());
  auto plan = Plan::load(file("a.plan"));
  ASSERT_TRUE(plan.isOk()) << plan.status().toString();
  Manifest read = plan->manifest();
  ASSERT_EQ(read.sections.size(), 4U);
  EXPECT_EQ(read.kernel_abi_version, uint32_t{PLATEN_KERNEL_ABI_VERSION});
  for (const Section &section : read.sections)
    EXPECT_EQ(section.offset % 4096, 0U) << section.name;
  // The rest must be what the test handed in.
  manifest->sections = read.sections;
  manifest->kernel_abi_version = PLATEN_KERNEL_ABI_VERSION;
  EXPECT_TRUE(read == *manifest);
  EXPECT_EQ(read.programs[0].launches[3].variants[1].units.times, 2U);
  EXPECT_EQ(read.targets[0].features, (std::vector<std::string>{"avx2", "fma"}));

  auto tokenizer = plan->tokenizer();
  EXPECT_EQ(std::string_view(reinterpret_cast<const char *>(tokenizer.data()), tokenizer.size()),
            "pieces");
  auto weights = plan->weights();
  int32_t value = 0;
  std::memcpy(&value, weights.data() + read.weights[0].offset + 16 * 5 + 8, 4);
  EXPECT_EQ(value, testing::tinyEmbedding(5, 2));
  std::memcpy(&value, weights.data() + read.weights[1].offset, 4);
  EXPECT_EQ(value, 32);
}

TEST_F(Writer, EqualInputsGiveEqualBytes) {
  ASSERT_TRUE(testing::writeTinyPlan(file("a"), richOptions()).isOk());
  ASSERT_TRUE(testing::writeTinyPlan(file("b"), richOptions()).isOk());
  std::string a = slurp(file("a"));
  EXPECT_TRUE(a == slurp(file("b")));
  TinyPlanOptions other = richOptions();
  other.eos_tokens = {1, 30};
  ASSERT_TRUE(testing::writeTinyPlan(file("b"), other).isOk());
  EXPECT_FALSE(a == slurp(file("b")));
}

TEST_F(Writer, UnfinishedPlanLeavesNothing) {
  {
    auto writer = PlanWriter::create(file("a"));
    ASSERT_TRUE(writer.isOk());
    ASSERT_TRUE(testing::buildTinyPlan(*writer, richOptions()).isOk());
    EXPECT_FALSE(folderIsEmpty());
    EXPECT_FALSE(std::filesystem::exists(file("a")));
  }
  EXPECT_TRUE(folderIsEmpty());
}

TEST_F(Writer, RefusesAManifestThatTheReaderWouldRefuse) {
  {
    auto writer = PlanWriter::create(file("a"));
    ASSERT_TRUE(writer.isOk());
    auto manifest = testing::buildTinyPlan(*writer);
    ASSERT_TRUE(manifest.isOk());
    manifest->programs[0].launches[1].operands[0].index = 9;
    auto status = writer->finish(*manifest);
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    EXPECT_NE(status.toString().find("launches[1] 'store': operands[0]: weight is 9"),
              std::string::npos)
        << status.toString();
    manifest->programs[0].launches[1].operands[0].index = 1;
    manifest->model_name = "\xff\xfe not UTF-8";
    EXPECT_EQ(writer->finish(*manifest).code(), StatusCode::kInternal);
  }
  EXPECT_TRUE(folderIsEmpty());
}

TEST_F(Writer, RefusesMisuse) {
  auto writer = PlanWriter::create(file("a"));
  ASSERT_TRUE(writer.isOk());
  std::byte one[1] = {};
  EXPECT_EQ(writer->append(one).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->align().status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->endSection().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->beginSection(SectionKind::kCode, "c", 64).status().code(),
            StatusCode::kInvalidArgument);
  ASSERT_TRUE(writer->beginSection(SectionKind::kCode, "c").isOk());
  EXPECT_EQ(writer->beginSection(SectionKind::kCode, "d").status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->align(3).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->finish({}).code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(writer->append(one).isOk());
  auto aligned = writer->align(64);
  ASSERT_TRUE(aligned.isOk());
  EXPECT_EQ(*aligned, 64U);
}

} // namespace
} // namespace platen::plan
