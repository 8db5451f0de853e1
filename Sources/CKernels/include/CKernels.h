/* The inner loops of the network, one table of functions for each instruction set.
 *
 * Every table gives the same bits. The float code is written once (kernels.inc) over vectors of 16 floats and compiled
 * for each instruction set, so what is computed and the order of every sum are the same by construction; int8 dot
 * products are exact. Names start with pk_ and not with petar_: they are no part of the library's interface.
 */
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef enum pk_epilogue {
    PK_STORE, /* out = result */
    PK_ADD,   /* out = out + result: a residual connection */
    PK_GELU   /* out = gelu(result) */
} pk_epilogue;

/* out[r][n] = sum over k of x[r][k] * w[n][k], + bias[n] if there is one, through the epilogue.
 *
 * f32, f16, i8 weights (i8 without scales: keys and values of a KV cache): fused multiply-adds over k ascending, from
 * zero again at every multiple of PK_BLOCK; the sums of the blocks are added ascending. q8 weights: exact int32 sums
 * within a group of columns, then total = fma(sum, weight scale * activation scale, total), groups ascending. q4
 * weights: the same, a weight being its multiplier times its level. */
typedef struct pk_linear {
    const void *weights; /* panels of 16 outputs, see MatrixLayout */
    size_t panel_bytes;  /* from one panel to the next */
    size_t outputs;
    size_t column_begin; /* f32, f16, i8: k runs over [column_begin, column_end) */
    size_t column_end;   /* q8, q4: columns, rounded up to a multiple of 4 or 8; column_begin is 0 */
    const void *ahead;   /* i8: panels that are read after this call, which few rows ask for meanwhile; any address. Values
                          * where these are keys, keys where these are values: the columns of one are the rows of the
                          * other */
    size_t ahead_panel_bytes; /* from one of them to the next */

    const float *x; /* f32, f16, i8 */
    size_t x_stride;

    const int8_t *q; /* q8, q4: activations as pk_kernels.quantize leaves them, rows of column_end bytes */
    const float *q_scales;
    const int32_t *q_offsets;
    const int32_t *q_block_offsets; /* q4, up to PK_Q4_FEW_ROWS rows: from block_offsets; NULL if there are more */
    const void *ordered;            /* q8, q4: from `order`, if the table has it and there are more than 4 rows, or NULL */
    size_t ordered_stride;          /* from the group of a row to its next one; from row to row pk_ordered_bytes */
    size_t group;                   /* q4: a multiple of 64, at most 256 */
    size_t groups;
    void *workspace; /* q4, more than 4 rows: 64 bytes for each row and panel of a call, of the calling thread */

    const float *bias; /* outputs floats or NULL */
    float *out;
    size_t out_stride;
    pk_epilogue epilogue;
} pk_linear;

#define PK_BLOCK 256

/* Few enough rows for some q4 kernels to read codes as they are, instead of making them int8 first. */
#define PK_Q4_FEW_ROWS 8

/* Activations in order (pk_kernels.order): the most columns of a group, and the bytes of one. */
#define PK_ORDERED_GROUP 256
static inline size_t pk_ordered_bytes(size_t group) { return (16 + group / 4 + group + 63) / 64 * 64; }

/* Attention in int8: the widest head, and how many queries are worked on together. */
#define PK_HEAD_WIDTH 128
#define PK_QUERIES 48

typedef void pk_linear_fn(const pk_linear *linear, size_t row_begin, size_t row_end, size_t panel_begin,
                          size_t panel_end);

