// Row-wise kernels: quantisation, fused row programs, row selection.
#include "kernels/host/builders_detail.h"

#include <limits>

namespace platen::kernels {

namespace {
constexpr int64_t kLanes = 16;
} // namespace

void storeQuantizedGroup(Ir &ir, Value low, Value high, Value row, Value element,
                         const QuantizedRow &layout) {
  const Type ints = ir.vec(kLanes, ir.i(32)), bytes = ir.vec(kLanes, ir.i(8));
  const Value largest = ir.reduceMax(ir.max(ir.abs(low), ir.abs(high)));
  const Value zero = ir.floatConst(ir.f32(), 0), limit = ir.floatConst(ir.f32(), 127);
  const Value any = ir.lessThan(zero, largest);
  const Value inverse = ir.splat(ir.select(any, ir.div(limit, largest), zero), kLanes);
  auto quantize = [&](Value x) { return ir.floatToInt(ir.roundEven(ir.mul(x, inverse)), ints); };
  Value codesLow = quantize(low), codesHigh = quantize(high);
  // Where 127 / largest overflows (subnormal rows) the codes are clamped.
  auto clamp = [&](Value x) {
    return ir.max(ir.min(x, ir.intConst(ints, 127)), ir.intConst(ints, -127));
  };
  codesLow = clamp(codesLow), codesHigh = clamp(codesHigh);
  ir.store(ir.truncate(codesLow, bytes), row, element);
  ir.store(ir.truncate(codesHigh, bytes), row, element, kLanes);
  const Value group = ir.mul(ir.div(element, ir.i64(kGroup)), ir.i64(4));
  ir.store(ir.div(largest, limit), row, group, static_cast<int64_t>(layout.scalesOffset()));
  ir.store(ir.reduceAdd(ir.add(codesLow, codesHigh)), row, group,
           static_cast<int64_t>(layout.sumsOffset()));
}

void buildQuantizeRows(Ir &ir, const QuantizeRowsSpec &spec) {
  const QuantizedRow layout{spec.k};
  const Value x = ir.operand(1), panel = ir.operand(2);
  const Type floats = ir.vecF32(kLanes);
  ir.loop(ir.begin(), ir.end(), 1, [&](Value index) {
    const Value from = ir.address(x, ir.mul(index, ir.i64(static_cast<int64_t>(spec.k * 4))));
    const Value to = ir.address(panel, ir.mul(index, ir.i64(static_cast<int64_t>(layout.bytes()))));
    ir.loop(ir.i64(0), ir.i64(static_cast<int64_t>(spec.k)), kGroup, [&](Value element) {
      const Value offset = ir.mul(element, ir.i64(4));
      storeQuantizedGroup(ir, ir.load(floats, from, offset), ir.load(floats, from, offset, 64), to,
                          element, layout);
    });
  });
}

void buildSelectRows(Ir &ir, const SelectRowsSpec &spec) {
  const Value x = ir.operand(1), y = ir.operand(2), tokens = ir.stepArray(3);
  const Value bytes = ir.i64(static_cast<int64_t>(spec.width * 4));
  const int64_t lanes = lanesDividing(spec.width);
  ir.loop(ir.begin(), ir.end(), 1, [&](Value row) {
    const Value token = ir.signExtend(ir.load(ir.i(32), tokens, ir.mul(row, ir.i64(4))), ir.i(64));
    const Value from = ir.address(x, ir.mul(token, bytes)), to = ir.address(y, ir.mul(row, bytes));
    ir.loop(ir.i64(0), bytes, lanes * 4,
            [&](Value offset) { ir.store(ir.load(ir.vecF32(lanes), from, offset), to, offset); });
  });
}

namespace {

class RowProgramBuilder {
public:
  RowProgramBuilder(Ir &ir, const RowProgramSpec &spec)
      : ir_(ir), spec_(spec), type_(ir.vecF32(kLanes)) {
    unsigned operand = 1;
    for (size_t i = 0; i < spec.rowInputs.size(); ++i)
      inputs_.push_back(ir.operand(operand++));
    for (uint32_t i = 0; i < spec.columnInputs; ++i)
      columns_.push_back(ir.operand(operand++));
    for (size_t i = 0; i < spec.outputs.size(); ++i)
      outputs_.push_back(ir.operand(operand++));
    if (spec.quantize)
      panel_ = ir.operand(operand++);
  }

  void build() {
    ir_.loop(ir_.begin(), ir_.end(), 1, [&](Value unit) {
      const Value rows = i64(spec_.rowsPerToken);
      token_ = ir_.div(unit, rows), rowOfToken_ = ir_.rem(unit, rows);
      rowInputs_.clear(), rowOutputs_.clear(), reductions_.clear();
      for (size_t i = 0; i < inputs_.size(); ++i)
        rowInputs_.push_back(rowAddress(inputs_[i], spec_.rowInputs[i]));
      for (size_t i = 0; i < outputs_.size(); ++i)
        rowOutputs_.push_back(rowAddress(outputs_[i], spec_.outputs[i]));
      for (const RowStage &stage : spec_.stages)
        buildStage(stage);
      if (spec_.quantize)
        quantize();
    });
  }

private:
  Value i64(uint64_t value) { return ir_.i64(static_cast<int64_t>(value)); }

