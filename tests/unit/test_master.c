/* test_master.c: repl/master and cmds/ack over real sockets and a real journal: which bytes a slave gets, from every
 * offset, fast or slow; what its confirmations let go, and what happens without them. (Snapshots are tested end to
 * end.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/master.h"

#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/ack.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "net/loop.h"
#include "store/journal.h"
#include "tests/unit/host.h"
#include "tests/unit/simio.h"

#define HISTORY  "0123456789012345678901234567890123456789"
#define HISTORY2 "abcdefabcdefabcdefabcdefabcdefabcdefabcd"
#define START    1000 /* the journal's first offset */

static Loop *loop;
static Manifest manifest;
static GString *stream; /* the journal from START on */
static int acks;

/* ---- the server and its peers ---- */

static int turns;

static int64_t stop(void *context)
{
    (void)context;
    if (--turns > 0) return 0;
    loop_stop(loop);
    return -1;
}

/* Runs the server for so long, and for some turns at least. */
static void run_ms(int64_t ms)
{
    turns = 4;
    loop_timer(loop, ms, stop, NULL);
    loop_run(loop);
}

/* Runs the server until it takes acknowledgement for lost, or no more. */
static void run_until_lost(bool lost)
{
    for (int tries = 0; ack_is_lost() != lost && tries < 1000; tries++)
        run_ms(5);
    assert_int_equal(ack_is_lost(), lost);
}

static int dial(void)
{
    int fd;
    host_client(&fd);
    return fd;
}

static void hang_up(int fd)
{
    close(fd);
    run_ms(0);
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    run_ms(0);
}

/* Adds what there is to be read; false at the end of the file. */
static bool take(int fd, GString *to)
{
    static char bytes[1 << 16];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        g_string_append_len(to, bytes, got);
        run_ms(0);
    }
    return got < 0;
}

static void expect(int fd, const char *expected)
{
    g_autoptr(GString) got = g_string_new(NULL);
    for (int tries = 0; got->len < strlen(expected) && tries < 100; tries++) {
        run_ms(1);
        take(fd, got);
    }
    assert_string_equal(got->str, expected);
}

static void expect_nothing(int fd, int64_t ms)
{
    g_autoptr(GString) got = g_string_new(NULL);
    run_ms(ms);
    assert_true(take(fd, got));
    assert_string_equal(got->str, "");
}

static void expect_closed(int fd)
{
    g_autoptr(GString) got = g_string_new(NULL);
    run_ms(1);
    assert_false(take(fd, got));
    assert_string_equal(got->str, "");
    close(fd);
}

/* A slave that has all up to this offset. */
static int attach_at(uint64_t offset)
{
    g_autofree char *psync = g_strdup_printf("PSYNC " HISTORY " %lu\r\n", offset + 1);
    int fd = dial();
    say(fd, psync);
    return fd;
}

static void confirm(int fd, uint64_t offset)
{
    g_autofree char *ack = g_strdup_printf("REPLCONF ACK %lu\r\n", offset);
    say(fd, ack);
}

/* The slave has got +CONTINUE and the stream from `offset` to its end. */
static void expect_stream(int fd, uint64_t offset)
{
    g_autoptr(GString) got = g_string_new(NULL);
    size_t head = strlen("+CONTINUE\r\n"), wanted = head + stream->len - (size_t)(offset - START);
    for (int tries = 0; got->len < wanted && tries < 1000; tries++) {
        run_ms(tries > 0);
        take(fd, got);
    }
    assert_int_equal(got->len, wanted);
    assert_memory_equal(got->str, "+CONTINUE\r\n", head);
    assert_memory_equal(got->str + head, stream->str + (offset - START), wanted - head);
}

static void note_stream(void)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_new(".", START + stream->len, NULL, &error);
    assert_non_null(reader);
    JournalBatch batch;
    while (journal_read(reader, &batch) == JOURNAL_BATCH)
        g_string_append_len(stream, batch.payload.ptr, (gssize)batch.payload.len);
    journal_reader_free(reader);
}

/* ---- the stream ---- */

