// The CUDA C++ language on a CPU: what a .cu file finds defined when the emulator compiles it with g++.
//
// A CUDA thread is a fiber. It runs until it comes to a barrier, to an instruction of its whole warp, or to its end;
// then the next one runs (scheduler.cpp). Runs are deterministic, and the order of the threads is a parameter.
//
// Before compiling, build.py turns   __shared__ T a[N];         into   auto &a = emulator::shared<T[N], __COUNTER__>();
//                             and   extern __shared__ T a[];    into   T *&a = (T *&)emulator::dynamic_shared;
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define MINICNN_EMULATOR 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __syncthreads() emulator::barrier(__FILE__, __LINE__)
#define __syncwarp(...) emulator::warp_barrier(__FILE__, __LINE__)
#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size
#define warpSize 32

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
struct alignas(8) float2 { float x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) double2 { double x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float a, float b) { return {a, b}; }
inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }
inline int2 make_int2(int a, int b) { return {a, b}; }
inline uint2 make_uint2(unsigned a, unsigned b) { return {a, b}; }
inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }

namespace emulator {
constexpr int MOST_THREADS = 1024, MOST_SHARED = 227 << 10, MOST_STATIC = 48 << 10;  // bytes of a block; of its arrays
extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;
extern int current;             // number of the running thread in its block
extern int schedule;            // odd: asynchronous copies arrive at once; even: as late as they may
extern char *dynamic_shared;
extern char error[512];
extern uint64_t exchange[MOST_THREADS];  // a place for each thread, for instructions of whole warps
constexpr uint64_t NOTHING = ~uint64_t(1);  // there, of a thread that has ended: NaN, and no vote
void barrier(const char *file, int line);
void warp_barrier(const char *file, int line);
void *shared_array(int id, size_t bytes);  // one a block
void run(void (*body)(void *), void *kernel, const unsigned *dims, size_t dynamic_bytes, int schedule, size_t bound);
template <class T, int Id> T &shared() { return *(T *)shared_array(Id, sizeof(T)); }

// A kernel's signature in NumPy's letters, a star before an array's: "*f*fi". build.py compares it with the arguments.
template <class T> std::string letter() {
  if constexpr (std::is_pointer_v<T>) return "*" + letter<std::remove_cv_t<std::remove_pointer_t<T>>>();
  else if (std::is_same_v<T, bool>) return "?";
  else if (std::is_floating_point_v<T>) return sizeof(T) == 4 ? "f" : "d";
  else return std::string(1, (std::is_signed_v<T> ? "-bh-i---l" : "-BH-I---L")[sizeof(T)]);
}
template <class... A> const char *signature(void (*)(A...)) {
  static const std::string text = (std::string() + ... + letter<A>());
  return text.c_str();
}

template <class... A> struct Call {
  void (*kernel)(A...);
  void **arguments;
  static void go(void *self) { ((Call *)self)->unpack(std::index_sequence_for<A...>()); }
  template <size_t... I> void unpack(std::index_sequence<I...>) { kernel(*(A *)arguments[I]...); }
};
template <class... A>
const char *launch(void (*kernel)(A...), const unsigned *dims, size_t shared, void **arguments, int order, size_t bound) {
  Call<A...> call{kernel, arguments};
  error[0] = 0;
  run(Call<A...>::go, &call, dims, shared, order, bound);
  return error;
}

// What lane `source` gave as `value`; lanes out of range read their own, lanes that have ended give NaN.
template <class T> __attribute__((no_sanitize("thread"))) T from_lane(T value, int source, const char *file, int line) {
  static_assert(sizeof(T) <= 8, "at most 8 bytes go from lane to lane");
  std::memcpy(&exchange[current], &value, sizeof value);
  warp_barrier(file, line);
  int lane = current & 31, from = source >= 0 && source < 32 ? current - lane + source : current;
  T result;
  std::memcpy(&result, &exchange[from], sizeof result);
  warp_barrier(file, line);
  return result;
}
// One bit of each lane; 0 of those that have ended.
__attribute__((no_sanitize("thread"))) inline unsigned ballot(bool vote, const char *file, int line) {
  exchange[current] = vote;
  warp_barrier(file, line);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= unsigned(exchange[(current & ~31) + lane] & 1) << lane;
  warp_barrier(file, line);
  return votes;
}
}  // namespace emulator

