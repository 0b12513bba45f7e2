/* loop.c: see loop.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/loop.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

/* Events taken from epoll at once. */
#define EPOLL_EVENTS 512

/* poll's first descriptor is ours: that of epoll, which watches wake_fd too, or without epoll wake_fd. */
enum { POLL_OURS, POLL_WATCHES };

struct Watch {
    Loop *loop;
    int fd;
    int index; /* in loop->polled; -1: with epoll */
    unsigned wanted;
    bool dead;
    LoopReady ready;
    void *context;
};

typedef struct Timer {
    int64_t due_us;
    LoopTimer run;
    void *context;
} Timer;

struct Loop {
    GArray *polled;     /* struct pollfd */
    GPtrArray *watches; /* of polled, by the same index */
    GPtrArray *dead;    /* unwatched in this turn, to be freed at its end */
    GArray *timers;     /* Timer; few */
    int wake_fd, epoll_fd;
    bool no_wait, stopping;
    LoopTask before_wait, after_ready;
    void *hook_context;
};

static short poll_bits(unsigned wanted)
{
    return (short)((wanted & LOOP_READ ? POLLIN : 0) | (wanted & LOOP_WRITE ? POLLOUT : 0));
}

/* How poll is to see it: not at all while nothing is wanted, because a broken connection would wake it all the time. */
static struct pollfd poll_entry(int fd, unsigned wanted)
{
    return (struct pollfd){ .fd = wanted != 0 ? fd : -1, .events = poll_bits(wanted) };
}

static void poll_add(Loop *loop, struct pollfd polled, Watch *watch)
{
    if (watch != NULL) watch->index = (int)loop->polled->len;
    g_array_append_val(loop->polled, polled);
    g_ptr_array_add(loop->watches, watch);
}

/* The last descriptor takes the place of the one that goes. */
static void poll_remove(Loop *loop, guint index)
{
    g_array_remove_index_fast(loop->polled, index);
    g_ptr_array_remove_index_fast(loop->watches, index);
    if (index < loop->watches->len) ((Watch *)loop->watches->pdata[index])->index = (int)index;
}

static struct pollfd *poll_at(Loop *loop, guint index)
{
    return &g_array_index(loop->polled, struct pollfd, index);
}

Loop *loop_new(bool plain_poll)
{
    Loop *loop = g_new0(Loop, 1);
    loop->polled = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    loop->watches = g_ptr_array_new();
    loop->dead = g_ptr_array_new_with_free_func(g_free);
    loop->timers = g_array_new(FALSE, FALSE, sizeof(Timer));
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) g_error("eventfd: %s", g_strerror(errno));
    loop->epoll_fd = plain_poll ? -1 : epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event woken = { .events = EPOLLIN, .data.ptr = NULL };
    if (loop->epoll_fd >= 0 && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &woken) != 0)
        g_error("epoll_ctl: %s", g_strerror(errno));
    poll_add(loop, poll_entry(loop->epoll_fd >= 0 ? loop->epoll_fd : loop->wake_fd, LOOP_READ), NULL);
    return loop;
}

void loop_free(Loop *loop)
{
    for (guint i = POLL_WATCHES; i < loop->watches->len; i++)
        g_free(loop->watches->pdata[i]);
    g_ptr_array_free(loop->dead, TRUE);
    g_ptr_array_free(loop->watches, TRUE);
    g_array_free(loop->polled, TRUE);
    g_array_free(loop->timers, TRUE);
    close(loop->wake_fd);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    g_free(loop);
}

const char *loop_api(const Loop *loop)
{
    return loop->epoll_fd >= 0 ? "poll+epoll" : "poll";
}

/* ---- epoll ---- */

/* Only descriptors that are read from and nothing else: the others are few and change often. False: poll must do. */
static bool epoll_add(Loop *loop, Watch *watch)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };
    if (loop->epoll_fd < 0 || watch->wanted != LOOP_READ) return false;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) != 0) return false;
    watch->index = -1;
    return true;
}

static void epoll_remove(Loop *loop, const Watch *watch)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

/* ---- watches ---- */

Watch *loop_watch(Loop *loop, int fd, unsigned wanted, LoopReady ready, void *context)
{
    Watch *watch = g_new0(Watch, 1);
    *watch = (Watch){ .loop = loop, .fd = fd, .wanted = wanted, .ready = ready, .context = context };
    if (!epoll_add(loop, watch)) poll_add(loop, poll_entry(fd, wanted), watch);
    return watch;
}

void loop_want(Loop *loop, Watch *watch, unsigned wanted)
{
    if (watch->wanted == wanted) return;
    watch->wanted = wanted;
    if (watch->index < 0) {
        epoll_remove(loop, watch);
        poll_add(loop, poll_entry(watch->fd, wanted), watch);
        return;
    }
    *poll_at(loop, (guint)watch->index) = poll_entry(watch->fd, wanted);
    guint index = (guint)watch->index;
    if (epoll_add(loop, watch)) poll_remove(loop, index);
}

