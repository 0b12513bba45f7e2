/* draw.c: draws the numbers of keys, for load.c: uniformly, in a random order that has each of them once before any
 * comes again; or by Zipf.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "bench/draw.h"

#include <math.h>

static struct Draw {
    uint64_t random, keys;
    uint64_t place, half_bits; /* uniformly: all keys once, by chance in order, then again in the same */
    uint64_t round_keys[4];
    double zipf;
    double upper, lower, squeeze; /* by Zipf */
} draw;

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t draw_random(void)
{
    uint64_t z = draw.random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double random_unit(void)
{
    return (double)(draw_random() >> 11) * 0x1p-53;
}

/* Zipf by rejection-inversion (Hörmann, Derflinger 1996): exact, no table, any exponent above 0. The integral of
 * x^-exponent, and its inverse; both by functions that stay exact as the exponent comes near 1. */
static double zipf_integral(double x)
{
    double t = (1 - draw.zipf) * log(x);
    return (fabs(t) < 1e-8 ? 1 + t / 2 : expm1(t) / t) * log(x);
}

static double zipf_inverse(double y)
{
    double t = fmax(-1, y * (1 - draw.zipf));
    return exp((fabs(t) < 1e-8 ? 1 - t / 2 : log1p(t) / t) * y);
}

static double zipf_density(double x)
{
    return exp(-draw.zipf * log(x));
}

static uint64_t zipf_rank(void)
{
    for (;;) {
        double y = draw.upper + random_unit() * (draw.lower - draw.upper);
        double x = zipf_inverse(y);
        double rank = fmin(fmax(floor(x + 0.5), 1), (double)draw.keys);
        if (rank - x <= draw.squeeze || y >= zipf_integral(rank + 0.5) - zipf_density(rank)) return (uint64_t)rank;
    }
}

/* A permutation of the numbers of 2 * half_bits bits: a Feistel network of four rounds (Luby, Rackoff 1988). */
static uint64_t scramble(uint64_t number)
{
    uint64_t mask = (UINT64_C(1) << draw.half_bits) - 1, left = number >> draw.half_bits, right = number & mask;
    for (int i = 0; i < 4; i++) {
        uint64_t mixed = (right ^ draw.round_keys[i]) * UINT64_C(0x9E3779B97F4A7C15);
        uint64_t next = left ^ (mixed >> (64 - draw.half_bits));
        left = right;
        right = next;
    }
    return left << draw.half_bits | right;
}

void draw_init(uint64_t keys, double zipf, uint64_t seed)
{
    draw = (struct Draw){ .keys = keys, .zipf = zipf, .random = seed };
    for (draw.half_bits = 1; draw.keys > UINT64_C(1) << 2 * draw.half_bits; draw.half_bits++) {
    }
    for (int i = 0; i < 4; i++) {
        draw.round_keys[i] = draw_random();
    }
    if (draw.zipf > 0) {
        draw.lower = zipf_integral(1.5) - 1;
        draw.upper = zipf_integral((double)draw.keys + 0.5);
        draw.squeeze = 2 - zipf_inverse(zipf_integral(2.5) - zipf_density(2));
    }
}

uint32_t draw_key(void)
{
    if (draw.zipf > 0) return (uint32_t)(zipf_rank() - 1);
    uint64_t key = draw.place;
    draw.place = (draw.place + 1) % draw.keys;
    do {
        key = scramble(key);
    } while (key >= draw.keys);
    return (uint32_t)key;
}
