/* test_evict.c: store/evict: which keys each policy lets go and how close to the idlest it comes, the pool when its
 * keys are gone, used or renamed, and bounded work.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/evict.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/mem.h"

#define NOW  1700000000000 /* a usual unix ms */
#define KEYS 4000

static GArray *evicted; /* of the keys' numbers, in order */

static void heard_evicted(Db *db, Slice key)
{
    (void)db;
    int number = atoi(key.ptr + 1);
    g_array_append_val(evicted, number);
}

static Slice key_name(int number, char *name)
{
    return (Slice){ name, (size_t)g_snprintf(name, 20, "k%d,", number) };
}

static Entry *put(Db *db, int number)
{
    char name[20];
    return keyspace_put_string(db, key_name(number, name), SLICE("some value of a usual length"));
}

static Keyspace *setup_keyspace(EvictPolicy policy)
{
    clock_unix_ms = NOW;
    evicted = g_array_new(FALSE, FALSE, sizeof(int));
    options.maxmemory_policy = policy;
    options.maxmemory_samples = 5;
    Keyspace *ks = keyspace_new(4);
    ks->hooks.evicted = heard_evicted;
    return ks;
}

static void end_keyspace(Keyspace *ks)
{
    options.maxmemory = 0;
    g_array_free(evicted, TRUE);
    keyspace_free(ks);
}

/* Lets about one key go. */
static bool evict_a_key(Keyspace *ks)
{
    options.maxmemory = (int64_t)mem_used() - 1;
    return evict_run(ks);
}

static void evict_keys(Keyspace *ks, guint count)
{
    while (evicted->len < count)
        assert_true(evict_a_key(ks));
}

static int evicted_key(guint i)
{
    return g_array_index(evicted, int, i);
}

/* Evicted keys whose number is below `number`. */
static guint evicted_below(int number)
{
    guint count = 0;
    for (guint i = 0; i < evicted->len; i++)
        count += evicted_key(i) < number;
    return count;
}

/* k0 is the idlest, each further key a minute less; over all four databases. `expiring`: every such key expires. */
static void put_aged_keys(Keyspace *ks, int expiring)
{
    for (int i = 0; i < KEYS; i++) {
        clock_unix_ms = NOW - (KEYS - i) * INT64_C(60000);
        Entry *entry = put(&ks->dbs[i % 4], i);
        if (i % expiring == 0) keyspace_set_deadline(&ks->dbs[i % 4], entry, NOW + (KEYS + 1 - i) * INT64_C(60000));
    }
    clock_unix_ms = NOW;
}

static void no_limit_no_policy_no_keys(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_NONE);
    put_aged_keys(ks, 2);
    options.maxmemory = 0;
    assert_true(evict_run(ks));
    options.maxmemory = INT64_MAX;
    assert_true(evict_run(ks));
    assert_false(evict_a_key(ks));
    assert_int_equal(evicted->len, 0);
    for (int db = 0; db < 4; db++)
        keyspace_flush(&ks->dbs[db]);
    for (EvictPolicy policy = EVICT_VOLATILE_LRU; policy <= EVICT_NONE; policy++) {
        options.maxmemory_policy = policy;
        assert_false(evict_a_key(ks));
    }
    end_keyspace(ks);
}

static void allkeys_lru_takes_the_idlest(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_ALLKEYS_LRU);
    put_aged_keys(ks, 2);
    evict_keys(ks, KEYS / 4);
    print_message("of %u evicted: %u of the idlest quarter, %u of the idlest half\n", evicted->len,
                  evicted_below(KEYS / 4), evicted_below(KEYS / 2));
    assert_in_range(evicted_below(KEYS / 4), KEYS / 4 * 65 / 100, KEYS / 4 + 3);
    assert_true(evicted_below(KEYS / 2) >= evicted->len * 99 / 100);
    assert_int_equal(ks->evicted, evicted->len);
    end_keyspace(ks);
}

