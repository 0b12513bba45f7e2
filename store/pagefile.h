/* pagefile.h: one gdbm file of checkpoint records: checksums, keys and errors in one place. checkpoint.c and
 * checkpointload.c call it, each file in one thread at a time.
 *
 * A record is a payload and, behind it, the XXH3-64 of key and payload (little endian). Keys say what a record is; see
 * FORMAT.md. gdbm reads and writes by system calls, not by a mapping: that is three times as fast for writing (0.3 s
 * instead of 1.1 s for 45,000 pages of 2.2 kB), and an error on the disk is an error code, not a signal.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_PAGEFILE_H
#define CKV_STORE_PAGEFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define PAGEFILE_CHECKSUM_BYTES 8
#define PAGEFILE_KEY_MAX        16

typedef struct PageFile PageFile;

typedef enum PageFileMode { PAGEFILE_READ, PAGEFILE_CHANGE, PAGEFILE_NEW } PageFileMode;

/* NULL: *error names the file and says why (g_free it). `expected` is the number of records a new file will have. */
PageFile *pagefile_open(const char *path, PageFileMode mode, size_t expected, char **error);
/* Makes it last, if it was written to, and closes it. False: it may not be whole; *error says why. */
bool pagefile_close(PageFile *file, char **error);
/* Closes without caring. */
void pagefile_abandon(PageFile *file);

/* The record's bytes with their checksum. False: *error says why. */
bool pagefile_put(PageFile *file, Slice key, Slice sealed, char **error);
bool pagefile_delete(PageFile *file, Slice key, char **error);

/* The payload, checked; to g_free (ptr NULL: there's no such record, *error NULL; or it's damaged, *error says how). */
Slice pagefile_get(PageFile *file, Slice key, char **error);

/* Walks over all records: the first with *key.ptr NULL, then the one behind *key, which it frees. False at the end, or
 * with *error set. */
bool pagefile_next(PageFile *file, Slice *key, char **error);

/* The checksum of a record, at once or over its payload in pieces; the end frees it. pagefile_sum makes of it the
 * number (never 0) that the sum of a file adds up. */
uint64_t pagefile_checksum(Slice key, Slice payload);
typedef struct PageChecksum PageChecksum;
PageChecksum *pagefile_checksum_begin(Slice key);
void pagefile_checksum_add(PageChecksum *checksum, Slice piece);
uint64_t pagefile_checksum_end(PageChecksum *checksum);
uint32_t pagefile_sum(uint64_t checksum);

/* Of all files: why the system failed first since this was asked for last, with the path (g_free). NULL: it didn't, and
 * what was said to be wrong with a file is what it holds. Any thread. */
char *pagefile_take_failure(void);

#endif
