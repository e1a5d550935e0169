// Convolution as a matrix product with 8 x 8 numbers of the result in each thread's registers.
//
// Shapes:  see conv.cuh: out (rows, columns) = a (rows, depth) b (depth, columns), PASS says which pass that is.
// Formula: out[i, j] = sum over d of a(i, d) b(d, j), and bias[j] where there is one.
// Work:    a block of 8 x 16 threads makes 128 x 64 numbers, in steps of 8 through the depth. For each depth a thread
//          reads 8 numbers of a and 8 of b from shared memory, and multiplies each with each:
//
//              b[tx], b[tx + 8], ...
//              +---+---+---+
//     a[ty]    |   |   |   |        64 products for 16 numbers read: 4 a number. One number of the result a thread, as
//     a[ty+16] |   |   |   |        in tiled.cu, is half a product a number: shared memory is then the limit.
//     ...      |   |   |   |
//
//          Neighbouring threads have neighbouring columns, so they read and write side by side.
//          Tiles are fetched as a and b lie in memory: neighbouring threads take neighbouring depths of FORWARD's a and
//          b and of GRAD_INPUT's a, else neighbouring rows or columns. What says where a row (window) begins does not
//          change in the loop, and is worked out before it. Rows of shared memory are 4 numbers longer than tiles: 8
//          depths x 4 rows that a warp writes at once lie in 4 depth + row, 32 different banks.
// Adds:    8 times fewer reads of shared memory for a product.
#include "conv.cuh"

#define ROWS 128
#define COLUMNS 64
#define DEPTH 8
#define THREADS 128
#define A_FETCHED (ROWS * DEPTH / THREADS)
#define B_FETCHED (COLUMNS * DEPTH / THREADS)
#define DEEP_A (PASS != GRAD_WEIGHT)
#define DEEP_B (PASS == FORWARD)

extern "C" __global__ void __launch_bounds__(THREADS) registers(
    REAL* __restrict__ out, const REAL* __restrict__ a, const REAL* __restrict__ b, const REAL* __restrict__ bias,
    CONV_SHAPE) {
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, ROWS, COLUMNS, DEPTH);
  const Product<PASS>& product = block.product;
  __shared__ REAL as[DEPTH][ROWS + 4];
  __shared__ REAL bs[DEPTH][COLUMNS + 4];
  if (block.is_empty()) return;
  const int tx = threadIdx.x % 8, ty = threadIdx.x / 8;

  // The numbers of a tile that this thread fetches: row a_row + A_ROWS m at depth a_depth + A_DEPTHS m, of b alike.
  constexpr int A_ROWS = DEEP_A ? THREADS / DEPTH : 0, A_DEPTHS = DEEP_A ? 0 : 1;
  constexpr int B_COLUMNS = DEEP_B ? THREADS / DEPTH : 0, B_DEPTHS = DEEP_B ? 0 : THREADS / COLUMNS;
  const int a_row = DEEP_A ? threadIdx.x / DEPTH : threadIdx.x, a_depth = DEEP_A ? threadIdx.x % DEPTH : 0;
  const int b_column = DEEP_B ? threadIdx.x / DEPTH : threadIdx.x % COLUMNS;
  const int b_depth = DEEP_B ? threadIdx.x % DEPTH : threadIdx.x / COLUMNS;
  Place a_rows[A_FETCHED], b_columns[B_FETCHED];
#pragma unroll
  for (int m = 0; m < A_FETCHED; ++m) a_rows[m] = product.a_row(block.row + a_row + A_ROWS * m);
#pragma unroll
  for (int m = 0; m < B_FETCHED; ++m) b_columns[m] = product.b_column(block.column + b_column + B_COLUMNS * m);

  REAL sums[8][8] = {};
  for (int d = block.begin; d < block.end; d += DEPTH) {
    Place place;
#pragma unroll
    for (int m = 0; m < A_FETCHED; ++m) {
      const int depth = a_depth + A_DEPTHS * m;
      if (m == 0 || A_DEPTHS) place = d + depth < block.end ? product.a_depth(d + depth) : OUTSIDE;
      as[depth][a_row + A_ROWS * m] = product.a(a, a_rows[m], place);
    }
#pragma unroll
    for (int m = 0; m < B_FETCHED; ++m) {
      const int depth = b_depth + B_DEPTHS * m;
      if (m == 0 || B_DEPTHS) place = d + depth < block.end ? product.b_depth(d + depth) : OUTSIDE;
      bs[depth][b_column + B_COLUMNS * m] = product.b(b, place, b_columns[m]);
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < DEPTH; ++e) {
      REAL rows[8], columns[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) rows[i] = as[e][ty + 16 * i];
#pragma unroll
      for (int j = 0; j < 8; ++j) columns[j] = bs[e][tx + 8 * j];
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] += rows[i] * columns[j];
    }
    __syncthreads();
  }
  out += block.first();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = block.row + ty + 16 * i;
    if (row >= product.rows) break;
    const int place = product.out(row, 0);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int column = block.column + tx + 8 * j;
      if (column < product.columns) out[place + column] = bias ? sums[i][j] + bias[column] : sums[i][j];
    }
  }
}
