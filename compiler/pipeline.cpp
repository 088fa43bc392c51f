// The compile route, phase by phase. Read kPhases: each phase says what it takes and what it
// leaves.
#include "compiler/pipeline.h"
#include "compiler/fuse/fuse.h"
#include "compiler/import/fold.h"
#include "compiler/import/importer.h"
#include "compiler/import/widen.h"
#include "compiler/pack/pack.h"
#include "compiler/programs.h"
#include "compiler/select/select.h"
#include "compiler/serve/serve.h"
#include "compiler/tokenizer/tokenizer_section.h"
#include "compiler/write/generation_config.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <fstream>
#include <set>
#include <thread>

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

class Compilation {
public:
  Compilation(const CompileOptions &options, const std::function<void(const Progress &)> &progress)
      : options_(options), progress_(progress), limits_(options.limits) {
    context_.loadDialect<ir::PlatenDialect, mlir::func::FuncDialect>();
  }
  Result<CompileReport> run();

  Status import();
  Status fold();
  Status serve();
  Status fuse();
  Status quantize();
  Status select();
  Status emit();
  Status pack();
  Status write();

private:
  Status runPasses(const std::function<void(mlir::PassManager &)> &add);
  std::string_view storedFormat() const;
  Status verifyAndDump(std::string_view phase, size_t index);
  void report(uint64_t done, uint64_t total) { progress_({phase_, done, total}); }
  bool cancelled() const { return options_.cancelled != nullptr && *options_.cancelled; }
  unsigned threads() const {
    return options_.threads != 0 ? options_.threads
                                 : std::max(1U, std::thread::hardware_concurrency());
  }

  const CompileOptions &options_;
  const std::function<void(const Progress &)> &progress_;
  plan::Limits limits_;
  std::string_view phase_;
  CompileReport report_;

  mlir::MLIRContext context_;
  ImportedModel model_;
  ServeInfo served_;
  PlanDraft draft_;
  std::unique_ptr<Programs> programs_; ///< of the draft: who selects, emits and writes their code
  std::optional<plan::PlanWriter> writer_;
};

struct Phase {
  std::string_view name;
  Status (Compilation::*run)();
  bool changesIr; ///< then the module is verified, and dumped if asked
};

constexpr Phase kPhases[] = {
    // model.onnx → @main over the catalog's ops. Weights become platen.initializer: their bytes
    // stay in their files.
    {"import", &Compilation::import, true},
    // 16-bit floats become a matter of storage: values are f32. Constants and shape arithmetic are
    // evaluated; what nobody reads disappears.
    {"fold", &Compilation::fold, true},
    // @main → @step, the serving form: [tokens, features], attention owns its paged cache, logits
    // for asked rows.
    {"serve", &Compilation::serve, true},
    // What one kernel executes becomes one region: norms, attention, projections, epilogues,
    // embedding, rows.
    {"fuse", &Compilation::fuse, true},
    // Every weight of a matmul gets the packing in which it is stored. Attributes only.
    {"quantize", &Compilation::quantize, true},
    // @step → launches of kernels over buffers, caches and requests for weights; buffers get places
    // in the arena.
    {"select", &Compilation::select, false},
    // Kernels → machine code, once for each target.
    {"emit", &Compilation::emit, false},
    // Weight bytes stream from their files, packed, into the plan's temporary file.
    {"pack", &Compilation::pack, false},
    // Code, tokenizer and manifest follow; the file gets its name.
    {"write", &Compilation::write, false},
};

Result<CompileReport> Compilation::run() {
  PLATEN_ASSIGN_OR_RETURN(programs_, Programs::forTargets(options_.targets));
  // What would fail after all the work is refused before it.
  if (options_.stopAfter.empty() || options_.stopAfter == "emit")
    PLATEN_RETURN_IF_ERROR(programs_->findTools());
  for (size_t index = 0; index < std::size(kPhases); ++index) {
    const Phase &phase = kPhases[index];
    if (cancelled())
      return Status(base::StatusCode::kCancelled, "compilation was cancelled; nothing was written");
    phase_ = phase.name;
    report(0, 0);
    auto start = std::chrono::steady_clock::now();
    Status status = (this->*phase.run)();
    if (status.isOk() && phase.changesIr)
      status = verifyAndDump(phase.name, index);
    if (!status.isOk())
      return status.at(options_.model.string() + ": " + std::string(phase.name));
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    report_.phases.push_back({std::string(phase.name), seconds.count()});
    if (options_.stopAfter == phase.name)
      break;
  }
  return std::move(report_);
}

