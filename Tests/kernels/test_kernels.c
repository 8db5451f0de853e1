/* Runs every function of every table of kernels that the machine has on random, extreme and odd input and wants the
 * bits of the scalar table. It is plain C, so that an emulator can run it: `make test-kernels`, `make test-aarch64`.
 *
 * It prints a digest of the scalar results, which is the same for every processor. */
#include "tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Numbers ------------------------------------------------------------------------------------------------- */

static uint64_t noise_state;

/* SplitMix64. */
static uint64_t noise(void) {
    uint64_t z = noise_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

typedef enum kind { ORDINARY, ZEROS, LARGEST, DENORMAL, HUGE, OVERFLOWING, MIXED, SPECIAL, ANY_BITS, KINDS } kind;
static const char *const kind_names[KINDS] = {"ordinary",    "zeros", "largest", "denormal", "huge",
                                              "overflowing", "mixed", "special", "any bits"};

static float number(kind k) {
    static const uint32_t specials[] = {0x7fc00000, 0x7f800000, 0xff800000, 0x80000000, 0x7f7fffff,
                                        0xff7fffff, 1,          0x80000001, 0x00800000};
    const float value = (float)((int64_t)noise() >> 40) * 0x1p-23f; /* [-1, 1) */
    switch (k) {
    case ZEROS: return 0;
    case LARGEST: return value < 0 ? -3 : 3; /* int8 sums are largest for it */
    case DENORMAL: return value * 0x1p-130f;
    case HUGE: return value * 0x1p60f;
    case OVERFLOWING: return value * 0x1p127f;
    case MIXED: return noise() % 8 ? value * from_bits((uint32_t)(90 + noise() % 45) << 23) : 0;
    case SPECIAL: return noise() % 50 ? value : from_bits(specials[noise() % (sizeof specials / 4)]);
    case ANY_BITS: return from_bits((uint32_t)noise());
    default: return value;
    }
}

static float *numbers(size_t count, kind k) {
    float *values = malloc(count * sizeof(float) + 1);
    for (size_t i = 0; i < count; i++) values[i] = number(k);
    return values;
}

/* ---- Comparing ----------------------------------------------------------------------------------------------- */

static struct { const char *name; const pk_kernels *kernels; } tables[8];
static size_t table_count, results, failures;
static uint64_t digest = 0xcbf29ce484222325u; /* FNV-1a over words */
static kind current;

static int is_nan(uint32_t bits) { return (bits & 0x7fffffff) > 0x7f800000; }

static void digest_word(uint32_t word) { digest = (digest ^ (is_nan(word) ? 0x7fc00000 : word)) * 0x100000001b3u; }

/* Writes its results to `out`, which holds what was there before. */
typedef void run_fn(const pk_kernels *kernels, const void *input, float *out);

/* `before`: `count` floats, what a function finds where its results go. What it must not touch has to come out as it
 * was. NaN is NaN, whatever its bits. */
static void compare(const char *what, run_fn *run, const void *input, const float *before, size_t count) {
    float *expected = malloc(count * sizeof(float)), *out = malloc(count * sizeof(float));
    memcpy(expected, before, count * sizeof(float));
    run(&pk_scalar, input, expected);
    for (size_t i = 0; i < count; i++) digest_word(to_bits(expected[i]));
    for (size_t t = 0; t < table_count; t++) {
        memcpy(out, before, count * sizeof(float));
        run(tables[t].kernels, input, out);
        for (size_t i = 0; i < count; i++, results++) {
            const uint32_t a = to_bits(out[i]), b = to_bits(expected[i]);
            if (a == b || (is_nan(a) && is_nan(b))) continue;
            if (failures++ < 20)
                fprintf(stderr, "%s: %s of %s numbers: [%zu of %zu] is %a, not %a\n", tables[t].name, what,
                        kind_names[current], i, count, out[i], expected[i]);
        }
    }
    free(expected);
    free(out);
}

/* ---- Linear layers ------------------------------------------------------------------------------------------- */

enum { ROWS = 53, GAP = 3 }; /* GAP: floats after each row of results that nobody may write */

typedef struct layer {
    pk_linear linear;
    pk_linear_fn *(*function)(const pk_kernels *);
    size_t row_begin, row_end, panel_begin, panel_end;
} layer;

static pk_linear_fn *f32(const pk_kernels *k) { return k->linear_f32; }
static pk_linear_fn *f16(const pk_kernels *k) { return k->linear_f16; }
static pk_linear_fn *i8(const pk_kernels *k) { return k->linear_i8; }
static pk_linear_fn *q8(const pk_kernels *k) { return k->linear_q8; }

static pk_linear_fn *q4(const pk_kernels *k) { return k->linear_q4; }

/* All rows in the order that a table wants them in. */
static void *order_activations(const pk_kernels *k, pk_linear *l) {
    const size_t bytes = pk_ordered_bytes(l->group);
    char *ordered = aligned_alloc(64, ROWS * l->groups * bytes);
    l->ordered = ordered;
    l->ordered_stride = ROWS * bytes;
    for (size_t row = 0; row < ROWS; row++)
        k->order(l->q + row * l->column_end, l->q_scales + row * l->groups, l->q_offsets + row * l->groups,
                 l->column_end, l->group, ordered + row * bytes, l->ordered_stride);
    return ordered;
}

static void run_layer(const pk_kernels *k, const void *input, float *out) {
    const layer *l = input;
    pk_linear linear = l->linear;
    linear.out = out;
    const int many = l->row_end - l->row_begin > 4 || !linear.q_block_offsets;
    void *ordered = NULL;
    if (k->order && linear.q && many && linear.group <= PK_ORDERED_GROUP) ordered = order_activations(k, &linear);
    l->function(k)(&linear, l->row_begin, l->row_end, l->panel_begin, l->panel_end);
    free(ordered);
}

/* Every number of rows that tiles treat differently, through every epilogue, then parts of rows and panels. Rows after
 * the last have to stay as they were. */
static void compare_layer(const char *what, layer l) {
    static const size_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, ROWS - 1};
    const size_t panels = (l.linear.outputs + 15) / 16, stride = l.linear.outputs + GAP;
    float *before = numbers(ROWS * stride, ORDINARY), *bias = numbers(l.linear.outputs, current);
    l.linear.out_stride = stride;
    l.panel_end = panels;
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
        l.row_end = row_counts[i];
        l.linear.epilogue = (pk_epilogue)(i % 3);
        l.linear.bias = i % 2 ? bias : NULL;
        compare(what, run_layer, &l, before, (l.row_end < 17 ? 17 : ROWS) * stride);
    }
    l.row_begin = 2;
    l.panel_begin = panels / 2;
    for (l.row_end = 11; l.row_end <= 36; l.row_end += 25) compare(what, run_layer, &l, before, ROWS * stride);
    free(before);
    free(bias);
}

