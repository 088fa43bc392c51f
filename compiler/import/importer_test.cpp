// The importer on models built here: what it makes of good ones, and what it says of hostile ones.
// The expected texts are the promise to the user: what, where, and what to do.
#include "compiler/import/importer.h"

#include "compiler/import/onnx-ml.pb.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <unistd.h>

namespace platen::compiler {
namespace {

namespace fs = std::filesystem;
using base::StatusCode;
using testing::HasSubstr;
using Onnx = onnx::TensorProto;

std::string rawFloats(std::vector<float> values) {
  return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float)};
}

onnx::NodeProto *addNode(onnx::GraphProto *graph, const std::string &type,
                         const std::vector<std::string> &inputs,
                         const std::vector<std::string> &outputs, const std::string &name = "") {
  onnx::NodeProto *node = graph->add_node();
  node->set_op_type(type);
  node->set_name(name);
  for (const std::string &input : inputs)
    node->add_input(input);
  for (const std::string &output : outputs)
    node->add_output(output);
  return node;
}

void addValue(onnx::ValueInfoProto *value, const std::string &name,
              const std::vector<std::string> &dims, int dtype = Onnx::FLOAT) {
  value->set_name(name);
  auto *tensor = value->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(dtype);
  tensor->mutable_shape();
  for (const std::string &dim : dims)
    if (std::isdigit(static_cast<unsigned char>(dim[0])) != 0 || dim[0] == '-')
      tensor->mutable_shape()->add_dim()->set_dim_value(std::stoll(dim));
    else
      tensor->mutable_shape()->add_dim()->set_dim_param(dim);
}

onnx::TensorProto *addFloats(onnx::GraphProto *graph, const std::string &name,
                             const std::vector<int64_t> &dims, const std::vector<float> &values) {
  onnx::TensorProto *tensor = graph->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(Onnx::FLOAT);
  for (int64_t dim : dims)
    tensor->add_dims(dim);
  tensor->set_raw_data(rawFloats(values));
  return tensor;
}

void setExternal(onnx::TensorProto *tensor, const std::string &location, const std::string &offset,
                 const std::string &length) {
  tensor->clear_raw_data();
  tensor->set_data_location(Onnx::EXTERNAL);
  for (auto [key, value] :
       {std::pair{"location", location}, {"offset", offset}, {"length", length}})
    if (!value.empty()) {
      auto *entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
}

std::vector<float> ramp(int64_t count, float first = 0) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = first + static_cast<float>(i);
  return values;
}

/// y = x + w with x [batch, 512] and w [512], 2 KiB, so that w is a weight and no constant.
onnx::ModelProto addModel() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(18);
  onnx::GraphProto *graph = model.mutable_graph();
  addValue(graph->add_input(), "x", {"batch", "512"});
  addValue(graph->add_output(), "y", {"batch", "512"});
  addFloats(graph, "w", {512}, ramp(512));
  addNode(graph, "Add", {"x", "w"}, {"y"}, "/sum");
  return model;
}

class ImporterTest : public testing::Test {
protected:
  void SetUp() override {
    const auto *info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() /
              ("platen_import_" + std::to_string(getpid()) + "_" + info->name()) / "model";
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_.parent_path()); }

  void write(const std::string &name, const std::string &bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  base::Result<ImportedModel> importBytes(const std::string &bytes) {
    write("model.onnx", bytes);
    return importOnnx(folder_ / "model.onnx", context_);
  }
  base::Result<ImportedModel> import(const onnx::ModelProto &model) {
    return importBytes(model.SerializeAsString());
  }
  static std::string print(mlir::ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module.print(stream);
    return text;
  }
  void expectError(const onnx::ModelProto &model, StatusCode code,
                   const std::vector<std::string> &texts) {
    auto imported = import(model);
    ASSERT_FALSE(imported.isOk());
    std::string message = imported.status().toString();
    EXPECT_EQ(imported.status().code(), code) << message;
    EXPECT_THAT(message, HasSubstr("model.onnx"));
    for (const std::string &text : texts)
      EXPECT_THAT(message, HasSubstr(text));
  }

  fs::path folder_;
  mlir::MLIRContext context_{mlir::MLIRContext::Threading::DISABLED};
};

