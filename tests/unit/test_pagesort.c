/* test_pagesort.c: store/pagesort: random datasets, taken at once or bit by bit, in memory or by way of the disk, make
 * files that load as the same; what can't be written, and a key that is there twice, are errors.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pagesort.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/pagefile.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"
#include "tests/unit/rdbmodel.h"
#include "tests/unit/simio.h"

/* Twice as many keys in one database fill more than a piece of each part. */
#define MANY       60000
#define FEW        300
#define RECORD_MAX 4096
#define VALUES_MAX 8192 /* what a page may have besides, of values and lengths; and what a chunk of a list has */
#define VALUE      "some bytes that no page has room for very many of: sixty-four...."

static Keyspace *taken; /* what pagesort empties */
static Keyspace *all;   /* the same keys, which stay */
static Manifest manifest;
static char *directory;
static PageSort *sort;

static int setup(void **context)
{
    (void)context;
    options_reset();
    clock_refresh();
    directory = g_dir_make_tmp("ckv-sort-XXXXXX", NULL);
    assert_int_equal(chdir(directory), 0);
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
    taken = keyspace_new(DATABASES);
    all = keyspace_new(DATABASES);
    sort = pagesort_new(taken, &manifest);
    sim_start();
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    pagesort_free(sort);
    sim_stop();
    keyspace_free(taken);
    keyspace_free(all);
    manifest_clear(&manifest);
    unlink(checkpoint_file_name[0]);
    unlink(MANIFEST_FILE);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(directory), 0); /* there's nothing else in it */
    g_free(directory);
    return 0;
}

/* ---- both keyspaces ---- */

static void put_string(int db, Slice key, Slice value)
{
    keyspace_put_string(&taken->dbs[db], key, value);
    keyspace_put_string(&all->dbs[db], key, value);
}

static void put_many(int db, int from, int to)
{
    char key[32];
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof(key), "key:%d", i);
        put_string(db, slice_of(key), SLICE(VALUE));
    }
}

/* The same random keys in both. */
static void put_randoms(int keys)
{
    guint32 seed = g_rand_int(dice);
    for (int i = 0; i < 2; i++) {
        g_rand_set_seed(dice, seed);
        for (int n = 0; n < keys; n++)
            put_random(&(i == 0 ? taken : all)->dbs[g_rand_int_range(dice, 0, DATABASES - 1)]);
    }
}

static void put_collection(Keyspace *keyspace, ValueType type)
{
    static const char *const keys[] = { "", "a list", "a set", "a zset", "a hash" };
    void *object = type == TYPE_LIST   ? (void *)list_new()
                   : type == TYPE_SET  ? (void *)set_new()
                   : type == TYPE_HASH ? (void *)hash_new()
                                       : (void *)zset_new();
    Entry *entry = keyspace_put_object(&keyspace->dbs[1], slice_of(keys[type]), type, object);
    for (int i = 0; i < 5000; i++)
        add_random(entry, 60);
}

static void put_collections(void)
{
    for (ValueType type = TYPE_LIST; type <= TYPE_HASH; type++) {
        guint32 seed = g_rand_int(dice);
        g_rand_set_seed(dice, seed);
        put_collection(taken, type);
        g_rand_set_seed(dice, seed);
        put_collection(all, type);
    }
}

static size_t count(const Keyspace *keyspace)
{
    size_t keys = 0;
    for (int i = 0; i < keyspace->db_count; i++)
        keys += keyspace->dbs[i].table.count;
    return keys;
}

static void take_some(void)
{
    assert_true(pagesort_take(sort));
    assert_int_equal(count(taken), 0);
}

/* ---- the file ---- */

static char *finish(void)
{
    CheckpointInfo info = { .offset = 4711, .db = 2, .unix_ms = clock_unix_ms };
    return pagesort_finish(sort, &info);
}

/* What the manifest on the disk promises is what a server finds, and can go on from. */
static void check_file(void)
{
    Manifest read;
    char *error = NULL;
    int databases = 0;
    assert_int_equal(manifest_read(".", &read, &error), MANIFEST_READ);
    const CheckpointInfo *info = &read.checkpoint[0];
    assert_true(info->whole);
    assert_string_equal(info->history, manifest.history);
    assert_int_equal(info->offset, 4711);
    assert_int_equal(info->db, 2);
    assert_int_equal(info->keys, count(all));
    assert_null(checkpoint_verify(checkpoint_file_name[0], info, NULL, NULL));
    Keyspace *copy = keyspace_new(DATABASES);
    checkpoint_init(copy, &read, NULL);
    CheckpointLoad *load = checkpoint_load_begin(copy, checkpoint_file_name[0], info, 0, &databases, &error);
    if (load == NULL) fail_msg("%s", error);
    int left;
    while ((left = checkpoint_load_step(load, 1000, &error)) > 0) {
    }
    if (left < 0) fail_msg("%s", error);
    checkpoint_load_free(load);
    assert_same(all, copy);
    checkpoint_forget_all();
    keyspace_free(copy);
    manifest_clear(&read);
}

