/* test_link.c: repl/link and repl/lookup: a link to an address, to a name that takes its time, to one that isn't known;
 * one that is closed while its name is looked up, and one for which no descriptor is left.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/link.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <glib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a resolver that answers when it's told to: this program's, instead of the C library's ---- */

static GMutex mutex;
static GCond changed;
static bool may_answer;
static int asked, answered;

typedef int (*Resolver)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    Resolver real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (hints->ai_flags & AI_NUMERICHOST) return real(host, service, hints, found);
    bool known = strcmp(host, "slow.example") == 0;
    g_mutex_lock(&mutex);
    asked++;
    while (!may_answer)
        g_cond_wait(&changed, &mutex);
    g_atomic_int_inc(&answered);
    g_mutex_unlock(&mutex);
    return known ? real("127.0.0.1", service, hints, found) : EAI_NONAME;
}

static void let_answer(bool let)
{
    g_mutex_lock(&mutex);
    may_answer = let;
    g_cond_broadcast(&changed);
    g_mutex_unlock(&mutex);
}

/* ---- a link ---- */

static Loop *loop;
static Link *link_now;
static int connections, turns;
static char broken_by[200];

static void on_connected(void)
{
    connections++;
    loop_stop(loop);
}

static void on_readable(void)
{
}

static void on_broken(const char *why)
{
    g_strlcpy(broken_by, why, sizeof(broken_by));
    g_clear_pointer(&link_now, link_close);
    loop_stop(loop);
}

static const LinkHandlers link_handlers = { on_connected, on_readable, on_broken };

/* The loop turns, a few times: it isn't blocked by what it does. */
static int64_t count_turns(void *context)
{
    (void)context;
    if (++turns < 20) return 1;
    loop_stop(loop);
    return -1;
}

static int listener, port;

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(address);
    loop = loop_new(false);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    connections = turns = asked = answered = 0;
    broken_by[0] = '\0';
    let_answer(false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    g_clear_pointer(&link_now, link_close);
    close(listener);
    loop_free(loop);
    return 0;
}

static void open_link(const char *host)
{
    char *error = NULL;
    link_now = link_open(loop, host, port, &link_handlers, &error);
    assert_non_null(link_now);
    assert_null(error);
}

static void test_address(void **state)
{
    (void)state;
    open_link("127.0.0.1");
    loop_run(loop);
    assert_int_equal(connections, 1);
    assert_int_equal(asked, 0);
}

static void test_slow_name(void **state)
{
    (void)state;
    open_link("slow.example");
    loop_timer(loop, 0, count_turns, NULL);
    loop_run(loop);
    assert_int_equal(turns, 20);
    assert_int_equal(connections, 0);
    let_answer(true);
    loop_run(loop);
    assert_int_equal(connections, 1);
    assert_int_equal(answered, 1);
}

static void test_unknown_name(void **state)
{
    (void)state;
    let_answer(true);
    open_link("unknown.example");
    loop_run(loop);
    assert_int_equal(connections, 0);
    assert_string_equal(broken_by, gai_strerror(EAI_NONAME));
}

static void test_given_up(void **state)
{
    (void)state;
    open_link("slow.example");
    loop_timer(loop, 0, count_turns, NULL);
    loop_run(loop);
    g_clear_pointer(&link_now, link_close);
    let_answer(true);
    while (g_atomic_int_get(&answered) == 0)
        g_usleep(1000);
    turns = 0;
    loop_timer(loop, 0, count_turns, NULL);
    loop_run(loop);
    assert_int_equal(connections, 0);
    assert_string_equal(broken_by, "");
}

/* No descriptor is left: it's said, and whoever asked goes on. */
static void test_no_descriptor(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = { .rlim_cur = 0, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    g_autofree char *error = NULL;
    link_now = link_open(loop, "slow.example", port, &link_handlers, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(link_now);
    assert_string_equal(error, g_strerror(EMFILE));
    assert_int_equal(asked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
