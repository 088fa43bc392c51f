// Operand numbers are those of the ONNX operator: 0 query (or packed qkv), 1 key, 2 value, 3
// past_key, 4 past_value, 5 seqlens_k, 6 total_sequence_length, 7 cos_cache, 8 sin_cache, 9
// position_ids, 10 attention_bias, 11 head_sink, 12 k_scale, 13 v_scale, 14 q_norm_weight, 15
// k_norm_weight.
#include "compiler/serve/group_query.h"
#include "ops/ir/adaptor.h"

#include <cmath>

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;
using ops::Tensor;

namespace {

constexpr unsigned kKey = 1, kPastKey = 3, kPastValue = 4, kSequenceLengths = 5, kTotalLength = 6,
                   kCos = 7, kSin = 8, kSinks = 11, kQueryNorm = 14, kKeyNorm = 15;
/// Operands without a counterpart in the serving form.
constexpr std::array<std::pair<unsigned, llvm::StringLiteral>, 4> kUnknown{
    {{9, "position_ids"}, {10, "attention_bias"}, {12, "k_scale"}, {13, "v_scale"}}};

bool has(mlir::Operation *op, unsigned operand) {
  return operand < op->getNumOperands() &&
         !mlir::isa<mlir::NoneType>(op->getOperand(operand).getType());
}

int64_t intAttr(mlir::Operation *op, llvm::StringRef name, int64_t fallback) {
  auto attribute = op->getAttrOfType<mlir::IntegerAttr>(name);
  return attribute ? attribute.getInt() : fallback;
}

double floatAttr(mlir::Operation *op, llvm::StringRef name, double fallback) {
  auto attribute = op->getAttrOfType<mlir::FloatAttr>(name);
  return attribute ? attribute.getValueAsDouble() : fallback;
}

} // namespace

bool isGroupQuery(mlir::Operation *op) {
  return op->getName().stripDialect() == "group_query_attention";
}

Result<GroupQueryHeads> groupQueryHeads(mlir::Operation *op) {
  GroupQueryHeads heads{intAttr(op, "num_heads", 0), intAttr(op, "kv_num_heads", 0), 0,
                        !has(op, kKey), 0};
  if (intAttr(op, "sliding_window_cache", 0) != 0)
    heads.slidingRows = intAttr(op, "local_window_size", 0);
  int64_t shares = heads.heads + (heads.packed ? 2 * heads.kvHeads : 0);
  auto type = ir::toTensorType(op->getOperand(0).getType());
  int64_t width = type && type->rank() == 3 ? type->dims[2] : ops::kDynamic;
  if (heads.heads < 1 || heads.kvHeads < 1 || heads.heads % heads.kvHeads != 0)
    return base::invalidArgument("num_heads is " + std::to_string(heads.heads) +
                                     " and kv_num_heads " + std::to_string(heads.kvHeads) +
                                     "; the first must be a multiple of the second",
                                 originOf(op));
  if (width == ops::kDynamic || width < 1 || width % shares != 0)
    return unsupported("the head size cannot be told: the query is " +
                           (type ? type->toString() : "no tensor") +
                           "; its last dimension must be a constant multiple of " +
                           std::to_string(shares) + " heads",
                       originOf(op));
  heads.headSize = width / shares;
  return heads;
}

Status GroupQueryWriter::checkLengths() const {
  for (size_t run = 0; run < kSizes.size(); ++run) {
    const Tensor *lengths = context.evaluation.valueAt(run, op->getOperand(kSequenceLengths));
    const Tensor *total = context.evaluation.valueAt(run, op->getOperand(kTotalLength));
    bool fits = lengths && total && lengths->elementCount() == kSizes[run].batch &&
                total->elementCount() == 1 && total->getInt(0) == kSizes[run].total();
    for (int64_t b = 0; fits && b < kSizes[run].batch; ++b)
      fits = lengths->getInt(b) == kSizes[run].total() - 1;
    if (!fits)
      return unsupported("seqlens_k and total_sequence_length are not those of an attention mask "
                         "of ones (p+s-1 and p+s)",
                         originOf(op));
  }
  return Status::ok();
}

Status GroupQueryWriter::checkCaches(int64_t &layer) const {
  auto key =
      has(op, kPastKey) ? mlir::dyn_cast<mlir::BlockArgument>(op->getOperand(kPastKey)) : nullptr;
  auto value = has(op, kPastValue) ? mlir::dyn_cast<mlir::BlockArgument>(op->getOperand(kPastValue))
                                   : nullptr;
  const Roles &roles = context.evaluation.roles();
  mlir::func::FuncOp function = context.evaluation.function();
  auto *terminator = function.getBody().front().getTerminator();
  for (const auto &[number, pair] : roles.past) {
    if (!key || !value || key.getArgNumber() != *pair.key || value.getArgNumber() != *pair.value)
      continue;
    const CachePair &present = roles.present.at(number);
    if (terminator->getOperand(*present.key) != op->getResult(1) ||
        terminator->getOperand(*present.value) != op->getResult(2))
      return unsupported("its present key and value are not the graph's outputs present." +
                             std::to_string(number),
                         originOf(op));
    layer = number;
    return Status::ok();
  }
  return unsupported(
      "its past_key and past_value are not the graph's inputs past_key_values.N of one layer",
      originOf(op));
}

