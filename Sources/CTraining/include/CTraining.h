/* What training computes: products of matrices, derivatives of the operations on rows, the loss and AdamW.
 *
 * Vectors of 16 lanes, written once (operations.inc) and compiled for several instruction sets. Sums over a
 * row run in 16 lanes (column modulo 16) and end in one tree, so a result depends on neither threads nor alignment.
 * "+=" means that a result is added to what is there. Pointers may be the same only where it says so. */
#ifndef CTRAINING_H
#define CTRAINING_H

#include <stddef.h>
#include <stdint.h>

typedef struct ct_adamw_rates {
    float beta1, beta2, epsilon;
    float decay;         /* 1 - learning rate * weight decay */
    float step_size;     /* learning rate / (1 - beta1^step) */
    float root_correction; /* 1 / sqrt(1 - beta2^step) */
    float gradient_scale; /* of clipping */
} ct_adamw_rates;

/* Columns of a right factor that are read together. */
enum { CT_PANEL = 48 };

/* c = scale a b + bias + start, or that times c: rows x columns. Sums run over `depth` ascending, in blocks that depend on
 * nothing else. */
typedef struct ct_product {
    const float *a; /* a[row * a_row + k * a_depth]; one of the two is 1 */
    size_t a_row, a_depth;
    const float *b; /* b[k * b_stride + column / CT_PANEL * b_panel + column % CT_PANEL] */
    size_t b_stride, b_panel;
    float *c;
    const float *start; /* laid out as c, may be c; NULL for zero */
    size_t c_stride;
    const float *bias; /* of each column; NULL for zero */
    size_t rows, columns, depth;
    float scale;
    int times_c;
    int is_near; /* c is in a second-level cache: it is not asked for */
    /* What is read after this call is asked for meanwhile: rows `next_stride` apart, at any address. NULL for nothing. */
    const float *next;
    size_t next_stride, next_rows, next_columns;
} ct_product;

typedef struct ct_operations {
    /* NULL without AVX-512, which has the registers for it. */
    void (*multiply)(const ct_product *product);

    /* y = x + bias; x or bias may be NULL and then counts as zero. y may be x. */
    void (*add_bias)(const float *x, const float *bias, size_t count, float *y);

    /* sums[c] += sum over `rows` rows, `stride` apart, of x[r][c]. */
    void (*column_sums)(const float *x, size_t stride, size_t rows, size_t width, float *sums);

    /* dx = residual + the gradient of x through y = (x - mean) / sqrt(variance + epsilon) * weight + bias, from dy.
     * residual may be dx, or NULL and then counts as zero. dweight and dbias += theirs, summed over the rows; both NULL
     * where they are frozen. */
    void (*layer_norm_backward)(const float *x, const float *dy, size_t rows, size_t width, const float *weight,
                                float epsilon, const float *residual, float *dx, float *dweight, float *dbias);

    /* The same for y = x / sqrt(mean(x^2) + epsilon) * weight. */
    void (*rms_norm_backward)(const float *x, const float *dy, size_t rows, size_t width, const float *weight,
                              float epsilon, const float *residual, float *dx, float *dweight);

    /* y = x/2 (1 + erf(x / sqrt 2)), and x becomes the derivative there: most of one is most of the other. */
    void (*gelu)(float *x, size_t count, float *y);

    /* y *= x */
    void (*scale_by)(const float *x, size_t count, float *y);

    /* For y = silu(gate) * up: gate and up, `width` floats each, side by side in gate_up, become their own gradients. */
    void (*silu_gate_backward)(const float *dy, size_t width, float *gate_up);

    /* row = exp(scale * (row - largest)) over [begin, end) and 0 elsewhere in [0, count). Returns the sum; log_sum gets
     * the logarithm to base 2 of the sum of exp(scale * row), with which softmax can be computed again. */
    float (*softmax)(float *row, size_t begin, size_t end, size_t count, float scale, float *log_sum);

    /* From scores in row and the gradient of p = softmax(scale * row) over [begin, end) in drow: row = p and
     * drow = scale * p * (drow - mean), the gradient of the scores; both 0 elsewhere in [0, count). `mean` is the sum
     * of p drow. */
    void (*softmax_backward)(float *row, float *drow, size_t begin, size_t end, size_t count, float scale,
                             float log_sum, float mean);

    /* Turns the pairs (x[i], x[half + i]) back by the angles whose cosines and sines are given. */
    void (*rope_backward)(float *x, size_t half, const float *cosines, const float *sines);

    /* Returns -log softmax(logits)[target]; the logits become scale * (softmax - one at the target). */
    double (*cross_entropy)(float *logits, size_t count, size_t target, float scale);

    float (*dot)(const float *x, const float *y, size_t count);

    double (*sum_of_squares)(const float *x, size_t count);

    /* One step of AdamW. The gradient is used up: it is zero afterwards. */
    void (*adamw)(float *value, float *gradient, float *mean, float *square, size_t count, const ct_adamw_rates *rates);
} ct_operations;

/* The table for this processor. */
const ct_operations *ct_operations_best(void);

/* OpenBLAS's kernels for what this processor can do, unless the environment variable OPENBLAS_CORETYPE names others. No
 * other thread may use OpenBLAS meanwhile. */
void ct_choose_openblas_kernels(void);

#endif /* CTRAINING_H */