static void finish_well(void)
{
    g_autofree char *error = finish();
    if (error != NULL) fail_msg("%s", error);
    assert_int_equal(count(taken), 0);
    check_file();
}

/* ---- tests ---- */

static void test_empty(void **context)
{
    (void)context;
    finish_well();
}

static void test_at_once(void **context)
{
    (void)context;
    put_randoms(FEW);
    put_collections();
    finish_well();
}

static void test_bit_by_bit(void **context)
{
    (void)context;
    for (int i = 0; i < 20; i++) {
        put_many(i % DATABASES, i * 100, i * 100 + 100);
        if (i % 3 == 0) take_some();
    }
    put_collections();
    take_some();
    take_some(); /* of nothing */
    finish_well();
    assert_int_equal(sim_calls(SIM_READ), 1); /* of the manifest */
}

static void test_by_disk(void **context)
{
    (void)context;
    put_many(0, 0, MANY);
    take_some();
    put_collections();
    take_some();
    put_many(0, MANY, 2 * MANY + 1000);
    put_many(3, 0, 20); /* fewer than there are parts */
    finish_well();
    assert_true(sim_calls(SIM_READ) > 200);
}

/* The bytes of the longest page. */
static size_t longest_page(void)
{
    char *error = NULL;
    size_t longest = 0;
    PageFile *file = pagefile_open(checkpoint_file_name[0], PAGEFILE_READ, 0, &error);
    assert_non_null(file);
    for (Slice key = { NULL, 0 }; pagefile_next(file, &key, &error);) {
        if (!record_is(key, RECORD_PAGE) && !record_is(key, RECORD_ELEMENTS)) continue;
        Slice payload = pagefile_get(file, key, &error);
        assert_non_null(payload.ptr);
        longest = MAX(longest, payload.len);
        free((void *)(uintptr_t)payload.ptr);
    }
    pagefile_abandon(file);
    return longest;
}

/* Pages that would have more than a record holds are smaller ones. */
static void test_long(void **context)
{
    (void)context;
    size_t before = checkpoint_record_max;
    checkpoint_record_max = RECORD_MAX;
    char name[1500] = "name";
    for (int i = 0; i < 100; i++) {
        memcpy(name + sizeof(name) - sizeof(i), &i, sizeof(i));
        put_string(i % 10 == 0 ? 1 : 2, (Slice){ name, sizeof(name) }, SLICE(VALUE));
    }
    put_many(2, 0, 1000);
    put_collections();
    finish_well();
    assert_in_range(longest_page(), 1, RECORD_MAX + VALUES_MAX);
    checkpoint_record_max = before;
}

/* However much comes, what is held is what comes between two takings. */
static void test_memory(void **context)
{
    (void)context;
    size_t before = mem_used(), most = 0;
    char key[32];
    for (int i = 0; i < 400000; i++) {
        snprintf(key, sizeof(key), "key:%d", i);
        keyspace_put_string(&taken->dbs[0], slice_of(key), SLICE(VALUE));
        if (i % 50000 == 0) take_some();
        most = MAX(most, mem_used() - before);
    }
    assert_in_range(most, 1, 30 << 20);
    g_autofree char *error = finish();
    assert_null(error);
    assert_int_equal(manifest.checkpoint[0].keys, 400000);
}

static void test_twice(void **context)
{
    (void)context;
    put_many(0, 0, 1000);
    take_some();
    put_many(1, 0, 1); /* in another database it's another key */
    put_many(0, 999, 1001);
    g_autofree char *error = finish();
    assert_string_equal(error, "a key is there twice");
}

static void put_all(void)
{
    put_many(0, 0, 2 * MANY);
    put_collections();
}

/* Whatever can't be done of it is an error, by a name, and nothing is listed. */
static void test_faults(void **context)
{
    (void)context;
    static const SimOp ops[] = { SIM_OPEN, SIM_WRITE, SIM_READ, SIM_SYNC, SIM_RENAME };
    static const uint64_t nth[] = { 1, 100 };
    for (size_t i = 0; i < G_N_ELEMENTS(ops) * G_N_ELEMENTS(nth); i++) {
        SimOp op = ops[i / G_N_ELEMENTS(nth)];
        put_all();
        sim_fail(op, nth[i % G_N_ELEMENTS(nth)], 1, ENOSPC);
        bool good = pagesort_take(sort);
        g_autofree char *error = finish();
        if (sim_has_failed(op)) {
            assert_non_null(error);
            assert_non_null(strstr(error, g_strerror(ENOSPC)));
            Manifest read;
            g_autofree char *why = NULL;
            assert_true(manifest_read(".", &read, &why) != MANIFEST_READ || !read.checkpoint[0].whole);
        } else {
            assert_null(error);
            assert_true(good);
        }
        sim_fail(op, 0, 0, 0);
        pagesort_free(sort);
        unlink(MANIFEST_FILE);
        manifest.checkpoint[0].whole = false;
        sort = pagesort_new(taken, &manifest);
    }
}

int main(void)
{
    dice = g_rand_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bit_by_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_by_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
