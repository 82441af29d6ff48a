/* The inverse of a square matrix in place: Gauss-Jordan with row pivots. Comes after native.h. */

#include <math.h>
#include <stdlib.h>

/* M has n rows of `width` numbers, n of them counted and the width whole vectors. Returns 0 where it is singular. */
static int invert(long n, long width, REAL *M) {
    long swapped[n + 1];
    for (long k = 0; k < n; k++) {
        REAL *row = M + k * width, most = 0;
        for (long i = k; i < n; i++) {
            const REAL size = fabs(M[i * width + k]);
            if (size > most) most = size, swapped[k] = i;
        }
        if (!(most > 0 && isfinite(most))) return 0;
        REAL *other = M + swapped[k] * width;
        for (long j = 0; j < width; j += VL) {
            const V a = LOAD(row + j), b = LOAD(other + j);
            STORE(row + j, b);
            STORE(other + j, a);
        }
        const REAL inverse = 1 / row[k];
        for (long j = 0; j < width; j += VL) STORE(row + j, inverse * LOAD(row + j));
        row[k] = inverse;
        for (long i = 0; i < n; i++) {
            REAL *at = M + i * width;
            if (i == k) continue;
            const REAL times = at[k];
            for (long j = 0; j < width; j += VL) STORE(at + j, LOAD(at + j) - times * LOAD(row + j));
            at[k] = -times * inverse; /* last: a vector load behind a scalar store has to wait */
        }
    }
    for (long k = n - 1; k >= 0; k--) /* rows that were swapped on the way are columns of the inverse */
        for (long i = 0; i < n; i++) {
            const REAL kept = M[i * width + k];
            M[i * width + k] = M[i * width + swapped[k]];
            M[i * width + swapped[k]] = kept;
        }
    return 1;
}
