// Entry points of programs that are compiled with a default stream per thread (names that end in
// _ptsz and _ptds): the same, with the null stream meaning the calling thread's.
#include "tools/ptxsim/driver/call.h"

using platen::ptxsim::driver::PerThreadScope;

#define PTXSIM_PER_THREAD(name, suffix, parameters, arguments)                                     \
  extern "C" CUresult name##suffix parameters {                                                    \
    PerThreadScope scope;                                                                          \
    return name arguments;                                                                         \
  }
#define PTSZ(name, parameters, arguments) PTXSIM_PER_THREAD(name, _ptsz, parameters, arguments)
#define PTDS(name, parameters, arguments) PTXSIM_PER_THREAD(name, _ptds, parameters, arguments)

// Copies and fills without a stream.
PTDS(cuMemcpy, (CUdeviceptr t, CUdeviceptr f, size_t n), (t, f, n))
PTDS(cuMemcpyHtoD_v2, (CUdeviceptr t, const void *f, size_t n), (t, f, n))
PTDS(cuMemcpyDtoH_v2, (void *t, CUdeviceptr f, size_t n), (t, f, n))
PTDS(cuMemcpyDtoD_v2, (CUdeviceptr t, CUdeviceptr f, size_t n), (t, f, n))
PTDS(cuMemcpyPeer, (CUdeviceptr t, CUcontext tc, CUdeviceptr f, CUcontext fc, size_t n),
     (t, tc, f, fc, n))
PTDS(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *c), (c))
PTDS(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *c), (c))
PTDS(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *c), (c))
PTDS(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *c), (c))
PTDS(cuMemsetD8_v2, (CUdeviceptr t, unsigned char v, size_t n), (t, v, n))
PTDS(cuMemsetD16_v2, (CUdeviceptr t, unsigned short v, size_t n), (t, v, n))
PTDS(cuMemsetD32_v2, (CUdeviceptr t, unsigned int v, size_t n), (t, v, n))
PTDS(cuMemsetD2D8_v2, (CUdeviceptr t, size_t p, unsigned char v, size_t w, size_t h),
     (t, p, v, w, h))
PTDS(cuMemsetD2D16_v2, (CUdeviceptr t, size_t p, unsigned short v, size_t w, size_t h),
     (t, p, v, w, h))
PTDS(cuMemsetD2D32_v2, (CUdeviceptr t, size_t p, unsigned int v, size_t w, size_t h),
     (t, p, v, w, h))

// Copies and fills with a stream.
PTSZ(cuMemcpyAsync, (CUdeviceptr t, CUdeviceptr f, size_t n, CUstream s), (t, f, n, s))
PTSZ(cuMemcpyHtoDAsync_v2, (CUdeviceptr t, const void *f, size_t n, CUstream s), (t, f, n, s))
PTSZ(cuMemcpyDtoHAsync_v2, (void *t, CUdeviceptr f, size_t n, CUstream s), (t, f, n, s))
PTSZ(cuMemcpyDtoDAsync_v2, (CUdeviceptr t, CUdeviceptr f, size_t n, CUstream s), (t, f, n, s))
PTSZ(cuMemcpyPeerAsync,
     (CUdeviceptr t, CUcontext tc, CUdeviceptr f, CUcontext fc, size_t n, CUstream s),
     (t, tc, f, fc, n, s))
PTSZ(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *c, CUstream s), (c, s))
PTSZ(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *c, CUstream s), (c, s))
PTSZ(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D_PEER *c, CUstream s), (c, s))
PTSZ(cuMemsetD8Async, (CUdeviceptr t, unsigned char v, size_t n, CUstream s), (t, v, n, s))
PTSZ(cuMemsetD16Async, (CUdeviceptr t, unsigned short v, size_t n, CUstream s), (t, v, n, s))
PTSZ(cuMemsetD32Async, (CUdeviceptr t, unsigned int v, size_t n, CUstream s), (t, v, n, s))
PTSZ(cuMemsetD2D8Async, (CUdeviceptr t, size_t p, unsigned char v, size_t w, size_t h, CUstream s),
     (t, p, v, w, h, s))
PTSZ(cuMemsetD2D16Async,
     (CUdeviceptr t, size_t p, unsigned short v, size_t w, size_t h, CUstream s),
     (t, p, v, w, h, s))
PTSZ(cuMemsetD2D32Async, (CUdeviceptr t, size_t p, unsigned int v, size_t w, size_t h, CUstream s),
     (t, p, v, w, h, s))
