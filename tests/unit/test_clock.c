/* test_clock.c: ticks against the clock that they stand for.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

/* A moment by both clocks: it's between two readings of one, however long this process has to wait in between. */
typedef struct Moment {
    int64_t before_us, after_us;
    uint64_t ticks;
} Moment;

static Moment moment(void)
{
    Moment now = { .before_us = clock_now_us() };
    now.ticks = clock_ticks();
    now.after_us = clock_now_us();
    return now;
}

/* How long it is between two moments by ticks is what it is by the clock, but for a hundredth. */
static void assert_agree(const Moment *from, const Moment *to)
{
    double by_ticks = (double)(to->ticks - from->ticks) * clock_tick_us;
    assert_true(by_ticks >= 0.99 * (double)(to->before_us - from->after_us));
    assert_true(by_ticks <= 1.01 * (double)(to->after_us - from->before_us) + 1);
}

static void run_for(int ms)
{
    for (int i = 0; i < ms; i++) {
        usleep(1000);
        clock_refresh();
    }
}

static void check(void)
{
    run_for(20);
    Moment from = moment();
    run_for(1200); /* what is measured against moves on meanwhile */
    Moment to = moment();
    assert_agree(&from, &to);
    from = moment();
    usleep(20000); /* nobody refreshes */
    to = moment();
    assert_agree(&from, &to);
}

static void test_ticks(void **context)
{
    (void)context;
    clock_refresh();
    check();
}

/* Where the kernel doesn't trust the counter. */
static void test_without_counter(void **context)
{
    (void)context;
    clock_refresh();
    clock_counter = false;
    run_for(2100); /* the ticks that it measured by were others */
    check();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_without_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
