#define _GNU_SOURCE /* madvise, syscall */

#include "tables.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *pb_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes); /* untouched pages all share one, which fits the cache */
    return memory;
}

void pb_memory_free(void *memory, size_t bytes) { munmap(memory, bytes); }

#if defined(__x86_64__)

/* As pk_kernels_available asks for them. */
static int may_use_tiles(void) {
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}

const pb_probes *pb_probes_available(size_t index) {
    const pb_probes *available[5];
    size_t count = 0;
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int bf16 = __builtin_cpu_supports("avx512bf16");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        if (bf16 && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") && may_use_tiles())
            available[count++] = &pb_amx;
        available[count++] = bf16 ? &pb_avx512vnni_bf16 : &pb_avx512vnni;
    }
    if (avx2 && __builtin_cpu_supports("avxvnni")) available[count++] = &pb_avxvnni;
    if (avx2) available[count++] = &pb_avx2;
    available[count++] = &pb_scalar;
    return index < count ? available[index] : NULL;
}

#else

const pb_probes *pb_probes_available(size_t index) { return index == 0 ? &pb_scalar : NULL; }

#endif
