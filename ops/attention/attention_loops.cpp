// The loops of attention (see its .md): the present, the scores with their bias, the greatest score
// and the sum of each row, the output, and what O4 asks for (a launch of its own, so that it can go
// where nobody reads it).
#include "ops/attention/operands.h"
#include "ops/softmax_rows.h"

#include <array>
#include <cmath>

namespace platen::ops::attention {

using base::Size;
using base::Status;
using loops::Coordinates;
using loops::Stage;
using loops::TensorRef;
using loops::Value;

namespace {

class AttentionLoops {
public:
  explicit AttentionLoops(loops::Lowering &op)
      : op_(op), query_(op.operand(kQuery)), keys_(op.result(1)), values_(op.result(2)),
        kind_(query_.kind()), flat_(query_.rank() == 3), heads_(op.result(3).dims[1]),
        size_(keys_.dims[3]) {}

  Status lower() {
    for (const bool isKey : {true, false})
      PLATEN_RETURN_IF_ERROR(keep(isKey));
    const TensorRef scores = op_.temporary(loops::accumulatorOf(query_.dtype), op_.result(3).dims);
    PLATEN_RETURN_IF_ERROR(op_.compute(scores, [&](Stage &s, Coordinates at) {
      return s.select(isSeen(s, at), s.add(capped(s, product(s, at)), bias(s, at)), s.least(kind_));
    }));
    PLATEN_ASSIGN_OR_RETURN(
        const RowStatistics statistics,
        loopRowStatistics(op_, scores.dtype, scores.dims, 3,
                          [&](Stage &s, Coordinates at) { return s.load(scores, at); }));
    PLATEN_RETURN_IF_ERROR(attend(scores, statistics));
    return show(scores, statistics);
  }

private:
  bool asks(const char *name) const { return intAttribute(op_.attributes(), name) != 0; }

  /// Feature i of token s of head h of entry b of an operand.
  Value element(Stage &s, const TensorRef &of, Value b, Value h, Value token, Value i,
                const Size &size) const {
    if (!flat_)
      return s.load(of, std::array{b, h, token, i});
    return s.load(of, std::array{b, token, s.add(s.mul(h, s.size(size)), i)});
  }
  Value group(Stage &s, Value head) const {
    const std::optional<int64_t> heads = heads_.constant(), kv = keys_.dims[1].constant();
    return heads && kv ? s.div(head, s.integer(*heads / *kv))
                       : s.div(head, s.div(s.size(heads_), s.dim(keys_, 1)));
  }

  /// O2 or O3.
  Status keep(bool isKey) {
    const TensorRef present = isKey ? keys_ : values_, fresh = op_.operand(isKey ? kKey : kValue);
    return op_.compute(present, [&](Stage &s, Coordinates at) {
      if (!op_.has(kPastKey))
        return element(s, fresh, at[0], at[1], at[2], at[3], present.dims[3]);
      const TensorRef past = op_.operand(isKey ? kPastKey : kPastValue);
      const Value length = s.dim(past, 2), zero = s.integer(0), isPast = s.less(at[2], length);
      const Value token = s.select(isPast, zero, s.sub(at[2], length));
      return s.select(isPast,
                      s.load(past, std::array{at[0], at[1], s.select(isPast, at[2], zero), at[3]}),
                      element(s, fresh, at[0], at[1], token, at[3], present.dims[3]));
    });
  }

  /// scale · q·k at [batch, head, query, key].
  Value product(Stage &s, Coordinates at) const {
    double scale = floatAttribute(op_.attributes(), "scale");
    const Value factor =
        scale != 0
            ? s.number(kind_, scale)
            : s.div(s.number(kind_, 1), s.unary(loops::Op::kSqrt, s.convert(kind_, s.size(size_))));
    const Value head = group(s, at[1]);
    return s.mul(s.sum(s.size(size_), kind_,
                       [&](Value i) {
                         return s.mul(element(s, query_, at[0], at[1], at[2], i, size_),
                                      s.load(keys_, std::array{at[0], head, at[3], i}));
                       }),
                 factor);
  }
  Value capped(Stage &s, Value score) const {
    const double cap = floatAttribute(op_.attributes(), "softcap");
    if (!(cap > 0))
      return score;
    return s.mul(s.number(kind_, cap),
                 s.unary(loops::Op::kTanh, s.div(score, s.number(kind_, cap))));
  }

