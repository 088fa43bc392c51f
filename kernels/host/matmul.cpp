// The matmul builder: units, row tiles, panel groups and the epilogue around matmulCore.
#include "kernels/host/builders_detail.h"
#include "kernels/host/describe_detail.h"
#include "kernels/host/matmul_core.h"

namespace platen::kernels {

namespace {

constexpr int64_t kLanes = kPanelRows;

class MatmulBuilder {
public:
  MatmulBuilder(Ir &ir, const MatmulSpec &spec)
      : ir_(ir), spec_(spec), tiling_(matmulTiling(spec)),
        columns_(static_cast<int64_t>(spec.columns())) {
    unsigned operand = 1;
    x_ = ir_.operand(operand++);
    for (size_t i = 0; i < spec.n.size(); ++i) {
      weights_.push_back(ir_.operand(operand++));
      ragged_ |= spec.n[i] % kPanelRows != 0;
    }
    for (uint32_t i = 0; i < spec.rowOperands + spec.columnOperands; ++i)
      extras_.push_back(ir_.operand(operand++));
    y_ = ir_.operand(operand++);
    if (readsBf16Pairs(spec, ir_.target()))
      scratch_ = ir_.operand(operand++);
    extent_ = ir_.extent(spec.extent);
    panelsAtOnce_ = panelsAtOnce();
  }

  void build() {
    const Value perUnit = i64(tiling_.rowsPerUnit);
    const Value blocks = ir_.div(ir_.add(extent_, i64(tiling_.rowsPerUnit - 1)), perUnit);
    ir_.loop(ir_.begin(), ir_.end(), 1, {ir_.i64(-1)},
             [&](Value unit, llvm::ArrayRef<Value> carried) {
               const Value block = ir_.rem(unit, blocks), group = ir_.div(unit, blocks);
               const Value row0 = ir_.mul(block, perUnit),
                           row1 = ir_.min(ir_.add(row0, perUnit), extent_);
               if (scratch_)
                 ir_.ifThen(ir_.notEqual(block, carried[0]), [&] { convertBlock(row0, row1); });
               buildUnit(group, row0, row1);
               return Values{block};
             });
  }

private:
  Value i64(uint64_t value) { return ir_.i64(static_cast<int64_t>(value)); }
  bool gated() const { return spec_.mode == MatmulSpec::Mode::kGated; }

  /// Panels in one register tile: enough chains to hide the fma latency, within the registers, and
  /// a divisor of the panels so that no remainder needs code of its own. Decode of q8 measured best
  /// with one stream of weights, everything else with four.
  uint64_t panelsAtOnce() const {
    const bool wide = ir_.target().vectorBits == 512, quantized = spec_.packing.isQuantized();
    uint64_t most = wide ? (quantized ? 2 : 4) : 1;
    if (spec_.rowsPerTile == 1)
      most = spec_.packing.element == Packing::Element::kQ8 ? 1 : 4;
    while (tiling_.panels % most != 0 || tiling_.panelsPerUnit % most != 0)
      most /= 2;
    return most;
  }

  void convertBlock(Value row0, Value row1) {
    const Value stride = i64((spec_.k + 1) / 2 * 4);
    ir_.loop(row0, row1, 1, [&](Value row) {
      convertToBf16Pairs(ir_, ir_.address(x_, ir_.mul(row, i64(spec_.k * 4))),
                         ir_.address(scratch_, ir_.mul(ir_.sub(row, row0), stride)), spec_.k);
    });
  }

  void buildUnit(Value group, Value row0, Value row1) {
    const Value panel0 = ir_.mul(group, i64(tiling_.panelsPerUnit));
    const Value panel1 = ir_.min(ir_.add(panel0, i64(tiling_.panelsPerUnit)), i64(tiling_.panels));
    ir_.loop(row0, row1, spec_.rowsPerTile, [&](Value row) {
      const Values rows = rowPointers(row, row0, row1);
      ir_.loop(panel0, panel1, static_cast<int64_t>(panelsAtOnce_),
               [&](Value panel) { buildTile(rows, row, row1, panel); });
    });
  }

  /// Rows past the end repeat the last one; their results are not stored.
  Values rowPointers(Value row, Value row0, Value row1) {
    const uint64_t stride = scratch_                      ? (spec_.k + 1) / 2 * 4
                            : spec_.packing.isQuantized() ? QuantizedRow{spec_.k}.bytes()
                                                          : spec_.k * 4;
    Values rows;
    const Value last = ir_.sub(row1, ir_.i64(1));
    for (uint32_t i = 0; i < spec_.rowsPerTile; ++i) {
      Value index = i == 0 ? row : ir_.min(ir_.add(row, i64(i)), last);
      if (scratch_)
        index = ir_.sub(index, row0);
      rows.push_back(ir_.address(scratch_ ? scratch_ : x_, ir_.mul(index, i64(stride))));
    }
    return rows;
  }

