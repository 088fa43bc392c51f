// What the entry points about graphs share: finding handles, reading node parameters.
#pragma once

#include "tools/ptxsim/driver/graphs.h"
#include "tools/ptxsim/driver/modules.h"

namespace platen::ptxsim::driver {

/// body(driver, lock, graph)
template <class Body> CUresult withGraph(CUgraph handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    auto graph = driver.graphs.find(handle);
    return graph ? body(driver, lock, graph) : CUDA_ERROR_INVALID_VALUE;
  });
}

/// body(driver, node, operation) for a node that holds an operation of kind T (Operation: any).
template <class T, class Body> CUresult withNode(CUgraphNode handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto node = driver.nodes.find(handle);
    if (!node)
      return CUDA_ERROR_INVALID_VALUE;
    if constexpr (std::is_same_v<T, Operation>) {
      return body(driver, *node, node->operation);
    } else {
      auto *operation = std::get_if<T>(&node->operation);
      return operation ? body(driver, *node, *operation) : CUDA_ERROR_INVALID_VALUE;
    }
  });
}

/// body(driver, lock, exec)
template <class Body> CUresult withExec(CUgraphExec handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    auto exec = driver.execs.find(handle);
    return exec ? body(driver, lock, exec) : CUDA_ERROR_INVALID_VALUE;
  });
}

/// body(driver, exec node, operation): the node of an instantiated graph that was made of `node`.
template <class T, class Body>
CUresult withExecNode(CUgraphExec handle, CUgraphNode node, Body &&body) {
  return withExec(handle, [&](Driver &driver, Lock &, const auto &exec) -> CUresult {
    for (ExecNode &entry : exec->nodes) {
      if (entry.node != reinterpret_cast<uint64_t>(node))
        continue;
      if constexpr (std::is_same_v<T, Operation>) {
        return body(driver, entry, entry.operation);
      } else {
        auto *operation = std::get_if<T>(&entry.operation);
        return operation ? body(driver, entry, *operation) : CUDA_ERROR_INVALID_VALUE;
      }
    }
    return CUDA_ERROR_INVALID_VALUE;
  });
}

/// A kernel node's operation from the API's parameters. `old`: whose attributes (cluster, …) stay.
CUresult readKernelNode(Driver &driver, const CUDA_KERNEL_NODE_PARAMS_v2 &parameters,
                        const KernelOperation *old, KernelOperation &kernel);

} // namespace platen::ptxsim::driver
