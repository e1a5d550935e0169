// Tiles of the two factors of a convolution's matrix product (conv.cuh), fetched into shared memory by asynchronous
// copies of 16 bytes. Numbers are float; C and K must be multiples of 4 (the host pads them), so 4 neighbouring
// channels are one copy and lie in one tap. That asks for less padding than channels in multiples of the tile's depth
// would, and costs no more: each thread fetches the same few chunks of every tile, and walks through the taps and
// channels of its own.
//
//   Product<PASS> product(shape, parity);
//   LoadA<PASS, ROWS, DEPTH, THREADS, PITCH> load_a(product, a, first_row, begin);
//   LoadB<PASS, COLUMNS, DEPTH, THREADS, PITCH> load_b(product, b, first_column, begin);
//   load_a(tile); load_b(tile);  // start the copies of depths begin ... begin + DEPTH - 1; the next call, of the next
//   copy_commit();               // DEPTH; zeros for rows and columns outside, and behind the last depth
//
// All THREADS threads of the block (threadIdx.x) call them. How a tile lies in shared memory:
//
//   A of FORWARD, GRAD_INPUT   tile[row * PITCH + depth]       PITCH >= DEPTH     ("deep": channels are the depth)
//   A of GRAD_WEIGHT           tile[depth * PITCH + row]       PITCH >= ROWS      ("wide": channels are the rows)
//   B of all passes            tile[depth * PITCH + column]    PITCH >= COLUMNS
//
// PITCH must be a multiple of 4, and tiles must be aligned to 16 bytes.
//
// Memory:  x and dy as everywhere, channels last. w is brought into the order in which b is read, columns side by side
//          (filters.cu): (R, S, C, K) for FORWARD; for GRAD_INPUT, remainder of the stride by remainder, the taps that
//          reach it: (SH, SW, T, U, K, C) with T = ceil(R / SH), U = ceil(S / SW), and of each T, U only the first taps
//          that there are. So b is a plain matrix in both.
// Indices: rows (FORWARD, GRAD_INPUT) and columns (GRAD_WEIGHT) are divided into image and place, or tap and channel,
//          once, before the loop. In the loop the depth goes forward as digits of a number: additions, no division.
#include "conv.cuh"
#include "ptx.cuh"

// A place in one register less: h and w in 16 bits each (supports() in cuda_product.py sees to it that they fit).
struct Packed {
  int offset, h_w;
  __device__ void operator=(const Place& place) {
    offset = place.offset, h_w = max(place.h, -(1 << 15)) * (1 << 16) | (place.w & 0xffff);
  }
  __device__ operator Place() const { return {h_w >> 16, (short)h_w, offset}; }
};

// A number written as (high, middle, low), where low and middle count to `lows` and `middles`.
struct Digits {
  int low, middle, high;
  __device__ Digits(int number, int lows, int middles) {
    lows = max(lows, 1), middles = max(middles, 1);  // nothing to count: a remainder of the stride that no tap reaches
    low = number % lows;
    middle = number / lows % middles;
    high = number / lows / middles;
  }
  __device__ void add(int number, int lows, int middles) {
    low += number;
    while (low >= lows) {  // once or never, but for few channels (or very narrow images)
      low -= lows;
      if (++middle == middles) middle = 0, ++high;
    }
  }
};

// Rows are windows, the depth is taps and channels: A of FORWARD and GRAD_INPUT. A thread fetches 4 channels of a few
// rows.
template <int Kind, int Rows, int Depth, int Threads, int Pitch> struct LoadA {
  static constexpr int PER_ROW = Depth / 4, AT_ONCE = Threads / PER_ROW, COUNT = Rows / AT_ONCE;
  static_assert(Depth % 4 == 0 && Threads % PER_ROW == 0 && Rows % AT_ONCE == 0 && Pitch % 4 == 0, "do not divide");
  const Product<Kind>& product;
  const float* const from;
  Digits at;  // tap and channel of the thread's chunk
  Packed windows[COUNT];

  __device__ LoadA(const Product<Kind>& product, const float* from, int first, int begin)
      : product(product), from(from),
        at(begin + threadIdx.x % PER_ROW * 4, product.images.channels, product.taps_w) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const int row = first + threadIdx.x / PER_ROW + i * AT_ONCE;
      windows[i] = product.a_row(row);
    }
  }

  __device__ void operator()(float* tile) {
    float* to = tile + threadIdx.x / PER_ROW * Pitch + threadIdx.x % PER_ROW * 4;
    const Place tap = product.tap(at.high, at.middle, at.low);
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      copy_async_16(to + i * AT_ONCE * Pitch, from + (windows[i].offset + tap.offset),
                    at.high < product.taps_h && product.images.inside(windows[i], tap));
    at.add(Depth, product.images.channels, product.taps_w);
  }
};

