/* rdbmodel.c: see rdbmodel.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/rdbmodel.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

GRand *dice;

/* ---- values as text, whatever holds them ---- */

static char *shown(PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(value, digits);
    return g_strndup(text.ptr, text.len);
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_lines(const Entry *entry, GPtrArray *lines)
{
    ListWalk walk = list_walk(entry->list, 0, LIST_TAIL);
    for (PackValue value; list_next(&walk, &value);)
        g_ptr_array_add(lines, shown(value));
}

static void set_lines(const Entry *entry, GPtrArray *lines)
{
    SetWalk walk = set_walk(entry->set);
    for (SetMember member; set_next(&walk, &member);)
        g_ptr_array_add(lines, shown(member));
    g_ptr_array_sort(lines, compare_lines);
}

static void hash_lines(const Entry *entry, GPtrArray *lines)
{
    HashWalk walk = hash_walk(entry->hash);
    for (HashPair pair; hash_next(&walk, &pair);) {
        g_autofree char *field = shown(pair.field), *value = shown(pair.value);
        g_ptr_array_add(lines, g_strconcat(field, "=", value, NULL));
    }
    g_ptr_array_sort(lines, compare_lines);
}

static void zset_lines(const Entry *entry, GPtrArray *lines)
{
    ZsetWalk walk = zset_walk(entry->zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair);) {
        g_autofree char *member = shown(pair.member);
        g_ptr_array_add(lines, g_strdup_printf("%s=%.17g", member, pair.score));
    }
}

char *describe(const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    switch ((ValueType)entry->type) {
    case TYPE_STRING: {
        Slice text = entry_string(entry, digits);
        g_ptr_array_add(lines, g_strndup(text.ptr, text.len));
        break;
    }
    case TYPE_LIST: list_lines(entry, lines); break;
    case TYPE_SET: set_lines(entry, lines); break;
    case TYPE_HASH: hash_lines(entry, lines); break;
    case TYPE_ZSET: zset_lines(entry, lines); break;
    }
    g_ptr_array_add(lines, NULL);
    return g_strjoinv(" ", (char **)lines->pdata);
}

static Keyspace *other;

static void same_in_other(void *element, void *context)
{
    const Entry *entry = element, *twin = keyspace_find(&other->dbs[((const Db *)context)->index], entry_key(entry));
    assert_non_null(twin);
    assert_int_equal(entry->type, twin->type);
    assert_int_equal(entry_deadline(entry), entry_deadline(twin));
    g_autofree char *a = describe(entry), *b = describe(twin);
    assert_string_equal(a, b);
}

void assert_same(Keyspace *a, Keyspace *b)
{
    other = b;
    for (int i = 0; i < a->db_count; i++) {
        assert_int_equal(keyspace_size(&a->dbs[i]), keyspace_size(&b->dbs[i]));
        table_each(&a->dbs[i].table, same_in_other, &a->dbs[i]);
    }
}

/* ---- files in memory ---- */

ssize_t read_memory(void *context, void *to, size_t len)
{
    Memory *memory = context;
    if (memory->hesitates && (memory->hesitated = !memory->hesitated)) {
        errno = EAGAIN;
        return -1;
    }
    len = MIN(MIN(len, memory->at_once), memory->left.len);
    memcpy(to, memory->left.ptr, len);
    memory->left = (Slice){ memory->left.ptr + len, memory->left.len - len };
    return (ssize_t)len;
}

void on_aux(void *context, Slice name, Slice value)
{
    Memory *memory = context;
    g_snprintf(memory->aux, sizeof(memory->aux), "%.*s=%.*s", (int)name.len, name.ptr, (int)value.len, value.ptr);
}

RdbStep read_all(RdbReader *reader, unsigned *steps)
{
    RdbStep step;
    for (*steps = 0; (step = rdb_read_step(reader, 0)) == RDB_MORE || step == RDB_WAIT;)
        ++*steps;
    return step;
}

bool take(void *context, Slice bytes)
{
    Sink *sink = context;
    if (bytes.len > sink->left) return false;
    sink->left -= bytes.len;
    sink->longest = MAX(sink->longest, bytes.len);
    g_string_append_len(sink->file, bytes.ptr, (gssize)bytes.len);
    return true;
}

/* ---- random datasets ---- */

static Slice random_text(GString *text, int max)
{
    int len = g_rand_int_range(dice, 0, max), letters = g_rand_int_range(dice, 1, 26);
    g_string_truncate(text, 0);
    if (g_rand_int_range(dice, 0, 3) == 0) {
        g_string_printf(text, "%d", (int)g_rand_int(dice) >> g_rand_int_range(dice, 0, 32));
    } else {
        for (int i = 0; i < len; i++)
            g_string_append_c(text, (char)('a' + g_rand_int_range(dice, 0, letters)));
    }
    return text_of(text);
}

static double random_score(void)
{
    static const double scores[] = { 0, 1, -1, 0.1, 1e300, -1e-300, 123456789012345, INFINITY, -INFINITY };
    guint32 i = g_rand_int_range(dice, 0, 2 * G_N_ELEMENTS(scores));
    return i < G_N_ELEMENTS(scores) ? scores[i] : g_rand_double_range(dice, -1000, 1000);
}

void add_random(Entry *entry, int max)
{
    g_autoptr(GString) a = g_string_new(NULL), b = g_string_new(NULL);
    Slice texts[] = { random_text(a, max), random_text(b, max) };
    double score = random_score();
    switch ((ValueType)entry->type) {
    case TYPE_LIST: list_push(&entry->list, LIST_TAIL, texts[0]); break;
    case TYPE_SET: set_add(&entry->set, set_member(texts[0])); break;
    case TYPE_HASH:
        hash_admit(&entry->hash, texts, 2);
        hash_set(&entry->hash, texts[0], texts[1]);
        break;
    default: zset_add(&entry->zset, texts[0], &score, 0); break;
    }
}

static void *new_object(ValueType type)
{
    return type == TYPE_LIST   ? (void *)list_new()
           : type == TYPE_SET  ? (void *)set_new()
           : type == TYPE_HASH ? (void *)hash_new()
                               : (void *)zset_new();
}

void put_random(Db *db)
{
    g_autoptr(GString) key = g_string_new(NULL), value = g_string_new(NULL);
    ValueType type = (ValueType)g_rand_int_range(dice, TYPE_STRING, TYPE_HASH + 1);
    random_text(key, 30);
    Entry *entry;
    if (type == TYPE_STRING) {
        entry = keyspace_put_string(db, text_of(key), random_text(value, g_rand_boolean(dice) ? 100 : 100000));
    } else {
        entry = keyspace_put_object(db, text_of(key), type, new_object(type));
        int count = g_rand_int_range(dice, 1, g_rand_int_range(dice, 0, 5) == 0 ? 3000 : 40);
        int max = g_rand_int_range(dice, 2, 100);
        for (int i = 0; i < count; i++)
            add_random(entry, max);
    }
    if (g_rand_int_range(dice, 0, 3) == 0) keyspace_set_deadline(db, entry, 4102444800000 + g_rand_int(dice));
}

Keyspace *random_keyspace(int keys)
{
    Keyspace *ks = keyspace_new(DATABASES);
    for (int i = 0; i < keys; i++)
        put_random(&ks->dbs[g_rand_int_range(dice, 0, DATABASES - 1)]);
    return ks;
}
