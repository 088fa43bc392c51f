// Walks back from the probabilities to the scores, the query and the caches. Scales are multiplied
// up wherever they stand; how query heads share kv heads is read off element numbers, not off the
// ops that repeat them.
#include "compiler/serve/attention.h"
#include "compiler/serve/trace.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

llvm::StringRef nameOf(mlir::Operation *op) {
  return op ? op->getName().stripDialect() : llvm::StringRef();
}

int64_t intAttr(mlir::Operation *op, llvm::StringRef name, int64_t fallback) {
  auto attribute = op->getAttrOfType<mlir::IntegerAttr>(name);
  return attribute ? attribute.getInt() : fallback;
}

bool isLastAxis(mlir::Operation *op, size_t rank) {
  int64_t axis = intAttr(op, "axis", -1);
  return axis == -1 || axis == static_cast<int64_t>(rank) - 1;
}

/// The softmax behind `where(isnan(p), 0, p)` and casts, or null.
mlir::Operation *softmaxBehind(mlir::Value value) {
  value = behindCasts(value);
  mlir::Operation *op = value.getDefiningOp();
  if (nameOf(op) == "where" && nameOf(op->getOperand(0).getDefiningOp()) == "is_nan")
    op = behindCasts(op->getOperand(2)).getDefiningOp();
  return nameOf(op) == "softmax" ? op : nullptr;
}

/// concat(past, new) of one cache, found behind moves and scales.
struct CacheRead {
  mlir::Operation *concat;
  mlir::Value fresh; ///< new
  int64_t layer;
  bool isKey;
  double scale = 1;
};

std::optional<std::pair<int64_t, bool>> cacheOf(const Roles &roles, mlir::Value value) {
  auto argument = mlir::dyn_cast<mlir::BlockArgument>(value);
  for (const auto &[layer, pair] : roles.past) {
    if (argument && *pair.key == argument.getArgNumber())
      return std::pair(layer, true);
    if (argument && *pair.value == argument.getArgNumber())
      return std::pair(layer, false);
  }
  return std::nullopt;
}

std::optional<CacheRead> findCache(const Evaluation &evaluation, mlir::Value value) {
  double scale = 1;
  while (true) {
    value = behindCasts(value);
    mlir::Operation *op = value.getDefiningOp();
    if (!op)
      return std::nullopt;
    if (auto scaled = scaledBy(evaluation, value)) {
      scale *= scaled->factor;
      value = scaled->value;
      continue;
    }
    if (nameOf(op) == "concat" && op->getNumOperands() == 2)
      if (auto cache = cacheOf(evaluation.roles(), op->getOperand(0)))
        return CacheRead{op, op->getOperand(1), cache->first, cache->second, scale};
    bool moves = nameOf(op) == "reshape" || nameOf(op) == "transpose" ||
                 nameOf(op) == "unsqueeze" || nameOf(op) == "squeeze" || nameOf(op) == "expand";
    if (!moves)
      return std::nullopt;
    value = op->getOperand(0);
  }
}

class Matcher {
public:
  Matcher(const Evaluation &evaluation, mlir::Operation *matmul, mlir::Operation *softmax)
      : evaluation_(evaluation), matmul_(matmul), softmax_(softmax) {}

  Result<Attention> match() {
    if (!isLastAxis(softmax_, evaluation_.extents(softmax_->getResult(0)).size()))
      return refuse(softmax_, "the softmax is not over the last axis");
    PLATEN_RETURN_IF_ERROR(walkScores());
    PLATEN_RETURN_IF_ERROR(walkQuery());
    PLATEN_ASSIGN_OR_RETURN(CacheRead key, cacheBehind(scores_->getOperand(1), true));
    PLATEN_ASSIGN_OR_RETURN(CacheRead value, cacheBehind(matmul_->getOperand(1), false));
    if (key.layer != value.layer)
      return refuse(matmul_, "it reads the keys of layer " + std::to_string(key.layer) +
                                 " and the values of layer " + std::to_string(value.layer));
    attention_.layer = key.layer;
    attention_.k = key.fresh;
    attention_.v = value.fresh;
    pre_ *= key.scale;
    PLATEN_RETURN_IF_ERROR(readShapes(key, value));
    PLATEN_RETURN_IF_ERROR(checkRepeat(key, scores_->getOperand(1), /*transposed=*/true));
    PLATEN_RETURN_IF_ERROR(checkRepeat(value, matmul_->getOperand(1), /*transposed=*/false));
    if (value.scale != 1)
      return refuse(matmul_, "the values are scaled");
    // post · tanh(pre · q·k) is softcap · tanh(scale · q·k / softcap).
    attention_.softcap = capped_ ? post_ : 0;
    attention_.scale = capped_ ? pre_ * post_ : pre_;
    return attention_;
  }

private:
  Status refuse(mlir::Operation *op, const std::string &why) const {
    return unsupported(
        "attention that is not understood: " + why + "; the op is " + evaluation_.describe(op) +
            ". Supported is softmax(softcap(scale * q k^T) + mask) v over a concatenated cache",
        originOf(op));
  }

