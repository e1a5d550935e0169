// The small ones: arrays of a number a channel.
//
// Shapes:  all (channels).
// Formula: inv_std = 1 / sqrt(var + eps);   new = keep * old + momentum * batch, for the mean and the variance.
// Work:    one thread a channel. In `update_running` new may be old itself.

extern "C" __global__ void __launch_bounds__(256) inverse_std(
    REAL* __restrict__ inv_std, const REAL* __restrict__ var, double eps, int channels) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c < channels) inv_std[c] = REAL(1) / REAL(sqrt(var[c] + REAL(eps)));
}

extern "C" __global__ void __launch_bounds__(256) update_running(
    REAL* new_mean, REAL* new_var, const REAL* old_mean, const REAL* old_var, const REAL* mean, const REAL* var,
    double momentum, double unbiased, int channels) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  const REAL keep = 1 - momentum, share = momentum;
  new_mean[c] = keep * old_mean[c] + share * mean[c];
  new_var[c] = keep * old_var[c] + share * (REAL(unbiased) * var[c]);
}
