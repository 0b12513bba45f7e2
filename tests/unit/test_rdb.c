/* test_rdb.c: store/rdb: every encoding that Redis 1.0 to 7.0 writes, from bytes written here by hand; what is written
 * is read again as it was; damage is refused by offset and key, whatever it is; both ways in steps.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/rdb.h"

#include <glib.h>
#include <liblzf/lzf.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/crc64.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/rdbformat.h"
#include "store/set.h"
#include "store/zset.h"
#include "tests/unit/rdbmodel.h"

typedef struct Result {
    Keyspace *keyspace;
    RdbStats stats;
    char *error; /* NULL: it was read */
    unsigned steps;
} Result;

static Result read_file(Slice file, bool drop_expired)
{
    Memory memory = { .left = file, .at_once = SIZE_MAX };
    RdbSource source = { .read = read_memory, .context = &memory, .drop_expired = drop_expired };
    Result result = { .keyspace = keyspace_new(DATABASES) };
    RdbReader *reader = rdb_reader_new(result.keyspace, &source);
    RdbStep step = read_all(reader, &result.steps);
    assert_true((step == RDB_FAILED) == (rdb_reader_error(reader) != NULL));
    result.error = g_strdup(rdb_reader_error(reader));
    result.stats = *rdb_reader_stats(reader);
    rdb_reader_free(reader);
    return result;
}

static void result_clear(Result *result)
{
    keyspace_free(result->keyspace);
    g_free(result->error);
}

/* ---- files written by hand ---- */

static void put(GString *to, const char *bytes, size_t len)
{
    g_string_append_len(to, bytes, (gssize)len);
}
#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static void put_little(GString *to, uint64_t value, unsigned len)
{
    put(to, (const char *)&value, len);
}

/* With a length of six bits, or 32. */
static void put_text(GString *to, Slice text)
{
    if (text.len < 64) {
        g_string_append_c(to, (char)text.len);
    } else {
        g_string_append_c(to, (char)RDB_LENGTH_32);
        uint32_t big = GUINT32_TO_BE((uint32_t)text.len);
        put(to, (const char *)&big, sizeof(big));
    }
    put(to, text.ptr, text.len);
}

static GString *begin_file(int version)
{
    GString *file = g_string_new(NULL);
    g_string_printf(file, "REDIS%04d", version);
    return file;
}

static void end_file(GString *file, bool checksum)
{
    g_string_append_c(file, (char)RDB_OP_EOF);
    put_little(file, checksum ? crc64(0, text_of(file)) : 0, 8);
}

/* Reads a file of this one value, under the key "k", as version 10 with a checksum, and says what it is. */
static char *value_of(int type, const GString *value, ValueType expected)
{
    g_autoptr(GString) file = begin_file(10);
    g_string_append_c(file, (char)type);
    put_text(file, SLICE("k"));
    put(file, value->str, value->len);
    end_file(file, true);
    Result result = read_file(text_of(file), false);
    if (result.error != NULL) fail_msg("type %d: %s", type, result.error);
    const Entry *entry = keyspace_find(&result.keyspace->dbs[0], SLICE("k"));
    assert_non_null(entry);
    assert_int_equal(entry->type, expected);
    char *text = describe(entry);
    result_clear(&result);
    return text;
}

static void check_value(int type, const GString *value, ValueType expected, const char *text)
{
    g_autofree char *got = value_of(type, value, expected);
    assert_string_equal(got, text);
}

/* ---- blobs by hand ---- */

typedef struct Ziplist {
    GString *bytes;
    size_t last;
    unsigned count;
} Ziplist;

static Ziplist ziplist_new(void)
{
    Ziplist z = { .bytes = g_string_new(NULL), .last = 10 };
    put_little(z.bytes, 0, 8);
    put_little(z.bytes, 0, 2);
    return z;
}

/* Encoding and content as they are. */
static void ziplist_add(Ziplist *z, const char *content, size_t len)
{
    size_t before = z->bytes->len - z->last;
    z->last = z->bytes->len;
    if (before < 254) {
        put_little(z->bytes, before, 1);
    } else {
        PUT(z->bytes, "\xfe");
        put_little(z->bytes, before, 4);
    }
    put(z->bytes, content, len);
    z->count++;
}
#define ZADD(z, literal) ziplist_add(z, literal, sizeof(literal) - 1)

