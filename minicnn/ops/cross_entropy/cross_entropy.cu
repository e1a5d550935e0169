// Cross-entropy: the loss of each position, and its gradients.
//
// Shapes:  x, dx: (A, R, B), contiguous, R the classes; a position is an (a, b). labels: (A, B), or probabilities like x;
//          weight: (R,) or null; losses: (2, A, B), the losses and what each position counts in the mean.
// Formula: q[r] = (1 - s) [r = label] + s / R, or (1 - s) probability[r] + s / R, with the smoothing s;
//          loss = - sum_r q[r] weight[r] log_p[r];   dx[r] = scale (p[r] sum_j q[j] weight[j] - q[r] weight[r]);
//          dtarget[r] = - scale (1 - s) weight[r] log_p[r];   scale = dy, divided by the sum of counts for a mean.
//          Ignored positions have loss 0, count 0 and gradient 0.
// Work:    a few threads a row (rows.cuh), which read it three times: it stays in the cache. Sums are taken in double.
//
// Macros: REAL; LABELS 1 and TARGET long long for class indices, 0 and REAL for probabilities.
#include "rows.cuh"

// The largest number of a row, and the logarithm of the sum of exponentials below it.
struct Normaliser {
  REAL largest, shift, total;
};
__device__ __forceinline__ Normaliser normaliser(
    const REAL* __restrict__ x, const Row& row, long long stop, long long B, int TX, int TY, REAL* parts, double* sums) {
  REAL largest = -__int_as_float(0x7f800000);
  for (long long r = row.ty; r < stop; r += TY) largest = Largest()(largest, x[row.at + r * B]);
  largest = folded(parts, largest, TX, TY, Largest());
  double sum = 0;
  for (long long r = row.ty; r < stop; r += TY) sum += exp(x[row.at + r * B] - largest);
  const REAL total = folded(sums, sum, TX, TY, Sum());
  return {largest, log(total), total};
}

extern "C" __global__ void __launch_bounds__(256, 4) cross_entropy_forward(
    double* __restrict__ losses, const REAL* __restrict__ x, const TARGET* __restrict__ target,
    const REAL* __restrict__ weight, long long A, long long R, long long B, int TX, int TY,
    long long ignored, double smoothing) {
  __shared__ double sums[256];
  __shared__ REAL parts[256];
  const Row row = row_of(A, R, B, TX, TY);
  const long long stop = row.inside ? R : 0;
  const Normaliser n = normaliser(x, row, stop, B, TX, TY, parts, sums);
  double sum = 0;  // of what all classes add
  if (!LABELS || smoothing != 0)
    for (long long r = row.ty; r < stop; r += TY) {
      const REAL log_p = x[row.at + r * B] - n.largest - n.shift, w = weight ? weight[r] : REAL(1);
#if LABELS
      sum += w * log_p * (smoothing / R);
#else
      sum += ((1 - smoothing) * target[row.at + r * B] + smoothing / R) * w * log_p;
#endif
    }
  sum = folded(sums, sum, TX, TY, Sum());
  if (row.ty || !row.inside) return;
  double count = 1;
#if LABELS
  const long long label = target[row.position];
  if (label == ignored) {
    sum = count = 0;
  } else {
    count = weight ? weight[label] : REAL(1);
    sum += (1 - smoothing) * count * (x[row.at + label * B] - n.largest - n.shift);
  }
#endif
  losses[row.position] = -sum;
  losses[A * B + row.position] = count;
}

// y = sum of losses, divided by the sum of counts for a mean. One thread.
extern "C" __global__ void __launch_bounds__(32) cross_entropy_reduce(
    REAL* __restrict__ y, const double* __restrict__ sums, bool mean) {
  if (threadIdx.x == 0) y[0] = mean ? sums[0] / sums[1] : sums[0];
}

// dx, or dtarget where OF_TARGET; one dy a position, or one for all. `counts`: the two sums of the forward pass, or null.
extern "C" __global__ void __launch_bounds__(256, 4) cross_entropy_gradient(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const double* __restrict__ counts,
    const REAL* __restrict__ x, const TARGET* __restrict__ target, const REAL* __restrict__ weight,
    long long A, long long R, long long B, int TX, int TY, long long ignored, double smoothing,
    bool each, bool of_target) {
  __shared__ double sums[256];
  __shared__ REAL parts[256];
  const Row row = row_of(A, R, B, TX, TY);
  const long long stop = row.inside ? R : 0;
  const Normaliser n = normaliser(x, row, stop, B, TX, TY, parts, sums);
  const double slope = row.inside ? dy[each ? row.position : 0] : REAL(0), scale = counts ? slope / counts[1] : slope;
#if LABELS
  const long long label = row.inside ? target[row.position] : ignored;
#define Q(r) ((r == label ? 1 - smoothing : 0) + smoothing / R)
#else
#define Q(r) ((1 - smoothing) * target[row.at + r * B] + smoothing / R)
#endif
  double pull = 0;
  for (long long r = row.ty; r < stop; r += TY) pull += Q(r) * (weight ? weight[r] : REAL(1));
  pull = folded(sums, pull, TX, TY, Sum());
  for (long long r = row.ty; r < stop; r += TY) {
    const long long i = row.at + r * B;
    const REAL number = x[i] - n.largest, w = weight ? weight[r] : REAL(1);
    double slope_of = of_target ? -(1 - smoothing) * scale * w * (number - n.shift)
                                : scale * (exp(number) / n.total * pull - Q(r) * w);
#if LABELS
    if (label == ignored) slope_of = 0;
#endif
    dx[i] = slope_of;
  }
}