// What wide tiles share: a thread has one depth of a tile, and every PER_ROW-th chunk of 4 columns of it.
template <int Columns, int Depth, int Threads, int Pitch> struct Wide {
  static constexpr int PER_ROW = Threads / Depth, COUNT = Columns / 4 / PER_ROW;
  static_assert(Threads % Depth == 0 && Columns % (4 * PER_ROW) == 0 && Pitch % 4 == 0, "tiles do not divide");
  const float* const from;
  const int column;  // the thread's first one, in the whole matrix
  __device__ Wide(const float* from, int first) : from(from), column(first + threadIdx.x % PER_ROW * 4) {}
  __device__ static int depth(int begin) { return begin + threadIdx.x / PER_ROW; }
  __device__ float* to(float* tile) const { return tile + threadIdx.x / PER_ROW * Pitch + threadIdx.x % PER_ROW * 4; }
};

// A matrix (depth, columns) as it lies in memory: dy of GRAD_WEIGHT; w of FORWARD and GRAD_INPUT.
template <int Columns, int Depth, int Threads, int Pitch> struct LoadMatrix : Wide<Columns, Depth, Threads, Pitch> {
  using Base = Wide<Columns, Depth, Threads, Pitch>;
  const int columns, depths;
  int depth;
  __device__ LoadMatrix(const float* from, int depths, int columns, int first, int begin)
      : Base(from, first), columns(columns), depths(depths), depth(Base::depth(begin)) {}
  __device__ void operator()(float* tile) {
    float* to = this->to(tile);
    const float* from = this->from + (depth * columns + this->column);
#pragma unroll
    for (int i = 0; i < Base::COUNT; ++i)
      copy_async_16(to + i * Base::PER_ROW * 4, from + i * Base::PER_ROW * 4,
                    depth < depths && this->column + i * Base::PER_ROW * 4 < columns);
    depth += Depth;
  }
};

template <int Rows, int Depth, int Threads, int Pitch>
struct LoadA<GRAD_WEIGHT, Rows, Depth, Threads, Pitch> : LoadMatrix<Rows, Depth, Threads, Pitch> {
  __device__ LoadA(const Product<GRAD_WEIGHT>& product, const float* from, int first, int begin)
      : LoadMatrix<Rows, Depth, Threads, Pitch>(from, product.depth, product.rows, first, begin) {}
};

template <int Kind, int Columns, int Depth, int Threads, int Pitch> struct LoadB;

template <int Columns, int Depth, int Threads, int Pitch>
struct LoadB<FORWARD, Columns, Depth, Threads, Pitch> : LoadMatrix<Columns, Depth, Threads, Pitch> {
  __device__ LoadB(const Product<FORWARD>& product, const float* from, int first, int begin)
      : LoadMatrix<Columns, Depth, Threads, Pitch>(from, product.depth, product.columns, first, begin) {}
};

template <int Columns, int Depth, int Threads, int Pitch>
struct LoadB<GRAD_INPUT, Columns, Depth, Threads, Pitch> : LoadMatrix<Columns, Depth, Threads, Pitch> {
  __device__ LoadB(const Product<GRAD_INPUT>& product, const float* from, int first, int begin)
      : LoadMatrix<Columns, Depth, Threads, Pitch>(
            from + product.filters(), product.depth, product.columns, first, begin) {}
};

// Columns are taps and channels of x, the depth is windows.
template <int Columns, int Depth, int Threads, int Pitch>
struct LoadB<GRAD_WEIGHT, Columns, Depth, Threads, Pitch> : Wide<Columns, Depth, Threads, Pitch> {
  using Base = Wide<Columns, Depth, Threads, Pitch>;
  const Product<FORWARD>& forward;
  Digits at;  // image and place of the thread's depth
  Packed taps[Base::COUNT];
  __device__ LoadB(const Product<GRAD_WEIGHT>& product, const float* from, int first, int begin)
      : Base(from, first), forward(product.forward),
        at(Base::depth(begin), product.c.Q, product.c.P) {
#pragma unroll
    for (int i = 0; i < Base::COUNT; ++i) {
      const int column = this->column + i * Base::PER_ROW * 4;
      taps[i] = product.b_column(column);
    }
  }
  __device__ void operator()(float* tile) {
    float* to = this->to(tile);
    const Place window = forward.window(at.high, at.middle, at.low);
#pragma unroll
    for (int i = 0; i < Base::COUNT; ++i)
      copy_async_16(to + i * Base::PER_ROW * 4, this->from + (window.offset + taps[i].offset),
                    at.high < forward.c.N && forward.images.inside(window, taps[i]));
    at.add(Depth, forward.c.Q, forward.c.P);
  }
};
