// Entry points: instantiated graphs.
#include "tools/ptxsim/driver/graph_nodes.h"

using namespace platen::ptxsim::driver;

namespace {

constexpr uint64_t kKnownFlags = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                                 CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
                                 CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;

CUresult instantiate(CUgraphExec *result, CUgraph handle, uint64_t flags) {
  return withGraph(handle, [&](Driver &driver, Lock &, const auto &graph) -> CUresult {
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)
      return notSupported("cuGraphInstantiate", "graphs that are launched by kernels");
    if (flags & ~kKnownFlags)
      return CUDA_ERROR_INVALID_VALUE;
    auto exec = std::make_shared<GraphExec>();
    exec->flags = flags;
    PTXSIM_RETURN_IF(flatten(*graph, exec->nodes));
    driver.execs.add(exec);
    *result = exec->template as<CUgraphExec>();
    return CUDA_SUCCESS;
  });
}

} // namespace

extern "C" {

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
  return instantiate(exec, graph, flags);
}
CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *errorNode, char *log,
                               size_t logBytes) {
  if (errorNode)
    *errorNode = nullptr;
  if (log && logBytes)
    *log = '\0';
  return instantiate(exec, graph, 0);
}
CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
  if (!parameters)
    return CUDA_ERROR_INVALID_VALUE;
  parameters->hErrNode_out = nullptr;
  CUresult result = instantiate(exec, graph, parameters->flags);
  parameters->result_out =
      result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  return result;
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t *flags) {
  return withExec(handle, [&](Driver &, Lock &, const auto &exec) -> CUresult {
    if (!flags)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream streamHandle) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        auto exec = driver.execs.find(handle);
        auto stream = resolveStream(driver, context, streamHandle);
        if (!exec || !stream)
          return exec ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(stream->context.lock()->error);
        return launchGraph(driver, *exec, stream);
      });
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream streamHandle) {
  return withContext([&](Driver &driver, Lock &,
                         const std::shared_ptr<Context> &context) -> CUresult {
    if (!driver.execs.find(handle))
      return CUDA_ERROR_INVALID_VALUE;
    return resolveStream(driver, context, streamHandle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  return withExec(handle, [](Driver &driver, Lock &, const auto &exec) -> CUresult {
    driver.execs.remove(exec->handle); // launches that are queued hold what they need
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecUpdate_v2(CUgraphExec handle, CUgraph graphHandle,
                              CUgraphExecUpdateResultInfo *info) {
  return withExec(handle, [&](Driver &driver, Lock &, const auto &exec) -> CUresult {
    auto graph = driver.graphs.find(graphHandle);
    if (!graph || !info)
      return CUDA_ERROR_INVALID_VALUE;
    return updateExec(*exec, *graph, *info);
  });
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int enabled) {
  return withExecNode<Operation>(exec, node, [&](Driver &, ExecNode &entry, Operation &operation) {
    CUgraphNodeType type = nodeType(operation);
    if (type != CU_GRAPH_NODE_TYPE_KERNEL && type != CU_GRAPH_NODE_TYPE_MEMCPY &&
        type != CU_GRAPH_NODE_TYPE_MEMSET)
      return CUDA_ERROR_INVALID_VALUE;
    entry.isEnabled = enabled != 0;
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int *enabled) {
  return withExecNode<Operation>(exec, node, [&](Driver &, ExecNode &entry, Operation &) {
    if (!enabled)
      return CUDA_ERROR_INVALID_VALUE;
    *enabled = entry.isEnabled;
    return CUDA_SUCCESS;
  });
}

} // extern "C"
