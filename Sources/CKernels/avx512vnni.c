/* AVX-512 with VNNI: Cascade Lake, Ice Lake and Zen 4 onwards; with the tiles of AMX-INT8: Sapphire Rapids onwards. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PK_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw"
#pragma clang attribute push(__attribute__((target(PK_TARGET))), apply_to = function)

/* Registers, 32 in all. Float: 6 x 4 sums and 4 weights. Int8: 8 x 2 sums, 2 weights for each step; totals over groups
 * are in memory. Two units of latency 5 want 10 sums at any time, and with no more than 12 (6 x 2, totals in registers)
 * a sum that once comes late stays late: 8 x 2 take 0.94 to 0.98 of the time (Emerald Rapids; 82 -> 87 % of the peak with
 * weights in the first-level cache). 7 x 2 gain half of that, 12 x 2, 6 x 4 and 5 x 4 nothing.
 *
 * With groups of 128 a total costs a conversion, a product and a sum beside 32 VPDPBUSD. Where all of them go to the same
 * two units (Emerald Rapids) 91 % of the peak is the most there is, where the conversion does not (Zen 4) 94 %. A scale of
 * the activations for each rotated block, and not each group, would lose no more (`study_group_size.py`) and spare most of
 * the products, but layers without any of these still take 0.985 of the time. Asking early for the lines that are written
 * gained 5 % at 768 columns. Attention has weights to make between the products: 4 x 4. */
#define PK_TABLE pk_avx512vnni
#define PK_NAME "avx512vnni"
#define PK_ROWS 6
#define PK_FLOAT_PANELS 4
#define PK_Q8_ROWS 8
#define PK_Q8_PANELS 2
#define PK_HEAD_ROWS 4
#define PK_HEAD_PANELS 4
#define PK_Q8_OFFSET 1 /* sums start from offsets, because dot4 takes the weights as value + 128 */

PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    return (v16i)_mm512_dpbusd_epi32((__m512i)sum, _mm512_loadu_si512(weights), _mm512_set1_epi32(activations));
}

PK_INLINE v16f fma16(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }

PK_INLINE v16f widen(const uint16_t *halves) {
    return (v16f)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
}

/* As in attention_weights.inc: 4 of the first 16, 4 of the others, and so on. */
#define PK_WEIGHTS

PK_INLINE v32s whole(v16f a, v16f b) {
    return (v32s)_mm512_packs_epi32(_mm512_cvtps_epi32((__m512)a), _mm512_cvtps_epi32((__m512)b));
}

PK_INLINE v32s times(v32s x, v32s y) { return (v32s)_mm512_mulhrs_epi16((__m512i)x, (__m512i)y); }

PK_INLINE v32h shift_down(v32h x, v32h count) {
    return (v32h)_mm512_avg_epu16(_mm512_srlv_epi16((__m512i)x, (__m512i)count), _mm512_setzero_si512());
}

PK_INLINE v64c join(v32h a, v32h b) {
    const v64c bytes = (v64c)_mm512_packus_epi16((__m512i)a, (__m512i)b) - 127;
    const v16i order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return (v64c)_mm512_permutexvar_epi32((__m512i)order, (__m512i)bytes);
}

/* As in q4.inc. */
#define PK_Q4
#define PK_Q4_ROWS 8

PK_INLINE v64u level_bytes(const uint8_t *table, v64u indices) {
    const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return (v64u)_mm512_shuffle_epi8(all, (__m512i)indices);
}

PK_INLINE v16i multipliers(v16i words) {
    const v16i all = {5, 6, 7, 8, 9, 10, 11, 12, -5, -6, -7, -8, -9, -10, -11, -12};
    /* by the lowest four bits */
    return (v16i)_mm512_permutexvar_epi32((__m512i)words, (__m512i)(all & 0xffff));
}

/* One instruction, where VPMULLD alone is two. */
PK_INLINE v16i add_multiple(v16i sum, v16i products, v16i multiplier) {
    return (v16i)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)products, (__m512i)multiplier);
}

#include "kernels.inc"

#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target(PK_TARGET ",amx-tile,amx-int8"))), apply_to = function)

#include "amx.inc"

#pragma clang attribute pop

#endif
