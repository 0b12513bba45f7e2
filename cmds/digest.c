/* digest.c: see digest.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/digest.h"

#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "cmds/command.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

#define DIGEST_BYTES (DIGEST_CHARS / 2)
#define EXPIRES      "!!expire!!"

typedef struct Digest {
    uint8_t bytes[DIGEST_BYTES];
} Digest;

/* ---- the two steps ---- */

static GChecksum *sha1;

static void hash(Digest *out, const void *bytes, size_t len)
{
    gsize room = DIGEST_BYTES;
    g_checksum_reset(sha1);
    g_checksum_update(sha1, bytes, (gssize)len);
    g_checksum_get_digest(sha1, out->bytes, &room);
}

static void add(Digest *to, const void *bytes, size_t len)
{
    Digest one;
    hash(&one, bytes, len);
    for (int i = 0; i < DIGEST_BYTES; i++)
        to->bytes[i] ^= one.bytes[i];
}

static void mix(Digest *to, const void *bytes, size_t len)
{
    add(to, bytes, len);
    hash(to, to->bytes, DIGEST_BYTES);
}

static void mix_number(Digest *to, uint32_t number)
{
    uint32_t big_endian = GUINT32_TO_BE(number);
    mix(to, &big_endian, sizeof(big_endian));
}

static void mix_value(Digest *to, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(value, digits);
    mix(to, text.ptr, text.len);
}

/* ---- values ---- */

static void digest_string(Digest *key, const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = entry_string(entry, digits);
    mix(key, text.ptr, text.len);
}

static void digest_list(Digest *key, const Entry *entry)
{
    PackValue value;
    for (ListWalk walk = list_walk(entry->list, 0, LIST_TAIL); list_next(&walk, &value);)
        mix_value(key, value);
}

static void digest_set(Digest *key, const Entry *entry)
{
    SetMember member;
    char digits[NUMBER_INT_CHARS];
    for (SetWalk walk = set_walk(entry->set); set_next(&walk, &member);) {
        Slice text = pack_value_text(member, digits);
        add(key, text.ptr, text.len);
    }
}

static void digest_zset(Digest *key, const Entry *entry)
{
    ZsetPair pair;
    for (ZsetWalk walk = zset_walk(entry->zset, 0, false); zset_next(&walk, &pair);) {
        char score[32];
        int len = snprintf(score, sizeof(score), "%.17g", pair.score);
        Digest element = { 0 };
        mix_value(&element, pair.member);
        mix(&element, score, (size_t)len);
        add(key, element.bytes, DIGEST_BYTES);
    }
}

static void digest_hash(Digest *key, const Entry *entry)
{
    HashPair pair;
    for (HashWalk walk = hash_walk(entry->hash); hash_next(&walk, &pair);) {
        Digest element = { 0 };
        mix_value(&element, pair.field);
        mix_value(&element, pair.value);
        add(key, element.bytes, DIGEST_BYTES);
    }
}

static const struct {
    uint32_t number; /* Redis' */
    void (*digest)(Digest *key, const Entry *entry);
} types[] = {
    [TYPE_STRING] = { 0, digest_string }, [TYPE_LIST] = { 1, digest_list }, [TYPE_SET] = { 2, digest_set },
    [TYPE_ZSET] = { 3, digest_zset },     [TYPE_HASH] = { 4, digest_hash },
};

/* ---- keys ---- */

static void digest_entry(void *element, void *total)
{
    const Entry *entry = element;
    Slice name = entry_key(entry);
    Digest key = { 0 };
    mix(&key, name.ptr, name.len);
    mix_number(&key, types[entry->type].number);
    types[entry->type].digest(&key, entry);
    if (entry->expires) add(&key, EXPIRES, strlen(EXPIRES));
    add(total, key.bytes, DIGEST_BYTES);
}

void digest_keyspace(char text[DIGEST_CHARS + 1])
{
    Digest total = { 0 };
    sha1 = g_checksum_new(G_CHECKSUM_SHA1);
    for (int i = 0; i < keyspace->db_count; i++) {
        if (keyspace_size(&keyspace->dbs[i]) == 0) continue;
        mix_number(&total, (uint32_t)i);
        uint64_t cursor = 0;
        do {
            cursor = keyspace_scan(&keyspace->dbs[i], cursor, digest_entry, &total);
        } while (cursor != 0);
    }
    g_clear_pointer(&sha1, g_checksum_free);
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", total.bytes[i]);
}
