/* test_turns.c: what isn't a client's command and changes many keys, while a checkpoint wants their pages saved first,
 * takes no more of a turn of the loop than a command may.
 *
 * How fast the machine is decides nothing: the checkpoint has had its time in the turn before the test begins, and what
 * is counted is pages.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/tape.h"
#include "cmds/command.h"
#include "net/loop.h"
#include "repl/slave.h"
#include "store/checkpoint.h"
#include "store/evict.h"
#include "tests/unit/host.h"

#define KEYS        50000 /* of database 0, which the checkpoint walks first, for a turn and more */
#define VALUE_BYTES 400
#define KEY_CHARS   16
#define DBS         16
#define EXPIRING    500 /* keys of each other database */
#define BATCH       16  /* expired keys between two looks at how the turn stands */
#define LIFE_MS     1000
#define NO_LIMIT_US INT32_MAX

static Client *client;

static Slice name_key(char *room, int number)
{
    return (Slice){ room, (size_t)g_snprintf(room, KEY_CHARS, "key:%d", number) };
}

static void fill(void)
{
    char key[KEY_CHARS];
    g_autofree char *value = g_strnfill(VALUE_BYTES, 'v');
    for (int i = 0; i < KEYS; i++)
        keyspace_put_string(&keyspace->dbs[0], name_key(key, i), slice_of(value));
}

static uint64_t pages_saved(void)
{
    return checkpoint_status().pages_done;
}

static void take_the_turn(void)
{
    while (!checkpoint_is_pressed()) {
        if (checkpoint_step(100, 0) == CHECKPOINT_WAIT) checkpoint_wait();
    }
    assert_true(checkpoint_is_walking());
}

static void start_checkpoint(void)
{
    static uint64_t offset;
    char *error = NULL;
    if (checkpoint_is_walking()) checkpoint_abort("the test before failed");
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    take_the_turn();
}

/* ---- expiry ---- */

static void put_expiring(void)
{
    char key[KEY_CHARS];
    for (int db = 1; db < DBS; db++) {
        for (int i = 0; i < EXPIRING; i++)
            keyspace_put_string_until(&keyspace->dbs[db], name_key(key, i), SLICE("v"), clock_unix_ms + LIFE_MS);
    }
}

static size_t expiring_left(void)
{
    size_t left = 0;
    for (int db = 1; db < DBS; db++)
        left += keyspace_size(&keyspace->dbs[db]);
    return left;
}

/* A few pages in each turn, and every database has its turn. */
static void test_expiry(void **state)
{
    (void)state;
    put_expiring();
    start_checkpoint();
    clock_unix_ms += LIFE_MS;
    for (int db = 1; db < DBS; db++) {
        uint64_t before = pages_saved();
        assert_true(expire_run(keyspace, NO_LIMIT_US));
        assert_in_range(pages_saved() - before, 1, BATCH);
    }
    for (int db = 1; db < DBS; db++)
        assert_in_range(keyspace_size(&keyspace->dbs[db]), EXPIRING - BATCH, EXPIRING - 1);
    for (int turns = 0; expire_run(keyspace, NO_LIMIT_US); turns++)
        assert_true(turns < DBS * EXPIRING);
    assert_int_equal(expiring_left(), 0);
    checkpoint_abort("enough");
}

/* Where the pages are saved, nothing is put off. */
static void test_expiry_of_saved(void **state)
{
    (void)state;
    put_expiring();
    start_checkpoint();
    char key[KEY_CHARS];
    for (int db = 1; db < DBS; db++) {
        for (int i = 0; i < EXPIRING; i++) {
            while (!keyspace_save_page(&keyspace->dbs[db], name_key(key, i)))
                checkpoint_end_turn();
        }
    }
    take_the_turn();
    clock_unix_ms += LIFE_MS;
    uint64_t before = pages_saved();
    assert_false(expire_run(keyspace, NO_LIMIT_US));
    assert_int_equal(pages_saved(), before);
    assert_int_equal(expiring_left(), 0);
    checkpoint_abort("enough");
}

