/* checkpoint.c: see checkpoint.h. (Loading is in checkpointload.c, the thread in checkpointwriter.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/checkpoint.h"

#include "base/clock.h"
#include "store/checkpointfile.h"
#include "store/checkpointwriter.h"
#include "store/evict.h"
#include "store/garbage.h"
#include "store/grave.h"
#include "store/hash.h"
#include "store/image.h"
#include "store/large.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"

/* A file is written from scratch if more pages of it are garbage than this, and than it keeps. */
#define GARBAGE_MAX 1024

/* What a turn of the loop gives to a checkpoint. */
#define TURN_US_MAX 1000

/* Pages saved, or pieces of a string or a big page copied, between two looks at the clock: at most 256 kB of one. */
#define PAGES_A_LOOK 4
#define PIECE_BYTES  (64UL << 10)

/* A string whose record is made in pieces, from the moment when its page is saved. It may not change meanwhile. */
typedef struct ValueCopy {
    GList link;        /* in the walk's copies */
    LargeValue *large; /* NULL: forgotten since; the record is garbage in the next checkpoint */
    Entry *entry;
    RecordKey key;
    uint32_t sum;  /* of the record that the file has now; 0: there's none */
    bool adopted;  /* the entry isn't in a database any more: it's freed here */
    Image record;  /* empty: not begun */
    size_t copied; /* bytes of the string */
    PageChecksum *checksum;
} ValueCopy;

/* A collection's page of more than PIECE_BYTES, whose record is made in pieces. It stays pending until it's whole: who
 * is about to change it has the rest copied first. */
typedef struct PageCopy {
    PageMap *map; /* NULL: there's none under way */
    uint64_t page;
    GPtrArray *elements;
    guint next;    /* the element that is being copied, */
    size_t copied; /* and bytes of its block that are */
    Image record;
    PageChecksum *checksum;
} PageCopy;

typedef struct Walk {
    int slot;
    uint64_t number; /* the first one is 1 */
    CheckpointInfo info;
    CheckpointWriter *writer;
    GQueue maps;   /* PageMap * with pending pages; databases first */
    Image batch;   /* of pages */
    Image values;  /* of large values, which come up while a page is being encoded */
    GQueue copies; /* ValueCopy *: strings, once their page is saved */
    Table copy_of; /* the same by their entries */
    PageCopy page;
    size_t held;     /* bytes of memory that they take and nobody else has use for */
    Garbage garbage; /* that is being removed */
    int64_t started_us;
    int64_t turn_us; /* what it took of this turn of the loop */
    uint64_t pages, total, bytes;
    bool saving; /* a page is being encoded */
    bool again;  /* a page is too big for a record: this one ends without a result */
    bool finishing;
} Walk;

CheckpointFile checkpoint_files[PAGE_FILES] = { { .epoch = 1 }, { .epoch = 1 } };
uint64_t checkpoint_next_id = 1;

static struct {
    Keyspace *keyspace;
    Manifest *manifest;
    void (*progressed)(void);
    Garbage garbage[PAGE_FILES];
    bool renew[PAGE_FILES]; /* it has records that are neither counted as garbage nor belong to what there is */
    GPtrArray *elements;    /* of the page that is being encoded */
    TableVisit free_entry;
    Walk *walk;     /* NULL: no checkpoint is running */
    uint64_t walks; /* that there were */
    CheckpointStatus last;
    char *error;
} state;

void checkpoint_init(Keyspace *keyspace, Manifest *manifest, void (*progressed)(void))
{
    state.keyspace = keyspace;
    state.manifest = manifest;
    state.progressed = progressed;
    if (state.elements == NULL) state.elements = g_ptr_array_new();
    state.last.last_ms = state.last.last_took_ms = -1;
    list_keep_numbers();
    keyspace->tracked = true;
    for (int i = 0; i < keyspace->db_count; i++) {
        Db *db = &keyspace->dbs[i];
        if (db->pages == NULL && db->table.count > 0) db->pages = pages_new(&db->table, PAGE_ENTRIES, (uint64_t)i);
    }
}

/* ---- records ---- */

/* As the writer's, and counted. */
static uint32_t record_seal(Image *batch, size_t start, uint64_t checksum)
{
    size_t payload_len;
    uint32_t sum = writer_seal_record(batch, start, checksum, &payload_len);
    state.walk->bytes += payload_len;
    return sum;
}

static uint32_t record_end(Image *batch, size_t start)
{
    size_t payload_len;
    uint32_t sum = writer_end_record(batch, start, &payload_len);
    state.walk->bytes += payload_len;
    return sum;
}

/* A record of the file has this sum from now on (0: it's gone). */
static void account(CheckpointFile *file, uint32_t *sum, uint32_t now)
{
    file->records += (now != 0) - (uint64_t)(*sum != 0);
    file->sum += now - (uint64_t)*sum;
    *sum = now;
}