TEST_F(ImporterTest, KeepsNamesDimsAndWeightPlaces) {
  onnx::ModelProto proto = addModel();
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  std::string text = print(*model->module);
  EXPECT_THAT(text, HasSubstr("platen.name = \"x\""));
  EXPECT_THAT(text, HasSubstr("platen.dims = [\"batch\", \"512\"]"));
  EXPECT_THAT(text, HasSubstr("tensor<?x512xf32>"));
  auto initializer = *model->module->getOps<ir::InitializerOp>().begin();
  EXPECT_EQ(initializer.getFile(), "model.onnx");
  EXPECT_EQ(initializer.getBytes(), 2048U);
  auto bytes = model->weights->view(rangeOf(initializer));
  ASSERT_TRUE(bytes.isOk());
  std::string expected = rawFloats(ramp(512));
  EXPECT_EQ(std::memcmp(bytes->data(), expected.data(), expected.size()), 0);
  std::string location;
  model->module->walk([&](mlir::Operation *op) {
    if (op->getName().getStringRef() == "platen.add")
      location = mlir::cast<mlir::NameLoc>(op->getLoc()).getName().str();
  });
  EXPECT_EQ(location, "/sum");
}

TEST_F(ImporterTest, DigitStringsAreStaticAndUnsortedNodesAreSorted) {
  onnx::ModelProto proto = addModel();
  onnx::GraphProto *graph = proto.mutable_graph();
  graph->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(1)
      ->set_dim_param("512");
  graph->mutable_node(0)->set_input(0, "later");
  addNode(graph, "Add", {"x", "x"}, {"later"});
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  EXPECT_THAT(print(*model->module), HasSubstr("tensor<?x512xf32>"));
}

TEST_F(ImporterTest, SkipsIdentityDropoutAndInlinesFunctions) {
  onnx::ModelProto proto = addModel();
  proto.add_opset_import()->set_domain("local");
  proto.mutable_opset_import(1)->set_version(1);
  onnx::FunctionProto *function = proto.add_functions();
  function->set_name("Twice");
  function->set_domain("local");
  function->add_input("a");
  function->add_output("b");
  function->add_opset_import()->set_version(18);
  onnx::NodeProto *inner = function->add_node();
  inner->set_op_type("Add");
  inner->add_input("a");
  inner->add_input("a");
  inner->add_output("b");
  onnx::GraphProto *graph = proto.mutable_graph();
  graph->mutable_node(0)->set_output(0, "s");
  addNode(graph, "Identity", {"s"}, {"i"});
  addNode(graph, "Dropout", {"i"}, {"d"});
  addNode(graph, "Twice", {"d"}, {"t"}, "call1")->set_domain("local");
  addNode(graph, "Twice", {"t"}, {"y"}, "call2")->set_domain("local");
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  size_t adds = 0;
  model->module->walk(
      [&](mlir::Operation *op) { adds += op->getName().getStringRef() == "platen.add"; });
  EXPECT_EQ(adds, 3U);
}

TEST_F(ImporterTest, TypedFieldsAreConverted) {
  onnx::ModelProto proto = addModel();
  onnx::TensorProto *w = proto.mutable_graph()->mutable_initializer(0);
  w->clear_raw_data();
  for (float value : ramp(512, 3))
    w->add_float_data(value);
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  auto initializer = *model->module->getOps<ir::InitializerOp>().begin();
  EXPECT_EQ(initializer.getFile(), "model.onnx#w");
  auto tensor = loadWeight(initializer, *model->weights);
  ASSERT_TRUE(tensor.isOk());
  EXPECT_EQ(tensor->get(511), 514);
}

TEST_F(ImporterTest, MergesIdenticalWeights) {
  onnx::ModelProto proto = addModel();
  onnx::GraphProto *graph = proto.mutable_graph();
  graph->mutable_node(0)->set_output(0, "s");
  addFloats(graph, "copy", {512}, ramp(512));
  addFloats(graph, "other", {512}, ramp(512, 1));
  addNode(graph, "Add", {"s", "copy"}, {"t"});
  addNode(graph, "Add", {"t", "other"}, {"y"});
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  std::vector<std::string> names;
  for (auto initializer : model->module->getOps<ir::InitializerOp>())
    names.push_back(initializer.getSymName().str());
  EXPECT_THAT(names, testing::ElementsAre("w", "other"));
}

