// See tune.h. Two machines side by side: the reference runs whole steps, launch by launch; before
// and after each launch that is tested the other one is given its inputs and asked for its outputs.
#include "tools/tune/tune.h"

#include "runtime/device/cuda/cuda_device.h"
#include "runtime/device/host/host_device.h"
#include "tools/tune/bounds.h"
#include "tools/tune/coverage.h"
#include "tools/tune/machine.h"
#include "tools/tune/workload.h"

#include <algorithm>
#include <optional>
#include <set>

namespace platen::tune {

using base::Result;
using base::Status;
using base::StatusCode;

namespace {

constexpr unsigned kTimedRuns = 20;
constexpr uint64_t kSimulatedStepTokens = 80, kStepTokens = 512;

/// What a launch's operands hold.
struct State {
  std::map<uint32_t, Bytes> buffers, caches;
  bool operator==(const State &) const = default;
};

/// Fills the places of the step's tokens in a layer's pages.
void fillPlaces(Bytes &pages, const plan::Cache &cache, uint32_t page_tokens, const Step &step) {
  const auto bytes = static_cast<uint64_t>(base::bitWidth(cache.dtype)) / 8;
  const uint64_t half = uint64_t{page_tokens} * cache.head_dim;
  auto fill = [&](uint64_t element) {
    std::fill_n(pages.begin() + static_cast<std::ptrdiff_t>(element * bytes), bytes, kFill);
  };
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    const auto position = static_cast<uint64_t>(step.positions[t]);
    const uint64_t entry =
        static_cast<uint64_t>(step.owners[t]) * static_cast<uint64_t>(step.stride) +
        position / page_tokens;
    const uint64_t slot = position % page_tokens;
    for (uint64_t head = 0; head < cache.kv_heads; ++head) {
      const uint64_t keys =
          (static_cast<uint64_t>((*step.pages)[entry]) * cache.kv_heads + head) * 2 * half;
      for (uint64_t d = 0; d < cache.head_dim; ++d) {
        fill(keys + d * page_tokens + slot);
        fill(keys + half + slot * cache.head_dim + d);
      }
    }
  }
}

class Examination {
public:
  Examination(const plan::Plan &plan, const TuneOptions &options)
      : plan_(plan), manifest_(plan.manifest()), options_(options) {}
  Result<TuneReport> run();

private:
  Status open();
  Status openTarget();
  Status openReference();
  Status restoreTarget();
  Status readPast();
  Status restoreCaches(const Step &step);
  Status examineStep(uint64_t tokens);
  Status fillNewBuffers(size_t launch);
  Result<State> read(Machine &machine, size_t launch);
  Status examineLaunch(size_t launch, const std::vector<Wanted> &kernels, const State &before,
                       const State &after);
  Result<std::optional<State>> execute(size_t launch, uint32_t kernel, const State &before);
  Status compare(size_t launch, const Wanted &wanted, const State &got, const State &want);
  Status time(size_t launch, const Wanted &wanted);
  void settleBits(size_t launch, const std::vector<std::pair<State, std::vector<uint32_t>>> &bits);
  void fail(size_t launch, uint32_t kernel, std::string what);
  uint64_t extentOf(size_t launch) const {
    return static_cast<uint64_t>(target_->extents()[program().launches[launch].extent]);
  }
  const plan::DeviceProgram &program() const { return manifest_.programs[report_.program]; }

