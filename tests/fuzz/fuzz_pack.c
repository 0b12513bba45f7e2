/* fuzz_pack.c: arbitrary bytes as a pack: what pack_valid accepts can be walked its ways, searched and changed.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>

#include "store/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks from both ends, if it goes both ways; the two must agree. */
static void walk(const Pack *pack)
{
    uint32_t forwards = 0, backwards = 0;
    char digits[NUMBER_INT_CHARS];
    for (PackPos pos = pack_first(pack); pos != 0; pos = pack_next(pack, pos)) {
        Slice text = pack_text(pack, pos, digits);
        g_assert(pack_equals(pack, pos, text));
        forwards++;
    }
    for (PackPos pos = pack->one_way ? 0 : pack_last(pack); pos != 0; pos = pack_prev(pack, pos))
        backwards++;
    if (pack->one_way) backwards = forwards;
    g_assert(forwards == backwards && forwards == pack_count(pack));
}

/* The bytes as a script of changes: what to do, where, and with which of the script's own bytes. */
static Pack *run_script(Pack *pack, const uint8_t *script, size_t size)
{
    for (size_t i = 0; i + 2 < size; i += 3) {
        Slice text = { (const char *)script + i, MIN((size_t)script[i + 2], size - i) };
        PackPos pos = pack_at(pack, (int8_t)script[i + 1]);
        switch (script[i] % 4) {
        case 0: pack = pack_insert(pack, pos, text); break;
        case 1:
            if (pos != 0) pack = pack_replace(pack, pos, text);
            break;
        case 2:
            if (pos != 0) pack = pack_remove(pack, pos, script[i + 2]);
            break;
        default: {
            Pack *tail;
            if (pos == 0) break;
            pack = pack_split(pack, pos, &tail);
            pack = pack_join(tail, pack);
        }
        }
        g_assert(pack_valid(pack, pack->bytes));
    }
    return pack;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree Pack *given = g_memdup2(data, size); /* of exactly this size, so that reading past it is seen */
    if (size >= sizeof(Pack)) given->bytes = size & 0x3FFFFFFF;
    if (given != NULL && pack_valid(given, size)) walk(given);
    Pack *both = run_script(pack_new(0), data, MIN(size, 600));
    walk(both);
    Pack *one = run_script(pack_new_one_way(0), data, MIN(size, 600));
    walk(one);
    one = pack_two_way(one);
    g_assert(both->bytes == one->bytes && memcmp(both->data, one->data, one->bytes - sizeof(Pack)) == 0);
    pack_free(both);
    pack_free(one);
    return 0;
}
