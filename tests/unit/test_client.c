/* test_client.c: net/client with real sockets: the server's loop runs here, with a few commands of its own; a thread
 * plays the peers. (The thread checks with g_assert, because cmocka's assertions belong to the main thread.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/client.h"

#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/options.h"
#include "tests/unit/peer.h"

#define SEED 20260804

static Loop *loop;
static int port;
static int opened, closed;
static gint peer_done;
static uint64_t offset_written, offset_safe; /* the gate's: what WRITEs made, what may leave */
static gint sends;                           /* times that output was about to leave */

/* ---- the server's commands ---- */

typedef void (*TestCommand)(const Incoming *in, Out *out);

static int64_t number_of(Slice text)
{
    int64_t value = 0;
    g_assert(number_parse_int(text, &value));
    return value;
}

/* ECHO text */
static void run_echo(const Incoming *in, Out *out)
{
    reply_bulk(out, in->argv[1]);
}

/* LEN text …: each argument's length */
static void run_len(const Incoming *in, Out *out)
{
    reply_array(out, in->argc - 1);
    for (uint32_t i = 1; i < in->argc; i++)
        reply_int(out, (int64_t)in->argv[i].len);
}

/* BIG length: a bulk of that many x */
static void run_big(const Incoming *in, Out *out)
{
    size_t len = (size_t)number_of(in->argv[1]);
    g_autofree char *text = g_strnfill(len, 'x');
    reply_bulk(out, (Slice){ text, len });
}

/* QUIT */
static void run_quit(const Incoming *in, Out *out)
{
    reply_ok(out);
    client_close_after_reply(in->client);
}

/* KILL: without an answer */
static void run_kill(const Incoming *in, Out *out)
{
    (void)out;
    client_close_now(in->client);
}

/* SUBSCRIBE: becomes a client of that class */
static void run_subscribe(const Incoming *in, Out *out)
{
    in->client->class = CLIENT_PUBSUB;
    reply_ok(out);
}

/* TELL text: to every subscriber */
static void run_tell(const Incoming *in, Out *out)
{
    int told = 0;
    for (guint i = 0; i < client_all()->len; i++) {
        Client *other = client_all()->pdata[i];
        if (other->class != CLIENT_PUBSUB) continue;
        reply_bulk(client_out(other), in->argv[1]);
        told++;
    }
    reply_int(out, told);
}

/* PAUSE ms */
static void run_pause(const Incoming *in, Out *out)
{
    client_pause(clock_mono_ms() + number_of(in->argv[1]));
    reply_ok(out);
}

/* STAT: the number of clients, the most output of one and its biggest input buffer */
static void run_stat(const Incoming *in, Out *out)
{
    (void)in;
    size_t most = 0;
    for (guint i = 0; i < client_all()->len; i++)
        most = MAX(most, ((Client *)client_all()->pdata[i])->out.bytes);
    client_stats_sample();
    reply_array(out, 3);
    reply_int(out, client_all()->len);
    reply_int(out, (int64_t)most);
    reply_int(out, (int64_t)client_stats.biggest_input);
}

/* WRITE text: echoes it when that is safe */
static void run_write(const Incoming *in, Out *out)
{
    size_t position = out->bytes;
    reply_bulk(out, in->argv[1]);
    client_gate_close(in->client, position, ++offset_written);
}

/* SAFE offset: what was written up to there is */
static void run_safe(const Incoming *in, Out *out)
{
    offset_safe = (uint64_t)number_of(in->argv[1]);
    reply_ok(out);
}

/* What was written when this was called last is safe now. */
static int64_t sync_tick(void *context)
{
    (void)context;
    static uint64_t syncing;
    offset_safe = MAX(offset_safe, syncing);
    syncing = offset_written;
    return 1;
}

/* SYNC: from now on, what was written is soon safe */
static void run_sync(const Incoming *in, Out *out)
{
    (void)in;
    loop_timer(loop, 1, sync_tick, NULL);
    reply_ok(out);
}

/* ABANDON offset */
static void run_abandon(const Incoming *in, Out *out)
{
    reply_int(out, (int64_t)client_gate_abandon((uint64_t)number_of(in->argv[1])));
}

/* HOLD: its further commands wait; FREE: of all that do, they go on */
static void run_hold(const Incoming *in, Out *out)
{
    client_hold(in->client, true);
    reply_ok(out);
}

