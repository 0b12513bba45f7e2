/* rdbblob.h: the blobs in which Redis writes small collections, taken apart element by element: ziplist, listpack,
 * intset, zipmap. rdbread.c calls it.
 *
 * Nothing in a blob is trusted: a walk gives every element only once it's known to lie inside, and its end is only good
 * if all that the blob says about itself (its size, its count, the sizes of elements that it repeats) is true.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RDBBLOB_H
#define CKV_STORE_RDBBLOB_H

#include "store/pack.h"

typedef enum RdbBlobKind { RDB_BLOB_ZIPLIST, RDB_BLOB_LISTPACK, RDB_BLOB_INTSET, RDB_BLOB_ZIPMAP } RdbBlobKind;

/* A walk on the caller's stack; the bytes are borrowed, and must stay where they are. */
typedef struct RdbBlob {
    RdbBlobKind kind;
    Slice bytes;
    size_t at;         /* the next element's */
    size_t last, tail; /* ziplist: the element before, and where the head says that the last one is */
    uint64_t count;    /* elements so far */
    uint64_t promised; /* by the head; UINT64_MAX: it doesn't say */
    unsigned width;    /* intset: bytes of an integer */
} RdbBlob;

/* False: that can't be the beginning of such a blob. */
bool rdb_blob_open(RdbBlob *blob, RdbBlobKind kind, Slice bytes);

typedef enum RdbBlobNext { RDB_BLOB_ELEMENT, RDB_BLOB_END, RDB_BLOB_BAD } RdbBlobNext;
/* The next element (fields and values of a zipmap in turn), good while the blob's bytes are. BAD: what is at blob->at
 * is malformed. */
RdbBlobNext rdb_blob_next(RdbBlob *blob, PackValue *value);

/* "ziplist" */
const char *rdb_blob_name(RdbBlobKind kind);

#endif
