// The steps of the optimizers: each number of each array is read and written once.
//
// Shapes:  parameter w, gradient g, the optimizer's memory (a, m, s, u, v): `count` numbers in one order of memory.
// Formula: at each kernel; all in place but for g (and for w in average). a and v of rmsprop may be null.
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

// g += weight_decay w;  m += fresh1 (g - m);  v = beta2 v + fresh2 g^2;
// w = shrink w - step_size m / (sqrt(v) larger + eps)
extern "C" __global__ void __launch_bounds__(256) adam(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ m, REAL* __restrict__ v, long long count,
    REAL step_size, REAL larger, REAL fresh1, REAL beta2, REAL fresh2, REAL eps, REAL weight_decay,
    REAL shrink) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL mean = m[i] + fresh1 * (slope - m[i]), square = beta2 * v[i] + fresh2 * slope * slope;
  m[i] = mean;
  v[i] = square;
  w[i] = shrink * old - step_size * mean / (sqrt(square) * larger + eps);
}

// g += weight_decay w;  m += fresh (g - m);  u = max(beta2 u, |g| + eps);  w -= step_size m / u
extern "C" __global__ void __launch_bounds__(256) adamax(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ m, REAL* __restrict__ u, long long count,
    REAL step_size, REAL fresh, REAL beta2, REAL eps, REAL weight_decay) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL mean = m[i] + fresh * (slope - m[i]);
  const REAL before = beta2 * u[i], now = (slope < 0 ? -slope : slope) + eps;
  const REAL largest = before > now || before != before ? before : now;  // NaN stays, in either
  m[i] = mean;
  u[i] = largest;
  w[i] = old - step_size * mean / largest;
}

// g += weight_decay w;  s += g^2;  w -= lr g / (sqrt(s) + eps)
extern "C" __global__ void __launch_bounds__(256) adagrad(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ s, long long count,
    REAL lr, REAL eps, REAL weight_decay) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL sum = s[i] + slope * slope;
  s[i] = sum;
  w[i] = old - lr * slope / (sqrt(sum) + eps);
}

// g += weight_decay w;  s = alpha s + fresh g^2;  d = g / (sqrt(s) + eps);  w -= lr d
// with a: a += fresh (g - a), and s - a^2 in place of s below the root;  with v: v = momentum v + d;  w -= lr v
extern "C" __global__ void __launch_bounds__(256) rmsprop(
    REAL* __restrict__ w, const REAL* __restrict__ g, REAL* __restrict__ s, REAL* __restrict__ a,
    REAL* __restrict__ v, long long count, REAL lr, REAL alpha, REAL fresh, REAL eps, REAL weight_decay,
    REAL momentum) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const REAL old = w[i], slope = weight_decay != 0 ? g[i] + weight_decay * old : g[i];
  const REAL square = alpha * s[i] + fresh * slope * slope;
  s[i] = square;
  REAL spread = square;
  if (a) {
    const REAL mean = a[i] + fresh * (slope - a[i]);
    a[i] = mean;
    spread = square - mean * mean;
  }
  REAL step = slope / (sqrt(spread) + eps);
  if (v) {
    step = momentum * v[i] + step;
    v[i] = step;
  }
  w[i] = old - lr * step;
}

// a += fresh (w - a)
extern "C" __global__ void __launch_bounds__(256) average(
    REAL* __restrict__ a, const REAL* __restrict__ w, long long count, REAL fresh) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  a[i] += fresh * (w[i] - a[i]);
}
