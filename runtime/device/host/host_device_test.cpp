// The host device's own promises: fixed contiguous ranges, wake-ups that are never lost, float
// mode, scratch, pinning, page size and code placement.
#include "runtime/device/host/host_device.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sstream>
#include <sys/mman.h>
#include <xmmintrin.h>

#include "runtime/base/cpus.h"
#include "runtime/device/host/cpu_features.h"
#include "runtime/device/host/host_code.h"
#include "runtime/device/host/host_weights.h"
#include "runtime/device/host/topology.h"
#include "runtime/device/host/worker_pool.h"

namespace platen::device {
namespace {

std::unique_ptr<HostDevice> makeHost(const HostOptions &options) {
  auto device = HostDevice::create(options);
  EXPECT_TRUE(device.isOk()) << device.status().toString();
  return std::move(*device);
}

/// Binds and launches.
base::Status run(Device &device, const Kernel &kernel, std::span<void *const> addresses,
                 int64_t units) {
  std::vector<Operand> operands;
  for (void *address : addresses)
    operands.push_back({.address = address, .bytes = 0});
  PLATEN_ASSIGN_OR_RETURN(auto bound, device.bind(kernel, operands));
  return device.launch({.kernel = bound.get(), .extents = {}, .units = units});
}

struct Range {
  int64_t begin, end;
};

/// operands: Range [units], indexed by the range's first unit. Records the range it was given.
void recordRange(void *const *operands, int64_t begin, int64_t end) {
  static_cast<Range *>(operands[0])[begin] = {begin, end};
}

TEST(HostDevice, RangesAreContiguousBalancedAndFixed) {
  auto device = makeHost({.threads = 4});
  auto kernel = device->registerFunction(recordRange, 0);
  ASSERT_TRUE(kernel.isOk());
  for (int64_t units = 1; units < 40; ++units) {
    std::vector<Range> ranges(static_cast<size_t>(units), Range{-1, -1});
    void *operands[] = {ranges.data()};
    ASSERT_TRUE(run(*device, *kernel, operands, units).isOk());
    std::vector<int64_t> sizes;
    for (int64_t at = 0; at < units; at = ranges[static_cast<size_t>(at)].end) {
      ASSERT_EQ(ranges[static_cast<size_t>(at)].begin, at) << units;
      sizes.push_back(ranges[static_cast<size_t>(at)].end - at);
    }
    EXPECT_EQ(sizes.size(), static_cast<size_t>(std::min<int64_t>(units, 4)));
    EXPECT_LE(sizes.front() - sizes.back(), 1);
  }
}

/// operands: int64 [units] counters, then the sum of all of them so far. Plain memory: the barrier
/// alone orders it.
void increment(void *const *operands, int64_t begin, int64_t end) {
  for (int64_t unit = begin; unit < end; ++unit)
    ++static_cast<int64_t *>(operands[0])[unit];
}
/// Each unit reads its neighbour, which another thread wrote in the launch before.
void copyFromNeighbour(void *const *operands, int64_t begin, int64_t end) {
  const auto *from = static_cast<const int64_t *>(operands[0]);
  auto *to = static_cast<int64_t *>(operands[1]);
  auto units = *static_cast<const int64_t *>(operands[2]);
  for (int64_t unit = begin; unit < end; ++unit)
    to[unit] = from[(unit + units / 2) % units];
}

class HostBarrier : public testing::TestWithParam<std::pair<unsigned, unsigned>> {};

TEST_P(HostBarrier, OrdersLaunchesAndLosesNoWakeUp) {
  auto [threads, spin_us] = GetParam();
  auto device = makeHost({.threads = threads, .spin_us = spin_us});
  auto add = device->registerFunction(increment, 0),
       copy = device->registerFunction(copyFromNeighbour, 0);
  ASSERT_TRUE(add.isOk() && copy.isOk());
  int64_t units = 8;
  std::vector<int64_t> counters(8), copies(8);
  void *add_operands[] = {counters.data()};
  void *copy_operands[] = {counters.data(), copies.data(), &units};
  for (int64_t round = 1; round <= 3000; ++round) {
    ASSERT_TRUE(run(*device, *add, add_operands, units).isOk());
    ASSERT_TRUE(run(*device, *copy, copy_operands, units).isOk());
    ASSERT_THAT(copies, testing::Each(round));
    if (round % 1000 == 0) // long enough for every worker to fall asleep
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

INSTANTIATE_TEST_SUITE_P(Spins, HostBarrier,
                         testing::Values(std::pair{1U, 50U}, std::pair{2U, 50U}, std::pair{2U, 1U},
                                         std::pair{2U, 0U}, std::pair{5U, 50U}));

TEST(HostDevice, LaunchesFromDifferentThreadsInTurn) {
  auto device = makeHost({.threads = 2, .pin_caller = true});
  auto add = device->registerFunction(increment, 0);
  std::vector<int64_t> counters(6);
  void *operands[] = {counters.data()};
  for (int round = 0; round < 20; ++round)
    std::thread([&] { EXPECT_TRUE(run(*device, *add, operands, 6).isOk()); }).join();
  EXPECT_THAT(counters, testing::Each(20));
}

/// operands: scratch address seen by each unit; then the scratch itself. Fills the scratch.
void useScratch(void *const *operands, int64_t begin, int64_t end) {
  std::memset(operands[1], 0x5a, 100'000);
  for (int64_t unit = begin; unit < end; ++unit)
    static_cast<void **>(operands[0])[unit] = operands[1];
}

TEST(HostDevice, EachThreadHasItsOwnAlignedScratch) {
  auto device = makeHost({.threads = 3});
  auto small = device->registerFunction(useScratch, 100'000),
       large = device->registerFunction(useScratch, 5'000'000);
  ASSERT_TRUE(small.isOk() && large.isOk());
  for (const Kernel &kernel : {*small, *large}) {
    std::vector<void *> seen(3);
    void *operands[] = {seen.data()};
    ASSERT_TRUE(run(*device, kernel, operands, 3).isOk());
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(seen[i]) % 64, 0U);
      for (size_t j = 0; j < i; ++j)
        EXPECT_GE(std::abs(static_cast<char *>(seen[i]) - static_cast<char *>(seen[j])), 100'000);
    }
  }
}

void recordFloatMode(void *const *operands, int64_t begin, int64_t end) {
  for (int64_t unit = begin; unit < end; ++unit)
    static_cast<unsigned *>(operands[0])[unit] = _mm_getcsr() & ~0x3fU;
}

TEST(HostDevice, KernelsRunInTheDefaultFloatMode) {
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040); // flush denormals to zero, as -ffast-math programs do
  auto device = makeHost({.threads = 2});
  auto kernel = device->registerFunction(recordFloatMode, 0);
  for (size_t units : {size_t{1}, size_t{4}}) {
    std::vector<unsigned> modes(units);
    void *operands[] = {modes.data()};
    ASSERT_TRUE(run(*device, *kernel, operands, static_cast<int64_t>(units)).isOk());
    EXPECT_THAT(modes, testing::Each(0x1f80U));
  }
  EXPECT_EQ(_mm_getcsr() & 0x8040U, 0x8040U) << "the caller's mode is its own";
  _mm_setcsr(before);
}

void recordCpu(void *const *operands, int64_t begin, int64_t end) {
  for (int64_t unit = begin; unit < end; ++unit)
    static_cast<int *>(operands[0])[unit] = sched_getcpu();
}

TEST(HostDevice, PinsThreadsInsideTheAffinityMask) {
  auto cpus = base::allowedCpus();
  auto threads = static_cast<unsigned>(cpus.size());
  std::vector<int> seen(threads);
  std::thread([&] {
    auto device = makeHost({.threads = threads, .pin_caller = true});
    auto kernel = device->registerFunction(recordCpu, 0);
    void *operands[] = {seen.data()};
    for (int round = 0; round < 100; ++round) {
      ASSERT_TRUE(run(*device, *kernel, operands, threads).isOk());
      ASSERT_EQ(seen, device->report().cpus);
    }
    EXPECT_EQ(makeHost({})->report().cpus.size(), makeHost({})->report().threads)
        << "a second device may use all CPUs again";
    EXPECT_EQ(makeHost({.threads = threads})->report().cpus, device->report().cpus);
  }).join();
  EXPECT_THAT(seen, testing::UnorderedElementsAreArray(cpus));
  EXPECT_THAT(base::allowedCpus(), testing::ElementsAreArray(cpus)) << "this thread was not pinned";
  // A process that is allowed one CPU gets one thread, unpinned workers when it insists on more.
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(cpus.back()), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(makeHost({})->report().threads, 1U);
    EXPECT_THAT(makeHost({})->report().cpus, testing::ElementsAre(cpus.back()));
    EXPECT_TRUE(makeHost({.threads = 3})->report().cpus.empty());
  }).join();
}

TEST(HostDevice, RefusesAbsurdThreadCounts) {
  EXPECT_EQ(HostDevice::create({.threads = 5000}).status().code(),
            base::StatusCode::kInvalidArgument);
}

TEST(Topology, TakesCoresBeforeTheirSiblings) {
  Topology topology = orderByCore({0, 1, 2, 3, 4}, {0, 1, 0, 1, 4});
  EXPECT_THAT(topology.cpus, testing::ElementsAre(0, 1, 4, 2, 3));
  EXPECT_EQ(topology.cores, 3U);
}

TEST(Topology, UnderstandsCpuQuotas) {
  EXPECT_EQ(parseCpuQuota("max 100000"), 0U);
  EXPECT_EQ(parseCpuQuota("200000 100000"), 2U);
  EXPECT_EQ(parseCpuQuota("150000 100000"), 2U);
  EXPECT_EQ(parseCpuQuota("50000 100000"), 1U);
  for (const char *text : {"", "7", "1 0", "-5 100000", "1e300 1", "nan nan"})
    EXPECT_EQ(parseCpuQuota(text), 0U) << text;
}

TEST(CpuFeatures, AgreeWithTheKernel) {
  // The kernel's own names, where they differ from LLVM's.
  const std::map<std::string, std::string> kKernelNames = {{"sse3", "pni"},
                                                           {"pclmul", "pclmulqdq"},
                                                           {"sse4.1", "sse4_1"},
                                                           {"sse4.2", "sse4_2"},
                                                           {"bmi", "bmi1"},
                                                           {"lzcnt", "abm"},
                                                           {"avx512vbmi2", "avx512_vbmi2"},
                                                           {"avx512vnni", "avx512_vnni"},
                                                           {"avx512bitalg", "avx512_bitalg"},
                                                           {"avx512vpopcntdq", "avx512_vpopcntdq"},
                                                           {"avx512bf16", "avx512_bf16"},
                                                           {"avx512fp16", "avx512_fp16"},
                                                           {"avxvnni", "avx_vnni"},
                                                           {"sahf", "lahf_lm"},
                                                           {"prfchw", "3dnowprefetch"},
                                                           {"64bit", "lm"}};
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(file, line) && flags.empty();) {
    if (line.rfind("flags", 0) == 0) {
      std::istringstream words(line.substr(line.find(':') + 1));
      flags = {std::istream_iterator<std::string>(words), {}};
    }
  }
  if (flags.empty())
    GTEST_SKIP() << "/proc/cpuinfo lists no flags";
  for (const char *name : {"64bit",
                           "cmov",
                           "sse",
                           "sse2",
                           "sse3",
                           "ssse3",
                           "sse4.1",
                           "sse4.2",
                           "popcnt",
                           "movbe",
                           "aes",
                           "pclmul",
                           "cx16",
                           "fxsr",
                           "mmx",
                           "xsave",
                           "avx",
                           "avx2",
                           "fma",
                           "f16c",
                           "bmi",
                           "bmi2",
                           "lzcnt",
                           "adx",
                           "sahf",
                           "prfchw",
                           "vaes",
                           "vpclmulqdq",
                           "gfni",
                           "avxvnni",
                           "avx512f",
                           "avx512dq",
                           "avx512cd",
                           "avx512bw",
                           "avx512vl",
                           "avx512ifma",
                           "avx512vbmi",
                           "avx512vbmi2",
                           "avx512vnni",
                           "avx512bitalg",
                           "avx512vpopcntdq",
                           "avx512bf16",
                           "avx512fp16"}) {
    auto renamed = kKernelNames.find(name);
    bool expected = flags.contains(renamed == kKernelNames.end() ? name : renamed->second);
    EXPECT_EQ(cpuFeatures().contains(name), expected) << name;
  }
}

class HostWeights : public testing::Test {
protected:
  HostWeights() : pool_(std::move(*WorkerPool::create(2, {}, 0))) {}
  std::vector<std::byte> bytes(size_t count) {
    std::vector<std::byte> data(count);
    for (size_t i = 0; i < count; ++i)
      data[i] = static_cast<std::byte>(i * 2654435761U >> 13);
    return data;
  }
  std::unique_ptr<WorkerPool> pool_;
};

TEST_F(HostWeights, CopiesOrKeepsAsAsked) {
  std::vector<std::byte> data = bytes((5 << 20) + 77);
  auto mapped = placeHostWeights(data, WeightPages::kMapped, *pool_);
  ASSERT_TRUE(mapped.isOk());
  EXPECT_EQ(mapped->memory->address(), data.data());
  auto huge = placeHostWeights(data, WeightPages::kHuge, *pool_);
  ASSERT_TRUE(huge.isOk());
  EXPECT_EQ(huge->pages, WeightPages::kHuge);
  ASSERT_EQ(huge->memory->bytes(), data.size());
  EXPECT_NE(huge->memory->address(), data.data());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(huge->memory->address()) % (2 << 20), 0U);
  EXPECT_EQ(std::memcmp(huge->memory->address(), data.data(), data.size()), 0);
}

