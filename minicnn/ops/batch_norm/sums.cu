// What dweight and dbias are, and dx needs: sums over the rows of each channel.
//
// Shapes:  dy, x, y, dz: `rows` rows of `channels` numbers; mean, inv_std, dweight, dbias: (channels);
//          parts: (blocks, 2 or 1, channels).
// Formula: dbias = sum(dz),  dweight = sum(dz * x_hat),  x_hat = (x - mean) * inv_std;
//          dz = dy, with RELU dy where not y <= 0, else 0; it is written where dz is not null.
//          With x null only dbias.
// Work:    Two kernels. In the first a block takes `per_block` rows, a thread every blockDim.y-th of them and V
//          neighbouring channels, four rows at a time; the threads' sums are added as a tree. In the second 64 threads
//          add the parts of a sum, in double.
#include "pack.cuh"
#define CHUNK 4

// The sum over the rows of threads, as a tree; right for threads with threadIdx.y == 0.
__device__ __forceinline__ Pack<REAL> over_rows(REAL* all, const Pack<REAL>& mine) {
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
  __syncthreads();  // the last sum has been read
  store(all + me * V, mine);
  for (int half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) {
      Pack<REAL> sum = load(all + me * V);
      const Pack<REAL> more = load(all + (me + half * blockDim.x) * V);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += more.a[v];
      store(all + me * V, sum);
    }
  }
  return load(all + me * V);
}

extern "C" __global__ void __launch_bounds__(256) sums_of_blocks(
    REAL* __restrict__ parts, REAL* __restrict__ dz, const REAL* __restrict__ dy, const REAL* __restrict__ y,
    const REAL* __restrict__ x, const REAL* __restrict__ mean, const REAL* __restrict__ inv_std, long long rows,
    int channels, long long per_block) {
  __shared__ __align__(16) REAL all[256 * V];
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  Pack<REAL> sum = {}, product = {};
  if (c < channels) {
    const Pack<REAL> middle = of_channels(mean, c, 0), inverse = of_channels(inv_std, c, 1);
    const long long last = min((blockIdx.y + 1) * per_block, rows);
    for (long long row = blockIdx.y * per_block + threadIdx.y; row < last; row += CHUNK * blockDim.y) {
      Pack<REAL> g[CHUNK], out[CHUNK], in[CHUNK];
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) {
        const long long at = (row + j * blockDim.y) * channels + c;
        if (row + j * blockDim.y < last) {
          g[j] = load(dy + at);
          if (RELU) out[j] = load(y + at);
          if (x) in[j] = load(x + at);
        }
      }
#pragma unroll
      for (int j = 0; j < CHUNK; ++j)
        if (row + j * blockDim.y < last) {
#pragma unroll
          for (int v = 0; v < V; ++v) {
            if (RELU) g[j].a[v] = out[j].a[v] <= 0 ? REAL(0) : g[j].a[v];
            sum.a[v] += g[j].a[v];
            if (x) product.a[v] += g[j].a[v] * ((in[j].a[v] - middle.a[v]) * inverse.a[v]);
          }
          if (RELU && dz) store(dz + (row + j * blockDim.y) * channels + c, g[j]);
        }
    }
  }
  const int kinds = x ? 2 : 1;
  sum = over_rows(all, sum);
  if (x) product = over_rows(all, product);
  if (threadIdx.y == 0 && c < channels) {
    store(parts + (long long)blockIdx.y * kinds * channels + c, sum);
    if (x) store(parts + ((long long)blockIdx.y * kinds + 1) * channels + c, product);
  }
}

// parts: (blocks, columns); column i is channel i of dbias, or channel i - channels of dweight. 8 columns a block.
extern "C" __global__ void __launch_bounds__(512) sums_of_all(
    REAL* __restrict__ dbias, REAL* __restrict__ dweight, const REAL* __restrict__ parts, int channels, int columns,
    int blocks) {
  __shared__ double all[512];
  const int i = blockIdx.x * 8 + threadIdx.x;
  const int me = threadIdx.y * 8 + threadIdx.x;
  double sum = 0;
  if (i < columns)
    for (int b = threadIdx.y; b < blocks; b += 64) sum += parts[(long long)b * columns + i];
  all[me] = sum;
  for (int half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) all[me] += all[me + half * 8];
  }
  if (threadIdx.y > 0 || i >= columns) return;
  if (i < channels) dbias[i] = all[me];
  else dweight[i - channels] = all[me];
}
