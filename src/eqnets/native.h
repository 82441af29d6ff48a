/* What the package's C files with vectors share: vectors of the machine's width, and parts of a call in several threads.

Compiled once for float, and once with -DDOUBLE for double. */

#if defined(__AVX512F__)
#define BYTES 64
#define LANES 8
#elif defined(__AVX__)
#define BYTES 32
#define LANES 4
#else
#define BYTES 16
#define LANES 4
#endif
#ifdef DOUBLE
typedef double REAL;
typedef long long INT;
#else
typedef float REAL;
typedef int INT;
#endif
#define VL (BYTES / (long)sizeof(REAL))
#define LOAD(p) (*(const U *)(p))
#define STORE(p, v) (*(U *)(p) = (v))
#define SPLAT(s) ((s) - (V){0})
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
typedef REAL V __attribute__((vector_size(BYTES)));
typedef REAL U __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef INT I __attribute__((vector_size(BYTES)));

/* Parts of a call, one to each thread of the team that torch's own OpenMP runtime keeps. A thread of our own would share a
core with one of torch's, which spins for a while after each of its operations; this way they are the same threads, awake
already. `parallel`, `me` and `size` are GOMP_parallel, omp_get_thread_num and omp_get_num_threads of that runtime; the
team may be smaller than what was asked for. */
typedef void parallel_of(void (*)(void *), void *, unsigned, unsigned);
typedef struct {
    int (*part)(const void *work, long i, long parts); /* whether it succeeded */
    const void *work;
    long parts;
    int (*me)(void), (*size)(void);
    int done;
} team;

static void member(void *data) {
    team *t = data;
    for (long i = t->me(), step = t->size(); i < t->parts; i += step)
        if (!t->part(t->work, i, t->parts)) __atomic_store_n(&t->done, 0, __ATOMIC_RELAXED);
}

/* Returns whether each part succeeded. */
static inline int in_parts(int (*part)(const void *, long, long), const void *work, long parts, parallel_of *parallel,
                           int (*me)(void), int (*size)(void)) {
    team t = {part, work, parts, me, size, 1};
    parallel(member, &t, parts, 0);
    return t.done;
}
