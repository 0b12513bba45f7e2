/* crc64.c: see crc64.h. Eight bytes at a time ("slicing by eight", Kounavis and Berry 2005), which is five times as
 * fast as one by one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/crc64.h"

#include <glib.h>

#define POLYNOMIAL 0x95ac9329ac4bc9b5ULL /* Jones', its bits reversed */
#define STRIDE     8

/* table[n][b]: what byte b, followed by n zero bytes, adds to the checksum. */
static uint64_t table[STRIDE][256];

static void make_table(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[0][byte] = crc;
    }
    for (unsigned n = 1; n < STRIDE; n++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            uint64_t before = table[n - 1][byte];
            table[n][byte] = table[0][before & 0xff] ^ before >> 8;
        }
    }
}

static uint64_t crc_stride(uint64_t crc, const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    crc ^= word;
    uint64_t sum = 0;
    for (unsigned i = 0; i < STRIDE; i++)
        sum ^= table[STRIDE - 1 - i][crc >> (8 * i) & 0xff];
    return sum;
}

uint64_t crc64(uint64_t crc, Slice bytes)
{
    static gsize made;
    if (g_once_init_enter(&made)) {
        make_table();
        g_once_init_leave(&made, 1);
    }
    for (; bytes.len >= STRIDE; bytes = (Slice){ bytes.ptr + STRIDE, bytes.len - STRIDE })
        crc = crc_stride(crc, bytes.ptr);
    for (size_t i = 0; i < bytes.len; i++)
        crc = table[0][(crc ^ (uint8_t)bytes.ptr[i]) & 0xff] ^ crc >> 8;
    return crc;
}
