// Convolution as a matrix product in tiles of shared memory.
//
// Shapes:  see conv.cuh: out (rows, columns) = a (rows, depth) b (depth, columns), PASS says which pass that is.
// Formula: out[i, j] = sum over d of a(i, d) b(d, j), and bias[j] where there is one.
// Work:    a block makes TILE x TILE numbers of the result, a thread one of them. In steps of TILE through the depth:
//
//              b: TILE x TILE            all threads fetch a tile of a and one of b into shared memory, a number each;
//              +-----+                   barrier; each thread multiplies a row of the one with a column of the other;
//     a: +-----+-----+                   barrier.
//        |     | out |
//        +-----+-----+
//          blockIdx says which tile, and for GRAD_WEIGHT, where the result is small and the depth is all pixels, which
//          part of the depth (Block in conv.cuh).
// Adds:    each number is fetched once for TILE uses, not once a use; and stride in grad_input costs no zeros.
#include "conv.cuh"

extern "C" __global__ void __launch_bounds__(TILE * TILE) tiled(
    REAL* __restrict__ out, const REAL* __restrict__ a, const REAL* __restrict__ b, const REAL* __restrict__ bias,
    CONV_SHAPE) {
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, TILE, TILE, TILE);
  const Product<PASS>& product = block.product;
  __shared__ REAL as[TILE][TILE + 1];
  __shared__ REAL bs[TILE][TILE + 1];
  if (block.is_empty()) return;
  const int tx = threadIdx.x % TILE, ty = threadIdx.x / TILE;
  const int i = block.row + ty, j = block.column + tx;
  const Place row = product.a_row(i), column = product.b_column(j);
  REAL sum = 0;
  for (int d = block.begin; d < block.end; d += TILE) {
    as[ty][tx] = product.a(a, row, d + tx < block.end ? product.a_depth(d + tx) : OUTSIDE);
    bs[ty][tx] = product.b(b, d + ty < block.end ? product.b_depth(d + ty) : OUTSIDE, column);
    __syncthreads();
    for (int e = 0; e < TILE; ++e) sum += as[ty][e] * bs[e][tx];
    __syncthreads();
  }
  if (i < product.rows && j < product.columns) out[block.first() + product.out(i, j)] = bias ? sum + bias[j] : sum;
}
