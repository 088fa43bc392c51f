// Steps of the tiny plan on every device: the tokens it gives depend on the whole history through
// the KV pages, so wrong pages, rows, units or operands show up as wrong tokens.
#include "runtime/exec/executor.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <unistd.h>

#include "runtime/device/cuda/cuda_device.h"
#include "runtime/device/fault/fault_device.h"
#include "runtime/device/host/host_device.h"
#include "runtime/device/null/null_device.h"
#include "runtime/exec/recordings.h"
#include "runtime/plan/testing/tiny_kernels.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::exec {
namespace {

using base::StatusCode;
using device::FaultKind;
using plan::testing::TinyPlanOptions;
using ::testing::HasSubstr;

constexpr uint32_t kVocabulary = 32;
constexpr int32_t kPageTokens = 4;

plan::Plan loadTiny(const TinyPlanOptions &options = {}) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_exec_" + std::to_string(getpid()) + ".plan");
  auto status = plan::testing::writeTinyPlan(path, options);
  EXPECT_TRUE(status.isOk()) << status.toString();
  auto plan = plan::Plan::load(path);
  EXPECT_TRUE(plan.isOk()) << plan.status().toString();
  std::filesystem::remove(path); // the mapping keeps it
  return std::move(*plan);
}

std::unique_ptr<device::Device> makeHost(unsigned threads) {
  return std::move(*device::HostDevice::create({.threads = threads}));
}

/// Null if there is no such device.
std::unique_ptr<device::Device> openCuda(const std::string &driver) {
  auto device = device::CudaDevice::open({.ordinal = 0, .driver = driver});
  return device.isOk() ? std::move(*device) : nullptr;
}

std::unique_ptr<Executor> makeExecutor(const plan::Plan &plan, device::Device &device,
                                       uint32_t pages, bool record_steps = true) {
  auto executor = Executor::create(plan, device, {.pages = pages, .record_steps = record_steps});
  EXPECT_TRUE(executor.isOk()) << executor.status().toString();
  return std::move(*executor);
}

/// One sequence as its owner sees it.
struct Sequence {
  std::vector<int32_t> tokens; // all of them, fed or not
  std::vector<int32_t> pages;  // [stride]
  int32_t fed = 0;
};

/// A step that feeds `counts[i]` more tokens of each sequence and asks for the row of the last fed
/// one.
struct Step {
  std::vector<int32_t> token_ids, positions, sequence_of_token, row_tokens, page_table;
  int64_t sequences = 0, stride = 0;

  Step(std::vector<Sequence *> members, std::vector<int32_t> counts) {
    sequences = static_cast<int64_t>(members.size());
    stride = static_cast<int64_t>(members.front()->pages.size());
    for (size_t s = 0; s < members.size(); ++s) {
      Sequence &member = *members[s];
      for (int32_t i = 0; i < counts[s]; ++i) {
        token_ids.push_back(member.tokens[static_cast<size_t>(member.fed)]);
        positions.push_back(member.fed++);
        sequence_of_token.push_back(static_cast<int32_t>(s));
      }
      row_tokens.push_back(static_cast<int32_t>(token_ids.size()) - 1);
      page_table.insert(page_table.end(), member.pages.begin(), member.pages.end());
    }
  }
  StepInputs inputs() const {
    return {token_ids, positions, sequence_of_token, row_tokens, sequences, stride, page_table};
  }
};

/// Row `row` of the outputs must be what the history says.
void expectRow(const StepOutputs &outputs, size_t row, std::span<const int32_t> history) {
  int32_t next = plan::testing::tinyNextToken(history, kVocabulary);
  for (uint32_t v = 0; v < kVocabulary; ++v)
    ASSERT_EQ(outputs.logits[row * kVocabulary + v], static_cast<int32_t>(v) == next ? 1.0F : 0.0F)
        << "row " << row << " token " << v;
  for (int column = 0; column < TINY_WIDTH; ++column)
    ASSERT_EQ(
        std::bit_cast<int32_t>(outputs.hidden[row * TINY_WIDTH + static_cast<size_t>(column)]),
        plan::testing::tinyHidden(history, column));
}

