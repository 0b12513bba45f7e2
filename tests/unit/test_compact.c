/* test_compact.c: store/compact: what scattered keys waste is given back, everything is what it was, and passes end.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/compact.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/set.h"
#include "store/zset.h"

#define KEYS             200000
#define KEPT_PART        10 /* one of so many keys stays */
#define KINDS            9
#define LIFE_MS          100000
#define PASSES_MAX       20
#define PASSES_SANITIZED 2   /* each moves all there is, and there's no last one */
#define LOOKS_MAX        100 /* more than any pause */

static bool there[KEYS];
static int64_t deadline_ms;

/* Or else nothing but moving itself is tested. */
static bool has_slabs(void)
{
    return !g_str_equal(mem_allocator(), "sanitizer");
}

static Slice text_of(unsigned k, const char *what, char *buffer)
{
    return (Slice){ buffer, (size_t)g_snprintf(buffer, 200, "%s:%06u", what, k) };
}

/* A value that its number tells: strings of some lengths, integers, with a deadline or without, and small collections.
 * Some are big. */
static void put(Db *db, unsigned k)
{
    char name[200], text[200], more[200];
    Slice key = text_of(k, "key", name), value = text_of(k, "a value which", text);
    bool big = k % 20000 < KINDS;
    unsigned count = big ? 2000 : 5;
    List *list = k % KINDS == 4 ? list_new() : NULL;
    Set *set = k % KINDS == 5 || k % KINDS == 6 ? set_new() : NULL;
    Hash *hash = k % KINDS == 7 ? hash_new() : NULL;
    Zset *zset = k % KINDS == 8 ? zset_new() : NULL;
    for (unsigned i = 0; k % KINDS >= 4 && i < count; i++) {
        Slice member = text_of(k + i, "member", more);
        double score = i;
        if (list != NULL) list_push(&list, LIST_TAIL, member);
        if (set != NULL) set_add(&set, k % KINDS == 5 ? set_member(member) : (SetMember){ .number = k + i });
        if (hash != NULL) hash_set(&hash, member, value);
        if (zset != NULL) zset_add(&zset, member, &score, 0);
    }
    switch (k % KINDS) {
    case 0: keyspace_put_string(db, key, value); break;
    case 1: keyspace_put_int(db, key, k); break;
    case 2: keyspace_put_string_until(db, key, value, deadline_ms); break;
    case 3: memset(entry_string_bytes(keyspace_put_zeros(db, key, k % 3000)), 'x', k % 3000); break;
    case 4: keyspace_put_object(db, key, TYPE_LIST, list); break;
    case 7: keyspace_put_object(db, key, TYPE_HASH, hash); break;
    case 8: keyspace_put_object(db, key, TYPE_ZSET, zset); break;
    default: keyspace_put_object(db, key, TYPE_SET, set);
    }
    there[k] = true;
    if (k % 4 == 0) keyspace_set_deadline(db, keyspace_write(db, key), deadline_ms);
}

static void check_collection(const Entry *entry, unsigned k)
{
    char more[200], text[200], digits[NUMBER_INT_CHARS];
    unsigned last = (k % 20000 < KINDS ? 2000 : 5) - 1;
    Slice member = text_of(k + last, "member", more);
    PackValue value;
    double score;
    switch (entry->type) {
    case TYPE_LIST:
        assert_int_equal(list_length(entry->list), last + 1);
        assert_true(slice_equal(pack_value_text(list_get(entry->list, last), digits), member));
        break;
    case TYPE_SET:
        assert_int_equal(set_length(entry->set), last + 1);
        assert_true(
            set_has(entry->set, k % KINDS == 5 ? set_member(member) : (SetMember){ .number = (int64_t)k + last }));
        break;
    case TYPE_HASH:
        assert_int_equal(hash_length(entry->hash), last + 1);
        assert_true(hash_get(entry->hash, member, &value));
        assert_true(slice_equal(pack_value_text(value, digits), text_of(k, "a value which", text)));
        break;
    default:
        assert_int_equal(zset_length(entry->zset), last + 1);
        assert_true(zset_score(entry->zset, member, &score) && score == last);
    }
}

