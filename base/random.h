/* random.h: quick random numbers for sampling (SPOP, eviction, RANDOMKEY); not for secrets. Anyone may call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_RANDOM_H
#define CKV_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* 64 random bits (xoshiro256**, Blackman and Vigna 2018; seeded from the kernel at first use). */
uint64_t random_u64(void);

/* Uniform in [0, bound), bound > 0, without modulo bias worth measuring (Lemire's multiply-shift). */
static inline uint64_t random_below(uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)random_u64() * bound) >> 64);
}

/* Bytes fit for secrets (run ids, hash secrets), from getrandom(2); ends the program if the kernel has none. */
void random_secret(void *bytes, size_t len);

/* Writes `len` lower-case hexadecimal digits of secret randomness and a NUL: run ids have 40. */
void random_hex(char *out, size_t len);

#endif
