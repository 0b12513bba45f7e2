/* hll.c: see hll.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/hll.h"

#include <glib.h>
#include <math.h>

#define ENCODING_AT      4
#define CACHE_AT         8
#define ENCODING_DENSE   0
#define ENCODING_SPARSE  1
#define CACHE_OLD        (1ULL << 63)

#define INDEX_BITS       14 /* of the hash: which register */
#define REGISTER_MAX     63
#define SHORT_ZEROS_MAX  64
#define SPARSE_VALUE_MAX 32
#define VALUE_RUN_MAX    4

/* How many runs are looked at after a change for neighbours that can be joined: 3.2's number, since the bytes show. */
#define JOIN_RUNS 5

/* ---- the element's hash: MurmurHash64A (Appleby, public domain) with Redis' seed ---- */

#define HASH_SEED       0xadc83b19ULL
#define HASH_MULTIPLIER 0xc6a4a7935bd1e995ULL

static uint64_t hash_mix(uint64_t word)
{
    word *= HASH_MULTIPLIER;
    word ^= word >> 47;
    return word * HASH_MULTIPLIER;
}

static uint64_t element_hash(Slice element)
{
    /* The length enters as an int would, as in 3.2. */
    uint64_t hash = HASH_SEED ^ ((uint64_t)(int)element.len * HASH_MULTIPLIER), word;
    size_t at = 0;
    for (; at + sizeof(word) <= element.len; at += sizeof(word)) {
        memcpy(&word, element.ptr + at, sizeof(word));
        hash = (hash ^ hash_mix(GUINT64_FROM_LE(word))) * HASH_MULTIPLIER;
    }
    if (at < element.len) {
        word = 0;
        memcpy(&word, element.ptr + at, element.len - at);
        hash = (hash ^ GUINT64_FROM_LE(word)) * HASH_MULTIPLIER;
    }
    hash = (hash ^ hash >> 47) * HASH_MULTIPLIER;
    return hash ^ hash >> 47;
}

/* The element's register and what it's to be raised to: 1 to 51. */
static unsigned element_rank(Slice element, unsigned *index)
{
    uint64_t hash = element_hash(element);
    *index = (unsigned)(hash & (HLL_REGISTERS - 1));
    return (unsigned)__builtin_ctzll(hash >> INDEX_BITS | 1ULL << (63 - INDEX_BITS)) + 1;
}

/* ---- the head ---- */

bool hll_is_valid(Slice value)
{
    if (value.len < HLL_HEAD_BYTES || memcmp(value.ptr, "HYLL", 4) != 0) return false;
    if (value.ptr[ENCODING_AT] == ENCODING_DENSE) return value.len == HLL_DENSE_BYTES;
    return value.ptr[ENCODING_AT] == ENCODING_SPARSE;
}

bool hll_is_sparse(Slice value)
{
    return value.ptr[ENCODING_AT] == ENCODING_SPARSE;
}

bool hll_cached_count(Slice value, uint64_t *count)
{
    memcpy(count, value.ptr + CACHE_AT, sizeof(*count));
    *count = GUINT64_FROM_LE(*count);
    return (*count & CACHE_OLD) == 0;
}

void hll_cache_count(char *bytes, uint64_t count)
{
    count = GUINT64_TO_LE(count);
    memcpy(bytes + CACHE_AT, &count, sizeof(count));
}

void hll_invalidate(char *bytes)
{
    bytes[CACHE_AT + 7] |= (char)0x80;
}

/* ---- dense: a register is 6 bits, four of them 3 bytes ---- */

static unsigned dense_get(const char *dense, unsigned index)
{
    const uint8_t *at = (const uint8_t *)dense + HLL_HEAD_BYTES + index / 4 * 3;
    unsigned four = at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16;
    return four >> index % 4 * 6 & REGISTER_MAX;
}

static void dense_set(char *dense, unsigned index, unsigned value)
{
    uint8_t *at = (uint8_t *)dense + HLL_HEAD_BYTES + index / 4 * 3;
    unsigned shift = index % 4 * 6;
    unsigned four = at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16;
    four = (four & ~((unsigned)REGISTER_MAX << shift)) | value << shift;
    at[0] = (uint8_t)four;
    at[1] = (uint8_t)(four >> 8);
    at[2] = (uint8_t)(four >> 16);
}

static HllAdded dense_add(char *dense, unsigned index, unsigned rank)
{
    if (rank <= dense_get(dense, index)) return HLL_SAME;
    dense_set(dense, index, rank);
    return HLL_RAISED;
}

static void dense_merge(uint8_t *registers, const char *dense)
{
    const uint8_t *at = (const uint8_t *)dense + HLL_HEAD_BYTES;
    for (unsigned i = 0; i < HLL_REGISTERS; i += 4, at += 3) {
        unsigned four = at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16;
        for (unsigned j = 0; j < 4; j++, four >>= 6)
            registers[i + j] = (uint8_t)MAX(registers[i + j], four & REGISTER_MAX);
    }
}