Result<std::array<mlir::Value, 3>> GroupQueryWriter::splitHeads(const GroupQueryHeads &heads) {
  std::array<mlir::Value, 3> parts;
  if (heads.packed) {
    Tensor widths =
        Tensor::vectorI64(std::array{heads.heads * heads.headSize, heads.kvHeads * heads.headSize,
                                     heads.kvHeads * heads.headSize});
    mlir::Value sizes = createConstant(context.builder, op->getLoc(), widths);
    PLATEN_ASSIGN_OR_RETURN(mlir::Operation * split,
                            ir::createOp(context.builder, op->getLoc(), "split",
                                         {context.data(op->getOperand(0)), sizes},
                                         {{"axis", int64_t{1}}}));
    for (size_t i = 0; i < parts.size(); ++i)
      parts[i] = split->getResult(static_cast<unsigned>(i));
  } else {
    for (unsigned i = 0; i < parts.size(); ++i)
      parts[i] = context.data(op->getOperand(i));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    PLATEN_ASSIGN_OR_RETURN(
        parts[i], reshapeFeatures(context.builder, op->getLoc(), parts[i],
                                  {i == 0 ? heads.heads : heads.kvHeads, heads.headSize}));
  }
  return parts;
}

Result<mlir::Value> GroupQueryWriter::normalize(mlir::Value x, unsigned weight) {
  if (!has(op, weight))
    return x;
  PLATEN_ASSIGN_OR_RETURN(mlir::Value scale, context.fixed(op->getOperand(weight)));
  return createValue(context.builder, op->getLoc(), "rms_norm", {x, scale},
                     {{"epsilon", floatAttr(op, "qk_norm_epsilon", 1e-6)}});
}

Result<mlir::Value> GroupQueryWriter::rotate(mlir::Value x) {
  if (intAttr(op, "do_rotary", 0) == 0)
    return x;
  if (!has(op, kCos) || !has(op, kSin))
    return base::invalidArgument("do_rotary is set, but cos_cache or sin_cache is absent");
  PLATEN_ASSIGN_OR_RETURN(mlir::Value cos,
                          tables.stored(op, op->getOperand(kCos), context.builder));
  PLATEN_ASSIGN_OR_RETURN(mlir::Value sin,
                          tables.stored(op, op->getOperand(kSin), context.builder));
  return createValue(context.builder, op->getLoc(), "rope", {x, cos, sin, positions},
                     {{"interleaved", intAttr(op, "rotary_interleaved", 0)}});
}

Result<GroupQuery> GroupQueryWriter::write() {
  for (auto [operand, name] : kUnknown)
    if (has(op, operand))
      return unsupported("GroupQueryAttention with " + name.str() + " is not supported",
                         originOf(op));
  if (intAttr(op, "smooth_softmax", 0) > 0)
    return unsupported("GroupQueryAttention with smooth_softmax is not supported", originOf(op));
  GroupQuery written;
  PLATEN_ASSIGN_OR_RETURN(GroupQueryHeads heads, groupQueryHeads(op));
  PLATEN_RETURN_IF_ERROR(checkCaches(written.layer.layer));
  PLATEN_RETURN_IF_ERROR(checkLengths());
  PLATEN_ASSIGN_OR_RETURN(auto parts, splitHeads(heads));
  PLATEN_ASSIGN_OR_RETURN(mlir::Value q, normalize(parts[0], kQueryNorm));
  PLATEN_ASSIGN_OR_RETURN(mlir::Value k, normalize(parts[1], kKeyNorm));
  PLATEN_ASSIGN_OR_RETURN(written.q, rotate(q));
  PLATEN_ASSIGN_OR_RETURN(written.k, rotate(k));
  written.v = parts[2];
  if (has(op, kSinks)) {
    PLATEN_ASSIGN_OR_RETURN(written.sinks, context.fixed(op->getOperand(kSinks)));
  }
  double scale = floatAttr(op, "scale", 0);
  written.layer.heads = heads.heads;
  written.layer.kvHeads = heads.kvHeads;
  written.layer.headSize = heads.headSize;
  written.layer.window = std::max<int64_t>(0, intAttr(op, "local_window_size", -1));
  written.layer.scale = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(heads.headSize));
  written.layer.softcap = floatAttr(op, "softcap", 0);
  return written;
}

} // namespace platen::compiler::serve
