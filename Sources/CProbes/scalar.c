/* What the oldest processor of the architecture has: 128 bits. */
#include "tables.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static uint64_t read_streams(const void *memory, size_t bytes, size_t streams) {
    const size_t length = bytes / streams;
    uint64_t sums[8] = {0};
    for (size_t at = 0; at < length; at += 64)
        for (size_t stream = 0; stream < streams; stream++) {
            const uint64_t *words = (const uint64_t *)((const char *)memory + stream * length + at);
            pb_ask_ahead((const char *)words);
            for (size_t i = 0; i < 8; i++) sums[i] += words[i];
        }
    uint64_t sum = 0;
    for (size_t i = 0; i < 8; i++) sum += sums[i];
    return sum;
}

typedef float v4f __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16)));

/* Keeps a constant in its register, so that no round is computed once for all. */
#if defined(__x86_64__)
#define PB_HIDE(x, y) __asm__ volatile("" : "+x"(x), "+x"(y))
#elif defined(__aarch64__)
#define PB_HIDE(x, y) __asm__ volatile("" : "+w"(x), "+w"(y))
#else
#define PB_HIDE(x, y) __asm__ volatile("" : "+m"(x), "+m"(y))
#endif

/* Products are of numbers that were widened before: in pairs where every processor has that, one by one elsewhere. */
#if defined(__SSE2__)
#define PB_INT8_OPERATIONS (12 * 8 * 2)
static inline v4u multiply(v4u x, v4u y) { return (v4u)_mm_madd_epi16((__m128i)x, (__m128i)y); }
#else
#define PB_INT8_OPERATIONS (12 * 4 * 2)
static inline v4u multiply(v4u x, v4u y) { return x * y; }
#endif

static uint64_t int8(size_t rounds) {
    v4u sums[12], x = {3, 5, 7, 9}, y = {2, 4, 6, 8};
    for (int i = 0; i < 12; i++) sums[i] = (v4u){0};
    for (size_t round = 0; round < rounds; round++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) {
            PB_HIDE(x, y);
            sums[i] += multiply(x, y);
        }
    }
    for (int i = 1; i < 12; i++) sums[0] += sums[i];
    return sums[0][0] ^ sums[0][1] ^ sums[0][2] ^ sums[0][3];
}

static uint64_t f32(size_t rounds) {
    v4f sums[12], x = {0.9999f, 0.9999f, 0.9999f, 0.9999f}, y = {0.001f, 0.001f, 0.001f, 0.001f};
    for (int i = 0; i < 12; i++) sums[i] = (v4f){(float)i, (float)i, (float)i, (float)i};
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = sums[i] * x + y;
    }
    for (int i = 1; i < 12; i++) sums[0] += sums[i];
    return (uint64_t)(sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3]);
}

const pb_probes pb_scalar = {
    .name = "scalar",
    .read = read_streams,
    .int8 = int8,
    .int8_operations = PB_INT8_OPERATIONS,
    .f32 = f32,
    .f32_operations = 12 * 4 * 2,
};
