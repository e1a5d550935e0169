// The gradient with respect to x, from the sums of `sums.cu`.
//
// Shapes:  dx, dy, y, x: `rows` rows of `channels` numbers; weight, mean, inv_std, dbias, dweight: (channels).
// Formula: dx = weight * inv_std * (dz - dbias / rows - x_hat * dweight / rows),  x_hat = (x - mean) * inv_std,
//          where dbias = sum(dz) and dweight = sum(dz * x_hat); with x null (evaluation) dx = weight * inv_std * dz.
//          dz = dy, with RELU dy where not y <= 0, else 0. weight may be null: 1.
// Work:    a block takes `per_block` rows, a thread every blockDim.y-th of them and V neighbouring channels, whose
//          factors it computes once.
#include "pack.cuh"

extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const REAL* __restrict__ y, const REAL* __restrict__ x,
    const REAL* __restrict__ weight, const REAL* __restrict__ mean, const REAL* __restrict__ inv_std,
    const REAL* __restrict__ dbias, const REAL* __restrict__ dweight, long long rows, int channels,
    long long per_block) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= channels) return;
  const Pack<REAL> middle = of_channels(mean, c, 0), inverse = of_channels(inv_std, c, 1);
  Pack<REAL> scale = of_channels(weight, c, 1), level = of_channels(dbias, c, 0), along = of_channels(dweight, c, 0);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    scale.a[v] *= inverse.a[v];
    level.a[v] /= REAL(rows);
    along.a[v] /= REAL(rows);
  }
  const long long last = min((blockIdx.y + 1) * per_block, rows);
#pragma unroll 4
  for (long long row = blockIdx.y * per_block + threadIdx.y; row < last; row += blockDim.y) {
    const long long at = row * channels + c;
    Pack<REAL> g = load(dy + at), out, in;
    if (RELU) out = load(y + at);
    if (x) in = load(x + at);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (RELU) g.a[v] = out.a[v] <= 0 ? REAL(0) : g.a[v];
      if (x) g.a[v] -= level.a[v] + (in.a[v] - middle.a[v]) * inverse.a[v] * along.a[v];
      g.a[v] *= scale.a[v];
    }
    store(dx + at, g);
  }
}
