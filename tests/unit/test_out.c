/* test_out.c: net/out: random writes, reservations and sends against one flat buffer; the encoders' bytes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/out.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEED 20260802

/* All bytes waiting in the output, in one block. */
static GByteArray *waiting(const Out *out)
{
    GByteArray *bytes = g_byte_array_new();
    for (const OutBlock *b = out->head; b != NULL; b = b->next) {
        size_t skip = b == out->head ? out->sent : 0;
        g_byte_array_append(bytes, (const guint8 *)b->data + skip, (guint)(b->used - skip));
    }
    return bytes;
}

static void assert_waiting(const Out *out, const void *expected, size_t len)
{
    g_autoptr(GByteArray) bytes = waiting(out);
    assert_int_equal(out->bytes, len);
    assert_int_equal(bytes->len, len);
    if (len > 0) assert_memory_equal(bytes->data, expected, len);
}

static void assert_text(Out *out, const char *expected)
{
    assert_waiting(out, expected, strlen(expected));
    out_clear(out);
}

/* ---- blocks ---- */

static size_t random_size(GRand *rand)
{
    static const gint32 scales[] = { 2, 50, 1100, OUT_BLOCK_BYTES, 100000 };
    return (size_t)g_rand_int_range(rand, 0, scales[g_rand_int_range(rand, 0, G_N_ELEMENTS(scales))]);
}

static void add_random(GRand *rand, Out *out, GByteArray *model)
{
    size_t len = random_size(rand);
    g_autofree char *bytes = g_malloc(len + 1);
    memset(bytes, g_rand_int_range(rand, 0, 256), len);
    int way = g_rand_int_range(rand, 0, 3);
    if (way == 0) {
        out_write(out, bytes, len);
    } else if (way == 1) {
        size_t more = random_size(rand);
        memcpy(out_reserve(out, len + more), bytes, len);
        out_commit(out, len);
    } else {
        reply_bulk(out, (Slice){ bytes, len });
        g_autofree char *head = g_strdup_printf("$%zu\r\n", len);
        g_byte_array_append(model, (const guint8 *)head, (guint)strlen(head));
    }
    g_byte_array_append(model, (const guint8 *)bytes, (guint)len);
    if (way == 2) g_byte_array_append(model, (const guint8 *)"\r\n", 2);
}

static void test_random(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    Out out = { 0 };
    g_autoptr(GByteArray) model = g_byte_array_new();
    for (int step = 0; step < 3000; step++) {
        add_random(rand, &out, model);
        if (step % 3 == 0) assert_waiting(&out, model->data, model->len);
        if (g_rand_int_range(rand, 0, 3) > 0) continue;
        guint sent = (guint)g_rand_int_range(rand, 0, (gint32)model->len + 1);
        if (g_rand_int_range(rand, 0, 4) == 0) sent = model->len;
        out_consume(&out, sent);
        g_byte_array_remove_range(model, 0, sent);
        assert_waiting(&out, model->data, model->len);
    }
    out_clear(&out);
    assert_null(out.head);
    assert_int_equal(out_memory(&out), 0);
    assert_int_equal(out_blocks(&out), 0);
}

static void test_memory(void **state)
{
    (void)state;
    Out out = { 0 };
    reply_ok(&out);
    assert_int_equal(out_blocks(&out), 1);
    assert_int_equal(out_memory(&out), OUT_BLOCK_BYTES);
    g_autofree char *big = g_strnfill(1000000, 'x');
    reply_bulk_cstring(&out, big);
    assert_true(out_memory(&out) >= out.bytes && out_memory(&out) < out.bytes + 2 * OUT_BLOCK_BYTES);
    out_consume(&out, out.bytes);
    assert_null(out.head);
    assert_null(out.tail);
}

