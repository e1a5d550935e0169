// ReLU and its gradient.
//
// Shapes:  x, y, dy, dx: `count` numbers in one line, in the order of memory, whatever the shape.
// Formula: y = max(x, 0), NaN stays NaN;   dx = dy where not y <= 0, else 0.
// Work:    one thread a number: neighbouring threads, neighbouring numbers. Memory is the limit, not arithmetic.

extern "C" __global__ void __launch_bounds__(256) relu_forward(
    REAL* __restrict__ y, const REAL* __restrict__ x, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = x[i] <= 0 ? REAL(0) : x[i];  // NaN <= 0 is false
}

extern "C" __global__ void __launch_bounds__(256) relu_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const REAL* __restrict__ y, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) dx[i] = y[i] <= 0 ? REAL(0) : dy[i];
}
