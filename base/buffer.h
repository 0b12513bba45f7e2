/* buffer.h: a buffer of bytes that may become very long, as g_realloc's, but that isn't copied when it grows, and can
 * be given back from its front. One thread uses all of them.
 *
 * Design. A big one is a mapping of its own: the kernel moves its pages by their table, where an allocator copies the
 * bytes, into pages that have to be zeroed first. Which it is, its capacity says, which the owner keeps. The pages are
 * small ones: the kernel zeroes a huge one all at once. A long one is given back by a thread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_BUFFER_H
#define CKV_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Gives it room for `size` bytes or a little more, which becomes *capacity; 0 frees it (NULL). At first both are NULL
 * and 0. Ends the program when there's no memory. */
char *buffer_resize(char *buffer, size_t *capacity, size_t size);

/* Gives back at most `len` bytes from the front of a big one; returns by how much it begins later. */
size_t buffer_cut(char **buffer, size_t *capacity, size_t len);

/* Whether one of that capacity is big. */
bool buffer_is_big(size_t capacity);

/* Bytes of all big ones. */
size_t buffer_mapped(void);

#endif
