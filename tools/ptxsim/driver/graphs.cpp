#include "tools/ptxsim/driver/graphs.h"

#include <algorithm>

namespace platen::ptxsim::driver {
namespace {

/// Every node after what it follows; fewer than all: there is a cycle.
std::vector<const Node *> topological(const Graph &graph) {
  std::unordered_map<const Node *, size_t> missing;
  std::unordered_map<const Node *, std::vector<const Node *>> next;
  std::vector<const Node *> order;
  for (const auto &node : graph.nodes) {
    missing[node.get()] = node->after.size();
    for (const auto &other : node->after)
      next[other.get()].push_back(node.get());
    if (node->after.empty())
      order.push_back(node.get());
  }
  for (size_t i = 0; i < order.size(); ++i)
    for (const Node *node : next[order[i]])
      if (--missing[node] == 0)
        order.push_back(node);
  return order;
}

/// Appends `graph`; its roots follow `roots`. `ends` receives what nothing in it follows.
CUresult append(const Graph &graph, const std::vector<size_t> &roots, std::vector<ExecNode> &nodes,
                std::vector<size_t> &ends) {
  std::vector<const Node *> order = topological(graph);
  if (order.size() != graph.nodes.size())
    return CUDA_ERROR_INVALID_VALUE;
  std::unordered_map<const Node *, size_t> place;
  std::set<size_t> last;
  for (const Node *node : order) {
    ExecNode exec;
    exec.node = node->handle;
    exec.context = node->context;
    exec.operation = node->operation;
    for (const auto &other : node->after)
      exec.after.push_back(place[other.get()]);
    for (size_t i : exec.after)
      last.erase(i);
    if (node->after.empty())
      exec.after = roots;
    if (auto *child = std::get_if<ChildOperation>(&node->operation)) {
      std::vector<size_t> childEnds;
      PTXSIM_RETURN_IF(append(*child->graph, exec.after, nodes, childEnds));
      exec.after.insert(exec.after.end(), childEnds.begin(), childEnds.end());
      exec.operation = EmptyOperation{};
    }
    place[node] = nodes.size();
    last.insert(nodes.size());
    nodes.push_back(std::move(exec));
  }
  ends.assign(last.begin(), last.end());
  return CUDA_SUCCESS;
}

} // namespace

std::shared_ptr<Node> addNode(Driver &driver, const std::shared_ptr<Graph> &graph,
                              Operation operation, std::vector<std::shared_ptr<Node>> after,
                              std::shared_ptr<Context> context) {
  auto node = std::make_shared<Node>();
  node->graph = graph;
  node->operation = std::move(operation);
  node->after = std::move(after);
  node->context = std::move(context);
  driver.nodes.add(node);
  graph->nodes.push_back(node);
  return node;
}

CUgraphNodeType nodeType(const Operation &operation) {
  struct Visitor {
    CUgraphNodeType operator()(const EmptyOperation &) { return CU_GRAPH_NODE_TYPE_EMPTY; }
    CUgraphNodeType operator()(const KernelOperation &) { return CU_GRAPH_NODE_TYPE_KERNEL; }
    CUgraphNodeType operator()(const CopyOperation &) { return CU_GRAPH_NODE_TYPE_MEMCPY; }
    CUgraphNodeType operator()(const FillOperation &) { return CU_GRAPH_NODE_TYPE_MEMSET; }
    CUgraphNodeType operator()(const HostOperation &) { return CU_GRAPH_NODE_TYPE_HOST; }
    CUgraphNodeType operator()(const EventRecordOperation &) {
      return CU_GRAPH_NODE_TYPE_EVENT_RECORD;
    }
    CUgraphNodeType operator()(const EventWaitOperation &) { return CU_GRAPH_NODE_TYPE_WAIT_EVENT; }
    CUgraphNodeType operator()(const ChildOperation &) { return CU_GRAPH_NODE_TYPE_GRAPH; }
    CUgraphNodeType operator()(const FreeOperation &) { return CU_GRAPH_NODE_TYPE_MEM_FREE; }
  };
  return std::visit(Visitor{}, operation);
}

std::shared_ptr<Graph> cloneGraph(Driver &driver, const Graph &graph) {
  auto clone = std::make_shared<Graph>();
  driver.graphs.add(clone);
  std::unordered_map<const Node *, std::shared_ptr<Node>> copies;
  for (const auto &node : graph.nodes) {
    Operation operation = node->operation;
    if (auto *child = std::get_if<ChildOperation>(&operation)) {
      child->graph = cloneGraph(driver, *child->graph);
      child->graph->isChild = true;
    }
    auto copy = addNode(driver, clone, std::move(operation), {}, node->context);
    copy->clonedFrom = node->handle;
    copies[node.get()] = copy;
  }
  for (const auto &node : graph.nodes)
    for (const auto &other : node->after)
      copies[node.get()]->after.push_back(copies[other.get()]);
  return clone;
}

void destroyGraph(Driver &driver, const std::shared_ptr<Graph> &graph) {
  for (const auto &node : graph->nodes) {
    if (auto *child = std::get_if<ChildOperation>(&node->operation))
      destroyGraph(driver, child->graph);
    node->after.clear();
    driver.nodes.remove(node->handle);
  }
  graph->nodes.clear();
  driver.graphs.remove(graph->handle);
}

CUresult flatten(const Graph &graph, std::vector<ExecNode> &nodes) {
  std::vector<size_t> ends;
  return append(graph, {}, nodes, ends);
}

CUresult launchGraph(Driver &driver, GraphExec &exec, const std::shared_ptr<Stream> &stream) {
  if (stream->capture) {
    stream->capture->isInvalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
  WorkPointer start = mark(driver, stream, {exec.lastLaunch});
  auto streamContext = stream->context.lock();
  std::vector<WorkPointer> works;
  for (const ExecNode &node : exec.nodes) {
    const auto &context = node.context ? node.context : streamContext;
    auto work =
        node.isEnabled ? makeWork(context, node.operation) : makeWork(context, EmptyOperation{});
    std::vector<WorkPointer> after{start};
    for (size_t i : node.after)
      after.push_back(works[i]);
    if (auto *wait = std::get_if<EventWaitOperation>(&node.operation))
      after.push_back(wait->event->recorded);
    if (auto *record = std::get_if<EventRecordOperation>(&node.operation)) {
      record->event->recorded = work;
      record->event->wasRecorded = true;
    }
    driver.engine->submit(work, after);
    works.push_back(std::move(work));
  }
  exec.lastLaunch = mark(driver, stream, std::move(works));
  return CUDA_SUCCESS;
}

CUresult updateExec(GraphExec &exec, const Graph &graph, CUgraphExecUpdateResultInfo &info) {
  info = {};
  std::vector<ExecNode> nodes;
  PTXSIM_RETURN_IF(flatten(graph, nodes));
  auto fail = [&](CUgraphExecUpdateResult why, uint64_t node, uint64_t from) {
    info.result = why;
    info.errorNode = reinterpret_cast<CUgraphNode>(node);
    info.errorFromNode = reinterpret_cast<CUgraphNode>(from);
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  };
  if (nodes.size() != exec.nodes.size())
    return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, 0, 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ExecNode &now = nodes[i], &old = exec.nodes[i];
    if (now.operation.index() != old.operation.index())
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, now.node, old.node);
    if (now.after != old.after)
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, now.node, old.node);
    auto *kernel = std::get_if<KernelOperation>(&now.operation);
    auto *oldKernel = std::get_if<KernelOperation>(&old.operation);
    if (kernel && kernel->function->context.lock() != oldKernel->function->context.lock())
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE, now.node, old.node);
  }
  for (size_t i = 0; i < nodes.size(); ++i)
    exec.nodes[i].operation = std::move(nodes[i].operation);
  info.result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  return CUDA_SUCCESS;
}

} // namespace platen::ptxsim::driver
