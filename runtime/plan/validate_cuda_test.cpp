// What a plan may say of CUDA kernels: the tiny plan with a program for CUDA is accepted and read
// back as written; every number out of range, and whatever contradicts itself, is refused by name.
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

#include <filesystem>
#include <unistd.h>

#include "runtime/plan/codec.h"
#include "runtime/plan/reader.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::plan {
namespace {

using base::Status;
using ::testing::HasSubstr;

TensorMap tableMap() {
  // The table [32, 4] of 4-byte elements, in boxes of 8 rows.
  return {.operand = 0,
          .offset_bytes = 0,
          .element = TensorElement::kU32,
          .swizzle = TensorSwizzle::kNone,
          .dimensions = {{4, 4, 4}, {32, 16, 8}}};
}

struct Loaded {
  Manifest manifest;
  uint64_t file_bytes;
};

/// Host and CUDA programs, two CUDA targets, tensor maps over a weight, a cache and a workspace.
const Loaded &good() {
  static const Loaded loaded = [] {
    auto path = (std::filesystem::temp_directory_path() /
                 ("platen_validate_cuda_" + std::to_string(getpid()) + ".plan"))
                    .string();
    auto writer = PlanWriter::create(path);
    auto manifest = testing::buildTinyPlan(
        *writer, {.cuda_targets = {{"sm_90a", {"sm_90a"}}, {"compute_80", {"compute_80"}}}});
    EXPECT_TRUE(manifest.isOk()) << manifest.status().toString();
    std::vector<Kernel> &kernels = manifest->programs[1].kernels;
    kernels[0].cuda->tensor_maps = {tableMap()};
    kernels[1].cuda->tensor_maps = {
        {2, 0, TensorElement::kF32, TensorSwizzle::k32B, {{4, 4, 4}, {4, 16, 4}, {0, 128, 1}}}};
    kernels[3].cuda->tensor_maps = {
        {TensorMap::kWorkspace, 64, TensorElement::kBF16, TensorSwizzle::kNone, {{0, 2, 64}}}};
    kernels[3].cuda->predicted_ns = 1234.5;
    kernels[3].cuda->is_fallback = true;
    kernels[4].cuda->proof = Proof::kMeasured;
    kernels[4].cuda->measured_ns = 900;
    Phase &phase = kernels[4].cuda->phases[1];
    phase.grid_x.times = 4;
    phase.cluster_x = 2;
    phase.dynamic_shared_bytes = 100 << 10;
    Status status = writer->finish(*manifest);
    EXPECT_TRUE(status.isOk()) << status.toString();
    auto plan = Plan::load(path);
    EXPECT_TRUE(plan.isOk()) << plan.status().toString();
    std::filesystem::remove(path);
    // The writer's own fields apart, what was written.
    manifest->sections = plan->manifest().sections;
    manifest->kernel_abi_version = plan->manifest().kernel_abi_version;
    manifest->cuda_abi_version = kCudaAbiVersion;
    EXPECT_TRUE(plan->manifest() == *manifest);
    return Loaded{*manifest, plan->fileBytes()};
  }();
  return loaded;
}

/// As a loader sees a manifest of a file: through the wire format.
Status check(const Manifest &manifest) {
  std::string encoded = encodeManifest(manifest);
  auto decoded = decodeManifest(std::as_bytes(std::span(encoded)));
  return decoded.isOk() ? validate(*decoded, good().file_bytes) : decoded.status();
}

TEST(ValidateCuda, AcceptsTheGoodPlan) {
  EXPECT_TRUE(check(good().manifest).isOk()) << check(good().manifest).toString();
}

struct Mutation {
  const char *name;
  std::function<void(Manifest &)> apply;
  const char *message; // part of the status
};

void PrintTo(const Mutation &mutation, std::ostream *out) { *out << mutation.name; }

CudaKernel &cuda(Manifest &m, size_t kernel) { return *m.programs[1].kernels[kernel].cuda; }
Phase &phase(Manifest &m) { return cuda(m, 0).phases[0]; }
TensorMap &map(Manifest &m) { return cuda(m, 0).tensor_maps[0]; }
Variant &head(Manifest &m) { return m.programs[1].launches[3].variants[0]; }

const std::vector<Mutation> &mutations() {
  constexpr uint64_t kHuge = ~uint64_t{0};
  static const std::vector<Mutation> all = {
      {"AbiVersionOther", [](Manifest &m) { m.cuda_abi_version = 9; },
       "UNSUPPORTED: manifest: the plan's CUDA kernels speak ABI version 9, this runtime version "
       "1"},
      {"AbiVersionMissing", [](Manifest &m) { m.cuda_abi_version = 0; }, "cuda_abi_version is 0"},
      {"AbiVersionWithoutProgram",
       [](Manifest &m) {
         m.programs.pop_back();
         m.targets.resize(1);
       },
       "cuda_abi_version is 1"},
      {"DeviceUnknown", [](Manifest &m) { m.programs[1].device = "tpu"; },
       "UNSUPPORTED: manifest: programs[1] 'tpu': this runtime knows no device of that kind"},
      {"HostWithCudaKernel", [](Manifest &m) { m.programs[0].kernels[0].cuda.emplace(); },
       "programs[0] 'host': kernels[0] 'embed_i32__test_v1': it is a CUDA kernel"},
      {"CudaWithHostKernel", [](Manifest &m) { m.programs[1].kernels[2].cuda.reset(); },
       "kernels[2] 'sum_i32__ptx_v1': it does not say how it is launched"},
      {"NoPhase", [](Manifest &m) { cuda(m, 0).phases.clear(); }, "the number of phases is 0"},
      {"PhasesMany", [](Manifest &m) { cuda(m, 0).phases.resize(17, phase(m)); },
       "the number of phases is 17"},
      {"EntryEmpty", [](Manifest &m) { phase(m).entry = ""; }, "phases[0]: its entry is empty"},
      {"EntryWithEscape", [](Manifest &m) { phase(m).entry = "\x1b"; }, "control characters"},
      {"GridExtent", [](Manifest &m) { phase(m).grid_y.extent = static_cast<Extent>(4); },
       "phases[0]: grid_y: extent is 4"},
      {"GridPerZero", [](Manifest &m) { phase(m).grid_x.per = 0; }, "grid_x: per is 0"},
      {"GridTimesZero", [](Manifest &m) { phase(m).grid_z.times = 0; }, "grid_z: times is 0"},
      {"GridXHuge", [](Manifest &m) { phase(m).grid_x.times = 1ULL << 31; }, "grid_x: times"},
      {"GridXProduct", [](Manifest &m) { phase(m).grid_x = {Extent::kTokens, 1, 1ULL << 28}; },
       "grid_x: the number of blocks is 4294967296"},
      {"GridYHuge", [](Manifest &m) { phase(m).grid_y.times = 65536; }, "grid_y: times is 65536"},
      {"GridZProduct", [](Manifest &m) { phase(m).grid_z = {Extent::kTokens, 1, 5000}; },
       "grid_z: the number of blocks is 80000"},
      {"ThreadsZero", [](Manifest &m) { phase(m).threads = 0; }, "threads is 0"},
      {"ThreadsMany", [](Manifest &m) { phase(m).threads = 1025; }, "threads is 1025"},
      {"ClusterZero", [](Manifest &m) { phase(m).cluster_z = 0; }, "grid_z: the cluster is 0"},
      {"ClusterUneven", [](Manifest &m) { phase(m).cluster_x = 2; },
       "grid_x: times is 1, no multiple of the cluster's 2"},
      {"ClusterLarge",
       [](Manifest &m) {
         phase(m).grid_x.times = phase(m).cluster_x = 8;
         phase(m).grid_y.times = phase(m).cluster_y = 4;
       },
       "the number of blocks in a cluster is 32"},
      {"SharedHuge", [](Manifest &m) { phase(m).dynamic_shared_bytes = (227 << 10) + 1; },
       "dynamic_shared_bytes is 232449"},
      {"WorkspaceHuge", [](Manifest &m) { m.programs[1].kernels[3].scratch_bytes = kHuge; },
       "scratch_bytes"},
      {"TextWithNewline", [](Manifest &m) { cuda(m, 1).tile = "a\nb"; },
       "operation, tile or family holds control characters"},
      {"PredictionNegative", [](Manifest &m) { cuda(m, 1).predicted_ns = -1; }, "predicted_ns"},
      {"PredictionNoNumber",
       [](Manifest &m) { cuda(m, 1).predicted_ns = std::numeric_limits<double>::quiet_NaN(); },
       "predicted_ns"},
      {"Proof", [](Manifest &m) { cuda(m, 1).proof = static_cast<Proof>(3); }, "proof is 3"},
      {"MeasuredWithoutProof", [](Manifest &m) { cuda(m, 4).proof = Proof::kSimulated; },
       "its proof is no measurement"},
      {"MapsMany", [](Manifest &m) { cuda(m, 0).tensor_maps.resize(17, map(m)); },
       "the number of tensor maps is 17"},
      {"MapOperand", [](Manifest &m) { map(m).operand = 2; },
       "launches[0] 'embed': kernels[0] 'embed_i32__ptx_v1': tensor_maps[0]: operand is 2, but "
       "there are "
       "only 2"},
      {"MapOfNoWorkspace", [](Manifest &m) { map(m).operand = TensorMap::kWorkspace; },
       "its operand of 0 bytes"},
      {"MapOffset", [](Manifest &m) { map(m).offset_bytes = 8; }, "offset_bytes 8"},
      {"MapOffsetOutside", [](Manifest &m) { map(m).offset_bytes = kHuge - 15; },
       "does not lie inside"},
      {"MapElement", [](Manifest &m) { map(m).element = static_cast<TensorElement>(6); },
       "element is 6"},
      {"MapElementStride", [](Manifest &m) { map(m).element = TensorElement::kF16; },
       "the first stride is 4 bytes, must be the element's 2"},
      {"MapSwizzle", [](Manifest &m) { map(m).swizzle = static_cast<TensorSwizzle>(4); },
       "swizzle is 4"},
      {"MapSwizzleRow",
       [](Manifest &m) {
         map(m).swizzle = TensorSwizzle::k32B;
         map(m).dimensions[0].box = 16;
       },
       "the bytes of a box's row is 64"},
      {"MapNoDimension", [](Manifest &m) { map(m).dimensions.clear(); },
       "the number of dimensions is 0"},
      {"MapRank", [](Manifest &m) { map(m).dimensions.resize(6, {1, 16, 1}); },
       "the number of dimensions is 6"},
      {"MapSizeZero", [](Manifest &m) { map(m).dimensions[0].size = 0; }, "size is 0"},
      {"MapSizeHuge", [](Manifest &m) { map(m).dimensions[1].size = (1ULL << 32) + 1; }, "size is"},
      {"MapOutside", [](Manifest &m) { map(m).dimensions[1].size = 33; },
       "which hold 32 of its 33"},
      {"MapInnerOutside", [](Manifest &m) { map(m).dimensions[0].size = 129; },
       "does not lie inside its operand of 512 bytes"},
      {"MapWraps",
       [](Manifest &m) {
         uint64_t most = 1ULL << 32, stride = (1ULL << 40) - 16;
         map(m).dimensions = {{1, 4, 4}, {most, stride, 1}, {most, stride, 1}};
       },
       "overflows"},
      {"MapStride", [](Manifest &m) { map(m).dimensions[1].stride_bytes = 24; },
       "stride_bytes 24 is no multiple of 16"},
      {"MapStrideZero", [](Manifest &m) { map(m).dimensions[1].stride_bytes = 0; },
       "stride_bytes is 0"},
      {"MapStrideHuge", [](Manifest &m) { map(m).dimensions[1].stride_bytes = 1ULL << 40; },
       "stride_bytes is"},
      {"MapBoxZero", [](Manifest &m) { map(m).dimensions[1].box = 0; }, "box is 0"},
      {"MapBoxLarge", [](Manifest &m) { map(m).dimensions[1].box = 257; }, "box is 257"},
      {"MapBoxRow", [](Manifest &m) { map(m).dimensions[0].box = 3; }, "rows of 12 bytes"},
      {"MapOfPages", [](Manifest &m) { cuda(m, 1).tensor_maps[0].dimensions[1].size = 9; },
       "does not lie inside its operand of 128 bytes"},
      {"MapOfAnAlternative",
       [](Manifest &m) {
         cuda(m, 4).tensor_maps = {tableMap()};
         cuda(m, 4).tensor_maps[0].operand = 3;
       },
       "launches[3] 'head': kernels[4] 'head_f32__ptx_v2': tensor_maps[0]: operand is 3"},
      {"MapUsesMany",
       [](Manifest &m) {
         cuda(m, 0).tensor_maps.resize(16, map(m));
         m.programs[1].launches.resize(65540, m.programs[1].launches[0]);
       },
       "more than 2^20 tensor maps"},
      {"AlternativeKernel", [](Manifest &m) { head(m).alternatives = {6}; },
       "variants[0]: alternatives[0]: kernel is 6, but there are only 6"},
      {"SamplerKernel", [](Manifest &m) { m.programs[1].sampler = 6; },
       "programs[1] 'cuda': sampler: kernel is 6, but there are only 6"},
      {"SamplerWithMaps", [](Manifest &m) { m.programs[1].sampler = 0; },
       "sampler: its kernel has tensor maps"},
      {"SamplerOnHost", [](Manifest &m) { m.programs[0].sampler = 0; },
       "programs[0] 'host': sampler: only programs for CUDA may have one"},
      {"AlternativeTwice", [](Manifest &m) { head(m).alternatives = {4, 2, 4}; },
       "alternatives[2]: kernel 4 is named twice"},
      {"AlternativeItself", [](Manifest &m) { head(m).alternatives = {3}; },
       "alternatives[0]: kernel 3 is named twice"},
      {"AlternativesMany",
       [](Manifest &m) {
         m.programs[1].kernels.resize(40, m.programs[1].kernels[2]);
         for (uint32_t kernel = 6; kernel < 23; ++kernel)
           head(m).alternatives.push_back(kernel);
         for (CodeTarget &target : m.targets)
           if (target.program == 1) {
             target.entry_offsets.resize(40, 0);
             target.entry_bytes.resize(40, 1);
           }
       },
       "18 alternatives, more than 16"},
      {"AlternativesOnHost",
       [](Manifest &m) { m.programs[0].launches[0].variants[0].alternatives = {1}; },
       "it has alternatives, which only programs for CUDA may have"},
      {"UnitsOnCuda", [](Manifest &m) { head(m).units.times = 2; }, "it counts units"},
      {"ImageSizesMissing", [](Manifest &m) { m.targets[1].entry_bytes.clear(); },
       "targets[1] 'sm_90a': the sizes of 0 of 6 images"},
      {"ImageEmpty", [](Manifest &m) { m.targets[1].entry_bytes[2] = 0; },
       "kernels[2] 'sum_i32__ptx_v1': an image of 0 bytes"},
      {"ImageOutside", [](Manifest &m) { m.targets[1].entry_bytes[2] = 1 << 20; },
       "an image of 1048576 bytes at offset 0 does not lie inside the code section"},
      {"ImageWraps",
       [](Manifest &m) {
         m.targets[1].entry_offsets[2] = 64;
         m.targets[1].entry_bytes[2] = kHuge - 32;
       },
       "does not lie inside"},
      {"ImageMisaligned",
       [](Manifest &m) {
         m.targets[1].entry_offsets[2] = 32;
         m.targets[1].entry_bytes[2] = 1;
       },
       "offset 32 of its image is no multiple of 64"},
      {"ImagesOnHost", [](Manifest &m) { m.targets[0].entry_bytes.assign(4, 1); },
       "targets[0] 'x86-64': it has images of kernels"},
      {"FeaturesNone", [](Manifest &m) { m.targets[1].features.clear(); },
       "must name one CUDA architecture"},
      {"FeaturesTwo", [](Manifest &m) { m.targets[1].features = {"sm_80", "sm_90"}; },
       "must name one CUDA architecture"},
      {"FeatureOfHost", [](Manifest &m) { m.targets[1].features = {"avx2"}; },
       "must name one CUDA architecture"},
      {"ProgramOfOtherDevice", [](Manifest &m) { m.targets[0].program = 1; }, "target 'x86-64'"},
  };
  return all;
}

class CudaMutation : public ::testing::TestWithParam<Mutation> {};

TEST_P(CudaMutation, IsRefusedByName) {
  Manifest manifest = good().manifest;
  GetParam().apply(manifest);
  Status status = check(manifest);
  ASSERT_FALSE(status.isOk());
  EXPECT_THAT(status.toString(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(All, CudaMutation, ::testing::ValuesIn(mutations()),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(ValidateCuda, FillsInTheLastSizeOfATensor) {
  TensorMap pages{
      0, 32, TensorElement::kF32, TensorSwizzle::kNone, {{4, 4, 4}, {4, 16, 4}, {0, 128, 1}}};
  auto sizeIn = [&](uint64_t bytes) {
    auto dimensions = resolveDimensions(pages, bytes);
    return dimensions.isOk() ? dimensions->back().size : 0;
  };
  EXPECT_EQ(sizeIn(95), 0U);
  EXPECT_EQ(sizeIn(96), 1U);
  EXPECT_EQ(sizeIn(223), 1U);
  EXPECT_EQ(sizeIn(224), 2U);
  EXPECT_EQ(sizeIn(96 + 128 * 1000), 1001U);
  pages.dimensions.back().size = 2;
  EXPECT_EQ(sizeIn(223), 0U);
  EXPECT_EQ(sizeIn(1 << 20), 2U);
}

TEST(ValidateCuda, ArchitecturesSayWhereTheirCodeRuns) {
  struct Case {
    const char *text;
    std::vector<uint32_t> runs, refuses;
  };
  for (const Case &item :
       {Case{"sm_80", {80, 86, 89}, {75, 90, 100}}, Case{"sm_89", {89}, {80, 86, 90}},
        Case{"sm_90", {90}, {89, 100}}, Case{"sm_90a", {90}, {89, 100, 120}},
        Case{"sm_100f", {100, 103}, {90, 110, 120}}, Case{"sm_100a", {100}, {103, 110}},
        Case{"sm_120f", {120, 121}, {110, 100}}, Case{"compute_80", {80, 86, 90, 100, 121}, {75}},
        Case{"compute_90a", {90}, {100, 120}}, Case{"compute_100f", {100, 103}, {110, 120}}}) {
    auto architecture = parseCudaArchitecture(item.text);
    ASSERT_TRUE(architecture) << item.text;
    for (uint32_t device : item.runs)
      EXPECT_TRUE(architecture->runsOn(device)) << item.text << " on " << device;
    for (uint32_t device : item.refuses)
      EXPECT_FALSE(architecture->runsOn(device)) << item.text << " on " << device;
  }
  for (const char *text : {"", "sm_", "sm_8", "sm_80b", "sm_a", "sm_1000", "compute80", "80",
                           "SM_80", "sm_08", "sm_80 ", "sm_8-", "sm_90aa"})
    EXPECT_FALSE(parseCudaArchitecture(text)) << text;
}

} // namespace
} // namespace platen::plan