  /// Whether `op` applies the mask; if so notes it and moves `value` to the scores.
  bool takeMask(mlir::Operation *op, mlir::Value &value) {
    auto fromPositions = [&](mlir::Value operand) {
      return evaluation_.kind(operand) != Kind::kData && evaluation_.valueAt(0, operand);
    };
    if (nameOf(op) == "add")
      for (unsigned i : {0U, 1U})
        if (fromPositions(op->getOperand(i))) {
          attention_.mask = op->getOperand(i);
          value = op->getOperand(1 - i);
          return true;
        }
    if (nameOf(op) == "where" && fromPositions(op->getOperand(0)))
      for (unsigned i : {1U, 2U})
        if (auto hidden = evaluation_.scalar(op->getOperand(i)); hidden && *hidden <= -1e4) {
          attention_.mask = op->getOperand(0);
          attention_.maskHides = i == 1;
          value = op->getOperand(3 - i);
          return true;
        }
    return false;
  }

  Status walkScores() {
    mlir::Value value = behindCasts(softmax_->getOperand(0));
    if (!takeMask(value.getDefiningOp(), value))
      return refuse(softmax_, "there is no mask before the softmax (tokens would see the future)");
    while (true) {
      value = behindCasts(value);
      mlir::Operation *op = value.getDefiningOp();
      if (auto scaled = scaledBy(evaluation_, value)) {
        (capped_ ? pre_ : post_) *= scaled->factor;
        value = scaled->value;
      } else if (nameOf(op) == "tanh" && !capped_) {
        capped_ = true;
        value = op->getOperand(0);
      } else if (nameOf(op) == "matmul") {
        scores_ = op;
        break;
      } else {
        return refuse(op ? op : softmax_,
                      "an op stands between q k^T and the softmax that is no scale and no softcap");
      }
    }
    if (!capped_)
      std::swap(pre_, post_);
    return Status::ok();
  }

  Status walkQuery() {
    mlir::Value value = behindCasts(scores_->getOperand(0));
    while (auto scaled = scaledBy(evaluation_, value)) {
      pre_ *= scaled->factor;
      value = behindCasts(scaled->value);
    }
    attention_.q = value;
    return Status::ok();
  }

  Result<CacheRead> cacheBehind(mlir::Value value, bool isKey) const {
    auto read = findCache(evaluation_, value);
    std::string part = isKey ? "keys" : "values";
    if (!read)
      return refuse(value.getDefiningOp() ? value.getDefiningOp() : matmul_,
                    "its " + part +
                        " are not concat(past_key_values, new) behind moves and scales");
    if (read->isKey != isKey)
      return refuse(read->concat, "its " + part + " come from the other part of the cache");
    const auto &pair = evaluation_.roles().present.at(read->layer);
    mlir::Value present = mlir::cast<mlir::func::FuncOp>(evaluation_.function().getOperation())
                              .getBody()
                              .front()
                              .getTerminator()
                              ->getOperand(isKey ? *pair.key : *pair.value);
    if (behindCasts(present) != read->concat->getResult(0))
      return refuse(read->concat,
                    "what it concatenates is not what the graph returns as the layer's present " +
                        part);
    return *read;
  }

