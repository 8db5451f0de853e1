/* Filling a KV cache. It takes a thousandth of the time of a layer, so one portable form does for all processors. */
#include "CKernels.h"

#include <string.h>

/* Where position `position` of a head lies: element c of its key and of its value, in elements. */
#define PK_KEY(c) (position / 16 * 16 * width + position % 16 + (c) * 16)
#define PK_VALUE(c) ((c) / 16 * value_panel + position * 16 + (c) % 16)

void pk_append_f32(const float *keys, size_t key_stride, const float *values, size_t value_stride, size_t rows,
                   size_t width, size_t position, void *key_cache, void *value_cache, size_t value_panel,
                   float *key_scales, float *value_scales) {
    (void)key_scales;
    (void)value_scales;
    for (size_t r = 0; r < rows; r++, position++) {
        for (size_t c = 0; c < width; c++) {
            ((float *)key_cache)[PK_KEY(c)] = keys[r * key_stride + c];
            ((float *)value_cache)[PK_VALUE(c)] = values[r * value_stride + c];
        }
    }
}

/* The scale of a row, max|x| / 127, and its inverse: 0 for a row without a magnitude of 2^-100. NaN and infinity make
 * the scale NaN. Magnitudes are compared as integers: NaN is above infinity and infinity above all else. */
static float row_scale(const float *x, size_t width, float *inverse) {
    uint32_t largest = 0;
    for (size_t c = 0; c < width; c++) {
        uint32_t bits;
        memcpy(&bits, x + c, 4);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float maximum;
    memcpy(&maximum, &largest, 4);
    *inverse = 0;
    if (largest >= 0x7f800000) return __builtin_nanf("");
    if (maximum < 0x1p-100f) return 0;
    *inverse = 127 / maximum;
    return maximum / 127;
}

/* Adding 1.5 * 2^23 rounds to a whole number, nearest even, and leaves it in the low bits. */
static int8_t rounded(float x, float inverse) {
    const float shifted = (inverse == 0 ? 0 : x * inverse) + 0x1.8p23f;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    return (int8_t)(uint8_t)bits;
}

void pk_append_i8(const float *keys, size_t key_stride, const float *values, size_t value_stride, size_t rows,
                  size_t width, size_t position, void *key_cache, void *value_cache, size_t value_panel,
                  float *key_scales, float *value_scales) {
    for (size_t r = 0; r < rows; r++, position++) {
        const float *key = keys + r * key_stride, *value = values + r * value_stride;
        float key_inverse, value_inverse;
        key_scales[position] = row_scale(key, width, &key_inverse);
        value_scales[position] = row_scale(value, width, &value_inverse);
        for (size_t c = 0; c < width; c++) {
            ((int8_t *)key_cache)[PK_KEY(c)] = rounded(key[c], key_inverse);
            ((int8_t *)value_cache)[PK_VALUE(c)] = rounded(value[c], value_inverse);
        }
    }
}
