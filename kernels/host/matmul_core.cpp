#include "kernels/host/matmul_core.h"

namespace platen::kernels {

namespace {

constexpr int64_t kLanes = kPanelRows;

Values zeros(Ir &ir, size_t count) { return Values(count, ir.floatConst(ir.vecF32(kLanes), 0)); }

/// Runs `step(k, accumulators)` for k = 0, per, 2 per … < count * per, unrolled by up to four.
template <typename Step>
Values unrolledLoop(Ir &ir, uint64_t count, int64_t per, Values accumulators, const Step &step) {
  const int64_t unroll = count % 4 == 0 ? 4 : count % 2 == 0 ? 2 : 1;
  return ir.loop(ir.i64(0), ir.i64(static_cast<int64_t>(count) * per), per * unroll, accumulators,
                 [&](Value k, llvm::ArrayRef<Value> carried) {
                   Values values(carried.begin(), carried.end());
                   for (int64_t i = 0; i < unroll; ++i)
                     step(k, i, values);
                   return values;
                 });
}

Values coreF32(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile) {
  const Type panel = ir.vecF32(kLanes);
  const size_t columns = tile.panels.size();
  return unrolledLoop(
      ir, spec.k, 1, zeros(ir, tile.rows.size() * columns), [&](Value k, int64_t i, Values &acc) {
        const Value wOffset = ir.mul(k, ir.i64(64)), xOffset = ir.mul(k, ir.i64(4));
        Values w;
        for (const Value base : tile.panels)
          w.push_back(ir.load(panel, base, wOffset, i * 64));
        for (size_t row = 0; row < tile.rows.size(); ++row) {
          const Value x = ir.splat(ir.load(ir.f32(), tile.rows[row], xOffset, i * 4), kLanes);
          for (size_t column = 0; column < columns; ++column)
            acc[row * columns + column] = ir.fma(x, w[column], acc[row * columns + column]);
        }
      });
}

/// bf16 or f16 weights, f32 x: the pair in a 32-bit lane is split, even k first. bf16 becomes f32
/// by shift and mask, f16 by conversion of what was the lane's low or high half.
Values coreSplitPairs(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile) {
  const Type panel = ir.vecF32(kLanes), words = ir.vec(kLanes, ir.i(32));
  const size_t columns = tile.panels.size();
  const bool f16 = spec.packing.element == Packing::Element::kF16;
  auto half = [&](Value pairs, bool odd) {
    if (f16) {
      const Value low = odd ? ir.shrLogical(pairs, ir.intConst(words, 16)) : pairs;
      return ir.extendFloat(
          ir.bitcast(ir.truncate(low, ir.vec(kLanes, ir.i(16))), ir.vec(kLanes, ir.f16())), panel);
    }
    return ir.bitcast(odd ? ir.bitAnd(pairs, ir.intConst(words, int64_t{0xffff0000}))
                          : ir.shl(pairs, ir.intConst(words, 16)),
                      panel);
  };
  auto multiply = [&](const Values &pairs, bool odd, Value xOffset, int64_t xConstant,
                      Values &acc) {
    Values w;
    for (const Value pair : pairs)
      w.push_back(half(pair, odd));
    for (size_t row = 0; row < tile.rows.size(); ++row) {
      const Value x = ir.splat(ir.load(ir.f32(), tile.rows[row], xOffset, xConstant), kLanes);
      for (size_t column = 0; column < columns; ++column)
        acc[row * columns + column] = ir.fma(x, w[column], acc[row * columns + column]);
    }
  };
  auto loadPairs = [&](Value offset, int64_t constant) {
    Values pairs;
    for (const Value base : tile.panels)
      pairs.push_back(ir.load(words, base, offset, constant));
    return pairs;
  };
  Values acc = unrolledLoop(ir, spec.k / 2, 2, zeros(ir, tile.rows.size() * columns),
                            [&](Value k, int64_t i, Values &sums) {
                              const Value xOffset = ir.mul(k, ir.i64(4));
                              const Values pairs = loadPairs(ir.mul(k, ir.i64(32)), i * 64);
                              multiply(pairs, false, xOffset, i * 8, sums);
                              multiply(pairs, true, xOffset, i * 8 + 4, sums);
                            });
  if (spec.k % 2 != 0) {
    const auto last = static_cast<int64_t>(spec.k - 1);
    multiply(loadPairs({}, last * 32), false, {}, last * 4, acc);
  }
  return acc;
}

/// vdpbf16ps: acc + a1 b1, then + a0 b0, each rounded once.
Value dotBf16(Ir &ir, Value acc, Value a, Value b) {
  const Type panel = ir.vecF32(kLanes), words = ir.vec(kLanes, ir.i(32)),
             pairs = ir.vec(2 * kLanes, ir.bf16());
  if (!ir.target().emulate)
    return ir.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", panel,
                        {acc, ir.bitcast(a, pairs), ir.bitcast(b, pairs)});
  auto half = [&](Value value, bool odd) {
    return ir.bitcast(odd ? ir.bitAnd(value, ir.intConst(words, int64_t{0xffff0000}))
                          : ir.shl(value, ir.intConst(words, 16)),
                      panel);
  };
  return ir.fma(half(a, false), half(b, false), ir.fma(half(a, true), half(b, true), acc));
}

Values coreBf16Pairs(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile) {
  const Type words = ir.vec(kLanes, ir.i(32));
  const size_t columns = tile.panels.size();
  return unrolledLoop(ir, (spec.k + 1) / 2, 1, zeros(ir, tile.rows.size() * columns),
                      [&](Value k, int64_t i, Values &acc) {
                        const Value wOffset = ir.mul(k, ir.i64(64)), xOffset = ir.mul(k, ir.i64(4));
                        Values w;
                        for (const Value base : tile.panels)
                          w.push_back(ir.load(words, base, wOffset, i * 64));
                        for (size_t row = 0; row < tile.rows.size(); ++row) {
                          const Value x =
                              ir.splat(ir.load(ir.i(32), tile.rows[row], xOffset, i * 4), kLanes);
                          for (size_t column = 0; column < columns; ++column)
                            acc[row * columns + column] =
                                dotBf16(ir, acc[row * columns + column], x, w[column]);
                        }
                      });
}

/// Integer packings. A group's sum of 32 products is exact; its f32 form joins the chain by one
/// fma.
class IntegerCore {
public:
  IntegerCore(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile)
      : ir_(ir), spec_(spec), packing_(spec.packing), tile_(tile), layout_{spec.k},
        words_(ir.vec(kLanes, ir.i(32))) {}

