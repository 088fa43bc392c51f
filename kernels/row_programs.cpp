// The usual row programs.
#include "kernels/specs.h"

namespace platen::kernels {

namespace {

using Kind = RowInput::Kind;

/// A stage that stores `value` to nothing and sums its square.
void sumSquares(RowStage &stage, ScalarBlock::Value value) {
  stage.reductions.push_back({stage.block.mul(value, value), RowStage::ReduceKind::kSum});
}

/// x / sqrt(sum / width + eps) * w
ScalarBlock::Value normalise(ScalarBlock &block, ScalarBlock::Value x, ScalarBlock::Value sum,
                             ScalarBlock::Value w, uint64_t width, float epsilon) {
  const auto mean = block.mul(sum, block.constant(1.0F / static_cast<float>(width)));
  const auto inverse = block.unary(ScalarOpKind::kRsqrt, block.add(mean, block.constant(epsilon)));
  return block.mul(block.mul(x, inverse), w);
}

/// out[output] = source / rms * column
RowStage normStage(RowInput source, uint32_t reduction, uint32_t column, uint32_t output,
                   uint64_t width, float epsilon) {
  RowStage stage;
  stage.inputs = {source, {Kind::kReduction, reduction}, {Kind::kColumn, column}};
  const auto x = stage.block.input(0), sum = stage.block.input(1), w = stage.block.input(2);
  stage.stores = {{normalise(stage.block, x, sum, w, width, epsilon), output}};
  return stage;
}

RowStage sumSquaresStage(RowInput source) {
  RowStage stage;
  stage.inputs = {source};
  sumSquares(stage, stage.block.input(0));
  return stage;
}

} // namespace

RowProgramSpec rmsNormProgram(uint64_t width, float epsilon, bool quantize) {
  RowProgramSpec spec;
  spec.width = width;
  spec.rowInputs.resize(1);
  spec.columnInputs = 1;
  spec.outputs.resize(1);
  spec.stages = {sumSquaresStage({Kind::kRow, 0}),
                 normStage({Kind::kRow, 0}, 0, 0, 0, width, epsilon)};
  spec.quantize = quantize;
  return spec;
}

RowProgramSpec addNormProgram(uint64_t width, float epsilon, bool quantize) {
  RowProgramSpec spec;
  spec.width = width;
  spec.rowInputs.resize(2);
  spec.columnInputs = 1;
  spec.outputs.resize(2);
  RowStage add;
  add.inputs = {{Kind::kRow, 0}, {Kind::kRow, 1}};
  const auto h = add.block.input(0), x = add.block.input(1), sum = add.block.add(h, x);
  add.stores = {{sum, 0}};
  sumSquares(add, sum);
  spec.stages = {add, normStage({Kind::kOutput, 0}, 0, 0, 1, width, epsilon)};
  spec.quantize = quantize;
  spec.quantizedOutput = 1;
  return spec;
}

RowProgramSpec normAddNormProgram(uint64_t width, float epsilon1, float epsilon2, bool quantize) {
  RowProgramSpec spec;
  spec.width = width;
  spec.rowInputs.resize(2);
  spec.columnInputs = 2;
  spec.outputs.resize(2);
  RowStage add;
  add.inputs = {{Kind::kRow, 0}, {Kind::kRow, 1}, {Kind::kReduction, 0}, {Kind::kColumn, 0}};
  const auto h = add.block.input(0), x = add.block.input(1), square = add.block.input(2),
             w = add.block.input(3);
  const auto sum = add.block.add(h, normalise(add.block, x, square, w, width, epsilon1));
  add.stores = {{sum, 0}};
  sumSquares(add, sum);
  spec.stages = {sumSquaresStage({Kind::kRow, 1}), add,
                 normStage({Kind::kOutput, 0}, 1, 1, 1, width, epsilon2)};
  spec.quantize = quantize;
  spec.quantizedOutput = 1;
  return spec;
}

RowProgramSpec elementwiseProgram(uint64_t width, const ScalarBlock &block, uint32_t rowInputs,
                                  bool quantize) {
  RowProgramSpec spec;
  spec.width = width;
  spec.rowInputs.resize(rowInputs);
  spec.outputs.resize(1);
  RowStage stage;
  for (uint32_t i = 0; i < rowInputs; ++i)
    stage.inputs.push_back({Kind::kRow, i});
  stage.block = block;
  stage.stores = {{block.result(), 0}};
  spec.stages = {stage};
  spec.quantize = quantize;
  return spec;
}

} // namespace platen::kernels
