/* test_image.c: store/image: entries of every kind and size as bytes and back; pages of elements; and that damaged
 * bytes are refused, or make something that can be used.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/image.h"

#include <glib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/hash.h"
#include "store/intset.h"
#include "store/keyspace.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

static GRand *dice;

static Slice text_of(const GString *text)
{
    return (Slice){ text->str, text->len };
}

/* A text of about this length that is different for every i, and an integer now and then. */
static Slice name_of(unsigned i, size_t len, GString *text)
{
    g_string_printf(text, i % 3 == 0 ? "%u" : "m%u", i);
    while (text->len < len)
        g_string_append_c(text, (char)('a' + (text->len + i) % 26));
    return text_of(text);
}

/* ---- making, comparing and walking objects ---- */

static List *make_list(unsigned count, size_t len)
{
    g_autoptr(GString) text = g_string_new(NULL);
    List *list = list_new();
    for (unsigned i = 0; i < count; i++)
        list_push(&list, i % 5 == 0 ? LIST_HEAD : LIST_TAIL, name_of(i, len, text));
    return list;
}

static Set *make_set(unsigned count, size_t len)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Set *set = set_new();
    for (unsigned i = 0; i < count; i++)
        set_add(&set, set_member(name_of(i, len, text)));
    return set;
}

static Hash *make_hash(unsigned count, size_t len)
{
    g_autoptr(GString) field = g_string_new(NULL), value = g_string_new(NULL);
    Hash *hash = hash_new();
    for (unsigned i = 0; i < count; i++) {
        Slice texts[] = { name_of(i, len, field), name_of(i + 1, len / 2, value) };
        hash_admit(&hash, texts, 2);
        hash_set(&hash, texts[0], texts[1]);
    }
    return hash;
}

static double score_of(unsigned i)
{
    static const double scores[] = { 0, -0.0, 1, 1, 0.1, -2.5, 1e300, -1e300, INFINITY, -INFINITY, 1e15, 3 };
    return i < G_N_ELEMENTS(scores) ? scores[i] : (i % 7) * 0.5 + (i % 3);
}

static Zset *make_zset(unsigned count, size_t len)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Zset *zset = zset_new();
    for (unsigned i = 0; i < count; i++) {
        double score = score_of(i);
        zset_add(&zset, name_of(i, len, text), &score, 0);
    }
    return zset;
}

static void *make_object(ValueType type, unsigned count, size_t len)
{
    switch (type) {
    case TYPE_LIST: return make_list(count, len);
    case TYPE_SET: return make_set(count, len);
    case TYPE_ZSET: return make_zset(count, len);
    default: return make_hash(count, len);
    }
}

static void free_object(ValueType type, void *object)
{
    switch (type) {
    case TYPE_LIST: list_free(object); break;
    case TYPE_SET: set_free(object); break;
    case TYPE_ZSET: zset_free(object); break;
    default: hash_free(object); break;
    }
}

static void check_value(PackValue a, PackValue b)
{
    char digits[2][NUMBER_INT_CHARS];
    assert_true(slice_equal(pack_value_text(a, digits[0]), pack_value_text(b, digits[1])));
}

static void check_lists(const List *a, const List *b)
{
    assert_int_equal(list_length(a), list_length(b));
    assert_int_equal(list_chunks(a), list_chunks(b));
    assert_int_equal(list_bytes(a), list_bytes(b));
    ListWalk walk_a = list_walk(a, 0, LIST_HEAD), walk_b = list_walk(b, 0, LIST_HEAD);
    for (PackValue value_a, value_b; list_next(&walk_a, &value_a);) {
        assert_true(list_next(&walk_b, &value_b));
        check_value(value_a, value_b);
    }
}

static void check_sets(const Set *a, const Set *b)
{
    assert_int_equal(set_length(a), set_length(b));
    assert_string_equal(set_encoding(a), set_encoding(b));
    assert_int_equal(set_elements(a) == NULL, set_elements(b) == NULL);
    SetWalk walk = set_walk(a);
    for (SetMember member; set_next(&walk, &member);)
        assert_true(set_has(b, member));
}

