// What the flat linker refuses, each by name, and that damaged objects never crash it.
#include "compiler/emit/host/emit.h"
#include "compiler/emit/host/lower.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>
#include <random>

namespace platen::compiler {
namespace {

base::Result<CodeBlob> link(const char *text) {
  Lowerer lowerer(kernels::kAvx2Target);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &lowerer.context());
  if (!module)
    return base::internalError("the test's module does not parse");
  return emitHostModule(*module, kernels::kAvx2Target);
}

void expectRefused(const char *text, base::StatusCode code, const std::string &words) {
  const base::Result<CodeBlob> result = link(text);
  ASSERT_FALSE(result.isOk()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status().toString();
  EXPECT_NE(result.status().message().find(words), std::string_view::npos)
      << result.status().toString();
}

constexpr char kConstants[] = R"(
  func.func @first(%p: !llvm.ptr, %b: i64, %e: i64) {
    %c = arith.constant dense<[1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]> : vector<8xf32>
    llvm.store %c, %p : vector<8xf32>, !llvm.ptr
    return
  }
  func.func @second(%p: !llvm.ptr, %b: i64, %e: i64) {
    %c = arith.constant dense<[8.5, 7.5, 6.5, 5.5, 4.5, 3.5, 2.5, 1.5]> : vector<8xf32>
    llvm.store %c, %p : vector<8xf32>, !llvm.ptr
    return
  })";

TEST(FlatLink, ResolvesConstantsAndNamesEntries) {
  const base::Result<CodeBlob> blob = link(kConstants);
  ASSERT_TRUE(blob.isOk()) << blob.status().toString();
  ASSERT_EQ(blob->entries.size(), 2U);
  EXPECT_EQ(blob->entries.at("first") % 16, 0U);
  EXPECT_LT(blob->entries.at("second"), blob->bytes.size());
  EXPECT_EQ(blob->bytes.size() % 64, 0U);
}

TEST(FlatLink, RefusesCallsToLibm) {
  expectRefused(
      "func.func private @expf(f32) -> f32\n"
      "func.func @k(%p: !llvm.ptr, %b: i64, %e: i64) {\n"
      "  %x = llvm.load %p : !llvm.ptr -> f32\n  %y = func.call @expf(%x) : (f32) -> f32\n"
      "  llvm.store %y, %p : f32, !llvm.ptr\n  return\n}",
      base::StatusCode::kUnsupported, "undefined symbol 'expf'");
  // A math operation that only libm has.
  expectRefused("func.func @k(%p: !llvm.ptr, %b: i64, %e: i64) {\n"
                "  %x = llvm.load %p : !llvm.ptr -> f32\n  %y = math.powf %x, %x : f32\n"
                "  llvm.store %y, %p : f32, !llvm.ptr\n  return\n}",
                base::StatusCode::kUnsupported, "undefined symbol 'powf'");
}

TEST(FlatLink, RefusesWritableData) {
  for (const char *initial : {"1", "0"}) { // .data and .bss
    const std::string text = std::string("llvm.mlir.global internal @state(") + initial +
                             " : i64) : i64\nfunc.func @k(%p: !llvm.ptr, %b: i64, %e: i64) {\n"
                             "  %g = llvm.mlir.addressof @state : !llvm.ptr\n  llvm.store %b, %g : "
                             "i64, !llvm.ptr\n  return\n}";
    expectRefused(text.c_str(), base::StatusCode::kUnsupported, "is writable");
  }
}

TEST(FlatLink, RefusesThreadLocalData) {
  expectRefused("llvm.mlir.global internal thread_local @state(1 : i64) : i64\n"
                "func.func @k(%p: !llvm.ptr, %b: i64, %e: i64) {\n"
                "  %g = llvm.mlir.addressof @state : !llvm.ptr\n  llvm.store %b, %g : i64, "
                "!llvm.ptr\n  return\n}",
                base::StatusCode::kUnsupported, "is writable");
}

TEST(FlatLink, RefusesGotRelocations) {
  expectRefused("llvm.mlir.global external @elsewhere() : i64\n"
                "func.func @k(%p: !llvm.ptr, %b: i64, %e: i64) {\n"
                "  %g = llvm.mlir.addressof @elsewhere : !llvm.ptr\n  llvm.store %b, %g : i64, "
                "!llvm.ptr\n  return\n}",
                base::StatusCode::kUnsupported, "GOTPCREL");
}

ObjectFile constantsObject() {
  Lowerer lowerer(kernels::kAvx2Target);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(kConstants, &lowerer.context());
  return lowerer.toObject(*module, "constants").value();
}

TEST(FlatLink, RefusesTheSameNameTwice) {
  const std::vector<ObjectFile> objects = {constantsObject(), constantsObject()};
  EXPECT_EQ(flatLink(objects).status().code(), base::StatusCode::kInvalidArgument);
}

TEST(FlatLink, RefusesWhatIsNoObject) {
  const std::vector<ObjectFile> empty = {{"empty", {}}},
                                text = {{"text", std::vector<char>(100, 'x')}};
  EXPECT_EQ(flatLink(empty).status().code(), base::StatusCode::kCorrupt);
  EXPECT_EQ(flatLink(text).status().code(), base::StatusCode::kCorrupt);
}

TEST(FlatLink, DamagedObjectsGiveAnErrorOrABlobButNeverACrash) {
  const ObjectFile whole = constantsObject();
  for (size_t bytes = 0; bytes < whole.bytes.size(); bytes += 7) {
    const std::vector<ObjectFile> cut = {
        {"cut", {whole.bytes.begin(), whole.bytes.begin() + static_cast<std::ptrdiff_t>(bytes)}}};
    EXPECT_FALSE(flatLink(cut).isOk()) << bytes;
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<ObjectFile> flipped = {whole};
    for (int flips = 0; flips < 3; ++flips)
      flipped[0].bytes[random() % whole.bytes.size()] ^= static_cast<char>(1 << random() % 8);
    (void)flatLink(flipped).isOk();
  }
}

} // namespace
} // namespace platen::compiler
