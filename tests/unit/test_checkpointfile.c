/* test_checkpointfile.c: store/checkpointfile: pages that would have more than a record holds are made smaller ones,
 * whatever is in them, in both files, and what is loaded is what was there; and what a database that is emptied leaves
 * in the files.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/checkpointfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/hash.h"
#include "store/set.h"
#include "tests/unit/host.h"
#include "tests/unit/rdbmodel.h"

/* For a few of what is long here; it's 1.5 GB otherwise. */
#define RECORD_MAX  4096
#define LONG        1500
#define KEYS        20
#define MEMBERS     2000
#define TIMES_MAX   20

#define MANY        20000
#define MANY_PAGES  500 /* fewer than these keys have */
#define VALUES      30
#define VALUE_BYTES 20000

static Keyspace *ks;
static Manifest manifest;
static uint64_t offset;

static int setup(void **context)
{
    (void)context;
    assert_true(host_enter_checkpoints(&manifest));
    ks = keyspace_new(DATABASES);
    checkpoint_init(ks, &manifest, NULL);
    checkpoint_record_max = RECORD_MAX;
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    assert_true(host_leave_checkpoints(ks, &manifest));
    return 0;
}

/* A name of LONG bytes that ends in the number. */
static Slice long_name(char *room, int number)
{
    memset(room, 'n', LONG);
    memcpy(room + LONG - sizeof(number), &number, sizeof(number));
    return (Slice){ room, LONG };
}

static void put_keys(Db *db, int from, int to)
{
    char name[LONG];
    for (int i = from; i < to; i++)
        keyspace_put_string(db, long_name(name, i), SLICE("value"));
}

static void put_set(Db *db)
{
    char name[LONG];
    Entry *entry = keyspace_put_object(db, SLICE("set"), TYPE_SET, set_new());
    for (int i = 0; i < MEMBERS; i++) {
        Slice member = i % 10 == 0 ? long_name(name, i) : (Slice){ (const char *)&i, sizeof(i) };
        set_add(&entry->set, set_member(member));
    }
}

static CheckpointStep make_one(void)
{
    char *error = NULL;
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    CheckpointStep step;
    while ((step = checkpoint_step(1000, offset)) == CHECKPOINT_MORE || step == CHECKPOINT_WAIT) {
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
    }
    return step;
}

/* What the newest file has, which is as it should be. */
static Keyspace *load_newest(void)
{
    int newest = manifest_newest(&manifest), databases = 0;
    char *error = NULL;
    assert_true(newest >= 0);
    Keyspace *copy = keyspace_new(DATABASES);
    const CheckpointInfo *info = &manifest.checkpoint[newest];
    assert_int_equal(info->offset, offset);
    assert_null(checkpoint_verify(checkpoint_file_name[newest], info, NULL, NULL));
    CheckpointLoad *load = checkpoint_load_begin(copy, checkpoint_file_name[newest], info, -1, &databases, &error);
    if (load == NULL) fail_msg("%s", error);
    int left;
    while ((left = checkpoint_load_step(load, 1000, &error)) > 0) {
    }
    if (left < 0) fail_msg("%s", error);
    checkpoint_load_free(load);
    return copy;
}

static void check_newest(void)
{
    Keyspace *copy = load_newest();
    assert_same(ks, copy);
    keyspace_free(copy);
}

/* Begins another as long as it's told to; how often it was. */
static int make_whole(void)
{
    for (int times = 0; times < TIMES_MAX; times++) {
        CheckpointStep step = make_one();
        if (step == CHECKPOINT_DONE) {
            check_newest();
            return times;
        }
        assert_int_equal(step, CHECKPOINT_AGAIN);
        assert_non_null(checkpoint_status().error);
    }
    fail_msg("it's never whole");
    return 0;
}

static void test_keys(void **context)
{
    (void)context;
    put_keys(&ks->dbs[1], 0, 2);
    assert_int_equal(make_whole(), 0);
    assert_int_equal(make_whole(), 0);
    put_keys(&ks->dbs[1], 2, KEYS);
    assert_true(make_whole() > 0);
    assert_int_equal(make_whole(), 0);     /* the other file: it's known by now */
    put_keys(&ks->dbs[1], KEYS / 2, KEYS); /* (one more might be too many for its page) */
    assert_int_equal(make_whole(), 0);
    assert_null(checkpoint_status().error);
}

static void test_elements(void **context)
{
    (void)context;
    put_set(&ks->dbs[0]);
    assert_true(make_whole() > 0);
    assert_int_equal(make_whole(), 0);
    assert_int_equal(make_whole(), 0);
}

/* A change that has the page saved finds it out as well, and has no part of it saved. */
static void test_change(void **context)
{
    (void)context;
    put_keys(&ks->dbs[0], 0, KEYS);
    char *error = NULL;
    assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
    put_keys(&ks->dbs[0], KEYS, KEYS + 1);
    assert_int_equal(checkpoint_step(1000, offset), CHECKPOINT_AGAIN);
    make_whole();
}

/* What has more than that alone isn't divided. */
static void test_alone(void **context)
{
    (void)context;
    g_autofree char *name = g_strnfill(2UL * RECORD_MAX, 'x');
    keyspace_put_string(&ks->dbs[0], slice_of(name), SLICE("value"));
    assert_int_equal(make_whole(), 0);
}

static void put_values(Db *db, int from, int to)
{
    char name[16];
    g_autofree char *value = g_strnfill(VALUE_BYTES, 'v');
    for (int i = from; i < to; i++)
        keyspace_put_string(db, (Slice){ name, (size_t)sprintf(name, "large %d", i) }, slice_of(value));
}

/* One database is emptied that has a few large values: the others' pages needn't be written again for that. */
static void test_emptied(void **context)
{
    (void)context;
    char name[16];
    for (int i = 0; i < MANY; i++)
        keyspace_put_int(&ks->dbs[1], (Slice){ name, (size_t)sprintf(name, "key %d", i) }, i);
    put_values(&ks->dbs[0], 0, VALUES);
    make_whole();
    put_values(&ks->dbs[0], VALUES / 2, VALUES);
    make_whole();
    assert_true(checkpoint_status().last_pages > MANY_PAGES);
    keyspace_flush(&ks->dbs[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(make_whole(), 0);
        assert_in_range(checkpoint_status().last_pages, 0, MANY_PAGES);
        put_values(&ks->dbs[0], 0, 3 * i);
    }
    /* And while one runs, wherever that is. */
    for (int steps = 0; steps < 60; steps++) {
        char *error = NULL;
        put_values(&ks->dbs[0], 0, VALUES);
        assert_true(checkpoint_start(++offset, 0, clock_unix_ms, &error));
        for (int i = 0; i < steps; i++)
            checkpoint_step(1, 0);
        keyspace_flush(&ks->dbs[0]);
        put_values(&ks->dbs[0], 0, VALUES / 3);
        CheckpointStep step;
        while ((step = checkpoint_step(1000, offset)) != CHECKPOINT_DONE) {
            assert_true(step == CHECKPOINT_MORE || step == CHECKPOINT_WAIT);
            if (step == CHECKPOINT_WAIT) checkpoint_wait();
        }
        keyspace_free(load_newest());
        make_whole();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_emptied, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
