// Averages over windows, and their gradient: average pooling, and with ADAPTIVE adaptive average pooling.
//
// Shapes:  x, dx: (N, H, W, C); y, dy: (N, P, Q, C), channels last.
// Formula: y[p,q] = sum of x over the rows of window p and the columns of window q / (count(p) count(q));
//          dx[h,w] = sum of dy[p,q] / (count(p) count(q)) over the windows p that hold h and q that hold w.
//          The window p of average pooling: p stride - padding up to, not including, that + R, cut to the image;
//          count(p) counts its places in the image, or with `padded` also those in the padding.
//          ADAPTIVE: floor(p H / P) up to, not including, ceil((p + 1) H / P).
// Work:    A block takes blockDim.y neighbouring pixels of one row (of y, or of dx), and V blockDim.x channels; grid: x
//          rows of all images, y pixels of the row, z channels. Windows along an axis are neighbours, so those that
//          hold a place are a range too: backward gathers, and no two threads write to one place.
#include "pack.cuh"

// Windows along one axis: `many` windows of `kernel` places over `size` places.
struct Axis { int size, many, kernel, stride, padding, padded; };

// The places of a window that are in the image, and how many count.
struct Window { int first, last, count; };

__device__ __forceinline__ Window window(const Axis& axis, int p) {
  if (ADAPTIVE) {
    const int first = p * axis.size / axis.many;
    const int last = ((p + 1) * axis.size + axis.many - 1) / axis.many;
    return {first, last, last - first};
  }
  const int start = p * axis.stride - axis.padding;
  const int end = min(start + axis.kernel, axis.size + axis.padding);
  const int first = max(start, 0), last = min(end, axis.size);
  return {first, last, axis.padded ? end - start : last - first};
}

// The first window that holds a place, and one past the last.
__device__ __forceinline__ int first_holder(const Axis& axis, int place) {
  if (ADAPTIVE) return place * axis.many / axis.size;
  const int late = place + axis.padding - axis.kernel + 1;
  return late > 0 ? (late + axis.stride - 1) / axis.stride : 0;
}
__device__ __forceinline__ int after_holders(const Axis& axis, int place) {
  if (ADAPTIVE) return ((place + 1) * axis.many + axis.size - 1) / axis.size;
  return min(axis.many, (place + axis.padding) / axis.stride + 1);
}

extern "C" __global__ void __launch_bounds__(256) average(
    REAL* __restrict__ y, const REAL* __restrict__ x, int C, int H, int W, int P, int Q, int R, int S, int stride_h,
    int stride_w, int pad_h, int pad_w, int padded) {
  const int c = (blockIdx.z * blockDim.x + threadIdx.x) * V;
  const int q = blockIdx.y * blockDim.y + threadIdx.y;
  if (c >= C || q >= Q) return;
  const int n = blockIdx.x / P, p = blockIdx.x % P;
  const Window rows = window({H, P, R, stride_h, pad_h, padded}, p);
  const Window columns = window({W, Q, S, stride_w, pad_w, padded}, q);
  Pack<REAL> sum = {};
  for (int h = rows.first; h < rows.last; ++h) {
    const REAL* row = x + ((long long)n * H + h) * W * C + c;
#pragma unroll 4
    for (int w = columns.first; w < columns.last; ++w) {
      const Pack<REAL> value = load(row + (long long)w * C);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += value.a[v];
    }
  }
#pragma unroll
  for (int v = 0; v < V; ++v) sum.a[v] /= REAL((long long)rows.count * columns.count);
  store(y + ((long long)blockIdx.x * Q + q) * C + c, sum);
}

// Four blocks of a multiprocessor leave 64 registers a thread; without the 4 the compiler aims at fewer and spills.
extern "C" __global__ void __launch_bounds__(256, 4) average_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, int C, int H, int W, int P, int Q, int R, int S, int stride_h,
    int stride_w, int pad_h, int pad_w, int padded) {
  const int c = (blockIdx.z * blockDim.x + threadIdx.x) * V;
  const int w = blockIdx.y * blockDim.y + threadIdx.y;
  if (c >= C || w >= W) return;
  const int n = blockIdx.x / H, h = blockIdx.x % H;
  const Axis down = {H, P, R, stride_h, pad_h, padded}, along = {W, Q, S, stride_w, pad_w, padded};
  const int last_p = after_holders(down, h), first_q = first_holder(along, w), last_q = after_holders(along, w);
  Pack<REAL> sum = {};
  for (int p = first_holder(down, h); p < last_p; ++p) {
    const int rows = window(down, p).count;
    const REAL* row = dy + ((long long)n * P + p) * Q * C + c;
    for (int q = first_q; q < last_q; ++q) {
      const REAL share = REAL(1) / REAL((long long)rows * window(along, q).count);
      const Pack<REAL> gradient = load(row + (long long)q * C);
#pragma unroll
      for (int v = 0; v < V; ++v) sum.a[v] += gradient.a[v] * share;
    }
  }
  store(dx + ((long long)blockIdx.x * W + w) * C + c, sum);
}