/* What is long is in few blocks, in pieces of any size, and sent in any. */
static void test_long(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 700, 1 << 20, 5 << 20, 3, (2 << 20) - 16, 2 << 20, 40 << 20, 9 };
    Out out = { 0 };
    g_autoptr(GByteArray) model = g_byte_array_new();
    for (size_t i = 0; i < 3 * G_N_ELEMENTS(sizes); i++) {
        size_t len = sizes[i % G_N_ELEMENTS(sizes)];
        g_autofree char *bytes = g_malloc(len);
        memset(bytes, (int)i, len);
        out_write(&out, bytes, len);
        g_byte_array_append(model, (const guint8 *)bytes, (guint)len);
    }
    for (int i = 0; i < 10000; i++) {
        reply_int(&out, 1234567);
        g_byte_array_append(model, (const guint8 *)":1234567\r\n", 10);
    }
    assert_true(out_memory(&out) < out.bytes + (3UL << 20));
    assert_in_range(out_blocks(&out), 2, 100);
    for (guint sent = 1; out.bytes > 0; sent = MIN(7000001, (guint)out.bytes)) {
        assert_waiting(&out, model->data + model->len - out.bytes, out.bytes);
        out_consume(&out, sent);
    }
    assert_null(out.head);
    assert_null(out.tail);
}

static void test_muted(void **state)
{
    (void)state;
    Out out = { .muted = true };
    assert_null(out_reserve(&out, 10));
    reply_ok(&out);
    reply_int(&out, 7);
    reply_bulk_cstring(&out, "abc");
    reply_error(&out, "ERR x");
    OutMark mark = reply_array_begin(&out);
    reply_array_set(&out, mark, 3);
    assert_null(out.head);
    assert_int_equal(out.bytes, 0);
}

/* ---- encoders ---- */

static void test_encoders(void **state)
{
    (void)state;
    Out out = { 0 };
    reply_ok(&out);
    assert_text(&out, "+OK\r\n");
    reply_status(&out, "QUEUED");
    assert_text(&out, "+QUEUED\r\n");
    reply_error(&out, "ERR two\r\nlines 100%s");
    assert_text(&out, "-ERR two  lines 100%s\r\n");
    reply_errorf(&out, "ERR %d '%s'", 5, "a\nb");
    assert_text(&out, "-ERR 5 'a b'\r\n");
    reply_nil(&out);
    assert_text(&out, "$-1\r\n");
    reply_nil_array(&out);
    assert_text(&out, "*-1\r\n");
    reply_bulk(&out, SLICE("a\0\r\nb"));
    assert_waiting(&out, "$5\r\na\0\r\nb\r\n", 11);
    out_clear(&out);
    reply_bulk(&out, SLICE(""));
    assert_text(&out, "$0\r\n\r\n");
    reply_bulk_int(&out, INT64_MIN);
    assert_text(&out, "$20\r\n-9223372036854775808\r\n");
    reply_double(&out, 1.5);
    assert_text(&out, "$3\r\n1.5\r\n");
    reply_array(&out, 1000000);
    assert_text(&out, "*1000000\r\n");
    reply_empty_array(&out);
    assert_text(&out, "*0\r\n");
}

static void test_numbers(void **state)
{
    (void)state;
    static const int64_t values[] = { 0, 1, -1, 9, 10, 31, 32, 99, 100, 999, 1000, INT64_MAX, INT64_MIN };
    Out out = { 0 };
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        reply_int(&out, values[i]);
        g_autofree char *expected = g_strdup_printf(":%" G_GINT64_FORMAT "\r\n", values[i]);
        assert_text(&out, expected);
    }
    for (size_t len = 0; len < 3000; len++) {
        g_autofree char *text = g_strnfill(len, 'x');
        g_autofree char *expected = g_strdup_printf("$%zu\r\n%s\r\n", len, text);
        reply_bulk(&out, (Slice){ text, len });
        assert_text(&out, expected);
    }
}

static void test_marked_arrays(void **state)
{
    (void)state;
    Out out = { 0 };
    reply_ok(&out);
    OutMark outer = reply_array_begin(&out);
    reply_int(&out, 1);
    OutMark inner = reply_array_begin(&out);
    reply_array_set(&out, inner, 0);
    reply_int(&out, 2);
    reply_array_set(&out, outer, 3);
    reply_ok(&out);
    assert_text(&out, "+OK\r\n*3\r\n:1\r\n*0\r\n:2\r\n+OK\r\n");
    assert_null(out.head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long),          cmocka_unit_test(test_random),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_muted),         cmocka_unit_test(test_encoders), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_marked_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