/* From every offset, also in the middle of a batch or of a command; and what is written then follows. */
static void test_every_offset(void **state)
{
    (void)state;
    int writer = dial();
    say(writer, "SET a 1\r\n");
    say(writer, "MULTI\r\nRPUSH l a b c\r\nSET b 2\r\nEXEC\r\n");
    say(writer, "SELECT 3\r\nINCR n\r\nINCR n\r\nSPOP nokey\r\nHSET h f v\r\n");
    note_stream();
    assert_true(stream->len > 200);
    uint64_t end = START + stream->len;
    for (uint64_t offset = START; offset <= end; offset++) {
        int slave = attach_at(offset);
        expect_stream(slave, offset);
        hang_up(slave);
    }
    int slave = attach_at(START + 5);
    say(writer, "INCR n\r\n");
    note_stream();
    say(writer, "PUBLISH c m\r\n");
    note_stream();
    expect_stream(slave, START + 5);
    hang_up(slave);
    assert_int_equal(master_slaves(), 0);
    say(writer, "PUBLISH c m\r\n");
    assert_int_equal(journal_offset(), START + stream->len);
    close(writer);
}

static void expect_answer(const char *psync, const char *answer)
{
    int slave = dial();
    say(slave, psync);
    g_autofree char *whole = g_strdup_printf("+CONTINUE%s\r\n", answer != NULL ? answer : "");
    if (answer != NULL) {
        expect(slave, whole);
        assert_int_equal(master_online(), 1);
    } else {
        expect_nothing(slave, 5); /* it waits for a snapshot, which can't be had here */
        assert_int_equal(master_online(), 0);
        assert_int_equal(master_slaves(), 1);
    }
    hang_up(slave);
    assert_int_equal(master_slaves(), 0);
}

static int dial_psync2(void)
{
    int slave = dial();
    say(slave, "REPLCONF capa eof capa psync2\r\n");
    expect(slave, "+OK\r\n");
    return slave;
}

static void test_which_continue(void **state)
{
    (void)state;
    expect_answer("PSYNC " HISTORY " 1001\r\n", "");
    expect_answer("PSYNC ? -1\r\n", NULL);
    expect_answer("PSYNC " HISTORY " 1000\r\n", NULL); /* the journal doesn't reach it */
    expect_answer("PSYNC " HISTORY " 1002\r\n", NULL); /* nor is it there yet */
    expect_answer("PSYNC " HISTORY " -5\r\n", NULL);
    expect_answer("PSYNC " HISTORY2 " 1001\r\n", NULL);
    assert_int_equal(master_stats.partial_ok, 1);
    assert_int_equal(master_stats.partial_err, 4);
    assert_int_equal(master_stats.full, 5);
    strcpy(manifest.history2, HISTORY2);
    manifest.offset2 = 1000;
    expect_answer("PSYNC " HISTORY2 " 1001\r\n",
                  NULL); /* it says no psync2: it may have come by SYNC, and count from 0 */
    int writer = dial();
    say(writer, "SET a 1\r\n");
    close(writer);
    note_stream();
    int slave = dial_psync2();
    say(slave, "PSYNC " HISTORY2 " 1001\r\n");
    g_autofree char *expected = g_strdup_printf("+CONTINUE " HISTORY "\r\n%s", stream->str);
    expect(slave, expected);
    hang_up(slave);
    slave = dial_psync2();
    say(slave, "PSYNC " HISTORY2 " 1002\r\n"); /* it has a byte of the old history that the new one hasn't */
    expect_nothing(slave, 5);
    assert_int_equal(master_online(), 0);
    hang_up(slave);
}

/* However much it leaves unread, little of it is in memory, and all of it comes at last, in order; others aren't held
 * up. */
static void test_slow_slave(void **state)
{
    (void)state;
    g_autofree char *value = g_strnfill(300000, 'v');
    g_autofree char *set = g_strdup_printf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n%s\r\n", value);
    options.output_limit[CLIENT_SLAVE].hard_bytes = 1; /* of what the journal is kept for anyway nothing counts */
    int slow = attach_at(START), fast = attach_at(START), writer = dial();
    const Client *slow_client = ((Client *)client_all()->pdata[client_all()->len - 3]);
    g_autoptr(GString) got = g_string_new(NULL), replies = g_string_new(NULL);
    for (int i = 0; i < 100; i++) {
        for (const char *rest = set; *rest != '\0';) {
            ssize_t sent = write(writer, rest, strlen(rest));
            rest += sent > 0 ? sent : 0;
            run_ms(0);
            take(fast, got);
        }
        take(writer, replies);
        assert_true(slow_client->out.bytes < 5 * 1024 * 1024);
    }
    note_stream();
    assert_true(stream->len > 100 * 300000);
    for (int tries = 0; got->len < stream->len + 11 && tries < 1000; tries++) {
        run_ms(1);
        take(fast, got);
    }
    assert_memory_equal(got->str + 11, stream->str, stream->len);
    assert_true(master_needed_offset() < START + stream->len);
    expect_stream(slow, START);
    run_ms(1);
    assert_int_equal(master_needed_offset(), START + stream->len);
    say(writer, "SET k 1\r\n"); /* it's caught up, and gets this at once */
    gsize before = stream->len;
    note_stream();
    expect(slow, stream->str + before);
    hang_up(slow);
    hang_up(fast);
    close(writer);
    assert_true(master_needed_offset() == UINT64_MAX);
}