static void check_hashes(const Hash *a, const Hash *b)
{
    assert_int_equal(hash_length(a), hash_length(b));
    assert_string_equal(hash_encoding(a), hash_encoding(b));
    HashWalk walk = hash_walk(a);
    for (HashPair pair; hash_next(&walk, &pair);) {
        char digits[NUMBER_INT_CHARS];
        PackValue value;
        assert_true(hash_get(b, pack_value_text(pair.field, digits), &value));
        check_value(pair.value, value);
    }
}

static void check_zsets(const Zset *a, const Zset *b)
{
    assert_int_equal(zset_length(a), zset_length(b));
    assert_string_equal(zset_encoding(a), zset_encoding(b));
    ZsetWalk walk_a = zset_walk(a, 0, false), walk_b = zset_walk(b, 0, false);
    for (ZsetPair pair_a, pair_b; zset_next(&walk_a, &pair_a);) {
        assert_true(zset_next(&walk_b, &pair_b));
        check_value(pair_a.member, pair_b.member);
        assert_memory_equal(&pair_a.score, &pair_b.score, sizeof(double));
        char digits[NUMBER_INT_CHARS];
        double score;
        assert_true(zset_score(b, pack_value_text(pair_a.member, digits), &score));
        assert_memory_equal(&pair_a.score, &score, sizeof(double));
    }
}

static void check_objects(ValueType type, const void *a, const void *b)
{
    switch (type) {
    case TYPE_LIST: check_lists(a, b); break;
    case TYPE_SET: check_sets(a, b); break;
    case TYPE_ZSET: check_zsets(a, b); break;
    default: check_hashes(a, b); break;
    }
}

/* ---- entries ---- */

static void check_entry_head(const Entry *entry, const ImageHead *head)
{
    assert_int_equal(head->type, entry->type);
    assert_int_equal(head->encoding, entry->encoding);
    assert_int_equal(head->expires, entry->expires);
    assert_int_equal(head->deadline_ms, entry_deadline(entry));
    assert_int_equal(head->lru, entry->lru);
    assert_true(slice_equal(head->key, entry_key(entry)));
}

/* Takes apart what image_put_head and image_put_value made; the value's bytes. */
static Slice check_image(const Image *image, const Entry *entry)
{
    Slice in = { image->bytes, image->len }, value = { 0 };
    ImageHead head;
    assert_true(image_get_head(&in, &head));
    check_entry_head(entry, &head);
    assert_int_equal(head.form, IMAGE_INLINE);
    if (entry->type != TYPE_LIST) assert_in_range(image_value_bytes(entry), in.len, in.len + in.len / 100 + 2);
    assert_true(image_get_slice(&in, &value));
    assert_int_equal(in.len, 0);
    return value;
}

static void check_roundtrip(const Entry *entry)
{
    Image image = { 0 };
    image_put_head(&image, entry, IMAGE_INLINE, 0, 0);
    image_put_value(&image, entry);
    Slice value = check_image(&image, entry);
    if (entry->type == TYPE_STRING) {
        assert_true(image_string_valid(entry->encoding, value));
        Slice expected = { (const char *)&entry->number, sizeof(entry->number) };
        if (entry->encoding != STRING_INT) expected = (Slice){ entry_string_bytes(entry), entry->str.len };
        assert_true(slice_equal(value, expected));
    } else {
        void *object = image_get_object(entry->type, value);
        assert_non_null(object);
        check_objects(entry->type, entry->object, object);
        free_object(entry->type, object);
    }
    g_free(image.bytes);
}

static void test_strings(void **state)
{
    (void)state;
    static const size_t lens[] = { 0, 1, 20, 44, 45, 127, 128, 16383, 16384, 1 << 20 };
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
        g_string_set_size(text, lens[i]);
        memset(text->str, 'x', lens[i]);
        keyspace_put_string(db, SLICE("short"), text_of(text));
        Entry *entry = keyspace_put_string(db, text_of(text), SLICE("the key is long"));
        entry->lru = 0xABCDEF;
        check_roundtrip(keyspace_peek(db, SLICE("short")));
        check_roundtrip(entry);
        check_roundtrip(keyspace_put_string_until(db, SLICE("until"), text_of(text), INT64_MAX));
    }
    static const int64_t numbers[] = { 0, -1, 127, 128, INT64_MIN, INT64_MAX };
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        check_roundtrip(keyspace_put_int(db, SLICE("number"), numbers[i]));
    check_roundtrip(keyspace_set_deadline(db, keyspace_write(db, SLICE("number")), clock_unix_ms + 1000));
    keyspace_free(ks);
    assert_false(image_string_valid(STRING_INT, SLICE("1234567")));
    assert_true(image_string_valid(STRING_INT, SLICE("12345678")));
    assert_false(image_string_valid(STRING_RAW, (Slice){ "", KEYSPACE_STRING_MAX + 1 }));
}

