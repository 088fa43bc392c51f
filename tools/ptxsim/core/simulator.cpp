// Module::parse, LoadedModule::load and run(): the way into the machine.
#include "tools/ptxsim/core/simulator.h"

#include "tools/ptxsim/core/global_races.h"
#include "tools/ptxsim/core/machine.h"
#include "tools/ptxsim/core/program.h"
#include "tools/ptxsim/ptx/parser.h"

#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>

namespace platen::ptxsim {

void runBranch(Warp &warp, const Op &op, uint32_t mask);

namespace {

std::string dims(const Dim3 &d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

base::Status processorFits() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c"))
    return base::unsupported("the PTX simulator needs a processor with AVX2, FMA and F16C");
#endif
  return {};
}

/// The initial bytes of a module variable; false: it refers to a symbol that is not there.
bool initialBytes(const ptx::Variable &variable, const Program &program,
                  const std::vector<uint64_t> &addresses, std::vector<uint8_t> &bytes) {
  bytes.assign(variable.bytes(), 0);
  size_t size = (ptx::bitsOf(variable.type) + 7) / 8, at = 0;
  for (const ptx::Initialiser &initialiser : variable.initialisers) {
    uint64_t bits = initialiser.bits;
    if (initialiser.kind == ptx::Initialiser::Kind::kSymbol) {
      auto it = program.globalIndex.find(initialiser.symbol);
      if (it == program.globalIndex.end())
        return false;
      bits += addresses[it->second];
    }
    size_t count = std::min(size, sizeof bits);
    if (at + count > bytes.size())
      return false;
    std::memcpy(bytes.data() + at, &bits, count);
    at += size;
  }
  return true;
}

bool isGlobal(const ptx::Variable &variable) {
  return variable.space == ptx::Space::kGlobal || variable.space == ptx::Space::kConst;
}

} // namespace

std::string Refusal::toString() const {
  return "line " + std::to_string(line) + " `" + instruction + "`: " + why;
}

Module::Module() = default;
Module::~Module() = default;

base::Result<std::shared_ptr<const Module>> Module::parse(std::string text) {
  PLATEN_RETURN_IF_ERROR(processorFits());
  PLATEN_ASSIGN_OR_RETURN(std::unique_ptr<ptx::Module> ast, ptx::parse(std::move(text)));
  std::shared_ptr<Module> module(new Module());
  module->program_ = std::make_unique<Program>();
  Program &program = *module->program_;
  program.ast = std::move(ast);
  auto add = [&](const ptx::Variable &v) {
    auto [it, isNew] =
        program.globalIndex.try_emplace(v.name, static_cast<uint32_t>(program.globals.size()));
    if (isNew)
      program.globals.push_back({std::string(v.name), v.bytes(), v.alignment,
                                 v.space == ptx::Space::kConst, v.isExternal});
  };
  for (const ptx::Variable &v : program.ast->variables)
    if (isGlobal(v))
      add(v);
  for (const ptx::Function &function : program.ast->functions)
    if (function.isEntry && function.hasBody) {
      program.codes.push_back(lowerKernel(program, function));
      program.kernels.push_back(program.codes.back().info);
    }
  return std::shared_ptr<const Module>(std::move(module));
}

std::span<const KernelInfo> Module::kernels() const { return program_->kernels; }
const KernelInfo *Module::kernel(std::string_view name) const {
  for (const KernelInfo &kernel : program_->kernels)
    if (kernel.name == name)
      return &kernel;
  return nullptr;
}
std::span<const GlobalVariable> Module::globals() const { return program_->globals; }
std::string_view Module::target() const { return program_->ast->target; }
int Module::version() const { return program_->ast->version; }

base::Result<std::unique_ptr<LoadedModule>> LoadedModule::load(std::shared_ptr<const Module> module,
                                                               Memory &memory, int owner) {
  std::unique_ptr<LoadedModule> loaded(new LoadedModule());
  loaded->module_ = std::move(module);
  loaded->memory_ = &memory;
  const Program &program = loaded->module_->program();
  for (const GlobalVariable &variable : program.globals) {
    uint64_t &address = loaded->addresses_.emplace_back(0);
    if (variable.isExternal || variable.size == 0)
      continue;
    PLATEN_ASSIGN_OR_RETURN(address, memory.allocate(variable.size, owner));
  }
  for (const ptx::Variable &variable : program.ast->variables) {
    auto it = program.globalIndex.find(variable.name);
    if (it == program.globalIndex.end() || loaded->addresses_[it->second] == 0)
      continue;
    std::vector<uint8_t> bytes;
    if (!initialBytes(variable, program, loaded->addresses_, bytes))
      return base::corrupt("the initialiser of '" + std::string(variable.name) +
                               "' does not fit or names an unknown symbol",
                           "PTX line " + std::to_string(variable.line));
    PLATEN_RETURN_IF_ERROR(
        memory.write(loaded->addresses_[it->second], bytes.data(), bytes.size()));
  }
  return loaded;
}

LoadedModule::~LoadedModule() {
  for (uint64_t address : addresses_)
    if (address != 0)
      (void)memory_->free(address);
}

base::Result<LoadedModule::Variable> LoadedModule::global(std::string_view name) const {
  const Program &program = module_->program();
  auto it = program.globalIndex.find(name);
  if (it == program.globalIndex.end() || addresses_[it->second] == 0)
    return base::notFound("the module has no variable '" + std::string(name) + "'");
  return Variable{addresses_[it->second], program.globals[it->second].size};
}

namespace {

base::Status checkLaunch(const KernelInfo &kernel, const Launch &launch, const Options &options) {
  auto invalid = [&](std::string what) {
    return base::invalidArgument(std::move(what), "kernel " + kernel.name);
  };
  if (!kernel.refusals.empty())
    return base::unsupported(std::to_string(kernel.refusals.size()) +
                                 " instructions are not executed, the first in " +
                                 kernel.refusals[0].toString(),
                             "kernel " + kernel.name);
  uint64_t threads = launch.block.count();
  if (threads == 0 || threads > 1024 || launch.block.z > 64)
    return invalid("a block of " + dims(launch.block) + " threads: 1 to 1024 are allowed");
  if (launch.grid.count() == 0 || launch.grid.x > 0x7FFFFFFF || launch.grid.y > 65535 ||
      launch.grid.z > 65535)
    return invalid("a grid of " + dims(launch.grid) + " blocks");
  if (kernel.maxThreads != 0 && threads > kernel.maxThreads)
    return invalid("a block of " + std::to_string(threads) + " threads, but .maxntid allows " +
                   std::to_string(kernel.maxThreads));
  const Dim3 &r = kernel.requiredBlock;
  if (kernel.requiredThreads != 0 &&
      (launch.block.x != r.x || launch.block.y != r.y || launch.block.z != r.z))
    return invalid("a block of " + dims(launch.block) + " threads, but .reqntid asks for " +
                   dims(r));
  if (launch.parameters.size() != kernel.parameterBytes)
    return invalid(std::to_string(launch.parameters.size()) + " bytes of parameters instead of " +
                   std::to_string(kernel.parameterBytes));
  size_t shared = kernel.staticSharedBytes + launch.dynamicSharedBytes;
  if (shared > options.sharedBytesLimit)
    return base::invalidArgument(std::to_string(shared) + " bytes of shared memory, more than " +
                                     std::to_string(options.sharedBytesLimit),
                                 "kernel " + kernel.name);
  const Dim3 &c = launch.cluster;
  if (c.count() == 0 || c.count() > 16 || launch.grid.x % c.x || launch.grid.y % c.y ||
      launch.grid.z % c.z)
    return invalid("clusters of " + dims(c) + " blocks in a grid of " + dims(launch.grid));
  const Dim3 &rc = kernel.requiredCluster;
  if (rc.x != 0 && (c.x != rc.x || c.y != rc.y || c.z != rc.z))
    return invalid("clusters of " + dims(c) + " blocks, but .reqnctapercluster asks for " +
                   dims(rc));
  return {};
}

base::Status fillImage(LaunchState &state, const LoadedModule &module) {
  const Code &code = *state.code;
  state.registerImage.assign(code.registerBytes, 0xFF);
  for (const Slot &slot : code.slots) {
    if (slot.kind == Slot::Kind::kSpecial)
      continue;
    uint64_t bits = slot.bits;
    if (slot.kind == Slot::Kind::kGlobal) {
      uint64_t address = module.globalAddresses()[slot.global];
      if (address == 0)
        return base::unsupported("variable '" + module.module().globals()[slot.global].name +
                                     "' has no memory (external or unsized)",
                                 "kernel " + code.info.name);
      bits += address;
    }
    for (size_t l = 0; l < 32; ++l)
      if (slot.wide)
        std::memcpy(state.registerImage.data() + slot.offset + 8 * l, &bits, 8);
      else
        std::memcpy(state.registerImage.data() + slot.offset + 4 * l, &bits, 4);
  }
  return {};
}

void count(Cluster &cluster, const Code &code) {
  Counters &c = cluster.counters;
  for (Block &block : cluster.blocks)
    for (Warp &warp : block.warps)
      c.warpInstructions += warp.executed;
  c.blocks += cluster.blocks.size();
  for (size_t i = 0; i < cluster.profile.size(); ++i) {
    uint64_t executions = std::exchange(cluster.profile[i], 0);
    c.byPipe[static_cast<size_t>(code.ops[i].pipe)] += executions;
    c.branches += code.ops[i].run == &runBranch ? executions : 0;
  }
}

/// What the host threads of a launch share.
struct Work {
  explicit Work(const LaunchState &launch) : state(launch) {}
  const LaunchState &state;
  uint64_t clusters = 0;
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  Report report;
  uint64_t failedCluster = ~uint64_t{0};
  base::Status status;

