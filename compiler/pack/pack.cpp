// See pack.h. Work is cut into runs of panels of at most kRunBytes packed bytes; threads pack the
// next runs while the caller writes finished ones in order, so that memory stays at a few runs a
// thread.
#include "compiler/pack/pack.h"
#include "compiler/pack/packers.h"
#include "runtime/base/threads.h"

#include <condition_variable>
#include <mutex>

namespace platen::compiler {

using base::Result;
using base::Status;
using kernels::Packing;

namespace {

constexpr uint64_t kRunBytes = uint64_t{4} << 20;

/// One weight ready to be packed: sources resolved and checked.
struct Job {
  const WeightRequest *request = nullptr;
  DenseSource dense;
  BlockSource blocks;
  uint64_t units = 0;        ///< panels, or elements of a raw packing
  uint64_t bytesPerUnit = 0; ///< packed
  uint64_t rawBytes = 0;     ///< of kBytes
};

struct Run {
  size_t job;
  uint64_t first, count;
};

Status packRun(const Job &job, const Run &run, std::span<uint8_t> out) {
  const Packing &packing = job.request->packing;
  if (job.request->form == WeightRequest::Form::kBytes) {
    const auto *bytes = static_cast<const uint8_t *>(job.dense.data) + run.first;
    std::copy_n(bytes, std::min<uint64_t>(run.count, job.rawBytes - run.first), out.begin());
    return Status::ok();
  }
  if (packing.layout == Packing::Layout::kRaw)
    return packRaw(job.dense, packing, run.first, run.count, out);
  if (job.request->form == WeightRequest::Form::kBlocks)
    return packBlocks(job.blocks, packing, run.first, run.count, out);
  return packDense(job.dense, packing, run.first, run.count, out);
}

Status checkBytes(const SourceReader::Bytes &source, uint64_t wanted, const std::string &what) {
  if (source.bytes.size() == wanted)
    return Status::ok();
  return base::corrupt(what + " has " + std::to_string(source.bytes.size()) + " bytes (" +
                       source.type.toString() + "), " + std::to_string(wanted) + " are needed");
}

Status openBlocks(Job &job, SourceReader &reader) {
  const WeightRequest &request = *job.request;
  uint64_t perRow = (request.k + request.blockSize - 1) / request.blockSize;
  auto bits = static_cast<uint64_t>(request.bits);
  PLATEN_ASSIGN_OR_RETURN(SourceReader::Bytes codes, reader.read(request.data));
  PLATEN_ASSIGN_OR_RETURN(SourceReader::Bytes scales, reader.read(request.scales));
  PLATEN_RETURN_IF_ERROR(
      checkBytes(codes, request.n * perRow * request.blockSize * bits / 8, "the block codes"));
  PLATEN_RETURN_IF_ERROR(checkBytes(
      scales, request.n * perRow * static_cast<uint64_t>(base::bitWidth(scales.type.dtype)) / 8,
      "the block scales"));
  job.blocks.codes = reinterpret_cast<const uint8_t *>(codes.bytes.data());
  job.blocks.scales = scales.bytes.data();
  job.blocks.scaleType = scales.type.dtype;
  job.blocks.bits = static_cast<uint32_t>(request.bits);
  job.blocks.block = static_cast<uint32_t>(request.blockSize);
  job.blocks.n = request.n;
  job.blocks.k = request.k;
  if (!request.zeros.isAbsent()) {
    PLATEN_ASSIGN_OR_RETURN(SourceReader::Bytes zeros, reader.read(request.zeros));
    PLATEN_RETURN_IF_ERROR(
        checkBytes(zeros, request.n * ((perRow * bits + 7) / 8), "the zero points"));
    job.blocks.zeros = reinterpret_cast<const uint8_t *>(zeros.bytes.data());
  }
  return Status::ok();
}

Status openDense(Job &job, SourceReader &reader) {
  const WeightRequest &request = *job.request;
  PLATEN_ASSIGN_OR_RETURN(SourceReader::Bytes data, reader.read(request.data));
  if (request.form == WeightRequest::Form::kBytes) {
    job.rawBytes = data.bytes.size();
    job.dense.data = data.bytes.data();
    return Status::ok();
  }
  PLATEN_RETURN_IF_ERROR(checkBytes(
      data, request.n * request.k * static_cast<uint64_t>(base::bitWidth(data.type.dtype)) / 8,
      "the weight"));
  job.dense = {data.bytes.data(), data.type.dtype, request.n, request.k, request.transposed};
  return Status::ok();
}

Result<Job> openJob(const WeightRequest &request, SourceReader &reader) {
  Job job;
  job.request = &request;
  if (request.form == WeightRequest::Form::kBlocks)
    PLATEN_RETURN_IF_ERROR(openBlocks(job, reader));
  else
    PLATEN_RETURN_IF_ERROR(openDense(job, reader));
  bool raw = request.packing.layout == Packing::Layout::kRaw;
  job.units = raw ? request.n * request.k : request.packing.panels(request.n);
  job.bytesPerUnit = raw ? request.packing.elementBytes() : request.packing.panelBytes(request.k);
  return job;
}

/// Packs runs on `threads` threads and hands them to `consume` in order.
class RunPipeline {
public:
  RunPipeline(const std::vector<Job> &jobs, const std::vector<Run> &runs, unsigned threads)
      : jobs_(jobs), runs_(runs), results_(runs.size()), window_(2 * std::max(1U, threads)),
        threads_(base::startThreads(std::max(1U, threads), [this] { work(); })) {}
  bool started() const { return !threads_.empty(); }
  ~RunPipeline() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread &thread : threads_)
      thread.join();
  }