static void check_kind(ValueType type, unsigned count, size_t len)
{
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    check_roundtrip(keyspace_put_object(db, SLICE("collection"), type, make_object(type, count, len)));
    Entry *entry = keyspace_set_deadline(db, keyspace_write(db, SLICE("collection")), clock_unix_ms + 1000);
    check_roundtrip(entry);
    keyspace_free(ks);
}

static void test_collections(void **state)
{
    (void)state;
    static const unsigned counts[] = { 1, 2, 3, 8, 9, 17, 32, 33, 64, 127, 128, 129, 511, 512, 513, 2000, 70000 };
    static const size_t lens[] = { 1, 63, 64, 65, 127, 128, 254, 255, 256, 9000 };
    for (ValueType type = TYPE_LIST; type <= TYPE_HASH; type++) {
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
            for (size_t k = 0; k < G_N_ELEMENTS(lens); k++) {
                if (counts[i] * lens[k] <= 700000) check_kind(type, counts[i], lens[k]);
            }
        }
        check_kind(type, 3, 1 << 20);
    }
}

static void test_intsets(void **state)
{
    (void)state;
    static const int64_t widest[] = { 5, -32768, 32767, 32768, INT32_MIN, INT32_MAX, 1LL << 31, INT64_MIN, INT64_MAX };
    for (size_t i = 0; i < G_N_ELEMENTS(widest); i++) {
        for (unsigned count = 1; count <= 513; count += 128) {
            Set *set = set_new();
            set_add(&set, (SetMember){ .number = widest[i] });
            for (unsigned n = 1; n < count; n++)
                set_add(&set, (SetMember){ .number = 10 * n });
            Image image = { 0 };
            set_encode(set, &image);
            Set *back = set_decode((Slice){ image.bytes, image.len });
            assert_non_null(back);
            check_sets(set, back);
            assert_int_equal(set_bytes(set), set_elements(set) == NULL ? set_bytes(back) : set_bytes(set));
            g_free(image.bytes);
            set_free(set);
            set_free(back);
        }
    }
}

/* What was big and has few members left comes back big. */
static void test_shrunken(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new(NULL);
    Hash *hash = make_hash(2000, 10);
    Set *set = make_set(2000, 10);
    Zset *zset = make_zset(2000, 10);
    for (unsigned i = 2; i < 2000; i++) {
        hash_remove(&hash, name_of(i, 10, text));
        set_remove(&set, set_member(name_of(i, 10, text)));
        zset_remove(&zset, name_of(i, 10, text));
    }
    Keyspace *ks = keyspace_new(1);
    check_roundtrip(keyspace_put_object(&ks->dbs[0], SLICE("h"), TYPE_HASH, hash));
    check_roundtrip(keyspace_put_object(&ks->dbs[0], SLICE("s"), TYPE_SET, set));
    check_roundtrip(keyspace_put_object(&ks->dbs[0], SLICE("z"), TYPE_ZSET, zset));
    keyspace_free(ks);
}

static void test_random(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (int round = 0; round < 2000; round++) {
        unsigned count = (unsigned)g_rand_int_range(dice, 1, g_rand_boolean(dice) ? 10 : 600);
        size_t len = (size_t)g_rand_int_range(dice, 0, g_rand_boolean(dice) ? 20 : 100);
        Slice key = name_of((unsigned)round, (size_t)g_rand_int_range(dice, 0, 200), text);
        ValueType type = (ValueType)g_rand_int_range(dice, TYPE_LIST, TYPE_HASH + 1);
        Entry *entry = keyspace_put_object(&ks->dbs[0], key, type, make_object(type, count, len));
        entry->lru = g_rand_int(dice) & 0xFFFFFF;
        check_roundtrip(entry);
    }
    keyspace_free(ks);
}