static uint16_t half(void) {
    switch (current) {
    case ZEROS: return 0;
    case LARGEST: return noise() % 2 ? 0x7bff : 0xfbff;
    case DENORMAL: return noise() & 0x83ff;
    case SPECIAL: case ANY_BITS: return (uint16_t)noise();
    default: return noise() & 0xbfff;
    }
}

static void float_layers(size_t columns, size_t outputs) {
    const size_t panels = (outputs + 15) / 16, count = panels * columns * 16;
    float *weights = numbers(count, current), *x = numbers(ROWS * columns, current);
    uint16_t *halves = malloc(count * 2);
    int8_t *bytes = malloc(count);
    for (size_t i = 0; i < count; i++) {
        halves[i] = half();
        bytes[i] = (int8_t)(current == LARGEST ? (noise() % 2 ? 127 : -128) : (int)(noise() % 256) - 128);
    }
    layer l = {.linear = {.outputs = outputs, .x = x, .x_stride = columns}};
    for (size_t begin = 0; begin < columns; begin += 261) { /* attention's values begin anywhere */
        l.linear.column_begin = begin;
        l.linear.column_end = columns;
        l.linear.weights = weights;
        l.linear.panel_bytes = columns * 64;
        l.function = f32;
        compare_layer("linear_f32", l);
        l.linear.weights = halves;
        l.linear.panel_bytes = columns * 32;
        l.function = f16;
        compare_layer("linear_f16", l);
        l.linear.weights = bytes;
        l.linear.panel_bytes = columns * 16;
        l.function = i8;
        compare_layer("linear_i8", l);
    }
    free(weights);
    free(x);
    free(halves);
    free(bytes);
}

