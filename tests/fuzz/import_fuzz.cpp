// libFuzzer target: any bytes given to the importer, then to platen-fold, end in a Status or a
// verified module.
//
// Mutation starts from a small valid model (an empty corpus included), and one mutation in two
// changes a field of the parsed model rather than bytes, so that lengths stay consistent. There are
// no files beside the input: external data always ends in an error.
#include "compiler/import/fold.h"
#include "compiler/import/importer.h"
#include "compiler/import/onnx-ml.pb.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

void addNode(onnx::GraphProto *graph, const char *type, std::initializer_list<const char *> inputs,
             const char *output) {
  onnx::NodeProto *node = graph->add_node();
  node->set_op_type(type);
  for (const char *input : inputs)
    node->add_input(input);
  node->add_output(output);
}

void addInts(onnx::GraphProto *graph, const char *name, std::initializer_list<int64_t> values) {
  onnx::TensorProto *tensor = graph->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::INT64);
  tensor->add_dims(static_cast<int64_t>(values.size()));
  for (int64_t value : values)
    tensor->add_int64_data(value);
}

/// x [n,8] · w [8,4] through Shape, Gather, Concat, Reshape, Slice and Softmax: raw and typed data,
/// shape arithmetic.
onnx::ModelProto seed() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(18);
  onnx::GraphProto *graph = model.mutable_graph();
  onnx::ValueInfoProto *x = graph->add_input();
  x->set_name("x");
  x->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  auto *shape = x->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->add_dim()->set_dim_param("n");
  shape->add_dim()->set_dim_value(8);
  *graph->add_output() = *x;
  graph->mutable_output(0)->set_name("y");
  onnx::TensorProto *w = graph->add_initializer();
  w->set_name("w");
  w->set_data_type(onnx::TensorProto::FLOAT);
  w->add_dims(8);
  w->add_dims(4);
  w->set_raw_data(std::string(128, '\x3f'));
  addInts(graph, "zero", {0});
  addInts(graph, "one", {1});
  addInts(graph, "tail", {2, 2});
  addNode(graph, "MatMul", {"x", "w"}, "h");
  addNode(graph, "Shape", {"h"}, "s");
  addNode(graph, "Slice", {"s", "zero", "one"}, "n1");
  addNode(graph, "Concat", {"n1", "tail"}, "t");
  onnx::AttributeProto *axis = graph->mutable_node(3)->add_attribute();
  axis->set_name("axis");
  axis->set_type(onnx::AttributeProto::INT);
  axis->set_i(0);
  addNode(graph, "Reshape", {"h", "t"}, "r");
  addNode(graph, "Gather", {"r", "one"}, "g");
  addNode(graph, "Add", {"g", "r"}, "a");
  addNode(graph, "Softmax", {"a"}, "y");
  return model;
}

const char *const kTypes[] = {
    "Add",    "Mul",   "Div",     "Concat",    "Reshape", "Expand",    "Where",
    "Equal",  "Cast",  "Squeeze", "Unsqueeze", "Range",   "Split",     "ConstantOfShape",
    "MatMul", "Slice", "Flatten", "Transpose", "TopK",    "ReduceSum", "Identity"};

int64_t interestingInt(std::mt19937 &random) {
  const int64_t values[] = {0,
                            1,
                            -1,
                            2,
                            7,
                            16,
                            255,
                            int64_t{1} << 31,
                            int64_t{1} << 62,
                            std::numeric_limits<int64_t>::min(),
                            std::numeric_limits<int64_t>::max()};
  return values[random() % std::size(values)];
}

std::string anyName(std::mt19937 &random) {
  const char *const names[] = {"x", "w",    "y",   "s",    "t", "r",  "g",
                               "h", "zero", "one", "tail", "",  "new"};
  return names[random() % std::size(names)];
}

template <typename List> auto *pick(List *list, std::mt19937 &random) {
  return list->empty()
             ? list->Add()
             : list->Mutable(static_cast<int>(random() % static_cast<unsigned>(list->size())));
}

