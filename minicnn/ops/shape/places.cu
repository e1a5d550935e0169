// Numbers at places that an index names: fetched, and their gradients brought back.
//
// Shapes:  gather  y, places: (count,); x: a line.         scatter  dx: a line; dy: a line; unique: (count,);
//                                                                    starts: (count + 1,); members: numbers of dy
// Formula: gather  y[i] = x[places[i]].
//          scatter dx[unique[u]] = the sum of dy[members[j]], j = starts[u], ..., starts[u + 1] - 1.
// Work:    one thread a number of y, or one a place of dx: a place named several times adds up its gradients in the order
//          of the index, whichever thread comes first.
extern "C" __global__ void __launch_bounds__(256) gather(
    WORD* __restrict__ y, const WORD* __restrict__ x, const long long* __restrict__ places, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = x[places[i]];
}

extern "C" __global__ void __launch_bounds__(256) scatter(
    WORD* __restrict__ dx, const WORD* __restrict__ dy, const long long* __restrict__ unique,
    const long long* __restrict__ starts, const long long* __restrict__ members, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  WORD sum = 0;
  for (long long j = starts[i]; j < starts[i + 1]; ++j) sum += dy[members[j]];
  dx[unique[i]] = sum;
}
