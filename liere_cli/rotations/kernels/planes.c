/* Plane rotations of queries and keys in place, and their gradient, in one pass over memory.
 *
 * compiler.py compiles this for one REAL, float or double. Planes are pairs of neighbouring
 * channels. Every thread calls a function with the same task; it returns when no token is left.
 */
#include <string.h>

#include "structs.h"

enum { QUERIES, KEYS, VALUES, PARTS };

/* Shared by the threads of a call. The first prefix of all tokens have no position. */
typedef struct {
    REAL *qkv;             /* [batch, tokens, PARTS, heads, channels]; rotated for the gradient */
    REAL *grad;            /* likewise; the gradient to the input of the rotation */
    REAL *cross, *dot;     /* [heads, tokens - prefix, channels / 2], or NULL */
    const REAL *table;     /* cosines and sines, [heads, tokens - prefix, channels / 2, 2] */
    ptrdiff_t table_head;  /* stride of heads in the table: 0 where they share it */
    strided parts[PARTS];  /* gradients to queries, keys and values */
    ptrdiff_t batch, tokens, prefix, heads, channels;
    ptrdiff_t chunk, next; /* tokens, of all examples: how many to take at a time, from where */
} task;

const size_t task_layout[] = LAYOUT(sizeof(task), AT(qkv), AT(grad), AT(cross), AT(dot), AT(table),
    AT(table_head), AT(parts), AT(batch), AT(tokens), AT(prefix), AT(heads), AT(channels),
    AT(chunk), AT(next));

static void rotate_head(REAL *x, const REAL *restrict table, ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++) {
        REAL first = x[2 * h], second = x[2 * h + 1], cos = table[2 * h], sin = table[2 * h + 1];
        x[2 * h] = first * cos - second * sin;
        x[2 * h + 1] = first * sin + second * cos;
    }
}

static void rotate_head_backward(REAL *restrict result, const REAL *restrict grad,
                                 const REAL *restrict table, ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++) {
        REAL first = grad[2 * h], second = grad[2 * h + 1], cos = table[2 * h];
        REAL sin = table[2 * h + 1];
        result[2 * h] = first * cos + second * sin;
        result[2 * h + 1] = second * cos - first * sin;
    }
}

/* Adds the gradient to the angle of every plane, x1 g2 - x2 g1, which stays the same if x and its
 * gradient g are both rotated. */
static void add_cross(REAL *restrict sum, const REAL *restrict x, const REAL *restrict grad,
                      ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++)
        sum[h] += x[2 * h] * grad[2 * h + 1] - x[2 * h + 1] * grad[2 * h];
}

/* Adds x . g, the gradient to the logarithm of a common factor of cosine and sine. */
static void add_dot(REAL *restrict sum, const REAL *restrict x, const REAL *restrict grad,
                    ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++)
        sum[h] += x[2 * h] * grad[2 * h] + x[2 * h + 1] * grad[2 * h + 1];
}

/* Rotates queries and keys of qkv by the angles of their tokens. */
void rotate(task *t)
{
    ptrdiff_t row = t->heads * t->channels, first, end;
    while (take(&t->next, t->chunk, t->tokens, &first, &end))
        for (ptrdiff_t b = 0; b < t->batch; b++)
            for (ptrdiff_t token = first < t->prefix ? t->prefix : first; token < end; token++)
                for (int part = QUERIES; part <= KEYS; part++)
                    for (ptrdiff_t n = 0; n < t->heads; n++)
                        rotate_head(t->qkv + ((b * t->tokens + token) * PARTS + part) * row
                                        + n * t->channels,
                                    t->table + n * t->table_head
                                        + (token - t->prefix) * t->channels,
                                    t->channels / 2);
}

static void clear(const task *t, REAL *sums, ptrdiff_t first, ptrdiff_t end)
{
    ptrdiff_t planes = t->channels / 2;
    for (ptrdiff_t n = 0; sums && n < t->heads; n++)
        memset(sums + (n * (t->tokens - t->prefix) + first) * planes, 0,
               (end - first) * planes * sizeof *sums);
}

/* grad, and the requested sums, from the gradients to rotated queries and keys and to values. */
void rotate_backward(task *t)
{
    ptrdiff_t row = t->heads * t->channels, planes = t->channels / 2, first, end;
    while (take(&t->next, t->chunk, t->tokens, &first, &end)) {
        ptrdiff_t positioned = first < t->prefix ? t->prefix : first;
        if (positioned < end) {
            clear(t, t->cross, positioned - t->prefix, end - t->prefix);
            clear(t, t->dot, positioned - t->prefix, end - t->prefix);
        }
        for (ptrdiff_t b = 0; b < t->batch; b++)
            for (ptrdiff_t token = first; token < end; token++)
                for (int part = QUERIES; part < PARTS; part++) {
                    const strided *g = &t->parts[part];
                    ptrdiff_t at = ((b * t->tokens + token) * PARTS + part) * row;
                    for (ptrdiff_t n = 0; n < t->heads; n++, at += t->channels) {
                        const REAL *from =
                            g->data + b * g->batch + n * g->head + token * g->token;
                        if (part == VALUES || token < t->prefix) {
                            memcpy(t->grad + at, from, t->channels * sizeof(REAL));
                            continue;
                        }
                        ptrdiff_t position = token - t->prefix;
                        ptrdiff_t sum = (n * (t->tokens - t->prefix) + position) * planes;
                        rotate_head_backward(t->grad + at, from,
                                             t->table + n * t->table_head
                                                 + position * t->channels,
                                             planes);
                        if (t->cross)
                            add_cross(t->cross + sum, t->qkv + at, from, planes);
                        if (t->dot)
                            add_dot(t->dot + sum, t->qkv + at, from, planes);
                    }
                }
    }
}
