/* test_expire.c: store/expire: the wheel against a plain array of deadlines under random operations, with small steps
 * and huge jumps of time, forwards and backwards; bounded slices; far deadlines; and active expiry of a keyspace.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/expire.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/keyspace.h"

#define NOW  1700000000000 /* a usual unix ms */
#define KEYS 2000

/* Slices that an advance may take: only something endless takes more. A jump over all of 64 bits is the longest. */
#define ROUNDS_MAX 1000000

/* The model: entry k is in the wheel if held[k]. Its key is its number, so what the wheel hands out is known. */
static Entry *entries[KEYS];
static bool held[KEYS];
static size_t held_count;

static Entry *make_entry(uint32_t number)
{
    Entry *entry = g_malloc0(sizeof(Entry) + sizeof(Deadline));
    entry->expires = 1;
    entry->key_len = number;
    return entry;
}

static void setup_entries(void)
{
    held_count = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        entries[k] = make_entry(k);
        held[k] = false;
    }
}

static void free_entries(void)
{
    for (uint32_t k = 0; k < KEYS; k++)
        g_free(entries[k]);
}

static void hold(Wheel *wheel, uint32_t k, int64_t at_ms)
{
    entry_deadline_block(entries[k])->at_ms = at_ms;
    wheel_add(wheel, entries[k]);
    held[k] = true;
    held_count++;
}

static void let_go(uint32_t k)
{
    assert_true(held[k]);
    held[k] = false;
    held_count--;
}

/* Advances to the time in slices of `steps`; checks that exactly what is due comes out, but for what is due since less
 * than `late_ms`. */
static void advance_roughly(Wheel *wheel, int64_t now_ms, int steps, int late_ms)
{
    int left, rounds = 0;
    do {
        left = steps;
        Entry *entry;
        while ((entry = wheel_next(wheel, now_ms, &left)) != NULL) {
            assert_ptr_equal(entry, entries[entry->key_len]);
            assert_true(entry_deadline(entry) <= now_ms);
            let_go(entry->key_len);
        }
        assert_true(left >= 0);
        assert_true(rounds++ < ROUNDS_MAX);
    } while (left == 0);
    for (uint32_t k = 0; k < KEYS; k++)
        assert_false(held[k] && entry_deadline(entries[k]) <= now_ms - late_ms);
    assert_int_equal(wheel->count, held_count);
    assert_true(wheel->now_ms == now_ms);
}

static void advance(Wheel *wheel, int64_t now_ms, int steps)
{
    advance_roughly(wheel, now_ms, steps, 0);
}

/* A deadline at any distance: the number of bits is uniform. */
static int64_t random_distance(GRand *rand, int bits_max)
{
    uint64_t value = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    return (int64_t)(value >> (64 - g_rand_int_range(rand, 1, bits_max)));
}

/* The sampling functions give what is there, and the soonest is about that. */
static void check_samples(const Wheel *wheel)
{
    const Entry *any = wheel_random(wheel), *soonest = wheel_soonest(wheel);
    assert_true((any == NULL) == (held_count == 0) && (soonest == NULL) == (held_count == 0));
    if (held_count == 0) return;
    assert_true(held[any->key_len] && entries[any->key_len] == any);
    assert_true(held[soonest->key_len] && entries[soonest->key_len] == soonest);
}

static void run_model(uint32_t seed, int distance_bits, int jump_bits, bool backwards)
{
    print_message("seed %u\n", seed);
    GRand *rand = g_rand_new_with_seed(seed);
    Wheel wheel;
    int64_t now = NOW;
    wheel_init(&wheel, now);
    setup_entries();
    for (int round = 0; round < 60000; round++) {
        uint32_t k = (uint32_t)g_rand_int_range(rand, 0, KEYS);
        int action = g_rand_int_range(rand, 0, 100);
        if (action < 70 && !held[k]) {
            hold(&wheel, k, now - 20 + random_distance(rand, distance_bits));
        } else if (action < 80 && held[k]) {
            wheel_remove(&wheel, entries[k]);
            let_go(k);
        } else if (action < 90 && held[k]) {
            Entry *moved = make_entry(k);
            *entry_deadline_block(moved) = *entry_deadline_block(entries[k]);
            g_free(entries[k]);
            entries[k] = moved;
            wheel_moved(&wheel, moved);
        } else if (action < 91) {
            int64_t jump = random_distance(rand, jump_bits);
            now += backwards && jump < now && g_rand_boolean(rand) ? -jump : jump;
            /* What was due when the clock stepped back is met again within one turn of the lowest level. */
            advance_roughly(&wheel, now, g_rand_int_range(rand, 1, 100), backwards ? WHEEL_SLOTS : 0);
        }
        if (round % 16 == 0) check_samples(&wheel);
    }
    wheel_free(&wheel);
    free_entries();
    g_rand_free(rand);
}

static void small_steps(void **state)
{
    (void)state;
    run_model(1, 14, 8, false);
}

static void all_distances(void **state)
{
    (void)state;
    run_model(2, 44, 40, false);
}

static void clock_steps_back(void **state)
{
    (void)state;
    run_model(3, 20, 20, true);
    run_model(4, 30, 34, true);
}

/* The last level spans 2^48 ms: beyond it, deadlines wait and are placed again. */
static void far_deadlines(void **state)
{
    (void)state;
    Wheel wheel;
    wheel_init(&wheel, NOW);
    setup_entries();
    for (uint32_t k = 0; k < 120; k++)
        hold(&wheel, k, k < 63 ? INT64_C(1) << k : INT64_MAX - (k - 63));
    for (int bits = 41; bits < 63; bits++) {
        advance(&wheel, (INT64_C(1) << bits) - 1, 7);
        assert_int_equal(held_count, 120 - bits);
        advance(&wheel, INT64_C(1) << bits, 7);
        assert_int_equal(held_count, 120 - bits - 1);
    }
    advance(&wheel, INT64_MAX, 7);
    assert_int_equal(held_count, 0);
    wheel_free(&wheel);
    free_entries();
}