static GString *ziplist_end(Ziplist *z)
{
    PUT(z->bytes, "\xff");
    uint32_t bytes = (uint32_t)z->bytes->len, last = (uint32_t)z->last;
    memcpy(z->bytes->str, &bytes, 4);
    memcpy(z->bytes->str + 4, &last, 4);
    memcpy(z->bytes->str + 8, &z->count, 2);
    return z->bytes;
}

static GString *listpack_of(const char *elements, size_t len, unsigned count)
{
    GString *bytes = g_string_new(NULL);
    put_little(bytes, 6 + len + 1, 4);
    put_little(bytes, count, 2);
    put(bytes, elements, len);
    PUT(bytes, "\xff");
    return bytes;
}

/* A string with a blob in it. */
static GString *wrapped(GString *blob)
{
    GString *value = g_string_new(NULL);
    put_text(value, text_of(blob));
    g_string_free(blob, TRUE);
    return value;
}

static void put_lzf(GString *to, Slice text)
{
    g_autofree char *packed = g_malloc(text.len);
    unsigned len = lzf_compress(text.ptr, (unsigned)text.len, packed, (unsigned)text.len);
    assert_true(len > 0 && len < (1 << 14) && text.len < (1 << 14));
    g_string_append_c(to, (char)(RDB_LENGTH_SPECIAL | RDB_SPECIAL_LZF));
    size_t lengths[] = { len, text.len };
    for (int i = 0; i < 2; i++) {
        g_string_append_c(to, (char)(RDB_LENGTH_14 | lengths[i] >> 8));
        g_string_append_c(to, (char)lengths[i]);
    }
    put(to, packed, len);
}

/* ---- tests ---- */

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } strings[] = {
        { "\x03"
          "abc",
          4, "abc" },
        { "\x00", 1, "" },
        { "\x40\x03"
          "abc",
          5, "abc" },
        { "\x80\x00\x00\x00\x03"
          "abc",
          8, "abc" },
        { "\x81\x00\x00\x00\x00\x00\x00\x00\x03"
          "abc",
          12, "abc" },
        { "\xc0\xff", 2, "-1" },
        { "\xc1\x00\x80", 3, "-32768" },
        { "\xc2\xff\xff\xff\x7f", 5, "2147483647" },
        { "\x02"
          "17",
          3, "17" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(strings); i++) {
        g_autoptr(GString) value = g_string_new_len(strings[i].bytes, (gssize)strings[i].len);
        check_value(RDB_STRING, value, TYPE_STRING, strings[i].text);
    }
    g_autofree char *text = g_strnfill(5000, 'x');
    g_autoptr(GString) packed = g_string_new(NULL);
    put_lzf(packed, slice_of(text));
    check_value(RDB_STRING, packed, TYPE_STRING, text);
}

static void test_plain_collections(void **state)
{
    (void)state;
    g_autoptr(GString) three = g_string_new(NULL);
    PUT(three, "\x03\x01"
               "b\x01"
               "a\xc0\x05");
    check_value(RDB_LIST, three, TYPE_LIST, "b a 5");
    check_value(RDB_SET, three, TYPE_SET, "5 a b");
    g_autoptr(GString) ints = g_string_new(NULL);
    PUT(ints, "\x02\xc0\x05\xc0\x03");
    check_value(RDB_SET, ints, TYPE_SET, "3 5");
    g_autoptr(GString) hash = g_string_new(NULL);
    PUT(hash, "\x02\x01"
              "b\x01"
              "1\x01"
              "a\xc0\x05");
    check_value(RDB_HASH, hash, TYPE_HASH, "a=5 b=1");
    g_autoptr(GString) zset = g_string_new(NULL);
    PUT(zset, "\x04\x01"
              "a\x03"
              "1.5\x01"
              "b\xfe\x01"
              "c\xff\x01"
              "d\x02-1");
    check_value(RDB_ZSET, zset, TYPE_ZSET, "c=-inf d=-1 a=1.5 b=inf");
    g_autoptr(GString) zset2 = g_string_new(NULL);
    PUT(zset2, "\x02\x01"
               "a");
    double scores[] = { 0.1, -INFINITY };
    put(zset2, (const char *)&scores[0], 8);
    put_text(zset2, SLICE("b"));
    put(zset2, (const char *)&scores[1], 8);
    check_value(RDB_ZSET_2, zset2, TYPE_ZSET, "b=-inf a=0.10000000000000001");
}

