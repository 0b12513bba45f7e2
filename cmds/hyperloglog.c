/* hyperloglog.c: PFADD, PFCOUNT, PFMERGE, and for operators PFDEBUG and PFSELFTEST. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "base/options.h"
#include "base/random.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "repl/slave.h"
#include "store/hll.h"

#define ERROR_NOT_HLL "WRONGTYPE Key is not a valid HyperLogLog string value."
#define ERROR_CORRUPT "INVALIDOBJ Corrupted HLL object detected"

static Slice entry_hll(const Entry *entry)
{
    return (Slice){ entry_string_bytes(entry), entry->str.len };
}

/* Whether the entry is a HyperLogLog, or none at all; if not, answers the error. */
static bool check_hll(Request *r, const Entry *entry)
{
    if (entry == NULL || (entry->encoding != STRING_INT && hll_is_valid(entry_hll(entry)))) return true;
    reply_error(r->out, ERROR_NOT_HLL);
    return false;
}

static bool hll_read(Request *r, Slice key, Entry **entry)
{
    return key_read(r, key, TYPE_STRING, entry) && check_hll(r, *entry);
}

static bool hll_use(Request *r, Slice key, Entry **entry)
{
    return key_use(r, key, TYPE_STRING, entry) && check_hll(r, *entry);
}

static Entry *put_empty(Request *r, Slice key)
{
    Entry *entry = keyspace_put_zeros(r->db, key, HLL_EMPTY_BYTES);
    hll_init(entry_string_bytes(entry));
    return entry;
}

/* Makes the entry's sparse value dense; false: it's corrupt. */
static bool make_dense(Request *r, Entry **entry)
{
    char dense[HLL_DENSE_BYTES];
    if (!hll_to_dense(entry_hll(*entry), dense)) return false;
    *entry = keyspace_replace_string(r->db, *entry, (Slice){ dense, sizeof(dense) });
    return true;
}

/* ---- PFADD ---- */

static HllAdded add_to_sparse(Request *r, Entry **entry, Slice element)
{
    size_t len = (*entry)->str.len, bytes_max = (size_t)options.hll_sparse_max_bytes;
    if (len > HLL_SPARSE_BYTES_MAX) return HLL_CORRUPT;
    *entry = keyspace_resize_string(r->db, *entry, len + HLL_GROWTH_MAX);
    HllAdded added = hll_add(entry_string_bytes(*entry), &len, element, bytes_max);
    *entry = keyspace_resize_string(r->db, *entry, len);
    return added;
}

static HllAdded add_element(Request *r, Entry **entry, Slice element)
{
    if (hll_is_sparse(entry_hll(*entry))) {
        HllAdded added = add_to_sparse(r, entry, element);
        if (added != HLL_NEEDS_DENSE) return added;
        if (!make_dense(r, entry)) return HLL_CORRUPT;
    }
    size_t len = HLL_DENSE_BYTES;
    return hll_add(entry_string_bytes(*entry), &len, element, 0);
}

/* PFADD key [element ...] */
void cmd_pfadd(Request *r)
{
    Slice key = r->argv[1];
    Entry *entry;
    if (!hll_use(r, key, &entry)) return;
    Slice effect[] = { key, key, SLICE("") }; /* if it's corrupt; the deadline has the key again */
    if (entry != NULL && !effect_fits(r->out, effect_bytes(effect, G_N_ELEMENTS(effect)) + HLL_DENSE_BYTES)) return;
    if (entry != NULL) keyspace_will_change(r->db, key, entry);
    bool changed = entry == NULL, corrupt = false;
    if (entry == NULL) entry = put_empty(r, key);
    for (int i = 2; i < r->argc && !corrupt; i++) {
        HllAdded added = add_element(r, &entry, r->argv[i]);
        changed |= added == HLL_RAISED;
        corrupt = added == HLL_CORRUPT;
    }
    if (changed) {
        hll_invalidate(entry_string_bytes(entry));
        /* A command that fails isn't journaled, so what it did before is. */
        if (corrupt) effect_set(r->db, key, entry_hll(entry), entry_deadline(entry));
        key_changed(r, key, NOTIFY_STRING, "pfadd");
    }
    if (corrupt) {
        reply_error(r->out, ERROR_CORRUPT);
    } else {
        reply_int(r->out, changed);
    }
}

/* ---- PFCOUNT and PFMERGE ---- */

/* Raises the registers to the values of all keys from argument `first` on, or answers the error. */
static bool merge_keys(Request *r, int first, uint8_t *registers)
{
    memset(registers, 0, HLL_REGISTERS);
    for (KeyWalk walk = keys_from(first, 1); keys_next(r, &walk);) {
        Entry *entry;
        if (!hll_read(r, r->argv[walk.index], &entry)) return false;
        if (entry == NULL || hll_merge(registers, entry_hll(entry))) continue;
        reply_error(r->out, ERROR_CORRUPT);
        return false;
    }
    return true;
}

