// See compiled_plan.h.
#include "tests/end_to_end/compiled_plan.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace platen::end_to_end {

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "platen-test-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}
TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path_); }

namespace {

std::filesystem::path folderOf(const char *variable, const char *below) {
  const char *value = std::getenv(variable);
  std::filesystem::path path =
      value == nullptr ? std::filesystem::path() : std::filesystem::path(value) / below;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

} // namespace

std::filesystem::path sharedFixtures() { return folderOf("PLATEN_SHARED", "fixtures"); }
std::filesystem::path gemmaFolder() {
  std::filesystem::path model = folderOf("PLATEN_GEMMA_DIR", "model.onnx");
  return model.parent_path();
}

base::Result<compiler::CompileReport> compileForTest(const std::filesystem::path &model,
                                                     const std::filesystem::path &plan,
                                                     compiler::WeightFormat weights,
                                                     plan::Limits limits) {
  compiler::CompileOptions options;
  options.model = model;
  options.output = plan;
  options.weights = weights;
  options.limits = limits;
  options.targets = {"x86-64-avx2"};
  options.withoutTokenizer = !std::filesystem::exists(model.parent_path() / "tokenizer.model");
  return compiler::compile(options, [](const compiler::Progress &) {});
}

base::Result<std::unique_ptr<StepRunner>> StepRunner::load(const std::filesystem::path &path,
                                                           unsigned threads) {
  device::HostOptions options;
  options.threads = threads;
  options.weight_pages = device::WeightPages::kMapped;
  PLATEN_ASSIGN_OR_RETURN(std::unique_ptr<device::Device> host,
                          device::HostDevice::create(options));
  return load(path, std::move(host));
}

base::Result<std::unique_ptr<StepRunner>> StepRunner::load(const std::filesystem::path &path,
                                                           std::unique_ptr<device::Device> device) {
  PLATEN_ASSIGN_OR_RETURN(plan::Plan plan, plan::Plan::load(path.string()));
  std::unique_ptr<StepRunner> runner(new StepRunner(std::move(plan)));
  runner->device_ = std::move(device);
  PLATEN_ASSIGN_OR_RETURN(runner->executor_,
                          exec::Executor::create(runner->plan_, *runner->device_, {.pages = 256}));
  return runner;
}

base::Result<std::vector<float>> StepRunner::run(const std::vector<Sequence> &sequences) {
  std::vector<int32_t> tokens, positions, owners, rows, pages;
  size_t stride = 1;
  for (const Sequence &sequence : sequences)
    stride = std::max(stride, sequence.pages.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const Sequence &sequence = sequences[s];
    for (size_t i = 0; i < sequence.tokens.size(); ++i) {
      rows.push_back(static_cast<int32_t>(tokens.size()));
      tokens.push_back(sequence.tokens[i]);
      positions.push_back(sequence.start + static_cast<int32_t>(i));
      owners.push_back(static_cast<int32_t>(s));
    }
    std::vector<int32_t> row = sequence.pages;
    row.resize(stride, -1);
    pages.insert(pages.end(), row.begin(), row.end());
  }
  PLATEN_ASSIGN_OR_RETURN(
      exec::StepOutputs outputs,
      executor_->run({tokens, positions, owners, rows, static_cast<int64_t>(sequences.size()),
                      static_cast<int64_t>(stride), pages}));
  return std::vector<float>(outputs.logits.begin(), outputs.logits.end());
}

} // namespace platen::end_to_end
