/* Exponentials of skew-symmetric matrices by scaling and squaring, each computed within the cache.
 *
 * The algorithm is that of scaling_squaring.py: E = exp(X) - I to degree 8 in three products, then
 * squarings E <- 2 E + E E, as many as the norm of each matrix requires. A library's batched
 * products write every intermediate result of all matrices to memory, and for small matrices the
 * call takes longer than the computation.
 *
 * compiler.py compiles this for one ROWS, a multiple of 4, and one REAL, float or double. Matrices
 * are contiguous and row-major; gradients are kept transposed, so that no product needs a
 * transpose. Every thread calls a function with the same task; it returns when no matrix is left.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "products.h"
#include "structs.h"

enum {
    /* after more squarings no digit of the result is correct */
    MAX_SQUARINGS = sizeof(REAL) == sizeof(float) ? 22 : 48,
    /* the last of them are of exp(X) itself: 2 E + E E cancels once E is large */
    PLAIN_SQUARINGS = 4,
};

/* exp(X) - I = y1 X + y2 X^2 + P Q for spectral norms up to radius, where
 * P = X^2 (x3 I + x1 X + X^2) and Q = x4 I + x5 X + x6 X^2 + x7 P. */
typedef struct {
    REAL y1, y2, x1, x3, x4, x5, x6, x7, radius;
} polynomial;

/* Intermediate results for one matrix. */
typedef struct {
    matrix x, square, factor, p, q, grad, other, to_q, to_factor;
    matrix levels[MAX_SQUARINGS + 1]; /* exp(2^i X) - I, and from the first plain one exp(2^i X) */
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
static void square_repeatedly(workspace *w, int squarings)
{
    int plain = first_plain(squarings);
    for (int i = 0; i < plain; i++)
        product_and(w->levels[i + 1], w->levels[i], w->levels[i], w->levels[i], 2);
    add_diagonal(w->levels[plain], 1);
    for (int i = plain; i < squarings; i++)
        product(w->levels[i + 1], w->levels[i], w->levels[i]);
}

/* From the gradient to the last level, in w->grad, to the gradient to the first; returns where that
 * is, w->grad or w->other. */
static REAL *square_repeatedly_backward(workspace *w, int squarings)
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

/* The number of squarings; -1 where the norm is not finite or needs more than the maximum. */
static int squarings_for(const REAL *square, double radius)
{
    vector sums[4] = {{0}}; /* four independent ones, to hide the latency of an addition */
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
    for (int squarings = 0; squarings <= MAX_SQUARINGS; squarings++, radius *= 2)
        if (norm <= radius)
            return squarings;
    return -1;
}

/* Leaves exp(a) in the last level; returns the number of squarings. */
static int exponentiate(workspace *w, const REAL *a, polynomial c)
{
    product(w->square, a, a);
    int squarings = squarings_for(w->square, c.radius);
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
    square_repeatedly(w, squarings);
    return squarings;
}

static void fill_with_nan(REAL *x)
{
    for (int i = 0; i < SIZE; i++)
        x[i] = NAN;
}

/* Shared by the threads of a call: count matrices x. */
typedef struct {
    const REAL *x;
    REAL *rotations;  /* exp(x); for the gradient NULL if not requested */
    const REAL *grad; /* the gradient to exp(x) */
    REAL *result;     /* the skew part of the gradient to x */
    const polynomial *polynomial;
    ptrdiff_t count, next, chunk; /* how many matrices to take at a time, from where */
    int transposed;               /* each matrix of grad is */
    int failed;                   /* memory allocation failed */
} task;

const size_t task_layout[] = LAYOUT(sizeof(task), AT(x), AT(rotations), AT(grad), AT(result),
    AT(polynomial), AT(count), AT(next), AT(chunk), AT(transposed), AT(failed));

static inline void
for_each_matrix(task *t, int (*compute)(workspace *, const task *, ptrdiff_t at))
{
    workspace *w = malloc(sizeof *w);
    if (!w) {
        t->failed = 1;
        return;
    }
    ptrdiff_t i, end;
    while (take(&t->next, t->chunk, t->count, &i, &end))
        for (; i < end; i++)
            compute(w, t, i * SIZE);
    free(w);
}

/* The number of squarings, or -1. */
static int exponential_of(workspace *w, const task *t, ptrdiff_t at)
{
    int squarings = exponentiate(w, t->x + at, *t->polynomial);
    if (t->rotations && squarings < 0)
        fill_with_nan(t->rotations + at);
    else if (t->rotations)
        memcpy(t->rotations + at, w->levels[squarings], sizeof(matrix));
    return squarings;
}

static int exponential_backward_of(workspace *w, const task *t, ptrdiff_t at)
{
    const polynomial c = *t->polynomial;
    REAL *result = t->result + at;
    int squarings = exponential_of(w, t, at);
    if (squarings < 0) {
        fill_with_nan(result);
        return squarings;
    }
    if (t->transposed)
        memcpy(w->grad, t->grad + at, sizeof(matrix));
    else
        transpose(w->grad, t->grad + at);
    REAL *g = square_repeatedly_backward(w, squarings);
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
    return squarings;
}

void exponential(task *t) { for_each_matrix(t, exponential_of); }

void exponential_backward(task *t) { for_each_matrix(t, exponential_backward_of); }
