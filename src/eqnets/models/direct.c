/* The direct parametrisation, H -> the explicit system, and its adjoint, as in direct_adjoint.py, which is the reference
and has the formulas. The map is float64 whatever the parameters are, and stands in the double build alone; the product by
which the adjoint ends has their dtype. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

#define TILE (2 * VL) /* columns of a tile of a product */
#define FOR(i, from, to) for (long i = (from); i < (to); i++)

/* R rows of a tile of C = A B: A by its strides, B packed, and C's first `left` columns. */
INLINE void strip(const int R, long K, const REAL *A, long down, long along, const REAL *B, REAL *C, long width, long left) {
    V c[6][2]; /* of a size that is known, or it is not held in registers */
    EACH(r, R) c[r][0] = c[r][1] = (V){0};
    for (long k = 0; k < K; k++, B += TILE, A += along) {
        const V a = LOAD(B), b = LOAD(B + VL);
        EACH(r, R) {
            const REAL s = A[r * down];
            c[r][0] += s * a;
            c[r][1] += s * b;
        }
    }
    if (left < TILE) EACH(r, R) memcpy(C + r * width, c[r], left * sizeof(REAL));
    else EACH(r, R) {
        STORE(C + r * width, c[r][0]);
        STORE(C + r * width + VL, c[r][1]);
    }
}

/* C (M, N) = A (M, K) B (K, N), A and B by the strides of their rows and columns; `lower`: on and below the diagonal only.
   C's rows are `width` apart; `tile` has room for K tiles. */
static void multiply(long M, long N, long K, const REAL *A, long down, long along, const REAL *B, long below, long across,
                     REAL *C, long width, int lower, REAL *tile) {
    for (long j = 0; j < N; j += TILE) {
        const long left = N - j < TILE ? N - j : TILE;
        FOR(k, 0, K) {
            const REAL *from = B + k * below + j * across;
            FOR(i, 0, left) tile[k * TILE + i] = from[i * across];
            FOR(i, left, TILE) tile[k * TILE + i] = 0;
        }
        long i = lower ? j : 0;
        for (; i + 6 <= M; i += 6) strip(6, K, A + i * down, down, along, tile, C + i * width + j, width, left);
        for (; i + 2 <= M; i += 2) strip(2, K, A + i * down, down, along, tile, C + i * width + j, width, left);
        if (i < M) strip(1, K, A + i * down, down, along, tile, C + i * width + j, width, left);
    }
}

/* out (rows, n) = X (rows, n) both (n, n); returns 0 where there is no memory. */
int product(long rows, long n, const REAL *X, const REAL *both, REAL *out) {
    REAL *tile = aligned_alloc(BYTES, (n + 1) * TILE * sizeof(REAL));
    if (!tile) return 0;
    multiply(rows, n, n, X, n, 1, both, n, 1, out, n, 0, tile);
    free(tile);
    return 1;
}

#ifdef DOUBLE
#include "invert.h"

#define UP(n) (((n) + VL - 1) / VL * VL)

/* Numbers of the caller, row by row; `single` says float32. NULL where the caller has none. */
typedef struct {
    void *at;
    long single;
} array;

/* A call; the Python side fills this in. */
typedef struct {
    long n, q, nu, rows, more;                    /* states, neurons, inputs, rows of X and of the supply's terms */
    array X, terms, Y1, cB2, cD12, full, eps;     /* the arguments; `adjoint` needs the terms, full and eps */
    array A, B1, B2, C1, D11, D12, E, cP, Lambda; /* the results; in `adjoint` the gradients with respect to them */
    array inverse, AB, CD, diagonal;              /* float64, kept: E^-1; E^-1 R; the rows over Lambda; that of H */
    array scale;                                  /* Lambda, for `adjoint` */
    array both, gterms, gY1, gcB2, gcD12, gfull, geps; /* what `adjoint` writes: T' + T'^T, so that X' = X both; the others */
} call;

INLINE double get(array a, long i) { return a.single ? ((const float *)a.at)[i] : ((const double *)a.at)[i]; }