struct ExecutorCase {
  const char *name;
  std::function<std::unique_ptr<device::Device>()> make;
  const char *target;
  bool record_steps = false;
};
void PrintTo(const ExecutorCase &item, std::ostream *out) { *out << item.name; }

class ExecutorDevices : public testing::TestWithParam<ExecutorCase> {
protected:
  void SetUp() override {
    device_ = GetParam().make();
    if (device_ == nullptr)
      GTEST_SKIP() << "no CUDA driver with a device";
  }
  std::unique_ptr<Executor> makeExecutor(uint32_t pages) {
    return exec::makeExecutor(plan_, *device_, pages, GetParam().record_steps);
  }
  plan::Plan plan_ = loadTiny({.cuda_targets = {{"ptx", {"compute_80"}}}});
  std::unique_ptr<device::Device> device_;
};

TEST_P(ExecutorDevices, GeneratesFromTheWholeHistory) {
  auto executor = makeExecutor(16);
  EXPECT_EQ(executor->target(), GetParam().target);
  EXPECT_EQ(executor->pages(), 16U);
  Sequence sequence{{3, 1, 4, 1, 5, 9, 2}, {7, 0, 15, 3, 9, 8}};
  for (int32_t count :
       {3, 4, 1, 1, 1, 1, 1, 1, 1, 1}) { // a prompt in two chunks, then token by token
    Step step({&sequence}, {count});
    auto outputs = executor->run(step.inputs());
    ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
    ASSERT_EQ(outputs->logits.size(), kVocabulary);
    ASSERT_NO_FATAL_FAILURE(expectRow(
        *outputs, 0, std::span(sequence.tokens).first(static_cast<size_t>(sequence.fed))));
    if (sequence.fed == static_cast<int32_t>(sequence.tokens.size()))
      sequence.tokens.push_back(plan::testing::tinyNextToken(sequence.tokens, kVocabulary));
  }
  // Steps of 3 and of 4 tokens share a recording; those of one token have another.
  EXPECT_EQ(executor->recordedSteps(), GetParam().record_steps ? 2U : 0U);
}

TEST_P(ExecutorDevices, BatchesOfRaggedSequencesDoNotMix) {
  auto executor = makeExecutor(64);
  std::mt19937 random(7);
  std::vector<int32_t> pages(64);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), random);
  std::vector<Sequence> sequences(8);
  for (size_t s = 0; s < sequences.size(); ++s) {
    sequences[s].pages.assign(pages.begin() + static_cast<ptrdiff_t>(s) * 8,
                              pages.begin() + static_cast<ptrdiff_t>(s + 1) * 8);
    for (int i = 0; i < 8 * kPageTokens; ++i)
      sequences[s].tokens.push_back(static_cast<int32_t>(random() % kVocabulary));
  }
  for (int round = 0; round < 200; ++round) {
    std::vector<Sequence *> members;
    std::vector<int32_t> counts;
    int32_t room = 16;
    for (Sequence &sequence : sequences) {
      auto left = static_cast<int32_t>(sequence.tokens.size()) - sequence.fed;
      int32_t count = std::min<int32_t>({left, room, static_cast<int32_t>(random() % 6)});
      if (count > 0) {
        members.push_back(&sequence);
        counts.push_back(count);
        room -= count;
      }
    }
    if (members.empty())
      continue;
    Step step(members, counts);
    auto outputs = executor->run(step.inputs());
    ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
    for (size_t s = 0; s < members.size(); ++s)
      ASSERT_NO_FATAL_FAILURE(expectRow(
          *outputs, s, std::span(members[s]->tokens).first(static_cast<size_t>(members[s]->fed))));
  }
}

TEST_P(ExecutorDevices, EmptyStepsAndStepsWithoutRows) {
  auto executor = makeExecutor(4);
  auto nothing = executor->run({});
  ASSERT_TRUE(nothing.isOk()) << nothing.status().toString();
  EXPECT_TRUE(nothing->logits.empty());
  Sequence sequence{{1, 2, 3}, {2}};
  Step prefill({&sequence}, {2});
  prefill.row_tokens.clear();
  auto silent = executor->run(prefill.inputs());
  ASSERT_TRUE(silent.isOk()) << silent.status().toString();
  EXPECT_TRUE(silent->logits.empty());
  Step last({&sequence}, {1});
  auto outputs = executor->run(last.inputs());
  ASSERT_TRUE(outputs.isOk());
  expectRow(*outputs, 0, sequence.tokens);
}