TEST_F(ImporterTest, ATransposedTwinBecomesATranspose) {
  if (!ops::findOp("gather") || !ops::findOp("matmul"))
    GTEST_SKIP() << "needs gather and matmul in the catalog";
  constexpr int64_t kRows = 80, kColumns = 48;
  std::vector<float> table = ramp(kRows * kColumns), head(table.size());
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kColumns; ++c)
      head[static_cast<size_t>(c * kRows + r)] = table[static_cast<size_t>(r * kColumns + c)];
  for (bool isTwin : {true, false}) {
    onnx::ModelProto proto;
    proto.set_ir_version(8);
    proto.add_opset_import()->set_version(18);
    onnx::GraphProto *graph = proto.mutable_graph();
    addValue(graph->add_input(), "ids", {"n"}, Onnx::INT64);
    addValue(graph->add_output(), "logits", {"n", "80"});
    if (!isTwin)
      head.back() += 1; // one element decides
    addFloats(graph, "head", {kColumns, kRows}, head);
    addFloats(graph, "embedding", {kRows, kColumns}, table);
    addNode(graph, "Gather", {"embedding", "ids"}, {"h"});
    addNode(graph, "MatMul", {"h", "head"}, {"logits"});
    auto model = import(proto);
    ASSERT_TRUE(model.isOk()) << model.status().toString();
    std::string text = print(*model->module);
    EXPECT_EQ(text.find("platen.transpose") != std::string::npos, isTwin) << text;
    EXPECT_EQ(text.find("platen.initializer @head") == std::string::npos, isTwin) << text;
  }
}

TEST_F(ImporterTest, FilesThatAreNoModels) {
  auto missing = importOnnx(folder_ / "none.onnx", context_);
  ASSERT_FALSE(missing.isOk());
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  std::string model = addModel().SerializeAsString();
  for (const std::string &bytes :
       {std::string(), std::string("This is no protobuf."), std::string(64, '\xff'),
        model.substr(0, model.size() / 2), std::string(200, '\x3a')}) {
    auto imported = importBytes(bytes);
    ASSERT_FALSE(imported.isOk());
    EXPECT_EQ(imported.status().code(), StatusCode::kCorrupt) << imported.status().toString();
    EXPECT_THAT(imported.status().toString(), HasSubstr("model.onnx: is no ONNX model"));
  }
  onnx::ModelProto empty;
  empty.set_ir_version(8);
  expectError(empty, StatusCode::kCorrupt, {"has no graph"});
  empty.mutable_graph();
  expectError(empty, StatusCode::kCorrupt, {"the graph is empty"});
}

TEST_F(ImporterTest, ExternalDataIsReadInPlace) {
  onnx::ModelProto proto = addModel();
  setExternal(proto.mutable_graph()->mutable_initializer(0), "sub/w.data", "64", "2048");
  fs::create_directories(folder_ / "sub");
  write("sub/w.data", std::string(64, 'x') + rawFloats(ramp(512, 7)));
  auto model = import(proto);
  ASSERT_TRUE(model.isOk()) << model.status().toString();
  auto initializer = *model->module->getOps<ir::InitializerOp>().begin();
  EXPECT_EQ(initializer.getFile(), "sub/w.data");
  EXPECT_EQ(initializer.getOffset(), 64U);
  auto tensor = loadWeight(initializer, *model->weights);
  ASSERT_TRUE(tensor.isOk());
  EXPECT_EQ(tensor->get(0), 7);
}

