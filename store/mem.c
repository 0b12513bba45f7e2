/* mem.c: see mem.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/mem.h"

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buffer.h"

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
size_t __sanitizer_get_allocated_size(const volatile void *block);

static size_t heap_used(void)
{
    return __sanitizer_get_current_allocated_bytes();
}

size_t mem_round(size_t size)
{
    return size;
}

/* There are no slabs: by every second answer all is waste, and every block is moved, so that the sanitizer finds who
 * still has its old address. */
size_t mem_slack(void)
{
    static bool waste;
    waste = !waste;
    return waste ? SIZE_MAX : 0;
}

void mem_flush(void)
{
}

static bool is_sparse(const void *block)
{
    (void)block;
    return true;
}

#define block_size(block) __sanitizer_get_allocated_size(block)
#define block_new(size)   malloc(size)
#define block_free(block) free(block)

void *mem_grow_buffer(void *block, size_t size)
{
    return g_realloc(block, size);
}

void mem_free_elsewhere(void *block)
{
    free(block);
}

const char *mem_allocator(void)
{
    return "sanitizer";
}

#else

#include <jemalloc/jemalloc.h>

/* Slabs of six pages where jemalloc would take one to three, and of twelve for pieces of 96 to 256 bytes, which most
 * keys with their values are: its record of a slab, of 128 bytes, is 3 % of one page, 0.5 % of six. (A slab holds at
 * most 512 pieces, so smaller ones can't have twelve. The sizes between have slabs as large already, or ones that leave
 * less unused.) */
#define SLAB_PAGES        "1-80:6|96-256:12|512-512:6|1024-1024:6|2048-2048:6|4096-4096:6|8192-8192:6"

/* Read by jemalloc before main(). Small pages (but for the loop's heap, below): the kernel zeroes a huge one all at
 * once, which takes up to 4 ms in a virtual machine, and what another thread does on the loop's core for so long stalls
 * it. (Each thread has an arena of its own also where there's one core only.) And a thread that gives freed pages back:
 * else the loop does so itself, as much at once as is due, and never while it's idle. */
const char *malloc_conf = "thp:never,narenas:8,background_thread:true,max_background_threads:1,dirty_decay_ms:5000,"
                          "slab_sizes:" SLAB_PAGES;

static gsize freed_elsewhere; /* atomic: bytes of the loop's that others freed */

/* jemalloc counts what each thread allocates and frees, size classes included; the difference of the two is exact
 * without its global statistics, which take a refresh of microseconds. (All of the heap belongs to the loop's thread;
 * what another frees of it is told by that one.) */
static size_t heap_used(void)
{
    static uint64_t *allocated, *freed;
    if (allocated == NULL) {
        size_t size = sizeof(allocated);
        g_assert(mallctl("thread.allocatedp", &allocated, &size, NULL, 0) == 0);
        g_assert(mallctl("thread.deallocatedp", &freed, &size, NULL, 0) == 0);
    }
    return (size_t)(*allocated - *freed) - g_atomic_pointer_get(&freed_elsewhere);
}

static extent_hooks_t *usual_hooks;

static void *new_huge_pages(extent_hooks_t *hooks, void *at, size_t size, size_t alignment, bool *zero, bool *commit,
                            unsigned arena)
{
    (void)hooks;
    void *memory = usual_hooks->alloc(usual_hooks, at, size, alignment, zero, commit, arena);
    if (memory != NULL) madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

static unsigned buffer_arena;

/* The first arena is the first thread's, which becomes the loop. Entries in huge pages, as the tables' segments are:
 * random access to a big dataset waits for address translation otherwise, and there's no fork to make a small write
 * copy two MB. */
__attribute__((constructor)) static void set_up_arenas(void)
{
    static extent_hooks_t hooks;
    size_t size = sizeof(usual_hooks);
    g_assert(mallctl("arena.0.extent_hooks", &usual_hooks, &size, NULL, 0) == 0);
    hooks = *usual_hooks;
    hooks.alloc = new_huge_pages;
    extent_hooks_t *changed = &hooks;
    g_assert(mallctl("arena.0.extent_hooks", NULL, NULL, &changed, sizeof(changed)) == 0);
    size = sizeof(buffer_arena);
    g_assert(mallctl("arenas.create", &buffer_arena, &size, NULL, 0) == 0);
}

void *mem_grow_buffer(void *block, size_t size)
{
    int flags = MALLOCX_ARENA(buffer_arena) | MALLOCX_TCACHE_NONE;
    void *grown = block == NULL ? mallocx(size, flags) : rallocx(block, size, flags);
    if (grown == NULL) g_error("out of memory: can't allocate %zu bytes", size);
    return grown;
}

void mem_free_elsewhere(void *block)
{
    g_atomic_pointer_add(&freed_elsewhere, (gssize)sallocx(block, 0));
    free(block);
}

size_t mem_round(size_t size)
{
    return nallocx(size, 0);
}

size_t mem_slack(void)
{
    uint64_t epoch = 1;
    size_t active, allocated, size = sizeof(size_t);
    g_assert(mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) == 0);
    g_assert(mallctl("stats.active", &active, &size, NULL, 0) == 0);
    g_assert(mallctl("stats.allocated", &allocated, &size, NULL, 0) == 0);
    return active > allocated ? active - allocated : 0;
}

void mem_flush(void)
{
    g_assert(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
}

/* What jemalloc tells of a block: the slab that it takes new blocks of this size from, how many there's room for in the
 * block's own slab, and in all slabs of this size together. */
typedef struct Utilization {
    const void *current;
    size_t free, blocks;
    size_t slab_bytes;
    size_t all_free, all_blocks;
} Utilization;

/* Slabs that are as full as this, on average, stay as they are. */
#define FULL_PERCENT      90

/* Whether the block's slab is emptier than others of its size, so that it's the one to be emptied, and others to be
 * filled. Redis asks its patched jemalloc the same (4.0's defrag.c). */
static bool is_sparse(const void *block)
{
    static size_t name[3], levels = 3;
    if (name[0] == 0 && mallctlnametomib("experimental.utilization.query", name, &levels) != 0) return false;
    Utilization u;
    size_t size = sizeof(u);
    if (mallctlbymib(name, levels, &u, &size, &block, sizeof(block)) != 0 || size != sizeof(u)) return false;
    if (u.free == 0 || u.all_free * 100 < u.all_blocks * (100 - FULL_PERCENT)) return false;
    bool is_current = (uintptr_t)block - (uintptr_t)u.current < u.slab_bytes;
    return !is_current && u.free * u.all_blocks > u.all_free * u.blocks;
}

/* Past the thread's cache, which would give back what was just freed. */
#define block_size(block) sallocx(block, 0)
#define block_new(size)   mallocx(size, MALLOCX_TCACHE_NONE)
#define block_free(block) dallocx(block, MALLOCX_TCACHE_NONE)

const char *mem_allocator(void)
{
    return "jemalloc-" G_STRINGIFY(JEMALLOC_VERSION_MAJOR) "." G_STRINGIFY(JEMALLOC_VERSION_MINOR) "." G_STRINGIFY(
        JEMALLOC_VERSION_BUGFIX);
}

#endif

void *mem_move(void *block)
{
    if (!is_sparse(block)) return block;
    size_t size = block_size(block);
    void *moved = block_new(size);
    if (moved == NULL) g_error("out of memory: can't allocate %zu bytes", size);
    memcpy(moved, block, size);
    block_free(block);
    return moved;
}

size_t mem_used(void)
{
    return heap_used() + mapped + buffer_mapped();
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