static void delete_record(Walk *walk, const RecordKey *key, uint32_t *sum)
{
    if (*sum == 0) return;
    writer_begin_record(&walk->batch, RECORD_DELETE, key);
    account(&checkpoint_files[walk->slot], sum, 0);
}

static void save_page(Walk *walk, PageMap *map, uint64_t page);
static void page_copy_finish(Walk *walk);

/* ---- garbage ---- */

/* Where records of file f go that nothing refers to any more. While a page is being saved that means: not in the very
 * file that it's saved to. Otherwise the running checkpoint still refers to them. */
static Garbage *garbage_of(int f)
{
    bool saving = state.walk != NULL && state.walk->saving && state.walk->slot == f;
    return saving ? &state.walk->garbage : &state.garbage[f];
}

void checkpoint_forget_value(const LargeValue *large)
{
    RecordKey key = record_value(large->id);
    if (large->copy != NULL) large->copy->large = NULL;
    for (int f = 0; f < PAGE_FILES; f++) {
        if (large->epoch[f] != checkpoint_files[f].epoch || large->sum[f] == 0) continue;
        if (large->copy != NULL && f == state.walk->slot) continue; /* the record is still to come */
        garbage_add(garbage_of(f), &key, large->sum[f]);
    }
}

void checkpoint_leave_value(const LargeValue *large)
{
    if (large->copy != NULL) large->copy->large = NULL;
}

/* The set's pages in file f are added to the garbage; the set is empty. */
static void discard_set(const PageMap *map, PageSet *set, int f, Garbage *to)
{
    if (set->dirty != NULL && set->epoch == checkpoint_files[f].epoch)
        garbage_add_pages(to, (PageKind)map->kind, map->id, set);
    pages_set_clear(set);
}

void checkpoint_forget_map(PageMap *map)
{
    if (map->pending != NULL) {
        /* Few, if any: a collection is handed over rather than saved at once (checkpoint_adopt). */
        if (state.walk->page.map == map) page_copy_finish(state.walk);
        for (int64_t page; (page = pages_next(map)) >= 0;)
            save_page(state.walk, map, (uint64_t)page);
        g_queue_remove(&state.walk->maps, map);
    }
    for (int f = 0; f < PAGE_FILES; f++)
        discard_set(map, &map->set[f], f, garbage_of(f));
    pages_free(map);
}

/* Removes one record of the garbage; false: there's none left. */
static bool remove_garbage(Walk *walk)
{
    RecordKey key;
    uint32_t sum;
    if (!garbage_next(&walk->garbage, &key, &sum)) return false;
    delete_record(walk, &key, &sum);
    return true;
}

/* ---- encoding ---- */

static unsigned wanted_bits(const PageMap *map, size_t per_page)
{
    return MAX(pages_bits(map->table->count, per_page), map->bits_min);
}

static bool bits_are_off(const PageMap *map, const PageSet *set, unsigned wanted)
{
    return wanted > set->bits + 2U || wanted + 2 < set->bits || set->bits < map->bits_min;
}

/* The map's dirty pages are the walk's from now on. A set that belongs to an earlier file, or whose bits don't suit any
 * more, begins anew. */
static void walk_add_map(Walk *walk, PageMap *map, size_t per_page)
{
    PageSet *set = &map->set[walk->slot];
    unsigned bits = wanted_bits(map, per_page);
    bool usable = set->dirty != NULL && set->epoch == checkpoint_files[walk->slot].epoch;
    if (!usable || bits_are_off(map, set, bits)) {
        discard_set(map, set, walk->slot, &walk->garbage);
        pages_set_reset(set, checkpoint_files[walk->slot].epoch, bits);
    }
    pages_begin(map, set);
    uint64_t pending = pages_count_pending(map);
    walk->total += pending;
    if (pending == 0) {
        pages_end(map);
    } else {
        g_queue_push_tail(&walk->maps, map);
    }
}

/* Addresses differ in their middle bits (Knuth's multiplier spreads them). */
static uint64_t copy_hash(const void *copy)
{
    return __builtin_bswap64((uintptr_t)((const ValueCopy *)copy)->entry * 0x9E3779B97F4A7C15ULL);
}

static void copy_later(Walk *walk, LargeValue *large, Entry *entry)
{
    ValueCopy *copy = g_new(ValueCopy, 1);
    *copy = (ValueCopy){ { .data = copy }, large, entry, record_value(large->id), .sum = large->sum[walk->slot] };
    large->copy = copy;
    g_queue_push_tail_link(&walk->copies, &copy->link);
    table_insert(&walk->copy_of, copy_hash(copy), copy);
}