/* One key's estimate, which is kept in its value: so this may change the key; but a slave's only for the master. */
static void count_one(Request *r)
{
    Slice key = r->argv[1];
    Entry *entry;
    uint64_t count = 0;
    bool keeps = !slave_is_one() || r->out->catching;
    if (!(keeps ? hll_use(r, key, &entry) : hll_read(r, key, &entry))) return;
    if (entry != NULL && !hll_cached_count(entry_hll(entry), &count)) {
        if (!hll_count(entry_hll(entry), &count)) {
            reply_error(r->out, ERROR_CORRUPT);
            return;
        }
        if (keeps) {
            keyspace_will_change(r->db, key, entry);
            hll_cache_count(entry_string_bytes(entry), count);
            keyspace_changed(r->db, key);
        }
    }
    reply_int(r->out, (int64_t)count);
}

/* PFCOUNT key [key ...] */
void cmd_pfcount(Request *r)
{
    uint8_t registers[HLL_REGISTERS];
    if (r->argc == 2) {
        count_one(r);
    } else if (merge_keys(r, 1, registers)) {
        reply_int(r->out, (int64_t)hll_count_registers(registers));
    }
}

/* PFMERGE destkey [sourcekey ...] */
void cmd_pfmerge(Request *r)
{
    Slice key = r->argv[1];
    uint8_t registers[HLL_REGISTERS];
    if (!merge_keys(r, 1, registers)) return;
    Entry *entry = keyspace_write(r->db, key);
    if (entry == NULL) entry = put_empty(r, key);
    bool dense = !hll_is_sparse(entry_hll(entry)) || make_dense(r, &entry);
    g_assert(dense); /* a corrupt one would have shown while it was merged */
    hll_set_registers(entry_string_bytes(entry), registers);
    hll_invalidate(entry_string_bytes(entry));
    key_changed(r, key, NOTIFY_STRING, "pfadd");
    reply_ok(r->out);
}

/* ---- PFDEBUG ---- */

/* Makes it dense, if it isn't; false, with the error sent: it's corrupt. */
static bool debug_make_dense(Request *r, Entry **entry)
{
    if (!hll_is_sparse(entry_hll(*entry))) return true;
    keyspace_will_change(r->db, r->argv[2], *entry);
    if (!make_dense(r, entry)) {
        reply_error(r->out, ERROR_CORRUPT);
        return false;
    }
    keyspace_changed(r->db, r->argv[2]);
    return true;
}

static void debug_getreg(Request *r, Entry *entry)
{
    uint8_t registers[HLL_REGISTERS] = { 0 };
    if (!debug_make_dense(r, &entry)) return;
    hll_merge(registers, entry_hll(entry));
    reply_array(r->out, HLL_REGISTERS);
    for (int i = 0; i < HLL_REGISTERS; i++)
        reply_int(r->out, registers[i]);
}