/* ROWS rows of int8 activations for a layer whose columns and group are set. */
static void make_activations(pk_linear *l) {
    const size_t columns = l->column_end;
    l->groups = (columns + l->group - 1) / l->group;
    int8_t *q = malloc(ROWS * columns);
    int32_t *offsets = calloc(ROWS * l->groups, sizeof(int32_t)); /* -128 times the sum of each group */
    for (size_t i = 0; i < ROWS * columns; i++) {
        /* The sums of AVX2 are 16 bits wide: two or four of what is about 64 or 32 just fit, or just do not. */
        const int border = (noise() % 4 ? 1 : -1) * ((noise() % 2 ? 64 : 32) + (int)(noise() % 16 == 0));
        const int value = current == LARGEST       ? (noise() % 2 ? 127 : -127)
                          : current == OVERFLOWING ? border
                                                   : (int)(noise() % 255) - 127;
        q[i] = (int8_t)value;
        offsets[i / columns * l->groups + i % columns / l->group] -= 128 * value;
    }
    l->q = q;
    l->q_offsets = offsets;
    l->q_scales = numbers(ROWS * l->groups, current);
}

static void free_activations(const pk_linear *l) {
    free((void *)l->q);
    free((void *)l->q_offsets);
    free((void *)l->q_scales);
}

static void q8_layer(size_t columns, size_t outputs, size_t group) {
    const size_t panels = (outputs + 15) / 16, groups = (columns + group - 1) / group;
    const size_t panel_bytes = columns * 16 + groups * 64;
    const int extreme = current == LARGEST || current == OVERFLOWING;
    uint8_t *weights = malloc(panels * panel_bytes), *at = weights;
    for (size_t p = 0; p < panels; p++) {
        for (size_t left = columns; left > 0;) {
            const size_t now = left < group ? left : group;
            for (size_t i = 0; i < now * 16; i++) /* -128 too, which a damaged file can hold */
                *at++ = extreme ? (noise() % 2 ? 255 : 0) : (uint8_t)noise();
            for (size_t i = 0; i < 16; i++, at += 4) {
                const float scale = number(current);
                memcpy(at, &scale, 4);
            }
            left -= now;
        }
    }
    layer l = {.function = q8,
               .linear = {.weights = weights,
                          .panel_bytes = panel_bytes,
                          .outputs = outputs,
                          .column_end = columns,
                          .group = group}};
    make_activations(&l.linear);
    compare_layer("linear_q8", l);
    free_activations(&l.linear);
    free(weights);
}

/* Every byte is a code or multipliers; scales are the upper halves of floats. */
static void q4_layer(size_t columns, size_t outputs, size_t group) {
    const size_t panels = (outputs + 15) / 16, groups = (columns + group - 1) / group, blocks = columns / 8;
    const size_t panel_bytes = groups * 32 + (columns + 63) / 64 * 64 + columns * 8;
    uint8_t *weights = malloc(panels * panel_bytes);
    for (size_t i = 0; i < panels * panel_bytes; i++) weights[i] = (uint8_t)noise();
    for (size_t p = 0; p < panels; p++) {
        for (size_t i = 0; i < groups * 16; i++) {
            const uint16_t scale = (uint16_t)(to_bits(number(current)) >> 16);
            memcpy(weights + p * panel_bytes + i * 2, &scale, 2);
        }
    }
    int32_t *block_offsets = malloc(ROWS * blocks * sizeof(int32_t));
    void *workspace = aligned_alloc(64, ROWS * panels * 64);
    layer l = {.function = q4,
               .linear = {.weights = weights,
                          .panel_bytes = panel_bytes,
                          .outputs = outputs,
                          .column_end = columns,
                          .q_block_offsets = block_offsets,
                          .group = group,
                          .workspace = workspace}};
    make_activations(&l.linear);
    pk_scalar.block_offsets(l.linear.q, ROWS * blocks, block_offsets);
    compare_layer("linear_q4", l);
    l.linear.q_block_offsets = NULL; /* few rows of many */
    compare_layer("linear_q4 without block offsets", l);
    free_activations(&l.linear);
    free(weights);
    free(block_offsets);
    free(workspace);
}

