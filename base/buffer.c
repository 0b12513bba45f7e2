/* buffer.c: see buffer.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buffer.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/background.h"

#define BIG_BYTES  (1UL << 20)
#define PAGE_BYTES 4096UL

/* To give memory back takes 0.1 ms a MB or more: what is longer, a thread does in pieces, between which the loop can
 * have the kernel's lock. */
#define AT_ONCE_BYTES (8UL << 20)
#define PIECE_BYTES   (1UL << 20)

static size_t mapped;

bool buffer_is_big(size_t capacity)
{
    return capacity >= BIG_BYTES;
}

size_t buffer_mapped(void)
{
    return mapped;
}

static char *checked(void *memory, size_t size)
{
    if (memory == MAP_FAILED) g_error("failed to allocate %zu bytes", size); /* as GLib's own */
    return memory;
}

static gpointer unmap_pieces(gpointer memory)
{
    size_t size = *(size_t *)memory;
    background_enter();
    for (size_t at = 0; at < size; at += PIECE_BYTES) {
        munmap((char *)memory + at, MIN(PIECE_BYTES, size - at));
        background_rest();
    }
    return NULL;
}

static void unmap(void *memory, size_t size)
{
    g_autofree char *no_thread = NULL;
    GThread *thread = NULL;
    if (size > AT_ONCE_BYTES) {
        *(size_t *)memory = size;
        thread = background_start("ckv-unmap", unmap_pieces, memory, &no_thread);
    }
    if (thread != NULL)
        g_thread_unref(thread);
    else
        munmap(memory, size);
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)madvise(checked(memory, size), size, MADV_NOHUGEPAGE);
    return memory;
}

/* From a block to a mapping, or back. */
static char *change_kind(char *buffer, size_t old, size_t size)
{
    char *to = buffer_is_big(size) ? map(size) : g_malloc(size);
    if (old > 0 && size > 0) memcpy(to, buffer, MIN(old, size));
    if (buffer_is_big(old))
        unmap(buffer, old);
    else
        g_free(buffer);
    return to;
}

char *buffer_resize(char *buffer, size_t *capacity, size_t size)
{
    size_t old = *capacity;
    bool was_big = buffer_is_big(old), is_big = buffer_is_big(size);
    if (is_big) size = (size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    *capacity = size;
    mapped += (is_big ? size : 0) - (was_big ? old : 0);
    if (was_big != is_big) return change_kind(buffer, old, size);
    if (!is_big) return g_realloc(buffer, size);
    return size == old ? buffer : checked(mremap(buffer, old, size, MREMAP_MAYMOVE), size);
}

size_t buffer_cut(char **buffer, size_t *capacity, size_t len)
{
    len &= ~(PAGE_BYTES - 1);
    if (len == 0 || len > *capacity || !buffer_is_big(*capacity - len)) return 0;
    munmap(*buffer, len);
    *buffer += len;
    *capacity -= len;
    mapped -= len;
    return len;
}