/* Whether the entry's value is kept as pages, which are the walk's then, too. */
static bool entry_paged(Walk *walk, const Entry *entry, size_t bytes, PagedValue *paged)
{
    if (entry->type == TYPE_STRING || !checkpoint_paged(entry->type, entry->object, paged)) return false;
    PageMap *map = *paged->pages;
    if (bytes < (map == NULL ? CHECKPOINT_PAGED_BYTES : CHECKPOINT_PAGED_BYTES / 2)) {
        if (map != NULL) checkpoint_forget_map(map);
        *paged->pages = NULL;
        return false;
    }
    if (entry->type == TYPE_LIST) {
        list_number_chunks(entry->list);
        list_paged(entry->list, paged);
    }
    if (map == NULL) map = *paged->pages = pages_new(paged->table, paged->kind, checkpoint_next_id++);
    if (map->walked != walk->number)
        walk_add_map(walk, map, checkpoint_page_elements(map->kind, bytes, paged->table->count));
    map->walked = walk->number;
    return true;
}

/* A value's whole record, which replaces the one with *sum. */
static void save_value(Walk *walk, const RecordKey *key, const Entry *entry, uint32_t *sum)
{
    size_t start = writer_begin_record(&walk->values, RECORD_PUT, key);
    image_put_value(&walk->values, entry);
    account(&checkpoint_files[walk->slot], sum, record_end(&walk->values, start));
}

static void encode_large(Walk *walk, Db *db, Entry *entry, size_t bytes)
{
    LargeValue *large = entry->large ? large_find(db, entry_key(entry)) : large_add(db, entry, checkpoint_next_id++);
    RecordKey key = record_value(large->id);
    image_put_head(&walk->batch, entry, IMAGE_ELSEWHERE, record_reference(large->id, RECORD_VALUE_BITS), bytes);
    uint32_t epoch = checkpoint_files[walk->slot].epoch, *sum = &large->sum[walk->slot];
    if (large->epoch[walk->slot] != epoch) {
        *sum = 0;
    } else if (!large->dirty[walk->slot]) {
        return;
    }
    large->epoch[walk->slot] = epoch;
    large->dirty[walk->slot] = false;
    if (entry->type == TYPE_STRING && entry->str.len > CHECKPOINT_COPIED_LATER) {
        copy_later(walk, large, entry);
    } else {
        save_value(walk, &key, entry, sum);
    }
}

static void encode_entry(Walk *walk, Db *db, Entry *entry)
{
    size_t bytes = image_value_bytes(entry);
    PagedValue paged;
    bool is_paged = entry_paged(walk, entry, bytes, &paged);
    if (entry->large && (is_paged || bytes <= CHECKPOINT_LARGE_BYTES)) large_forget(db, entry);
    if (is_paged) {
        db->own_records = true;
        unsigned bits = (*paged.pages)->set[walk->slot].bits;
        uint64_t id = record_reference((*paged.pages)->id, bits);
        image_put_head(&walk->batch, entry, IMAGE_ELSEWHERE, id, paged.table->count);
    } else if (bytes > CHECKPOINT_LARGE_BYTES) {
        encode_large(walk, db, entry, bytes);
    } else {
        image_put_head(&walk->batch, entry, IMAGE_INLINE, 0, 0);
        image_put_value(&walk->batch, entry);
    }
}

static void encode_elements(Walk *walk, const PageMap *map)
{
    Db *db = map->kind != PAGE_ENTRIES ? NULL : map->orphan != NULL ? map->orphan : &state.keyspace->dbs[map->id];
    for (guint i = 0; i < state.elements->len; i++) {
        void *element = state.elements->pdata[i];
        if (db != NULL) {
            encode_entry(walk, db, element);
        } else {
            checkpoint_encode_element(element, map->table, map->kind, &walk->batch);
        }
    }
}

static void send_batches(Walk *walk)
{
    writer_send(walk->writer, &walk->values);
    writer_send(walk->writer, &walk->batch);
}

/* What was done since then is a part of this turn's time, however little it was (checkpoint_ends_turn). */
static void count_time(int64_t began_us)
{
    state.walk->turn_us += MAX(clock_now_us() - began_us, 1);
}

/* ---- strings that are copied in pieces ---- */

static bool copy_matches(const void *copy, Slice address)
{
    return (const char *)((const ValueCopy *)copy)->entry == address.ptr;
}

/* NULL: there's none to be made. Whoever stores a long string asks, and there may be many. */
static ValueCopy *copy_of(const Entry *entry)
{
    if (state.walk == NULL || state.walk->copies.head == NULL) return NULL;
    ValueCopy probe = { .entry = (Entry *)(uintptr_t)entry };
    Slice address = { (const char *)entry, 0 };
    void **slot = table_find(&state.walk->copy_of, copy_hash(&probe), address, copy_matches);
    return slot == NULL ? NULL : *slot;
}

static size_t entry_bytes(const Entry *entry)
{
    return mem_round((size_t)(entry_string_bytes(entry) - (const char *)entry) + entry->str.cap);
}