static void run_free(const Incoming *in, Out *out)
{
    (void)in;
    for (guint i = 0; i < client_all()->len; i++)
        client_hold(client_all()->pdata[i], false);
    reply_ok(out);
}

/* FEED length: that many x, in pieces, while little of them is unsent */
#define FEED_PIECE 1000
#define FEED_BELOW 4000
static int64_t feed_left;
static size_t feed_most; /* that was unsent */

static void run_feed(const Incoming *in, Out *out)
{
    (void)out;
    feed_left = number_of(in->argv[1]);
    feed_most = 0;
    client_feed_below(in->client, FEED_BELOW);
}

static void on_drained(Client *client)
{
    g_assert(client->out.bytes < FEED_BELOW && feed_left > 0);
    char piece[FEED_PIECE];
    memset(piece, 'x', sizeof(piece));
    size_t len = MIN(sizeof(piece), (size_t)feed_left);
    out_write(client_out(client), piece, len);
    feed_left -= (int64_t)len;
    feed_most = MAX(feed_most, client->out.bytes);
    if (feed_left == 0) client_feed_below(client, 0);
}

static const struct {
    const char *name;
    TestCommand run;
} commands[] = {
    { "ECHO", run_echo },       { "LEN", run_len },     { "BIG", run_big },
    { "QUIT", run_quit },       { "KILL", run_kill },   { "SUBSCRIBE", run_subscribe },
    { "TELL", run_tell },       { "PAUSE", run_pause }, { "STAT", run_stat },
    { "WRITE", run_write },     { "SAFE", run_safe },   { "SYNC", run_sync },
    { "HOLD", run_hold },       { "FREE", run_free },   { "FEED", run_feed },
    { "ABANDON", run_abandon },
};

static void run_one(const Incoming *in)
{
    Out *out = client_out(in->client);
    for (size_t c = 0; c < G_N_ELEMENTS(commands); c++) {
        if (!slice_is(in->argv[0], commands[c].name)) continue;
        commands[c].run(in, out);
        client_output_grew(in->client);
        return;
    }
    reply_error(out, "ERR unknown");
}

static void run(Incoming *batch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_assert(batch[i].argc > 0);
        batch[i].skipped = batch[i].client->closing || batch[i].client->held;
        if (!batch[i].skipped) run_one(&batch[i]);
    }
}

static void on_opened(Client *client)
{
    client->session = g_malloc(1);
    opened++;
}

static void on_closed(Client *client)
{
    g_free(client->session);
    closed++;
}

static void before_send(void)
{
    g_atomic_int_inc(&sends);
    client_gate_open(offset_safe);
}

/* ---- running it ---- */

static int64_t stop_when_done(void *context)
{
    (void)context;
    if (!g_atomic_int_get(&peer_done)) return 2;
    loop_stop(loop);
    return -1;
}

static gpointer peer_main(gpointer data)
{
    ((void (*)(void))data)();
    g_atomic_int_set(&peer_done, 1);
    return NULL;
}

/* Runs the server until the peers are done. */
static void serve(void (*peers)(void), bool plain_poll)
{
    opened = closed = port = 0;
    offset_written = offset_safe = 0;
    g_atomic_int_set(&peer_done, 0);
    loop = loop_new(plain_poll);
    client_init(loop, (ClientHandlers){ on_opened, on_closed, run, before_send, NULL, on_drained });
    assert_null(client_listen_tcp("127.0.0.1", &port, 511));
    assert_true(port > 0);
    loop_timer(loop, 0, stop_when_done, NULL);
    GThread *thread = g_thread_new("peers", peer_main, (gpointer)(void *)peers);
    loop_run(loop);
    g_thread_join(thread);
    client_gate_open(UINT64_MAX);
    assert_int_equal(client_gate_waiting(), 0);
    client_shutdown();
    assert_int_equal(opened, closed);
    loop_free(loop);
}

static void serve_both(void (*peers)(void))
{
    serve(peers, false);
    serve(peers, true);
}

/* ---- peers ---- */

