/* Parts of a call, one to each thread of the team that torch's own OpenMP runtime keeps.

A thread of our own would share a core with one of torch's, which spins for a while after each of its operations; this
way they are the same threads, awake already. `parallel`, `me` and `size` are GOMP_parallel, omp_get_thread_num and
omp_get_num_threads of that runtime; the team may be smaller than what was asked for. */

typedef int entry(const sizes *, void *const *, const REAL *const *);
typedef struct {
    entry *run;
    long count;
    const sizes *s;
    void *const *const *a;
    const REAL *const *p;
    int (*me)(void), (*size)(void);
    int *found;
} team;

static void member(void *data) {
    const team *t = data;
    for (long i = t->me(), step = t->size(); i < t->count; i += step) t->found[i] = t->run(t->s + i, t->a[i], t->p);
}

/* Run part i on sizes s[i] and arguments a[i]; returns whether each succeeded. */
int share(entry *run, long count, const sizes *s, void *const *const *a, const REAL *const *p,
          void (*parallel)(void (*)(void *), void *, unsigned, unsigned), int (*me)(void), int (*size)(void)) {
    int found[count], all = 1;
    team t = {run, count, s, a, p, me, size, found};
    parallel(member, &t, count, 0);
    for (long i = 0; i < count; i++) all &= found[i];
    return all;
}
