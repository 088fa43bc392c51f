// Entry points: the nodes of graphs, their parameters and attributes.
#include "tools/ptxsim/driver/copies.h"
#include "tools/ptxsim/driver/graph_nodes.h"

#include <algorithm>

using namespace platen::ptxsim::driver;

namespace platen::ptxsim::driver {

CUresult readKernelNode(Driver &driver, const CUDA_KERNEL_NODE_PARAMS_v2 &p,
                        const KernelOperation *old, KernelOperation &kernel) {
  CUresult result = CUDA_SUCCESS;
  auto context = p.ctx ? driver.contexts.find(p.ctx) : currentContext(driver, result);
  if (!context)
    return p.ctx ? CUDA_ERROR_INVALID_CONTEXT : result;
  const void *handle = p.func ? static_cast<const void *>(p.func) : p.kern;
  PTXSIM_RETURN_IF(resolveFunction(driver, context, handle, kernel.function));
  auto own = kernel.function->context.lock();
  kernel.grid = {p.gridDimX, p.gridDimY, p.gridDimZ};
  kernel.block = {p.blockDimX, p.blockDimY, p.blockDimZ};
  kernel.dynamicSharedBytes = p.sharedMemBytes;
  const auto &required = kernel.function->info->requiredCluster;
  if (old) {
    kernel.cluster = old->cluster;
    kernel.hasCluster = old->hasCluster;
    kernel.cooperative = old->cooperative;
  } else if (required.x) {
    kernel.cluster = {required.x, std::max(1u, required.y), std::max(1u, required.z)};
    kernel.hasCluster = true;
  }
  if (!own)
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  PTXSIM_RETURN_IF(checkLaunch(*own, kernel));
  return packParameters(*kernel.function->info, p.kernelParams, p.extra, kernel.parameters);
}

} // namespace platen::ptxsim::driver

