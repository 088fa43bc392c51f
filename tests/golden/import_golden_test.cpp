// Every ONNX fixture through importer, interpreter and platen-fold, against what ONNX Runtime
// (ort_ref.npz) or the framework (ref.npz) computed: a prefill with an empty past. Graphs by
// optimum, torch dynamo and onnxruntime-genai.
#include "compiler/import/fold.h"
#include "compiler/import/importer.h"
#include "tests/golden/npz.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

namespace platen::compiler {
namespace {

namespace fs = std::filesystem;
using ops::DType;
using ops::Tensor;
using Arrays = std::map<std::string, Tensor>;

struct Fixture {
  const char *folder;
  const char *reference;
  double tolerance; ///< largest absolute difference; logits are of order 1
};

class ImportGolden : public testing::TestWithParam<Fixture> {
protected:
  static fs::path folder() {
    const char *shared = std::getenv("PLATEN_SHARED");
    return fs::path(shared ? shared : "") / "fixtures" / "tiny" / GetParam().folder;
  }

  static std::string textAttr(mlir::Attribute attribute) {
    auto text = mlir::dyn_cast_or_null<mlir::StringAttr>(attribute);
    return text ? text.str() : std::string();
  }

  /// The size of a named dimension in a prefill of `tokens` tokens with an empty past, batch 1.
  static int64_t sizeOf(const std::string &dim, int64_t tokens) {
    if (dim == "batch_size")
      return 1;
    if (dim == "kv_cache_dim")
      return 32;
    if (dim ==
        "past_sliding_length") // a ring of window size, whose rows the mask says are not yet filled
      return 16;
    return dim == "past_sequence_length" ? 0 : tokens;
  }

  static Tensor prefillInput(const std::string &name, ops::TensorType type) {
    Tensor tensor(type);
    if (name == "attention_mask" || name == "position_ids")
      for (int64_t i = 0; i < tensor.elementCount(); ++i)
        tensor.setInt(i, name == "attention_mask" ? 1 : i);
    return tensor; // empty pasts and token types are zeros
  }

  static std::vector<Tensor> arguments(mlir::func::FuncOp function, const Arrays &reference) {
    auto ids = reference.find("ids");
    std::vector<Tensor> tensors;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      std::string name = textAttr(function.getArgAttr(i, "platen.name"));
      if (auto given = reference.find("in_" + name); given != reference.end()) {
        tensors.push_back(given->second);
        continue;
      }
      if (name == "input_ids") {
        tensors.push_back(ids->second);
        continue;
      }
      ops::TensorType type = *ir::toTensorType(function.getArgumentTypes()[i]);
      auto dims = mlir::cast<mlir::ArrayAttr>(function.getArgAttr(i, "platen.dims"));
      for (size_t d = 0; d < type.dims.size(); ++d)
        if (type.dims[d] == ops::kDynamic)
          type.dims[d] = sizeOf(textAttr(dims[d]), ids->second.elementCount());
      tensors.push_back(prefillInput(name, type));
    }
    return tensors;
  }

  static void expectNear(const Tensor &actual, const Tensor &expected, const std::string &name) {
    ASSERT_EQ(actual.type().toString(), expected.type().toString()) << name;
    double worst = 0;
    for (int64_t i = 0; i < actual.elementCount(); ++i) {
      double difference = std::abs(actual.get(i) - expected.get(i));
      ASSERT_TRUE(std::isfinite(difference)) << name << " element " << i;
      worst = std::max(worst, difference);
    }
    EXPECT_LE(worst, GetParam().tolerance) << name;
    std::cout << GetParam().folder << " " << name << ": largest difference " << worst << "\n";
  }

  /// Compares all results that the reference has; returns them all.
  static std::vector<Tensor> runAndCompare(ImportedModel &model, const Arrays &reference) {
    auto function = model.module->lookupSymbol<mlir::func::FuncOp>("main");
    ir::Interpreter interpreter(weightReader(*model.module, model.weights));
    auto results = interpreter.run(function, arguments(function, reference));
    EXPECT_TRUE(results.isOk()) << results.status().toString();
    if (!results)
      return {};
    int compared = 0;
    for (unsigned i = 0; i < function.getNumResults(); ++i) {
      std::string name = textAttr(function.getResultAttr(i, "platen.name"));
      auto expected = reference.find(name + "_acc1");
      if (expected == reference.end())
        expected = reference.find(name);
      if (expected == reference.end())
        expected = reference.find("out_" + name);
      if (expected == reference.end())
        continue;
      expectNear((*results)[i], expected->second, name);
      ++compared;
    }
    EXPECT_GT(compared, 0) << "the reference has none of the graph's outputs";
    return std::move(*results);
  }

  mlir::MLIRContext context_{mlir::MLIRContext::Threading::DISABLED};
};

TEST_P(ImportGolden, InterpreterEqualsTheReferenceBeforeAndAfterFolding) {
  if (!fs::exists(folder() / "model.onnx"))
    GTEST_SKIP() << "no fixture " << folder();
  auto reference = golden::readNpz(folder() / GetParam().reference);
  ASSERT_TRUE(reference.isOk()) << reference.status().toString();
  auto model = importOnnx(folder() / "model.onnx", context_);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  std::vector<Tensor> imported = runAndCompare(*model, *reference);

  mlir::PassManager passes(&context_);
  passes.addPass(createFoldPass());
  auto count = [&] {
    size_t ops = 0;
    model->module->walk([&](mlir::Operation *) { ++ops; });
    return ops;
  };
  size_t before = count();
  ASSERT_TRUE(mlir::succeeded(passes.run(*model->module)));
  std::cout << GetParam().folder << ": " << before << " ops, folded " << count() << "\n";
  EXPECT_LE(count(), before);
  std::vector<Tensor> folded = runAndCompare(*model, *reference);
  ASSERT_EQ(folded.size(), imported.size());
  for (size_t i = 0; i < folded.size(); ++i)
    EXPECT_TRUE(std::ranges::equal(folded[i].bytes(), imported[i].bytes())) << "result " << i;
}

// fp32 graphs differ from ONNX Runtime by its fp32 rounding only (the interpreter sums in double).
// int4 graphs were run with accuracy level 0: fp32 products of dequantised weights.
INSTANTIATE_TEST_SUITE_P(Tiny, ImportGolden,
                         testing::Values(Fixture{"tiny-bert-optimum", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-eagle3-dynamo", "ref.npz", 2e-4},
                                         Fixture{"tiny-gemma3-dynamo-raw", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-gemma3-genai-fp32-cpu", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-gemma3-genai-int4-cpu", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-gemma3-optimum", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-llama3-dynamo-raw", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-llama3-genai-fp32-cpu", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-llama3-genai-fp32-hidden-cpu", "ort_ref.npz",
                                                 2e-4},
                                         Fixture{"tiny-llama3-genai-int4-cpu", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-llama3-optimum", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-medusa-dynamo", "ref.npz", 2e-4},
                                         Fixture{"tiny-qwen3-genai-fp32-cpu", "ort_ref.npz", 2e-4},
                                         Fixture{"tiny-qwen3-optimum", "ort_ref.npz", 2e-4}),
                         [](const testing::TestParamInfo<Fixture> &info) {
                           std::string name = info.param.folder;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

} // namespace
} // namespace platen::compiler
