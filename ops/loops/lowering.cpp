#include "ops/loops/lowering.h"

#include "ops/loops/evaluate.h"

namespace platen::ops::loops {

using base::Result;
using base::Status;

uint32_t Stage::local(const TensorRef &tensor) {
  for (size_t i = 0; i < ids_.size(); ++i)
    if (ids_[i] == tensor.id && spec(static_cast<uint32_t>(i)).dims == tensor.dims &&
        spec(static_cast<uint32_t>(i)).dtype == tensor.dtype)
      return static_cast<uint32_t>(i);
  ids_.push_back(tensor.id);
  return Builder::tensor({tensor.dtype, tensor.dims});
}

Value Stage::loadBroadcast(const TensorRef &tensor, Coordinates at,
                           std::span<const Size> resultDims) {
  std::vector<Value> own;
  const size_t skipped = resultDims.size() - tensor.rank();
  for (size_t axis = 0; axis < tensor.rank(); ++axis)
    own.push_back(tensor.dims[axis] == Size(1) && !(resultDims[skipped + axis] == Size(1))
                      ? integer(0)
                      : at[skipped + axis]);
  return load(tensor, own);
}

Value Stage::literal(const Tensor &tensor, int64_t index) {
  switch (loops::kindOf(tensor.dtype())) {
  case Kind::kBool:
    return boolean(tensor.getInt(index) != 0);
  case Kind::kInt:
    return integer(tensor.getInt(index));
  default:
    return number(loops::kindOf(tensor.dtype()), tensor.get(index));
  }
}

Value Stage::scalar(const TensorRef &tensor) {
  return load(tensor, std::vector<Value>(tensor.rank(), integer(0)));
}

Value Stage::wrapped(Value index, Value length) {
  return select(less(index, integer(0)), add(index, length), index);
}

Value Stage::isInside(Value index, Value length) {
  return both(lessEqual(integer(0), index), less(index, length));
}

std::vector<Value> Stage::foldOver(std::span<const Size> dims, std::vector<Value> initial,
                                   const Step &step, bool anyOrder) {
  std::vector<Value> at;
  const std::function<std::vector<Value>(size_t, std::vector<Value>)> nest =
      [&](size_t axis, std::vector<Value> carried) {
        if (axis == dims.size())
          return step(at, carried);
        return fold(
            integer(0), size(dims[axis]), std::move(carried),
            [&](Value index, std::span<const Value> inner) {
              at.push_back(index);
              std::vector<Value> next = nest(axis + 1, {inner.begin(), inner.end()});
              at.pop_back();
              return next;
            },
            anyOrder);
      };
  return nest(0, std::move(initial));
}

Value Stage::sumOver(std::span<const Size> dims, Kind kind,
                     const std::function<Value(Coordinates)> &f) {
  return foldOver(
      dims, {number(kind, 0)},
      [&](Coordinates at, std::span<const Value> carried) {
        return std::vector{add(carried[0], f(at))};
      },
      true)[0];
}

Lowering::Lowering(Given given) : given_(std::move(given)) {
  for (const std::optional<TensorSpec> &operand : given_.operands)
    tensors_.push_back(operand.value_or(TensorSpec{}));
  tensors_.insert(tensors_.end(), given_.results.begin(), given_.results.end());
}

TensorRef Lowering::operand(size_t index) const {
  return {static_cast<uint32_t>(index), tensors_[index].dtype, tensors_[index].dims};
}
TensorRef Lowering::result(size_t index) const {
  const size_t id = firstResult() + index;
  return {static_cast<uint32_t>(id), tensors_[id].dtype, tensors_[id].dims};
}

Result<std::vector<Size>> Lowering::sizes(size_t operand) const {
  if (const Tensor *value = constant(operand)) {
    const std::vector<int64_t> ints = value->toInts();
    return std::vector<Size>(ints.begin(), ints.end());
  }
  if (given_.sizes[operand])
    return *given_.sizes[operand];
  return base::unsupported("I" + std::to_string(operand + 1) +
                           " must be known when the plan is compiled: a constant, or computed from "
                           "shapes");
}

TensorRef Lowering::temporary(DType dtype, std::vector<Size> dims) {
  tensors_.push_back({dtype, std::move(dims)});
  return {static_cast<uint32_t>(tensors_.size() - 1), dtype, tensors_.back().dims};
}

Status Lowering::finish(Stage stage, std::vector<Size> extents, size_t parallel) {
  Launch launch;
  launch.tensors = stage.ids_;
  launch.program = stage.finish(std::move(extents), static_cast<uint32_t>(parallel));
  PLATEN_RETURN_IF_ERROR(verify(launch.program));
  launches_.push_back(std::move(launch));
  return Status::ok();
}

Status Lowering::launch(std::vector<Size> extents, size_t parallel,
                        const std::function<void(Stage &, Coordinates)> &body) {
  Stage stage;
  std::vector<Value> at;
  for (size_t axis = 0; axis < extents.size(); ++axis)
    at.push_back(extents[axis] == Size(1) ? stage.integer(0)
                                          : stage.axis(static_cast<uint32_t>(axis)));
  body(stage, at);
  return finish(std::move(stage), std::move(extents), parallel);
}

Status Lowering::compute(const TensorRef &out,
                         const std::function<Value(Stage &, Coordinates)> &body) {
  return launch(out.dims, out.rank(), [&](Stage &stage, Coordinates at) {
    stage.store(out, at, stage.as(out, body(stage, at)));
  });
}

namespace {

/// The coordinates in `in` of the same element as `at` in `out` where the shapes differ in axes of
/// length 1 alone; else nullopt.
std::optional<std::vector<Value>> withoutOnes(Stage &stage, Coordinates at, const TensorRef &in,
                                              const TensorRef &out) {
  std::vector<Value> own;
  size_t axis = 0;
  for (const Size &dim : in.dims) {
    while (dim != Size(1) && axis < out.rank() && out.dims[axis] == Size(1))
      ++axis;
    if (dim == Size(1))
      own.push_back(stage.integer(0));
    else if (axis < out.rank() && out.dims[axis] == dim)
      own.push_back(at[axis++]);
    else
      return std::nullopt;
  }
  while (axis < out.rank() && out.dims[axis] == Size(1))
    ++axis;
  return axis == out.rank() ? std::optional(std::move(own)) : std::nullopt;
}

} // namespace

Status Lowering::copy(const TensorRef &in, const TensorRef &out) {
  return compute(out, [&](Stage &stage, Coordinates at) {
    const std::optional<std::vector<Value>> own = withoutOnes(stage, at, in, out);
    return stage.load(in, own ? *own : stage.coordinates(stage.linear(at, out.dims), in.dims));
  });
}

namespace {
TensorSpec specOf(const TensorType &type) {
  return {type.dtype, {type.dims.begin(), type.dims.end()}};
}
} // namespace

Result<Lowering> lowerStatic(const OpSpec &op, Inputs operands, const Attributes &attributes) {
  if (op.loops == nullptr)
    return base::unsupported("the operator has no loops", std::string(op.name));
  Given given;
  PLATEN_ASSIGN_OR_RETURN(given.attributes, validate(op, operands.size(), attributes));
  std::vector<const TensorType *> types;
  for (const Tensor *operand : operands) {
    types.push_back(operand == nullptr ? nullptr : &operand->type());
    given.operands.push_back(operand == nullptr ? std::nullopt
                                                : std::optional(specOf(operand->type())));
    given.constants.push_back(operand);
  }
  given.sizes.resize(operands.size());
  PLATEN_ASSIGN_OR_RETURN(const std::vector<TensorType> results,
                          inferTypes(op, types, operands, attributes));
  for (const TensorType &type : results)
    given.results.push_back(specOf(type));
  Lowering lowering(std::move(given));
  Status status = op.loops(lowering);
  if (!status.isOk())
    return status.at(std::string(op.name));
  return lowering;
}

Result<std::vector<Tensor>> evaluateByLoops(const OpSpec &op, Inputs operands,
                                            const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(const Lowering lowering, lowerStatic(op, operands, attributes));
  std::vector<Tensor> tensors;
  for (size_t id = 0; id < lowering.tensors().size(); ++id) {
    if (id < operands.size()) {
      tensors.push_back(operands[id] == nullptr ? Tensor() : *operands[id]);
      continue;
    }
    TensorType type{lowering.tensors()[id].dtype, {}};
    for (const Size &dim : lowering.tensors()[id].dims)
      type.dims.push_back(*dim.constant());
    tensors.emplace_back(std::move(type));
  }
  for (const Launch &launch : lowering.launches()) {
    std::vector<Tensor *> given;
    for (uint32_t id : launch.tensors)
      given.push_back(&tensors[id]);
    PLATEN_RETURN_IF_ERROR(evaluate(launch.program, given, {}).at(std::string(op.name)));
  }
  const auto first = tensors.begin() + lowering.firstResult();
  return std::vector<Tensor>(
      std::make_move_iterator(first),
      std::make_move_iterator(first + static_cast<std::ptrdiff_t>(lowering.resultCount())));
}

} // namespace platen::ops::loops
