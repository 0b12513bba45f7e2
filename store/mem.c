/* mem.c: see mem.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/mem.h"

#include <fcntl.h>
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES MEM_PIECE_BYTES

static size_t mapped; /* bytes held by mem_map's own mappings */
static size_t peak;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MEM_SANITIZED 1
#endif
#endif

#ifdef MEM_SANITIZED

size_t __sanitizer_get_current_allocated_bytes(void);

static size_t heap_used(void)
{
    return __sanitizer_get_current_allocated_bytes();
}

size_t mem_round(size_t size)
{
    return size;
}

const char *mem_allocator(void)
{
    return "sanitizer";
}

#else

#include <jemalloc/jemalloc.h>

/* Read by jemalloc before main(): entries in huge pages, as the tables' segments are. Random access to a big dataset
 * waits for address translation otherwise, and there's no fork to make a small write copy two MB. */
const char *malloc_conf = "thp:always";

/* jemalloc counts what each thread allocates and frees, size classes included; the difference of the two is exact
 * without its global statistics, which take a refresh of microseconds. (All of the heap belongs to the loop's thread.)
 */
static size_t heap_used(void)
{
    static uint64_t *allocated, *freed;
    if (allocated == NULL) {
        size_t size = sizeof(allocated);
        g_assert(mallctl("thread.allocatedp", &allocated, &size, NULL, 0) == 0);
        g_assert(mallctl("thread.deallocatedp", &freed, &size, NULL, 0) == 0);
    }
    return (size_t)(*allocated - *freed);
}

size_t mem_round(size_t size)
{
    return nallocx(size, 0);
}

const char *mem_allocator(void)
{
    return "jemalloc-" G_STRINGIFY(JEMALLOC_VERSION_MAJOR) "." G_STRINGIFY(JEMALLOC_VERSION_MINOR) "." G_STRINGIFY(
        JEMALLOC_VERSION_BUGFIX);
}

#endif

size_t mem_used(void)
{
    return heap_used() + mapped;
}

void mem_note_peak(void)
{
    size_t used = mem_used();
    if (used > peak) peak = used;
}

size_t mem_peak(void)
{
    mem_note_peak();
    return peak;
}

size_t mem_resident(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%*u %lu", &pages) != 1) pages = 0;
        fclose(statm);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

void *mem_map(size_t size)
{
    if (size < HUGE_PAGE_BYTES) {
        void *memory = g_aligned_alloc(1, size, 64);
        memset(memory, 0, size);
        return memory;
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) g_error("out of memory: can't map %zu bytes", size);
    madvise(memory, size, MADV_HUGEPAGE);
    mapped += size;
    return memory;
}

void mem_unmap(void *memory, size_t size)
{
    if (size < HUGE_PAGE_BYTES) {
        g_aligned_free(memory);
        return;
    }
    munmap(memory, size);
    mapped -= size;
}
