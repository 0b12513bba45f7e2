/* test_mem.c: which memory asks for huge pages, as the kernel tells: the heap of the thread that becomes the loop, and
 * large mappings; neither buffers nor what other threads allocate. And that jemalloc makes slabs as it's asked to.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/mem.h"

/* More than the heap has left of what it got before main(). */
#define BYTES (3UL << 20)

/* Whether the mapping that the address is in has the flag "hg": madvise's MADV_HUGEPAGE. */
static bool asks_for_huge_pages(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    char line[512];
    bool inside = false, asks = false;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (inside && g_str_has_prefix(line, "VmFlags:"))
            asks = strstr(line, " hg") != NULL;
    }
    fclose(maps);
    return asks;
}

static bool has_huge_pages(void)
{
    return g_file_test("/sys/kernel/mm/transparent_hugepage/enabled", G_FILE_TEST_EXISTS);
}

static bool is_sanitized(void)
{
    return strcmp(mem_allocator(), "sanitizer") == 0;
}

static void test_heap(void **state)
{
    (void)state;
    if (is_sanitized() || !has_huge_pages()) skip();
    char *block = g_malloc0(BYTES);
    assert_true(asks_for_huge_pages(block));
    g_free(block);
}

static void test_map(void **state)
{
    (void)state;
    if (!has_huge_pages()) skip();
    char *memory = mem_map(BYTES);
    assert_true(asks_for_huge_pages(memory));
    mem_unmap(memory, BYTES);
}

/* It grows from a block of the heap, and keeps what it holds. */
static void test_buffer(void **state)
{
    (void)state;
    char *buffer = NULL;
    for (size_t size = 64UL << 10; size <= BYTES * 2; size *= 2) {
        size_t before = buffer == NULL ? 0 : size / 2;
        buffer = buffer == NULL ? g_realloc(NULL, size) : mem_grow_buffer(buffer, size);
        for (size_t i = 0; i < before; i++)
            assert_int_equal(buffer[i], (char)(i % 251));
        for (size_t i = before; i < size; i++)
            buffer[i] = (char)(i % 251);
    }
    if (!is_sanitized()) assert_false(asks_for_huge_pages(buffer));
    g_free(buffer);
}

static gpointer allocate(gpointer asks)
{
    char *block = g_malloc0(BYTES);
    *(bool *)asks = asks_for_huge_pages(block);
    g_free(block);
    return NULL;
}

static void test_thread(void **state)
{
    (void)state;
    if (is_sanitized()) skip();
    bool asks = true;
    g_thread_join(g_thread_new("test", allocate, &asks));
    assert_false(asks);
}

#define PAGE_BYTES 4096UL

/* jemalloc's; there's none where the sanitizer allocates. */
int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size) __attribute__((weak));

static size_t told(const char *format, unsigned bin)
{
    char *name = g_strdup_printf(format, bin);
    size_t value = 0, size = sizeof(value);
    assert_int_equal(mallctl(name, &value, &size, NULL, 0), 0);
    g_free(name);
    return value;
}

static void test_slabs(void **state)
{
    (void)state;
    if (is_sanitized()) skip();
    unsigned bins, seen = 0;
    size_t size = sizeof(bins);
    assert_int_equal(mallctl("arenas.nbins", &bins, &size, NULL, 0), 0);
    for (unsigned i = 0; i < bins; i++) {
        size_t block = told("arenas.bin.%u.size", i), slab = told("arenas.bin.%u.slab_size", i);
        if (block != 80 && block != 96 && block != 256 && block != 512 && block != 8192) continue;
        assert_int_equal(slab, (block >= 96 && block <= 256 ? 12 : 6) * PAGE_BYTES);
        seen++;
    }
    assert_int_equal(seen, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap),   cmocka_unit_test(test_map),   cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_thread), cmocka_unit_test(test_slabs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