Status Compilation::import() {
  PLATEN_ASSIGN_OR_RETURN(model_, importOnnx(options_.model, context_, {}));
  if (limits_.context_tokens == 0) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t made, readContextLength(options_.model.parent_path()));
    limits_.context_tokens = made == 0 ? kDefaultContext : std::min(made, kDefaultContext);
  }
  return Status::ok();
}

Status Compilation::fold() {
  return runPasses([](mlir::PassManager &passes) {
    passes.addPass(createWidenPass());
    passes.addPass(createFoldPass());
  });
}

Status Compilation::serve() {
  constexpr uint64_t kSmallWeight =
      16 << 20; // inverse frequencies and cosine tables; never a projection
  ir::WeightReader reader = weightReader(*model_.module, model_.weights, kSmallWeight);
  ServeOptions serveOptions;
  serveOptions.maxContext = limits_.context_tokens;
  PLATEN_ASSIGN_OR_RETURN(served_, convertToServingForm(*model_.module, reader, serveOptions));
  for (const ComputedWeight &weight : served_.computed)
    PLATEN_RETURN_IF_ERROR(model_.weights->add(weight.file, weight.value->bytes(), weight.value));
  report_.dialect = served_.dialect;
  return Status::ok();
}

Status Compilation::fuse() {
  return runPasses([](mlir::PassManager &passes) {
    for (const FusePass &pass : fusePasses())
      passes.addNestedPass<mlir::func::FuncOp>(createFusePass(pass));
    passes.addPass(mlir::createCSEPass());
  });
}

Status Compilation::quantize() { return assignPackings(*model_.module, options_.weights); }

Status Compilation::select() {
  draft_.manifest.limits = limits_;
  PLATEN_RETURN_IF_ERROR(programs_->select(*model_.module, draft_));
  draft_.manifest.producer = "platen " PLATEN_VERSION;
  draft_.manifest.model_name = options_.model.parent_path().filename().string();
  draft_.manifest.model.hidden = static_cast<uint32_t>(served_.hidden);
  bool blocks =
      std::any_of(draft_.weights.begin(), draft_.weights.end(), [](const WeightRequest &weight) {
        return weight.form == WeightRequest::Form::kBlocks;
      });
  draft_.manifest.model.weight_format = blocks ? "mixed" : storedFormat();
  report_.weightFormat = draft_.manifest.model.weight_format;
  PLATEN_RETURN_IF_ERROR(readGenerationConfig(options_.model.parent_path(), draft_.manifest.model));
  report_.launches = draft_.manifest.programs.front().launches.size();
  for (const plan::DeviceProgram &program : draft_.manifest.programs)
    report_.kernels += program.kernels.size();
  report_.weights = draft_.weights.size();
  return Status::ok();
}

/// The name of the format of the matmuls' weights and tables; "mixed" of several that were kept.
std::string_view Compilation::storedFormat() const {
  if (options_.weights != WeightFormat::kAuto)
    return weightFormatName(options_.weights);
  std::set<std::string_view> names;
  for (const WeightRequest &weight : draft_.weights)
    if (weight.packing.layout == kernels::Packing::Layout::kPanel16)
      names.insert(weight.packing.name.substr(weight.packing.name.find('.') + 1));
  return names.empty() ? "f32" : names.size() == 1 ? *names.begin() : "mixed";
}

Status Compilation::emit() {
  ProgramEmitOptions emitOptions;
  emitOptions.threads = threads();
  emitOptions.progress = [&](size_t done, size_t total) { report(done, total); };
  emitOptions.cancelled = [&] { return cancelled(); };
  return programs_->emit(emitOptions);
}