/* ---- pieces ---- */

static void test_numbers(void **state)
{
    (void)state;
    Image image = { 0 };
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int64_t off = -1; off <= 1; off++) {
            uint64_t value = (1ULL << bit) + (uint64_t)off, back;
            image.len = 0;
            image_put_varint(&image, value);
            assert_int_equal(image.len, image_varint_bytes(value));
            Slice in = { image.bytes, image.len }, cut = { image.bytes, image.len - 1 };
            assert_false(image_get_varint(&cut, &back));
            assert_true(image_get_varint(&in, &back) && in.len == 0);
            assert_true(back == value);
        }
    }
    g_free(image.bytes);
    uint64_t value;
    Slice needless = SLICE("\x80\x00"), too_big = SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
    Slice endless = SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert_false(image_get_varint(&needless, &value));
    assert_false(image_get_varint(&too_big, &value));
    assert_false(image_get_varint(&endless, &value));
}

static void test_elsewhere(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Entry *entry = keyspace_put_object(&ks->dbs[0], SLICE("far"), TYPE_HASH, make_hash(3, 3));
    Image image = { 0 };
    image_put_head(&image, entry, IMAGE_ELSEWHERE, UINT64_MAX, 1000000);
    Slice in = { image.bytes, image.len };
    ImageHead head;
    assert_true(image_get_head(&in, &head) && in.len == 0);
    check_entry_head(entry, &head);
    assert_int_equal(head.form, IMAGE_ELSEWHERE);
    assert_true(head.id == UINT64_MAX && head.count == 1000000);
    for (size_t len = 0; len < image.len; len++) {
        Slice cut = { image.bytes, len };
        assert_false(image_get_head(&cut, &head));
    }
    g_free(image.bytes);
    keyspace_free(ks);
}

static void visit_put(void *element, void *context)
{
    element_encode(element, true, context);
}

static void visit_put_member(void *element, void *context)
{
    element_encode(element, false, context);
}

static void visit_put_rank(void *element, void *context)
{
    rank_element_encode(element, context);
}

/* A table bucket by bucket, in the order of a scan, as pages are. */
static Image pages_of(const Table *table, TableVisit visit)
{
    Image image = { 0 };
    uint64_t cursor = 0;
    do {
        cursor = table_scan(table, cursor, visit, &image);
    } while (cursor != 0);
    return image;
}

static void test_pages(void **state)
{
    (void)state;
    uint64_t hash;
    Hash *original = make_hash(5000, 20), *hash_back = hash_new_big();
    Image image = pages_of(&hash_elements(original)->table, visit_put);
    for (Slice in = { image.bytes, image.len }; in.len > 0;)
        assert_true(element_decode(hash_elements(hash_back), &in, &hash));
    check_hashes(original, hash_back);
    Slice again = { image.bytes, image.len };
    assert_false(element_decode(hash_elements(hash_back), &again, &hash));
    g_free(image.bytes);
    hash_free(original);
    hash_free(hash_back);

    Set *set = make_set(5000, 20), *set_back = set_new_big();
    image = pages_of(&set_elements(set)->table, visit_put_member);
    for (Slice in = { image.bytes, image.len }; in.len > 0;)
        assert_true(element_decode(set_elements(set_back), &in, &hash));
    check_sets(set, set_back);
    g_free(image.bytes);
    set_free(set);
    set_free(set_back);

    Zset *zset = make_zset(5000, 20), *zset_back = zset_new_big();
    image = pages_of(zset_table(zset), visit_put_rank);
    for (Slice in = { image.bytes, image.len }; in.len > 0;)
        assert_true(zset_decode_element(zset_back, &in, &hash));
    check_zsets(zset, zset_back);
    again = (Slice){ image.bytes, image.len };
    assert_false(zset_decode_element(zset_back, &again, &hash));
    g_free(image.bytes);
    zset_free(zset);
    zset_free(zset_back);
}

