// Global average pooling, an output of 1 x 1: the mean of each channel of each image, and its gradient.
//
// Shapes:  x, dx: (N, L, C), the L = H W pixels of an image; y, dy: (N, C).
// Formula: y[n,c] = sum of x[n,i,c] over i / L;   dx[n,i,c] = dy[n,c] / L.
// Work:    a block takes one image (grid x) and V blockDim.x channels (grid y); a thread every blockDim.y-th pixel. The
//          threads' sums are added as a tree.
#include "pack.cuh"

extern "C" __global__ void __launch_bounds__(256) mean_of_images(
    REAL* __restrict__ y, const REAL* __restrict__ x, int C, long long L) {
  __shared__ __align__(16) REAL all[256 * V];
  const int c = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
  Pack<REAL> sum = {};
  if (c < C) {
    const REAL* image = x + blockIdx.x * L * C + c;
#pragma unroll 8
    for (long long i = threadIdx.y; i < L; i += blockDim.y) {
      const Pack<REAL> value = load(image + i * C);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += value.a[v];
    }
  }
  store(all + me * V, sum);
  for (int half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) {
      const Pack<REAL> more = load(all + (me + half * blockDim.x) * V);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += more.a[v];
      store(all + me * V, sum);
    }
  }
  if (threadIdx.y > 0 || c >= C) return;
#pragma unroll
  for (int v = 0; v < V; ++v) sum.a[v] /= REAL(L);
  store(y + (long long)blockIdx.x * C + c, sum);
}

extern "C" __global__ void __launch_bounds__(256) mean_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, int C, long long L) {
  const int c = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  Pack<REAL> share = load(dy + (long long)blockIdx.x * C + c);
#pragma unroll
  for (int v = 0; v < V; ++v) share.a[v] /= REAL(L);
  REAL* image = dx + blockIdx.x * L * C + c;
  for (long long i = threadIdx.y; i < L; i += blockDim.y) store(image + i * C, share);
}