/* The copy is made, or not wanted any more. */
static void copy_free(Walk *walk, ValueCopy *copy)
{
    g_queue_unlink(&walk->copies, &copy->link);
    uint64_t hash = copy_hash(copy);
    table_remove(&walk->copy_of, hash, table_find_pointer(&walk->copy_of, hash, copy));
    if (copy->large != NULL) copy->large->copy = NULL;
    if (copy->checksum != NULL) pagefile_checksum_end(copy->checksum);
    walk->held -= image_bytes(&copy->record);
    g_free(copy->record.bytes);
    if (copy->adopted) {
        walk->held -= entry_bytes(copy->entry);
        g_free(copy->entry);
    }
    g_free(copy);
}

/* The record is made: it's accounted for where its sum is looked up. */
static void copy_done(Walk *walk, ValueCopy *copy)
{
    if (copy->large != NULL) {
        copy->large->sum[walk->slot] = copy->sum;
    } else {
        garbage_add(garbage_of(walk->slot), &copy->key, copy->sum);
    }
    copy_free(walk, copy);
    if (walk->values.len >= WRITER_BATCH_BYTES) send_batches(walk);
}

static void copy_begin(Walk *walk, ValueCopy *copy)
{
    size_t len = copy->entry->str.len;
    image_room(&copy->record, sizeof(RecordHead) + copy->key.len + IMAGE_VARINT_BYTES_MAX + len + sizeof(uint64_t));
    walk->held += image_bytes(&copy->record);
    writer_begin_record(&copy->record, RECORD_PUT, &copy->key);
    size_t payload_at = copy->record.len;
    image_put_varint(&copy->record, len);
    copy->checksum = pagefile_checksum_begin(record_slice(&copy->key));
    pagefile_checksum_add(copy->checksum, (Slice){ copy->record.bytes + payload_at, copy->record.len - payload_at });
}

/* Behind the last piece. */
static void copy_end(Walk *walk, ValueCopy *copy)
{
    uint64_t checksum = pagefile_checksum_end(g_steal_pointer(&copy->checksum));
    account(&checkpoint_files[walk->slot], &copy->sum, record_seal(&copy->record, 0, checksum));
    walk->held -= image_bytes(&copy->record);
    writer_send(walk->writer, &copy->record);
    walk->held += image_bytes(&copy->record); /* of the buffer that came in exchange */
    copy_done(walk, copy);
}

/* Copies the next piece. True: it was the last one, and the copy is gone. */
static bool copy_piece(Walk *walk, ValueCopy *copy)
{
    Slice value = { entry_string_bytes(copy->entry), copy->entry->str.len };
    if (value.len <= PIECE_BYTES) {
        save_value(walk, &copy->key, copy->entry, &copy->sum);
        copy_done(walk, copy);
        return true;
    }
    if (copy->record.len == 0) copy_begin(walk, copy);
    Slice piece = { value.ptr + copy->copied, MIN(value.len - copy->copied, PIECE_BYTES) };
    image_put_bytes(&copy->record, piece);
    pagefile_checksum_add(copy->checksum, piece);
    copy->copied += piece.len;
    if (copy->copied < value.len) return false;
    copy_end(walk, copy);
    return true;
}

bool checkpoint_adopt_string(Entry *entry)
{
    ValueCopy *copy = copy_of(entry);
    if (copy == NULL) return false;
    copy->adopted = true;
    state.walk->held += entry_bytes(entry);
    return true;
}

bool checkpoint_needs_string(const Entry *entry)
{
    return copy_of(entry) != NULL;
}

bool checkpoint_copy_string(const Entry *entry, bool in_time)
{
    ValueCopy *copy = copy_of(entry);
    for (bool copied = copy == NULL; !copied;) {
        if (in_time && checkpoint_is_pressed()) return false;
        int64_t began_us = clock_now_us();
        copied = copy_piece(state.walk, copy);
        count_time(began_us);
    }
    return true;
}

/* The page's elements into state.elements. */
static void collect_page(const PageMap *map, uint64_t page)
{
    g_ptr_array_set_size(state.elements, 0);
    pages_collect(map->table, map->pending_bits, page, state.elements);
}

/* Their bytes, without values of keys. */
static size_t collected_bytes(const PageMap *map)
{
    size_t bytes = 0;
    for (guint i = 0; i < state.elements->len; i++)
        bytes += checkpoint_element_bytes(map->table, map->kind, state.elements->pdata[i]).len;
    return bytes;
}

/* Whether they fit a record. If they don't, they're in more pages the next time. */
static bool page_fits(Walk *walk, PageMap *map, size_t bytes)
{
    if (bytes <= checkpoint_record_max || state.elements->len == 1 || map->pending_bits == PAGES_BITS_MAX) return true;
    map->bits_min = map->pending_bits + 1;
    walk->again = true;
    return false;
}