/* Every encoding of an element, and sizes that take one byte and five. */
static GString *all_of_ziplist(char **text)
{
    Ziplist z = ziplist_new();
    g_autofree char *middle = g_strnfill(300, 'm'), *large = g_strnfill(20000, 'l');
    ZADD(&z, "\x03"
             "abc");
    g_autofree char *content = g_strdup_printf("\x41\x2c%s", middle);
    ziplist_add(&z, content, 302);
    g_autoptr(GString) big = g_string_new(NULL);
    PUT(big, "\x80");
    put_little(big, GUINT32_TO_BE(20000U), 4);
    put(big, large, 20000);
    ziplist_add(&z, big->str, big->len);
    ZADD(&z, "\xfe\x80");
    ZADD(&z, "\xc0\xff\x7f");
    ZADD(&z, "\xf0\xff\xff\xff");
    ZADD(&z, "\xd0\x00\x00\x00\x80");
    ZADD(&z, "\xe0\xff\xff\xff\xff\xff\xff\xff\x7f");
    ZADD(&z, "\xf1");
    ZADD(&z, "\xfd");
    *text = g_strdup_printf("abc %s %s -128 32767 -1 -2147483648 9223372036854775807 0 12", middle, large);
    return ziplist_end(&z);
}

static GString *all_of_listpack(char **text)
{
    g_autofree char *middle = g_strnfill(300, 'm'), *large = g_strnfill(5000, 'l');
    g_autoptr(GString) e = g_string_new(NULL);
    PUT(e, "\x7f\x01"
           "\x83"
           "abc\x04"
           "\xdf\xff\x02"
           "\xc0\x01\x02"
           "\xe1\x2c");
    put(e, middle, 300);
    PUT(e, "\x02\xae"); /* 302 bytes */
    PUT(e, "\xf0");
    put_little(e, 5000, 4);
    put(e, large, 5000);
    PUT(e, "\x27\x8d"); /* 5005 bytes */
    PUT(e, "\xf1\x00\x80\x03"
           "\xf2\xff\xff\x7f\x04"
           "\xf3\x00\x00\x00\x80\x05"
           "\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09");
    *text = g_strdup_printf("127 abc -1 1 %s %s -32768 8388607 -2147483648 9223372036854775807", middle, large);
    return listpack_of(e->str, e->len, 10);
}

static void test_lists(void **state)
{
    (void)state;
    g_autofree char *z_text = NULL, *l_text = NULL;
    g_autoptr(GString) ziplist = wrapped(all_of_ziplist(&z_text));
    check_value(RDB_LIST_ZIPLIST, ziplist, TYPE_LIST, z_text);
    g_autoptr(GString) nodes = g_string_new("\x02");
    put(nodes, ziplist->str, ziplist->len);
    put(nodes, ziplist->str, ziplist->len);
    g_autofree char *twice = g_strconcat(z_text, " ", z_text, NULL);
    check_value(RDB_LIST_QUICKLIST, nodes, TYPE_LIST, twice);
    g_autoptr(GString) listpack = wrapped(all_of_listpack(&l_text));
    g_autoptr(GString) tagged = g_string_new("\x03\x02");
    put(tagged, listpack->str, listpack->len);
    PUT(tagged, "\x01\x05"
                "plain\x02");
    put(tagged, listpack->str, listpack->len);
    g_autofree char *three = g_strconcat(l_text, " plain ", l_text, NULL);
    check_value(RDB_LIST_QUICKLIST_2, tagged, TYPE_LIST, three);
}

static void test_sets(void **state)
{
    (void)state;
    static const struct {
        unsigned width;
        const char *text;
    } sets[] = { { 2, "-1 7" }, { 4, "-1 7" }, { 8, "-1 7" } };
    for (size_t i = 0; i < G_N_ELEMENTS(sets); i++) {
        GString *blob = g_string_new(NULL);
        put_little(blob, sets[i].width, 4);
        put_little(blob, 2, 4);
        put_little(blob, UINT64_MAX, sets[i].width);
        put_little(blob, 7, sets[i].width);
        g_autoptr(GString) value = wrapped(blob);
        check_value(RDB_SET_INTSET, value, TYPE_SET, sets[i].text);
    }
    g_autoptr(GString) listpack = wrapped(listpack_of("\x07\x01\x81"
                                                      "a\x02",
                                                      5, 2));
    check_value(RDB_SET_LISTPACK, listpack, TYPE_SET, "7 a");
}

