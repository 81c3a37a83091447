/* The planes that skew-symmetric matrices turn, and how fast: A = Q D Q^T.
 *
 * Householder reflections bring A to a tridiagonal T. Its even rows have entries in odd columns
 * only, so T is [[0, B], [-B^T, 0]] in that order, with B bidiagonal and half as large; the singular
 * vectors of B are the planes, its singular values the rates (Ward, Gray, ACM TOMS 4, 1978, 278).
 * One-sided Jacobi rotations find them. Unlike eigenvectors of the Hermitian i A, they stay apart
 * where A does not turn a plane.
 *
 * compiler.py compiles this for one REAL, float or double; arithmetic is double.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SWEEPS = 60 };

/* What the threads of a call share: count matrices of so many rows, an even number. */
typedef struct {
    const REAL *x; /* A, [count, rows, rows] */
    REAL *basis;   /* Q likewise; the vectors of a plane are neighbouring columns */
    REAL *rates;   /* D likewise: r and -r below and above the diagonal, no r negative */
    REAL *speeds;  /* the r alone, [count, rows / 2] */
    const REAL *grad_basis, *grad_rates, *grad_speeds; /* that to D transposed */
    REAL *result; /* the gradient to A */
    double close; /* gaps between rates up to which no position tells them from none */
    ptrdiff_t count, rows, taken;
    int met;    /* some matrix has two rates so close, or one so close to none */
    int failed; /* there was no memory */
} task;

typedef void one_matrix(task *t, ptrdiff_t at, double *room);

static void each(task *t, one_matrix *compute, ptrdiff_t numbers)
{
    double *room = malloc(numbers * sizeof *room);
    if (!room) {
        t->failed = 1;
        return;
    }
    for (;;) {
        ptrdiff_t i = __atomic_fetch_add(&t->taken, 1, __ATOMIC_RELAXED);
        if (i >= t->count)
            break;
        compute(t, i * t->rows * t->rows, room);
    }
    free(room);
}

static double dot(const double *x, const double *y, ptrdiff_t count)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

/* x += factor y */
static void add(double *restrict x, const double *restrict y, double factor, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++)
        x[i] += factor * y[i];
}

/* The reflection I - scale v v^T that takes x to a multiple of its first axis: v in place of x.
 * Returns that multiple. */
static double reflection(double *x, double *scale, ptrdiff_t count)
{
    double tail = dot(x + 1, x + 1, count - 1), first = x[0];
    if (tail == 0) {
        *scale = 0;
        return first;
    }
    double norm = sqrt(first * first + tail), multiple = first > 0 ? -norm : norm;
    x[0] = first - multiple;
    *scale = 2 / (x[0] * x[0] + tail);
    return multiple;
}

/* Leaves T's entries below the diagonal in below, and in row k + 1 of v the reflection that spares
 * axes up to k. a: [n, n], overwritten; work: [n]. */
static void tridiagonalise(double *a, double *v, double *scales, double *below, double *work,
                           ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k + 1 < n; k++) {
        ptrdiff_t left = n - k - 1;
        double *axis = v + (k + 1) * n + k + 1;
        for (ptrdiff_t i = 0; i < left; i++)
            axis[i] = -a[k * n + k + 1 + i];
        below[k] = reflection(axis, scales + k, left);
        if (scales[k] == 0)
            continue;
        memset(work, 0, left * sizeof *work); /* scale A v; rows are columns but for their sign */
        for (ptrdiff_t i = 0; i < left; i++)
            add(work, a + (k + 1 + i) * n + k + 1, -scales[k] * axis[i], left);
        for (ptrdiff_t i = 0; i < left; i++) {
            double *row = a + (k + 1 + i) * n + k + 1;
            for (ptrdiff_t j = 0; j < left; j++)
                row[j] += axis[i] * work[j] - work[i] * axis[j];
        }
    }
}

/* Turns the rows of columns, [n, n], until they are orthogonal, and those of others alike.
 * Rows are the columns of B, and of the identity at first. */
