// Copies between arrays of any strides: how axes are exchanged, repeated or cut out.
//
// Shapes:  y, x: (S0, ..., S5), with steps Y0..Y5 and X0..X5 in numbers; a step of 0 repeats.
// Formula: y[i0, ..., i5] = x[i0, ..., i5].
// Work:    one thread a number; i5 fastest, so a warp writes neighbouring numbers where y is contiguous.
extern "C" __global__ void __launch_bounds__(256) copy(
    WORD* __restrict__ y, const WORD* __restrict__ x,
    int S0, int S1, int S2, int S3, int S4, int S5,
    long long Y0, long long Y1, long long Y2, long long Y3, long long Y4, long long Y5,
    long long X0, long long X1, long long X2, long long X3, long long X4, long long X5) {
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (long long)S0 * S1 * S2 * S3 * S4 * S5) return;
  const int i5 = i % S5; i /= S5;
  const int i4 = i % S4; i /= S4;
  const int i3 = i % S3; i /= S3;
  const int i2 = i % S2; i /= S2;
  const int i1 = i % S1, i0 = i / S1;
  y[i0 * Y0 + i1 * Y1 + i2 * Y2 + i3 * Y3 + i4 * Y4 + i5 * Y5] =
      x[i0 * X0 + i1 * X1 + i2 * X2 + i3 * X3 + i4 * X4 + i5 * X5];
}
