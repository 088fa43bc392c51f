// Every family on every architecture: compiles, spills nothing, uses the instructions it is meant
// to. A template once for each architecture; PLATEN_CUDA_ALL=1 in the environment compiles the
// whole product of requests, tiles and architectures (minutes).
#include "compiler/emit/cuda/emit.h"
#include "compiler/emit/cuda/libraries.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <unistd.h>

namespace platen::compiler {
namespace {

using namespace kernels;

#define SKIP_WITHOUT_NVRTC()                                                                       \
  if (const base::Status found = findCudaCompiler(); !found.isOk())                                \
  GTEST_SKIP() << found.toString()

bool wholeProduct() {
  const char *all = std::getenv("PLATEN_CUDA_ALL");
  return all != nullptr && *all != '\0' && *all != '0';
}

MatmulSpec matmul(const char *packing, uint64_t k, std::vector<uint64_t> n) {
  MatmulSpec spec;
  spec.packing = *parsePacking(packing);
  spec.k = k;
  spec.n = std::move(n);
  return spec;
}

/// y = gelu(gate) * up + row operand.
MatmulSpec gated(const char *packing, uint64_t k, uint64_t n) {
  MatmulSpec spec = matmul(packing, k, {n, n});
  spec.mode = MatmulSpec::Mode::kGated;
  spec.rowOperands = 1;
  ScalarBlock &block = spec.epilogue;
  const auto gate = block.input(0), up = block.input(1), row = block.input(2);
  block.yield(block.add(block.mul(block.geluTanh(gate), up), row));
  return spec;
}

PagedAttentionSpec attention(uint32_t heads, uint32_t kvHeads, uint32_t headDim) {
  PagedAttentionSpec spec;
  spec.heads = heads, spec.kvHeads = kvHeads, spec.headDim = headDim;
  spec.scale = 0.0625F;
  return spec;
}

QkvFinishSpec qkvFinish(uint32_t heads, uint32_t kvHeads, uint32_t headDim) {
  QkvFinishSpec spec;
  spec.heads = heads, spec.kvHeads = kvHeads, spec.headDim = headDim;
  spec.qNorm = spec.kNorm = true;
  spec.ropeDim = headDim;
  return spec;
}

/// Requests of every family; sizes of Gemma 3 270M, and odd ones. `all`: every packing and head
/// size, which one architecture is enough for.
std::vector<CudaKernelSpec> requests(bool all) {
  std::vector<CudaKernelSpec> specs = {
      matmul("panel16.f32", 640, {1024, 256, 250}),
      matmul("panel16.bf16", 640, {1024, 256, 250}),
      gated("panel16.bf16", 640, 2048),
      matmul("panel16.q8g32.f16", 2048, {640}),
      gated("panel16.q4g32.f16z", 640, 2048),
      QuantizeRowsSpec{Extent::kTokens, 96},
      normAddNormProgram(640, 1e-6F, 1e-6F, true),
      EmbedSpec{262144, 640, *parsePacking("panel16.bf16"), 25.25F},
      EmbedSpec{262144, 640, *parsePacking("panel16.q4g32.f16"), 25.25F},
      qkvFinish(4, 1, 256),
      SelectRowsSpec{640},
      SampleSpec{262144},
  };
  PagedAttentionSpec full = attention(16, 4, 64);
  full.window = 512, full.softcap = 50, full.sinks = true, full.cacheDtype = base::DType::kBF16;
  specs.emplace_back(full);
  full.heads = 32, full.kvHeads = 8, full.headDim = 128;
  specs.emplace_back(full);
  specs.emplace_back(attention(4, 1, 256));
  specs.emplace_back(attention(4, 2, 16));
  if (!all)
    return specs;
  for (const Packing &packing : kPackings) {
    if (packing.isNarrowFloat())
      continue;
    if (packing.layout == Packing::Layout::kPanel16)
      specs.emplace_back(matmul(packing.name.data(), 96, {24}));
    if (packing.element != Packing::Element::kI32)
      specs.emplace_back(EmbedSpec{100, 96, packing, 1});
  }
  specs.emplace_back(gated("panel16.q8g32.f32z", 2048, 640));
  specs.emplace_back(matmul("panel16.bf16", 37, {5}));
  specs.emplace_back(addNormProgram(40, 1e-6F));
  QkvFinishSpec interleaved = qkvFinish(8, 2, 20);
  interleaved.interleaved = interleaved.separateInputs = true;
  interleaved.ropeDim = 8, interleaved.cacheDtype = base::DType::kBF16;
  specs.emplace_back(interleaved);
  for (uint32_t headDim : {32U, 64U, 80U, 128U})
    specs.emplace_back(attention(4, 1, headDim));
  return specs;
}

/// Requests that only some architectures have families for, and f16 once for each family: on other
/// architectures it is what bf16 is.
std::vector<CudaKernelSpec> narrowRequests(const CudaArchitecture &architecture) {
  std::vector<CudaKernelSpec> specs;
  if (architecture.major * 10 + architecture.minor >= 89)
    specs = {matmul("panel16.f8", 640, {1024, 250}), gated("panel16.f8", 100, 640)};
  if (architecture.major == 9 || architecture.name == "sm_80" || architecture.name == "sm_100f")
    specs.push_back(matmul("panel16.f16", 640, {1024, 250}));
  if (architecture.major >= 10)
    specs.insert(specs.end(),
                 {matmul("panel16.f4", 640, {1024, 250}), gated("panel16.f4", 100, 640)});
  return specs;
}

struct Built {
  CudaKernelInfo info;
  CudaCode code;
};

/// The template that makes a kernel: its name up to the numbers of the tile.
std::string templateOf(const CudaKernelInfo &info) {
  const std::string kind = info.tile.substr(0, info.tile.find_first_of("0123456789"));
  const std::string types =
      info.operation == "matmul" ? info.name.substr(0, info.name.find("__")) : info.operation;
  return types + info.family + kind;
}

std::vector<Built> build(const CudaArchitecture &architecture) {
  std::vector<Built> built;
  std::vector<CudaJob> jobs;
  std::set<std::string> templates;
  std::vector<CudaKernelSpec> specs = requests(wholeProduct() && architecture.name == "sm_80");
  for (CudaKernelSpec &spec : narrowRequests(architecture))
    specs.push_back(std::move(spec));
  for (const CudaKernelSpec &spec : specs) {
    auto candidates = cudaCandidates(spec, architecture);
    EXPECT_TRUE(candidates.isOk()) << candidates.status().toString();
    if (!candidates.isOk())
      continue;
    for (CudaKernelInfo &info : candidates.value()) {
      if (!templates.insert(templateOf(info)).second && !wholeProduct())
        continue;
      jobs.push_back({info.name, info.source, std::string(architecture.name)});
      built.push_back({std::move(info), {}});
    }
  }
  CudaEmitOptions options;
  options.processes = 2;
  options.refuseSpills = false; // to see all of them
  auto code = emitCuda(jobs, options);
  EXPECT_TRUE(code.isOk()) << code.status().toString();
  if (!code.isOk())
    return {};
  for (size_t i = 0; i < built.size(); ++i)
    built[i].code = std::move(code.value()[i]);
  return built;
}

class OnArchitecture : public testing::TestWithParam<int> {
protected:
  const CudaArchitecture &architecture() const {
    return kCudaArchitectures[static_cast<size_t>(GetParam())];
  }
};

/// nvdisasm, or nothing.
std::string disassembler() {
  const std::vector<std::string> found = cudaToolkitFiles("bin", "nvdisasm");
  return found.empty() ? "" : found.front();
}

/// SASS of a cubin.
std::string disassemble(const std::string &program, const std::string &cubin) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("platen_" + std::to_string(getpid()) + ".cubin");
  std::ofstream(path, std::ios::binary) << cubin;
  std::string text;
  FILE *pipe = popen(("'" + program + "' '" + path.string() + "' 2>&1").c_str(), "r");
  char buffer[4096];
  while (pipe != nullptr && std::fgets(buffer, sizeof buffer, pipe) != nullptr)
    text += buffer;
  if (pipe != nullptr)
    pclose(pipe);
  std::filesystem::remove(path);
  return text;
}

void checkResources(const Built &one, const CudaArchitecture &architecture) {
  ASSERT_EQ(one.code.entries.size(), one.info.phases.size());
  for (const CudaEntryResources &entry : one.code.entries) {
    EXPECT_EQ(entry.spillStoreBytes + entry.spillLoadBytes + entry.stackBytes, 0U);
    const auto phase = std::find_if(one.info.phases.begin(), one.info.phases.end(),
                                    [&](const CudaPhase &p) { return p.entry == entry.entry; });
    ASSERT_NE(phase, one.info.phases.end());
    EXPECT_LE(entry.registers * phase->threads, 65536U);
    EXPECT_LE(entry.staticSharedBytes + phase->dynamicSharedBytes, architecture.sharedPerBlock);
  }
}

TEST_P(OnArchitecture, EveryFamilyCompilesWithoutSpills) {
  SKIP_WITHOUT_NVRTC();
  const std::vector<Built> all = build(architecture());
  for (const Built &one : all) {
    SCOPED_TRACE(one.info.name);
    // The image is NVIDIA's container: the machine code as it is, the PTX without its comments.
    EXPECT_EQ(one.code.image.substr(0, 4), "\x50\xed\x55\xba");
    EXPECT_NE(one.code.image.find(one.code.cubin), std::string::npos);
    for (const CudaPhase &phase : one.info.phases)
      for (const std::string &text : {one.code.ptx, one.code.image})
        EXPECT_NE(text.find(".entry " + phase.entry + "("), std::string::npos) << phase.entry;
    if (architecture().isPtx)
      EXPECT_TRUE(one.code.cubin.empty());
    else
      checkResources(one, architecture());
  }
  const std::string program = disassembler();
  if (program.empty() && !architecture().isPtx)
    GTEST_SKIP() << "compiled, but no nvdisasm to read the instructions with; tools/setup --cuda "
                    "installs one";
  for (const Built &one : all) {
    if (one.info.expectedSass.empty() || architecture().isPtx)
      continue;
    const std::string sass = disassemble(program, one.code.cubin);
    for (const std::string &name : one.info.expectedSass)
      EXPECT_THAT(sass, testing::HasSubstr(" " + name)) << one.info.name;
  }
}

/// Indices of the architectures. sm_86 takes the families of sm_80 with the shared memory of sm_89,
/// compute_90 those of compute_80: they are compiled for the whole product alone.
std::vector<int> testedArchitectures() {
  std::vector<int> indices;
  for (size_t i = 0; i < kCudaArchitectures.size(); ++i)
    if (wholeProduct() ||
        (kCudaArchitectures[i].name != "sm_86" && kCudaArchitectures[i].name != "compute_90"))
      indices.push_back(static_cast<int>(i));
  return indices;
}
INSTANTIATE_TEST_SUITE_P(Cuda, OnArchitecture, testing::ValuesIn(testedArchitectures()),
                         [](const auto &info) {
                           return std::string(
                               kCudaArchitectures[static_cast<size_t>(info.param)].name);
                         });

TEST(EmitCuda, NamesAreIdentifiersAndTellRequestsApart) {
  std::map<std::string, std::string> keys;
  for (const CudaKernelSpec &spec : requests(true)) {
    const auto candidates = cudaCandidates(spec, *findCudaArchitecture("sm_80"));
    ASSERT_TRUE(candidates.isOk()) << candidates.status().toString();
    uint64_t last = 0;
    for (const CudaKernelInfo &info : candidates.value()) {
      EXPECT_TRUE(std::all_of(info.name.begin(), info.name.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_';
      })) << info.name;
      EXPECT_TRUE(keys.emplace(info.name, info.key).second) << info.name;
      EXPECT_GE(info.maxExtent, last);
      EXPECT_GT(info.predictedNs, 0);
      last = info.maxExtent;
    }
    EXPECT_EQ(last, UINT64_MAX) << "some kernel takes every extent";
  }
}

