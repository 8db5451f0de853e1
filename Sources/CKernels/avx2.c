/* AVX2 with FMA and F16C: x86-64-v3, Haswell and Zen onwards. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

/* Registers, 16 in all: sums of 1 x 4 panels take 8. They want four bytes of weights for each four of the others, and so
 * a group of them in the first-level cache: layers of many rows go group by group, and their products in an order that
 * saves instructions (`ordered.inc`).
 *
 * The peak is that of two multiplications and an addition for 32 products. Layers of many rows reach 93 % of it (Zen 3,
 * weights in the second-level cache), 81 % with `dot4_split` for all products, which alone reach 88 %. All groups of a
 * tile in turn made it 68 % (Zen 4). 16-bit products of weights made 16 bits wide, without signs to turn, would end at
 * 71 %. Before weights had 16 bits, with which it takes 0.95 of the time, attention reached 65 %; 2 x 2 panels made it
 * 60 %, weights between the products of 1 x 4 made it 57 %. */
#define PK_ROWS 4
#define PK_FLOAT_PANELS 1
#define PK_Q8_ROWS 1
#define PK_Q8_PANELS 4
#define PK_HEAD_ROWS 1
#define PK_HEAD_PANELS 4
#define PK_Q8_OFFSET 0

typedef int32_t v8i __attribute__((ext_vector_type(8)));

/* ---- Products with signed bytes on both sides --------------------------------------------------------------
 *
 * VPMADDUBSW takes one side unsigned. With VPABSB and VPSIGNB for each 32 products layers reached 57 % of the peak: VPSIGNB
 * takes a third multiplier slot. So x is split into |x| and its sign, once for a row, which leaves an exclusive or
 * between a weight and the products. That gives w for x >= 0 and ~w = -w - 1 for x < 0, and what is missing is the sum
 * of these |x|. 128 * 128 * 2 fits 16 bits, being negative. */

/* Splits 32 bytes and returns what is missing in the products, in four parts. The signs turn weights, which are stored as
 * value + 128, too. */
PK_INLINE __m256i split_bytes(__m256i bytes, __m256i *magnitudes, __m256i *signs) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i negative = _mm256_cmpgt_epi8(zero, bytes);
    *magnitudes = _mm256_abs_epi8(bytes);
    *signs = _mm256_xor_si256(negative, _mm256_set1_epi8((char)0x80));
    return _mm256_sad_epu8(_mm256_and_si256(*magnitudes, negative), zero);
}

/* Splits `count` bytes and returns what is missing in the products, in all lanes. `magnitudes` may be x. */
PK_INLINE v8i split_row(const int8_t *x, size_t count, int8_t *magnitudes, int8_t *signs) {
    __m256i missing = _mm256_setzero_si256(), magnitude, sign;
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(x + i));
        missing = _mm256_add_epi64(missing, split_bytes(bytes, &magnitude, &sign));
        _mm256_storeu_si256((__m256i *)(magnitudes + i), magnitude);
        _mm256_storeu_si256((__m256i *)(signs + i), sign);
    }
    if (i < count) {
        __m256i bytes = _mm256_setzero_si256();
        memcpy(&bytes, x + i, count - i);
        missing = _mm256_add_epi64(missing, split_bytes(bytes, &magnitude, &sign));
        memcpy(magnitudes + i, &magnitude, count - i);
        memcpy(signs + i, &sign, count - i);
    }
    missing = _mm256_add_epi64(missing, _mm256_permute4x64_epi64(missing, 0x4e));
    missing = _mm256_add_epi64(missing, _mm256_shuffle_epi32(missing, 0x4e));
    return (v8i)_mm256_shuffle_epi32(missing, 0xa0);
}

PK_INLINE v8i dot4_half(v8i sum, const uint8_t *weights, __m256i magnitudes, __m256i signs) {
    const __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), signs);
    return sum + (v8i)_mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, w), _mm256_set1_epi16(1));
}

PK_INLINE v16i dot4_split(v16i sum, const uint8_t *weights, __m256i magnitudes, __m256i signs) {
    sum.lo = dot4_half(sum.lo, weights, magnitudes, signs);
    sum.hi = dot4_half(sum.hi, weights + 32, magnitudes, signs);
    return sum;
}

