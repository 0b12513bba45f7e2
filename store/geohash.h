/* geohash.h: positions as 52-bit scores, distances, and the score ranges that cover a circle. Only arithmetic; geo.c of
 * the commands calls it.
 *
 * Design. Longitude and latitude are cut into 2^26 steps each and their bits interleaved, the longitude's first, as in
 * a geohash; but latitudes reach only to 85.05112878 degrees, the Web Mercator's limit, so cells are nearly square near
 * the equator. Positions in one cell of a coarser grid are neighbours in score order: the points in a circle are among
 * a few ranges of scores. A longitude of exactly 180 and a latitude of exactly 85.05112878 have one step more than fits
 * into 26 bits; Redis keeps the extra bit, and so the grid has one more column and row.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_GEOHASH_H
#define CKV_STORE_GEOHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GEO_LONGITUDE_MAX 180.0
#define GEO_LATITUDE_MAX  85.05112878

/* Characters of a geohash, as GEOHASH answers it. */
#define GEOHASH_CHARS 11

/* Degrees. */
typedef struct GeoPoint {
    double longitude, latitude;
} GeoPoint;

/* Whether a position can be stored. */
bool geo_valid(GeoPoint point);

/* The score of a valid position, and the middle of the cell that a score (any number) stands for. */
double geohash_encode(GeoPoint point);
GeoPoint geohash_decode(double score);

/* Writes the standard geohash (latitudes to 90 degrees). No NUL. Only 50 bits are known: the last character is '0'. */
void geohash_text(GeoPoint point, char out[GEOHASH_CHARS]);

/* Metres on the sphere that Redis takes the earth for. */
double geo_distance(GeoPoint a, GeoPoint b);

/* Scores from min up to, but not including, max. */
typedef struct GeoRange {
    double min, max;
} GeoRange;

#define GEO_RANGES_MAX 16

/* Writes the ranges, apart from each other, that hold every point at most `radius_m` metres from the centre (and other
 * points); returns how many. They're in the order in which Redis searches them: the centre's cell, north, south, east,
 * west, north-east, north-west, south-east, south-west. So unsorted results have Redis' order, too. */
size_t geo_cover(GeoPoint centre, double radius_m, GeoRange ranges[GEO_RANGES_MAX]);

#endif
