// `platen tune model.plan`: settles on the CUDA device at hand what the compiler only predicted.
#include "runtime/plan/reader.h"
#include "tools/cli/commands.h"
#include "tools/cli/progress.h"
#include "tools/tune/tune.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <optional>

namespace platen::cli {

namespace {

struct TuneArguments {
  std::string plan, output, device = "cuda";
  bool json = false;
  tune::TuneOptions options;
};

const char *proofName(plan::Proof proof) {
  constexpr const char *kNames[] = {"unverified", "simulated", "measured"};
  return kNames[static_cast<int>(proof)];
}

/// N of "cuda:N", 0 of "cuda".
std::optional<int> ordinalOf(std::string_view device) {
  if (device == "cuda")
    return 0;
  int ordinal = 0;
  if (!device.starts_with("cuda:"))
    return std::nullopt;
  const char *end = device.data() + device.size();
  auto [last, error] = std::from_chars(device.data() + 5, end, ordinal);
  return error == std::errc() && last == end && ordinal >= 0 ? std::optional(ordinal)
                                                             : std::nullopt;
}

nlohmann::json toJson(const plan::Kernel &kernel, const tune::Verdict &verdict) {
  const plan::CudaKernel &cuda = *kernel.cuda;
  nlohmann::json json{{"name", kernel.name},
                      {"proof", proofName(cuda.proof)},
                      {"tests", verdict.tests},
                      {"passed", !verdict.failure}};
  if (verdict.tests != 0 && !verdict.failure)
    json["difference_of_bound"] = verdict.worst;
  if (!verdict.untested.empty())
    json["untested"] = verdict.untested;
  if (cuda.predicted_ns != 0)
    json["predicted_ns"] = cuda.predicted_ns;
  if (cuda.measured_ns != 0)
    json["measured_ns"] = cuda.measured_ns;
  if (verdict.failure)
    json["failure"] = {{"launch", verdict.failure->launch},
                       {"tokens", verdict.failure->extents.tokens},
                       {"rows", verdict.failure->extents.rows},
                       {"what", verdict.failure->what}};
  return json;
}

void printJson(const TuneArguments &arguments, const tune::TuneReport &report) {
  const plan::DeviceProgram &program = report.manifest.programs[report.program];
  nlohmann::json json{{"plan", arguments.output},
                      {"device", report.device},
                      {"simulated", report.is_simulated},
                      {"target", report.target},
                      {"kernels", nlohmann::json::array()}};
  if (!report.no_reference.empty())
    json["no_reference"] = report.no_reference;
  for (size_t i = 0; i < program.kernels.size(); ++i)
    json["kernels"].push_back(toJson(program.kernels[i], report.verdicts[i]));
  if (const tune::Prediction met = tune::comparePredictions(program); met.kernels != 0)
    json["prediction"] = {{"kernels", met.kernels},
                          {"median_measured_of_predicted", met.median_ratio},
                          {"rank_correlation", met.rank_correlation}};
  fmt::print("{}\n", json.dump(1));
}

void printText(const TuneArguments &arguments, const tune::TuneReport &report) {
  const plan::DeviceProgram &program = report.manifest.programs[report.program];
  size_t proven = 0, failed = 0, untested = 0;
  double worst = 0;
  for (const tune::Verdict &verdict : report.verdicts) {
    proven += verdict.isProven();
    failed += verdict.failure.has_value();
    untested += !verdict.failure && !verdict.isProven();
    if (!verdict.failure)
      worst = std::max(worst, verdict.worst);
  }
  fmt::print("{}, code {}\n", report.device, report.target);
  if (!report.no_reference.empty())
    fmt::print("no reference: {}; kernels were compared with each other alone, nothing vouches for "
               "them\n",
               report.no_reference);
  fmt::print("{} kernels: {} {}, {} not proven, {} failed; largest difference {:.0f} % of its "
             "bound\n",
             program.kernels.size(), proven, report.is_simulated ? "simulated" : "measured",
             untested, failed, worst * 100);
  for (size_t i = 0; i < program.kernels.size(); ++i) {
    const tune::Verdict &verdict = report.verdicts[i];
    if (!verdict.failure && !verdict.untested.empty())
      fmt::print("  not proven: {}: {}\n", program.kernels[i].name, verdict.untested);
    if (program.kernels[i].cuda->measured_ns != 0)
      fmt::print("  {}: {:.1f} us measured, {:.1f} us predicted\n", program.kernels[i].name,
                 program.kernels[i].cuda->measured_ns / 1e3,
                 program.kernels[i].cuda->predicted_ns / 1e3);
  }
  if (const tune::Prediction met = tune::comparePredictions(program); met.kernels != 0)
    fmt::print("predictions of {} kernels: median measured / predicted {:.2f}, rank correlation "
               "{:.2f}\n",
               met.kernels, met.median_ratio, met.rank_correlation);
  fmt::print("{}\n", arguments.output);
}

/// 1 if a kernel failed, though the plan was written without it.
int report(const TuneArguments &arguments, const tune::TuneReport &report) {
  if (arguments.json)
    printJson(arguments, report);
  else
    printText(arguments, report);
  int code = 0;
  for (const tune::Verdict &verdict : report.verdicts)
    if (verdict.failure) {
      code = 1;
      if (!arguments.json)
        fmt::print(stderr, "platen: failed, and left out of the plan's rankings: {}\n",
                   verdict.failure->toString());
    }
  return code;
}

int runTune(TuneArguments &arguments) {
  auto ordinal = ordinalOf(arguments.device);
  if (!ordinal)
    return reportFailure(
        base::invalidArgument("device is '" + arguments.device + "', it must be cuda or cuda:N"),
        arguments.json);
  arguments.options.ordinal = *ordinal;
  if (arguments.output.empty())
    arguments.output =
        std::filesystem::path(arguments.plan).replace_extension(".tuned.plan").string();
  auto plan = plan::Plan::load(arguments.plan);
  if (!plan)
    return reportFailure(plan.status(), arguments.json);
  installInterruptHandler();
  ProgressDisplay display(arguments.json);
  arguments.options.cancelled = [] { return interrupted.load(); };
  arguments.options.progress = [&](std::string_view phase, uint64_t done, uint64_t total) {
    display.update(phase, done, total);
  };
  auto found = tune::tune(*plan, arguments.options);
  base::Status status = found.status();
  if (status.isOk())
    status = tune::writePlan(*plan, found->manifest, arguments.output, arguments.options);
  display.finish();
  return status.isOk() ? report(arguments, *found) : reportFailure(status, arguments.json);
}

} // namespace

void addTuneCommand(CLI::App &app, int &exitCode) {
  auto arguments = std::make_shared<TuneArguments>();
  CLI::App *command = app.add_subcommand(
      "tune", "Test a plan's CUDA kernels on the device at hand, and time them if it is real");
  command->add_option("plan", arguments->plan, "model.plan")->required();
  command->add_option("-o,--output", arguments->output,
                      "Plan file to write (default: the plan's name with .tuned.plan)");
  command->add_option("--device", arguments->device, "cuda or cuda:N")->capture_default_str();
  command->add_option("--step-tokens", arguments->options.step_tokens,
                      "Most tokens of a step that kernels are tested with (default: 512, on a "
                      "simulated device 80)");
  command
      ->add_option("--past", arguments->options.past_tokens,
                   "Positions that the longest sequence has before the step")
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "Of the random tokens")
      ->capture_default_str();
  command->add_option("-t,--threads", arguments->options.threads,
                      "Threads of the host that kernels are compared with; 0: one a core");
  command->add_flag("--json", arguments->json,
                    "Machine-readable progress (stderr) and result (stdout)");
  command->callback([arguments, &exitCode] { exitCode = runTune(*arguments); });
}

} // namespace platen::cli
