// Loop programs as machine code against their evaluation point by point (ops/loops/evaluate.h).
#include "kernels/host/loop_harness.h"

#include "ops/loops/builder.h"

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

INSTANTIATE_TEST_SUITE_P(Targets, OnTarget,
                         testing::Range(0, static_cast<int>(loopTargets().size())));

} // namespace
} // namespace platen::kernels
