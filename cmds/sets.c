/* sets.c: the commands on sets. The command table calls them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>

#include "base/random.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/scan.h"
#include "store/set.h"

/* SADD key member [member ...] */
void cmd_sadd(Request *r)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL) entry = keyspace_put_object(r->db, r->argv[1], TYPE_SET, set_new());
    int added = 0;
    for (int i = 2; i < r->argc; i++)
        added += set_add(&entry->set, set_member(r->argv[i]));
    if (added > 0) key_changed(r, r->argv[1], NOTIFY_SET, "sadd");
    reply_int(r->out, added);
}

/* SREM key member [member ...] */
void cmd_srem(Request *r)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_SET, &entry)) return;
    int removed = 0;
    bool empty = false;
    for (int i = 2; i < r->argc && entry != NULL && !empty; i++) {
        if (!set_remove(&entry->set, set_member(r->argv[i]))) continue;
        removed++;
        empty = set_length(entry->set) == 0;
    }
    if (removed > 0) key_shrunk(r, r->argv[1], empty, NOTIFY_SET, "srem");
    reply_int(r->out, removed);
}

/* SMOVE source destination member */
void cmd_smove(Request *r)
{
    Slice from_key = r->argv[1], to_key = r->argv[2];
    SetMember member = set_member(r->argv[3]);
    Entry *from, *to;
    if (!key_write(r, from_key, TYPE_SET, &from)) return;
    if (from == NULL) {
        reply_int(r->out, 0);
        return;
    }
    if (!key_write(r, to_key, TYPE_SET, &to)) return;
    if (from == to || !set_has(from->set, member)) {
        reply_int(r->out, from == to && set_has(from->set, member));
        return;
    }
    set_remove(&from->set, member);
    key_shrunk(r, from_key, set_length(from->set) == 0, NOTIFY_SET, "srem");
    if (to == NULL)
        to = keyspace_put_object(r->db, to_key, TYPE_SET, set_new());
    else
        to = keyspace_write(r->db, to_key);
    /* Redis 3.2 tells those who watch the destination even if the member was there already. */
    if (set_add(&to->set, member))
        key_changed(r, to_key, NOTIFY_SET, "sadd");
    else
        keyspace_changed(r->db, to_key);
    reply_int(r->out, 1);
}

/* SISMEMBER key member */
void cmd_sismember(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_SET, &entry)) return;
    reply_int(r->out, entry != NULL && set_has(entry->set, set_member(r->argv[2])));
}

/* SCARD key */
void cmd_scard(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_SET, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)set_length(entry->set));
}

/* Answers all members. O(members). */
static void reply_members(Out *out, const Set *set)
{
    reply_array(out, set_length(set));
    SetWalk walk = set_walk(set);
    for (SetMember member; set_next(&walk, &member);)
        reply_value(out, member);
}

/* SMEMBERS key */
void cmd_smembers(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL)
        reply_empty_array(r->out);
    else
        reply_members(r->out, entry->set);
}

/* ---- random members ---- */

/* Answers `count` members drawn at random and takes them out; fewer than there are, and no more than the journal takes
 * at once. */
static void pop_drawn(Request *r, Entry *entry, size_t count, EffectPieces *popped)
{
    size_t drawn = 0;
    SetMember member = set_random(entry->set);
    char digits[NUMBER_INT_CHARS];
    if (!effect_fits(r->out, effect_pieces_bytes(r->argv[1], 1, pack_value_text(member, digits).len))) return;
    OutMark mark = reply_array_begin(r->out);
    for (; drawn < count; drawn++) {
        if (drawn > 0) member = set_random(entry->set);
        if (drawn > 0 && !effect_pieces_take(popped, pack_value_text(member, digits).len)) break;
        reply_value(r->out, member);
        effect_pieces_add_value(popped, member);
        set_remove(&entry->set, member);
    }
    reply_array_set(r->out, mark, drawn);
}

/* The same when few will be left: draws those, which become a new set, and answers all others. */
static void pop_others(Request *r, Entry *entry, size_t left, EffectPieces *popped)
{
    Set *kept = set_new();
    while (left-- > 0) {
        SetMember member = set_random(entry->set);
        set_add(&kept, member);
        set_remove(&entry->set, member);
    }
    reply_members(r->out, entry->set);
    SetWalk walk = set_walk(entry->set);
    for (SetMember member; popped != NULL && set_next(&walk, &member);)
        effect_pieces_add_value(popped, member);
    set_free(entry->set);
    entry->set = kept;
}

/* As in Redis: with this many times fewer members left than taken, it's quicker to draw those that stay. */
#define POP_OTHERS_RATIO 5

