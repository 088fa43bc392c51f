// "attention" regions: one kernel finishes q, k, v and appends to the cache, a second attends.
#include "compiler/fuse/match.h"
#include "compiler/select/selector.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

/// What stands between a projection and the attention, followed back from the attention.
struct Chain {
  mlir::Value projection; ///< argument of the region, [T, n·d]
  mlir::Value normWeight, cos, sin;
  double epsilon = 0, scale = 1;
  bool interleaved = false;
};

Result<Chain> followChain(mlir::Value value) {
  Chain chain;
  while (mlir::Operation *op = value.getDefiningOp()) {
    if (isOp(op, "reshape")) {
      value = op->getOperand(0);
    } else if (isOp(op, "mul")) {
      int side = scalarConstant(op->getOperand(0)) ? 0 : 1;
      if (chain.normWeight)
        return unsupported("a scale before the per-head norm has no kernel; scale behind the norm");
      chain.scale *= *scalarConstant(op->getOperand(side));
      value = op->getOperand(1 - side);
    } else if (isOp(op, "rope")) {
      if (chain.normWeight || chain.cos)
        return unsupported("RoPE before the per-head norm, or RoPE twice, has no kernel; the order "
                           "is norm, then RoPE");
      chain.cos = op->getOperand(1);
      chain.sin = op->getOperand(2);
      chain.interleaved = intAttributeOf(op, "interleaved") != 0;
      value = op->getOperand(0);
    } else if (isOp(op, "rms_norm")) {
      if (chain.normWeight)
        return unsupported("two norms of one head have no kernel");
      chain.normWeight = op->getOperand(1);
      chain.epsilon = floatAttributeOf(op, "epsilon");
      value = op->getOperand(0);
    } else {
      return base::internalError("an unexpected op in an attention region");
    }
  }
  chain.projection = value;
  return chain;
}

} // namespace

Status Selector::selectAttention(ir::FusedOp fused) {
  mlir::Operation *attention = nullptr;
  for (mlir::Operation &op : fused.getBody().front())
    if (isOp(&op, "paged_attention"))
      attention = &op;
  PLATEN_ASSIGN_OR_RETURN(Chain q, followChain(attention->getOperand(0)));
  PLATEN_ASSIGN_OR_RETURN(Chain k, followChain(attention->getOperand(1)));
  PLATEN_ASSIGN_OR_RETURN(Chain v, followChain(attention->getOperand(2)));
  if (v.normWeight || v.cos || v.scale != 1)
    return unsupported("values that are normed, rotated or scaled have no kernel");
  if (bool(q.cos) != bool(k.cos) ||
      (q.cos && (outerValue(q.cos) != outerValue(k.cos) || outerValue(q.sin) != outerValue(k.sin) ||
                 q.interleaved != k.interleaved)))
    return unsupported("queries and keys are rotated by different tables");
  if (q.normWeight && k.normWeight && q.epsilon != k.epsilon)
    return unsupported("the norms of queries and keys have different epsilons");

  auto qShape = mlir::cast<mlir::RankedTensorType>(attention->getOperand(0).getType()).getShape();
  auto kShape = mlir::cast<mlir::RankedTensorType>(attention->getOperand(1).getType()).getShape();
  kernels::QkvFinishSpec finishSpec;
  finishSpec.heads = static_cast<uint32_t>(qShape[1]);
  finishSpec.kvHeads = static_cast<uint32_t>(kShape[1]);
  finishSpec.headDim = static_cast<uint32_t>(qShape[2]);
  finishSpec.qNorm = bool(q.normWeight);
  finishSpec.kNorm = bool(k.normWeight);
  finishSpec.epsilon = static_cast<float>(q.normWeight   ? q.epsilon
                                          : k.normWeight ? k.epsilon
                                                         : finishSpec.epsilon);
  finishSpec.qScale = static_cast<float>(q.scale);
  finishSpec.interleaved = q.interleaved;
  finishSpec.pageTokens = draft_.manifest.limits.page_tokens;
  if (q.cos)
    finishSpec.ropeDim = 2 * static_cast<uint32_t>(
                                 mlir::cast<mlir::RankedTensorType>(q.cos.getType()).getShape()[1]);

  PLATEN_ASSIGN_OR_RETURN(View qView, viewOf(outerValue(q.projection)));
  PLATEN_ASSIGN_OR_RETURN(View kView, viewOf(outerValue(k.projection)));
  PLATEN_ASSIGN_OR_RETURN(View vView, viewOf(outerValue(v.projection)));
  bool together = qView.buffer == kView.buffer && kView.buffer == vView.buffer &&
                  qView.column == 0 && kView.column == qView.columns &&
                  vView.column == kView.column + kView.columns &&
                  rowColumns(qView) == vView.column + vView.columns;
  finishSpec.separateInputs = !together;
  std::vector<plan::Operand> operands{{plan::OperandKind::kBuffer, qView.buffer}};
  if (!together)
    for (mlir::Value projection : {k.projection, v.projection}) {
      PLATEN_ASSIGN_OR_RETURN(View view, denseViewOf(outerValue(projection)));
      operands.push_back({plan::OperandKind::kBuffer, view.buffer});
    }
  for (mlir::Value table : {q.normWeight, k.normWeight, q.cos, q.sin}) {
    if (!table)
      continue;
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, rawWeight(outerValue(table)));
    operands.push_back({plan::OperandKind::kWeight, weight});
  }

  kernels::PagedAttentionSpec spec;
  spec.heads = finishSpec.heads;
  spec.kvHeads = finishSpec.kvHeads;
  spec.headDim = finishSpec.headDim;
  spec.scale = static_cast<float>(floatAttributeOf(attention, "scale") * k.scale);
  spec.softcap = static_cast<float>(floatAttributeOf(attention, "softcap"));
  spec.window = static_cast<uint32_t>(intAttributeOf(attention, "window"));
  spec.pageTokens = finishSpec.pageTokens;
  spec.sinks = hasOperand(attention, 5);

  auto cache = static_cast<uint32_t>(program_.caches.size());
  program_.caches.push_back({spec.kvHeads, spec.headDim, spec.cacheDtype, spec.window});
  draft_.manifest.model.layers = cache + 1;
  uint64_t columns = uint64_t{spec.heads} * spec.headDim;
  uint32_t queries = addBuffer("queries", plan::Extent::kTokens, columns * 4);
  operands.push_back({plan::OperandKind::kBuffer, queries});
  operands.push_back({plan::OperandKind::kCache, cache});
  PLATEN_RETURN_IF_ERROR(
      addLaunch(launchName(*fused, "qkv_finish"), finishSpec, std::move(operands)));

  std::vector<plan::Operand> reads{{plan::OperandKind::kBuffer, queries},
                                   {plan::OperandKind::kCache, cache}};
  if (spec.sinks) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t weight, rawWeight(outerValue(attention->getOperand(5))));
    reads.push_back({plan::OperandKind::kWeight, weight});
  }
  View y = addResult(fused.getResult(0), plan::Extent::kTokens, columns);
  reads.push_back({plan::OperandKind::kBuffer, y.buffer});
  return addLaunch(launchName(*fused, "paged_attention"), spec, std::move(reads));
}

} // namespace platen::compiler