  Values build() {
    const Values start = zeros(ir_, tile_.rows.size() * tile_.panels.size());
    const uint64_t whole = spec_.k / kQuantBlock;
    Values acc = ir_.loop(ir_.i64(0), ir_.i64(static_cast<int64_t>(whole)), 1, start,
                          [&](Value block, llvm::ArrayRef<Value> carried) {
                            Values sums(carried.begin(), carried.end());
                            for (unsigned group = 0; group < 2; ++group)
                              addGroup(block, group, sums);
                            return sums;
                          });
    if (spec_.k % kQuantBlock != 0)
      addGroup(ir_.i64(static_cast<int64_t>(whole)), 0, acc);
    return acc;
  }

private:
  bool vnni() const { return ir_.target().vnni; }

  /// Codes of 4 k of all 16 channels, as 16 words; q4: nibbles.
  Value codes(size_t panel, Value blockOffset, unsigned group, int64_t step) {
    if (packing_.element == Packing::Element::kQ8)
      return ir_.load(words_, tile_.panels[panel], blockOffset, group * 512 + step * 64);
    Value both = ir_.load(words_, tile_.panels[panel], blockOffset, step * 64);
    if (group == 1)
      both = ir_.shrLogical(both, ir_.intConst(words_, 4));
    return ir_.bitAnd(both, ir_.intConst(words_, 0x0f0f0f0f));
  }