PTSZ(cuMemAllocAsync, (CUdeviceptr * p, size_t n, CUstream s), (p, n, s))
PTSZ(cuMemAllocFromPoolAsync, (CUdeviceptr * p, size_t n, CUmemoryPool q, CUstream s), (p, n, q, s))
PTSZ(cuMemFreeAsync, (CUdeviceptr p, CUstream s), (p, s))
PTSZ(cuMemPrefetchAsync_v2, (CUdeviceptr p, size_t n, CUmemLocation l, unsigned int f, CUstream s),
     (p, n, l, f, s))

// Streams and events.
PTSZ(cuStreamGetPriority, (CUstream s, int *p), (s, p))
PTSZ(cuStreamGetFlags, (CUstream s, unsigned int *f), (s, f))
PTSZ(cuStreamGetId, (CUstream s, unsigned long long *i), (s, i))
PTSZ(cuStreamGetCtx, (CUstream s, CUcontext *c), (s, c))
PTSZ(cuStreamGetDevice, (CUstream s, CUdevice *d), (s, d))
PTSZ(cuStreamQuery, (CUstream s), (s))
PTSZ(cuStreamSynchronize, (CUstream s), (s))
PTSZ(cuStreamWaitEvent, (CUstream s, CUevent e, unsigned int f), (s, e, f))
PTSZ(cuStreamAddCallback, (CUstream s, CUstreamCallback c, void *d, unsigned int f), (s, c, d, f))
PTSZ(cuStreamAttachMemAsync, (CUstream s, CUdeviceptr p, size_t n, unsigned int f), (s, p, n, f))
PTSZ(cuStreamBeginCapture_v2, (CUstream s, CUstreamCaptureMode m), (s, m))
PTSZ(cuStreamBeginCaptureToGraph,
     (CUstream s, CUgraph g, const CUgraphNode *d, const CUgraphEdgeData *e, size_t n,
      CUstreamCaptureMode m),
     (s, g, d, e, n, m))
PTSZ(cuStreamEndCapture, (CUstream s, CUgraph *g), (s, g))
PTSZ(cuStreamIsCapturing, (CUstream s, CUstreamCaptureStatus *c), (s, c))
extern "C" CUresult cuStreamGetCaptureInfo_v2(CUstream, CUstreamCaptureStatus *, cuuint64_t *,
                                              CUgraph *, const CUgraphNode **, size_t *);
PTSZ(cuStreamGetCaptureInfo_v2,
     (CUstream s, CUstreamCaptureStatus *c, cuuint64_t *i, CUgraph *g, const CUgraphNode **d,
      size_t *n),
     (s, c, i, g, d, n))
PTSZ(cuStreamGetCaptureInfo_v3,
     (CUstream s, CUstreamCaptureStatus *c, cuuint64_t *i, CUgraph *g, const CUgraphNode **d,
      const CUgraphEdgeData **e, size_t *n),
     (s, c, i, g, d, e, n))
PTSZ(cuStreamUpdateCaptureDependencies_v2,
     (CUstream s, CUgraphNode *d, const CUgraphEdgeData *e, size_t n, unsigned int f),
     (s, d, e, n, f))
PTSZ(cuEventRecord, (CUevent e, CUstream s), (e, s))
PTSZ(cuEventRecordWithFlags, (CUevent e, CUstream s, unsigned int f), (e, s, f))

// Launches.
PTSZ(cuLaunchKernel,
     (CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
      unsigned int by, unsigned int bz, unsigned int m, CUstream s, void **p, void **e),
     (f, gx, gy, gz, bx, by, bz, m, s, p, e))
PTSZ(cuLaunchCooperativeKernel,
     (CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
      unsigned int by, unsigned int bz, unsigned int m, CUstream s, void **p),
     (f, gx, gy, gz, bx, by, bz, m, s, p))
PTSZ(cuLaunchKernelEx, (const CUlaunchConfig *c, CUfunction f, void **p, void **e), (c, f, p, e))
PTSZ(cuLaunchHostFunc, (CUstream s, CUhostFn f, void *d), (s, f, d))
PTSZ(cuGraphUpload, (CUgraphExec g, CUstream s), (g, s))
PTSZ(cuGraphLaunch, (CUgraphExec g, CUstream s), (g, s))
PTSZ(cuGraphInstantiateWithParams, (CUgraphExec * e, CUgraph g, CUDA_GRAPH_INSTANTIATE_PARAMS *p),
     (e, g, p))
