/* 256 bits: AVX2 with FMA, and the same with VPDPBUSD (AVX-VNNI). */
#include "tables.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PB_AVX2 __attribute__((target("avx2,fma")))
#define PB_AVXVNNI __attribute__((target("avx2,fma,avxvnni")))

/* Keeps a constant in its register, so that no round is computed once for all. */
#define PB_HIDE(x, y) __asm__ volatile("" : "+x"(x), "+x"(y))

PB_AVX2 static uint64_t sum_of(const __m256i *values, size_t count) {
    __m256i sum = values[0];
    for (size_t i = 1; i < count; i++) sum = _mm256_add_epi64(sum, values[i]);
    return (uint64_t)_mm256_extract_epi64(sum, 0) + (uint64_t)_mm256_extract_epi64(sum, 1) +
           (uint64_t)_mm256_extract_epi64(sum, 2) + (uint64_t)_mm256_extract_epi64(sum, 3);
}

PB_AVX2 static uint64_t read_streams(const void *memory, size_t bytes, size_t streams) {
    const size_t length = bytes / streams;
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t at = 0; at < length; at += 256)
        for (size_t stream = 0; stream < streams; stream++) {
            const char *bytes_here = (const char *)memory + stream * length + at;
            for (int line = 0; line < 4; line++) {
                const __m256i *half = (const __m256i *)(bytes_here + line * 64);
                pb_ask_ahead((const char *)half);
                sums[line] = _mm256_add_epi64(sums[line], _mm256_load_si256(half));
                sums[line] = _mm256_add_epi64(sums[line], _mm256_load_si256(half + 1));
            }
        }
    return sum_of(sums, 4);
}

/* Without VPDPBUSD four products take three instructions: two pairs to 16 bits, the pairs to 32, the sum. */
PB_AVX2 static uint64_t int8_avx2(size_t rounds) {
    __m256i sums[10], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
    const __m256i ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 10; i++) sums[i] = _mm256_set1_epi32(i);
    for (size_t round = 0; round < rounds; round++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 10; i++) {
            PB_HIDE(x, y);
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
        }
    }
    return sum_of(sums, 10);
}

PB_AVXVNNI static uint64_t int8_avxvnni(size_t rounds) {
    __m256i sums[12], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
    for (int i = 0; i < 12; i++) sums[i] = _mm256_set1_epi32(i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm256_dpbusd_avx_epi32(sums[i], x, y);
    }
    return sum_of(sums, 12);
}

PB_AVX2 static uint64_t f32(size_t rounds) {
    __m256 sums[12], x = _mm256_set1_ps(0.9999f), y = _mm256_set1_ps(0.001f);
    for (int i = 0; i < 12; i++) sums[i] = _mm256_set1_ps((float)i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm256_fmadd_ps(sums[i], x, y);
    }
    __m256i bits[12];
    for (int i = 0; i < 12; i++) bits[i] = _mm256_castps_si256(sums[i]);
    return sum_of(bits, 12);
}

const pb_probes pb_avx2 = {
    .name = "avx2",
    .read = read_streams,
    .int8 = int8_avx2,
    .int8_operations = 10 * 32 * 2,
    .f32 = f32,
    .f32_operations = 12 * 8 * 2,
};

const pb_probes pb_avxvnni = {
    .name = "avxvnni",
    .read = read_streams,
    .int8 = int8_avxvnni,
    .int8_operations = 12 * 32 * 2,
    .f32 = f32,
    .f32_operations = 12 * 8 * 2,
};

#endif