static void int8_layers(size_t columns, size_t outputs) {
    for (size_t group = 64; group <= 256; group += 64) q4_layer((columns + 7) / 8 * 8, outputs, group);
    for (size_t group = 4; group <= 128; group = group == 4 ? 32 : group == 32 ? 100 : group + 28)
        q8_layer((columns + 3) / 4 * 4, outputs, group);
    q8_layer((columns + 3) / 4 * 4, outputs, PK_ORDERED_GROUP + 4);
}

static void layers(void) {
    /* The last is what tiles of AMX want, whole steps of 64 columns, with several groups whose last is shorter, and
     * several pairs of panels. */
    static const size_t shapes[][2] = {{1, 1},     {3, 15},    {4, 16},   {5, 17},  {63, 100},
                                       {100, 129}, {300, 65}, {520, 33}, {448, 72}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        float_layers(shapes[i][0], shapes[i][1]);
        int8_layers(shapes[i][0], shapes[i][1]);
    }
    if (current == ORDINARY) int8_layers(3072, 40); /* as wide as a real layer */
}

/* ---- Rows ---------------------------------------------------------------------------------------------------- */

typedef struct row {
    size_t count, part; /* part: group, block or half */
    const float *x, *y, *z;
    float value;
} row;

static void run_quantize(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    const size_t groups = (r->count + r->part - 1) / r->part, padded = (r->count + 3) / 4 * 4;
    int8_t *q = malloc(padded);
    int32_t *offsets = malloc(groups * sizeof(int32_t));
    k->quantize(r->x, r->count, r->part, q, out, offsets);
    for (size_t i = 0; i < groups; i++) out[groups + i] = (float)offsets[i]; /* exact below 2^24 * 128 */
    for (size_t i = 0; i < padded; i++) out[2 * groups + i] = q[i];
    free(q);
    free(offsets);
}

static void run_softmax(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    out[r->count] = k->softmax(out, r->part % 19, r->count - r->part % 23, 0, r->count, r->value);
}

static void run_layer_norm(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->layer_norm(r->x, r->count, r->y, r->z, r->value, out);
}

static void run_rms_norm(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->rms_norm(r->x, r->count, r->y, r->value, out);
}

static void run_silu_gate(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->silu_gate(r->x, r->count, out);
}

static void run_gelu(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->gelu(out, r->count);
}

static void run_add(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->add(out, r->y, r->count);
}

static void run_multiply(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->multiply(out, r->y, r->count);
}

static void run_divide(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->divide(out, r->count, r->value);
}

static void run_hadamard(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->hadamard(r->x, out, r->count, r->part);
}

static void run_rope(const pk_kernels *k, const void *input, float *out) {
    const row *r = input;
    k->rope(out, r->part, r->y, r->z);
}

