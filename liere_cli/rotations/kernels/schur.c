/* Real Schur form of skew-symmetric matrices: A = Q D Q^T, as schur.py of rotations describes it.
 *
 * Householder reflections reduce A to a tridiagonal T. Even rows of T have entries in odd columns
 * only, so with even rows first T is [[0, B], [-B^T, 0]], B bidiagonal and half as large; the
 * singular vectors of B span the planes, its singular values are the frequencies (Ward, Gray, ACM
 * TOMS 4, 1978, 278). One-sided Jacobi rotations compute them. Unlike eigenvectors of the Hermitian
 * i A, the two vectors of a plane are well separated at frequency 0 too.
 *
 * compiler.py compiles this for one REAL, float or double; arithmetic is double.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "structs.h"

enum { MAX_SWEEPS = 60 };

/* Shared by the threads of a call: count matrices with an even number of rows. */
typedef struct {
    const REAL *x;        /* A, [count, rows, rows] */
    REAL *basis;          /* Q likewise; the vectors of a plane are neighbouring columns */
    REAL *quasi_diagonal; /* D likewise: f and -f below and above the diagonal, f >= 0 */
    REAL *frequencies;    /* the f, [count, rows / 2] */
    const REAL *grad_basis, *grad_diagonal, *grad_frequencies; /* that to D transposed */
    REAL *result;         /* the gradient to A */
    double min_gap;       /* frequencies that are closer are treated as equal */
    ptrdiff_t count, rows, next;
    int any_close; /* a matrix has two frequencies that are closer, or whose sum is closer to 0 */
    int failed;    /* memory allocation failed */
} task;

const size_t task_layout[] = LAYOUT(sizeof(task), AT(x), AT(basis), AT(quasi_diagonal),
    AT(frequencies), AT(grad_basis), AT(grad_diagonal), AT(grad_frequencies), AT(result),
    AT(min_gap), AT(count), AT(rows), AT(next), AT(any_close), AT(failed));

typedef void one_matrix(task *t, ptrdiff_t at, double *workspace);

static void for_each_matrix(task *t, one_matrix *compute, ptrdiff_t numbers)
{
    double *workspace = malloc(numbers * sizeof *workspace);
    if (!workspace) {
        t->failed = 1;
        return;
    }
    ptrdiff_t i, end;
    while (take(&t->next, 1, t->count, &i, &end))
        compute(t, i * t->rows * t->rows, workspace);
    free(workspace);
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

/* The reflection I - scale v v^T that maps x to a multiple of the first axis: overwrites x with v,
 * returns that multiple. */
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

/* Writes T's entries below the diagonal to below, and to row k + 1 of v the reflection that leaves
 * axes up to k unchanged. a: [n, n], overwritten; work: [n]. */
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
        memset(work, 0, left * sizeof *work); /* scale A v; rows are minus columns */
        for (ptrdiff_t i = 0; i < left; i++)
            add(work, a + (k + 1 + i) * n + k + 1, -scales[k] * axis[i], left);
        for (ptrdiff_t i = 0; i < left; i++) {
            double *row = a + (k + 1 + i) * n + k + 1;
            for (ptrdiff_t j = 0; j < left; j++)
                row[j] += axis[i] * work[j] - work[i] * axis[j];
        }
    }
}

/* Rotates pairs of rows of columns, [n, n], until all are orthogonal, and those of others alike.
 * Initially the rows are the columns of B, and of the identity. */
static void orthogonalise(double *columns, double *others, double *squares, ptrdiff_t n)
{
    const double tolerance = n * DBL_EPSILON;
    int rotated = 1;
    for (int sweep = 0; rotated && sweep < MAX_SWEEPS; sweep++) {
        rotated = 0;
        for (ptrdiff_t i = 0; i < n; i++)
            squares[i] = dot(columns + i * n, columns + i * n, n);
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = i + 1; j < n; j++) {
                double *restrict x = columns + i * n, *restrict y = columns + j * n;
                double *restrict p = others + i * n, *restrict q = others + j * n;
                double product = dot(x, y, n);
                if (!(fabs(product) > tolerance * sqrt(squares[i] * squares[j])))
                    continue;
                rotated = 1;
                double zeta = (squares[j] - squares[i]) / (2 * product);
                double tangent = copysign(1 / (fabs(zeta) + sqrt(1 + zeta * zeta)), zeta);
                double cos = 1 / sqrt(1 + tangent * tangent), sin = cos * tangent;
                for (ptrdiff_t k = 0; k < n; k++) {
                    double xk = x[k], yk = y[k], pk = p[k], qk = q[k];
                    x[k] = cos * xk - sin * yk;
                    y[k] = sin * xk + cos * yk;
                    p[k] = cos * pk - sin * qk;
                    q[k] = sin * pk + cos * qk;
                }
                squares[i] -= tangent * product;
                squares[j] += tangent * product;
            }
    }
}

/* Makes a row of unit length that is orthogonal to all others, which are orthonormal or zero. */
static void complete(double *rows, ptrdiff_t which, ptrdiff_t n)
{
    double *row = rows + which * n, square = 0;
    /* some axis keeps a square of at least 1 / n, as over all axes they sum to 1 or more */
    for (ptrdiff_t axis = 0; axis < n && square < 0.5 / n; axis++) {
        memset(row, 0, n * sizeof *row);
        row[axis] = 1;
        for (int pass = 0; pass < 2; pass++)
            for (ptrdiff_t j = 0; j < n; j++)
                if (j != which)
                    add(row, rows + j * n, -dot(row, rows + j * n, n), n);
        square = dot(row, row, n);
    }
    for (ptrdiff_t k = 0; k < n; k++)
        row[k] /= sqrt(square);
}

