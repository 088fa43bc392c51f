// Embedding: reads one row of a (usually tied) table out of its panels. Latency-bound strided
// reads: the table is packed for the head.
#include "kernels/host/builders_detail.h"

namespace platen::kernels {

namespace {

class EmbedBuilder {
public:
  EmbedBuilder(Ir &ir, const EmbedSpec &spec) : ir_(ir), spec_(spec), packing_(spec.packing) {
    table_ = ir.operand(1), y_ = ir.operand(2), ids_ = ir.stepArray(0);
  }

  void build() {
    ir_.loop(ir_.begin(), ir_.end(), 1, [&](Value token) {
      const Value id =
          ir_.signExtend(ir_.load(ir_.i(32), ids_, ir_.mul(token, ir_.i64(4))), ir_.i(64));
      const Value to = ir_.address(y_, ir_.mul(token, i64(spec_.width * 4)));
      if (packing_.layout == Packing::Layout::kRaw)
        return copyRaw(id, to);
      const Value panel = ir_.address(
          table_, ir_.mul(ir_.div(id, i64(kPanelRows)), i64(packing_.panelBytes(spec_.width))));
      const Value lane = ir_.rem(id, i64(kPanelRows));
      if (packing_.isQuantized())
        return gatherQuantized(panel, lane, to);
      gatherFloats(panel, lane, to);
    });
  }

private:
  Value i64(uint64_t value) { return ir_.i64(static_cast<int64_t>(value)); }

  Value widen(Value value, int64_t lanes) { // f32, f16 or i16 holding bf16 -> f32
    const Type floats = ir_.vecF32(lanes), words = ir_.vec(lanes, ir_.i(32));
    if (packing_.element == Packing::Element::kF16)
      return ir_.extendFloat(value, floats);
    if (packing_.element == Packing::Element::kBF16)
      return ir_.bitcast(ir_.shl(ir_.zeroExtend(value, words), ir_.intConst(words, 16)), floats);
    return value;
  }
  Type stored(int64_t lanes) {
    return ir_.vec(lanes, packing_.element == Packing::Element::kF32   ? ir_.f32()
                          : packing_.element == Packing::Element::kF16 ? ir_.f16()
                                                                       : ir_.i(16));
  }
  void storeScaled(Value floats, int64_t lanes, Value to, Value element) {
    ir_.store(ir_.mul(floats, ir_.floatConst(ir_.vecF32(lanes), spec_.scale)), to,
              ir_.mul(element, ir_.i64(4)));
  }

  void copyRaw(Value id, Value to) {
    const int64_t lanes = lanesDividing(spec_.width),
                  bytes = static_cast<int64_t>(packing_.elementBytes());
    const Value from = ir_.address(table_, ir_.mul(id, i64(spec_.width * packing_.elementBytes())));
    ir_.loop(ir_.i64(0), i64(spec_.width), lanes, [&](Value element) {
      storeScaled(widen(ir_.load(stored(lanes), from, ir_.mul(element, ir_.i64(bytes))), lanes),
                  lanes, to, element);
    });
  }

  /// f32 [K][16], bf16 and f16 [K/2][16][2]: `blockK` elements of the row a line of 64 bytes.
  void gatherFloats(Value panel, Value lane, Value to) {
    const auto perLine = static_cast<int64_t>(packing_.blockK());
    const int64_t whole = static_cast<int64_t>(spec_.width) / perLine * perLine;
    const Value from = ir_.address(panel, ir_.mul(lane, ir_.i64(4)));
    auto gather = [&](Value element, int64_t lanes) {
      const Value line = ir_.mul(ir_.div(element, ir_.i64(perLine)), ir_.i64(64));
      storeScaled(widen(ir_.load(stored(lanes), from, line), lanes), lanes, to, element);
    };
    ir_.loop(ir_.i64(0), ir_.i64(whole), perLine, [&](Value element) { gather(element, perLine); });
    if (whole != static_cast<int64_t>(spec_.width))
      gather(ir_.i64(whole), 1);
  }

  void gatherQuantized(Value panel, Value lane, Value to) {
    auto block = [&](Value index, unsigned groups) {
      const Value base = ir_.address(panel, ir_.mul(index, i64(packing_.blockBytes())));
      for (unsigned group = 0; group < groups; ++group)
        dequantizeGroup(base, group, lane, to,
                        ir_.add(ir_.mul(index, i64(kQuantBlock)), i64(group * kGroup)));
    };
    const uint64_t whole = spec_.width / kQuantBlock, rest = spec_.width % kQuantBlock / kGroup;
    ir_.loop(ir_.i64(0), i64(whole), 1, [&](Value index) { block(index, 2); });
    if (rest != 0)
      block(i64(whole), 1);
  }

  void dequantizeGroup(Value base, unsigned group, Value lane, Value to, Value element) {
    constexpr auto lanes = static_cast<int64_t>(kGroup);
    const bool q8 = packing_.element == Packing::Element::kQ8;
    const Type words = ir_.vec(8, ir_.i(32)), bytes = ir_.vec(lanes, ir_.i(8)),
               ints = ir_.vec(lanes, ir_.i(32));
    Value codes = ir_.intConst(words, 0);
    for (int64_t step = 0; step < 8; ++step)
      codes = ir_.insert(
          ir_.load(ir_.i(32), base, ir_.mul(lane, ir_.i64(4)), (q8 ? group * 512 : 0) + step * 64),
          codes, step);
    if (!q8 && group == 1)
      codes = ir_.shrLogical(codes, ir_.intConst(words, 4));
    if (!q8)
      codes = ir_.bitAnd(codes, ir_.intConst(words, 0x0f0f0f0f));
    Value values = ir_.signExtend(ir_.bitcast(codes, bytes), ints);
    const auto place = static_cast<int64_t>(group * kPanelRows);
    if (packing_.zeroPoints) {
      const Value zero =
          ir_.load(ir_.i(8), base, lane, static_cast<int64_t>(packing_.zerosOffset()) + place);
      values = ir_.sub(values, ir_.splat(ir_.signExtend(zero, ir_.i(32)), lanes));
    } else if (packing_.defaultZero() != 0) {
      values = ir_.sub(values, ir_.intConst(ints, packing_.defaultZero()));
    }
    const bool f16 = packing_.scale == base::DType::kF16;
    const auto scaleBytes = static_cast<int64_t>(packing_.scaleBytes());
    Value scale = ir_.load(f16 ? ir_.f16() : ir_.f32(), base, ir_.mul(lane, ir_.i64(scaleBytes)),
                           static_cast<int64_t>(packing_.scalesOffset()) + place * scaleBytes);
    if (f16)
      scale = ir_.extendFloat(scale, ir_.f32());
    storeScaled(ir_.mul(ir_.intToFloat(values, ir_.vecF32(lanes)), ir_.splat(scale, lanes)), lanes,
                to, element);
  }

  Ir &ir_;
  const EmbedSpec &spec_;
  const Packing &packing_;
  Value table_, y_, ids_;
};

} // namespace

void buildEmbed(Ir &ir, const EmbedSpec &spec) { EmbedBuilder(ir, spec).build(); }

} // namespace platen::kernels
