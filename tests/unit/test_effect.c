/* test_effect.c: replies and the journal's troubles: what waits at the gate while a batch can't be written or isn't
 * synced, what is refused, what goes on; and what is answered while data is loaded.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/effect.h"

#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/server.h"
#include "net/loop.h"
#include "store/io.h"
#include "store/journal.h"
#include "tests/unit/host.h"

#define HISTORY "0123456789012345678901234567890123456789"

static Loop *loop;
static Client *writer, *reader;

/* ---- a disk in trouble ---- */

static gint fail_writes, fail_syncs, hold_syncs;

static ssize_t write_or_fail(int fd, const void *from, size_t len, off_t at)
{
    if (!g_atomic_int_get(&fail_writes)) return io_kernel.write(fd, from, len, at);
    errno = ENOSPC;
    return -1;
}

static int allocate_or_fail(int fd, off_t at, off_t len)
{
    if (!g_atomic_int_get(&fail_writes)) return io_kernel.allocate(fd, at, len);
    errno = ENOSPC;
    return -1;
}

static int sync_or_fail(int fd)
{
    while (g_atomic_int_get(&hold_syncs))
        g_usleep(1000);
    if (!g_atomic_int_get(&fail_syncs)) return io_kernel.sync(fd);
    errno = EIO;
    return -1;
}

/* ---- commands ---- */

static void run_slices(Client *client, Slice *argv, uint32_t argc)
{
    Incoming in = { .client = client, .argc = argc, .argv = argv };
    command_run_batch(&in, 1);
}

static void run(Client *client, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    Slice argv[16];
    uint32_t argc = g_strv_length(words);
    for (uint32_t i = 0; i < argc; i++)
        argv[i] = slice_of(words[i]);
    run_slices(client, argv, argc);
}

static void assert_reply(Client *client, const char *expected)
{
    g_autofree char *reply = host_take_reply(client);
    if (!g_str_has_prefix(reply, expected)) fail_msg("'%s' instead of '%s'", reply, expected);
}

/* What the loop does between two batches of commands. */
static void turn(void)
{
    command_before_send();
    (void)journal_end_turn();
}

/* The gate opens within some seconds. */
static void assert_opens(void)
{
    for (int tries = 0; client_gate_waiting() > 0; tries++) {
        assert_true(tries < 1000);
        g_usleep(5000);
        turn();
    }
}

#define REFUSED "-MISCONF CKV can't write its journal: journal/"

/* ---- the tests ---- */

static void test_healthy(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        run(writer, "INCR n");
        assert_int_equal(client_gate_waiting(), 0);
        assert_int_equal(journal_written(), journal_offset());
    }
    assert_reply(writer, ":1\r\n:2\r\n");
}

/* The disk fills up after the check and before the write: the command ran, but its client isn't told yet, and what it
 * asks later stays behind that. Others read; writes are refused, in every form. */
