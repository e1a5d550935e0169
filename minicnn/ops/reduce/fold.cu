// Sums and maxima over one axis.
//
// Shapes:  x: (A, R, B), y: (A, chunks, B), both contiguous; chunk c takes `chunk` of the R numbers.
// Formula: y[a, c, b] = sum (or maximum) over r in c * chunk .. (c + 1) * chunk - 1 of x[a, r, b], divided by `divisor`.
// Work:    a block of 256 threads is TX columns b, TY parts of r and as many a as are left (all powers of two):
//
//              thread = (tz * TY + ty) * TX + tx      a = tile of A + tz,  b = tile of B + tx,  r = first + ty, + TY, ...
//
//          Neighbouring threads read neighbouring b, then neighbouring r: always neighbouring numbers. Each thread folds
//          its own, then the TY parts are folded in halves in shared memory. Where there are few a and b, R is cut
//          into chunks for more blocks, and a second launch folds the chunks. The order never depends on the
//          schedule. Sums of float are taken in double: memory is the limit.
//
// Macros: IN, ACC and OUT, types of x, of sums and of y; MAXIMUM 0 or 1.
// NaN is the largest number.

#if MAXIMUM
__device__ ACC combine(ACC a, ACC b) { return b > a || b != b ? b : a; }
__device__ float lowest(float) { return -__int_as_float(0x7f800000); }
__device__ double lowest(double) { return -__int_as_float(0x7f800000); }
__device__ long long lowest(long long) { return -9223372036854775807LL - 1; }
__device__ int lowest(int) { return -2147483647 - 1; }
__device__ unsigned lowest(unsigned) { return 0; }
__device__ unsigned char lowest(unsigned char) { return 0; }
__device__ bool lowest(bool) { return false; }
#else
__device__ ACC combine(ACC a, ACC b) { return a + b; }
__device__ ACC lowest(ACC) { return 0; }
#endif

extern "C" __global__ void __launch_bounds__(256) fold(
    OUT* __restrict__ y, const IN* __restrict__ x, long long A, long long R, long long B, long long chunk,
    int TX, int TY, double divisor) {
  __shared__ ACC parts[256];
  const int thread = threadIdx.x, tx = thread % TX, ty = thread / TX % TY, tz = thread / (TX * TY);
  const long long columns = (B + TX - 1) / TX;
  const long long a = blockIdx.x / columns * (256 / (TX * TY)) + tz, b = blockIdx.x % columns * TX + tx;
  const long long first = blockIdx.y * chunk, last = first + chunk < R ? first + chunk : R;
  ACC sum = lowest((ACC)0);
  if (a < A && b < B) {
    const IN* at = x + a * R * B + b;
#pragma unroll 8
    for (long long r = first + ty; r < last; r += TY) sum = combine(sum, (ACC)at[r * B]);
  }
  parts[thread] = sum;
  for (int half = TY / 2; half > 0; half /= 2) {
    __syncthreads();
    if (ty < half) parts[thread] = combine(parts[thread], parts[thread + half * TX]);
  }
  if (ty == 0 && a < A && b < B) {
    const ACC all = parts[thread];
    y[(a * gridDim.y + blockIdx.y) * B + b] = divisor == 1 ? (OUT)all : (OUT)(all / divisor);
  }
}
