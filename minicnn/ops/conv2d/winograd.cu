// Winograd's convolution F(4x4, 3x3): 36 products for 16 outputs of 9 taps each, 4 times fewer than the formula.
//
// Shapes:  x (N, H, W, C), w (K, 3, 3, C), y (N, P, Q, K), channels last; tiles (T) of 4 x 4 outputs; stride 1.
// Formula: y = A^T [(G w G^T) * (B^T d B)] A, d a tile's 6 x 6 inputs, * number by number, summed over channels.
//          winograd_transforms.py has the matrices, their points 0, +-3/4, +-3/2, and why.
// Work:    winograd_filters  U (36, rows, columns) = G w G^T. One thread a (row, column).
//          winograd_input    V (36, T, C) = B^T d B.          One thread a tile and channel.
//          products          M (36, T, K) = V U: 36 matrix products in one launch of warps.cu (gridDim.y).
//          winograd_output   y = A^T M A, + bias.             One thread a tile and channel of y.
//          A thread transforms the columns of its tile, then the rows; neighbouring threads have neighbouring channels,
//          so each of its reads and writes is part of a line.
//          GRAD_INPUT is the same with dy for x, w flipped with rows k and columns c, and padding 2 - PH.
// Adds:    fewer products, for V and M, each 2.25 times x and y, that are written and read.

__device__ __forceinline__ void input_transform(float (&d)[6]) {  // B^T d
  const float p = d[4] - 2.25f * d[2], q = 0.75f * d[3] - 1.6875f * d[1];
  const float r = d[4] - 0.5625f * d[2], s = 1.5f * d[3] - 0.84375f * d[1];
  d[0] = 1.265625f * d[0] - 2.8125f * d[2] + d[4];
  d[5] = 1.265625f * d[1] - 2.8125f * d[3] + d[5];
  d[1] = p + q, d[2] = p - q, d[3] = r + s, d[4] = r - s;
}

__device__ __forceinline__ void filter_transform(float (&u)[6], float w0, float w1, float w2) {  // G w
  // Rows of points +-3/4: (1, p, p^2) / (-2 a^2 (b^2 - a^2)); of +-3/2: (1, p, p^2) / (2 b^2 (b^2 - a^2)).
  const float near = -0.5f / (0.5625f * 1.6875f), far = 0.5f / (2.25f * 1.6875f);
  const float even = near * (w0 + 0.5625f * w2), odd = near * 0.75f * w1;
  const float even2 = far * (w0 + 2.25f * w2), odd2 = far * 1.5f * w1;
  u[0] = w0 / 1.265625f;
  u[1] = even + odd, u[2] = even - odd, u[3] = even2 + odd2, u[4] = even2 - odd2, u[5] = w2;
}

__device__ __forceinline__ void output_transform(float (&y)[4], const float (&m)[6]) {  // A^T m
  const float a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
  y[0] = m[0] + a + c;
  y[1] = 0.75f * b + 1.5f * d;
  y[2] = 0.5625f * a + 2.25f * c;
  y[3] = 0.421875f * b + 3.375f * d + m[5];
}

// Rows and columns come in multiples of 4 (`rows`, `columns`), with zeros for those that w has not. `flipped`: of
// GRAD_INPUT.
extern "C" __global__ void __launch_bounds__(256) winograd_filters(
    float* __restrict__ u, const float* __restrict__ w, bool flipped, int K, int C, int rows, int columns) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, row = i / columns, column = i % columns;
  if (row >= rows) return;
  const int k = flipped ? row : column, c = flipped ? column : row;
  float half[3][6];
#pragma unroll
  for (int s = 0; s < 3; ++s) {
    float taps[3];
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      const int place = flipped ? 8 - (3 * r + s) : 3 * r + s;
      taps[r] = k < K && c < C ? w[(k * 9 + place) * C + c] : 0;
    }
    filter_transform(half[s], taps[0], taps[1], taps[2]);
  }
#pragma unroll
  for (int r = 0; r < 6; ++r) {
    float line[6];
    filter_transform(line, half[0][r], half[1][r], half[2][r]);
#pragma unroll
    for (int s = 0; s < 6; ++s) u[(long long)(6 * r + s) * rows * columns + i] = line[s];
  }
}

// C: channels in a multiple of 4; tiles: (N, tiles_h, tiles_w).
extern "C" __global__ void __launch_bounds__(256) winograd_input(
    float* __restrict__ v, const float* __restrict__ x, int N, int H, int W, int C, int tiles_h, int tiles_w, int PH,
    int PW) {
  const long long count = (long long)N * tiles_h * tiles_w * C, i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int c = i % C, tile = i / C, tw = tile % tiles_w, th = tile / tiles_w % tiles_h, n = tile / tiles_w / tiles_h;
  const int h0 = 4 * th - PH, w0 = 4 * tw - PW;
  float half[6][6];  // [column][row]
#pragma unroll
  for (int s = 0; s < 6; ++s) {
#pragma unroll
    for (int r = 0; r < 6; ++r) {
      const int h = h0 + r, w = w0 + s;
      half[s][r] = h >= 0 && h < H && w >= 0 && w < W ? x[((n * H + h) * W + w) * C + c] : 0;
    }
    input_transform(half[s]);
  }
#pragma unroll
  for (int r = 0; r < 6; ++r) {
    float line[6];
#pragma unroll
    for (int s = 0; s < 6; ++s) line[s] = half[s][r];
    input_transform(line);
#pragma unroll
    for (int s = 0; s < 6; ++s) v[(6 * r + s) * count + i] = line[s];
  }
}

// K: channels in a multiple of 4, of m and of y.
extern "C" __global__ void __launch_bounds__(256) winograd_output(
    float* __restrict__ y, const float* __restrict__ m, const float* __restrict__ bias, int N, int P, int Q, int K,
    int tiles_h, int tiles_w) {
  const long long count = (long long)N * tiles_h * tiles_w * K, i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int k = i % K, tile = i / K, tw = tile % tiles_w, th = tile / tiles_w % tiles_h, n = tile / tiles_w / tiles_h;
  float half[6][4];  // [column][row]
#pragma unroll
  for (int s = 0; s < 6; ++s) {
    float column[6];
#pragma unroll
    for (int r = 0; r < 6; ++r) column[r] = m[(6 * r + s) * count + i];
    output_transform(half[s], column);
  }
  const float add = bias ? bias[k] : 0;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const float line[6] = {half[0][r], half[1][r], half[2][r], half[3][r], half[4][r], half[5][r]};
    float outputs[4];
    output_transform(outputs, line);
    const int p = 4 * th + r;
#pragma unroll
    for (int s = 0; s < 4; ++s)
      if (p < P && 4 * tw + s < Q) y[((n * P + p) * Q + 4 * tw + s) * K + k] = outputs[s] + add;
  }
}
