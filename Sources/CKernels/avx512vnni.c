/* AVX-512 with VNNI: Cascade Lake, Ice Lake and Zen 4 onwards. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PK_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw"
#pragma clang attribute push(__attribute__((target(PK_TARGET))), apply_to = function)

/* Registers, 32 in all. Float: 6 x 4 sums and 4 weights. Int8: 6 x 2 sums, 6 x 2 totals over groups and 2 weights.
 *
 * With groups of 128 a total costs a product and a sum beside 32 VPDPBUSD on the same units, so 94 % of the peak is the
 * most there is; 82-90 % is reached (Zen 4). Sums of 6 x 4 with the totals in memory, prefetching two panels and
 * unrolling by 8 were measured and gave nothing. Asking early for the lines that are
 * written did: 5 % at 768 columns. Attention has no totals in registers, but weights to make between the products:
 * 4 x 4. */
#define PK_TABLE pk_avx512vnni
#define PK_NAME "avx512vnni"
#define PK_ROWS 6
#define PK_FLOAT_PANELS 4
#define PK_Q8_PANELS 2
#define PK_HEAD_ROWS 4
#define PK_HEAD_PANELS 4

#include "avx512.inc"

#include "kernels.inc"

#pragma clang attribute pop

#endif
