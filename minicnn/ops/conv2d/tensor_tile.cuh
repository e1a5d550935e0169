// A block's tile of a convolution's matrix product (conv.cuh) on tensor cores: what tf32.cu and bf16.cu share.
//
// A word is 4 bytes, one float or two bf16. A slab is 16 words of depth: 64 bytes a row, four copies of 16 bytes.
// ROWS x COLUMNS is the block's tile, WARP_ROWS x WARP_COLUMNS a warp's, STAGES how many slabs there is room for.
//
// A lane of a warp, (group, member) = (lane / 4, lane % 4), must hold certain words of a and b for the tensor cores'
// small products (ptx.cuh). One instruction reads 16 bytes a lane, which serve two small products or more, without two
// lanes that are served together meeting in a bank. (Bank: 4-byte word of an address modulo 32; here units of 16 bytes
// modulo 8.)
//
//   deep (FORWARD, GRAD_INPUT): tile[line][4 units, 1 left free]. `load_matrices` fetches four matrices of 8 lines, one
//     unit wide, and deals their words out as small products want them. Banks: the lines of a matrix begin 5 units
//     apart, and 5 * line modulo 8 differs for 8 lines.
//   wide (GRAD_WEIGHT): tile[depth][LINES / 4 units, 2 left free]. A lane reads depth 4 i + member, unit `group` of 32
//     lines: a word of 4 lines, each for another small product. Banks: 8 lanes are served together, of two neighbouring
//     groups; each depth begins 2 units further on, and 2 member + group modulo 8 differs.
//
// So rows and columns of the small products are not those of the tile in order, and the result is written to match.
// Columns are arranged, in wide tiles by themselves, such that a lane ends with columns 8 member ... 8 member + 7 of
// every 32, and writes 16 bytes at once.
#include "conv_loads.cuh"

#define THREADS 128
#define SLAB 16
#define PITCH 20  // of deep tiles
constexpr int A_TILES = WARP_ROWS / 16, B_TILES = WARP_COLUMNS / 8, WARPS_DOWN = ROWS / WARP_ROWS;
static_assert(WARPS_DOWN * (COLUMNS / WARP_COLUMNS) == THREADS / 32, "four warps make the tile");
static_assert(WARP_ROWS % 32 == 0 && WARP_COLUMNS % 32 == 0, "lanes read words of 32 lines");

// The column, of 32, whose depths are line `slot` of a deep tile: what wide tiles give by themselves.
__device__ __forceinline__ int column_of(int slot) { return slot % 8 * 4 + slot / 8; }

// Loads tiles of b whose depth lies side by side in memory: of w (K, R, S, C) for FORWARD, of w as (C, R, S, K) for
// GRAD_INPUT, which the host makes.
template <int Kind> struct LoadFilters {
  const Product<Kind>& product;
  const float* const from;
  const int column, line;  // numbers of a column of b
  int depth;
  Digits at;

  __device__ LoadFilters(const Product<Kind>& product, const float* from, int first)
      : product(product), from(from), column(first + column_of(threadIdx.x / 4)),
        line(product.c.R * product.c.S * product.images.channels), depth(threadIdx.x % 4 * 4),
        at(depth, product.images.channels, product.taps_w) {}
  __device__ int offset(const Product<FORWARD>&) const { return depth; }
  __device__ int offset(const Product<GRAD_INPUT>& p) const {  // of the taps that reach the block's remainder
    return ((p.remainder_h + p.c.SH * at.high) * p.c.S + p.remainder_w + p.c.SW * at.middle) * p.c.K + at.low;
  }
  __device__ void operator()(float* tile) {
    const float* start = from + (column * line + offset(product));
    tile += threadIdx.x / 4 * PITCH + threadIdx.x % 4 * 4;
#pragma unroll
    for (int i = 0; i < COLUMNS / 32; ++i)
      copy_async_16(tile + i * 32 * PITCH, start + i * 32 * line,
                    depth < product.depth && column + i * 32 < product.columns);
    depth += SLAB;
    at.add(SLAB, product.images.channels, product.taps_w);
  }
};

