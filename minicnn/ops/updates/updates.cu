// The steps of the optimizers: each number of each array is read and written once.
//
// Shapes:  parameter w, gradient g, the optimizer's memory v (or m and v): `count` numbers in one order of memory.
// Formula: at each kernel; all in place but for g.
// Work:    one thread a number: neighbouring threads, neighbouring numbers. Memory is the limit, not arithmetic.

// g += weight_decay w;  w -= lr g
extern "C" __global__ void __launch_bounds__(256) sgd(
    REAL* __restrict__ w, const REAL* __restrict__ g, long long count, REAL lr, REAL weight_decay) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], step = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  w[i] = old - lr * step;
}

// g += weight_decay w;  v = keep v + take g;  w -= lr v, or lr (g + ahead v) with nesterov
extern "C" __global__ void __launch_bounds__(256) sgd_momentum(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ v, long long count,
    REAL lr, REAL weight_decay, REAL keep, REAL take, REAL ahead, bool nesterov) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL speed = keep * v[i] + take * slope;
  v[i] = speed;
  w[i] = old - lr * (nesterov ? slope + ahead * speed : speed);
}

// g += weight_decay w;  m += fresh1 (g - m);  v = beta2 v + fresh2 g^2;  w -= step_size m / (sqrt(v) larger + eps)
extern "C" __global__ void __launch_bounds__(256) adam(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ m, REAL* __restrict__ v, long long count,
    REAL step_size, REAL larger, REAL fresh1, REAL beta2, REAL fresh2, REAL eps, REAL weight_decay) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL mean = m[i] + fresh1 * (slope - m[i]), square = beta2 * v[i] + fresh2 * slope * slope;
  m[i] = mean;
  v[i] = square;
  w[i] = old - step_size * mean / (sqrt(square) * larger + eps);
}
