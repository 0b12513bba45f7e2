/* test_rdbcheckpoint.c: store/rdbcheckpoint: a checkpoint file of random data with big collections, written as an RDB
 * file and read again, has the same; a damaged file is said to be.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/pagefile.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"
#include "tests/unit/host.h"
#include "tests/unit/rdbmodel.h"

static Keyspace *ks;
static Manifest manifest;
static uint64_t offset;

static int setup(void **context)
{
    (void)context;
    assert_true(host_enter_checkpoints(&manifest));
    ks = random_keyspace(300);
    checkpoint_init(ks, &manifest, NULL);
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    assert_true(host_leave_checkpoints(ks, &manifest));
    return 0;
}

static void save(void)
{
    char *error = NULL;
    CheckpointStep step;
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    while ((step = checkpoint_step(1000, offset)) != CHECKPOINT_DONE) {
        if (step == CHECKPOINT_FAILED) fail_msg("%s", checkpoint_status().error);
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
    }
}

static void on_progress(void *context, double part)
{
    double *last = context;
    assert_true(part >= *last && part <= 1);
    *last = part;
}

/* Writes the newest file into the sink. NULL, or what is wrong; to g_free. */
static char *write_newest(Sink *sink)
{
    int newest = manifest_newest(&manifest);
    double last = 0;
    RdbWriter *writer = rdb_writer_new(take, sink);
    rdb_write_head(writer, clock_unix_ms, 0);
    char *error =
        rdb_write_checkpoint(writer, checkpoint_file_name[newest], &manifest.checkpoint[newest], on_progress, &last);
    rdb_write_end(writer);
    rdb_writer_free(writer);
    return error;
}

static void check_newest(void)
{
    Sink sink = { .file = g_string_new(NULL), .left = SIZE_MAX };
    char *error = write_newest(&sink);
    if (error != NULL) fail_msg("%s", error);
    Memory memory = { .left = text_of(sink.file), .at_once = SIZE_MAX };
    RdbSource source = { .read = read_memory, .context = &memory };
    Keyspace *copy = keyspace_new(DATABASES);
    RdbReader *reader = rdb_reader_new(copy, &source);
    unsigned steps;
    if (read_all(reader, &steps) != RDB_DONE) fail_msg("%s", rdb_reader_error(reader));
    assert_same(ks, copy);
    rdb_reader_free(reader);
    keyspace_free(copy);
    g_string_free(sink.file, TRUE);
}

/* A collection that is kept as pages. */
static void put_big(Db *db, Slice key, ValueType type)
{
    Entry *entry = keyspace_put_object(db, key, type,
                                       type == TYPE_LIST   ? (void *)list_new()
                                       : type == TYPE_SET  ? (void *)set_new()
                                       : type == TYPE_HASH ? (void *)hash_new()
                                                           : (void *)zset_new());
    for (int i = 0; i < 20000; i++)
        add_random(entry, 60);
}

static void grow(Db *db, Slice key)
{
    Entry *entry = keyspace_write(db, key);
    g_autoptr(GString) text = g_string_new("in the middle");
    if (entry->type == TYPE_LIST) list_insert(&entry->list, SLICE("marker"), text_of(text), true);
    for (int i = 0; i < 500; i++)
        add_random(entry, 60);
    if (entry->type == TYPE_LIST) list_push(&entry->list, LIST_HEAD, SLICE("marker"));
}

static void test_files(void **state)
{
    (void)state;
    static const char *const keys[] = { "a list", "a set", "a zset", "a hash" };
    for (int i = 0; i < 4; i++)
        put_big(&ks->dbs[i], slice_of(keys[i]), TYPE_LIST + i);
    for (int round = 0; round < 5; round++) {
        save();
        check_newest();
        for (int i = 0; i < 4; i++)
            grow(&ks->dbs[i], slice_of(keys[i]));
        for (int i = 0; i < 20; i++)
            put_random(&ks->dbs[g_rand_int_range(dice, 0, DATABASES)]);
    }
}

static void test_empty(void **state)
{
    (void)state;
    for (int i = 0; i < DATABASES; i++)
        keyspace_flush(&ks->dbs[i]);
    save();
    check_newest();
}

static void test_failing_sink(void **state)
{
    (void)state;
    save();
    Sink sink = { .file = g_string_new(NULL), .left = 200000 };
    g_autofree char *error = write_newest(&sink);
    assert_non_null(strstr(error, "can't be written"));
    g_string_free(sink.file, TRUE);
}

/* A record is taken away. */
static void lose_record(const char *path, char kind)
{
    char *error = NULL;
    Slice key = { NULL, 0 };
    PageFile *file = pagefile_open(path, PAGEFILE_CHANGE, 0, &error);
    assert_non_null(file);
    do {
        assert_true(pagefile_next(file, &key, &error));
    } while (!record_is(key, kind));
    assert_true(pagefile_delete(file, key, &error));
    free((void *)(uintptr_t)key.ptr);
    assert_true(pagefile_close(file, &error));
}

static void test_damage(void **state)
{
    (void)state;
    static const char kinds[] = { RECORD_PAGE, RECORD_ELEMENTS, RECORD_VALUE };
    put_big(&ks->dbs[0], SLICE("list"), TYPE_LIST);
    for (size_t i = 0; i < sizeof(kinds); i++) {
        put_random(&ks->dbs[1]);
        save();
        lose_record(checkpoint_file_name[manifest_newest(&manifest)], kinds[i]);
        Sink sink = { .file = g_string_new(NULL), .left = SIZE_MAX };
        g_autofree char *error = write_newest(&sink);
        assert_non_null(error);
        assert_true(g_str_has_prefix(error, "checkpoint-"));
        g_string_free(sink.file, TRUE);
    }
}

/* Where no thread can be started a checkpoint is refused, and nothing is lost by that. */
static void test_no_thread(void **context)
{
    (void)context;
    save();
    host_allow_threads(false);
    char *error = NULL;
    bool started = checkpoint_start(++offset, 0, clock_unix_ms, &error);
    host_allow_threads(true);
    assert_false(started);
    assert_non_null(strstr(error, "raise the limit of threads"));
    g_free(error);
    keyspace_put_string(&ks->dbs[0], SLICE("behind it"), SLICE("value"));
    save();
    check_newest();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_sink, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_thread, setup, teardown),
    };
    guint32 seed = 731;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests_name("rdbcheckpoint", tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