INSTANTIATE_TEST_SUITE_P(
    All, ExecutorDevices,
    testing::Values(ExecutorCase{"HostOneThread", [] { return makeHost(1); }, "x86-64"},
                    ExecutorCase{"HostTwoThreads", [] { return makeHost(2); }, "x86-64"},
                    ExecutorCase{"HostThreeThreads", [] { return makeHost(3); }, "x86-64"},
                    ExecutorCase{"CudaDouble", [] { return openCuda(PLATEN_CUDA_DOUBLE); }, "ptx"},
                    ExecutorCase{"CudaDoubleReplayed", [] { return openCuda(PLATEN_CUDA_DOUBLE); },
                                 "ptx", true},
                    ExecutorCase{"CudaDriver", [] { return openCuda(""); }, "ptx"},
                    ExecutorCase{"CudaDriverReplayed", [] { return openCuda(""); }, "ptx", true}),
    [](const auto &info) { return std::string(info.param.name); });

TEST_P(ExecutorDevices, DrawsTokensWhereThePlanCan) {
  auto executor = makeExecutor(16);
  Sequence a{{3, 1, 4}, {1}}, b{{5}, {2}};
  Step step({&a, &b}, {3, 1});
  StepInputs inputs = step.inputs();
  std::vector<PlatenSampling> sampling(
      2, {.uniform = 0, .temperature = 0, .top_k = 0, .top_p = 1, .log_min_p = -INFINITY});
  inputs.sampling = sampling;
  inputs.read_hidden = false;
  if (!executor->samples()) {
    EXPECT_EQ(executor->run(inputs).status().code(), StatusCode::kInvalidArgument);
    return;
  }
  for (bool read_logits : {true, false}) {
    inputs.read_logits = read_logits;
    auto outputs = executor->run(inputs);
    ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
    EXPECT_THAT(outputs->tokens,
                testing::ElementsAre(plan::testing::tinyNextToken(a.tokens, kVocabulary),
                                     plan::testing::tinyNextToken(b.tokens, kVocabulary)));
    EXPECT_EQ(outputs->logits.size(), read_logits ? 2 * kVocabulary : 0U);
    EXPECT_TRUE(outputs->hidden.empty());
  }
  inputs.sampling = std::span(sampling).first(1);
  EXPECT_EQ(executor->run(inputs).status().code(), StatusCode::kInvalidArgument);
}

TEST(Executor, RecordsSmallStepsOnceForEachPowerOfTwo) {
  plan::Plan plan = loadTiny({.limits = {.context_tokens = 256,
                                         .step_tokens = 128,
                                         .step_rows = 3,
                                         .step_sequences = 8,
                                         .page_tokens = 4}});
  device::NullDevice device(true);
  auto executor = makeExecutor(plan, device, 64);
  EXPECT_EQ(device.counts().binds, 5U) << "each variant of each launch";
  auto run = [&](int32_t tokens, size_t rows) {
    Sequence sequence{std::vector<int32_t>(static_cast<size_t>(tokens), 1),
                      std::vector<int32_t>(64)};
    std::iota(sequence.pages.begin(), sequence.pages.end(), 0);
    Step step({&sequence}, {tokens});
    step.row_tokens.resize(rows);
    device.resetCounts();
    EXPECT_TRUE(executor->run(step.inputs()).isOk());
    return std::tuple(device.counts().recordings, device.counts().replays, device.counts().units);
  };
  using Counts = std::tuple<uint64_t, uint64_t, uint64_t>;
  // embed T, store T, sum R, head 2 R, for the sizes that the recording was made for.
  EXPECT_EQ(run(5, 1), Counts(1, 1, 8 + 8 + 1 + 2));
  EXPECT_EQ(run(8, 1), Counts(0, 1, 8 + 8 + 1 + 2));
  EXPECT_EQ(run(7, 3), Counts(1, 1, 8 + 8 + 3 + 6)) << "rows up to the plan's limit";
  EXPECT_EQ(run(7, 0), Counts(1, 1, 8 + 8));
  EXPECT_EQ(run(64, 2), Counts(1, 1, 64 + 64 + 2 + 4));
  EXPECT_EQ(run(65, 2), Counts(0, 0, 65 + 65 + 2 + 4)) << "large steps are launched";
  EXPECT_EQ(executor->recordedSteps(), 4U);
  executor->setProfiling(true);
  EXPECT_EQ(run(5, 1), Counts(0, 0, 5 + 5 + 1 + 2)) << "launches are timed one by one";
  auto plain = makeExecutor(plan, device, 64, false);
  executor.swap(plain);
  EXPECT_EQ(run(5, 1), Counts(0, 0, 5 + 5 + 1 + 2)) << "not asked to";
}

