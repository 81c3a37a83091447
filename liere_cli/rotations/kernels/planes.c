/* Rotation of planes of queries and keys where they lie, and the way back, in one pass over memory.
 *
 * compiler.py compiles this for one REAL, float or double. Planes are neighbouring channels. Each
 * function is called with the same task by as many threads as there are, and returns when no token
 * is left to take.
 */
#include <stddef.h>
#include <string.h>

enum { QUERIES, KEYS, VALUES, PARTS };

/* Gradients to queries, keys or values, [batch, heads, tokens, channels] with these strides. */
typedef struct {
    const REAL *data;
    ptrdiff_t batch, head, token;
} gradient;

/* What the threads of a call share. Without a position the first prefix of all tokens pass. */
typedef struct {
    REAL *qkv;             /* [batch, tokens, PARTS, heads, channels], turned */
    REAL *grad;            /* likewise; the gradient to what was turned */
    REAL *across, *along;  /* [heads, tokens - prefix, channels / 2], or NULL */
    const REAL *table;     /* cosines and sines, [heads, tokens - prefix, channels / 2, 2] */
    ptrdiff_t table_head;  /* from head to head in the table: 0 where they share it */
    gradient parts[PARTS];
    ptrdiff_t batch, tokens, prefix, heads, channels;
    ptrdiff_t at_a_time, taken; /* tokens, of all examples */
} task;

/* Tokens that this thread takes; whether there are any. */
static int take(task *t, ptrdiff_t *first, ptrdiff_t *end)
{
    *first = __atomic_fetch_add(&t->taken, t->at_a_time, __ATOMIC_RELAXED);
    *end = t->tokens - *first < t->at_a_time ? t->tokens : *first + t->at_a_time;
    return *first < t->tokens;
}

static void turn_head(REAL *x, const REAL *restrict table, ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++) {
        REAL first = x[2 * h], second = x[2 * h + 1], cos = table[2 * h], sin = table[2 * h + 1];
        x[2 * h] = first * cos - second * sin;
        x[2 * h + 1] = first * sin + second * cos;
    }
}

static void turn_head_back(REAL *restrict result, const REAL *restrict grad,
                           const REAL *restrict table, ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++) {
        REAL first = grad[2 * h], second = grad[2 * h + 1], cos = table[2 * h];
        REAL sin = table[2 * h + 1];
        result[2 * h] = first * cos + second * sin;
        result[2 * h + 1] = second * cos - first * sin;
    }
}

/* Adds the gradient to the angle of every plane, x1 g2 - x2 g1, which turning x and its gradient g
 * alike does not change. */
static void add_across(REAL *restrict sum, const REAL *restrict x, const REAL *restrict grad,
                       ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++)
        sum[h] += x[2 * h] * grad[2 * h + 1] - x[2 * h + 1] * grad[2 * h];
}

/* Adds x . g, that to the logarithm of a common factor of cosine and sine. */
static void add_along(REAL *restrict sum, const REAL *restrict x, const REAL *restrict grad,
                      ptrdiff_t planes)
{
    for (ptrdiff_t h = 0; h < planes; h++)
        sum[h] += x[2 * h] * grad[2 * h] + x[2 * h + 1] * grad[2 * h + 1];
}

/* Queries and keys of qkv by the angles of their tokens. */
void turn(task *t)
{
    ptrdiff_t row = t->heads * t->channels, first, end;
    while (take(t, &first, &end))
        for (ptrdiff_t b = 0; b < t->batch; b++)
            for (ptrdiff_t token = first < t->prefix ? t->prefix : first; token < end; token++)
                for (int part = QUERIES; part <= KEYS; part++)
                    for (ptrdiff_t n = 0; n < t->heads; n++)
                        turn_head(t->qkv + ((b * t->tokens + token) * PARTS + part) * row
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

/* grad, and the sums that are asked for, from the gradients to turned queries and keys and to
 * values. */
void turn_back(task *t)
{
    ptrdiff_t row = t->heads * t->channels, planes = t->channels / 2, first, end;
    while (take(t, &first, &end)) {
        ptrdiff_t turned = first < t->prefix ? t->prefix : first;
        if (turned < end) {
            clear(t, t->across, turned - t->prefix, end - t->prefix);
            clear(t, t->along, turned - t->prefix, end - t->prefix);
        }
        for (ptrdiff_t b = 0; b < t->batch; b++)
            for (ptrdiff_t token = first; token < end; token++)
                for (int part = QUERIES; part < PARTS; part++) {
                    const gradient *g = &t->parts[part];
                    ptrdiff_t at = ((b * t->tokens + token) * PARTS + part) * row;
                    for (ptrdiff_t n = 0; n < t->heads; n++, at += t->channels) {
                        const REAL *from =
                            g->data + b * g->batch + n * g->head + token * g->token;
                        if (part == VALUES || token < t->prefix) {
                            memcpy(t->grad + at, from, t->channels * sizeof(REAL));
                            continue;
                        }
                        ptrdiff_t place = token - t->prefix;
                        ptrdiff_t sum = (n * (t->tokens - t->prefix) + place) * planes;
                        turn_head_back(t->grad + at, from,
                                       t->table + n * t->table_head + place * t->channels, planes);
                        if (t->across)
                            add_across(t->across + sum, t->qkv + at, from, planes);
                        if (t->along)
                            add_along(t->along + sum, t->qkv + at, from, planes);
                    }
                }
    }
}