static void spop_count(Request *r)
{
    int64_t wanted;
    Entry *entry;
    if (!arg_int(r, 2, &wanted, NULL)) return;
    if (wanted < 0) {
        reply_error(r->out, ERROR_OUT_OF_RANGE);
        return;
    }
    if (!key_write(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL || wanted == 0) {
        reply_empty_array(r->out);
        return;
    }
    size_t length = set_length(entry->set), count = MIN((size_t)wanted, length), left = length - count;
    EffectPieces *popped = left == 0 ? NULL : effect_pieces_begin(r->db, SLICE("SREM"), r->argv[1]);
    if (left == 0) {
        reply_members(r->out, entry->set);
        effect_del(r->db, r->argv[1]);
    } else if (left * POP_OTHERS_RATIO > count ||
               effect_pieces_bytes(r->argv[1], length, set_bytes(entry->set)) > effect_room()) {
        pop_drawn(r, entry, count, popped);
    } else {
        pop_others(r, entry, left, popped);
    }
    effect_pieces_end(popped);
    key_shrunk(r, r->argv[1], left == 0, NOTIFY_SET, "spop");
}

/* SPOP key [count] */
void cmd_spop(Request *r)
{
    Entry *entry;
    if (r->argc > 3) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    if (r->argc == 3) {
        spop_count(r);
        return;
    }
    if (!key_write(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL) {
        reply_nil(r->out);
        return;
    }
    SetMember member = set_random(entry->set);
    char digits[NUMBER_INT_CHARS];
    Slice effect[] = { SLICE("SREM"), r->argv[1], pack_value_text(member, digits) };
    if (!effect_fits(r->out, effect_bytes(effect, G_N_ELEMENTS(effect)))) return;
    reply_value(r->out, member);
    effect_put(r->db, effect, G_N_ELEMENTS(effect));
    set_remove(&entry->set, member);
    key_shrunk(r, r->argv[1], set_length(entry->set) == 0, NOTIFY_SET, "spop");
}

/* Answers `count` members, any of them more than once. */
static void sample_repeating(Out *out, const Set *set, uint64_t count)
{
    reply_array(out, count);
    while (count-- > 0)
        reply_value(out, set_random(set));
}

/* Answers `count` different members: walks over all and takes each with the chance that leaves every choice as likely
 * as any other (selection sampling: Fan, Muller and Rezucha 1962). */
static void sample_walking(Out *out, const Set *set, size_t count)
{
    size_t ahead = set_length(set);
    reply_array(out, count);
    SetWalk walk = set_walk(set);
    for (SetMember member; count > 0 && set_next(&walk, &member); ahead--) {
        if (random_below(ahead) >= count) continue;
        reply_value(out, member);
        count--;
    }
}

/* Answers `count` different members: draws until there are as many. */
static void sample_drawing(Out *out, const Set *set, size_t count)
{
    /* A member is known by its number in a set of integers, by where its bytes are in any other. */
    GHashTable *drawn = g_hash_table_new(g_direct_hash, g_direct_equal);
    reply_array(out, count);
    while (count > 0) {
        SetMember member = set_random(set);
        const void *identity = member.text.ptr != NULL ? member.text.ptr : GSIZE_TO_POINTER((gsize)member.number);
        if (!g_hash_table_add(drawn, (void *)(uintptr_t)identity)) continue;
        reply_value(out, member);
        count--;
    }
    g_hash_table_destroy(drawn);
}

/* Sets up to this size are walked: a small one may be held in a way that tells integers from other members, and then
 * neither number nor place would identify one. */
#define SAMPLE_WALK_LENGTH 64
/* So are those that are at most this many times larger than the sample: drawing would often hit the same. */
#define SAMPLE_WALK_RATIO 3

static void srandmember_count(Request *r)
{
    int64_t count;
    Entry *entry;
    if (!arg_int(r, 2, &count, NULL)) return;
    if (count == INT64_MIN) { /* 3.2 can't negate it either; this is what 7.0 answers */
        reply_errorf(r->out, "ERR value is out of range, value must between %" PRId64 " and %" PRId64, -INT64_MAX,
                     INT64_MAX);
        return;
    }
    if (!key_read(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL || count == 0) {
        reply_empty_array(r->out);
        return;
    }
    if (count < 0) {
        sample_repeating(r->out, entry->set, (uint64_t)-count);
        return;
    }
    size_t length = set_length(entry->set), wanted = (size_t)count;
    if (wanted >= length)
        reply_members(r->out, entry->set);
    else if (length <= SAMPLE_WALK_LENGTH || wanted * SAMPLE_WALK_RATIO > length)
        sample_walking(r->out, entry->set, wanted);
    else
        sample_drawing(r->out, entry->set, wanted);
}

/* SRANDMEMBER key [count] */
void cmd_srandmember(Request *r)
{
    Entry *entry;
    if (r->argc > 3) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    if (r->argc == 3) {
        srandmember_count(r);
        return;
    }
    if (!key_read(r, r->argv[1], TYPE_SET, &entry)) return;
    if (entry == NULL)
        reply_nil(r->out);
    else
        reply_value(r->out, set_random(entry->set));
}

/* ---- several sets ---- */

/* The sets of a command's keys; NULL where there's no such key. */
typedef struct Operands {
    const Set **sets;
    size_t count;
} Operands;

static size_t length_or_0(const Set *set)
{
    return set == NULL ? 0 : set_length(set);
}

/* Reads the sets of the keys behind the command, or behind the destination; what stores the result counts no hits and
 * misses, as in Redis. `stop_at_missing`: looks no further than the first key that doesn't exist, and leaves it as the
 * last. False: WRONGTYPE was answered. Free the sets. */
static bool operands_read(Request *r, bool store, bool stop_at_missing, Operands *operands)
{
    int first = store ? 2 : 1;
    operands->sets = g_new(const Set *, r->argc - first);
    operands->count = 0;
    for (int i = first; i < r->argc; i++) {
        Entry *entry;
        bool right_type = store ? key_use(r, r->argv[i], TYPE_SET, &entry) : key_read(r, r->argv[i], TYPE_SET, &entry);
        if (!right_type) {
            g_free(operands->sets);
            return false;
        }
        operands->sets[operands->count++] = entry == NULL ? NULL : entry->set;
        if (entry == NULL && stop_at_missing) break;
    }
    g_assert(operands->count > 0);
    return true;
}

static int order_smallest_first(const void *a, const void *b)
{
    size_t x = length_or_0(*(const Set *const *)a), y = length_or_0(*(const Set *const *)b);
    return (x > y) - (x < y);
}

static int order_largest_first(const void *a, const void *b)
{
    return order_smallest_first(b, a);
}

/* ---- where members go: the client, or a set to be stored ---- */

typedef struct Result {
    Out *out;     /* NULL: into the set */
    OutMark mark; /* of the answer's length */
    Set *set;
    size_t count;
} Result;

/* `store`: members are kept for result_end to store, otherwise they're answered at once. */
static Result result_begin(Request *r, bool store)
{
    if (store) return (Result){ .set = set_new() };
    return (Result){ .out = r->out, .mark = reply_array_begin(r->out) };
}

static void result_add(Result *result, SetMember member)
{
    result->count++;
    if (result->out != NULL)
        reply_value(result->out, member);
    else
        set_add(&result->set, member);
}

/* Makes the set the value of the key argv[1], or deletes that key if the set is empty, and answers its length. Takes
 * the set. */
static void set_store(Request *r, Set *set, const char *event)
{
    size_t length = set_length(set);
    if (length > 0) {
        keyspace_put_object(r->db, r->argv[1], TYPE_SET, set);
        key_changed(r, r->argv[1], NOTIFY_SET, event);
    } else {
        set_free(set);
        bool there = keyspace_delete(r->db, r->argv[1]);
        keyspace_changed(r->db, r->argv[1]); /* as in 3.2, a watched key that isn't there is touched, too */
        if (there) notify(r->db, NOTIFY_GENERIC, "del", r->argv[1]);
    }
    reply_int(r->out, (int64_t)length);
}

/* Ends what result_begin began. */
static void result_end(Request *r, Result *result, const char *event)
{
    if (result->out != NULL)
        reply_array_set(result->out, result->mark, result->count);
    else
        set_store(r, result->set, event);
}

/* Adds the members of the first set that all others have (wanted), or that none of them has (not wanted). */
static void result_add_filtered(Result *result, const Set **sets, size_t count, bool wanted)
{
    SetWalk walk = set_walk(sets[0]);
    SetMember members[SET_BATCH];
    for (;;) {
        size_t left = 0;
        while (left < SET_BATCH && set_next(&walk, &members[left]))
            left++;
        bool last = left < SET_BATCH;
        for (size_t i = 1; i < count && left > 0; i++) {
            if (sets[i] != NULL) left = set_filter(sets[i], members, left, wanted);
        }
        for (size_t i = 0; i < left; i++)
            result_add(result, members[i]);
        if (last) return;
    }
}

/* ---- intersection ---- */

/* A key is missing, so nothing is in all sets. As in Redis 3.2, the destination then goes without an event. */
static void inter_missing(Request *r, bool store)
{
    if (!store) {
        reply_empty_array(r->out);
        return;
    }
    if (keyspace_delete(r->db, r->argv[1])) {
        keyspace_changed(r->db, r->argv[1]);
        /* A later Redis as a slave would look at the other keys' types before it deletes. */
        effect_del(r->db, r->argv[1]);
    }
    reply_int(r->out, 0);
}

static void inter(Request *r, bool store)
{
    Operands operands;
    if (!operands_read(r, store, true, &operands)) return;
    if (operands.sets[operands.count - 1] == NULL) {
        inter_missing(r, store);
    } else {
        qsort(operands.sets, operands.count, sizeof(operands.sets[0]), order_smallest_first);
        Result result = result_begin(r, store);
        result_add_filtered(&result, operands.sets, operands.count, true);
        result_end(r, &result, "sinterstore");
    }
    g_free(operands.sets);
}

/* SINTER key [key ...] */
void cmd_sinter(Request *r)
{
    inter(r, false);
}

/* SINTERSTORE destination key [key ...] */
void cmd_sinterstore(Request *r)
{
    inter(r, true);
}

/* ---- union and difference ---- */

/* Answers a set's members, or stores it. Takes the set. */
static void set_deliver(Request *r, Set *set, bool store, const char *event)
{
    if (store) {
        set_store(r, set, event);
        return;
    }
    reply_members(r->out, set);
    set_free(set);
}

static void add_all(Set **target, const Set *set)
{
    SetWalk walk = set_walk(set);
    for (SetMember member; set_next(&walk, &member);)
        set_add(target, member);
}

static void remove_all(Set **target, const Set *set)
{
    SetWalk walk = set_walk(set);
    for (SetMember member; set_next(&walk, &member) && set_length(*target) > 0;)
        set_remove(target, member);
}

static void unite(Request *r, bool store)
{
    Operands operands;
    if (!operands_read(r, store, false, &operands)) return;
    Set *all = set_new();
    for (size_t i = 0; i < operands.count; i++) {
        if (operands.sets[i] != NULL) add_all(&all, operands.sets[i]);
    }
    g_free(operands.sets);
    set_deliver(r, all, store, "sunionstore");
}

/* SUNION key [key ...] */
void cmd_sunion(Request *r)
{
    unite(r, false);
}

/* SUNIONSTORE destination key [key ...] */
void cmd_sunionstore(Request *r)
{
    unite(r, true);
}

/* Whether looking each member of the first set up in all others is less work than copying it and removing what the
 * others hold. Redis' estimate: a look-up often ends early, so it counts half. */
static bool look_up_is_cheaper(const Operands *operands)
{
    size_t first = set_length(operands->sets[0]), look_ups = 0, members = 0;
    for (size_t i = 0; i < operands->count; i++) {
        if (operands->sets[i] == NULL) continue;
        look_ups += first;
        members += set_length(operands->sets[i]);
    }
    return look_ups / 2 <= members;
}

static void subtract(Request *r, bool store)
{
    Operands operands;
    if (!operands_read(r, store, false, &operands)) return;
    const Set **sets = operands.sets;
    if (sets[0] != NULL && look_up_is_cheaper(&operands)) {
        /* The largest first: what is to go is most likely found there. */
        qsort(sets + 1, operands.count - 1, sizeof(sets[0]), order_largest_first);
        Result result = result_begin(r, store);
        result_add_filtered(&result, sets, operands.count, false);
        result_end(r, &result, "sdiffstore");
    } else {
        Set *rest = set_new();
        if (sets[0] != NULL) add_all(&rest, sets[0]);
        for (size_t i = 1; i < operands.count && set_length(rest) > 0; i++) {
            if (sets[i] != NULL) remove_all(&rest, sets[i]);
        }
        set_deliver(r, rest, store, "sdiffstore");
    }
    g_free(sets);
}

/* SDIFF key [key ...] */
void cmd_sdiff(Request *r)
{
    subtract(r, false);
}

/* SDIFFSTORE destination key [key ...] */
void cmd_sdiffstore(Request *r)
{
    subtract(r, true);
}

/* ---- scanning ---- */

static void visit_member(SetMember member, void *context)
{
    scan_found(context, member, NULL);
}

/* SSCAN key cursor [MATCH pattern] [COUNT count] */
void cmd_sscan(Request *r)
{
    Entry *entry;
    Scan scan;
    if (!scan_begin(r, TYPE_SET, &scan.options, &entry)) return;
    scan_start(&scan);
    while (scan_more(&scan))
        scan.cursor = set_scan(entry->set, scan.cursor, visit_member, &scan);
    scan_reply(&scan, r->out);
}
