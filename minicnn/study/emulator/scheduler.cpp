// The scheduler: one block after another, the threads of a block as fibers.
//
// Never compiled with a sanitizer: that would watch the scheduler, not the kernels. With WITH_TSAN it tells
// ThreadSanitizer about the fibers instead: each CUDA thread of each block is a thread of its own, barriers order the
// threads of a block, and nothing orders one block against another.
#include "cuda.h"

#include <csetjmp>
#include <cstdlib>
#include <ucontext.h>
#ifdef WITH_TSAN
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void *);
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_acquire(void *);
void __tsan_release(void *);
void AnnotateIgnoreWritesBegin(const char *, int);
void AnnotateIgnoreWritesEnd(const char *, int);
}
#define TSAN(...) __VA_ARGS__
#define TSAN_UNSEEN(...) AnnotateIgnoreWritesBegin("", 0); __VA_ARGS__ AnnotateIgnoreWritesEnd("", 0);
#else
#define TSAN(...)
#define TSAN_UNSEEN(...) __VA_ARGS__
#endif

namespace emulator {
uint3 thread_index, block_index;
dim3 block_size, grid_size;
int current, schedule;
char *dynamic_shared;
char error[512];
uint64_t exchange[MOST_THREADS];

namespace {
enum State { READY, AT_BARRIER, AT_WARP, ENDED };
struct Thread {
  State state;
  const char *file;  // where it waits
  int line;
  uint3 index;
  int rounds, warp_rounds;
  bool fresh;
  bool at(const Thread &other) const { return line == other.line && !std::strcmp(file, other.file); }
};
struct Fiber { ucontext_t context; jmp_buf jump; bool started; void *tsan; };
struct Copies { std::vector<Copy> queue; size_t next; int group; };  // next: the first that has not arrived
constexpr size_t STACK = 128 << 10, MOST_TSAN_THREADS = 7500;

std::vector<Thread> threads;
std::vector<Fiber> fibers;
Copies copies[MOST_THREADS];
std::vector<char *> shared_arrays;  // of the running block
size_t shared_bytes, shared_most;
char *stacks;
ucontext_t main_context;
jmp_buf main_jump;
void (*body)(void *);
void *kernel;

// Barriers as ThreadSanitizer sees them: who leaves round i has seen what all did before round i and no more, though in
// truth some have run on to round i + 1 already; so odd and even rounds have an address each.
constexpr size_t SYNC = 16 * 34;  // of a block: its barrier, 32 warps, its end
TSAN(std::vector<char> tsan_sync; std::vector<void *> tsan_fibers; char *tsan_block; void *tsan_main;)

// `other`: a thread that waits elsewhere.
void fail(const char *what, const Thread &t, const Thread *other = nullptr) {
  const std::string elsewhere = other ? std::string(" and ") + other->file + " line " + std::to_string(other->line) : "";
  std::snprintf(error, sizeof error, "%s (%s line %d%s, block (%u,%u,%u), thread (%u,%u,%u))", what, t.file, t.line,
                elsewhere.c_str(), block_index.x, block_index.y, block_index.z, t.index.x, t.index.y, t.index.z);
}

// New memory for each block, full of NaN: what no thread of this block wrote shows when it is read.
char *fresh_shared(size_t bytes) {
  char *p;
  TSAN_UNSEEN(p = (char *)std::aligned_alloc(64, (bytes + 63) / 64 * 64);)
  for (volatile char *v = p; v < p + bytes; ++v) *v = char(0xff);
  shared_bytes += bytes;
  return p;
}

void free_shared() {
  TSAN_UNSEEN(for (char *&p : shared_arrays) { std::free(p); p = nullptr; } std::free(dynamic_shared); dynamic_shared = nullptr;)
  shared_most = std::max(shared_most, shared_bytes);
  shared_bytes = 0;
}

// Leave the running fiber for the scheduler; come back when the scheduler picks it again.
void yield(State state, const char *file = "", int line = 0) {
  threads[current].state = state;
  threads[current].file = file;
  threads[current].line = line;
  Fiber &f = fibers[current];
  TSAN(__tsan_switch_to_fiber(tsan_main, 1);)
#ifdef WITH_SANITIZER  // whose longjmp checks the stack
  swapcontext(&f.context, &main_context);
#else  // no system call, unlike swapcontext
  if (!_setjmp(f.jump)) _longjmp(main_jump, 1);
#endif
}

void entry() {
  for (;;) {  // the thread of this number, of one block after another
    body(kernel);
    TSAN(__tsan_release(tsan_block + 16 * 33);)
    exchange[current] = NOTHING;
    yield(ENDED);
  }
}

void resume(int i) {
  Fiber &f = fibers[i];
  Thread &t = threads[i];
  current = i;
  thread_index = t.index;
  const bool first = !f.started;
  if (first) {
    f.started = true;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks + STACK * i;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, entry, 0);
  }
  TSAN(const bool fresh = std::exchange(t.fresh, false);
       if (fresh) tsan_fibers.push_back(f.tsan = __tsan_create_fiber(0));
       __tsan_switch_to_fiber(f.tsan, !fresh);)
#ifdef WITH_SANITIZER
  swapcontext(&main_context, &f.context);
#else
  if (!_setjmp(main_jump)) {
    if (first) setcontext(&f.context);
    else _longjmp(f.jump, 1);
  }
#endif
}

// A warp runs until each of its lanes waits at __syncthreads or has ended, then the next one: nothing sets the warps
// further apart, and the opposite order lets the last one run first.
void run_warp(int begin, int end, const std::vector<int> &lanes) {
  for (;;) {
    for (int lane : lanes)
      if (begin + lane < end && threads[begin + lane].state == READY) resume(begin + lane);
    const Thread *warp = nullptr, *block = nullptr;
    for (int i = begin; i < end; ++i) {
      const Thread &t = threads[i];
      if (t.state == AT_BARRIER) block = &t;
      if (t.state != AT_WARP) continue;
      if (warp && !t.at(*warp)) return fail("lanes of a warp wait at different instructions of the warp", t, warp);
      warp = &t;
    }
    if (!warp) return;
    if (block) return fail("a lane waits at __syncthreads, others of its warp at an instruction of the warp", *block, warp);
    for (int i = begin; i < end; ++i)
      if (threads[i].state == AT_WARP) threads[i].state = READY;
  }
}

void run_block(const std::vector<int> &warps, const std::vector<int> &lanes) {
  const int count = (int)threads.size(), bx = block_size.x, by = block_size.y;
  for (int i = 0; i < count; ++i)
    threads[i] = {READY, "", 0, {unsigned(i % bx), unsigned(i / bx % by), unsigned(i / (bx * by))}, 0, 0, true};
  for (int i = 0; i < count; ++i) { copies[i].queue.clear(); copies[i].next = copies[i].group = 0; }
  std::fill(exchange, exchange + MOST_THREADS, NOTHING);
  for (;;) {
    for (int w : warps) {
      run_warp(32 * w, std::min(count, 32 * w + 32), lanes);
      if (error[0]) return;
    }
    const Thread *waits = nullptr, *ended = nullptr;
    for (Thread &t : threads) {
      if (t.state == ENDED) { ended = &t; continue; }
      if (waits && !t.at(*waits)) return fail("threads wait at different __syncthreads", t, waits);
      waits = &t;
      t.state = READY;
    }
    if (!waits) return;
    if (ended) return fail("a thread returned while others wait at __syncthreads", *waits);
  }
}

std::vector<int> in_order(int n) {  // schedule 0: ascending, 1: descending, else a seed of a permutation
  std::vector<int> p(n);
  for (int i = 0; i < n; ++i) p[i] = schedule == 1 ? n - 1 - i : i;
  uint64_t s = 88172645463325252ull + schedule;
  if (schedule > 1)
    for (int i = n - 1; i > 0; --i) {
      s ^= s << 13; s ^= s >> 7; s ^= s << 17;
      std::swap(p[i], p[s % (i + 1)]);
    }
  return p;
}
}  // namespace

