/* test_putoff.c: net/client's client_put_off with real sockets: commands that have to wait for the next turn keep their
 * order, hold up nobody else's, and aren't overtaken by what comes later.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/client.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/options.h"
#include "tests/unit/peer.h"

#define CLIENTS      300 /* more than a batch of those who go on takes */
#define SLOWS_A_TURN 20

static Loop *loop;
static int port;
static gint peers_done;
static int waiting;  /* clients that were put off at least once: from when all were, some commands run in each turn */
static int left;     /* of those, in this turn */
static GString *ran; /* the first letter of each slow command's argument */

/* ---- the server: SLOW letter, of which only some run in a turn, and FAST ---- */

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
        reply_ok(client_out(client));
        client_output_grew(client);
    }
}

static bool turn_ends(void)
{
    left = waiting == CLIENTS ? SLOWS_A_TURN : 0;
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

static void serve(bool plain_poll)
{
    options_reset();
    port = waiting = left = 0;
    ran = g_string_new(NULL);
    g_atomic_int_set(&peers_done, 0);
    loop = loop_new(plain_poll);
    client_init(loop, (ClientHandlers){ .opened = on_opened, .closed = on_closed, .run = run, .turn_ends = turn_ends });
    assert_null(client_listen_tcp("127.0.0.1", &port, 511));
    loop_timer(loop, 0, stop_when_done, NULL);
    GThread *thread = g_thread_new("peers", peers, NULL);
    loop_run(loop);
    g_thread_join(thread);
    client_shutdown();
    loop_free(loop);
    assert_int_equal(ran->len, CLIENTS * 2);
    const char *first_later = strchr(ran->str, 'b');
    assert_non_null(first_later);
    assert_null(strchr(first_later, 'a')); /* who waited goes first */
    g_string_free(ran, TRUE);
}

static void those_who_wait_go_first(void **state)
{
    (void)state;
    serve(false);
    serve(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(those_who_wait_go_first) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
