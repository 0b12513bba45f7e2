/* geohash.c: see geohash.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/geohash.h"

#include <glib.h>
#include <math.h>

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

/* A part of the world's map, in degrees. West and east may be beyond 180: then it goes on on the other side. */
typedef struct Box {
    double west, east, south, north;
} Box;

/* A grid of 2^steps columns and as many rows, and the cell of it that a circle's centre is in. */
typedef struct Grid {
    unsigned steps;
    int64_t parts;
    int64_t column, row;
    double width, height; /* of a cell, in degrees */
    Box cell;
} Grid;

/* Half the width in degrees of the meridians that touch a circle; 180 if a pole is inside. */
static double reach_of(GeoPoint centre, double angle)
{
    if (fabs(centre.latitude) * RADIAN + angle >= M_PI / 2) return 180;
    return asin(sin(angle) / cos(centre.latitude * RADIAN)) / RADIAN;
}

static Box box_of(GeoPoint centre, double radius_m)
{
    double angle = MIN(radius_m / EARTH_RADIUS_M, M_PI);
    double height = angle / RADIAN + SLACK_DEGREES;
    double reach = reach_of(centre, angle) + SLACK_DEGREES;
    return (Box){ .west = centre.longitude - reach,
                  .east = centre.longitude + reach,
                  .south = CLAMP(centre.latitude - height, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX),
                  .north = CLAMP(centre.latitude + height, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX) };
}

static Grid grid_at(GeoPoint centre, unsigned steps)
{
    Grid grid = { .steps = steps, .parts = 1LL << steps };
    grid.width = 2 * GEO_LONGITUDE_MAX / (double)grid.parts;
    grid.height = 2 * GEO_LATITUDE_MAX / (double)grid.parts;
    grid.column = MIN(part_of(centre.longitude, GEO_LONGITUDE_MAX, steps), grid.parts - 1);
    grid.row = MIN(part_of(centre.latitude, GEO_LATITUDE_MAX, steps), grid.parts - 1);
    grid.cell.west = -GEO_LONGITUDE_MAX + (double)grid.column * grid.width;
    grid.cell.east = grid.cell.west + grid.width;
    grid.cell.south = -GEO_LATITUDE_MAX + (double)grid.row * grid.height;
    grid.cell.north = grid.cell.south + grid.height;
    return grid;
}

/* Whether the cell with its eight neighbours holds the box. */
static bool grid_holds(const Grid *grid, const Box *box)
{
    const Box *cell = &grid->cell;
    bool columns = cell->west - grid->width <= box->west && cell->east + grid->width >= box->east;
    bool south = grid->row == 0 || cell->south - grid->height <= box->south;
    bool north = grid->row == grid->parts - 1 || cell->north + grid->height >= box->north;
    return columns && south && north;
}

/* How fine a grid Redis starts with: the half equator (in Mercator's projection), halved until it's no longer than the
 * radius, less some, and less again towards the poles. */
static unsigned first_steps(GeoPoint centre, double radius_m)
{
    if (radius_m == 0) return STEPS;
    int steps = -1;
    while (radius_m < 20037726.37) {
        radius_m *= 2;
        steps++;
    }
    if (fabs(centre.latitude) > 66) steps--;
    if (fabs(centre.latitude) > 80) steps--;
    return (unsigned)CLAMP(steps, 1, STEPS);
}

/* With two columns and rows, everything is held. */
static Grid choose_grid(GeoPoint centre, double radius_m, const Box *box)
{
    Grid grid = grid_at(centre, first_steps(centre, radius_m));
    while (grid.steps > 1 && !grid_holds(&grid, box))
        grid = grid_at(centre, grid.steps - 1);
    return grid;
}

typedef struct Cover {
    const Grid *grid;
    GeoRange *ranges;
    size_t count;
} Cover;

/* Adds a cell, once. Columns go on on the other side; there are no rows beyond the first and the last. */
static void cover_cell(Cover *cover, int64_t column, int64_t row)
{
    const Grid *grid = cover->grid;
    if (row < 0 || row > grid->parts) return;
    if (column != grid->parts) column = (column + grid->parts) % grid->parts;
    uint64_t cell = interleave((uint32_t)column, (uint32_t)row);
    unsigned shift = 2 * (STEPS - grid->steps);
    GeoRange range = { (double)(cell << shift), (double)((cell + 1) << shift) };
    for (size_t i = 0; i < cover->count; i++) {
        if (cover->ranges[i].min == range.min) return;
    }
    g_assert(cover->count < GEO_RANGES_MAX);
    cover->ranges[cover->count++] = range;
}

/* The centre's cell and those around it that the box reaches, in the order in which Redis visits them. */
static void cover_around(Cover *cover, const Box *box)
{
    static const struct {
        int8_t east, north;
    } around[] = { { 0, 0 }, { 0, 1 }, { 0, -1 }, { 1, 0 }, { -1, 0 }, { 1, 1 }, { -1, 1 }, { 1, -1 }, { -1, -1 } };
    const Grid *grid = cover->grid;
    bool east = box->east >= grid->cell.east, west = box->west <= grid->cell.west;
    bool north = box->north >= grid->cell.north, south = box->south <= grid->cell.south;
    for (size_t i = 0; i < G_N_ELEMENTS(around); i++) {
        if ((around[i].east > 0 && !east) || (around[i].east < 0 && !west)) continue;
        if ((around[i].north > 0 && !north) || (around[i].north < 0 && !south)) continue;
        int64_t column = grid->column + around[i].east;
        if (column == grid->parts) column = 0;
        cover_cell(cover, column, grid->row + around[i].north);
    }
}

/* The column of longitude 180 and the row of the northernmost latitude. */
static void cover_edges(Cover *cover, const Box *box)
{
    const Grid *grid = cover->grid;
    bool edge_column = box->east >= GEO_LONGITUDE_MAX || box->west <= -GEO_LONGITUDE_MAX;
    bool edge_row = box->north >= GEO_LATITUDE_MAX;
    for (int64_t i = -1; i <= 1; i++) {
        if (edge_column) cover_cell(cover, grid->parts, grid->row + i);
        if (edge_row) cover_cell(cover, (grid->column + i + grid->parts) % grid->parts, grid->parts);
    }
    if (edge_column && edge_row) cover_cell(cover, grid->parts, grid->parts);
}

size_t geo_cover(GeoPoint centre, double radius_m, GeoRange ranges[GEO_RANGES_MAX])
{
    /* A score that isn't a position can stand for a point beyond the map. */
    centre.longitude = remainder(centre.longitude, 360);
    Box box = box_of(centre, radius_m);
    centre.latitude = CLAMP(centre.latitude, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX);
    Grid grid = choose_grid(centre, radius_m, &box);
    Cover cover = { .grid = &grid, .ranges = ranges };
    cover_around(&cover, &box);
    cover_edges(&cover, &box);
    return cover.count;
}
