// See verdicts.h.
#include "tools/tune/verdicts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace platen::tune {

using base::Status;

namespace {

constexpr uint64_t kPredictedExtent = 512;

/// What is left of a ranking, in its order.
std::vector<uint32_t> survivors(const plan::Variant &variant,
                                const std::vector<Verdict> &verdicts) {
  std::vector<uint32_t> left;
  for (size_t i = 0; i <= variant.alternatives.size(); ++i) {
    const uint32_t kernel = i == 0 ? variant.kernel : variant.alternatives[i - 1];
    if (!verdicts[kernel].failure)
      left.push_back(kernel);
  }
  return left;
}

Status nothingLeft(const plan::Launch &launch, const plan::Variant &variant,
                   const std::vector<Verdict> &verdicts) {
  std::string text =
      "no kernel is left for steps up to " +
      (variant.max_extent == UINT64_MAX ? "any size" : std::to_string(variant.max_extent)) + ": " +
      verdicts[variant.kernel].failure->toString();
  for (uint32_t alternative : variant.alternatives)
    text += "; " + verdicts[alternative].failure->toString();
  return base::internalError(text, "launch '" + launch.name + "'");
}

void sortByTime(std::vector<uint32_t> &ranking, const std::vector<Verdict> &verdicts,
                uint64_t extent) {
  if (std::all_of(ranking.begin(), ranking.end(),
                  [&](uint32_t kernel) { return verdicts[kernel].times_ns.contains(extent); }))
    std::stable_sort(ranking.begin(), ranking.end(), [&](uint32_t a, uint32_t b) {
      return verdicts[a].times_ns.at(extent) < verdicts[b].times_ns.at(extent);
    });
}

/// Places in ascending order; equal values share the mean of theirs.
std::vector<double> ranks(const std::vector<double> &values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && values[order[end]] == values[order[begin]])
      ++end;
    for (size_t i = begin; i < end; ++i)
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
  }
  return ranks;
}

double correlation(const std::vector<double> &a, const std::vector<double> &b) {
  const double mean = static_cast<double>(a.size() - 1) / 2; // of any ranks
  double both = 0, ofA = 0, ofB = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    both += (a[i] - mean) * (b[i] - mean);
    ofA += (a[i] - mean) * (a[i] - mean);
    ofB += (b[i] - mean) * (b[i] - mean);
  }
  return ofA == 0 || ofB == 0 ? 0 : both / std::sqrt(ofA * ofB);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

} // namespace

std::string Failure::toString() const {
  return kernel + " in launch '" + launch + "' over " + std::to_string(extents.tokens) +
         " tokens, " + std::to_string(extents.rows) + " rows: " + what;
}

uint64_t representativeExtent(const plan::Launch &launch, const plan::Variant &variant,
                              const plan::Limits &limits) {
  return std::min({variant.max_extent, plan::extentLimit(limits, launch.extent), kPredictedExtent});
}

Status applyVerdicts(plan::DeviceProgram &program, const std::vector<Verdict> &verdicts,
                     const plan::Limits &limits, bool is_simulated) {
  for (plan::Launch &launch : program.launches)
    for (plan::Variant &variant : launch.variants) {
      std::vector<uint32_t> ranking = survivors(variant, verdicts);
      if (ranking.empty())
        return nothingLeft(launch, variant, verdicts);
      if (!is_simulated)
        sortByTime(ranking, verdicts, representativeExtent(launch, variant, limits));
      variant.kernel = ranking.front();
      variant.alternatives.assign(ranking.begin() + 1, ranking.end());
    }
  for (size_t i = 0; i < program.kernels.size(); ++i) {
    plan::CudaKernel &kernel = *program.kernels[i].cuda;
    const Verdict &verdict = verdicts[i];
    if (verdict.failure) {
      kernel.proof = plan::Proof::kUnverified;
      kernel.measured_ns = 0;
    } else if (verdict.isProven() && is_simulated) {
      kernel.proof = std::max(kernel.proof, plan::Proof::kSimulated);
    } else if (verdict.isProven() && !verdict.times_ns.empty()) {
      kernel.proof = plan::Proof::kMeasured;
      kernel.measured_ns = verdict.times_ns.rbegin()->second;
    }
  }
  return Status::ok();
}

Prediction comparePredictions(const plan::DeviceProgram &program) {
  std::vector<double> predicted, measured, ratios;
  for (const plan::Kernel &kernel : program.kernels)
    if (kernel.cuda && kernel.cuda->predicted_ns > 0 && kernel.cuda->measured_ns > 0) {
      predicted.push_back(kernel.cuda->predicted_ns);
      measured.push_back(kernel.cuda->measured_ns);
      ratios.push_back(measured.back() / predicted.back());
    }
  Prediction result{.kernels = ratios.size()};
  if (!ratios.empty())
    result.median_ratio = median(ratios);
  if (ratios.size() > 1)
    result.rank_correlation = correlation(ranks(predicted), ranks(measured));
  return result;
}

} // namespace platen::tune