  /// Coordinates of the mask's element; `inside` says whether its last axis reaches so far.
  std::vector<Value> maskAt(Stage &s, Coordinates at, const TensorRef &mask, Value inside) const {
    std::vector<Value> own;
    for (size_t axis = 0; axis < mask.rank(); ++axis) {
      const Value coordinate = at[axis + 4 - mask.rank()];
      const bool isLast = axis + 1 == mask.rank();
      if (isLast)
        own.push_back(s.select(inside, coordinate, s.integer(0)));
      else
        own.push_back(mask.dims[axis] == Size(1) ? s.integer(0) : coordinate);
    }
    return own;
  }
  Value isSeen(Stage &s, Coordinates at) const {
    Value seen = s.boolean(true), offset = s.integer(0);
    if (op_.has(kPastKey))
      offset = s.dim(op_.operand(kPastKey), 2);
    if (op_.has(kValidKeys)) {
      const Value valid = s.load(op_.operand(kValidKeys), at.first(1));
      offset = s.sub(valid, s.dim(op_.result(3), 2));
      seen = s.both(seen, s.less(at[3], valid));
    }
    const Value distance = s.sub(s.add(at[2], offset), at[3]);
    const int64_t left = intAttribute(op_.attributes(), "left_window_size"),
                  right = intAttribute(op_.attributes(), "right_window_size");
    if (asks("is_causal"))
      seen = s.both(seen, s.lessEqual(s.integer(0), distance));
    if (left >= 0)
      seen = s.both(seen, s.lessEqual(distance, s.integer(left)));
    if (right >= 0)
      seen = s.both(seen, s.lessEqual(s.integer(-right), distance));
    if (!op_.has(kMask))
      return seen;
    const TensorRef mask = op_.operand(kMask);
    const Value inside = reaches(s, at, mask);
    seen = s.both(seen, inside);
    return mask.dtype == DType::kBool ? s.both(seen, s.load(mask, maskAt(s, at, mask, inside)))
                                      : seen;
  }
  Value reaches(Stage &s, Coordinates at, const TensorRef &mask) const {
    return mask.dims.back() == op_.result(3).dims[3] ? s.boolean(true)
                                                     : s.less(at[3], s.size(mask.dims.back()));
  }
  Value bias(Stage &s, Coordinates at) const {
    if (!op_.has(kMask) || op_.operand(kMask).dtype == DType::kBool)
      return s.number(kind_, 0);
    const TensorRef mask = op_.operand(kMask);
    return s.load(mask, maskAt(s, at, mask, reaches(s, at, mask)));
  }

  Status attend(const TensorRef &scores, const RowStatistics &statistics) {
    const TensorRef output = op_.result(0);
    return op_.compute(output, [&](Stage &s, Coordinates at) {
      const Value size = s.dim(values_, 3), head = flat_ ? s.div(at[2], size) : at[1],
                  i = flat_ ? s.rem(at[2], size) : at[3], row = flat_ ? at[1] : at[2],
                  of = group(s, head);
      const std::array line = {at[0], head, row, s.integer(0)};
      const Value greatest = s.load(statistics.greatest, line);
      const Value sum = s.sum(s.dim(scores, 3), kind_, [&](Value u) {
        const Value score = s.load(scores, std::array{at[0], head, row, u});
        return s.mul(s.unary(loops::Op::kExp, s.sub(score, greatest)),
                     s.as(query_, s.load(values_, std::array{at[0], of, u, i})));
      });
      return unlessBlind(s, greatest, s.div(sum, s.load(statistics.sum, line)));
    });
  }
  /// 0 for a row that sees no key.
  Value unlessBlind(Stage &s, Value greatest, Value value) const {
    return s.select(s.equal(greatest, s.least(kind_)), s.number(kind_, 0), value);
  }

  Status show(const TensorRef &scores, const RowStatistics &statistics) {
    const int64_t mode = intAttribute(op_.attributes(), "qk_matmul_output_mode");
    return op_.compute(op_.result(3), [&](Stage &s, Coordinates at) {
      if (mode < 2)
        return mode == 0 ? product(s, at) : capped(s, product(s, at));
      const Value score = s.load(scores, at);
      if (mode == 2)
        return score;
      const std::array line = {at[0], at[1], at[2], s.integer(0)};
      const Value greatest = s.load(statistics.greatest, line);
      return unlessBlind(
          s, greatest,
          s.div(s.unary(loops::Op::kExp, s.sub(score, greatest)), s.load(statistics.sum, line)));
    });
  }

  loops::Lowering &op_;
  TensorRef query_, keys_, values_;
  loops::Kind kind_;
  bool flat_;
  Size heads_, size_;
};

} // namespace

Status lower(loops::Lowering &op) { return AttentionLoops(op).lower(); }

} // namespace platen::ops::attention
