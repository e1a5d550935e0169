// Filters with the channels of the result innermost, as GRAD_INPUT on tensor cores reads them: its depth is k.
//
// Shapes:  w (K, TAPS, C), turned (C, TAPS, K4); K4 is K rounded up to a multiple of 4.
// Formula: turned[c, tap, k] = w[k, tap, c] for k < K, else 0.
// Work:    a block of 32 x 4 threads turns 32 x 32 numbers of a tap, by shared memory, so that neighbouring threads
//          both read and write neighbouring numbers. Lines of 33 numbers: a column then lies in 32 different banks.
extern "C" __global__ void __launch_bounds__(128) turned_filters(
    float* __restrict__ turned, const float* __restrict__ w, int K, int TAPS, int C, int K4) {
  __shared__ float tile[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, tap = blockIdx.x, c0 = blockIdx.y * 32, k0 = blockIdx.z * 32;
  for (int i = ty; i < 32; i += 4)
    tile[i][tx] = k0 + i < K && c0 + tx < C ? w[((k0 + i) * TAPS + tap) * C + c0 + tx] : 0.0f;
  __syncthreads();
  for (int i = ty; i < 32; i += 4)
    if (c0 + i < C && k0 + tx < K4) turned[((c0 + i) * TAPS + tap) * K4 + k0 + tx] = tile[tx][i];
}