void mutateAttribute(onnx::NodeProto *node, std::mt19937 &random) {
  const char *const names[] = {"axis",     "axes", "to",          "allowzero",
                               "keepdims", "perm", "num_outputs", "end"};
  onnx::AttributeProto *attribute = pick(node->mutable_attribute(), random);
  attribute->Clear();
  attribute->set_name(names[random() % std::size(names)]);
  if (random() % 3 == 0) {
    attribute->set_type(onnx::AttributeProto::INTS);
    for (unsigned i = random() % 4; i > 0; --i)
      attribute->add_ints(interestingInt(random));
  } else {
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(random() % 2 == 0 ? interestingInt(random)
                                       : static_cast<int64_t>(random() % 24));
  }
}

void mutateNode(onnx::GraphProto *graph, std::mt19937 &random) {
  onnx::NodeProto *node = pick(graph->mutable_node(), random);
  switch (random() % 8) {
  case 0:
  case 1:
    return node->set_op_type(kTypes[random() % std::size(kTypes)]);
  case 2:
    return node->add_input(anyName(random));
  case 3:
    if (node->input_size() > 0)
      node->mutable_input()->RemoveLast();
    return;
  case 4:
    *pick(node->mutable_output(), random) = anyName(random);
    return;
  case 5: // a copy with another result
    *graph->add_node() = onnx::NodeProto(*node);
    *pick(graph->mutable_node(graph->node_size() - 1)->mutable_output(), random) = "new";
    return;
  case 6:
    return mutateAttribute(node, random);
  default:
    *pick(node->mutable_input(), random) = anyName(random);
  }
}

void mutateTensor(onnx::TensorProto *tensor, std::mt19937 &random) {
  switch (random() % 5) {
  case 0:
    return tensor->set_data_type(static_cast<int>(random() % 24));
  case 1:
    return tensor->add_dims(static_cast<int64_t>(random() % 3));
  case 2:
    if (tensor->dims_size() > 0)
      tensor->set_dims(0, random() % 2 == 0 ? tensor->int64_data_size() : interestingInt(random));
    return;
  case 3:
    tensor->add_int64_data(interestingInt(random));
    return tensor->dims_size() > 0 ? tensor->set_dims(0, tensor->int64_data_size()) : void();
  default:
    if (tensor->int64_data_size() > 0)
      tensor->set_int64_data(0, interestingInt(random));
  }
}

void mutate(onnx::ModelProto &model, std::mt19937 &random) {
  onnx::GraphProto *graph = model.mutable_graph();
  switch (random() % 8) {
  case 0:
    return pick(model.mutable_opset_import(), random)
        ->set_version(static_cast<int64_t>(random() % 30));
  case 1: {
    auto *type = pick(graph->mutable_input(), random)->mutable_type()->mutable_tensor_type();
    auto *dim = pick(type->mutable_shape()->mutable_dim(), random);
    return random() % 2 == 0 ? dim->set_dim_param("n") : dim->set_dim_value(interestingInt(random));
  }
  case 2:
  case 3:
    return mutateTensor(pick(graph->mutable_initializer(), random), random);
  default:
    return mutateNode(graph, random);
  }
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize,
                                          unsigned seedNumber) {
  std::mt19937 random(seedNumber);
  onnx::ModelProto model;
  if (size < 8 || !model.ParseFromArray(data, static_cast<int>(size)))
    model = seed();
  else if (random() % 2 == 0)
    return LLVMFuzzerMutate(data, size, maxSize);
  for (unsigned i = 0; i <= random() % 4; ++i)
    mutate(model, random);
  std::string bytes = model.SerializeAsString();
  if (bytes.size() > maxSize)
    return LLVMFuzzerMutate(data, size, maxSize);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace platen;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::ScopedDiagnosticHandler quiet(&context, [](mlir::Diagnostic &) { return mlir::success(); });
  std::span bytes(reinterpret_cast<const std::byte *>(data), size);
  auto imported = compiler::importOnnxBytes(bytes, nullptr, "fuzz.onnx", "/nonexistent", context);
  if (!imported) {
    if (imported.status().code() == base::StatusCode::kInternal)
      std::abort(); // a broken invariant, by definition of the code
    return 0;
  }
  mlir::PassManager passes(&context);
  passes.addPass(compiler::createFoldPass());
  (void)passes.run(*imported->module); // a model may contradict itself only after refinement
  return 0;
}