TEST(Executor, AStepThatCannotBeRecordedIsLaunched) {
  plan::Plan plan = loadTiny();
  auto null = std::make_unique<device::NullDevice>(true);
  device::NullDevice &counter = *null;
  device::FaultDevice device(std::move(null));
  auto executor = makeExecutor(plan, device, 16);
  device.failAt(FaultKind::kRecord, 1);
  for (int round = 0; round < 2; ++round) {
    Sequence sequence{{1, 2, 3}, {5}};
    counter.resetCounts();
    ASSERT_TRUE(executor->run(Step({&sequence}, {3}).inputs()).isOk());
    EXPECT_EQ(counter.counts().launches, 4U);
    EXPECT_EQ(counter.counts().replays + counter.counts().recordings, 0U) << "nor tried again";
  }
  device.failAt(FaultKind::kReplay, 1);
  Sequence other{{1}, {5}};
  EXPECT_EQ(executor->run(Step({&other}, {1}).inputs()).status().code(), StatusCode::kDeviceLost);
}

TEST(Recordings, ForgetWhatWasNotUsedForLongest) {
  Recordings recordings;
  auto bucket = [](int64_t tokens) { return plan::Extents{.tokens = tokens}; };
  for (int64_t tokens = 0; tokens < static_cast<int64_t>(kMostRecordings); ++tokens)
    recordings.add(bucket(tokens), std::make_unique<device::Recording>());
  EXPECT_NE(recordings.find(bucket(0)), nullptr); // which makes 1 the oldest
  recordings.add(bucket(1000), nullptr);
  EXPECT_EQ(recordings.size(), kMostRecordings);
  EXPECT_EQ(recordings.find(bucket(1)), nullptr);
  EXPECT_NE(recordings.find(bucket(0)), nullptr);
  ASSERT_NE(recordings.find(bucket(1000)), nullptr);
  EXPECT_EQ(recordings.find(bucket(1000))->recording, nullptr);
}

TEST(Executor, CountsUnitsAndPicksVariantsByExtent) {
  plan::Plan plan = loadTiny();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device, 16);
  EXPECT_EQ(executor->cacheBytes(),
            4096U); // 16 pages * 2 * 4 positions * 4 columns * 4 bytes, to a page of memory
  Sequence a{{1, 2, 3, 4, 5}, {0, 1}}, b{{1, 2, 3}, {2, 3}};
  auto launched = [&](const Step &step) {
    device.resetCounts();
    EXPECT_TRUE(executor->run(step.inputs()).isOk());
    return std::pair{device.counts().launches, device.counts().units};
  };
  // embed T, store T, sum R, head 2 R.
  EXPECT_EQ(launched(Step({&a}, {5})), (std::pair<uint64_t, uint64_t>{4, 5 + 5 + 1 + 2}));
  EXPECT_EQ(device.counts().uploads, 1U);
  EXPECT_EQ(device.counts().synchronizations, 0U);
  a.fed = 0;
  EXPECT_EQ(launched(Step({&a, &b}, {4, 3})), (std::pair<uint64_t, uint64_t>{4, 7 + 7 + 2 + 4}));
  Step no_rows({&a}, {1});
  no_rows.row_tokens.clear();
  EXPECT_EQ(launched(no_rows), (std::pair<uint64_t, uint64_t>{2, 2}));
}

