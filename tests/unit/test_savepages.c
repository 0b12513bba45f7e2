/* test_savepages.c: commands that change many keys, or much of one value, while a checkpoint wants the pages of these
 * saved first: they run as one, but only when turns that are bounded have saved the pages.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/clock.h"
#include "base/options.h"
#include "cmds/command.h"
#include "store/checkpoint.h"
#include "tests/unit/host.h"

#define KEYS        200000 /* of some thousand pages */
#define EACH        100    /* one of so many keys is changed */
#define CHANGED     (KEYS / EACH)
#define VALUE_BYTES 400
#define KEY_CHARS   16
#define TURNS_MAX   100000
#define ELEMENTS    100000 /* of a big collection */
#define MANY        5000   /* of them are changed by one command */
#define FEW_PAGES   20
#define LONG_BYTES  (30U << 20)

/* An element of a list, of which 20 fill a chunk. */
#define LONG_ELEMENT                                                                                                   \
    "%d-------------------------------------------------------------------------------------------------------------"  \
    "-------------------------------------------------------------------------------------------------------------"    \
    "-------------------------------------------------------------------------------------------------------------"

static Loop *loop;
static Client *client;
static char names[CHANGED][KEY_CHARS]; /* of the keys that are changed */

static Slice name_key(char *room, int number)
{
    return (Slice){ room, (size_t)snprintf(room, KEY_CHARS, "key:%d", number) };
}

static void fill(void)
{
    char key[KEY_CHARS], value[VALUE_BYTES];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < KEYS; i++)
        keyspace_put_string(&keyspace->dbs[0], name_key(key, i), (Slice){ value, sizeof(value) });
    for (int i = 0; i < CHANGED; i++)
        name_key(names[i], i * EACH);
}

/* Runs the command in as many turns as it takes; how many. */
static int run(Slice *argv, size_t argc)
{
    for (int turns = 1; turns < TURNS_MAX; turns++) {
        Incoming in = { .client = client, .argc = (uint32_t)argc, .argv = argv };
        command_run_batch(&in, 1);
        checkpoint_end_turn();
        if (!in.skipped) return turns;
        assert_true(client->held);
        client->held = false;
        g_autofree char *reply = host_take_reply(client);
        assert_string_equal(reply, "");
    }
    fail_msg("it never runs");
    return 0;
}

static int run_words(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    Slice argv[4];
    size_t argc = g_strv_length(words);
    for (size_t i = 0; i < argc; i++)
        argv[i] = slice_of(words[i]);
    return run(argv, argc);
}

static void assert_reply(const char *expected)
{
    g_autofree char *reply = host_take_reply(client);
    if (!g_str_has_prefix(reply, expected)) fail_msg("'%.60s' instead of '%s'", reply, expected);
}

/* Pages saved since a checkpoint was started and had its time in the turn. */
static uint64_t pages_before;

static uint64_t pages_saved(void)
{
    return checkpoint_status().pages_done - pages_before;
}

/* How fast the machine is decides nothing: the checkpoint has had its time in this turn, with the databases' pages, so
 * what needs a page is put off. */
static void start_checkpoint(void)
{
    static uint64_t offset;
    char *error = NULL;
    if (checkpoint_is_walking()) checkpoint_abort("the test before failed");
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    while (!checkpoint_is_pressed()) {
        if (checkpoint_step(100, 0) == CHECKPOINT_WAIT) checkpoint_wait();
    }
    assert_true(checkpoint_is_walking());
    pages_before = checkpoint_status().pages_done;
}

