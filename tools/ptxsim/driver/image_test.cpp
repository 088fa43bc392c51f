// Fat binaries, cubins and what is chosen of them. Where nvcc is at hand, what it makes is read;
// damaged and cut files are always tried.
#include "tools/ptxsim/driver/fatbin.h"
#include "tools/ptxsim/driver/image.h"
#include "tools/ptxsim/driver/settings.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <sstream>

namespace platen::ptxsim::driver {
namespace {

namespace fs = std::filesystem;

Architecture arch(std::string_view text) { return *parseArchitecture(text); }

TEST(Architecture, NamesAreRead) {
  EXPECT_EQ(arch("sm_90a"), (Architecture{90, 'a'}));
  EXPECT_EQ(arch("compute_103f"), (Architecture{103, 'f'}));
  EXPECT_EQ(arch("120").name(), "sm_120");
  EXPECT_FALSE(parseArchitecture("sm_90b"));
  EXPECT_FALSE(parseArchitecture("sm_"));
}

TEST(Architecture, MachineCodeRunsWhereTheDriverRunsIt) {
  EXPECT_TRUE(cubinRunsOn(arch("80"), arch("86")));
  EXPECT_FALSE(cubinRunsOn(arch("86"), arch("80")));
  EXPECT_FALSE(cubinRunsOn(arch("80"), arch("90")));
  EXPECT_TRUE(cubinRunsOn(arch("90a"), arch("90")));
  EXPECT_FALSE(cubinRunsOn(arch("100a"), arch("103")));
  EXPECT_TRUE(cubinRunsOn(arch("100f"), arch("103")));
  EXPECT_FALSE(cubinRunsOn(arch("103f"), arch("100")));
  EXPECT_FALSE(cubinRunsOn(arch("100f"), arch("120")));
}

TEST(Architecture, PtxCompilesForLaterOnes) {
  EXPECT_TRUE(ptxCompilesFor(arch("80"), arch("120")));
  EXPECT_FALSE(ptxCompilesFor(arch("90"), arch("89")));
  EXPECT_FALSE(ptxCompilesFor(arch("90a"), arch("100")));
  EXPECT_TRUE(ptxCompilesFor(arch("90a"), arch("90a")));
  EXPECT_TRUE(ptxCompilesFor(arch("100f"), arch("103")));
}

base::Result<Settings> settings(std::map<std::string, std::string> values) {
  return Settings::read([&](const char *name) -> const char * {
    auto it = values.find(name);
    return it == values.end() ? nullptr : it->second.c_str();
  });
}

TEST(Settings, AreReadAndChecked) {
  auto s = settings({{"PLATEN_PTXSIM_DEVICES", "sm_80,sm_90a,sm_100"},
                     {"PLATEN_PTXSIM_MEMORY", "2GiB"},
                     {"PLATEN_PTXSIM_PEER", "0-2"},
                     {"PLATEN_PTXSIM_ASYNC", "random"},
                     {"PLATEN_PTXSIM_SEED", "7"},
                     {"PLATEN_PTXSIM_CHECKS", "races"}});
  ASSERT_TRUE(s) << s.status().toString();
  EXPECT_EQ(s->devices.size(), 3u);
  EXPECT_EQ(s->memoryBytes, size_t{2} << 30);
  EXPECT_TRUE(s->peer[2][0] && s->peer[0][2] && !s->peer[0][1]);
  EXPECT_EQ(s->order, AsyncOrder::kRandom);
  EXPECT_EQ(s->seed, 7u);
  EXPECT_TRUE(s->checks.races && !s->checks.initialised && !s->checks.tensorFences);
  EXPECT_TRUE(settings({})->checks.races && settings({})->checks.initialised &&
              settings({})->checks.tensorFences && !settings({})->checks.laneRaces);
  auto more = settings({{"PLATEN_PTXSIM_CHECKS", "lane-races,global-races"}});
  ASSERT_TRUE(more) << more.status().toString();
  EXPECT_TRUE(more->checks.laneRaces && more->checks.globalRaces && !more->checks.races);
  auto all = settings({{"PLATEN_PTXSIM_CHECKS", "all"}});
  EXPECT_TRUE(all->checks.races && all->checks.laneRaces && all->checks.globalRaces);
  EXPECT_FALSE(settings({{"PLATEN_PTXSIM_CHECKS", "none"}})->checks.races);
  EXPECT_TRUE(settings({{"PLATEN_PTXSIM_DEVICES", "none"}})->devices.empty());
  for (auto [name, value] :
       {std::pair("PLATEN_PTXSIM_DEVICES", "sm_x"), std::pair("PLATEN_PTXSIM_MEMORY", "2 GB"),
        std::pair("PLATEN_PTXSIM_ASYNC", "late"), std::pair("PLATEN_PTXSIM_SEED", "1x"),
        std::pair("PLATEN_PTXSIM_PEER", "0+1"), std::pair("PLATEN_PTXSIM_CHECKS", "racing"),
        std::pair("PLATEN_PTXSIM_COUNTERS", "csv")}) {
    auto bad = settings({{name, value}});
    ASSERT_FALSE(bad) << name;
    EXPECT_NE(bad.status().message().find(value), std::string::npos) << bad.status().message();
  }
}

TEST(Ptx, HeadersAreScannedWithoutComments) {
  auto header =
      scanPtx("// .version 1.0 .entry no\n.version 8.8\n.target sm_90a, debug\n/* .entry\n"
              "no2 */ .visible .entry yes(\n.param .u64 a)\n{ ret; }\n.entry too{ret;}");
  ASSERT_TRUE(header) << header.status().toString();
  EXPECT_EQ(header->version, 88);
  EXPECT_EQ(header->target, arch("90a"));
  EXPECT_EQ(header->entries, (std::vector<std::string>{"yes", "too"}));
  EXPECT_FALSE(scanPtx("nothing"));
  EXPECT_FALSE(scanPtx(".version x.y\n.target sm_80"));
}

constexpr char kSource[] = R"(
extern "C" __global__ void add(const float *a, const float *b, float *c, int n) {
  __shared__ float tile[128];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = i < n ? a[i] : 0;
  __syncthreads();
  if (i < n) c[i] = tile[threadIdx.x ^ 1] + b[i];
}
extern "C" __global__ void empty() {}
)";

/// What nvcc makes of kSource, once for all tests; empty without nvcc.
class Made {
public:
  static std::string file(const std::string &name, const std::string &options) {
    static Made made;
    if (!made.hasNvcc_)
      return "";
    fs::path out = made.folder_ / name;
    if (!fs::exists(out)) {
      std::string command = "nvcc " + options + " -o " + out.string() + " " +
                            (made.folder_ / "kernels.cu").string() + " > /dev/null 2>&1";
      if (std::system(command.c_str()) != 0)
        return "";
    }
    std::ifstream file(out, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

private:
  Made() : hasNvcc_(std::system("nvcc --version > /dev/null 2>&1") == 0) {
    std::string pattern = (fs::temp_directory_path() / "ptxsim_image.XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(folder_ / "kernels.cu") << kSource;
  }
  ~Made() { fs::remove_all(folder_); }
  bool hasNvcc_;
  fs::path folder_;
};

#define REQUIRE_MADE(bytes)                                                                        \
  if ((bytes).empty())                                                                             \
  GTEST_SKIP() << "needs nvcc"

std::span<const std::byte> bytesOf(const std::string &text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

const char kTwo[] = "-fatbin -gencode arch=compute_80,code=[sm_80,compute_80] "
                    "-gencode arch=compute_90a,code=[sm_90a,compute_90a]";

TEST(Cubin, SaysItsArchitectureKernelsAndResources) {
  for (const char *name : {"80", "90a", "100f", "120"}) {
    std::string file =
        Made::file(std::string(name) + ".cubin", "-cubin -arch=sm_" + std::string(name));
    REQUIRE_MADE(file);
    auto cubin = parseCubin(bytesOf(file));
    ASSERT_TRUE(cubin) << cubin.status().toString();
    // Family code is like plain code for a driver; only the container tells it.
    EXPECT_EQ(cubin->architecture, arch(std::string(name) == "100f" ? "100" : name));
    ASSERT_EQ(cubin->kernels.size(), 2u);
    const CubinKernel *kernel = cubin->kernel("add");
    ASSERT_TRUE(kernel);
    EXPECT_EQ(kernel->sharedBytes, 512u) << name;
    EXPECT_GE(kernel->registers, 8) << name;
    EXPECT_LE(kernel->registers, 32) << name;
    auto size = elfBytes(file.data());
    ASSERT_TRUE(size);
    EXPECT_EQ(*size, file.size());
  }
}

TEST(Cubin, IsRefusedWithoutItsPtx) {
  std::string file = Made::file("80.cubin", "-cubin -arch=sm_80");
  REQUIRE_MADE(file);
  auto choice = chooseImage(file, arch("86"), "");
  EXPECT_FALSE(choice.chosen);
  EXPECT_EQ(choice.error.problem, ImageProblem::kNoBinary);
  EXPECT_NE(choice.error.message.find(cubinHash(bytesOf(file))), std::string::npos)
      << choice.error.message;
  // A folder with its PTX helps; PTX of something else does not.
  std::string pattern = (fs::temp_directory_path() / "ptxsim_side.XXXXXX").string();
  fs::path folder = mkdtemp(pattern.data());
  fs::path side = folder / (cubinHash(bytesOf(file)) + ".ptx");
  std::ofstream(side) << ".version 8.0\n.target sm_80\n.entry add() { ret; }\n";
  choice = chooseImage(file, arch("86"), folder.string());
  EXPECT_FALSE(choice.chosen);
  EXPECT_NE(choice.error.message.find("lacks the cubin's kernels empty"), std::string::npos)
      << choice.error.message;
  std::ofstream(side) << Made::file("80.ptx", "-ptx -arch=compute_80");
  choice = chooseImage(file, arch("86"), folder.string());
  EXPECT_TRUE(choice.chosen) << choice.error.message;
  EXPECT_EQ(chooseImage(file, arch("90"), folder.string()).error.problem, ImageProblem::kNoBinary);
  fs::remove_all(folder);
}

TEST(Fatbin, TheBestCubinThenTheNewestPtx) {
  for (const char *packing :
       {"", " --no-compress", " --compress-mode=speed", " --compress-mode=size"}) {
    std::string name = std::string("two") + (packing[0] ? packing + 3 : "") + ".fatbin";
    std::string file = Made::file(name, kTwo + std::string(packing));
    REQUIRE_MADE(file);
    auto on80 = chooseImage(file, arch("80"), ""), on89 = chooseImage(file, arch("89"), ""),
         on90 = chooseImage(file, arch("90"), ""), on100 = chooseImage(file, arch("100"), ""),
         on75 = chooseImage(file, arch("75"), "");
    ASSERT_TRUE(on80.chosen && on89.chosen && on90.chosen && on100.chosen)
        << packing << on80.error.message << on90.error.message << on100.error.message;
    EXPECT_EQ(on80.chosen->cubin->architecture, arch("80"));
    EXPECT_EQ(on89.chosen->cubin->architecture, arch("80"));
    EXPECT_EQ(on90.chosen->cubin->architecture, arch("90a"));
    EXPECT_NE(on90.chosen->ptx.find(".target sm_90a"), std::string::npos);
    EXPECT_FALSE(on100.chosen->cubin); // sm_90a PTX compiles for 9.0 alone
    EXPECT_NE(on100.chosen->ptx.find(".target sm_80"), std::string::npos);
    EXPECT_EQ(on75.error.problem, ImageProblem::kNoBinary);
  }
}

TEST(Fatbin, WithoutTheCubinsPtxItIsRefused) {
  std::string file = Made::file("lone.fatbin", "-fatbin -gencode arch=compute_80,code=sm_80 "
                                               "-gencode arch=compute_90,code=compute_90");
  REQUIRE_MADE(file);
  auto choice = chooseImage(file, arch("80"), ""); // the PTX is too new for the device
  EXPECT_FALSE(choice.chosen);
  EXPECT_EQ(choice.error.problem, ImageProblem::kNoBinary);
  EXPECT_NE(choice.error.message.find("sm_90"), std::string::npos) << choice.error.message;
}

TEST(Fatbin, TheWrapperThatNvccEmbedsIsFollowed) {
  std::string file = Made::file("two.fatbin", kTwo);
  REQUIRE_MADE(file);
  struct {
    uint32_t magic = kFatbinWrapperMagic, version = 1;
    const void *container;
    void *unused = nullptr;
  } wrapper;
  wrapper.container = file.data();
  auto image = readImage(&wrapper);
  ASSERT_TRUE(image);
  EXPECT_EQ(*image, file);
}

TEST(Hostile, DamagedFilesAreRefusedOrReadButNeverCrash) {
  std::string fatbin = Made::file("two.fatbin", kTwo);
  std::string cubin = Made::file("90a.cubin", "-cubin -arch=sm_90a");
  REQUIRE_MADE(fatbin);
  std::mt19937 random(1);
  int refused = 0;
  for (const std::string &file : {fatbin, cubin})
    for (int i = 0; i < 400; ++i) {
      std::string bad = file;
      if (i % 4 == 0)
        bad.resize(random() % bad.size());
      for (int flip = 0; flip < 3 && !bad.empty(); ++flip) // headers are hit more often
        bad[random() % std::min<size_t>(bad.size(), i % 2 ? 200 : bad.size())] ^=
            static_cast<char>(1 << random() % 8);
      refused += !chooseImage(bad, arch("90"), "").chosen;
    }
  EXPECT_GT(refused, 200);
}

TEST(Hostile, SizesBeyondTheFileAreCorrupt) {
  struct {
    uint32_t magic = kFatbinMagic;
    uint16_t version = 1, header = 16;
    uint64_t size = 1000;
  } header;
  std::string file(reinterpret_cast<const char *>(&header), sizeof header);
  EXPECT_FALSE(parseFatbin(bytesOf(file)));
  header.size = 0;
  file.assign(reinterpret_cast<const char *>(&header), sizeof header);
  auto empty = parseFatbin(bytesOf(file));
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->empty());
  EXPECT_EQ(chooseImage(file, arch("80"), "").error.problem, ImageProblem::kNoBinary);
}

} // namespace
} // namespace platen::ptxsim::driver
