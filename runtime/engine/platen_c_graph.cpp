// The C interface of graphs over graph.h: copies in, copies out, exceptions become codes.
#include "runtime/engine/graph.h"
#include "runtime/engine/platen_c_calls.h"

namespace base = platen::base;
namespace engine = platen::engine;
using engine::c::call;
using engine::c::copyStruct;
using engine::c::failArgument;

namespace {

/// An input's or output's dimensions as C sees them.
struct Shape {
  std::vector<int64_t> dims;
  std::vector<const char *> texts;
};

std::vector<Shape> shapesOf(const std::vector<engine::GraphTensorInfo> &tensors) {
  std::vector<Shape> shapes;
  for (const engine::GraphTensorInfo &tensor : tensors) {
    Shape &shape = shapes.emplace_back();
    for (const engine::GraphDimension &dim : tensor.dims) {
      shape.dims.push_back(dim.size);
      shape.texts.push_back(dim.text.c_str());
    }
  }
  return shapes;
}

int describe(const std::vector<engine::GraphTensorInfo> &tensors, const std::vector<Shape> &shapes,
             size_t index, PlatenTensorInfo *info) {
  return call([&]() -> base::Status {
    if (index >= tensors.size())
      return base::invalidArgument("index is " + std::to_string(index) + ", there are " +
                                   std::to_string(tensors.size()));
    *info = {.name = tensors[index].name.c_str(),
             .dtype = static_cast<int32_t>(tensors[index].dtype),
             .rank = static_cast<uint32_t>(shapes[index].dims.size()),
             .dims = shapes[index].dims.data(),
             .dim_texts = shapes[index].texts.data()};
    return {};
  });
}

base::Result<std::vector<engine::TensorView>> viewsOf(const PlatenTensor *inputs, size_t count) {
  std::vector<engine::TensorView> views;
  for (size_t i = 0; i < count; ++i) {
    const PlatenTensor &input = inputs[i];
    bool complete = input.name != nullptr && (input.rank == 0 || input.dims != nullptr) &&
                    (input.bytes == 0 || input.data != nullptr);
    if (!complete || input.dtype < PLATEN_F32 || input.dtype > PLATEN_BOOL)
      return base::invalidArgument("inputs[" + std::to_string(i) +
                                   "] lacks its name, dims or data, or its dtype is none");
    views.push_back({.name = input.name,
                     .dtype = static_cast<base::DType>(input.dtype),
                     .dims = {input.dims, input.dims + input.rank},
                     .bytes = {static_cast<const std::byte *>(input.data), input.bytes}});
  }
  return views;
}

} // namespace

struct PlatenGraph {
  explicit PlatenGraph(engine::Graph loaded)
      : graph(std::move(loaded)), inputs(shapesOf(graph.info().inputs)),
        outputs(shapesOf(graph.info().outputs)) {}
  engine::Graph graph;
  std::vector<Shape> inputs, outputs; // of graph.info()
};

struct PlatenGraphResult {
  std::vector<engine::NamedTensor> tensors;
};

int platen_graph_load(const char *plan_path, const PlatenGraphOptions *options, PlatenGraph **out) {
  if (plan_path == nullptr || out == nullptr)
    return failArgument("plan_path and graph must not be NULL");
  return call([&]() -> base::Status {
    engine::GraphOptions chosen;
    if (options != nullptr) {
      auto given = copyStruct(options);
      if (!given)
        return base::invalidArgument("options->struct_bytes is not the struct's size");
      chosen = {.threads = given->threads,
                .device = given->device == nullptr ? "" : given->device,
                .cuda_graphs = given->no_cuda_graphs == 0};
    }
    PLATEN_ASSIGN_OR_RETURN(engine::Graph loaded, engine::Graph::load(plan_path, chosen));
    *out = new PlatenGraph(std::move(loaded));
    return {};
  });
}

void platen_graph_free(PlatenGraph *graph) { delete graph; }

size_t platen_graph_input_count(const PlatenGraph *graph) { return graph->inputs.size(); }
size_t platen_graph_output_count(const PlatenGraph *graph) { return graph->outputs.size(); }

int platen_graph_input(const PlatenGraph *graph, size_t index, PlatenTensorInfo *info) {
  if (graph == nullptr || info == nullptr)
    return failArgument("graph and info must not be NULL");
  return describe(graph->graph.info().inputs, graph->inputs, index, info);
}

int platen_graph_output(const PlatenGraph *graph, size_t index, PlatenTensorInfo *info) {
  if (graph == nullptr || info == nullptr)
    return failArgument("graph and info must not be NULL");
  return describe(graph->graph.info().outputs, graph->outputs, index, info);
}

int platen_graph_run(PlatenGraph *graph, const PlatenTensor *inputs, size_t count,
                     PlatenGraphResult **out) {
  if (graph == nullptr || out == nullptr || (inputs == nullptr && count != 0))
    return failArgument("graph, inputs and result must not be NULL");
  return call([&]() -> base::Status {
    PLATEN_ASSIGN_OR_RETURN(auto views, viewsOf(inputs, count));
    PLATEN_ASSIGN_OR_RETURN(auto tensors, graph->graph.run(views));
    *out = new PlatenGraphResult{std::move(tensors)};
    return {};
  });
}

void platen_graph_result_free(PlatenGraphResult *result) { delete result; }

int platen_graph_result_tensor(const PlatenGraphResult *result, size_t index,
                               PlatenTensor *tensor) {
  if (result == nullptr || tensor == nullptr)
    return failArgument("result and tensor must not be NULL");
  return call([&]() -> base::Status {
    if (index >= result->tensors.size())
      return base::invalidArgument("index is " + std::to_string(index) + ", there are " +
                                   std::to_string(result->tensors.size()) + " outputs");
    const engine::NamedTensor &output = result->tensors[index];
    *tensor = {.name = output.name.c_str(),
               .dtype = static_cast<int32_t>(output.dtype),
               .rank = static_cast<uint32_t>(output.dims.size()),
               .dims = output.dims.data(),
               .data = output.bytes.data(),
               .bytes = output.bytes.size()};
    return {};
  });
}
