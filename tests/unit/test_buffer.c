/* test_buffer.c: a buffer of any length keeps what it holds when it grows, shrinks and is cut, and is counted right.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glib.h>

#include "base/buffer.h"

#define SIZE_MAX_TRIED (40UL << 20) /* also such that a thread gives back */

/* What stands at each place of the stream that the buffer holds a part of. */
static char byte_at(size_t place)
{
    return (char)(place * 31 + place / 4096);
}

typedef struct Model {
    char *buffer;
    size_t capacity, first, filled; /* it has the stream's bytes from `first` on, so many */
} Model;

static void fill(Model *model)
{
    for (; model->filled < model->capacity; model->filled++)
        model->buffer[model->filled] = byte_at(model->first + model->filled);
}

static void check(const Model *model)
{
    size_t step = MAX(model->filled / 4096, 1);
    for (size_t i = 0; i < model->filled; i += step)
        assert_int_equal(model->buffer[i], byte_at(model->first + i));
    if (model->filled > 0)
        assert_int_equal(model->buffer[model->filled - 1], byte_at(model->first + model->filled - 1));
    assert_int_equal(buffer_mapped(), buffer_is_big(model->capacity) ? model->capacity : 0);
}

static void test_random(void **state)
{
    (void)state;
    Model model = { 0 };
    GRand *rand = g_rand_new_with_seed(1);
    for (int i = 0; i < 400; i++) {
        if (g_rand_boolean(rand)) {
            size_t size = (size_t)1 << g_rand_int_range(rand, 0, 26);
            size += (size_t)g_rand_int_range(rand, -1, 2);
            if (size > SIZE_MAX_TRIED) size = SIZE_MAX_TRIED;
            model.buffer = buffer_resize(model.buffer, &model.capacity, size);
            assert_true(model.capacity >= size && model.capacity < size + 4096);
        } else {
            size_t len = (size_t)g_rand_int_range(rand, 0, 4 << 20), before = model.capacity;
            size_t cut = buffer_cut(&model.buffer, &model.capacity, len);
            assert_true(cut <= len && model.capacity == before - cut);
            assert_int_equal(cut > 0, len >= 4096 && before >= len && buffer_is_big(before - (len & ~(size_t)4095)));
            model.first += cut;
            model.filled -= cut;
        }
        model.filled = MIN(model.filled, model.capacity);
        check(&model);
        fill(&model);
    }
    assert_null(buffer_resize(model.buffer, &model.capacity, 0));
    assert_int_equal(model.capacity, 0);
    assert_int_equal(buffer_mapped(), 0);
    g_rand_free(rand);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
