#define _GNU_SOURCE /* madvise */

#include "tables.h"

#include <CKernels.h>

#include <string.h>
#include <sys/mman.h>

void *pb_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes); /* untouched pages all share one, which fits the cache */
    return memory;
}

void pb_memory_free(void *memory, size_t bytes) { munmap(memory, bytes); }

#if defined(__x86_64__)

const pb_probes *pb_probes_available(size_t index) {
    const pb_probes *available[5];
    size_t count = 0;
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int bf16 = __builtin_cpu_supports("avx512bf16");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        /* The library has asked the system for the tiles if it has kernels for them. */
        if (bf16 && strcmp(pk_kernels_available(0)->name, "amx") == 0) available[count++] = &pb_amx;
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
