/* Application of a rotation for every token and block of channels, and its gradient.
 *
 * The examples make the rows of one product for each token, head and block. Rows are copied into
 * the cache, rotated there and written to their target, which may be their source.
 *
 * compiler.py compiles this for one ROWS of a block, a multiple of 4, and one REAL, float or double.
 * Every thread calls a function with the same task; it returns when no token is left.
 */
#include <stdlib.h>
#include <string.h>

#include "products.h"
#include "structs.h"

enum {
    MAX_PARTS = 2,
    /* examples whose rows are in the cache together, with their gradients */
    EXAMPLES = 64,
};

/* Shared by the threads of a call; parts are tensors of one shape that are rotated alike. */
typedef struct {
    strided source[MAX_PARTS]; /* the input, or gradients to the output */
    strided target[MAX_PARTS]; /* may be the same */
    strided saved[MAX_PARTS];  /* for the gradient to rotations: input or output */
    const REAL *rotations;     /* [rotation_heads, blocks, tokens, ROWS, ROWS] */
    REAL *grad;                /* the gradient to them, or NULL */
    ptrdiff_t parts, batch, heads, rotation_heads, tokens, blocks;
    ptrdiff_t next, chunk; /* tokens of rotation heads: from where to take, how many at a time */
    int saved_output;      /* saved is the output, not the input */
    int failed;            /* memory allocation failed */
} task;

const size_t task_layout[] = LAYOUT(sizeof(task), AT(source), AT(target), AT(saved), AT(rotations),
    AT(grad), AT(parts), AT(batch), AT(heads), AT(rotation_heads), AT(tokens), AT(blocks), AT(next),
    AT(chunk), AT(saved_output), AT(failed));

/* Of one thread: rows of examples with all channels, and matrices of all blocks. */
typedef struct {
    REAL *rows, *rotated, *saved, *matrices, *grads;
} workspace;

static REAL *allocate(workspace *w, const task *t)
{
    ptrdiff_t rows = EXAMPLES * t->blocks * ROWS, matrices = t->blocks * SIZE;
    /* zeros: rows that no example fills are rotated too */
    w->rows = calloc(3 * rows + 2 * matrices, sizeof(REAL));
    if (!w->rows)
        return NULL;
    w->rotated = w->rows + rows;
    w->saved = w->rotated + rows;
    w->matrices = w->saved + rows;
    w->grads = w->matrices + matrices;
    return w->rows;
}

enum { LOAD, STORE };

/* Copies a token and head of count examples from, or to, a tensor. */
static inline void copy(int direction, REAL *rows, const strided *x, ptrdiff_t first,
                        ptrdiff_t count, ptrdiff_t head, ptrdiff_t token, ptrdiff_t channels)
{
    REAL *at = x->data + first * x->batch + head * x->head + token * x->token;
    for (ptrdiff_t i = 0; i < count; i++, at += x->batch, rows += channels)
        memcpy(direction == LOAD ? rows : at, direction == LOAD ? at : rows, channels * sizeof(REAL));
}

/* Multiplies all rows of a token by the matrices of its blocks, which are stride apart, and adds to
 * grads where given. */
static void multiply_token(task *t, workspace *w, ptrdiff_t rotation_head, ptrdiff_t token,
                           const REAL *matrices, ptrdiff_t stride, REAL *grads)
{
    ptrdiff_t channels = t->blocks * ROWS, group = t->heads / t->rotation_heads;
    for (ptrdiff_t head = rotation_head * group; head < (rotation_head + 1) * group; head++)
        for (ptrdiff_t part = 0; part < t->parts; part++)
            for (ptrdiff_t first = 0; first < t->batch; first += EXAMPLES) {
                ptrdiff_t count = t->batch - first < EXAMPLES ? t->batch - first : EXAMPLES;
                ptrdiff_t padded = (count + TALL - 1) / TALL * TALL;
                copy(LOAD, w->rows, t->source + part, first, count, head, token, channels);
                if (grads)
                    copy(LOAD, w->saved, t->saved + part, first, count, head, token, channels);
                for (ptrdiff_t block = 0; block < t->blocks; block++) {
                    REAL *rows = w->rows + block * ROWS;
                    multiply(w->rotated + block * ROWS, channels, padded,
                             (factor){rows, channels, 1}, ROWS, matrices + block * stride, ROWS,
                             NULL, 0);
                    if (grads)
                        multiply(grads + block * SIZE, ROWS, ROWS, (factor){rows, 1, channels},
                                 count, w->saved + block * ROWS, channels, grads + block * SIZE,
                                 1);
                }
                copy(STORE, w->rotated, t->target + part, first, count, head, token, channels);
            }
}

/* Token and rotation head of an index, so that successive indices are neighbours in memory. */
static void locate(const task *t, ptrdiff_t i, ptrdiff_t *rotation_head, ptrdiff_t *token)
{
    int heads_are_neighbours = t->source[0].head < t->source[0].token;
    *rotation_head = heads_are_neighbours ? i % t->rotation_heads : i / t->tokens;
    *token = heads_are_neighbours ? i / t->rotation_heads : i % t->tokens;
}

static void rotate_token(task *t, workspace *w, ptrdiff_t head, ptrdiff_t token)
{
    for (ptrdiff_t block = 0; block < t->blocks; block++)
        transpose(w->matrices + block * SIZE,
                  t->rotations + ((head * t->blocks + block) * t->tokens + token) * SIZE);
    multiply_token(t, w, head, token, w->matrices, SIZE, NULL);
}

static void rotate_token_backward(task *t, workspace *w, ptrdiff_t head, ptrdiff_t token)
{
    ptrdiff_t start = (head * t->blocks * t->tokens + token) * SIZE, stride = t->tokens * SIZE;
    if (t->grad)
        memset(w->grads, 0, t->blocks * sizeof(matrix));
    multiply_token(t, w, head, token, t->rotations + start, stride, t->grad ? w->grads : NULL);
    for (ptrdiff_t block = 0; t->grad && block < t->blocks; block++) {
        const REAL *sum = w->grads + block * SIZE;
        REAL *grad = t->grad + start + block * stride;
        if (t->saved_output) /* x = R^T y */
            multiply(grad, ROWS, ROWS, (factor){sum, ROWS, 1}, ROWS,
                     t->rotations + start + block * stride, ROWS, NULL, 0);
        else
            memcpy(grad, sum, sizeof(matrix));
    }
}

static inline void for_each_token(task *t, void (*apply)(task *, workspace *, ptrdiff_t, ptrdiff_t))
{
    workspace w;
    if (!allocate(&w, t)) {
        t->failed = 1;
        return;
    }
    ptrdiff_t count = t->rotation_heads * t->tokens, first, end, head, token;
    while (take(&t->next, t->chunk, count, &first, &end))
        for (ptrdiff_t i = first; i < end; i++) {
            locate(t, i, &head, &token);
            apply(t, &w, head, token);
        }
    free(w.rows);
}

/* R x. */
void rotate(task *t) { for_each_token(t, rotate_token); }

/* R^T g, and the gradient to R. */
void rotate_backward(task *t) { for_each_token(t, rotate_token_backward); }
