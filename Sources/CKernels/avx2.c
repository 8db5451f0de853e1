/* AVX2 with FMA and F16C: x86-64-v3, Haswell and Zen onwards. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#define PK_TABLE pk_avx2
#define PK_NAME "avx2"
#define PK_ROWS 4
#define PK_FLOAT_PANELS 1
#define PK_Q8_PANELS 1
#define PK_HEAD_PANELS 1
#define PK_Q8_OFFSET 0

typedef int32_t v8i __attribute__((ext_vector_type(8)));

/* |w| times x with the sign of w: two products of at most 128 * 127 fit 16 bits, so nothing saturates. */
PK_INLINE v8i dot4_half(v8i sum, const uint8_t *weights, __m256i x) {
    const __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), _mm256_set1_epi8((char)0x80));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return sum + (v8i)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    const __m256i x = _mm256_set1_epi32(activations);
    sum.lo = dot4_half(sum.lo, weights, x);
    sum.hi = dot4_half(sum.hi, weights + 32, x);
    return sum;
}

PK_INLINE v16f fma16(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }

PK_INLINE v16f widen(const uint16_t *halves) {
    v16f floats;
    floats.lo = (v8f)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves));
    floats.hi = (v8f)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(halves + 8)));
    return floats;
}

#include "kernels.inc"

#pragma clang attribute pop

#endif