static void test_unwritten(void **state)
{
    (void)state;
    run(writer, "SET a 1");
    run(writer, "MULTI");
    run(writer, "SET b 1");
    run(writer, "PFCOUNT nokey");
    assert_reply(writer, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    g_atomic_int_set(&fail_writes, 1);
    run(reader, "GET a");
    run(reader, "SET a 2");
    run(reader, "GET a");
    assert_int_equal(client_gate_waiting(), 1);
    assert_true(journal_written() < journal_offset());
    run(writer, "EXEC");
    assert_reply(writer, REFUSED);
    run(writer, "SET a 3");
    assert_reply(writer, REFUSED);
    run(writer, "PING");
    assert_reply(writer, REFUSED);
    run(writer, "GET a");
    assert_reply(writer, "$1\r\n2\r\n");
    run(writer, "GET b");
    assert_reply(writer, "$-1");
    run(writer, "MULTI");
    run(writer, "DEL a");
    run(writer, "EXEC");
    assert_reply(writer, "+OK\r\n" REFUSED);
    assert_int_equal(client_gate_waiting(), 1);
    g_atomic_int_set(&fail_writes, 0);
    assert_opens();
    assert_reply(reader, "$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert_true(journal_written() == journal_offset());
    run(writer, "SET a 4");
    assert_reply(writer, "+OK");
    run(writer, "PING");
    assert_reply(writer, "+PONG");
}

/* While there's trouble, keys that have expired are gone for who asks, and stay for the rest. */
static void test_expiry_in_trouble(void **state)
{
    (void)state;
    run(writer, "SET asked 1 PX 1");
    run(writer, "SET left 1 PX 1");
    clock_unix_ms += 2;
    g_atomic_int_set(&fail_writes, 1);
    run(writer, "SET a 2");
    assert_true(effect_in_trouble());
    run(reader, "GET asked");
    assert_reply(reader, "$-1");
    run(reader, "DBSIZE");
    assert_reply(reader, ":");
    g_atomic_int_set(&fail_writes, 0);
    assert_opens();
    out_clear(&writer->out);
}

static void test_always(void **state)
{
    (void)state;
    options.fsync = FSYNC_ALWAYS;
    journal_set_sync(JOURNAL_SYNC_ALWAYS);
    run(writer, "SET a 1");
    assert_opens();
    g_atomic_int_set(&hold_syncs, 1);
    run(writer, "SET a 2");
    run(reader, "GET a");
    assert_int_equal(client_gate_waiting(), 1);
    assert_reply(reader, "$1\r\n2");
    turn();
    turn();
    g_usleep(20000);
    turn();
    assert_int_equal(client_gate_waiting(), 1);
    g_atomic_int_set(&hold_syncs, 0);
    assert_opens();
    assert_true(journal_durable() == journal_offset());
    out_clear(&writer->out);
    /* A failed sync: nothing is answered until another one made good for it. */
    g_atomic_int_set(&fail_syncs, 1);
    run(writer, "SET a 3");
    turn();
    turn();
    g_usleep(20000);
    turn();
    assert_int_equal(client_gate_waiting(), 1);
    run(reader, "SET a 4");
    assert_reply(reader, REFUSED);
    g_atomic_int_set(&fail_syncs, 0);
    assert_opens();
    out_clear(&writer->out);
    options.fsync = FSYNC_EVERYSEC;
    journal_set_sync(JOURNAL_SYNC_EVERYSEC);
}

#define TOO_MUCH "-ERR more than 768 MB can't be changed at once"

/* What would come to more than a batch of the journal, or a slave, takes changes nothing: by its arguments, or by what
 * it finds. */
static void test_too_much(void **state)
{
    (void)state;
    g_autofree char *bytes = g_malloc0(400U << 20);
    Slice long_key = { bytes, 400U << 20 };
    run_slices(writer, (Slice[]){ SLICE("SETEX"), long_key, SLICE("100"), SLICE("v") }, 4);
    assert_reply(writer, TOO_MUCH);
    run_slices(writer, (Slice[]){ SLICE("SET"), long_key, SLICE("v"), SLICE("EX"), SLICE("100") }, 5);
    assert_reply(writer, TOO_MUCH);
    run_slices(writer, (Slice[]){ SLICE("MSET"), long_key, SLICE("v"), long_key, SLICE("v") }, 5);
    assert_reply(writer, TOO_MUCH);
    uint64_t offset = journal_offset();
    run_slices(writer, (Slice[]){ SLICE("SET"), SLICE("w_1"), { bytes, KEYSPACE_STRING_MAX } }, 3);
    run(writer, "RPUSH many 1 1 1 1 1 1 1 1 1 1 1 1 1");
    run(writer, "RPUSH many 1 1 1 1 1 1 1 1 1 1 1 1 1");
    assert_true(journal_offset() > offset);
    assert_reply(writer, "+OK\r\n:13\r\n:26\r\n");
    offset = journal_offset();
    run(writer, "SORT many BY nosort GET w_* STORE stored");
    assert_reply(writer, TOO_MUCH);
    run(writer, "EXISTS stored");
    assert_reply(writer, ":0");
    assert_int_equal(journal_offset(), offset);
    /* It would fit alone, but not behind what its transaction has written. */
    run(writer, "LTRIM many 0 22");
    run(writer, "MULTI");
    run_slices(writer, (Slice[]){ SLICE("SET"), SLICE("w_1"), { bytes, KEYSPACE_STRING_MAX } }, 3);
    run(writer, "SORT many BY nosort GET w_* STORE stored");
    assert_reply(writer, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    run(writer, "EXEC");
    assert_reply(writer, "*2\r\n+OK\r\n" TOO_MUCH);
    run(writer, "DEL many w_1");
    assert_reply(writer, ":2");
}

/* A change of an expired key needs room for the key twice, so its end is a batch of its own. */
static void test_long_key_expires(void **state)
{
    (void)state;
    g_autofree char *bytes = g_malloc0(4U << 20);
    Slice long_key = { bytes, 4U << 20 };
    run_slices(writer, (Slice[]){ SLICE("PSETEX"), long_key, SLICE("1"), SLICE("v") }, 4);
    assert_reply(writer, "+OK");
    g_usleep(10000);
    clock_refresh();
    uint64_t batches = journal_stats().batches;
    run_slices(writer, (Slice[]){ SLICE("APPEND"), long_key, SLICE("v") }, 3);
    assert_reply(writer, ":1\r\n");
    assert_int_equal(journal_stats().batches, batches + 2);
    run_slices(writer, (Slice[]){ SLICE("DEL"), long_key }, 2);
    assert_reply(writer, ":1\r\n");
}

static void test_loading(void **state)
{
    (void)state;
    uint64_t evicted = keyspace->evicted;
    server_loading = true;
    options.maxmemory = 1; /* nothing goes that the journal wouldn't know of */
    options.maxmemory_policy = EVICT_ALLKEYS_RANDOM;
    run(reader, "GET a");
    assert_reply(reader, "-LOADING Redis is loading the dataset in memory\r\n");
    run(reader, "PING");
    assert_reply(reader, "-LOADING");
    run(reader, "MULTI");
    assert_reply(reader, "-LOADING");
    run(reader, "GET");
    assert_reply(reader, "-ERR wrong number of arguments");
    run(reader, "SELECT 0");
    assert_reply(reader, "+OK");
    run(reader, "SUBSCRIBE a");
    assert_reply(reader, "*3");
    run(reader, "UNSUBSCRIBE a");
    assert_reply(reader, "*3");
    assert_int_equal(keyspace->evicted, evicted);
    options.maxmemory = 0;
    server_loading = false;
    run(reader, "PING");
    assert_reply(reader, "+PONG");
}

/* ---- set-up ---- */

static int set_up(void **state)
{
    (void)state;
    static Io troubled;
    troubled = io_kernel;
    troubled.write = write_or_fail;
    troubled.allocate = allocate_or_fail;
    troubled.sync = sync_or_fail;
    io = &troubled;
    options_reset();
    log_level = LOG_WARNING + 1;
    if (!host_enter_directory()) return -1;
    clock_refresh();
    loop = host_start();
    writer = host_client(NULL);
    reader = host_client(NULL);
    JournalStart how = { .db = -1, .history = HISTORY, .segment_bytes = 1 << 20 };
    if (journal_open(&how) != NULL) return -1;
    effects_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    effects_stop();
    if (!journal_close()) return -1;
    client_shutdown();
    keyspace_free(keyspace);
    return host_leave_directory() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy), cmocka_unit_test(test_unwritten), cmocka_unit_test(test_expiry_in_trouble),
        cmocka_unit_test(test_always),  cmocka_unit_test(test_too_much),  cmocka_unit_test(test_long_key_expires),
        cmocka_unit_test(test_loading),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
