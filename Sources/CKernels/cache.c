/* Filling a KV cache. It takes a thousandth of the time of a layer, so one portable form does for all processors. */
#include "CKernels.h"

#include <string.h>

/* To half precision, rounded to nearest even. Adding a number whose last place is that of the result rounds (small
 * magnitudes, the denormals of f16, among them); NaN stays NaN. */
static uint16_t half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x477fe000) return (uint16_t)(sign | 0x7bff); /* 65504 */
    if (bits < 0x38800000) {                                  /* 2^-14 */
        float magnitude;
        memcpy(&magnitude, &bits, 4);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, 4);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    const uint32_t rounded = bits - 0x38000000 + 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | rounded >> 13);
}

#define PK_APPEND(name, type, narrow)                                                                              \
    void name(const float *keys, size_t key_stride, const float *values, size_t value_stride, size_t rows,        \
              size_t width, size_t position, void *key_cache, void *value_cache, size_t value_panel) {            \
        for (size_t r = 0; r < rows; r++, position++) {                                                            \
            type *key = (type *)key_cache + position / 16 * 16 * width + position % 16;                            \
            type *value = (type *)value_cache + position * 16;                                                     \
            const float *from_key = keys + r * key_stride, *from_value = values + r * value_stride;                \
            for (size_t c = 0; c < width; c++) key[c * 16] = narrow(from_key[c]);                                  \
            for (size_t c = 0; c < width; c++)                                                                     \
                value[c / 16 * (value_panel / sizeof(type)) + c % 16] = narrow(from_value[c]);                     \
        }                                                                                                          \
    }

PK_APPEND(pk_append_f32, float, )
PK_APPEND(pk_append_f16, uint16_t, half)