static void test_pairs(void **state)
{
    (void)state;
    Ziplist z = ziplist_new();
    ZADD(&z, "\x01"
             "a");
    ZADD(&z, "\xf2");
    ZADD(&z, "\x01"
             "b");
    ZADD(&z, "\x03"
             "2.5");
    g_autoptr(GString) ziplist = wrapped(ziplist_end(&z));
    check_value(RDB_HASH_ZIPLIST, ziplist, TYPE_HASH, "a=1 b=2.5");
    check_value(RDB_ZSET_ZIPLIST, ziplist, TYPE_ZSET, "a=1 b=2.5");
    g_autoptr(GString) listpack = wrapped(listpack_of("\x81"
                                                      "a\x02\x01\x01\x81"
                                                      "b\x02\x83"
                                                      "2.5\x04",
                                                      13, 4));
    check_value(RDB_HASH_LISTPACK, listpack, TYPE_HASH, "a=1 b=2.5");
    check_value(RDB_ZSET_LISTPACK, listpack, TYPE_ZSET, "a=1 b=2.5");
    GString *blob = g_string_new(NULL); /* the second value has two unused bytes, the third field a long length */
    PUT(blob, "\x03\x01"
              "a\x01\x00"
              "1\x01"
              "b\x02\x02"
              "xyuu\xfe\x02\x00\x00\x00"
              "cc\x00\x00\xff");
    g_autoptr(GString) zipmap = wrapped(blob);
    check_value(RDB_HASH_ZIPMAP, zipmap, TYPE_HASH, "a=1 b=xy cc=");
}

static void test_records(void **state)
{
    (void)state;
    g_autoptr(GString) file = begin_file(10);
    PUT(file, "\xfa\x03"
              "ctx\x05"
              "value");
    PUT(file, "\xf7\x81\x35\xec\xb0\xf3\x33\x54\xff\x01\x02\x01\x02\x07\x03\x01\x02\x03\x04\x05\x02"
              "hi\x00"); /* a module's */
    PUT(file, "\xf5\x09#!lua x=1");
    PUT(file, "\xfe\x03\xfb\x02\x01");
    PUT(file, "\xfd\x01\x00\x00\x00\x00\x03"
              "old\x01"
              "1");
    PUT(file, "\xfc");
    put_little(file, 4102444800000, 8); /* the year 2100 */
    PUT(file, "\xf8\x0a\xf9\x05\x00\x03"
              "new\x01"
              "2");
    PUT(file, "\x02\x05"
              "empty\x00");
    end_file(file, true);
    for (int drop = 0; drop < 2; drop++) {
        Result result = read_file(text_of(file), drop);
        assert_null(result.error);
        const Entry *entry = keyspace_find(&result.keyspace->dbs[3], SLICE("new"));
        assert_true(entry != NULL && entry_deadline(entry) == 4102444800000 && keyspace_idle_ms(entry) == 10000);
        entry = keyspace_find(&result.keyspace->dbs[3], SLICE("old"));
        assert_true(drop ? entry == NULL : entry != NULL && entry_deadline(entry) == 1000);
        assert_int_equal(result.stats.expired, drop);
        assert_int_equal(result.stats.keys[TYPE_STRING], 2 - drop);
        assert_int_equal(result.stats.empty, 1);
        assert_int_equal(result.stats.functions, 1);
        assert_int_equal(result.stats.module_fields, 1);
        result_clear(&result);
    }
}

/* ---- refusals ---- */

static void check_refused(const GString *file, const char *error)
{
    Result result = read_file(text_of(file), false);
    assert_non_null(result.error);
    if (strstr(result.error, error) == NULL) fail_msg("\"%s\" isn't in \"%s\"", error, result.error);
    result_clear(&result);
}

static void check_refused_bytes(const char *bytes, size_t len, const char *error)
{
    g_autoptr(GString) file = begin_file(10);
    put(file, bytes, len);
    end_file(file, false);
    check_refused(file, error);
}
#define REFUSED(literal, error) check_refused_bytes(literal, sizeof(literal) - 1, error)

