/* handshake.c: see handshake.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/handshake.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "base/options.h"

#define ANSWER_LINE_MAX (64U * 1024) /* no line of an answer is as long */
#define ANSWER_INFO_MAX (4U * 1024 * 1024)

/* How CKV and Redis 7 say that they need no FAILOVER. */
#define ALREADY_A_MASTER "-ERR PSYNC FAILOVER can't be sent to a master"

void handshake_init(Handshake *handshake)
{
    *handshake = (Handshake){ .input = g_byte_array_new() };
}

void handshake_clear(Handshake *handshake)
{
    g_clear_pointer(&handshake->input, g_byte_array_unref);
}

/* ---- answers ---- */

static void drop(Handshake *handshake, size_t len)
{
    g_byte_array_remove_range(handshake->input, 0, (guint)len);
}

/* The line at the start of the input, and its length with its end; 0: it isn't whole. */
static size_t find_line(const Handshake *handshake, Slice *line)
{
    const char *bytes = (const char *)handshake->input->data;
    const char *end = bytes == NULL ? NULL : memchr(bytes, '\n', handshake->input->len);
    if (end == NULL) return 0;
    size_t len = (size_t)(end - bytes);
    *line = (Slice){ bytes, len > 0 && bytes[len - 1] == '\r' ? len - 1 : len };
    return len + 1;
}

static void drop_newlines(Handshake *handshake)
{
    size_t count = 0;
    while (count < handshake->input->len && handshake->input->data[count] == '\n')
        count++;
    if (count > 0) drop(handshake, count);
}

bool handshake_take_line(Handshake *handshake, Slice *line)
{
    static char copy[ANSWER_LINE_MAX];
    drop_newlines(handshake);
    size_t len = find_line(handshake, line);
    if (len == 0 || line->len >= sizeof(copy)) return false;
    memcpy(copy, line->ptr, line->len);
    line->ptr = copy;
    drop(handshake, len);
    return true;
}

static HandshakeStatus fail(Handshake *handshake, const char *what, Slice answer)
{
    snprintf(handshake->error, sizeof(handshake->error), "%s: '%.*s'", what, (int)MIN(answer.len, 200), answer.ptr);
    return HANDSHAKE_FAILED;
}

static bool begins(Slice text, const char *with)
{
    return text.len >= strlen(with) && memcmp(text.ptr, with, strlen(with)) == 0;
}

/* ---- the steps: `ask` returns false if there's nothing to ask ---- */

static bool ask_ping(const Handshake *handshake)
{
    link_send(handshake->link, &SLICE("PING"), 1);
    return true;
}

/* One that wants a password says so. */
static HandshakeStatus take_ping(Handshake *handshake, Slice answer)
{
    bool wants_password = begins(answer, "-NOAUTH") || begins(answer, "-ERR operation not permitted");
    if (wants_password && options.masterauth[0] == '\0')
        return fail(handshake, "The master wants a password: set masterauth to it (of a ckv: admin:<admin-password>)",
                    answer);
    if (answer.ptr[0] != '+' && !wants_password) return fail(handshake, "Error reply to PING from master", answer);
    log_line(LOG_NOTICE, "Master replied to PING, replication can continue...");
    return HANDSHAKE_MORE;
}

static bool ask_auth(const Handshake *handshake)
{
    if (options.masterauth[0] == '\0') return false;
    link_send(handshake->link, (Slice[]){ SLICE("AUTH"), slice_of(options.masterauth) }, 2);
    return true;
}

static HandshakeStatus take_auth(Handshake *handshake, Slice answer)
{
    return answer.ptr[0] == '-' ? fail(handshake, "Unable to AUTH to MASTER", answer) : HANDSHAKE_MORE;
}

static bool ask_port(const Handshake *handshake)
{
    char digits[NUMBER_INT_CHARS];
    int64_t port = options.slave_announce_port != 0 ? options.slave_announce_port : options.port;
    Slice text = { digits, number_format_int(digits, port) };
    link_send(handshake->link, (Slice[]){ SLICE("REPLCONF"), SLICE("listening-port"), text }, 3);
    return true;
}

static bool ask_address(const Handshake *handshake)
{
    Slice address = slice_of(options.slave_announce_ip);
    if (address.len == 0) return false;
    link_send(handshake->link, (Slice[]){ SLICE("REPLCONF"), SLICE("ip-address"), address }, 3);
    return true;
}

static bool ask_capabilities(const Handshake *handshake)
{
    static const Slice words[] = { { "REPLCONF", 8 }, { "capa", 4 }, { "eof", 3 }, { "capa", 4 }, { "psync2", 6 } };
    link_send(handshake->link, words, G_N_ELEMENTS(words));
    return true;
}

static HandshakeStatus take_replconf(Handshake *handshake, Slice answer)
{
    (void)handshake;
    if (answer.ptr[0] == '-')
        log_line(LOG_NOTICE, "(Non critical) Master does not understand REPLCONF: %.*s", (int)answer.len, answer.ptr);
    return HANDSHAKE_MORE;
}

static bool ask_info(const Handshake *handshake)
{
    link_send(handshake->link, &SLICE("INFO"), 1);
    return true;
}