TEST(EmitCuda, ErrorsNameKernelAndArchitecture) {
  SKIP_WITHOUT_NVRTC();
  const std::vector<CudaJob> jobs = {
      {"broken", "extern \"C\" __global__ void broken() { x; }", "sm_80"}};
  const auto code = emitCuda(jobs);
  ASSERT_FALSE(code.isOk());
  EXPECT_THAT(code.status().toString(), testing::HasSubstr("broken for sm_80"));
  EXPECT_THAT(code.status().message(), testing::HasSubstr("\"x\" is undefined"));
}

TEST(EmitCuda, SpillsAreRefused) {
  SKIP_WITHOUT_NVRTC();
  const std::vector<CudaJob> jobs = {{"stacked",
                                      "extern \"C\" __global__ void stacked(int *p, int n) { int "
                                      "a[64]; for (int i = 0; i < 64; ++i) "
                                      "a[i] = p[i]; for (int i = 0; i < n; ++i) a[p[i] & 63] += i; "
                                      "for (int i = 0; i < 64; ++i) p[i] "
                                      "= a[i]; }",
                                      "sm_80"}};
  const auto refused = emitCuda(jobs);
  ASSERT_FALSE(refused.isOk());
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("256 bytes of stack"));
  CudaEmitOptions lax;
  lax.refuseSpills = false;
  EXPECT_TRUE(emitCuda(jobs, lax).isOk());
}