static void test_refusals(void **state)
{
    (void)state;
    REFUSED("\x0f\x03"
            "str\x00",
            "byte 14, key \"str\": a value of type stream");
    REFUSED("\x07\x03m\"d\x81\x35\xec\xb0\xf3\x33\x54\xff\x01\x00", "key \"m\\x22d\": a value of the module type \"");
    REFUSED("\x08\x01k", "unknown type 8");
    REFUSED("\x00\x01k\xc4", "key \"k\": a string of an unknown encoding");
    REFUSED("\x00\x01k\x84", "a length of an unknown form");
    REFUSED("\x00\x01k\x80\x02\x00\x00\x01", "key \"k\": a string of more than the 32 MB");
    REFUSED("\x00\x01k\xc3\x05\x82", "a length of an unknown form");
    REFUSED("\x00\x01k\xc3\x05\x80\x01\x00\x00\x00", "key \"k\": compressed bytes that can't be");
    REFUSED("\x00\x01k\xc3\x01\x05\x00", "key \"k\": damaged compressed bytes");
    REFUSED("\x01\x01k\x01\x80\x40\x00\x00\x00", "key \"k\": a string of more than 512 MB");
    REFUSED("\x00\x01k\x01v\x00\x01k\x01v", "key \"k\": the key is there twice");
    REFUSED("\x02\x01k\x02\x01v\x01v", "key \"k\": an element is there twice");
    REFUSED("\x03\x01k\x01\x01v\xfd", "key \"k\": a score that is no number");
    REFUSED("\x03\x01k\x01\x01v\x01x", "key \"k\": a score that is no number");
    REFUSED("\x0a\x01k\x03"
            "abc",
            "byte 16, key \"k\": the ziplist that ends here is malformed at its byte 0");
    REFUSED("\xfe\x04", "keys of database 4, and there are only 4");
    REFUSED("\x12\x01k\x01\x03\x00", "a list's node of an unknown kind");
}

static void test_heads(void **state)
{
    (void)state;
    g_autoptr(GString) none = g_string_new("REDIS00x7\xff");
    check_refused(none, "byte 0: this is no RDB file");
    g_autoptr(GString) future = begin_file(11);
    check_refused(future, "version 11, and this reads 1 to 10");
    g_autoptr(GString) empty = g_string_new(NULL);
    check_refused(empty, "byte 0: the file ends here");
    g_autoptr(GString) old = begin_file(4); /* without a checksum */
    PUT(old, "\x00\x01k\x01v\xff");
    Result result = read_file(text_of(old), false);
    assert_null(result.error);
    assert_int_equal(result.stats.keys[TYPE_STRING], 1);
    result_clear(&result);
    g_autoptr(GString) damaged = begin_file(7);
    PUT(damaged, "\x00\x01k\x01v");
    end_file(damaged, true);
    damaged->str[13] ^= 1;
    check_refused(damaged, "the checksum is wrong");
}

/* ---- both ways ---- */

static void write_entry(void *element, void *context)
{
    RdbWriter *writer = context;
    const Entry *entry = element;
    if (g_rand_boolean(dice)) {
        rdb_write_entry(writer, entry);
    } else {
        rdb_entry_begin(writer, entry);
        while (rdb_entry_step(writer, 1))
            ;
    }
}

static bool write_keyspace(Keyspace *ks, Sink *sink)
{
    RdbWriter *writer = rdb_writer_new(take, sink);
    rdb_write_head(writer, 1700000000000, 12345);
    rdb_write_aux(writer, SLICE("last"), SLICE("one"));
    for (int i = 0; i < ks->db_count; i++) {
        if (keyspace_size(&ks->dbs[i]) == 0) continue;
        rdb_write_db(writer, i, i == 0 ? -1 : (int64_t)keyspace_size(&ks->dbs[i]), 0);
        table_each(&ks->dbs[i].table, write_entry, writer);
    }
    bool good = rdb_write_end(writer);
    assert_true(good == !rdb_writer_failed(writer));
    if (good) assert_int_equal(rdb_writer_offset(writer), sink->file->len);
    rdb_writer_free(writer);
    return good;
}

