/* A full D11: every neuron hears every other. One lane at a time, included by rollout.c.

    forward    w = phi(D11 w + b)             by Newton's method, warm started from the last step and damped by halving
    backward   mu = J (I - D11' J)^-1 r       by one elimination

Where J_i = phi'(v_i) is zero, row i of I - J D11 is that of the identity, so that only the neurons with a slope are eliminated:
with relu about half of them, in an eighth of the time. Newton's method may cycle; the caller then takes another way. */

#define NEWTON_STEPS 100
#define HALVINGS 12

typedef struct coupling {
    long q, wide;       /* neurons, and how far apart rows and columns lie */
    REAL *columns;      /* D11 by columns; backwards: by columns of D11' with its neurons reversed */
    REAL *K, *b, *r, *f, *J, *trial, *argument;
    long *active;
    REAL *warm;         /* w of the last step, per lane of a tile */
    REAL tolerance;     /* of max |w - phi(v)|, relative to 1 + max |w| */
    REAL residual[8];   /* the largest over time, per lane of a tile */
    long most[8];       /* Newton steps, likewise */
    int failed;         /* in some lane, at some time */
} coupling;

/* D11 is (q, q), row by row. */
static coupling *coupling_new(const REAL *D11, long q, int reversed, REAL tolerance) {
    coupling *c = calloc(1, sizeof *c);
    c->q = q, c->wide = UP(q), c->tolerance = tolerance;
    c->columns = calloc(c->wide * (2 * q + 6 + LANES) + 1, sizeof(REAL));
    c->K = c->columns + c->wide * q;
    REAL **rest[] = {&c->b, &c->r, &c->f, &c->J, &c->trial, &c->argument, &c->warm};
    for (int i = 0; i < 7; i++) *rest[i] = c->K + c->wide * (q + i);
    c->active = malloc((q + 1) * sizeof(long));
    for (long i = 0; i < q; i++)
        for (long j = 0; j < q; j++)
            c->columns[reversed ? (q - 1 - i) * c->wide + q - 1 - j : j * c->wide + i] = D11[i * q + j];
    return c;
}

static void coupling_free(coupling *c) {
    if (!c) return;
    free(c->columns); free(c->active); free(c);
}

/* Start the lanes of a tile. */
static void coupling_start(coupling *c) {
    if (!c) return;
    memset(c->warm, 0, LANES * c->wide * sizeof(REAL));
    for (int l = 0; l < 8; l++) c->residual[l] = 0, c->most[l] = 0;
}

/* K x = r in place, K (n, n) with rows `wide` apart, by elimination with partial pivoting; 0 where K is singular. */
static int eliminate_rows(long n, REAL *K, long wide, REAL *r) {
    for (long k = 0; k < n; k++) {
        long p = k;
        for (long i = k + 1; i < n; i++)
            if (fabs(K[i * wide + k]) > fabs(K[p * wide + k])) p = i;
        REAL *top = K + p * wide, *row = K + k * wide, pivot = top[k];
        if (!(pivot != 0)) return 0;
        if (p != k) {
            for (long j = k / VL * VL; j < wide; j += VL) {
                V held = LOAD(top + j);
                STORE(top + j, LOAD(row + j));
                STORE(row + j, held);
            }
            REAL held = r[p];
            r[p] = r[k], r[k] = held;
        }
        for (long i = k + 1; i < n; i++) {
            REAL *other = K + i * wide, factor = other[k] / pivot;
            if (factor == 0) continue;
            for (long j = k / VL * VL; j < wide; j += VL) STORE(other + j, LOAD(other + j) - LOAD(row + j) * factor);
            r[i] -= factor * r[k];
        }
    }
    for (long k = n - 1; k >= 0; k--) {
        REAL sum = r[k];
        for (long j = k + 1; j < n; j++) sum -= K[k * wide + j] * r[j];
        r[k] = sum / K[k * wide + k];
    }
    return 1;
}

/* v = D11 w + b, f = phi(v), r = w - f; returns max |r|, NaN where there is one. */
static REAL misfit(const coupling *c, const int *code, const REAL *slope, const REAL *w, REAL *v) {
    memcpy(v, c->b, c->wide * sizeof(REAL));
    for (long k = 0; k < c->q; k++) {
        const REAL *column = c->columns + k * c->wide;
        for (long i = 0; i < c->wide; i += VL) STORE(v + i, LOAD(v + i) + LOAD(column + i) * w[k]);
    }
    REAL size = 0;
    for (long i = 0; i < c->q; i++) {
        c->f[i] = phi(v[i], code[i], slope[i]);
        c->r[i] = w[i] - c->f[i];
        REAL a = fabs(c->r[i]);
        if (size == size && !(a <= size)) size = a;
    }
    return size;
}

