/* The rollout of an LFR and its adjoint, compiled by the package where a C compiler is found.

One routine serves both directions. A step reads a row [a; e] and a matrix M whose rows are [neurons; a'; outputs]:

    acc = M[:, a e] [a; e];  for each neuron i in order:  s_i = f_i(acc_i),  acc += M[:, s_i] s_i;  a' and outputs = acc

    forward    a = x_t,      e = [u_t; 1],  f = phi,                   a' = x_{t+1},   outputs = y_t
    backward   a = lam_t+1,  e = dL/dy_t,   f_i(r) = phi'(v_i) r,      a' = lam_t,     outputs = dL/du_t

The adjoint is the transposed system with its neurons in reversed order, run backwards in time. Its rows G = [lam; gy; mu]
and the forward rows Z = [x; u; 1; w] give every parameter's gradient as one product, dW = sum_t G_t Z_t'.

That is for an acyclic D11. A full one makes s = f(acc + M[:, s] s) an equilibrium of all neurons: see coupling.h.

Vectors lie along the rows of M (along neurons), never along padded lanes; a tile of up to LANES lanes of the batch shares
what is loaded of M. Neurons are eliminated in blocks of one vector, in registers. M is packed as a tape in the order in
which a step reads it, so that memory is read front to back.

Compiled once for float, and once with -DDOUBLE for double. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* 0 > v ? 0 : v in one instruction, where a comparison and a blend would wait for each other: the neurons are a chain. */
#if defined(__AVX__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__) && defined(DOUBLE)
#define RECTIFIED(v) ((V)_mm512_max_pd((__m512d){0}, (__m512d)(v)))
#elif defined(__AVX512F__)
#define RECTIFIED(v) ((V)_mm512_max_ps((__m512){0}, (__m512)(v)))
#elif defined(__AVX__) && defined(DOUBLE)
#define RECTIFIED(v) ((V)_mm256_max_pd((__m256d){0}, (__m256d)(v)))
#elif defined(__AVX__)
#define RECTIFIED(v) ((V)_mm256_max_ps((__m256){0}, (__m256)(v)))
#else
INLINE V rectified(V v) {
    for (int i = 0; i < VL; i++) v[i] = 0 > v[i] ? 0 : v[i];
    return v;
}
#define RECTIFIED(v) rectified(v)
#endif

/* As in codes.py; MIXED: one code per neuron, TIMES: f of the adjoint. */
enum { RELU, TANH, LEAKY, SOFTPLUS, SIGMOID, IDENTITY, SINE_DEFECT, HARDTANH, ELU, SOFTSHRINK, SELU, GELU, SILU, MISH, MIXED, TIMES };
enum { NONE, ACYCLIC, FULL };

/* Sizes and options of a call; the Python side fills in an array of long. */
typedef struct {
    long nx, nv, nu, ny, batch, time;
    long kind;    /* the activation of all neurons, or MIXED: one code per neuron */
    long coupled; /* what D11 is: NONE of its entries differs from zero, or it is ACYCLIC, or FULL */
    long every;   /* steps between kept states; 0 keeps every row of Z, -1 nothing */
    long first, last; /* the lanes of this call */
} sizes;

#define UP(n) (((n) + VL - 1) / VL * VL)
#define ROW(s) (((s)->nx + (s)->nu + 1 + (s)->nv + 15) / 16 * 16) /* the same in codes.py */
struct coupling;

/* One direction: its tape, na states, `in` columns for [a; e], q neurons, `vecs` vectors of rows, and f. */
typedef struct {
    long na, in, q, outs, vecs, coupled, kind;
    const int *code;
    const REAL *slope;
    REAL *tape;
    struct coupling *full; /* for a full D11, else NULL */
} direction;

/* ---- nonlinearities ---------------------------------------------------------------------------------------------- */

#define SELU_SCALE 1.0507009873554804934193349852946
#define SELU_ALPHA 1.6732632423543772848170429916717
#define IN(name) (sizeof(REAL) == 4 ? name##f(v) : name(v))

