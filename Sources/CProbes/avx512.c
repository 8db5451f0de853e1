/* 512 bits: AVX-512 with VPDPBUSD, with VDPBF16PS where there is one, and with the tiles of AMX. */
#include "tables.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PB_AVX512 __attribute__((target("avx512f,avx512vnni")))
#define PB_AMX __attribute__((target("amx-tile,amx-int8")))
#define PB_BF16 __attribute__((target("avx512f,avx512vnni,avx512bf16")))

/* Keeps a constant in its register, so that no round is computed once for all. */
#define PB_HIDE(x, y) __asm__ volatile("" : "+v"(x), "+v"(y))

PB_AVX512 static uint64_t read_streams(const void *memory, size_t bytes, size_t streams) {
    const size_t length = bytes / streams;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t at = 0; at < length; at += 256)
        for (size_t stream = 0; stream < streams; stream++) {
            const char *here = (const char *)memory + stream * length + at;
            for (int line = 0; line < 4; line++) pb_ask_ahead(here + line * 64);
            a = _mm512_add_epi64(a, _mm512_load_si512(here));
            b = _mm512_add_epi64(b, _mm512_load_si512(here + 64));
            c = _mm512_add_epi64(c, _mm512_load_si512(here + 128));
            d = _mm512_add_epi64(d, _mm512_load_si512(here + 192));
        }
    const __m512i sum = _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d));
    return (uint64_t)_mm512_reduce_add_epi64(sum);
}

PB_AVX512 static uint64_t int8(size_t rounds) {
    __m512i sums[12], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
    for (int i = 0; i < 12; i++) sums[i] = _mm512_set1_epi32(i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], x, y);
    }
    for (int i = 1; i < 12; i++) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_epi32(sums[0]);
}

PB_AVX512 static uint64_t f32(size_t rounds) {
    __m512 sums[12], x = _mm512_set1_ps(0.9999f), y = _mm512_set1_ps(0.001f);
    for (int i = 0; i < 12; i++) sums[i] = _mm512_set1_ps((float)i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm512_fmadd_ps(sums[i], x, y);
    }
    for (int i = 1; i < 12; i++) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_ps(sums[0]);
}

PB_BF16 static uint64_t bf16(size_t rounds) {
    __m512 sums[12];
    __m512i x = _mm512_set1_epi16(0x3f80), y = _mm512_set1_epi16(0x3a80);
    for (int i = 0; i < 12; i++) sums[i] = _mm512_set1_ps((float)i);
    for (size_t round = 0; round < rounds; round++) {
        PB_HIDE(x, y);
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)x, (__m512bh)y);
    }
    for (int i = 1; i < 12; i++) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_ps(sums[0]);
}

/* Four tiles of sums, two of each factor: 16 x 16 sums of 64 products an instruction. */
PB_AMX static uint64_t int8_amx(size_t rounds) {
    uint8_t configuration[64] = {1};
    for (int tile = 0; tile < 8; tile++) {
        configuration[16 + 2 * tile] = 64;
        configuration[48 + tile] = 16;
    }
    int32_t memory[16 * 16] = {0};
    _tile_loadconfig(configuration);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, memory, 64);
    _tile_loadd(5, memory, 64);
    _tile_loadd(6, memory, 64);
    _tile_loadd(7, memory, 64);
    for (size_t round = 0; round < rounds; round++) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, memory, 64);
    _tile_release();
    return (uint64_t)memory[0];
}

#define PB_TABLE(table, instructions, int8_loop, operations, ...)                                                 \
    const pb_probes table = {.name = instructions, .read = read_streams, .int8 = int8_loop,                       \
                             .int8_operations = operations, .f32 = f32, .f32_operations = 12 * 16 * 2, __VA_ARGS__}

PB_TABLE(pb_avx512vnni, "avx512vnni", int8, 12 * 64 * 2);
PB_TABLE(pb_avx512vnni_bf16, "avx512vnni", int8, 12 * 64 * 2, .bf16 = bf16, .bf16_operations = 12 * 32 * 2);
PB_TABLE(pb_amx, "amx", int8_amx, 4 * 16 * 16 * 64 * 2, .bf16 = bf16, .bf16_operations = 12 * 32 * 2);

#endif