TEST(EmitCuda, SameBytesWhateverTheProcesses) {
  SKIP_WITHOUT_NVRTC();
  std::vector<CudaJob> jobs;
  for (uint64_t width : {32U, 64U, 96U}) {
    const auto candidates = cudaCandidates(SelectRowsSpec{width}, *findCudaArchitecture("sm_90a"));
    ASSERT_TRUE(candidates.isOk());
    for (const CudaKernelInfo &info : candidates.value())
      jobs.push_back({info.name, info.source, "sm_90a"});
  }
  CudaEmitOptions many;
  many.processes = 3;
  size_t calls = 0;
  many.progress = [&](size_t done, size_t total) {
    EXPECT_EQ(done, ++calls);
    EXPECT_EQ(total, 3U);
  };
  const auto one = emitCuda(jobs), three = emitCuda(jobs, many);
  ASSERT_TRUE(one.isOk() && three.isOk()) << one.status().toString();
  EXPECT_EQ(calls, 3U);
  for (size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(one.value()[i].name, jobs[i].name);
    EXPECT_EQ(one.value()[i].ptx, three.value()[i].ptx);
    EXPECT_EQ(one.value()[i].cubin, three.value()[i].cubin);
    EXPECT_EQ(one.value()[i].image, three.value()[i].image);
  }
}