static void orthogonalise(double *columns, double *others, double *squares, ptrdiff_t n)
{
    const double enough = n * DBL_EPSILON;
    int turned = 1;
    for (int sweep = 0; turned && sweep < MOST_SWEEPS; sweep++) {
        turned = 0;
        for (ptrdiff_t i = 0; i < n; i++)
            squares[i] = dot(columns + i * n, columns + i * n, n);
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = i + 1; j < n; j++) {
                double *restrict x = columns + i * n, *restrict y = columns + j * n;
                double *restrict p = others + i * n, *restrict q = others + j * n;
                double product = dot(x, y, n);
                if (!(fabs(product) > enough * sqrt(squares[i] * squares[j])))
                    continue;
                turned = 1;
                double zeta = (squares[j] - squares[i]) / (2 * product);
                double tangent = copysign(1 / (fabs(zeta) + sqrt(1 + zeta * zeta)), zeta);
                double cos = 1 / sqrt(1 + tangent * tangent), sin = cos * tangent;
                for (ptrdiff_t k = 0; k < n; k++) {
                    double one = x[k], two = y[k], three = p[k], four = q[k];
                    x[k] = cos * one - sin * two;
                    y[k] = sin * one + cos * two;
                    p[k] = cos * three - sin * four;
                    q[k] = sin * three + cos * four;
                }
                squares[i] -= tangent * product;
                squares[j] += tangent * product;
            }
    }
}

/* A row of unit length that is orthogonal to all others, which are so or zero. */
static void complete(double *rows, ptrdiff_t which, ptrdiff_t n)
{
    double *row = rows + which * n, square = 0;
    /* of some axis at least this much is left, as its squares over all axes sum to 1 or more */
    for (ptrdiff_t axis = 0; axis < n && square < 0.5 / n; axis++) {
        memset(row, 0, n * sizeof *row);
        row[axis] = 1;
        for (int again = 0; again < 2; again++)
            for (ptrdiff_t j = 0; j < n; j++)
                if (j != which)
                    add(row, rows + j * n, -dot(row, rows + j * n, n), n);
        square = dot(row, row, n);
    }
    for (ptrdiff_t k = 0; k < n; k++)
        row[k] /= sqrt(square);
}

/* Rows of unit length from orthogonal ones, whose lengths go to lengths. */
static void normalise(double *rows, double *lengths, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        lengths[i] = sqrt(dot(rows + i * n, rows + i * n, n));
        for (ptrdiff_t k = 0; k < n; k++)
            rows[i * n + k] = lengths[i] > 0 ? rows[i * n + k] / lengths[i] : 0;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        if (lengths[i] == 0)
            complete(rows, i, n);
}

static ptrdiff_t room_for_planes(ptrdiff_t n) { return 2 * n * n + n * n / 2 + 4 * n; }

static void planes(task *t, ptrdiff_t at, double *room)
{
    ptrdiff_t n = t->rows, half = n / 2;
    double *a = room, *v = a + n * n, *left = v + n * n, *right = left + half * half;
    double *scales = right + half * half, *below = scales + n, *work = below + n;
    double *rates = work + n, sum = 0;
    for (ptrdiff_t i = 0; i < n * n; i++)
        sum += a[i] = t->x[at + i];
    memset(t->rates + at, 0, n * n * sizeof(REAL));
    if (!isfinite(sum)) {
        for (ptrdiff_t i = 0; i < n * n; i++)
            t->basis[at + i] = t->rates[at + i] = NAN;
        for (ptrdiff_t i = 0; i < half; i++)
            t->speeds[at / n / 2 + i] = NAN;
        return;
    }
    tridiagonalise(a, v, scales, below, work, n);
    /* B turns odd axes to even ones; its columns are rows here */
    memset(left, 0, 2 * half * half * sizeof *left);
    for (ptrdiff_t i = 0; i < half; i++) {
        left[i * half + i] = -below[2 * i];
        if (i + 1 < half)
            left[i * half + i + 1] = below[2 * i + 1];
        right[i * half + i] = 1;
    }
    orthogonalise(left, right, work, half);
    normalise(left, rates, half);
    double *q = a;
    memset(q, 0, n * n * sizeof *q);
    for (ptrdiff_t plane = 0; plane < half; plane++) {
        REAL *corner = t->rates + at + 2 * plane * (n + 1);
        corner[n] = t->speeds[at / n / 2 + plane] = rates[plane];
        corner[1] = -corner[n];
        for (ptrdiff_t i = 0; i < half; i++) {
            q[(2 * i + 1) * n + 2 * plane] = right[plane * half + i];
            q[2 * i * n + 2 * plane + 1] = left[plane * half + i];
        }
        for (ptrdiff_t other = 0; other <= plane; other++)
            if (rates[plane] + rates[other] < t->close
                || (other < plane && fabs(rates[plane] - rates[other]) < t->close))
                t->met = 1;
    }
    for (ptrdiff_t k = n - 2; k >= 0; k--) {
        memset(work, 0, n * sizeof *work);
        for (ptrdiff_t i = k + 1; i < n; i++)
            add(work, q + i * n, scales[k] * v[(k + 1) * n + i], n);
        for (ptrdiff_t i = k + 1; i < n; i++)
            add(q + i * n, work, -v[(k + 1) * n + i], n);
    }
    for (ptrdiff_t i = 0; i < n * n; i++)
        t->basis[at + i] = q[i];
}

