/* The gradient to the rates of planes, in one pass over what was turned and its gradient.
 *
 * compiled.py compiles this for one REAL, float or double. Planes are neighbouring channels.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* result[h] += sum_p p (x1 g2 - x2 g1) over count tokens of one sequence or a part of it.
 *
 * x, grad: [count, stride], of which the first planes * 2 channels of a token are looked at.
 * positions: [count]; result: [planes], double, for many tokens add up.
 * Returns 0, or -1 where there is no memory.
 */
int moments(const REAL *x, const REAL *grad, const REAL *positions, double *result,
            ptrdiff_t count, ptrdiff_t stride, ptrdiff_t planes)
{
    REAL *sum = calloc(planes, sizeof *sum);
    if (!sum)
        return -1;
    for (ptrdiff_t t = 0; t < count; t++, x += stride, grad += stride)
        for (ptrdiff_t h = 0; h < planes; h++)
            sum[h] += positions[t] * (x[2 * h] * grad[2 * h + 1] - x[2 * h + 1] * grad[2 * h]);
    for (ptrdiff_t h = 0; h < planes; h++)
        result[h] += sum[h];
    free(sum);
    return 0;
}
