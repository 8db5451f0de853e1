#include "tables.h"

#if defined(__x86_64__)

#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define CT_TABLE ct_avx2
#include "operations.inc"

#pragma clang attribute pop

#endif
