// The dialect and the catalog are written down separately (.td and OpSpec): here they must agree.
#include "ops/ir/dialect.h"

#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <set>

namespace platen::ir {
namespace {

/// Fixed operand count of a registered op, from its traits; `variadic` if more may follow.
template <unsigned... N>
std::optional<unsigned> exactCount(mlir::RegisteredOperationName name,
                                   std::integer_sequence<unsigned, N...>) {
  std::optional<unsigned> count;
  if (name.hasTrait<mlir::OpTrait::ZeroOperands>())
    count = 0;
  if (name.hasTrait<mlir::OpTrait::OneOperand>())
    count = 1;
  ((name.hasTrait<mlir::OpTrait::NOperands<N + 2>::template Impl>() ? void(count = N + 2) : void()),
   ...);
  return count;
}

class DialectCatalog : public testing::TestWithParam<const ops::OpSpec *> {
protected:
  DialectCatalog() { context_.loadDialect<PlatenDialect>(); }
  std::optional<mlir::RegisteredOperationName> registered() {
    return mlir::RegisteredOperationName::lookup("platen." + std::string(GetParam()->name),
                                                 &context_);
  }
  mlir::MLIRContext context_;
};

TEST_P(DialectCatalog, OperandsAgree) {
  const ops::OpSpec &op = *GetParam();
  auto name = registered();
  ASSERT_TRUE(name) << "ops.td lacks platen." << op.name;
  auto count = exactCount(*name, std::make_integer_sequence<unsigned, 30>());
  bool variadic = !op.operands.empty() && op.operands.back().variadic;
  if (variadic)
    EXPECT_FALSE(count) << "fixed operands in the dialect, variadic in the catalog";
  else
    EXPECT_EQ(count, op.operands.size());
}

TEST_P(DialectCatalog, AttributesAgree) {
  const ops::OpSpec &op = *GetParam();
  auto name = registered();
  ASSERT_TRUE(name);
  std::set<std::string> dialect, catalog;
  for (mlir::StringAttr attribute : name->getAttributeNames())
    dialect.insert(attribute.str());
  mlir::NamedAttrList defaults;
  name->populateDefaultAttrs(defaults);
  for (const ops::AttributeSpec &spec : op.attributes) {
    catalog.insert(std::string(spec.name));
    mlir::Attribute found = defaults.get(llvm::StringRef(spec.name.data(), spec.name.size()));
    if (spec.required) {
      EXPECT_FALSE(found) << spec.name << " is required but has a default in the dialect";
      continue;
    }
    ASSERT_TRUE(found) << spec.name << " has no default in the dialect";
    EXPECT_EQ(found, toMlirAttribute(&context_, spec.example)) << spec.name;
  }
  EXPECT_EQ(dialect, catalog);
}

INSTANTIATE_TEST_SUITE_P(Catalog, DialectCatalog,
                         testing::ValuesIn(ops::catalog().begin(), ops::catalog().end()),
                         [](const auto &info) { return std::string(info.param->name); });

TEST(Dialect, HasNoOperatorOutsideTheCatalog) {
  mlir::MLIRContext context;
  context.loadDialect<PlatenDialect>();
  const std::set<std::string> structural{"initializer", "weight", "constant",
                                         "absent",      "yield",  "fused"};
  for (mlir::RegisteredOperationName name : context.getRegisteredOperations()) {
    if (name.getDialectNamespace() != "platen")
      continue;
    std::string mnemonic = name.stripDialect().str();
    if (!structural.contains(mnemonic)) {
      EXPECT_NE(ops::findOp(mnemonic), nullptr) << mnemonic;
    }
  }
}

} // namespace
} // namespace platen::ir
