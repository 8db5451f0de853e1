/* What a processor can do at most, one thread at a time: the loops petar-bench compares the library with.
 *
 * One table of functions for each instruction set, named as the library names its kernels. Each loop does nothing but
 * what it measures; what it computes is returned so that no compiler leaves it out.
 */
#ifndef CPROBES_H
#define CPROBES_H

#include <stddef.h>
#include <stdint.h>

typedef struct pb_probes {
    const char *name;
    /* Reads `bytes` of memory, a multiple of 64 KiB aligned to 64, as `streams` (1...16, a power of two) streams side
     * by side, with prefetch. */
    uint64_t (*read)(const void *memory, size_t bytes, size_t streams);
    /* The rest computes on registers: `rounds` times so many operations; a multiplication and an addition are two.
     * NULL where the instruction set has no such instruction. */
    uint64_t (*int8)(size_t rounds);
    size_t int8_operations;
    uint64_t (*f32)(size_t rounds);
    size_t f32_operations;
    uint64_t (*bf16)(size_t rounds);
    size_t bf16_operations;
} pb_probes;

/* The tables this processor can run, best first; NULL past the last. */
const pb_probes *pb_probes_available(size_t index);

/* Memory that is there: on huge pages where the system gives them, every page touched. NULL if there is none. */
void *pb_memory(size_t bytes);
void pb_memory_free(void *memory, size_t bytes);

#endif /* CPROBES_H */
