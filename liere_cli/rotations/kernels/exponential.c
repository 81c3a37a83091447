/* Exponentials of skew-symmetric matrices, each taken through its whole series inside the cache.
 *
 * The algorithm is that of series.py: E = exp(X) - I to degree 8 in three products, then squarings
 * E <- 2 E + E E, as many as the norm of each matrix asks for. A library's batched products take
 * every intermediate result of all matrices through memory, and for small matrices they take longer
 * to call than to compute.
 *
 * compiler.py compiles this for one ROWS, a multiple of 4, and one REAL, float or double. Matrices
 * are dense, row after row; gradients are kept transposed, so that no product needs a transpose.
 * Each function is called with the same task by as many threads as there are, and returns when no
 * matrix is left to take.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "products.h"

enum {
    /* more would leave no digit of the result */
    MOST_SQUARINGS = sizeof(REAL) == sizeof(float) ? 22 : 48,
    /* the last of them are of exp(X) itself: 2 E + E E cancels where E is no longer small */
    PLAIN_SQUARINGS = 4,
};

/* exp(X) - I = y1 X + y2 X^2 + P Q up to spectral norms of reach, where
 * P = X^2 (x3 I + x1 X + X^2) and Q = x4 I + x5 X + x6 X^2 + x7 P. */
typedef struct {
    REAL y1, y2, x1, x3, x4, x5, x6, x7, reach;
} series;

/* Of one matrix on its way there and back. */
typedef struct {
    matrix x, square, factor, p, q, grad, other, to_q, to_factor;
    matrix levels[MOST_SQUARINGS + 1]; /* exp(2^i X) - I, and from the first plain one exp(2^i X) */
} workspace;

static void product_and(REAL *z, const REAL *x, const REAL *y, const REAL *w, REAL scale)
{
    multiply(z, ROWS, ROWS, (factor){x, ROWS, 1}, ROWS, y, ROWS, w, scale);
}

static void product(REAL *z, const REAL *x, const REAL *y)
{
    multiply(z, ROWS, ROWS, (factor){x, ROWS, 1}, ROWS, y, ROWS, NULL, 0);
}

static void add_diagonal(REAL *x, REAL value)
{
    for (int i = 0; i < ROWS; i++)
        x[i * (ROWS + 1)] += value;
}

static int first_plain(int squarings)
{
    return squarings > PLAIN_SQUARINGS ? squarings - PLAIN_SQUARINGS : 0;
}

/* From exp(X) - I in the first level to exp(2^squarings X) in the last. */
static void square_up(workspace *w, int squarings)
{
    int plain = first_plain(squarings);
    for (int i = 0; i < plain; i++)
        product_and(w->levels[i + 1], w->levels[i], w->levels[i], w->levels[i], 2);
    add_diagonal(w->levels[plain], 1);
    for (int i = plain; i < squarings; i++)
        product(w->levels[i + 1], w->levels[i], w->levels[i]);
}

/* From the gradient to the last level, in w->grad, to that to the first; returns where that is,
 * w->grad or w->other. */
static REAL *square_down(workspace *w, int squarings)
{
    REAL *grad = w->grad, *next = w->other;
    int plain = first_plain(squarings);
    for (int i = squarings - 1; i >= 0; i--) {
        if (i < plain)
            product_and(next, grad, w->levels[i], grad, 2);
        else
            product(next, grad, w->levels[i]);
        product_and(next, w->levels[i], grad, next, 1);
        REAL *last = grad;
        grad = next;
        next = last;
    }
    return grad;
}

/* How often to square; -1 where the norm is not finite or no number serves. */
static int squarings_for(const REAL *square, double reach)
{
    vector sums[4] = {{0}}; /* four, as one would wait for itself */
    for (int i = 0; i < SIZE; i += 4 * WIDTH)
        for (int s = 0; s < 4; s++) {
            vector part = *(const vector *)(square + i + s * WIDTH);
            sums[s] += part * part;
        }
    double fourth_powers = 0;
    for (int s = 0; s < 4; s++)
        for (int lane = 0; lane < WIDTH; lane++)
            fourth_powers += sums[s][lane];
    double norm = sqrt(sqrt(fourth_powers / 2));
    for (int squarings = 0; squarings <= MOST_SQUARINGS; squarings++, reach *= 2)
        if (norm <= reach)
            return squarings;
    return -1;
}

