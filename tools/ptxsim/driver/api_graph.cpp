// Entry points: building and looking at graphs.
#include "tools/ptxsim/driver/graph_nodes.h"

#include <algorithm>

using namespace platen::ptxsim::driver;

namespace {

/// Copies handles out in the API's way: count in and out, null list: the count only.
CUresult give(const std::vector<CUgraphNode> &nodes, CUgraphNode *list, size_t *count) {
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  if (list) {
    size_t n = std::min(*count, nodes.size());
    std::copy_n(nodes.begin(), n, list);
    std::fill(list + n, list + *count, nullptr);
    *count = n;
  } else {
    *count = nodes.size();
  }
  return CUDA_SUCCESS;
}

std::vector<CUgraphNode> dependents(const Node &node) {
  std::vector<CUgraphNode> result;
  if (auto graph = node.graph.lock())
    for (const auto &other : graph->nodes)
      for (const auto &before : other->after)
        if (before.get() == &node)
          result.push_back(other->as<CUgraphNode>());
  return result;
}

CUresult edges(CUgraph handle, CUgraphNode *from, CUgraphNode *to, size_t *count) {
  return withGraph(handle, [&](Driver &, Lock &, const auto &graph) -> CUresult {
    std::vector<CUgraphNode> froms, tos;
    for (const auto &node : graph->nodes)
      for (const auto &before : node->after) {
        froms.push_back(before->template as<CUgraphNode>());
        tos.push_back(node->template as<CUgraphNode>());
      }
    if (!count || !from != !to)
      return CUDA_ERROR_INVALID_VALUE;
    size_t room = *count;
    PTXSIM_RETURN_IF(give(froms, from, &room));
    return give(tos, to, count);
  });
}

CUresult changeEdges(CUgraph handle, const CUgraphNode *from, const CUgraphNode *to, size_t count,
                     bool add) {
  return withGraph(handle, [&](Driver &driver, Lock &, const auto &graph) -> CUresult {
    for (size_t i = 0; i < count; ++i) {
      auto first = driver.nodes.find(from[i]), second = driver.nodes.find(to[i]);
      if (!first || !second || first == second || first->graph.lock() != graph ||
          second->graph.lock() != graph)
        return CUDA_ERROR_INVALID_VALUE;
      auto at = std::find(second->after.begin(), second->after.end(), first);
      if ((at == second->after.end()) != add)
        return CUDA_ERROR_INVALID_VALUE;
      if (add)
        second->after.push_back(first);
      else
        second->after.erase(at);
    }
    return CUDA_SUCCESS;
  });
}

} // namespace

extern "C" {

CUresult cuGraphCreate(CUgraph *result, unsigned int flags) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (!result || flags)
      return CUDA_ERROR_INVALID_VALUE;
    auto graph = std::make_shared<Graph>();
    driver.graphs.add(graph);
    *result = graph->as<CUgraph>();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphDestroy(CUgraph handle) {
  return withGraph(handle, [](Driver &driver, Lock &, const auto &graph) -> CUresult {
    if (graph->isChild)
      return CUDA_ERROR_INVALID_VALUE;
    destroyGraph(driver, graph);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphClone(CUgraph *result, CUgraph handle) {
  return withGraph(handle, [&](Driver &driver, Lock &, const auto &graph) -> CUresult {
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    *result = cloneGraph(driver, *graph)->template as<CUgraph>();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeFindInClone(CUgraphNode *result, CUgraphNode original, CUgraph clone) {
  return withGraph(clone, [&](Driver &, Lock &, const auto &graph) -> CUresult {
    for (const auto &node : graph->nodes)
      if (result && node->clonedFrom == reinterpret_cast<uint64_t>(original)) {
        *result = node->template as<CUgraphNode>();
        return CUDA_SUCCESS;
      }
    return CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType *type) {
  return withNode<Operation>(handle, [&](Driver &, Node &, Operation &operation) -> CUresult {
    if (!type)
      return CUDA_ERROR_INVALID_VALUE;
    *type = nodeType(operation);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *list, size_t *count) {
  return withGraph(handle, [&](Driver &, Lock &, const auto &graph) -> CUresult {
    std::vector<CUgraphNode> nodes;
    for (const auto &node : graph->nodes)
      nodes.push_back(node->template as<CUgraphNode>());
    return give(nodes, list, count);
  });
}

CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode *list, size_t *count) {
  return withGraph(handle, [&](Driver &, Lock &, const auto &graph) -> CUresult {
    std::vector<CUgraphNode> nodes;
    for (const auto &node : graph->nodes)
      if (node->after.empty())
        nodes.push_back(node->template as<CUgraphNode>());
    return give(nodes, list, count);
  });
}

CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from, CUgraphNode *to,
                            CUgraphEdgeData *data, size_t *count) {
  size_t room = count ? *count : 0;
  PTXSIM_RETURN_IF(edges(graph, from, to, count));
  if (data)
    std::fill_n(data, from ? std::min(room, *count) : 0, CUgraphEdgeData{});
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode handle, CUgraphNode *list, CUgraphEdgeData *data,
                                       size_t *count) {
  return withNode<Operation>(handle, [&](Driver &, Node &node, Operation &) -> CUresult {
    std::vector<CUgraphNode> nodes;
    for (const auto &before : node.after)
      nodes.push_back(before->as<CUgraphNode>());
    PTXSIM_RETURN_IF(give(nodes, list, count));
    if (data && list)
      std::fill_n(data, *count, CUgraphEdgeData{});
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode handle, CUgraphNode *list,
                                         CUgraphEdgeData *data, size_t *count) {
  return withNode<Operation>(handle, [&](Driver &, Node &node, Operation &) -> CUresult {
    PTXSIM_RETURN_IF(give(dependents(node), list, count));
    if (data && list)
      std::fill_n(data, *count, CUgraphEdgeData{});
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *, size_t count) {
  return changeEdges(graph, from, to, count, true);
}
CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                      const CUgraphEdgeData *, size_t count) {
  return changeEdges(graph, from, to, count, false);
}

CUresult cuGraphDestroyNode(CUgraphNode handle) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto node = driver.nodes.find(handle);
    auto graph = node ? node->graph.lock() : nullptr;
    if (!graph)
      return CUDA_ERROR_INVALID_VALUE;
    for (const auto &other : graph->nodes)
      std::erase(other->after, node);
    std::erase(graph->nodes, node);
    if (auto *child = std::get_if<ChildOperation>(&node->operation))
      destroyGraph(driver, child->graph);
    driver.nodes.remove(node->handle);
    return CUDA_SUCCESS;
  });
}

} // extern "C"
