/* slave.c: see slave.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/slave.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "net/client.h"
#include "repl/handshake.h"
#include "repl/stream.h"
#include "repl/transfer.h"
#include "store/backup.h"
#include "store/checkpoint.h"

#define TICK_MS        100
#define RETRY_MS       1000
#define RETRY_LATER_MS 10000 /* after what the next try most likely meets again, at the cost of a snapshot */
#define ACK_EVERY_MS   1000
#define READ_CHUNK     (64U * 1024)
#define TURN_BYTES     (256U * 1024) /* of the stream, read in one turn: clients are to be served, too */
#define REASON_CHARS   400

static struct {
    Loop *loop;
    const SlaveHooks *hooks;
    SlaveState state;
    bool consent;
    bool hands_over; /* what is to be our master is a slave yet, and */
    bool asked_over; /* was asked to be the master: it may be, whether we hear of it or not; or */
    bool taken_over; /* it was, for its history goes on from ours */
    Link *link;      /* NULL: none */
    bool link_ended; /* the master closed it: what has come is still dealt with */
    Handshake handshake;
    Transfer *transfer; /* NULL: none */
    Stream stream;
    uint64_t client_id;  /* of the link among the clients; 0: none yet */
    int64_t created_ms;  /* when it got that; clock_mono_ms, as all times here */
    bool waits_for_room; /* the journal can't be written: units wait */
    bool cant_go_back;   /* it was tried since the master was named, or online */
    bool waits_for_turn; /* a checkpoint has had its time in this turn: they wait for the next one */
    bool goes_on;        /* for which there's a timer */
    bool loads;          /* what a full sync brought, perhaps, and nobody has said that it failed */
    bool leaves;         /* one was given up: what it made so far is to go */
    unsigned stuck;      /* so often the stream couldn't be followed, since something of it was run */
    uint64_t acked;
    int64_t retry_ms, since_ms, last_io_ms, last_sent_ms, down_since_ms;
    GuardFacts own;                 /* as of the last look */
    char asked[GUARD_ID_CHARS + 1]; /* the history that PSYNC was sent with; "": none, for a full sync */
    char refused[REASON_CHARS], error[REASON_CHARS];
} slave;

/* ---- ending a link ---- */

static void enter(SlaveState state)
{
    slave.state = state;
    slave.since_ms = clock_mono_ms();
}

static void drop_link(void)
{
    if (slave.state == SLAVE_CONNECTED) slave.down_since_ms = clock_mono_ms();
    slave.leaves |= slave.transfer != NULL;
    g_clear_pointer(&slave.transfer, transfer_free);
    g_clear_pointer(&slave.link, link_close);
    stream_reset(&slave.stream);
    slave.waits_for_room = slave.waits_for_turn = slave.link_ended = false;
}

static void try_again(int64_t delay_ms)
{
    drop_link();
    slave.retry_ms = clock_mono_ms() + delay_ms;
    enter(SLAVE_CONNECT);
}

