// Convolution as a matrix product whose tiles are divided among warps, in sizes chosen by layer.
//
// Shapes:  see conv.cuh: out (rows, columns) = a (rows, depth) b (depth, columns), PASS says which pass that is. float;
//          C and K in multiples of 4, w in the order of filters.cu (conv_loads.cuh).
// Formula: out[i, j] = sum over d of a(i, d) b(d, j); then + bias[j], + residual[i, j], and with RELU the positive
//          part.
// Work:    a block makes ROWS x COLUMNS numbers, each of its warps WARP_ROWS x 32 of them, in 8 x 4 lanes. A lane has 8
//          columns, two groups of 4 neighbours, 16 apart; and WARP_ROWS / 8 rows, every 8th (FORWARD, GRAD_INPUT) or
//          groups of 4 neighbours, 32 apart (GRAD_WEIGHT):
//
//                  columns 4 lx ... 4 lx + 3     and 16 further
//                 +----+----+----+----+        +----+----+----+----+
//          ly     |lane|    |    |    |        |lane|    |    |    |
//          ly + 8 |lane|    |    |    |        |lane|    |    |    |
//                 +----+----+----+----+        +----+----+----+----+
//
//          Steps of 16 depths, two buffers, one barrier a step, as in vectorised.cu. Small results are made in parts of
//          the depth, which conv_sums.cu adds in their order and finishes.
//          gridDim.y plain products (FORWARD of kernels of one tap) of equal sizes, one behind the other in memory, are
//          made in one launch: Winograd's convolution (winograd.cu) has 36.
// Banks:   reads of 8 and 16 bytes are served by half a warp at a time, and 16 lanes of a read of 16 bytes only if
//          pairs of them, 1 or 2 apart in their number, want the same. So lane bit 0 is in lx and bit 1 in ly: in a
//          read of a, lanes 1 apart agree, in one of b lanes 2 apart. Half a warp reads 8 rows of a, from banks 20 i %
//          32 (vectorised.cu), or 8 x 16 bytes side by side (GRAD_WEIGHT), and 2 x 16 bytes of b.
// Adds:    a warp of 64 x 32 reads 96 different numbers of shared memory for 2048 products; rows of 16 threads, as in
//          vectorised.cu, make a warp of 16 x 128, which reads 144. Tiles fit the layer, and small layers fill the GPU.
//          Bias, residual and ReLU cost no pass over memory of their own.
#include "conv_loads.cuh"
#include "rows_of_eight.cuh"

#define DEPTH 16
#define WARPS_ACROSS (COLUMNS / 32)
#define THREADS (ROWS / WARP_ROWS * WARPS_ACROSS * 32)
#define DEEP (PASS != GRAD_WEIGHT)
#define PITCH_A (DEEP ? DEPTH + 4 : ROWS)
#define SIZE_A (DEEP ? ROWS * (DEPTH + 4) : DEPTH * ROWS)
#define LANE_ROWS (WARP_ROWS / 8)
#define UNROLL (LANE_ROWS == 8 ? 1 : 8)  // with 8 rows the compiler would fetch ahead until registers spill

// Products of one step: a_tile and b_tile are where the lane's first row and column begin.
__device__ __forceinline__ void multiply(float (&sums)[LANE_ROWS][8], const float* a_tile, const float* b_tile) {
  if (DEEP) {
#pragma unroll UNROLL
    for (int e = 0; e < DEPTH; e += 2, a_tile += 2, b_tile += 2 * COLUMNS) {
      const float4 b00 = four(b_tile), b01 = four(b_tile + 16);
      const float4 b10 = four(b_tile + COLUMNS), b11 = four(b_tile + COLUMNS + 16);
#pragma unroll
      for (int i = 0; i < LANE_ROWS; ++i) {
        const float2 row = *reinterpret_cast<const float2*>(a_tile + 8 * i * PITCH_A);
        add_row(sums[i], row.x, b00, b01);
        add_row(sums[i], row.y, b10, b11);
      }
    }
  } else {
#pragma unroll
    for (int e = 0; e < DEPTH; ++e) {
      const float4 b0 = four(b_tile + e * COLUMNS), b1 = four(b_tile + e * COLUMNS + 16);
#pragma unroll
      for (int i = 0; i < LANE_ROWS; i += 4) {
        const float4 row = four(a_tile + e * PITCH_A + 8 * i);
        add_row(sums[i], row.x, b0, b1);
        add_row(sums[i + 1], row.y, b0, b1);
        add_row(sums[i + 2], row.z, b0, b1);
        add_row(sums[i + 3], row.w, b0, b1);
      }
    }
  }
}

__device__ __forceinline__ float finished(float sum, float bias, float residual) {
  sum += bias + residual;
  return RELU && sum <= 0 ? 0 : sum;  // NaN stays NaN
}

extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS) warps(
    float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ bias,
    const float* __restrict__ residual, CONV_SHAPE) {
  const Conv c = {CONV_ARGUMENTS};
  const Block<PASS> block(c, ROWS, COLUMNS, DEPTH);
  if (block.is_empty()) return;
  const long long number = blockIdx.y, rows = block.product.rows, depth = block.product.depth;  // of several products
  if (number > 0) {
    a += number * rows * depth;
    b += number * depth * block.product.columns;
    out += number * rows * block.product.columns;
  }
  __shared__ __align__(16) float as[2][SIZE_A];
  __shared__ __align__(16) float bs[2][DEPTH * COLUMNS];
  __shared__ int places[ROWS];  // of the rows in the result; worked out here, they take no registers in the loop
  for (int i = threadIdx.x; i < ROWS; i += THREADS)
    places[i] = block.row + i < block.product.rows ? block.product.out(block.row + i, 0) : -1;
  LoadA<PASS, ROWS, DEPTH, THREADS, PITCH_A> load_a(block.product, a, block.row, block.begin);
  LoadB<PASS, COLUMNS, DEPTH, THREADS, COLUMNS> load_b(block.product, b, block.column, block.begin);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int lx = lane % 2 + lane / 16 * 2, ly = lane / 2 % 8;
  const int first_row = warp / WARPS_ACROSS * WARP_ROWS + (DEEP ? ly : 4 * ly);  // the lane's, in the tile
  const int first_column = warp % WARPS_ACROSS * 32 + 4 * lx;
  const int columns = block.product.columns;
  float sums[LANE_ROWS][8] = {};

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
    multiply(sums, as[buffer] + first_row * (DEEP ? PITCH_A : 1), bs[buffer] + first_column);
  }

  __syncthreads();
  out += block.first();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int column = block.column + first_column + 16 * half;
    if (column >= columns) break;
    const float4 add = bias ? four(bias + column) : make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < LANE_ROWS; ++i) {
      const int place = places[first_row + (DEEP ? 8 * i : i % 4 + 32 * (i / 4))];
      if (place < 0) continue;
      const float4 more = residual ? four(residual + place + column) : make_float4(0, 0, 0, 0);
      const float* sum = sums[i] + 4 * half;
      *reinterpret_cast<float4*>(out + place + column) = make_float4(
          finished(sum[0], add.x, more.x), finished(sum[1], add.y, more.y), finished(sum[2], add.z, more.z),
          finished(sum[3], add.w, more.w));
    }
  }
}
