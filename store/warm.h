/* warm.h: reads files for the loop, which must not wait for a disk: from the page cache, into which a thread brings
 * what isn't there.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_WARM_H
#define CKV_STORE_WARM_H

#include <stdbool.h>
#include <sys/types.h>

/* One reader's, who goes through its files from front to back. */
typedef struct Warm Warm;

Warm *warm_new(void);
/* NULL does nothing. Doesn't wait for the thread. */
void warm_free(Warm *warm);

/* As io_read_all; but false with errno EAGAIN: not all of it is in the page cache, and a thread reads it, and some of
 * what follows. The caller is to try again, some time later. (What the thread couldn't bring there is waited for: then
 * it's an error, or memory is very short.) */
bool warm_read(Warm *warm, int fd, void *to, size_t len, off_t at);

#endif