#define __shfl_sync(mask, v, lane) emulator::from_lane(v, lane, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, v, bits) __shfl_sync(mask, v, (emulator::current & 31) ^ (bits))
#define __shfl_down_sync(mask, v, step) __shfl_sync(mask, v, (emulator::current & 31) + (step))
#define __shfl_up_sync(mask, v, step) __shfl_sync(mask, v, (emulator::current & 31) - (step))
#define __ballot_sync(mask, vote) emulator::ballot(vote, __FILE__, __LINE__)
#define __any_sync(mask, vote) (__ballot_sync(mask, vote) != 0)

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T atomicAdd(T *p, T v) {
  T old, now;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do now = old + v;
  while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T> T atomicMax(T *p, T v) {
  T old, now;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do now = std::max(old, v);
  while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __int_as_float(int i) { float x; std::memcpy(&x, &i, 4); return x; }
inline int __float_as_int(float x) { int i; std::memcpy(&i, &x, 4); return i; }
inline float __uint_as_float(unsigned i) { float x; std::memcpy(&x, &i, 4); return x; }
inline unsigned __float_as_uint(float x) { unsigned i; std::memcpy(&i, &x, 4); return i; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
using std::isfinite; using std::isinf; using std::isnan; using std::max; using std::min;

// ---- what ptx.cuh has words for on a GPU, after the tables of the PTX manual -----------------------------------------

inline unsigned to_tf32(float x) {  // ties away from zero
  return std::isnan(x) ? 0x7fffe000u : (__float_as_uint(x) + 0x1000u) & ~0x1fffu;
}

namespace emulator {
// What all lanes of a warp give, for the instructions that multiply matrices.
template <class T, int Count, int Id>
__attribute__((no_sanitize("thread"))) T (&of_warp(const T (&mine)[Count]))[32][Count] {
  static T all[MOST_THREADS / 32][32][Count];
  std::memcpy(all[current / 32][current % 32], mine, sizeof mine);
  return all[current / 32];
}
inline float tf32(unsigned u) { return __uint_as_float(u & ~0x1fffu); }
inline float low_bf16(unsigned u) { return __uint_as_float(u << 16); }
inline float high_bf16(unsigned u) { return __uint_as_float(u & 0xffff0000u); }
inline float bf16(unsigned u, int half) { return half ? high_bf16(u) : low_bf16(u); }

// An asynchronous copy. The queue of each thread is the scheduler's, which ThreadSanitizer does not watch; the copying
// itself is part of the kernel.
struct Copy { void *to; const void *from; int bytes; bool fill; int group; };
void queue_copy(const Copy &c);
const Copy *next_copy(int pending);  // of this thread's queue, unless its group is one of the last `pending`; else null
void end_group();
inline void copy_now(const Copy &c) {
  for (int i = 0; i < c.bytes / 4; ++i) ((unsigned *)c.to)[i] = c.fill ? ((const unsigned *)c.from)[i] : 0u;
}
}  // namespace emulator

// d (16 x 8) += a (16 x 8) b (8 x 8) in tf32, shared by the lanes of a warp.
__attribute__((no_sanitize("thread"))) inline void mma_16x8x8_tf32(
    float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char *file = __builtin_FILE(),
    int line = __builtin_LINE()) {
  auto &A = emulator::of_warp<unsigned, 4, 0>(a);
  auto &B = emulator::of_warp<unsigned, 2, 1>(b);
  emulator::warp_barrier(file, line);
  const int lane = emulator::current % 32, group = lane / 4, member = lane % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = group + 8 * (i / 2), column = 2 * member + i % 2;
    for (int k = 0; k < 8; ++k)
      d[i] += emulator::tf32(A[row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)]) * emulator::tf32(B[column * 4 + k % 4][k / 4]);
  }
  emulator::warp_barrier(file, line);
}

// d (16 x 8) += a (16 x 16) b (16 x 8) in bf16 with sums in float; a register holds two numbers, the lower one first.
__attribute__((no_sanitize("thread"))) inline void mma_16x8x16_bf16(
    float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char *file = __builtin_FILE(),
    int line = __builtin_LINE()) {
  auto &A = emulator::of_warp<unsigned, 4, 2>(a);
  auto &B = emulator::of_warp<unsigned, 2, 3>(b);
  emulator::warp_barrier(file, line);
  const int lane = emulator::current % 32, group = lane / 4, member = lane % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = group + 8 * (i / 2), column = 2 * member + i % 2;
    for (int k = 0; k < 16; ++k)
      d[i] += emulator::bf16(A[row % 8 * 4 + k % 8 / 2][row / 8 + 2 * (k / 8)], k % 2) *
              emulator::bf16(B[column * 4 + k % 8 / 2][k / 8], k % 2);
  }
  emulator::warp_barrier(file, line);
}

// Four matrices of 8 lines of 16 bytes: lane i points to line i % 8 of matrix i / 8.
inline void load_matrices(
    unsigned (&r)[4], const void *address, const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
  const int lane = emulator::current % 32;
  for (int m = 0; m < 4; ++m)
    r[m] = ((const unsigned *)emulator::from_lane(address, 8 * m + lane / 4, file, line))[lane % 4];
}

// Two floats as bf16, rounded to the nearest even, in one register: `low` in its lower half.
inline unsigned to_bf16x2(float low, float high) {
  auto half = [](float x) {
    unsigned u = __float_as_uint(x);
    return std::isnan(x) ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1)) >> 16;
  };
  return half(high) << 16 | half(low);
}

inline void copy_async(void *to, const void *from, int bytes, bool fill) {
  const emulator::Copy copy{to, from, bytes, fill, 0};
  if (emulator::schedule % 2) emulator::copy_now(copy);
  else emulator::queue_copy(copy);
}
inline void copy_async_16(void *to, const void *from, bool fill) { copy_async(to, from, 16, fill); }
inline void copy_async_4(void *to, const void *from, bool fill) { copy_async(to, from, 4, fill); }
inline void copy_commit() { emulator::end_group(); }
template <int N> void copy_wait() {  // nothing arrives before it is waited for
  while (const emulator::Copy *copy = emulator::next_copy(N)) emulator::copy_now(*copy);
}

// A line for each kernel, which build.py writes after the .cu file; `bound` is that of __launch_bounds__.
#define EMULATED_KERNEL(name, bound, ...) \
  extern "C" const char *signature_##name() { return emulator::signature(::name); } \
  extern "C" const char *launch_##name(const unsigned *dims, size_t shared, void **arguments, int order) { \
    return emulator::launch(::name, dims, shared, arguments, order, bound); }
