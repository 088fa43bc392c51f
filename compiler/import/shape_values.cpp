// Tags are int64 values from a range that no shape computation reaches; a constant that lies in it
// is not followed at all.
#include "compiler/import/shape_values.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using ops::Tensor;
using ops::TensorType;

namespace {

constexpr int64_t kFirstTag = int64_t{0x3a5c} << 48;
constexpr int64_t kLastTag = kFirstTag + (int64_t{1} << 40);

bool isTag(int64_t element) { return element >= kFirstTag && element <= kLastTag; }

llvm::StringRef mnemonic(mlir::Operation &op) { return op.getName().stripDialect(); }

/// Operators that copy elements of some operands and look at the values of the others only.
struct Movement {
  llvm::StringRef name;
  std::vector<size_t> moved; ///< empty: all
};
const Movement *findMovement(llvm::StringRef name) {
  static const std::vector<Movement> kMovements = {
      {"gather", {0}},    {"slice", {0}},   {"concat", {}},    {"unsqueeze", {0}},
      {"squeeze", {0}},   {"reshape", {0}}, {"expand", {0}},   {"flatten", {0}},
      {"transpose", {0}}, {"cast", {0}},    {"where", {1, 2}},
  };
  for (const Movement &movement : kMovements)
    if (movement.name == name)
      return &movement;
  return nullptr;
}

/// Binary operators whose result is no size below zero when both operands are not.
bool isArithmetic(llvm::StringRef name) {
  return name == "add" || name == "mul" || name == "div" || name == "sub" || name == "max" ||
         name == "min";
}

bool isSmallInt64(mlir::Value value, int64_t maxElements) {
  auto type = ir::toTensorType(value.getType());
  if (!type || type->dtype != ops::DType::kI64 || !type->isStatic())
    return false;
  int64_t count = 1;
  for (int64_t dim : type->dims)
    if (__builtin_mul_overflow(count, dim, &count) || count > maxElements)
      return false;
  return true;
}

} // namespace

ShapeValues::ShapeValues(mlir::func::FuncOp function) : function_(function), nextTag_(kFirstTag) {}

int64_t ShapeValues::newTag(bool isSize) {
  int64_t tag = nextTag_++;
  if (isSize)
    sizes_.insert(tag);
  return tag;
}

int64_t ShapeValues::dimensionTag(mlir::Value value, size_t axis) {
  if (auto argument = mlir::dyn_cast<mlir::BlockArgument>(value);
      argument && argument.getOwner()->getParentOp() == function_.getOperation()) {
    auto dims = function_.getArgAttrOfType<mlir::ArrayAttr>(argument.getArgNumber(), "platen.dims");
    if (dims && axis < dims.size())
      if (auto name = mlir::dyn_cast<mlir::StringAttr>(dims[axis]); name && !name.empty()) {
        auto [entry, isNew] = byName_.try_emplace(name.str(), 0);
        if (isNew)
          entry->second = newTag(true);
        return entry->second;
      }
  }
  auto [entry, isNew] = byDimension_.try_emplace({value.getAsOpaquePointer(), axis}, 0);
  if (isNew)
    entry->second = newTag(true);
  return entry->second;
}

bool ShapeValues::isNonNegative(int64_t element) const {
  return isTag(element) ? sizes_.contains(element) : element >= 0;
}

const ShapeValues::Elements *ShapeValues::elementsOf(mlir::Value value) {
  if (auto found = known_.find(value); found != known_.end())
    return &found->second;
  if (!isSmallInt64(value, kMaxElements))
    return nullptr;
  Elements elements;
  if (auto constant = ir::constantValue(value)) {
    elements = constant->toInts();
    if (llvm::any_of(elements, isTag))
      return nullptr;
  } else {
    int64_t count = ir::toTensorType(value.getType())->elementCount();
    for (int64_t i = 0; i < count; ++i)
      elements.push_back(newTag(false));
  }
  return &(known_[value] = std::move(elements));
}

