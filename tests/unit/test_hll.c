/* test_hll.c: store/hll.c against values that Redis 3.2.13 made, against a model of plain registers, and with values
 * that nobody made.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/hll.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEED 20240613

/* A value with room for whatever it becomes. */
typedef struct Value {
    char bytes[HLL_SPARSE_BYTES_MAX + HLL_GROWTH_MAX];
    size_t len;
} Value;

static Slice slice(const Value *value)
{
    return (Slice){ value->bytes, value->len };
}

static void init(Value *value)
{
    hll_init(value->bytes);
    value->len = HLL_EMPTY_BYTES;
}

static void make_dense(Value *value)
{
    char dense[HLL_DENSE_BYTES];
    assert_true(hll_to_dense(slice(value), dense));
    memcpy(value->bytes, dense, sizeof(dense));
    value->len = sizeof(dense);
}

static bool add(Value *value, Slice element, size_t sparse_max)
{
    HllAdded added = hll_add(value->bytes, &value->len, element, sparse_max);
    if (added == HLL_NEEDS_DENSE) {
        make_dense(value);
        added = hll_add(value->bytes, &value->len, element, sparse_max);
        assert_int_equal(added, HLL_RAISED);
    }
    assert_true(added == HLL_SAME || added == HLL_RAISED);
    if (added == HLL_RAISED) hll_invalidate(value->bytes);
    assert_true(hll_is_valid(slice(value)));
    return added == HLL_RAISED;
}

static uint64_t count(const Value *value)
{
    uint64_t result = 0;
    assert_true(hll_count(slice(value), &result));
    return result;
}

/* ---- what a Redis 3.2.13 answered after PFADD of the numbers from 0 on: its estimates and its bytes ---- */

static const struct {
    unsigned elements;
    uint64_t count;
    size_t len;
    const char *md5; /* of the value before the estimate was asked for */
} recorded[] = {
    { 1, 1, 21, "ed19c73808761462d84ce207e6bf2f0b" },
    { 2, 2, 24, "0e5a083b5c47995c2fd85626ffa9a2a3" },
    { 3, 3, 27, "7100b193c37e39c93bc90e6c758b9b1c" },
    { 10, 10, 48, "51d0788f1593338e19b7cca95672f7ae" },
    { 100, 100, 287, "6d30b377991d820feca73231d0a564ea" },
    { 200, 201, 507, "52d9b6f71d581550cfa0817f54071b04" },
    { 500, 502, 1061, "0b6ae028caca052433802b33c9bf5925" },
    { 1000, 1000, 1923, "9e8f452c0fc2ae8d7c41dfbabb32f75f" },
    { 1500, 1511, 2766, "ea695ef22bc2e7caeaf8e45b4f4e1282" },
    { 2000, 2007, 12304, "cc0711b0f64f36d80f656eceffbaa234" },
    { 5000, 4983, 12304, "a303d54f7bcb42263d6d9444f4dcb150" },
    { 10000, 9976, 12304, "c95d0d15bfe21cbf04fb99ba039ac2f1" },
    { 41000, 41512, 12304, "14e5ad74719c14c7bda7f335fc7528f5" },
    { 72000, 71970, 12304, "f71564d2d7d53f044caae897e9144d64" },
    { 100000, 99556, 12304, "9a18edaa8218151f69bb52d0c2ee7f99" },
    { 1000000, 1009838, 12304, "2bce2acbf353c18bf7a6b6cc4f4d6dce" },
};

static void test_bytes_and_estimates_are_those_of_redis(void **state)
{
    (void)state;
    static Value value;
    init(&value);
    for (unsigned i = 0, number = 0; i < G_N_ELEMENTS(recorded); i++) {
        for (; number < recorded[i].elements; number++) {
            char text[16];
            int len = snprintf(text, sizeof(text), "%u", number);
            add(&value, (Slice){ text, (size_t)len }, 3000);
        }
        g_autofree char *md5 = g_compute_checksum_for_data(G_CHECKSUM_MD5, (guchar *)value.bytes, value.len);
        assert_int_equal(value.len, recorded[i].len);
        assert_string_equal(md5, recorded[i].md5);
        uint64_t cached;
        assert_false(hll_cached_count(slice(&value), &cached));
        assert_true(count(&value) == recorded[i].count);
        hll_cache_count(value.bytes, recorded[i].count);
        assert_true(hll_cached_count(slice(&value), &cached) && cached == recorded[i].count);
    }
}

/* ---- against registers, one byte each ---- */

/* What an element alone does to the registers. */
static void model_add(uint8_t *registers, Slice element)
{
    static Value alone;
    init(&alone);
    add(&alone, element, 3000);
    assert_true(hll_merge(registers, slice(&alone)));
}

static void assert_registers(const Value *value, const uint8_t *expected)
{
    uint8_t found[HLL_REGISTERS] = { 0 };
    assert_true(hll_merge(found, slice(value)));
    assert_memory_equal(found, expected, HLL_REGISTERS);
    assert_true(count(value) == hll_count_registers(expected));
}