  Value xWord(size_t row, Value xOffset, unsigned group, int64_t step) {
    return ir_.load(ir_.i(32), tile_.rows[row], xOffset, group * 32 + step * 4);
  }

  /// acc + sum of 4 products u8 * s8 a lane, as vpdpbusd does it (it cannot overflow here).
  Value dotVnni(Value acc, Value u, Value s) {
    if (!ir_.target().emulate)
      return ir_.intrinsic("llvm.x86.avx512.vpdpbusd.512", words_, {acc, u, s});
    for (int64_t byte = 0; byte < 4; ++byte) {
      const Value unsignedByte =
          ir_.bitAnd(ir_.shrLogical(u, ir_.intConst(words_, 8 * byte)), ir_.intConst(words_, 255));
      const Value signedByte =
          ir_.shrArith(ir_.shl(s, ir_.intConst(words_, 24 - 8 * byte)), ir_.intConst(words_, 24));
      acc = ir_.add(acc, ir_.mul(unsignedByte, signedByte));
    }
    return acc;
  }

  /// Exact integer sums of one group: sum of (code - zero) * x, [row * panels + panel].
  Values groupSums(Value blockOffset, Value xOffset, unsigned group) {
    Values sums = vnni() ? productsVnni(blockOffset, xOffset, group)
                         : productsAvx2(blockOffset, xOffset, group);
    // VNNI multiplies codes as u8: q8 ones are shifted by 128.
    const int64_t shift = packing_.element == Packing::Element::kQ8 ? (vnni() ? 128 : 0) : 0;
    const int64_t zero = shift + packing_.defaultZero();
    const size_t columns = tile_.panels.size();
    for (size_t row = 0; row < tile_.rows.size(); ++row) {
      if (zero == 0 && !packing_.zeroPoints)
        continue;
      const Value sumX = ir_.load(ir_.i(32), tile_.rows[row], ir_.mul(blockIndex_, ir_.i64(8)),
                                  static_cast<int64_t>(layout_.sumsOffset()) + group * 4);
      for (size_t column = 0; column < columns; ++column) {
        Value &sum = sums[row * columns + column];
        if (!packing_.zeroPoints) {
          sum = ir_.sub(sum, ir_.splat(ir_.mul(sumX, ir_.intConst(ir_.i(32), zero)), kLanes));
          continue;
        }
        Value zeros =
            ir_.signExtend(ir_.load(ir_.vec(kLanes, ir_.i(8)), tile_.panels[column], blockOffset,
                                    static_cast<int64_t>(packing_.zerosOffset()) + group * 16),
                           words_);
        if (shift != 0)
          zeros = ir_.add(zeros, ir_.intConst(words_, shift));
        sum = ir_.sub(sum, ir_.mul(zeros, ir_.splat(sumX, kLanes)));
      }
    }
    return sums;
  }

  Values productsVnni(Value blockOffset, Value xOffset, unsigned group) {
    const size_t columns = tile_.panels.size();
    Values sums(tile_.rows.size() * columns, ir_.intConst(words_, 0));
    for (int64_t step = 0; step < 8; ++step) {
      Values u;
      for (size_t column = 0; column < columns; ++column) {
        u.push_back(codes(column, blockOffset, group, step));
        if (packing_.element == Packing::Element::kQ8)
          u.back() = ir_.bitXor(u.back(), ir_.intConst(words_, int64_t{0x80808080}));
      }
      for (size_t row = 0; row < tile_.rows.size(); ++row) {
        const Value x = ir_.splat(xWord(row, xOffset, group, step), kLanes);
        for (size_t column = 0; column < columns; ++column)
          sums[row * columns + column] = dotVnni(sums[row * columns + column], u[column], x);
      }
    }
    return sums;
  }

