// See reduction.h. The elements that fall together are gathered into one buffer that all outputs
// share.
#include "ops/reduction.h"
#include "ops/onnx_map.h"

#include <algorithm>
#include <array>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

std::vector<AttributeSpec> reductionAttributes() {
  return {{"keepdims", int64_t{1}}, {"noop_with_empty_axes", int64_t{0}}};
}

namespace {

/// Which axes of a tensor of `rank` are reduced; axes null or empty means all (or none, if noop).
Result<std::vector<bool>> reducedAxes(int64_t rank, const Tensor *axes,
                                      const Attributes &attributes) {
  bool noop = intAttribute(attributes, "noop_with_empty_axes") != 0;
  if (!axes || axes->elementCount() == 0)
    return std::vector<bool>(static_cast<size_t>(rank), !noop);
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  for (int64_t axis : axes->toInts()) {
    auto normal = normalizeAxis(axis, rank, "C3: an axis");
    if (!normal)
      return normal.status();
    if (reduced[static_cast<size_t>(*normal)])
      return invalidArgument("C3: axis " + std::to_string(axis) + " comes twice");
    reduced[static_cast<size_t>(*normal)] = true;
  }
  return reduced;
}

std::vector<int64_t> reducedDims(std::span<const int64_t> dims, const std::vector<bool> &reduced,
                                 bool keep) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < dims.size(); ++i)
    if (!reduced[i] || keep)
      out.push_back(reduced[i] ? 1 : dims[i]);
  return out;
}

InferResult inferWith(const InferContext &context, bool wanted, std::string_view what) {
  const TensorType &x = *context.types[0], *axes = context.types[1];
  if (!wanted)
    return invalidArgument("C1: I1 is " + x.toString() + "; it must be " + std::string(what));
  if (axes && (axes->rank() != 1 || (axes->dtype != DType::kI64 && axes->dtype != DType::kI32)))
    return invalidArgument("C2: I2 is " + axes->toString() + "; it must be a vector of i64 or i32");
  bool keep = intAttribute(context.attributes, "keepdims") != 0;
  if (axes && !context.values[1] && axes->dims[0] != 0) {
    if (!keep)
      return base::unsupported("C4: I2 (the axes) is unknown at compile time and keepdims is 0; "
                               "make the axes a constant");
    return std::vector{
        TensorType{x.dtype, std::vector<int64_t>(static_cast<size_t>(x.rank()), kDynamic)}};
  }
  PLATEN_ASSIGN_OR_RETURN(std::vector<bool> reduced,
                          reducedAxes(x.rank(), context.values[1], context.attributes));
  return std::vector{TensorType{x.dtype, reducedDims(x.dims, reduced, keep)}};
}

} // namespace

InferResult inferReduction(const InferContext &context) {
  return inferWith(context, context.types[0]->dtype != DType::kBool, "numeric");
}
InferResult inferFloatReduction(const InferContext &context) {
  return inferWith(context, base::isFloat(context.types[0]->dtype), "a float tensor");
}

EvaluateResult mapReduction(Inputs inputs, const Attributes &attributes,
                            double (*floating)(std::span<const double>),
                            int64_t (*integral)(std::span<const int64_t>)) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<bool> reduced,
                          reducedAxes(x.type().rank(), inputs[1], attributes));
  // The kept axes walk over the outputs, the reduced ones over the elements of one output.
  std::vector<int64_t> keptDims, keptStrides, foldDims, foldStrides, strides = stridesOf(x.dims());
  for (size_t i = 0; i < reduced.size(); ++i) {
    (reduced[i] ? foldDims : keptDims).push_back(x.dims()[i]);
    (reduced[i] ? foldStrides : keptStrides).push_back(strides[i]);
  }
  bool keep = intAttribute(attributes, "keepdims") != 0;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{x.dtype(), reducedDims(x.dims(), reduced, keep)});
  std::vector<double> numbers(static_cast<size_t>(productOf(foldDims)));
  std::vector<int64_t> integers(numbers.size());
  StridedWalk kept(keptDims, {keptStrides});
  for (int64_t i = 0; i < y.elementCount(); ++i, kept.next()) {
    StridedWalk fold(foldDims, {foldStrides});
    for (size_t j = 0; j < numbers.size(); ++j, fold.next()) {
      if (base::isFloat(x.dtype()))
        numbers[j] = x.get(kept.index(0) + fold.index(0));
      else
        integers[j] = x.getInt(kept.index(0) + fold.index(0));
    }
    if (base::isFloat(x.dtype()))
      y.set(i, floating(numbers));
    else
      y.setInt(i, integral(integers));
  }
  return results;
}

base::Status loopReduction(loops::Lowering &op, const LoopReduction &reduction) {
  using Carried = std::span<const loops::Value>;
  return loopReductionOf(
      op,
      [&](loops::Stage &s, loops::Kind kind) { return std::vector{reduction.initial(s, kind)}; },
      [&](loops::Stage &s, Carried carried, loops::Value element) {
        return std::vector{reduction.combine(s, carried[0], element)};
      },
      [&](loops::Stage &s, Carried carried, loops::Value count) {
        return reduction.finish ? reduction.finish(s, carried[0], count) : carried[0];
      },
      reduction.anyOrder);
}

base::Status loopReductionOf(
    loops::Lowering &op,
    const std::function<std::vector<loops::Value>(loops::Stage &, loops::Kind)> &initial,
    const std::function<std::vector<loops::Value>(loops::Stage &, std::span<const loops::Value>,
                                                  loops::Value)> &combine,
    const std::function<loops::Value(loops::Stage &, std::span<const loops::Value>, loops::Value)>
        &finish,
    bool anyOrder) {
  const loops::TensorRef x = op.operand(0), y = op.result(0);
  if (op.has(1) && !op.constant(1))
    return base::unsupported("I2 (the axes) must be known when the plan is compiled");
  PLATEN_ASSIGN_OR_RETURN(const std::vector<bool> reduced,
                          reducedAxes(static_cast<int64_t>(x.rank()),
                                      op.has(1) ? op.constant(1) : nullptr, op.attributes()));
  const bool keep = intAttribute(op.attributes(), "keepdims") != 0;
  std::vector<base::Size> folded;
  for (size_t i = 0; i < reduced.size(); ++i)
    if (reduced[i])
      folded.push_back(x.dims[i]);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const std::vector<loops::Value> folds = s.foldOver(
        folded, initial(s, x.kind()),
        [&](loops::Coordinates inner, std::span<const loops::Value> carried) {
          std::vector<loops::Value> own;
          size_t kept = 0, taken = 0;
          for (size_t i = 0; i < reduced.size(); ++i) {
            own.push_back(reduced[i] ? inner[taken++] : at[kept]);
            kept += !reduced[i] || keep ? 1 : 0;
          }
          return combine(s, carried, s.load(x, own));
        },
        anyOrder);
    return finish(s, folds, s.size(base::productOf(folded)));
  });
}

Result<OpCall> mapReductionAxesAttribute(const OpSpec &op, const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(op, node));
  call.operands = {OnnxOperand::ofInput(0), intsAsOperand(node, "axes")};
  return call;
}

} // namespace platen::ops