/* z = x y, or x^T y, of [n, n]. */
static void product(double *z, const double *x, const double *y, int transposed, ptrdiff_t n)
{
    memset(z, 0, n * n * sizeof *z);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t k = 0; k < n; k++)
            add(z + i * n, y + k * n, transposed ? x[k * n + i] : x[i * n + k], n);
}

/* A pair of planes, between whose phases something is apart and, where they turn alike, together:
 * as _Spectrum in spectra.py has it. */
static void divide(double *real, double *imaginary, double together, double imaginary_together,
                   double gap, double close)
{
    int meet = fabs(gap) < close;
    double apart = *real;
    *real = meet ? together : *imaginary / gap;
    *imaginary = meet ? imaginary_together : -apart / gap;
}

static ptrdiff_t room_for_gradient(ptrdiff_t n) { return 4 * n * n; }

static void gradient(task *t, ptrdiff_t at, double *room)
{
    ptrdiff_t n = t->rows;
    double *q = room, *other = q + n * n, *apart = other + n * n, *result = apart + n * n;
    const REAL *rates = t->rates + at, *limits = t->grad_rates + at;
    for (ptrdiff_t i = 0; i < n * n; i++) {
        q[i] = t->basis[at + i];
        other[i] = t->grad_basis[at + i];
    }
    product(apart, other, q, 1, n);
    for (ptrdiff_t i = 0; i < n; i += 2)
        for (ptrdiff_t j = 0; j < n; j += 2) {
            double one = rates[(i + 1) * n + i], two = rates[(j + 1) * n + j];
            double *p = apart + i * n + j;
            const REAL *l = limits + j * n + i; /* transposed */
            double alike = (p[0] + p[n + 1]) / 2, alike_i = (p[1] - p[n]) / 2;
            double opposite = (p[0] - p[n + 1]) / 2, opposite_i = -(p[1] + p[n]) / 2;
            /* a speed is in both entries of its plane, of which one is negative */
            double speed = i == j ? t->grad_speeds[(at / n + i) / 2] / 2 : 0;
            divide(&alike, &alike_i, (l[0] + l[n + 1]) / 2, (l[n] - l[1]) / 2 - speed, one - two,
                   t->close);
            divide(&opposite, &opposite_i, (l[0] - l[n + 1]) / 2, -(l[n] + l[1]) / 2, one + two,
                   t->close);
            p[0] = alike + opposite;
            p[1] = alike_i - opposite_i;
            p[n] = -alike_i - opposite_i;
            p[n + 1] = alike - opposite;
        }
    product(other, q, apart, 0, n);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < n; j++)
            apart[i * n + j] = q[j * n + i];
    product(result, other, apart, 0, n);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < n; j++)
            t->result[at + i * n + j] = (result[i * n + j] - result[j * n + i]) / 2;
}

/* Q and D of every matrix; NaN of one that is not finite. */
void spectrum(task *t) { each(t, planes, room_for_planes(t->rows)); }

/* The skew part of the gradient to A from those to Q and D. */
void spectrum_back(task *t) { each(t, gradient, room_for_gradient(t->rows)); }