TEST_F(ImporterTest, ExternalDataThatIsMissingShortOrElsewhere) {
  write("w.data", rawFloats(ramp(512)));
  std::ofstream(folder_.parent_path() / "outside.data", std::ios::binary) << rawFloats(ramp(512));
  fs::create_symlink(folder_.parent_path() / "outside.data", folder_ / "link.data");
  fs::create_directory_symlink(folder_.parent_path(), folder_ / "up");
  struct Case {
    std::string location, offset, length;
    StatusCode code;
    std::vector<std::string> texts;
  };
  for (const Case &c : std::vector<Case>{
           {"none.data", "0", "2048", StatusCode::kNotFound, {"'none.data' is missing", "copy it"}},
           {"w.data", "4", "2048", StatusCode::kCorrupt, {"[4, +2048)", "2048 bytes", "truncated"}},
           {"w.data", "18446744073709551615", "2048", StatusCode::kCorrupt, {"beyond the end"}},
           {"w.data",
            "18446744073709551616",
            "2048",
            StatusCode::kCorrupt,
            {"is no size in bytes"}},
           {"w.data", "-1", "2048", StatusCode::kCorrupt, {"offset '-1' is no size"}},
           {"w.data", "0", "2044", StatusCode::kCorrupt, {"length is 2044", "2048"}},
           {"w.data", "0", "2k", StatusCode::kCorrupt, {"length '2k'"}},
           {"", "0", "2048", StatusCode::kCorrupt, {"names no location"}},
           {"../outside.data",
            "0",
            "2048",
            StatusCode::kInvalidArgument,
            {"'..'", "model's folder"}},
           {"sub/../../outside.data", "0", "", StatusCode::kInvalidArgument, {"'..'"}},
           {"/etc/passwd", "0", "", StatusCode::kInvalidArgument, {"absolute"}},
           {"link.data", "0", "", StatusCode::kInvalidArgument, {"symbolic link"}},
           {"up/outside.data", "0", "", StatusCode::kInvalidArgument, {"symbolic link"}},
           {".", "0", "", StatusCode::kIo, {"regular file"}},
           {std::string("w.data\0x", 8), "0", "", StatusCode::kCorrupt, {"unprintable"}}}) {
    SCOPED_TRACE(c.location + " " + c.offset + " " + c.length);
    onnx::ModelProto proto = addModel();
    setExternal(proto.mutable_graph()->mutable_initializer(0), c.location, c.offset, c.length);
    std::vector<std::string> texts = c.texts;
    texts.emplace_back("initializer 'w'");
    expectError(proto, c.code, texts);
  }
}

/// One way to spoil addModel(), and what must be said of it.
struct Spoiled {
  const char *name;
  std::function<void(onnx::ModelProto &)> spoil;
  StatusCode code;
  std::vector<std::string> texts;
};

onnx::GraphProto *graphOf(onnx::ModelProto &model) { return model.mutable_graph(); }
onnx::TensorProto *weightOf(onnx::ModelProto &model) {
  return graphOf(model)->mutable_initializer(0);
}
onnx::AttributeProto *attributeOf(onnx::ModelProto &model, const char *name,
                                  onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto *attribute = graphOf(model)->mutable_node(0)->add_attribute();
  attribute->set_name(name);
  attribute->set_type(type);
  return attribute;
}

std::vector<Spoiled> spoiledTensors() {
  return {
      {"raw data of another size",
       [](auto &m) { weightOf(m)->set_raw_data("short"); },
       StatusCode::kCorrupt,
       {"initializer 'w'", "f32[512]", "2048", "raw_data has 5"}},
      {"negative dimension",
       [](auto &m) { weightOf(m)->set_dims(0, -512); },
       StatusCode::kCorrupt,
       {"initializer 'w'", "-512 is negative"}},
      {"dynamic marker as dimension",
       [](auto &m) { weightOf(m)->set_dims(0, std::numeric_limits<int64_t>::min()); },
       StatusCode::kCorrupt,
       {"initializer 'w'", "is negative"}},
      {"overflowing dimensions",
       [](auto &m) {
         for (int i = 0; i < 4; ++i)
           weightOf(m)->add_dims(int64_t{1} << 40);
       },
       StatusCode::kCorrupt,
       {"initializer 'w'", "overflows"}},
      {"overflow hidden by a zero",
       [](auto &m) {
         for (int64_t dim : {int64_t{1} << 62, int64_t{1} << 62, int64_t{0}})
           weightOf(m)->add_dims(dim);
       },
       StatusCode::kCorrupt,
       {"overflows"}},
      {"string tensor",
       [](auto &m) { weightOf(m)->set_data_type(Onnx::STRING); },
       StatusCode::kUnsupported,
       {"initializer 'w'", "data type 8"}},
      {"unknown dtype",
       [](auto &m) { weightOf(m)->set_data_type(99); },
       StatusCode::kUnsupported,
       {"initializer 'w'", "data type 99"}},
      {"too few typed elements",
       [](auto &m) {
         weightOf(m)->clear_raw_data();
         weightOf(m)->add_float_data(1);
       },
       StatusCode::kCorrupt,
       {"initializer 'w'", "float_data holds 1 elements, not 512"}},
      {"no data at all",
       [](auto &m) { weightOf(m)->clear_raw_data(); },
       StatusCode::kCorrupt,
       {"float_data holds 0 elements"}},
      {"defined twice",
       [](auto &m) { *graphOf(m)->add_initializer() = *weightOf(m); },
       StatusCode::kCorrupt,
       {"initializer 'w'", "defined twice"}},
      {"rank without end",
       [](auto &m) {
         for (int i = 0; i < 100; ++i)
           weightOf(m)->add_dims(1);
       },
       StatusCode::kUnsupported,
       {"rank 101"}},
      {"sparse",
       [](auto &m) { graphOf(m)->add_sparse_initializer(); },
       StatusCode::kUnsupported,
       {"sparse"}},
  };
}