TEST(Executor, ProfilesEachLaunch) {
  plan::Plan plan = loadTiny();
  auto device = makeHost(2);
  auto executor = makeExecutor(plan, *device, 16);
  Sequence sequence{{1, 2, 3, 4, 5, 6}, {0, 1}};
  EXPECT_TRUE(executor->run(Step({&sequence}, {1}).inputs()).isOk());
  ASSERT_EQ(executor->profile().size(), 4U);
  EXPECT_EQ(executor->profile()[0].calls, 0U) << "not asked to";
  executor->setProfiling(true);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(executor->run(Step({&sequence}, {1}).inputs()).isOk());
  const char *names[] = {"embed", "store", "sum", "head"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(executor->profile()[i].launch, names[i]);
    EXPECT_EQ(executor->profile()[i].calls, 3U);
    EXPECT_GT(executor->profile()[i].total_ns, 0U);
  }
  EXPECT_EQ(executor->profile()[3].kernel, "head_f32__test_v1");
  executor->setProfiling(false);
  EXPECT_TRUE(executor->run(Step({&sequence}, {1}).inputs()).isOk());
  EXPECT_EQ(executor->profile()[0].calls, 0U) << "cleared";
}

struct BadStep {
  const char *name;
  std::function<void(Step &)> apply;
  const char *message;
};
void PrintTo(const BadStep &step, std::ostream *out) { *out << step.name; }

class ExecutorBadStep : public testing::TestWithParam<BadStep> {};

TEST_P(ExecutorBadStep, IsRefusedBeforeAnythingRuns) {
  plan::Plan plan = loadTiny();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device, 16);
  Sequence a{{1, 2, 3, 4, 5}, {0, 1}}, b{{6, 7, 8}, {2, -1}};
  Step step({&a, &b}, {5, 3});
  ASSERT_TRUE(executor->run(step.inputs()).isOk());
  device.resetCounts();
  GetParam().apply(step);
  auto outputs = executor->run(step.inputs());
  ASSERT_EQ(outputs.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(outputs.status().toString(), HasSubstr(GetParam().message));
  EXPECT_EQ(device.counts().launches + device.counts().uploads, 0U);
}

