// Float channels rounded to bf16, as bf16.cu reads them.
//
// Shapes:  from (rows, C), to (rows, PADDED / 2) words of two bf16, the first in the lower half; PADDED is a multiple
//          of 8.
// Formula: to[i, c] = bf16(from[i, c]) for c < C, else 0.
// Work:    one thread writes 16 bytes, 8 numbers. It reads 16 bytes at a time too where no channels are added.
#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256) bf16_words(
    unsigned* __restrict__ to, const float* __restrict__ from, long long chunks, int C, int PADDED) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= chunks) return;
  const int each = PADDED / 8, c = i % each * 8;
  const float* row = from + i / each * C;
  float v[8];
  if (C == PADDED) {
    const float4 low = ((const float4*)from)[2 * i], high = ((const float4*)from)[2 * i + 1];
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = c + e < C ? row[c + e] : 0.0f;
  }
  ((uint4*)to)[i] = make_uint4(
      to_bf16x2(v[0], v[1]), to_bf16x2(v[2], v[3]), to_bf16x2(v[4], v[5]), to_bf16x2(v[6], v[7]));
}
