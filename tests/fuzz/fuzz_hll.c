/* fuzz_hll.c: any bytes as a HyperLogLog value: every operation is safe, and those that succeed agree with each other.
 *
 * The input: one byte that says how many bytes of it are elements to add, the value, the elements (three bytes each).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>

#include "store/hll.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy in a block of exactly its size and `room`, so that the sanitizer sees every byte too far. */
static char *copy_of(Slice value, size_t room)
{
    char *copy = g_malloc(value.len + room + (value.len == 0));
    memcpy(copy, value.ptr, value.len);
    return copy;
}

/* Reads everything there is to read; returns whether the value is whole. */
static bool read_all(Slice value, uint8_t *registers)
{
    char dense[HLL_DENSE_BYTES];
    uint64_t count, cached;
    HllRun run;
    hll_cached_count(value, &cached);
    memset(registers, 0, HLL_REGISTERS);
    bool whole = hll_merge(registers, value);
    bool counted = hll_count(value, &count);
    g_assert(whole || !hll_is_sparse(value) || !hll_to_dense(value, dense));
    if (whole && counted) g_assert(count == hll_count_registers(registers));
    if (!hll_is_sparse(value)) return true;
    for (size_t at = HLL_HEAD_BYTES; hll_next_run(value, &at, &run);)
        g_assert(at <= value.len && run.count > 0 && run.value <= 32);
    return whole;
}

/* Adds the elements as PFADD does, and checks that each raises its register and no other. */
static void add_elements(Slice value, Slice elements, bool whole, uint8_t *registers)
{
    char *bytes = copy_of(value, HLL_GROWTH_MAX);
    size_t len = value.len;
    for (; elements.len >= 3; elements = (Slice){ elements.ptr + 3, elements.len - 3 }) {
        HllAdded added = hll_add(bytes, &len, (Slice){ elements.ptr, 3 }, 3000);
        g_assert(!whole || added != HLL_CORRUPT);
        if (added != HLL_SAME && added != HLL_RAISED) break;
        char *moved = copy_of((Slice){ bytes, len }, HLL_GROWTH_MAX);
        g_free(bytes);
        bytes = moved;
        uint8_t raised[HLL_REGISTERS];
        if (!read_all((Slice){ bytes, len }, raised) || !whole) continue;
        unsigned changed = 0;
        for (int i = 0; i < HLL_REGISTERS; i++) {
            g_assert(raised[i] >= registers[i]);
            changed += raised[i] > registers[i];
        }
        g_assert(changed == (added == HLL_RAISED));
        memcpy(registers, raised, HLL_REGISTERS);
    }
    g_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    size_t elements_len = MIN(data[0], size - 1), len = size - 1 - elements_len;
    const char *at = (const char *)data + 1;
    char *bytes = copy_of((Slice){ at, len }, 0);
    uint8_t registers[HLL_REGISTERS];
    if (hll_is_valid((Slice){ bytes, len })) {
        bool whole = read_all((Slice){ bytes, len }, registers);
        add_elements((Slice){ bytes, len }, (Slice){ at + len, elements_len }, whole, registers);
    }
    g_free(bytes);
    return 0;
}