namespace {

/// make(driver, operation) fills the operation; the node is added behind `list`.
template <class Make>
CUresult add(CUgraphNode *result, CUgraph handle, const CUgraphNode *list, size_t count,
             CUcontext contextHandle, Make &&make) {
  return withGraph(handle, [&](Driver &driver, Lock &, const auto &graph) -> CUresult {
    if (!result || (count && !list))
      return CUDA_ERROR_INVALID_VALUE;
    std::vector<std::shared_ptr<Node>> after;
    for (size_t i = 0; i < count; ++i) {
      auto node = driver.nodes.find(list[i]);
      if (!node || node->graph.lock() != graph ||
          std::find(after.begin(), after.end(), node) != after.end())
        return CUDA_ERROR_INVALID_VALUE;
      after.push_back(std::move(node));
    }
    std::shared_ptr<Context> context;
    if (contextHandle) {
      context = driver.contexts.find(contextHandle);
      if (!context)
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    Operation operation;
    PTXSIM_RETURN_IF(make(driver, operation));
    if (auto *kernel = std::get_if<KernelOperation>(&operation))
      context = kernel->function->context.lock();
    *result = addNode(driver, graph, std::move(operation), std::move(after), context)
                  ->template as<CUgraphNode>();
    return CUDA_SUCCESS;
  });
}

CUDA_KERNEL_NODE_PARAMS_v2 widened(const CUDA_KERNEL_NODE_PARAMS_v1 &p) {
  return {p.func,      p.gridDimX,       p.gridDimY,     p.gridDimZ, p.blockDimX, p.blockDimY,
          p.blockDimZ, p.sharedMemBytes, p.kernelParams, p.extra,    nullptr,     nullptr};
}

/// Describes a stored kernel. The parameter pointers live as long as the node is unchanged.
CUDA_KERNEL_NODE_PARAMS_v2 described(const KernelOperation &kernel, Node &node) {
  std::vector<void *> &list = node.parameters;
  list.clear();
  for (const auto &parameter : kernel.function->info->parameters)
    list.push_back(const_cast<char *>(kernel.parameters.data()) + parameter.offset);
  return {kernel.function->as<CUfunction>(),
          kernel.grid.x,
          kernel.grid.y,
          kernel.grid.z,
          kernel.block.x,
          kernel.block.y,
          kernel.block.z,
          static_cast<unsigned>(kernel.dynamicSharedBytes),
          list.data(),
          nullptr,
          nullptr,
          nullptr};
}

CUresult makeFill(const CUDA_MEMSET_NODE_PARAMS *p, Operation &operation) {
  FillOperation fill;
  if (!p)
    return CUDA_ERROR_INVALID_VALUE;
  PTXSIM_RETURN_IF(
      describeFill(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height, fill));
  operation = fill;
  return CUDA_SUCCESS;
}

CUresult makeCopy(const CUDA_MEMCPY3D *p, Operation &operation) {
  CopyOperation copy;
  if (!p)
    return CUDA_ERROR_INVALID_VALUE;
  PTXSIM_RETURN_IF(describeCopy(*p, copy));
  PTXSIM_RETURN_IF(checkRanges(copy));
  operation = std::move(copy);
  return CUDA_SUCCESS;
}

CUresult makeHost(CUhostFn function, void *data, Operation &operation) {
  if (!function)
    return CUDA_ERROR_INVALID_VALUE;
  operation = HostOperation{function, data, nullptr, nullptr};
  return CUDA_SUCCESS;
}

template <class T> CUresult makeEvent(Driver &driver, CUevent handle, Operation &operation) {
  auto event = driver.events.find(handle);
  if (!event)
    return CUDA_ERROR_INVALID_HANDLE;
  operation = T{std::move(event)};
  return CUDA_SUCCESS;
}

CUresult makeChild(Driver &driver, CUgraph handle, Operation &operation) {
  auto child = driver.graphs.find(handle);
  if (!child)
    return CUDA_ERROR_INVALID_VALUE;
  auto copy = cloneGraph(driver, *child);
  copy->isChild = true;
  operation = ChildOperation{std::move(copy)};
  return CUDA_SUCCESS;
}

CUresult makeKernel(Driver &driver, const CUDA_KERNEL_NODE_PARAMS_v2 &parameters,
                    const KernelOperation *old, Operation &operation) {
  KernelOperation kernel;
  PTXSIM_RETURN_IF(readKernelNode(driver, parameters, old, kernel));
  operation = std::move(kernel);
  return CUDA_SUCCESS;
}

/// CUgraphNodeParams of any type. `old`: what the node holds now, whose type must stay.
CUresult makeAny(Driver &driver, const CUgraphNodeParams *p, const Operation *old,
                 Operation &operation) {
  if (!p || (old && nodeType(*old) != p->type))
    return CUDA_ERROR_INVALID_VALUE;
  switch (p->type) {
  case CU_GRAPH_NODE_TYPE_KERNEL: {
    const CUDA_KERNEL_NODE_PARAMS_v3 &k = p->kernel;
    return makeKernel(driver,
                      {k.func, k.gridDimX, k.gridDimY, k.gridDimZ, k.blockDimX, k.blockDimY,
                       k.blockDimZ, k.sharedMemBytes, k.kernelParams, k.extra, k.kern, k.ctx},
                      old ? std::get_if<KernelOperation>(old) : nullptr, operation);
  }
  case CU_GRAPH_NODE_TYPE_MEMCPY:
    return makeCopy(&p->memcpy.copyParams, operation);
  case CU_GRAPH_NODE_TYPE_MEMSET: {
    const auto &m = p->memset;
    CUDA_MEMSET_NODE_PARAMS fill{m.dst, m.pitch, m.value, m.elementSize, m.width, m.height};
    return makeFill(&fill, operation);
  }
  case CU_GRAPH_NODE_TYPE_HOST:
    return makeHost(p->host.fn, p->host.userData, operation);
  case CU_GRAPH_NODE_TYPE_GRAPH:
    return makeChild(driver, p->graph.graph, operation);
  case CU_GRAPH_NODE_TYPE_EMPTY:
    operation = EmptyOperation{};
    return CUDA_SUCCESS;
  case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
    return makeEvent<EventRecordOperation>(driver, p->eventRecord.event, operation);
  case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    return makeEvent<EventWaitOperation>(driver, p->eventWait.event, operation);
  default:
    return notSupported("cuGraphAddNode", "allocation, semaphore and conditional nodes");
  }
}

} // namespace

extern "C" {

CUresult cuGraphAddNode_v2(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                           const CUgraphEdgeData *, size_t count, CUgraphNodeParams *parameters) {
  return add(result, graph, list, count, nullptr, [&](Driver &driver, Operation &operation) {
    return makeAny(driver, parameters, nullptr, operation);
  });
}

CUresult cuGraphNodeSetParams(CUgraphNode handle, CUgraphNodeParams *parameters) {
  return withNode<Operation>(handle, [&](Driver &driver, Node &, Operation &operation) {
    Operation made;
    PTXSIM_RETURN_IF(makeAny(driver, parameters, &operation, made));
    operation = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                  CUgraphNodeParams *parameters) {
  return withExecNode<Operation>(exec, node, [&](Driver &driver, ExecNode &, Operation &operation) {
    Operation made;
    PTXSIM_RETURN_IF(makeAny(driver, parameters, &operation, made));
    operation = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                                 size_t count, const CUDA_KERNEL_NODE_PARAMS_v2 *parameters) {
  return add(result, graph, list, count, nullptr, [&](Driver &driver, Operation &operation) {
    return parameters ? makeKernel(driver, *parameters, nullptr, operation)
                      : CUDA_ERROR_INVALID_VALUE;
  });
}
#undef cuGraphAddKernelNode
CUresult cuGraphAddKernelNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                              size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *parameters) {
  if (!parameters)
    return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS_v2 wide = widened(*parameters);
  return cuGraphAddKernelNode_v2(result, graph, list, count, &wide);
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v2 *parameters) {
  return withNode<KernelOperation>(handle, [&](Driver &, Node &node, KernelOperation &kernel) {
    if (!parameters)
      return CUDA_ERROR_INVALID_VALUE;
    *parameters = described(kernel, node);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode handle,
                                       const CUDA_KERNEL_NODE_PARAMS_v2 *parameters) {
  return withNode<KernelOperation>(handle, [&](Driver &driver, Node &, KernelOperation &kernel) {
    KernelOperation made;
    if (!parameters)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(readKernelNode(driver, *parameters, &kernel, made));
    kernel = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS_v2 *parameters) {
  return withExecNode<KernelOperation>(
      exec, node, [&](Driver &driver, ExecNode &, KernelOperation &kernel) -> CUresult {
        KernelOperation made;
        if (!parameters)
          return CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(readKernelNode(driver, *parameters, &kernel, made));
        if (made.function->context.lock() != kernel.function->context.lock())
          return CUDA_ERROR_INVALID_VALUE;
        kernel = std::move(made);
        return CUDA_SUCCESS;
      });
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode handle, CUlaunchAttributeID id,
                                       const CUlaunchAttributeValue *value) {
  return withNode<KernelOperation>(handle, [&](Driver &, Node &, KernelOperation &kernel) {
    return value ? applyAttribute(kernel, id, *value) : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode handle, CUlaunchAttributeID id,
                                       CUlaunchAttributeValue *value) {
  return withNode<KernelOperation>(handle, [&](Driver &, Node &, KernelOperation &kernel) {
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    *value = {};
    if (id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
      value->cooperative = kernel.cooperative;
    else if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
      value->priority = kernel.priority;
    else if (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && kernel.hasCluster)
      value->clusterDim = {kernel.cluster.x, kernel.cluster.y, kernel.cluster.z};
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                              size_t count, const CUDA_MEMCPY3D *parameters, CUcontext context) {
  return add(result, graph, list, count, context,
             [&](Driver &, Operation &operation) { return makeCopy(parameters, operation); });
}
CUresult cuGraphMemcpyNodeSetParams(CUgraphNode handle, const CUDA_MEMCPY3D *parameters) {
  return withNode<CopyOperation>(handle, [&](Driver &, Node &node, CopyOperation &) {
    return makeCopy(parameters, node.operation);
  });
}
CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D *parameters, CUcontext) {
  return withExecNode<CopyOperation>(exec, node, [&](Driver &, ExecNode &entry, CopyOperation &) {
    return makeCopy(parameters, entry.operation);
  });
}

CUresult cuGraphAddMemsetNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                              size_t count, const CUDA_MEMSET_NODE_PARAMS *parameters,
                              CUcontext context) {
  return add(result, graph, list, count, context,
             [&](Driver &, Operation &operation) { return makeFill(parameters, operation); });
}
CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS *parameters) {
  return withNode<FillOperation>(handle, [&](Driver &, Node &, FillOperation &fill) {
    if (!parameters)
      return CUDA_ERROR_INVALID_VALUE;
    *parameters = {fill.address,      fill.pitch, fill.value,
                   fill.elementBytes, fill.width, fill.height};
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphMemsetNodeSetParams(CUgraphNode handle, const CUDA_MEMSET_NODE_PARAMS *parameters) {
  return withNode<FillOperation>(handle, [&](Driver &, Node &node, FillOperation &) {
    return makeFill(parameters, node.operation);
  });
}
CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS *parameters, CUcontext) {
  return withExecNode<FillOperation>(exec, node, [&](Driver &, ExecNode &entry, FillOperation &) {
    return makeFill(parameters, entry.operation);
  });
}

CUresult cuGraphAddHostNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                            size_t count, const CUDA_HOST_NODE_PARAMS *parameters) {
  return add(result, graph, list, count, nullptr, [&](Driver &, Operation &operation) {
    return parameters ? makeHost(parameters->fn, parameters->userData, operation)
                      : CUDA_ERROR_INVALID_VALUE;
  });
}
CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS *parameters) {
  return withNode<HostOperation>(handle, [&](Driver &, Node &, HostOperation &host) {
    if (!parameters)
      return CUDA_ERROR_INVALID_VALUE;
    *parameters = {host.function, host.data};
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphHostNodeSetParams(CUgraphNode handle, const CUDA_HOST_NODE_PARAMS *parameters) {
  return withNode<HostOperation>(handle, [&](Driver &, Node &node, HostOperation &) {
    return parameters ? makeHost(parameters->fn, parameters->userData, node.operation)
                      : CUDA_ERROR_INVALID_VALUE;
  });
}
CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS *parameters) {
  return withExecNode<HostOperation>(exec, node, [&](Driver &, ExecNode &entry, HostOperation &) {
    return parameters ? makeHost(parameters->fn, parameters->userData, entry.operation)
                      : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                                  size_t count, CUgraph child) {
  return add(result, graph, list, count, nullptr, [&](Driver &driver, Operation &operation) {
    return child == graph ? CUDA_ERROR_INVALID_VALUE : makeChild(driver, child, operation);
  });
}
CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph *graph) {
  return withNode<ChildOperation>(handle, [&](Driver &, Node &, ChildOperation &child) {
    if (!graph)
      return CUDA_ERROR_INVALID_VALUE;
    *graph = child.graph->as<CUgraph>();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphAddEmptyNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                             size_t count) {
  return add(result, graph, list, count, nullptr,
             [](Driver &, Operation &) { return CUDA_SUCCESS; });
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                                   size_t count, CUevent event) {
  return add(result, graph, list, count, nullptr, [&](Driver &driver, Operation &operation) {
    return makeEvent<EventRecordOperation>(driver, event, operation);
  });
}
CUresult cuGraphAddEventWaitNode(CUgraphNode *result, CUgraph graph, const CUgraphNode *list,
                                 size_t count, CUevent event) {
  return add(result, graph, list, count, nullptr, [&](Driver &driver, Operation &operation) {
    return makeEvent<EventWaitOperation>(driver, event, operation);
  });
}

} // extern "C"
