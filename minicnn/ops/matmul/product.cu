// Matrix products: tiles of the operands in shared memory, tiles of the result in registers.
//
// Shapes:  a: (batches, M, K), b: (batches, K, N), any steps; bias: (N,) or null; y: (splits, batches, M, N), contiguous.
// Formula: y[s, z, m, n] = sum over k of part s of a[z, m, k] b[z, k, n];  bias[n] is added in part 0.
// Work:    a block of 256 threads makes one TILE x TILE tile of y, in steps of DEPTH along K:
//
//                        b: DEPTH x TILE, shared                  a thread has EACH x EACH numbers of the tile,
//                      +-----------------+                        in groups of 4 x 4, 64 rows and 64 columns apart,
//              a:      |                 |                        so neighbouring threads read neighbouring groups of
//           TILE x  +--+-----------------+                        4 numbers in shared memory. For each k of a step it
//           DEPTH   |  |    y: EACH x    |                        reads 2 EACH numbers and does EACH^2 products.
//                   |  |    EACH each    |
//                   +--+-----------------+
//
//          While a step is computed, the numbers of the next one are on their way from memory to registers, then to the
//          other half of the shared memory: one barrier a step. Numbers beyond the edges are zeros.
//          Each thread loads 4 numbers of a and 4 of b a step; neighbouring threads go along k where A_ALONG_K
//          (B_ALONG_K) says that a step along k is the shorter one, else along the rows of a (columns of b): so both
//          operands may be transposed, and no copies are made.
//          Where y has too few tiles for the GPU, K is cut into parts (`splits`), added up in order by fold.cu.
//
// Macros: REAL, TILE 128 or 64, A_ALONG_K and B_ALONG_K 0 or 1.

#define EACH (TILE / 16)
#define DEPTH (1024 / TILE)  // 256 threads, 4 numbers each
#define WIDTH (TILE + 4)     // of a row in shared memory: numbers of one column of a fall into different banks

// Where the 4 numbers of a thread stand in a step, the first and how far apart: along k first, or along x (m or n) first.
#define PLACE_K(along) (along ? threadIdx.x % DEPTH : threadIdx.x / TILE)
#define PLACE_X(along) (along ? threadIdx.x / DEPTH : threadIdx.x % TILE)
#define APART (along ? 256 / DEPTH : 256 / TILE)

// 4 numbers of an operand; `at` is the first of them, which has `xs` and `ks` numbers left before the edges.
template <bool along> __device__ __forceinline__ void load(
    REAL (&numbers)[4], const REAL* __restrict__ at, long long apart, int xs, int ks) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool inside = along ? i * APART < xs && ks > 0 : xs > 0 && i * APART < ks;
    numbers[i] = inside ? at[i * apart] : REAL(0);
  }
}

template <bool along> __device__ __forceinline__ void store(REAL* tile, const REAL (&numbers)[4]) {
  REAL* to = tile + PLACE_K(along) * WIDTH + PLACE_X(along);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i * APART * (along ? 1 : WIDTH)] = numbers[i];
}

