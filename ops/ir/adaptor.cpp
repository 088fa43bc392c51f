// Conversions are total where the dialect can hold the thing, and say nullopt (or an error) where
// it cannot.
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"

#include <bit>
#include <cstring>

namespace platen::ir {

using ops::DType;
using ops::Tensor;
using ops::TensorType;

mlir::Type toMlirType(mlir::MLIRContext *context, DType dtype) {
  auto integer = [&](unsigned width, bool isUnsigned) -> mlir::Type {
    return mlir::IntegerType::get(
        context, width, isUnsigned ? mlir::IntegerType::Unsigned : mlir::IntegerType::Signless);
  };
  switch (dtype) {
  case DType::kF32:
    return mlir::Float32Type::get(context);
  case DType::kF16:
    return mlir::Float16Type::get(context);
  case DType::kBF16:
    return mlir::BFloat16Type::get(context);
  case DType::kF64:
    return mlir::Float64Type::get(context);
  case DType::kI64:
  case DType::kI32:
  case DType::kI16:
  case DType::kI8:
  case DType::kI4:
    return integer(static_cast<unsigned>(base::bitWidth(dtype)), false);
  case DType::kU64:
  case DType::kU32:
  case DType::kU16:
  case DType::kU8:
  case DType::kU4:
    return integer(static_cast<unsigned>(base::bitWidth(dtype)), true);
  case DType::kBool:
    return integer(1, false);
  }
  return {};
}

mlir::RankedTensorType toMlirType(mlir::MLIRContext *context, const TensorType &type) {
  llvm::SmallVector<int64_t> dims;
  for (int64_t dim : type.dims)
    dims.push_back(dim == ops::kDynamic ? mlir::ShapedType::kDynamic : dim);
  return mlir::RankedTensorType::get(dims, toMlirType(context, type.dtype));
}

std::optional<DType> toDType(mlir::Type type) {
  if (type.isF32())
    return DType::kF32;
  if (type.isF16())
    return DType::kF16;
  if (type.isBF16())
    return DType::kBF16;
  if (type.isF64())
    return DType::kF64;
  auto integer = mlir::dyn_cast<mlir::IntegerType>(type);
  if (!integer)
    return std::nullopt;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return DType::kBool;
  case 4:
    return isUnsigned ? DType::kU4 : DType::kI4;
  case 8:
    return isUnsigned ? DType::kU8 : DType::kI8;
  case 16:
    return isUnsigned ? DType::kU16 : DType::kI16;
  case 32:
    return isUnsigned ? DType::kU32 : DType::kI32;
  case 64:
    return isUnsigned ? DType::kU64 : DType::kI64;
  default:
    return std::nullopt;
  }
}

std::optional<TensorType> toTensorType(mlir::Type type) {
  auto tensor = mlir::dyn_cast<mlir::RankedTensorType>(type);
  if (!tensor)
    return std::nullopt;
  auto dtype = toDType(tensor.getElementType());
  if (!dtype)
    return std::nullopt;
  TensorType result{*dtype, {}};
  for (int64_t dim : tensor.getShape())
    result.dims.push_back(mlir::ShapedType::isDynamic(dim) ? ops::kDynamic : dim);
  return result;
}

mlir::DenseElementsAttr toMlirConstant(mlir::MLIRContext *context, const Tensor &tensor) {
  mlir::RankedTensorType type = toMlirType(context, tensor.type());
  int64_t count = tensor.elementCount();
  if (tensor.dtype() == DType::kBool) {
    llvm::SmallVector<bool> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(tensor.getInt(i) != 0);
    return mlir::DenseElementsAttr::get(type, llvm::ArrayRef<bool>(values));
  }
  if (base::bitWidth(tensor.dtype()) == 4) {
    llvm::SmallVector<llvm::APInt> values;
    for (int64_t i = 0; i < count; ++i)
      values.emplace_back(4, static_cast<uint64_t>(tensor.getInt(i)) & 15U);
    return mlir::DenseElementsAttr::get(type, values);
  }
  auto bytes = tensor.bytes();
  return mlir::DenseElementsAttr::getFromRawBuffer(
      type, llvm::ArrayRef<char>(reinterpret_cast<const char *>(bytes.data()), bytes.size()));
}

std::optional<Tensor> toTensor(mlir::ElementsAttr attribute) {
  auto dense = mlir::dyn_cast<mlir::DenseElementsAttr>(attribute);
  auto type = toTensorType(attribute.getType());
  if (!dense || !type)
    return std::nullopt;
  Tensor tensor(*type);
  if (mlir::isa<mlir::FloatType>(dense.getElementType())) {
    int64_t i = 0;
    for (llvm::APFloat value : dense.getValues<llvm::APFloat>()) {
      uint64_t bits = value.bitcastToAPInt().getZExtValue();
      size_t width = static_cast<size_t>(base::bitWidth(type->dtype)) / 8;
      std::memcpy(tensor.bytes().data() + static_cast<size_t>(i++) * width, &bits, width);
    }
    return tensor;
  }
  int64_t i = 0;
  for (llvm::APInt value : dense.getValues<llvm::APInt>())
    tensor.setInt(i++, static_cast<int64_t>(value.getZExtValue()));
  return tensor;
}

