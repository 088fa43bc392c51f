// Finishing of q, k and v: norm, RoPE, scale, and the append to the paged cache.
#include "kernels/host/builders_detail.h"

namespace platen::kernels {

namespace {

class QkvFinishBuilder {
public:
  QkvFinishBuilder(Ir &ir, const QkvFinishSpec &spec)
      : ir_(ir), spec_(spec), headBytes_(int64_t{spec.headDim} * 4),
        lanes_(lanesDividing(spec.headDim)) {
    unsigned operand = 1;
    for (unsigned i = 0; i < (spec.separateInputs ? 3 : 1); ++i)
      inputs_.push_back(ir.operand(operand++));
    if (spec.qNorm)
      qNorm_ = ir.operand(operand++);
    if (spec.kNorm)
      kNorm_ = ir.operand(operand++);
    if (spec.ropeDim != 0)
      cos_ = ir.operand(operand++), sin_ = ir.operand(operand++);
    qOut_ = ir.operand(operand++);
    cache_ = ir.operand(operand++);
    scratch_ = ir.operand(operand++);
  }

  void build() {
    const int64_t heads = spec_.heads, kvHeads = spec_.kvHeads;
    ir_.loop(ir_.begin(), ir_.end(), 1, [&](Value unit) {
      const Value perToken = ir_.i64(heads + 2 * kvHeads);
      token_ = ir_.div(unit, perToken);
      const Value head = ir_.rem(unit, perToken);
      position_ = ir_.signExtend(ir_.load(ir_.i(32), ir_.stepArray(1), ir_.mul(token_, ir_.i64(4))),
                                 ir_.i(64));
      ir_.ifThen(ir_.lessThan(head, ir_.i64(heads)), [&] { finishQ(head); });
      const Value k = ir_.sub(head, ir_.i64(heads)), v = ir_.sub(k, ir_.i64(kvHeads));
      ir_.ifThen(ir_.notEqual(head, ir_.min(head, ir_.i64(heads - 1))), [&] {
        ir_.ifThen(ir_.lessThan(v, ir_.i64(0)), [&] { finishK(k); });
        ir_.ifThen(ir_.lessThan(ir_.i64(-1), v), [&] { finishV(v); });
      });
    });
  }

private:
  Type vec() { return ir_.vecF32(lanes_); }

  /// Row of head `head` of input 0 (q), 1 (k) or 2 (v).
  Value source(unsigned which, Value head) {
    const int64_t heads = spec_.heads, kvHeads = spec_.kvHeads;
    if (spec_.separateInputs)
      return ir_.address(
          inputs_[which],
          ir_.mul(ir_.add(ir_.mul(token_, ir_.i64(which == 0 ? heads : kvHeads)), head),
                  ir_.i64(headBytes_)));
    const int64_t first = which == 0 ? 0 : heads + (which == 2 ? kvHeads : 0);
    return ir_.address(
        inputs_[0],
        ir_.mul(ir_.add(ir_.mul(token_, ir_.i64(heads + 2 * kvHeads)), head), ir_.i64(headBytes_)),
        first * headBytes_);
  }

  void forEachVector(const std::function<void(Value offset)> &body) {
    ir_.loop(ir_.i64(0), ir_.i64(headBytes_), lanes_ * 4, body);
  }

  /// scratch = norm(row) * weight, or a copy.
  void normalize(Value row, Value weight) {
    Value inverse;
    if (weight) {
      const Values sums =
          ir_.loop(ir_.i64(0), ir_.i64(headBytes_), lanes_ * 4, {ir_.floatConst(vec(), 0)},
                   [&](Value offset, llvm::ArrayRef<Value> carried) {
                     const Value x = ir_.load(vec(), row, offset);
                     return Values{ir_.add(carried[0], ir_.mul(x, x))};
                   });
      const Type one = ir_.f32();
      const Value mean = ir_.mul(ir_.reduceAdd(sums[0]),
                                 ir_.floatConst(one, 1.0F / static_cast<float>(spec_.headDim)));
      const Value root = ir_.sqrt(ir_.add(mean, ir_.floatConst(one, spec_.epsilon)));
      inverse = ir_.splat(ir_.div(ir_.floatConst(one, 1.0F), root), lanes_);
    }
    forEachVector([&](Value offset) {
      Value x = ir_.load(vec(), row, offset);
      if (weight)
        x = ir_.mul(ir_.mul(x, inverse), ir_.load(vec(), weight, offset));
      ir_.store(x, scratch_, offset);
    });
  }

