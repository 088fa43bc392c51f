// Masks are evaluated all together, at sizes that cross every window found.
#include "compiler/serve/patterns.h"
#include "compiler/serve/mask.h"

#include <algorithm>
#include <set>

namespace platen::compiler::serve {

using base::Result;
using base::Status;

namespace {

class MaskClassifier {
public:
  MaskClassifier(const Evaluation &evaluation, Patterns &patterns)
      : patterns_(patterns), masks_(masksOf(patterns)), probe_(evaluation, masks_) {}

  Status classify(int64_t maxContext) {
    if (masks_.empty())
      return Status::ok();
    std::set<int64_t> windows;
    PLATEN_RETURN_IF_ERROR(
        forEach({1, 1, maxContext - 1}, nullptr, [&](mlir::Value mask, const MaskSample &sample) {
          auto window = windowOf(sample);
          if (window.isOk())
            windows.insert(patterns_.windows[mask] = *window);
          return window.status();
        }));
    for (const Sizes &sizes :
         {Sizes{1, 5, 0}, Sizes{2, 3, 4}, Sizes{1, 1, std::min<int64_t>(7, maxContext - 1)}})
      PLATEN_RETURN_IF_ERROR(check(sizes, nullptr));
    windows.erase(0);
    for (int64_t window : windows) // three queries, the last of which no longer sees slot 0
      PLATEN_RETURN_IF_ERROR(check({1, 3, std::max<int64_t>(0, window - 2)}, nullptr));
    ops::Tensor padded = leftPadded({2, 3, 4});
    return check({2, 3, 4}, &padded);
  }

private:
  static llvm::SmallVector<mlir::Value> masksOf(const Patterns &patterns) {
    llvm::SmallVector<mlir::Value> masks;
    for (const auto &[op, attention] : patterns.attentions)
      if (attention.mask && !llvm::is_contained(masks, attention.mask))
        masks.push_back(attention.mask);
    return masks;
  }

  /// All ones but for the first two slots of sequence 0.
  static ops::Tensor leftPadded(const Sizes &sizes) {
    ops::Tensor mask(ops::TensorType{ops::DType::kI64, {sizes.batch, sizes.total()}});
    for (int64_t i = 0; i < mask.elementCount(); ++i)
      mask.setInt(i, i < 2 ? 0 : 1);
    return mask;
  }

  const std::pair<mlir::Operation *, Attention> &userOf(mlir::Value mask) const {
    return *llvm::find_if(patterns_.attentions,
                          [&](const auto &entry) { return entry.second.mask == mask; });
  }

  template <typename F>
  Status forEach(const Sizes &sizes, const ops::Tensor *attentionMask, F &&visit) {
    RunInput input{sizes, std::nullopt};
    if (attentionMask)
      input.attentionMask = *attentionMask;
    PLATEN_ASSIGN_OR_RETURN(auto values, probe_.at(input));
    for (auto [mask, value] : llvm::zip(masks_, values)) {
      const auto &[op, attention] = userOf(mask);
      if (Status status =
              visit(mask, MaskSample{sizes, *value, attentionMask, attention.maskHides});
          !status.isOk())
        return status.at(mask.getDefiningOp() ? originOf(mask.getDefiningOp()) : "mask")
            .at(originOf(op));
    }
    return Status::ok();
  }

  Status check(const Sizes &sizes, const ops::Tensor *attentionMask) {
    return forEach(sizes, attentionMask, [&](mlir::Value mask, const MaskSample &sample) {
      return checkMask(sample, patterns_.windows[mask]);
    });
  }

  Patterns &patterns_;
  llvm::SmallVector<mlir::Value> masks_;
  Probe probe_;
};

} // namespace

Result<Patterns> findPatterns(const Evaluation &evaluation, int64_t maxContext) {
  Patterns patterns;
  mlir::func::FuncOp function = evaluation.function();
  for (mlir::Operation &op : function.getBody().front()) {
    PLATEN_ASSIGN_OR_RETURN(auto attention, matchAttention(evaluation, &op));
    if (attention)
      patterns.attentions.insert({&op, std::move(*attention)});
    else if (auto rope = matchRope(evaluation, &op))
      patterns.ropes.insert({&op, std::move(*rope)});
  }
  PLATEN_RETURN_IF_ERROR(MaskClassifier(evaluation, patterns).classify(maxContext));
  return patterns;
}

} // namespace platen::compiler::serve