static void test_round_trips(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        Keyspace *ks = random_keyspace(g_rand_int_range(dice, 0, 60));
        Sink sink = { .file = g_string_new(NULL), .left = SIZE_MAX };
        assert_true(write_keyspace(ks, &sink));
        assert_true(sink.longest <= RDB_WRITE_BYTES);
        size_t whole = sink.file->len;
        PUT(sink.file, "what follows");
        Memory memory = { .left = text_of(sink.file),
                          .at_once = (size_t)g_rand_int_range(dice, 1, 5000),
                          .hesitates = round % 2 };
        RdbSource source = { .read = read_memory, .context = &memory, .aux = on_aux };
        Keyspace *copy = keyspace_new(DATABASES);
        RdbReader *reader = rdb_reader_new(copy, &source);
        unsigned steps;
        assert_int_equal(read_all(reader, &steps), RDB_DONE);
        assert_string_equal(memory.aux, "last=one");
        assert_int_equal(rdb_reader_offset(reader), whole);
        Slice rest = rdb_reader_rest(reader);
        assert_int_equal(rest.len + memory.left.len, strlen("what follows"));
        assert_memory_equal(rest.ptr, "what follows", rest.len);
        assert_same(ks, copy);
        rdb_reader_free(reader);
        keyspace_free(copy);
        keyspace_free(ks);
        g_string_free(sink.file, TRUE);
    }
}

static void test_failing_sink(void **state)
{
    (void)state;
    Keyspace *ks = random_keyspace(50);
    Sink sink = { .file = g_string_new(NULL), .left = 100000 };
    assert_false(write_keyspace(ks, &sink));
    g_string_free(sink.file, TRUE);
    keyspace_free(ks);
}

/* Cut off anywhere, or with any byte changed: an error, or (what no checksum sees) other data. */
static void test_damage(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(DATABASES);
    for (int i = 0; i < 12; i++)
        put_random(&ks->dbs[0]);
    Sink sink = { .file = g_string_new(NULL), .left = SIZE_MAX };
    assert_true(write_keyspace(ks, &sink));
    size_t len = sink.file->len, stride = len / 500 + 1;
    for (size_t cut = 0; cut < len; cut += stride) {
        g_autofree char *copy = g_memdup2(sink.file->str, MAX(cut, 1)); /* reading past it is seen */
        Result result = read_file((Slice){ copy, cut }, false);
        assert_non_null(strstr(result.error, "the file ends here, and isn't complete"));
        result_clear(&result);
    }
    memset(sink.file->str + len - 8, 0, 8);
    for (size_t at = 0; at < len; at += stride) {
        char kept = sink.file->str[at];
        sink.file->str[at] = (char)g_rand_int(dice);
        Result result = read_file(text_of(sink.file), false);
        result_clear(&result);
        sink.file->str[at] = kept;
    }
    g_string_free(sink.file, TRUE);
    keyspace_free(ks);
}

/* One collection isn't one step. */
static void test_steps(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(DATABASES);
    Hash *hash = hash_new();
    for (int i = 0; i < 20000; i++) {
        g_autofree char *field = g_strdup_printf("field:%d", i);
        hash_set(&hash, slice_of(field), SLICE("value"));
    }
    keyspace_put_object(&ks->dbs[0], SLICE("big"), TYPE_HASH, hash);
    Sink sink = { .file = g_string_new(NULL), .left = SIZE_MAX };
    assert_true(write_keyspace(ks, &sink));
    Result result = read_file(text_of(sink.file), false);
    assert_null(result.error);
    assert_true(result.steps > 200);
    assert_same(ks, result.keyspace);
    result_clear(&result);
    g_string_free(sink.file, TRUE);
    keyspace_free(ks);
}

/* ---- keys that go as they come ---- */

static void count_and_delete(void *context, Db *db, Entry *entry)
{
    (void)context;
    g_autofree char *key = g_strndup(entry_key(entry).ptr, entry_key(entry).len);
    assert_true(keyspace_delete(db, slice_of(key)));
}

