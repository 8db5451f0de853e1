/* AMX-INT8 beside AVX-512 VNNI: Sapphire Rapids onwards. */
#include "tables.h"
#include "vectors.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PK_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8,prfchw"
#pragma clang attribute push(__attribute__((target(PK_TARGET))), apply_to = function)

/* Registers as in avx512vnni.c, and products of many rows in tiles: see amx.inc. */
#define PK_TABLE pk_amx
#define PK_NAME "amx"
#define PK_ROWS 6
#define PK_FLOAT_PANELS 4
#define PK_Q8_PANELS 2
#define PK_HEAD_ROWS 4
#define PK_HEAD_PANELS 4
#define PK_GROUP_ROWS 128
#define PK_AMX

#include "avx512.inc"

#include "kernels.inc"

#pragma clang attribute pop

#endif
