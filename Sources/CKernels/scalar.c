/* Any little-endian processor, no intrinsics: what the other instruction sets are compared with. */
#include "tables.h"
#include "vectors.h"

#define PK_TABLE pk_scalar
#define PK_NAME "scalar"
#define PK_ROWS 1
#define PK_FLOAT_PANELS 1
#define PK_Q8_PANELS 1
#define PK_HEAD_PANELS 1
#define PK_Q8_OFFSET 0

typedef double v16d __attribute__((ext_vector_type(16)));
typedef int64_t v16l __attribute__((ext_vector_type(16)));

/* a * b + c with one rounding, without hardware for it. In double the product is exact and the sum misses `error`,
 * exactly. An inexact sum goes to whichever neighbour is odd; from there rounding to single gives what rounding once
 * would have given (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008). */
static __attribute__((noinline)) v16f fma16(v16f a, v16f b, v16f c) {
    const v16d product = __builtin_convertvector(a, v16d) * __builtin_convertvector(b, v16d);
    const v16d addend = __builtin_convertvector(c, v16d);
    const v16d sum = product + addend;
    const v16d back = sum - product;
    const v16d error = (product - (sum - back)) + (addend - back);
    const v16l bits = (v16l)sum;
    const v16l inexact = (error < 0.0) | (error > 0.0); /* NaN, after infinity, is neither */
    const v16l even = (bits & 1) - 1;
    const v16l step = ((error < 0.0) ^ (sum < 0.0)) | 1; /* towards the exact sum */
    return __builtin_convertvector((v16d)(bits + (step & even & inexact)), v16f);
}

/* sum[i] + the dot product of weights[i] (four bytes, value + 128) and four activations. */
PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    v16i words;
    memcpy(&words, weights, sizeof words);
    int8_t x[4];
    memcpy(x, &activations, 4);
    for (int j = 0; j < 4; j++) sum += ((words >> 8 * j & 0xff) - 128) * x[j];
    return sum;
}

/* Half precision to single, exactly: the exponent is moved by a multiplication, which gets denormals right too. */
PK_INLINE v16f widen(const uint16_t *halves) {
    v16h h;
    memcpy(&h, halves, sizeof h);
    const v16i bits = __builtin_convertvector(h, v16i);
    const v16i magnitude = (v16i)((v16f)((bits & 0x7fff) << 13) * 0x1p112f);
    const v16i special = (v16i)((bits & 0x7c00) == 0x7c00) & 0x7f800000;
    return (v16f)(magnitude | special | (bits & 0x8000) << 16);
}

/* Small and not fast: unrolled, emulated vectors would be a twentieth of the library. */
#undef PK_UNROLL
#undef PK_FOUR_STEPS
#define PK_UNROLL
#define PK_FOUR_STEPS
#pragma clang attribute push(__attribute__((minsize)), apply_to = function)

#include "kernels.inc"

#pragma clang attribute pop
