// What the rungs that fetch 16 bytes at a time want of memory: channels in multiples of 4, and w in the order in which
// the matrix b is read (conv_loads.cuh).
//
// pad_channels:  y (count, C4) = x (count, C) with zeros behind it. One thread 4 channels.
// order_filters: w (K, R, S, C) as (R, S, C4, K4) for FORWARD; for GRAD_INPUT as (SH, SW, T, U, K4, C4), remainder of
//                the stride by remainder: r = remainder_h + SH t, s = remainder_w + SW u, T = ceil(R / SH), U = ceil(S
//                / SW). A remainder with fewer taps than T U has them side by side, and leaves the rest of its room
//                empty. A block moves 32 x 32 channels of a tap through shared memory, so that warps read and write
//                side by side.

extern "C" __global__ void __launch_bounds__(256) pad_channels(
    float* __restrict__ y, const float* __restrict__ x, long long fours, int C) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= fours) return;
  const int per_pixel = (C + 3) / 4, c = i % per_pixel * 4;
  const float* from = x + i / per_pixel * C + c;
  const float last = c + 3 < C ? from[3] : 0;
  reinterpret_cast<float4*>(y)[i] = make_float4(from[0], c + 1 < C ? from[1] : 0, c + 2 < C ? from[2] : 0, last);
}

extern "C" __global__ void __launch_bounds__(256) order_filters(
    float* __restrict__ ordered, const float* __restrict__ w, bool forward, int K, int C, int K4, int C4, int R, int S,
    int SH, int SW) {
  __shared__ float tile[32][33];  // [k][c]; lines of 33 so that its columns, too, lie in 32 different banks
  const int lane = threadIdx.x % 32, line = threadIdx.x / 32, tap = blockIdx.z, r = tap / S, s = tap % S;
  const int c0 = blockIdx.x * 32, k0 = blockIdx.y * 32;
  for (int i = line; i < 32; i += 8) {
    const int k = k0 + i, c = c0 + lane;
    tile[i][lane] = k < K && c < C ? w[((k * R + r) * S + s) * C + c] : 0;
  }
  __syncthreads();
  const int remainder_w = s % SW, remainder = r % SH * SW + remainder_w;
  const int taps_w = (S - remainder_w + SW - 1) / SW, room = (R + SH - 1) / SH * ((S + SW - 1) / SW);
  const int place = remainder * room + r / SH * taps_w + s / SW, rows = forward ? C4 : K4, columns = forward ? K4 : C4;
  for (int i = line; i < 32; i += 8) {
    const int row = (forward ? c0 : k0) + i, column = (forward ? k0 : c0) + lane;
    if (row < rows && column < columns)
      ordered[(place * rows + row) * columns + column] = forward ? tile[lane][i] : tile[i][lane];
  }
}