  Value rowAddress(Value base, const RowOperand &operand) {
    const uint64_t stride =
        operand.tokenStride == 0 ? spec_.rowsPerToken * spec_.width : operand.tokenStride;
    const Value elements =
        ir_.add(ir_.mul(token_, i64(stride)), ir_.mul(rowOfToken_, i64(spec_.width)));
    return ir_.address(base, ir_.mul(elements, ir_.i64(4)),
                       static_cast<int64_t>(operand.offset * 4));
  }

  /// Values that are the same for all elements of the row: those made of reductions and constants
  /// alone.
  std::vector<Value> uniformValues(const RowStage &stage) {
    std::vector<Value> inputs(stage.inputs.size()), known(stage.block.ops().size());
    for (size_t i = 0; i < stage.inputs.size(); ++i)
      if (stage.inputs[i].kind == RowInput::Kind::kReduction)
        inputs[i] = reductions_[stage.inputs[i].index];
    for (size_t index = 0; index < known.size(); ++index) {
      const ScalarOp &op = stage.block.ops()[index];
      if (op.kind == ScalarOpKind::kInput)
        known[index] = inputs[op.index];
      else if (op.kind == ScalarOpKind::kConstant || (known[op.a] && known[op.b] && known[op.c]))
        known[index] = evaluateOne(ir_, op, known, type_);
    }
    return known;
  }

  Value inputAt(const RowInput &input, Value offset, Value mask) {
    Value base;
    switch (input.kind) {
    case RowInput::Kind::kRow:
      base = rowInputs_[input.index];
      break;
    case RowInput::Kind::kColumn:
      base = columns_[input.index];
      break;
    case RowInput::Kind::kOutput:
      base = rowOutputs_[input.index];
      break;
    case RowInput::Kind::kReduction:
      return reductions_[input.index];
    }
    return mask ? ir_.maskedLoad(type_, mask, base, offset) : ir_.load(type_, base, offset);
  }

  /// One vector of the stage; lanes outside `mask` (if given) are neither stored nor reduced.
  Values step(const RowStage &stage, const std::vector<Value> &known, Value offset, Value mask,
              llvm::ArrayRef<Value> carried) {
    Values inputs;
    for (const RowInput &input : stage.inputs)
      inputs.push_back(inputAt(input, offset, mask));
    const std::vector<Value> values = evaluate(ir_, stage.block, inputs, type_, known);
    for (const RowStage::Store &store : stage.stores) {
      if (mask)
        ir_.maskedStore(values[store.value], mask, rowOutputs_[store.output], offset);
      else
        ir_.store(values[store.value], rowOutputs_[store.output], offset);
    }
    Values results;
    for (size_t i = 0; i < stage.reductions.size(); ++i) {
      const Value value = values[stage.reductions[i].value], before = carried[i];
      const Value after = stage.reductions[i].kind == RowStage::ReduceKind::kSum
                              ? ir_.add(before, value)
                              : ir_.max(before, value);
      results.push_back(mask ? ir_.select(mask, after, before) : after);
    }
    return results;
  }

  void buildStage(const RowStage &stage) {
    const std::vector<Value> known = uniformValues(stage);
    Values start;
    for (const RowStage::Reduce &reduce : stage.reductions)
      start.push_back(ir_.floatConst(type_, reduce.kind == RowStage::ReduceKind::kSum
                                                ? 0.0F
                                                : -std::numeric_limits<float>::infinity()));
    const auto whole = static_cast<int64_t>(spec_.width / kLanes * kLanes),
               rest = static_cast<int64_t>(spec_.width) - whole;
    Values results = start;
    if (whole != 0)
      results = ir_.loop(ir_.i64(0), ir_.i64(whole * 4), kLanes * 4, start,
                         [&](Value offset, llvm::ArrayRef<Value> carried) {
                           return step(stage, known, offset, {}, carried);
                         });
    if (rest != 0)
      results =
          step(stage, known, ir_.i64(whole * 4), ir_.laneMask(kLanes, ir_.i64(rest)), results);
    for (size_t i = 0; i < results.size(); ++i) {
      const bool sum = stage.reductions[i].kind == RowStage::ReduceKind::kSum;
      reductions_.push_back(
          ir_.splat(sum ? ir_.reduceAdd(results[i]) : ir_.reduceMax(results[i]), kLanes));
    }
  }

  void quantize() {
    const QuantizedRow layout{spec_.rowsPerToken * spec_.width};
    const Value row = ir_.address(panel_, ir_.mul(token_, i64(layout.bytes())));
    const Value first = ir_.mul(rowOfToken_, i64(spec_.width)),
                from = rowOutputs_[spec_.quantizedOutput];
    ir_.loop(ir_.i64(0), i64(spec_.width), kGroup, [&](Value element) {
      const Value offset = ir_.mul(element, ir_.i64(4));
      storeQuantizedGroup(ir_, ir_.load(type_, from, offset), ir_.load(type_, from, offset, 64),
                          row, ir_.add(first, element), layout);
    });
  }

  Ir &ir_;
  const RowProgramSpec &spec_;
  const Type type_;
  Values inputs_, columns_, outputs_;
  Value panel_, token_, rowOfToken_;
  Values rowInputs_, rowOutputs_, reductions_;
};

} // namespace

void buildRowProgram(Ir &ir, const RowProgramSpec &spec) { RowProgramBuilder(ir, spec).build(); }

} // namespace platen::kernels
