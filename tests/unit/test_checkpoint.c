/* test_checkpoint.c: checkpoints against the simplest model there is: the dataset as text, taken when the checkpoint
 * begins, while random changes go on until it ends. What is loaded must be that text, whatever was in the files before.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/evict.h"
#include "store/grave.h"
#include "store/hash.h"
#include "store/image.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/pagefile.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"
#include "tests/unit/host.h"

#define DATABASES 3

static Keyspace *ks;
static Manifest manifest;

/* ---- the dataset as text ---- */

static int order_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines in order: where things are in tables is nobody's business. */
static char *sort_lines(GPtrArray *lines)
{
    g_ptr_array_sort(lines, order_lines);
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < lines->len; i++)
        g_string_append_printf(text, "%s\n", (char *)lines->pdata[i]);
    g_ptr_array_free(lines, TRUE);
    return g_string_free(text, FALSE);
}

static void show_text(GString *line, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(value, digits);
    char *escaped = g_strndup(text.ptr, text.len);
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_MD5, (const guchar *)text.ptr, text.len);
    if (text.len < 40) {
        g_string_append_printf(line, " %s", escaped);
    } else {
        g_string_append_printf(line, " %s", sum);
    }
    g_free(sum);
    g_free(escaped);
}

static char *show_pairs(const Entry *entry)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    PackValue none = { .text = SLICE("") };
    HashWalk fields = { 0 };
    SetWalk members = { 0 };
    ZsetWalk ranks = { 0 };
    if (entry->type == TYPE_HASH) fields = hash_walk(entry->hash);
    if (entry->type == TYPE_SET) members = set_walk(entry->set);
    if (entry->type == TYPE_ZSET) ranks = zset_walk(entry->zset, 0, false);
    for (;;) {
        HashPair pair = { none, none };
        ZsetPair ranked = { .score = 0 };
        bool more = entry->type == TYPE_HASH  ? hash_next(&fields, &pair)
                    : entry->type == TYPE_SET ? set_next(&members, &pair.field)
                                              : zset_next(&ranks, &ranked);
        if (!more) return sort_lines(lines);
        if (entry->type == TYPE_ZSET) pair.field = ranked.member;
        GString *line = g_string_new(NULL);
        show_text(line, pair.field);
        show_text(line, pair.value);
        g_string_append_printf(line, " %.17g", ranked.score);
        g_ptr_array_add(lines, g_string_free(line, FALSE));
    }
}

static void show_value(GString *line, const Entry *entry)
{
    if (entry->type == TYPE_STRING) {
        char digits[NUMBER_INT_CHARS];
        show_text(line, (PackValue){ .text = entry_string(entry, digits) });
        return;
    }
    if (entry->type == TYPE_LIST) {
        ListWalk walk = list_walk(entry->list, 0, LIST_TAIL);
        for (PackValue value; list_next(&walk, &value);)
            show_text(line, value);
        return;
    }
    g_autofree char *pairs = show_pairs(entry);
    g_string_append_printf(line, " %s", pairs);
}

static const char *encoding_of(const Entry *entry)
{
    switch ((ValueType)entry->type) {
    case TYPE_LIST: return list_encoding(entry->list);
    case TYPE_SET: return set_encoding(entry->set);
    case TYPE_ZSET: return zset_encoding(entry->zset);
    case TYPE_HASH: return hash_encoding(entry->hash);
    default: return entry->encoding == STRING_INT ? "int" : entry->encoding == STRING_RAW ? "raw" : "embstr";
    }
}

typedef struct Shown {
    GPtrArray *lines;
    int db;
} Shown;

static void show_entry(void *element, void *context)
{
    const Entry *entry = element;
    Shown *shown = context;
    Slice key = entry_key(entry);
    GString *line = g_string_new(NULL);
    g_string_append_printf(line, "%d %.*s %s %ld", shown->db, (int)key.len, key.ptr, encoding_of(entry),
                           entry_deadline(entry));
    show_value(line, entry);
    g_ptr_array_add(shown->lines, g_string_free(line, FALSE));
}

static char *show(const Keyspace *keyspace)
{
    Shown shown = { .lines = g_ptr_array_new_with_free_func(g_free) };
    for (int i = 0; i < keyspace->db_count; i++) {
        shown.db = i;
        table_each(&keyspace->dbs[i].table, show_entry, &shown);
    }
    return sort_lines(shown.lines);
}

/* ---- random changes ---- */

static unsigned draw(unsigned bound)
{
    return (unsigned)g_random_int_range(0, (gint32)bound);
}

