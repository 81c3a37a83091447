/* The gradient to the rates of planes, in one pass over what was turned and its gradient.
 *
 * compiled.py compiles this for one REAL, float or double. Planes are neighbouring channels.
 */
#include <stddef.h>
#include <string.h>

/* What the threads of a call share: runs of tokens, and a sum over each run. */
typedef struct {
    const REAL *x, *grad;    /* [batch, tokens, stride], channels of a token from the first on */
    const REAL *positions;   /* [tokens] */
    REAL *sums;              /* [batch, runs, planes], runs being those of one example */
    ptrdiff_t batch, tokens, stride, planes, run, taken;
} task;

/* sums[h] = sum_p p (x1 g2 - x2 g1) over the tokens of each run that this thread takes. */
void moments(task *t)
{
    ptrdiff_t runs = (t->tokens + t->run - 1) / t->run;
    for (;;) {
        ptrdiff_t i = __atomic_fetch_add(&t->taken, 1, __ATOMIC_RELAXED);
        if (i >= t->batch * runs)
            return;
        ptrdiff_t first = i % runs * t->run;
        ptrdiff_t end = t->tokens - first < t->run ? t->tokens : first + t->run;
        REAL *sum = t->sums + i * t->planes;
        memset(sum, 0, t->planes * sizeof *sum);
        for (ptrdiff_t token = first; token < end; token++) {
            const REAL *x = t->x + (i / runs * t->tokens + token) * t->stride;
            const REAL *grad = t->grad + (i / runs * t->tokens + token) * t->stride;
            for (ptrdiff_t h = 0; h < t->planes; h++)
                sum[h] += t->positions[token]
                    * (x[2 * h] * grad[2 * h + 1] - x[2 * h + 1] * grad[2 * h]);
        }
    }
}
