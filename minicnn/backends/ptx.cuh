// The PTX instructions that CUDA C++ has no words for, one function each; nothing else holds inline PTX.
//
// The emulator defines functions of the same names in C++ (minicnn/study/emulator/cuda.h), after the same tables of the
// PTX manual, "Matrix Fragments for mma.m16n8k8" and "... m16n8k16". For a lane of a warp: group = lane / 4, member =
// lane % 4, and the numbers that it holds are
//
//   tf32, 16 x 8 x 8     a[i]: row group + 8 (i % 2), column member + 4 (i / 2)
//                        b[i]: row member + 4 i,      column group
//   bf16, 16 x 8 x 16    a[i]: row group + 8 (i % 2), columns 2 member + 8 (i / 2) and the next
//                        b[i]: rows 2 member + 8 i and the next, column group
//   both                 d[i]: row group + 8 (i / 2), column 2 member + i % 2
#ifndef MINICNN_EMULATOR

__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// d (16 x 8) += a (16 x 8) b (8 x 8) in tf32, shared by the lanes of a warp.
__device__ __forceinline__ void mma_16x8x8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d (16 x 8) += a (16 x 16) b (16 x 8) in bf16 with sums in float; a register holds two numbers, the lower one first.
__device__ __forceinline__ void mma_16x8x16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two floats as bf16, rounded to the nearest even, in one register: `low` in its lower half.
__device__ __forceinline__ unsigned to_bf16x2(float low, float high) {
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// Four matrices of 8 lines of 16 bytes from shared memory: lane i points to line i % 8 of matrix i / 8, and gets in
// r[m] the 4 bytes `member` of line `group` of matrix m.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const void* line) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((unsigned)__cvta_generic_to_shared(line)) : "memory");
}

// 16 bytes (or 4) from global to shared memory, while the thread goes on; zeros where `fill` is false.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, bool fill) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(fill ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_async_4(void* to, const void* from, bool fill) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
               :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(fill ? 4 : 0) : "memory");
}

// The copies since the last commit form a group; wait until all groups but the last N have arrived.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void copy_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

#endif
