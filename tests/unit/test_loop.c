/* test_loop.c: net/loop, both as poll with epoll and as plain poll: readiness, changes from inside callbacks, timers,
 * wake-ups from threads and signal handlers, descriptors that fall quiet and come back.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/loop.h"

#include <glib.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define SEED 20260803

/* The watched end of a socket pair, and what was seen there. */
typedef struct End {
    int fd, peer;
    Watch *watch;
    int reads, writes;
    size_t bytes;
    struct End *unwatches; /* this one is unwatched by the callback */
} End;

static Loop *loop;
static int turns;

static void count_turn(void *context)
{
    (void)context;
    turns++;
}

static int setup_epoll(void **state)
{
    (void)state;
    loop = loop_new(false);
    turns = 0;
    loop_set_hooks(loop, count_turn, NULL, NULL);
    return 0;
}

static int setup_plain(void **state)
{
    (void)state;
    loop = loop_new(true);
    turns = 0;
    loop_set_hooks(loop, count_turn, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void on_ready(int fd, unsigned ready, void *context)
{
    End *end = context;
    assert_int_equal(fd, end->fd);
    assert_non_null(end->watch);
    if (ready & LOOP_WRITE) {
        end->writes++;
        loop_want(loop, end->watch, LOOP_READ);
    }
    if (!(ready & LOOP_READ)) return;
    end->reads++;
    char bytes[64];
    ssize_t got = read(fd, bytes, sizeof(bytes));
    if (got > 0) end->bytes += (size_t)got;
    if (end->unwatches == NULL || end->unwatches->watch == NULL) return;
    loop_unwatch(loop, end->unwatches->watch);
    end->unwatches->watch = NULL;
}

static void end_open(End *end, unsigned wanted)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *end = (End){ .fd = fds[0], .peer = fds[1] };
    end->watch = loop_watch(loop, end->fd, wanted, on_ready, end);
}

static void end_close(End *end)
{
    if (end->watch != NULL) loop_unwatch(loop, end->watch);
    close(end->fd);
    if (end->peer >= 0) close(end->peer);
}

static void end_send(const End *end, size_t count)
{
    static const char bytes[64];
    assert_int_equal(write(end->peer, bytes, count), count);
}

static int64_t stop(void *context)
{
    (void)context;
    loop_stop(loop);
    return -1;
}

static void run_for(int64_t ms)
{
    loop_timer(loop, ms, stop, NULL);
    loop_run(loop);
}

/* ---- readiness ---- */

static void test_ready(void **state)
{
    (void)state;
    End silent, reading, writing;
    end_open(&silent, LOOP_READ);
    end_open(&reading, LOOP_READ);
    end_open(&writing, LOOP_READ | LOOP_WRITE);
    end_send(&reading, 5);
    run_for(20);
    assert_int_equal(silent.reads + silent.writes, 0);
    assert_int_equal(reading.reads, 1);
    assert_int_equal(reading.bytes, 5);
    assert_int_equal(reading.writes, 0);
    assert_int_equal(writing.writes, 1);
    assert_int_equal(writing.reads, 0);
    end_close(&silent);
    end_close(&reading);
    end_close(&writing);
}

/* A broken connection of which nothing is wanted doesn't keep the loop busy. */
static void test_nothing_wanted(void **state)
{
    (void)state;
    End end;
    end_open(&end, LOOP_READ);
    loop_want(loop, end.watch, 0);
    end_send(&end, 1);
    close(end.peer);
    end.peer = -1;
    run_for(30);
    assert_int_equal(end.reads + end.writes, 0);
    assert_in_range(turns, 1, 5);
    end_close(&end);
}

static int64_t want_read(void *context)
{
    loop_want(loop, ((End *)context)->watch, LOOP_READ);
    return -1;
}

static void test_wanted_again(void **state)
{
    (void)state;
    End end;
    end_open(&end, 0);
    end_send(&end, 3);
    loop_timer(loop, 5, want_read, &end);
    run_for(20);
    assert_int_equal(end.bytes, 3);
    end_close(&end);
}

/* Whoever comes first unwatches the other, and the third itself. */
static void test_unwatch_inside(void **state)
{
    (void)state;
    End a, b, c;
    end_open(&a, LOOP_READ);
    end_open(&b, LOOP_READ);
    end_open(&c, LOOP_READ);
    a.unwatches = &b;
    b.unwatches = &a;
    c.unwatches = &c;
    end_send(&a, 1);
    end_send(&b, 1);
    end_send(&c, 1);
    run_for(20);
    assert_int_equal(a.reads + b.reads, 1);
    assert_int_equal(c.reads, 1);
    end_send(&c, 1);
    end_close(&a);
    end_close(&b);
    end_close(&c);
}

/* ---- quiet and busy ---- */

#define ENDS 300

typedef struct Crowd {
    GRand *rand;
    End ends[ENDS];
    size_t sent[ENDS];
} Crowd;

static int64_t send_some(void *context)
{
    Crowd *crowd = context;
    for (int i = 0; i < 20; i++) {
        /* The first few often, the others rarely. */
        int which = g_rand_int_range(crowd->rand, 0, g_rand_boolean(crowd->rand) ? 5 : ENDS);
        size_t count = (size_t)g_rand_int_range(crowd->rand, 1, 50);
        end_send(&crowd->ends[which], count);
        crowd->sent[which] += count;
    }
    return 5;
}

static void test_crowd(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    Crowd *crowd = g_new0(Crowd, 1);
    crowd->rand = g_rand_new_with_seed(SEED);
    for (int i = 0; i < ENDS; i++)
        end_open(&crowd->ends[i], LOOP_READ);
    loop_timer(loop, 300, send_some, crowd); /* by then all of them are quiet */
    run_for(800);
    for (int i = 0; i < ENDS; i++) {
        char rest[64];
        size_t unread = 0;
        for (ssize_t got; (got = read(crowd->ends[i].fd, rest, sizeof(rest))) > 0;)
            unread += (size_t)got;
        assert_int_equal(crowd->ends[i].bytes + unread, crowd->sent[i]);
        assert_true(unread < 200); /* only what the last timer sent */
        end_close(&crowd->ends[i]);
    }
    g_rand_free(crowd->rand);
    g_free(crowd);
}

static int64_t hang_up(void *context)
{
    End *end = context;
    close(end->peer);
    end->peer = -1;
    return -1;
}

static int64_t tick(void *context)
{
    (void)context;
    return 10; /* descriptors are looked at in each turn only */
}

/* A quiet descriptor's hang-up shows; and a quiet one can be unwatched. */
static void test_quiet_hang_up(void **state)
{
    (void)state;
    End gone, silent;
    end_open(&gone, LOOP_READ);
    end_open(&silent, LOOP_READ);
    gone.unwatches = &gone;
    loop_timer(loop, 0, tick, NULL);
    loop_timer(loop, 300, hang_up, &gone);
    run_for(330);
    assert_int_equal(gone.reads, 1);
    assert_null(gone.watch);
    assert_int_equal(silent.reads, 0);
    end_close(&gone);
    end_close(&silent);
}

/* ---- timers ---- */

static GString *fired;

static int64_t fire_a(void *context)
{
    (void)context;
    g_string_append_c(fired, 'a');
    return fired->len < 6 ? 10 : -1;
}

static int64_t fire_b(void *context)
{
    (void)context;
    g_string_append_c(fired, 'b');
    return -1;
}

static int64_t fire_c(void *context)
{
    (void)context;
    g_string_append_c(fired, 'c');
    loop_timer(loop, 0, fire_b, NULL);
    return -1;
}

static void test_timers(void **state)
{
    (void)state;
    fired = g_string_new(NULL);
    loop_timer(loop, 15, fire_b, NULL);
    loop_timer(loop, 25, fire_c, NULL);
    loop_timer(loop, 0, fire_a, NULL);
    int64_t start_us = clock_now_us();
    run_for(100);
    int64_t took_us = clock_now_us() - start_us;
    assert_in_range(took_us, 99000, 400000);
    size_t a = 0;
    for (size_t i = 0; i < fired->len; i++)
        a += fired->str[i] == 'a';
    assert_int_equal(fired->str[0], 'a');
    assert_true(strchr(fired->str, 'b') < strchr(fired->str, 'c'));
    assert_non_null(strchr(strchr(fired->str, 'c'), 'b'));
    assert_in_range(a, 2, 5);
    g_string_free(fired, TRUE);
}

/* ---- wake-ups ---- */

static gpointer wake_later(gpointer data)
{
    (void)data;
    g_usleep(20000);
    loop_wake(loop);
    return NULL;
}

/* Stops after the wake-up's turn. */
static void stop_second_turn(void *context)
{
    (void)context;
    if (++turns == 2) loop_stop(loop);
}

static void test_wake_from_thread(void **state)
{
    (void)state;
    loop_set_hooks(loop, stop_second_turn, NULL, NULL);
    GThread *thread = g_thread_new("wake", wake_later, NULL);
    int64_t start_us = clock_now_us();
    loop_run(loop);
    assert_in_range(clock_now_us() - start_us, 15000, 2000000);
    g_thread_join(thread);
}

static void on_alarm(int number)
{
    (void)number;
    loop_stop(loop);
}

static void test_stop_from_signal(void **state)
{
    (void)state;
    signal(SIGALRM, on_alarm);
    ualarm(20000, 0);
    loop_run(loop);
    signal(SIGALRM, SIG_DFL);
    assert_in_range(turns, 1, 3);
}

static void no_wait_ten_times(void *context)
{
    (void)context;
    if (++turns < 10) loop_no_wait(loop);
}

static void test_no_wait(void **state)
{
    (void)state;
    loop_set_hooks(loop, no_wait_ten_times, NULL, NULL);
    run_for(300);
    assert_in_range(turns, 10, 20);
}

static void test_api(void **state)
{
    (void)state;
    assert_string_equal(loop_api(loop), "poll+epoll");
    Loop *plain = loop_new(true);
    assert_string_equal(loop_api(plain), "poll");
    loop_free(plain);
}

#define BOTH(test)                                                                                                     \
    cmocka_unit_test_setup_teardown(test, setup_epoll, teardown),                                                      \
        cmocka_unit_test_setup_teardown(test, setup_plain, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_ready),
        BOTH(test_nothing_wanted),
        BOTH(test_wanted_again),
        BOTH(test_unwatch_inside),
        BOTH(test_crowd),
        BOTH(test_quiet_hang_up),
        BOTH(test_timers),
        BOTH(test_wake_from_thread),
        BOTH(test_stop_from_signal),
        BOTH(test_no_wait),
        cmocka_unit_test_setup_teardown(test_api, setup_epoll, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
