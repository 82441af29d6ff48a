/* What torch's operations do to a state, one sample after another: judge an iterate, and mix the next one.

States are rows of n numbers, a memory is (memory, n) for each sample, of which `used` rows count. The formulas are those
of tolerance.py, secant.py, anderson.py and broyden.py, and so are the results, to rounding.
Compiled once for float, and once with -DDOUBLE for double. */

#include <float.h>
#include <math.h>

#ifdef DOUBLE
typedef double real;
#define TINY DBL_MIN
#define ABS fabs
#else
typedef float real;
#define TINY FLT_MIN
#define ABS fabsf
#endif

#define WIDTH 16 /* of the rows of a small system with its right-hand side: a few whole vectors */

/* residual[i] = RMS of (f − z)/(atol + rtol |f|) */
void judge(long batch, long n, double rtol, double atol, const real *z, const real *f, real *residual) {
    const real relative = rtol, absolute = atol;
    for (long i = 0; i < batch; i++, z += n, f += n) {
        real sum = 0;
        if (relative == 0) {
#pragma omp simd reduction(+ : sum)
            for (long j = 0; j < n; j++) sum += (f[j] - z[j]) * (f[j] - z[j]);
            residual[i] = sqrt(sum) / (atol * sqrt(n));
        } else {
#pragma omp simd reduction(+ : sum)
            for (long j = 0; j < n; j++) {
                const real scaled = (f[j] - z[j]) / (absolute + relative * ABS(f[j]));
                sum += scaled * scaled;
            }
            residual[i] = sqrt(sum / n);
        }
    }
}

/* Solve for the column m of the m rows of a, by elimination; 0 where a pivot is 0 or, without pivoting, not positive. */
static inline __attribute__((always_inline)) int eliminate(long m, long width, int pivoting, real *a, real *x) {
    for (long j = 0; j < m; j++) {
        real *top = a + j * width;
        if (pivoting) {
            real *best = top;
            for (real *row = top + width; row < a + m * width; row += width)
                if (ABS(row[j]) > ABS(best[j])) best = row;
            for (long k = 0; best != top && k <= m; k++) {
                const real kept = top[k];
                top[k] = best[k], best[k] = kept;
            }
        }
        if (pivoting ? top[j] == 0 : !(top[j] > 0)) return 0;
        x[j] = 1 / top[j];
        for (real *row = top + width; row < a + m * width; row += width) {
            const real factor = row[j] * x[j];
#pragma omp simd
            for (long k = 0; k < width; k++) row[k] -= factor * top[k];
        }
    }
    for (long j = m - 1; j >= 0; j--) {
        x[j] *= a[j * width + m];
        for (long i = 0; i < j; i++) a[i * width + m] -= a[i * width + j] * x[j];
    }
    for (long j = 0; j < m; j++)
        if (!isfinite(x[j])) return 0;
    return 1;
}

static void subtract(long n, real weight, const real *from, real *to) {
#pragma omp simd
    for (long j = 0; j < n; j++) to[j] -= weight * from[j];
}

/* Write the newest differences into row `slot` of the memory, their products into `small`, and the next iterate.

   broyden = 0: left = ΔR, small = ΔRᵀΔR, γ = (small + ridge)⁻¹ ΔRᵀr;
   broyden = 1: left = S, small = SᵀΔF − N, γ = small⁻¹ Sᵀr; the right rows are ΔF in both, (z0, f0) is the last iterate.
   next = f − ΔF γ − (1 − damping)(r − left γ). */
void mix(long batch, long n, long memory, long used, long slot, int broyden, double ridge, double damping,
         const real *z, const real *f, const real *z0, const real *f0, real *left, real *right, real *small, real *next) {
    const long width = used < WIDTH ? WIDTH : used + 1;
    const real raise = 1.0 + ridge, rest = 1.0 - damping;
    real a[used * width], gamma[used];
    for (long i = 0; i < used * width; i++) a[i] = 0;
    for (long i = 0; i < batch; i++) {
        real *newest = left + slot * n, *image = right + slot * n;
#pragma omp simd
        for (long j = 0; j < n; j++) {
            newest[j] = broyden ? z[j] - z0[j] : (f[j] - z[j]) - (f0[j] - z0[j]);
            image[j] = f[j] - f0[j];
        }
        for (long k = 0; k < used; k++) {
            const real *l = left + k * n, *r = right + k * n;
            real row = 0, column = 0, goal = 0;
            if (broyden) {
#pragma omp simd reduction(+ : row, column, goal)
                for (long j = 0; j < n; j++) {
                    row += r[j] * newest[j];
                    column += l[j] * ((f[j] - z[j]) - (f0[j] - z0[j]));
                    goal += l[j] * (f[j] - z[j]);
                }
            } else {
#pragma omp simd reduction(+ : row, goal)
                for (long j = 0; j < n; j++) {
                    row += l[j] * newest[j];
                    goal += l[j] * (f[j] - z[j]);
                }
                column = row;
            }
            small[slot * memory + k] = row;
            small[k * memory + slot] = column;
            a[k * width + used] = goal;
        }
        small[slot * memory + slot] += TINY; /* then 0·γ = 0 has a solution, γ = 0 */
        for (long k = 0; k < used; k++) {
            for (long j = 0; j < used; j++) a[k * width + j] = small[k * memory + j];
            a[k * width + k] *= raise;
        }
        const int solved = used < WIDTH ? broyden ? eliminate(used, WIDTH, 1, a, gamma) : eliminate(used, WIDTH, 0, a, gamma)
                                        : eliminate(used, width, broyden, a, gamma);
#pragma omp simd
        for (long j = 0; j < n; j++) next[j] = f[j];
        for (long k = 0; k < used; k++) subtract(n, solved ? gamma[k] : 0, right + k * n, next);
        if (rest != 0) {
#pragma omp simd
            for (long j = 0; j < n; j++) next[j] -= rest * (f[j] - z[j]);
            for (long k = 0; k < used; k++) subtract(n, solved ? -rest * gamma[k] : 0, left + k * n, next);
        }
        z += n, f += n, z0 += n, f0 += n, next += n;
        left += memory * n, right += memory * n, small += memory * memory;
    }
}