static void test_loaded(void **state)
{
    (void)state;
    g_autoptr(GString) file = begin_file(7);
    PUT(file, "\x00\x01k\x01v\x01\x01k\x01\x01v\x00\x01k\x01v");
    end_file(file, true);
    Memory memory = { .left = text_of(file), .at_once = SIZE_MAX };
    RdbSource source = { .read = read_memory, .context = &memory, .loaded = count_and_delete };
    Keyspace *ks = keyspace_new(DATABASES);
    RdbReader *reader = rdb_reader_new(ks, &source);
    unsigned steps;
    assert_int_equal(read_all(reader, &steps), RDB_DONE);
    assert_int_equal(rdb_reader_stats(reader)->keys[TYPE_STRING], 2);
    assert_int_equal(keyspace_size(&ks->dbs[0]), 0);
    rdb_reader_free(reader);
    keyspace_free(ks);
}

/* ---- DUMP and RESTORE ---- */

static void dump_and_restore(void *element, void *context)
{
    Db *db = context;
    const Entry *entry = element;
    GByteArray *payload = rdb_dump(entry);
    unsigned version;
    Slice bytes = { (const char *)payload->data, payload->len };
    char *error = NULL;
    assert_true(rdb_payload_valid(bytes, &version) && version == RDB_VERSION);
    Entry *restored = rdb_restore(db, SLICE("copy"), bytes, &error);
    assert_null(error);
    assert_true(restored == keyspace_peek(db, SLICE("copy")) && !restored->expires);
    assert_int_equal(restored->type, entry->type);
    g_autofree char *a = describe(entry), *b = describe(restored);
    assert_string_equal(a, b);
    payload->data[payload->len / 2] ^= 1;
    assert_false(rdb_payload_valid(bytes, &version));
    g_byte_array_free(payload, TRUE);
}

static void test_payloads(void **state)
{
    (void)state;
    Keyspace *ks = random_keyspace(60), *to = keyspace_new(1);
    for (int i = 0; i < ks->db_count; i++)
        table_each(&ks->dbs[i].table, dump_and_restore, &to->dbs[0]);
    keyspace_free(ks);
    keyspace_free(to);
}

static void check_bad_payload(Db *db, const char *value, size_t len, const char *error)
{
    g_autoptr(GString) payload = g_string_new_len(value, (gssize)len);
    unsigned version;
    put_little(payload, 10, 2);
    put_little(payload, crc64(0, text_of(payload)), 8);
    assert_true(rdb_payload_valid(text_of(payload), &version));
    g_autofree char *got = NULL;
    assert_null(rdb_restore(db, SLICE("kept"), text_of(payload), &got));
    if (strstr(got, error) == NULL) fail_msg("\"%s\" isn't in \"%s\"", error, got);
}

static void test_bad_payloads(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    unsigned version;
    keyspace_put_string(db, SLICE("kept"), SLICE("value"));
    check_bad_payload(db, "", 0, "isn't complete");
    check_bad_payload(db, "\x00\x05x", 3, "isn't complete");
    check_bad_payload(db, "\x00\x01xy", 4, "more bytes than the value has");
    check_bad_payload(db, "\x01\x01\x01xy", 5, "more bytes than the value has");
    check_bad_payload(db, "\x01\x00", 2, "without elements");
    check_bad_payload(db, "\x0f\x00", 2, "stream");
    check_bad_payload(db, "\xfe\x00", 2, "unknown type");
    check_bad_payload(db, "\x02\x02\x01x\x01x", 6, "twice");
    assert_false(rdb_payload_valid(SLICE("short"), &version));
    g_autoptr(GString) future = g_string_new_len("\x00\x01x", 3);
    put_little(future, 11, 2);
    put_little(future, crc64(0, text_of(future)), 8);
    assert_false(rdb_payload_valid(text_of(future), &version));
    g_autofree char *kept = describe(keyspace_peek(db, SLICE("kept")));
    assert_string_equal(kept, "value");
    keyspace_free(ks);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    clock_refresh();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),      cmocka_unit_test(test_plain_collections),
        cmocka_unit_test(test_lists),        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_pairs),        cmocka_unit_test(test_records),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_heads),
        cmocka_unit_test(test_round_trips),  cmocka_unit_test(test_failing_sink),
        cmocka_unit_test(test_damage),       cmocka_unit_test(test_steps),
        cmocka_unit_test(test_loaded),       cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_bad_payloads),
    };
    options.hash_max_ziplist_entries = options.set_max_intset_entries = 512;
    options.zset_max_ziplist_entries = 128;
    options.hash_max_ziplist_value = options.zset_max_ziplist_value = 64;
    options.list_max_ziplist_size = -2;
    guint32 seed = 4127;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests_name("rdb", tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