static Slice random_text(char *room, size_t most)
{
    size_t len = draw(8) == 0 ? draw((unsigned)most) : draw(30);
    for (size_t i = 0; i < len; i++)
        room[i] = (char)('a' + draw(26));
    if (draw(3) == 0) return (Slice){ room, (size_t)sprintf(room, "%u", draw(100000)) };
    return (Slice){ room, len };
}

static Entry *entry_for(Db *db, Slice key, ValueType type)
{
    Entry *entry = keyspace_write(db, key);
    if (entry != NULL && entry->type == type) return entry;
    switch (type) {
    case TYPE_LIST: return keyspace_put_object(db, key, type, list_new());
    case TYPE_SET: return keyspace_put_object(db, key, type, set_new());
    case TYPE_HASH: return keyspace_put_object(db, key, type, hash_new());
    default: return keyspace_put_object(db, key, type, zset_new());
    }
}

static void grow(Db *db, Slice key, ValueType type, unsigned count, unsigned range)
{
    char text[8000], field_text[20];
    Entry *entry = entry_for(db, key, type);
    while (count-- > 0) {
        Slice field = { field_text, (size_t)sprintf(field_text, "f%u", draw(range)) };
        Slice value = random_text(text, 100);
        double score = draw(1000) / 8.0;
        switch (type) {
        case TYPE_LIST: list_push(&entry->list, draw(2) == 0 ? LIST_HEAD : LIST_TAIL, value); break;
        case TYPE_SET: set_add(&entry->set, set_member(field)); break;
        case TYPE_HASH: hash_set(&entry->hash, field, value); break;
        default: zset_add(&entry->zset, field, &score, 0); break;
        }
    }
}

static void shrink(Db *db, Slice key)
{
    Entry *entry = keyspace_write(db, key);
    if (entry == NULL) return;
    char field_text[20];
    Slice field = { field_text, (size_t)sprintf(field_text, "f%u", draw(4000)) };
    bool empty = false;
    switch ((ValueType)entry->type) {
    case TYPE_LIST:
        list_remove_range(&entry->list, draw((unsigned)list_length(entry->list)), 1);
        empty = list_length(entry->list) == 0;
        break;
    case TYPE_SET:
        set_remove(&entry->set, set_member(field));
        empty = set_length(entry->set) == 0;
        break;
    case TYPE_HASH:
        hash_remove(&entry->hash, field);
        empty = hash_length(entry->hash) == 0;
        break;
    case TYPE_ZSET:
        zset_remove_ranks(&entry->zset, draw((unsigned)zset_length(entry->zset)), 1);
        empty = zset_length(entry->zset) == 0;
        break;
    default: break;
    }
    if (empty) keyspace_delete(db, key);
}

static void change_string(Db *db, Slice key)
{
    static char text[20000];
    Slice value = random_text(text, draw(4) == 0 ? sizeof(text) : 200);
    Entry *entry = keyspace_write(db, key);
    if (entry != NULL && entry->type == TYPE_STRING && draw(2) == 0) {
        size_t len = entry_string_len(entry) + value.len;
        if (len > 100000) return;
        entry = keyspace_resize_string(db, entry, len);
        memcpy(entry_string_bytes(entry) + len - value.len, value.ptr, value.len);
    } else if (draw(4) == 0) {
        keyspace_put_string_until(db, key, value, clock_unix_ms + 1000000 + draw(1000));
    } else {
        keyspace_put_string(db, key, value);
    }
}

/* One change, of any kind. */
static void change(unsigned keys)
{
    char name[20], other[20];
    Db *db = &ks->dbs[draw(DATABASES)];
    Slice key = { name, (size_t)sprintf(name, "k%u", draw(keys)) };
    Slice to = { other, (size_t)sprintf(other, "k%u", draw(keys)) };
    Entry *entry;
    switch (draw(12)) {
    case 0: keyspace_delete(db, key); break;
    case 1: grow(db, key, (ValueType)(1 + draw(4)), 1 + draw(5), 50); break;
    case 2:
        if (draw(20) == 0) grow(db, key, (ValueType)(1 + draw(4)), 4000, 6000);
        break;
    case 3: shrink(db, key); break;
    case 4:
        entry = keyspace_write(db, key);
        if (entry != NULL && !slice_equal(key, to)) keyspace_rename(db, entry, &ks->dbs[draw(DATABASES)], to);
        break;
    case 5:
        entry = keyspace_write(db, key);
        if (entry != NULL) keyspace_set_deadline(db, entry, draw(2) == 0 ? -1 : clock_unix_ms + 1000000 + draw(1000));
        break;
    case 6:
        if (draw(2000) == 0) keyspace_flush(db);
        break;
    default: change_string(db, key); break;
    }
}