TEST_F(HostWeights, AutoMeasuresLargeWeightsAndDoesWhatItSays) {
  std::vector<std::byte> data = bytes(80 << 20);
  auto placed = placeHostWeights(data, WeightPages::kAuto, *pool_);
  ASSERT_TRUE(placed.isOk());
  EXPECT_GT(placed->mapped_gb_per_s, 0.01);
  EXPECT_GT(placed->huge_gb_per_s, 0.01);
  EXPECT_THAT(placed->reason, testing::HasSubstr("GB/s"));
  EXPECT_EQ(placed->memory->address() == data.data(), placed->pages == WeightPages::kMapped);
  EXPECT_EQ(std::memcmp(placed->memory->address(), data.data(), data.size()), 0);
  auto small = placeHostWeights(std::span(data).first(1000), WeightPages::kAuto, *pool_);
  ASSERT_TRUE(small.isOk());
  EXPECT_EQ(small->pages, WeightPages::kMapped);
  EXPECT_EQ(small->mapped_gb_per_s, 0);
  auto none = placeHostWeights({}, WeightPages::kHuge, *pool_);
  ASSERT_TRUE(none.isOk());
  EXPECT_EQ(none->memory->bytes(), 0U);
}

TEST(HostCode, RunsInPlaceAndAsACopy) {
  // int f() { return 42; }
  const unsigned char kCode[] = {0xb8, 0x2a, 0x00, 0x00, 0x00, 0xc3};
  auto *page = static_cast<std::byte *>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  std::memcpy(page, kCode, sizeof kCode);
  ASSERT_EQ(mprotect(page, 4096, PROT_READ), 0);
  for (bool in_place : {false, true}) {
    auto code = HostCode::load({page, sizeof kCode}, in_place);
    ASSERT_TRUE(code.isOk()) << code.status().toString();
    EXPECT_EQ(code->inPlace(), in_place);
    EXPECT_EQ(code->data() == page, in_place);
    HostCode moved = std::move(*code);
    EXPECT_EQ(reinterpret_cast<int (*)()>(const_cast<std::byte *>(moved.data()))(), 42);
  }
  // Not at the start of a page: only a copy can be made executable without its neighbours.
  auto inside = HostCode::load({page + 1, 1}, true);
  ASSERT_TRUE(inside.isOk());
  EXPECT_FALSE(inside->inPlace());
  munmap(page, 4096);
}

} // namespace
} // namespace platen::device