/* The elements that were collected are the page's, and have so many bytes. */
static void save_collected(Walk *walk, PageMap *map, uint64_t page, size_t bytes)
{
    map->pending[page / 64] &= ~(1ULL << (page % 64));
    if (!page_fits(walk, map, bytes)) return;
    RecordKey key = record_page(map->kind, map->id, map->pending_bits, page);
    uint32_t *sum = &map->set[walk->slot].sums[page];
    if (state.elements->len == 0) {
        delete_record(walk, &key, sum);
    } else {
        size_t start = writer_begin_record(&walk->batch, RECORD_PUT, &key);
        walk->saving = true;
        encode_elements(walk, map);
        walk->saving = false;
        account(&checkpoint_files[walk->slot], sum, record_end(&walk->batch, start));
    }
    walk->pages++;
    if (walk->batch.len + walk->values.len >= WRITER_BATCH_BYTES) send_batches(walk);
}

static void save_page(Walk *walk, PageMap *map, uint64_t page)
{
    collect_page(map, page);
    save_collected(walk, map, page, collected_bytes(map));
}

/* ---- pages that are copied in pieces ---- */

/* Begins to copy a page that is pending, if it's big; else it's saved at once. */
static void save_page_in_pieces(Walk *walk, PageMap *map, uint64_t page)
{
    collect_page(map, page);
    size_t bytes = collected_bytes(map);
    if (map->kind == PAGE_ENTRIES || bytes <= PIECE_BYTES || !page_fits(walk, map, bytes)) {
        save_collected(walk, map, page, bytes);
        return;
    }
    RecordKey key = record_page(map->kind, map->id, map->pending_bits, page);
    PageCopy *copy = &walk->page;
    *copy = (PageCopy){ .map = map, .page = page, .elements = g_steal_pointer(&state.elements) };
    state.elements = g_ptr_array_new();
    image_room(&copy->record, sizeof(RecordHead) + key.len + bytes + sizeof(uint64_t) +
                                  LIST_CHUNK_HEAD_BYTES_MAX * (size_t)copy->elements->len);
    walk->held += image_bytes(&copy->record);
    writer_begin_record(&copy->record, RECORD_PUT, &key);
    copy->checksum = pagefile_checksum_begin(record_slice(&key));
}

static void page_copy_drop(Walk *walk)
{
    PageCopy *copy = &walk->page;
    if (copy->map == NULL) return;
    if (copy->checksum != NULL) pagefile_checksum_end(copy->checksum);
    walk->held -= image_bytes(&copy->record);
    g_free(copy->record.bytes);
    g_ptr_array_free(copy->elements, TRUE);
    *copy = (PageCopy){ .map = NULL };
}

/* Behind the last piece. */
static void page_copy_end(Walk *walk)
{
    PageCopy *copy = &walk->page;
    PageMap *map = copy->map;
    uint64_t checksum = pagefile_checksum_end(g_steal_pointer(&copy->checksum));
    account(&checkpoint_files[walk->slot], &map->set[walk->slot].sums[copy->page],
            record_seal(&copy->record, 0, checksum));
    map->pending[copy->page / 64] &= ~(1ULL << (copy->page % 64));
    walk->pages++;
    walk->held -= image_bytes(&copy->record);
    writer_send(walk->writer, &copy->record);
    walk->held += image_bytes(&copy->record); /* of the buffer that came in exchange */
    page_copy_drop(walk);
}

/* Copies about PIECE_BYTES more. True: those were the last, and the copy is gone. */
static bool page_copy_piece(Walk *walk)
{
    PageCopy *copy = &walk->page;
    size_t start = copy->record.len;
    while (copy->next < copy->elements->len && copy->record.len - start < PIECE_BYTES) {
        const void *element = copy->elements->pdata[copy->next];
        if (copy->copied == 0 && copy->map->kind == PAGE_CHUNKS) list_chunk_encode_head(element, &copy->record);
        Slice block = checkpoint_element_bytes(copy->map->table, copy->map->kind, element);
        size_t len = MIN(block.len - copy->copied, PIECE_BYTES);
        image_put_bytes(&copy->record, (Slice){ block.ptr + copy->copied, len });
        copy->copied += len;
        if (copy->copied < block.len) continue;
        copy->next++;
        copy->copied = 0;
    }
    pagefile_checksum_add(copy->checksum, (Slice){ copy->record.bytes + start, copy->record.len - start });
    if (copy->next < copy->elements->len) return false;
    page_copy_end(walk);
    return true;
}

static void page_copy_finish(Walk *walk)
{
    while (!page_copy_piece(walk)) {
    }
}

void pages_save(PageMap *map, uint64_t hash)
{
    Walk *walk = state.walk;
    uint64_t page = pages_page(map, hash);
    if (!pages_is_pending(map, page)) return;
    int64_t began_us = clock_now_us();
    if (walk->page.map == map && walk->page.page == page) {
        page_copy_finish(walk);
    } else {
        save_page(walk, map, page);
    }
    count_time(began_us);
}

