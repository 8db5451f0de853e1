/* Vectors of 16 lanes. Where the hardware has shorter ones the compiler splits them, which changes no result. */
#ifndef PK_VECTORS_H
#define PK_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Vectors only pass between functions that are inlined or in the same file, so how they are passed does not matter. */
#pragma clang diagnostic ignored "-Wpsabi"

typedef float v16f __attribute__((ext_vector_type(16)));
typedef float v8f __attribute__((ext_vector_type(8)));
typedef float v4f __attribute__((ext_vector_type(4)));
typedef int32_t v16i __attribute__((ext_vector_type(16)));
typedef uint32_t v16u __attribute__((ext_vector_type(16)));
typedef int8_t v16c __attribute__((ext_vector_type(16)));
typedef int16_t v16s __attribute__((ext_vector_type(16)));
typedef uint16_t v16h __attribute__((ext_vector_type(16)));
typedef int8_t v32c __attribute__((ext_vector_type(32)));
typedef uint8_t v32u __attribute__((ext_vector_type(32)));
typedef int16_t v32s __attribute__((ext_vector_type(32)));
typedef uint16_t v32h __attribute__((ext_vector_type(32)));
typedef int8_t v64c __attribute__((ext_vector_type(64)));
typedef uint8_t v64u __attribute__((ext_vector_type(64)));

#define PK_INLINE static inline __attribute__((always_inline))
#define PK_UNROLL _Pragma("clang loop unroll(full)")
#define PK_ROLLED _Pragma("clang loop unroll(disable)")
#define PK_FOUR_STEPS _Pragma("clang loop unroll_count(4)")

/* How far ahead of a single panel, read from memory once, its bytes are asked for. Into the first-level cache: asked for
 * into the second alone, weights for 8 rows take 17 % longer (Zen 4). */
#define PK_PREFETCH 4096

/* Asks for what such a stream has `near` bytes behind `line`. It has been asked for before, into the second-level cache,
 * which waits for more lines at a time than the first: one row takes 0.85 to 0.99 of the time so, 4 rows 0.87, 8 rows
 * 0.92, with AVX2 one row 0.80 (Emerald Rapids, two threads). */
PK_INLINE void ask_ahead(const void *line, size_t near) {
    __builtin_prefetch((const char *)line + 2 * PK_PREFETCH, 0, 2);
    __builtin_prefetch((const char *)line + near);
}

#endif /* PK_VECTORS_H */