static void rows(void) {
    static const size_t widths[] = {1, 3, 15, 16, 17, 64, 100, 255, 768};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const size_t width = widths[i];
        float *x = numbers(2 * width + 2000, current), *y = numbers(width, ORDINARY), *z = numbers(width, current);
        row r = {.count = width, .x = x, .y = y, .z = z, .value = 1e-5f};
        compare("layer_norm", run_layer_norm, &r, x, width + GAP);
        compare("rms_norm", run_rms_norm, &r, x, width + GAP);
        compare("silu_gate", run_silu_gate, &r, z, width);
        compare("gelu", run_gelu, &r, x, width + GAP);
        compare("add", run_add, &r, x, width + GAP);
        compare("multiply", run_multiply, &r, x, width + GAP);
        r.value = number(current);
        compare("divide", run_divide, &r, x, width + GAP);
        for (r.part = 4; r.part <= 128; r.part += 31) {
            const size_t groups = (width + r.part - 1) / r.part;
            compare("quantize", run_quantize, &r, x, 2 * groups + (width + 3) / 4 * 4);
        }
        r.part = width / 2;
        compare("rope", run_rope, &r, x, width + GAP);
        r.count = (width + 63) / 16 * 16; /* blocks of 16, some of whose positions do not count */
        r.part = width;
        r.value = 0.125f;
        compare("softmax", run_softmax, &r, x, r.count + 1);
        for (r.part = 16; r.part <= 512; r.part *= 2) {
            r.count = 2 * r.part;
            compare("hadamard", run_hadamard, &r, x, r.count + GAP);
        }
        free(x);
        free(y);
        free(z);
    }
}

/* ---- Packing ------------------------------------------------------------------------------------------------- */

typedef struct group { size_t columns; const float *feedback; } group;

/* What was packed, then codes and multipliers, a byte a number, and scales. */
static void run_pack_q4(const pk_kernels *k, const void *input, float *out) {
    const group *g = input;
    const size_t bytes = (g->columns + 63) / 64 * 64 + g->columns * 8, values = g->columns * 16;
    uint8_t packed[64 * 4 + 256 * 8];
    uint16_t scales[16];
    k->pack_q4(out, g->columns, g->feedback, packed, scales);
    for (size_t i = 0; i < bytes; i++) out[values + i] = packed[i];
    for (size_t i = 0; i < 16; i++) out[values + bytes + i] = scales[i];
}

/* Plain, and with feedback; weights are finite. */
static void packs(void) {
    static const size_t widths[] = {8, 64, 72, 256};
    if (current >= OVERFLOWING && current != MIXED) return;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const size_t width = widths[i], count = width * 16 + (width + 63) / 64 * 64 + width * 8 + 16;
        float *before = numbers(count, current), *feedback = numbers(width * width, ORDINARY);
        for (size_t n = 0; n < width * width; n++) feedback[n] /= (float)width;
        compare("pack_q4", run_pack_q4, &(group){width, NULL}, before, count);
        compare("pack_q4 with feedback", run_pack_q4, &(group){width, feedback}, before, count);
        free(before);
        free(feedback);
    }
}

/* ---- Attention ----------------------------------------------------------------------------------------------- */

typedef struct attention {
    size_t positions, width, rows, stride;
    const float *queries, *keys, *values;
    float scale;
} attention;

static void run_attention(const pk_kernels *k, const void *input, float *out) {
    const attention *a = input;
    void *head = aligned_alloc(64, (k->head_bytes(a->positions, a->width) + 63) / 64 * 64);
    k->pack_head(a->keys, a->values, a->stride, a->positions, a->width, head);
    k->attend(head, a->positions, a->width, a->queries, a->stride, a->rows, a->scale, out, a->width + GAP);
    free(head);
}

static void attentions(void) {
    static const attention shapes[] = {{.positions = 1, .width = 2, .rows = 1, .scale = 0.5f},
                                       {.positions = 37, .width = 64, .rows = 37, .scale = 0.125f},
                                       {.positions = 64, .width = 20, .rows = 48, .scale = 0.2f},
                                       {.positions = 65, .width = 128, .rows = 49, .scale = 1},
                                       {.positions = 129, .width = 34, .rows = 100, .scale = 0.2f},
                                       {.positions = 333, .width = 96, .rows = 7, .scale = 3},
                                       /* Many weights, most near the largest: where one loses a bit of its last
                                        * place, one row of a thousand shows it. */
                                       {.positions = 1000, .width = 64, .rows = 1000, .scale = 0.02f}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        attention a = shapes[i];
        if (a.rows == 1000 && current != ORDINARY) continue;
        const size_t longest = a.positions > a.rows ? a.positions : a.rows, count = a.rows * (a.width + GAP);
        a.stride = a.width + 5;
        float *q = numbers(longest * a.stride, current), *k = numbers(longest * a.stride, current);
        float *v = numbers(longest * a.stride, current), *before = numbers(count, ORDINARY);
        a.queries = q;
        a.keys = k;
        a.values = v;
        compare("attention", run_attention, &a, before, count);
        /* One key in hundreds that is not finite makes all of it NaN: the same again with finite ones. */
        if (current == SPECIAL || current == ANY_BITS) {
            for (size_t n = 0; n < longest * a.stride; n++) k[n] = number(MIXED), v[n] = number(OVERFLOWING);
            compare("attention, queries", run_attention, &a, before, count);
        }
        free(q);
        free(k);
        free(v);
        free(before);
    }
}

