#ifndef PB_TABLES_H
#define PB_TABLES_H

#include "CProbes.h"

extern const pb_probes pb_scalar;
#if defined(__x86_64__)
extern const pb_probes pb_avx2;
extern const pb_probes pb_avxvnni;
extern const pb_probes pb_avx512vnni;
/* The same with bf16 dot products: an extension of its own. */
extern const pb_probes pb_avx512vnni_bf16;
extern const pb_probes pb_amx;
#endif

/* How far ahead of a stream its prefetch runs. */
#define PB_AHEAD 512

#endif /* PB_TABLES_H */