std::optional<ShapeValues::Elements> ShapeValues::ofShape(mlir::Operation &op,
                                                          const ops::OpSpec &spec) {
  auto type = ir::toTensorType(op.getOperand(0).getType());
  if (!type || !isSmallInt64(op.getResult(0), kMaxElements))
    return std::nullopt;
  ops::Attributes attributes = ir::toAttributes(spec, op.getAttrDictionary());
  auto bound = [&](std::string_view name, int64_t otherwise) {
    auto found = attributes.find(name);
    int64_t value = found == attributes.end() ? otherwise : std::get<int64_t>(found->second);
    return std::clamp<int64_t>(value < 0 ? value + type->rank() : value, 0, type->rank());
  };
  Elements elements;
  for (int64_t axis = bound("start", 0), end = bound("end", type->rank()); axis < end; ++axis) {
    int64_t dim = type->dims[static_cast<size_t>(axis)];
    elements.push_back(
        dim == ops::kDynamic ? dimensionTag(op.getOperand(0), static_cast<size_t>(axis)) : dim);
  }
  return elements;
}

Result<std::optional<ShapeValues::Elements>>
ShapeValues::ofMovement(mlir::Operation &op, const ops::OpSpec &spec,
                        std::span<const size_t> moved) {
  std::optional<Elements> nothing;
  if (op.getNumResults() != 1 || !isSmallInt64(op.getResult(0), kMaxElements))
    return nothing;
  std::vector<std::optional<Tensor>> tensors(op.getNumOperands());
  for (size_t i = 0; i < tensors.size(); ++i) {
    mlir::Value operand = op.getOperand(static_cast<unsigned>(i));
    if (mlir::isa<mlir::NoneType>(operand.getType()))
      continue;
    if (moved.empty() || llvm::is_contained(moved, i)) {
      const Elements *elements = elementsOf(operand);
      if (!elements)
        return nothing;
      tensors[i] = Tensor(*ir::toTensorType(operand.getType()));
      llvm::copy(*elements, tensors[i]->as<int64_t>().begin());
    } else if (!(tensors[i] = ir::constantValue(operand))) {
      return nothing;
    }
  }
  std::vector<const Tensor *> inputs;
  for (const auto &tensor : tensors)
    inputs.push_back(tensor ? &*tensor : nullptr);
  PLATEN_ASSIGN_OR_RETURN(
      std::vector<Tensor> results,
      ops::evaluate(spec, inputs, ir::toAttributes(spec, op.getAttrDictionary())));
  return std::optional(results[0].toInts());
}

std::optional<ShapeValues::Elements> ShapeValues::ofArithmetic(mlir::Operation &op,
                                                               const ops::OpSpec &spec) {
  if (op.getNumOperands() != 2 || !isSmallInt64(op.getResult(0), kMaxElements))
    return std::nullopt;
  std::array<const Elements *, 2> sides{};
  std::vector<Tensor> tensors; // unknown elements stand in as 1
  for (unsigned i = 0; i < 2; ++i) {
    if (!elementsOf(op.getOperand(i)))
      return std::nullopt;
    Tensor &tensor = tensors.emplace_back(*ir::toTensorType(op.getOperand(i).getType()));
    llvm::transform(*elementsOf(op.getOperand(i)), tensor.as<int64_t>().begin(),
                    [](int64_t element) { return isTag(element) ? 1 : element; });
  }
  for (unsigned i = 0; i < 2; ++i) // only now: elementsOf may move what it returned before
    sides[i] = elementsOf(op.getOperand(i));
  std::array<const Tensor *, 2> inputs{&tensors[0], &tensors[1]};
  auto results = ops::evaluate(spec, inputs, {});
  if (!results)
    return std::nullopt; // a division by zero is reported where it is executed
  Elements elements = (*results)[0].toInts();
  auto dims = (*results)[0].dims();
  ops::StridedWalk walk(dims, {ops::broadcastStrides(tensors[0].dims(), dims),
                               ops::broadcastStrides(tensors[1].dims(), dims)});
  for (size_t i = 0; i < elements.size(); ++i, walk.next()) {
    int64_t a = (*sides[0])[static_cast<size_t>(walk.index(0))];
    int64_t b = (*sides[1])[static_cast<size_t>(walk.index(1))];
    if (isTag(a) || isTag(b))
      elements[i] = newTag(mnemonic(op) != "sub" && isNonNegative(a) && isNonNegative(b));
    else if (isTag(elements[i]))
      return std::nullopt;
  }
  return elements;
}

