// Paged attention: one token by one kv head, an online softmax over pages in ascending position.
//
// Keys are transposed in their page, so one vector holds the same element of 16 positions and no
// horizontal sums are needed. Every query head of the group shares the loads of keys and values.
// Masked positions are never read as values (their bytes may be anything) and change neither
// maximum nor sum.
#include "kernels/host/builders_detail.h"

#include <limits>

namespace platen::kernels {

namespace {

constexpr int64_t kPage = 16;

class AttentionBuilder {
public:
  AttentionBuilder(Ir &ir, const PagedAttentionSpec &spec)
      : ir_(ir), spec_(spec), group_(spec.heads / spec.kvHeads),
        headBytes_(int64_t{spec.headDim} * 4), accumulatorBytes_((headBytes_ + 63) / 64 * 64),
        type_(ir.vecF32(kPage)) {
    unsigned operand = 1;
    q_ = ir.operand(operand++), cache_ = ir.operand(operand++);
    if (spec.sinks)
      sinks_ = ir.operand(operand++);
    out_ = ir.operand(operand++), scratch_ = ir.operand(operand++);
  }

  void build() {
    const Value kvHeads = ir_.i64(spec_.kvHeads), tokens = ir_.extent(Extent::kTokens);
    ir_.loop(ir_.begin(), ir_.end(), 1, [&](Value unit) {
      const Value block = ir_.div(unit, kvHeads);
      kvHead_ = ir_.rem(unit, kvHeads);
      const Value first = ir_.mul(block, ir_.i64(spec_.blockTokens));
      ir_.loop(first, ir_.min(ir_.add(first, ir_.i64(spec_.blockTokens)), tokens), 1,
               [&](Value index) {
                 // Later tokens see more positions. Taking tokens from both ends in turn evens out
                 // contiguous ranges of units.
                 const Value half = ir_.div(index, ir_.i64(2));
                 const Value mirrored = ir_.sub(ir_.sub(tokens, ir_.i64(1)), half);
                 buildToken(ir_.select(ir_.notEqual(ir_.rem(index, ir_.i64(2)), ir_.i64(0)),
                                       mirrored, half));
               });
    });
  }

private:
  Value word(unsigned array, Value index) {
    return ir_.signExtend(ir_.load(ir_.i(32), ir_.stepArray(array), ir_.mul(index, ir_.i64(4))),
                          ir_.i(64));
  }
  int64_t accumulatorAt(int64_t head) const { return head * (accumulatorBytes_ + 128) + 128; }
  int64_t probabilitiesAt(int64_t head) const { return head * (accumulatorBytes_ + 128); }

  void buildToken(Value token) {
    const Value position = word(1, token), sequence = word(2, token);
    const Value row =
        ir_.add(ir_.mul(token, ir_.i64(spec_.heads)), ir_.mul(kvHead_, ir_.i64(group_)));
    queries_ = ir_.address(q_, ir_.mul(row, ir_.i64(headBytes_)));
    const Value table =
        ir_.address(ir_.stepArray(4), ir_.mul(ir_.mul(sequence, ir_.stepField(3)), ir_.i64(4)));
    first_ = ir_.i64(0), last_ = position;
    if (spec_.window != 0)
      first_ = ir_.max(ir_.i64(0), ir_.sub(position, ir_.i64(int64_t{spec_.window} - 1)));
    clearAccumulators();
    Values state; // a head: running maximum and sum, the same in all lanes
    for (int64_t head = 0; head < group_; ++head) {
      if (spec_.sinks) {
        const Value index = ir_.mul(kvHead_, ir_.i64(group_ * 4));
        state.push_back(ir_.splat(ir_.load(ir_.f32(), sinks_, index, head * 4), kPage));
        state.push_back(ir_.floatConst(type_, 1.0F));
      } else {
        state.push_back(ir_.floatConst(type_, -std::numeric_limits<float>::infinity()));
        state.push_back(ir_.floatConst(type_, 0.0F));
      }
    }
    const Value page0 = ir_.div(first_, ir_.i64(kPage)),
                page1 = ir_.add(ir_.div(last_, ir_.i64(kPage)), ir_.i64(1));
    state = ir_.loop(page0, page1, 1, state, [&](Value page, llvm::ArrayRef<Value> carried) {
      const Value number =
          ir_.signExtend(ir_.load(ir_.i(32), table, ir_.mul(page, ir_.i64(4))), ir_.i(64));
      const Value block = ir_.add(ir_.mul(number, ir_.i64(spec_.kvHeads)), kvHead_);
      return buildPage(page, ir_.address(cache_, ir_.mul(block, ir_.i64(2 * headBytes_ * kPage))),
                       carried);
    });
    writeOutput(row, state);
  }

