#include "tables.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)

#define CT_MASKED
#define CT_TABLE ct_avx512
#include "operations.inc"

#pragma clang attribute pop

#endif
