/* Filling a KV cache. It takes a thousandth of the time of a layer, so one portable form does for all processors. */
#include "CKernels.h"

/* Where position `position` of a head lies: element c of its key and of its value, in elements. */
#define PK_KEY(c) (position / 16 * 16 * width + position % 16 + (c) * 16)
#define PK_VALUE(c) ((c) / 16 * value_panel + position * 16 + (c) % 16)

void pk_append_f32(const pk_kernels *kernels, const float *keys, size_t key_stride, const float *values,
                   size_t value_stride, size_t rows, size_t width, size_t position, void *key_cache, void *value_cache,
                   size_t value_panel, float *key_scales, float *value_scales) {
    (void)kernels;
    (void)key_scales;
    (void)value_scales;
    for (size_t r = 0; r < rows; r++, position++) {
        for (size_t c = 0; c < width; c++) {
            ((float *)key_cache)[PK_KEY(c)] = keys[r * key_stride + c];
            ((float *)value_cache)[PK_VALUE(c)] = values[r * value_stride + c];
        }
    }
}

void pk_append_i8(const pk_kernels *kernels, const float *keys, size_t key_stride, const float *values,
                  size_t value_stride, size_t rows, size_t width, size_t position, void *key_cache, void *value_cache,
                  size_t value_panel, float *key_scales, float *value_scales) {
    int8_t key[PK_CACHE_WIDTH], value[PK_CACHE_WIDTH];
    int32_t offset;
    for (size_t r = 0; r < rows; r++, position++) {
        kernels->quantize(keys + r * key_stride, width, width, key, key_scales + position, &offset);
        kernels->quantize(values + r * value_stride, width, width, value, value_scales + position, &offset);
        for (size_t c = 0; c < width; c++) {
            ((int8_t *)key_cache)[PK_KEY(c)] = key[c];
            ((int8_t *)value_cache)[PK_VALUE(c)] = value[c];
        }
    }
}