  /// vpmaddubsw adds two products u8 * s8 into an i16. q8: u = |w|, s = x with w's sign; 2 * 128 *
  /// 127 < 2^15, widened at once. q4: 8 steps of 2 * 15 * 127 still fit an i16, widened once a
  /// group.
  Values productsAvx2(Value blockOffset, Value xOffset, unsigned group) {
    const bool q8 = packing_.element == Packing::Element::kQ8;
    const size_t columns = tile_.panels.size();
    const Type bytes = ir_.vec(32, ir_.i(8)), shorts = ir_.vec(16, ir_.i(16)),
               ints = ir_.vec(8, ir_.i(32));
    const Value ones = ir_.intConst(shorts, 1);
    auto widen = [&](Value pairs) {
      return ir_.intrinsic("llvm.x86.avx2.pmadd.wd", ints, {pairs, ones});
    };
    Values halves(tile_.rows.size() * columns * 2);
    for (int64_t step = 0; step < 8; ++step) {
      for (size_t column = 0; column < columns; ++column) {
        const Value word = codes(column, blockOffset, group, step);
        Values w, u; // the two registers of a panel
        for (int64_t half = 0; half < 2; ++half) {
          llvm::SmallVector<int64_t> lanes;
          for (int64_t lane = 0; lane < 8; ++lane)
            lanes.push_back(half * 8 + lane);
          w.push_back(ir_.bitcast(ir_.shuffle(word, word, lanes), bytes));
          u.push_back(
              q8 ? ir_.intrinsic("llvm.abs.v32i8", bytes, {w.back(), ir_.intConst(ir_.i(1), 0)})
                 : w.back());
        }
        for (size_t row = 0; row < tile_.rows.size(); ++row) {
          const Value x = ir_.bitcast(ir_.splat(xWord(row, xOffset, group, step), 8), bytes);
          for (size_t half = 0; half < 2; ++half) {
            const Value s = q8 ? ir_.intrinsic("llvm.x86.avx2.psign.b", bytes, {x, w[half]}) : x;
            Value products = ir_.intrinsic("llvm.x86.avx2.pmadd.ub.sw", shorts, {u[half], s});
            if (q8)
              products = widen(products);
            Value &sum = halves[(row * columns + column) * 2 + half];
            sum = sum ? ir_.add(sum, products) : products;
          }
        }
      }
    }
    Values sums;
    for (size_t i = 0; i < halves.size(); i += 2) {
      const Value low = q8 ? halves[i] : widen(halves[i]),
                  high = q8 ? halves[i + 1] : widen(halves[i + 1]);
      sums.push_back(
          ir_.shuffle(low, high, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
    }
    return sums;
  }

  /// Decode waits for memory, and so many instructions lie between two blocks that the core does
  /// not see the next one early enough by itself. Half a block a group.
  void prefetchNext(Value blockOffset, unsigned group) {
    const auto bytes = static_cast<int64_t>(packing_.blockBytes());
    for (const Value panel : tile_.panels)
      for (int64_t line = group * bytes / 2; line < (group + 1) * bytes / 2; line += 64)
        ir_.prefetch(panel, blockOffset, bytes + line);
  }

  void addGroup(Value block, unsigned group, Values &acc) {
    blockIndex_ = block;
    const Value blockOffset = ir_.mul(block, ir_.i64(static_cast<int64_t>(packing_.blockBytes())));
    const Value xOffset = ir_.mul(block, ir_.i64(kQuantBlock));
    const Values sums = groupSums(blockOffset, xOffset, group);
    const bool f16 = packing_.scale == base::DType::kF16;
    const Type panel = ir_.vecF32(kLanes);
    const size_t columns = tile_.panels.size();
    if (tile_.rows.size() == 1)
      prefetchNext(blockOffset, group);
    Values scales;
    for (size_t column = 0; column < columns; ++column) {
      const int64_t offset = static_cast<int64_t>(packing_.scalesOffset() +
                                                  group * kPanelRows * packing_.scaleBytes());
      const Value scale = ir_.load(ir_.vec(kLanes, f16 ? ir_.f16() : ir_.f32()),
                                   tile_.panels[column], blockOffset, offset);
      scales.push_back(f16 ? ir_.extendFloat(scale, panel) : scale);
    }
    for (size_t row = 0; row < tile_.rows.size(); ++row) {
      const Value xScale =
          ir_.splat(ir_.load(ir_.f32(), tile_.rows[row], ir_.mul(block, ir_.i64(8)),
                             static_cast<int64_t>(layout_.scalesOffset()) + group * 4),
                    kLanes);
      for (size_t column = 0; column < columns; ++column) {
        Value &one = acc[row * columns + column];
        one = ir_.fma(ir_.intToFloat(sums[row * columns + column], panel),
                      ir_.mul(scales[column], xScale), one);
      }
    }
  }

  Ir &ir_;
  const MatmulSpec &spec_;
  const Packing &packing_;
  const MatmulTile &tile_;
  const QuantizedRow layout_;
  const Type words_;
  Value blockIndex_;
};

} // namespace

bool readsBf16Pairs(const MatmulSpec &spec, const HostTarget &target) {
  return spec.packing.element == Packing::Element::kBF16 && target.bf16;
}

Values matmulCore(Ir &ir, const MatmulSpec &spec, const MatmulTile &tile) {
  if (spec.packing.isQuantized())
    return IntegerCore(ir, spec, tile).build();
  if (readsBf16Pairs(spec, ir.target()))
    return coreBf16Pairs(ir, spec, tile);
  return spec.packing.isHalf() ? coreSplitPairs(ir, spec, tile) : coreF32(ir, spec, tile);
}

namespace {
/// 16 floats to 16 bf16 bit patterns.
Value roundToBf16(Ir &ir, Value x) {
  const Type words = ir.vec(kLanes, ir.i(32)), halves = ir.vec(kLanes, ir.i(16));
  if (!ir.target().emulate)
    return ir.bitcast(
        ir.intrinsic("llvm.x86.avx512bf16.cvtneps2bf16.512", ir.vec(kLanes, ir.bf16()), {x}),
        halves);
  const Value bits = ir.bitcast(x, words);
  const Value odd = ir.bitAnd(ir.shrLogical(bits, ir.intConst(words, 16)), ir.intConst(words, 1));
  return ir.truncate(
      ir.shrLogical(ir.add(bits, ir.add(odd, ir.intConst(words, 0x7fff))), ir.intConst(words, 16)),
      halves);
}
} // namespace

void convertToBf16Pairs(Ir &ir, Value from, Value to, uint64_t k) {
  const Type panel = ir.vecF32(kLanes);
  const auto whole = static_cast<int64_t>(k / kPanelRows * kPanelRows),
             rest = static_cast<int64_t>(k) - whole;
  ir.loop(ir.i64(0), ir.i64(whole), kLanes, [&](Value element) {
    ir.store(roundToBf16(ir, ir.load(panel, from, ir.mul(element, ir.i64(4)))), to,
             ir.mul(element, ir.i64(2)));
  });
  if (rest != 0) { // zeros fill the last pair
    const Value x = ir.maskedLoad(panel, ir.laneMask(kLanes, ir.i64(rest)), from, {}, whole * 4);
    const Value pairs = ir.bitcast(roundToBf16(ir, x), ir.vec(kLanes / 2, ir.i(32)));
    for (int64_t pair = 0; pair < (rest + 1) / 2; ++pair)
      ir.store(ir.extract(pairs, pair), to, {}, whole * 2 + pair * 4);
  }
}

} // namespace platen::kernels