std::vector<Spoiled> spoiledGraphs() {
  return {
      {"cycle",
       [](auto &m) {
         graphOf(m)->mutable_node(0)->set_input(0, "loop");
         addNode(graphOf(m), "Add", {"y", "w"}, {"loop"}, "/back");
       },
       StatusCode::kCorrupt,
       {"cycle", "'/sum' (Add)", "'/back' (Add)"}},
      {"own result",
       [](auto &m) { graphOf(m)->mutable_node(0)->set_input(0, "y"); },
       StatusCode::kCorrupt,
       {"cycle", "'/sum' (Add)"}},
      {"cycle of identities",
       [](auto &m) {
         addNode(graphOf(m), "Identity", {"p"}, {"q"});
         addNode(graphOf(m), "Identity", {"q"}, {"p"});
         graphOf(m)->mutable_node(0)->set_input(0, "p");
       },
       StatusCode::kCorrupt,
       {"node '/sum' (Add)", "which no node"}},
      {"undefined input",
       [](auto &m) { graphOf(m)->mutable_node(0)->set_input(1, "ghost"); },
       StatusCode::kCorrupt,
       {"node '/sum' (Add)", "reads 'ghost' (input 1)"}},
      {"undefined output",
       [](auto &m) { graphOf(m)->mutable_output(0)->set_name("ghost"); },
       StatusCode::kCorrupt,
       {"output 'ghost'"}},
      {"defined by two nodes",
       [](auto &m) { addNode(graphOf(m), "Add", {"x", "x"}, {"y"}, "/again"); },
       StatusCode::kCorrupt,
       {"node '/again' (Add)", "'/sum' (Add) defines too"}},
      {"a node defines an input",
       [](auto &m) { graphOf(m)->mutable_node(0)->set_output(0, "x"); },
       StatusCode::kCorrupt,
       {"node '/sum' (Add)", "an input, initializer or Constant"}},
      {"two inputs of one name",
       [](auto &m) { addValue(graphOf(m)->add_input(), "x", {"1"}); },
       StatusCode::kCorrupt,
       {"input 'x'"}},
      {"unknown operator",
       [](auto &m) { graphOf(m)->mutable_node(0)->set_op_type("Addd"); },
       StatusCode::kUnsupported,
       {"node '/sum' (Addd)", "domain ai.onnx", "opset 18", "nearest supported operator is Add"}},
      {"unknown domain",
       [](auto &m) { graphOf(m)->mutable_node(0)->set_domain("acme"); },
       StatusCode::kUnsupported,
       {"node '/sum' (Add)", "domain acme", "supported in domain ai.onnx"}},
      {"old opset",
       [](auto &m) { m.mutable_opset_import(0)->set_version(6); },
       StatusCode::kUnsupported,
       {"node '/sum' (Add)", "opset 6", "supported are opsets 7+"}},
      {"future opset",
       [](auto &m) { m.mutable_opset_import(0)->set_version(99); },
       StatusCode::kUnsupported,
       {"opset 99 is newer"}},
      {"future IR",
       [](auto &m) { m.set_ir_version(99); },
       StatusCode::kUnsupported,
       {"IR version 99"}},
      {"no opset",
       [](auto &m) { m.clear_opset_import(); },
       StatusCode::kCorrupt,
       {"node '/sum' (Add)", "default opset"}},
      {"opset twice",
       [](auto &m) { m.add_opset_import()->set_version(17); },
       StatusCode::kCorrupt,
       {"imported twice"}},
      {"too few inputs",
       [](auto &m) { graphOf(m)->mutable_node(0)->mutable_input()->RemoveLast(); },
       StatusCode::kInvalidArgument,
       {"node '/sum' (Add)", "absent"}},
      {"too many inputs",
       [](auto &m) { graphOf(m)->mutable_node(0)->add_input("x"); },
       StatusCode::kInvalidArgument,
       {"node '/sum' (Add)", "operands"}},
      {"absent operand of a variadic operator",
       [](auto &m) {
         onnx::NodeProto *node = addNode(graphOf(m), "Concat", {"x", ""}, {"c"}, "/c");
         onnx::AttributeProto *axis = node->add_attribute();
         axis->set_name("axis");
         axis->set_type(onnx::AttributeProto::INT);
         axis->set_i(0);
       },
       StatusCode::kInvalidArgument,
       {"node '/c' (Concat)", "operand I2", "absent"}},
      {"too many outputs",
       [](auto &m) { graphOf(m)->mutable_node(0)->add_output("z"); },
       StatusCode::kUnsupported,
       {"node '/sum' (Add)", "output 'z'"}},
      {"shapes that do not fit",
       [](auto &m) {
         graphOf(m)
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->mutable_dim(1)
             ->set_dim_value(511);
       },
       StatusCode::kInvalidArgument,
       {"node '/sum' (Add)", "C2", "'x' f32[?,511]", "'w' f32[512]"}},
      {"output declared otherwise",
       [](auto &m) { addValue(graphOf(m)->mutable_output(0), "y", {"7"}, Onnx::INT64); },
       StatusCode::kInvalidArgument,
       {"output 'y'", "but the graph computes f32[?,512]"}},
      {"input without shape",
       [](auto &m) {
         graphOf(m)->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
       },
       StatusCode::kUnsupported,
       {"input 'x'", "has no shape"}},
      {"input that is a sequence",
       [](auto &m) { graphOf(m)->mutable_input(0)->mutable_type()->mutable_sequence_type(); },
       StatusCode::kUnsupported,
       {"input 'x'", "is no tensor"}},
      {"input of negative size",
       [](auto &m) {
         auto *type = graphOf(m)->mutable_input(0)->mutable_type()->mutable_tensor_type();
         type->mutable_shape()->mutable_dim(0)->set_dim_value(-1);
       },
       StatusCode::kCorrupt,
       {"input 'x'", "dimension -1 is negative"}},
  };
}