mlir::Attribute toMlirAttribute(mlir::MLIRContext *context, const ops::Attribute &attribute) {
  mlir::Builder builder(context);
  struct Visitor {
    mlir::Builder &builder;
    mlir::Attribute operator()(int64_t value) const { return builder.getI64IntegerAttr(value); }
    mlir::Attribute operator()(double value) const { return builder.getF64FloatAttr(value); }
    mlir::Attribute operator()(const std::string &value) const {
      return builder.getStringAttr(value);
    }
    mlir::Attribute operator()(const std::vector<int64_t> &value) const {
      return builder.getDenseI64ArrayAttr(value);
    }
    mlir::Attribute operator()(const std::vector<double> &value) const {
      return builder.getDenseF64ArrayAttr(value);
    }
    mlir::Attribute operator()(const Tensor &value) const {
      return toMlirConstant(builder.getContext(), value);
    }
  };
  return std::visit(Visitor{builder}, attribute);
}

namespace {

std::optional<ops::Attribute> toAttribute(mlir::Attribute attribute) {
  if (auto value = mlir::dyn_cast<mlir::IntegerAttr>(attribute))
    return ops::Attribute(value.getInt());
  if (auto value = mlir::dyn_cast<mlir::FloatAttr>(attribute))
    return ops::Attribute(value.getValueAsDouble());
  if (auto value = mlir::dyn_cast<mlir::StringAttr>(attribute))
    return ops::Attribute(value.str());
  if (auto value = mlir::dyn_cast<mlir::DenseI64ArrayAttr>(attribute))
    return ops::Attribute(std::vector<int64_t>(value.asArrayRef()));
  if (auto value = mlir::dyn_cast<mlir::DenseF64ArrayAttr>(attribute))
    return ops::Attribute(std::vector<double>(value.asArrayRef()));
  if (auto value = mlir::dyn_cast<mlir::ElementsAttr>(attribute))
    if (auto tensor = toTensor(value))
      return ops::Attribute(std::move(*tensor));
  return std::nullopt;
}

} // namespace

ops::Attributes toAttributes(const ops::OpSpec &op, mlir::DictionaryAttr attributes) {
  ops::Attributes result;
  if (!attributes)
    return result;
  for (const ops::AttributeSpec &spec : op.attributes)
    if (mlir::Attribute found = attributes.get(llvm::StringRef(spec.name.data(), spec.name.size())))
      if (auto value = toAttribute(found))
        result.emplace(spec.name, std::move(*value));
  return result;
}

std::optional<Tensor> constantValue(mlir::Value value) {
  if (auto constant = value.getDefiningOp<ConstantOp>())
    return toTensor(constant.getValue());
  return std::nullopt;
}

namespace {

base::Result<std::vector<TensorType>>
inferOperands(const ops::OpSpec &op, mlir::ValueRange operands, const ops::Attributes &attributes) {
  std::vector<std::optional<TensorType>> types;
  std::vector<std::optional<Tensor>> values;
  for (mlir::Value operand : operands) {
    types.push_back(toTensorType(operand.getType()));
    if (!types.back() && !mlir::isa<mlir::NoneType>(operand.getType()))
      return base::unsupported("an operand is neither a ranked tensor of a known dtype nor absent",
                               std::string(op.name));
    values.push_back(constantValue(operand));
  }
  std::vector<const TensorType *> typePointers;
  std::vector<const Tensor *> valuePointers;
  for (size_t i = 0; i < types.size(); ++i) {
    typePointers.push_back(types[i] ? &*types[i] : nullptr);
    valuePointers.push_back(values[i] ? &*values[i] : nullptr);
  }
  return ops::inferTypes(op, typePointers, valuePointers, attributes);
}

} // namespace

base::Result<mlir::Operation *> createOp(mlir::OpBuilder &builder, mlir::Location location,
                                         std::string_view name, mlir::ValueRange operands,
                                         const ops::Attributes &attributes) {
  const ops::OpSpec *op = ops::findOp(name);
  if (!op)
    return base::internalError("there is no operator '" + std::string(name) + "' in the catalog");
  llvm::SmallVector<mlir::Value> present;
  for (mlir::Value operand : operands)
    present.push_back(
        operand ? operand : builder.create<AbsentOp>(location, builder.getNoneType()).getResult());
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> types, inferOperands(*op, present, attributes));
  mlir::OperationState state(location, "platen." + std::string(name));
  state.addOperands(present);
  for (const TensorType &type : types)
    state.addTypes(toMlirType(builder.getContext(), type));
  for (const auto &[key, value] : attributes)
    state.addAttribute(key, toMlirAttribute(builder.getContext(), value));
  return builder.create(state);
}

mlir::LogicalResult inferCatalogTypes(std::string_view name, mlir::MLIRContext *context,
                                      std::optional<mlir::Location> location,
                                      mlir::ValueRange operands, mlir::DictionaryAttr attributes,
                                      llvm::SmallVectorImpl<mlir::Type> &inferred) {
  const ops::OpSpec *op = ops::findOp(name);
  if (!op)
    return mlir::emitOptionalError(location, "platen.", std::string(name),
                                   " is not in the catalog");
  auto types = inferOperands(*op, operands, toAttributes(*op, attributes));
  if (!types)
    return mlir::emitOptionalError(location, types.status().toString());
  for (const TensorType &type : *types)
    inferred.push_back(toMlirType(context, type));
  return mlir::success();
}

bool compatibleTypes(mlir::TypeRange left, mlir::TypeRange right) {
  if (left.size() != right.size())
    return false;
  for (auto [a, b] : llvm::zip(left, right)) {
    auto x = toTensorType(a), y = toTensorType(b);
    if (!x || !y || x->dtype != y->dtype || x->dims.size() != y->dims.size())
      return false;
    for (size_t i = 0; i < x->dims.size(); ++i)
      if (x->dims[i] != y->dims[i] && x->dims[i] != ops::kDynamic && y->dims[i] != ops::kDynamic)
        return false;
  }
  return true;
}

} // namespace platen::ir
