// Small decoders by hand: what serves, and what is refused by name.
#include "compiler/serve/serve.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace platen::compiler {
namespace {

using testing::HasSubstr;

/// serve.mlir with lines exchanged: each pair's first occurrence of .first becomes .second.
using Exchanges = std::vector<std::pair<std::string, std::string>>;

class ServeTest : public testing::Test {
protected:
  ServeTest() { context_.loadDialect<ir::PlatenDialect, mlir::func::FuncDialect>(); }

  base::Result<ServeInfo> serve(const Exchanges &exchanges = {}, int64_t maxContext = 64) {
    std::ifstream file(std::string(std::getenv("PLATEN_SOURCE_DIR")) +
                       "/compiler/serve/serve.mlir");
    std::stringstream stream;
    stream << file.rdbuf();
    std::string text = stream.str();
    for (const auto &[from, to] : exchanges) {
      size_t at = text.find(from);
      if (at == std::string::npos)
        return base::internalError("serve.mlir does not contain '" + from + "'");
      text.replace(at, from.size(), to);
    }
    module_ = mlir::parseSourceString<mlir::ModuleOp>(text, &context_);
    if (!module_)
      return base::internalError("serve.mlir with exchanged lines does not parse");
    ServeOptions options;
    options.maxContext = maxContext;
    return convertToServingForm(*module_, nullptr, options);
  }

  std::string refusal(const Exchanges &exchanges) {
    auto info = serve(exchanges);
    EXPECT_FALSE(info.isOk());
    if (info.isOk())
      return "";
    EXPECT_FALSE(module_ && module_->lookupSymbol("step")) << "a refused module keeps no @step";
    EXPECT_FALSE(module_ && module_->lookupSymbol("rope0.cos"));
    return info.status().toString();
  }

