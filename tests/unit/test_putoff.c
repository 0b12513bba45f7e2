/* test_putoff.c: net/client's client_put_off with real sockets: commands that have to wait for the next turn keep their
 * order, hold up nobody else's, aren't overtaken by what comes later, and run although their client has left.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/client.h"

#include <glib.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/options.h"
#include "tests/unit/peer.h"

#define CLIENTS      300 /* more than a batch of those who go on takes */
#define SLOWS_A_TURN 20

#define LEAVERS      20
#define LEAVE_SLOWS  5 /* that each of them sends before it leaves */

static Loop *loop;
static int port;
static gint peers_done;
static int waiting;  /* clients that were put off at least once: from when all were, some commands run in each turn */
static int left;     /* of those, in this turn */
static guint stayed; /* clients at the end */
static GString *ran; /* the first letter of each slow command's argument */

/* ---- the server: SLOW letter, of which only some run in a turn, FAST, and HOLD, as WAIT ---- */

static void run(Incoming *batch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Client *client = batch[i].client;
        bool slow = slice_is(batch[i].argv[0], "SLOW");
        batch[i].skipped = client->closing || client->held;
        if (!batch[i].skipped && slow && left == 0) {
            bool *waited = client->session;
            waiting += !*waited;
            *waited = true;
            client_put_off(client);
            batch[i].skipped = true;
        }
        if (batch[i].skipped) continue;
        if (slow) {
            left--;
            g_string_append_c(ran, *batch[i].argv[1].ptr);
        }
        if (slice_is(batch[i].argv[0], "HOLD")) {
            client_hold(client, true);
            continue;
        }
        reply_ok(client_out(client));
        client_output_grew(client);
    }
}

static bool turn_ends(void)
{
    left = waiting == CLIENTS ? SLOWS_A_TURN : 0;
    return false;
}

static bool turn_of_one_ends(void)
{
    left = 1;
    return false;
}

static void on_opened(Client *client)
{
    client->session = g_new0(bool, 1);
}

static void on_closed(Client *client)
{
    g_free(client->session);
}

static int64_t stop_when_done(void *context)
{
    (void)context;
    if (!g_atomic_int_get(&peers_done)) return 2;
    stayed = client_all()->len;
    loop_stop(loop);
    return -1;
}

/* ---- the peers, in a thread (where cmocka's assertions don't belong) ---- */

static void ask(int fd, const char *command, int times)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (int i = 0; i < times; i++)
        g_string_append_printf(text, "%s\r\n", command);
    g_assert(write(fd, text->str, text->len) == (ssize_t)text->len);
}

static void expect_oks(int fd, int times)
{
    for (; times > 0; times--) {
        char reply[5];
        g_assert(recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) && memcmp(reply, "+OK\r\n", 5) == 0);
    }
}

static gpointer peers(gpointer unused)
{
    (void)unused;
    int fds[CLIENTS], fast = peer_dial(port);
    for (int c = 0; c < CLIENTS; c++) {
        fds[c] = peer_dial(port);
        if (c == CLIENTS - 1) { /* none of the others is answered yet */
            ask(fast, "FAST", 1);
            expect_oks(fast, 1);
        }
        ask(fds[c], "SLOW a", 1);
    }
    for (int c = 0; c < CLIENTS; c++) {
        expect_oks(fds[c], 1);
        ask(fds[c], "SLOW b", 1);
        ask(fds[c], "FAST", 1);
    }
    for (int c = 0; c < CLIENTS; c++) {
        expect_oks(fds[c], 2);
        close(fds[c]);
    }
    close(fast);
    g_atomic_int_set(&peers_done, 1);
    return NULL;
}

/* One stays, who by the end has waited for every other often enough. */
static gpointer leavers(gpointer unused)
{
    (void)unused;
    int stays = peer_dial(port);
    for (int c = 0; c < LEAVERS; c++) {
        int fd = peer_dial(port);
        ask(fd, "SLOW a", LEAVE_SLOWS);
        ask(fd, "HOLD", 2);
        if (c % 2 == 0) ask(fd, "*1\r\n$x", 1); /* a protocol error */
        close(fd);
    }
    for (int times = 0; times < 2 * LEAVE_SLOWS; times++) {
        ask(stays, "SLOW b", 1);
        expect_oks(stays, 1);
    }
    close(stays);
    g_atomic_int_set(&peers_done, 1);
    return NULL;
}

static void serve(bool plain_poll, GThreadFunc peers_do, bool (*ends)(void))
{
    options_reset();
    port = waiting = left = 0;
    ran = g_string_new(NULL);
    g_atomic_int_set(&peers_done, 0);
    loop = loop_new(plain_poll);
    client_init(loop, (ClientHandlers){ .opened = on_opened, .closed = on_closed, .run = run, .turn_ends = ends });
    assert_null(client_listen_tcp("127.0.0.1", &port, 511));
    loop_timer(loop, 0, stop_when_done, NULL);
    GThread *thread = g_thread_new("peers", peers_do, NULL);
    loop_run(loop);
    g_thread_join(thread);
    client_shutdown();
    loop_free(loop);
}

static void those_who_wait_go_first(void **state)
{
    (void)state;
    for (int plain_poll = 0; plain_poll < 2; plain_poll++) {
        serve(plain_poll, peers, turn_ends);
        assert_int_equal(ran->len, CLIENTS * 2);
        const char *first_later = strchr(ran->str, 'b');
        assert_non_null(first_later);
        assert_null(strchr(first_later, 'a')); /* who waited goes first */
        g_string_free(ran, TRUE);
    }
}

static void what_is_put_off_runs_although_its_client_left(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as ckv.c */
    for (int plain_poll = 0; plain_poll < 2; plain_poll++) {
        serve(plain_poll, leavers, turn_of_one_ends);
        assert_int_equal(ran->len, LEAVERS * LEAVE_SLOWS + 2 * LEAVE_SLOWS);
        assert_true(stayed <= 1); /* the last's end may not have been seen */
        g_string_free(ran, TRUE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_go_first),
        cmocka_unit_test(what_is_put_off_runs_although_its_client_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