/* Rows by columns numbers of a matrix whose rows are `width` apart, to the caller and from it. */
INLINE void put(array to, const double *from, long width, long rows, long columns) {
    if (to.single) FOR(i, 0, rows) FOR(j, 0, columns) ((float *)to.at)[i * columns + j] = from[i * width + j];
    else FOR(i, 0, rows) memcpy((double *)to.at + i * columns, from + i * width, columns * sizeof(double));
}
INLINE void take(double *to, long width, array from, long rows, long columns) {
    if (!from.at) FOR(i, 0, rows) memset(to + i * width, 0, columns * sizeof(double));
    else if (from.single) FOR(i, 0, rows) FOR(j, 0, columns) to[i * width + j] = ((const float *)from.at)[i * columns + j];
    else FOR(i, 0, rows) memcpy(to + i * width, (const double *)from.at + i * columns, columns * sizeof(double));
}

/* The next `count` numbers of the room, from a whole vector on. */
INLINE double *carve(double **room, long count) {
    double *here = *room;
    *room += (count + VL - 1) / VL * VL;
    return here;
}

/* Room for `count` numbers in at most 16 pieces. */
static double *space(long count) { return aligned_alloc(BYTES, (count + 17 * VL) * sizeof(double) / BYTES * BYTES); }

/* Returns 0 where E has no inverse, or there is no memory. */
int explicit(const call *c, double rate) {
    const long n = c->n, q = c->q, nu = c->nu, m = n + q, N = m + n, rows = c->rows + c->more, inner = rows > n ? rows : n;
    const long wide = UP(N), few = UP(n), most = UP(m + nu);
    double *room = space(rows * N + N * wide + 2 * n * few + (2 * n + q) * most + inner * TILE + q), *next = room;
    if (!room) return 0;
    double *S = carve(&next, rows * N), *H = carve(&next, N * wide), *E = carve(&next, n * few), *P = carve(&next, n * few);
    double *R = carve(&next, n * most), *AB = carve(&next, n * most), *CD = carve(&next, q * most);
    double *tile = carve(&next, inner * TILE), *scale = carve(&next, q);
    take(S, N, c->X, c->rows, N);
    take(S + c->rows * N, N, c->terms, c->more, N);
    const double eps = get(c->eps, 0), beyond = 1 / (rate * rate);

    multiply(N, N, rows, S, 1, N, S, N, 1, H, wide, 1, tile);
    FOR(i, 0, N) {
        H[i * wide + i] += eps * (1 + H[i * wide + i]);
        ((double *)c->diagonal.at)[i] = H[i * wide + i];
    }
    FOR(i, 0, n) FOR(j, 0, i + 1) {
        P[i * few + j] = P[j * few + i] = H[(m + i) * wide + m + j];
        const double symmetric = H[i * wide + j] + beyond * P[i * few + j];
        const double skew = get(c->Y1, i * n + j) - get(c->Y1, j * n + i);
        E[i * few + j] = (symmetric + skew) / 2;
        E[j * few + i] = (symmetric - skew) / 2;
    }
    put(c->cP, P, few, n, n);
    put(c->E, E, few, n, n);
    FOR(i, 0, n) FOR(j, n, few) E[i * few + j] = 0; /* within its vectors, and never read */
    const int regular = invert(n, few, E);
    put(c->inverse, E, few, n, n);
    take(R + m, most, c->cB2, n, nu);
    FOR(i, 0, n) memcpy(R + i * most, H + (m + i) * wide, m * sizeof(double));
    multiply(n, m + nu, n, E, few, 1, R, most, 1, AB, most, 0, tile);

    take(CD + m, most, c->cD12, q, nu);
    FOR(i, 0, q) {
        const double *h = H + (n + i) * wide;
        double *row = CD + i * most;
        scale[i] = c->full.at ? exp(get(c->full, i * (q + 1))) : h[n + i] / 2;
        FOR(j, 0, n) row[j] = -h[j];
        if (!c->full.at) FOR(j, 0, q) row[n + j] = j < i ? -h[n + j] : 0;
        else FOR(j, 0, q) {
            const double symmetric = j > i ? H[(n + j) * wide + n + i] : h[n + j];
            const double skew = get(c->full, i * (q + 1) + 1 + j) - get(c->full, j * (q + 1) + 1 + i);
            row[n + j] = (i == j ? scale[i] : 0) - (symmetric + skew) / 2;
        }
        FOR(j, 0, m + nu) row[j] /= scale[i];
    }
    put(c->A, AB, most, n, n), put(c->B1, AB + n, most, n, q), put(c->B2, AB + m, most, n, nu);
    put(c->C1, CD, most, q, n), put(c->D11, CD + n, most, q, q), put(c->D12, CD + m, most, q, nu);
    put(c->AB, AB, most, n, m + nu), put(c->CD, CD, most, q, m + nu);
    put(c->Lambda, scale, q, 1, q);
    free(room);
    return regular;
}