  struct Panel {
    Value base;   // address of weight bytes
    Value column; // first column of y
    Value count;  // columns it has, when ragged_
  };

  /// Panel `index` of weight `w`, or, concatenated, of the weight that it falls into.
  Panel locate(Value index, size_t w) {
    const Value bytes = i64(spec_.packing.panelBytes(spec_.k));
    Panel at{ir_.address(weights_[w], ir_.mul(index, bytes)), ir_.mul(index, i64(kPanelRows)), {}};
    Value end = i64(spec_.n[w]);
    if (!gated()) {
      uint64_t firstPanel = spec_.packing.panels(spec_.n[0]), firstColumn = spec_.n[0];
      for (size_t next = 1; next < weights_.size(); ++next) {
        const Value here = ir_.lessThan(index, i64(firstPanel)),
                    local = ir_.sub(index, i64(firstPanel));
        at.base = ir_.select(here, at.base, ir_.address(weights_[next], ir_.mul(local, bytes)));
        at.column =
            ir_.select(here, at.column, ir_.add(i64(firstColumn), ir_.mul(local, i64(kPanelRows))));
        end = ir_.select(here, end, i64(firstColumn + spec_.n[next]));
        firstPanel += spec_.packing.panels(spec_.n[next]);
        firstColumn += spec_.n[next];
      }
    }
    at.count = ir_.min(ir_.sub(end, at.column), ir_.i64(kLanes));
    return at;
  }

  void buildTile(const Values &rows, Value row, Value row1, Value panel) {
    std::vector<Panel> panels;
    std::vector<Values> sums; // by weight
    const size_t weights = gated() ? weights_.size() : 1;
    for (size_t w = 0; w < weights; ++w) {
      MatmulTile tile{rows, {}};
      for (uint64_t j = 0; j < panelsAtOnce_; ++j) {
        const Panel at = locate(ir_.add(panel, i64(j)), w);
        tile.panels.push_back(at.base);
        if (w == 0)
          panels.push_back(at);
      }
      sums.push_back(matmulCore(ir_, spec_, tile));
    }
    for (uint32_t i = 0; i < spec_.rowsPerTile; ++i) {
      const Value index = ir_.add(row, i64(i));
      auto finishRow = [&] {
        for (size_t j = 0; j < panels.size(); ++j) {
          Values accumulators;
          for (size_t w = 0; w < weights; ++w)
            accumulators.push_back(sums[w][i * panels.size() + j]);
          finishPanel(index, panels[j], accumulators);
        }
      };
      if (i == 0)
        finishRow();
      else
        ir_.ifThen(ir_.lessThan(index, row1), finishRow);
    }
  }

  void finishPanel(Value row, const Panel &panel, const Values &accumulators) {
    const Type type = ir_.vecF32(kLanes);
    const Value mask = ragged_ ? ir_.laneMask(kLanes, panel.count) : Value{};
    const Value column = ir_.mul(panel.column, ir_.i64(4));
    const Value offset = ir_.add(ir_.mul(row, ir_.i64(columns_ * 4)), column);
    Values inputs = accumulators;
    for (size_t i = 0; i < extras_.size(); ++i) {
      const Value at = i < spec_.rowOperands ? offset : column;
      inputs.push_back(ragged_ ? ir_.maskedLoad(type, mask, extras_[i], at)
                               : ir_.load(type, extras_[i], at));
    }
    Value result = accumulators[0];
    if (!spec_.epilogue.ops().empty())
      result = evaluate(ir_, spec_.epilogue, inputs, type)[spec_.epilogue.result()];
    if (ragged_)
      ir_.maskedStore(result, mask, y_, offset);
    else
      ir_.store(result, y_, offset);
  }

  Ir &ir_;
  const MatmulSpec &spec_;
  const MatmulTiling tiling_;
  const int64_t columns_;
  uint64_t panelsAtOnce_ = 1;
  bool ragged_ = false;
  Value x_, y_, scratch_, extent_;
  Values weights_, extras_;
};

} // namespace

void buildMatmul(Ir &ir, const MatmulSpec &spec) { MatmulBuilder(ir, spec).build(); }

} // namespace platen::kernels
