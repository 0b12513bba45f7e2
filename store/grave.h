/* grave.h: what was deleted and takes long to free: big collections, whole databases and what checkpoints noted of
 * these. The keyspace puts them here, the server's timer frees them in slices, and so does eviction when memory is
 * short.
 *
 * Design. A stack of objects, each of which its type can free a little of (<type>_free_some). What turns up inside of
 * another one (the big collections of a database) comes on top of it and goes first, so the stack stays short. Freeing
 * is the allocator's work alone: elements are not looked at, and so the bytes that are left are an estimate.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_GRAVE_H
#define CKV_STORE_GRAVE_H

#include "store/entry.h"
#include "store/expire.h"
#include "store/table.h"

/* Takes a collection: it's freed at once if that is quick, else bit by bit. */
void grave_take(ValueType type, void *object);

/* Takes the contents of a database: its table's entries, which `free_entry` frees (what it's called with besides is
 * NULL), and its wheel. The two structures themselves are the caller's to use again. */
void grave_take_db(Table *table, Wheel *wheel, TableVisit free_entry);

/* Takes a table, made with g_new, of elements of about so many bytes that `free_element` frees. */
void grave_take_table(Table *table, TableVisit free_element, size_t element_bytes);

/* Frees for about `budget_us`, at least a little. True while something is left. */
bool grave_step(int64_t budget_us);

/* About how much memory is still to be freed (of a database, as a sample of its entries tells it); 0 only if there's
 * none. */
size_t grave_bytes(void);

/* Frees everything now. */
void grave_drain(void);

/* About how much memory a collection, or a database's contents, would be in it. Quick. */
size_t grave_bytes_of(ValueType type, const void *object);
size_t grave_bytes_of_db(const Table *table, const Wheel *wheel);

#endif
