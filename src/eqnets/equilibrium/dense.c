/* For a dense W: V = (I + alpha (I - W))^-1, and with it Peaceman-Rachford and Douglas-Rachford, a whole solve of many
samples in one call.

    r = 2 prox(u) - u,   h = V (r + alpha b),   u+ = 2 h - r   (Douglas-Rachford: u+ = (u + 2 h - r)/2)

as in splitting.py, which is the reference. Two equations have this form, and the value at the iterate tells them apart:

    the equilibrium   iterate h,               value sigma(v),   sigma = 1 above zero and `kink` below it
    its adjoint       iterate h + (1 - J) v,   value v,          sigma = J, with V transposed

where v = W h + b = h + (h - r)/alpha. A tile of SLOTS samples shares what is loaded of V, and all else that a step does is
done in registers on the product's result. A sample leaves its slot when it has converged, and the next one takes it:
samples know nothing of each other, and none is carried longer than it needs.

Compiled once for float, and once with -DDOUBLE for double. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "invert.h"

#define SLOTS LANES
#define TILE (2 * VL) /* columns of a tile of V */
#define PICK(mask, a, b) ((V)(((mask) & (I)(a)) | (~(mask) & (I)(b))))

/* A call. Rows are (count, n) and contiguous; the Python side fills this in. */
typedef struct {
    long n, count, most;          /* most: evaluations that a sample may make, the start among them */
    long adjoint, averaged;       /* which equation; whether Douglas-Rachford */
    long along, across;           /* strides of the matrix M in h_j = sum_k M[k along + j across] x_k */
    double alpha, rtol, atol, kink;
    const REAL *matrix;           /* V, or V transposed, by those strides */
    const REAL *bias, *J, *start; /* b; the slopes, for an adjoint; the start, an iterate, */
    const REAL *argument;         /* and the v that belongs to it */
    REAL *value, *residual;       /* written: the iterate that converged, and its residual in units of the tolerance */
    long *steps;                  /* written: evaluations */
} call;

/* The RMS of n numbers, from their squares. */
INLINE REAL size(V squares, long n) {
    REAL sum = 0;
    for (int k = 0; k < VL; k++) sum += squares[k];
    return sqrt(sum / n);
}

/* A slot holds rows of `width` numbers, zero beyond n. */
enum { R, X, NEXT, SHIFT, FACTOR, SLOPE, FOUND, OLD, ROWS }; /* r; r + alpha b, now and next; alpha b; r/u (for u < 0);
                                                                 J; the iterate; u, for Douglas-Rachford */

/* Put a sample into a slot; returns its residual at the start, whose value is then in FOUND. */
INLINE REAL enter(const call *c, long sample, long width, const REAL *spare, REAL *slot, int adjoint) {
    const REAL alpha = c->alpha, kink = c->kink, rtol = c->rtol, atol = c->atol, low = kink / (alpha + (1 - alpha) * kink);
    const REAL *rows[] = {c->bias, c->start, c->argument, c->J};
    const int to[] = {SHIFT, FOUND, OLD, SLOPE};
    for (int k = 0; k < 3 + adjoint; k++) memcpy(slot + to[k] * width, rows[k] + sample * c->n, c->n * sizeof(REAL));
    V total = {0};
    for (long j = 0; j < width; j += VL) {
        REAL *at = slot + j;
        const V z = LOAD(at + FOUND * width), v = LOAD(at + OLD * width), shift = alpha * LOAD(at + SHIFT * width);
        V s = z, value = v, share = SPLAT(low); /* prox(u) = share u, for u < 0 */
        if (adjoint) {
            const V J = LOAD(at + SLOPE * width);
            s = J * z;
            share = J / (J + alpha * (1 - J));
        } else
            value = PICK(v > 0, v, kink * v);
        const V f = 2 * share - 1, u = s + alpha * (v - s), r = adjoint ? f * u : PICK(u > 0, u, f * u);
        const V e = (value - z) / (atol + LOAD(spare + j) + rtol * PICK(value > 0, value, -value));
        total += e * e;
        STORE(at + R * width, r);
        STORE(at + SHIFT * width, shift);
        STORE(at + X * width, r + shift);
        STORE(at + NEXT * width, r + shift); /* whichever of the two is read in the step that follows */
        STORE(at + FACTOR * width, f);
        STORE(at + FOUND * width, value);
        STORE(at + OLD * width, u);
    }
    return size(total, c->n);
}