std::vector<Spoiled> spoiledAttributes() {
  using Type = onnx::AttributeProto;
  return {
      {"subgraph",
       [](auto &m) {
         graphOf(m)->mutable_node(0)->set_op_type("If");
         attributeOf(m, "then_branch", Type::GRAPH)->mutable_g();
       },
       StatusCode::kUnsupported,
       {"node '/sum' (If)", "'then_branch'", "control flow"}},
      {"another type than declared",
       [](auto &m) { attributeOf(m, "axis", Type::INT)->set_f(1); },
       StatusCode::kCorrupt,
       {"node '/sum' (Add)", "'axis'", "declared INT"}},
      {"no type",
       [](auto &m) { attributeOf(m, "axis", Type::UNDEFINED); },
       StatusCode::kCorrupt,
       {"'axis'", "declares no type"}},
      {"given twice",
       [](auto &m) {
         attributeOf(m, "axis", Type::INT)->set_i(1);
         attributeOf(m, "axis", Type::INT)->set_i(2);
       },
       StatusCode::kCorrupt,
       {"'axis' is given twice"}},
      {"large tensor",
       [](auto &m) { attributeOf(m, "value", Type::TENSOR)->mutable_t()->CopyFrom(*weightOf(m)); },
       StatusCode::kUnsupported,
       {"'value'", "at most 1024 bytes"}},
      {"broken tensor",
       [](auto &m) {
         auto *tensor = attributeOf(m, "value", Type::TENSOR)->mutable_t();
         tensor->set_data_type(Onnx::INT64);
         tensor->add_dims(3);
         tensor->add_int64_data(1);
       },
       StatusCode::kCorrupt,
       {"'value'", "int64_data holds 1 elements, not 3"}},
      {"wrong type for the operator",
       [](auto &m) {
         graphOf(m)->mutable_node(0)->set_op_type("SimplifiedLayerNormalization");
         attributeOf(m, "epsilon", Type::INT)->set_i(1);
       },
       StatusCode::kInvalidArgument,
       {"(SimplifiedLayerNormalization)", "'epsilon'", "wrong type"}},
      {"Constant without value",
       [](auto &m) { addNode(graphOf(m), "Constant", {}, {"c"}, "/c"); },
       StatusCode::kCorrupt,
       {"node '/c' (Constant)", "exactly one attribute"}},
      {"training Dropout",
       [](auto &m) { addNode(graphOf(m), "Dropout", {"x", "", "x"}, {"d"}, "/d"); },
       StatusCode::kUnsupported,
       {"node '/d' (Dropout)", "training_mode"}},
  };
}