/* ---- set-up ---- */

static int setup(void **context)
{
    (void)context;
    assert_true(host_enter_checkpoints(&manifest));
    ks = keyspace_new(DATABASES);
    checkpoint_init(ks, &manifest, NULL);
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    assert_true(host_leave_checkpoints(ks, &manifest));
    return 0;
}

static uint64_t offset;

/* A whole checkpoint, `changes` of them between any two of its steps. Returns the dataset at its start. */
static char *checkpoint_with(unsigned changes, unsigned keys)
{
    char *error = NULL, *text = show(ks);
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    for (;;) {
        switch (checkpoint_step(30, offset)) {
        case CHECKPOINT_DONE: return text;
        case CHECKPOINT_AGAIN:
        case CHECKPOINT_FAILED: fail_msg("%s", checkpoint_status().error); break;
        case CHECKPOINT_WAIT: checkpoint_wait(); break;
        case CHECKPOINT_MORE: break;
        }
        for (unsigned i = 0; i < changes; i++)
            change(keys);
    }
}

/* The keyspace that the newest file holds. */
static Keyspace *load_newest(Keyspace *into, int slot)
{
    Manifest read;
    char *error = NULL;
    int databases = 0;
    assert_int_equal(manifest_read(".", &read, &error), MANIFEST_READ);
    int newest = manifest_newest(&read);
    assert_true(newest >= 0);
    const CheckpointInfo *info = &read.checkpoint[newest];
    CheckpointLoad *load =
        checkpoint_load_begin(into, checkpoint_file_name[newest], info, slot < 0 ? -1 : newest, &databases, &error);
    if (load == NULL) fail_msg("%s", error);
    int more;
    while ((more = checkpoint_load_step(load, 1000, &error)) == 1) {
    }
    if (more < 0) fail_msg("%s", error);
    checkpoint_load_free(load);
    error = checkpoint_verify(checkpoint_file_name[newest], info, NULL, NULL);
    if (error != NULL) fail_msg("%s", error);
    manifest_clear(&read);
    return into;
}

static void check_newest(char *expected)
{
    Keyspace *loaded = load_newest(keyspace_new(DATABASES), -1);
    char *text = show(loaded);
    size_t same = 0;
    while (text[same] != '\0' && text[same] == expected[same])
        same++;
    if (strcmp(text, expected) != 0) fail_msg("loaded '%.100s' instead of '%.100s'", text + same, expected + same);
    keyspace_free(loaded);
    g_free(text);
    g_free(expected);
}

/* ---- tests ---- */

static void test_empty(void **context)
{
    (void)context;
    check_newest(checkpoint_with(0, 1));
    check_newest(checkpoint_with(0, 1));
}

static void test_random(void **context)
{
    (void)context;
    for (int round = 0; round < 30; round++) {
        unsigned keys = (unsigned)(1 << (4 + round % 9));
        for (unsigned i = 0; i < keys * 4; i++)
            change(keys);
        check_newest(checkpoint_with(round % 3 == 0 ? 0 : 20, keys));
    }
}

/* After a load, checkpoints go on from what the file holds. */
static void test_going_on_after_load(void **context)
{
    (void)context;
    for (int round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 5000; i++)
            change(700);
        check_newest(checkpoint_with(5, 700));
        checkpoint_forget_all();
        keyspace_free(ks);
        ks = keyspace_new(DATABASES);
        checkpoint_init(ks, &manifest, NULL);
        load_newest(ks, 0);
        for (int more = 0; more < 3; more++) {
            for (unsigned i = 0; i < 50; i++)
                change(700);
            check_newest(checkpoint_with(5, 700));
        }
    }
}

/* The files are given up, in the middle of a checkpoint or between two: the next one has all. */
static void test_forgotten_files(void **context)
{
    (void)context;
    for (int round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 5000; i++)
            change(700);
        if (round % 3 != 0) check_newest(checkpoint_with(5, 700));
        if (round % 2 == 0) {
            char *error = NULL;
            assert_true(checkpoint_start(offset, -1, clock_unix_ms, &error));
            for (unsigned i = 0; i < 500; i++) {
                change(700);
                if (i % 50 == 0 && checkpoint_status().state != CHECKPOINT_IDLE) checkpoint_step(1, offset);
            }
        }
        checkpoint_forget_files();
        assert_int_equal(checkpoint_status().state, CHECKPOINT_IDLE);
        assert_int_equal(checkpoint_status().last, -1);
        for (unsigned i = 0; i < 500; i++)
            change(700);
        check_newest(checkpoint_with(5, 700));
    }
}