/* Returns 0 where there is no memory. */
int adjoint(const call *c, double rate) {
    const long n = c->n, q = c->q, nu = c->nu, m = n + q, N = m + n, columns = m + nu;
    const long few = UP(n), most = UP(columns), wide = UP(N);
    double *room = space((2 * n + q) * most + 2 * n * few + N * wide + (columns + n) * TILE + q + q * (q + 1)), *next = room;
    if (!room) return 0;
    double *gAB = carve(&next, n * most), *gR = carve(&next, n * most), *gCD = carve(&next, q * most);
    double *gE = carve(&next, n * few), *gcP = carve(&next, n * few), *both = carve(&next, N * wide);
    double *tile = carve(&next, (columns + n) * TILE), *gscale = carve(&next, q), *gfull = carve(&next, q * (q + 1));
    const double *CD = c->CD.at, *scale = c->scale.at, eps = get(c->eps, 0), beyond = 1 / (rate * rate);
    take(gAB, most, c->A, n, n), take(gAB + n, most, c->B1, n, q), take(gAB + m, most, c->B2, n, nu);
    take(gCD, most, c->C1, q, n), take(gCD + n, most, c->D11, q, q), take(gCD + m, most, c->D12, q, nu);
    take(gscale, q, c->Lambda, 1, q);

    multiply(n, columns, n, c->inverse.at, 1, n, gAB, most, 1, gR, most, 0, tile);
    multiply(n, n, columns, gR, most, 1, c->AB.at, 1, columns, both, wide, 0, tile); /* both[:n, :n] for now */
    take(gE, few, c->E, n, n), take(gcP, few, c->cP, n, n);
    FOR(i, 0, n) FOR(j, 0, n) gE[i * few + j] -= both[i * wide + j];
    FOR(i, 0, q) FOR(j, 0, columns) {
        double *g = gCD + i * most + j;
        *g /= scale[i];
        gscale[i] -= *g * CD[i * columns + j];
    }

    FOR(i, 0, n) FOR(j, 0, n) {
        const double symmetric = (gE[i * few + j] + gE[j * few + i]) / 2;
        both[i * wide + j] = symmetric;
        both[(m + i) * wide + m + j] = beyond * symmetric + gcP[i * few + j] + gcP[j * few + i];
    }
    FOR(i, 0, n) FOR(j, 0, m) both[(m + i) * wide + j] = both[j * wide + m + i] = gR[i * most + j];
    FOR(i, 0, q) FOR(j, 0, n) both[(n + i) * wide + j] = both[j * wide + n + i] = -gCD[i * most + j];
    FOR(i, 0, q) FOR(j, 0, i + 1) {
        const double g = gCD[i * most + n + j], mirrored = gCD[j * most + n + i];
        both[(n + i) * wide + n + j] = both[(n + j) * wide + n + i] = c->full.at ? -(g + mirrored) / 2 : i > j ? -g : gscale[i];
        if (!c->full.at) continue;
        gfull[i * (q + 1) + 1 + j] = (mirrored - g) / 2;
        gfull[j * (q + 1) + 1 + i] = (g - mirrored) / 2;
        if (i == j) gfull[i * (q + 1)] = (gscale[i] + g) * scale[i];
    }
    double geps = 0;
    FOR(i, 0, N) {
        double *g = both + i * wide + i;
        geps += *g / 2 * (1 + (((double *)c->diagonal.at)[i] - eps) / (1 + eps));
        *g *= 1 + eps;
    }
    FOR(i, 0, n) FOR(j, 0, n) gcP[i * few + j] = (gE[i * few + j] - gE[j * few + i]) / 2;
    put(c->gY1, gcP, few, n, n);
    put(c->both, both, wide, N, N), put(c->gcB2, gR + m, most, n, nu), put(c->gcD12, gCD + m, most, q, nu);
    if (c->more) multiply(c->more, N, N, c->terms.at, N, 1, both, wide, 1, c->gterms.at, N, 0, tile);
    if (c->gfull.at) put(c->gfull, gfull, q + 1, q, q + 1);
    if (c->geps.at) put(c->geps, &geps, 1, 1, 1);
    free(room);
    return 1;
}
#endif
