// Graphs: nodes with dependencies, instantiated into a list that each launch queues anew; what the
// graph does not order, the engine may reorder.
#pragma once

#include "tools/ptxsim/driver/streams.h"

namespace platen::ptxsim::driver {

std::shared_ptr<Node> addNode(Driver &driver, const std::shared_ptr<Graph> &graph,
                              Operation operation, std::vector<std::shared_ptr<Node>> after,
                              std::shared_ptr<Context> context);
CUgraphNodeType nodeType(const Operation &operation);
/// A graph with the same nodes and new handles; each node knows which it was cloned from.
std::shared_ptr<Graph> cloneGraph(Driver &driver, const Graph &graph);
void destroyGraph(Driver &driver, const std::shared_ptr<Graph> &graph);

/// Child graphs are laid flat. CUDA_ERROR_INVALID_VALUE: the dependencies have a cycle.
CUresult flatten(const Graph &graph, std::vector<ExecNode> &nodes);
CUresult launchGraph(Driver &driver, GraphExec &exec, const std::shared_ptr<Stream> &stream);
/// Takes the operations of a graph of the same topology.
CUresult updateExec(GraphExec &exec, const Graph &graph, CUgraphExecUpdateResultInfo &info);

} // namespace platen::ptxsim::driver
