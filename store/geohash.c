/* geohash.c: see geohash.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/geohash.h"

#include <glib.h>
#include <math.h>
#include <stdlib.h>

#define STEPS          26 /* bits of each coordinate */
#define SCORE_MAX      (2 * STEPS)

#define EARTH_RADIUS_M 6372797.560856
#define RADIAN         (M_PI / 180.0)

/* More than the width of the finest cell, in degrees: how far a point may be from where it was put. */
#define SLACK_DEGREES 1e-5

static const char alphabet[] = "0123456789bcdefghjkmnpqrstuvwxyz";

/* Spreads 32 bits to the even ones of 64, by doubling the gaps; see "Interleave bits by Binary Magic Numbers", Bit
 * Twiddling Hacks. */
static uint64_t spread(uint32_t bits)
{
    uint64_t x = bits;
    x = (x | x << 16) & 0x0000FFFF0000FFFFULL;
    x = (x | x << 8) & 0x00FF00FF00FF00FFULL;
    x = (x | x << 4) & 0x0F0F0F0F0F0F0F0FULL;
    x = (x | x << 2) & 0x3333333333333333ULL;
    return (x | x << 1) & 0x5555555555555555ULL;
}

/* The even bits, together. */
static uint32_t gather(uint64_t x)
{
    x &= 0x5555555555555555ULL;
    x = (x | x >> 1) & 0x3333333333333333ULL;
    x = (x | x >> 2) & 0x0F0F0F0F0F0F0F0FULL;
    x = (x | x >> 4) & 0x00FF00FF00FF00FFULL;
    x = (x | x >> 8) & 0x0000FFFF0000FFFFULL;
    return (uint32_t)(x | x >> 16);
}

static uint64_t interleave(uint32_t longitude, uint32_t latitude)
{
    return spread(longitude) << 1 | spread(latitude);
}

/* In which of 2^steps equal parts of [-limit, limit] the value lies; limit itself is in one of its own. */
static uint32_t part_of(double value, double limit, unsigned steps)
{
    double offset = (value + limit) / (limit + limit);
    return (uint32_t)(offset * (double)(1ULL << steps));
}

static double middle_of(uint32_t part, double limit)
{
    double parts = (double)(1ULL << STEPS), width = limit + limit;
    double low = -limit + part / parts * width;
    double high = -limit + (part + 1U) / parts * width; /* 32 bits wrap around, as in Redis */
    return (low + high) / 2;
}

bool geo_valid(GeoPoint point)
{
    return fabs(point.longitude) <= GEO_LONGITUDE_MAX && fabs(point.latitude) <= GEO_LATITUDE_MAX;
}

double geohash_encode(GeoPoint point)
{
    return (double)interleave(part_of(point.longitude, GEO_LONGITUDE_MAX, STEPS),
                              part_of(point.latitude, GEO_LATITUDE_MAX, STEPS));
}

/* A score as 64 bits, as x86-64 converts it: also one that was never a position. */
static uint64_t score_bits(double score)
{
    if (score >= 0) return score < 0x1p64 ? (uint64_t)score : 0;
    return score >= -0x1p63 ? (uint64_t)(int64_t)score : 1ULL << 63;
}

GeoPoint geohash_decode(double score)
{
    uint64_t bits = score_bits(score);
    return (GeoPoint){ .longitude = middle_of(gather(bits >> 1), GEO_LONGITUDE_MAX),
                       .latitude = middle_of(gather(bits), GEO_LATITUDE_MAX) };
}

void geohash_text(GeoPoint point, char out[GEOHASH_CHARS])
{
    /* The middle of the outermost cells is beyond the limits. */
    double longitude = CLAMP(point.longitude, -GEO_LONGITUDE_MAX, GEO_LONGITUDE_MAX);
    double latitude = CLAMP(point.latitude, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX);
    uint64_t bits = interleave(part_of(longitude, GEO_LONGITUDE_MAX, STEPS), part_of(latitude, 90.0, STEPS));
    for (int i = 0; i < GEOHASH_CHARS - 1; i++)
        out[i] = alphabet[bits >> (SCORE_MAX - 5 * (i + 1)) & 31];
    out[GEOHASH_CHARS - 1] = alphabet[0];
}

