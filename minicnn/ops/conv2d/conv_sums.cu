// Sums that the passes of a convolution end with, always in the same order.
//
// sum_parts:   dw[i] = sum over z of parts[z, i], z = 0, 1, ...; parts (Z, count). One thread a number of dw.
// finish_parts: y[i] = the same sum, + bias[i % K], + residual[i], and the positive part of that if relu; what is null
//               is left out. y (..., K).
// column_sums: parts[b, k] = sum over the pixels of part b of dy[pixel, k]; dy (pixels, K). A block has 32 x 8 threads:
//              32 channels, which lie side by side, times 8 threads that take every eighth pixel of the block's part;
//              the eight sums meet in shared memory. db is the sum of the parts.

extern "C" __global__ void __launch_bounds__(256) sum_parts(
    REAL* __restrict__ dw, const REAL* __restrict__ parts, int count, int Z) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  REAL sum = 0;
  for (int z = 0; z < Z; ++z) sum += parts[(long long)z * count + i];
  dw[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256) finish_parts(
    REAL* __restrict__ y, const REAL* __restrict__ parts, const REAL* __restrict__ bias,
    const REAL* __restrict__ residual, bool relu, int K, int count, int Z) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  REAL sum = 0;
  for (int z = 0; z < Z; ++z) sum += parts[(long long)z * count + i];
  if (bias) sum += bias[i % K];
  if (residual) sum += residual[i];
  y[i] = relu && sum <= 0 ? REAL(0) : sum;  // NaN stays NaN
}

extern "C" __global__ void __launch_bounds__(256) column_sums(
    REAL* __restrict__ parts, const REAL* __restrict__ dy, long long pixels, int K) {
  __shared__ REAL sums[8][32];
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32, k = blockIdx.y * 32 + lane;
  const long long part = (pixels + gridDim.x - 1) / gridDim.x, begin = part * blockIdx.x;
  const long long end = begin + part < pixels ? begin + part : pixels;
  REAL sum = 0;
  if (k < K)
    for (long long i = begin + row; i < end; i += 8) sum += dy[i * K + k];
  sums[row][lane] = sum;
  __syncthreads();
  if (row != 0 || k >= K) return;
  for (int r = 1; r < 8; ++r) sum += sums[r][lane];
  parts[(long long)blockIdx.x * K + k] = sum;
}