bool pages_save_in_time(PageMap *map, uint64_t hash)
{
    while (pages_saves(map, hash)) {
        if (checkpoint_is_pressed()) return false;
        int64_t began_us = clock_now_us();
        if (state.walk->page.map != NULL) {
            page_copy_piece(state.walk);
        } else {
            save_page_in_pieces(state.walk, map, pages_page(map, hash));
        }
        count_time(began_us);
    }
    return true;
}

bool checkpoint_is_walking(void)
{
    return state.walk != NULL && !state.walk->finishing;
}

bool checkpoint_is_pressed(void)
{
    return checkpoint_turn_us() >= TURN_US_MAX;
}

int64_t checkpoint_turn_us(void)
{
    return state.walk != NULL ? state.walk->turn_us : 0;
}

void checkpoint_end_turn(void)
{
    if (state.walk != NULL) state.walk->turn_us = 0;
}

/* ---- the walk ---- */

/* What a map with this `orphan_type` is of: a whole database, as a Db of its own. */
#define ORPHAN_DB 255

/* The database's values are about to be freed, little by little, and a checkpoint may end before that: it couldn't
 * remove all their own records from a file. So the files are begun anew, unless the records are of a few large values,
 * which are known. (The pages of its keys are taken over.) */
static void leave_records(Db *db)
{
    if (db->own_records || (db->large != NULL && db->large->count > GARBAGE_MAX)) {
        state.renew[0] = state.renew[1] = true;
    } else {
        large_each(db, checkpoint_forget_value);
    }
    large_leave_all(db);
}

/* The pages of a database that was emptied are saved: those that the database has now take the place of all of them. */
static void bury_db(PageMap *map)
{
    Db *ghost = map->orphan, *db = &state.keyspace->dbs[ghost->index];
    leave_records(ghost);
    if (db->pages == NULL) db->pages = pages_new(&db->table, PAGE_ENTRIES, (uint64_t)db->index);
    for (int f = 0; f < PAGE_FILES; f++) {
        PageSet *set = &db->pages->set[f];
        g_assert(set->dirty == NULL);
        *set = map->set[f];
        map->set[f] = (PageSet){ 0 };
        if (set->dirty != NULL) pages_set_dirty(set);
    }
    pages_free(map);
    grave_take_db(&ghost->table, &ghost->wheel, state.free_entry);
    g_free(ghost);
}

/* Nothing of the map is pending any more. */
static void walk_drop_map(Walk *walk, PageMap *map)
{
    g_queue_remove(&walk->maps, map);
    pages_end(map);
    void *orphan = map->orphan;
    if (orphan == NULL) return;
    walk->held -= map->orphan_bytes;
    if (map->orphan_type == ORPHAN_DB) {
        bury_db(map);
        return;
    }
    ValueType type = map->orphan_type;
    checkpoint_adopt(type, orphan);
    grave_take(type, orphan);
}

/* What the map is of has been deleted, and goes when its pages are saved. Nobody else has use for its memory. */
static void keep_orphan(PageMap *map, void *orphan, uint8_t type, size_t bytes)
{
    map->orphan = orphan;
    map->orphan_type = type;
    map->orphan_bytes = bytes;
    state.walk->held += bytes;
}

bool checkpoint_adopt(ValueType type, void *object)
{
    PagedValue paged;
    if (!checkpoint_paged(type, object, &paged) || *paged.pages == NULL) return false;
    PageMap *map = *paged.pages;
    if (map->pending == NULL) {
        checkpoint_forget_map(map);
        *paged.pages = NULL;
        return false;
    }
    keep_orphan(map, object, (uint8_t)type, grave_bytes_of(type, object));
    return true;
}

/* A database's part of all that is data. (A sample alone may miss the few big collections that make up most of it.) */
static size_t db_bytes(const Db *db)
{
    double all = 1, used = (double)evict_used(), gone = (double)grave_bytes();
    for (int i = 0; i < state.keyspace->db_count; i++) {
        const Db *other = &state.keyspace->dbs[i];
        if (other->table.count > 0) all += (double)grave_bytes_of_db(&other->table, &other->wheel);
    }
    return (size_t)(MAX(used - gone, 0) * (double)grave_bytes_of_db(&db->table, &db->wheel) / all);
}

bool checkpoint_adopt_db(Db *db, TableVisit free_entry)
{
    PageMap *map = db->pages;
    if (map == NULL) return false;
    state.free_entry = free_entry;
    if (map->pending == NULL) {
        leave_records(db);
        for (int f = 0; f < PAGE_FILES; f++) {
            if (map->set[f].dirty != NULL) pages_set_dirty(&map->set[f]);
        }
        return false;
    }
    Db *ghost = g_new(Db, 1);
    *ghost = *db;
    map->table = &ghost->table;
    keep_orphan(map, ghost, ORPHAN_DB, db_bytes(db));
    db->pages = NULL;
    db->large = NULL;
    return true;
}