  /// Checks [b,n,s,hd] and returns {n, hd}.
  Result<std::pair<int64_t, int64_t>> headsOf(mlir::Value value, Role third) const {
    Extents extents = evaluation_.extents(value);
    bool fits = extents.size() == 4 && roleOf(extents[0]) == Role::kBatch &&
                roleOf(extents[1]) == Role::kFeature && roleOf(extents[2]) == third &&
                roleOf(extents[3]) == Role::kFeature;
    if (!fits)
      return refuse(value.getDefiningOp() ? value.getDefiningOp() : matmul_,
                    "an operand has dimensions " + toString(extents) + " instead of [b, heads, " +
                        (third == Role::kSequence ? "s" : "p+s") + ", head size]");
    return std::pair(extents[1][0], extents[3][0]);
  }

  Status readShapes(const CacheRead &key, const CacheRead &value) {
    PLATEN_ASSIGN_OR_RETURN(auto q, headsOf(attention_.q, Role::kSequence));
    PLATEN_ASSIGN_OR_RETURN(auto k, headsOf(key.fresh, Role::kSequence));
    PLATEN_ASSIGN_OR_RETURN(auto v, headsOf(value.fresh, Role::kSequence));
    PLATEN_RETURN_IF_ERROR(headsOf(key.concat->getResult(0), Role::kTotal).status());
    PLATEN_RETURN_IF_ERROR(headsOf(value.concat->getResult(0), Role::kTotal).status());
    if (q.second != k.second || k.first != v.first || k.first == 0 || q.first % k.first != 0)
      return refuse(matmul_, "head counts or sizes of q, k and v do not fit");
    attention_.heads = q.first;
    attention_.kvHeads = k.first;
    attention_.headSize = q.second;
    attention_.valueHeadSize = v.second;
    return Status::ok();
  }

  /// Each query head h must read kv head h / (heads / kvHeads), slot and channel in place.
  Status checkRepeat(const CacheRead &read, mlir::Value target, bool transposed) const {
    auto traced =
        traceElements(evaluation_, target, read.concat->getResult(0), /*throughScales=*/true);
    int64_t total = kSizes[0].total(),
            size = transposed ? attention_.headSize : attention_.valueHeadSize;
    int64_t group = attention_.heads / attention_.kvHeads;
    std::vector<int64_t> dims{kSizes[0].batch, attention_.heads, total, size};
    if (transposed)
      std::swap(dims[2], dims[3]);
    std::vector<int64_t> shared = dims; // one kv head, broadcast by the matmul
    shared[1] = 1;
    std::string part = transposed ? "keys" : "values";
    bool broadcast =
        traced && attention_.kvHeads == 1 && std::ranges::equal(traced->dims(), shared);
    if (!traced || (!broadcast && !std::ranges::equal(traced->dims(), dims)))
      return refuse(target.getDefiningOp(),
                    "its " + part + " are not [b, heads, " +
                        (transposed ? "head size, p+s]" : "p+s, head size]"));
    int64_t heads = broadcast ? 1 : attention_.heads, index = 0;
    for (int64_t b = 0; b < dims[0]; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < dims[2]; ++i)
          for (int64_t j = 0; j < dims[3]; ++j) {
            int64_t slot = transposed ? j : i, channel = transposed ? i : j;
            int64_t source = ((b * attention_.kvHeads + h / group) * total + slot) * size + channel;
            if (traced->get(index++) != static_cast<double>(source + 1))
              return refuse(target.getDefiningOp(),
                            "query heads do not share kv heads in consecutive groups of " +
                                std::to_string(group) + " (" + part + ")");
          }
    return Status::ok();
  }

  const Evaluation &evaluation_;
  mlir::Operation *matmul_, *softmax_, *scores_ = nullptr;
  Attention attention_;
  bool capped_ = false;
  double pre_ = 1, post_ = 1;
};

} // namespace

Result<std::optional<Attention>> matchAttention(const Evaluation &evaluation,
                                                mlir::Operation *matmul) {
  if (nameOf(matmul) != "matmul" || !evaluation.isData(matmul->getOperand(0)) ||
      !evaluation.isData(matmul->getOperand(1)))
    return std::optional<Attention>();
  mlir::Operation *softmax = softmaxBehind(matmul->getOperand(0));
  if (!softmax)
    return std::optional<Attention>();
  PLATEN_ASSIGN_OR_RETURN(Attention attention, Matcher(evaluation, matmul, softmax).match());
  return std::optional<Attention>(std::move(attention));
}

} // namespace platen::compiler::serve
