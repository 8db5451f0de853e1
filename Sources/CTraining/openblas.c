#define _GNU_SOURCE /* setenv */

#include "tables.h"

/* Which kernels OpenBLAS uses. It goes by the name of the processor, and one that it does not know gets SSE3: with
 * version 0.3.21 on an Emerald Rapids a step of training takes 7.0 s in place of 1.3. It has a variable for that,
 * OPENBLAS_CORETYPE, but reads it when it is loaded, before anything else of this program; so it is made to choose
 * again. The two functions are OpenBLAS's own and in no header; where kernels are chosen when it is built it has none. */
#if defined(__x86_64__)

#include <stdlib.h>

extern void gotoblas_dynamic_quit(void) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));

void ct_choose_openblas_kernels(void) {
    const ct_operations *best = ct_operations_best();
    const char *core = best == &ct_avx512 ? "SkylakeX" : best == &ct_avx2 ? "Haswell" : NULL;
    if (!core || !gotoblas_dynamic_quit || !gotoblas_dynamic_init) return;
    setenv("OPENBLAS_CORETYPE", core, 0);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
}

#else

void ct_choose_openblas_kernels(void) {}

#endif
