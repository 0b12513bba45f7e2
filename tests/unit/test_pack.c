/* test_pack.c: store/pack against a GPtrArray of strings under random operations, as bytes and back, and its check of
 * blocks from outside.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pack.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static Pack *pack;
static GPtrArray *model; /* GString */

static void free_string(void *string)
{
    g_string_free(string, TRUE);
}

static Slice slice_of_string(const GString *text)
{
    return (Slice){ text->str, text->len };
}

/* Every width of integer, texts that only look like integers, and every width of length. */
static GString *random_text(GRand *rand)
{
    static const char *const odd[] = { "",
                                       "-",
                                       "0",
                                       "-0",
                                       "00",
                                       "01",
                                       "+1",
                                       " 1",
                                       "1 ",
                                       "127",
                                       "128",
                                       "-128",
                                       "-129",
                                       "255",
                                       "256",
                                       "32767",
                                       "32768",
                                       "-1",
                                       "1e3",
                                       "0x1",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "9223372036854775808" };
    GString *text = g_string_new(NULL);
    gint32 kind = g_rand_int_range(rand, 0, 8);
    if (kind == 0) {
        g_string_assign(text, odd[g_rand_int_range(rand, 0, G_N_ELEMENTS(odd))]);
    } else if (kind < 4) {
        gint64 value = (gint64)(((guint64)g_rand_int(rand) << 32) | g_rand_int(rand)) >> g_rand_int_range(rand, 0, 64);
        g_string_printf(text, "%" G_GINT64_FORMAT, value);
    } else {
        gint32 len = kind < 7 ? g_rand_int_range(rand, 0, 12) : g_rand_int_range(rand, 120, kind == 7 ? 400 : 140);
        for (gint32 i = 0; i < len; i++)
            g_string_append_c(text, (char)('a' + g_rand_int_range(rand, 0, 3)));
        if (g_rand_int_range(rand, 0, 200) == 0) g_string_set_size(text, 70000);
    }
    return text;
}

static void assert_at(PackPos pos, const GString *expected)
{
    char digits[NUMBER_INT_CHARS];
    assert_int_not_equal(pos, 0);
    Slice text = pack_text(pack, pos, digits);
    assert_int_equal(text.len, expected->len);
    assert_memory_equal(text.ptr, expected->str, text.len);
    assert_true(pack_equals(pack, pos, slice_of_string(expected)));
    PackValue value = pack_get(pack, pos);
    int64_t number;
    bool is_int = number_parse_int(slice_of_string(expected), &number);
    assert_int_equal(value.text.ptr == NULL, is_int);
    if (is_int) assert_int_equal(value.number, number);
}

static void check_whole(void)
{
    assert_true(pack_valid(pack, pack->bytes));
    assert_int_equal(pack_count(pack), model->len);
    PackPos pos = pack_first(pack), prev = 0;
    for (guint i = 0; i < model->len; i++) {
        assert_at(pos, model->pdata[i]);
        if (!pack->one_way) assert_int_equal(pack_prev(pack, pos), prev);
        assert_int_equal(pack_at(pack, (int64_t)i), pos);
        assert_int_equal(pack_at(pack, (int64_t)i - (int64_t)model->len), pos);
        prev = pos;
        pos = pack_next(pack, pos);
    }
    assert_int_equal(pos, 0);
    if (!pack->one_way) assert_int_equal(pack_last(pack), prev);
    assert_int_equal(pack_at(pack, (int64_t)model->len), 0);
    assert_int_equal(pack_at(pack, -(int64_t)model->len - 1), 0);
}

/* Whether two packs are the same, byte by byte. */
static void assert_same(const Pack *one, const Pack *other)
{
    assert_int_equal(one->bytes, other->bytes);
    assert_memory_equal(one, other, one->bytes);
}

/* A pack that goes the other ways; takes this one. */
static Pack *turned(Pack *before)
{
    if (before->one_way) return pack_two_way(before);
    Pack *after = pack_new_one_way(before->kind);
    char digits[NUMBER_INT_CHARS];
    for (PackPos pos = pack_first(before); pos != 0; pos = pack_next(before, pos))
        after = pack_append(after, pack_text(before, pos, digits));
    pack_free(before);
    return after;
}