TEST(EmitCuda, CancelsAndRefusesByName) {
  const std::vector<CudaJob> jobs = {{"any", "", "sm_80"}};
  CudaEmitOptions options;
  options.cancelled = [] { return true; };
  EXPECT_EQ(emitCuda(jobs, options).status().code(), base::StatusCode::kCancelled);
  options = {};
  options.nvrtc = "/nowhere/libnvrtc.so";
  EXPECT_THAT(emitCuda(jobs, options).status().message(),
              testing::HasSubstr("/nowhere/libnvrtc.so"));
  EXPECT_THAT(findCudaCompiler(options).message(), testing::HasSubstr("tools/setup --cuda"));
  options = {};
  options.worker = "/nowhere/worker";
  EXPECT_THAT(emitCuda(jobs, options).status().message(), testing::HasSubstr("/nowhere/worker"));
  options.worker = "/bin/false"; // ends without an answer
  EXPECT_FALSE(emitCuda(jobs, options).isOk());
}

TEST(EmitCuda, ASilentWorkerTimesOut) {
  const std::filesystem::path script =
      std::filesystem::path(testing::TempDir()) / ("platen_silent_" + std::to_string(getpid()));
  std::ofstream(script) << "#!/bin/sh\nexec sleep 60\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  CudaEmitOptions options;
  options.worker = script.string();
  options.timeoutSeconds = 1;
  const std::vector<CudaJob> jobs = {{"slow", "", "sm_80"}};
  const auto code = emitCuda(jobs, options);
  std::filesystem::remove(script);
  EXPECT_EQ(code.status().code(), base::StatusCode::kResourceExhausted);
  EXPECT_THAT(code.status().toString(), testing::HasSubstr("slow for sm_80"));
}

TEST(EmitCuda, AMissingFatbinLibraryIsNamed) {
  SKIP_WITHOUT_NVRTC();
  CudaEmitOptions options;
  options.nvfatbin = "/nowhere/libnvfatbin.so";
  EXPECT_THAT(findCudaCompiler(options).message(), testing::HasSubstr("/nowhere/libnvfatbin.so"));
}

TEST(PtxasLog, ResourcesOfEachEntry) {
  const auto entries = parsePtxasLog(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'a' for 'sm_80'\n"
      "ptxas info    : Function properties for a\n"
      "    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
      "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 376 bytes cmem[0]\n"
      "ptxas info    : Compiling entry function 'b' for 'sm_80'\n"
      "ptxas info    : Used 8 registers, 352 bytes cmem[0]");
  ASSERT_TRUE(entries.isOk());
  ASSERT_EQ(entries.value().size(), 2U);
  const CudaEntryResources &a = entries.value()[0];
  EXPECT_EQ(a.entry, "a");
  EXPECT_EQ(a.registers, 40U);
  EXPECT_EQ(a.staticSharedBytes, 1024U);
  EXPECT_EQ(a.stackBytes, 16U);
  EXPECT_EQ(a.spillStoreBytes, 8U);
  EXPECT_EQ(a.spillLoadBytes, 4U);
  EXPECT_EQ(entries.value()[1].registers, 8U);
  EXPECT_FALSE(parsePtxasLog("ptxas info : Compiling entry function 'a' for 'sm_80'\n").isOk());
}

} // namespace
} // namespace platen::compiler
