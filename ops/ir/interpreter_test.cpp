// A small function through parser, verifier, shape inference and interpreter, with and without
// known weights.
#include "ops/ir/dialect.h"
#include "ops/ir/interpreter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

namespace platen::ir {
namespace {

constexpr const char *kSource = R"mlir(
platen.initializer @scale {type = tensor<2xf32>, file = "model.onnx", offset = 0 : i64, bytes = 8 : i64}
func.func @main(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %scale = platen.weight @scale : tensor<2xf32>
  %one = platen.constant dense<1.0> : tensor<2xf32> : tensor<2xf32>
  %sum = platen.fused "add_norm"(%x, %one, %scale) : (tensor<?x2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<?x2xf32> {
  ^bb0(%a: tensor<?x2xf32>, %b: tensor<2xf32>, %s: tensor<2xf32>):
    %0 = platen.add %a, %b : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
    %1 = platen.rms_norm %0, %s {epsilon = 0.0 : f64} : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
    platen.yield %1 : tensor<?x2xf32>
  }
  return %sum : tensor<?x2xf32>
}
)mlir";

class InterpreterTest : public testing::Test {
protected:
  InterpreterTest() {
    context_.loadDialect<PlatenDialect, mlir::func::FuncDialect>();
    module_ = mlir::parseSourceString<mlir::ModuleOp>(kSource, &context_);
  }
  mlir::func::FuncOp function() { return module_->lookupSymbol<mlir::func::FuncOp>("main"); }

  mlir::MLIRContext context_;
  mlir::OwningOpRef<mlir::ModuleOp> module_;
};

TEST_F(InterpreterTest, RunsFusedBodies) {
  ASSERT_TRUE(module_);
  Interpreter interpreter([](llvm::StringRef) -> base::Result<std::shared_ptr<const ops::Tensor>> {
    return std::make_shared<const ops::Tensor>(
        ops::Tensor::of<float>(ops::DType::kF32, {2}, std::vector<float>{1, 2}));
  });
  std::vector<ops::Tensor> arguments{
      ops::Tensor::of<float>(ops::DType::kF32, {1, 2}, std::vector<float>{2, 3})};
  auto results = interpreter.run(function(), arguments);
  ASSERT_TRUE(results.isOk()) << results.status().toString();
  EXPECT_FLOAT_EQ(static_cast<float>((*results)[0].get(0)), 0.8485281F);
  EXPECT_FLOAT_EQ(static_cast<float>((*results)[0].get(1)), 2.2627418F);
}

TEST_F(InterpreterTest, PropagatesConcreteTypesWithoutWeights) {
  ASSERT_TRUE(module_);
  std::vector<Knowledge> arguments{{ops::TensorType{ops::DType::kF32, {7, 2}}, nullptr}};
  auto known = Interpreter().propagate(function(), arguments);
  ASSERT_TRUE(known.isOk()) << known.status().toString();
  mlir::Value result = function().getBody().front().getTerminator()->getOperand(0);
  EXPECT_EQ((*known)[result].type.toString(), "f32[7,2]");
  EXPECT_EQ((*known)[result].value, nullptr);
}

TEST_F(InterpreterTest, VerifierCitesTheConstraint) {
  std::string message;
  mlir::ScopedDiagnosticHandler handler(&context_, [&](mlir::Diagnostic &diagnostic) {
    message += diagnostic.str();
    return mlir::success();
  });
  auto bad = mlir::parseSourceString<mlir::ModuleOp>(
      "func.func @f(%a: tensor<2xf32>, %b: tensor<3xf32>) -> tensor<2xf32> {\n"
      "  %0 = platen.add %a, %b : (tensor<2xf32>, tensor<3xf32>) -> tensor<2xf32>\n  return %0 : "
      "tensor<2xf32>\n}",
      &context_);
  EXPECT_FALSE(bad);
  EXPECT_NE(message.find("C2"), std::string::npos) << message;
}

} // namespace
} // namespace platen::ir
