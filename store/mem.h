/* mem.h: how much memory the process holds, and big zeroed mappings. store/ and INFO call it.
 *
 * Allocation itself is g_malloc's (which ends the program in one place when memory is out); jemalloc stands below it
 * and counts.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_MEM_H
#define CKV_STORE_MEM_H

#include <stddef.h>

/* Bytes allocated and not freed, rounded up to the allocator's size classes: INFO's used_memory, exact at every call
 * and cheap (two loads). Counts this thread's heap and every mapping made by mem_map, and by base/buffer.h. */
size_t mem_used(void);

/* The bytes that an allocation of `size` really gets: what the allocator rounds it up to. */
size_t mem_round(size_t size);

/* Bytes of heap pages that can't be given back though nothing lies there, because something else on the same page does.
 * Takes some ten microseconds. */
size_t mem_slack(void);

/* Lets go of the freed blocks that are kept for this thread's next allocations: they pin pages, too. */
void mem_flush(void);

/* Moves a heap block, if that helps to empty the pages it's on: returns its address, new or old. The rest of the server
 * mustn't know the old one any more. */
void *mem_move(void *block);

/* A buffer that is filled from its start, as g_realloc: its pages are small, as the kernel zeroes a huge one all at
 * once, in milliseconds. Not for many small ones. g_free takes it. */
void *mem_grow_buffer(void *block, size_t size);

/* Frees a block (not NULL) of the loop's in another thread: by g_free there it would stay counted in mem_used. */
void mem_free_elsewhere(void *block);

/* The largest mem_used seen by mem_note_peak. */
size_t mem_peak(void);
void mem_note_peak(void);

/* Resident bytes of the process as the kernel sees them. */
size_t mem_resident(void);

/* The allocator's name and version for INFO, as "jemalloc-5.3.0". */
const char *mem_allocator(void);

/* `size` zeroed bytes, aligned to 64, freed by mem_unmap with the same size. From 2 MB up it's a mapping of its own on
 * which huge pages are asked for: random access in a big table is bound by TLB misses. Ends the program when there is
 * no memory. */
void *mem_map(size_t size);

/* What is larger than this may also be given back piece by piece, each of this size. */
#define MEM_PIECE_BYTES (2UL << 20)
void mem_unmap(void *memory, size_t size);

#endif
