// Graphs: capture, construction, replay, update; what they do not order shows.
#include "tools/ptxsim/driver/api_testing.h"

#include <atomic>
#include <cstring>

namespace platen::ptxsim {
namespace {

class GraphTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    for (CUstream &stream : streams_)
      ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    set_ = function(kArithmetic, "set_value");
    scale_ = function(kArithmetic, "scale");
  }
  CUevent event() {
    CUevent result = nullptr;
    EXPECT_OK(cuEventCreate(&result, CU_EVENT_DISABLE_TIMING));
    return result;
  }
  CUgraphNode addKernel(CUgraph graph, std::vector<CUgraphNode> after, CUfunction f,
                        std::vector<void *> arguments) {
    CUDA_KERNEL_NODE_PARAMS parameters{};
    parameters.func = f;
    parameters.gridDimX = parameters.gridDimY = parameters.gridDimZ = 1;
    parameters.blockDimX = 32;
    parameters.blockDimY = parameters.blockDimZ = 1;
    if (f == set_)
      parameters.blockDimX = 1;
    parameters.kernelParams = arguments.data();
    CUgraphNode node = nullptr;
    EXPECT_OK(cuGraphAddKernelNode(&node, graph, after.data(), after.size(), &parameters));
    return node;
  }
  CUgraphExec instantiate(CUgraph graph) {
    CUgraphExec exec = nullptr;
    EXPECT_OK(cuGraphInstantiate(&exec, graph, 0));
    return exec;
  }
  uint32_t runAndRead(CUgraphExec exec, CUdeviceptr p) {
    EXPECT_OK(cuGraphLaunch(exec, streams_[0]));
    EXPECT_OK(cuStreamSynchronize(streams_[0]));
    return download<uint32_t>(p, 1)[0];
  }
  CUstream streams_[2]{};
  CUfunction set_ = nullptr, scale_ = nullptr;
};

TEST_F(GraphTest, ACapturedDecodeStepReplaysEqually) {
  std::vector<uint32_t> in(64, 2), expected(64, 12);
  CUdeviceptr p = allocate(256), q = allocate(256);
  uint32_t *pinned = nullptr;
  ASSERT_OK(cuMemAllocHost(reinterpret_cast<void **>(&pinned), 512));
  CUevent fork = event(), join = event();
  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  EXPECT_OK(cuMemcpyHtoDAsync(p, pinned, 256, streams_[0]));
  EXPECT_OK(cuEventRecord(fork, streams_[0]));
  EXPECT_OK(cuStreamWaitEvent(streams_[1], fork, 0));
  EXPECT_OK(cuMemcpyDtoDAsync(q, p, 256, streams_[1]));
  EXPECT_OK(launch(scale_, 2, 32, streams_[1], q, 64u, 6u));
  EXPECT_OK(cuEventRecord(join, streams_[1]));
  EXPECT_OK(cuStreamWaitEvent(streams_[0], join, 0));
  EXPECT_OK(cuMemcpyDtoHAsync(pinned + 64, q, 256, streams_[0]));
  CUstreamCaptureStatus status{};
  EXPECT_OK(cuStreamIsCapturing(streams_[1], &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CUgraph graph = nullptr;
  ASSERT_OK(cuStreamEndCapture(streams_[0], &graph));
  size_t count = 0;
  EXPECT_OK(cuGraphGetNodes(graph, nullptr, &count));
  EXPECT_EQ(count, 4u);
  CUgraphExec exec = instantiate(graph);
  EXPECT_OK(cuGraphDestroy(graph));
  for (uint32_t round = 1; round <= 10; ++round) {
    for (int i = 0; i < 64; ++i)
      pinned[i] = round;
    EXPECT_OK(cuGraphLaunch(exec, streams_[0]));
    EXPECT_OK(cuStreamSynchronize(streams_[0]));
    EXPECT_EQ(std::vector<uint32_t>(pinned + 64, pinned + 128),
              std::vector<uint32_t>(64, 6 * round));
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_CU(ERROR_INVALID_VALUE, cuGraphLaunch(exec, streams_[0]));
}

TEST_F(GraphTest, NothingRunsDuringACapture) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  ASSERT_OK(cuCtxSynchronize());
  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 10u));
  CUgraph graph = nullptr;
  ASSERT_OK(cuStreamEndCapture(streams_[0], &graph));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 1u);
  EXPECT_EQ(runAndRead(instantiate(graph), p), 10u);
}