/* As bytes it's the same whether it goes one way or both; and the bytes, in front of others, are the pack again. */
static void check_encoded(void)
{
    if (model->len == 0) return;
    Image image = { 0 }, other_image = { 0 };
    pack_encode(pack, &image);
    assert_true(image.len <= pack_encoded_bytes_max(pack));
    Pack *other = g_memdup2(pack, pack_bytes(pack));
    other = turned(other);
    assert_int_not_equal(other->one_way, pack->one_way);
    assert_true(pack_valid(other, other->bytes));
    pack_encode(other, &other_image);
    assert_int_equal(image.len, other_image.len);
    assert_memory_equal(image.bytes, other_image.bytes, image.len);

    image_put_bytes(&image, SLICE("more"));
    Slice in = { image.bytes, image.len };
    Pack *decoded = pack_decode(&in, pack->kind, model->len - 1);
    assert_int_equal(in.len, 4);
    assert_same(decoded, pack->one_way ? other : pack);
    pack_free(decoded);
    in = (Slice){ image.bytes, image.len };
    decoded = pack_decode(&in, pack->kind, model->len);
    assert_int_equal(in.len, 4);
    assert_same(decoded, pack->one_way ? pack : other);
    pack_free(decoded);
    pack_free(other);
    g_free(image.bytes);
    g_free(other_image.bytes);
}

static void check_find(GRand *rand, const GString *text, unsigned skip)
{
    if (model->len == 0) return;
    guint from = (guint)g_rand_int_range(rand, 0, (gint32)model->len), i = from;
    PackPos found = pack_find(pack, pack_at(pack, from), slice_of_string(text), skip);
    while (i < model->len && !g_string_equal(model->pdata[i], text))
        i += 1 + skip;
    assert_int_equal(found, i < model->len ? pack_at(pack, i) : 0);
}

static void remove_some(GRand *rand, guint index)
{
    guint count = (guint)g_rand_int_range(rand, 1, 4), there = MIN(count, model->len - index);
    pack = pack_remove(pack, pack_at(pack, index), count);
    g_ptr_array_remove_range(model, index, there);
}

static void split_and_join(guint index)
{
    Pack *tail;
    pack = pack_split(pack, pack_at(pack, index), &tail);
    assert_true(pack_valid(pack, pack->bytes));
    assert_true(pack_valid(tail, tail->bytes));
    assert_int_equal(pack_count(pack), index);
    assert_int_equal(pack_count(tail), model->len - index);
    assert_int_equal(tail->kind, pack->kind);
    assert_int_equal(tail->one_way, pack->one_way);
    pack = pack_join(pack, tail);
}

static void one_step(GRand *rand)
{
    GString *text = random_text(rand);
    guint index = model->len == 0 ? 0 : (guint)g_rand_int_range(rand, 0, (gint32)model->len);
    gint32 what = g_rand_int_range(rand, 0, model->len > 60 ? 9 : 7);
    if (g_rand_int_range(rand, 0, 50) == 0) pack = turned(pack);
    check_find(rand, text, (unsigned)g_rand_int_range(rand, 0, 2));
    size_t before = pack->bytes;
    if (what < 3 || model->len == 0) {
        bool front = what == 0;
        pack = front ? pack_prepend(pack, slice_of_string(text)) : pack_append(pack, slice_of_string(text));
        size_t bytes = pack->bytes - before, both_ways = pack_element_bytes(slice_of_string(text));
        if (pack->one_way)
            assert_in_range(both_ways - bytes, 1, 3);
        else
            assert_int_equal(bytes, both_ways);
        g_ptr_array_insert(model, front ? 0 : -1, text);
    } else if (what == 3) {
        pack = pack_insert(pack, pack_at(pack, index), slice_of_string(text));
        g_ptr_array_insert(model, (gint)index, text);
    } else if (what == 4) {
        pack = pack_replace(pack, pack_at(pack, index), slice_of_string(text));
        free_string(model->pdata[index]);
        model->pdata[index] = text;
    } else {
        if (what == 5) {
            split_and_join(index);
        } else {
            remove_some(rand, index);
        }
        free_string(text);
    }
}

static void test_model(void **state)
{
    (void)state;
    pack = pack_new(3);
    model = g_ptr_array_new_with_free_func(free_string);
    GRand *rand = g_rand_new_with_seed(31337);
    for (unsigned step = 0; step < 20000; step++) {
        one_step(rand);
        if (step % 20 == 0) check_whole();
        if (step % 20 == 0) check_encoded();
    }
    assert_int_equal(pack->kind, 3);
    g_ptr_array_free(model, TRUE);
    g_rand_free(rand);
    pack_free(pack);
}