// A warp's part of the result: it multiplies slabs, and knows which row and columns its numbers belong to. `Numbers`
// says what words are: `Numbers::word` makes a tensor core's word of one in memory, `Numbers::multiply` is a small
// product.
template <class Numbers, int Kind> struct Warp {
  static constexpr bool DEEP = Kind != GRAD_WEIGHT;
  static constexpr int A_PITCH = DEEP ? PITCH : ROWS + 8, B_PITCH = DEEP ? PITCH : COLUMNS + 8;  // floats
  static constexpr int A_SIZE = (DEEP ? ROWS : SLAB) * A_PITCH, B_SIZE = (DEEP ? COLUMNS : SLAB) * B_PITCH;
  const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
  const int row = threadIdx.x / 32 % WARPS_DOWN * WARP_ROWS, column = threadIdx.x / 32 / WARPS_DOWN * WARP_COLUMNS;
  float sums[A_TILES][B_TILES][4] = {};

  __device__ void multiply_deep(const float* a, const float* b) {
    const int lane = threadIdx.x % 32;
    a += (row + lane % 16) * A_PITCH + lane / 16 * 4;    // matrices: two times 8 rows of one unit, the same of the next
    b += (column + lane % 8) * B_PITCH + lane / 8 * 4;  // matrices: 8 columns of each unit
    unsigned as[2][A_TILES][4];
#pragma unroll
    for (int s = 0; s < 2; ++s)
#pragma unroll
      for (int i = 0; i < A_TILES; ++i) {
        load_matrices(as[s][i], a + 16 * i * A_PITCH + 8 * s);
#pragma unroll
        for (int e = 0; e < 4; ++e) as[s][i][e] = Numbers::word(as[s][i][e]);
      }
#pragma unroll
    for (int j = 0; j < B_TILES; ++j) {
      unsigned all[4];
      load_matrices(all, b + 8 * j * B_PITCH);
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const unsigned bs[2] = {Numbers::word(all[2 * s]), Numbers::word(all[2 * s + 1])};
#pragma unroll
        for (int i = 0; i < A_TILES; ++i) Numbers::multiply(sums[i][j], as[s][i], bs);
      }
    }
  }

  __device__ void multiply_wide(const float* a, const float* b) {
#pragma unroll
    for (int d = 0; d < SLAB; d += 8) {
      unsigned as[A_TILES][4], bs[B_TILES][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int depth = d + 4 * half + member;
#pragma unroll
        for (int i = 0; i < A_TILES; i += 2) {
          const uint4 v = *(const uint4*)(a + depth * A_PITCH + row + 16 * i + 4 * group);
          as[i][2 * half] = Numbers::word(v.x), as[i][2 * half + 1] = Numbers::word(v.y);
          as[i + 1][2 * half] = Numbers::word(v.z), as[i + 1][2 * half + 1] = Numbers::word(v.w);
        }
#pragma unroll
        for (int j = 0; j < B_TILES; j += 4) {
          const uint4 v = *(const uint4*)(b + depth * B_PITCH + column + 8 * j + 4 * group);
          bs[j][half] = Numbers::word(v.x), bs[j + 1][half] = Numbers::word(v.y);
          bs[j + 2][half] = Numbers::word(v.z), bs[j + 3][half] = Numbers::word(v.w);
        }
      }
#pragma unroll
      for (int j = 0; j < B_TILES; ++j)
#pragma unroll
        for (int i = 0; i < A_TILES; ++i) Numbers::multiply(sums[i][j], as[i], bs[j]);
    }
  }

  __device__ void multiply(const float* a, const float* b) {
    if (DEEP) multiply_deep(a, b);
    else multiply_wide(a, b);
  }

  // Row of sums[i][.][2 half] and the next, in the block's tile.
  __device__ int row_of(int i, int half) const {
    return row + (DEEP ? 16 * i + 8 * half + group : i / 2 * 32 + 4 * group + i % 2 * 2 + half);
  }

  __device__ void write(float* out, const float* bias, const Block<Kind>& block) const {
    const Product<Kind>& product = block.product;
#pragma unroll
    for (int i = 0; i < A_TILES; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = block.row + row_of(i, half);
        if (r >= product.rows) continue;
        float* line = out + product.out(r, 0);
#pragma unroll
        for (int j = 0; j < B_TILES; j += 4)
#pragma unroll
          for (int x = 0; x < 2; ++x) {
            const int c = block.column + column + 8 * j + 8 * member + 4 * x;
            if (c >= product.columns) continue;
            float4 v = make_float4(sums[i][j][2 * half + x], sums[i][j + 1][2 * half + x], sums[i][j + 2][2 * half + x],
                                   sums[i][j + 3][2 * half + x]);
            if (product.columns % 4 == 0) {
              if (bias) v.x += bias[c], v.y += bias[c + 1], v.z += bias[c + 2], v.w += bias[c + 3];
              *(float4*)(line + c) = v;
              continue;
            }
            const float some[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int e = 0; e < 4; ++e)
              if (c + e < product.columns) line[c + e] = bias ? some[e] + bias[c + e] : some[e];
          }
      }
  }
};

// Slabs of depth one after another: while the tensor cores work on one, the copies of the next STAGES - 1 are under way.
// The barrier says two things: the slab that all threads waited for, each for its own copies, is there for all; and all
// have read the slab before it, whose place the next copies take.
template <class Numbers, int Kind, class A, class B>
__device__ __forceinline__ void multiply_slabs(
    Warp<Numbers, Kind>& warp, float* memory, A& load_a, B& load_b, int slabs) {
  constexpr int A_SIZE = Warp<Numbers, Kind>::A_SIZE, STAGE = A_SIZE + Warp<Numbers, Kind>::B_SIZE;
  auto load = [&](int stage) {
    load_a(memory + stage * STAGE);
    load_b(memory + stage * STAGE + A_SIZE);
    copy_commit();
  };
  for (int stage = 0; stage < STAGES - 1; ++stage) load(stage);
  int stage = 0, next = STAGES - 1;
  for (int slab = 0; slab < slabs; ++slab) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    load(next);  // past the end: zeros that nobody reads
    warp.multiply(memory + stage * STAGE, memory + stage * STAGE + A_SIZE);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
    next = next == STAGES - 1 ? 0 : next + 1;
  }
  copy_wait<0>();
}
