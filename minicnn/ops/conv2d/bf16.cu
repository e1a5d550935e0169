// Convolution on tensor cores in bf16: factors rounded to bf16's 7 bits of mantissa (nearest, ties to even), sums in
// float. Forward and grad_input.
//
// Shapes:  as tf32.cu, a and b in bf16 (bf16_words.cu): the depth's channels, C of FORWARD and K of GRAD_INPUT, are
//          counted in words of two numbers, and are multiples of 4 words. out and bias are float.
// Formula: out[i, j] = sum over d of bf16(a(i, d)) bf16(b(d, j)), and bias[j] where there is one.
// Work:    as tf32.cu. To copies and to the places of words in shared memory a word is a word; the small product is
//          16 x 8 x 16, and a lane's words of it are in places of the same names as in TF32's 16 x 8 x 8.
//
//          Why the arrays are converted beforehand, not by this kernel while it loads: a 3 x 3 kernel loads each number
//          nine times, and in every tile of columns anew. Converted, it is half as many bytes each time, which
//          asynchronous copies can bring. The conversion is one pass over memory, 4 bytes read and 2 written.
// Adds:    twice the products for one instruction, from half the bytes.
#include "tensor_tile.cuh"

struct Bf16 {
  static __device__ __forceinline__ unsigned word(unsigned x) { return x; }  // two numbers already
  static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_16x8x16_bf16(d, a, b);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) bf16(
    float* __restrict__ out, const unsigned* __restrict__ a, const unsigned* __restrict__ b,
    const float* __restrict__ bias, CONV_SHAPE) {
  extern __shared__ float4 memory[];
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, ROWS, COLUMNS, SLAB);
  if (block.is_empty()) return;
  Warp<Bf16, PASS> warp;
  LoadA<PASS, ROWS, SLAB, THREADS, PITCH> load_a(block.product, (const float*)a, block.row, 0);
  LoadFilters<PASS> load_b(block.product, (const float*)b, block.column);
  multiply_slabs(warp, (float*)memory, load_a, load_b, (block.end + SLAB - 1) / SLAB);
  warp.write(out, bias, block);
}
