// Convolution as its formula says: one thread a number of the result, nothing shared. All options, float and double.
//
// Shapes:  x (N, H, W, C), w (K, R, S, C/G), bias (K), y (N, P, Q, K); channels last, G groups.
// Formula: y[n,p,q,k]  = bias[k] + sum over r,s,c of x[n, p SH + r DH - PH, q SW + s DW - PW, g C/G + c] w[k,r,s,c]
//          dx[n,h,w,c] = sum over k,r,s of dy[n,p,q,k] w[k,r,s,c]   where p SH = h + PH - r DH, q alike
//          dw[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] x[n, p SH + r DH - PH, ..., c]
// Work:    neighbouring threads have neighbouring channels of the result. Loops: r, s, then channels; for dw: n, p, q.
//          Every number is fetched as often as it is used: R S K times each number of x. That is what the next rungs
//          mend.
#include "conv.cuh"

extern "C" __global__ void __launch_bounds__(256) naive_forward(
    REAL* __restrict__ y, const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ bias,
    int groups, CONV_SHAPE) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (long long)N * P * Q * K) return;
  const int k = i % K, q = i / K % Q, p = i / K / Q % P, n = i / K / Q / P;
  const int c_group = C / groups, first = k / (K / groups) * c_group;
  REAL sum = bias ? bias[k] : REAL(0);
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) {
      const int h = p * SH + r * DH - PH, v = q * SW + s * DW - PW;
      if (h < 0 || h >= H || v < 0 || v >= W) continue;
      const REAL* pixel = x + (((long long)n * H + h) * W + v) * C + first;
      const REAL* tap = w + (((long long)k * R + r) * S + s) * c_group;
      for (int c = 0; c < c_group; ++c) sum += pixel[c] * tap[c];
    }
  y[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256) naive_grad_input(
    REAL* __restrict__ dx, const REAL* __restrict__ dy, const REAL* __restrict__ w, int groups, CONV_SHAPE) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (long long)N * H * W * C) return;
  const int c = i % C, v = i / C % W, h = i / C / W % H, n = i / C / W / H;
  const int c_group = C / groups, k_group = K / groups, group = c / c_group;
  REAL sum = 0;
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) {
      int p = h + PH - r * DH, q = v + PW - s * DW;
      if (p < 0 || q < 0 || p % SH || q % SW) continue;
      p /= SH;
      q /= SW;
      if (p >= P || q >= Q) continue;
      const REAL* pixel = dy + (((long long)n * P + p) * Q + q) * K;
      for (int k = group * k_group; k < (group + 1) * k_group; ++k)
        sum += pixel[k] * w[(((long long)k * R + r) * S + s) * c_group + c % c_group];
    }
  dx[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256) naive_grad_weight(
    REAL* __restrict__ dw, const REAL* __restrict__ dy, const REAL* __restrict__ x, int groups, CONV_SHAPE) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, c_group = C / groups;
  if (i >= K * R * S * c_group) return;
  const int c = i % c_group, s = i / c_group % S, r = i / c_group / S % R, k = i / c_group / S / R;
  const int channel = k / (K / groups) * c_group + c;
  REAL sum = 0;
  for (int n = 0; n < N; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q) {
        const int h = p * SH + r * DH - PH, v = q * SW + s * DW - PW;
        if (h < 0 || h >= H || v < 0 || v >= W) continue;
        sum += dy[(((long long)n * P + p) * Q + q) * K + k] * x[(((long long)n * H + h) * W + v) * C + channel];
      }
  dw[i] = sum;
}
