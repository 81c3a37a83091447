/* What Python and C share, and tables of its layout, which structs.py compares with its own. */
#include <stddef.h>

/* The number of entries, then the entries: the size of a struct and the offset of each field. */
#define LAYOUT(...) {sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), __VA_ARGS__}

#define AT(field) offsetof(task, field)

/* [batch, heads, tokens, channels] with these strides, and contiguous channels. */
typedef struct {
    REAL *data;
    ptrdiff_t batch, head, token;
} strided;

/* Takes the next chunk of count items for a thread; whether there is one. */
static inline int take(ptrdiff_t *next, ptrdiff_t chunk, ptrdiff_t count, ptrdiff_t *first,
                       ptrdiff_t *end)
{
    *first = __atomic_fetch_add(next, chunk, __ATOMIC_RELAXED);
    *end = count - *first < chunk ? count : *first + chunk;
    return *first < count;
}

const size_t strided_layout[] = LAYOUT(sizeof(strided), offsetof(strided, data),
    offsetof(strided, batch), offsetof(strided, head), offsetof(strided, token));
