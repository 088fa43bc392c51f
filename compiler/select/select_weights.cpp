// Which bytes a weight is made from. Equal requests become one weight of
// the plan, so that an embedding and the head tied to it, decode and prefill, and all host targets
// share one copy.
#include "compiler/fuse/match.h"
#include "compiler/quantize/quantize.h"
#include "compiler/select/selector.h"
#include "ops/ir/adaptor.h"

#include <array>

namespace platen::compiler {

using base::Result;
using base::unsupported;

std::string WeightRequest::key() const {
  auto text = [](const WeightSource &source) {
    if (!source.constant)
      return source.initializer;
    auto bytes = source.constant->bytes();
    return source.constant->type().toString() +
           std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  };
  return text(data) + "|" + text(scales) + "|" + text(zeros) + "|" + std::string(packing.name) +
         (transposed ? "|t" : "|") + std::to_string(n) + "x" + std::to_string(k);
}

mlir::Value Selector::outer(mlir::Value value) {
  auto argument = mlir::dyn_cast<mlir::BlockArgument>(value);
  if (!argument)
    return value;
  auto fused = mlir::dyn_cast<ir::FusedOp>(argument.getOwner()->getParentOp());
  return fused ? fused.getInputs()[argument.getArgNumber()] : value;
}

Result<uint32_t> Selector::addWeight(WeightRequest request) {
  auto [entry, isNew] =
      weightIndex_.try_emplace(request.key(), static_cast<uint32_t>(draft_.weights.size()));
  if (isNew) {
    std::string name = request.data.initializer.empty()
                           ? "constant" + std::to_string(draft_.weights.size())
                           : request.data.initializer;
    draft_.manifest.weights.push_back(
        {std::move(name), 0, 0, std::string(request.packing.name), {request.n, request.k}});
    draft_.weights.push_back(std::move(request));
  }
  return entry->second;
}

Result<WeightSource> Selector::sourceOf(mlir::Value value) const {
  if (auto constant = ir::constantValue(value))
    return WeightSource{"", std::move(constant)};
  while (mlir::Operation *op = value.getDefiningOp()) {
    if (auto weight = mlir::dyn_cast<ir::WeightOp>(op))
      return WeightSource{weight.getInitializer().str(), std::nullopt};
    if (!isOp(op, "reshape") && !isOp(op, "transpose"))
      break;
    value = op->getOperand(0);
  }
  return unsupported("an operand must be a weight of the model, but is computed at run time");
}

namespace {

std::array<uint64_t, 2> dims2(mlir::Value value) {
  auto shape = mlir::cast<mlir::RankedTensorType>(value.getType()).getShape();
  return {static_cast<uint64_t>(shape[shape.size() - 2]), static_cast<uint64_t>(shape.back())};
}

bool isSwap(mlir::Operation *transpose) {
  auto perm = transpose->getAttrOfType<mlir::DenseI64ArrayAttr>("perm");
  if (!perm || perm.empty()) // reverses the dimensions
    return mlir::cast<mlir::RankedTensorType>(transpose->getResult(0).getType()).getRank() == 2;
  return perm.asArrayRef() == llvm::ArrayRef<int64_t>{1, 0};
}

int64_t intOf(mlir::Operation *op, llvm::StringRef name) {
  auto attribute = op->getAttrOfType<mlir::IntegerAttr>(name);
  return attribute ? attribute.getInt() : 0;
}

} // namespace

Result<WeightRequest> Selector::blockRequest(mlir::Operation *op, mlir::Value data,
                                             mlir::Value scales, mlir::Value zeros, uint64_t n,
                                             uint64_t k) const {
  WeightRequest request;
  request.form = WeightRequest::Form::kBlocks;
  request.bits = static_cast<int>(intOf(op, "bits"));
  request.blockSize = static_cast<uint64_t>(intOf(op, "block_size"));
  PLATEN_ASSIGN_OR_RETURN(request.data, sourceOf(data));
  PLATEN_ASSIGN_OR_RETURN(request.scales, sourceOf(scales));
  if (zeros && !mlir::isa<mlir::NoneType>(zeros.getType())) {
    PLATEN_ASSIGN_OR_RETURN(request.zeros, sourceOf(zeros));
  }
  PLATEN_ASSIGN_OR_RETURN(request.packing, packingOf(op));
  request.n = n;
  request.k = k;
  return request;
}

Result<WeightRequest> Selector::matmulRequest(mlir::Operation *matmul) const {
  if (isOp(matmul, "matmul_nbits")) {
    for (unsigned extra = 4; extra < matmul->getNumOperands(); ++extra)
      if (!mlir::isa<mlir::NoneType>(matmul->getOperand(extra).getType()))
        return unsupported("matmul_nbits with g_idx or bias has no host kernel");
    return blockRequest(matmul, outer(matmul->getOperand(1)), outer(matmul->getOperand(2)),
                        outer(matmul->getOperand(3)), static_cast<uint64_t>(intOf(matmul, "N")),
                        static_cast<uint64_t>(intOf(matmul, "K")));
  }
  mlir::Value weight = outer(matmul->getOperand(1));
  auto [rows, columns] = dims2(weight);
  bool transposeB = intOf(matmul, "transpose_b") != 0;
  WeightRequest request;
  request.n = transposeB ? rows : columns;
  request.k = transposeB ? columns : rows;
  request.transposed = !transposeB;
  while (!weight.getDefiningOp<ir::WeightOp>()) {
    mlir::Operation *op = weight.getDefiningOp();
    if (!isOp(op, "transpose") || !isSwap(op))
      return unsupported(
          "the weight of a matmul is reshaped; only a transpose of two dimensions is supported");
    request.transposed = !request.transposed;
    weight = op->getOperand(0);
  }
  PLATEN_ASSIGN_OR_RETURN(request.data, sourceOf(weight));
  PLATEN_ASSIGN_OR_RETURN(request.packing, packingOf(matmul));
  return request;
}

Result<uint32_t> Selector::matmulWeight(mlir::Operation *matmul) {
  PLATEN_ASSIGN_OR_RETURN(WeightRequest request, matmulRequest(matmul));
  return addWeight(std::move(request));
}

Result<uint32_t> Selector::tableWeight(mlir::Operation *gather) {
  mlir::Value table = outer(gather->getOperand(0));
  auto [n, k] = dims2(table);
  if (isOp(gather, "gather_block_quantized")) {
    if (intOf(gather, "gather_axis") != 0 || intOf(gather, "quantize_axis") != 1)
      return unsupported(
          "gather_block_quantized must gather along axis 0 and be quantised along axis 1");
    if (intOf(gather, "bits") == 4 && mlir::cast<mlir::RankedTensorType>(table.getType())
                                              .getElementType()
                                              .getIntOrFloatBitWidth() == 8)
      k *= 2;
    mlir::Value zeros = gather->getNumOperands() > 3 ? outer(gather->getOperand(3)) : mlir::Value();
    PLATEN_ASSIGN_OR_RETURN(WeightRequest request,
                            blockRequest(gather, table, outer(gather->getOperand(2)), zeros, n, k));
    return addWeight(std::move(request));
  }
  if (intOf(gather, "axis") != 0)
    return unsupported("an embedding must gather along axis 0");
  WeightRequest request;
  request.n = n;
  request.k = k;
  if (mlir::Operation *transpose = definedBy(table, "transpose")) {
    if (!isSwap(transpose))
      return unsupported(
          "an embedding table is reshaped; only a transpose of two dimensions is supported");
    request.transposed = true;
    table = transpose->getOperand(0);
  }
  PLATEN_ASSIGN_OR_RETURN(request.data, sourceOf(table));
  PLATEN_ASSIGN_OR_RETURN(request.packing, packingOf(gather));
  return addWeight(std::move(request));
}

Result<uint32_t> Selector::rawWeight(mlir::Value value) {
  auto shape = mlir::cast<mlir::RankedTensorType>(value.getType()).getShape();
  WeightRequest request;
  request.n = shape.size() < 2 ? 1 : static_cast<uint64_t>(shape[0]);
  request.k = static_cast<uint64_t>(shape.back());
  request.packing = *kernels::parsePacking("raw.f32");
  PLATEN_ASSIGN_OR_RETURN(request.data, sourceOf(value));
  return addWeight(std::move(request));
}

} // namespace platen::compiler
