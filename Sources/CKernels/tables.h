#ifndef PK_TABLES_H
#define PK_TABLES_H

#include "CKernels.h"

extern const pk_kernels pk_scalar;
#if defined(__x86_64__)
extern const pk_kernels pk_avx2;
extern const pk_kernels pk_avxvnni;
extern const pk_kernels pk_avx512vnni;
extern const pk_kernels pk_amx;
#elif defined(__aarch64__)
extern const pk_kernels pk_neon;
#endif

#endif /* PK_TABLES_H */