  /// Rotates scratch in place by the angles of the token's position.
  void rotate() {
    if (spec_.ropeDim == 0)
      return;
    const int64_t half = spec_.ropeDim / 2, lanes = lanesDividing(static_cast<uint64_t>(half));
    const Type type = ir_.vecF32(lanes);
    const Value table = ir_.mul(position_, ir_.i64(half * 4));
    const Value cos = ir_.address(cos_, table), sin = ir_.address(sin_, table);
    ir_.loop(ir_.i64(0), ir_.i64(half * 4), lanes * 4, [&](Value offset) {
      const Value c = ir_.load(type, cos, offset), s = ir_.load(type, sin, offset);
      auto rotated = [&](Value a, Value b) {
        return std::pair{ir_.sub(ir_.mul(a, c), ir_.mul(b, s)),
                         ir_.add(ir_.mul(b, c), ir_.mul(a, s))};
      };
      if (!spec_.interleaved) {
        const auto [a, b] =
            rotated(ir_.load(type, scratch_, offset), ir_.load(type, scratch_, offset, half * 4));
        ir_.store(a, scratch_, offset);
        ir_.store(b, scratch_, offset, half * 4);
        return;
      }
      llvm::SmallVector<int64_t> even, odd, zip;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        even.push_back(2 * lane), odd.push_back(2 * lane + 1);
        zip.push_back(lane), zip.push_back(lanes + lane);
      }
      const Value pairs = ir_.load(ir_.vecF32(2 * lanes), scratch_, ir_.mul(offset, ir_.i64(2)));
      const auto [a, b] = rotated(ir_.shuffle(pairs, pairs, even), ir_.shuffle(pairs, pairs, odd));
      ir_.store(ir_.shuffle(a, b, zip), scratch_, ir_.mul(offset, ir_.i64(2)));
    });
  }

  void finishQ(Value head) {
    normalize(source(0, head), qNorm_);
    rotate();
    const Value index = ir_.add(ir_.mul(token_, ir_.i64(spec_.heads)), head);
    const Value to = ir_.address(qOut_, ir_.mul(index, ir_.i64(headBytes_)));
    forEachVector([&](Value offset) {
      ir_.store(ir_.mul(ir_.load(vec(), scratch_, offset), ir_.floatConst(vec(), spec_.qScale)), to,
                offset);
    });
  }

  /// Base of the keys of the token's page and kv head; the values follow headDim * pageTokens
  /// elements later.
  Value pageBase(Value head) {
    const Value sequence = ir_.signExtend(
        ir_.load(ir_.i(32), ir_.stepArray(2), ir_.mul(token_, ir_.i64(4))), ir_.i(64));
    const Value entry =
        ir_.add(ir_.mul(sequence, ir_.stepField(3)), ir_.div(position_, ir_.i64(spec_.pageTokens)));
    const Value page = ir_.signExtend(
        ir_.load(ir_.i(32), ir_.stepArray(4), ir_.mul(entry, ir_.i64(4))), ir_.i(64));
    const Value block = ir_.add(ir_.mul(page, ir_.i64(spec_.kvHeads)), head);
    return ir_.address(cache_, ir_.mul(block, ir_.i64(2 * headBytes_ * spec_.pageTokens)));
  }
  Value slot() { return ir_.rem(position_, ir_.i64(spec_.pageTokens)); }

  void finishK(Value head) {
    normalize(source(1, head), kNorm_);
    rotate();
    const Value to = ir_.address(pageBase(head), ir_.mul(slot(), ir_.i64(4)));
    ir_.loop(ir_.i64(0), ir_.i64(spec_.headDim), 1, [&](Value d) {
      ir_.store(ir_.load(ir_.f32(), scratch_, ir_.mul(d, ir_.i64(4))), to,
                ir_.mul(d, ir_.i64(4 * int64_t{spec_.pageTokens})));
    });
  }

  void finishV(Value head) {
    const Value from = source(2, head);
    const Value to = ir_.address(pageBase(head), ir_.mul(slot(), ir_.i64(headBytes_)),
                                 headBytes_ * spec_.pageTokens);
    forEachVector([&](Value offset) { ir_.store(ir_.load(vec(), from, offset), to, offset); });
  }

  Ir &ir_;
  const QkvFinishSpec &spec_;
  const int64_t headBytes_, lanes_;
  Values inputs_;
  Value qNorm_, kNorm_, cos_, sin_, qOut_, cache_, scratch_, token_, position_;
};

} // namespace

void buildQkvFinish(Ir &ir, const QkvFinishSpec &spec) { QkvFinishBuilder(ir, spec).build(); }

} // namespace platen::kernels
