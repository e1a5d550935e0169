// Mean and variance of each channel, in one pass over memory.
//
// Shapes:  x: `rows` rows of `channels` numbers; mean, var: (channels); sums, squares: (blocks, channels).
// Formula: mean = sum(x) / rows,  var = sum((x - mean)^2) / rows.
// Work:    Two kernels. In the first a block takes `per_block` rows, a thread every blockDim.y-th of them and V
//          neighbouring channels, eight rows at a time: these are in registers, so their own mean and the squares of
//          their deviations from it cost no second look at memory. Parts with counts m, n, sums s, t and squares p, q
//          become one (Chan):  squares = p + q + (t / n - s / m)^2 m n / (m + n).  So merge the chunks of a thread,
//          then the threads of a block, as a tree. The second kernel brings the blocks together, in double.
//          All sums are of x - pivot, where pivot is the channel's first number: with a mean far from zero the digits
//          that differ are kept.
#include "pack.cuh"
#define CHUNK 8

// What the sums are taken around. Any finite number is right.
__device__ __forceinline__ REAL pivot_of(REAL first) { return isfinite(first) ? first : REAL(0); }

extern "C" __global__ void __launch_bounds__(256) statistics_of_blocks(
    REAL* __restrict__ sums, REAL* __restrict__ squares, const REAL* __restrict__ x, long long rows, int channels,
    long long per_block) {
  __shared__ REAL all_sums[256 * V];
  __shared__ REAL all_squares[256 * V];
  __shared__ int counts[256];
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
  const long long last = min((blockIdx.y + 1) * per_block, rows);
  REAL sum[V] = {}, square[V] = {};
  int count = 0;
  if (c < channels) {
    const Pack<REAL> first = load(x + c);
    for (long long row = blockIdx.y * per_block + threadIdx.y; row < last; row += CHUNK * blockDim.y) {
      Pack<REAL> chunk[CHUNK];
      int many = 0;
#pragma unroll
      for (int j = 0; j < CHUNK; ++j)
        if (row + j * blockDim.y < last) {
          chunk[j] = load(x + (row + j * blockDim.y) * channels + c);
          ++many;
        }
      const REAL share = REAL(1) / many, before = count ? REAL(1) / count : REAL(0);
      const REAL weight = REAL(count) * many / (count + many);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const REAL pivot = pivot_of(first.a[v]);
        REAL part = 0, off = 0;
#pragma unroll
        for (int j = 0; j < CHUNK; ++j) part += j < many ? chunk[j].a[v] - pivot : REAL(0);
        const REAL middle = part * share;
#pragma unroll
        for (int j = 0; j < CHUNK; ++j) {
          const REAL d = j < many ? chunk[j].a[v] - pivot - middle : REAL(0);
          off += d * d;
        }
        const REAL gap = middle - sum[v] * before;
        square[v] += off + gap * gap * weight;
        sum[v] += part;
      }
      count += many;
    }
  }
  counts[me] = count;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    all_sums[me * V + v] = sum[v];
    all_squares[me * V + v] = square[v];
  }
  for (int half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    const int other = me + half * blockDim.x;
    if (threadIdx.y < half && counts[other]) {  // the threads before one that has rows have some too
      const REAL m = counts[me], n = counts[other];
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const REAL gap = all_sums[other * V + v] / n - all_sums[me * V + v] / m;
        all_squares[me * V + v] += all_squares[other * V + v] + gap * gap * (m * n / (m + n));
        all_sums[me * V + v] += all_sums[other * V + v];
      }
      counts[me] += counts[other];
    }
  }
  if (threadIdx.y == 0 && c < channels) {
    Pack<REAL> total, spread;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      total.a[v] = all_sums[me * V + v];
      spread.a[v] = all_squares[me * V + v];
    }
    store(sums + (long long)blockIdx.y * channels + c, total);
    store(squares + (long long)blockIdx.y * channels + c, spread);
  }
}

// Sum over the 64 threads of a channel (8 channels side by side), as a tree; every thread gets it.
__device__ __forceinline__ double over_threads(double* all, double mine) {
  const int me = threadIdx.y * 8 + threadIdx.x;
  __syncthreads();  // the last sum has been read
  all[me] = mine;
  for (int half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) all[me] += all[me + half * 8];
  }
  __syncthreads();
  return all[threadIdx.x];
}

// A block takes 8 channels, 64 threads each. Two sweeps over the blocks' sums, the second around the mean.
extern "C" __global__ void __launch_bounds__(512) statistics_of_all(
    REAL* __restrict__ mean, REAL* __restrict__ var, const REAL* __restrict__ sums, const REAL* __restrict__ squares,
    const REAL* __restrict__ x, long long rows, int channels, int blocks, long long per_block) {
  __shared__ double all[512];
  const int c = blockIdx.x * 8 + threadIdx.x;
  double sum = 0, square = 0;
  if (c < channels)
    for (int b = threadIdx.y; b < blocks; b += 64) sum += sums[(long long)b * channels + c];
  const double middle = over_threads(all, sum) / rows;
  if (c < channels)
    for (int b = threadIdx.y; b < blocks; b += 64) {
      const double many = min(per_block, rows - b * per_block);
      const double gap = sums[(long long)b * channels + c] / many - middle;
      square += squares[(long long)b * channels + c] + gap * gap * many;
    }
  square = over_threads(all, square);
  if (c < channels && threadIdx.y == 0) {
    mean[c] = pivot_of(x[c]) + middle;
    var[c] = square / rows;
  }
}