/* What isn't in the page cache any more is brought there by a thread: the loop doesn't wait for the disk. */
static void test_cold_journal(void **state)
{
    (void)state;
    int writer = dial();
    for (int i = 0; i < 200; i++)
        say(writer, "SET a 1\r\nINCR n\r\n");
    note_stream();
    sim_start();
    for (uint64_t offset = START; offset < START + stream->len; offset += 1 + stream->len / 7) {
        sim_set_cold(true);
        int slave = attach_at(offset);
        expect_stream(slave, offset);
        hang_up(slave);
    }
    assert_int_equal(sim_calls_here(SIM_READ), 0);
    assert_true(sim_calls(SIM_READ) > 7);
    sim_set_cold(true);
    hang_up(attach_at(START)); /* while it's being read */
    assert_int_equal(master_slaves(), 0);
    sim_stop();
    close(writer);
}

/* What can't be read isn't waited for for ever. */
static void test_unreadable_journal(void **state)
{
    (void)state;
    int writer = dial();
    say(writer, "SET a 1\r\n");
    sim_start();
    sim_set_cold(true);
    sim_fail(SIM_READ, 1, UINT64_MAX, EIO);
    int slave = attach_at(START);
    expect(slave, "+CONTINUE\r\n");
    for (int tries = 0; master_slaves() > 0 && tries < 1000; tries++)
        run_ms(1);
    expect_closed(slave);
    sim_stop();
    close(writer);
}

/* ---- confirmations ---- */

static void test_acks(void **state)
{
    (void)state;
    int one = attach_at(START), two = attach_at(START), writer = dial();
    say(writer, "SET a 1\r\n");
    uint64_t end = journal_offset();
    assert_int_equal(master_online(), 2);
    assert_int_equal(master_acked_offset(), 0);
    acks = 0;
    confirm(one, START + 5);
    assert_int_equal(acks, 1);
    assert_int_equal(master_acked_offset(), START + 5);
    assert_int_equal(master_acked_by(START + 5), 1);
    assert_int_equal(master_acked_by(START + 6), 0);
    confirm(two, end + 1000); /* it can't have more than it was sent */
    assert_int_equal(master_acked_offset(), end);
    confirm(two, START);
    assert_int_equal(master_acked_offset(), end);
    int64_t before_ms = clock_mono_ms();
    confirm(one, end);
    confirm(two, end);
    assert_int_equal(master_acked_by(end), 2);
    assert_int_equal(master_good_slaves(0), 2);
    run_ms(20); /* which is no whole second, as INFO counts */
    assert_true(master_good_slaves(0) == 2 || clock_mono_ms() - before_ms >= 1000);
    confirm(writer, end); /* is no slave */
    hang_up(two);
    assert_int_equal(master_acked_by(end), 1);
    hang_up(one);
    assert_int_equal(master_acked_offset(), 0);
    close(writer);
}

static void test_ack_slave(void **state)
{
    (void)state;
    options.ack = ACK_SLAVE;
    options.ack_timeout_ms = 100000;
    int writer = dial(), reader = dial();
    say(writer, "SET a 1\r\n");
    expect(writer, "-NOREPLICAS No slave confirms writes now (ack slave): none is online.\r\n");
    say(writer, "MULTI\r\nSET a 1\r\nEXEC\r\n");
    expect(writer, "+OK\r\n-NOREPLICAS No slave confirms writes now (ack slave): none is online.\r\n"
                   "-EXECABORT Transaction discarded because of previous errors.\r\n");
    int slave = attach_at(START);
    say(writer, "GET a\r\nSET a 2\r\nGET a\r\n");
    uint64_t end = journal_offset();
    expect(writer, "$-1\r\n");
    say(reader, "GET a\r\n");
    expect(reader, "$1\r\n2\r\n");
    confirm(slave, end - 1);
    expect_nothing(writer, 5);
    confirm(slave, end);
    expect(writer, "+OK\r\n$1\r\n2\r\n");
    /* A slave that only confirms when asked is asked. */
    g_autoptr(GString) got = g_string_new(NULL);
    take(slave, got);
    say(writer, "SET a 3\r\n");
    run_ms(30);
    g_string_set_size(got, 0);
    take(slave, got);
    assert_non_null(strstr(got->str, "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"));
    confirm(slave, journal_offset());
    expect(writer, "+OK\r\n");
    close(slave);
    close(writer);
    close(reader);
}

