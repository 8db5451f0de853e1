#ifndef CT_TABLES_H
#define CT_TABLES_H

#include "CTraining.h"

extern const ct_operations ct_plain;
#if defined(__x86_64__)
extern const ct_operations ct_avx2;
extern const ct_operations ct_avx512;
#endif

#endif /* CT_TABLES_H */
