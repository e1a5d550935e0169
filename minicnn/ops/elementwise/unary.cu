// Functions of one number, element by element.
//
// Shapes:  y, x: `count` numbers in one order of memory.
// Formula: y = OP(x, p); p is the exponent of powers.
// Work:    one thread four numbers, 16 bytes at a time where the arrays begin on such an address.
//
// Macros: OP a function below, IN and OUT the types of numbers.
#include "numbers.cuh"

template <class T> __device__ T power(T x, T p) { return power_of(x, p); }
template <class T> __device__ T exponential(T x, T) { return exp(x); }
template <class T> __device__ T logarithm(T x, T) { return log(x); }
template <class T> __device__ T hyperbolic_tangent(T x, T) { return tanh(x); }
template <class T> __device__ T logistic(T x, T) {
  const T t = exp(-fabs(x));  // at most 1
  return (x < 0 ? t : T(1)) / (1 + t);
}
template <class T> __device__ T minus(T x, T) { return -x; }
template <class T> __device__ T quotient(T x, T p) { return x / p; }
template <class T> __device__ T identity(T x, T) { return x; }

extern "C" __global__ void __launch_bounds__(256) unary_lines(
    OUT* __restrict__ y, const IN* __restrict__ x, IN p, long long count) {
  const long long i = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
  if (i + 4 <= count && aligned(y) && aligned(x)) {
    const Four<IN> numbers = *(const Four<IN>*)(x + i);
    Four<OUT> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.v[k] = OP(numbers.v[k], p);
    *(Four<OUT>*)(y + i) = result;
    return;
  }
  for (long long k = i; k < count && k < i + 4; ++k) y[k] = OP(x[k], p);
}