  const plan::Plan &plan_;
  const plan::Manifest &manifest_;
  const TuneOptions &options_;
  TuneReport report_;
  std::unique_ptr<device::CudaDevice> cuda_;
  std::unique_ptr<device::Device> host_;
  std::unique_ptr<Machine> target_, reference_; // the reference may be on cuda_ too
  std::unique_ptr<device::Memory> flush_;
  std::optional<Workload> workload_;
  Step step_;
  Coverage coverage_;
  std::vector<BufferLayout> layouts_;
  std::vector<size_t> first_launch_; // [buffers]: who touches it first
  std::vector<Bytes> past_;          // [caches]
  std::set<std::pair<size_t, uint64_t>> done_;
  uint64_t tests_ = 0;
  uint32_t cuda_target_ = 0;
};

Status Examination::open() {
  PLATEN_ASSIGN_OR_RETURN(
      cuda_, device::CudaDevice::open({.ordinal = options_.ordinal, .driver = options_.driver}));
  PLATEN_ASSIGN_OR_RETURN(cuda_target_, cuda_->chooseTarget(plan_));
  report_.device = cuda_->description();
  report_.target = manifest_.targets[cuda_target_].name;
  report_.is_simulated = cuda_->isSimulated();
  report_.program = manifest_.targets[cuda_target_].program;
  report_.manifest = manifest_;
  report_.verdicts.resize(program().kernels.size());
  const uint64_t most = options_.step_tokens != 0 ? options_.step_tokens
                        : report_.is_simulated    ? kSimulatedStepTokens
                                                  : kStepTokens;
  workload_.emplace(manifest_, most, options_.past_tokens, options_.seed);
  coverage_ = planCoverage(program(), manifest_.limits, workload_->stepTokens(),
                           !report_.is_simulated, report_.verdicts);
  PLATEN_ASSIGN_OR_RETURN(layouts_, bufferLayouts(manifest_, program()));
  first_launch_.assign(program().buffers.size(), SIZE_MAX);
  for (size_t i = program().launches.size(); i-- > 0;)
    for (const plan::Operand &operand : program().launches[i].operands)
      if (operand.kind == plan::OperandKind::kBuffer)
        first_launch_[operand.index] = i;
  PLATEN_RETURN_IF_ERROR(openTarget());
  return openReference();
}

Status Examination::openTarget() {
  PLATEN_ASSIGN_OR_RETURN(target_,
                          Machine::create(plan_, *cuda_, cuda_target_, workload_->pages()));
  if (!report_.is_simulated && cuda_->report().cache_bytes != 0) {
    PLATEN_ASSIGN_OR_RETURN(
        flush_, cuda_->allocate(2 * cuda_->report().cache_bytes, "what flushes the cache"));
  }
  return Status::ok();
}

/// Whether the host's program has the same buffers and, launch by launch, the same operands.
bool corresponds(const plan::DeviceProgram &host, const plan::DeviceProgram &cuda) {
  return host.buffers == cuda.buffers && host.caches == cuda.caches &&
         host.arena_bytes == cuda.arena_bytes &&
         std::equal(host.launches.begin(), host.launches.end(), cuda.launches.begin(),
                    cuda.launches.end(), [](const plan::Launch &a, const plan::Launch &b) {
                      return a.name == b.name && a.extent == b.extent && a.operands == b.operands;
                    });
}

Status Examination::openReference() {
  device::HostOptions options;
  options.threads = options_.threads;
  PLATEN_ASSIGN_OR_RETURN(host_, device::HostDevice::create(options));
  auto chosen = host_->chooseTarget(plan_);
  if (!chosen.isOk())
    report_.no_reference =
        "the host cannot run the plan: " + std::string(chosen.status().message());
  else if (!corresponds(manifest_.programs[manifest_.targets[*chosen].program], program()))
    report_.no_reference = "the plan's program for the host has other launches";
  if (report_.no_reference.empty()) {
    PLATEN_ASSIGN_OR_RETURN(reference_,
                            Machine::create(plan_, *host_, *chosen, workload_->pages()));
    return Status::ok();
  }
  for (Verdict &verdict : report_.verdicts)
    if (verdict.untested.empty())
      verdict.untested = "there was nothing to compare it with";
  PLATEN_ASSIGN_OR_RETURN(reference_, Machine::create(plan_, *cuda_, cuda_target_,
                                                      workload_->pages(), target_->weights()));
  return Status::ok();
}

/// After a kernel that failed: it may have written where nothing of it belongs, into weights too.
Status Examination::restoreTarget() {
  if (report_.no_reference.empty()) {
    target_.reset(), flush_.reset();
    PLATEN_RETURN_IF_ERROR(openTarget());
  } else { // the reference has the same weights
    PLATEN_RETURN_IF_ERROR(cuda_->upload(*target_->weights(), 0, plan_.weights()));
  }
  return target_->begin(step_.inputs());
}

/// Runs the pasts of the sequences on the reference.
Status Examination::readPast() {
  const std::vector<Step> steps = workload_->past();
  for (size_t s = 0; s < steps.size(); ++s) {
    if (options_.progress)
      options_.progress("past", s, steps.size());
    PLATEN_RETURN_IF_ERROR(reference_->begin(steps[s].inputs()));
    for (size_t i = 0; i < program().launches.size(); ++i) {
      if (options_.cancelled && options_.cancelled())
        return {StatusCode::kCancelled, "interrupted", plan_.path()};
      if (auto kernel = reference_->choice(i)) {
        Status status = reference_->run(i, *kernel);
        if (!status.isOk())
          return status.at("launch '" + program().launches[i].name + "'");
      }
    }
  }
  for (uint32_t c = 0; c < program().caches.size(); ++c) {
    PLATEN_ASSIGN_OR_RETURN(past_.emplace_back(), reference_->readCache(c));
  }
  return Status::ok();
}

Status Examination::restoreCaches(const Step &step) {
  for (uint32_t c = 0; c < past_.size(); ++c) {
    Bytes pages = past_[c];
    fillPlaces(pages, program().caches[c], manifest_.limits.page_tokens, step);
    PLATEN_RETURN_IF_ERROR(reference_->writeCache(c, pages));
  }
  return Status::ok();
}

/// Fills what no earlier launch has written.
Status Examination::fillNewBuffers(size_t launch) {
  for (uint32_t b = 0; b < first_launch_.size(); ++b)
    if (first_launch_[b] == launch)
      PLATEN_RETURN_IF_ERROR(reference_->writeBuffer(b, Bytes(reference_->bufferBytes(b), kFill)));
  return Status::ok();
}

Result<State> Examination::read(Machine &machine, size_t launch) {
  State state;
  for (const plan::Operand &operand : program().launches[launch].operands) {
    if (operand.kind == plan::OperandKind::kBuffer && !state.buffers.contains(operand.index)) {
      PLATEN_ASSIGN_OR_RETURN(state.buffers[operand.index], machine.readBuffer(operand.index));
    } else if (operand.kind == plan::OperandKind::kCache && !state.caches.contains(operand.index)) {
      PLATEN_ASSIGN_OR_RETURN(state.caches[operand.index], machine.readCache(operand.index));
    }
  }
  return state;
}

Status Examination::examineStep(uint64_t tokens) {
  step_ = workload_->step(tokens);
  PLATEN_RETURN_IF_ERROR(reference_->begin(step_.inputs()));
  PLATEN_RETURN_IF_ERROR(target_->begin(step_.inputs()));
  PLATEN_RETURN_IF_ERROR(restoreCaches(step_));
  for (size_t i = 0; i < program().launches.size(); ++i) {
    PLATEN_RETURN_IF_ERROR(fillNewBuffers(i));
    const auto kernel = reference_->choice(i);
    if (!kernel)
      continue;
    std::vector<Wanted> wanted;
    if (auto found = coverage_.launches.find(i);
        found != coverage_.launches.end() && done_.emplace(i, extentOf(i)).second)
      std::copy_if(found->second.begin(), found->second.end(), std::back_inserter(wanted),
                   [&](const Wanted &one) { return one.extents.contains(extentOf(i)); });
    State before, after;
    if (!wanted.empty()) {
      PLATEN_ASSIGN_OR_RETURN(before, read(*reference_, i));
    }
    Status status = reference_->run(i, *kernel);
    if (!status.isOk())
      return status.at("launch '" + program().launches[i].name + "'");
    if (wanted.empty())
      continue;
    PLATEN_ASSIGN_OR_RETURN(after, read(*reference_, i));
    PLATEN_RETURN_IF_ERROR(examineLaunch(i, wanted, before, after));
  }
  return Status::ok();
}

void Examination::fail(size_t launch, uint32_t kernel, std::string what) {
  Verdict &verdict = report_.verdicts[kernel];
  if (!verdict.failure)
    verdict.failure = Failure{program().kernels[kernel].name, program().launches[launch].name,
                              target_->extents(), std::move(what)};
}

/// What the kernel leaves; nothing if it could not be run, which is a verdict on it.
Result<std::optional<State>> Examination::execute(size_t launch, uint32_t kernel,
                                                  const State &before) {
  for (const auto &[buffer, bytes] : before.buffers)
    PLATEN_RETURN_IF_ERROR(target_->writeBuffer(buffer, bytes));
  for (const auto &[cache, bytes] : before.caches)
    PLATEN_RETURN_IF_ERROR(target_->writeCache(cache, bytes));
  const Status status = target_->run(launch, kernel);
  if (status.isOk()) {
    PLATEN_ASSIGN_OR_RETURN(State state, read(*target_, launch));
    return std::optional(std::move(state));
  }
  if (status.code() == StatusCode::kResourceExhausted)
    return status.at(program().kernels[kernel].name);
  fail(launch, kernel, status.toString());
  if (status.code() != StatusCode::kDeviceLost)
    return std::optional<State>();
  // The device is lost with everything on it. A new context may do; if not, that is the end.
  if (!report_.no_reference.empty())
    return status.at(report_.verdicts[kernel].failure->toString());
  target_.reset(), flush_.reset(), cuda_.reset();
  auto again = device::CudaDevice::open({.ordinal = options_.ordinal, .driver = options_.driver});
  if (!again.isOk())
    return again.status().at(report_.verdicts[kernel].failure->toString());
  cuda_ = std::move(*again);
  PLATEN_RETURN_IF_ERROR(openTarget());
  PLATEN_RETURN_IF_ERROR(target_->begin(step_.inputs()));
  return std::optional<State>();
}

Status Examination::compare(size_t launch, const Wanted &wanted, const State &got,
                            const State &want) {
  const plan::Launch &entry = program().launches[launch];
  const plan::Kernel &kernel = program().kernels[wanted.kernel];
  const double bound =
      report_.no_reference.empty() ? relativeBound(manifest_, program(), entry, kernel) : 0;
  Verdict &verdict = report_.verdicts[wanted.kernel];
  auto take = [&](const Result<Difference> &difference, const std::string &where) {
    if (!difference.isOk())
      return difference.status().at("launch '" + entry.name + "', " + where);
    verdict.worst = std::max(verdict.worst, difference->worst);
    if (difference->first)
      fail(launch, wanted.kernel, where + ", " + *difference->first);
    return Status::ok();
  };
  for (const auto &[buffer, bytes] : got.buffers)
    PLATEN_RETURN_IF_ERROR(
        take(compareRows(bytes, want.buffers.at(buffer), program().buffers[buffer].row_bytes,
                         layouts_[buffer], bound),
             "buffer '" + program().buffers[buffer].name + "'"));
  for (const auto &[cache, bytes] : got.caches)
    PLATEN_RETURN_IF_ERROR(take(comparePages(bytes, want.caches.at(cache), program().caches[cache],
                                             manifest_.limits.page_tokens, bound),
                                "cache " + std::to_string(cache)));
  const uint64_t extent = extentOf(launch);
  verdict.tests += extent >= wanted.first && extent <= wanted.last;
  return Status::ok();
}

Status Examination::time(size_t launch, const Wanted &wanted) {
  const uint64_t extent = extentOf(launch);
  if (report_.is_simulated || !wanted.timed_at.contains(extent))
    return Status::ok();
  PLATEN_ASSIGN_OR_RETURN(const device::Launch call, target_->prepare(launch, wanted.kernel));
  PLATEN_ASSIGN_OR_RETURN(std::vector<double> times, cuda_->time(call, kTimedRuns, flush_.get()));
  std::nth_element(times.begin(), times.begin() + kTimedRuns / 2, times.end());
  auto [entry, isNew] =
      report_.verdicts[wanted.kernel].times_ns.emplace(extent, times[kTimedRuns / 2]);
  if (!isNew)
    entry->second = std::min(entry->second, times[kTimedRuns / 2]);
  return Status::ok();
}

/// Kernels of one launch give the same bits: who differs from most of them fails, of two the one
/// ranked behind.
void Examination::settleBits(size_t launch,
                             const std::vector<std::pair<State, std::vector<uint32_t>>> &bits) {
  if (bits.size() < 2)
    return;
  const auto most = std::max_element(bits.begin(), bits.end(), [](const auto &a, const auto &b) {
    return a.second.size() < b.second.size();
  });
  for (const auto &one : bits)
    for (uint32_t kernel : one.second)
      if (&one != &*most)
        fail(launch, kernel,
             "its bits differ from those of " + program().kernels[most->second.front()].name);
}

Status Examination::examineLaunch(size_t launch, const std::vector<Wanted> &kernels,
                                  const State &before, const State &after) {
  std::vector<std::pair<State, std::vector<uint32_t>>> bits;
  for (const Wanted &wanted : kernels) {
    if (options_.cancelled && options_.cancelled())
      return {StatusCode::kCancelled, "interrupted", plan_.path()};
    if (options_.progress)
      options_.progress("kernels", tests_, coverage_.tests);
    ++tests_;
    if (report_.verdicts[wanted.kernel].failure)
      continue;
    PLATEN_ASSIGN_OR_RETURN(std::optional<State> got, execute(launch, wanted.kernel, before));
    if (!got)
      continue;
    PLATEN_RETURN_IF_ERROR(compare(launch, wanted, *got, after));
    if (report_.verdicts[wanted.kernel].failure) {
      PLATEN_RETURN_IF_ERROR(restoreTarget());
      continue;
    }
    PLATEN_RETURN_IF_ERROR(time(launch, wanted));
    for (auto &[buffer, bytes] : got->buffers)
      clearPadding(bytes, program().buffers[buffer].row_bytes, layouts_[buffer]);
    auto same =
        std::find_if(bits.begin(), bits.end(), [&](const auto &one) { return one.first == *got; });
    if (same == bits.end())
      bits.emplace_back(std::move(*got), std::vector{wanted.kernel});
    else
      same->second.push_back(wanted.kernel);
  }
  settleBits(launch, bits);
  return Status::ok();
}

Result<TuneReport> Examination::run() {
  PLATEN_RETURN_IF_ERROR(open());
  PLATEN_RETURN_IF_ERROR(readPast());
  for (uint64_t tokens : coverage_.steps)
    PLATEN_RETURN_IF_ERROR(examineStep(tokens));
  for (Verdict &verdict : report_.verdicts)
    if (verdict.tests == 0 && verdict.untested.empty() && !verdict.failure)
      verdict.untested = "no step reached it";
  PLATEN_RETURN_IF_ERROR(applyVerdicts(report_.manifest.programs[report_.program], report_.verdicts,
                                       manifest_.limits, report_.is_simulated));
  return std::move(report_);
}

} // namespace

Result<TuneReport> tune(const plan::Plan &plan, const TuneOptions &options) {
  if (plan.manifest().graph)
    return base::unsupported("the plan is that of a graph that is no decoder; only the steps of "
                             "decoders are known here, whose kernels can be tested and timed",
                             plan.path());
  return Examination(plan, options).run();
}

} // namespace platen::tune
