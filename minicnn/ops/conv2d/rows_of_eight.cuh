// What a thread of vectorised.cu and warps.cu does with shared memory: reads 4 numbers, and adds a row of 8 products.
__device__ __forceinline__ float4 four(const float* x) { return *reinterpret_cast<const float4*>(x); }

__device__ __forceinline__ void add_row(float (&sums)[8], float a, float4 b0, float4 b1) {
  sums[0] += a * b0.x, sums[1] += a * b0.y, sums[2] += a * b0.z, sums[3] += a * b0.w;
  sums[4] += a * b1.x, sums[5] += a * b1.y, sums[6] += a * b1.z, sums[7] += a * b1.w;
}