/* The walk ends, in whatever way; the maps' pages that are left aren't saved. */
static void walk_free(Walk *walk)
{
    page_copy_drop(walk);
    while (walk->maps.head != NULL)
        walk_drop_map(walk, walk->maps.head->data);
    while (walk->copies.head != NULL)
        copy_free(walk, walk->copies.head->data);
    table_free(&walk->copy_of);
    writer_free(walk->writer);
    garbage_clear(&walk->garbage);
    g_free(walk->batch.bytes);
    g_free(walk->values.bytes);
    g_free(walk);
    state.walk = NULL;
}

/* Nothing that is in the file counts any more: it'll be written from scratch. */
static void file_reset(int f)
{
    CheckpointFile *file = &checkpoint_files[f];
    *file = (CheckpointFile){ .epoch = file->epoch + 1 };
    garbage_clear(&state.garbage[f]);
    state.renew[f] = false;
}

static CheckpointStep walk_fail(const char *why)
{
    g_free(state.error);
    state.error = g_strdup(why);
    state.last.error = state.error;
    int slot = state.walk->slot;
    writer_is_done(state.walk->writer, state.manifest);
    state.manifest->checkpoint[slot].whole = false;
    walk_free(state.walk);
    file_reset(slot);
    return CHECKPOINT_FAILED;
}

void checkpoint_abort(const char *why)
{
    if (state.walk != NULL) walk_fail(why);
}

/* Whether the file has to, or had better, be written from scratch. */
static bool wants_new_file(int slot)
{
    if (!checkpoint_files[slot].usable || state.renew[slot]) return true;
    uint64_t garbage = state.garbage[slot].records;
    if (garbage > GARBAGE_MAX && garbage > checkpoint_files[slot].records / 2) return true;
    for (int i = 0; i < state.keyspace->db_count; i++) {
        const PageMap *map = state.keyspace->dbs[i].pages;
        if (map == NULL || map->table->count <= GARBAGE_MAX) continue;
        const PageSet *set = &map->set[slot];
        bool kept = set->epoch == checkpoint_files[slot].epoch;
        if (kept && bits_are_off(map, set, wanted_bits(map, CHECKPOINT_PAGE_KEYS))) return true;
    }
    return false;
}

static uint64_t expected_records(void)
{
    uint64_t records = 0;
    for (int i = 0; i < state.keyspace->db_count; i++)
        records += state.keyspace->dbs[i].table.count / CHECKPOINT_PAGE_KEYS;
    return records;
}

/* The record of the databases and their keys, which a load wants to know first. */
static void save_databases(Walk *walk)
{
    RecordKey key = { .len = (uint8_t)RECORD_DATABASES.len };
    memcpy(key.bytes, RECORD_DATABASES.ptr, key.len);
    size_t start = writer_begin_record(&walk->batch, RECORD_PUT, &key);
    for (int i = 0; i < state.keyspace->db_count; i++) {
        const Db *db = &state.keyspace->dbs[i];
        if (db->table.count == 0 || db->pages == NULL) continue;
        image_put_varint(&walk->batch, (uint64_t)i);
        image_put_varint(&walk->batch, db->table.count);
        image_put_varint(&walk->batch, db->pages->set[walk->slot].bits);
        walk->info.keys += db->table.count;
    }
    CheckpointFile *file = &checkpoint_files[walk->slot];
    account(file, &file->databases_sum, record_end(&walk->batch, start));
}

bool checkpoint_start(uint64_t offset, int db, int64_t unix_ms, char **error)
{
    if (state.walk != NULL) {
        *error = g_strdup("a checkpoint is running already");
        return false;
    }
    int newest = manifest_newest(state.manifest), slot = newest == 0 ? 1 : 0;
    bool new_file = wants_new_file(slot);
    CheckpointWriter *writer = writer_start(state.manifest, slot, true, new_file ? PAGEFILE_NEW : PAGEFILE_CHANGE,
                                            expected_records(), state.progressed, error);
    if (writer == NULL) return false;
    if (new_file) file_reset(slot);
    Walk *walk = state.walk = g_new0(Walk, 1);
    walk->slot = slot;
    walk->number = ++state.walks;
    walk->info = (CheckpointInfo){ .offset = offset, .db = db, .unix_ms = unix_ms };
    g_strlcpy(walk->info.history, state.manifest->history, sizeof(walk->info.history));
    walk->started_us = clock_now_us();
    walk->garbage = state.garbage[slot];
    state.garbage[slot] = (Garbage){ 0 };
    g_queue_init(&walk->maps);
    g_queue_init(&walk->copies);
    table_init(&walk->copy_of, copy_hash);
    for (int i = 0; i < state.keyspace->db_count; i++) {
        if (state.keyspace->dbs[i].pages != NULL)
            walk_add_map(walk, state.keyspace->dbs[i].pages, CHECKPOINT_PAGE_KEYS);
    }
    walk->writer = writer;
    save_databases(walk);
    state.last.started_ms = unix_ms;
    return true;
}