Status Compilation::pack() {
  PLATEN_ASSIGN_OR_RETURN(writer_, plan::PlanWriter::create(options_.output.string()));
  SourceReader reader(*model_.module, *model_.weights);
  PackOptions packOptions;
  packOptions.threads = threads();
  packOptions.progress = [&](uint64_t done, uint64_t total) {
    report(done, total);
    return !cancelled();
  };
  return packWeights(draft_, reader, *writer_, packOptions);
}

Status Compilation::write() {
  plan::Manifest &manifest = draft_.manifest;
  PLATEN_RETURN_IF_ERROR(programs_->write(*writer_, manifest));
  std::filesystem::path tokenizer = options_.tokenizer;
  for (const char *name : {"tokenizer.model", "tokenizer.json"})
    if (tokenizer.empty() && std::filesystem::exists(options_.model.parent_path() / name))
      tokenizer = options_.model.parent_path() / name;
  if (!tokenizer.empty() && !options_.withoutTokenizer) {
    auto built = buildTokenizerSection(tokenizer);
    if (!built)
      return Status(built.status().code(),
                    std::string(built.status().message()) +
                        "; a plan without tokenizer takes token ids only (--no-tokenizer)",
                    std::string(built.status().origin()));
    const TokenizerSection &section = *built;
    manifest.tokenizer.kind = section.kind;
    PLATEN_ASSIGN_OR_RETURN(manifest.tokenizer.section,
                            writer_->beginSection(plan::SectionKind::kTokenizer, "tokenizer"));
    PLATEN_RETURN_IF_ERROR(writer_->append(section.bytes));
    PLATEN_RETURN_IF_ERROR(writer_->endSection());
  }
  PLATEN_RETURN_IF_ERROR(writer_->finish(std::move(manifest)));
  report_.planBytes = std::filesystem::file_size(options_.output);
  return Status::ok();
}

Status Compilation::runPasses(const std::function<void(mlir::PassManager &)> &add) {
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler(&context_, [&](mlir::Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return mlir::success();
  });
  mlir::PassManager passes(&context_);
  passes.enableVerifier(true);
  add(passes);
  if (mlir::failed(passes.run(*model_.module)))
    return base::internalError("a pass failed: " + diagnostics);
  return Status::ok();
}

Status Compilation::verifyAndDump(std::string_view phase, size_t index) {
  if (mlir::failed(mlir::verify(*model_.module)))
    return base::internalError("the module does not verify after this phase");
  if (options_.dump.empty())
    return Status::ok();
  std::filesystem::create_directories(options_.dump);
  std::string path =
      (options_.dump / (std::to_string(index) + "." + std::string(phase) + ".mlir")).string();
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (error)
    return base::ioError("cannot write the dump: " + error.message(), path);
  model_.module->print(stream, mlir::OpPrintingFlags().enableDebugInfo(false));
  return Status::ok();
}

/// What would fail after all the work is refused before it.
Status checkOutput(const std::filesystem::path &output) {
  std::error_code ignored;
  std::filesystem::path folder = output.has_parent_path() ? output.parent_path() : ".";
  if (!std::filesystem::is_directory(folder, ignored))
    return base::notFound("there is no such folder to write the plan into; create it",
                          folder.string());
  if (std::filesystem::is_directory(output, ignored))
    return base::invalidArgument("the plan's name is that of a folder", output.string());
  return Status::ok();
}

} // namespace

std::vector<std::string_view> phaseNames() {
  std::vector<std::string_view> names;
  for (const Phase &phase : kPhases)
    names.push_back(phase.name);
  return names;
}

Result<CompileReport> compile(const CompileOptions &options,
                              const std::function<void(const Progress &)> &progress) {
  std::vector<std::string_view> names = phaseNames();
  if (!options.stopAfter.empty() &&
      std::find(names.begin(), names.end(), options.stopAfter) == names.end())
    return base::invalidArgument("there is no phase '" + options.stopAfter + "'; the phases are " +
                                 llvm::join(names, ", "));
  if (options.stopAfter.empty())
    PLATEN_RETURN_IF_ERROR(checkOutput(options.output));
  return Compilation(options, progress).run();
}

} // namespace platen::compiler