std::vector<Spoiled> spoiledFunctions() {
  auto addFunction = [](onnx::ModelProto &m, const std::string &name,
                        const std::vector<std::string> &callees) {
    onnx::FunctionProto *function = m.add_functions();
    function->set_name(name);
    function->add_input("a");
    function->add_output("b");
    std::string value = "a";
    for (const std::string &callee : callees) {
      onnx::NodeProto *node = function->add_node();
      node->set_op_type(callee);
      node->add_input(value);
      value += "n";
      node->add_output(value);
    }
    function->set_output(0, value);
  };
  return {
      {"a function that calls itself",
       [=](auto &m) {
         addFunction(m, "F", {"F"});
         addNode(graphOf(m), "F", {"x"}, {"f"}, "/f");
       },
       StatusCode::kUnsupported,
       {"node '/f' (F)", "16 deep"}},
      {"functions that explode",
       [=](auto &m) {
         for (int level = 0; level < 15; ++level)
           addFunction(m, "F" + std::to_string(level),
                       std::vector<std::string>(8, "F" + std::to_string(level + 1)));
         addFunction(m, "F15", {});
         addNode(graphOf(m), "F0", {"x"}, {"f"}, "/f");
       },
       StatusCode::kUnsupported,
       {"(F0)", "more than 262144 nodes"}},
      {"more inputs than the function",
       [=](auto &m) {
         addFunction(m, "F", {});
         addNode(graphOf(m), "F", {"x", "x"}, {"f"}, "/f");
       },
       StatusCode::kCorrupt,
       {"node '/f' (F)", "more inputs"}},
  };
}

TEST_F(ImporterTest, HostileModelsAreRefusedWithAReason) {
  for (const auto &list :
       {spoiledTensors(), spoiledGraphs(), spoiledAttributes(), spoiledFunctions()})
    for (const Spoiled &spoiled : list) {
      SCOPED_TRACE(spoiled.name);
      onnx::ModelProto proto = addModel();
      spoiled.spoil(proto);
      expectError(proto, spoiled.code, spoiled.texts);
    }
}

TEST_F(ImporterTest, AllUnsupportedOperatorsAreNamedInOneMessage) {
  onnx::ModelProto proto = addModel();
  for (int i = 0; i < 12; ++i)
    addNode(proto.mutable_graph(), "Acme" + std::to_string(i), {"x"}, {"o" + std::to_string(i)});
  addNode(proto.mutable_graph(), "Acme0", {"x"}, {"p"});
  expectError(proto, StatusCode::kUnsupported,
              {"13 of 14 nodes", "node 'o0' (Acme0)", "node 'o9' (Acme9)", "and 2 more kinds"});
}

TEST_F(ImporterTest, EveryTruncationIsAnErrorOrAnEqualModel) {
  onnx::ModelProto proto = addModel();
  std::string bytes = proto.SerializeAsString();
  for (size_t length = 0; length < bytes.size(); length += 7)
    EXPECT_FALSE(importBytes(bytes.substr(0, length)).isOk()) << length;
}

} // namespace
} // namespace platen::compiler