/* Divides orthogonal rows by their lengths, which it writes to lengths. */
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

/* workspace: 2 n^2 + n^2 / 2 + 4 n */
static void schur(task *t, ptrdiff_t at, double *workspace)
{
    ptrdiff_t n = t->rows, half = n / 2;
    double *a = workspace, *v = a + n * n, *left = v + n * n, *right = left + half * half;
    double *scales = right + half * half, *below = scales + n, *work = below + n;
    double *frequencies = work + n, sum = 0;
    for (ptrdiff_t i = 0; i < n * n; i++)
        sum += a[i] = t->x[at + i];
    memset(t->quasi_diagonal + at, 0, n * n * sizeof(REAL));
    if (!isfinite(sum)) {
        for (ptrdiff_t i = 0; i < n * n; i++)
            t->basis[at + i] = t->quasi_diagonal[at + i] = NAN;
        for (ptrdiff_t i = 0; i < half; i++)
            t->frequencies[at / n / 2 + i] = NAN;
        return;
    }
    tridiagonalise(a, v, scales, below, work, n);
    /* B maps odd axes to even ones; its columns are rows here */
    memset(left, 0, 2 * half * half * sizeof *left);
    for (ptrdiff_t i = 0; i < half; i++) {
        left[i * half + i] = -below[2 * i];
        if (i + 1 < half)
            left[i * half + i + 1] = below[2 * i + 1];
        right[i * half + i] = 1;
    }
    orthogonalise(left, right, work, half);
    normalise(left, frequencies, half);
    double *q = a;
    memset(q, 0, n * n * sizeof *q);
    for (ptrdiff_t plane = 0; plane < half; plane++) {
        REAL *corner = t->quasi_diagonal + at + 2 * plane * (n + 1);
        corner[n] = t->frequencies[at / n / 2 + plane] = frequencies[plane];
        corner[1] = -corner[n];
        for (ptrdiff_t i = 0; i < half; i++) {
            q[(2 * i + 1) * n + 2 * plane] = right[plane * half + i];
            q[2 * i * n + 2 * plane + 1] = left[plane * half + i];
        }
        for (ptrdiff_t other = 0; other <= plane; other++)
            if (frequencies[plane] + frequencies[other] < t->min_gap
                || (other < plane && fabs(frequencies[plane] - frequencies[other]) < t->min_gap))
                t->any_close = 1;
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

/* Divides the gradient between eigenvectors of two planes by i times the gap of their eigenvalues,
 * or replaces it by its limit where the gap is small: as _RealSchur in schur.py does. */
static void divide(double *real, double *imaginary, double limit, double imaginary_limit,
                   double gap, double min_gap)
{
    int close = fabs(gap) < min_gap;
    double before = *real;
    *real = close ? limit : *imaginary / gap;
    *imaginary = close ? imaginary_limit : -before / gap;
}

/* workspace: 4 n^2 */
static void gradient(task *t, ptrdiff_t at, double *workspace)
{
    ptrdiff_t n = t->rows;
    double *q = workspace, *other = q + n * n, *apart = other + n * n, *result = apart + n * n;
    const REAL *d = t->quasi_diagonal + at, *limits = t->grad_diagonal + at;
    for (ptrdiff_t i = 0; i < n * n; i++) {
        q[i] = t->basis[at + i];
        other[i] = t->grad_basis[at + i];
    }
    product(apart, other, q, 1, n);
    for (ptrdiff_t i = 0; i < n; i += 2)
        for (ptrdiff_t j = 0; j < n; j += 2) {
            double first = d[(i + 1) * n + i], second = d[(j + 1) * n + j];
            double *p = apart + i * n + j;
            const REAL *l = limits + j * n + i; /* transposed */
            double equal = (p[0] + p[n + 1]) / 2, equal_i = (p[1] - p[n]) / 2;
            double opposite = (p[0] - p[n + 1]) / 2, opposite_i = -(p[1] + p[n]) / 2;
            /* a frequency is in both entries of its plane, in one of them negative */
            double to_frequency = i == j ? t->grad_frequencies[(at / n + i) / 2] / 2 : 0;
            divide(&equal, &equal_i, (l[0] + l[n + 1]) / 2, (l[n] - l[1]) / 2 - to_frequency,
                   first - second, t->min_gap);
            divide(&opposite, &opposite_i, (l[0] - l[n + 1]) / 2, -(l[n] + l[1]) / 2,
                   first + second, t->min_gap);
            p[0] = equal + opposite;
            p[1] = equal_i - opposite_i;
            p[n] = -equal_i - opposite_i;
            p[n + 1] = equal - opposite;
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

/* Q and D of every matrix; NaN where it is not finite. */
void real_schur(task *t) { for_each_matrix(t, schur, 5 * t->rows * t->rows / 2 + 4 * t->rows); }

/* The skew part of the gradient to A from those to Q and D. */
void real_schur_backward(task *t) { for_each_matrix(t, gradient, 4 * t->rows * t->rows); }