INLINE double sigmoid(double v) { return v > 0 ? 1 / (1 + exp(-v)) : exp(v) / (1 + exp(v)); }
INLINE double softplus(double v) { return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v)); }
INLINE double normal(double v) { return 0.5 * erfc(-v * 0.70710678118654752440); }

/* `p` is the number in the nonlinearity's name. */
INLINE REAL phi(REAL v, int code, REAL p) {
    switch (code) {
    case RELU: return v < 0 ? 0 : v;
    case TANH: return IN(tanh);
    case LEAKY: return v < 0 ? p * v : v;
    case SOFTPLUS: return softplus(v);
    case SIGMOID: return sigmoid(v);
    case SINE_DEFECT: return v - IN(sin);
    case HARDTANH: return v > 1 ? 1 : v < -1 ? -1 : v;
    case ELU: return v > 0 ? v : v == v ? p * IN(expm1) : v;
    case SOFTSHRINK: return v > p ? v - p : v < -p ? v + p : v == v ? 0 : v;
    case SELU: return SELU_SCALE * (v > 0 ? v : SELU_ALPHA * expm1(v));
    case GELU: return v * normal(v);
    case SILU: return v * sigmoid(v);
    case MISH: return v * tanh(softplus(v));
    default: return v;
    }
}

/* phi' from w = phi(v), except where it needs v itself (NEEDS_ARGUMENT in codes.py). */
INLINE REAL derivative(REAL w, int code, REAL p, const REAL *at) {
    double v = code >= GELU || code == SINE_DEFECT ? *at : 0, t;
    switch (code) {
    case RELU: return w > 0 ? 1 : 0;
    case TANH: return 1 - w * w;
    case LEAKY: return w > 0 ? 1 : p;
    case SOFTPLUS: return -expm1(-w);
    case SIGMOID: return w * (1 - w);
    case SINE_DEFECT: return 1 - IN(cos);
    case HARDTANH: return w > -1 && w < 1 ? 1 : 0;
    case ELU: return w > 0 ? 1 : w + p;
    case SOFTSHRINK: return w != 0 ? 1 : 0;
    case SELU: return w > 0 ? SELU_SCALE : w + SELU_SCALE * SELU_ALPHA;
    case GELU: return normal(v) + v * exp(-v * v / 2) * 0.39894228040143267794;
    case SILU: t = sigmoid(v); return t * (1 + v * (1 - t));
    case MISH: t = tanh(softplus(v)); return t + v * sigmoid(v) * (1 - t * t);
    default: return 1;
    }
}

/* tanh in float as x P(x^2) / Q(x^2), a minimax fit on |x| <= 9.1: relative error below 4e-7. */
INLINE V rational_tanh(V v) {
    for (int i = 0; i < VL; i++) v[i] = v[i] > (REAL)9.1 ? (REAL)9.1 : v[i] < (REAL)-9.1 ? (REAL)-9.1 : v[i];
    V s = v * v;
    V p = SPLAT((REAL)-8.228325816e-14);
    p = p * s + (REAL)5.177638384e-11;
    p = p * s + (REAL)-2.001904549e-08;
    p = p * s + (REAL)1.110390501e-05;
    p = p * s + (REAL)3.099160073e-03;
    p = p * s + (REAL)1.307972237e-01;
    p = p * s + (REAL)9.999999926e-01;
    V q = SPLAT((REAL)2.539147891e-04);
    q = q * s + (REAL)2.447609802e-02;
    q = q * s + (REAL)4.641304874e-01;
    q = q * s + (REAL)1;
    v = v * p / q;
    for (int i = 0; i < VL; i++) v[i] = v[i] > 1 ? 1 : v[i] < -1 ? -1 : v[i];
    return v;
}

INLINE V vector_phi(V v, const int kind, REAL slope) {
    if (kind == TANH) return rational_tanh(v);
    if (kind == SIGMOID) return rational_tanh(v * (REAL)0.5) * (REAL)0.5 + (REAL)0.5;
    if (kind == RELU) return RECTIFIED(v);
    if (kind == LEAKY)
        for (int i = 0; i < VL; i++) v[i] = 0 > v[i] ? slope * v[i] : v[i];
    return v;
}

