/* Products of small matrices of type REAL with ROWS columns, a multiple of 4. */
#include <stddef.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum {
    SIZE = ROWS * ROWS,
    LANES = VECTOR_BYTES / sizeof(REAL),
    WIDTH = ROWS % LANES == 0 ? LANES : ROWS % (LANES / 2) == 0 ? LANES / 2 : 4,
    /* tiles of TALL x WIDE vectors of the result stay in registers */
    TALL = ROWS % 8 == 0 && VECTOR_BYTES == 64 ? 8 : 4,
    WIDE = ROWS % (2 * WIDTH) == 0 ? 2 : 1,
};

typedef REAL matrix[SIZE];
typedef REAL vector
    __attribute__((vector_size(WIDTH * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* A matrix with the strides of its rows and columns. */
typedef struct {
    const REAL *data;
    ptrdiff_t row, column;
} factor;

/* z = x y + scale w, or x y without w, for z of rows x ROWS and x of rows x depth; rows is a
 * multiple of TALL, columns of y are contiguous. w may be z, x and y may not. */
static inline __attribute__((always_inline)) void
multiply(REAL *z, ptrdiff_t z_row, ptrdiff_t rows, factor x, ptrdiff_t depth, const REAL *y,
         ptrdiff_t y_row, const REAL *w, REAL scale)
{
    for (ptrdiff_t i = 0; i < rows; i += TALL)
        for (ptrdiff_t j = 0; j < ROWS; j += WIDE * WIDTH) {
            vector sum[TALL][WIDE] = {{{0}}};
            for (ptrdiff_t k = 0; k < depth; k++)
                for (int c = 0; c < WIDE; c++) {
                    vector right = *(const vector *)(y + k * y_row + j + c * WIDTH);
                    for (int r = 0; r < TALL; r++)
                        sum[r][c] += x.data[(i + r) * x.row + k * x.column] * right;
                }
            for (int r = 0; r < TALL; r++)
                for (int c = 0; c < WIDE; c++) {
                    ptrdiff_t at = (i + r) * z_row + j + c * WIDTH;
                    if (w) /* last, so that small products are summed first */
                        sum[r][c] += scale * *(const vector *)(w + at);
                    *(vector *)(z + at) = sum[r][c];
                }
        }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE __builtin_shufflevector
#endif
#endif

static inline void transpose(REAL *restrict z, const REAL *restrict x)
{
#ifdef SHUFFLE
    typedef REAL four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
    for (int i = 0; i < ROWS; i += 4)
        for (int j = 0; j < ROWS; j += 4) {
            four row[4], low[2], high[2];
            for (int k = 0; k < 4; k++)
                row[k] = *(const four *)(x + (i + k) * ROWS + j);
            for (int k = 0; k < 2; k++) {
                low[k] = SHUFFLE(row[2 * k], row[2 * k + 1], 0, 4, 1, 5);
                high[k] = SHUFFLE(row[2 * k], row[2 * k + 1], 2, 6, 3, 7);
            }
            *(four *)(z + j * ROWS + i) = SHUFFLE(low[0], low[1], 0, 1, 4, 5);
            *(four *)(z + (j + 1) * ROWS + i) = SHUFFLE(low[0], low[1], 2, 3, 6, 7);
            *(four *)(z + (j + 2) * ROWS + i) = SHUFFLE(high[0], high[1], 0, 1, 4, 5);
            *(four *)(z + (j + 3) * ROWS + i) = SHUFFLE(high[0], high[1], 2, 3, 6, 7);
        }
#else
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < ROWS; j++)
            z[j * ROWS + i] = x[i * ROWS + j];
#endif
}