static void test_refuse(void **state)
{
    (void)state;
    options.ack = ACK_SLAVE;
    options.ack_timeout_ms = 50;
    int slave = attach_at(START), writer = dial(), other = dial();
    uint64_t before = journal_offset();
    say(writer, "SET a 1\r\n");
    expect_nothing(writer, 5);
    run_until_lost(true);
    uint64_t end = journal_offset(); /* with what asks the slave to confirm */
    expect_closed(writer);
    assert_int_equal(ack_closed(), 1);
    say(other, "SET a 2\r\nGET a\r\n");
    expect(other, "-NOREPLICAS No slave confirms writes now (ack slave): none did within ack-timeout.\r\n$1\r\n1\r\n");
    confirm(slave, before + 1);
    run_ms(30);
    assert_true(ack_is_lost());
    confirm(slave, end);
    run_until_lost(false);
    options.ack_timeout_ms = 100000;
    say(other, "SET a 2\r\n");
    confirm(slave, journal_offset());
    expect(other, "+OK\r\n");
    close(slave);
    close(other);
}

static void test_degrade(void **state)
{
    (void)state;
    options.ack = ACK_SLAVE;
    options.ack_timeout_ms = 50;
    options.ack_timeout_policy = ACK_DEGRADE;
    int writer = dial();
    say(writer, "SET a 1\r\n");
    expect_nothing(writer, 5);
    run_ms(100);
    expect(writer, "+OK\r\n");
    say(writer, "SET a 2\r\n");
    expect(writer, "+OK\r\n");
    int slave = attach_at(START);
    confirm(slave, journal_offset());
    run_until_lost(false);
    options.ack_timeout_ms = 100000;
    say(writer, "SET a 3\r\n");
    expect_nothing(writer, 30);
    options.ack = ACK_LOCAL; /* CONFIG SET while they wait */
    run_ms(30);
    expect(writer, "+OK\r\n");
    close(writer);
    close(slave);
}

/* A slave that has slaves adds nothing to what its master sends, whatever time has passed. */
static void test_only_masters_ping(void **state)
{
    (void)state;
    options.repl_ping_slave_period = 0; /* at each tick */
    int slave = attach_at(START);
    for (int tries = 0; journal_offset() == START && tries < 1000; tries++)
        run_ms(5);
    assert_true(journal_offset() > START);
    master_is_origin = false;
    uint64_t before = journal_offset();
    run_ms(1200);
    assert_int_equal(journal_offset(), before);
    master_is_origin = true;
    options.repl_ping_slave_period = INT32_MAX;
    close(slave);
}

/* ---- set-up ---- */

static bool no_checkpoint(char **error)
{
    *error = g_strdup("not here");
    return false;
}

static void when_done(void (*done)(const char *error, void *context), void *context)
{
    (void)done;
    (void)context;
}

static void hold(bool held)
{
    (void)held;
}

static void acked(void)
{
    acks++;
}

static int set_up_all(void **state)
{
    (void)state;
    options_reset();
    clock_refresh();
    loop = host_start();
    options.repl_ping_slave_period = INT32_MAX; /* no PING comes in between */
    master_init(loop, (MasterHooks){ &manifest, no_checkpoint, when_done, hold, acked });
    ack_init(loop);
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    client_shutdown();
    keyspace_free(keyspace);
    loop_free(loop);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    options_reset();
    options.admin_plane_all = true;
    log_level = LOG_WARNING + 1;
    if (!host_enter_directory()) return -1;
    manifest = (Manifest){ .history = HISTORY };
    master_stats = (MasterStats){ 0 };
    stream = g_string_new(NULL);
    JournalStart how = { .offset = START, .db = -1, .history = HISTORY, .segment_bytes = 1 << 20 };
    if (journal_open(&how) != NULL) return -1;
    effects_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (guint i = 0; i < client_all()->len; i++)
        client_close_now(client_all()->pdata[i]);
    run_ms(0);
    effects_stop();
    for (int i = 0; i < keyspace->db_count; i++)
        keyspace_flush(&keyspace->dbs[i]);
    if (!journal_close()) return -1;
    g_string_free(stream, TRUE);
    return host_leave_directory() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_which_continue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slow_slave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cold_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unreadable_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_acks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ack_slave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_degrade, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_masters_ping, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
