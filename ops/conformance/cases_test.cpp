// Every operator's cases.json through evaluate(), and the folder's completeness.
#include "ops/conformance/case_file.h"
#include "ops/loops/lowering.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace platen::ops {
namespace {

std::filesystem::path sourceDir() {
  const char *dir = std::getenv("PLATEN_SOURCE_DIR");
  return dir ? dir : ".";
}

class OperatorCases : public testing::TestWithParam<const OpSpec *> {};

void expectError(const Case &example, const OpSpec &op) {
  auto results = evaluate(op, example.operands(), example.attributes);
  ASSERT_FALSE(results.isOk()) << "must fail with " << example.error;
  std::string text = results.status().toString();
  EXPECT_NE(text.find(example.error + ":"), std::string::npos) << text;
  EXPECT_NE(text.find(op.name), std::string::npos) << "names no operator: " << text;
}

TEST_P(OperatorCases, GiveWhatTheySay) {
  const OpSpec &op = *GetParam();
  auto cases = readCases(sourceDir(), op);
  ASSERT_TRUE(cases.isOk()) << cases.status().toString();
  size_t succeeding = 0;
  for (const Case &example : *cases) {
    SCOPED_TRACE(std::string(op.name) + "/" + example.name);
    if (!example.error.empty()) {
      expectError(example, op);
      continue;
    }
    ++succeeding;
    auto results = evaluate(op, example.operands(), example.attributes);
    ASSERT_TRUE(results.isOk()) << results.status().toString();
    ASSERT_EQ(results->size(), example.outputs.size());
    for (size_t i = 0; i < results->size(); ++i)
      EXPECT_EQ(difference((*results)[i], example.outputs[i], example.ulp, example.atol), "")
          << "result O" << i + 1;
  }
  EXPECT_GT(succeeding, 0U) << "no case succeeds";
}

/// Operators that loops compute: the same cases by evaluating their loops. Reductions and functions
/// in f32 may be a few units off where the reference works in double.
TEST_P(OperatorCases, LoopsGiveWhatTheySay) {
  const OpSpec &op = *GetParam();
  if (op.loops == nullptr)
    GTEST_SKIP() << "no loops";
  auto cases = readCases(sourceDir(), op);
  ASSERT_TRUE(cases.isOk()) << cases.status().toString();
  size_t succeeding = 0;
  for (const Case &example : *cases) {
    if (!example.error.empty())
      continue;
    SCOPED_TRACE(std::string(op.name) + "/" + example.name);
    auto results = loops::evaluateByLoops(op, example.operands(), example.attributes);
    if (!results.isOk() && results.status().code() == base::StatusCode::kUnsupported)
      continue;
    ASSERT_TRUE(results.isOk()) << results.status().toString();
    ++succeeding;
    ASSERT_EQ(results->size(), example.outputs.size());
    for (size_t i = 0; i < results->size(); ++i)
      EXPECT_EQ(difference((*results)[i], example.outputs[i], example.ulp + 4,
                           example.atol + example.loopsAtol, 1e-6),
                "")
          << "result O" << i + 1;
  }
  EXPECT_GT(succeeding, 0U) << "no case succeeds";
}

/// The same calls with unknown operand values and with unknown dimensions: whatever the shape rule
/// then accepts must agree with the known result.
TEST_P(OperatorCases, InferWithLessKnowledge) {
  const OpSpec &op = *GetParam();
  auto cases = readCases(sourceDir(), op);
  ASSERT_TRUE(cases.isOk());
  for (const Case &example : *cases) {
    if (!example.error.empty())
      continue;
    SCOPED_TRACE(std::string(op.name) + "/" + example.name);
    std::vector<TensorType> known, open;
    std::vector<const TensorType *> knownTypes, openTypes;
    for (const auto &input : example.inputs) {
      known.push_back(input ? input->type() : TensorType{});
      open.push_back(known.back());
      std::fill(open.back().dims.begin(), open.back().dims.end(), kDynamic);
    }
    for (size_t i = 0; i < known.size(); ++i) {
      knownTypes.push_back(example.inputs[i] ? &known[i] : nullptr);
      openTypes.push_back(example.inputs[i] ? &open[i] : nullptr);
    }
    std::vector<const Tensor *> nothing(known.size(), nullptr), values = example.operands();
    for (const auto &types : {knownTypes, openTypes})
      for (const auto &given : {nothing, values}) {
        auto inferred = inferTypes(op, types, given, example.attributes);
        if (!inferred)
          continue; // more must be known for this one; it said so without crashing
        ASSERT_EQ(inferred->size(), example.outputs.size());
        for (size_t i = 0; i < inferred->size(); ++i) {
          const TensorType &wanted = example.outputs[i].type();
          EXPECT_EQ((*inferred)[i].dtype, wanted.dtype);
          ASSERT_EQ((*inferred)[i].rank(), wanted.rank());
          for (size_t d = 0; d < wanted.dims.size(); ++d)
            EXPECT_TRUE(mayEqual((*inferred)[i].dims[d], wanted.dims[d]))
                << (*inferred)[i].toString() << " for " << wanted.toString();
        }
      }
  }
}

std::string readText(const std::filesystem::path &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string quoted(std::string_view name) {
  std::string text("`");
  text += name;
  return text += '`';
}

/// The .md labels every operand, attribute and result, and each constraint label that an error
/// case cites is written there and in the code.
TEST_P(OperatorCases, FolderIsComplete) {
  const OpSpec &op = *GetParam();
  std::filesystem::path folder = sourceDir() / "ops" / op.name;
  std::string name(op.name), contract = readText(folder / (name + ".md"));
  ASSERT_FALSE(contract.empty());
  EXPECT_FALSE(readText(folder / (name + ".td")).empty());
  for (size_t i = 0; i < op.operands.size(); ++i) {
    std::string row("| I");
    row += std::to_string(i + 1);
    EXPECT_NE(contract.find(row), std::string::npos) << "no row '" << row << "'";
    EXPECT_NE(contract.find(quoted(op.operands[i].name)), std::string::npos)
        << "operand " << op.operands[i].name;
  }
  for (const AttributeSpec &spec : op.attributes)
    EXPECT_NE(contract.find(quoted(spec.name)), std::string::npos) << "attribute " << spec.name;
  for (std::string_view part : {"| O1", "Tolerance", "ONNX:", "Example"})
    EXPECT_NE(contract.find(part), std::string::npos) << part;
  auto cases = readCases(sourceDir(), op);
  ASSERT_TRUE(cases.isOk());
  std::set<std::string> cited;
  for (const Case &example : *cases)
    if (!example.error.empty()) {
      cited.insert(example.error);
      EXPECT_NE(contract.find(example.error + "**"), std::string::npos) << example.error;
    }
  // Every constraint that is not marked (import) or (compile time) has an error case.
  std::regex constraint(R"(\*\*(C\d+)\*\* (\((import|compile time)\))?)");
  for (std::sregex_iterator it(contract.begin(), contract.end(), constraint), end; it != end; ++it)
    if (!(*it)[2].matched) {
      EXPECT_TRUE(cited.contains((*it)[1])) << (*it)[1] << " has no error case";
    }
}

INSTANTIATE_TEST_SUITE_P(Catalog, OperatorCases,
                         testing::ValuesIn(catalog().begin(), catalog().end()),
                         [](const auto &info) { return std::string(info.param->name); });

TEST(Catalog, HasEveryFolder) {
  std::set<std::string> folders;
  for (const auto &entry : std::filesystem::directory_iterator(sourceDir() / "ops"))
    if (std::filesystem::exists(entry.path() / "cases.json"))
      folders.insert(entry.path().filename().string());
  std::set<std::string> named;
  for (const OpSpec *op : catalog())
    EXPECT_TRUE(named.insert(std::string(op->name)).second) << op->name << " comes twice";
  EXPECT_EQ(folders, named);
}

TEST(Evaluate, RefusesUnreasonableSizes) {
  Tensor shape = Tensor::vectorI64(std::vector<int64_t>{int64_t{1} << 40, int64_t{1} << 40});
  Tensor x = Tensor::of<float>(DType::kF32, {1, 1}, std::vector<float>{1});
  const Tensor *inputs[] = {&x, &shape};
  auto results = evaluate(*findOp("expand"), inputs, {});
  ASSERT_FALSE(results.isOk());
  EXPECT_EQ(results.status().code(), base::StatusCode::kResourceExhausted);
}

TEST(Evaluate, ChecksOperandsAndAttributes) {
  const OpSpec &op = *findOp("add");
  Tensor x = Tensor::of<float>(DType::kF32, {1}, std::vector<float>{1});
  const Tensor *one[] = {&x}, *absent[] = {&x, nullptr}, *both[] = {&x, &x};
  EXPECT_NE(evaluate(op, one, {}).status().toString().find("takes 2 operands"), std::string::npos);
  EXPECT_NE(evaluate(op, absent, {}).status().toString().find("I2 'b' is absent"),
            std::string::npos);
  EXPECT_NE(evaluate(op, both, {{"axis", int64_t{1}}}).status().toString().find("'axis'"),
            std::string::npos);
}

TEST(Shape, IsKnownFromTheTypeAlone) {
  TensorType type{DType::kF32, {kDynamic, 640}};
  const TensorType *types[] = {&type};
  const Tensor *values[] = {nullptr};
  EXPECT_FALSE(valueFromTypes(*findOp("shape"), types, values, {}));
  auto last = valueFromTypes(*findOp("shape"), types, values, {{"start", int64_t{1}}});
  ASSERT_TRUE(last);
  EXPECT_EQ(last->toInts(), std::vector<int64_t>{640});
}

/// C4 of the reductions and of squeeze: what must be known at compile time.
TEST(CompileTime, RankMustBeDecided) {
  TensorType x{DType::kF32, {kDynamic, 4}}, axes{DType::kI64, {1}};
  const TensorType *both[] = {&x, &axes}, *alone[] = {&x, nullptr};
  const Tensor *unknown[] = {nullptr, nullptr};
  for (std::string_view name : {"reduce_max", "reduce_mean", "reduce_min", "reduce_sum"}) {
    auto types = inferTypes(*findOp(name), both, unknown, {{"keepdims", int64_t{0}}});
    EXPECT_NE(types.status().toString().find("C4:"), std::string::npos) << name;
    EXPECT_TRUE(inferTypes(*findOp(name), both, unknown, {}).isOk()) << name;
  }
  auto types = inferTypes(*findOp("squeeze"), alone, unknown, {});
  EXPECT_NE(types.status().toString().find("C4:"), std::string::npos);
}

} // namespace
} // namespace platen::ops