static void test_many_keys(void **state)
{
    (void)state;
    static Slice argv[1 + 2 * CHANGED];
    argv[0] = SLICE("MSET");
    for (int i = 0; i < CHANGED; i++) {
        argv[1 + 2 * i] = slice_of(names[i]);
        argv[2 + 2 * i] = SLICE("new");
    }
    assert_int_equal(run(argv, 1 + 2 * CHANGED), 1);
    assert_reply("+OK\r\n");
    start_checkpoint();
    assert_true(run(argv, 1 + 2 * CHANGED) > 1);
    assert_reply("+OK\r\n");
    checkpoint_abort("enough");
    assert_int_equal(run_words("GET key:0"), 1);
    assert_reply("$3\r\nnew\r\n");
    for (int i = 0; i < CHANGED; i++)
        argv[1 + i] = slice_of(names[i]);
    argv[0] = SLICE("DEL");
    start_checkpoint();
    assert_true(run(argv, 1 + CHANGED) > 1);
    g_autofree char *deleted = g_strdup_printf(":%d\r\n", CHANGED);
    assert_reply(deleted);
    checkpoint_abort("enough");
}

/* A transaction is queued at once, and runs as one. */
static void test_transaction(void **state)
{
    (void)state;
    start_checkpoint();
    run_words("MULTI");
    for (int i = 0; i < CHANGED; i++) {
        g_autofree char *text = g_strdup_printf("SET %s again", names[i]);
        run_words(text);
    }
    run_words("GET key:0");
    assert_reply("+OK\r\n+QUEUED\r\n");
    assert_true(run_words("EXEC") > 1);
    g_autofree char *replies = g_strdup_printf("*%d\r\n+OK\r\n+OK\r\n", CHANGED + 1);
    assert_reply(replies);
    checkpoint_abort("enough");
}

/* It goes to the database of its keys. */
static void test_transaction_selects(void **state)
{
    (void)state;
    assert_int_equal(run_words("SELECT 1"), 1);
    start_checkpoint();
    run_words("MULTI");
    run_words("SELECT 0");
    for (int i = 0; i < CHANGED; i++) {
        g_autofree char *text = g_strdup_printf("SET %s selected", names[i]);
        run_words(text);
    }
    run_words("SELECT 99");
    g_free(host_take_reply(client));
    assert_true(run_words("EXEC") > 1);
    checkpoint_abort("enough");
    g_free(host_take_reply(client));
    assert_int_equal(run_words("SELECT 0"), 1);
    g_free(host_take_reply(client));
}

/* ---- one big value ---- */

/* "COMMAND key" and, for each of the elements `from` to `end`, what `format` makes of it: words. */
static GPtrArray *command_on(const char *command, const char *format, int from, int end)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) first = g_strsplit(command, " ", -1);
    for (char **word = first; *word != NULL; word++)
        g_ptr_array_add(words, g_strdup(*word));
    for (int i = from; i < end; i++) {
        g_autofree char *text = g_strdup_printf(format, i, i);
        g_auto(GStrv) each = g_strsplit(text, " ", -1);
        for (char **word = each; *word != NULL; word++)
            g_ptr_array_add(words, g_strdup(*word));
    }
    return words;
}

static int run_on(const char *command, const char *format, int from, int end)
{
    g_autoptr(GPtrArray) words = command_on(command, format, from, end);
    g_autofree Slice *argv = g_new(Slice, words->len);
    for (guint i = 0; i < words->len; i++)
        argv[i] = slice_of(words->pdata[i]);
    return run(argv, words->len);
}

/* While a checkpoint runs the command takes several turns, unless it's a small one; then a look at what it did. */
typedef struct Change {
    const char *command, *format;
    int end;    /* of the elements named */
    bool small; /* few pages are saved for it */
    const char *reply, *look, *seen;
} Change;

static void assert_changes(const char *fill, const char *format, const Change *change, size_t count)
{
    for (int i = 0; i < ELEMENTS; i += ELEMENTS / 10)
        assert_int_equal(run_on(fill, format, i, i + ELEMENTS / 10), 1);
    for (size_t i = 0; i < count; i++) {
        g_free(host_take_reply(client));
        start_checkpoint();
        int turns = run_on(change[i].command, change[i].format, 0, change[i].end);
        uint64_t pages = pages_saved();
        if ((turns > 1 && pages > FEW_PAGES) == change[i].small)
            fail_msg("%s: %d turns, %d pages", change[i].command, turns, (int)pages);
        assert_reply(change[i].reply);
        checkpoint_abort("enough");
        run_words(change[i].look);
        assert_reply(change[i].seen);
    }
    run_words("DEL big");
    g_free(host_take_reply(client));
}

