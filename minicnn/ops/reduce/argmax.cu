// Where the maximum along one axis stands, and the gradient that goes there.
//
// Shapes:  x, dx: (A, R, B), contiguous; places, dy: (A, B).
// Formula: places[a, b] = the first r at which x[a, r, b] is largest; NaN is larger than every number.
//          dx[a, r, b] = dy[a, b] where r = places[a, b], else 0.
// Work:    argmax as in fold.cu, without chunks; to_places one thread a number.
//
// Macro: NUMBER, the type of x and dy.

__device__ bool before(NUMBER x, long long i, NUMBER y, long long j) {  // whether (y, j) is to be taken before (x, i)
  if (j < 0 || i < 0) return j >= 0;
  if (x != x || y != y) return y != y && (x == x || j < i);
  return y > x || (y == x && j < i);
}

extern "C" __global__ void __launch_bounds__(256) argmax(
    long long* __restrict__ places, const NUMBER* __restrict__ x, long long A, long long R, long long B, int TX, int TY) {
  __shared__ NUMBER values[256];
  __shared__ long long indices[256];
  const int thread = threadIdx.x, tx = thread % TX, ty = thread / TX % TY, tz = thread / (TX * TY);
  const long long columns = (B + TX - 1) / TX;
  const long long a = blockIdx.x / columns * (256 / (TX * TY)) + tz, b = blockIdx.x % columns * TX + tx;
  NUMBER best = 0;
  long long place = -1;
  if (a < A && b < B) {
    const NUMBER* at = x + a * R * B + b;
    for (long long r = ty; r < R; r += TY) {
      const NUMBER value = at[r * B];
      if (before(best, place, value, r)) best = value, place = r;
    }
  }
  values[thread] = best;
  indices[thread] = place;
  for (int half = TY / 2; half > 0; half /= 2) {
    __syncthreads();
    const int other = thread + half * TX;
    if (ty < half && before(values[thread], indices[thread], values[other], indices[other])) {
      values[thread] = values[other];
      indices[thread] = indices[other];
    }
  }
  if (ty == 0 && a < A && b < B) places[a * B + b] = indices[thread];
}

// dx[a, r, b] = dy[a, b] where r = places[a, b], else 0: the gradient goes to the first maximum. One thread a number.
extern "C" __global__ void __launch_bounds__(256) to_places(
    NUMBER* __restrict__ dx, const NUMBER* __restrict__ dy, const long long* __restrict__ places,
    long long R, long long B, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const long long row = i / B, b = i % B, at = row / R * B + b;
  dx[i] = row % R == places[at] ? dy[at] : (NUMBER)0;
}
