// Softmax or its logarithm along one axis, and the gradient.
//
// Shapes:  x, y, dy, dx: (A, R, B), contiguous; the axis is R.
// Formula: with m = max_r x[r], s = sum_r exp(x[r] - m):   softmax y = exp(x - m) / s,  log_softmax y = x - m - log s;
//          softmax dx = y (dy - sum_r dy[r] y[r]),          log_softmax dx = dy - exp(y) sum_r dy[r].
// Work:    a few threads a row (rows.cuh), which read it three times: it stays in the cache. Sums are taken in double.
//
// Macros: REAL; LOGARITHM 0 or 1.
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(256, 4) softmax_forward(
    REAL* __restrict__ y, const REAL* __restrict__ x, long long A, long long R, long long B, int TX, int TY) {
  __shared__ double sums[256];
  __shared__ REAL parts[256];
  const Row row = row_of(A, R, B, TX, TY);
  const long long stop = row.inside ? R : 0;
  REAL largest = -__int_as_float(0x7f800000);
  for (long long r = row.ty; r < stop; r += TY) largest = Largest()(largest, x[row.at + r * B]);
  largest = folded(parts, largest, TX, TY, Largest());
  double sum = 0;
  for (long long r = row.ty; r < stop; r += TY) sum += exp(x[row.at + r * B] - largest);
  const REAL total = folded(sums, sum, TX, TY, Sum());
  const REAL shift = log(total);
  for (long long r = row.ty; r < stop; r += TY) {
    const REAL number = x[row.at + r * B] - largest;
    y[row.at + r * B] = LOGARITHM ? number - shift : exp(number) / total;
  }
}

extern "C" __global__ void __launch_bounds__(256, 4) softmax_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const REAL* __restrict__ y,
    long long A, long long R, long long B, int TX, int TY) {
  __shared__ double sums[256];
  const Row row = row_of(A, R, B, TX, TY);
  const long long stop = row.inside ? R : 0;
  double sum = 0;
  for (long long r = row.ty; r < stop; r += TY) {
    const long long i = row.at + r * B;
    sum += LOGARITHM ? dy[i] : dy[i] * y[i];
  }
  const REAL total = folded(sums, sum, TX, TY, Sum());
  for (long long r = row.ty; r < stop; r += TY) {
    const long long i = row.at + r * B;
    dx[i] = LOGARITHM ? dy[i] - exp(y[i]) * total : y[i] * (dy[i] - total);
  }
}