static REAL largest(const REAL *w, long q) {
    REAL top = 0;
    for (long i = 0; i < q; i++)
        if (fabs(w[i]) > top) top = fabs(w[i]);
    return top;
}

/* The Newton direction (I - J D11)^-1 r into r; 0 where it does not exist. */
static int newton_direction(coupling *c, const int *code, const REAL *slope, const REAL *v) {
    long n = 0, q = c->q;
    for (long i = 0; i < q; i++) {
        c->J[i] = derivative(c->f[i], code[i], slope[i], v + i);
        if (c->J[i] != 0) c->active[n++] = i;
    }
    long wide = UP(n);
    REAL *x = c->trial;
    for (long a = 0; a < n; a++) x[a] = c->r[c->active[a]];
    for (long j = 0; j < q; j++) { /* what the neurons without a slope contribute: their direction is r */
        if (c->J[j] != 0) continue;
        const REAL *column = c->columns + j * c->wide;
        for (long a = 0; a < n; a++) x[a] += c->J[c->active[a]] * column[c->active[a]] * c->r[j];
    }
    for (long a = 0; a < n; a++)
        for (long b = 0; b < n; b++)
            c->K[a * wide + b] = (a == b) - c->J[c->active[a]] * c->columns[c->active[b] * c->wide + c->active[a]];
    if (!eliminate_rows(n, c->K, wide, x)) return 0;
    for (long a = 0; a < n; a++) c->r[c->active[a]] = x[a];
    return 1;
}

/* Solve for lane l of the tile: acc holds b and receives v, slot receives w. */
static void settle(coupling *c, const int *code, const REAL *slope, REAL *acc, REAL *slot, int l) {
    REAL *w = c->warm + l * c->wide, *v = c->argument;
    memcpy(c->b, acc, c->q * sizeof(REAL));
    REAL size = misfit(c, code, slope, w, v), limit = 0;
    long step = 0;
    for (; step < NEWTON_STEPS; step++) {
        limit = c->tolerance * (1 + largest(w, c->q));
        if (!(size > limit)) break; /* also where it is not a number */
        if (!newton_direction(c, code, slope, v)) break;
        memcpy(c->J, c->r, c->q * sizeof(REAL)); /* the slopes are spent: keep the direction there */
        REAL length = 1, now = size;
        for (int i = 0; i < HALVINGS; i++, length /= 2) {
            for (long k = 0; k < c->q; k++) c->trial[k] = w[k] - length * c->J[k];
            now = misfit(c, code, slope, c->trial, v);
            if (!(now > size * (1 - (REAL)1e-4 * length))) break;
        }
        int stuck = size <= 10 * limit && now >= size; /* rounding error is reached */
        if (stuck) {
            now = misfit(c, code, slope, w, v);
            break;
        }
        memcpy(w, c->trial, c->q * sizeof(REAL));
        size = now;
    }
    if (size > 10 * c->tolerance * (1 + largest(w, c->q))) c->failed = 1;
    if (size > c->residual[l]) c->residual[l] = size;
    if (step > c->most[l]) c->most[l] = step;
    memcpy(acc, v, c->q * sizeof(REAL));
    memcpy(slot, c->f, c->q * sizeof(REAL)); /* phi(v) to the bit: at a kink the slope is read off it */
    if (size != size) memset(w, 0, c->q * sizeof(REAL)); /* start afresh: what is not a number would stay */
}

/* mu = J (I - D11' J)^-1 r: acc holds r, slot holds J and receives mu. */
static void settle_adjoint(coupling *c, const REAL *acc, REAL *slot) {
    long n = 0, q = c->q;
    REAL *x = c->r;
    for (long i = 0; i < q; i++)
        if (slot[i] != 0) c->active[n++] = i;
    long wide = UP(n);
    for (long a = 0; a < n; a++) {
        x[a] = acc[c->active[a]];
        for (long b = 0; b < n; b++)
            c->K[a * wide + b] = (a == b) - c->columns[c->active[b] * c->wide + c->active[a]] * slot[c->active[b]];
    }
    if (!eliminate_rows(n, c->K, wide, x)) c->failed = 1;
    for (long a = 0; a < n; a++) slot[c->active[a]] *= x[a];
}