/* A big hash is written once; later, only the pages of the fields that changed. */
static void test_big_collection_is_paged(void **context)
{
    (void)context;
    Slice key = SLICE("big");
    Entry *entry = keyspace_put_object(&ks->dbs[0], key, TYPE_HASH, hash_new());
    char field[20];
    for (int i = 0; i < 100000; i++)
        hash_set(&entry->hash, (Slice){ field, (size_t)sprintf(field, "field:%d", i) }, SLICE("0123456789abcdef"));
    check_newest(checkpoint_with(0, 1));
    check_newest(checkpoint_with(0, 1));
    uint64_t whole = checkpoint_status().last_bytes;
    entry = keyspace_write(&ks->dbs[0], key);
    for (int i = 0; i < 10; i++)
        hash_set(&entry->hash, (Slice){ field, (size_t)sprintf(field, "field:%d", i * 7919) }, SLICE("new"));
    check_newest(checkpoint_with(0, 1));
    assert_true(checkpoint_status().last_bytes < whole / 50);
    keyspace_delete(&ks->dbs[0], key);
    check_newest(checkpoint_with(0, 1));
    check_newest(checkpoint_with(0, 1));
}

/* Puts a payload under a key; its sum. */
static uint64_t put_record(PageFile *file, Slice key, Slice payload)
{
    char *error = NULL;
    uint64_t checksum = pagefile_checksum(key, payload);
    g_autofree char *sealed = g_malloc(payload.len + sizeof(checksum));
    memcpy(sealed, payload.ptr, payload.len);
    memcpy(sealed + payload.len, &checksum, sizeof(checksum));
    assert_true(pagefile_put(file, key, (Slice){ sealed, payload.len + sizeof(checksum) }, &error));
    return pagefile_sum(checksum);
}

/* Changes two pages of a collection for each other, each of them whole; what the sum of the file's records becomes. */
static uint64_t exchange_pages(const char *path, uint64_t sum)
{
    char *error = NULL;
    PageFile *file = pagefile_open(path, PAGEFILE_CHANGE, 0, &error);
    assert_non_null(file);
    Slice key = { 0 }, other = { 0 };
    while (pagefile_next(file, &key, &error) && other.ptr == NULL)
        if (record_is(key, RECORD_ELEMENTS)) other = (Slice){ g_memdup2(key.ptr, key.len), key.len };
    while (key.ptr != NULL && !record_is(key, RECORD_ELEMENTS) && pagefile_next(file, &key, &error))
        continue;
    assert_true(key.ptr != NULL && other.ptr != NULL);
    Slice one = pagefile_get(file, key, &error), two = pagefile_get(file, other, &error);
    assert_true(one.ptr != NULL && two.ptr != NULL);
    sum -= pagefile_sum(pagefile_checksum(key, one));
    sum -= pagefile_sum(pagefile_checksum(other, two));
    sum += put_record(file, key, two);
    sum += put_record(file, other, one);
    free((void *)(uintptr_t)one.ptr);
    free((void *)(uintptr_t)two.ptr);
    free((void *)(uintptr_t)key.ptr);
    g_free((void *)(uintptr_t)other.ptr);
    assert_true(pagefile_close(file, &error));
    return sum;
}

/* A file whose checksums are all right isn't loaded if elements are in pages that aren't theirs. */
static void test_elements_in_wrong_pages(void **context)
{
    static const ValueType types[] = { TYPE_SET, TYPE_HASH, TYPE_ZSET, TYPE_LIST };
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        for (int n = 0; n < 40; n++)
            grow(&ks->dbs[0], SLICE("big"), types[i], 1000, 1000000);
        check_newest(checkpoint_with(0, 1));
        Manifest read;
        char *error = NULL;
        int databases = 0, more;
        assert_int_equal(manifest_read(".", &read, &error), MANIFEST_READ);
        int newest = manifest_newest(&read);
        CheckpointInfo info = read.checkpoint[newest];
        info.sum = exchange_pages(checkpoint_file_name[newest], info.sum);
        error = checkpoint_verify(checkpoint_file_name[newest], &info, NULL, NULL);
        if (error != NULL) fail_msg("%s", error);
        Keyspace *into = keyspace_new(DATABASES);
        CheckpointLoad *load = checkpoint_load_begin(into, checkpoint_file_name[newest], &info, -1, &databases, &error);
        assert_non_null(load);
        while ((more = checkpoint_load_step(load, 1000, &error)) == 1) {
        }
        assert_int_equal(more, -1);
        assert_non_null(error);
        g_free(error);
        checkpoint_load_free(load);
        keyspace_free(into);
        manifest_clear(&read);
        teardown(context);
        setup(context);
    }
}

