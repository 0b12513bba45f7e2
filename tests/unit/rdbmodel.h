/* rdbmodel.h: what the tests of RDB files share: datasets as text, random ones, and files in memory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TESTS_UNIT_RDBMODEL_H
#define CKV_TESTS_UNIT_RDBMODEL_H

#include "store/rdb.h"

#define DATABASES 4

static inline Slice text_of(const GString *text)
{
    return (Slice){ text->str, text->len };
}

/* The value as "a b c"; to g_free. */
char *describe(const Entry *entry);
/* Fails unless both have the same keys with the same values and deadlines. */
void assert_same(Keyspace *a, Keyspace *b);

/* What random_… draws from. */
extern GRand *dice;
/* Of DATABASES databases, with about so many keys of all types and sizes. */
Keyspace *random_keyspace(int keys);
/* One more, or a new value for one that is there. */
void put_random(Db *db);
/* Adds to a collection (that was announced): texts of less than `max` bytes. */
void add_random(Entry *entry, int max);

/* A source; the context is a Memory. */
typedef struct Memory {
    Slice left;
    size_t at_once; /* bytes of one read */
    bool hesitates; /* every other read has nothing */
    bool hesitated;
    char aux[64]; /* the last auxiliary field */
} Memory;

ssize_t read_memory(void *context, void *to, size_t len);
void on_aux(void *context, Slice name, Slice value);
/* All of it, in the shortest steps; *steps of them. */
RdbStep read_all(RdbReader *reader, unsigned *steps);

/* A sink; the context is a Sink. */
typedef struct Sink {
    GString *file;
    size_t left; /* bytes until it fails */
    size_t longest;
} Sink;

bool take(void *context, Slice bytes);

#endif