  void clearAccumulators() {
    const int64_t lanes = lanesDividing(spec_.headDim);
    for (int64_t head = 0; head < group_; ++head)
      ir_.loop(ir_.i64(0), ir_.i64(headBytes_), lanes * 4, [&](Value offset) {
        ir_.store(ir_.floatConst(ir_.vecF32(lanes), 0), scratch_, offset, accumulatorAt(head));
      });
  }

  /// q · k of heads [head0, head0 + count) with the page's 16 positions.
  Values scores(Value keys, int64_t head0, int64_t count) {
    // Few heads leave the fma units idle: split the sum over elements into independent chains.
    const int64_t chains = count == 1 ? 4 : count == 2 ? 2 : 1;
    const Values start(count * chains, ir_.floatConst(type_, 0));
    Values sums = ir_.loop(
        ir_.i64(0), ir_.i64(headBytes_), 16, start,
        [&](Value offset, llvm::ArrayRef<Value> carried) {
          Values values(carried.begin(), carried.end());
          const Value keyOffset = ir_.mul(offset, ir_.i64(kPage));
          for (int64_t element = 0; element < 4; ++element) {
            const Value key = ir_.load(type_, keys, keyOffset, element * kPage * 4);
            for (int64_t head = 0; head < count; ++head) {
              const Value q = ir_.splat(
                  ir_.load(ir_.f32(), queries_, offset, (head0 + head) * headBytes_ + element * 4),
                  kPage);
              Value &sum = values[head * chains + element % chains];
              sum = ir_.fma(q, key, sum);
            }
          }
          return values;
        });
    Values results;
    for (int64_t head = 0; head < count; ++head) {
      llvm::ArrayRef<Value> parts(&sums[head * chains], chains);
      Value sum = parts[0];
      if (chains == 2)
        sum = ir_.add(parts[0], parts[1]);
      if (chains == 4)
        sum = ir_.add(ir_.add(parts[0], parts[1]), ir_.add(parts[2], parts[3]));
      results.push_back(sum);
    }
    return results;
  }

  Values buildPage(Value page, Value keys, llvm::ArrayRef<Value> state) {
    const Value page0 = ir_.mul(page, ir_.i64(kPage));
    // Valid slots of this page: [from, to).
    const Value from = ir_.max(ir_.i64(0), ir_.sub(first_, page0));
    const Value to = ir_.min(ir_.i64(kPage), ir_.add(ir_.sub(last_, page0), ir_.i64(1)));
    const Value below = ir_.laneMask(kPage, from), inside = ir_.laneMask(kPage, to);
    const Value minusInfinity = ir_.floatConst(type_, -std::numeric_limits<float>::infinity());
    Values next, corrections;
    constexpr int64_t kHeadsAtOnce = 4;
    for (int64_t head0 = 0; head0 < group_; head0 += kHeadsAtOnce) {
      const int64_t count = std::min<int64_t>(kHeadsAtOnce, group_ - head0);
      const Values dots = scores(keys, head0, count);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t head = head0 + i;
        Value score = ir_.mul(dots[i], ir_.floatConst(type_, spec_.scale));
        if (spec_.softcap != 0) {
          const Value cap = ir_.floatConst(type_, spec_.softcap);
          score = ir_.mul(cap, ir_.tanh(ir_.div(score, cap)));
        }
        score = ir_.select(below, minusInfinity, ir_.select(inside, score, minusInfinity));
        const Value before = state[2 * head];
        const Value maximum = ir_.max(before, ir_.splat(ir_.reduceMax(score), kPage));
        Value weights = ir_.exp(ir_.sub(score, maximum));
        const Value zero = ir_.floatConst(type_, 0);
        weights = ir_.select(below, zero, ir_.select(inside, weights, zero));
        ir_.store(weights, scratch_, {}, probabilitiesAt(head));
        const Value correction = ir_.exp(ir_.sub(before, maximum));
        const Value sum =
            ir_.fma(state[2 * head + 1], correction, ir_.splat(ir_.reduceAdd(weights), kPage));
        next.push_back(maximum), next.push_back(sum);
        corrections.push_back(correction);
      }
    }
    const Value values = ir_.address(keys, {}, headBytes_ * kPage);
    for (int64_t head0 = 0; head0 < group_; head0 += kHeadsAtOnce)
      accumulate(values, from, to, head0, std::min<int64_t>(kHeadsAtOnce, group_ - head0),
                 corrections);
    return next;
  }

