/* Application of a rotation for every token and block of channels, and the way back.
 *
 * The examples make the rows of one product for each token, head and block. Rows are brought into
 * the cache, turned there and put where they belong, which may be where they came from.
 *
 * compiler.py compiles this for one ROWS of a block, a multiple of 4, and one REAL, float or double.
 * Each function is called with the same task by as many threads as there are, and returns when no
 * token is left to take.
 */
#include <stdlib.h>
#include <string.h>

#include "products.h"

enum {
    MOST_PARTS = 2,
    /* examples whose rows are in the cache together, with their gradients */
    EXAMPLES = 64,
};

/* [batch, heads, tokens, channels] with these strides, and channels side by side. */
typedef struct {
    REAL *data;
    ptrdiff_t batch, head, token;
} tensor;

/* What the threads of a call share: parts are tensors of one shape that are turned alike. */
typedef struct {
    tensor from[MOST_PARTS];   /* what to turn, or gradients to what was turned */
    tensor to[MOST_PARTS];     /* may be the same */
    tensor kept[MOST_PARTS];   /* on the way back: what was turned */
    const REAL *rotations;     /* [rotation_heads, blocks, tokens, ROWS, ROWS] */
    REAL *grad;                /* to them; NULL if not wanted */
    ptrdiff_t parts, batch, heads, rotation_heads, tokens, blocks;
    ptrdiff_t taken, at_a_time; /* tokens of rotation heads */
    int after;       /* kept is what it was after turning, not before */
    int failed;      /* there was no memory */
} task;

/* Of one thread: rows of examples with all channels, and matrices of all blocks. */
typedef struct {
    REAL *rows, *turned, *kept, *matrices, *grads;
} workspace;

static REAL *allocate(workspace *w, const task *t)
{
    ptrdiff_t rows = EXAMPLES * t->blocks * ROWS, matrices = t->blocks * SIZE;
    /* zeros: rows that no example fills are turned along */
    w->rows = calloc(3 * rows + 2 * matrices, sizeof(REAL));
    if (!w->rows)
        return NULL;
    w->turned = w->rows + rows;
    w->kept = w->turned + rows;
    w->matrices = w->kept + rows;
    w->grads = w->matrices + matrices;
    return w->rows;
}

/* The rows of count examples of a token and head from the first on, from or to a tensor. */
static void get(REAL *rows, const tensor *x, ptrdiff_t first, ptrdiff_t count, ptrdiff_t head,
                ptrdiff_t token, ptrdiff_t channels)
{
    const REAL *at = x->data + first * x->batch + head * x->head + token * x->token;
    for (ptrdiff_t i = 0; i < count; i++, at += x->batch, rows += channels)
        memcpy(rows, at, channels * sizeof(REAL));
}

static void put(const REAL *rows, const tensor *x, ptrdiff_t first, ptrdiff_t count, ptrdiff_t head,
                ptrdiff_t token, ptrdiff_t channels)
{
    REAL *at = x->data + first * x->batch + head * x->head + token * x->token;
    for (ptrdiff_t i = 0; i < count; i++, at += x->batch, rows += channels)
        memcpy(at, rows, channels * sizeof(REAL));
}

/* Turns all rows of a token by transposed matrices, or back by matrices themselves, and adds to
 * grads on the way back. */
static void turn_token(task *t, workspace *w, ptrdiff_t rotation_head, ptrdiff_t token,
                       const REAL *matrices, ptrdiff_t apart, REAL *grads)
{
    ptrdiff_t channels = t->blocks * ROWS, alike = t->heads / t->rotation_heads;
    for (ptrdiff_t head = rotation_head * alike; head < (rotation_head + 1) * alike; head++)
        for (ptrdiff_t part = 0; part < t->parts; part++)
            for (ptrdiff_t first = 0; first < t->batch; first += EXAMPLES) {
                ptrdiff_t count = t->batch - first < EXAMPLES ? t->batch - first : EXAMPLES;
                ptrdiff_t padded = (count + TALL - 1) / TALL * TALL;
                get(w->rows, t->from + part, first, count, head, token, channels);
                if (grads)
                    get(w->kept, t->kept + part, first, count, head, token, channels);
                for (ptrdiff_t block = 0; block < t->blocks; block++) {
                    REAL *rows = w->rows + block * ROWS;
                    multiply(w->turned + block * ROWS, channels, padded,
                             (factor){rows, channels, 1}, ROWS, matrices + block * apart, ROWS,
                             NULL, 0);
                    if (grads)
                        multiply(grads + block * SIZE, ROWS, ROWS, (factor){rows, 1, channels},
                                 count, w->kept + block * ROWS, channels, grads + block * SIZE, 1);
                }
                put(w->turned, t->to + part, first, count, head, token, channels);
            }
}

/* Takes tokens of rotation heads; whether there were any. */
static int take(task *t, ptrdiff_t *first, ptrdiff_t *end)
{
    ptrdiff_t count = t->rotation_heads * t->tokens;
    *first = __atomic_fetch_add(&t->taken, t->at_a_time, __ATOMIC_RELAXED);
    *end = count - *first < t->at_a_time ? count : *first + t->at_a_time;
    return *first < count;
}

/* Which token of which rotation head comes there, so that neighbours in memory follow each other. */
static void locate(const task *t, ptrdiff_t i, ptrdiff_t *rotation_head, ptrdiff_t *token)
{
    int heads_are_neighbours = t->from[0].head < t->from[0].token;
    *rotation_head = heads_are_neighbours ? i % t->rotation_heads : i / t->tokens;
    *token = heads_are_neighbours ? i / t->rotation_heads : i % t->tokens;
}

static void turn_one(task *t, workspace *w, ptrdiff_t head, ptrdiff_t token)
{
    for (ptrdiff_t block = 0; block < t->blocks; block++)
        transpose(w->matrices + block * SIZE,
                  t->rotations + ((head * t->blocks + block) * t->tokens + token) * SIZE);
    turn_token(t, w, head, token, w->matrices, SIZE, NULL);
}

static void turn_one_back(task *t, workspace *w, ptrdiff_t head, ptrdiff_t token)
{
    ptrdiff_t start = (head * t->blocks * t->tokens + token) * SIZE, apart = t->tokens * SIZE;
    if (t->grad)
        memset(w->grads, 0, t->blocks * sizeof(matrix));
    turn_token(t, w, head, token, t->rotations + start, apart, t->grad ? w->grads : NULL);
    for (ptrdiff_t block = 0; t->grad && block < t->blocks; block++) {
        const REAL *sum = w->grads + block * SIZE;
        REAL *grad = t->grad + start + block * apart;
        if (t->after) /* x = R^T y */
            multiply(grad, ROWS, ROWS, (factor){sum, ROWS, 1}, ROWS,
                     t->rotations + start + block * apart, ROWS, NULL, 0);
        else
            memcpy(grad, sum, sizeof(matrix));
    }
}

static inline void each(task *t, void (*turn)(task *, workspace *, ptrdiff_t, ptrdiff_t))
{
    workspace w;
    if (!allocate(&w, t)) {
        t->failed = 1;
        return;
    }
    ptrdiff_t first, end, head, token;
    while (take(t, &first, &end))
        for (ptrdiff_t i = first; i < end; i++) {
            locate(t, i, &head, &token);
            turn(t, &w, head, token);
        }
    free(w.rows);
}

/* R x. */
void turn(task *t) { each(t, turn_one); }

/* R^T g, and the gradients to R. */
void turn_back(task *t) { each(t, turn_one_back); }
