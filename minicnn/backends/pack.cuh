// Neighbouring channels as one word: a thread that takes V of them reads and writes 16 bytes at a time.
//
// V (a macro) is as many REALs as 16 bytes hold where the channels are a multiple of that, else 1: cuda_channels.py.

template <class T> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Pack { T a[V]; };

template <class T> __device__ __forceinline__ Pack<T> load(const T* from) { return *(const Pack<T>*)from; }
template <class T> __device__ __forceinline__ void store(T* to, const Pack<T>& pack) { *(Pack<T>*)to = pack; }

// The V numbers from `from`, which may be null: then they are all `absent`. For vectors of a number a channel, which
// need not lie at a multiple of 16 bytes.
__device__ __forceinline__ Pack<REAL> of_channels(const REAL* from, int c, REAL absent) {
  Pack<REAL> pack;
#pragma unroll
  for (int v = 0; v < V; ++v) pack.a[v] = from ? from[c + v] : absent;
  return pack;
}