static void test_hash(void **state)
{
    (void)state;
    const Change changes[] = {
        { "HMSET big", "f%d new%d", MANY, false, "+OK\r\n", "HGET big f7", "$4\r\nnew7\r\n" },
        { "HDEL big", "f%d", MANY, false, ":5000\r\n", "HLEN big", ":95000\r\n" },
        { "HSET big f90000 one", "", 0, true, ":0\r\n", "HGET big f90000", "$3\r\none\r\n" },
    };
    assert_changes("HMSET big", "f%d value%d", changes, G_N_ELEMENTS(changes));
}

static void test_set(void **state)
{
    (void)state;
    const Change changes[] = {
        { "SADD big", "m%d other%d", MANY, false, ":5000\r\n", "SCARD big", ":105000\r\n" },
        { "SREM big", "m%d", MANY, false, ":5000\r\n", "SCARD big", ":100000\r\n" },
        { "SPOP big 5000", "", 0, false, "*5000\r\n", "SCARD big", ":95000\r\n" },
        { "SPOP big", "", 0, true, "$", "SCARD big", ":94999\r\n" },
    };
    assert_changes("SADD big", "m%d", changes, G_N_ELEMENTS(changes));
}

static void test_zset(void **state)
{
    (void)state;
    const Change changes[] = {
        { "ZADD big XX CH", "-%d m%d", MANY, false, ":4999\r\n", "ZSCORE big m7", "$2\r\n-7\r\n" },
        { "ZREM big", "m%d", MANY, false, ":5000\r\n", "ZCARD big", ":95000\r\n" },
        { "ZREMRANGEBYRANK big 0 2999", "", 0, false, ":3000\r\n", "ZCARD big", ":92000\r\n" },
        { "ZREMRANGEBYSCORE big (10000 12000", "", 0, false, ":2000\r\n", "ZCARD big", ":90000\r\n" },
        { "ZREMRANGEBYSCORE big -inf 50000", "", 0, false, ":40001\r\n", "ZCARD big", ":49999\r\n" },
        { "ZREMRANGEBYRANK big -3 -1", "", 0, true, ":3\r\n", "ZCARD big", ":49996\r\n" },
        { "ZINCRBY big 5 m60000", "", 0, true, "$5\r\n60005\r\n", "ZCARD big", ":49996\r\n" },
    };
    assert_changes("ZADD big", "%d m%d", changes, G_N_ELEMENTS(changes));
}

static void test_geo(void **state)
{
    (void)state;
    const Change changes[] = {
        { "ZREMRANGEBYLEX big [m80000 [m80002", "", 0, true, ":3\r\n", "ZCARD big", ":99997\r\n" },
        { "ZREMRANGEBYLEX big [m7 (m8", "", 0, false, ":11111\r\n", "ZCARD big", ":88886\r\n" },
        { "GEOADD big", "2 1 m%d", MANY, false, ":111\r\n", "ZCARD big", ":88997\r\n" },
    };
    assert_changes("GEOADD big", "1 1 m%d", changes, G_N_ELEMENTS(changes));
}

static void test_list(void **state)
{
    (void)state;
    const Change changes[] = {
        { "LSET big 50000 new", "", 0, true, "+OK\r\n", "LINDEX big 50000", "$3\r\nnew\r\n" },
        { "LREM big 0 new", "", 0, false, ":1\r\n", "LLEN big", ":99999\r\n" },
        { "LTRIM big 10 -11", "", 0, true, "+OK\r\n", "LLEN big", ":99979\r\n" },
        { "LTRIM big 90000 -1", "", 0, false, "+OK\r\n", "LLEN big", ":9979\r\n" },
    };
    assert_changes("RPUSH big", LONG_ELEMENT, changes, G_N_ELEMENTS(changes));
}

/* Long elements: few pages are much. */
static void put_long_elements(const char *command, int count)
{
    for (int i = 0; i < count; i++) {
        g_autofree char *text = g_strdup_printf("%0*d", LONG_BYTES / count, i);
        Slice argv[] = { slice_of(command), SLICE("big"), slice_of(text) };
        assert_int_equal(run(argv, G_N_ELEMENTS(argv)), 1);
    }
    g_free(host_take_reply(client));
}

