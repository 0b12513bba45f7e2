/* test_keyspace.c: store/keyspace against a model under random operations: strings of every size, integers, resizing,
 * renaming, deadlines that pass.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/keyspace.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"

#define KEYS 300

/* The model: what each of the keys k0 … should hold. */
typedef struct Expected {
    GString *value; /* NULL: no such key */
    int64_t deadline;
} Expected;

static Expected expected[2][KEYS];
static unsigned expired_heard;

static void heard_expired(Db *db, Slice key)
{
    (void)db;
    (void)key;
    expired_heard++;
}

static Slice key_name(unsigned k, char *buffer)
{
    /* Some keys are long, so that every size class is met. */
    int len = g_snprintf(buffer, 200, "%s%u", k % 7 == 0 ? "a-rather-long-name-for-a-key-of-this-database-" : "k", k);
    return (Slice){ buffer, (size_t)len };
}

static void forget(Expected *e)
{
    if (e->value != NULL) g_string_free(e->value, TRUE);
    *e = (Expected){ NULL, -1 };
}

static void expire_model(void)
{
    for (unsigned d = 0; d < 2; d++) {
        for (unsigned k = 0; k < KEYS; k++) {
            Expected *e = &expected[d][k];
            if (e->value != NULL && e->deadline >= 0 && e->deadline <= clock_unix_ms) forget(e);
        }
    }
}

static void check(Keyspace *ks, unsigned d, unsigned k)
{
    char name[200], digits[NUMBER_INT_CHARS];
    Expected *e = &expected[d][k];
    Entry *entry = keyspace_peek(&ks->dbs[d], key_name(k, name));
    assert_int_equal(entry != NULL, e->value != NULL);
    if (entry == NULL) return;
    assert_true(slice_equal(entry_key(entry), key_name(k, name)));
    Slice text = entry_string(entry, digits);
    assert_int_equal(text.len, e->value->len);
    assert_memory_equal(text.ptr, e->value->str, text.len);
    assert_int_equal(entry_string_len(entry), e->value->len);
    assert_int_equal(entry_deadline(entry), e->deadline);
}

static GString *random_text(GRand *rand)
{
    gint32 kind = g_rand_int_range(rand, 0, 4);
    GString *text = g_string_new(NULL);
    if (kind == 0) {
        g_string_printf(text, "%d", g_rand_int_range(rand, -1000000, 1000000));
        return text;
    }
    gint32 len = g_rand_int_range(rand, 0, kind == 1 ? 20 : kind == 2 ? 100 : 3000);
    for (gint32 i = 0; i < len; i++)
        g_string_append_c(text, (char)g_rand_int_range(rand, 0, 256));
    return text;
}

static Slice slice_of_string(const GString *text)
{
    return (Slice){ text->str, text->len };
}

static void store(Keyspace *ks, unsigned d, unsigned k, GRand *rand)
{
    char name[200];
    Db *db = &ks->dbs[d];
    Slice key = key_name(k, name);
    Expected *e = &expected[d][k];
    forget(e);
    e->value = random_text(rand);
    Entry *entry;
    switch (g_rand_int_range(rand, 0, 4)) {
    case 0:
        e->deadline = clock_unix_ms + g_rand_int_range(rand, 1, 5000);
        keyspace_put_string_until(db, key, slice_of_string(e->value), e->deadline);
        break;
    case 1:
        memset(e->value->str, 0, e->value->len);
        keyspace_put_zeros(db, key, e->value->len);
        break;
    case 2:
        entry = keyspace_new_string(key, e->value->len);
        memcpy(entry_string_bytes(entry), e->value->str, e->value->len);
        keyspace_put_entry(db, entry);
        break;
    default: keyspace_put_string(db, key, slice_of_string(e->value));
    }
}

/* One random operation on a key that exists. */
static void change(Keyspace *ks, unsigned d, unsigned k, GRand *rand)
{
    char name[200], other_name[200];
    Db *db = &ks->dbs[d];
    Expected *e = &expected[d][k];
    Entry *entry = keyspace_write(db, key_name(k, name));
    assert_non_null(entry);
    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        g_string_free(e->value, TRUE);
        e->value = random_text(rand);
        keyspace_replace_string(db, entry, slice_of_string(e->value));
        break;
    case 1:
        g_string_printf(e->value, "%d", g_rand_int_range(rand, -50, 50));
        keyspace_replace_int(db, entry, g_ascii_strtoll(e->value->str, NULL, 10));
        break;
    case 2: {
        gsize len = (gsize)g_rand_int_range(rand, 0, 4000), old = e->value->len;
        g_string_set_size(e->value, len);
        if (len > old) memset(e->value->str + old, 0, len - old);
        keyspace_resize_string(db, entry, len);
        break;
    }
    case 3:
        e->deadline = g_rand_boolean(rand) ? -1 : clock_unix_ms + g_rand_int_range(rand, 1, 3000);
        keyspace_set_deadline(db, entry, e->deadline);
        break;
    case 4: {
        unsigned to_d = (unsigned)g_rand_int_range(rand, 0, 2), to_k = (unsigned)g_rand_int_range(rand, 0, KEYS);
        if (to_d == d && to_k == k) break;
        keyspace_rename(db, entry, &ks->dbs[to_d], key_name(to_k, other_name));
        forget(&expected[to_d][to_k]);
        expected[to_d][to_k] = *e;
        *e = (Expected){ NULL, -1 };
        check(ks, to_d, to_k);
        break;
    }
    default: assert_true(keyspace_delete(db, key_name(k, name))); forget(e);
    }
}