TEST_F(GraphTest, AMissingEdgeShows) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  ASSERT_OK(cuCtxSynchronize());
  uint32_t value = 10, n = 1, factor = 3;
  CUgraph graph = nullptr;
  ASSERT_OK(cuGraphCreate(&graph, 0));
  CUgraphNode first = addKernel(graph, {}, set_, {&p, &value});
  CUgraphNode second = addKernel(graph, {}, scale_, {&p, &n, &factor});
  EXPECT_EQ(runAndRead(instantiate(graph), p), 10u); // the second ran first
  EXPECT_OK(cuGraphAddDependencies(graph, &first, &second, nullptr, 1));
  EXPECT_CU(ERROR_INVALID_VALUE, cuGraphAddDependencies(graph, &first, &second, nullptr, 1));
  EXPECT_EQ(runAndRead(instantiate(graph), p), 30u);
  EXPECT_OK(cuGraphAddDependencies(graph, &second, &first, nullptr, 1));
  CUgraphExec exec = nullptr;
  EXPECT_CU(ERROR_INVALID_VALUE, cuGraphInstantiate(&exec, graph, 0)); // a cycle
}

TEST_F(GraphTest, NodesOfEveryKind) {
  CUdeviceptr p = allocate(64), q = allocate(64);
  std::atomic<int> calls{0};
  CUgraph graph = nullptr, child = nullptr;
  ASSERT_OK(cuGraphCreate(&graph, 0));
  ASSERT_OK(cuGraphCreate(&child, 0));
  CUgraphNode fill = nullptr, copy = nullptr, host = nullptr, empty = nullptr, nested = nullptr,
              record = nullptr;
  CUDA_MEMSET_NODE_PARAMS memset{p, 0, 5, 4, 16, 1};
  EXPECT_OK(cuGraphAddMemsetNode(&fill, graph, nullptr, 0, &memset, context_));
  uint32_t n = 16, factor = 4;
  addKernel(child, {}, scale_, {&p, &n, &factor});
  EXPECT_OK(cuGraphAddChildGraphNode(&nested, graph, &fill, 1, child));
  EXPECT_OK(cuGraphDestroy(child)); // the node has a copy
  CUDA_MEMCPY3D box{};
  box.srcMemoryType = box.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  box.srcDevice = p;
  box.dstDevice = q;
  box.WidthInBytes = 64;
  box.Height = box.Depth = 1;
  EXPECT_OK(cuGraphAddMemcpyNode(&copy, graph, &nested, 1, &box, context_));
  EXPECT_OK(cuGraphAddEmptyNode(&empty, graph, &copy, 1));
  CUDA_HOST_NODE_PARAMS call{[](void *data) { ++*static_cast<std::atomic<int> *>(data); }, &calls};
  EXPECT_OK(cuGraphAddHostNode(&host, graph, &empty, 1, &call));
  CUevent done = event();
  EXPECT_OK(cuGraphAddEventRecordNode(&record, graph, &host, 1, done));
  CUgraphNodeType type{};
  EXPECT_OK(cuGraphNodeGetType(nested, &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_GRAPH);
  CUgraphExec exec = instantiate(graph);
  EXPECT_OK(cuGraphLaunch(exec, streams_[0]));
  EXPECT_CU(ERROR_NOT_READY, cuEventQuery(done));
  EXPECT_OK(cuEventSynchronize(done));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(download<uint32_t>(q, 16), std::vector<uint32_t>(16, 20));
  CUgraph clone = nullptr;
  CUgraphNode twin = nullptr;
  ASSERT_OK(cuGraphClone(&clone, graph));
  EXPECT_OK(cuGraphNodeFindInClone(&twin, fill, clone));
  EXPECT_NE(twin, fill);
  memset.value = 6;
  EXPECT_OK(cuGraphMemsetNodeSetParams(twin, &memset));
  EXPECT_EQ(runAndRead(instantiate(clone), q), 24u);
  EXPECT_EQ(runAndRead(exec, q), 20u);
  EXPECT_OK(cuGraphNodeSetEnabled(exec, copy, 0));
  EXPECT_OK(cuMemsetD8(q, 0, 64));
  EXPECT_EQ(runAndRead(exec, q), 0u);
}

TEST_F(GraphTest, ParametersOfInstantiatedGraphsChange) {
  CUdeviceptr p = allocate(4), q = allocate(4);
  uint32_t value = 10;
  CUgraph graph = nullptr, other = nullptr;
  ASSERT_OK(cuGraphCreate(&graph, 0));
  CUgraphNode node = addKernel(graph, {}, set_, {&p, &value});
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(runAndRead(exec, p), 10u);
  CUDA_KERNEL_NODE_PARAMS parameters{};
  ASSERT_OK(cuGraphKernelNodeGetParams(node, &parameters));
  EXPECT_EQ(parameters.func, set_);
  EXPECT_EQ(*static_cast<uint32_t *>(parameters.kernelParams[1]), 10u);
  value = 11;
  void *arguments[] = {&q, &value};
  parameters.kernelParams = arguments;
  EXPECT_OK(cuGraphExecKernelNodeSetParams(exec, node, &parameters));
  EXPECT_EQ(runAndRead(exec, q), 11u);
  EXPECT_EQ(runAndRead(instantiate(graph), p), 10u); // the graph itself did not change
  parameters.blockDimX = 2000;
  EXPECT_CU(ERROR_INVALID_VALUE, cuGraphExecKernelNodeSetParams(exec, node, &parameters));
  // A whole update: the same topology with another value.
  ASSERT_OK(cuGraphCreate(&other, 0));
  value = 12;
  addKernel(other, {}, set_, {&q, &value});
  CUgraphExecUpdateResultInfo info{};
  EXPECT_OK(cuGraphExecUpdate(exec, other, &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  EXPECT_EQ(runAndRead(exec, q), 12u);
  addKernel(other, {}, set_, {&q, &value});
  EXPECT_CU(ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate(exec, other, &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
}

TEST_F(GraphTest, CapturesRefuseWhatCannotBeCaptured) {
  CUdeviceptr p = allocate(4), q = 0;
  CUgraph graph = nullptr;
  EXPECT_CU(ERROR_STREAM_CAPTURE_UNSUPPORTED,
            cuStreamBeginCapture(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL)); // the legacy stream
  EXPECT_CU(ERROR_ILLEGAL_STATE, cuStreamEndCapture(streams_[0], &graph));

  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_CU(ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc(&q, 16));
  EXPECT_CU(ERROR_STREAM_CAPTURE_INVALIDATED, launch(set_, 1, 1, streams_[0], p, 1u));
  EXPECT_CU(ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(streams_[0], &graph));
  EXPECT_EQ(graph, nullptr);

  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_CU(ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(streams_[0]));
  EXPECT_CU(ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(streams_[0], &graph));

  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
  CUevent outside = event(), fork = event();
  EXPECT_OK(cuEventRecord(outside, streams_[1]));
  EXPECT_CU(ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(streams_[0], outside, 0));
  EXPECT_CU(ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(streams_[0], &graph));

  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(cuEventRecord(fork, streams_[0]));
  EXPECT_OK(cuStreamWaitEvent(streams_[1], fork, 0));
  EXPECT_OK(launch(set_, 1, 1, streams_[1], p, 1u));
  EXPECT_CU(ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(streams_[1], &graph));
  EXPECT_CU(ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(streams_[0], &graph));
  EXPECT_OK(cuStreamSynchronize(streams_[1])); // it captures no longer

  CUstream blocking = nullptr;
  ASSERT_OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  ASSERT_OK(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_CU(ERROR_STREAM_CAPTURE_IMPLICIT, launch(set_, 1, 1, nullptr, p, 1u));
  EXPECT_CU(ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &graph));
}

TEST_F(GraphTest, RelaxedThreadsMayAllocateDuringACapture) {
  CUgraph graph = nullptr;
  ASSERT_OK(cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  EXPECT_OK(cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  allocate(16);
  EXPECT_OK(cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_OK(cuStreamEndCapture(streams_[0], &graph));
}

TEST_F(GraphTest, LaunchesOfOneGraphFollowEachOther) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  uint32_t n = 1, factor = 2;
  CUgraph graph = nullptr;
  ASSERT_OK(cuGraphCreate(&graph, 0));
  addKernel(graph, {}, scale_, {&p, &n, &factor});
  CUgraphExec exec = instantiate(graph);
  ASSERT_OK(cuCtxSynchronize());
  for (int i = 0; i < 5; ++i)
    EXPECT_OK(cuGraphLaunch(exec, streams_[i % 2]));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 32u);
}

} // namespace
} // namespace platen::ptxsim
