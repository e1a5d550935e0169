// Functions of two numbers, element by element.
//
// Shapes:  lines    y, a, b: `count` numbers in one order of memory; a or b may be a single number.
//          strided  y: (S0, ..., S5), contiguous; a and b with steps A0..A5 and B0..B5 in numbers, 0 for what is repeated.
// Formula: y = OP(a, b, p); p is a setting, as the exponent of powers.
// Work:    lines    one thread four numbers, 16 bytes at a time where the arrays begin on such an address.
//          strided  one thread a number, neighbouring threads along the last axis.
//
// Macros: OP a function below, IN and OUT the types of numbers.
#include "numbers.cuh"

template <class T> __device__ T add(T a, T b, T) { return a + b; }
template <class T> __device__ T subtract(T a, T b, T) { return a - b; }
template <class T> __device__ T multiply(T a, T b, T) { return a * b; }
template <class T> __device__ T divide(T a, T b, T) { return a / b; }
template <class T> __device__ T minus_product(T a, T b, T) { return -a * b; }
template <class T> __device__ T over_square(T a, T b, T) { return a / b / b; }  // b^2 could overflow
template <class T> __device__ T squared_difference(T a, T b, T) { return (a - b) * (a - b); }
template <class T> __device__ T twice_difference_over(T a, T b, T p) { return 2 * (a - b) / p; }
template <class T> __device__ T where_not_zero(T a, T b, T) { return a != 0 ? b : T(0); }
template <class T> __device__ T same_or_nan(T a, T b, T) { return a == b || (a != a && b != b); }
template <class T> __device__ bool equal(T a, T b, T) { return a == b; }
template <class T> __device__ bool not_equal(T a, T b, T) { return a != b; }
template <class T> __device__ bool less(T a, T b, T) { return a < b; }
template <class T> __device__ bool less_equal(T a, T b, T) { return a <= b; }

// ---- gradients: of dy and of x or y ----
template <class T> __device__ T power_gradient(T dy, T x, T p) { return p == 0 ? T(0) : dy * (p * power_of(x, p - 1)); }
template <class T> __device__ T logistic_gradient(T dy, T y, T) { return dy * (y * (1 - y)); }
template <class T> __device__ T tangent_gradient(T dy, T y, T) { return dy * (1 - y * y); }

extern "C" __global__ void __launch_bounds__(256) binary_lines(
    OUT* __restrict__ y, const IN* __restrict__ a, const IN* __restrict__ b, IN p, long long count) {
  const long long i = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
  if (i + 4 <= count && aligned(y) && aligned(a) && aligned(b)) {
    const Four<IN> left = *(const Four<IN>*)(a + i), right = *(const Four<IN>*)(b + i);
    Four<OUT> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.v[k] = OP(left.v[k], right.v[k], p);
    *(Four<OUT>*)(y + i) = result;
    return;
  }
  for (long long k = i; k < count && k < i + 4; ++k) y[k] = OP(a[k], b[k], p);
}

extern "C" __global__ void __launch_bounds__(256) binary_strided(
    OUT* __restrict__ y, const IN* __restrict__ a, const IN* __restrict__ b, IN p, long long count,
    long long S0, long long S1, long long S2, long long S3, long long S4, long long S5,
    long long A0, long long A1, long long A2, long long A3, long long A4, long long A5,
    long long B0, long long B1, long long B2, long long B3, long long B4, long long B5) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const long long sizes[6] = {S0, S1, S2, S3, S4, S5};
  const long long a_steps[6] = {A0, A1, A2, A3, A4, A5}, b_steps[6] = {B0, B1, B2, B3, B4, B5};
  long long left = i, at_a = 0, at_b = 0;
#pragma unroll
  for (int axis = 5; axis > 0; --axis) {
    if (sizes[axis] == 1) continue;  // the same for all threads
    const long long rest = left >> 31 ? left / sizes[axis] : (unsigned)left / (unsigned)sizes[axis];
    const long long place = left - rest * sizes[axis];
    at_a += place * a_steps[axis];
    at_b += place * b_steps[axis];
    left = rest;
  }
  y[i] = OP(a[at_a + left * A0], b[at_b + left * B0], p);
}