static void assert_long_elements(const char *put, int count, const char *const *commands)
{
    for (; *commands != NULL; commands++) {
        put_long_elements(put, count);
        start_checkpoint();
        if (run_words(*commands) == 1) fail_msg("%s: in one turn", *commands);
        checkpoint_abort("enough");
        run_words("DEL big");
        g_free(host_take_reply(client));
    }
}

static void test_long_elements(void **state)
{
    (void)state;
    const char *const on_list[] = { "LPUSH big x", "RPUSH big x",  "LPUSHX big x", "RPUSHX big x",       "LPOP big",
                                    "RPOP big",    "LSET big 3 x", "LREM big 2 x", "RPOPLPUSH big big2", NULL };
    assert_long_elements("RPUSH", 6, on_list);
    const char *const on_set[] = { "SPOP big", "SPOP big 3", NULL };
    assert_long_elements("SADD", 30, on_set);
}

/* A command with too few arguments, or of somebody who hasn't said the password, isn't looked at, but refused. */
static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(run_on("ZADD big", "%d m%d", 0, ELEMENTS), 1);
    assert_int_equal(run_on("RPUSH list", LONG_ELEMENT, 0, ELEMENTS), 1);
    g_free(host_take_reply(client));
    const char *few[] = { "ZREMRANGEBYRANK big",
                          "ZREMRANGEBYSCORE big",
                          "ZREMRANGEBYLEX big",
                          "ZADD big",
                          "LTRIM list",
                          "LREM list",
                          "ZREM big",
                          "ZINCRBY big" };
    const Slice nothing = { (const char *)1, SIZE_MAX / 2 };
    for (size_t i = 0; i < G_N_ELEMENTS(few); i++) {
        g_auto(GStrv) words = g_strsplit(few[i], " ", -1);
        Slice argv[] = { slice_of(words[0]), slice_of(words[1]), nothing, nothing };
        start_checkpoint();
        assert_int_equal(run(argv, 2), 1);
        assert_reply("-ERR wrong number of arguments");
        checkpoint_abort("enough");
    }
    Session *session = client->session;
    char *none = options.password, secret[] = "secret";
    options.password = secret;
    session->authenticated = false;
    start_checkpoint();
    assert_int_equal(run_words("ZREMRANGEBYRANK big 0 -1"), 1);
    assert_reply("-NOAUTH");
    assert_int_equal(pages_saved(), 0);
    checkpoint_abort("enough");
    session->authenticated = true;
    options.password = none;
    run_words("DEL big list");
    g_free(host_take_reply(client));
}

/* What is long is run rather than kept from turn to turn. */
static void test_long_command(void **state)
{
    (void)state;
    assert_int_equal(run_on("HMSET big", "f%d v%d", 0, ELEMENTS), 1);
    start_checkpoint();
    g_autofree char *format = g_strdup_printf("f%%d %0500d", 0);
    g_free(host_take_reply(client));
    assert_int_equal(run_on("HMSET big", format, 0, MANY), 1);
    checkpoint_abort("enough");
    run_words("DEL big");
    g_free(host_take_reply(client));
}

/* The copy of a long string is made in pieces; so is that of a long element's page. */
static void test_long(void **state)
{
    (void)state;
    g_autofree char *text = g_strnfill(LONG_BYTES, 'x');
    keyspace_put_string(&keyspace->dbs[0], SLICE("big"), slice_of(text));
    const char *on_string[] = { "APPEND big y", "SETRANGE big 3 y", "SETBIT big 3 1", "EXPIRE big 100", "PERSIST big" };
    for (size_t i = 0; i < G_N_ELEMENTS(on_string); i++) {
        start_checkpoint();
        g_free(host_take_reply(client));
        if (run_words(on_string[i]) == 1) fail_msg("%s: in one turn", on_string[i]);
        checkpoint_abort("enough");
    }
    assert_int_equal(run_words("SET big short"), 1);
    run_words("DEL big");
    g_free(host_take_reply(client));
    Slice argv[] = { SLICE("HMSET"), SLICE("big"), SLICE("long"), slice_of(text), SLICE("short"), SLICE("s") };
    assert_int_equal(run(argv, G_N_ELEMENTS(argv)), 1);
    assert_reply("+OK\r\n");
    start_checkpoint();
    assert_true(run_words("HDEL big long") > 1);
    checkpoint_abort("enough");
    run_words("DEL big");
    g_free(host_take_reply(client));
}

