// `platen run` on the arithmetic model: flags, prompt sources, output, interruption, errors.
#include "tools/cli/run.h"

#include "runtime/engine/fake_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace platen::cli {
namespace {

using engine::fake::Style;
using testing::HasSubstr;

RunOptions parse(std::vector<std::string> arguments) {
  RunOptions options;
  CLI::App app;
  addRunOptions(app, options);
  std::reverse(arguments.begin(), arguments.end()); // CLI11's order for vectors
  app.parse(arguments);
  return options;
}

struct Ran {
  int code;
  std::string out, err;
};

Ran run(
    Style style, const RunOptions &options, const std::string &prompt,
    const std::function<bool()> &interrupted = [] { return false; }, bool is_simulated = false) {
  engine::EngineParts parts = engine::fake::makeParts(style);
  parts.model.is_simulated = is_simulated;
  engine::Engine engine = engine::EngineAccess::make(std::move(parts));
  std::ostringstream out, err;
  int code = runRequest(engine, options, prompt, interrupted, out, err);
  return {code, out.str(), err.str()};
}

TEST(Run, FlagsReachTheRequest) {
  RunOptions options = parse({"m.plan",
                              "-p",
                              "hi",
                              "-n",
                              "7",
                              "--temp",
                              "0.8",
                              "--top-k",
                              "40",
                              "--top-p",
                              "0.95",
                              "--min-p",
                              "0.05",
                              "--repeat-penalty",
                              "1.1",
                              "--repeat-last-n",
                              "32",
                              "--seed",
                              "9",
                              "--stop",
                              "x",
                              "--stop",
                              "yz",
                              "--ignore-eos",
                              "--special",
                              "--no-bos",
                              "--threads",
                              "2",
                              "--ctx",
                              "512",
                              "--kv-bytes",
                              "64MiB",
                              "--json",
                              "--echo",
                              "--device",
                              "cuda:1",
                              "--no-cuda-graphs"});
  EXPECT_EQ(options.engine.device, "cuda:1");
  EXPECT_FALSE(options.engine.cuda_graphs);
  EXPECT_TRUE(RunOptions().engine.cuda_graphs);
  EXPECT_EQ(options.plan, "m.plan");
  EXPECT_EQ(options.prompt, "hi");
  EXPECT_EQ(options.request.max_tokens, 7);
  EXPECT_EQ(options.request.sampling.temperature, 0.8F);
  EXPECT_EQ(options.request.sampling.top_k, 40);
  EXPECT_EQ(options.request.sampling.top_p, 0.95F);
  EXPECT_EQ(options.request.sampling.min_p, 0.05F);
  EXPECT_EQ(options.request.sampling.repeat_penalty, 1.1F);
  EXPECT_EQ(options.request.sampling.repeat_last_tokens, 32);
  EXPECT_EQ(options.request.sampling.seed, 9u);
  EXPECT_THAT(options.request.stop, testing::ElementsAre("x", "yz"));
  EXPECT_TRUE(options.request.ignore_eos && options.request.parse_special &&
              !options.request.add_bos);
  EXPECT_EQ(options.engine.threads, 2u);
  EXPECT_EQ(options.engine.context_tokens, 512);
  EXPECT_EQ(options.engine.kv_bytes, 64u << 20);
  EXPECT_TRUE(options.json && options.echo_prompt);
  EXPECT_TRUE(parse({"m.plan"}).request.add_bos);
  EXPECT_THROW(parse({"--temp", "1"}), CLI::ParseError) << "the plan is required";
}

TEST(Run, TheSubcommandReportsAMissingPlan) {
  CLI::App app;
  int exit_code = 0;
  addRunCommand(app, exit_code);
  std::vector<std::string> arguments{"hi", "--prompt", "/nonexistent/m.plan", "run"};
  testing::internal::CaptureStderr();
  app.parse(arguments);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("/nonexistent/m.plan"));
  EXPECT_EQ(exit_code, 1);
}

