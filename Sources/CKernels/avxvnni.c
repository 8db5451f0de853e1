/* AVX2 with VNNI in 256 bits (VPDPBUSD with a VEX prefix): Alder Lake and Sierra Forest onwards, Zen 5.
 *
 * Where there is AVX-512 VNNI and no AVX-VNNI the tests run this file with the other encoding of that one instruction;
 * see `make test-kernels`. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni,prfchw"))), apply_to = function)

/* Registers, 16 in all. Int8 and attention: 6 x 2 sums, 2 weights and an activation; 12 sums are as many as two units
 * of latency 5 keep in flight. Totals over groups are in memory. With EVEX on Zen 4 int8 layers reach
 * 83 % of the peak; attention reached 58 % before weights had 16 bits, with which it takes 0.91 of the time. */
#define PK_TABLE pk_avxvnni
#define PK_NAME "avxvnni"
#define PK_ROWS 6
#define PK_FLOAT_PANELS 1
#define PK_Q8_PANELS 1
#define PK_HEAD_PANELS 1
#define PK_Q8_OFFSET 1 /* sums start from offsets, because dot4 takes the weights as value + 128 */

typedef int32_t v8i __attribute__((ext_vector_type(8)));

PK_INLINE v8i dot4_half(v8i sum, const uint8_t *weights, __m256i x) {
    return (v8i)_mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_loadu_si256((const __m256i *)weights), x);
}

PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    const __m256i x = _mm256_set1_epi32(activations);
    sum.lo = dot4_half(sum.lo, weights, x);
    sum.hi = dot4_half(sum.hi, weights + 32, x);
    return sum;
}

#include "avx2_common.inc"

#include "kernels.inc"

#pragma clang attribute pop

#endif