/* ---- eviction ---- */

#define PIPELINE   10
#define EVICTED_AT 16 /* keys between two looks at the clock */

/* The client's commands in one turn, all in one batch: how many of them ran. */
static int run_turn(int *left, const char *command)
{
    g_auto(GStrv) words = g_strsplit(command, " ", -1);
    Slice argv[4];
    Incoming batch[PIPELINE];
    int ran = 0;
    for (guint i = 0; i < g_strv_length(words); i++)
        argv[i] = slice_of(words[i]);
    for (int i = 0; i < *left; i++)
        batch[i] = (Incoming){ .client = client, .argc = g_strv_length(words), .argv = argv };
    command_run_batch(batch, (size_t)*left);
    for (int i = 0; i < *left; i++) {
        assert_true(ran == i || batch[i].skipped); /* in their order */
        ran += !batch[i].skipped;
    }
    assert_true(client->held == (ran < *left));
    client->held = false;
    *left -= ran;
    return ran;
}

/* A turn in which too much is in use, and eviction has had its time. */
static void begin_evicting(void)
{
    fill();
    options.maxmemory = 1;
    options.maxmemory_policy = EVICT_ALLKEYS_RANDOM;
    evict_end_turn();
    while (!evict_is_pressed())
        assert_true(evict_run(keyspace));
}

static void end_evicting(void)
{
    evict_end_turn();
    options.maxmemory = 0;
    g_free(host_take_reply(client));
}

/* Who only reads isn't held up, and has no more keys evicted than there's time for. */
static void test_eviction_and_reads(void **state)
{
    (void)state;
    int left = PIPELINE;
    begin_evicting();
    uint64_t before = keyspace->evicted;
    run_turn(&left, "GET key");
    assert_int_equal(left, 0);
    assert_int_equal(keyspace->evicted, before);
    end_evicting();
}

/* What needs memory runs one by one as long as there's too little, each with some keys evicted for it. */
static void test_eviction_and_writes(void **state)
{
    (void)state;
    for (int left = PIPELINE; left > 0;) {
        begin_evicting();
        uint64_t before = keyspace->evicted;
        assert_int_equal(run_turn(&left, "SET key value"), 1);
        assert_in_range(keyspace->evicted - before, 1, EVICTED_AT);
    }
    /* All at once when there's enough. */
    int left = PIPELINE;
    begin_evicting();
    options.maxmemory = INT64_MAX;
    assert_int_equal(run_turn(&left, "SET key value"), PIPELINE);
    end_evicting();
}

/* Nor does what is refused wait for anything. */
static void test_eviction_of_nothing(void **state)
{
    (void)state;
    int left = PIPELINE;
    begin_evicting();
    options.maxmemory_policy = EVICT_VOLATILE_LRU;
    assert_int_equal(run_turn(&left, "SET key value"), PIPELINE);
    g_autofree char *replies = host_take_reply(client);
    assert_true(g_str_has_prefix(replies, "-OOM command not allowed"));
    end_evicting();
}

/* Each key may have a page saved: there's a look at the clock behind each. */
static void test_eviction_in_checkpoint(void **state)
{
    (void)state;
    start_checkpoint();
    begin_evicting();
    uint64_t before = keyspace->evicted;
    assert_true(evict_run(keyspace));
    assert_int_equal(keyspace->evicted, before + 1);
    end_evicting();
    checkpoint_abort("enough");
}

/* ---- a master's stream ---- */

#define UNITS 300

static Loop *slave_loop;
static int units_run, turns_with_units;
static uint64_t pages_before_turn, pages_of_turn_max;
static bool stops_early; /* behind the first turn that runs units */