/* Saves what is next; false: all is saved. */
static bool walk_on(Walk *walk)
{
    if (walk->copies.head != NULL) {
        copy_piece(walk, walk->copies.head->data);
        return true;
    }
    if (walk->page.map != NULL) {
        page_copy_piece(walk);
        return true;
    }
    PageMap *map = g_queue_peek_head(&walk->maps);
    if (map == NULL) return remove_garbage(walk);
    int64_t page = pages_next(map);
    if (page < 0) {
        walk_drop_map(walk, map);
        return true;
    }
    pages_prefetch(map->table, map->pending_bits, (uint64_t)page + 1);
    save_page_in_pieces(walk, map, (uint64_t)page);
    return true;
}

static void walk_finish(Walk *walk)
{
    const CheckpointFile *file = &checkpoint_files[walk->slot];
    send_batches(walk);
    walk->info.records = file->records;
    walk->info.sum = file->sum;
    walk->info.next_id = checkpoint_next_id;
    walk->info.took_ms = (clock_now_us() - walk->started_us) / 1000;
    walk->finishing = true;
    writer_finish(walk->writer, &walk->info);
}

static CheckpointStep walk_done(Walk *walk)
{
    writer_is_done(walk->writer, state.manifest);
    checkpoint_files[walk->slot].usable = true;
    state.last.last_ms = walk->info.unix_ms;
    state.last.last_took_ms = (clock_now_us() - walk->started_us) / 1000;
    state.last.last_pages = walk->pages;
    state.last.last_bytes = walk->bytes;
    state.last.error = NULL;
    walk_free(walk);
    return CHECKPOINT_DONE;
}

static CheckpointStep walk_until(Walk *walk, int64_t until_us, uint64_t durable)
{
    while (clock_now_us() < until_us) {
        if (writer_waiting(walk->writer) > WRITER_QUEUE_BYTES) return CHECKPOINT_WAIT;
        for (int i = 0; i < PAGES_A_LOOK; i++) {
            if (walk->again) return CHECKPOINT_MORE;
            if (walk_on(walk)) continue;
            send_batches(walk);
            if (durable >= walk->info.offset) walk_finish(walk);
            return CHECKPOINT_WAIT;
        }
    }
    return CHECKPOINT_MORE;
}

CheckpointStep checkpoint_step(int64_t budget_us, uint64_t durable)
{
    Walk *walk = state.walk;
    g_assert(walk != NULL);
    if (writer_error(walk->writer) != NULL) {
        g_autofree char *why = g_strdup(writer_error(walk->writer));
        return walk_fail(why);
    }
    if (walk->again) {
        walk_fail("a page has more bytes than a record holds");
        return CHECKPOINT_AGAIN;
    }
    if (walk->finishing) return writer_is_done(walk->writer, NULL) ? walk_done(walk) : CHECKPOINT_WAIT;
    int64_t began_us = clock_now_us();
    CheckpointStep step = walk_until(walk, began_us + budget_us, durable);
    count_time(began_us);
    return step;
}

void checkpoint_wait(void)
{
    if (state.walk != NULL) writer_wait(state.walk->writer);
}

CheckpointStatus checkpoint_status(void)
{
    CheckpointStatus status = state.last;
    status.state = state.walk == NULL      ? CHECKPOINT_IDLE
                   : state.walk->finishing ? CHECKPOINT_WRITING
                                           : CHECKPOINT_WALKING;
    status.last = state.manifest == NULL ? -1 : manifest_newest(state.manifest);
    if (state.walk == NULL) return status;
    status.offset = state.walk->info.offset;
    status.pages_done = state.walk->pages;
    status.pages_total = state.walk->total;
    status.bytes = state.walk->bytes;
    status.waiting_bytes = checkpoint_waiting_bytes();
    return status;
}

size_t checkpoint_waiting_bytes(void)
{
    return state.walk == NULL ? 0 : writer_held(state.walk->writer) + state.walk->held;
}

void checkpoint_forget_all(void)
{
    checkpoint_abort("the dataset is replaced");
    for (int i = 0; i < state.keyspace->db_count; i++) {
        Db *db = &state.keyspace->dbs[i];
        large_leave_all(db);
        db->own_records = false;
        g_clear_pointer(&db->pages, pages_free);
    }
    state.keyspace->tracked = false;
    for (int f = 0; f < PAGE_FILES; f++)
        file_reset(f);
}

void checkpoint_forget_files(void)
{
    checkpoint_abort("its files are given up");
    for (int f = 0; f < PAGE_FILES; f++) {
        file_reset(f);
        state.manifest->checkpoint[f].whole = false;
    }
    state.last = (CheckpointStatus){ .last_ms = -1, .last_took_ms = -1 };
}