/* The haversine formula. */
double geo_distance(GeoPoint a, GeoPoint b)
{
    double latitude_a = a.latitude * RADIAN, latitude_b = b.latitude * RADIAN;
    double u = sin((latitude_b - latitude_a) / 2);
    double v = sin((b.longitude * RADIAN - a.longitude * RADIAN) / 2);
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(latitude_a) * cos(latitude_b) * v * v));
}

/* ---- covering a circle ---- */

/* Parts of the longitudes and of the latitudes, both ends included. */
typedef struct Span {
    uint32_t first, last;
} Span;

static Span span_of(double low, double high, double limit, unsigned steps)
{
    return (Span){ part_of(CLAMP(low, -limit, limit), limit, steps),
                   part_of(CLAMP(high, -limit, limit), limit, steps) };
}

/* Half the width in degrees of the meridians that touch the circle; 180 if a pole is inside. */
static double reach_of(GeoPoint centre, double angle)
{
    if (fabs(centre.latitude) * RADIAN + angle >= M_PI / 2) return 180;
    return asin(sin(angle) / cos(centre.latitude * RADIAN)) / RADIAN;
}

/* The finest grid of which the box of the circle meets at most three columns and three rows (each on either side of
 * 180 degrees, and the extra ones). */
static unsigned steps_for(double width, double height)
{
    unsigned steps = 0;
    while (steps < STEPS && width * (double)(1U << steps) <= GEO_LONGITUDE_MAX * 2 &&
           height * (double)(1U << steps) <= GEO_LATITUDE_MAX * 2)
        steps++;
    return steps;
}

static size_t add_cells(Span columns, Span rows, unsigned steps, GeoRange *ranges, size_t count)
{
    unsigned shift = 2 * (STEPS - steps);
    for (uint32_t column = columns.first; column <= columns.last; column++) {
        for (uint32_t row = rows.first; row <= rows.last; row++) {
            uint64_t cell = interleave(column, row);
            g_assert(count < GEO_RANGES_MAX);
            ranges[count++] = (GeoRange){ (double)(cell << shift), (double)((cell + 1) << shift) };
        }
    }
    return count;
}

static int compare_ranges(const void *a, const void *b)
{
    double left = ((const GeoRange *)a)->min, right = ((const GeoRange *)b)->min;
    return (left > right) - (left < right);
}

/* Sorts ranges and joins those that touch or overlap. */
static size_t join_ranges(GeoRange *ranges, size_t count)
{
    qsort(ranges, count, sizeof(*ranges), compare_ranges);
    size_t last = 0;
    for (size_t i = 1; i < count; i++) {
        if (ranges[i].min > ranges[last].max) {
            ranges[++last] = ranges[i];
        } else {
            ranges[last].max = MAX(ranges[last].max, ranges[i].max);
        }
    }
    return last + 1;
}

size_t geo_cover(GeoPoint centre, double radius_m, GeoRange ranges[GEO_RANGES_MAX])
{
    double angle = MIN(radius_m / EARTH_RADIUS_M, M_PI);
    double height = angle / RADIAN + SLACK_DEGREES;
    double reach = reach_of(centre, angle) + SLACK_DEGREES;
    double longitude = remainder(centre.longitude, 360); /* a score that isn't a position can be beyond 180 */
    double west = longitude - reach, east = longitude + reach;
    if (reach >= 180) {
        west = -180;
        east = 180;
    }
    unsigned steps = steps_for(east - west, 2 * height);
    Span rows = span_of(centre.latitude - height, centre.latitude + height, GEO_LATITUDE_MAX, steps);
    size_t count = add_cells(span_of(west, east, GEO_LONGITUDE_MAX, steps), rows, steps, ranges, 0);
    if (west <= -180) {
        Span beyond = span_of(west + 360, 180, GEO_LONGITUDE_MAX, steps);
        count = add_cells(beyond, rows, steps, ranges, count);
    }
    if (east >= 180) {
        Span beyond = span_of(-180, east - 360, GEO_LONGITUDE_MAX, steps);
        count = add_cells(beyond, rows, steps, ranges, count);
    }
    return join_ranges(ranges, count);
}