#include "coupling.h"

/* ---- one step ---------------------------------------------------------------------------------------------------- */

/* acc (R vectors of each of L lanes) += tape (K x R vectors) x the first K entries of each lane's row. */
INLINE const REAL *panel(const int R, const int L, REAL *acc, long ap, const REAL *tape, const REAL *in, long lane, long K,
                            int fresh) {
    V c[3][LANES];
    EACH(r, R) EACH(l, L) if (fresh) c[r][l] = (V){0}; else c[r][l] = LOAD(acc + l * ap + r * VL);
    for (long k = 0; k < K; k++, tape += R * VL) {
        V m[3];
        EACH(r, R) m[r] = LOAD(tape + r * VL);
        EACH(l, L) {
            V s = SPLAT(in[l * lane + k]);
            EACH(r, R) c[r][l] += m[r] * s;
        }
    }
    EACH(r, R) EACH(l, L) STORE(acc + l * ap + r * VL, c[r][l]);
    return tape;
}

INLINE const REAL *product(const int L, REAL *acc, long ap, const REAL *tape, long vecs, const REAL *in, long lane, long K,
                              int fresh) {
    for (; vecs >= 3; vecs -= 3, acc += 3 * VL) tape = panel(3, L, acc, ap, tape, in, lane, K, fresh);
    if (vecs == 2) tape = panel(2, L, acc, ap, tape, in, lane, K, fresh);
    if (vecs == 1) tape = panel(1, L, acc, ap, tape, in, lane, K, fresh);
    return tape;
}

/* One block of neurons: w_k = f(a_k), a += M[:, k] w_k, for k in order; w goes into the row's slot. */
INLINE void eliminate(const int L, const int kind, const direction *d, REAL *acc, long ap, const REAL *tape, REAL *slot,
                         long lane, long first, int width) {
    V a[LANES], J[LANES];
    REAL slope = kind == LEAKY ? d->slope[0] : 0;
    EACH(l, L) {
        a[l] = LOAD(acc + l * ap);
        if (kind == TIMES) J[l] = LOAD(slot + l * lane); /* past `width` it is not used */
    }
    if (kind == MIXED) {
        for (int k = 0; k < width; k++)
            EACH(l, L) {
                REAL w = phi(a[l][k], d->code[first + k], d->slope[first + k]);
                slot[l * lane + k] = w;
                if (d->coupled == ACYCLIC) a[l] += LOAD(tape + k * VL) * w;
            }
    } else {
        if (d->coupled == ACYCLIC)
            for (int k = 0; k < width; k++)
                EACH(l, L) {
                    V w = kind == TIMES ? a[l] * J[l] : vector_phi(a[l], kind, slope);
                    a[l] += LOAD(tape + k * VL) * __builtin_shuffle(w, k - (I){0});
                }
        EACH(l, L) {
            V w = kind == TIMES ? a[l] * J[l] : vector_phi(a[l], kind, slope);
            if (width == VL) STORE(slot + l * lane, w);
            else
                for (int k = 0; k < width; k++) slot[l * lane + k] = w[k];
        }
    }
    EACH(l, L) STORE(acc + l * ap, a[l]);
}

INLINE void block(const int L, const direction *d, REAL *acc, long ap, const REAL *tape, REAL *slot, long lane, long first,
                     int width) {
#define CASE(kind) case kind: eliminate(L, kind, d, acc, ap, tape, slot, lane, first, width); break;
    switch (d->kind) {
        CASE(RELU) CASE(LEAKY) CASE(IDENTITY) CASE(TIMES) CASE(TANH) CASE(SIGMOID)
    default: eliminate(L, MIXED, d, acc, ap, tape, slot, lane, first, width);
    }
#undef CASE
}

/* One step of L lanes: `row` holds [a; e; .] and receives the neurons, `next` receives a' (in whole vectors: what lies
   beyond is written later), `out` the outputs; v, if not NULL, receives the arguments of the neurons. */