INSTANTIATE_TEST_SUITE_P(
    All, ExecutorBadStep,
    testing::Values(
        BadStep{"TooManyTokens",
                [](Step &s) {
                  s.token_ids.resize(17);
                  s.positions.resize(17);
                  s.sequence_of_token.resize(17);
                },
                "a step of 17 tokens, the plan allows 16"},
        BadStep{"TooManyRows", [](Step &s) { s.row_tokens.resize(9); },
                "a step of 9 rows, the plan allows 8"},
        BadStep{"TooManySequences", [](Step &s) { s.sequences = 9; }, "a step of 9 sequences"},
        BadStep{"NegativeSequences", [](Step &s) { s.sequences = -1; }, "negative"},
        BadStep{"WideTable", [](Step &s) { s.stride = 17; },
                "a step of 17 page table entries a sequence, the plan allows 16"},
        BadStep{"ShortTable", [](Step &s) { s.page_table.pop_back(); }, "page_table has 3 entries"},
        BadStep{"ShortPositions", [](Step &s) { s.positions.pop_back(); }, "differ in length"},
        BadStep{"ShortSequences", [](Step &s) { s.sequence_of_token.pop_back(); },
                "differ in length"},
        BadStep{"TokenBeyondVocabulary", [](Step &s) { s.token_ids[3] = 32; },
                "token_ids[3] is 32, must be in [0, 32)"},
        BadStep{"TokenNegative", [](Step &s) { s.token_ids[0] = -1; }, "token_ids[0] is -1"},
        BadStep{"PositionBeyondContext", [](Step &s) { s.positions[7] = 64; },
                "positions[7] is 64"},
        BadStep{"SequenceBeyond", [](Step &s) { s.sequence_of_token[7] = 2; },
                "sequence_of_token[7] is 2"},
        BadStep{"RowBeyond", [](Step &s) { s.row_tokens[1] = 8; }, "row_tokens[1] is 8"},
        BadStep{"SequencesMixed", [](Step &s) { s.sequence_of_token[0] = 1; },
                "token 1 does not follow"},
        BadStep{"PositionTwice", [](Step &s) { s.positions[2] = 1; }, "token 2 does not follow"},
        BadStep{"PageAbsent", [](Step &s) { s.page_table[0] = -1; }, "page 0 of sequence 0 is -1"},
        BadStep{"LaterPageAbsent", [](Step &s) { s.page_table[1] = -1; },
                "page 1 of sequence 0 is -1"},
        BadStep{"PageBeyond", [](Step &s) { s.page_table[2] = 16; },
                "page 0 of sequence 1 is 16, must be in [0, 16)"},
        BadStep{"TableTooShort", [](Step &s) { s.positions[7] = 8; },
                "sequence 1 reaches page 2, but its page table has 2"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Executor, RefusesImpossiblePageCounts) {
  plan::Plan plan = loadTiny();
  device::NullDevice device;
  for (uint32_t pages : {0U, 1U << 31, ~0U})
    EXPECT_EQ(Executor::create(plan, device, {.pages = pages}).status().code(),
              StatusCode::kInvalidArgument);
}

TEST(Executor, CreationReportsEachFailureOfTheDevice) {
  plan::Plan plan = loadTiny();
  device::FaultDevice device(std::make_unique<device::NullDevice>());
  struct Fault {
    FaultKind kind;
    uint64_t call;
    const char *message;
  };
  for (const Fault &fault : {Fault{FaultKind::kLoadCode, 1, "loadCode()"},
                             Fault{FaultKind::kBind, 2,
                                   "kernel 'store_i32__test_v1' of launch 'store': "
                                   "injected failure of bind()"},
                             Fault{FaultKind::kPlaceWeights, 1, "placeWeights()"},
                             Fault{FaultKind::kAllocate, 1, "KV cache of 16 pages in 1 layers"},
                             Fault{FaultKind::kAllocate, 2, "activations"},
                             Fault{FaultKind::kAllocate, 3, "step inputs"}}) {
    device.failAt(fault.kind, fault.call);
    auto executor = Executor::create(plan, device, {.pages = 16});
    ASSERT_FALSE(executor.isOk()) << fault.message;
    EXPECT_THAT(executor.status().toString(), HasSubstr(fault.message));
  }
  EXPECT_TRUE(Executor::create(plan, device, {.pages = 16}).isOk());
}

TEST(Executor, AStepReportsEachFailureOfTheDeviceAndCanBeRepeated) {
  plan::Plan plan = loadTiny();
  device::FaultDevice device(makeHost(2));
  auto executor = makeExecutor(plan, device, 16);
  Sequence sequence{{1, 2, 3}, {5}};
  Step step({&sequence}, {3});
  struct Fault {
    FaultKind kind;
    uint64_t call;
    const char *message;
  };
  for (const Fault &fault :
       {Fault{FaultKind::kUpload, 1, "upload()"}, Fault{FaultKind::kLaunch, 1, "launch 'embed'"},
        Fault{FaultKind::kLaunch, 4, "launch 'head'"}, Fault{FaultKind::kRead, 1, "read()"},
        Fault{FaultKind::kRead, 2, "read()"}}) {
    device.failAt(fault.kind, fault.call);
    auto outputs = executor->run(step.inputs());
    ASSERT_EQ(outputs.status().code(), StatusCode::kDeviceLost) << fault.message;
    EXPECT_THAT(outputs.status().toString(), HasSubstr(fault.message));
    EXPECT_EQ(executor->run(step.inputs()).status().code(), StatusCode::kDeviceLost)
        << "lost for good";
    device.heal();
    auto again = executor->run(step.inputs());
    ASSERT_TRUE(again.isOk());
    expectRow(*again, 0, sequence.tokens);
  }
}

} // namespace
} // namespace platen::exec