  mlir::MLIRContext context_;
  mlir::OwningOpRef<mlir::ModuleOp> module_;
};

TEST_F(ServeTest, TellsWhatItFound) {
  auto info = serve();
  ASSERT_TRUE(info.isOk()) << info.status().toString();
  EXPECT_EQ(info->dialect, "decomposed attention");
  EXPECT_EQ(info->vocabulary, 32);
  EXPECT_EQ(info->hidden, 8);
  ASSERT_EQ(info->layers.size(), 1U);
  EXPECT_EQ(info->layers[0].heads, 2);
  EXPECT_EQ(info->layers[0].kvHeads, 1);
  EXPECT_EQ(info->layers[0].headSize, 4);
  EXPECT_EQ(info->layers[0].window, 0);
  EXPECT_DOUBLE_EQ(info->layers[0].scale, 0.5);
  EXPECT_EQ(info->roles.at("past_key_values.0.key"), "past keys of layer 0");
  ASSERT_EQ(info->computed.size(), 2U);
  const ops::Tensor &cos = *info->computed[0].value;
  EXPECT_EQ(cos.type().toString(), "f32[64,2]");
  EXPECT_FLOAT_EQ(static_cast<float>(cos.get(2 * 63)), std::cos(63.0F));
  EXPECT_FLOAT_EQ(static_cast<float>(cos.get(2 * 63 + 1)), std::cos(0.63F));
}

/// %seen also asks for k > q − 8.
const Exchanges kWindow{
    {"%bias = platen.where %seen,",
     "%w = platen.constant dense<8> : tensor<i64> : tensor<i64>\n"
     "  %oldest = platen.sub %column, %w : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>\n"
     "  %recent = platen.greater %keys, %oldest : (tensor<?xi64>, tensor<?x1xi64>) -> "
     "tensor<?x?xi1>\n"
     "  %both = platen.and %seen, %recent : (tensor<?x?xi1>, tensor<?x?xi1>) -> tensor<?x?xi1>\n"
     "  %bias = platen.where %both,"}};

TEST_F(ServeTest, ReadsWindows) {
  auto info = serve(kWindow);
  ASSERT_TRUE(info.isOk()) << info.status().toString();
  EXPECT_EQ(info->layers[0].window, 8);
}

TEST_F(ServeTest, ReadsSoftcapAndScales) {
  auto info = serve(
      {{"%masked = platen.add %scores,",
        "%cap = platen.constant dense<30.0> : tensor<f32> : tensor<f32>\n"
        "  %c0 = platen.div %scores, %cap : (tensor<?x2x?x?xf32>, tensor<f32>) -> "
        "tensor<?x2x?x?xf32>\n"
        "  %c1 = platen.tanh %c0 : (tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xf32>\n"
        "  %c2 = platen.mul %c1, %cap : (tensor<?x2x?x?xf32>, tensor<f32>) -> tensor<?x2x?x?xf32>\n"
        "  %masked = platen.add %c2,"}});
  ASSERT_TRUE(info.isOk()) << info.status().toString();
  EXPECT_DOUBLE_EQ(info->layers[0].softcap, 30);
  EXPECT_DOUBLE_EQ(info->layers[0].scale, 0.5);
}

TEST_F(ServeTest, RefusesMasksThatAreNotCausal) {
  std::string everything =
      refusal({{"platen.less_or_equal %keys, %column : (tensor<?xi64>, tensor<?x1xi64>)",
                "platen.less_or_equal %i0, %column : (tensor<i64>, tensor<?x1xi64>)"},
               {"%bias = platen.where %seen,",
                "%wide = platen.or %seen, %all : (tensor<?x1xi1>, tensor<?xi1>) -> "
                "tensor<?x?xi1>\n  %bias = platen.where %wide,"},
               {"-> tensor<?x?xi1>", "-> tensor<?x1xi1>\n  %all = platen.equal %keys, %keys : "
                                     "(tensor<?xi64>, tensor<?xi64>) -> tensor<?xi1>"}});
  EXPECT_THAT(everything, HasSubstr("not causal"));
  EXPECT_THAT(everything, HasSubstr("platen.where"));
  std::string strict = refusal({{"platen.less_or_equal %keys", "platen.less %keys"}});
  EXPECT_THAT(strict, HasSubstr("hides a query's own slot"));
}

TEST_F(ServeTest, RefusesAttentionWithoutMask) {
  std::string message = refusal({{"platen.softmax %masked", "platen.softmax %scores"}});
  EXPECT_THAT(message, HasSubstr("see the future"));
}

TEST_F(ServeTest, RefusesTablesThatDependOnTheLength) {
  std::string message =
      refusal({{"%angle = platen.mul %position, %frequencies",
                "%length = platen.cast %total {to = \"f32\"} : (tensor<i64>) -> tensor<f32>\n"
                "  %scaled = platen.div %frequencies, %length : (tensor<2xf32>, tensor<f32>) -> "
                "tensor<2xf32>\n"
                "  %angle = platen.mul %position, %scaled"}});
  EXPECT_THAT(message, HasSubstr("depends on the sequence's length"));
}

TEST_F(ServeTest, RefusesSinesThatDependOnTheLength) {
  std::string message =
      refusal({{"%sin = platen.sin %angles :",
                "%length = platen.cast %total {to = \"f32\"} : (tensor<i64>) -> tensor<f32>\n"
                "  %one = platen.sin %angles : (tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>\n"
                "  %sin = platen.div %one, %length : (tensor<?x1x?x4xf32>, tensor<f32>) -> "
                "tensor<?x1x?x4xf32>\n"
                "  %unused = platen.sin %angles :"}});
  EXPECT_THAT(message, HasSubstr("depends on the sequence's length"));
}

TEST_F(ServeTest, RefusesAnglesThatDifferWithinAPair) {
  std::string message =
      refusal({{"%angles = platen.concat %angle, %angle {",
                "%other = platen.neg %angle : (tensor<?x1x?x2xf32>) -> tensor<?x1x?x2xf32>\n"
                "  %angles = platen.concat %angle, %other {"}});
  EXPECT_THAT(message, HasSubstr("different angles"));
}

TEST_F(ServeTest, RefusesKeysThatAreNotTheCaches) {
  std::string message =
      refusal({{"%keys_t = platen.transpose %keys_all {perm = array<i64: 0, 1, 3, 2>}",
                "%turn = platen.neg %keys_all : (tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>\n"
                "  %keys_t = platen.transpose %turn {perm = array<i64: 0, 1, 3, 2>}"}});
  EXPECT_THAT(message, HasSubstr("its keys are not concat(past_key_values, new)"));
}

TEST_F(ServeTest, RefusesMissingInputsAndOutputs) {
  EXPECT_THAT(refusal({{"past_key_values.0.value", "something"}}), HasSubstr("input 'something'"));
  EXPECT_THAT(refusal({{"\"input_ids\"", "\"inputs_embeds\""}}), HasSubstr("inputs_embeds"));
  EXPECT_THAT(refusal({{"platen.name = \"logits\"},", "platen.name = \"scores\"},"}}),
              HasSubstr("no output 'logits'"));
  EXPECT_THAT(refusal({{"present.0.key", "present.1.key"}}), HasSubstr("present.0"));
}

TEST_F(ServeTest, RefusesAnotherPresent) {
  std::string message = refusal({{"return %keys_all,", "return %past_k,"}});
  EXPECT_THAT(message, HasSubstr("present keys"));
}

TEST_F(ServeTest, RefusesOpsThatMixTokens) {
  std::string message = refusal(
      {{"%y = platen.add %x, %o :", "%sum = platen.reduce_sum %o, %v1 : (tensor<?x?x8xf32>, "
                                    "tensor<1xi64>) -> tensor<?x1x8xf32>\n"
                                    "  %mix = platen.add %o, %sum : (tensor<?x?x8xf32>, "
                                    "tensor<?x1x8xf32>) -> tensor<?x?x8xf32>\n"
                                    "  %y = platen.add %x, %mix :"}});
  EXPECT_THAT(message, HasSubstr("platen.reduce_sum"));
  EXPECT_THAT(message, HasSubstr("[b,s,8]"));
}

TEST_F(ServeTest, RefusesPositionsOutsideOfRope) {
  std::string message = refusal(
      {{"%y = platen.add %x, %o :", "%slot = platen.unsqueeze %float, %v2 : (tensor<?x?xf32>, "
                                    "tensor<1xi64>) -> tensor<?x?x1xf32>\n"
                                    "  %shifted = platen.add %o, %slot : (tensor<?x?x8xf32>, "
                                    "tensor<?x?x1xf32>) -> tensor<?x?x8xf32>\n"
                                    "  %y = platen.add %x, %shifted :"}});
  EXPECT_THAT(message, HasSubstr("differs between tokens"));
}

TEST_F(ServeTest, RefusesShortContexts) { EXPECT_FALSE(serve({}, 8).isOk()); }

} // namespace
} // namespace platen::compiler
