#define _GNU_SOURCE /* sched_getaffinity */

#include "tables.h"

#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <stdatomic.h>
#include <sys/syscall.h>
#include <xmmintrin.h>
#endif

size_t pk_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return (size_t)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than the set can hold */
    return online > 0 ? (size_t)online : 1;
}

#if defined(__x86_64__)

/* A process asks for AMX's tiles, 8 KB that the system then saves for every thread that uses them. It is told no where
 * signal stacks of this process are too small for them; afterwards a signal stack (sigaltstack) that is too small is
 * refused: sysconf(_SC_SIGSTKSZ) knows what it takes. The first answer stands, so that what is available stays so;
 * threads that ask first at the same time may each ask the system. */
static int may_use_tiles(void) {
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    static atomic_int answer; /* 0: not asked yet */
    int none = 0;
    if (atomic_load(&answer) == 0) {
        const int now = syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0 ? 1 : -1;
        atomic_compare_exchange_strong(&answer, &none, now);
    }
    return atomic_load(&answer) > 0;
}

/* __builtin_cpu_supports asks the processor and whether the system saves the wide registers. */
const pk_kernels *pk_kernels_available(size_t index) {
    const pk_kernels *available[5];
    size_t count = 0;
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const int avx512vnni = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512vnni");
    if (avx512vnni && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") && may_use_tiles())
        available[count++] = &pk_amx;
    if (avx512vnni) available[count++] = &pk_avx512vnni;
    if (avx2 && __builtin_cpu_supports("avxvnni")) available[count++] = &pk_avxvnni;
    if (avx2) available[count++] = &pk_avx2;
    available[count++] = &pk_scalar;
    return index < count ? available[index] : NULL;
}

uint64_t pk_float_default(void) {
    const uint64_t saved = _mm_getcsr();
    _mm_setcsr(0x1f80); /* all exceptions masked, everything else 0 */
    return saved;
}

void pk_float_restore(uint64_t saved) { _mm_setcsr((unsigned)saved); }

#elif defined(__aarch64__)

#include <sys/auxv.h>

const pk_kernels *pk_kernels_available(size_t index) {
    const pk_kernels *available[2];
    size_t count = 0;
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) available[count++] = &pk_neon;
    available[count++] = &pk_scalar;
    return index < count ? available[index] : NULL;
}

uint64_t pk_float_default(void) {
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return saved;
}

void pk_float_restore(uint64_t saved) { __asm__ volatile("msr fpcr, %0" : : "r"(saved)); }

#else

const pk_kernels *pk_kernels_available(size_t index) { return index == 0 ? &pk_scalar : NULL; }

uint64_t pk_float_default(void) { return 0; }
void pk_float_restore(uint64_t saved) { (void)saved; }

#endif
