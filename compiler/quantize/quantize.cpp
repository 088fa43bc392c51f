// See quantize.h.
#include "compiler/quantize/quantize.h"
#include "compiler/fuse/match.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using base::unsupported;
using Element = kernels::Packing::Element;

std::string_view weightFormatName(WeightFormat format) {
  switch (format) {
  case WeightFormat::kAuto:
    return "auto";
  case WeightFormat::kF32:
    return "f32";
  case WeightFormat::kBF16:
    return "bf16";
  case WeightFormat::kF16:
    return "f16";
  case WeightFormat::kInt8:
    return "int8";
  case WeightFormat::kInt4:
    return "int4";
  case WeightFormat::kFp8:
    return "fp8";
  case WeightFormat::kNvfp4:
    return "nvfp4";
  }
  return "?";
}

Result<WeightFormat> parseWeightFormat(std::string_view name) {
  for (WeightFormat format :
       {WeightFormat::kAuto, WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kF16,
        WeightFormat::kInt8, WeightFormat::kInt4, WeightFormat::kFp8, WeightFormat::kNvfp4})
    if (weightFormatName(format) == name)
      return format;
  return base::invalidArgument("weight format '" + std::string(name) +
                               "' is unknown; use auto, f32, bf16, f16, int8, int4, fp8 or nvfp4");
}

namespace {

kernels::Packing densePacking(WeightFormat format, bool table) {
  switch (format) {
  case WeightFormat::kAuto: // heldFormat() says which
  case WeightFormat::kF32:
    break;
  case WeightFormat::kBF16:
    return kernels::panelPacking(Element::kBF16);
  case WeightFormat::kF16:
    return kernels::panelPacking(Element::kF16);
  case WeightFormat::kInt8:
    return kernels::panelPacking(Element::kQ8, base::DType::kF16);
  case WeightFormat::kInt4:
    // Tables, and heads tied to them, lose most by 4 bits: they get 8, as is usual for models of
    // this kind.
    return table ? kernels::panelPacking(Element::kQ8, base::DType::kF16)
                 : kernels::panelPacking(Element::kQ4, base::DType::kF16, true);
  case WeightFormat::kFp8:
    return kernels::panelPacking(table ? Element::kBF16 : Element::kF8);
  case WeightFormat::kNvfp4:
    return kernels::panelPacking(table ? Element::kBF16 : Element::kF4);
  }
  return kernels::panelPacking(Element::kF32);
}

/// The element type in which the graph holds a weight; null for what is no weight.
mlir::Type heldElement(mlir::Value value) {
  ir::WeightOp weight = weightOf(outerValue(value));
  if (!weight)
    return {};
  auto initializer = weight->getParentOfType<mlir::ModuleOp>().lookupSymbol<ir::InitializerOp>(
      weight.getInitializer());
  return mlir::getElementTypeOrSelf(initializer.getType());
}

WeightFormat heldFormat(mlir::Value weight) {
  const mlir::Type element = heldElement(weight);
  return element && element.isF16()    ? WeightFormat::kF16
         : element && element.isBF16() ? WeightFormat::kBF16
                                       : WeightFormat::kF32;
}

Result<kernels::Packing> blockPacking(mlir::Operation *op, unsigned scales, unsigned zeros) {
  int64_t bits = intAttributeOf(op, "bits"), block = intAttributeOf(op, "block_size");
  if ((bits != 4 && bits != 8) || block <= 0 || block % static_cast<int64_t>(kernels::kGroup) != 0)
    return unsupported(
        "blocks of " + std::to_string(block) + " elements of " + std::to_string(bits) +
        " bits have no kernel; 4 or 8 bits in blocks of 32, 64, 128 … are supported");
  const mlir::Type scaleType = heldElement(op->getOperand(scales));
  bool hasZeros = hasOperand(op, zeros);
  return kernels::panelPacking(
      bits == 4 ? Element::kQ4 : Element::kQ8,
      scaleType && scaleType.isF16() ? base::DType::kF16 : base::DType::kF32, hasZeros);
}

std::string initializerOf(mlir::Value value) {
  ir::WeightOp weight = weightOf(outerValue(value));
  return weight ? weight.getInitializer().str() : std::string();
}

/// Length of the dimension over which a matmul sums.
int64_t reducedLength(mlir::Operation *matmul) {
  return mlir::cast<mlir::RankedTensorType>(matmul->getOperand(0).getType()).getShape().back();
}

Result<kernels::Packing> choose(mlir::Operation *op, WeightFormat format,
                                const llvm::StringSet<> &tables) {
  if (isOp(op, "matmul_nbits") || isOp(op, "gather_block_quantized"))
    return blockPacking(op, 2, 3);
  const bool gathers = isOp(op, "gather");
  if (format == WeightFormat::kAuto)
    format = heldFormat(op->getOperand(gathers ? 0 : 1));
  if (gathers)
    return densePacking(format, true);
  kernels::Packing packing =
      densePacking(format, tables.contains(initializerOf(op->getOperand(1))));
  if (packing.isQuantized() && reducedLength(op) % static_cast<int64_t>(kernels::kGroup) != 0)
    return unsupported(
        "a matmul over K = " + std::to_string(reducedLength(op)) + " cannot be stored as " +
        std::string(weightFormatName(format)) +
        ", which needs K to be a multiple of 32; compile with --weights f32, bf16 or f16");
  return packing;
}

} // namespace

Status assignPackings(mlir::ModuleOp module, WeightFormat format) {
  auto step = module.lookupSymbol<mlir::func::FuncOp>("step");
  if (!step)
    return base::invalidArgument("the module has no func @step");
  llvm::SmallVector<mlir::Operation *> readers;
  llvm::StringSet<> tables;
  step.walk([&](mlir::Operation *op) {
    bool gathers = isOp(op, "gather") || isOp(op, "gather_block_quantized");
    if (gathers)
      tables.insert(initializerOf(op->getOperand(0)));
    if (gathers || isOp(op, "matmul") || isOp(op, "matmul_nbits"))
      readers.push_back(op);
  });
  for (mlir::Operation *op : readers) {
    auto packing = choose(op, format, tables);
    if (!packing)
      return packing.status().at(nodeName(op));
    op->setAttr(kPackingAttribute, mlir::StringAttr::get(module.getContext(), packing->name));
  }
  return Status::ok();
}

Result<kernels::Packing> packingOf(mlir::Operation *op) {
  auto name = op->getAttrOfType<mlir::StringAttr>(kPackingAttribute);
  auto packing =
      name ? kernels::parsePacking({name.getValue().data(), name.getValue().size()}) : std::nullopt;
  if (!packing)
    return base::internalError("no packing was assigned to a " +
                               op->getName().getStringRef().str());
  return *packing;
}

} // namespace platen::compiler
