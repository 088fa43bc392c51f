// The loops of group_query_attention (see its .md): launches for what the present holds, for the
// queries where they are normalised or rotated, for the scores, for the greatest score and the sum
// of each row, and for the output. Lengths that only a run has are clamped to what the buffers
// hold, so that nothing beyond them is read.
#include "ops/group_query_attention/operands.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rotation.h"
#include "ops/softmax_rows.h"

#include <array>
#include <cmath>

namespace platen::ops::group_query_attention {

using base::Size;
using base::Status;
using loops::Coordinates;
using loops::Stage;
using loops::TensorRef;
using loops::Value;

namespace {

/// Which head of which operand: packed operands hold queries, keys and values side by side.
struct Heads {
  TensorRef operand;
  int64_t first; ///< head of the operand that is head 0 of these
};

class AttentionLoops {
public:
  explicit AttentionLoops(loops::Lowering &op) : op_(op) {
    const Attributes &attributes = op.attributes();
    heads_ = intAttribute(attributes, "num_heads");
    kvHeads_ = intAttribute(attributes, "kv_num_heads");
    window_ = intAttribute(attributes, "local_window_size");
    windowCache_ = intAttribute(attributes, "sliding_window_cache") != 0;
    rotates_ = intAttribute(attributes, "do_rotary") != 0;
    const TensorRef query = op.operand(kQuery);
    batch_ = query.dims[0], length_ = query.dims[1];
    headSize_ = op.result(1).dims[3].constant().value_or(0);
    if (op.has(kKey)) {
      query_ = {query, 0}, key_ = {op.operand(kKey), 0}, value_ = {op.operand(kValue), 0};
    } else {
      query_ = {query, 0}, key_ = {query, heads_}, value_ = {query, heads_ + kvHeads_};
    }
    kind_ = query.kind();
    wide_ = loops::accumulatorOf(query.dtype);
  }

  Status lower() {
    if (headSize_ < 1)
      return base::unsupported("C3: the head size must be known when the plan is compiled");
    if (op_.has(kPastKey))
      capacity_ = op_.operand(kPastKey).dims[2];
    PLATEN_ASSIGN_OR_RETURN(const TensorRef queries, prepared(query_, heads_, kQNormWeight));
    PLATEN_ASSIGN_OR_RETURN(const TensorRef keys, prepared(key_, kvHeads_, kKNormWeight));
    PLATEN_RETURN_IF_ERROR(keepRows(keys));
    return attend(queries);
  }

private:
  /// Tokens of an entry, as kInt values; see CacheView in the reference.
  struct View {
    Value past, total, pastFirst, presentFirst;
  };
  Value resident(Stage &s, Value total) const {
    const Value capacity = s.size(capacity_), one = s.integer(1),
                slack = s.add(s.sub(capacity, s.integer(window_)), one),
                over = s.sub(total, capacity), turns = s.div(s.sub(s.add(over, slack), one), slack);
    return s.select(s.lessEqual(total, capacity), total, s.sub(total, s.mul(slack, turns)));
  }
  View viewOf(Stage &s, Value entry) const {
    const TensorRef lengths = op_.operand(kSeqlensK);
    std::vector<Value> at(lengths.rank(), s.integer(0));
    at[0] = entry;
    const Value zero = s.integer(0), count = s.size(length_);
    View view{};
    view.total = s.add(s.load(lengths, at), s.integer(1));
    const Value prompt = s.equal(s.scalar(op_.operand(kTotalLength)), count),
                before = s.max(zero, s.sub(view.total, count));
    view.past = s.select(prompt, zero, before);
    view.pastFirst = view.presentFirst = zero;
    if (windowCache_) {
      view.pastFirst = s.sub(view.past, resident(s, view.past));
      view.presentFirst = s.sub(view.total, resident(s, view.total));
    } else {
      view.past = s.min(view.past, s.size(capacity_));
      view.total = s.min(view.total, s.dim(op_.result(1), 2));
    }
    return view;
  }

  Value element(Stage &s, const Heads &of, Value b, Value token, Value head, Value i) const {
    const Value feature = s.add(s.mul(s.add(head, s.integer(of.first)), s.integer(headSize_)), i);
    return s.load(of.operand, std::array{b, token, feature});
  }