static void debug_decode(Request *r, Entry *entry)
{
    if (!hll_is_sparse(entry_hll(entry))) {
        reply_error(r->out, "ERR HLL encoding is not sparse");
        return;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    size_t at = HLL_HEAD_BYTES;
    HllRun run;
    while (hll_next_run(entry_hll(entry), &at, &run)) {
        if (text->len > 0) g_string_append_c(text, ' ');
        if (run.value != 0) {
            g_string_append_printf(text, "v:%u,%u", run.value, run.count);
        } else {
            g_string_append_printf(text, "%c:%u", run.bytes == 1 ? 'z' : 'Z', run.count);
        }
    }
    reply_bulk(r->out, (Slice){ text->str, text->len });
}

static void debug_encoding(Request *r, Entry *entry)
{
    reply_status(r->out, hll_is_sparse(entry_hll(entry)) ? "sparse" : "dense");
}

static void debug_todense(Request *r, Entry *entry)
{
    bool was_sparse = hll_is_sparse(entry_hll(entry));
    if (debug_make_dense(r, &entry)) reply_int(r->out, was_sparse);
}

static const struct {
    const char *name;
    void (*run)(Request *r, Entry *entry);
} debug_commands[] = {
    { "getreg", debug_getreg },
    { "decode", debug_decode },
    { "encoding", debug_encoding },
    { "todense", debug_todense },
};

/* PFDEBUG GETREG | DECODE | ENCODING | TODENSE key */
void cmd_pfdebug(Request *r)
{
    Slice name = r->argv[1];
    Entry *entry;
    if (!key_use(r, r->argv[2], TYPE_STRING, &entry)) return;
    if (entry == NULL) {
        reply_error(r->out, "ERR The specified key does not exist");
        return;
    }
    if (!check_hll(r, entry)) return;
    for (size_t i = 0; i < G_N_ELEMENTS(debug_commands); i++) {
        if (!slice_is(name, debug_commands[i].name)) continue;
        if (r->argc == 3) {
            debug_commands[i].run(r, entry);
        } else {
            reply_errorf(r->out, "ERR Wrong number of arguments for the '%.*s' subcommand", (int)name.len, name.ptr);
        }
        return;
    }
    reply_errorf(r->out, "ERR Unknown PFDEBUG subcommand '%.*s'", (int)MIN(name.len, 128), name.ptr);
}

/* ---- PFSELFTEST ---- */

#define TEST_ROUNDS   1000
#define TEST_ELEMENTS 10000000

/* Random registers come back from a dense value; false, with the error sent, if one doesn't. */
static bool test_registers(Request *r, char *dense)
{
    uint8_t expected[HLL_REGISTERS], found[HLL_REGISTERS];
    for (int round = 0; round < TEST_ROUNDS; round++) {
        for (int i = 0; i < HLL_REGISTERS; i++)
            expected[i] = (uint8_t)random_below(64);
        hll_set_registers(dense, expected);
        memset(found, 0, sizeof(found));
        hll_merge(found, (Slice){ dense, HLL_DENSE_BYTES });
        for (int i = 0; i < HLL_REGISTERS; i++) {
            if (found[i] == expected[i]) continue;
            reply_errorf(r->out, "ERR TESTFAILED Register %d should be %d but is %d", i, expected[i], found[i]);
            return false;
        }
    }
    return true;
}

/* Whether an estimate is as good as it should be: within six standard errors. */
static bool check_estimate(Request *r, int64_t cardinality, uint64_t count)
{
    double standard_error = 1.04 / sqrt(HLL_REGISTERS);
    int64_t error_max = cardinality == 10 ? 1 : (int64_t)ceil(standard_error * 6 * (double)cardinality);
    int64_t error = llabs(cardinality - (int64_t)count);
    if (error <= error_max) return true;
    reply_errorf(r->out, "ERR TESTFAILED Too big error. card:%lld abserr:%lld", (long long)cardinality,
                 (long long)error);
    return false;
}

/* Counts elements in an empty dense value and in one that starts sparse: at each power of ten both must agree and be
 * good. */
static bool test_estimates(Request *r, char *dense)
{
    char other[HLL_SPARSE_BYTES_MAX + HLL_GROWTH_MAX];
    size_t dense_len = HLL_DENSE_BYTES, other_len = HLL_EMPTY_BYTES;
    size_t sparse_max = MIN((size_t)options.hll_sparse_max_bytes, HLL_SPARSE_BYTES_MAX);
    hll_init(other);
    uint64_t seed = random_u64();
    int64_t checkpoint = 1;
    for (int64_t i = 1; i <= TEST_ELEMENTS; i++) {
        uint64_t number = (uint64_t)i ^ seed, dense_count, other_count;
        Slice element = { (const char *)&number, sizeof(number) };
        hll_add(dense, &dense_len, element, 0);
        if (hll_add(other, &other_len, element, sparse_max) == HLL_NEEDS_DENSE) {
            memcpy(other, dense, other_len = dense_len);
        }
        if (i != checkpoint) continue;
        if (i < (int64_t)sparse_max / 2 && !hll_is_sparse((Slice){ other, other_len })) {
            reply_error(r->out, "ERR TESTFAILED sparse encoding not used");
            return false;
        }
        if (!hll_count((Slice){ dense, dense_len }, &dense_count) ||
            !hll_count((Slice){ other, other_len }, &other_count) || dense_count != other_count) {
            reply_error(r->out, "ERR TESTFAILED dense/sparse disagree");
            return false;
        }
        if (!check_estimate(r, checkpoint, dense_count)) return false;
        checkpoint *= 10;
    }
    return true;
}

static void init_dense(char *dense)
{
    char sparse[HLL_EMPTY_BYTES];
    hll_init(sparse);
    bool made = hll_to_dense((Slice){ sparse, sizeof(sparse) }, dense);
    g_assert(made);
}

/* PFSELFTEST: takes a second on purpose */
void cmd_pfselftest(Request *r)
{
    char dense[HLL_DENSE_BYTES];
    init_dense(dense);
    if (!test_registers(r, dense)) return;
    init_dense(dense);
    if (test_estimates(r, dense)) reply_ok(r->out);
}
