/* test_geohash.c: store/geohash: values that Redis 3.2.13 gave, and circles against all points one by one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/geohash.h"

#include <glib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static GRand *dice;

static void check_text(GeoPoint point, const char *expected)
{
    char text[GEOHASH_CHARS];
    geohash_text(point, text);
    assert_memory_equal(text, expected, GEOHASH_CHARS);
}

static void test_known(void **state)
{
    (void)state;
    GeoPoint palermo = { 13.361389, 38.115556 }, catania = { 15.087269, 37.502669 };
    assert_true(geohash_encode(palermo) == 3479099956230698.0);
    assert_true(geohash_encode(catania) == 3479447370796909.0);
    GeoPoint stored = geohash_decode(3479447370796909.0);
    assert_true(stored.longitude == 15.08726745843887329 && stored.latitude == 37.50266842333162032);
    check_text(geohash_decode(geohash_encode(palermo)), "sqc8b49rny0");
    check_text(stored, "sqdtr74hyu0");
    double distance = geo_distance(geohash_decode(geohash_encode(palermo)), stored);
    assert_true(fabs(distance - 166274.1516) < 0.0001);
}

static void test_limits(void **state)
{
    (void)state;
    assert_true(geo_valid((GeoPoint){ 180, 85.05112878 }));
    assert_true(geo_valid((GeoPoint){ -180, -85.05112878 }));
    assert_false(geo_valid((GeoPoint){ 180.0000001, 0 }));
    assert_false(geo_valid((GeoPoint){ 0, -85.05112879 }));
    assert_false(geo_valid((GeoPoint){ INFINITY, 0 }));
    /* The extra column keeps its bit, beyond 52. */
    assert_true(geohash_encode((GeoPoint){ 180, 85 }) == 10508398856570128.0);
    check_text(geohash_decode(10508398856570128.0), "bp0581b0bh0");
    /* Numbers that are no positions. */
    static const double scores[] = { -1, 1.5, -1e300, 1e300, INFINITY, -INFINITY, 0x1p63, 0x1p64, -0x1p63 };
    for (size_t i = 0; i < G_N_ELEMENTS(scores); i++) {
        GeoRange ranges[GEO_RANGES_MAX];
        char text[GEOHASH_CHARS];
        GeoPoint point = geohash_decode(scores[i]);
        geohash_text(point, text);
        assert_true(geo_cover(point, 1000, ranges) <= GEO_RANGES_MAX);
    }
    assert_true(geohash_decode(-1).longitude == 11339.99999731779098511);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        GeoPoint point = { g_rand_double_range(dice, -180, 180), g_rand_double_range(dice, -85.05, 85.05) };
        double score = geohash_encode(point);
        GeoPoint back = geohash_decode(score);
        assert_true(score == floor(score) && score >= 0 && score < 0x1p52);
        assert_true(fabs(back.longitude - point.longitude) < 3e-6 && fabs(back.latitude - point.latitude) < 2e-6);
        assert_true(geohash_encode(back) == score);
    }
}

/* ---- circles ---- */

static bool in_ranges(double score, const GeoRange *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (score >= ranges[i].min && score < ranges[i].max) return true;
    }
    return false;
}

/* A coordinate: anywhere, near a limit, or at it. */
static double random_coordinate(double limit)
{
    double sign = g_rand_boolean(dice) ? 1 : -1;
    switch (g_rand_int_range(dice, 0, 8)) {
    case 0: return sign * limit;
    case 1: return sign * (limit - g_rand_double(dice) / 100);
    case 2: return sign * g_rand_double(dice) / 1000;
    default: return g_rand_double_range(dice, -limit, limit);
    }
}

static GeoPoint random_point(void)
{
    return (GeoPoint){ random_coordinate(GEO_LONGITUDE_MAX), random_coordinate(GEO_LATITUDE_MAX) };
}

/* A position near another one, which may be beyond the limits and comes in on the other side. */
static GeoPoint near_point(GeoPoint centre, double degrees)
{
    double longitude = remainder(centre.longitude + g_rand_double_range(dice, -degrees, degrees), 360);
    double latitude = centre.latitude + g_rand_double_range(dice, -degrees, degrees);
    return (GeoPoint){ longitude, CLAMP(latitude, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX) };
}

static void test_cover(void **state)
{
    (void)state;
    size_t most = 0, hits = 0;
    for (int i = 0; i < 20000; i++) {
        GeoPoint centre = random_point();
        if (g_rand_boolean(dice)) centre = geohash_decode(geohash_encode(centre));
        double radius = exp(g_rand_double_range(dice, -2, 18));
        GeoRange ranges[GEO_RANGES_MAX];
        size_t count = geo_cover(centre, radius, ranges);
        most = MAX(most, count);
        for (size_t j = 0; j < count; j++) {
            for (size_t k = 0; k < j; k++)
                assert_true(ranges[j].min >= ranges[k].max || ranges[j].max <= ranges[k].min);
        }
        for (int j = 0; j < 50; j++) {
            double score = geohash_encode(j % 2 == 0 ? random_point() : near_point(centre, radius / 1e5));
            if (geo_distance(centre, geohash_decode(score)) > radius) continue;
            hits++;
            assert_true(in_ranges(score, ranges, count));
        }
    }
    print_message("at most %zu ranges, %zu points inside\n", most, hits);
    assert_true(hits > 100000);
}

/* A search reads few points in vain: the ranges are a small part of all cells. */
static void test_economy(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        GeoPoint centre = { g_rand_double_range(dice, -180, 180), g_rand_double_range(dice, -60, 60) };
        GeoRange ranges[GEO_RANGES_MAX];
        size_t count = geo_cover(centre, 10000, ranges);
        double cells = 0;
        for (size_t j = 0; j < count; j++)
            cells += ranges[j].max - ranges[j].min;
        assert_true(cells / 0x1p52 < 1e-4); /* the circle itself is 6e-7 of the sphere */
    }
    GeoRange all[GEO_RANGES_MAX];
    size_t count = geo_cover((GeoPoint){ 0, 0 }, INFINITY, all);
    for (double score = 0; score < 0x1p52; score += 0x1p50)
        assert_true(in_ranges(score, all, count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_limits),  cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cover), cmocka_unit_test(test_economy),
    };
    guint32 seed = 32130;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