  /// The packed bytes of run `index`; must be asked for in order.
  Result<std::vector<uint8_t>> take(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_[index].done; });
    consumed_ = index + 1;
    changed_.notify_all();
    if (!results_[index].status.isOk())
      return results_[index].status;
    return std::move(results_[index].bytes);
  }

private:
  struct Outcome {
    bool done = false;
    Status status;
    std::vector<uint8_t> bytes;
  };

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock,
                    [&] { return stop_ || next_ >= runs_.size() || next_ < consumed_ + window_; });
      if (stop_ || next_ >= runs_.size())
        return;
      size_t index = next_++;
      lock.unlock();
      const Run &run = runs_[index];
      std::vector<uint8_t> bytes(run.count * jobs_[run.job].bytesPerUnit);
      Status status = packRun(jobs_[run.job], run, bytes);
      lock.lock();
      results_[index] = {true, std::move(status), std::move(bytes)};
      changed_.notify_all();
    }
  }

  const std::vector<Job> &jobs_;
  const std::vector<Run> &runs_;
  std::vector<Outcome> results_; ///< guarded by mutex_, like all below
  size_t next_ = 0, consumed_ = 0, window_;
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

std::vector<Run> cutRuns(const std::vector<Job> &jobs) {
  std::vector<Run> runs;
  for (size_t j = 0; j < jobs.size(); ++j) {
    uint64_t step = std::max<uint64_t>(1, kRunBytes / jobs[j].bytesPerUnit);
    for (uint64_t first = 0; first < jobs[j].units; first += step)
      runs.push_back({j, first, std::min(step, jobs[j].units - first)});
  }
  return runs;
}

} // namespace

Result<SourceReader::Bytes> SourceReader::read(const WeightSource &source) {
  if (source.constant)
    return Bytes{source.constant->bytes(), source.constant->type()};
  auto initializer = module_.lookupSymbol<ir::InitializerOp>(source.initializer);
  auto type = initializer ? ir::toTensorType(initializer.getType()) : std::nullopt;
  if (!type)
    return base::internalError("there is no initializer @" + source.initializer);
  PLATEN_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, store_.view(rangeOf(initializer)));
  return Bytes{bytes, *type};
}

Status packWeights(PlanDraft &draft, SourceReader &reader, plan::PlanWriter &writer,
                   const PackOptions &options) {
  std::vector<Job> jobs;
  uint64_t total = 0, done = 0;
  for (size_t i = 0; i < draft.weights.size(); ++i) {
    auto job = openJob(draft.weights[i], reader);
    if (!job)
      return job.status().at("weight '" + draft.manifest.weights[i].name + "'");
    jobs.push_back(*job);
    total += job->units * job->bytesPerUnit;
  }
  std::vector<Run> runs = cutRuns(jobs);
  PLATEN_RETURN_IF_ERROR(writer.beginSection(plan::SectionKind::kWeights, "weights").status());
  RunPipeline pipeline(jobs, runs, options.threads);
  if (!pipeline.started())
    return base::resourceExhausted("no thread can be started to pack weights");
  for (size_t r = 0; r < runs.size(); ++r) {
    plan::Weight &weight = draft.manifest.weights[runs[r].job];
    if (runs[r].first == 0) {
      PLATEN_ASSIGN_OR_RETURN(weight.offset, writer.align(plan::kDataAlignment));
    }
    auto bytes = pipeline.take(r);
    if (!bytes)
      return bytes.status().at("weight '" + weight.name + "'");
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(*bytes))));
    weight.bytes += bytes->size();
    done += bytes->size();
    if (options.progress && !options.progress(done, total))
      return Status(base::StatusCode::kCancelled, "compilation was cancelled; nothing was written");
  }
  return writer.endSection();
}

} // namespace platen::compiler
