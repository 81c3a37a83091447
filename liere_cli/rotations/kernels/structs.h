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

const size_t strided_layout[] = LAYOUT(sizeof(strided), offsetof(strided, data),
    offsetof(strided, batch), offsetof(strided, head), offsetof(strided, token));