  /// accumulator = accumulator * correction + sum over slots of weight * value row.
  void accumulate(Value values, Value from, Value to, int64_t head0, int64_t count,
                  const Values &corrections) {
    const int64_t lanes = lanesDividing(spec_.headDim);
    // Several vectors of the row at once keep the fma units busy when few heads share a load.
    int64_t wide = count == 1 ? 4 : count == 2 ? 2 : 1;
    while (spec_.headDim % (lanes * wide) != 0)
      wide /= 2;
    const Type type = ir_.vecF32(lanes);
    auto part = [&](Value vector) { // of a splat
      return lanes == kPage ? vector : ir_.splat(ir_.extract(vector, 0), lanes);
    };
    ir_.loop(ir_.i64(0), ir_.i64(headBytes_), lanes * wide * 4, [&](Value offset) {
      Values start;
      for (int64_t i = 0; i < count * wide; ++i) {
        const int64_t head = head0 + i / wide, at = accumulatorAt(head) + i % wide * lanes * 4;
        start.push_back(ir_.mul(ir_.load(type, scratch_, offset, at), part(corrections[head])));
      }
      const Value column = ir_.address(values, offset);
      const Values sums =
          ir_.loop(from, to, 1, start, [&](Value slot, llvm::ArrayRef<Value> carried) {
            Values next(carried.begin(), carried.end());
            const Value row = ir_.mul(slot, ir_.i64(headBytes_)), at = ir_.mul(slot, ir_.i64(4));
            Values parts;
            for (int64_t i = 0; i < wide; ++i)
              parts.push_back(ir_.load(type, column, row, i * lanes * 4));
            for (int64_t head = 0; head < count; ++head) {
              const Value weight = ir_.splat(
                  ir_.load(ir_.f32(), scratch_, at, probabilitiesAt(head0 + head)), lanes);
              for (int64_t i = 0; i < wide; ++i)
                next[head * wide + i] = ir_.fma(weight, parts[i], next[head * wide + i]);
            }
            return next;
          });
      for (int64_t i = 0; i < count * wide; ++i)
        ir_.store(sums[i], scratch_, offset,
                  accumulatorAt(head0 + i / wide) + i % wide * lanes * 4);
    });
  }

  void writeOutput(Value row, const Values &state) {
    const int64_t lanes = lanesDividing(spec_.headDim);
    const Type type = ir_.vecF32(lanes);
    const Value to = ir_.address(out_, ir_.mul(row, ir_.i64(headBytes_)));
    for (int64_t head = 0; head < group_; ++head) {
      const Value sum = ir_.splat(ir_.extract(state[2 * head + 1], 0), lanes);
      ir_.loop(ir_.i64(0), ir_.i64(headBytes_), lanes * 4, [&](Value offset) {
        ir_.store(ir_.div(ir_.load(type, scratch_, offset, accumulatorAt(head)), sum), to, offset,
                  head * headBytes_);
      });
    }
  }

  Ir &ir_;
  const PagedAttentionSpec &spec_;
  const int64_t group_, headBytes_, accumulatorBytes_;
  const Type type_;
  Value q_, cache_, sinks_, out_, scratch_, kvHead_, queries_, first_, last_;
};

} // namespace

void buildPagedAttention(Ir &ir, const PagedAttentionSpec &spec) {
  AttentionBuilder(ir, spec).build();
}

} // namespace platen::kernels