INLINE void step_of(const int L, const direction *d, REAL *acc, REAL *row, REAL *next, long lane, REAL *out, long out_lane,
                       REAL *v, long v_lane) {
    const long ap = (d->vecs + 1) * VL;
    const REAL *tape = product(L, acc, ap, d->tape, d->vecs, row, lane, d->in, 1);
    REAL *slot = row + d->in;
    if (d->full) {
        for (int l = 0; l < L; l++) {
            if (d->kind == TIMES) settle_adjoint(d->full, acc + l * ap, slot + l * lane);
            else settle(d->full, d->code, d->slope, acc + l * ap, slot + l * lane, l);
            if (v) memcpy(v + l * v_lane, acc + l * ap, d->q * sizeof(REAL));
        }
    } else for (long first = 0, j = 1; first < d->q; first += VL, j++) {
        int width = d->q - first < VL ? d->q - first : VL;
        block(L, d, acc + first, ap, tape, slot + first, lane, first, width);
        if (v)
            for (int l = 0; l < L; l++)
                for (int i = 0; i < width; i++) v[l * v_lane + first + i] = acc[l * ap + first + i];
        if (d->coupled != ACYCLIC) continue;
        tape = product(L, acc + j * VL, ap, tape + width * VL, d->vecs - j, slot + first, lane, width, 0);
    }
    if (d->coupled != ACYCLIC && d->q) { /* the neurons are all there: one product for what hears them */
        long top = d->q / VL;
        product(L, acc + top * VL, ap, tape, d->vecs - top, slot, lane, d->q, 0);
    }
    EACH(l, L) {
        const REAL *a = acc + l * ap + d->q;
        for (long i = 0; i < d->na; i += VL) STORE(next + l * lane + i, LOAD(a + i));
        if (out)
            for (long i = 0; i < d->outs; i++) out[l * out_lane + i] = a[d->na + i];
    }
}

#define STEP(L)                                                                                                             \
    static __attribute__((noinline)) void step##L(const direction *d, REAL *acc, REAL *row, REAL *next, long lane,   \
                                                     REAL *out, long ol, REAL *v, long vl) {                                \
        step_of(L, d, acc, row, next, lane, out, ol, v, vl);                                                             \
    }
STEP(1) STEP(2) STEP(4)
#if LANES == 8
STEP(8)
#endif
#undef STEP

INLINE void step(int L, const direction *d, REAL *acc, REAL *row, REAL *next, long lane, REAL *out, long ol, REAL *v,
                    long vl) {
#if LANES == 8
    if (L == 8) { step8(d, acc, row, next, lane, out, ol, v, vl); return; }
#endif
    if (L == 4) step4(d, acc, row, next, lane, out, ol, v, vl);
    else if (L == 2) step2(d, acc, row, next, lane, out, ol, v, vl);
    else step1(d, acc, row, next, lane, out, ol, v, vl);
}