  /// New tokens' heads [batch, length, heads, size], normalised and rotated as the node asks.
  base::Result<TensorRef> prepared(const Heads &of, int64_t heads, Operand weight) {
    const std::vector<Size> rows = {batch_, length_, heads};
    std::optional<TensorRef> inverse;
    if (op_.has(weight)) {
      PLATEN_ASSIGN_OR_RETURN(inverse,
                              loopInverseRoots(op_, rows, headSize_, of.operand.dtype,
                                               floatAttribute(op_.attributes(), "qk_norm_epsilon"),
                                               [&](Stage &s, Coordinates at) {
                                                 return element(s, of, at[0], at[1], at[2], at[3]);
                                               }));
    }
    const TensorRef out = op_.temporary(wide_, {batch_, length_, heads, headSize_});
    const Status status = op_.compute(out, [&](Stage &s, Coordinates at) {
      auto feature = [&](Value i) {
        const Value value = element(s, of, at[0], at[1], at[2], i);
        return inverse ? s.mul(s.mul(value, s.load(*inverse, at.first(3))),
                               s.load(op_.operand(weight), std::array{i}))
                       : value;
      };
      return rotates_ ? rotated(s, at, feature) : feature(at[3]);
    });
    if (!status.isOk())
      return status;
    return out;
  }

  Value rotated(Stage &s, Coordinates at, const std::function<Value(Value)> &feature) const {
    const TensorRef cos = op_.operand(kCosCache), sin = op_.operand(kSinCache);
    const Value position = op_.has(kPositionIds) ? s.load(op_.operand(kPositionIds), at.first(2))
                                                 : s.add(viewOf(s, at[0]).past, at[1]);
    const Value row = s.clamped(position, s.dim(cos, 0));
    auto entryOf = [&](const TensorRef &table) {
      return [&s, table, row](Value entry) { return s.load(table, std::array{row, entry}); };
    };
    return rotatedFeature(s,
                          {feature, entryOf(cos), entryOf(sin), s.dim(cos, 1),
                           cos.dims[1] + cos.dims[1] == Size(headSize_),
                           intAttribute(op_.attributes(), "rotary_interleaved") != 0},
                          at[3]);
  }

  /// Fills rows_ (what is attended to) and the present results. Row j of rows_ stands at position
  /// pastFirst + j; but for a window cache that is the present itself.
  Status keepRows(const TensorRef &keys) {
    for (const bool isKey : {true, false}) {
      const TensorRef present = op_.result(isKey ? 1 : 2);
      std::vector<Size> dims = present.dims;
      dims[2] = capacity_ + length_;
      const TensorRef rows = windowCache_ ? op_.temporary(present.dtype, dims) : present;
      (isKey ? keyRows_ : valueRows_) = rows;
      PLATEN_RETURN_IF_ERROR(op_.compute(rows, [&](Stage &s, Coordinates at) {
        const View view = viewOf(s, at[0]);
        const Value held = s.sub(view.past, view.pastFirst), zero = s.integer(0),
                    isNew = s.both(s.lessEqual(held, at[2]),
                                   s.less(at[2], s.sub(view.total, view.pastFirst))),
                    token = s.clamped(s.sub(at[2], held), s.size(length_));
        const Value fresh = isKey ? s.load(keys, std::array{at[0], token, at[1], at[3]})
                                  : element(s, value_, at[0], token, at[1], at[3]);
        const Value rest = s.select(isNew, fresh, s.number(kind_, 0));
        if (!op_.has(kPastKey))
          return rest;
        const Value isPast = s.less(at[2], held);
        return s.select(isPast,
                        s.load(op_.operand(isKey ? kPastKey : kPastValue),
                               std::array{at[0], at[1], s.select(isPast, at[2], zero), at[3]}),
                        rest);
      }));
      if (windowCache_)
        PLATEN_RETURN_IF_ERROR(op_.compute(present, [&](Stage &s, Coordinates at) {
          const View view = viewOf(s, at[0]);
          const Value position = s.add(view.presentFirst, at[2]),
                      row = s.clamped(s.sub(position, view.pastFirst), s.dim(rows, 2));
          return s.select(s.less(position, view.total),
                          s.load(rows, std::array{at[0], at[1], row, at[3]}), s.number(kind_, 0));
        }));
    }
    return Status::ok();
  }

