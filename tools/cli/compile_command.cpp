// `platen compile model.onnx -o model.plan`
#include "compiler/pipeline.h"
#include "tools/cli/commands.h"
#include "tools/cli/progress.h"

#include <fmt/format.h>
#include <sys/resource.h>

namespace platen::cli {

namespace {

struct CompileArguments {
  compiler::CompileOptions options;
  std::string weights = "auto";
  bool json = false, time = false;
};

std::string joined(const std::vector<std::string_view> &names) {
  std::string text;
  for (std::string_view name : names)
    text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

double peakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void printReport(const CompileArguments &arguments, const compiler::CompileReport &report) {
  double total = 0;
  for (const compiler::PhaseReport &phase : report.phases)
    total += phase.seconds;
  if (arguments.json) {
    fmt::print("{{\"plan\":\"{}\",\"bytes\":{},\"seconds\":{:.3f},\"launches\":{},\"kernels\":{},"
               "\"weights\":{}}}\n",
               arguments.options.output.string(), report.planBytes, total, report.launches,
               report.kernels, report.weights);
    return;
  }
  if (arguments.time) {
    for (const compiler::PhaseReport &phase : report.phases)
      fmt::print("{:<9}{:8.3f} s\n", phase.name, phase.seconds);
    fmt::print("peak resident memory {:.0f} MB, mapped files included\n", peakMegabytes());
  }
  if (arguments.options.stopAfter.empty())
    fmt::print("{}: {:.1f} MB, {} ({}), {} launches of {} kernels, {} weights, {:.1f} s\n",
               arguments.options.output.string(), static_cast<double>(report.planBytes) / 1e6,
               report.weightFormat, report.dialect, report.launches, report.kernels, report.weights,
               total);
}

int runCompile(CompileArguments &arguments) {
  auto format = compiler::parseWeightFormat(arguments.weights);
  if (!format)
    return reportFailure(format.status(), arguments.json);
  arguments.options.weights = *format;
  if (arguments.options.output.empty())
    arguments.options.output =
        std::filesystem::path(arguments.options.model).replace_extension(".plan");
  installInterruptHandler();
  arguments.options.cancelled = &interrupted;
  ProgressDisplay display(arguments.json);
  auto report = compiler::compile(arguments.options, [&](const compiler::Progress &progress) {
    display.update(progress.phase, progress.done, progress.total);
  });
  display.finish();
  if (!report)
    return reportFailure(report.status(), arguments.json);
  printReport(arguments, *report);
  return 0;
}

} // namespace

void addCompileCommand(CLI::App &app, int &exitCode) {
  auto arguments = std::make_shared<CompileArguments>();
  compiler::CompileOptions &options = arguments->options;
  CLI::App *command = app.add_subcommand("compile", "Compile an ONNX decoder into a plan file");
  command->add_option("model", options.model, "model.onnx; weights and tokenizer lie in its folder")
      ->required();
  command->add_option("-o,--output", options.output,
                      "Plan file to write (default: the model's name with .plan)");
  command
      ->add_option(
          "--weights", arguments->weights,
          "How weights are stored: auto (as the graph holds them), f32, bf16, f16, int8, int4, or "
          "for GPUs alone fp8, nvfp4")
      ->capture_default_str();
  command
      ->add_option(
          "--target", options.targets,
          "What to generate code for, comma-separated: host (all CPU targets, the default), "
          "one of them, or NVIDIA GPUs: sm_80, sm_90a, sm_100f, sm_120f, compute_80, ...")
      ->delimiter(',');
  command->add_option("--tokenizer", options.tokenizer,
                      "tokenizer.model or tokenizer.json (default: the one beside the model)");
  command->add_flag("--no-tokenizer", options.withoutTokenizer,
                    "Leave the tokenizer out; the plan then takes token ids only");
  command->add_option(
      "--context", options.limits.context_tokens,
      "Most tokens a sequence may have (default: what the model was made for, at most 4096)");
  command->add_option("--step-tokens", options.limits.step_tokens, "Most tokens a step processes")
      ->capture_default_str();
  command->add_option("--step-rows", options.limits.step_rows, "Most rows of logits a step gives")
      ->capture_default_str();
  command->add_option("--sequences", options.limits.step_sequences, "Most sequences a step serves")
      ->capture_default_str();
  command->add_option("--threads", options.threads, "Threads (default: one a core)");
  command->add_option("--stop-after", options.stopAfter,
                      "Stop after this phase: " + joined(compiler::phaseNames()));
  command->add_option("--dump", options.dump, "Write the IR after each phase into this folder");
  command->add_flag("--time", arguments->time, "Print the time of each phase and peak memory");
  command->add_flag("--json", arguments->json,
                    "Machine-readable progress (stderr) and result (stdout)");
  command->callback([arguments, &exitCode] { exitCode = runCompile(*arguments); });
}

} // namespace platen::cli