PK_INLINE __m256i four_bytes(const int8_t *p) {
    int32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

/* As in linear.inc. Unrolled, the loop needs more registers than there are. */
#define PK_PRODUCTS
enum { PK_SPLIT = 128 }; /* columns at a time: the usual group */

PK_INLINE void add_split_products(v16i *sum, const uint8_t *w, size_t panel_bytes, const int8_t *q, size_t stride,
                                  size_t count, const int rows, const int panels) {
    _Alignas(32) int8_t magnitudes[PK_ROWS][PK_SPLIT], signs[PK_ROWS][PK_SPLIT];
    PK_UNROLL for (int r = 0; r < rows; r++) {
        const v8i missing = split_row(q + r * stride, count, magnitudes[r], signs[r]);
        PK_UNROLL for (int p = 0; p < panels; p++) {
            sum[r * panels + p].lo += missing;
            sum[r * panels + p].hi += missing;
        }
    }
    for (size_t k = 0; k < count; k += 4) {
        /* Before lines went through the second-level cache one row got 34 of 37 GB/s in this way, and 30 with the
         * distance that four like best (Zen 3). */
        if (panels == 1) ask_ahead(w + k * 16, (PK_PREFETCH / PK_ROWS) * (size_t)rows);
        PK_UNROLL for (int r = 0; r < rows; r++) {
            const __m256i x = four_bytes(magnitudes[r] + k), s = four_bytes(signs[r] + k);
            PK_UNROLL for (int p = 0; p < panels; p++)
                sum[r * panels + p] = dot4_split(sum[r * panels + p], w + p * panel_bytes + k * 16, x, s);
        }
    }
}

PK_INLINE void add_products(v16i *sum, const uint8_t *w, size_t panel_bytes, const int8_t *q, size_t stride,
                            size_t columns, const int rows, const int panels) {
    for (; columns >= PK_SPLIT; columns -= PK_SPLIT, w += PK_SPLIT * 16, q += PK_SPLIT)
        add_split_products(sum, w, panel_bytes, q, stride, PK_SPLIT, rows, panels);
    if (columns > 0) add_split_products(sum, w, panel_bytes, q, stride, columns, rows, panels);
}

/* As in attention.inc. */
#define PK_OPERANDS
enum { PK_PLANES = 2 };

PK_INLINE v16i multiply_add(v16i sum, const uint8_t *weights, const int8_t *x, size_t plane) {
    return dot4_split(sum, weights, four_bytes(x), four_bytes(x + plane));
}

PK_INLINE int32_t make_operands(int8_t *x, size_t count, size_t plane, int32_t offset) {
    (void)offset;
    return split_row(x, count, x, x + plane)[0];
}

#include "avx2_common.inc"

/* As in q4.inc. */
#define PK_Q4
#define PK_Q4_ROWS 4
#define PK_BLOCK_DOT

PK_INLINE __m256i look_up_half(const uint8_t *table, __m256i indices) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), indices);
}

PK_INLINE v64u level_bytes(const uint8_t *table, v64u indices) {
    v64u values;
    values.lo = (v32u)look_up_half(table, (__m256i)indices.lo);
    values.hi = (v32u)look_up_half(table, (__m256i)indices.hi);
    return values;
}

PK_INLINE v16i multipliers(v16i words) {
    const __m256i magnitudes = _mm256_setr_epi32(5, 6, 7, 8, 9, 10, 11, 12);
    const v16i sign = words << 28 | 1;
    v16i result; /* by the lowest three bits, and the fourth for the sign */
    result.lo = (v8i)_mm256_permutevar8x32_epi32(magnitudes, (__m256i)words.lo);
    result.hi = (v8i)_mm256_permutevar8x32_epi32(magnitudes, (__m256i)words.hi);
    result.lo = (v8i)_mm256_sign_epi32((__m256i)result.lo, (__m256i)sign.lo);
    result.hi = (v8i)_mm256_sign_epi32((__m256i)result.hi, (__m256i)sign.hi);
    return result & 0xffff;
}

PK_INLINE v16i add_multiple(v16i sum, v16i products, v16i multiplier) {
    sum.lo += (v8i)_mm256_madd_epi16((__m256i)products.lo, (__m256i)multiplier.lo);
    sum.hi += (v8i)_mm256_madd_epi16((__m256i)products.hi, (__m256i)multiplier.hi);
    return sum;
}

/* Levels + 9: not negative and so small that four products of 19 * 127 fit 16 bits. */
PK_INLINE v8i block_dot_half(__m256i codes, __m256i x0, __m256i x1, int32_t start) {
    static const uint8_t levels[16] = {0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19};
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i first = look_up_half(levels, _mm256_and_si256(codes, nibble));
    const __m256i second = look_up_half(levels, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble));
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(first, x0), _mm256_maddubs_epi16(second, x1));
    return (v8i)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)) + start;
}

PK_INLINE v16i block_dot(v64u codes, const int8_t *q, int32_t offset) {
    int32_t x[2];
    memcpy(x, q, sizeof x);
    const __m256i x0 = _mm256_set1_epi32(x[0]), x1 = _mm256_set1_epi32(x[1]);
    const int32_t start = offset / 128 * 9;
    v16i products;
    products.lo = block_dot_half((__m256i)codes.lo, x0, x1, start);
    products.hi = block_dot_half((__m256i)codes.hi, x0, x1, start);
    return products;
}

#include "kernels.inc"

#include "ordered.inc"

#pragma clang attribute pop

#endif