extern "C" __global__ void __launch_bounds__(256, 2) product(
    REAL* __restrict__ y, const REAL* __restrict__ a, const REAL* __restrict__ b, const REAL* __restrict__ bias,
    int M, int N, int K, long long a_row, long long a_column, long long b_row, long long b_column,
    int part, int batches, int splits, int S1, int S2, int S3,
    long long A0, long long A1, long long A2, long long A3, long long B0, long long B1, long long B2, long long B3) {
  __shared__ __align__(16) REAL a_tiles[2 * DEPTH * WIDTH];
  __shared__ __align__(16) REAL b_tiles[2 * DEPTH * WIDTH];
  const int columns = (N + TILE - 1) / TILE;
  const int m0 = blockIdx.x / columns * TILE, n0 = blockIdx.x % columns * TILE;
  const long long a_apart = A_ALONG_K ? 256 / DEPTH * a_row : 256 / TILE * a_column;
  const long long b_apart = B_ALONG_K ? 256 / DEPTH * b_column : 256 / TILE * b_row;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;

  for (int z = blockIdx.y; z < batches * splits; z += gridDim.y) {
    const int batch = z % batches, split = z / batches;
    const int i3 = batch % S3, i2 = batch / S3 % S2, i1 = batch / (S3 * S2) % S1, i0 = batch / (S3 * S2 * S1);
    const REAL* at_a = a + i0 * A0 + i1 * A1 + i2 * A2 + i3 * A3;
    const REAL* at_b = b + i0 * B0 + i1 * B1 + i2 * B2 + i3 * B3;
    const int first = split * part, last = K - first < part ? K : first + part;

    REAL sums[EACH][EACH] = {};
    REAL a_next[4], b_next[4];
    const int rows_left = M - m0 - (int)PLACE_X(A_ALONG_K), columns_left = N - n0 - (int)PLACE_X(B_ALONG_K);
    int a_left = last - first - (int)PLACE_K(A_ALONG_K), b_left = last - first - (int)PLACE_K(B_ALONG_K);
    at_a += (M - rows_left) * a_row + (last - a_left) * a_column;
    at_b += (N - columns_left) * b_column + (last - b_left) * b_row;
    load<A_ALONG_K>(a_next, at_a, a_apart, rows_left, a_left);
    load<B_ALONG_K>(b_next, at_b, b_apart, columns_left, b_left);
    store<A_ALONG_K>(a_tiles, a_next);
    store<B_ALONG_K>(b_tiles, b_next);
    __syncthreads();
    int half = 0;
    for (int k = first; k < last; k += DEPTH) {
      const bool more = k + DEPTH < last;
      if (more) {
        at_a += DEPTH * a_column, at_b += DEPTH * b_row, a_left -= DEPTH, b_left -= DEPTH;
        load<A_ALONG_K>(a_next, at_a, a_apart, rows_left, a_left);
        load<B_ALONG_K>(b_next, at_b, b_apart, columns_left, b_left);
      }
      const REAL* a_tile = a_tiles + half * (DEPTH * WIDTH);
      const REAL* b_tile = b_tiles + half * (DEPTH * WIDTH);
#pragma unroll
      for (int d = 0; d < DEPTH; ++d) {
        REAL rows[EACH], cells[EACH];
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
          rows[i] = a_tile[d * WIDTH + i / 4 * 64 + ty * 4 + i % 4];
          cells[i] = b_tile[d * WIDTH + i / 4 * 64 + tx * 4 + i % 4];
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i)
#pragma unroll
          for (int j = 0; j < EACH; ++j) sums[i][j] += rows[i] * cells[j];
      }
      half ^= 1;
      if (more) {
        store<A_ALONG_K>(a_tiles + half * (DEPTH * WIDTH), a_next);
        store<B_ALONG_K>(b_tiles + half * (DEPTH * WIDTH), b_next);
      }
      __syncthreads();
    }

    // the rows and columns that are left, from this thread's first ones on
    const int rows = M - m0 - ty * 4, cells = N - n0 - tx * 4;
    if (bias && split == 0) {
#pragma unroll
      for (int j = 0; j < EACH; ++j) {
        const REAL more = j / 4 * 64 + j % 4 < cells ? bias[N - cells + j / 4 * 64 + j % 4] : REAL(0);
#pragma unroll
        for (int i = 0; i < EACH; ++i) sums[i][j] += more;
      }
    }
    REAL* at_y = y + ((long long)z * M + M - rows) * N + N - cells;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      if (i / 4 * 64 + i % 4 < rows) {
#pragma unroll
        for (int j = 0; j < EACH; ++j)
          if (j / 4 * 64 + j % 4 < cells) at_y[j / 4 * 64 + j % 4] = sums[i][j];
      }
      at_y += i % 4 < 3 ? N : 61LL * N;
    }
  }
}