std::optional<ShapeValues::Elements> ShapeValues::ofEqual(mlir::Operation &op) {
  auto type = ir::toTensorType(op.getResult(0).getType());
  if (!type || !type->isStatic() || !elementsOf(op.getOperand(0)) || !elementsOf(op.getOperand(1)))
    return std::nullopt;
  const Elements &left = *elementsOf(op.getOperand(0)), &right = *elementsOf(op.getOperand(1));
  auto leftDims = ir::toTensorType(op.getOperand(0).getType())->dims;
  auto rightDims = ir::toTensorType(op.getOperand(1).getType())->dims;
  ops::StridedWalk walk(type->dims, {ops::broadcastStrides(leftDims, type->dims),
                                     ops::broadcastStrides(rightDims, type->dims)});
  Elements elements;
  for (int64_t i = 0, count = type->elementCount(); i < count; ++i, walk.next()) {
    int64_t a = left[static_cast<size_t>(walk.index(0))];
    int64_t b = right[static_cast<size_t>(walk.index(1))];
    bool known = a == b || (!isTag(a) && !isTag(b)) || (isNonNegative(a) && !isTag(b) && b < 0) ||
                 (isNonNegative(b) && !isTag(a) && a < 0);
    if (!known)
      return std::nullopt;
    elements.push_back(a == b);
  }
  return elements;
}

Status ShapeValues::visit(mlir::Operation &op, const ops::OpSpec &spec) {
  if (op.getNumResults() != 1)
    return Status::ok();
  std::optional<Elements> elements;
  if (spec.name == "shape")
    elements = ofShape(op, spec);
  else if (spec.name == "equal")
    elements = ofEqual(op);
  else if (isArithmetic(mnemonic(op)))
    elements = ofArithmetic(op, spec);
  else if (const Movement *movement = findMovement(mnemonic(op))) {
    PLATEN_ASSIGN_OR_RETURN(elements, ofMovement(op, spec, movement->moved));
  }
  if (elements)
    known_[op.getResult(0)] = std::move(*elements);
  return Status::ok();
}

std::optional<Tensor> ShapeValues::asConstant(mlir::ValueRange results) const {
  if (results.size() != 1)
    return std::nullopt;
  auto found = known_.find(results.front());
  if (found == known_.end() || llvm::any_of(found->second, isTag))
    return std::nullopt;
  Tensor tensor(*ir::toTensorType(results.front().getType()));
  for (size_t i = 0; i < found->second.size(); ++i)
    tensor.setInt(static_cast<int64_t>(i), found->second[i]);
  return tensor;
}

mlir::Value ShapeValues::sameOperand(mlir::Operation &op) const {
  if (op.getNumResults() != 1)
    return nullptr;
  auto result = known_.find(op.getResult(0));
  if (result == known_.end())
    return nullptr;
  for (mlir::Value operand : op.getOperands())
    if (auto found = known_.find(operand); found != known_.end() &&
                                           operand.getType() == op.getResult(0).getType() &&
                                           found->second == result->second)
      return operand;
  return nullptr;
}

std::optional<std::vector<int64_t>> ShapeValues::resultDims(mlir::Operation &op) {
  bool reshape = mnemonic(op) == "reshape", expand = mnemonic(op) == "expand";
  if (!reshape && !expand && mnemonic(op) != "constant_of_shape")
    return std::nullopt;
  const Elements *target = elementsOf(op.getOperand(reshape || expand ? 1 : 0));
  auto type = ir::toTensorType(op.getResult(0).getType());
  if (!target || !type)
    return std::nullopt;
  // The last dimensions of the result are the target's; expand may have more of its own in front.
  std::vector<int64_t> dims = type->dims;
  for (size_t i = 0; i < target->size() && i < dims.size(); ++i) {
    int64_t element = (*target)[target->size() - 1 - i];
    bool decides = !isTag(element) && (expand ? element > 1 : element > 0);
    int64_t &dim = dims[dims.size() - 1 - i];
    if (decides && dim == ops::kDynamic)
      dim = element;
  }
  return dims;
}

} // namespace platen::compiler
