// The three passes of a convolution as one matrix product, out[i, j] = sum over d of a(i, d) b(d, j), with three ways of
// reading it from memory: no matrix of windows is ever written ("implicit" matrix product).
//
//   PASS         rows i      columns j   depth d     a(i, d)                            b(d, j)
//   FORWARD      n, p, q     k           r, s, c     x[n, p SH + r DH - PH, ..., c]     w[k, r, s, c]
//   GRAD_INPUT   n, h, w     c           r, s, k     dy[n, (h + PH - r DH) / SH, .., k] w[k, r, s, c]
//   GRAD_WEIGHT  k           r, s, c     n, p, q     dy[n, p, q, k]                     x[n, p SH + r DH - PH, ..., c]
//
// Arrays are channels last: x (N, H, W, C), w (K, R, S, C), y (N, P, Q, K); outside the image x is 0.
//
// GRAD_INPUT with a stride: p SH = h + PH - r DH has a solution only for some r. Pixels with the same remainder
// (h + PH) % SH use the same r = remainder + SH t, t = 0, 1, ..., so each of the SH x SW remainders is a small dense product
// of its own (its number is `parity`), and nothing is multiplied by zero. (Needs stride 1 or dilation 1.)
#define FORWARD 0
#define GRAD_INPUT 1
#define GRAD_WEIGHT 2
#define CONV_SHAPE int N, int H, int W, int C, int K, int R, int S, int P, int Q, int SH, int SW, int PH, int PW, int DH, int DW
#define CONV_ARGUMENTS N, H, W, C, K, R, S, P, Q, SH, SW, PH, PW, DH, DW

struct Conv { int N, H, W, C, K, R, S, P, Q, SH, SW, PH, PW, DH, DW; };

// One axis of GRAD_INPUT: the pixels h = first + stride i, i < pixels, and the taps r = remainder + stride t, t < taps, that
// reach them, from p = start + i - step t.
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
  int rows, columns, depth;
  __device__ Product(const Conv& c, int) : c(c), rows(c.N * c.P * c.Q), columns(c.K), depth(c.R * c.S * c.C) {}
  template <class T> __device__ T a(const T* x, int i, int d) const {
    const int q = i % c.Q, p = i / c.Q % c.P, n = i / (c.Q * c.P);
    const int ch = d % c.C, s = d / c.C % c.S, r = d / (c.C * c.S);
    const int h = p * c.SH + r * c.DH - c.PH, w = q * c.SW + s * c.DW - c.PW;
    return h >= 0 && h < c.H && w >= 0 && w < c.W ? x[((n * c.H + h) * c.W + w) * c.C + ch] : T(0);
  }
  template <class T> __device__ T b(const T* w, int d, int j) const { return w[j * depth + d]; }
  __device__ int out(int i, int j) const { return i * c.K + j; }
};

template <> struct Product<GRAD_INPUT> {
  const Conv c;
  const int remainder_h, remainder_w;
  const Residue y, x;
  int rows, columns, depth;
  __device__ Product(const Conv& c, int parity)
      : c(c), remainder_h(parity / c.SW), remainder_w(parity % c.SW),
        y(remainder_h, c.H, c.R, c.SH, c.PH, c.DH), x(remainder_w, c.W, c.S, c.SW, c.PW, c.DW),
        rows(c.N * y.pixels * x.pixels), columns(c.C), depth(y.taps * x.taps * c.K) {}
  template <class T> __device__ T a(const T* dy, int i, int d) const {
    const int iw = i % x.pixels, ih = i / x.pixels % y.pixels, n = i / (x.pixels * y.pixels);
    const int k = d % c.K, u = d / c.K % x.taps, t = d / (c.K * x.taps);
    const int p = y.start + ih - y.step * t, q = x.start + iw - x.step * u;
    return p >= 0 && p < c.P && q >= 0 && q < c.Q ? dy[((n * c.P + p) * c.Q + q) * c.K + k] : T(0);
  }
  template <class T> __device__ T b(const T* w, int d, int j) const {
    const int k = d % c.K, u = d / c.K % x.taps, t = d / (c.K * x.taps);
    return w[((k * c.R + remainder_h + c.SH * t) * c.S + remainder_w + c.SW * u) * c.C + j];
  }
  __device__ int out(int i, int j) const {
    const int iw = i % x.pixels, ih = i / x.pixels % y.pixels, n = i / (x.pixels * y.pixels);
    return ((n * c.H + y.first + c.SH * ih) * c.W + x.first + c.SW * iw) * c.C + j;
  }
};

template <> struct Product<GRAD_WEIGHT> {
  const Conv c;
  int rows, columns, depth;
  __device__ Product(const Conv& c, int) : c(c), rows(c.K), columns(c.R * c.S * c.C), depth(c.N * c.P * c.Q) {}
  template <class T> __device__ T a(const T* dy, int i, int d) const { return dy[d * c.K + i]; }
  template <class T> __device__ T b(const T* x, int d, int j) const { return Product<FORWARD>(c, 0).a(x, d, j); }
  __device__ int out(int i, int j) const { return i * columns + j; }
};