/* A long string whose page is saved, and that is still to be copied. */
static const Entry *begin_copy(void)
{
    g_autofree char *text = g_strnfill(LONG_BYTES, 'x');
    const Entry *entry = keyspace_put_string(&keyspace->dbs[0], SLICE("big"), slice_of(text));
    start_checkpoint();
    while (!keyspace_save_page(&keyspace->dbs[0], SLICE("big")))
        checkpoint_end_turn();
    assert_true(checkpoint_needs_string(entry));
    return entry;
}

/* What changes nothing doesn't have a long string copied. */
static void test_nothing_changes(void **state)
{
    (void)state;
    const struct {
        const char *command, *reply;
    } tries[] = {
        { "SETNX big x", ":0\r\n" },
        { "SET big x NX", "$-1\r\n" },
        { "MSETNX big x", ":0\r\n" },
        { "INCR big", "-ERR value is not an integer" },
        { "DECRBY big 3", "-ERR value is not an integer" },
        { "INCRBYFLOAT big 3", "-ERR value is not a valid float" },
        { "PFADD big x", "-WRONGTYPE" },
        { "PFCOUNT big", "-WRONGTYPE" },
        { "PFMERGE big big", "-WRONGTYPE" },
        { "HSET big f v", "-WRONGTYPE" },
        { "HDEL big f", "-WRONGTYPE" },
        { "SADD big m", "-WRONGTYPE" },
        { "SPOP big", "-WRONGTYPE" },
        { "SMOVE set big m", "-WRONGTYPE" },
        { "ZADD big 1 m", "-WRONGTYPE" },
        { "ZREMRANGEBYRANK big 0 1", "-WRONGTYPE" },
        { "LPUSH big x", "-WRONGTYPE" },
        { "LPOP big", "-WRONGTYPE" },
        { "LTRIM big 0 1", "-WRONGTYPE" },
        { "RPOPLPUSH list big", "-WRONGTYPE" },
        { "GETSET set x", "-WRONGTYPE" },
    };
    run_words("SADD set m");
    run_words("RPUSH list x");
    for (size_t i = 0; i < G_N_ELEMENTS(tries); i++) {
        const Entry *entry = begin_copy();
        g_free(host_take_reply(client));
        assert_int_equal(run_words("PING"), 1);
        run_words(tries[i].command);
        if (!checkpoint_needs_string(entry)) fail_msg("%s: the string was copied", tries[i].command);
        g_autofree char *reply = host_take_reply(client);
        if (strstr(reply, tries[i].reply) == NULL) fail_msg("%s: %.60s", tries[i].command, reply);
        checkpoint_abort("enough");
    }
    run_words("DEL big set list");
    g_free(host_take_reply(client));
}

/* The time of what is copied at once counts. */
static void test_copied_at_once(void **state)
{
    (void)state;
    const Entry *entry = begin_copy();
    checkpoint_end_turn();
    assert_false(checkpoint_is_pressed());
    keyspace_write(&keyspace->dbs[0], SLICE("big"));
    assert_false(checkpoint_needs_string(entry));
    assert_true(checkpoint_is_pressed());
    checkpoint_abort("enough");
    run_words("DEL big");
    g_free(host_take_reply(client));
}

static int set_up(void **state)
{
    (void)state;
    loop = host_start_checkpoints(&client);
    if (loop == NULL) return -1;
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
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_transaction_selects),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_zset),
        cmocka_unit_test(test_geo),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_long_elements),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_command),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_nothing_changes),
        cmocka_unit_test(test_copied_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
