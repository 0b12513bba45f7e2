/* hll.h: the HyperLogLog estimate of how many distinct elements were added, over the bytes of a string value. Pure: the
 * caller owns the bytes. The PF commands call it.
 *
 * Design. The bytes are those of Redis 3.2, which clients may GET and SET. A head of 16 bytes: "HYLL", the encoding
 * (0 dense, 1 sparse), three unused bytes, and the last estimate, 64 bits little-endian, whose top bit says that it's
 * out of date. Then 16384 registers of 6 bits; an element's hash chooses one, which keeps the longest run of zeros seen
 * in the rest of such hashes, plus one.
 *  - Dense: 12288 bytes, registers packed from each byte's lowest bit upwards.
 *  - Sparse: runs of equal registers. 00nnnnnn: n+1 zeros. 01nnnnnn nnnnnnnn: n+1 zeros. 1vvvvvnn: n+1 times v+1.
 *    A value above 32, or growth beyond a limit, makes it dense, for good.
 * Flajolet et al. 2007 for the method, Heule et al. 2013 for 64-bit hashes; the bias correction is Redis' polynomial.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_HLL_H
#define CKV_STORE_HLL_H

#include "base/slice.h"

#define HLL_REGISTERS        16384
#define HLL_HEAD_BYTES       16
#define HLL_EMPTY_BYTES      (HLL_HEAD_BYTES + 2)
#define HLL_DENSE_BYTES      (HLL_HEAD_BYTES + HLL_REGISTERS * 6 / 8)
#define HLL_SPARSE_BYTES_MAX (HLL_HEAD_BYTES + HLL_REGISTERS * 2) /* with more, some run must be one too many */
#define HLL_GROWTH_MAX       3                                    /* bytes by which one element can grow a sparse one */

typedef enum HllAdded {
    HLL_SAME,        /* the element changes nothing */
    HLL_RAISED,      /* a register was raised */
    HLL_NEEDS_DENSE, /* nothing changed yet: convert with hll_to_dense and add again */
    HLL_CORRUPT,     /* the sparse runs don't cover the registers; nothing changed */
} HllAdded;

/* Whether the head is that of a HyperLogLog and a dense one has the right length. Everything below may be asked of such
 * a value only; its runs may still be anything. */
bool hll_is_valid(Slice value);
bool hll_is_sparse(Slice value);

/* Writes the HLL_EMPTY_BYTES of an empty one. */
void hll_init(char *bytes);

/* Adds an element. A sparse one has room for HLL_GROWTH_MAX bytes more; *len is updated. It never grows beyond
 * `sparse_bytes_max`. The estimate isn't marked out of date: see hll_invalidate. */
HllAdded hll_add(char *bytes, size_t *len, Slice element, size_t sparse_bytes_max);

/* Writes the dense form of a sparse one to the HLL_DENSE_BYTES at `dense`; false: corrupt. */
bool hll_to_dense(Slice sparse, char *dense);

/* Raises each of the HLL_REGISTERS registers to the value's; false: corrupt (some may have been raised). */
bool hll_merge(uint8_t *registers, Slice value);
/* Gives a dense one these registers. */
void hll_set_registers(char *dense, const uint8_t *registers);

/* The estimate, anew; false: corrupt. */
bool hll_count(Slice value, uint64_t *count);
uint64_t hll_count_registers(const uint8_t *registers);

/* The estimate in the head: false if it's out of date. */
bool hll_cached_count(Slice value, uint64_t *count);
void hll_cache_count(char *bytes, uint64_t count);
void hll_invalidate(char *bytes);

/* One run of a sparse value at offset *at (HLL_HEAD_BYTES for the first), which is moved on; false at the end, and
 * where a run is cut off. */
typedef struct HllRun {
    size_t bytes; /* of the opcode */
    unsigned count;
    unsigned value; /* 0 to 32 */
} HllRun;
bool hll_next_run(Slice sparse, size_t *at, HllRun *run);

#endif