static void fail(int64_t delay_ms, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Ends the link and says why: in the log once, as long as it's the same. */
static void fail(int64_t delay_ms, const char *format, ...)
{
    char text[REASON_CHARS];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (strcmp(text, slave.error) != 0) log_line(LOG_WARNING, "%s", text);
    memcpy(slave.error, text, sizeof(text));
    try_again(delay_ms);
}

/* ---- acknowledging ---- */

static void send_ack(void)
{
    char digits[NUMBER_INT_CHARS];
    slave.acked = slave.hooks->safe_offset();
    Slice text = { digits, number_format_int(digits, (int64_t)slave.acked) };
    link_send(slave.link, (Slice[]){ SLICE("REPLCONF"), SLICE("ACK"), text }, 3);
    slave.last_sent_ms = clock_mono_ms();
}

void slave_committed(void)
{
    if (slave.state != SLAVE_CONNECTED || slave.link_ended) return;
    bool asked = slave.hooks->ack_asked();
    if (asked || slave.hooks->safe_offset() != slave.acked) send_ack();
}

/* ---- the stream ---- */

/* Runs whole units for as long as the journal can take them, and a running checkpoint leaves time for the pages that
 * they have saved. NULL, or why the link must end (g_free). */
static char *run_units(void)
{
    Slice unit;
    char *wrong = NULL;
    StreamStatus status = STREAM_INCOMPLETE;
    slave.waits_for_turn = false;
    slave.hooks->begin_units();
    while (wrong == NULL && !slave.waits_for_turn) {
        slave.waits_for_room = !slave.hooks->has_room(TURN_BYTES);
        if (slave.waits_for_room || (status = stream_next(&slave.stream, &unit)) != STREAM_UNIT) break;
        int64_t before_us = checkpoint_turn_us();
        wrong = slave.hooks->apply(unit, link_fd(slave.link));
        if (wrong == NULL) slave.stuck = 0;
        slave.waits_for_turn = wrong == NULL && checkpoint_ends_turn(before_us);
    }
    slave.hooks->end_units();
    if (wrong == NULL) return status == STREAM_BAD ? g_strdup(slave.stream.error) : NULL;
    g_autofree char *refused = wrong;
    return g_strconcat(refused, ". When its clients don't do that any more, SLAVEOF again takes its data anew.", NULL);
}

/* What was damaged on its way isn't the next time: so that is at once. What the master sends again can't be followed
 * again, and each try is some lines in both logs. */
static int64_t delay_when_stuck(void)
{
    unsigned before = slave.stuck++;
    return before == 0 ? 0 : MIN((int64_t)RETRY_MS << MIN(before - 1, 8), RETRY_LATER_MS);
}

static int64_t go_on(void *context);

static void deal_with_stream(void)
{
    g_autofree char *wrong = run_units();
    bool waits = slave.waits_for_room || slave.waits_for_turn;
    if (slave.waits_for_turn && !slave.goes_on) {
        slave.goes_on = true;
        loop_timer(slave.loop, 0, go_on, NULL);
    }
    if (wrong != NULL) {
        fail(delay_when_stuck(), "The master's stream can't be followed at offset %" G_GUINT64_FORMAT ": %s",
             slave.hooks->safe_offset(), wrong);
    } else if (slave.link_ended && !waits) {
        log_line(LOG_WARNING, "Connection with master lost.");
        try_again(0);
    } else {
        link_pause(slave.link, waits || slave.link_ended);
    }
}

/* In the next turn. */
static int64_t go_on(void *context)
{
    (void)context;
    if (slave.waits_for_turn) deal_with_stream();
    slave.goes_on = slave.waits_for_turn;
    return slave.goes_on ? 0 : -1;
}

bool slave_has_units(void)
{
    return slave.waits_for_turn;
}

static void read_stream(void)
{
    for (size_t got = 0; got < TURN_BYTES && !slave.link_ended;) {
        size_t room;
        char *to = stream_room(&slave.stream, &room);
        ssize_t len = link_read(slave.link, to, MIN(room, READ_CHUNK));
        if (len < 0 && errno == EAGAIN) break;
        slave.link_ended = len <= 0;
        if (len <= 0) break;
        stream_filled(&slave.stream, (size_t)len);
        got += (size_t)len;
        slave.last_io_ms = clock_mono_ms();
    }
    deal_with_stream();
}

/* Bytes that came behind an answer. */
static void take_rest(void)
{
    GByteArray *input = slave.handshake.input;
    for (size_t done = 0; done < input->len;) {
        size_t room;
        char *to = stream_room(&slave.stream, &room);
        size_t part = MIN(room, input->len - done);
        memcpy(to, input->data + done, part);
        stream_filled(&slave.stream, part);
        done += part;
    }
    g_byte_array_set_size(input, 0);
}

static void go_online(void)
{
    if (slave.client_id == 0) {
        slave.client_id = client_new_id();
        slave.created_ms = clock_mono_ms();
    }
    enter(SLAVE_CONNECTED);
    slave.consent = slave.cant_go_back = false;
    slave.refused[0] = slave.error[0] = '\0';
    slave.last_io_ms = clock_mono_ms();
    take_rest();
    send_ack(); /* a Redis sends nothing before it */
    link_pause(slave.link, false);
    deal_with_stream();
}

/* ---- a full sync ---- */

static const GuardFacts *own_facts(void)
{
    slave.hooks->facts(&slave.own);
    guard_choose_history(&slave.own, &slave.handshake.master);
    return &slave.own;
}

static const char *shown(const char *id)
{
    return id[0] != '\0' ? id : "(unknown)";
}

/* Our data stays: says so, with all that an operator needs to decide otherwise. */
static void refuse(const char *why)
{
    const GuardFacts *own = &slave.own, *master = &slave.handshake.master;
    if (strcmp(slave.refused, why) != 0) {
        log_line(LOG_WARNING,
                 "A full sync from MASTER %s:%" G_GINT64_FORMAT
                 " is refused, and our data kept: %s. Ours: %" G_GUINT64_FORMAT
                 " keys, history %s, offset %" G_GUINT64_FORMAT "; the master's: %" G_GUINT64_FORMAT
                 " keys, history %s, offset %" G_GUINT64_FORMAT
                 ". To take the master's data nevertheless: CONFIG SET accept-data-loss yes, or SLAVEOF again.",
                 options.master_host, options.master_port, why, own->keys, own->history, own->offset, master->keys,
                 shown(master->history), master->offset);
    }
    g_strlcpy(slave.refused, why, sizeof(slave.refused));
    try_again(RETRY_MS);
}

/* False: it was refused. */
static bool full_sync_allowed(void)
{
    const char *why =
        slave.consent || options.accept_data_loss ? NULL : guard_refuses(own_facts(), &slave.handshake.master);
    if (why != NULL) refuse(why);
    return why == NULL;
}

static void deal_with_transfer(void);

static void on_pipe_room(void)
{
    if (!transfer_is_whole(slave.transfer)) link_pause(slave.link, false);
    deal_with_transfer();
}

/* What the master said that the history was before: if it has begun another since then, that isn't known. */
static const char *older_of(const char *history)
{
    const GuardFacts *master = &slave.handshake.master;
    return strcmp(history, master->history) == 0 ? master->older : "";
}

static void begin_transfer(void)
{
    const Handshake *handshake = &slave.handshake;
    log_line(LOG_NOTICE, "Full resync from master: %s:%" G_GUINT64_FORMAT, handshake->history, handshake->offset);
    if (!full_sync_allowed()) return;
    char *error = NULL;
    g_auto(GStrv) words = slave.hooks->receiver(handshake->history, handshake->offset, handshake->master.left,
                                                older_of(handshake->history));
    slave.transfer = transfer_new(slave.loop, words, on_pipe_room, &error);
    if (slave.transfer == NULL) {
        fail(RETRY_MS, "A full sync can't be received: %s", error);
        g_free(error);
        return;
    }
    enter(SLAVE_TRANSFER);
    slave.last_io_ms = clock_mono_ms();
    deal_with_transfer();
}

/* The line before the data, if it's there by now. False: the link has ended, or it isn't. */
static bool take_transfer_head(void)
{
    Slice line;
    if (!handshake_take_line(&slave.handshake, &line)) return false;
    if (transfer_begin(slave.transfer, line)) {
        int64_t left = transfer_left(slave.transfer);
        if (left >= 0) log_line(LOG_NOTICE, "MASTER <-> SLAVE sync: receiving %ld bytes from master", left);
        if (left < 0) log_line(LOG_NOTICE, "MASTER <-> SLAVE sync: receiving streamed RDB from master");
        return true;
    }
    if (line.len > 0 && line.ptr[0] == '-') {
        fail(RETRY_MS, "MASTER aborted replication with an error: %.*s", (int)MIN(line.len, 200), line.ptr + 1);
    } else {
        fail(RETRY_MS, "Bad protocol from MASTER, the first byte is not '$' (we received '%.*s')",
             (int)MIN(line.len, 200), line.ptr);
    }
    return false;
}

/* What is in the handshake's input goes on to the child. */
static void deal_with_transfer(void)
{
    GByteArray *input = slave.handshake.input;
    if (!transfer_has_begun(slave.transfer) && !take_transfer_head()) return;
    size_t taken = transfer_take(slave.transfer, (Slice){ (char *)input->data, input->len });
    if (taken > 0) g_byte_array_remove_range(input, 0, (guint)taken);
    link_pause(slave.link, transfer_is_whole(slave.transfer) || transfer_is_full(slave.transfer));
}

static void replace_data(void)
{
    g_autofree char *note =
        g_strdup_printf(BACKUP_REPLACED "%s:%" G_GINT64_FORMAT, options.master_host, options.master_port);
    log_line(LOG_NOTICE, "MASTER <-> SLAVE sync: Loading DB in memory");
    g_autofree char *error = slave.hooks->replace(note);
    if (error != NULL) {
        fail(RETRY_LATER_MS, "What the master sent can't take the place of our data: %s", error);
        return;
    }
    g_clear_pointer(&slave.transfer, transfer_free);
    slave.stuck = 0;
    slave.client_id = 0;
    slave.loads = true;
    slave.leaves = false;
    enter(SLAVE_LOADING);
}

/* A look at the child. */
static void poll_transfer(void)
{
    char *error = NULL;
    switch (transfer_poll(slave.transfer, &error)) {
    case 0:
        if (slave.hooks->may_replace()) replace_data();
        break;
    case 1: break;
    default: fail(RETRY_LATER_MS, "MASTER <-> SLAVE sync: what the master sent can't be used: %s", error);
    }
    g_free(error);
}

/* ---- before it ---- */

/* What we have beyond what the new master took over from our history is given up. */
static void go_back(void)
{
    if (!slave.hooks->may_replace()) {
        fail(RETRY_MS, "Going back has to wait: a backup is being made, verified or deleted");
        return;
    }
    uint64_t offset = guard_common(&slave.own, &slave.handshake.master);
    g_autofree char *note = g_strdup_printf("before going back to offset %" G_GUINT64_FORMAT " of %s:%" G_GINT64_FORMAT,
                                            offset, options.master_host, options.master_port);
    log_line(LOG_WARNING,
             "MASTER %s:%" G_GINT64_FORMAT " went on from offset %" G_GUINT64_FORMAT
             " of our history, and we have %" G_GUINT64_FORMAT " bytes more, which are given up.",
             options.master_host, options.master_port, offset, slave.own.offset - offset);
    g_autofree char *error = slave.hooks->go_back(offset, note);
    drop_link();
    if (error == NULL) {
        enter(SLAVE_GOING_BACK);
    } else {
        fail(RETRY_LATER_MS, "Going back isn't possible: %s", error);
    }
}

/* The other is the master, for it answered PSYNC: how the data come from it is a matter of its own. */
static void end_hand_over(void)
{
    if (!slave.hands_over) return;
    slave.hands_over = false;
    slave.hooks->handed_over(NULL);
}

static void ask_to_continue(const char *history, bool failover)
{
    memcpy(slave.asked, history, sizeof(slave.asked));
    handshake_psync(&slave.handshake, history, slave.own.offset, failover);
}

/* If an earlier try was heard but its answer lost, the other's history is one that goes on from ours, and it's a
 * master; or one that was started anew as a slave, ours even: then it's asked in the words of its own history, which is
 * ours as far as we have it. False: it's to be asked as any master. */
static bool ask_to_take_over(const GuardFacts *own)
{
    const GuardFacts *other = &slave.handshake.master;
    bool successor = guard_is_successor(own, other);
    slave.taken_over |= slave.hands_over && successor;
    if (successor && !other->slave) end_hand_over();
    if (!slave.hands_over || (!successor && strcmp(own->history, other->history) != 0)) return false;
    if (successor && own->offset > other->offset2) {
        fail(RETRY_MS,
             "The slave that was asked to be the master went on from an earlier offset, and is a slave again");
        return true;
    }
    slave.asked_over = true;
    ask_to_continue(other->history, true);
    return true;
}

static GuardOutlook outlook(const GuardFacts *own)
{
    if (slave.consent && slave.stuck > 0) return GUARD_FULL_SYNC; /* as the log says */
    return guard_outlook(own, &slave.handshake.master);
}

/* The master has said what it has. */
static void ask_for_stream(void)
{
    const GuardFacts *own = own_facts();
    slave.asked[0] = '\0';
    if (ask_to_take_over(own)) return;
    switch (outlook(own)) {
    case GUARD_MAY_CONTINUE: ask_to_continue(own->history, false); return;
    case GUARD_DIVERGED:
        /* Of a master that came back with an old disk, or lost more than we did, no more than by a full sync. */
        if (!full_sync_allowed()) return;
        if (!slave.cant_go_back) {
            go_back();
            return;
        }
        __attribute__((fallthrough)); /* then by a full sync */
    case GUARD_FULL_SYNC:
        /* Not even asked for: the master would make a copy for nothing. */
        if (full_sync_allowed()) handshake_ask_full(&slave.handshake);
    }
}

static void continue_stream(void)
{
    const char *named = slave.handshake.history, *history = named[0] != '\0' ? named : slave.asked;
    if (slave.asked[0] == '\0') {
        fail(RETRY_MS, "The master would continue where a full sync was asked for");
        return;
    }
    slave.hooks->facts(&slave.own);
    log_line(LOG_NOTICE, "Successful partial resynchronization with master.");
    if (strcmp(history, slave.own.history) != 0) log_line(LOG_WARNING, "Master replication ID changed to %s", history);
    g_autofree char *error = slave.hooks->follow_history(history, slave.handshake.master.left, older_of(history));
    if (error != NULL) {
        fail(RETRY_MS, "The history can't be noted: %s", error);
        return;
    }
    log_line(LOG_NOTICE, "MASTER <-> SLAVE sync: Master accepted a Partial Resynchronization.");
    go_online();
}

static void fail_handshake(void)
{
    /* Once it was asked, it's only by its own no to that, that it isn't the master: it may have been by now, or is
     * about to be. */
    bool refuses = slave.handshake.refused && !slave.taken_over;
    bool refused = slave.hands_over && (refuses || !slave.asked_over);
    if (refused) slave.hands_over = false;
    fail(RETRY_MS, "%s", slave.handshake.error);
    if (refused) slave.hooks->handed_over(slave.handshake.error);
}

/* The history isn't the one any more that the master's INFO was of: so what else that told, of histories that were
 * left, may be old as well, and would stay so here. (A Redis tells nothing of them, and begins a history with its first
 * slave.)
 */
static bool history_changed(void)
{
    const Handshake *handshake = &slave.handshake;
    const char *named = handshake->history;
    return handshake->master.ckv && named[0] != '\0' && strcmp(named, handshake->master.history) != 0;
}

static void take_answer(void (*accept)(void))
{
    if (!slave.hands_over && history_changed()) {
        fail(RETRY_MS, "The master's history has changed since it was asked");
        return;
    }
    end_hand_over();
    accept();
}

static void deal_with_handshake(void)
{
    switch (handshake_step(&slave.handshake)) {
    case HANDSHAKE_MORE: break;
    case HANDSHAKE_INFO: ask_for_stream(); break;
    case HANDSHAKE_CONTINUE: take_answer(continue_stream); break;
    case HANDSHAKE_FULL: take_answer(begin_transfer); break;
    case HANDSHAKE_FAILED: fail_handshake(); break;
    }
}

/* ---- the link's calls ---- */

static void on_connected(void)
{
    log_line(LOG_NOTICE, "Non blocking connect for SYNC fired the event.");
    enter(SLAVE_HANDSHAKE);
    slave.last_io_ms = clock_mono_ms();
    handshake_begin(&slave.handshake, slave.link);
}

static void on_broken(const char *why)
{
    if (slave.state == SLAVE_CONNECTED) log_line(LOG_WARNING, "Connection with master lost.");
    fail(slave.state == SLAVE_CONNECTED ? 0 : RETRY_MS, "Error condition on socket for SYNC: %s", why);
}

static void on_readable(void)
{
    if (slave.state == SLAVE_CONNECTED) {
        read_stream();
        return;
    }
    guint8 bytes[READ_CHUNK];
    ssize_t len = link_read(slave.link, bytes, sizeof(bytes));
    if (len < 0 && errno == EAGAIN) return;
    if (len <= 0) {
        fail(RETRY_MS, "I/O error reading from MASTER: %s", len == 0 ? "connection lost" : g_strerror(errno));
        return;
    }
    slave.last_io_ms = clock_mono_ms();
    g_byte_array_append(slave.handshake.input, bytes, (guint)len);
    if (slave.state == SLAVE_HANDSHAKE) deal_with_handshake();
    if (slave.state == SLAVE_TRANSFER) deal_with_transfer();
}

static const LinkHandlers link_handlers = { on_connected, on_readable, on_broken };

/* ---- the timer ---- */

/* If what came can't be loaded, says so and waits before another try; also if the link has ended meanwhile. */
static bool load_failed(void)
{
    const char *lost = slave.loads ? slave.hooks->lost() : NULL;
    if (lost == NULL) return false;
    slave.loads = false;
    fail(RETRY_LATER_MS, "MASTER <-> SLAVE sync: what the master sent can't be loaded, trying again in %d s: %s",
         RETRY_LATER_MS / 1000, lost);
    return true;
}

static void connect_again(void)
{
    if (clock_mono_ms() < slave.retry_ms || !slave.hooks->ready() || load_failed()) return;
    char *error = NULL;
    log_line(LOG_NOTICE, "Connecting to MASTER %s:%" G_GINT64_FORMAT, options.master_host, options.master_port);
    slave.link = link_open(slave.loop, options.master_host, options.master_port, &link_handlers, &error);
    if (slave.link == NULL) {
        fail(RETRY_MS, "Unable to connect to MASTER: %s", error);
        g_free(error);
        return;
    }
    log_line(LOG_NOTICE, "MASTER <-> SLAVE sync started");
    enter(SLAVE_CONNECTING);
}

static bool is_late(int64_t since_ms)
{
    return clock_mono_ms() - since_ms > options.repl_timeout * 1000;
}

/* Tells the master that we live, while there's nothing to acknowledge. To a Redis before 5.0, a line that ends in a
 * bare newline takes the first byte of what follows it along, if that has come by then. */
static void send_sign_of_life(void)
{
    if (clock_mono_ms() - slave.last_sent_ms < ACK_EVERY_MS) return;
    slave.last_sent_ms = clock_mono_ms();
    link_send_raw(slave.link, SLICE("\r\n"));
}

static void tick_transfer(void)
{
    send_sign_of_life();
    if (!transfer_is_whole(slave.transfer) && is_late(slave.last_io_ms)) {
        fail(RETRY_MS,
             "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' "
             "parameter to a larger value.");
    } else {
        poll_transfer();
    }
}

static void tick_loading(void)
{
    send_sign_of_life();
    if (load_failed() || !slave.hooks->ready()) return;
    log_line(LOG_NOTICE, "MASTER <-> SLAVE sync: Finished with success");
    go_online();
}

static void tick_going_back(void)
{
    if (!slave.hooks->ready()) return;
    const char *failed = slave.hooks->going_back_failed();
    slave.cant_go_back = failed != NULL;
    if (failed != NULL) {
        fail(0, "Going back isn't possible: %s", failed);
    } else {
        try_again(0);
    }
}

static void tick_connected(void)
{
    if (is_late(slave.last_io_ms)) {
        log_line(LOG_WARNING, "MASTER timeout: no data nor PING received...");
        try_again(0);
        return;
    }
    if (slave.waits_for_room) deal_with_stream();
    if (slave.state == SLAVE_CONNECTED && clock_mono_ms() - slave.last_sent_ms >= ACK_EVERY_MS) send_ack();
}

/* While no other full sync can begin, which works in the same place: to connect, it has to be `ready`. */
static void clean_up(void)
{
    bool quiet = slave.state == SLAVE_NONE || slave.state == SLAVE_CONNECT || slave.state == SLAVE_CONNECTED;
    if (slave.leaves && quiet && transfer_all_ended()) slave.leaves = !slave.hooks->clean_up();
}

static int64_t tick(void *context)
{
    (void)context;
    clean_up();
    switch (slave.state) {
    case SLAVE_NONE: break;
    case SLAVE_CONNECT: connect_again(); break;
    case SLAVE_CONNECTING:
    case SLAVE_HANDSHAKE:
        if (is_late(MAX(slave.since_ms, slave.last_io_ms))) fail(RETRY_MS, "Timeout connecting to the MASTER...");
        break;
    case SLAVE_TRANSFER: tick_transfer(); break;
    case SLAVE_LOADING: tick_loading(); break;
    case SLAVE_GOING_BACK: tick_going_back(); break;
    case SLAVE_CONNECTED: tick_connected(); break;
    }
    return TICK_MS;
}

/* ---- beginning and ending ---- */

void slave_follow(bool consent, bool foreign)
{
    drop_link();
    slave.client_id = 0;
    slave.consent = consent;
    slave.hands_over = slave.asked_over = slave.taken_over = slave.cant_go_back = false;
    slave.refused[0] = slave.error[0] = '\0';
    slave.retry_ms = 0;
    slave.down_since_ms = foreign ? 0 : clock_mono_ms();
    enter(SLAVE_CONNECT);
}

void slave_hand_over(void)
{
    slave_follow(false, false);
    slave.hands_over = true;
    connect_again();
}

void slave_consent(void)
{
    slave.consent = true;
    slave.refused[0] = '\0';
}

void slave_end(void)
{
    drop_link();
    slave.hands_over = false;
    slave.refused[0] = slave.error[0] = '\0';
    enter(SLAVE_NONE);
}

void slave_init(Loop *loop, const SlaveHooks *hooks)
{
    slave.loop = loop;
    slave.hooks = hooks;
    handshake_init(&slave.handshake);
    stream_init(&slave.stream);
    if (slave_is_one()) slave_follow(false, false);
    loop_timer(loop, 0, tick, NULL);
}

/* ---- passing to another process ---- */

bool slave_may_pass(void)
{
    return slave.state != SLAVE_TRANSFER && slave.state != SLAVE_LOADING && slave.state != SLAVE_GOING_BACK &&
           !slave.hands_over && !slave.leaves;
}

void slave_save(Tape *tape, GArray *fds)
{
    bool up = slave.state == SLAVE_CONNECTED && !slave.link_ended;
    tape_put(tape, slave.consent);
    tape_put(tape, (uint64_t)slave.down_since_ms);
    tape_put(tape, up);
    if (!up) return;
    int fd = link_fd(slave.link);
    g_array_append_val(fds, fd);
    tape_put(tape, slave.acked);
    tape_put(tape, (uint64_t)slave.last_io_ms);
    tape_put(tape, (uint64_t)slave.last_sent_ms);
    tape_put(tape, slave.client_id);
    tape_put(tape, (uint64_t)slave.created_ms);
    const Stream *stream = &slave.stream;
    tape_put_text(tape, (Slice){ stream->bytes + stream->start, stream->end - stream->start });
    link_save(slave.link, tape);
}

/* What has come of a unit that isn't whole is parsed anew. */
static void restore_stream(Slice bytes)
{
    while (bytes.len > 0) {
        size_t room;
        char *to = stream_room(&slave.stream, &room);
        size_t part = MIN(room, bytes.len);
        memcpy(to, bytes.ptr, part);
        stream_filled(&slave.stream, part);
        bytes.ptr += part;
        bytes.len -= part;
    }
}

void slave_restore(TapeReader *tape, int fd)
{
    slave.consent = tape_get_bool(tape);
    slave.down_since_ms = (int64_t)tape_get(tape);
    bool up = tape_get_bool(tape);
    if (up != (fd >= 0)) tape->bad = true;
    if (!up || tape->bad) return;
    slave.acked = tape_get(tape);
    slave.last_io_ms = (int64_t)tape_get(tape);
    slave.last_sent_ms = (int64_t)tape_get(tape);
    slave.client_id = tape_get(tape);
    slave.created_ms = (int64_t)tape_get(tape);
    restore_stream(tape_get_text(tape));
    slave.link = link_restore(slave.loop, fd, &link_handlers, tape);
    enter(SLAVE_CONNECTED);
    slave.waits_for_room = true; /* the timer deals with what is whole */
}

SlaveSeen slave_seen(void)
{
    return (SlaveSeen){
        .state = slave.state,
        .last_io_ms = slave.link == NULL ? -1 : slave.last_io_ms,
        .down_since_ms = slave.down_since_ms,
        .taken_over = slave.hands_over && slave.taken_over,
        .left_bytes = slave.transfer == NULL ? -1 : transfer_left(slave.transfer),
        .refused = slave.refused,
        .error = slave.error,
    };
}

bool slave_link(SlaveLink *link)
{
    if (slave.state != SLAVE_CONNECTED) return false;
    *link = (SlaveLink){
        .id = slave.client_id,
        .fd = link_fd(slave.link),
        .created_ms = slave.created_ms,
        .active_ms = slave.last_io_ms,
        .unread_bytes = slave.stream.end - slave.stream.start,
        .unread_room = slave.stream.cap - slave.stream.end,
        .out = link_out(slave.link),
    };
    return true;
}

void slave_cut_link(void)
{
    if (slave.state != SLAVE_CONNECTED) return;
    log_line(LOG_WARNING, "Connection with master lost.");
    try_again(0);
}
