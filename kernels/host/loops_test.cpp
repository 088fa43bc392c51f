// Loop programs as machine code against their evaluation point by point (ops/loops/evaluate.h).
#include "kernels/host/loop_harness.h"
#include "kernels/host/loop_programs.h"

#include "ops/conformance/case_file.h"
#include "ops/loops/lowering.h"

#include <gtest/gtest.h>

namespace platen::kernels {
namespace {

using namespace harness;
namespace loops = ops::loops;
using base::DType;
using base::Size;
using loops::Builder;
using loops::Kind;
using loops::Op;
using loops::Value;

class OnTarget : public testing::TestWithParam<int> {
protected:
  const HostTarget &target() const { return loopTargets()[static_cast<size_t>(GetParam())]; }
};

TEST_P(OnTarget, AddsRows) {
  Builder b;
  const uint32_t x = b.tensor({DType::kF32, {5, 33}}), y = b.tensor({DType::kF32, {33}}),
                 z = b.tensor({DType::kF32, {5, 33}});
  const std::vector<Value> at = {b.axis(0), b.axis(1)};
  b.store(z, at, b.add(b.load(x, at), b.load(y, std::span(&at[1], 1))));
  expectAsEvaluated(b.finish({5, 33}, 2), target(), {});
}

TEST_P(OnTarget, MultipliesMatrices) {
  const Size rows = Size::symbol(0), depth = Size::symbol(1), columns = Size::symbol(2);
  Builder b;
  const uint32_t x = b.tensor({DType::kF32, {rows, depth}}),
                 w = b.tensor({DType::kF32, {columns, depth}}),
                 y = b.tensor({DType::kF32, {rows, columns}});
  const std::vector<Value> at = {b.axis(0), b.axis(1)};
  b.store(y, at, b.sum(b.size(depth), Kind::kF32, [&](Value k) {
    return b.mul(b.load(x, std::vector{at[0], k}), b.load(w, std::vector{at[1], k}));
  }));
  const loops::Program program = b.finish({rows, columns}, 2);
  for (const std::vector<int64_t> &symbols :
       {std::vector<int64_t>{3, 100, 7}, {1, 0, 4}, {0, 8, 4}, {4, 1, 1}, {2, 64, 33}})
    expectAsEvaluated(program, target(), symbols, 1e-5);
}

TEST_P(OnTarget, RandomPrograms) {
  constexpr uint32_t kPrograms = 60;
  std::vector<HostKernelSpec> specs;
  std::vector<loops::Program> programs;
  for (uint32_t seed = 0; seed < kPrograms; ++seed) {
    programs.push_back(RandomProgram(seed).make());
    ASSERT_TRUE(loops::verify(programs.back()).isOk()) << loops::verify(programs.back()).toString();
    specs.push_back(LoopSpec{programs.back()});
  }
  const Code code = compile(specs, target());
  for (uint32_t seed = 0; seed < kPrograms && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    for (const std::vector<int64_t> &symbols : {std::vector<int64_t>{3, 2}, {1, 9}})
      expectAsEvaluated(code, programs[seed], symbols, 0, seed);
  }
}

/// The launches that an operator's loops are, one after the other.
base::Result<std::vector<ops::Tensor>> runLaunches(const loops::Lowering &lowering,
                                                   const Code &code,
                                                   std::span<const ops::Tensor *const> operands) {
  std::vector<ops::Tensor> tensors;
  for (size_t id = 0; id < lowering.tensors().size(); ++id) {
    if (id < operands.size()) {
      tensors.push_back(operands[id] == nullptr ? ops::Tensor() : *operands[id]);
      continue;
    }
    ops::TensorType type{lowering.tensors()[id].dtype, {}};
    for (const Size &dim : lowering.tensors()[id].dims)
      type.dims.push_back(*dim.constant());
    tensors.emplace_back(std::move(type));
  }
  for (const loops::Launch &launch : lowering.launches()) {
    std::vector<ops::Tensor> given;
    for (uint32_t id : launch.tensors)
      given.push_back(tensors[id]);
    const std::vector<ops::Tensor> after = runLoops(code, launch.program, given, {}, 2);
    for (size_t i = 0; i < after.size(); ++i)
      tensors[launch.tensors[i]] = after[i];
  }
  const auto first = tensors.begin() + lowering.firstResult();
  return std::vector<ops::Tensor>(first,
                                  first + static_cast<std::ptrdiff_t>(lowering.resultCount()));
}

/// Every case of every operator that has loops, as ops/conformance does by evaluate().
TEST_P(OnTarget, OperatorCases) {
  struct Run {
    std::string name;
    ops::Case example;
    loops::Lowering lowering;
  };
  std::vector<Run> runs;
  std::vector<HostKernelSpec> specs;
  for (const ops::OpSpec *op : ops::catalog()) {
    if (op->loops == nullptr)
      continue;
    for (ops::Case &example : must(ops::readCases(std::getenv("PLATEN_SOURCE_DIR"), *op))) {
      if (!example.error.empty())
        continue;
      auto lowering = loops::lowerStatic(*op, example.operands(), example.attributes);
      if (!lowering.isOk())
        continue; // which ones may be is ops/conformance's business
      for (const loops::Launch &launch : lowering->launches())
        specs.push_back(LoopSpec{launch.program});
      std::string name = std::string(op->name) + "/" + example.name;
      runs.push_back({std::move(name), std::move(example), std::move(lowering).value()});
    }
  }
  ASSERT_GT(runs.size(), 20U);
  const Code code = compile(specs, target());
  for (const Run &run : runs) {
    SCOPED_TRACE(run.name);
    const auto results = runLaunches(run.lowering, code, run.example.operands());
    ASSERT_TRUE(results.isOk()) << results.status().toString();
    for (size_t i = 0; i < results->size(); ++i)
      EXPECT_EQ(ops::difference((*results)[i], run.example.outputs[i], run.example.ulp + 4,
                                run.example.atol, 1e-6),
                "")
          << "result O" << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, OnTarget,
                         testing::Range(0, static_cast<int>(loopTargets().size())));

} // namespace
} // namespace platen::kernels
