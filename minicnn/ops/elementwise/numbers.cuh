// Four neighbouring numbers, which travel together, and powers.

template <class T> struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Four { T v[4]; };
template <class T> __device__ bool aligned(const T* x) { return (size_t)x % alignof(Four<T>) == 0; }

template <class T> __device__ T power_of(T x, T p) {
  if (p == 0) return 1;
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (p == -1) return 1 / x;
  if (p == T(0.5)) return sqrt(x);  // as NumPy: -infinity has no root
  return pow(x, p);
}
