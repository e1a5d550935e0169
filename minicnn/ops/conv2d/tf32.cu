// Convolution on tensor cores in TF32: float arrays whose numbers are rounded, as factors, to TF32's 10 bits of
// mantissa (nearest, ties away from zero; float has 23). Products are exact, sums are floats. All three passes.
//
// Shapes:  see conv.cuh: out (rows, columns) = a (rows, depth) b (depth, columns), PASS says which pass that is. The
//          channels of the depth, and of all axes for GRAD_WEIGHT, are multiples of 4; GRAD_INPUT takes w as
//          (C, R, S, K).
// Formula: out[i, j] = sum over d of tf32(a(i, d)) tf32(b(d, j)), and bias[j] where there is one.
// Work:    a block of four warps makes ROWS x COLUMNS numbers of the result; a warp WARP_ROWS x WARP_COLUMNS of them,
//          in small products 16 x 8 x 8 of the tensor cores, whose sums stay in registers:
//
//              b: 16 x COLUMNS      in steps of 16 through the depth: copies of a later slab begin (conv_loads.cuh);
//              +------+------+      each warp reads its lines of a and b of this slab from shared memory, rounds them,
//     a: +-----+ warp | warp |      and multiplies each 16 rows with each 8 columns (tensor_tile.cuh says where numbers
//        |     +------+------+      lie).
//        |     | warp | warp |
//        +-----+------+------+      Which tile and which part of the depth: Block in conv.cuh.
//
// Adds:    the tensor cores, which do 1024 multiplications for one instruction of a warp, where the float units do 32.
#include "tensor_tile.cuh"

struct Tf32 {
  // As to_tf32, in two instructions in place of six: half a unit of the last place that TF32 has is added, 2^-11 of the
  // number's power of two (infinity stays, and NaN). Tensor cores leave out the 13 bits behind.
  static __device__ __forceinline__ unsigned word(unsigned x) {
    return __float_as_uint(__uint_as_float(x) + __uint_as_float(x & 0xff800000u) * (1.0f / 2048));
  }
  static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_16x8x8_tf32(d, a, b);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) tf32(
    float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ bias,
    CONV_SHAPE) {
  extern __shared__ float4 memory[];
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, ROWS, COLUMNS, SLAB);
  if (block.is_empty()) return;
  Warp<Tf32, PASS> warp;
#if PASS == GRAD_WEIGHT
  LoadA<PASS, ROWS, SLAB, THREADS, ROWS + 8> load_a(block.product, a, block.row, block.begin);
  LoadB<PASS, COLUMNS, SLAB, THREADS, COLUMNS + 8> load_b(block.product, b, block.column, block.begin);
#else
  LoadA<PASS, ROWS, SLAB, THREADS, PITCH> load_a(block.product, a, block.row, 0);
  LoadFilters<PASS> load_b(block.product, b, block.column);
#endif
  multiply_slabs(warp, (float*)memory, load_a, load_b, (block.end - block.begin + SLAB - 1) / SLAB);
  warp.write(out + block.first(), bias, block);
}
