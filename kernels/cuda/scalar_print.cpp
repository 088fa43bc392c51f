#include "kernels/cuda/scalar_print.h"

#include <algorithm>
#include <bit>

namespace platen::kernels {

namespace {

std::string number(uint64_t value) { return std::to_string(value); }

std::string expression(const ScalarOp &op, const std::string &prefix,
                       const std::function<std::string(uint32_t)> &input) {
  const std::string a = prefix + number(op.a), b = prefix + number(op.b), c = prefix + number(op.c);
  switch (op.kind) {
  case ScalarOpKind::kInput:
    return input(op.index);
  case ScalarOpKind::kConstant:
    return printFloat(op.constant);
  case ScalarOpKind::kAdd:
    return a + " + " + b;
  case ScalarOpKind::kSub:
    return a + " - " + b;
  case ScalarOpKind::kMul:
    return a + " * " + b;
  case ScalarOpKind::kDiv:
    return a + " / " + b;
  case ScalarOpKind::kMax:
    return "platen::maximum(" + a + ", " + b + ")";
  case ScalarOpKind::kMin:
    return "platen::minimum(" + a + ", " + b + ")";
  case ScalarOpKind::kFma:
    return "fmaf(" + a + ", " + b + ", " + c + ")";
  case ScalarOpKind::kNeg:
    return "-" + a;
  case ScalarOpKind::kAbs:
    return "fabsf(" + a + ")";
  case ScalarOpKind::kSqrt:
    return "sqrtf(" + a + ")";
  case ScalarOpKind::kRsqrt:
    return "1.0f / sqrtf(" + a + ")";
  case ScalarOpKind::kExp:
    return "expf(" + a + ")";
  case ScalarOpKind::kLog:
    return "logf(" + a + ")";
  case ScalarOpKind::kTanh:
    return "tanhf(" + a + ")";
  case ScalarOpKind::kErf:
    return "erff(" + a + ")";
  }
  return "";
}

std::string operandAddress(const RowProgramSpec &spec, const RowOperand &operand) {
  const uint64_t stride =
      operand.tokenStride == 0 ? spec.rowsPerToken * spec.width : operand.tokenStride;
  return " + token * " + number(stride) + " + " + number(operand.offset) + " + part * " +
         number(spec.width);
}

/// One pass over the row. `firstReduction`: number of the stage's first reduction.
std::string printStage(const RowStage &stage, size_t firstReduction, const RowProgramSpec &spec,
                       uint32_t threads) {
  std::string text;
  for (size_t i = 0; i < stage.reductions.size(); ++i)
    text += "  float r" + number(firstReduction + i) + " = " +
            (stage.reductions[i].kind == RowStage::ReduceKind::kSum ? "0.0f"
                                                                    : "platen::minusInfinity()") +
            ";\n";
  text += "  for (unsigned c = threadIdx.x; c < " + number(spec.width) +
          "; c += " + number(threads) + ") {\n";
  text += printScalarBlock(stage.block, "v", [&](uint32_t index) {
    const RowInput &input = stage.inputs[index];
    switch (input.kind) {
    case RowInput::Kind::kRow:
      return "in" + number(input.index) + "[c]";
    case RowInput::Kind::kColumn:
      return "column" + number(input.index) + "[c]";
    case RowInput::Kind::kOutput:
      return "to" + number(input.index) + "[c]";
    case RowInput::Kind::kReduction:
      break;
    }
    return "r" + number(input.index);
  });
  for (const RowStage::Store &store : stage.stores)
    text += "    to" + number(store.output) + "[c] = v" + number(store.value) + ";\n";
  for (size_t i = 0; i < stage.reductions.size(); ++i) {
    const RowStage::Reduce &reduce = stage.reductions[i];
    const std::string name = "r" + number(firstReduction + i), v = "v" + number(reduce.value);
    text += reduce.kind == RowStage::ReduceKind::kSum
                ? "    " + name + " += " + v + ";\n"
                : "    " + name + " = platen::maximum(" + name + ", " + v + ");\n";
  }
  text += "  }\n";
  for (size_t i = 0; i < stage.reductions.size(); ++i) {
    const std::string name = "r" + number(firstReduction + i);
    text += "  " + name + " = platen::blockReduce<" + number(threads) + ", platen::" +
            (stage.reductions[i].kind == RowStage::ReduceKind::kSum ? "add" : "maximum") + ">(" +
            name + ", scratch);\n";
  }
  return text;
}

} // namespace

std::string printFloat(float value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const auto bits = std::bit_cast<uint32_t>(value);
  std::string text = "__int_as_float(0x";
  for (int shift = 28; shift >= 0; shift -= 4)
    text += kDigits[bits >> static_cast<unsigned>(shift) & 15U];
  return text + ")";
}

std::string printScalarBlock(const ScalarBlock &block, const std::string &prefix,
                             const std::function<std::string(uint32_t)> &input) {
  std::string text;
  for (size_t i = 0; i < block.ops().size(); ++i)
    text += "    const float " + prefix + number(i) + " = " +
            expression(block.ops()[i], prefix, input) + ";\n";
  return text;
}

uint32_t rowProgramThreads(const RowProgramSpec &spec) {
  return static_cast<uint32_t>(std::clamp<uint64_t>((spec.width + 31) / 32 * 32, 32, 256));
}

std::string printRowProgram(const RowProgramSpec &spec, const std::string &entry) {
  const uint32_t threads = rowProgramThreads(spec);
  const bool rows = spec.extent == Extent::kRows;
  std::string parameters, body;
  for (size_t i = 0; i < spec.rowInputs.size(); ++i) {
    parameters += ", const float *row" + number(i);
    body += "  const float *in" + number(i) + " = row" + number(i) +
            operandAddress(spec, spec.rowInputs[i]) + ";\n";
  }
  for (uint32_t i = 0; i < spec.columnInputs; ++i)
    parameters += ", const float *column" + number(i);
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    parameters += ", float *out" + number(i);
    body += "  float *to" + number(i) + " = out" + number(i) +
            operandAddress(spec, spec.outputs[i]) + ";\n";
  }
  if (spec.quantize)
    parameters += ", unsigned char *panel";
  size_t reductions = 0;
  for (const RowStage &stage : spec.stages) {
    body += printStage(stage, reductions, spec, threads);
    reductions += stage.reductions.size();
  }
  if (spec.quantize) {
    const uint64_t dense = spec.rowsPerToken * spec.width;
    body += "  for (unsigned c = threadIdx.x; c < " + number(spec.width) +
            "; c += " + number(threads) + ")\n    platen::quantizeGroup<" + number(dense) +
            ">(panel + token * platen::kQuantizedRowBytes<" + number(dense) + ">, (part * " +
            number(spec.width) + " + c) / 32, to" + number(spec.quantizedOutput) + "[c]);\n";
  }
  std::string text = "extern \"C\" __global__ void __launch_bounds__(" + number(threads) + ")\n" +
                     entry + "(const PlatenCudaStep *step" + parameters + ") {\n";
  text += "  const long long token = blockIdx.x / " + number(spec.rowsPerToken) +
          ", part = blockIdx.x % " + number(spec.rowsPerToken) + ";\n";
  text += std::string("  if (token >= ") +
          (spec.extent == Extent::kOne ? "1"
           : rows                      ? "step->rows"
                                       : "step->tokens") +
          ")\n    return;\n";
  if (reductions != 0)
    text += "  __shared__ float scratch[" + number(threads / 32) + "];\n";
  return text + body + "}\n";
}

} // namespace platen::kernels
