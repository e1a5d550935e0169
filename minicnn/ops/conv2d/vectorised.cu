// Convolution as a matrix product, fetched 16 bytes at a time while the last tiles are multiplied.
//
// Shapes:  see conv.cuh: out (rows, columns) = a (rows, depth) b (depth, columns), PASS says which pass that is. float;
//          C and K in multiples of 4, w (R, S, C, K) for FORWARD (conv_loads.cuh).
// Formula: out[i, j] = sum over d of a(i, d) b(d, j), and bias[j] where there is one.
// Work:    a block of 16 x 16 threads makes 128 x 128 numbers, a thread 8 x 8: of the columns two groups of 4
//          neighbours, 64 apart, and of the rows every 16th (FORWARD, GRAD_INPUT) or two groups of 4 (GRAD_WEIGHT).
//          While a step of 16 depths is multiplied from one buffer, the next one's copies arrive in the other:
//
//              copies of step 0 -> buffer 0
//              each step: wait for its copies; barrier; start the copies of the next step; multiply
//
//          The one barrier says both that all copies of this step are there, and that nobody reads the other buffer any
//          more.
// Banks:   shared memory serves 32 banks of 4 bytes at once, equal addresses as one. b, and a of GRAD_WEIGHT:
//          neighbouring threads read 16 bytes side by side, 8 of them all banks. a of FORWARD and GRAD_INPUT: threads
//          read 2 depths from rows that are 16 + 4 numbers apart: row i from banks 20 i % 32 = 0, 20, 8, 28, 16, 4, 24,
//          12 on, 8 rows all different (a warp of this rung reads 2 rows, of the next one 8). 16 apart, every second
//          row would meet the same.
// Adds:    4 numbers an instruction both ways; fetching and multiplying at the same time; no division in the loop.
#include "conv_loads.cuh"
#include "rows_of_eight.cuh"

#define ROWS 128
#define COLUMNS 128
#define DEPTH 16
#define THREADS 256
#define DEEP (PASS != GRAD_WEIGHT)
#define PITCH_A (DEEP ? DEPTH + 4 : ROWS)
#define SIZE_A (DEEP ? ROWS * (DEPTH + 4) : DEPTH * ROWS)

extern "C" __global__ void __launch_bounds__(THREADS, 2) vectorised(
    float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ bias,
    CONV_SHAPE) {
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, ROWS, COLUMNS, DEPTH);
  if (block.is_empty()) return;
  __shared__ __align__(16) float as[2][SIZE_A];
  __shared__ __align__(16) float bs[2][DEPTH * COLUMNS];
  LoadA<PASS, ROWS, DEPTH, THREADS, PITCH_A> load_a(block.product, a, block.row, block.begin);
  LoadB<PASS, COLUMNS, DEPTH, THREADS, COLUMNS> load_b(block.product, b, block.column, block.begin);
  __shared__ int places[ROWS];  // of the rows in the result; worked out here, they take no registers in the loop
  for (int i = threadIdx.x; i < ROWS; i += THREADS)
    places[i] = block.row + i < block.product.rows ? block.product.out(block.row + i, 0) : -1;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, columns = block.product.columns;
  float sums[8][8] = {};

  load_a(as[0]);
  load_b(bs[0]);
  copy_commit();
  for (int d = block.begin, buffer = 0; d < block.end; d += DEPTH, buffer ^= 1) {
    copy_wait<0>();
    __syncthreads();
    if (d + DEPTH < block.end) {
      load_a(as[buffer ^ 1]);
      load_b(bs[buffer ^ 1]);
      copy_commit();
    }
    const float* b_tile = bs[buffer] + 4 * tx;
    if (DEEP) {
      const float* a_tile = as[buffer] + ty * PITCH_A;
#pragma unroll 1  // a longer body makes the compiler fetch ahead until registers spill
      for (int e = 0; e < DEPTH; e += 2, a_tile += 2, b_tile += 2 * COLUMNS) {
        const float4 b00 = four(b_tile), b01 = four(b_tile + 64);
        const float4 b10 = four(b_tile + COLUMNS), b11 = four(b_tile + COLUMNS + 64);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float2 row = *reinterpret_cast<const float2*>(a_tile + 16 * i * PITCH_A);
          add_row(sums[i], row.x, b00, b01);
          add_row(sums[i], row.y, b10, b11);
        }
      }
    } else {
      const float* a_tile = as[buffer] + 4 * ty;
#pragma unroll
      for (int e = 0; e < DEPTH; ++e) {
        const float4 b0 = four(b_tile + e * COLUMNS), b1 = four(b_tile + e * COLUMNS + 64);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float4 row = four(a_tile + e * PITCH_A + 64 * half);
          add_row(sums[4 * half], row.x, b0, b1);
          add_row(sums[4 * half + 1], row.y, b0, b1);
          add_row(sums[4 * half + 2], row.z, b0, b1);
          add_row(sums[4 * half + 3], row.w, b0, b1);
        }
      }
    }
  }

  __syncthreads();
  out += block.first();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int column = block.column + 4 * tx + 64 * half;
    if (column >= columns) break;
    const float4 add = bias ? four(bias + column) : make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int place = places[DEEP ? ty + 16 * i : 4 * ty + i % 4 + 64 * (i / 4)];
      const float* sum = sums[i] + 4 * half;
      const float4 y = make_float4(sum[0] + add.x, sum[1] + add.y, sum[2] + add.z, sum[3] + add.w);
      if (place >= 0) *reinterpret_cast<float4*>(out + place + column) = y;
    }
  }
}