void loop_unwatch(Loop *loop, Watch *watch)
{
    if (watch->index < 0) {
        epoll_remove(loop, watch);
    } else {
        poll_remove(loop, (guint)watch->index);
    }
    watch->dead = true;
    g_ptr_array_add(loop->dead, watch);
}

/* ---- timers, hooks, wake-ups ---- */

void loop_timer(Loop *loop, int64_t delay_ms, LoopTimer run, void *context)
{
    Timer timer = { clock_now_us() + delay_ms * 1000, run, context };
    g_array_append_val(loop->timers, timer);
}

static void run_timers(Loop *loop)
{
    for (guint i = 0; i < loop->timers->len;) {
        Timer timer = g_array_index(loop->timers, Timer, i);
        int64_t delay_ms = 0;
        if (timer.due_us > clock_mono_us) {
            i++;
        } else if ((delay_ms = timer.run(timer.context)) < 0) {
            g_array_remove_index(loop->timers, i);
        } else {
            g_array_index(loop->timers, Timer, i++).due_us = clock_mono_us + delay_ms * 1000;
        }
    }
}

void loop_set_hooks(Loop *loop, LoopTask before_wait, LoopTask after_ready, void *context)
{
    loop->before_wait = before_wait;
    loop->after_ready = after_ready;
    loop->hook_context = context;
}

void loop_no_wait(Loop *loop)
{
    loop->no_wait = true;
}

void loop_wake(Loop *loop)
{
    int saved = errno; /* a signal handler may call this */
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    (void)written; /* only a full counter makes it fail, and then the loop wakes anyway */
    errno = saved;
}

void loop_stop(Loop *loop)
{
    loop->stopping = true;
    loop_wake(loop);
}

bool loop_is_stopping(const Loop *loop)
{
    return loop->stopping;
}

/* ---- the turn ---- */

static int wait_ms(Loop *loop)
{
    if (loop->no_wait) return 0;
    int64_t first_us = INT64_MAX, now_us = clock_now_us();
    for (guint i = 0; i < loop->timers->len; i++) {
        first_us = MIN(first_us, g_array_index(loop->timers, Timer, i).due_us);
    }
    if (first_us == INT64_MAX) return -1;
    return (int)CLAMP((first_us - now_us + 999) / 1000, 0, 60000);
}

static unsigned ready_bits(unsigned events)
{
    unsigned trouble = events & (POLLERR | POLLHUP | POLLNVAL) ? LOOP_READ | LOOP_WRITE : 0;
    return trouble | (events & POLLIN ? LOOP_READ : 0) | (events & POLLOUT ? LOOP_WRITE : 0);
}

static void empty_wake_fd(Loop *loop)
{
    uint64_t wakes;
    ssize_t got = read(loop->wake_fd, &wakes, sizeof(wakes));
    (void)got; /* it only empties the counter */
}

static void wait_epoll(Loop *loop, int ms)
{
    struct epoll_event events[EPOLL_EVENTS];
    int count = epoll_wait(loop->epoll_fd, events, EPOLL_EVENTS, ms);
    clock_refresh();
    for (int i = 0; i < count; i++) {
        Watch *watch = events[i].data.ptr;
        if (watch == NULL)
            empty_wake_fd(loop);
        else if (!watch->dead)
            watch->ready(watch->fd, ready_bits(events[i].events), watch->context);
    }
}

/* From the last to the first: a callback may remove the descriptor it is called for, and those that it adds come
 * behind. One removed elsewhere is replaced by a later one, which was served already. */
static void dispatch_poll(Loop *loop, int count)
{
    for (guint i = loop->polled->len; i-- > POLL_WATCHES && count > 0;) {
        if (i >= loop->polled->len) continue;
        short events = poll_at(loop, i)->revents;
        if (events == 0) continue;
        count--;
        poll_at(loop, i)->revents = 0;
        Watch *watch = loop->watches->pdata[i];
        watch->ready(watch->fd, ready_bits((unsigned)(unsigned short)events), watch->context);
    }
}

static void wait_poll(Loop *loop, int ms)
{
    int count = poll((struct pollfd *)(void *)loop->polled->data, loop->polled->len, ms);
    clock_refresh();
    if (count <= 0) return;
    bool ours = poll_at(loop, POLL_OURS)->revents != 0;
    dispatch_poll(loop, count);
    if (ours && loop->epoll_fd >= 0)
        wait_epoll(loop, 0);
    else if (ours)
        empty_wake_fd(loop);
}

static void turn(Loop *loop)
{
    if (loop->before_wait != NULL) loop->before_wait(loop->hook_context);
    int ms = wait_ms(loop);
    loop->no_wait = false;
    if (loop->epoll_fd >= 0 && loop->polled->len == POLL_WATCHES)
        wait_epoll(loop, ms); /* one system call instead of two */
    else
        wait_poll(loop, ms);
    run_timers(loop);
    if (loop->after_ready != NULL) loop->after_ready(loop->hook_context);
    g_ptr_array_set_size(loop->dead, 0);
}

void loop_run(Loop *loop)
{
    clock_refresh();
    while (!loop->stopping)
        turn(loop);
    loop->stopping = false;
}
