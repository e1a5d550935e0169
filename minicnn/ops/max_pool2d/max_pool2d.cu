// Max pooling, and its gradient.
//
// Shapes:  x, dx: (N, H, W, C); y, dy, winner: (N, P, Q, C), channels last; a window has R x S pixels.
// Formula: y = the largest x of the window, winner = h W + w of that pixel: the first maximum, the last NaN;
//          dx = sum of dy over the windows whose winner the pixel is, in the order of (p, q).
//          PLACE is the type of the winners that come back: int, or long long.
// Work:    A block takes blockDim.y neighbouring pixels of one row (of y, or of dx), and V blockDim.x channels; grid: x
//          rows of all images, y pixels of the row, z channels. Windows that overlap find their pixels in the caches.
//          The window is cut to the image beforehand, so that no pixel is asked whether it is inside. Backward
//          gathers: a pixel asks the windows that may hold it; no two threads write to one place.
#include "pack.cuh"

// ceil(a / b) for b > 0, but at least 0.
__device__ __forceinline__ int steps(int a, int b) { return a > 0 ? (a + b - 1) / b : 0; }

extern "C" __global__ void __launch_bounds__(256) max_pool2d_forward(
    REAL* __restrict__ y, int* __restrict__ winner, const REAL* __restrict__ x, int C, int H, int W, int P, int Q,
    int R, int S, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w) {
  const int c = (blockIdx.z * blockDim.x + threadIdx.x) * V;
  const int q = blockIdx.y * blockDim.y + threadIdx.y;
  if (c >= C || q >= Q) return;
  const int n = blockIdx.x / P, p = blockIdx.x % P;
  const int top = p * stride_h - pad_h, left = q * stride_w - pad_w;
  const int first_r = steps(-top, dilation_h), last_r = min(R, steps(H - top, dilation_h));
  const int first_s = steps(-left, dilation_w), last_s = min(S, steps(W - left, dilation_w));
  const REAL* image = x + (long long)n * H * W * C + c;
  Pack<REAL> best;
  Pack<int> where;
#pragma unroll
  for (int v = 0; v < V; ++v) {  // minus infinity, at the first pixel inside the image
    best.a[v] = -__int_as_float(0x7f800000);
    where.a[v] = (top + first_r * dilation_h) * W + left + first_s * dilation_w;
  }
  for (int r = first_r; r < last_r; ++r) {
    const int row = (top + r * dilation_h) * W + left;
#pragma unroll 4
    for (int s = first_s; s < last_s; ++s) {
      const int pixel = row + s * dilation_w;
      const Pack<REAL> value = load(image + (long long)pixel * C);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const bool wins = value.a[v] > best.a[v] || value.a[v] != value.a[v];
        best.a[v] = wins ? value.a[v] : best.a[v];
        where.a[v] = wins ? pixel : where.a[v];
      }
    }
  }
  const long long to = ((long long)blockIdx.x * Q + q) * C + c;
  store(y + to, best);
  store(winner + to, where);
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const PLACE* __restrict__ winner, int C, int H, int W, int P,
    int Q, int R, int S, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w) {
  const int c = (blockIdx.z * blockDim.x + threadIdx.x) * V;
  const int w = blockIdx.y * blockDim.y + threadIdx.y;
  if (c >= C || w >= W) return;
  const int n = blockIdx.x / H, h = blockIdx.x % H;
  // the windows that reach from one side of the pixel to the other; with dilation some of them step over it, but then
  // it is not their winner
  const int first_p = steps(h + pad_h - (R - 1) * dilation_h, stride_h);
  const int last_p = min(P - 1, (h + pad_h) / stride_h);
  const int first_q = steps(w + pad_w - (S - 1) * dilation_w, stride_w);
  const int last_q = min(Q - 1, (w + pad_w) / stride_w);
  const int pixel = h * W + w;
  Pack<REAL> sum = {};
  for (int p = first_p; p <= last_p; ++p) {
    const long long row = ((long long)n * P + p) * Q;
#pragma unroll 2
    for (int q = first_q; q <= last_q; ++q) {
      const long long at = (row + q) * C + c;
      const Pack<PLACE> where = load(winner + at);
      const Pack<REAL> gradient = load(dy + at);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += where.a[v] == pixel ? gradient.a[v] : REAL(0);
    }
  }
  store(dx + ((long long)blockIdx.x * W + w) * C + c, sum);
}

// Places as NumPy and PyTorch keep them: one thread a number.
extern "C" __global__ void __launch_bounds__(256) widen(
    long long* __restrict__ wide, const int* __restrict__ places, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) wide[i] = places[i];
}
