/* grave.c: see grave.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/grave.h"

#include <glib.h>

#include "base/clock.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

/* Steps (table buckets of four elements, list chunks) that are done when something is taken: what needs no more never
 * waits. And between two looks at the clock: some 64 elements, or a few times as many where entries hold small
 * collections. */
#define AT_ONCE_STEPS    16
#define DB_AT_ONCE_STEPS 256
#define STEPS_PER_LOOK   16

/* A database is begun with at once: one of some ten thousand keys is gone before FLUSHALL is answered, so who empties
 * it and then looks at used_memory sees what was expected. */
#define DB_AT_ONCE_US 1000

/* Buckets looked at to tell how big a database's entries are. */
#define SAMPLE_BUCKETS 16

/* Something that is being freed. */
typedef struct Grave {
    GList link;
    unsigned kind; /* ValueType, or one of those behind */
    void *object;
    size_t bytes; /* its part of bytes_left */
} Grave;

static GQueue graves = G_QUEUE_INIT;
static size_t bytes_left;

/* ---- kinds ---- */

typedef struct BuriedDb {
    Table table;
    Wheel wheel;
    TableVisit free_entry;
    size_t entry_bytes; /* on average, with all that belongs to it */
} BuriedDb;

typedef struct BuriedTable {
    Table *table;
    TableVisit free_element;
    size_t element_bytes;
} BuriedTable;

static bool free_list(void *object, size_t steps)
{
    return list_free_some(object, steps);
}

static bool free_set(void *object, size_t steps)
{
    return set_free_some(object, steps);
}

static bool free_zset(void *object, size_t steps)
{
    return zset_free_some(object, steps);
}

static bool free_hash(void *object, size_t steps)
{
    return hash_free_some(object, steps);
}

static bool free_db(void *object, size_t steps)
{
    BuriedDb *db = object;
    if (table_free_some(&db->table, steps, db->free_entry, NULL)) return true;
    if (wheel_free_some(&db->wheel, steps)) return true;
    g_free(db);
    return false;
}

static bool free_table(void *object, size_t steps)
{
    BuriedTable *buried = object;
    if (table_free_some(buried->table, steps, buried->free_element, NULL)) return true;
    g_free(buried->table);
    g_free(buried);
    return false;
}

static size_t bytes_of_list(const void *object)
{
    return list_encoded_bytes_about(object);
}

static size_t bytes_of_set(const void *object)
{
    return set_bytes(object);
}

static size_t bytes_of_zset(const void *object)
{
    return zset_bytes(object);
}

static size_t bytes_of_hash(const void *object)
{
    return hash_bytes(object);
}

static size_t bytes_of_db(const void *object)
{
    const BuriedDb *db = object;
    return sizeof(*db) + table_bytes(&db->table) + db->table.count * db->entry_bytes +
           db->wheel.count * sizeof(Entry *);
}

static size_t bytes_of_table(const void *object)
{
    const BuriedTable *buried = object;
    return sizeof(*buried) + sizeof(Table) + table_bytes(buried->table) + buried->table->count * buried->element_bytes;
}

enum { KIND_DB = TYPE_HASH + 1, KIND_TABLE };

static const struct {
    bool (*free_some)(void *object, size_t steps);
    size_t (*bytes)(const void *object); /* also of what is partly freed; quick */
} kinds[] = {
    [TYPE_LIST] = { free_list, bytes_of_list }, [TYPE_SET] = { free_set, bytes_of_set },
    [TYPE_ZSET] = { free_zset, bytes_of_zset }, [TYPE_HASH] = { free_hash, bytes_of_hash },
    [KIND_DB] = { free_db, bytes_of_db },       [KIND_TABLE] = { free_table, bytes_of_table },
};

/* ---- taking ---- */

static void grave_open(unsigned kind, void *object)
{
    Grave *grave = g_new(Grave, 1);
    *grave = (Grave){ .link.data = grave, .kind = kind, .object = object, .bytes = kinds[kind].bytes(object) };
    bytes_left += grave->bytes;
    g_queue_push_head_link(&graves, &grave->link);
}

void grave_take(ValueType type, void *object)
{
    g_assert(type > TYPE_STRING && type <= TYPE_HASH);
    if (kinds[type].free_some(object, AT_ONCE_STEPS)) grave_open(type, object);
}

typedef struct Sample {
    size_t entries, bytes;
} Sample;

static void visit_sample(void *element, void *context)
{
    const Entry *entry = element;
    Sample *sample = context;
    sample->entries++;
    sample->bytes += sizeof(Entry) + (entry->expires ? sizeof(Deadline) : 0) + entry->key_len;
    if (entry->type != TYPE_STRING)
        sample->bytes += kinds[entry->type].bytes(entry->object);
    else if (entry->encoding != STRING_INT)
        sample->bytes += entry->str.cap;
}

static size_t average_entry_bytes(const Table *table)
{
    Sample sample = { 0, 0 };
    uint64_t cursor = 0;
    for (int i = 0; i < SAMPLE_BUCKETS; i++) {
        cursor = table_scan(table, cursor, visit_sample, &sample);
        if (cursor == 0) break;
    }
    return sample.entries == 0 ? 0 : sample.bytes / sample.entries;
}

size_t grave_bytes_of(ValueType type, const void *object)
{
    return kinds[type].bytes(object);
}

size_t grave_bytes_of_db(const Table *table, const Wheel *wheel)
{
    BuriedDb db = { .table = *table, .wheel = *wheel, .entry_bytes = average_entry_bytes(table) };
    return bytes_of_db(&db);
}

void grave_take_db(Table *table, Wheel *wheel, TableVisit free_entry)
{
    bool idle = graves.length == 0; /* or else FLUSHALL would take as long once for each database */
    size_t entry_bytes = average_entry_bytes(table);
    if (!table_free_some(table, DB_AT_ONCE_STEPS, free_entry, NULL) && !wheel_free_some(wheel, DB_AT_ONCE_STEPS))
        return;
    BuriedDb *db = g_new(BuriedDb, 1);
    *db = (BuriedDb){ *table, *wheel, free_entry, entry_bytes };
    grave_open(KIND_DB, db);
    if (idle) grave_step(DB_AT_ONCE_US);
}

void grave_take_table(Table *table, TableVisit free_element, size_t element_bytes)
{
    BuriedTable *buried = g_new(BuriedTable, 1);
    *buried = (BuriedTable){ table, free_element, element_bytes };
    grave_open(KIND_TABLE, buried);
}

/* ---- freeing ---- */

/* A few steps on the topmost. Others may come on top of it meanwhile. */
static void dig(void)
{
    Grave *grave = graves.head->data;
    bool left = kinds[grave->kind].free_some(grave->object, STEPS_PER_LOOK);
    bytes_left -= grave->bytes;
    if (left) {
        grave->bytes = kinds[grave->kind].bytes(grave->object);
        bytes_left += grave->bytes;
        return;
    }
    g_queue_unlink(&graves, &grave->link);
    g_free(grave);
}

bool grave_step(int64_t budget_us)
{
    if (graves.length == 0) return false;
    int64_t end_us = clock_now_us() + budget_us;
    do {
        dig();
    } while (graves.length > 0 && clock_now_us() < end_us);
    return graves.length > 0;
}

size_t grave_bytes(void)
{
    return bytes_left;
}

void grave_drain(void)
{
    while (graves.length > 0)
        dig();
}
