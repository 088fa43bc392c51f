// Tests of loop programs: random operands, both ways of running, comparison. Header-only.
#pragma once

#include "kernels/host/kernel_harness.h"
#include "ops/loops/evaluate.h"

#include <gtest/gtest.h>

#include <bit>

namespace platen::kernels::harness {

namespace loops = ops::loops;

/// Targets whose code this machine can execute: AVX-512 only where the CPU has it.
inline const std::vector<HostTarget> &loopTargets() {
  static const std::vector<HostTarget> targets = [] {
    std::vector<HostTarget> found = {kAvx2Target};
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16"))
      found.push_back(kAvx512Target);
    return found;
  }();
  return targets;
}

/// A graph's step: the ABI's with symbols behind.
class GraphStep {
public:
  GraphStep(int64_t points, std::span<const int64_t> symbols)
      : words_((sizeof(PlatenStep) / 8) + symbols.size(), 0) {
    words_[0] = words_[1] = points, words_[2] = 1;
    std::copy(symbols.begin(), symbols.end(), words_.begin() + sizeof(PlatenStep) / 8);
  }
  void *data() { return words_.data(); }

private:
  std::vector<int64_t> words_;
};

/// Small numbers of both signs, and now and then what is special about the dtype.
inline void fillRandom(ops::Tensor &tensor, std::mt19937 &random) {
  const bool isFloat = base::isFloat(tensor.dtype());
  for (int64_t i = 0; i < tensor.elementCount(); ++i) {
    const uint32_t dice = random() % 16;
    if (isFloat)
      tensor.set(i, dice == 0 ? static_cast<double>(random() % 7) - 3
                              : (static_cast<double>(random() % 20001) - 10000) / 2500);
    else if (tensor.dtype() == base::DType::kBool)
      tensor.setInt(i, random() % 2);
    else
      tensor.setInt(i, dice == 0 ? static_cast<int64_t>(uint64_t{random()} << 32 | random())
                                 : static_cast<int64_t>(random() % 17) - 8);
  }
}

/// The kernel of `program` run on copies of the tensors' bytes, its units in `pieces` ranges.
inline std::vector<ops::Tensor> runLoops(const Code &code, const loops::Program &program,
                                         std::vector<ops::Tensor> tensors,
                                         std::span<const int64_t> symbols, unsigned pieces) {
  const HostKernelInfo info = must(describeHostKernel(LoopSpec{program}));
  int64_t points = 1;
  for (uint32_t axis = 0; axis < program.parallel; ++axis)
    points *= must(program.extents[axis].evaluate(symbols));
  GraphStep step(points, symbols);
  std::vector<void *> pointers = {step.data()};
  std::vector<BufferPtr> buffers;
  for (const ops::Tensor &tensor : tensors) {
    buffers.push_back(std::make_shared<Buffer>(tensor.bytes().size()));
    std::memcpy(buffers.back()->data(), tensor.bytes().data(), tensor.bytes().size());
    pointers.push_back(buffers.back()->data());
  }
  const int64_t units = (points + info.rowsPerUnit - 1) / info.rowsPerUnit;
  for (int64_t piece = pieces; piece-- > 0;)
    code.entry(info.name)(pointers.data(), units * piece / pieces, units * (piece + 1) / pieces);
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_TRUE(buffers[i]->intact()) << "tensor " << i;
    std::memcpy(tensors[i].bytes().data(), buffers[i]->data(), buffers[i]->bytes());
  }
  return tensors;
}

/// Empty, or how two tensors differ; floats may by `tolerance` of 1 + their magnitude. NaN equals
/// NaN.
inline std::string differs(const ops::Tensor &got, const ops::Tensor &want, double tolerance) {
  for (int64_t i = 0; i < want.elementCount(); ++i) {
    bool equal = got.getInt(i) == want.getInt(i);
    if (base::isFloat(want.dtype())) {
      const double a = got.get(i), b = want.get(i);
      equal = a == b || (std::isnan(a) && std::isnan(b)) ||
              (std::isfinite(a) && std::abs(a - b) <= tolerance * (1 + std::abs(b)));
    }
    if (!equal)
      return "element " + std::to_string(i) + " of " + want.type().toString() + " is " +
             std::to_string(got.get(i)) + ", not " + std::to_string(want.get(i));
  }
  return "";
}

/// Runs the program, compiled in `code`, on random operands: as evaluate() says, and bit for bit
/// the same however its units are cut.
inline void expectAsEvaluated(const Code &code, const loops::Program &program,
                              std::span<const int64_t> symbols, double tolerance = 0,
                              uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<ops::Tensor> given;
  for (const loops::TensorSpec &spec : program.tensors) {
    ops::TensorType type{spec.dtype, {}};
    for (const base::Size &dim : spec.dims)
      type.dims.push_back(must(dim.evaluate(symbols)));
    fillRandom(given.emplace_back(std::move(type)), random);
  }
  std::vector<ops::Tensor> want = given;
  std::vector<ops::Tensor *> pointers;
  for (ops::Tensor &tensor : want)
    pointers.push_back(&tensor);
  const base::Status evaluated = loops::evaluate(program, pointers, symbols);
  ASSERT_TRUE(evaluated.isOk()) << evaluated.toString();
  const std::vector<ops::Tensor> whole = runLoops(code, program, given, symbols, 1);
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ(differs(whole[i], want[i], tolerance), "") << "tensor " << i << "\n" << program.key();
  for (unsigned pieces : {2U, 5U}) {
    const std::vector<ops::Tensor> cut = runLoops(code, program, given, symbols, pieces);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(
          std::equal(cut[i].bytes().begin(), cut[i].bytes().end(), whole[i].bytes().begin()))
          << "tensor " << i << " in " << pieces << " pieces\n"
          << program.key();
  }
}

} // namespace platen::kernels::harness
