// Dropout, and the drawing of its mask.
//
// Shapes:  y, x, mask: `count` numbers in one order of memory.
// Formula: y = x mask factor;  mask = a random number of 32 bits >= threshold, p 2^32.
// Work:    dropout one thread a number. draw_mask one thread four numbers of the mask: Philox 4x32-10 (Salmon et al.
//          2011) turns the number of the thread into four random ones by ten rounds of multiplication, under a key of
//          two numbers. There is no state, so the mask does not depend on which thread comes first.

extern "C" __global__ void __launch_bounds__(256) dropout(
    REAL* __restrict__ y, const REAL* __restrict__ x, const bool* __restrict__ mask, REAL factor, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = x[i] * (mask[i] ? factor : REAL(0));  // a dropped NaN stays NaN
}

extern "C" __global__ void __launch_bounds__(256) draw_mask(
    bool* __restrict__ mask, unsigned key0, unsigned key1, long long threshold, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (4 * i >= count) return;
  unsigned c[4] = {(unsigned)i, (unsigned)(i >> 32), 0, 0};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
    const unsigned high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ key0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (4 * i + k < count) mask[4 * i + k] = c[k] >= threshold;
}
