/* test_list.c: store/list against a GPtrArray of strings under random operations, for several chunk sizes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/list.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/options.h"
#include "store/image.h"
#include "store/mem.h"

static List *list;
static GPtrArray *model; /* GString */

static void free_string(void *string)
{
    g_string_free(string, TRUE);
}

static Slice slice_of_string(const GString *text)
{
    return (Slice){ text->str, text->len };
}

/* Few distinct texts, so that equal ones are found; now and then a long one. */
static GString *random_text(GRand *rand)
{
    GString *text = g_string_new(NULL);
    switch (g_rand_int_range(rand, 0, 12)) {
    case 0: break;
    case 1: g_string_set_size(text, (gsize)g_rand_int_range(rand, 100, 9000)); break;
    case 2:
        g_string_printf(text, "%" G_GINT64_FORMAT, (gint64)g_rand_int(rand) << g_rand_int_range(rand, 0, 32));
        break;
    case 3:
    case 4: g_string_printf(text, "%d", g_rand_int_range(rand, -3, 300)); break;
    default: g_string_printf(text, "element %d", g_rand_int_range(rand, 0, 20));
    }
    if (text->len >= 100) memset(text->str, 'a' + g_rand_int_range(rand, 0, 3), text->len);
    return text;
}

static void assert_value(PackValue value, const GString *expected)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(value, digits);
    assert_int_equal(text.len, expected->len);
    assert_memory_equal(text.ptr, expected->str, text.len);
}

static void check_whole(GRand *rand)
{
    assert_int_equal(list_length(list), model->len);
    if (model->len == 0) return;
    guint start = (guint)g_rand_int_range(rand, 0, (gint32)model->len);
    assert_value(list_get(list, start), model->pdata[start]);
    ListWalk walk = list_walk(list, start, LIST_TAIL);
    PackValue value;
    guint i = start;
    while (list_next(&walk, &value))
        assert_value(value, model->pdata[i++]);
    assert_int_equal(i, model->len);
    walk = list_walk(list, start, LIST_HEAD);
    for (i = start + 1; list_next(&walk, &value); i--)
        assert_value(value, model->pdata[i - 1]);
    assert_int_equal(i, 0);
}

static size_t model_remove_equal(const GString *text, size_t limit, ListEnd from)
{
    size_t removed = 0;
    for (guint i = from == LIST_HEAD ? 0 : model->len; removed < limit;) {
        if (from == LIST_HEAD ? i >= model->len : i == 0) break;
        guint at = from == LIST_HEAD ? i : i - 1;
        if (g_string_equal(model->pdata[at], text)) {
            g_ptr_array_remove_index(model, at);
            removed++;
            if (from == LIST_TAIL) i--;
        } else {
            i = from == LIST_HEAD ? i + 1 : i - 1;
        }
    }
    return removed;
}

static void push_some(GRand *rand)
{
    for (gint32 n = g_rand_int_range(rand, 1, 6); n > 0; n--) {
        GString *text = random_text(rand);
        bool head = g_rand_boolean(rand);
        list_push(&list, head ? LIST_HEAD : LIST_TAIL, slice_of_string(text));
        g_ptr_array_insert(model, head ? 0 : -1, text);
    }
}

static void insert_one(GRand *rand)
{
    GString *pivot = random_text(rand), *text = random_text(rand);
    bool behind = g_rand_boolean(rand);
    guint index;
    bool found = g_ptr_array_find_with_equal_func(model, pivot, (GEqualFunc)(void (*)(void))g_string_equal, &index);
    assert_int_equal(list_insert(&list, slice_of_string(pivot), slice_of_string(text), behind), found);
    if (found) {
        g_ptr_array_insert(model, (gint)(behind ? index + 1 : index), text);
    } else {
        free_string(text);
    }
    free_string(pivot);
}

static void remove_equal(GRand *rand)
{
    GString *text = random_text(rand);
    size_t limit = g_rand_boolean(rand) ? SIZE_MAX : (size_t)g_rand_int_range(rand, 1, 4);
    ListEnd from = g_rand_boolean(rand) ? LIST_HEAD : LIST_TAIL;
    size_t expected = model_remove_equal(text, limit, from);
    assert_int_equal(list_remove_equal(&list, slice_of_string(text), limit, from), expected);
    free_string(text);
}