/* Many keys with one deadline: nobody is handed out a millisecond early, and slices are as short as they should be. */
static void bounded_slices(void **state)
{
    (void)state;
    Wheel wheel;
    wheel_init(&wheel, NOW);
    setup_entries();
    int64_t at = NOW + 3600 * 1000;
    for (uint32_t k = 0; k < KEYS; k++)
        hold(&wheel, k, at);
    advance(&wheel, at - 1, 10);
    assert_int_equal(held_count, KEYS);
    for (int left = KEYS; left > 0; left -= 10) {
        int steps = 10;
        for (int i = 0; i < 10; i++)
            let_go(wheel_next(&wheel, at, &steps)->key_len);
        assert_int_equal(steps, 0);
        assert_null(wheel_next(&wheel, at, &steps));
    }
    int steps = 10;
    assert_null(wheel_next(&wheel, at, &steps));
    assert_int_equal(steps, 10);
    /* An emptied wheel has given everything back. */
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        assert_true(wheel.occupied[level] == 0);
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            assert_null(wheel.slot[level][slot].chunks);
    }
    free_entries();
}

/* A pause of years costs a step for each key, not one for each millisecond or level. */
static void long_pause(void **state)
{
    (void)state;
    Wheel wheel;
    wheel_init(&wheel, NOW);
    setup_entries();
    for (uint32_t k = 0; k < KEYS; k++)
        hold(&wheel, k, NOW + 1 + (int64_t)k * k * k);
    int steps = KEYS;
    for (uint32_t k = 0; k < KEYS; k++)
        let_go(wheel_next(&wheel, NOW + (INT64_C(1) << 40), &steps)->key_len);
    assert_int_equal(held_count, 0);
    wheel_free(&wheel);
    free_entries();
}

static void random_is_fair(void **state)
{
    (void)state;
    Wheel wheel;
    wheel_init(&wheel, NOW);
    setup_entries();
    for (uint32_t k = 0; k < 50; k++)
        hold(&wheel, k, NOW + (INT64_C(1) << (k % 40)));
    unsigned drawn[50] = { 0 };
    for (int i = 0; i < 50000; i++)
        drawn[wheel_random(&wheel)->key_len]++;
    for (int k = 0; k < 50; k++)
        assert_in_range(drawn[k], 800, 1200);
    wheel_free(&wheel);
    free_entries();
}

static void average_and_soonest(void **state)
{
    (void)state;
    Wheel wheel;
    wheel_init(&wheel, NOW);
    setup_entries();
    assert_int_equal(wheel_average_ttl(&wheel, NOW), 0);
    for (uint32_t k = 0; k < 10; k++)
        hold(&wheel, k, NOW + 160000);
    assert_int_equal(wheel_average_ttl(&wheel, NOW), 160000);
    assert_int_equal(wheel_average_ttl(&wheel, NOW + 1000000), 0);
    hold(&wheel, 10, NOW + 159000); /* in the same slot or an earlier one */
    assert_int_equal(wheel_soonest(&wheel)->key_len, 10);
    hold(&wheel, 11, NOW + 3);
    assert_int_equal(wheel_soonest(&wheel)->key_len, 11);
    wheel_free(&wheel);
    free_entries();
}

/* ---- expire_run ---- */

static unsigned expired_heard;

static void heard_expired(Db *db, Slice key)
{
    (void)db;
    (void)key;
    expired_heard++;
}

static void add_expiring(Db *db, int first, int count, int64_t at_ms)
{
    char name[20];
    for (int i = first; i < first + count; i++) {
        Slice key = { name, (size_t)g_snprintf(name, sizeof(name), "key%d", i) };
        keyspace_set_deadline(db, keyspace_put_string(db, key, SLICE("value")), at_ms);
    }
}

static void expires_a_keyspace(void **state)
{
    (void)state;
    clock_unix_ms = NOW;
    expired_heard = 0;
    Keyspace *ks = keyspace_new(16);
    ks->hooks.expired = heard_expired;
    add_expiring(&ks->dbs[0], 0, 20000, NOW + 500);
    add_expiring(&ks->dbs[15], 0, 100, NOW + 500);
    add_expiring(&ks->dbs[3], 0, 10, NOW + 501);
    clock_unix_ms = NOW + 499;
    while (expire_run(ks, 1000)) {
    }
    assert_int_equal(expired_heard, 0);
    clock_unix_ms = NOW + 500;
    ks->expire_paused = true;
    assert_false(expire_run(ks, 1000));
    assert_int_equal(expired_heard, 0);
    ks->expire_paused = false;
    assert_true(expire_run(ks, 0)); /* one round: a little of each database, however full the first one is */
    assert_in_range(keyspace_size(&ks->dbs[0]), 19000, 19999);
    assert_int_equal(keyspace_size(&ks->dbs[15]), 0);
    while (expire_run(ks, 1000)) {
    }
    assert_int_equal(keyspace_size(&ks->dbs[0]), 0);
    assert_int_equal(keyspace_size(&ks->dbs[3]), 10);
    assert_int_equal(expired_heard, 20100);
    assert_int_equal(ks->expired, 20100);
    keyspace_free(ks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_steps),    cmocka_unit_test(all_distances),       cmocka_unit_test(clock_steps_back),
        cmocka_unit_test(far_deadlines),  cmocka_unit_test(bounded_slices),      cmocka_unit_test(long_pause),
        cmocka_unit_test(random_is_fair), cmocka_unit_test(average_and_soonest), cmocka_unit_test(expires_a_keyspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
