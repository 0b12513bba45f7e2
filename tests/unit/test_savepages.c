/* test_savepages.c: commands that change many keys while a checkpoint wants these keys' pages saved first: they run as
 * one, but only when turns that are bounded have saved the pages.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static Loop *loop;
static Client *client;
static Manifest manifest;
static char *directory;
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

static void start_checkpoint(void)
{
    static uint64_t offset;
    char *error = NULL;
    if (!checkpoint_start(++offset, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    assert_true(checkpoint_is_walking());
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

static int set_up(void **state)
{
    (void)state;
    options_reset();
    clock_refresh();
    directory = g_dir_make_tmp("ckv-test-XXXXXX", NULL);
    if (directory == NULL || chdir(directory) != 0) return -1;
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
    loop = host_start();
    checkpoint_init(keyspace, &manifest, NULL);
    client = host_client(NULL);
    fill();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_shutdown();
    checkpoint_forget_all();
    keyspace_free(keyspace);
    manifest_clear(&manifest);
    g_autofree char *remove = g_strdup_printf("rm -rf '%s'", directory);
    if (chdir("/") != 0 || system(remove) != 0) return -1;
    g_free(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_many_keys), cmocka_unit_test(test_transaction) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