/* ---- a string that is copied in pieces ---- */

#define LONG_BYTES (4UL << 20)
static const Slice long_key = { "long", 4 };

static void put_long(char fill)
{
    g_autofree char *bytes = g_malloc(LONG_BYTES);
    memset(bytes, fill, LONG_BYTES);
    keyspace_put_string(&ks->dbs[0], long_key, (Slice){ bytes, LONG_BYTES });
}

static void delete_long(void)
{
    keyspace_delete(&ks->dbs[0], long_key);
}

static void replace_long(void)
{
    put_long('b');
}

static void change_long(void)
{
    entry_string_bytes(keyspace_write(&ks->dbs[0], long_key))[LONG_BYTES - 1] = 'c';
}

static void grow_long(void)
{
    keyspace_resize_string(&ks->dbs[0], keyspace_write(&ks->dbs[0], long_key), LONG_BYTES * 2);
}

static void shorten_long(void)
{
    keyspace_put_string(&ks->dbs[0], long_key, SLICE("short"));
}

static void rename_long(void)
{
    keyspace_rename(&ks->dbs[0], keyspace_write(&ks->dbs[0], long_key), &ks->dbs[1], SLICE("other"));
}

static void flush_long(void)
{
    keyspace_flush(&ks->dbs[0]);
}

static void keep_long(void)
{
}

/* A checkpoint with the smallest slices there are, and `meddle` before the one of this number. Returns their count. */
static unsigned walk_in_slices(void (*meddle)(void), unsigned at)
{
    char *error = NULL;
    unsigned slices = 0;
    bool meddled = false;
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    for (CheckpointStep step = CHECKPOINT_MORE; step != CHECKPOINT_DONE;) {
        if (slices == at && !meddled) meddle();
        meddled = slices >= at;
        step = checkpoint_step(1, offset);
        if (step == CHECKPOINT_FAILED) fail_msg("%s", checkpoint_status().error);
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
        slices += step == CHECKPOINT_MORE;
    }
    return slices;
}

/* The same, and what it saved. */
static unsigned checkpoint_in_slices(void (*meddle)(void), unsigned at)
{
    char *text = show(ks);
    unsigned slices = walk_in_slices(meddle, at);
    check_newest(text);
    return slices;
}

/* Whatever happens to it before, while or after it's copied: what is saved is what was there when the checkpoint began;
 * and the next checkpoints of both files have what is there then, and no more records. */
static void test_long_string(void **context)
{
    (void)context;
    static void (*const meddle[])(void) = { delete_long,  replace_long, change_long, grow_long,
                                            shorten_long, rename_long,  flush_long };
    for (unsigned i = 0; i < G_N_ELEMENTS(meddle); i++) {
        for (unsigned at = 0; at < 12; at += 5) {
            put_long('a');
            checkpoint_in_slices(meddle[i], at);
            checkpoint_in_slices(keep_long, 0);
            checkpoint_in_slices(keep_long, 0);
        }
    }
}

/* No slice copies more than 256 kB of it, even where another key of its page is written; a checkpoint that is given up
 * in the middle frees what it took. */
static void test_long_string_in_slices(void **context)
{
    (void)context;
    put_long('a');
    assert_true(checkpoint_in_slices(keep_long, 0) >= LONG_BYTES / (256UL << 10));
    put_long('b');
    char *error = NULL;
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    assert_int_equal(checkpoint_step(1, offset), CHECKPOINT_MORE);
    size_t waiting = checkpoint_waiting_bytes();
    delete_long();
    assert_true(checkpoint_waiting_bytes() >= waiting + LONG_BYTES);
    checkpoint_abort("enough");
    assert_int_equal(checkpoint_waiting_bytes(), 0);
    checkpoint_in_slices(keep_long, 0);
}

/* What the writer's thread frees of the loop's memory is gone from used_memory, too. */
static void test_long_string_is_uncounted(void **context)
{
    (void)context;
    put_long('a');
    checkpoint_in_slices(keep_long, 0);
    size_t used = mem_used();
    for (char fill = 'b'; fill < 'g'; fill++) {
        put_long(fill);
        checkpoint_in_slices(keep_long, 0);
    }
    assert_in_range(mem_used(), used - LONG_BYTES / 2, used + LONG_BYTES / 2);
}

