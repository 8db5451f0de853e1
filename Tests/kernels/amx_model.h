/* The tiles of AMX in plain C, after the operations of the Intel 64 and IA-32 Architectures Software Developer's Manual,
 * volume 2: LDTILECFG, TILEZERO, TILELOADD, TILESTORED, TDPBSUD, TILERELEASE. Included before avx512vnni.c it makes
 * pk_amx_model of pk_amx, which runs where there is AVX-512 VNNI. What faults on a processor ends the test. */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int configured;
    int rows[8], row_bytes[8];
    uint8_t content[8][16][64];
} amx_model;

static void amx_model_want(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "amx_model: %s\n", what);
    abort();
}

static void amx_model_load_configuration(const void *memory) {
    const uint8_t *bytes = memory;
    amx_model_want(bytes[0] == 1, "palette 1 is what there is");
    for (int i = 1; i < 16; i++) amx_model_want(bytes[i] == 0, "start_row and reserved bytes have to be 0");
    memset(&amx_model, 0, sizeof amx_model);
    amx_model.configured = 1;
    for (int tile = 0; tile < 16; tile++) {
        const int row_bytes = bytes[16 + 2 * tile] | bytes[17 + 2 * tile] << 8, rows = bytes[48 + tile];
        amx_model_want(tile < 8 || (row_bytes == 0 && rows == 0), "there are eight tiles");
        amx_model_want(row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0), "a tile is 16 x 64 at most");
        if (tile < 8) amx_model.row_bytes[tile] = row_bytes, amx_model.rows[tile] = rows;
    }
}

static void amx_model_use(int tile) {
    amx_model_want(amx_model.configured && amx_model.rows[tile] > 0, "a tile is used that has no shape");
}

static void amx_model_zero(int tile) {
    amx_model_use(tile);
    memset(amx_model.content[tile], 0, sizeof amx_model.content[tile]);
}

static void amx_model_load(int tile, const void *memory, size_t stride) {
    amx_model_zero(tile);
    for (int row = 0; row < amx_model.rows[tile]; row++)
        memcpy(amx_model.content[tile][row], (const uint8_t *)memory + (size_t)row * stride,
               (size_t)amx_model.row_bytes[tile]);
}

static void amx_model_store(int tile, void *memory, size_t stride) {
    amx_model_use(tile);
    for (int row = 0; row < amx_model.rows[tile]; row++)
        memcpy((uint8_t *)memory + (size_t)row * stride, amx_model.content[tile][row],
               (size_t)amx_model.row_bytes[tile]);
}

/* sums[m][n] += products of signed a[m] with unsigned b[k][n], four bytes for each k. */
static void amx_model_multiply(int sums, int a, int b) {
    amx_model_use(sums), amx_model_use(a), amx_model_use(b);
    amx_model_want(sums != a && sums != b && a != b, "TDPBSUD wants three tiles");
    amx_model_want(amx_model.rows[sums] == amx_model.rows[a] && amx_model.row_bytes[sums] == amx_model.row_bytes[b] &&
                       amx_model.row_bytes[a] == 4 * amx_model.rows[b],
                   "shapes of TDPBSUD do not fit");
    for (int m = 0; m < amx_model.rows[sums]; m++) {
        for (int n = 0; n < amx_model.row_bytes[sums] / 4; n++) {
            int32_t sum;
            memcpy(&sum, amx_model.content[sums][m] + 4 * n, 4);
            for (int k = 0; k < amx_model.rows[b]; k++)
                for (int i = 0; i < 4; i++)
                    sum += (int8_t)amx_model.content[a][m][4 * k + i] * amx_model.content[b][k][4 * n + i];
            memcpy(amx_model.content[sums][m] + 4 * n, &sum, 4);
        }
    }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbsud
#define _tile_loadconfig(memory) amx_model_load_configuration(memory)
#define _tile_release() (amx_model.configured = 0)
#define _tile_zero(tile) amx_model_zero(tile)
#define _tile_loadd(tile, memory, stride) amx_model_load(tile, memory, stride)
#define _tile_stored(tile, memory, stride) amx_model_store(tile, memory, stride)
#define _tile_dpbsud(sums, a, b) amx_model_multiply(sums, a, b)

#define pk_amx pk_amx_model
#define pk_avx512vnni pk_avx512vnni_beside_model