/* Leaves exp(a) in the last level; returns the number of squarings. */
static int exponentiate(workspace *w, const REAL *a, series c)
{
    product(w->square, a, a);
    int squarings = squarings_for(w->square, c.reach);
    if (squarings < 0)
        return squarings;
    REAL scale = ldexp(1.0, -squarings);
    for (int i = 0; i < SIZE; i++) {
        w->x[i] = scale * a[i];
        w->square[i] *= scale * scale;
        w->factor[i] = c.x1 * w->x[i] + w->square[i];
    }
    add_diagonal(w->factor, c.x3);
    product(w->p, w->square, w->factor);
    for (int i = 0; i < SIZE; i++) {
        w->q[i] = c.x5 * w->x[i] + c.x6 * w->square[i] + c.x7 * w->p[i];
        w->levels[0][i] = c.y1 * w->x[i] + c.y2 * w->square[i];
    }
    add_diagonal(w->q, c.x4);
    product_and(w->levels[0], w->p, w->q, w->levels[0], 1);
    square_up(w, squarings);
    return squarings;
}

static void give_nothing(REAL *x)
{
    for (int i = 0; i < SIZE; i++)
        x[i] = NAN;
}

/* What the threads of a call share: count matrices x. */
typedef struct {
    const REAL *x;
    REAL *rotations; /* exp(x); on the way back NULL if not wanted */
    const REAL *grad;
    REAL *result; /* the skew part of the gradient to x, from grad, that to exp(x) */
    const series *series;
    ptrdiff_t count, taken;
    ptrdiff_t at_a_time; /* how many matrices a thread takes */
    int transposed;      /* grad is, each matrix */
    int failed;          /* there was no memory */
} task;

static inline void each(task *t, void (*compute)(workspace *, const task *, ptrdiff_t at))
{
    workspace *w = malloc(sizeof *w);
    if (!w) {
        t->failed = 1;
        return;
    }
    for (;;) {
        ptrdiff_t i = __atomic_fetch_add(&t->taken, t->at_a_time, __ATOMIC_RELAXED);
        if (i >= t->count)
            break;
        ptrdiff_t end = t->count - i < t->at_a_time ? t->count : i + t->at_a_time;
        for (; i < end; i++)
            compute(w, t, i * SIZE);
    }
    free(w);
}

static int rotate(workspace *w, const task *t, ptrdiff_t at)
{
    int squarings = exponentiate(w, t->x + at, *t->series);
    if (t->rotations && squarings < 0)
        give_nothing(t->rotations + at);
    else if (t->rotations)
        memcpy(t->rotations + at, w->levels[squarings], sizeof(matrix));
    return squarings;
}

static void exponential_of(workspace *w, const task *t, ptrdiff_t at)
{
    rotate(w, t, at);
}

static void exponential_back_of(workspace *w, const task *t, ptrdiff_t at)
{
    const series c = *t->series;
    REAL *result = t->result + at;
    int squarings = rotate(w, t, at);
    if (squarings < 0) {
        give_nothing(result);
        return;
    }
    if (t->transposed)
        memcpy(w->grad, t->grad + at, sizeof(matrix));
    else
        transpose(w->grad, t->grad + at);
    REAL *g = square_down(w, squarings);
    REAL *to_p = g == w->grad ? w->other : w->grad, *to_square = w->levels[0];
    product(w->to_q, g, w->p);
    product_and(to_p, w->q, g, w->to_q, c.x7);
    product(w->to_factor, to_p, w->square);
    for (int i = 0; i < SIZE; i++)
        to_square[i] = c.y2 * g[i] + c.x6 * w->to_q[i] + w->to_factor[i];
    product_and(to_square, w->factor, to_p, to_square, 1);
    for (int i = 0; i < SIZE; i++)
        g[i] = c.y1 * g[i] + c.x5 * w->to_q[i] + c.x1 * w->to_factor[i];
    /* for skew x only the symmetric part of it reaches the skew part of the gradient to x */
    REAL *symmetric = to_p, *to_x = w->to_q;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j <= i; j++)
            symmetric[i * ROWS + j] = symmetric[j * ROWS + i] =
                to_square[i * ROWS + j] + to_square[j * ROWS + i];
    product_and(to_x, symmetric, w->x, g, 1);
    REAL half = ldexp(0.5, -squarings);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < ROWS; j++)
            result[i * ROWS + j] = half * (to_x[j * ROWS + i] - to_x[i * ROWS + j]);
}

void exponential(task *t) { each(t, exponential_of); }

void exponential_back(task *t) { each(t, exponential_back_of); }
