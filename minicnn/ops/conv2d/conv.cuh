// The three passes of a convolution as one matrix product, out[i, j] = sum over d of a(i, d) b(d, j), with three ways
// of reading it from memory: no matrix of windows is ever written ("implicit" matrix product).
//
//   PASS         rows i      columns j   depth d     a(i, d)                            b(d, j)
//   FORWARD      n, p, q     k           r, s, c     x[n, p SH + r DH - PH, ..., c]     w[k, r, s, c]
//   GRAD_INPUT   n, h, w     c           r, s, k     dy[n, (h + PH - r DH) / SH, .., k] w[k, r, s, c]
//   GRAD_WEIGHT  k           r, s, c     n, p, q     dy[n, p, q, k]                     x[n, p SH + r DH - PH, ..., c]
//
// Arrays are channels last: x (N, H, W, C), w (K, R, S, C), y (N, P, Q, K); outside the image x is 0.
//
// GRAD_INPUT with a stride: p SH = h + PH - r DH has a solution only for some r. Pixels with the same remainder
// (h + PH) % SH use the same r = remainder + SH t, t = 0, 1, ..., so each of the SH x SW remainders is a small dense
// product of its own (its number is `parity`), and nothing is multiplied by zero. (Needs stride 1 or dilation 1.)
#define FORWARD 0
#define GRAD_INPUT 1
#define GRAD_WEIGHT 2
#define CONV_SHAPE int N, int H, int W, int C, int K, int R, int S, int P, int Q, int SH, int SW, int PH, int PW, int DH, int DW
#define CONV_ARGUMENTS N, H, W, C, K, R, S, P, Q, SH, SW, PH, PW, DH, DW

struct Conv { int N, H, W, C, K, R, S, P, Q, SH, SW, PH, PW, DH, DW; };

// Images (N, height, width, channels) are read at the sum of two places: where a window begins (which may lie outside
// the image) and a tap, counted from there. Both parts know their offset in memory. So a(i, d) is read at the sum of a
// place of the row, a_row(i), and one of the depth, a_depth(d), and b(d, j) at b_depth(d) + b_column(j): what does not
// change in a loop is worked out before it. Where a factor is a plain matrix, h and w are 0.
struct Place { int h, w, offset; };
#define OUTSIDE Place{-(1 << 29), 0, 0}  // whatever is added: the place of rows, columns and depths that there are not
struct Images {
  int height, width, channels;
  __device__ Place window(int n, int h, int w) const { return {h, w, ((n * height + h) * width + w) * channels}; }
  __device__ Place tap(int h, int w, int channel) const { return {h, w, (h * width + w) * channels + channel}; }
  __device__ bool inside(const Place& window, const Place& tap) const {
    return (unsigned)(window.h + tap.h) < (unsigned)height && (unsigned)(window.w + tap.w) < (unsigned)width;
  }
  template <class T> __device__ T read(const T* x, const Place& window, const Place& tap) const {
    return inside(window, tap) ? x[window.offset + tap.offset] : T(0);
  }
};

template <class T> __device__ T read(const T* x, const Place& one, const Place& other) {  // of a plain matrix
  return one.h + other.h < 0 ? T(0) : x[one.offset + other.offset];
}

// One axis of GRAD_INPUT: the pixels h = first + stride i, i < pixels, and the taps r = remainder + stride t, t < taps,
// that reach them, from p = start + i - step t.
struct Residue {
  int first, pixels, taps, start, step;
  __device__ Residue(int remainder, int size, int kernel, int stride, int pad, int dilation) {
    first = (remainder - pad % stride + stride) % stride;
    pixels = first < size ? (size - first + stride - 1) / stride : 0;
    taps = remainder < kernel ? (kernel - remainder + stride - 1) / stride : 0;
    start = (first + pad - remainder) / stride;
    step = stride == 1 ? dilation : 1;
  }
};

template <int Kind> struct Product;

template <> struct Product<FORWARD> {
  const Conv c;
  const Images images;       // x
  const int taps_h, taps_w;  // the depth counts (taps_h, taps_w, channels)
  int rows, columns, depth;
  __device__ Product(const Conv& c, int)
      : c(c), images{c.H, c.W, c.C}, taps_h(c.R), taps_w(c.S), rows(c.N * c.P * c.Q), columns(c.K),
        depth(c.R * c.S * c.C) {}
  __device__ Place window(int n, int p, int q) const { return images.window(n, p * c.SH - c.PH, q * c.SW - c.PW); }
  __device__ Place window(int i) const { return window(i / (c.Q * c.P), i / c.Q % c.P, i % c.Q); }
  __device__ Place tap(int r, int s, int ch) const { return images.tap(r * c.DH, s * c.DW, ch); }
  __device__ Place tap(int d) const { return tap(d / (c.C * c.S), d / c.C % c.S, d % c.C); }
  __device__ Place a_row(int i) const { return i < rows ? window(i) : OUTSIDE; }
  __device__ Place a_depth(int d) const { return tap(d); }
  __device__ Place b_depth(int d) const { return {0, 0, d}; }
  __device__ Place b_column(int j) const { return j < columns ? Place{0, 0, j * depth} : OUTSIDE; }
  template <class T> __device__ T a(const T* x, Place row, Place depth) const { return images.read(x, row, depth); }
  template <class T> __device__ T b(const T* w, Place depth, Place column) const { return read(w, depth, column); }
  __device__ int out(int i, int j) const { return i * c.K + j; }
};