static void send_bytes(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(fd, bytes, len);
        g_assert(sent > 0);
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

static void expect_bytes(int fd, const char *expected, size_t len)
{
    g_autofree char *got = g_malloc(len + 1);
    for (size_t have = 0; have < len;) {
        ssize_t more = read(fd, got + have, len - have);
        g_assert(more > 0);
        have += (size_t)more;
    }
    got[len] = '\0';
    if (memcmp(got, expected, len) != 0) g_error("'%.200s' instead of '%.200s'", got, expected);
}

static void expect_text(int fd, const char *expected)
{
    expect_bytes(fd, expected, strlen(expected));
}

static void expect_closed(int fd)
{
    char byte;
    g_assert(read(fd, &byte, 1) <= 0);
    close(fd);
}

/* A bulk of `len` x, as BIG answers. */
static void expect_big(int fd, size_t len)
{
    g_autofree char *text = g_strnfill(len, 'x');
    g_autofree char *reply = g_strdup_printf("$%zu\r\n%s\r\n", len, text);
    expect_text(fd, reply);
}

/* One of STAT's numbers, asked on a connection of its own. */
static int64_t ask_stat(int which)
{
    int fd = peer_dial(port);
    char reply[200] = "";
    send_text(fd, "STAT\r\n");
    ssize_t got = read(fd, reply, sizeof(reply) - 1); /* so short a reply comes whole */
    g_assert(got > 0);
    close(fd);
    g_auto(GStrv) lines = g_strsplit(reply, "\r\n", -1);
    g_assert(g_strv_length(lines) > (guint)which + 1);
    return g_ascii_strtoll(lines[which + 1] + 1, NULL, 10);
}

enum { STAT_CLIENTS, STAT_OUTPUT, STAT_INPUT };

static void expect_alive(void)
{
    int fd = peer_dial(port);
    send_text(fd, "ECHO still\r\n");
    expect_text(fd, "$5\r\nstill\r\n");
    close(fd);
}

/* ---- input ---- */

static void peers_pipeline(void)
{
    int fd = peer_dial(port);
    g_autoptr(GString) sent = g_string_new(NULL), expected = g_string_new(NULL);
    for (int i = 0; i < 20000; i++) {
        g_string_append_printf(sent, i % 2 ? "ECHO %05d\r\n" : "*2\r\n$4\r\nECHO\r\n$5\r\n%05d\r\n", i);
        g_string_append_printf(expected, "$5\r\n%05d\r\n", i);
    }
    send_text(fd, sent->str);
    expect_text(fd, expected->str);
    close(fd);
}

static void peers_byte_by_byte(void)
{
    int fd = peer_dial(port);
    const char *text = "*3\r\n$3\r\nLEN\r\n$0\r\n\r\n$3\r\na\r\n\r\n\r\n  ECHO \"a\\x41 b\"\r\n*0\r\nECHO 'c d'\r\n";
    for (const char *at = text; *at != '\0'; at++) {
        send_bytes(fd, at, 1);
        g_usleep(500);
    }
    expect_text(fd, "*2\r\n:0\r\n:3\r\n$4\r\naA b\r\n$3\r\nc d\r\n");
    close(fd);
}

/* Random commands in random pieces on several connections, some of them with big arguments. */
static void peers_random_pieces(void)
{
    enum { CONNECTIONS = 5 };
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    static const gint32 scales[] = { 2, 20, 20, 2000, 20000, 300000 };
    int fds[CONNECTIONS];
    GString *sent[CONNECTIONS], *expected[CONNECTIONS];
    size_t at[CONNECTIONS] = { 0 };
    for (int c = 0; c < CONNECTIONS; c++) {
        fds[c] = peer_dial(port);
        sent[c] = g_string_new(NULL);
        expected[c] = g_string_new(NULL);
        for (int i = 0; i < 200; i++) {
            gint32 scale = scales[g_rand_int_range(rand, 0, i % 20 == 0 ? 6 : 4)];
            int len = g_rand_int_range(rand, 0, scale);
            g_autofree char *text = g_strnfill((gsize)len, (char)g_rand_int_range(rand, 'a', 'z'));
            g_string_append_printf(sent[c], "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len, text);
            g_string_append_printf(expected[c], "$%d\r\n%s\r\n", len, text);
        }
    }
    for (int left = CONNECTIONS; left > 0;) {
        int c = g_rand_int_range(rand, 0, CONNECTIONS);
        if (at[c] == sent[c]->len) continue;
        size_t piece = (size_t)g_rand_int_range(rand, 1, 60000), end = MIN(at[c] + piece, sent[c]->len);
        send_bytes(fds[c], sent[c]->str + at[c], end - at[c]);
        at[c] = end;
        if (end == sent[c]->len) left--;
    }
    for (int c = 0; c < CONNECTIONS; c++) {
        expect_bytes(fds[c], expected[c]->str, expected[c]->len);
        close(fds[c]);
        g_string_free(sent[c], TRUE);
        g_string_free(expected[c], TRUE);
    }
}

static void peers_big_bulk(void)
{
    enum { MIB = 100 };
    int fd = peer_dial(port);
    g_autofree char *head = g_strdup_printf("*3\r\n$3\r\nLEN\r\n$2\r\nab\r\n$%d\r\n", MIB << 20);
    g_autofree char *chunk = g_strnfill(1 << 20, 'x');
    send_text(fd, head);
    for (int i = 0; i < MIB; i++)
        send_bytes(fd, chunk, 1 << 20);
    g_autofree char *expected = g_strdup_printf("*2\r\n:2\r\n:%d\r\n$1\r\na\r\n", MIB << 20);
    send_text(fd, "\r\nECHO a\r\n");
    expect_text(fd, expected);
    g_assert(ask_stat(STAT_INPUT) < 1000);
    close(fd);
}

/* What a client only announces costs nothing. */
static void peers_announce(void)
{
    int fds[50];
    for (int i = 0; i < 50; i++) {
        fds[i] = peer_dial(port);
        send_text(fds[i], "*2\r\n$3\r\nLEN\r\n$536870912\r\nabc");
    }
    g_usleep(20000);
    for (int i = 0; i < 50; i++)
        send_text(fds[i], "def");
    g_usleep(20000);
    g_assert(ask_stat(STAT_INPUT) <= 64 * 1024);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
}

static void peers_many_arguments(void)
{
    enum { ARGUMENTS = 200000 };
    int fd = peer_dial(port);
    g_autoptr(GString) sent = g_string_new(NULL), expected = g_string_new(NULL);
    g_string_append_printf(sent, "*%d\r\n$3\r\nLEN\r\n", ARGUMENTS + 1);
    g_string_append_printf(expected, "*%d\r\n", ARGUMENTS);
    for (int i = 0; i < ARGUMENTS; i++) {
        g_string_append(sent, "$2\r\nab\r\n");
        g_string_append(expected, ":2\r\n");
    }
    send_text(fd, sent->str);
    expect_text(fd, expected->str);
    close(fd);
}

static void peers_errors(void)
{
    int fd = peer_dial(port);
    send_text(fd, "ECHO a\r\n*1\r\n$4\r\nNOPE\r\n*1\r\nfoo\r\nECHO never\r\n");
    expect_text(fd, "$1\r\na\r\n-ERR unknown\r\n-ERR Protocol error: expected '$', got 'f'\r\n");
    expect_closed(fd);
    fd = peer_dial(port);
    send_text(fd, "QUIT\r\nECHO never\r\n*1\r\nfoo\r\n");
    expect_text(fd, "+OK\r\n");
    expect_closed(fd);
    fd = peer_dial(port);
    send_text(fd, "ECHO a\r\nKILL\r\nECHO b\r\n");
    expect_closed(fd);
}

static void peers_garbage(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (int round = 0; round < 200; round++) {
        int fd = peer_dial(port);
        char bytes[3000];
        static const char likely[] = "*$12\r\n\r\n\0\"' ax";
        for (size_t i = 0; i < sizeof(bytes); i++) {
            bool any = g_rand_int_range(rand, 0, 10) == 0;
            bytes[i] = any ? (char)g_rand_int(rand) : likely[g_rand_int_range(rand, 0, sizeof(likely) - 1)];
        }
        ssize_t sent = write(fd, bytes, (size_t)g_rand_int_range(rand, 1, sizeof(bytes)));
        g_assert(sent > 0);
        close(fd);
    }
    expect_alive();
}

/* ---- ends ---- */

static void peers_half_closed(void)
{
    int fd = peer_dial(port);
    send_text(fd, "ECHO a\r\nBIG 20000000\r\nECHO b\r\nECHO unfini");
    shutdown(fd, SHUT_WR);
    g_usleep(20000);
    expect_text(fd, "$1\r\na\r\n");
    expect_big(fd, 20000000);
    expect_text(fd, "$1\r\nb\r\n");
    expect_closed(fd);
}

static void peers_reset(void)
{
    for (int i = 0; i < 50; i++) {
        int fd = peer_dial(port);
        send_text(fd, i % 2 ? "BIG 10000000\r\nECHO a\r\n" : "*2\r\n$3\r\nLEN\r\n$100000\r\nabc");
        if (i % 3 == 0) g_usleep(1000);
        struct linger at_once = { .l_onoff = 1 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(fd);
    }
    for (int tries = 0; ask_stat(STAT_CLIENTS) > 1; tries++) {
        g_assert(tries < 1000);
        g_usleep(2000);
    }
}

/* ---- output ---- */

/* Sends everything before it reads anything: it gets everything, and meanwhile costs bounded memory. */
static void peers_reads_late(void)
{
    enum { COMMANDS = 1500, BYTES = 100000 };
    int fd = peer_dial(port);
    for (int i = 0; i < COMMANDS; i++)
        send_text(fd, i % 2 ? "BIG 100000\r\n" : "*2\r\n$3\r\nBIG\r\n$6\r\n100000\r\n");
    send_text(fd, "ECHO last\r\nQUIT\r\n");
    for (int i = 0; i < 5; i++) {
        expect_alive();
        g_assert(ask_stat(STAT_OUTPUT) < 66 << 20);
        g_usleep(2000);
    }
    for (int i = 0; i < COMMANDS; i++)
        expect_big(fd, BYTES);
    expect_text(fd, "$4\r\nlast\r\n+OK\r\n");
    expect_closed(fd);
}

/* The same with more input than a turn takes, and an error or the end of the input behind it. */
static void peers_held_end(void)
{
    enum { HELD = 200 };
    for (int with_error = 0; with_error < 2; with_error++) {
        int fd = peer_dial(port);
        g_autofree char *argument = g_strnfill(400000, 'x');
        for (int i = 0; i < HELD; i++) {
            send_text(fd, "*2\r\n$4\r\nECHO\r\n$400000\r\n");
            send_bytes(fd, argument, 400000);
            send_text(fd, "\r\n");
        }
        if (with_error) {
            send_text(fd, "*x\r\n");
        } else {
            shutdown(fd, SHUT_WR);
        }
        for (int i = 0; i < HELD; i++)
            expect_big(fd, 400000);
        if (with_error) expect_text(fd, "-ERR Protocol error: invalid multibulk length\r\n");
        expect_closed(fd);
    }
}

static void peers_hard_limit(void)
{
    int fd = peer_dial(port);
    send_text(fd, "BIG 50000000\r\nECHO a\r\n");
    for (int tries = 0; ask_stat(STAT_CLIENTS) > 1; tries++) {
        g_assert(tries < 1000);
        g_usleep(2000);
    }
    close(fd);
    /* Output that comes from others is limited as well. */
    int subscriber = peer_dial(port), teller = peer_dial(port);
    send_text(subscriber, "SUBSCRIBE\r\n");
    expect_text(subscriber, "+OK\r\n");
    g_autofree char *text = g_strnfill(1000000, 'x');
    g_autofree char *tell = g_strdup_printf("*2\r\n$4\r\nTELL\r\n$1000000\r\n%s\r\n", text);
    char told[4] = ":1\r\n";
    for (int i = 0; told[1] == '1'; i++) {
        g_assert(i < 40);
        send_text(teller, tell);
        ssize_t got = read(teller, told, sizeof(told));
        g_assert(got == 4);
    }
    close(subscriber);
    close(teller);
}

/* ---- the gate ---- */

/* Nothing comes for a while, and the connection stays open. */
static void expect_silence(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    g_assert(poll(&poll_fd, 1, 30) == 0);
}

static void make_safe(int offset)
{
    int fd = peer_dial(port);
    g_autofree char *text = g_strdup_printf("SAFE %d\r\n", offset);
    send_text(fd, text);
    expect_text(fd, "+OK\r\n");
    close(fd);
}

/* What is before the write leaves, the rest with the offset that it waits for; others aren't held. */
static void peers_gate(void)
{
    int fd = peer_dial(port);
    send_text(fd, "ECHO a\r\nWRITE b\r\nECHO c\r\nWRITE d\r\nECHO e\r\n");
    expect_text(fd, "$1\r\na\r\n");
    expect_silence(fd);
    expect_alive();
    make_safe(1);
    expect_text(fd, "$1\r\nb\r\n$1\r\nc\r\n");
    expect_silence(fd);
    send_text(fd, "ECHO f\r\nWRITE g\r\n");
    expect_silence(fd);
    make_safe(2);
    expect_text(fd, "$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n");
    expect_silence(fd);
    make_safe(10);
    expect_text(fd, "$1\r\ng\r\n");
    send_text(fd, "WRITE h\r\nECHO i\r\n");
    expect_text(fd, "$1\r\nh\r\n$1\r\ni\r\n");
    close(fd);
}

/* Closing clients wait for what the gate holds, killed ones don't, and one that went away is forgotten. */
static void peers_gate_ends(void)
{
    int quits = peer_dial(port), half = peer_dial(port), gone = peer_dial(port), killed = peer_dial(port);
    send_text(quits, "WRITE a\r\nQUIT\r\n");
    expect_silence(quits);
    send_text(half, "WRITE b\r\nECHO c\r\n");
    shutdown(half, SHUT_WR);
    expect_silence(half);
    send_text(gone, "WRITE d\r\n");
    expect_silence(gone);
    close(gone);
    send_text(killed, "ECHO e\r\nWRITE f\r\nKILL\r\n");
    expect_closed(killed);
    make_safe(1);
    expect_text(quits, "$1\r\na\r\n+OK\r\n");
    expect_closed(quits);
    expect_silence(half);
    make_safe(2);
    expect_text(half, "$1\r\nb\r\n$1\r\nc\r\n");
    expect_closed(half);
    make_safe(100);
    expect_alive();
}

/* What can't be promised is never sent, and who waits for more waits on. */
static void peers_gate_abandoned(void)
{
    int first = peer_dial(port), second = peer_dial(port), third = peer_dial(port);
    send_text(first, "ECHO a\r\nWRITE b\r\nECHO c\r\n");
    expect_text(first, "$1\r\na\r\n");
    send_text(second, "WRITE d\r\n");
    expect_silence(second);
    send_text(third, "ABANDON 0\r\nABANDON 1\r\nABANDON 1\r\n");
    expect_text(third, ":0\r\n:1\r\n:0\r\n");
    expect_closed(first);
    expect_silence(second);
    make_safe(2);
    expect_text(second, "$1\r\nd\r\n");
    close(second);
    close(third);
}

/* A client that was told to wait answers nothing until it's let go, then in order; others don't notice. */
static void peers_hold(void)
{
    int fd = peer_dial(port), other = peer_dial(port);
    send_text(fd, "ECHO a\r\nHOLD\r\nECHO b\r\n");
    expect_text(fd, "$1\r\na\r\n+OK\r\n");
    send_text(fd, "ECHO c\r\nEC");
    expect_silence(fd);
    expect_alive();
    send_text(other, "FREE\r\n");
    expect_text(other, "+OK\r\n");
    expect_text(fd, "$1\r\nb\r\n$1\r\nc\r\n");
    send_text(fd, "HO d\r\nHOLD\r\nECHO e\r\n");
    expect_text(fd, "$1\r\nd\r\n+OK\r\n");
    expect_silence(fd);
    close(other);
    close(fd); /* and it's forgotten */
    expect_alive();
}

/* All of it comes, though the peer reads late, and never was much of it unsent. */
static void peers_feed(void)
{
    int fd = peer_dial(port);
    send_text(fd, "FEED 5000000\r\n");
    for (size_t left = 5000000; left > 0;) {
        char bytes[65536];
        ssize_t got = read(fd, bytes, MIN(left, sizeof(bytes)));
        g_assert(got > 0);
        left -= (size_t)got;
    }
    g_assert(feed_most < FEED_BELOW + FEED_PIECE);
    send_text(fd, "FEED 500000000\r\n");
    close(fd); /* while it's fed */
    expect_alive();
}

/* A client that waits at the gate costs no turns of the loop, and its output is limited as any other. */
static void peers_gate_waits(void)
{
    int fd = peer_dial(port);
    send_text(fd, "WRITE a\r\nBIG 3000000\r\n");
    expect_silence(fd);
    g_assert(ask_stat(STAT_OUTPUT) > 3000000);
    int before = g_atomic_int_get(&sends);
    g_usleep(200000);
    g_assert(g_atomic_int_get(&sends) - before < 250); /* stop_when_done's turns */
    send_text(fd, "BIG 3000000\r\n");
    expect_closed(fd);
}

/* Pipelines of reads and writes, some with much output, while offsets become safe by and by: all in order. */
static void peers_gate_random(void)
{
    enum { CONNECTIONS = 8 };
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    int fds[CONNECTIONS];
    GString *expected[CONNECTIONS];
    int sync = peer_dial(port);
    send_text(sync, "SYNC\r\n");
    expect_text(sync, "+OK\r\n");
    for (int c = 0; c < CONNECTIONS; c++) {
        fds[c] = peer_dial(port);
        expected[c] = g_string_new(NULL);
    }
    for (int round = 0; round < 100; round++) {
        int c = g_rand_int_range(rand, 0, CONNECTIONS);
        g_autoptr(GString) sent = g_string_new(NULL);
        for (int i = g_rand_int_range(rand, 1, 200); i > 0; i--) {
            int number = g_rand_int_range(rand, 100000, 999999);
            if (g_rand_int_range(rand, 0, 100) == 0) {
                int len = g_rand_int_range(rand, 1, 30000);
                g_autofree char *text = g_strnfill((gsize)len, 'x');
                g_string_append_printf(sent, "BIG %d\r\n", len);
                g_string_append_printf(expected[c], "$%d\r\n%s\r\n", len, text);
            } else {
                g_string_append_printf(sent, "%s %d\r\n", g_rand_boolean(rand) ? "WRITE" : "ECHO", number);
                g_string_append_printf(expected[c], "$6\r\n%d\r\n", number);
            }
        }
        send_text(fds[c], sent->str);
        if (g_rand_int_range(rand, 0, 4) == 0) g_usleep(1000);
    }
    for (int c = 0; c < CONNECTIONS; c++) {
        send_text(fds[c], "QUIT\r\n");
        expect_bytes(fds[c], expected[c]->str, expected[c]->len);
        expect_text(fds[c], "+OK\r\n");
        expect_closed(fds[c]);
        g_string_free(expected[c], TRUE);
    }
    close(sync);
}

/* ---- limits of other kinds ---- */

static void peers_max_clients(void)
{
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = peer_dial(port);
        send_text(fds[i], "ECHO a\r\n");
        expect_text(fds[i], "$1\r\na\r\n");
    }
    int fd = peer_dial(port);
    expect_text(fd, "-ERR max number of clients reached\r\n");
    expect_closed(fd);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    g_usleep(20000);
    expect_alive();
}

/* After a second: an idle client, and one whose output stays over the soft limit, are closed; a subscriber isn't. */
static void peers_overdue(void)
{
    int idle = peer_dial(port), subscriber = peer_dial(port), unread = peer_dial(port);
    send_text(subscriber, "SUBSCRIBE\r\n");
    expect_text(subscriber, "+OK\r\n");
    send_text(unread, "BIG 50000000\r\n");
    int64_t start_us = clock_now_us();
    g_usleep(300000);
    g_assert(ask_stat(STAT_CLIENTS) == 4);
    expect_closed(idle);
    int64_t took_us = clock_now_us() - start_us;
    g_assert(took_us > 900000 && took_us < 4000000);
    for (int tries = 0; ask_stat(STAT_CLIENTS) > 2; tries++) {
        g_assert(tries < 400);
        g_usleep(10000);
    }
    send_text(subscriber, "ECHO a\r\n");
    expect_text(subscriber, "$1\r\na\r\n");
    close(subscriber);
    close(unread);
}

static void peers_pause(void)
{
    int pauser = peer_dial(port), fd = peer_dial(port), gone = peer_dial(port);
    send_text(pauser, "PAUSE 200\r\n");
    expect_text(pauser, "+OK\r\n");
    int64_t start_us = clock_now_us();
    send_text(gone, "ECHO a\r\n");
    close(gone);
    send_text(fd, "ECHO a\r\nECHO b\r\n*2\r\n$4\r\nEC");
    g_usleep(50000);
    send_text(fd, "HO\r\n$1\r\nc\r\n");
    expect_text(fd, "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    g_assert(clock_now_us() - start_us > 150000);
    close(fd);
    close(pauser);
}

static void peers_idle_crowd(void)
{
    enum { CROWD = 2000 };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    int count = (int)MIN(CROWD, (files.rlim_cur - 100) / 2);
    g_autofree int *fds = g_new(int, (gsize)count);
    for (int i = 0; i < count; i++)
        fds[i] = peer_dial(port);
    for (int round = 0; round < 2; round++) {
        peers_pipeline();
        g_usleep(120000);
    }
    for (int i = 0; i < count; i += 7) {
        send_text(fds[i], "ECHO awake\r\n");
        expect_text(fds[i], "$5\r\nawake\r\n");
    }
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

/* ---- the tests ---- */

static int reset_options(void **state)
{
    (void)state;
    options_reset();
    log_level = LOG_WARNING + 1;
    return 0;
}

#define SERVED(name)                                                                                                   \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        serve_both(peers_##name);                                                                                      \
    }

SERVED(pipeline)
SERVED(byte_by_byte)
SERVED(random_pieces)
SERVED(announce)
SERVED(many_arguments)
SERVED(errors)
SERVED(garbage)
SERVED(half_closed)
SERVED(reset)
SERVED(reads_late)
SERVED(held_end)
SERVED(pause)
SERVED(gate)
SERVED(gate_ends)
SERVED(gate_random)
SERVED(gate_abandoned)
SERVED(hold)
SERVED(feed)

static void test_big_bulk(void **state)
{
    (void)state;
    serve(peers_big_bulk, false);
}

static void test_hard_limit(void **state)
{
    (void)state;
    options.output_limit[CLIENT_NORMAL].hard_bytes = 5000000;
    options.output_limit[CLIENT_PUBSUB].hard_bytes = 5000000;
    serve_both(peers_hard_limit);
}

static void test_gate_waits(void **state)
{
    (void)state;
    options.output_limit[CLIENT_NORMAL].hard_bytes = 5000000;
    serve_both(peers_gate_waits);
}

static void test_max_clients(void **state)
{
    (void)state;
    options.maxclients = 5;
    serve_both(peers_max_clients);
}

static void test_overdue(void **state)
{
    (void)state;
    options.timeout = 1;
    options.output_limit[CLIENT_NORMAL] = (OutputLimit){ .soft_bytes = 1000000, .soft_seconds = 1 };
    serve(peers_overdue, false);
}

static void test_idle_crowd(void **state)
{
    (void)state;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    serve_both(peers_idle_crowd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pipeline, reset_options),
        cmocka_unit_test_setup(test_byte_by_byte, reset_options),
        cmocka_unit_test_setup(test_random_pieces, reset_options),
        cmocka_unit_test_setup(test_big_bulk, reset_options),
        cmocka_unit_test_setup(test_announce, reset_options),
        cmocka_unit_test_setup(test_many_arguments, reset_options),
        cmocka_unit_test_setup(test_errors, reset_options),
        cmocka_unit_test_setup(test_garbage, reset_options),
        cmocka_unit_test_setup(test_half_closed, reset_options),
        cmocka_unit_test_setup(test_reset, reset_options),
        cmocka_unit_test_setup(test_reads_late, reset_options),
        cmocka_unit_test_setup(test_held_end, reset_options),
        cmocka_unit_test_setup(test_hard_limit, reset_options),
        cmocka_unit_test_setup(test_max_clients, reset_options),
        cmocka_unit_test_setup(test_overdue, reset_options),
        cmocka_unit_test_setup(test_pause, reset_options),
        cmocka_unit_test_setup(test_gate, reset_options),
        cmocka_unit_test_setup(test_gate_ends, reset_options),
        cmocka_unit_test_setup(test_gate_waits, reset_options),
        cmocka_unit_test_setup(test_gate_random, reset_options),
        cmocka_unit_test_setup(test_gate_abandoned, reset_options),
        cmocka_unit_test_setup(test_hold, reset_options),
        cmocka_unit_test_setup(test_feed, reset_options),
        cmocka_unit_test_setup(test_idle_crowd, reset_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