void hll_set_registers(char *dense, const uint8_t *registers)
{
    uint8_t *at = (uint8_t *)dense + HLL_HEAD_BYTES;
    for (unsigned i = 0; i < HLL_REGISTERS; i += 4, at += 3) {
        unsigned four = registers[i] | (unsigned)registers[i + 1] << 6 | (unsigned)registers[i + 2] << 12 |
                        (unsigned)registers[i + 3] << 18;
        at[0] = (uint8_t)four;
        at[1] = (uint8_t)(four >> 8);
        at[2] = (uint8_t)(four >> 16);
    }
}

/* ---- sparse ---- */

void hll_init(char *bytes)
{
    memset(bytes, 0, HLL_EMPTY_BYTES);
    memcpy(bytes, "HYLL", 4);
    bytes[ENCODING_AT] = ENCODING_SPARSE;
    memcpy(bytes + HLL_HEAD_BYTES, "\x7f\xff", 2); /* 16384 zeros */
}

bool hll_next_run(Slice sparse, size_t *at, HllRun *run)
{
    if (*at >= sparse.len) return false;
    const uint8_t *opcode = (const uint8_t *)sparse.ptr + *at;
    if (*opcode & 0x80) {
        *run = (HllRun){ 1, (*opcode & 3U) + 1, (*opcode >> 2 & 31U) + 1 };
    } else if (!(*opcode & 0x40)) {
        *run = (HllRun){ 1, *opcode + 1U, 0 };
    } else if (*at + 1 < sparse.len) {
        *run = (HllRun){ 2, ((*opcode & 0x3FU) << 8 | opcode[1]) + 1, 0 };
    } else {
        return false;
    }
    *at += run->bytes;
    return true;
}

/* Writes the opcode of a run, nothing for an empty one; returns its bytes. */
static size_t write_run(uint8_t *out, unsigned value, unsigned count)
{
    if (count == 0) return 0;
    if (value != 0) {
        out[0] = (uint8_t)(0x80 | (value - 1) << 2 | (count - 1));
        return 1;
    }
    if (count <= SHORT_ZEROS_MAX) {
        out[0] = (uint8_t)(count - 1);
        return 1;
    }
    out[0] = (uint8_t)(0x40 | (count - 1) >> 8);
    out[1] = (uint8_t)(count - 1);
    return 2;
}

/* Whether the runs at `at` and right behind it can be one; it's written in the place of the second. */
static bool join_with_next(char *bytes, size_t len, size_t at, const HllRun *run)
{
    HllRun next;
    size_t next_at = at + run->bytes;
    if (run->value == 0 || !hll_next_run((Slice){ bytes, len }, &next_at, &next)) return false;
    if (next.value != run->value || run->count + next.count > VALUE_RUN_MAX) return false;
    write_run((uint8_t *)bytes + at + 1, run->value, run->count + next.count);
    return true;
}

/* Joins neighbouring runs of the same value, from `at` on; returns the new length. */
static size_t join_runs(char *bytes, size_t len, size_t at)
{
    HllRun run;
    for (int i = 0; i < JOIN_RUNS; i++) {
        size_t next_at = at;
        if (!hll_next_run((Slice){ bytes, len }, &next_at, &run)) break;
        if (join_with_next(bytes, len, at, &run)) {
            len--;
            memmove(bytes + at, bytes + at + 1, len - at);
        } else {
            at = next_at;
        }
    }
    return len;
}

static HllAdded sparse_add(char *bytes, size_t *len, unsigned index, unsigned rank, size_t bytes_max)
{
    if (rank > SPARSE_VALUE_MAX) return HLL_NEEDS_DENSE;
    Slice sparse = { bytes, *len };
    size_t at = HLL_HEAD_BYTES, end = at, previous = at;
    unsigned first = 0; /* the first register of the run from `at` to `end`, which covers ours at last */
    HllRun run;
    for (;;) {
        if (!hll_next_run(sparse, &end, &run)) return HLL_CORRUPT;
        if (index < first + run.count) break;
        first += run.count;
        previous = at;
        at = end;
    }
    if (run.value >= rank) return HLL_SAME;

    uint8_t parts[5]; /* before, ours, after */
    size_t used = write_run(parts, run.value, index - first);
    used += write_run(parts + used, rank, 1);
    used += write_run(parts + used, run.value, first + run.count - 1 - index);
    if (used > run.bytes && *len + used - run.bytes > bytes_max) return HLL_NEEDS_DENSE;
    memmove(bytes + at + used, bytes + end, *len - end);
    memcpy(bytes + at, parts, used);
    *len = join_runs(bytes, *len + used - run.bytes, previous);
    return HLL_RAISED;
}

