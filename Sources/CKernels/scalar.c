/* Any processor, no intrinsics: what the other instruction sets are compared with. */
#include "tables.h"
#include "vectors.h"

#define PK_TABLE pk_scalar
#define PK_NAME "scalar"
#define PK_ROWS 1
#define PK_FLOAT_PANELS 1
#define PK_Q8_PANELS 1
#define PK_Q8_OFFSET 0

/* sum[i] + the dot product of weights[i] (four bytes, value + 128) and four activations. */
PK_INLINE v16i dot4(v16i sum, const uint8_t *weights, int32_t activations) {
    int8_t x[4];
    memcpy(x, &activations, 4);
    for (int i = 0; i < 16; i++) {
        int32_t dot = 0;
        for (int j = 0; j < 4; j++) dot += ((int32_t)weights[4 * i + j] - 128) * x[j];
        sum[i] += dot;
    }
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

#include "kernels.inc"