static void test_chunks(void **state)
{
    (void)state;
    List *list = make_list(5000, 20), *back = list_new();
    Image image = { 0 };
    for (struct ListChunk *chunk = list_first_chunk(list); chunk != NULL; chunk = list_next_chunk(chunk))
        pack_encode(list_chunk_pack(chunk), &image);
    for (Slice in = { image.bytes, image.len }; in.len > 0;)
        assert_true(list_decode_chunk(&back, &in));
    check_lists(list, back);
    size_t about = list_encoded_bytes_about(list), exact = image.len;
    assert_true(about > exact / 2 && about < exact * 2);
    g_free(image.bytes);
    list_free(list);
    list_free(back);
    list = list_new();
    assert_null(list_first_chunk(list));
    list_free(list);
}

/* ---- damage ---- */

/* Decodes a copy of exactly this size, so that reading past it is seen. What is taken must be as good as any. */
static bool taken(ValueType type, Slice bytes)
{
    char *copy = g_memdup2(bytes.ptr, bytes.len);
    void *object = image_get_object(type, (Slice){ copy, bytes.len });
    g_free(copy);
    if (object == NULL) return false;
    Keyspace *ks = keyspace_new(1);
    check_roundtrip(keyspace_put_object(&ks->dbs[0], SLICE("k"), type, object));
    keyspace_free(ks);
    return true;
}

static void damage(ValueType type, unsigned count, size_t len)
{
    Keyspace *ks = keyspace_new(1);
    Entry *entry = keyspace_put_object(&ks->dbs[0], SLICE("k"), type, make_object(type, count, len));
    Image image = { 0 };
    image_put_value(&image, entry);
    Slice in = { image.bytes, image.len }, value;
    assert_true(image_get_slice(&in, &value));
    assert_true(taken(type, value));
    for (size_t cut = 0; cut < value.len; cut++)
        assert_false(taken(type, (Slice){ value.ptr, cut }));
    g_autofree char *bytes = g_malloc(value.len + 1);
    memcpy(bytes, value.ptr, value.len);
    bytes[value.len] = 0;
    assert_false(taken(type, (Slice){ bytes, value.len + 1 }));
    static const uint8_t flips[] = { 1, 2, 4, 8, 16, 32, 64, 128, 255 };
    for (size_t i = 0; i < value.len; i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(flips); k++) {
            bytes[i] = (char)(bytes[i] ^ flips[k]);
            taken(type, (Slice){ bytes, value.len });
            bytes[i] = value.ptr[i];
        }
    }
    g_free(image.bytes);
    keyspace_free(ks);
}

static void test_damage(void **state)
{
    (void)state;
    for (ValueType type = TYPE_LIST; type <= TYPE_HASH; type++) {
        damage(type, 1, 1);
        damage(type, 5, 3);
        damage(type, 20, 3);
        damage(type, 3, 70); /* big, but for lists */
        damage(type, 3, 260);
    }
    damage(TYPE_SET, 70, 3);
    int64_t size = options.list_max_ziplist_size;
    options.list_max_ziplist_size = 3;
    damage(TYPE_LIST, 10, 5);
    options.list_max_ziplist_size = size;
    Set *ints = set_new();
    for (int64_t i = 0; i < 5; i++)
        set_add(&ints, (SetMember){ .number = i * 100000 });
    Image image = { 0 };
    set_encode(ints, &image);
    for (size_t i = 0; i < image.len; i++) {
        image.bytes[i] ^= 0x55;
        taken(TYPE_SET, (Slice){ image.bytes, image.len });
        image.bytes[i] ^= 0x55;
        assert_false(taken(TYPE_SET, (Slice){ image.bytes, i }));
    }
    g_free(image.bytes);
    set_free(ints);
}

static void test_damaged_heads(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    keyspace_put_string(db, SLICE("a-key"), SLICE("a value"));
    Entry *entry = keyspace_set_deadline(db, keyspace_write(db, SLICE("a-key")), clock_unix_ms + 1000);
    for (ImageForm form = IMAGE_INLINE; form <= IMAGE_ELSEWHERE; form++) {
        Image image = { 0 };
        image_put_head(&image, entry, form, 300, 70000);
        for (size_t i = 0; i < image.len * 256; i++) {
            g_autofree char *copy = g_memdup2(image.bytes, image.len);
            copy[i / 256] = (char)i;
            Slice in = { copy, image.len };
            ImageHead head;
            if (image_get_head(&in, &head)) assert_true(head.type <= TYPE_HASH && head.encoding <= STRING_INT);
            in = (Slice){ copy, i / 256 };
            assert_false(image_get_head(&in, &head));
        }
        g_free(image.bytes);
    }
    keyspace_free(ks);
}