static void change_existing(GRand *rand)
{
    guint index = (guint)g_rand_int_range(rand, 0, (gint32)model->len);
    if (g_rand_boolean(rand)) {
        GString *text = random_text(rand);
        list_set(&list, index, slice_of_string(text));
        free_string(model->pdata[index]);
        model->pdata[index] = text;
        return;
    }
    guint most = g_rand_int_range(rand, 0, 20) == 0 ? 2000 : 3;
    most = MIN(most, model->len - index);
    guint count = (guint)g_rand_int_range(rand, 0, (gint32)most + 1);
    list_remove_range(&list, index, count);
    if (count > 0) g_ptr_array_remove_range(model, index, count);
}

static void run_model(int64_t chunk_size)
{
    options.list_max_ziplist_size = chunk_size;
    list = list_new();
    model = g_ptr_array_new_with_free_func(free_string);
    GRand *rand = g_rand_new_with_seed((guint32)(1000 + chunk_size));
    for (unsigned step = 0; step < 12000; step++) {
        gint32 what = g_rand_int_range(rand, 0, 10);
        if (what < 4 || model->len == 0) {
            push_some(rand);
        } else if (what < 6) {
            insert_one(rand);
        } else if (what == 6) {
            remove_equal(rand);
        } else {
            change_existing(rand);
        }
        if (step % 50 == 0) check_whole(rand);
        assert_int_equal(list_length(list), model->len);
    }
    check_whole(rand);
    list_remove_range(&list, 0, model->len);
    assert_int_equal(list_length(list), 0);
    assert_int_equal(list_chunks(list), 1);
    list_free(list);
    g_ptr_array_free(model, TRUE);
    g_rand_free(rand);
}

static void test_models(void **state)
{
    (void)state;
    const int64_t sizes[] = { -1, -2, -5, 1, 3, 128 };
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        run_model(sizes[i]);
}

/* The promise to users: a million elements of 16 bytes take at most 18.6 bytes each. */
static void test_bytes_an_element(void **state)
{
    (void)state;
    options.list_max_ziplist_size = -2;
    size_t before = mem_used();
    list = list_new();
    char text[32];
    for (int i = 0; i < 1000000; i++) {
        snprintf(text, sizeof(text), "e%015d", i);
        list_push(&list, LIST_TAIL, slice_of(text));
    }
    size_t used = mem_used() - before;
    print_message("%.2f bytes an element of 16\n", (double)used / 1e6);
    assert_true(used <= 18600000);
    assert_in_range(list_bytes(list), used * 99 / 100, used);
    list_free(list);
}

/* Elements far above a chunk's size have chunks to themselves and come back whole. */
static void test_huge_elements(void **state)
{
    (void)state;
    options.list_max_ziplist_size = -2;
    list = list_new();
    GString *huge = g_string_new(NULL);
    g_string_set_size(huge, 40 << 20);
    memset(huge->str, 'x', huge->len);
    list_push(&list, LIST_TAIL, SLICE("a"));
    list_push(&list, LIST_TAIL, slice_of_string(huge));
    list_push(&list, LIST_TAIL, SLICE("b"));
    assert_int_equal(list_chunks(list), 3);
    assert_value(list_get(list, 1), huge);
    list_set(&list, 0, slice_of_string(huge));
    assert_value(list_get(list, 0), huge);
    list_remove_range(&list, 0, 2);
    assert_int_equal(list_length(list), 1);
    list_free(list);
    g_string_free(huge, TRUE);
}

