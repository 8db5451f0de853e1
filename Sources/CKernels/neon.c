/* NEON with the dot product (Armv8.2-A and FEAT_DotProd): Cortex-A75, Neoverse N1 and Apple M1 onwards. Results are
 * tested under emulation, `make test-aarch64`; its speed has not been measured. */
#include "tables.h"
#include "vectors.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

/* Registers, 32 in all. Int8 and attention: 6 x 4 sums, 4 weights and an activation. Totals over groups are in
 * memory. Floats the same. */
#define PK_TABLE pk_neon
#define PK_NAME "neon"
#define PK_ROWS 6
#define PK_FLOAT_PANELS 1
#define PK_Q8_PANELS 1
#define PK_HEAD_PANELS 1
#define PK_Q8_OFFSET 0

#define PK_QUARTERS _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++)

PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(activations));
    int32x4_t parts[4];
    memcpy(parts, &sum, sizeof parts);
    PK_QUARTERS {
        const uint8x16_t w = veorq_u8(vld1q_u8(weights + 16 * i), vdupq_n_u8(0x80)); /* signed */
        parts[i] = vdotq_s32(parts[i], vreinterpretq_s8_u8(w), x);
    }
    memcpy(&sum, parts, sizeof sum);
    return sum;
}

PK_INLINE v16f fma16(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }

PK_INLINE v16f widen(const uint16_t *halves) {
    float32x4_t parts[4];
    PK_QUARTERS parts[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + 4 * i)));
    v16f floats;
    memcpy(&floats, parts, sizeof floats);
    return floats;
}

#include "kernels.inc"

#pragma clang attribute pop

#endif