HllAdded hll_add(char *bytes, size_t *len, Slice element, size_t sparse_bytes_max)
{
    unsigned index, rank = element_rank(element, &index);
    if (hll_is_sparse((Slice){ bytes, *len })) return sparse_add(bytes, len, index, rank, sparse_bytes_max);
    return dense_add(bytes, index, rank);
}

/* Raises the registers; false if the runs don't cover them all, or more. */
static bool sparse_merge(uint8_t *registers, Slice sparse)
{
    size_t at = HLL_HEAD_BYTES, index = 0;
    HllRun run;
    while (hll_next_run(sparse, &at, &run)) {
        if (index + run.count > HLL_REGISTERS) return run.value != 0 && index == HLL_REGISTERS; /* 3.2 ignores these */
        for (unsigned i = 0; run.value != 0 && i < run.count; i++)
            registers[index + i] = (uint8_t)MAX(registers[index + i], run.value);
        index += run.count;
    }
    return index == HLL_REGISTERS && at == sparse.len;
}

bool hll_merge(uint8_t *registers, Slice value)
{
    if (hll_is_sparse(value)) return sparse_merge(registers, value);
    dense_merge(registers, value.ptr);
    return true;
}

bool hll_to_dense(Slice sparse, char *dense)
{
    uint8_t registers[HLL_REGISTERS] = { 0 };
    if (!sparse_merge(registers, sparse)) return false;
    memcpy(dense, sparse.ptr, HLL_HEAD_BYTES);
    dense[ENCODING_AT] = ENCODING_DENSE;
    hll_set_registers(dense, registers);
    return true;
}

/* ---- the estimate ---- */

/* 2^-value, exactly. */
static inline double inverse_power(unsigned value)
{
    union {
        uint64_t bits;
        double value;
    } power = { .bits = (uint64_t)(1023 - value) << 52 };
    return power.value;
}

/* From the sum of 2^-register and the number of registers that are 0. The steps are those of 3.2, in its order: the
 * result must be the same to the last digit. */
static uint64_t estimate(double sum, unsigned zeros)
{
    const double m = HLL_REGISTERS, alpha = 0.7213 / (1 + 1.079 / m);
    double e = (1 / sum) * alpha * m * m;
    if (e < m * 2.5 && zeros != 0) {
        e = m * log(m / zeros); /* linear counting is better there */
    } else if (e < 72000) {
        double bias_percent = 5.9119 * 1.0e-18 * (e * e * e * e) - 1.4253 * 1.0e-12 * (e * e * e) +
                              1.2940 * 1.0e-7 * (e * e) - 5.2921 * 1.0e-3 * e + 83.3216;
        e -= e * (bias_percent / 100);
    }
    return e < 0x1p63 ? (uint64_t)e : INT64_MAX;
}

static uint64_t dense_count(const char *dense)
{
    const uint8_t *at = (const uint8_t *)dense + HLL_HEAD_BYTES;
    double sum = 0;
    unsigned zeros = 0;
    for (unsigned i = 0; i < HLL_REGISTERS; i += 16) {
        double part = 0; /* of sixteen registers, pair by pair, as 3.2 adds them up: addition rounds */
        for (unsigned j = 0; j < 16; j += 4, at += 3) {
            unsigned a = at[0] & 63, b = (at[0] >> 6 | at[1] << 2) & 63, c = (at[1] >> 4 | at[2] << 4) & 63;
            unsigned d = at[2] >> 2;
            zeros += (a == 0) + (b == 0) + (c == 0) + (d == 0);
            part += inverse_power(a) + inverse_power(b);
            part += inverse_power(c) + inverse_power(d);
        }
        sum += part;
    }
    return estimate(sum, zeros);
}

static bool sparse_count(Slice sparse, uint64_t *count)
{
    size_t at = HLL_HEAD_BYTES, index = 0;
    unsigned zeros = 0;
    double sum = 0;
    HllRun run;
    while (hll_next_run(sparse, &at, &run)) {
        index += run.count;
        if (run.value == 0) {
            zeros += run.count;
        } else {
            sum += inverse_power(run.value) * run.count;
        }
    }
    if (index != HLL_REGISTERS || at != sparse.len) return false;
    *count = estimate(sum + zeros, zeros);
    return true;
}

bool hll_count(Slice value, uint64_t *count)
{
    if (hll_is_sparse(value)) return sparse_count(value, count);
    *count = dense_count(value.ptr);
    return true;
}

uint64_t hll_count_registers(const uint8_t *registers)
{
    double sum = 0;
    unsigned zeros = 0;
    for (unsigned i = 0; i < HLL_REGISTERS; i++) {
        if (registers[i] == 0) {
            zeros++;
        } else {
            sum += inverse_power(registers[i]);
        }
    }
    return estimate(sum + zeros, zeros);
}