void barrier(const char *file, int line) {
  TSAN(char *sync = tsan_block + threads[current].rounds++ % 2 * 8; __tsan_release(sync);)
  yield(AT_BARRIER, file, line);
  TSAN(__tsan_acquire(sync);)
}

void warp_barrier(const char *file, int line) {
  TSAN(char *sync = tsan_block + 16 * (1 + current / 32) + threads[current].warp_rounds++ % 2 * 8; __tsan_release(sync);)
  yield(AT_WARP, file, line);
  TSAN(__tsan_acquire(sync);)
}

void queue_copy(const Copy &c) {
  TSAN_UNSEEN(copies[current].queue.push_back(c);)
  copies[current].queue.back().group = copies[current].group;
}

const Copy *next_copy(int pending) {
  Copies &mine = copies[current];
  if (mine.next == mine.queue.size() || mine.queue[mine.next].group >= mine.group - pending) return nullptr;
  return &mine.queue[mine.next++];
}

void end_group() { ++copies[current].group; }

void *shared_array(int id, size_t bytes) {
  if ((int)shared_arrays.size() <= id) shared_arrays.resize(id + 1);
  if (!shared_arrays[id]) shared_arrays[id] = fresh_shared(bytes);
  return shared_arrays[id];
}

void run(void (*function)(void *), void *given, const unsigned *d, size_t dynamic_bytes, int order, size_t bound) {
  grid_size = dim3(d[0], d[1], d[2]);
  block_size = dim3(d[3], d[4], d[5]);
  const size_t count = size_t(d[3]) * d[4] * d[5], blocks = size_t(d[0]) * d[1] * d[2];
  if (!count || count > MOST_THREADS || !blocks || d[1] > 65535 || d[2] > 65535 || d[5] > 64) {
    std::snprintf(error, sizeof error, "not a grid (%u,%u,%u) or block (%u,%u,%u) that a GPU takes", d[0], d[1], d[2], d[3], d[4], d[5]);
    return;
  }
  if (count > bound) {
    std::snprintf(error, sizeof error, "%zu threads in a block, __launch_bounds__ allows %zu", count, bound);
    return;
  }
  TSAN(if (count * blocks > MOST_TSAN_THREADS) {
    std::snprintf(error, sizeof error, "%zu threads: ThreadSanitizer takes %zu a launch", count * blocks, MOST_TSAN_THREADS);
    return;
  })
  body = function; kernel = given; schedule = order; shared_most = 0;
  fibers.resize(MOST_THREADS);
  threads.resize(count);
  if (!stacks) stacks = (char *)std::malloc(STACK * MOST_THREADS);
  for (Fiber &f : fibers) f.started = false;
  TSAN(tsan_main = __tsan_get_current_fiber(); tsan_sync.assign(blocks * SYNC, 0);)
  const auto warps = in_order(int(count + 31) / 32), lanes = in_order(32);
  for (int b : in_order((int)blocks)) {
    block_index = {b % d[0], b / d[0] % d[1], b / (d[0] * d[1])};
    TSAN(tsan_block = &tsan_sync[b * SYNC];
         TSAN_UNSEEN(std::free(stacks); stacks = (char *)std::malloc(STACK * MOST_THREADS);)
         for (Fiber &f : fibers) f.started = false;)
    if (dynamic_bytes) dynamic_shared = fresh_shared(dynamic_bytes);
    run_block(warps, lanes);
    free_shared();
    if (error[0]) break;
  }
  // the fibers are kept to the end: ThreadSanitizer drops a report silently if it cannot restore the older stack
  TSAN(for (size_t b = 0; b < blocks; ++b) __tsan_acquire(&tsan_sync[b * SYNC + 16 * 33]);
       for (void *f : tsan_fibers) __tsan_destroy_fiber(f);
       tsan_fibers.clear();)
  if (!error[0] && shared_most > MOST_STATIC + dynamic_bytes)
    std::snprintf(error, sizeof error, "%zu bytes of __shared__ arrays, a kernel may have %d; take them as `extern __shared__`",
                  shared_most - dynamic_bytes, MOST_STATIC);
  if (!error[0] && shared_most > MOST_SHARED)
    std::snprintf(error, sizeof error, "%zu bytes of shared memory in a block, a GPU has %d", shared_most, MOST_SHARED);
}
}  // namespace emulator