static void assert_count(uint32_t count)
{
    assert_int_equal(pack_count(pack), count);
    assert_true(pack_valid(pack, pack->bytes));
    assert_int_equal(pack_at(pack, -(int64_t)count), pack_first(pack));
    assert_int_equal(pack_at(pack, (int64_t)count - 1), pack_at(pack, -1));
    assert_int_equal(pack_at(pack, count), 0);
    assert_int_equal(pack_at(pack, -(int64_t)count - 1), 0);
    /* Its bytes have another limit: the count is in the fifth and the sixth. */
    Image image = { 0 };
    pack_encode(pack, &image);
    uint16_t said;
    memcpy(&said, image.bytes + 4, sizeof(said));
    assert_int_equal(said, MIN(count, 65535));
    Slice in = { image.bytes, image.len };
    Pack *decoded = pack_decode(&in, 0, 0);
    assert_int_equal(pack_count(decoded), count);
    pack_free(decoded);
    g_free(image.bytes);
}

/* The count in the head saturates; walking and counting go on being right, also when there are fewer again. */
static void test_many_elements(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        pack = way == 0 ? pack_new(0) : pack_new_one_way(0);
        for (int i = 0; i < 70000; i++)
            pack = pack_append(pack, SLICE("an element"));
        assert_count(70000);
        pack = pack_remove(pack, pack_first(pack), 10000);
        assert_count(60000);
        pack = pack_remove(pack, pack_first(pack), 50000);
        assert_count(10000);
        pack = pack_remove(pack, pack_first(pack), 9000);
        assert_count(1000);
        pack = pack_append(pack, SLICE("y"));
        assert_count(1001);
        pack_free(pack);
    }
}

static void refuse(Image image)
{
    Slice in = { image.bytes, image.len };
    assert_null(pack_decode(&in, 2, 0));
    in = (Slice){ image.bytes, image.len };
    assert_null(pack_decode(&in, 2, 2));
}

/* A reader takes no other count, no other kind and no head that promises more than there is. */
static void test_wrong_heads(void **state)
{
    (void)state;
    pack = pack_append(pack_append(pack_new(2), SLICE("one")), SLICE("two"));
    Image image = { 0 };
    pack_encode(pack, &image);
    assert_int_equal(image.len, 8 + 2 * 5);
    for (size_t i = 0; i < 8 * 8; i++) {
        image.bytes[i / 8] ^= (char)(1 << (i % 8));
        refuse(image);
        image.bytes[i / 8] ^= (char)(1 << (i % 8));
    }
    for (size_t len = image.len; len-- > 0;) {
        image.len = len;
        refuse(image);
    }
    g_free(image.bytes);
    pack_free(pack);
}

/* Whatever one flipped byte does, the check refuses the block or the block can be walked. */
static void check_flipped_bytes(Pack *good)
{
    const char *const texts[] = { "abc", "", "-5", "70000", "1099511627776", "x" };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        good = pack_append(good, slice_of(texts[i]));
    g_autofree char *long_text = g_strnfill(300, 'z');
    good = pack_append(good, slice_of(long_text));
    unsigned refused = 0;
    for (size_t i = 0; i < (size_t)good->bytes * 8; i++) {
        Pack *bad = g_memdup2(good, good->bytes);
        ((char *)bad)[i / 8] ^= (char)(1 << (i % 8));
        if (!pack_valid(bad, good->bytes)) {
            refused++;
        } else {
            uint32_t count = 0;
            for (PackPos pos = pack_first(bad); pos != 0; pos = pack_next(bad, pos))
                count++;
            assert_int_equal(count, pack_count(bad));
        }
        g_free(bad);
    }
    assert_true(refused > 100);
    for (size_t size = 0; size < good->bytes; size++)
        assert_false(pack_valid(good, size));
    pack_free(good);
}

static void test_flipped_bytes(void **state)
{
    (void)state;
    check_flipped_bytes(pack_new(0));
    check_flipped_bytes(pack_new_one_way(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_many_elements),
        cmocka_unit_test(test_wrong_heads),
        cmocka_unit_test(test_flipped_bytes),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
