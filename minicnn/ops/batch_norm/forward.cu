// Batch normalisation with known statistics; with RELU also a sum and ReLU, while the numbers are in registers.
//
// Shapes:  x, y, residual: `rows` rows of `channels` numbers; mean, var, weight, bias: (channels).
// Formula: y = (x - mean) * weight / sqrt(var + eps) + bias;   with RELU: y = max(that + residual, 0), NaN stays NaN.
//          weight, bias and residual may be null: 1, 0 and 0.
// Work:    a block takes `per_block` rows, a thread every blockDim.y-th of them and V neighbouring channels, whose
//          factors it computes once.
#include "pack.cuh"

extern "C" __global__ void __launch_bounds__(256) batch_norm_forward(
    REAL* __restrict__ y, const REAL* __restrict__ x, const REAL* __restrict__ residual,
    const REAL* __restrict__ weight, const REAL* __restrict__ bias, const REAL* __restrict__ mean,
    const REAL* __restrict__ var, double eps, long long rows, int channels, long long per_block) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= channels) return;
  const Pack<REAL> middle = of_channels(mean, c, 0), shift = of_channels(bias, c, 0);
  Pack<REAL> scale = of_channels(weight, c, 1);
#pragma unroll
  for (int v = 0; v < V; ++v) scale.a[v] *= REAL(1) / REAL(sqrt(var[c + v] + REAL(eps)));
  const long long last = min((blockIdx.y + 1) * per_block, rows);
#pragma unroll 4
  for (long long row = blockIdx.y * per_block + threadIdx.y; row < last; row += blockDim.y) {
    Pack<REAL> z = load(x + row * channels + c), rest;
    if (RELU && residual) rest = load(residual + row * channels + c);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      z.a[v] = (z.a[v] - middle.a[v]) * scale.a[v] + shift.a[v];
      if (RELU && residual) z.a[v] += rest.a[v];
      if (RELU) z.a[v] = z.a[v] <= 0 ? REAL(0) : z.a[v];
    }
    store(y + row * channels + c, z);
  }
}