static void test_model(void **state)
{
    (void)state;
    clock_unix_ms = 1700000000000;
    Keyspace *ks = keyspace_new(2);
    ks->hooks.expired = heard_expired;
    for (unsigned d = 0; d < 2; d++) {
        for (unsigned k = 0; k < KEYS; k++)
            expected[d][k] = (Expected){ NULL, -1 };
    }
    GRand *rand = g_rand_new_with_seed(20260101);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned d = (unsigned)g_rand_int_range(rand, 0, 2), k = (unsigned)g_rand_int_range(rand, 0, KEYS);
        if (step % 10 == 0) {
            clock_unix_ms += g_rand_int_range(rand, 0, 50);
            expire_model();
        }
        if (expected[d][k].value == NULL || g_rand_int_range(rand, 0, 3) == 0) {
            store(ks, d, k, rand);
        } else {
            change(ks, d, k, rand);
        }
        check(ks, d, k);
        if (step % 100 == 0) expire_run(ks, 1000000);
    }
    for (unsigned d = 0; d < 2; d++) {
        for (unsigned k = 0; k < KEYS; k++) {
            check(ks, d, k);
            forget(&expected[d][k]);
        }
    }
    assert_true(expired_heard > 1000);
    assert_int_equal(ks->expired, expired_heard);
    g_rand_free(rand);
    keyspace_free(ks);
}

/* A value may be a slice of the entry that it replaces. */
static void test_put_own_bytes(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    char digits[NUMBER_INT_CHARS];
    Entry *entry = keyspace_put_string(db, SLICE("k"), SLICE("0123456789abcdefghijklmnopqrstuvwxyz"));
    entry = keyspace_put_string(db, SLICE("k"), (Slice){ entry_string_bytes(entry) + 10, 26 });
    assert_true(slice_equal(entry_string(entry, digits), SLICE("abcdefghijklmnopqrstuvwxyz")));
    entry = keyspace_put_string(db, SLICE("k"), (Slice){ entry_string_bytes(entry) + 20, 2 });
    assert_true(slice_equal(entry_string(entry, digits), SLICE("uv")));
    keyspace_free(ks);
}

/* Appending byte by byte takes few reallocations, and the longest string fits. */
static void test_growth_is_linear(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    Entry *entry = keyspace_put_string(db, SLICE("k"), SLICE("x"));
    unsigned moves = 0;
    for (size_t len = 2; len < 300000; len++) {
        uint32_t cap = entry->str.cap;
        entry = keyspace_resize_string(db, entry, len);
        moves += entry->str.cap != cap;
    }
    assert_true(moves < 40);
    entry = keyspace_resize_string(db, entry, KEYSPACE_STRING_MAX);
    assert_int_equal(entry_string_len(entry), KEYSPACE_STRING_MAX);
    keyspace_free(ks);
}

/* A slave's keys whose time is over: there, and not to be seen; gone when nobody hides them any more. */
static void test_hide_expired(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    keyspace_hide_expired(ks, true);
    keyspace_put_string_until(db, SLICE("k"), SLICE("v"), clock_unix_ms - 1);
    assert_null(keyspace_read(db, SLICE("k")));
    assert_null(keyspace_peek(db, SLICE("k")));
    assert_null(keyspace_random(db));
    assert_false(expire_run(ks, 1000));
    assert_int_equal(keyspace_size(db), 1);
    keyspace_keep_expired(ks, true);
    assert_non_null(keyspace_write(db, SLICE("k")));
    assert_non_null(keyspace_random(db));
    keyspace_keep_expired(ks, false);
    keyspace_put_string(db, SLICE("other"), SLICE("v"));
    for (int i = 0; i < 20; i++) {
        Entry *entry = keyspace_random(db);
        assert_true(entry == NULL || slice_equal(entry_key(entry), SLICE("other")));
    }
    assert_int_equal(keyspace_size(db), 2);
    keyspace_hide_expired(ks, false);
    assert_null(keyspace_peek(db, SLICE("k")));
    assert_int_equal(keyspace_size(db), 1);
    keyspace_free(ks);
}

static void test_flush(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(2);
    char name[32];
    for (int i = 0; i < 1000; i++) {
        int len = g_snprintf(name, sizeof(name), "%d", i);
        keyspace_put_int(&ks->dbs[1], (Slice){ name, (size_t)len }, i);
    }
    keyspace_set_deadline(&ks->dbs[1], keyspace_write(&ks->dbs[1], SLICE("7")), clock_unix_ms + 100000);
    assert_int_equal(keyspace_flush(&ks->dbs[1]), 1000);
    assert_int_equal(keyspace_size(&ks->dbs[1]), 0);
    assert_null(keyspace_random(&ks->dbs[1]));
    assert_null(keyspace_peek(&ks->dbs[1], SLICE("7")));
    keyspace_free(ks);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_put_own_bytes),
        cmocka_unit_test(test_growth_is_linear),
        cmocka_unit_test(test_hide_expired),
        cmocka_unit_test(test_flush),
    };
    return cmocka_run_group_tests_name("keyspace", tests, NULL, NULL);
}