TEST(Run, PromptSources) {
  std::istringstream in("from standard input");
  RunOptions options;
  EXPECT_EQ(*readPrompt(options, in), "from standard input");
  options.prompt_file = "/nonexistent/prompt.txt";
  EXPECT_EQ(readPrompt(options, in).status().code(), base::StatusCode::kNotFound);
  options.prompt = "argument";
  EXPECT_EQ(readPrompt(options, in).status().code(), base::StatusCode::kInvalidArgument);
  options.prompt_file.reset();
  EXPECT_EQ(*readPrompt(options, in), "argument");
  options.prompt = "";
  EXPECT_EQ(readPrompt(options, in).status().code(), base::StatusCode::kInvalidArgument);
  std::string path = testing::TempDir() + "platen_run_test_prompt.txt";
  std::ofstream(path) << "from a file";
  options.prompt.reset();
  options.prompt_file = path;
  EXPECT_EQ(*readPrompt(options, in), "from a file");
  std::remove(path.c_str());
}

TEST(Run, StreamsTextAndPrintsFigures) {
  RunOptions options;
  options.request.max_tokens = 5;
  options.echo_prompt = true;
  Ran ran = run(Style::kAlphabet, options, "abc");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "abcdefgh\n");
  EXPECT_THAT(ran.err, HasSubstr("prompt 4 tokens, generated 5 (max_tokens)"));
  EXPECT_THAT(ran.err, HasSubstr("time to first token"));
  EXPECT_THAT(ran.err, HasSubstr("tokens/s"));
}

TEST(Run, JsonHoldsTextTokensAndTimings) {
  RunOptions options;
  options.request.max_tokens = 3;
  options.json = true;
  Ran ran = run(Style::kAlphabet, options, "a");
  auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["text"], "bcd");
  EXPECT_EQ(json["prompt"], "a");
  EXPECT_EQ(json["generated_tokens"], 3);
  EXPECT_EQ(json["tokens"].size(), 3u);
  EXPECT_EQ(json["finish_reason"], "max_tokens");
  EXPECT_GT(json["time_to_first_token_seconds"], 0);
  EXPECT_GT(json["decode_tokens_per_second"], 0);
  EXPECT_EQ(ran.err, "");
}

TEST(Run, TimesOfASimulatedDeviceAreNotShown) {
  RunOptions options;
  options.request.max_tokens = 3;
  const auto going = [] { return false; };
  Ran text = run(Style::kAlphabet, options, "a", going, true);
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.err, HasSubstr("a simulated device: times are not measured"));
  EXPECT_THAT(text.err, testing::Not(HasSubstr("tokens/s")));
  options.json = true;
  const nlohmann::json simulated =
      nlohmann::json::parse(run(Style::kAlphabet, options, "a", going, true).out);
  EXPECT_EQ(simulated["simulated"], true);
  for (const auto &[key, value] : simulated.items())
    EXPECT_TRUE(key.find("second") == std::string::npos) << key;
  const nlohmann::json measured = nlohmann::json::parse(run(Style::kAlphabet, options, "a").out);
  EXPECT_EQ(measured["simulated"], false);
  EXPECT_TRUE(measured.contains("decode_tokens_per_second"));
}

TEST(Run, InterruptionKeepsWhatWasGenerated) {
  RunOptions options;
  options.request.max_tokens = 100;
  int asked = 0;
  Ran ran = run(Style::kAlphabet, options, "a", [&] { return ++asked == 4; });
  EXPECT_EQ(ran.code, 130);
  EXPECT_EQ(ran.out, "bcde\n");
  EXPECT_THAT(ran.err, HasSubstr("(cancelled)"));
}

TEST(Run, FailuresAreReported) {
  RunOptions options;
  options.request.sampling.top_p = 7;
  Ran ran = run(Style::kHash, options, "a");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("INVALID_ARGUMENT: top_p is 7"));
  engine::Engine engine = makeEngine(Style::kAlphabet);
  std::ostringstream closed, err;
  closed.setstate(std::ios::badbit);
  EXPECT_EQ(runRequest(
                engine, {}, "a", [] { return false; }, closed, err),
            1)
      << "nobody reads the text";
  EXPECT_THAT(err.str(), HasSubstr("standard output"));
}

} // namespace
} // namespace platen::cli