/* Nothing that waits for the writer counts for maxmemory. (A sanitizer counts what gdbm keeps, too.) */
static void test_waiting_is_no_data(void **context)
{
    (void)context;
    if (g_str_equal(mem_allocator(), "sanitizer")) skip();
    char *error = NULL, key[20], value[400];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 100000; i++)
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", i) }, (Slice){ value, 400 });
    size_t used = evict_used();
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    size_t waiting = 0;
    for (int i = 0; i < 100000; i++) {
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", i) }, (Slice){ value, 400 });
        waiting = MAX(waiting, checkpoint_waiting_bytes());
        assert_in_range(evict_used(), used - (1UL << 20), used + (1UL << 20));
    }
    assert_true(waiting > 64UL << 10);
    checkpoint_abort("enough");
}

/* ---- pages that are copied in pieces ---- */

#define ELEMENT_BYTES (256UL << 10)
#define ELEMENTS      16
static const Slice big_key = { "big", 3 };
static ValueType big_type;

/* So many elements that some share a page with others, each longer than a piece. */
static void put_big(char fill)
{
    keyspace_delete(&ks->dbs[0], big_key);
    Entry *entry = entry_for(&ks->dbs[0], big_key, big_type);
    g_autofree char *bytes = g_malloc(ELEMENT_BYTES);
    for (int i = 0; i < ELEMENTS; i++) {
        memset(bytes, fill, ELEMENT_BYTES);
        Slice text = { bytes, ELEMENT_BYTES };
        char field[20];
        double score = i;
        /* Told apart at the end. */
        sprintf(field, "%018d", i);
        memcpy(bytes + ELEMENT_BYTES - 18, field, 18);
        switch (big_type) {
        case TYPE_LIST: list_push(&entry->list, LIST_TAIL, text); break;
        case TYPE_SET: set_add(&entry->set, set_member(text)); break;
        case TYPE_HASH:
            hash_admit(&entry->hash, &text, 1);
            hash_set(&entry->hash, (Slice){ field, 18 }, text);
            break;
        default: zset_add(&entry->zset, text, &score, 0); break;
        }
    }
}

static void keep_big(void)
{
}

static void delete_big(void)
{
    keyspace_delete(&ks->dbs[0], big_key);
}

static void replace_big(void)
{
    put_big('b');
}

static void flush_big(void)
{
    keyspace_flush(&ks->dbs[0]);
}

/* Something new, and all that there was but the last one or two goes. */
static void change_big(void)
{
    Entry *entry = entry_for(&ks->dbs[0], big_key, big_type);
    double score = -1;
    char field[20];
    switch (big_type) {
    case TYPE_LIST:
        list_set(&entry->list, ELEMENTS / 2, SLICE("new"));
        list_remove_range(&entry->list, 0, ELEMENTS / 2);
        break;
    case TYPE_SET: set_add(&entry->set, set_member(SLICE("new"))); break;
    case TYPE_HASH:
        for (int i = 0; i < ELEMENTS; i++) {
            Slice name = { field, (size_t)sprintf(field, "%018d", i) };
            if (i % 2 == 0) hash_set(&entry->hash, name, SLICE("new"));
            if (i % 3 == 0) hash_remove(&entry->hash, name);
        }
        break;
    default: zset_add(&entry->zset, SLICE("new"), &score, 0); zset_remove_ranks(&entry->zset, 0, ELEMENTS / 2);
    }
}

/* It's small from now on: no pages are kept of it. */
static void shrink_big(void)
{
    Entry *entry = entry_for(&ks->dbs[0], big_key, big_type);
    switch (big_type) {
    case TYPE_LIST: list_remove_range(&entry->list, 0, ELEMENTS - 1); break;
    case TYPE_SET:
        while (set_length(entry->set) > 1)
            set_remove(&entry->set, set_random(entry->set));
        break;
    case TYPE_HASH: replace_big(); break;
    default: zset_remove_ranks(&entry->zset, 0, ELEMENTS - 1);
    }
}

/* The same for elements that are longer than a piece, in each type: what is saved is what was there, and a slice copies
 * no more than 256 kB. */
