/* Plain C, as the compiler vectorizes it for the oldest processor of the architecture. */
#include "tables.h"

static uint64_t read_streams(const void *memory, size_t bytes, size_t streams) {
    const size_t length = bytes / streams;
    uint64_t sums[8] = {0};
    for (size_t at = 0; at < length; at += 64)
        for (size_t stream = 0; stream < streams; stream++) {
            const uint64_t *words = (const uint64_t *)((const char *)memory + stream * length + at);
            __builtin_prefetch((const char *)words + PB_AHEAD);
            for (size_t i = 0; i < 8; i++) sums[i] += words[i];
        }
    uint64_t sum = 0;
    for (size_t i = 0; i < 8; i++) sum += sums[i];
    return sum;
}

/* Hides a value from the optimizer. */
#define PB_HIDE(value) __asm__ volatile("" : "+m"(value))

static uint64_t int8(size_t rounds) {
    int8_t x[64], y[64];
    int32_t sums[16] = {0};
    for (int i = 0; i < 64; i++) x[i] = (int8_t)i, y[i] = (int8_t)(3 * i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x);
        for (int i = 0; i < 16; i++)
            for (int k = 0; k < 4; k++) sums[i] += x[i * 4 + k] * y[i * 4 + k];
    }
    uint64_t sum = 0;
    for (int i = 0; i < 16; i++) sum += (uint32_t)sums[i];
    return sum;
}

static uint64_t f32(size_t rounds) {
    float sums[48], x = 0.9999f, y = 0.001f;
    for (int i = 0; i < 48; i++) sums[i] = (float)i;
    for (size_t round = 0; round < rounds; round++)
        for (int i = 0; i < 48; i++) sums[i] = sums[i] * x + y;
    float sum = 0;
    for (int i = 0; i < 48; i++) sum += sums[i];
    return (uint64_t)sum;
}

const pb_probes pb_scalar = {
    .name = "scalar",
    .read = read_streams,
    .int8 = int8,
    .int8_operations = 64 * 2,
    .f32 = f32,
    .f32_operations = 48 * 2,
};