  /// Score of query row at[2] of head at[1] and row at[3]; -infinity where it is not seen.
  Value score(Stage &s, Coordinates at, const TensorRef &queries) const {
    const Attributes &attributes = op_.attributes();
    const Value group = s.div(at[1], s.integer(heads_ / kvHeads_));
    Value score = s.sum(s.integer(headSize_), kind_, [&](Value i) {
      return s.mul(s.load(queries, std::array{at[0], at[2], at[1], i}),
                   s.load(keyRows_, std::array{at[0], group, at[3], i}));
    });
    double scale = floatAttribute(attributes, "scale"), cap = floatAttribute(attributes, "softcap");
    scale = scale == 0 ? 1 / std::sqrt(static_cast<double>(headSize_)) : scale;
    score = s.mul(score, s.number(kind_, scale));
    if (cap > 0)
      score = s.mul(s.number(kind_, cap),
                    s.unary(loops::Op::kTanh, s.div(score, s.number(kind_, cap))));
    const View view = viewOf(s, at[0]);
    const Value position = s.sub(s.add(view.past, at[2]), view.pastFirst);
    if (op_.has(kAttentionBias)) {
      const TensorRef bias = op_.operand(kAttentionBias);
      const Value zero = s.integer(0);
      score = s.add(
          score, s.load(bias, std::array{bias.dims[0] == Size(1) ? zero : at[0],
                                         bias.dims[1] == Size(1) ? zero : at[1], at[2],
                                         s.clamped(s.add(view.pastFirst, at[3]), s.dim(bias, 3))}));
    }
    Value seen = s.lessEqual(at[3], position);
    if (window_ > 0)
      seen = s.both(seen, s.less(s.sub(position, s.integer(window_)), at[3]));
    return s.select(seen, score, s.least(kind_));
  }

  Status attend(const TensorRef &queries) {
    const Size rows = keyRows_.dims[2];
    const TensorRef scores = op_.temporary(wide_, {batch_, heads_, length_, rows});
    PLATEN_RETURN_IF_ERROR(
        op_.compute(scores, [&](Stage &s, Coordinates at) { return score(s, at, queries); }));
    PLATEN_ASSIGN_OR_RETURN(
        const RowStatistics statistics,
        loopRowStatistics(op_, wide_, scores.dims, 3,
                          [&](Stage &s, Coordinates at) { return s.load(scores, at); }));
    const bool smooth = intAttribute(op_.attributes(), "smooth_softmax") > 0 || op_.has(kHeadSink);
    return op_.compute(op_.result(0), [&](Stage &s, Coordinates at) {
      const Value size = s.integer(headSize_), head = s.div(at[2], size), i = s.rem(at[2], size),
                  group = s.div(head, s.integer(heads_ / kvHeads_));
      const std::array row = {at[0], head, at[1], s.integer(0)};
      const Value greatest = s.load(statistics.greatest, row);
      const Value value = s.sum(s.size(rows), kind_, [&](Value u) {
        const Value weight = s.unary(
            loops::Op::kExp, s.sub(s.load(scores, std::array{at[0], head, at[1], u}), greatest));
        return s.mul(weight, s.load(valueRows_, std::array{at[0], group, u, i}));
      });
      Value sum = s.load(statistics.sum, row);
      if (smooth) {
        const Value sink = op_.has(kHeadSink) ? s.load(op_.operand(kHeadSink), std::array{head})
                                              : s.number(kind_, 0);
        sum = s.add(sum, s.unary(loops::Op::kExp, s.sub(sink, greatest)));
      }
      return s.div(value, sum);
    });
  }

  loops::Lowering &op_;
  int64_t heads_, kvHeads_, headSize_, window_;
  bool windowCache_, rotates_;
  Size batch_, length_, capacity_ = 0;
  Heads query_, key_, value_;
  TensorRef keyRows_, valueRows_;
  loops::Kind kind_;
  DType wide_;
};

} // namespace

Status lower(loops::Lowering &op) { return AttentionLoops(op).lower(); }

} // namespace platen::ops::group_query_attention