static void run_against_model(unsigned elements, size_t sparse_max, bool ends_sparse)
{
    static Value value;
    uint8_t registers[HLL_REGISTERS] = { 0 }, before[HLL_REGISTERS];
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    init(&value);
    for (unsigned i = 0; i < elements; i++) {
        uint32_t words[4] = { g_rand_int(rand), g_rand_int(rand), g_rand_int(rand), g_rand_int(rand) };
        Slice element = { (const char *)words, (size_t)g_rand_int_range(rand, 1, sizeof(words) + 1) };
        memcpy(before, registers, sizeof(before));
        model_add(registers, element);
        bool raised = memcmp(before, registers, sizeof(before)) != 0;
        assert_int_equal(add(&value, element, sparse_max), raised);
        assert_false(add(&value, element, sparse_max));
        if (i % 97 == 0) assert_registers(&value, registers);
        if (hll_is_sparse(slice(&value))) assert_true(value.len <= MAX(sparse_max, HLL_EMPTY_BYTES));
    }
    assert_registers(&value, registers);
    assert_int_equal(hll_is_sparse(slice(&value)), ends_sparse);
    if (ends_sparse) make_dense(&value);
    assert_registers(&value, registers);
}

static void test_registers(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    run_against_model(3000, 3000, false);
    run_against_model(1200, 100000, true);
    run_against_model(6000, HLL_SPARSE_BYTES_MAX, true);
    run_against_model(100, 0, false);
}

static void test_dense_registers_do_not_touch_each_other(void **state)
{
    (void)state;
    static Value value;
    uint8_t registers[HLL_REGISTERS];
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    init(&value);
    make_dense(&value);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < HLL_REGISTERS; i++)
            registers[i] = (uint8_t)g_rand_int_range(rand, 0, 64);
        hll_set_registers(value.bytes, registers);
        assert_registers(&value, registers);
    }
}

/* ---- values that nobody made ---- */

static void sparse_of(Value *value, const char *runs, size_t len)
{
    init(value);
    memcpy(value->bytes + HLL_HEAD_BYTES, runs, len);
    value->len = HLL_HEAD_BYTES + len;
}

static void test_heads(void **state)
{
    (void)state;
    static Value value;
    init(&value);
    assert_true(hll_is_valid(slice(&value)));
    assert_true(hll_is_valid((Slice){ value.bytes, HLL_HEAD_BYTES }));
    assert_false(hll_is_valid((Slice){ value.bytes, HLL_HEAD_BYTES - 1 }));
    assert_false(hll_is_valid(SLICE("")));
    make_dense(&value);
    assert_true(hll_is_valid(slice(&value)));
    value.len--;
    assert_false(hll_is_valid(slice(&value)));
    value.len++;
    value.bytes[4] = 2;
    assert_false(hll_is_valid(slice(&value)));
    value.bytes[4] = (char)0xff;
    assert_false(hll_is_valid(slice(&value)));
    value.bytes[4] = 0;
    value.bytes[0] = 'h';
    assert_false(hll_is_valid(slice(&value)));
}

static void assert_corrupt(const char *runs, size_t len)
{
    static Value value;
    uint8_t registers[HLL_REGISTERS] = { 0 };
    char dense[HLL_DENSE_BYTES];
    uint64_t result;
    sparse_of(&value, runs, len);
    assert_false(hll_merge(registers, slice(&value)));
    assert_false(hll_to_dense(slice(&value), dense));
    assert_false(hll_count(slice(&value), &result));
}

static void test_corrupt_runs(void **state)
{
    (void)state;
    assert_corrupt("", 0);
    assert_corrupt("\x7f", 1);             /* cut off */
    assert_corrupt("\x7f\xfe", 2);         /* one too few */
    assert_corrupt("\x7f\xff\x00", 3);     /* one too many */
    assert_corrupt("\x7f\xfe\x81", 3);     /* a value across the end */
    assert_corrupt("\x7f\xff\x7f", 3);     /* whole, then cut off */
    assert_corrupt("\x7f\xff\x7f\xff", 4); /* twice as many */
    assert_corrupt("\x80\x80\x80\x80", 4);

    static Value value;
    for (unsigned i = 0; i < 1000; i++) { /* no element finds its register in these four */
        Slice element = { (const char *)&i, sizeof(i) };
        sparse_of(&value, "\x80\x80\x80\x80", 4);
        HllAdded added = hll_add(value.bytes, &value.len, element, 3000);
        assert_int_equal(added, HLL_CORRUPT);
        assert_int_equal(value.len, HLL_HEAD_BYTES + 4);
    }
}

static void test_neighbours_are_joined(void **state)
{
    (void)state;
    static Value value;
    char runs[HLL_REGISTERS];
    memset(runs, 0x80, sizeof(runs)); /* every register on its own: 1 */
    sparse_of(&value, runs, sizeof(runs));
    unsigned raised = 0;
    for (unsigned i = 0; i < 5000; i++)
        raised += add(&value, (Slice){ (const char *)&i, sizeof(i) }, HLL_SPARSE_BYTES_MAX);
    assert_true(raised > 1000);
    assert_true(value.len < HLL_HEAD_BYTES + HLL_REGISTERS - 1000);
    uint8_t registers[HLL_REGISTERS] = { 0 };
    assert_true(hll_merge(registers, slice(&value)));
    for (int i = 0; i < HLL_REGISTERS; i++)
        assert_true(registers[i] >= 1);
}

static void test_estimates_at_the_ends(void **state)
{
    (void)state;
    static Value value;
    uint8_t registers[HLL_REGISTERS] = { 0 };
    assert_true(hll_count_registers(registers) == 0);
    memset(registers, 63, sizeof(registers));
    assert_true(hll_count_registers(registers) == INT64_MAX);
    init(&value);
    assert_true(count(&value) == 0);
    make_dense(&value);
    hll_set_registers(value.bytes, registers);
    assert_true(count(&value) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_estimates_are_those_of_redis),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_dense_registers_do_not_touch_each_other),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_corrupt_runs),
        cmocka_unit_test(test_neighbours_are_joined),
        cmocka_unit_test(test_estimates_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