static void test_long_elements(void **context)
{
    (void)context;
    static void (*const meddle[])(void) = { delete_big, replace_big, change_big, shrink_big, flush_big };
    for (big_type = TYPE_LIST; big_type <= TYPE_HASH; big_type++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(meddle); i++) {
            put_big('a');
            checkpoint_in_slices(meddle[i], 7 + i);
            checkpoint_in_slices(keep_big, 0);
            checkpoint_in_slices(keep_big, 0);
        }
        put_big('c');
        assert_true(checkpoint_in_slices(keep_big, 0) >= ELEMENTS * ELEMENT_BYTES / (256UL << 10));
    }
}

#define MANY_HASHES  100
#define MANY_FIELDS  5000
#define OTHER_KEYS   20000
#define LARGE_VALUES 100
#define LARGE_BYTES  3000

/* Collections with pages and values with records of their own, so many that a flush leaves most of them to the grave.
 */
static void put_much(void)
{
    char name[20], field[20];
    static char text[CHECKPOINT_COPIED_LATER * 8];
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < MANY_HASHES; i++) {
        Slice key = { name, (size_t)sprintf(name, "hash%d", i) };
        Entry *entry = entry_for(&ks->dbs[0], key, TYPE_HASH);
        for (int j = 0; j < MANY_FIELDS; j++)
            hash_set(&entry->hash, (Slice){ field, (size_t)sprintf(field, "f%d", j) }, SLICE("some value"));
    }
    for (int i = 0; i < OTHER_KEYS; i++) {
        Slice key = { name, (size_t)sprintf(name, "key%d", i) };
        size_t len = i >= LARGE_VALUES ? 10 : i == 0 ? sizeof(text) : LARGE_BYTES;
        keyspace_put_string(&ks->dbs[0], key, (Slice){ text, len });
    }
}

/* Checkpoints of a database that was emptied hold nothing else than what came since, although most of what it had is
 * still to be freed. */
static void test_flush_leaves_no_records(void **context)
{
    (void)context;
    for (unsigned at = 0; at < 1000; at += 300) {
        put_much();
        walk_in_slices(keep_big, 0);
        put_much(); /* all pages change */
        walk_in_slices(at == 0 ? keep_big : flush_big, at);
        if (at == 0) keyspace_flush(&ks->dbs[0]);
        keyspace_put_string(&ks->dbs[0], SLICE("new"), SLICE("value"));
        assert_int_equal(keyspace_size(&ks->dbs[0]), 1);
        if (at % 600 == 0) walk_in_slices(keep_big, 0);
        assert_true(grave_bytes() > 0);
        checkpoint_in_slices(keep_big, 0); /* which then frees all there is, with what it loaded */
        for (int i = 0; i < 3; i++)
            checkpoint_in_slices(keep_big, 0);
    }
}

/* What was deleted while a checkpoint needs it still takes memory, but is no data: nothing else has to go for it. */
static void test_deleted_is_no_data(void **context)
{
    (void)context;
    char *error = NULL;
    put_much();
    size_t used = evict_used();
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    keyspace_flush(&ks->dbs[0]);
    assert_true(evict_used() < used / 4);
    checkpoint_abort("enough");
    grave_drain();
    assert_int_equal(checkpoint_waiting_bytes(), 0);
    used = evict_used();
    big_type = TYPE_HASH;
    put_big('a');
    walk_in_slices(keep_big, 0);
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    assert_int_equal(checkpoint_step(1, offset), CHECKPOINT_MORE); /* it has saved the key, and few elements */
    keyspace_delete(&ks->dbs[0], big_key);
    assert_in_range(evict_used(), 0, used + ELEMENT_BYTES * ELEMENTS / 4);
    checkpoint_abort("enough");
    assert_int_equal(checkpoint_waiting_bytes(), 0);
}

/* What SPOP does that leaves few members: these become the set, and the one before goes at once, of which the
 * checkpoint may have pages yet to save. */
static void replace_members(void)
{
    Entry *entry = keyspace_write(&ks->dbs[0], big_key);
    set_free(entry->set);
    entry->set = set_new();
    set_add(&entry->set, set_member(SLICE("kept")));
}

static void test_replaced_members(void **context)
{
    (void)context;
    static char text[2000];
    for (unsigned at = 0; at < 3; at++) {
        Entry *entry = keyspace_put_object(&ks->dbs[0], big_key, TYPE_SET, set_new());
        for (int i = 0; i < 60; i++) {
            snprintf(text, sizeof(text), "%0*d", (int)sizeof(text) - 1, i);
            set_add(&entry->set, set_member(slice_of(text)));
        }
        checkpoint_in_slices(replace_members, at);
        checkpoint_in_slices(keep_big, 0);
        checkpoint_in_slices(keep_big, 0);
    }
}

