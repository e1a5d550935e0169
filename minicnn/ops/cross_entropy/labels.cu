// Class indices: what each counts in the mean, and the first that is out of range. One thread a position.
//
// Shapes:  target: `count` labels; weight: (C,) or null; counts: (count,); found: one number, 0 before.
// Formula: counts[i] = weight[target[i]], 0 where ignored;  found = count - i for the first i whose label is out of range.

extern "C" __global__ void __launch_bounds__(256) label_counts(
    double* __restrict__ counts, const long long* __restrict__ target, const REAL* __restrict__ weight,
    long long ignored, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) counts[i] = target[i] == ignored ? 0 : weight ? weight[target[i]] : REAL(1);
}

extern "C" __global__ void __launch_bounds__(256) wrong_labels(
    long long* __restrict__ found, const long long* __restrict__ target, long long ignored, long long classes,
    long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const long long label = target[i];
  if ((label < 0 || label >= classes) && label != ignored) atomicMax(found, count - i);  // whole numbers: no order matters
}