/* Where a chunk is full, its neighbours take what is inserted beside it: at most twice the chunks that are needed. */
static void test_inserting_between_full_chunks(void **state)
{
    (void)state;
    options.list_max_ziplist_size = 100;
    for (int behind = 0; behind <= 1; behind++) {
        list = list_new();
        char text[32];
        for (int i = 0; i < 1000; i++) {
            snprintf(text, sizeof(text), "e%d", i);
            list_push(&list, LIST_TAIL, slice_of(text));
        }
        assert_int_equal(list_chunks(list), 10);
        /* Of two chunks that are full, the last element of one or the first of the other. */
        Slice pivot = behind ? SLICE("e499") : SLICE("e500");
        for (int i = 0; i < 5000; i++)
            assert_true(list_insert(&list, pivot, SLICE("inserted"), behind));
        assert_int_equal(list_length(list), 6000);
        assert_in_range(list_chunks(list), 60, 120);
        list_free(list);
    }
}

/* What is left of many chunks moves together. */
static void test_chunks_that_shrink(void **state)
{
    (void)state;
    options.list_max_ziplist_size = 100;
    for (int from = LIST_HEAD; from <= LIST_TAIL; from++) {
        list = list_new();
        for (int i = 0; i < 100000; i++)
            list_push(&list, LIST_TAIL, i % 50 == 0 ? SLICE("stays") : SLICE("goes"));
        assert_int_equal(list_chunks(list), 1000);
        assert_int_equal(list_remove_equal(&list, SLICE("goes"), SIZE_MAX, (ListEnd)from), 98000);
        assert_int_equal(list_length(list), 2000);
        assert_in_range(list_chunks(list), 20, 40);
        list_free(list);
    }
}

/* A chunk of one element, as a checkpoint has it. */
static void load_chunk(List *loaded, const char *element, uint32_t id, uint32_t next)
{
    List *one = list_new();
    list_push(&one, LIST_TAIL, slice_of(element));
    Image image = { 0 };
    image_put_varint(&image, id);
    image_put_varint(&image, next);
    pack_encode((const Pack *)(const void *)one, &image);
    Slice in = { image.bytes, image.len };
    uint64_t hash;
    assert_true(list_decode_paged_chunk(loaded, &in, &hash));
    list_free(one);
    g_free(image.bytes);
}

/* Chunks from a checkpoint, one of which is missing: they're no list, and all of them can be freed. */
static void test_chunks_that_make_no_list(void **context)
{
    (void)context;
    for (unsigned missing = 0; missing < 5; missing++) {
        List *loaded = list_new_big();
        for (unsigned i = 0; i < 5; i++) {
            if (i != missing) load_chunk(loaded, "element", i + 1, i == 4 ? 0 : i + 2);
        }
        assert_true(list_link_paged(loaded) == (missing == 0)); /* without the first one, the others are one */
        while (list_free_some(loaded, 1)) {
        }
    }
}

/* Two chunks, the last of which has the last id that there is: the next ones are numbered from the beginning. */
static void test_last_id(void **context)
{
    (void)context;
    static char text[10000];
    List *queue = list_new_big();
    load_chunk(queue, "first", UINT32_MAX - 1, UINT32_MAX);
    load_chunk(queue, "second", UINT32_MAX, 0);
    assert_true(list_link_paged(queue));
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%0*d", (int)sizeof(text) - 1, i);
        list_push(&queue, LIST_TAIL, slice_of(text));
    }
    assert_int_equal(list_chunks(queue), 5);
    for (const struct ListChunk *chunk = list_first_chunk(queue); chunk != NULL; chunk = list_next_chunk(chunk)) {
        Image image = { 0 };
        list_chunk_encode_head(chunk, &image);
        Slice in = { image.bytes, image.len };
        uint64_t id = 0, next = 0;
        assert_true(image_get_varint(&in, &id) && image_get_varint(&in, &next));
        assert_in_range(id, 1, 5);
        assert_int_equal(next, list_next_chunk(chunk) == NULL ? 0 : id + 1);
        g_free(image.bytes);
    }
    list_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_bytes_an_element),
        cmocka_unit_test(test_huge_elements),
        cmocka_unit_test(test_chunks_that_make_no_list),
        cmocka_unit_test(test_last_id),
        cmocka_unit_test(test_inserting_between_full_chunks),
        cmocka_unit_test(test_chunks_that_shrink),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