/* One of many keys that fails at MANIFEST, which still lists the file: the next one takes it out before it touches it.
 */
static void test_failed_one_is_unlisted(void **context)
{
    (void)context;
    char *error = NULL, key[20];
    for (int i = 0; i < 20000; i++)
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", i) }, SLICE("some value"));
    walk_in_slices(keep_big, 0);
    walk_in_slices(keep_big, 0);
    int slot = manifest_newest(&manifest) == 0 ? 1 : 0;
    assert_int_equal(g_mkdir("MANIFEST.tmp", 0700), 0);
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    CheckpointStep step;
    while ((step = checkpoint_step(1000, offset)) != CHECKPOINT_FAILED) {
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
        assert_int_not_equal(step, CHECKPOINT_DONE);
    }
    assert_int_equal(g_rmdir("MANIFEST.tmp"), 0);
    assert_false(manifest.checkpoint[slot].whole);
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    Manifest read = { .checkpoint[0].whole = true, .checkpoint[1].whole = true };
    for (int i = 0; i < 5000 && read.checkpoint[slot].whole; i++) {
        checkpoint_step(1000, 0); /* it isn't finished before its offset is durable */
        g_usleep(1000);
        assert_int_equal(manifest_read(".", &read, &error), MANIFEST_READ);
        manifest_clear(&read);
    }
    assert_false(read.checkpoint[slot].whole);
    assert_true(read.checkpoint[1 - slot].whole);
    checkpoint_abort("enough");
    checkpoint_in_slices(keep_big, 0);
}

/* One that fails because the file can't grow gives back the room that it took: others need it. */
static void test_failed_one_takes_no_room(void **context)
{
    (void)context;
    char *error = NULL, key[20];
    g_autofree char *value = g_strnfill(1000, 'v');
    for (int i = 0; i < 4000; i++)
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", i) }, slice_of(value));
    for (int tries = 0; tries < 2; tries++) {
        int slot = manifest_newest(&manifest) == 0 ? 1 : 0;
        struct rlimit before;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1 << 20, before.rlim_max }), 0);
        assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
        CheckpointStep step;
        while ((step = checkpoint_step(1000, offset)) != CHECKPOINT_FAILED) {
            if (step == CHECKPOINT_WAIT) checkpoint_wait();
            assert_int_not_equal(step, CHECKPOINT_DONE);
        }
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        struct stat about;
        assert_int_equal(stat(checkpoint_file_name[slot], &about), 0);
        assert_int_equal(about.st_size, 0);
        checkpoint_in_slices(keep_big, 0);
    }
}

/* A checkpoint that is given up in the middle of a page frees what it took. */
static void test_long_elements_given_up(void **context)
{
    (void)context;
    char *error = NULL;
    big_type = TYPE_HASH;
    put_big('a');
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    for (int i = 0; i < 3; i++)
        assert_int_equal(checkpoint_step(1, offset), CHECKPOINT_MORE);
    assert_true(checkpoint_waiting_bytes() >= ELEMENT_BYTES);
    checkpoint_abort("enough");
    assert_int_equal(checkpoint_waiting_bytes(), 0);
    checkpoint_in_slices(keep_big, 0);
}

/* Pages saved before changes and steps count towards what a turn gives to a checkpoint. */
static void test_turns_are_bounded(void **context)
{
    (void)context;
    char *error = NULL, key[20];
    for (int i = 0; i < 100000; i++)
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", i) }, SLICE("some value"));
    assert_false(checkpoint_is_pressed());
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    assert_false(checkpoint_is_pressed());
    int changes = 0;
    for (; changes < 100000 && !checkpoint_is_pressed(); changes++)
        keyspace_put_string(&ks->dbs[0], (Slice){ key, (size_t)sprintf(key, "k%d", changes) }, SLICE("another"));
    assert_in_range(changes, 1, 99999);
    checkpoint_end_turn();
    assert_false(checkpoint_is_pressed());
    while (!checkpoint_is_pressed() && checkpoint_status().state == CHECKPOINT_WALKING) {
        if (checkpoint_step(100, 0) == CHECKPOINT_WAIT) checkpoint_wait();
    }
    assert_true(checkpoint_is_pressed());
    checkpoint_abort("enough");
    assert_false(checkpoint_is_pressed());
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_going_on_after_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_big_collection_is_paged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elements_in_wrong_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_string, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_string_in_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_string_is_uncounted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_is_no_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_elements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_leaves_no_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_is_no_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_one_is_unlisted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_one_takes_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_elements_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