  /// Runs `body`, whose memory the host may not have.
  template <class F> void guarded(F body) {
    try {
      body();
    } catch (const std::bad_alloc &) {
      std::lock_guard lock(mutex);
      failed = true;
      status =
          base::resourceExhausted("the host has not enough memory for the blocks of the launch");
    }
  }
  void run() {
    Cluster cluster;
    uint64_t number = 0;
    while (!failed && (number = next++) < clusters) {
      cluster.start(state, number);
      auto violation = runClusters({&cluster, 1});
      count(cluster, *state.code);
      if (violation)
        note(std::move(*violation), number);
    }
    std::lock_guard lock(mutex);
    report.counters.add(cluster.counters);
  }
  void note(Violation violation, uint64_t number) {
    std::lock_guard lock(mutex);
    failed = true;
    if (number < failedCluster) { // the same one whatever thread was faster
      failedCluster = number;
      report.violation = std::move(violation);
    }
  }
  void runTogether() {
    std::vector<Cluster> all(clusters);
    for (uint64_t c = 0; c < clusters; ++c)
      all[c].start(state, c);
    report.violation = runClusters(all);
    for (Cluster &cluster : all) {
      count(cluster, *state.code);
      report.counters.add(cluster.counters);
    }
  }
};

} // namespace

base::Result<Report> run(const LoadedModule &module, const Memory &memory, const Launch &launch,
                         const Options &options) {
  const Program &program = module.module().program();
  LaunchState state;
  for (const Code &code : program.codes)
    if (code.info.name == launch.kernel)
      state.code = &code;
  if (!state.code)
    return base::notFound("the module has no kernel '" + std::string(launch.kernel) + "'");
  PLATEN_RETURN_IF_ERROR(checkLaunch(state.code->info, launch, options));
  state.launch = &launch;
  state.options = &options;
  state.globals = module.globalAddresses();
  state.table = memory.table();
  state.cluster = launch.cluster;
  state.sharedBytes =
      static_cast<uint32_t>(state.code->info.staticSharedBytes + launch.dynamicSharedBytes);
  PLATEN_RETURN_IF_ERROR(fillImage(state, module));
  if (options.checkGlobalRaces)
    state.globalRaces = std::make_shared<GlobalRaces>(*state.table, state.code->globalGranularity);
  Work work(state);
  work.clusters = launch.grid.count() / launch.cluster.count();
  if (launch.cooperative) {
    work.guarded([&] { work.runTogether(); });
    PLATEN_RETURN_IF_ERROR(work.status);
    return std::move(work.report);
  }
  unsigned threads = options.threads ? options.threads : std::thread::hardware_concurrency();
  threads = static_cast<unsigned>(std::min<uint64_t>(std::max(1u, threads), work.clusters));
  std::vector<std::thread> helpers;
  for (unsigned t = 1; t < threads; ++t)
    helpers.emplace_back([&] { work.guarded([&] { work.run(); }); });
  work.guarded([&] { work.run(); });
  for (std::thread &helper : helpers)
    helper.join();
  PLATEN_RETURN_IF_ERROR(work.status);
  return std::move(work.report);
}

} // namespace platen::ptxsim