static void volatile_policies_leave_the_others(void **state)
{
    (void)state;
    const EvictPolicy which[] = { EVICT_VOLATILE_LRU, EVICT_VOLATILE_RANDOM, EVICT_VOLATILE_TTL };
    for (size_t p = 0; p < G_N_ELEMENTS(which); p++) {
        Keyspace *ks = setup_keyspace(which[p]);
        put_aged_keys(ks, 10);
        while (evict_a_key(ks)) {
        }
        assert_int_equal(evicted->len, KEYS / 10);
        for (guint i = 0; i < evicted->len; i++)
            assert_int_equal(evicted_key(i) % 10, 0);
        size_t left = 0;
        for (int db = 0; db < 4; db++)
            left += keyspace_size(&ks->dbs[db]);
        assert_int_equal(left, KEYS - KEYS / 10);
        end_keyspace(ks);
    }
}

static void volatile_ttl_takes_the_soonest(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_VOLATILE_TTL);
    put_aged_keys(ks, 2); /* later keys have earlier deadlines, by a minute each */
    evict_keys(ks, KEYS / 4);
    /* A slot in which they wait is 280 minutes wide. */
    assert_int_equal(evicted_below(KEYS / 2 - 280), 0);
    end_keyspace(ks);
}

static void random_policies_take_any(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_ALLKEYS_RANDOM);
    put_aged_keys(ks, 2);
    evict_keys(ks, KEYS / 2);
    assert_in_range(evicted_below(KEYS / 2), KEYS / 4 - 250, KEYS / 4 + 250);
    end_keyspace(ks);
}

/* The pool names keys that meanwhile were deleted, used, renamed or made to stay. */
static void outdated_candidates_are_spared(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_VOLATILE_LRU);
    put_aged_keys(ks, 1);
    evict_keys(ks, 50);
    char name[20];
    for (int i = 0; i < KEYS / 2; i++) {
        Db *db = &ks->dbs[i % 4];
        Entry *entry = keyspace_peek(db, key_name(i, name));
        if (entry == NULL) continue;
        switch (i % 5) {
        case 0: keyspace_delete(db, key_name(i, name)); break;
        case 1: keyspace_read(db, key_name(i, name)); break;
        case 2: keyspace_set_deadline(db, entry, -1); break;
        case 3: keyspace_rename(db, entry, &ks->dbs[(i + 1) % 4], key_name(i, name)); break;
        default: keyspace_put_string(db, SLICE(""), SLICE("an empty key")); break;
        }
    }
    guint before = evicted->len;
    evict_keys(ks, before + 300);
    for (guint i = before; i < evicted->len; i++)
        assert_false(evicted_key(i) < KEYS / 2 && (evicted_key(i) % 5 == 1 || evicted_key(i) % 5 == 2));
    while (evict_a_key(ks)) {
    }
    for (int db = 0; db < 4; db++)
        assert_int_equal(ks->dbs[db].wheel.count, 0);
    end_keyspace(ks);
}

static void evicts_an_empty_key(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_ALLKEYS_LRU);
    keyspace_put_string(&ks->dbs[2], SLICE(""), SLICE("a value that is longer than twenty bytes"));
    evict_a_key(ks); /* the pool that is made for it takes more memory than it gives back */
    assert_int_equal(ks->evicted, 1);
    assert_int_equal(keyspace_size(&ks->dbs[2]), 0);
    end_keyspace(ks);
}

static void one_call_does_a_little(void **state)
{
    (void)state;
    Keyspace *ks = setup_keyspace(EVICT_ALLKEYS_LRU);
    for (int i = 0; i < 100000; i++)
        put(&ks->dbs[0], i);
    options.maxmemory = 1;
    int64_t start_us = clock_now_us();
    assert_true(evict_run(ks));
    assert_true(clock_now_us() - start_us < 100000);
    assert_in_range(keyspace_size(&ks->dbs[0]), 50000, 99999);
    while (evict_run(ks)) {
    }
    assert_int_equal(keyspace_size(&ks->dbs[0]), 0);
    end_keyspace(ks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_limit_no_policy_no_keys),
        cmocka_unit_test(allkeys_lru_takes_the_idlest),
        cmocka_unit_test(volatile_policies_leave_the_others),
        cmocka_unit_test(volatile_ttl_takes_the_soonest),
        cmocka_unit_test(random_policies_take_any),
        cmocka_unit_test(outdated_candidates_are_spared),
        cmocka_unit_test(evicts_an_empty_key),
        cmocka_unit_test(one_call_does_a_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