/* Well-formed packs that break what the type promises. */
static void refuse_pack(ValueType type, const char *const *texts)
{
    Pack *pack = pack_new(type == TYPE_SET ? 1 : 0);
    for (; *texts != NULL; texts++)
        pack = pack_append(pack, slice_of(*texts));
    Image image = { 0 };
    image_put_varint(&image, pack->kind);
    pack_encode(pack, &image);
    assert_false(taken(type, (Slice){ image.bytes, image.len }));
    g_free(image.bytes);
    pack_free(pack);
}

#define TEXTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_refused(void **state)
{
    (void)state;
    for (ValueType type = TYPE_LIST; type <= TYPE_HASH; type++) {
        refuse_pack(type, (const char *const[]){ NULL });
        assert_false(taken(type, SLICE("")));
        assert_false(taken(type, SLICE("\x01\x00")));
        assert_false(taken(type, SLICE("\x02\x00")));
        assert_false(taken(type, SLICE("\x03")));
    }
    refuse_pack(TYPE_SET, TEXTS("a", "b", "a"));
    refuse_pack(TYPE_SET, TEXTS("a", "1", "b", "c", "d", "e", "f", "g", "h", "1"));
    refuse_pack(TYPE_HASH, TEXTS("a", "1", "b"));
    refuse_pack(TYPE_HASH, TEXTS("a", "1", "a", "2"));
    refuse_pack(TYPE_ZSET, TEXTS("a"));
    refuse_pack(TYPE_ZSET, TEXTS("a", "2", "b", "1"));
    refuse_pack(TYPE_ZSET, TEXTS("b", "1", "a", "1"));
    refuse_pack(TYPE_ZSET, TEXTS("a", "1", "a", "2"));
    refuse_pack(TYPE_ZSET, TEXTS("a", "x"));
    refuse_pack(TYPE_ZSET, TEXTS("a", "9007199254740993"));
    refuse_pack(TYPE_ZSET, TEXTS("a", "\x01\x01\x01\x01\x01\x01\xf8\x7f")); /* not a number */
}

/* The same for a table: the second element is the first one again, or out of order. */
static void test_refused_big(void **state)
{
    (void)state;
    assert_true(taken(TYPE_HASH, SLICE("\x01\x02\x01"
                                       "a\x01x\x01"
                                       "b\x01y")));
    assert_false(taken(TYPE_HASH, SLICE("\x01\x02\x01"
                                        "a\x01x\x01"
                                        "a\x01y")));
    assert_false(taken(TYPE_SET, SLICE("\x02\x02\x01"
                                       "a\x01"
                                       "a")));
    Image image = { 0 };
    static const struct {
        double score;
        const char *member;
    } pairs[][2] = {
        { { 1, "a" }, { 2, "a" } }, { { 2, "a" }, { 1, "b" } }, { { 1, "b" }, { 1, "a" } }, { { 1, "a" }, { NAN, "b" } }
    };
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        image.len = 0;
        image_put_varint(&image, 1);
        image_put_varint(&image, 2);
        for (size_t k = 0; k < 2; k++) {
            RankElement *element = rank_element_new(pairs[i][k].score, slice_of(pairs[i][k].member));
            rank_element_encode(element, &image);
            g_free(element);
        }
        assert_false(taken(TYPE_ZSET, (Slice){ image.bytes, image.len }));
    }
    g_free(image.bytes);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),       cmocka_unit_test(test_collections), cmocka_unit_test(test_intsets),
        cmocka_unit_test(test_shrunken),      cmocka_unit_test(test_random),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_elsewhere),     cmocka_unit_test(test_pages),       cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_refused),     cmocka_unit_test(test_refused_big),
        cmocka_unit_test(test_damaged_heads),
    };
    options.hash_max_ziplist_entries = options.set_max_intset_entries = 512;
    options.zset_max_ziplist_entries = 128;
    options.hash_max_ziplist_value = options.zset_max_ziplist_value = 64;
    options.list_max_ziplist_size = -2;
    guint32 seed = 3155;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests_name("image", tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
