/* draw.h: see draw.c. One sequence a program.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stdint.h>

/* Begins anew. `zipf`: the exponent, or 0: uniformly. */
void draw_init(uint64_t keys, double zipf, uint64_t seed);

/* From 0 to keys - 1; by Zipf the first is the most frequent. */
uint32_t draw_key(void);

/* 64 random bits. */
uint64_t draw_random(void);