/* ---- What is the same for all tables ------------------------------------------------------------------------- */

/* The KV cache has no table; its bits count for the digest. */
static void append(void) {
    enum { HEAD = 20, POSITIONS = 50, PANEL = 64 * 16 };
    float *keys = numbers(POSITIONS * HEAD, current), *values = numbers(POSITIONS * HEAD, current);
    float key_cache[64 * HEAD] = {0}, value_cache[2 * PANEL] = {0}, key_scales[64] = {0}, value_scales[64] = {0};
    int8_t key_bytes[64 * HEAD] = {0}, value_bytes[2 * PANEL] = {0};
    pk_append_f32(&pk_scalar, keys, HEAD, values, HEAD, POSITIONS, HEAD, 9, key_cache, value_cache, PANEL, NULL, NULL);
    pk_append_i8(&pk_scalar, keys, HEAD, values, HEAD, POSITIONS, HEAD, 9, key_bytes, value_bytes, PANEL, key_scales,
                 value_scales);
    for (size_t i = 0; i < 64 * HEAD; i++) digest_word(to_bits(key_cache[i])), digest_word((uint8_t)key_bytes[i]);
    for (size_t i = 0; i < 2 * PANEL; i++) digest_word(to_bits(value_cache[i])), digest_word((uint8_t)value_bytes[i]);
    for (size_t i = 0; i < 64; i++) digest_word(to_bits(key_scales[i])), digest_word(to_bits(value_scales[i]));
    free(keys);
    free(values);
}

/* A host that flushes denormals to zero. */
static void float_environment(void) {
#if defined(__x86_64__)
    const uint64_t flushing = 0x9fc0, mask = 0xffc0; /* MXCSR, without what has happened so far */
#elif defined(__aarch64__)
    const uint64_t flushing = 1 << 24, mask = ~(uint64_t)0; /* FPCR.FZ */
#endif
    volatile float smallest = 0x1p-126f;
    const uint64_t before = pk_float_default();
    pk_float_restore(flushing);
    const float flushed = smallest * 0.5f;
    const uint64_t saved = pk_float_default() & mask;
    const float kept = smallest * 0.5f;
    pk_float_restore(before);
    if (flushed != 0 || saved != flushing || kept != 0x1p-127f) {
        fprintf(stderr, "pk_float_default: %a, %#llx, %a\n", flushed, (unsigned long long)saved, kept);
        failures++;
    }
}

/* ---- All of it ----------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Made by the Makefile. */
extern const pk_kernels pk_avxvnni_evex, pk_amx_model;
#endif

static void add_table(const char *name, const pk_kernels *kernels) {
    tables[table_count].name = name;
    tables[table_count++].kernels = kernels;
    printf(" %s,", name);
}

int main(void) {
    const pk_kernels *kernels;
    printf("test_kernels:");
    for (size_t i = 0; (kernels = pk_kernels_available(i)); i++)
        if (kernels != &pk_scalar) add_table(kernels->name, kernels);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
        add_table("avxvnni with EVEX", &pk_avxvnni_evex);
        add_table("amx with a model of its tiles", &pk_amx_model);
    }
#endif
    for (current = 0; current < KINDS; current++) {
        noise_state = (uint64_t)current << 32;
        layers();
        rows();
        packs();
        attentions();
        append();
    }
    float_environment();
    printf(" scalar: %zu results compared, %zu wrong; digest %016llx\n", results, failures,
           (unsigned long long)digest);
    return failures > 0;
}