/* x and y of the functions on a row may be the same memory. */
typedef struct pk_kernels {
    const char *name;
    pk_linear_fn *linear_f32;
    pk_linear_fn *linear_f16;
    pk_linear_fn *linear_i8;
    pk_linear_fn *linear_q8;
    pk_linear_fn *linear_q4;

    /* A row to symmetric int8 by group: scale = max|x| / 127, q = x / scale rounded to nearest even. `q` is filled up
     * with zeros to a multiple of 4 columns. offsets[g] = -128 * sum of q: what offset weight bytes need. A group
     * without a magnitude of 2^-100 is zero with scale 0; one with NaN or infinity gets scale NaN. */
    void (*quantize)(const float *x, size_t columns, size_t group, int8_t *q, float *scales, int32_t *offsets);

    /* offsets[b] = -128 * sum of 8 values of q: what q4 kernels for few rows need. */
    void (*block_offsets)(const int8_t *q, size_t blocks, int32_t *offsets);

    /* Puts a row of int8 activations, as `quantize` leaves it, in an order that products with many panels are fastest in:
     * pk_ordered_bytes(group) for each group, `stride` bytes apart and aligned to 64. `group` is at most
     * PK_ORDERED_GROUP, and it and `columns` are multiples of 4. NULL in tables that take rows as they are. */
    void (*order)(const int8_t *q, const float *scales, const int32_t *offsets, size_t columns, size_t group,
                  void *ordered, size_t stride);

    /* Packs a group of columns of a panel as q4: [columns][16] floats, columns a multiple of 8 and at most 256, to codes
     * and multipliers and to 16 scales, see MatrixLayout. All values are finite; they become what was packed. `feedback`
     * is NULL or [columns][columns]: what is lost in column k, times feedback[k][j], is added to every column j behind
     * the 8 that share a multiplier with k, before j is packed. */
    void (*pack_q4)(float *panel, size_t columns, const float *feedback, uint8_t *packed, uint16_t *scales);

    /* row[i] = exp(scale * row[i] - m) for i in [begin, end), m the largest scale * row[i]; 0 elsewhere in
     * [block_begin, block_end), both multiples of 16. Returns the sum, which does not depend on the block. */
    float (*softmax)(float *row, size_t begin, size_t end, size_t block_begin, size_t block_end, float scale);

    /* Attention over all positions in int8: softmax(scale * q . k) v for `rows` queries of one head, see
     * attention.inc. pack_head packs its keys and values, rows of `width` <= PK_HEAD_WIDTH floats `stride` apart, into
     * head_bytes bytes aligned to 64. What is not finite makes results NaN. */
    size_t (*head_bytes)(size_t positions, size_t width);
    void (*pack_head)(const float *keys, const float *values, size_t stride, size_t positions, size_t width,
                      void *packed);
    void (*attend)(const void *packed, size_t positions, size_t width, const float *queries, size_t stride,
                   size_t rows, float scale, float *out, size_t out_stride);

    void (*layer_norm)(const float *x, size_t width, const float *weight, const float *bias, float epsilon, float *y);
    void (*rms_norm)(const float *x, size_t width, const float *weight, float epsilon, float *y);
    /* y[i] = silu(gate_up[i]) * gate_up[width + i] */
    void (*silu_gate)(const float *gate_up, size_t width, float *y);
    void (*gelu)(float *x, size_t count);
    void (*add)(float *x, const float *y, size_t count);
    void (*multiply)(float *x, const float *y, size_t count);
    void (*divide)(float *x, size_t count, float divisor);
    /* y = the orthonormal Walsh-Hadamard transform of each `block` of x; its own inverse. `block` is a power of
     * two, 16 or more, and divides `count`. Sums run over neighbours first, then over ever greater distances. */
    void (*hadamard)(const float *x, float *y, size_t count, size_t block);
    /* Rotates the pairs (x[i], x[half + i]) by the angles whose cosines and sines are given. */
    void (*rope)(float *x, size_t half, const float *cosines, const float *sines);
} pk_kernels;

/* The tables this processor can run, best first; NULL past the last. */
const pk_kernels *pk_kernels_available(size_t index);

/* Floating point as every result assumes it: round to nearest, denormals kept, no exception trapped. Returns what was
 * set before, for pk_float_restore. */
uint64_t pk_float_default(void);
void pk_float_restore(uint64_t saved);

/* Puts `rows` positions of one head, from `position` on, into a KV cache (see KeyValues): element c of a key to
 * keys[position / 16][c][position % 16], of a value to values[c / 16][position][c % 16] with value_panel elements from
 * one c / 16 to the next. i8: each key and each value is a group of pk_kernels.quantize, of PK_CACHE_WIDTH elements at
 * most. */
#define PK_CACHE_WIDTH 1024
typedef void pk_append_fn(const pk_kernels *kernels, const float *keys, size_t key_stride, const float *values,
                          size_t value_stride, size_t rows, size_t width, size_t position, void *key_cache,
                          void *value_cache, size_t value_panel, float *key_scales, float *value_scales);
pk_append_fn pk_append_f32, pk_append_i8;

/* The processors that this process may use, at least 1. */
size_t pk_processors(void);

/* Tells the processor that this is a loop that waits. */
static inline void pk_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif /* CKERNELS_H */