INLINE int tile(long left) { return left >= LANES ? LANES : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Lay the matrix M (columns of vecs * VL rows) out as a tape, in the order in which a step reads it. */
static const REAL *spool(REAL **tape, const REAL *M, long height, long top, long vecs, long columns) {
    for (long r = 0; r < vecs;) {
        long wide = vecs - r >= 3 ? 3 : vecs - r;
        for (long k = 0; k < columns; k++, *tape += wide * VL)
            memcpy(*tape, M + k * height + (top + r) * VL, wide * VL * sizeof(REAL));
        r += wide;
    }
    return M + columns * height;
}

static REAL *record(const direction *d, const REAL *M) {
    long height = d->vecs * VL, size = height * (d->in + d->q) + VL * d->q;
    REAL *start = aligned_alloc(64, (size * sizeof(REAL) + 127) / 64 * 64), *tape = start;
    M = spool(&tape, M, height, 0, d->vecs, d->in);
    if (d->coupled != ACYCLIC) spool(&tape, M, height, d->q / VL, d->vecs - d->q / VL, d->q);
    else
        for (long first = 0, j = 0; first < d->q; first += VL, j++) {
            long width = d->q - first < VL ? d->q - first : VL;
            spool(&tape, M, height, j, 1, width);
            M = spool(&tape, M, height, j + 1, d->vecs - j - 1, width);
        }
    return start;
}

/* M rows [v; x'; y], columns [x; u; 1; w]. p: A B1 B2 C1 D11 D12 C2 D21 D22 bx bv by, row by row. */
static direction forward_direction(const sizes *s, const REAL *const *p, const int *code, const REAL *slope, const REAL *tolerance) {
    long n = s->nx, q = s->nv, m = s->nu, y = s->ny;
    direction d = {n, n + m + 1, q, y, UP(q + n + y) / VL, s->coupled, s->kind, code, slope, 0, 0};
    if (s->coupled == FULL) d.full = coupling_new(p[4], q, 0, *tolerance);
    const REAL *from[3][4] = {{p[3], p[5], p[10], p[4]}, {p[0], p[2], p[9], p[1]}, {p[6], p[8], p[11], p[7]}};
    long tall[3] = {q, n, y}, wide[4] = {n, m, 1, q}, height = d.vecs * VL;
    REAL *M = calloc(height * (d.in + q) + 1, sizeof(REAL));
    for (long i = 0, top = 0; i < 3; top += tall[i++])
        for (long j = 0, left = 0; j < 4; left += wide[j++])
            for (long c = 0; c < wide[j] && !(d.full && i == 0 && j == 3); c++)
                for (long r = 0; r < tall[i]; r++) M[(left + c) * height + top + r] = from[i][j][r * wide[j] + c];
    d.tape = record(&d, M);
    free(M);
    return d;
}

/* The transposed system with its neurons reversed: M rows [r; lam; gu], columns [lam; gy; mu]. */
static direction backward_direction(const sizes *s, const REAL *const *p, int want_u) {
    long n = s->nx, q = s->nv, m = want_u ? s->nu : 0, y = s->ny;
    direction d = {n, n + y, q, m, UP(q + n + m) / VL, s->coupled, TIMES, 0, 0, 0, 0};
    if (s->coupled == FULL) d.full = coupling_new(p[4], q, 1, 0);
    const REAL *from[3][3] = {{p[1], p[0], p[2]}, {p[7], p[6], p[8]}, {p[4], p[3], p[5]}};
    long wide[3] = {n, y, q}, tall[3] = {q, n, m}, height = d.vecs * VL;
    REAL *M = calloc(height * (d.in + q) + 1, sizeof(REAL));
    for (long i = 0, left = 0; i < 3; left += wide[i++])
        for (long j = 0, top = 0; j < 3; top += tall[j++])
            for (long c = 0; c < wide[i] && !(d.full && i == 2 && j == 0); c++) {
                const REAL *row = from[i][j] + c * (j == 2 ? s->nu : tall[j]);
                REAL *column = M + (left + (i == 2 ? q - 1 - c : c)) * height + top;
                for (long r = 0; r < tall[j]; r++) column[j ? r : q - 1 - r] = row[r];
            }
    d.tape = record(&d, M);
    free(M);
    return d;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

/* `steps` steps of L lanes; the rows at z are used in turn, `ring` of them. */
static void run(const direction *d, int L, const sizes *s, REAL *acc, REAL *z, long lane, long ring, const REAL *u, REAL *y,
                   REAL *v, long v_lane, long steps) {
    long m = s->nu, n = s->nx, row = ROW(s);
    REAL *now = z;
    for (long t = 0; t < steps; t++) {
        REAL *next = (t + 1) % ring ? now + row : z;
        for (int l = 0; l < L; l++) {
            for (long i = 0; i < m; i++) now[l * lane + n + i] = u[(l * s->time + t) * m + i];
            now[l * lane + n + m] = 1;
        }
        step(L, d, acc, now, next, lane, y ? y + t * s->ny : 0, s->time * s->ny, v ? v + t * s->nv : 0, v_lane);
        now = next;
    }
}

static void finish(direction *d) {
    free(d->tape);
    coupling_free(d->full);
}

/* a: u, x0, y, x_last, Z, code, slope, tolerance (1), residual (batch), most (batch). Z is (batch, time + 1, row), or the kept
   states (batch, segments, nx), or NULL. The last three are for a full D11; returns whether every equilibrium was found. */
int forward(const sizes *s, void *const *a, const REAL *const *p) {
    const REAL *u = a[0], *x0 = a[1];
    REAL *y = a[2], *x_last = a[3], *Z = a[4], *residual = a[8];
    long *most = a[9];
    direction d = forward_direction(s, p, a[5], a[6], a[7]);
    long n = s->nx, T = s->time, ring = s->every ? 2 : T + 1, row = ROW(s), lane = ring * row;
    long segment = s->every > 0 ? s->every : T + 1, count = (T + segment - 1) / segment;
    REAL *acc = aligned_alloc(64, LANES * (d.vecs + 1) * BYTES), *rows = s->every ? calloc(LANES * lane, sizeof(REAL)) : 0;
    int L;
    for (long b = s->first; b < s->last; b += L) {
        L = tile(s->last - b);
        REAL *z = s->every ? rows : Z + b * lane;
        for (int l = 0; l < L; l++) memcpy(z + l * lane, x0 + (b + l) * n, n * sizeof(REAL));
        coupling_start(d.full);
        for (long i = 0; i < count; i++) {
            long t = i * segment, steps = T - t < segment ? T - t : segment;
            for (int l = 0; s->every > 0 && l < L; l++) memcpy(Z + ((b + l) * count + i) * n, z + l * lane, n * sizeof(REAL));
            run(&d, L, s, acc, z, lane, ring, u + (b * T + t) * s->nu, y + (b * T + t) * s->ny, 0, 0, steps);
            if (s->every)
                for (int l = 0; l < L; l++) memmove(z + l * lane, z + l * lane + steps % ring * row, n * sizeof(REAL));
        }
        for (int l = 0; l < L; l++) memcpy(x_last + (b + l) * n, z + l * lane + (s->every ? 0 : T * row), n * sizeof(REAL));
        for (int l = 0; d.full && l < L; l++) residual[b + l] = d.full->residual[l], most[b + l] = d.full->most[l];
    }
    int found = !d.full || !d.full->failed;
    finish(&d); free(acc); free(rows);
    return found;
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

/* R rows by N vectors of dW += sum over the steps of L lanes of g z'. */
INLINE void tiles(const int R, const int N, REAL *dW, long width, const REAL *g, long glane, long gstep, const REAL *z,
                     long zlane, int L, long steps) {
    V c[8][4];
    EACH(r, R) EACH(i, N) c[r][i] = LOAD(dW + r * width + i * VL);
    for (int l = 0; l < L; l++) {
        const REAL *gt = g + l * glane, *zt = z + l * zlane;
        for (long t = 0; t < steps; t++, gt += gstep, zt += width) {
            V m[4];
            EACH(i, N) m[i] = LOAD(zt + i * VL);
            EACH(r, R) EACH(i, N) c[r][i] += m[i] * gt[r];
        }
    }
    EACH(r, R) EACH(i, N) STORE(dW + r * width + i * VL, c[r][i]);
}

#define COLUMNS(N, R)                                                                                                       \
    for (; r + R <= rows; r += R) tiles(R, N, dW + r * width + i * VL, width, g + r, glane, gstep, z + i * VL, zlane, L, steps);
static void weights(REAL *dW, long rows, long width, const REAL *g, long glane, long gstep, const REAL *z, long zlane, int L,
                       long steps, long top, long in, int full) {
    long vecs = width / VL, all = rows, i = 0, r;
    /* D11 is strictly lower triangular: in the columns from w_k on, the reversed rows mu end above neuron k */
#define ROWS (r = 0, rows = full || i * VL <= in ? all : all - 1 - (i * VL - in) > 0 ? all - 1 - (i * VL - in) : 0, rows = rows < top ? top : rows)
#if BYTES == 64
    for (; i + 4 <= vecs; i += 4) { ROWS; COLUMNS(4, 6) COLUMNS(4, 3) COLUMNS(4, 1) }
    for (; i + 2 <= vecs; i += 2) { ROWS; COLUMNS(2, 8) COLUMNS(2, 4) COLUMNS(2, 1) }
#else
    for (; i + 2 <= vecs; i += 2) { ROWS; COLUMNS(2, 6) COLUMNS(2, 3) COLUMNS(2, 1) }
#endif
    for (; i < vecs; i++) { ROWS; COLUMNS(1, 8) COLUMNS(1, 4) COLUMNS(1, 1) }
}
#undef ROWS
#undef COLUMNS

/* The slots of the neurons, reversed, receive phi' at one step. */
INLINE void slopes(const sizes *s, REAL *g, const REAL *w, const int *code, const REAL *slope, const REAL *v) {
    long q = s->nv;
    if (s->kind == RELU) for (long j = 0; j < q; j++) g[j] = w[q - 1 - j] > 0 ? 1 : 0;
    else if (s->kind == TANH) for (long j = 0; j < q; j++) g[j] = 1 - w[q - 1 - j] * w[q - 1 - j];
    else for (long j = 0, k = q - 1; j < q; j++, k--) g[j] = derivative(w[k], code[k], slope[k], v + k);
}

#define BLOCK 32 /* steps whose rows of G are held before they go into dW */

/* a: u, gy, gx_last, Z, code, slope, gu (or NULL), gx0, dW, tolerance. dW has the rows [lam; gy; mu reversed] and the columns of Z,
   and is added to. Where Z holds states only, the rows are computed again, `every` steps at a time; a nonlinearity whose
   derivative does not follow from its value needs that. Returns whether every equilibrium was found, and leaves the rows mu
   of dW in the neurons' own order. */
int backward(const sizes *s, void *const *a, const REAL *const *p) {
    const REAL *u = a[0], *gy = a[1], *gx_last = a[2], *slope = a[5];
    REAL *Z = a[3], *gu = a[6], *gx0 = a[7], *dW = a[8];
    const int *code = a[4];
    direction d = backward_direction(s, p, gu != 0), f = {0};
    if (s->every) f = forward_direction(s, p, code, slope, a[9]);
    long n = s->nx, q = s->nv, ny = s->ny, T = s->time, row = ROW(s), in = n + s->nu + 1;
    long segment = s->every ? s->every : T, count = T ? (T + segment - 1) / segment : 0;
    long zlane = (segment + 1) * row, grow = UP(n + ny + UP(q)), glane = (BLOCK + 1) * grow;
    long most = d.vecs > f.vecs ? d.vecs : f.vecs;
    REAL *acc = aligned_alloc(64, LANES * (most + 1) * BYTES), *G = calloc(LANES * glane, sizeof(REAL));
    REAL *rows = s->every ? calloc(LANES * zlane, sizeof(REAL)) : 0, *v = s->every ? calloc(LANES * segment * q + 1, sizeof(REAL)) : 0;
    int L;
    for (long b = s->first; b < s->last; b += L) {
        L = tile(s->last - b);
        for (int l = 0; l < L; l++) memcpy(G + l * glane, gx_last + (b + l) * n, n * sizeof(REAL));
        for (long i = count - 1; i >= 0; i--) {
            long t0 = i * segment, end = T - t0 < segment ? T - t0 : segment;
            REAL *z = s->every ? rows : Z + b * zlane;
            if (s->every) {
                for (int l = 0; l < L; l++) memcpy(z + l * zlane, Z + ((b + l) * count + i) * n, n * sizeof(REAL));
                coupling_start(f.full);
                run(&f, L, s, acc, z, zlane, segment + 1, u + (b * T + t0) * s->nu, 0, v, segment * q, end);
            }
            while (end > 0) { /* row k of G belongs to step end - 1 - k; its a' goes into row k + 1 */
                long steps = (end - 1) % BLOCK + 1;
                for (long k = 0; k < steps; k++) {
                    long here = end - 1 - k, t = t0 + here;
                    REAL *now = G + k * grow;
                    for (int l = 0; l < L; l++) {
                        REAL *g = now + l * glane + n;
                        for (long j = 0; j < ny; j++) g[j] = gy[((b + l) * T + t) * ny + j];
                        slopes(s, g + ny, z + l * zlane + here * row + in, code, slope, v ? v + (l * segment + here) * q : 0);
                    }
                    step(L, &d, acc, now, now + grow, glane, gu ? gu + (b * T + t) * s->nu : 0, T * s->nu, 0, 0);
                }
                end -= steps;
                weights(dW, n + ny + q, row, G + (steps - 1) * grow, glane, -grow, z + end * row, zlane, L, steps, n + ny, in, d.full != 0);
                for (int l = 0; l < L; l++) memcpy(G + l * glane, G + l * glane + steps * grow, n * sizeof(REAL));
            }
        }
        for (int l = 0; l < L; l++) memcpy(gx0 + (b + l) * n, G + l * glane, n * sizeof(REAL));
    }
    for (long i = 0; i < q / 2; i++) {
        REAL *low = dW + (n + ny + i) * row, *high = dW + (n + ny + q - 1 - i) * row;
        for (long j = 0; j < row; j += VL) {
            V held = LOAD(low + j);
            STORE(low + j, LOAD(high + j));
            STORE(high + j, held);
        }
    }
    int found = !(d.full && d.full->failed) && !(f.full && f.full->failed);
    finish(&d); finish(&f); free(acc); free(G); free(rows); free(v);
    return found;
}

/* What D11 (q, q) is. */
int structure(const REAL *D11, long q) {
    int below = 0, other = 0;
    for (long i = 0; i < q; i++, D11 += q) {
        for (long j = 0; j < i; j++) below |= D11[j] != 0;
        for (long j = i; j < q; j++) other |= D11[j] != 0;
    }
    return other ? FULL : below ? ACYCLIC : NONE;
}

/* ---- several threads --------------------------------------------------------------------------------------------- */

typedef int entry(const sizes *, void *const *, const REAL *const *);
typedef struct {
    entry *run;
    const sizes *s;
    void *const *const *a;
    const REAL *const *p;
} work;

static int part(const void *data, long i, long parts) {
    const work *w = data;
    (void)parts;
    return w->run(w->s + i, w->a[i], w->p);
}

/* Run part i on sizes s[i] and arguments a[i]; returns whether each succeeded. */
int share(entry *run, long parts, const sizes *s, void *const *const *a, const REAL *const *p, parallel_of *parallel,
          int (*me)(void), int (*size)(void)) {
    return in_parts(part, &(work){run, s, a, p}, parts, parallel, me, size);
}

/* ---- one step at a time ------------------------------------------------------------------------------------------ */

typedef struct {
    direction d;
    long nu;
    REAL *acc, *row, *next, *x, *y;
    const REAL *u;
} stepper;

/* A stepper on the caller's x, u and y: each step reads x and u, and writes y and x; 0 where no equilibrium was found, and x
   then stays. */
stepper *stepper_new(const sizes *s, const REAL *const *p, const int *code, const REAL *slope, REAL *x, const REAL *u, REAL *y, const REAL *tolerance) {
    stepper *it = malloc(sizeof *it);
    direction d = forward_direction(s, p, code, slope, tolerance);
    REAL *acc = aligned_alloc(64, (d.vecs + 1) * BYTES), *rows = calloc(2 * ROW(s), sizeof(REAL));
    *it = (stepper){d, s->nu, acc, rows, rows + ROW(s), x, y, u};
    return it;
}

int stepper_step(stepper *it) {
    long n = it->d.na;
    for (long i = 0; i < n; i++) it->row[i] = it->x[i];
    for (long i = 0; i < it->nu; i++) it->row[n + i] = it->u[i];
    it->row[n + it->nu] = 1;
    step1(&it->d, it->acc, it->row, it->next, 0, it->y, 0, 0, 0);
    if (it->d.full && it->d.full->failed) {
        it->d.full->failed = 0;
        return 0;
    }
    for (long i = 0; i < n; i++) it->x[i] = it->next[i];
    return 1;
}

void stepper_free(stepper *it) {
    finish(&it->d); free(it->acc); free(it->row); free(it);
}
