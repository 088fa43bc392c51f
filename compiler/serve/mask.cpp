// Every element of a sample is compared with the formula; rows that see nothing at all are free.
#include "compiler/serve/mask.h"

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

/// Additive masks hide by at least this much: exp(-1e4) is 0 in every float dtype.
constexpr double kHides = -1e4;

/// The mask as [b or 1, heads or 1, s or 1, p+s].
class MaskView {
public:
  static Result<MaskView> of(const MaskSample &sample) {
    MaskView view(sample);
    std::vector<int64_t> &dims = view.dims_;
    dims.assign(sample.mask.dims().begin(), sample.mask.dims().end());
    if (dims.size() > 4)
      return unsupported("the mask has rank " + std::to_string(dims.size()) +
                         "; it must broadcast to [b, heads, s, p+s]");
    dims.insert(dims.begin(), 4 - dims.size(), 1);
    const Sizes &sizes = sample.sizes;
    bool fits = dims[3] == sizes.total() && (dims[2] == sizes.sequence || dims[2] == 1) &&
                (dims[0] == sizes.batch || dims[0] == 1);
    if (!fits)
      return unsupported("the mask is " + sample.mask.type().toString() + " for batch " +
                         std::to_string(sizes.batch) + ", sequence " +
                         std::to_string(sizes.sequence) + ", past " + std::to_string(sizes.past) +
                         "; it must broadcast to [b, heads, s, p+s]");
    return view;
  }

  int64_t heads() const { return dims_[1]; }

  /// Whether the query sees the key; Unsupported for values that neither show nor hide.
  Result<bool> visible(int64_t batch, int64_t head, int64_t query, int64_t key) const {
    int64_t index =
        ((pick(0, batch) * dims_[1] + pick(1, head)) * dims_[2] + pick(2, query)) * dims_[3] + key;
    double value = sample_.mask.get(index);
    if (sample_.mask.dtype() == base::DType::kBool)
      return (value != 0) != sample_.hides;
    if (value == 0)
      return true;
    if (value <= kHides)
      return false;
    return unsupported("the mask adds " + std::to_string(value) + " to the score of query slot " +
                       std::to_string(sample_.sizes.past + query) + " and key slot " +
                       std::to_string(key) +
                       "; only 0 and very negative values are supported (no position bias)");
  }

private:
  explicit MaskView(const MaskSample &sample) : sample_(sample) {}
  int64_t pick(size_t dim, int64_t at) const { return dims_[dim] == 1 ? 0 : at; }

  const MaskSample &sample_;
  std::vector<int64_t> dims_;
};

/// What the serving form's attention sees, with padding as `attentionMask` has it.
struct Expected {
  bool causal, padded;
};

Expected expectedAt(const MaskSample &sample, int64_t window, int64_t batch, int64_t query,
                    int64_t key) {
  int64_t slot = sample.sizes.past + query;
  bool causal = key <= slot && (window == 0 || key > slot - window);
  bool padded =
      sample.attentionMask && sample.attentionMask->getInt(batch * sample.sizes.total() + key) == 0;
  return {causal, padded};
}

Status contradiction(const MaskSample &sample, int64_t window, int64_t query, int64_t key,
                     bool visible) {
  std::string slot = std::to_string(sample.sizes.past + query);
  return unsupported("the mask is not causal" +
                     (window == 0 ? "" : " with a window of " + std::to_string(window)) +
                     ": at past " + std::to_string(sample.sizes.past) + ", sequence " +
                     std::to_string(sample.sizes.sequence) + ", the query at slot " + slot + " " +
                     (visible ? "sees" : "does not see") + " the key at slot " +
                     std::to_string(key) +
                     "; supported are causal masks, with or without a sliding window");
}

Status checkRow(const MaskSample &sample, const MaskView &view, int64_t window, int64_t batch,
                int64_t head, int64_t query) {
  bool seesAny = false;
  for (int64_t key = 0; key < sample.sizes.total(); ++key) {
    Expected expected = expectedAt(sample, window, batch, query, key);
    seesAny |= expected.causal && !expected.padded;
  }
  for (int64_t key = 0; seesAny && key < sample.sizes.total(); ++key) {
    Expected expected = expectedAt(sample, window, batch, query, key);
    PLATEN_ASSIGN_OR_RETURN(bool visible, view.visible(batch, head, query, key));
    if (visible != expected.causal && !(expected.padded && !visible))
      return contradiction(sample, window, query, key, visible);
  }
  return Status::ok();
}

} // namespace

Result<int64_t> windowOf(const MaskSample &sample) {
  PLATEN_ASSIGN_OR_RETURN(MaskView view, MaskView::of(sample));
  int64_t total = sample.sizes.total(), seen = 0;
  for (int64_t key = total - 1; key >= 0; --key) {
    PLATEN_ASSIGN_OR_RETURN(bool visible, view.visible(0, 0, 0, key));
    if (!visible)
      break;
    ++seen;
  }
  if (seen == 0)
    return unsupported("the mask hides a query's own slot");
  return seen == total ? 0 : seen;
}

Status checkMask(const MaskSample &sample, int64_t window) {
  PLATEN_ASSIGN_OR_RETURN(MaskView view, MaskView::of(sample));
  for (int64_t batch = 0; batch < sample.sizes.batch; ++batch)
    for (int64_t head = 0; head < view.heads(); ++head)
      for (int64_t query = 0; query < sample.sizes.sequence; ++query)
        PLATEN_RETURN_IF_ERROR(checkRow(sample, view, window, batch, head, query));
  return Status::ok();
}

} // namespace platen::compiler::serve