/* One step of all slots; `adjoint` and `averaged` are known when this is compiled. */
INLINE void step(const call *c, long width, const REAL *tape, const REAL *spare, REAL *slots, int x,
                 REAL *residual, int adjoint, int averaged) {
    const REAL alpha = c->alpha, kink = c->kink, rtol = c->rtol, atol = c->atol, beyond = 1 / alpha;
    V total[SLOTS];
    EACH(i, SLOTS) total[i] = (V){0};
    for (long j = 0; j < width; j += TILE, tape += c->n * TILE) {
        V h[SLOTS][2];
        EACH(i, SLOTS) h[i][0] = h[i][1] = (V){0};
        for (long k = 0; k < c->n; k++) {
            const V a = LOAD(tape + k * TILE), b = LOAD(tape + k * TILE + VL);
            EACH(i, SLOTS) {
                const REAL s = slots[(i * ROWS + x) * width + k];
                h[i][0] += s * a;
                h[i][1] += s * b;
            }
        }
        EACH(i, SLOTS) EACH(part, 2) {
            REAL *at = slots + i * ROWS * width + j + part * VL;
            const V r = LOAD(at + R * width), f = LOAD(at + FACTOR * width), H = h[i][part];
            const V v = H + beyond * (H - r);
            V u = 2 * H - r, found = H, off;
            if (adjoint) {
                const V J = LOAD(at + SLOPE * width);
                found = H + (1 - J) * v;
                off = found - v;
            } else
                off = H - PICK(v > 0, v, kink * v);
            if (averaged) {
                u = (REAL)0.5 * (LOAD(at + OLD * width) + u);
                STORE(at + OLD * width, u);
            }
            const V e = off / (atol + LOAD(spare + j + part * VL) + rtol * PICK(found > 0, found, -found));
            total[i] += e * e;
            const V next = adjoint ? f * u : PICK(u > 0, u, f * u);
            STORE(at + R * width, next);
            STORE(at + FOUND * width, found);
            STORE(at + (X + NEXT - x) * width, next + LOAD(at + SHIFT * width));
        }
    }
    for (int i = 0; i < SLOTS; i++) residual[i] = size(total[i], c->n);
}

/* Steps until every sample has converged; 0 as soon as one has not. */
INLINE int run(const call *c, long width, const REAL *tape, const REAL *spare, REAL *slots, int adjoint, int averaged) {
    long sample[SLOTS], steps[SLOTS], taken = 0;
    REAL after[SLOTS], residual[SLOTS];
    for (int i = 0; i < SLOTS; i++) residual[i] = -1; /* an empty slot */
    for (int x = X;; x = X + NEXT - x) {
        int busy = 0;
        for (int i = 0; i < SLOTS; i++) {
            REAL *slot = slots + i * ROWS * width;
            while (residual[i] < 1) {
                if (residual[i] >= 0) {
                    memcpy(c->value + sample[i] * c->n, slot + FOUND * width, c->n * sizeof(REAL));
                    c->residual[sample[i]] = residual[i];
                    c->steps[sample[i]] = steps[i];
                    residual[i] = -1;
                }
                if (taken == c->count) break;
                residual[i] = enter(c, sample[i] = taken++, width, spare, slot, adjoint);
                steps[i] = 1;
            }
            if (!isfinite(residual[i]) || (residual[i] >= 1 && steps[i] >= c->most)) return 0;
            busy |= residual[i] >= 0;
        }
        if (!busy) return 1;
        step(c, width, tape, spare, slots, x, after, adjoint, averaged);
        for (int i = 0; i < SLOTS; i++)
            if (residual[i] >= 0) residual[i] = after[i], steps[i]++;
    }
}

/* Solve for all samples; returns whether each has converged. What is written is of use only then. */
int settle(const call *c) {
    const long n = c->n, width = (n + TILE - 1) / TILE * TILE, room = SLOTS * ROWS * width;
    REAL *slots = aligned_alloc(BYTES, (room + width + width * n) * sizeof(REAL)), *spare = slots + room, *tape = spare + width;
    if (!slots) return 0;
    memset(slots, 0, room * sizeof(REAL));
    for (long j = 0; j < width; j++) {
        spare[j] = j >= n;
        for (long k = 0; k < n; k++)
            tape[(j / TILE * n + k) * TILE + j % TILE] = j < n ? c->matrix[k * c->along + j * c->across] : 0;
    }
    int done = c->adjoint ? c->averaged ? run(c, width, tape, spare, slots, 1, 1) : run(c, width, tape, spare, slots, 1, 0)
               : c->averaged ? run(c, width, tape, spare, slots, 0, 1) : run(c, width, tape, spare, slots, 0, 0);
    free(slots);
    return done;
}

static int part(const void *whole, long i, long parts) {
    call c = *(const call *)whole;
    const long first = c.count * i / parts, skip = first * c.n;
    c.count = c.count * (i + 1) / parts - first;
    c.bias += skip, c.start += skip, c.argument += skip, c.value += skip, c.residual += first, c.steps += first;
    if (c.adjoint) c.J += skip;
    return settle(&c);
}

/* The same in parts. */
int share(const call *whole, long parts, parallel_of *parallel, int (*me)(void), int (*size)(void)) {
    return in_parts(part, whole, parts, parallel, me, size);
}

/* V = ((1 + alpha) I - alpha W)^-1, (n, n), from W with its strides. 0 where it is singular. */
int resolvent(long n, double alpha, const REAL *W, long down, long across, REAL *out) {
    const long width = (n + VL - 1) / VL * VL;
    REAL *M = aligned_alloc(BYTES, n * width * sizeof(REAL));
    if (!M) return 0;
    for (long i = 0; i < n; i++)
        for (long j = 0; j < width; j++)
            M[i * width + j] = (j == i ? 1 + (REAL)alpha : 0) - (j < n ? (REAL)alpha * W[i * down + j * across] : 0);
    const int regular = invert(n, width, M);
    for (long i = 0; regular && i < n; i++) memcpy(out + i * n, M + i * width, n * sizeof(REAL));
    free(M);
    return regular;
}
