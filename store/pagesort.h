/* pagesort.h: makes a checkpoint file of keys that come in any order, in bounded memory: of what a full sync brings.
 * tools/receive.c alone uses it.
 *
 * Design. A page has the keys whose hashes end in the same bits, and what comes over the wire has another order. So the
 * keys come into a keyspace, and whenever that has become big, all of them are encoded and go: what has records of its
 * own (large values, big collections) to the writer at once, the images of keys to one of 256 parts by the last byte of
 * their hash. A part is some memory, and behind it a chain of pieces in one file without a name. At the end the parts
 * are sorted by page, one at a time. So what is held in memory is PAGESORT_BYTES, twice a 256th of the dataset's
 * images, and the biggest value; and until the end the disk has the images twice.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_PAGESORT_H
#define CKV_STORE_PAGESORT_H

#include "store/keyspace.h"
#include "store/manifest.h"

/* When the process has so much memory in use, pagesort_take is to be called. */
#define PAGESORT_BYTES (48UL << 20)

typedef struct PageSort PageSort;

/* Of the keys of this keyspace, which is borrowed and isn't one that checkpoints are made of. The manifest, borrowed as
 * well, has the history and no checkpoint; its secret is the hash's. */
PageSort *pagesort_new(Keyspace *keyspace, Manifest *manifest);
void pagesort_free(PageSort *sort);

/* Takes all keys; the keyspace is empty then. False: nothing can come of it any more, as pagesort_finish will say. */
bool pagesort_take(PageSort *sort);

/* Takes the last keys, and makes the file of slot 0 in the working directory, which the manifest there then lists.
 * `info`: offset, db and unix_ms. NULL, or what went wrong (g_free it). */
char *pagesort_finish(PageSort *sort, const CheckpointInfo *info);

#endif
