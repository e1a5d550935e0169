// A 3x3 convolution with stride 1: each block keeps a patch of the image in shared memory.
//
// Shapes:  x (N, H, W, C), w (K, 3, 3, C), y (N, P, Q, K); channels last.
// Formula: y[n,p,q,k] = sum over r,s,c of x[n, p + r - PH, q + s - PW, c] w[k,r,s,c]
// Work:    a block has TILE x TILE threads, a thread one pixel of the result for one k. For each channel: all threads
//          bring the patch of (TILE + 2) x (TILE + 2) pixels, barrier, nine products each, barrier.
#define SIDE (TILE + 2)

extern "C" __global__ void __launch_bounds__(TILE * TILE) patch(
    float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ w,
    int H, int W, int C, int K, int P, int Q, int PH, int PW) {
  __shared__ float pixels[SIDE * SIDE];
  const int tx = threadIdx.x % TILE, ty = threadIdx.x / TILE;
  const int top = blockIdx.x / ((Q + TILE - 1) / TILE) * TILE, left = blockIdx.x % ((Q + TILE - 1) / TILE) * TILE;
  const int k = blockIdx.y, n = blockIdx.z;
  float sum = 0;
  for (int c = 0; c < C; ++c) {
    for (int i = threadIdx.x; i < SIDE * SIDE; i += TILE * TILE) {
      const int h = top + i / SIDE - PH, v = left + i % SIDE - PW;
      pixels[i] = h >= 0 && h < H && v >= 0 && v < W ? x[((n * H + h) * W + v) * C + c] : 0;
    }
    __syncthreads();  // the patch is complete
    for (int r = 0; r < 3; ++r)
      for (int s = 0; s < 3; ++s) sum += pixels[(ty + r) * SIDE + tx + s] * w[((k * 3 + r) * 3 + s) * C + c];
#ifndef FORGET
    __syncthreads();  // nobody reads it any more: the next channel may overwrite it
#endif
  }
  if (top + ty < P && left + tx < Q) y[((n * P + top + ty) * Q + left + tx) * K + k] = sum;
}