static void check(Db *db, unsigned k)
{
    char name[200], text[200], digits[NUMBER_INT_CHARS];
    const Entry *entry = keyspace_peek(db, text_of(k, "key", name));
    assert_int_equal(entry != NULL, there[k]);
    if (entry == NULL) return;
    assert_int_equal(entry_deadline(entry), k % KINDS == 2 || k % 4 == 0 ? deadline_ms : -1);
    Slice value = text_of(k, "a value which", text);
    switch (k % KINDS) {
    case 0:
    case 2: assert_true(slice_equal(entry_string(entry, digits), value)); break;
    case 1: assert_int_equal(entry->number, k); break;
    case 3: assert_int_equal(entry_string(entry, digits).len, k % 3000); break;
    default: check_collection(entry, k);
    }
}

static void drop(Db *db, unsigned k)
{
    char name[200];
    assert_true(keyspace_delete(db, text_of(k, "key", name)));
    there[k] = false;
}

/* Runs passes to the end, with changes between their slices; how many there were. */
static unsigned compact_all(Keyspace *ks, GRand *rand)
{
    unsigned passes = 0;
    for (; passes < (has_slabs() ? PASSES_MAX : PASSES_SANITIZED); passes++) {
        for (unsigned looks = 0; looks < LOOKS_MAX && !compact_run(ks, 0); looks++)
            compact_look();
        if (!compact_run(ks, 0)) return passes;
        while (compact_run(ks, 0)) {
            unsigned k = (unsigned)g_rand_int_range(rand, 0, KEYS), d = k % 2;
            check(&ks->dbs[d], k);
            if (there[k]) {
                drop(&ks->dbs[d], k);
            } else if (g_rand_int_range(rand, 0, KEPT_PART) == 0) {
                put(&ks->dbs[d], k);
            }
        }
    }
    return passes;
}

static void test_scattered(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(2);
    GRand *rand = g_rand_new_with_seed(20260601);
    deadline_ms = clock_unix_ms + LIFE_MS;
    for (unsigned k = 0; k < KEYS; k++)
        put(&ks->dbs[k % 2], k);
    compact_all(ks, rand);
    for (unsigned k = 0; k < KEYS; k++) {
        if (there[k] && g_rand_int_range(rand, 0, KEPT_PART) != 0) drop(&ks->dbs[k % 2], k);
    }
    size_t slack = mem_slack();
    unsigned passes = compact_all(ks, rand);
    assert_true(passes > 0);
    if (has_slabs()) assert_true(passes < PASSES_MAX && mem_slack() < slack / 3);
    for (unsigned k = 0; k < KEYS; k++) {
        check(&ks->dbs[k % 2], k);
        if (k % KINDS == 2 || k % 4 == 0) there[k] = false;
    }
    /* The wheel knows the new places. */
    clock_unix_ms = deadline_ms;
    while (expire_run(ks, 1000000)) {
    }
    size_t left = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        check(&ks->dbs[k % 2], k);
        left += there[k];
    }
    assert_int_equal(keyspace_size(&ks->dbs[0]) + keyspace_size(&ks->dbs[1]), left);
    g_rand_free(rand);
    keyspace_free(ks);
}

/* A heap that is full isn't worth a pass. */
static void test_nothing_to_gain(void **state)
{
    (void)state;
    if (!has_slabs()) skip();
    Keyspace *ks = keyspace_new(2);
    deadline_ms = clock_unix_ms + LIFE_MS;
    for (unsigned k = 0; k < KEYS; k++)
        put(&ks->dbs[k % 2], k);
    compact_look();
    assert_false(compact_run(ks, 0));
    keyspace_free(ks);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    clock_unix_ms = 1700000000000;
    options.hash_max_ziplist_entries = options.zset_max_ziplist_entries = options.set_max_intset_entries = 128;
    options.hash_max_ziplist_value = options.zset_max_ziplist_value = 64;
    options.list_max_ziplist_size = -2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_gain),
        cmocka_unit_test(test_scattered),
    };
    return cmocka_run_group_tests_name("compact", tests, NULL, NULL);
}
