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
  if (ir::WeightOp weight = weightOf(value))
    return WeightSource{weight.getInitializer().str(), std::nullopt};
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

} // namespace

Result<WeightRequest> Selector::blockRequest(mlir::Operation *op, mlir::Value data,
                                             mlir::Value scales, mlir::Value zeros, uint64_t n,
                                             uint64_t k) const {
  WeightRequest request;
  request.form = WeightRequest::Form::kBlocks;
  request.bits = static_cast<int>(intAttributeOf(op, "bits"));
  request.blockSize = static_cast<uint64_t>(intAttributeOf(op, "block_size"));
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
    return blockRequest(matmul, outerValue(matmul->getOperand(1)),
                        outerValue(matmul->getOperand(2)), outerValue(matmul->getOperand(3)),
                        static_cast<uint64_t>(intAttributeOf(matmul, "N")),
                        static_cast<uint64_t>(intAttributeOf(matmul, "K")));
  }
  mlir::Value weight = outerValue(matmul->getOperand(1));
  auto [rows, columns] = dims2(weight);
  bool transposeB = intAttributeOf(matmul, "transpose_b") != 0;
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
  mlir::Value table = outerValue(gather->getOperand(0));
  auto [n, k] = dims2(table);
  if (isOp(gather, "gather_block_quantized")) {
    if (intAttributeOf(gather, "gather_axis") != 0 || intAttributeOf(gather, "quantize_axis") != 1)
      return unsupported(
          "gather_block_quantized must gather along axis 0 and be quantised along axis 1");
    if (intAttributeOf(gather, "bits") == 4 && mlir::cast<mlir::RankedTensorType>(table.getType())
                                                       .getElementType()
                                                       .getIntOrFloatBitWidth() == 8)
      k *= 2;
    mlir::Value zeros =
        gather->getNumOperands() > 3 ? outerValue(gather->getOperand(3)) : mlir::Value();
    PLATEN_ASSIGN_OR_RETURN(
        WeightRequest request,
        blockRequest(gather, table, outerValue(gather->getOperand(2)), zeros, n, k));
    return addWeight(std::move(request));
  }
  if (intAttributeOf(gather, "axis") != 0)
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
