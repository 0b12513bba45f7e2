/* restore.c: DUMP and RESTORE: a key's value as Redis' own bytes, for moving keys between servers. Called by the
 * command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"
#include "base/log.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "store/rdb.h"

/* DUMP key */
void cmd_dump(Request *r)
{
    const Entry *entry = keyspace_read(r->db, r->argv[1]);
    if (entry == NULL) {
        reply_nil(r->out);
        return;
    }
    GByteArray *payload = rdb_dump(entry);
    if (payload == NULL) {
        reply_error(r->out, "ERR the value is larger than RESTORE can take (512MB)");
        return;
    }
    reply_bulk(r->out, (Slice){ (const char *)payload->data, payload->len });
    g_byte_array_free(payload, TRUE);
}

/* What is journaled: a payload that Redis 3.2 can read, and a deadline that doesn't depend on when that is. */
static void put_effect(const Request *r, const Entry *entry, unsigned version, int64_t deadline_ms)
{
    GByteArray *older = version > RDB_VERSION ? rdb_dump(entry) : NULL;
    Slice payload = older == NULL ? r->argv[3] : (Slice){ (const char *)older->data, older->len };
    if (deadline_ms >= 0) effect_together();
    effect_put(r->db, (Slice[]){ SLICE("RESTORE"), r->argv[1], SLICE("0"), payload, SLICE("REPLACE") }, 5);
    if (deadline_ms >= 0) effect_deadline(r->db, r->argv[1], deadline_ms);
    if (deadline_ms >= 0) effect_together_end();
    if (older != NULL) g_byte_array_free(older, TRUE);
}

/* Reads what follows the payload; answers what is wrong with it. */
static bool read_options(Request *r, bool *replace)
{
    *replace = false;
    for (int i = 4; i < r->argc; i++) {
        *replace = arg_is(r, i, "replace");
        if (*replace) continue;
        reply_error(r->out, ERROR_SYNTAX);
        return false;
    }
    return true;
}

/* Everything but the payload's own content, in 3.2's order. */
static bool may_restore(Request *r, int64_t *ttl_ms, unsigned *version)
{
    bool replace;
    if (!read_options(r, &replace)) return false;
    const char *error = NULL;
    if (!replace && keyspace_peek(r->db, r->argv[1]) != NULL) {
        error = "BUSYKEY Target key name already exists.";
    } else if (!arg_int(r, 2, ttl_ms, NULL)) {
        return false;
    } else if (*ttl_ms < 0) {
        error = "ERR Invalid TTL value, must be >= 0";
    } else if (!rdb_payload_valid(r->argv[3], version)) {
        error = "ERR DUMP payload version or checksum are wrong";
    }
    if (error != NULL) reply_error(r->out, error);
    return error == NULL;
}

/* RESTORE key milliseconds payload [REPLACE] */
void cmd_restore(Request *r)
{
    int64_t ttl_ms;
    unsigned version;
    if (!may_restore(r, &ttl_ms, &version)) return;
    Slice effect[] = { r->argv[1], r->argv[1], r->argv[3] }; /* the deadline has the key again */
    if (!effect_fits(r->out, effect_bytes(effect, G_N_ELEMENTS(effect)))) return;
    g_autofree char *error = NULL;
    Entry *entry = rdb_restore(r->db, r->argv[1], r->argv[3], &error);
    if (entry == NULL) {
        log_line(LOG_VERBOSE, "RESTORE: %s", error);
        reply_error(r->out, "ERR Bad data format");
        return;
    }
    int64_t deadline_ms = ttl_ms == 0 ? -1 : ttl_ms > INT64_MAX - clock_unix_ms ? INT64_MAX : clock_unix_ms + ttl_ms;
    if (deadline_ms >= 0) entry = keyspace_set_deadline(r->db, entry, deadline_ms);
    put_effect(r, entry, version, deadline_ms);
    keyspace_changed(r->db, r->argv[1]); /* 3.2 publishes no event */
    reply_status(r->out, "OK");
}