/* A DEL of one key. */
static char *apply(Slice unit, int fd)
{
    (void)fd;
    const char *key = g_strstr_len(unit.ptr, (gssize)unit.len, "key:");
    assert_true(keyspace_delete(&keyspace->dbs[0], (Slice){ key, unit.len - (size_t)(key - unit.ptr) - 2 }));
    units_run++;
    return NULL;
}

static void do_nothing(void)
{
}

static bool answer_no(void)
{
    return false;
}

static bool answer_yes(size_t bytes)
{
    (void)bytes;
    return true;
}

static uint64_t safe_offset(void)
{
    return (uint64_t)units_run;
}

static const SlaveHooks slave_hooks = {
    .ready = answer_no,
    .begin_units = do_nothing,
    .end_units = do_nothing,
    .apply = apply,
    .ack_asked = answer_no,
    .has_room = answer_yes,
    .safe_offset = safe_offset,
};

static void on_turn(void *context)
{
    (void)context;
    static int units_before;
    uint64_t pages = pages_saved() - pages_before_turn;
    pages_before_turn += pages;
    pages_of_turn_max = MAX(pages_of_turn_max, pages);
    turns_with_units += units_run != units_before;
    if (units_run == UNITS || (stops_early && units_run != units_before)) loop_stop(slave_loop);
    units_before = units_run;
}

/* The link as it passes from another process; the other end is the master's. */
static int begin_link(void)
{
    Tape tape;
    TapeReader reader;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_true(tape_open(&tape));
    const uint64_t values[] = { false, 0, true, 0, (uint64_t)clock_unix_ms, (uint64_t)clock_unix_ms, 1, 0 };
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        tape_put(&tape, values[i]);
    tape_put_text(&tape, SLICE(""));
    tape_put_text(&tape, SLICE(""));
    assert_true(tape_map(tape.fd, &reader));
    slave_restore(&reader, ends[0]);
    assert_false(reader.bad);
    tape_unmap(&reader);
    tape_close(&tape);
    return ends[1];
}

static void send_units(int master)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char key[KEY_CHARS];
    for (int i = 0; i < UNITS; i++) {
        name_key(key, i * (KEYS / UNITS));
        g_string_append_printf(text, "*2\r\n$3\r\nDEL\r\n$%zu\r\n%s\r\n", strlen(key), key);
    }
    assert_int_equal(write(master, text->str, text->len), text->len);
}

/* What a page was saved for ends the turn's units; those that have come run in the next ones, even if the master is
 * gone, and before this server is made a master. */
static void test_stream(void **state)
{
    (void)state;
    fill();
    slave_loop = loop_new(false);
    loop_set_hooks(slave_loop, on_turn, NULL, NULL);
    slave_init(slave_loop, &slave_hooks);
    int master = begin_link();
    send_units(master);
    close(master);
    start_checkpoint();
    pages_before_turn = pages_saved();
    stops_early = true;
    loop_run(slave_loop);
    assert_in_range(units_run, 1, UNITS - 1);
    int left = 1;
    assert_int_equal(run_turn(&left, "SLAVEOF NO ONE"), 0);
    assert_int_equal(run_turn(&left, "PSYNC id 1 FAILOVER"), 0);
    stops_early = false;
    loop_run(slave_loop);
    assert_int_equal(units_run, UNITS);
    assert_int_equal(pages_of_turn_max, 1);
    assert_true(turns_with_units > 1);
    assert_int_equal(run_turn(&left, "SLAVEOF NO ONE"), 1);
    checkpoint_abort("enough");
    slave_end();
    loop_free(slave_loop);
}

static int set_up(void **state)
{
    (void)state;
    if (host_start_checkpoints(&client) == NULL) return -1;
    fill();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return host_stop_checkpoints() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_expiry_of_saved),
        cmocka_unit_test(test_eviction_and_reads),
        cmocka_unit_test(test_eviction_and_writes),
        cmocka_unit_test(test_eviction_of_nothing),
        cmocka_unit_test(test_eviction_in_checkpoint),
        cmocka_unit_test(test_stream),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