template <> struct Product<GRAD_INPUT> {
  const Conv c;
  const Images images;  // dy
  const int remainder_h, remainder_w;
  const Residue y, x;
  const int taps_h, taps_w;
  int rows, columns, depth;
  __device__ Product(const Conv& c, int parity)
      : c(c), images{c.P, c.Q, c.K}, remainder_h(parity / c.SW), remainder_w(parity % c.SW),
        y(remainder_h, c.H, c.R, c.SH, c.PH, c.DH), x(remainder_w, c.W, c.S, c.SW, c.PW, c.DW),
        taps_h(x.taps ? y.taps : 0), taps_w(x.taps),
        rows(c.N * y.pixels * x.pixels), columns(c.C), depth(y.taps * x.taps * c.K) {}
  __device__ Place window(int i) const {
    return images.window(i / (x.pixels * y.pixels), y.start + i / x.pixels % y.pixels, x.start + i % x.pixels);
  }
  __device__ Place tap(int t, int u, int k) const { return images.tap(-y.step * t, -x.step * u, k); }
  __device__ Place tap(int d) const { return tap(d / (c.K * x.taps), d / c.K % x.taps, d % c.K); }
  __device__ int filters() const {  // where this remainder's begin in w (SH, SW, T, U, K, C), see conv_loads.cuh
    return (remainder_h * c.SW + remainder_w) * ((c.R + c.SH - 1) / c.SH * ((c.S + c.SW - 1) / c.SW)) * c.K * c.C;
  }
  __device__ Place a_row(int i) const { return i < rows ? window(i) : OUTSIDE; }
  __device__ Place a_depth(int d) const { return tap(d); }
  __device__ Place b_depth(int d) const {
    const int k = d % c.K, u = d / c.K % x.taps, t = d / (c.K * x.taps);
    return {0, 0, ((k * c.R + remainder_h + c.SH * t) * c.S + remainder_w + c.SW * u) * c.C};
  }
  __device__ Place b_column(int j) const { return j < columns ? Place{0, 0, j} : OUTSIDE; }
  template <class T> __device__ T a(const T* dy, Place row, Place depth) const { return images.read(dy, row, depth); }
  template <class T> __device__ T b(const T* w, Place depth, Place column) const { return read(w, depth, column); }
  __device__ int out(int i, int j) const {
    const int iw = i % x.pixels, ih = i / x.pixels % y.pixels, n = i / (x.pixels * y.pixels);
    return ((n * c.H + y.first + c.SH * ih) * c.W + x.first + c.SW * iw) * c.C + j;
  }
};

template <> struct Product<GRAD_WEIGHT> {
  const Conv c;
  const Product<FORWARD> forward;
  int rows, columns, depth;
  __device__ Product(const Conv& c, int)
      : c(c), forward(c, 0), rows(c.K), columns(c.R * c.S * c.C), depth(c.N * c.P * c.Q) {}
  __device__ Place a_row(int i) const { return i < rows ? Place{0, 0, i} : OUTSIDE; }
  __device__ Place a_depth(int d) const { return {0, 0, d * c.K}; }
  __device__ Place b_depth(int d) const { return forward.window(d); }
  __device__ Place b_column(int j) const { return j < columns ? forward.tap(j) : OUTSIDE; }
  template <class T> __device__ T a(const T* dy, Place row, Place depth) const { return read(dy, row, depth); }
  template <class T> __device__ T b(const T* x, Place depth, Place column) const { return forward.a(x, depth, column); }
  __device__ int out(int i, int j) const { return i * columns + j; }
};

// Which tile of the result a block makes, from which part of the depth. blockIdx.x counts the tiles, columns fastest:
// blocks that run at the same time then read the same rows of `a`. blockIdx.z counts the remainders of the stride
// (GRAD_INPUT), and parts of the depth where the tiles alone would not fill the GPU: each part writes a result of its
// own, and conv_sums.cu adds them. Parts begin at multiples of `step`.
template <int Kind> struct Block {
  const Product<Kind> product;
  int row, column, part, begin, end;
  __device__ Block(const Conv& c, int rows, int columns, int step)
      : product(c, Kind == GRAD_INPUT ? blockIdx.z % (c.SH * c.SW) : 0) {
    const int across = (product.columns + columns - 1) / columns;
    row = blockIdx.x / across * rows;
    column = blockIdx.x % across * columns;
    const int remainders = Kind == GRAD_INPUT ? c.SH * c.SW : 1, parts = gridDim.z / remainders;
    part = blockIdx.z / remainders;
    const int length = ((product.depth + parts - 1) / parts + step - 1) / step * step;
    begin = min(product.depth, part * length);
    end = min(product.depth, begin + length);
  }
  __device__ bool is_empty() const { return row >= product.rows; }  // remainders differ in size
  __device__ long long first() const {  // of the result that this part writes
    const Conv& c = product.c;
    return part * (Kind == GRAD_INPUT ? (long long)c.N * c.H * c.W * c.C : (long long)product.rows * product.columns);
  }
};