static HandshakeStatus take_info(Handshake *handshake, Slice answer)
{
    handshake->master = (GuardFacts){ .known = false };
    if (answer.ptr[0] == '-') {
        log_line(LOG_WARNING, "Master does not answer INFO: %.*s", (int)answer.len, answer.ptr);
    } else {
        guard_read_info(answer, &handshake->master);
    }
    return HANDSHAKE_INFO;
}

void handshake_psync(Handshake *handshake, const char *history, uint64_t offset, bool failover)
{
    char digits[NUMBER_INT_CHARS];
    /* On the wire offsets count from 1, and this is the first byte that is wanted. */
    Slice next = { digits, number_format_int(digits, (int64_t)offset + 1) };
    handshake->failover = failover;
    log_line(LOG_NOTICE, "Trying a partial resynchronization (request %s:%.*s).", history, (int)next.len, next.ptr);
    link_send(handshake->link, (Slice[]){ SLICE("PSYNC"), slice_of(history), next, SLICE("FAILOVER") },
              failover ? 4 : 3);
}

void handshake_ask_full(Handshake *handshake)
{
    link_send(handshake->link, (Slice[]){ SLICE("PSYNC"), SLICE("?"), SLICE("-1") }, 3);
}

/* "+FULLRESYNC id offset", "+CONTINUE" or "+CONTINUE id" */
static HandshakeStatus take_psync(Handshake *handshake, Slice answer)
{
    g_autofree char *text = g_strndup(answer.ptr, answer.len);
    g_auto(GStrv) words = g_strsplit(g_strstrip(text), " ", -1);
    guint count = g_strv_length(words);
    int64_t offset = 0;
    bool full = strcmp(words[0], "+FULLRESYNC") == 0, named = count > 1 && strlen(words[1]) == GUARD_ID_CHARS;
    g_strlcpy(handshake->history, named ? words[1] : "", sizeof(handshake->history));
    if (full && named && count == 3 && number_parse_int(slice_of(words[2]), &offset) && offset >= 0) {
        handshake->offset = (uint64_t)offset;
        return HANDSHAKE_FULL;
    }
    if (strcmp(words[0], "+CONTINUE") == 0 && (count == 1 || named)) return HANDSHAKE_CONTINUE;
    handshake->refused = handshake->failover && begins(answer, "-ERR") && !begins(answer, ALREADY_A_MASTER);
    return fail(handshake, "Unexpected reply to PSYNC from master", answer);
}

static const struct {
    bool (*ask)(const Handshake *handshake); /* NULL: somebody else does */
    HandshakeStatus (*take)(Handshake *handshake, Slice answer);
    bool bulk; /* what it answers */
} steps[] = {
    { ask_ping, take_ping, false },
    { ask_auth, take_auth, false },
    { ask_port, take_replconf, false },
    { ask_address, take_replconf, false },
    { ask_capabilities, take_replconf, false },
    { ask_info, take_info, true },
    { NULL, take_psync, false },
};

/* ---- one after the other ---- */

static void ask_next(Handshake *handshake)
{
    while (steps[handshake->step].ask != NULL && !steps[handshake->step].ask(handshake))
        handshake->step++;
}

void handshake_begin(Handshake *handshake, Link *link)
{
    handshake->link = link;
    handshake->step = 0;
    handshake->history[0] = '\0';
    handshake->failover = handshake->refused = false;
    g_byte_array_set_size(handshake->input, 0);
    ask_next(handshake);
}

/* The whole answer at the start of the input, and what it takes; 0: it isn't whole. */
static size_t find_answer(const Handshake *handshake, bool bulk, Slice *answer)
{
    int64_t len;
    size_t taken = find_line(handshake, answer);
    if (taken == 0 || !bulk || answer->ptr[0] != '$') return taken;
    if (!number_parse_int((Slice){ answer->ptr + 1, answer->len - 1 }, &len) || len < 0 || len > ANSWER_INFO_MAX)
        return taken;
    *answer = (Slice){ (const char *)handshake->input->data + taken, (size_t)len };
    size_t whole = taken + (size_t)len + strlen("\r\n");
    return handshake->input->len >= whole ? whole : 0;
}

HandshakeStatus handshake_step(Handshake *handshake)
{
    HandshakeStatus status = HANDSHAKE_MORE;
    while (status == HANDSHAKE_MORE) {
        Slice answer;
        drop_newlines(handshake);
        size_t taken = find_answer(handshake, steps[handshake->step].bulk, &answer);
        if (taken == 0 && handshake->input->len > ANSWER_INFO_MAX + ANSWER_LINE_MAX)
            return fail(handshake, "An answer of the master doesn't end", (Slice){ "", 0 });
        if (taken == 0) return HANDSHAKE_MORE;
        bool bulk = steps[handshake->step].bulk;
        if (answer.len == 0 && !bulk) return fail(handshake, "An empty answer of the master", answer);
        status = steps[handshake->step].take(handshake, answer);
        drop(handshake, taken);
        if (status != HANDSHAKE_MORE && status != HANDSHAKE_INFO) break;
        handshake->step++;
        ask_next(handshake);
    }
    return status;
}
