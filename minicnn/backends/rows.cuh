// Blocks that work on one axis of an array (A, R, B): softmax, and losses over classes.
//
// A block of 256 threads is TX neighbouring b, TY parts of r and as many neighbouring a as are left (powers of two):
// thread = (tz * TY + ty) * TX + tx. The TY threads with one (a, b) share a row x[a, :, b]; each takes r = ty, ty + TY,
// ... Neighbouring threads read neighbouring numbers, whichever of R and B runs fastest in memory.

struct Row {
  long long at, position;  // number (a, 0, b) of x; number of (a, b)
  int ty;
  bool inside;  // whether there is such a row
};

__device__ __forceinline__ Row row_of(long long A, long long R, long long B, int TX, int TY) {
  const int thread = threadIdx.x, tx = thread % TX, tz = thread / (TX * TY);
  const long long columns = (B + TX - 1) / TX;
  const long long a = blockIdx.x / columns * (256 / (TX * TY)) + tz, b = blockIdx.x % columns * TX + tx;
  return {a * R * B + b, a * B + b, thread / TX % TY, a < A && b < B};
}

struct Sum {
  template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct Largest {  // of numbers; NaN is passed over
  template <class T> __device__ T operator()(T a, T b) const { return b > a ? b : a; }
};

// What the threads of each row have, folded in halves, for all of them. All threads of the block must come here.
template <class T, class F> __device__ __forceinline__ T folded(T* parts, T own, int TX, int TY, F combine) {
  const int thread = threadIdx.x, ty = thread / TX % TY;
  __syncthreads();  // the result of the last fold has been read
  parts[thread] = own;
  for (int half = TY / 2; half > 0; half /= 2) {
    __syncthreads();
    if (ty < half) parts[thread] = combine(parts[thread], parts[thread + half * TX]);
  }
  __syncthreads();
  return parts[thread - ty * TX];
}
