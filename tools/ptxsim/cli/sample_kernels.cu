// Kernels of the sample program, written as one writes CUDA C++.
extern "C" __global__ void vectorAdd(const float *a, const float *b, float *c, int n) {
  int i = blockDim.x * blockIdx.x + threadIdx.x;
  if (i < n)
    c[i] = a[i] + b[i];
}

// The check is missing: threads behind the end write out of bounds.
extern "C" __global__ void vectorAddUnchecked(const float *a, const float *b, float *c, int n) {
  int i = blockDim.x * blockIdx.x + threadIdx.x;
  c[i] = (i < n ? a[i] + b[i] : 0.0f);
}

constexpr int kTile = 16;

// c[m][n] = a[m][k] * b[k][n]; all multiples of the tile.
extern "C" __global__ void matrixMul(const float *a, const float *b, float *c, int k, int n) {
  __shared__ float left[kTile][kTile], right[kTile][kTile];
  int x = threadIdx.x, y = threadIdx.y;
  int row = blockIdx.y * kTile + y, column = blockIdx.x * kTile + x;
  float sum = 0;
  for (int step = 0; step < k; step += kTile) {
    left[y][x] = a[row * k + step + x];
    right[y][x] = b[(step + y) * n + column];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTile; ++i)
      sum += left[y][i] * right[i][x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

// One value a block, by warp shuffles and shared memory.
extern "C" __global__ void reduceSum(const int *in, int *out, int n) {
  __shared__ int partial[32];
  int sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    sum += in[i];
  for (int offset = 16; offset > 0; offset /= 2)
    sum += __shfl_down_sync(0xFFFFFFFF, sum, offset);
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
    for (int offset = 16; offset > 0; offset /= 2)
      sum += __shfl_down_sync(0xFFFFFFFF, sum, offset);
    if (threadIdx.x == 0)
      atomicAdd(out, sum);
  }
}
