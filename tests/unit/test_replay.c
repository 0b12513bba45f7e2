/* test_replay.c: the journal run again gives the same data: random commands of every family go through the command
 * layer as a client's do; then the data is thrown away and the journal replayed. And what a batch must not hold.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/replay.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "net/loop.h"
#include "store/evict.h"
#include "store/journal.h"
#include "store/rdb.h"
#include "tests/unit/host.h"

#define SEED     20261125
#define ROUNDS   6
#define COMMANDS 20000
#define HISTORY  "0123456789012345678901234567890123456789"

static Loop *loop;
static Client *client;
static char *directory;

/* ---- commands ---- */

/* A word of one letter stands for something random: K key, V value, M member, I small integer, F number, S seconds
 * (some are past), P ms, T unix ms, D database; A, B, C key of a set, of an estimate, of places. */
static const char *const templates[] = {
    "SET K V",
    "SET K V",
    "SET K I",
    "SET K V EX S",
    "SET K V PX P",
    "SET K V NX",
    "SET K V XX",
    "SET K V NX PX P",
    "SET K V XX EX S",
    "SETNX K V",
    "SETEX K S V",
    "PSETEX K P V",
    "GET K",
    "GETSET K V",
    "MSET K V K V K I",
    "MSETNX K V K V",
    "APPEND K V",
    "SETRANGE K I V",
    "INCR K",
    "DECR K",
    "INCRBY K I",
    "DECRBY K I",
    "INCRBYFLOAT K F",
    "INCRBYFLOAT K F",
    "SETBIT K I 1",
    "BITOP xor K K K",
    "BITOP not K K",
    "STRLEN K",
    "EXPIRE K S",
    "PEXPIRE K P",
    "EXPIREAT K 1",
    "PEXPIREAT K T",
    "PEXPIREAT K T",
    "PERSIST K",
    "TTL K",
    "DEL K",
    "DEL K K",
    "RENAME K K",
    "RENAMENX K K",
    "MOVE K D",
    "EXISTS K",
    "SORT K ALPHA STORE K",
    "SORT K BY nosort GET # GET K STORE K",
    "SORT K LIMIT 0 2 STORE K",
    "LPUSH K V M",
    "RPUSH K V M I",
    "LPUSHX K V",
    "RPUSHX K V",
    "LPOP K",
    "RPOP K",
    "RPOPLPUSH K K",
    "LSET K I V",
    "LINSERT K before M V",
    "LREM K I M",
    "LTRIM K 0 I",
    "SADD K M M I",
    "SADD K I I I",
    "SREM K M M",
    "SMOVE K K M",
    "SPOP K",
    "SPOP K",
    "SPOP K I",
    "SPOP K 100",
    "SUNIONSTORE K K K",
    "SINTERSTORE K K K",
    "SDIFFSTORE K K K",
    "SRANDMEMBER K",
    "HSET K M V",
    "HMSET K M V M I",
    "HSETNX K M V",
    "HDEL K M M",
    "HINCRBY K M I",
    "HINCRBYFLOAT K M F",
    "ZADD K F M F M",
    "ZADD K NX F M",
    "ZADD K XX CH F M",
    "ZADD K INCR F M",
    "ZINCRBY K F M",
    "ZREM K M M",
    "ZREMRANGEBYRANK K 0 I",
    "ZREMRANGEBYSCORE K -5 I",
    "ZREMRANGEBYLEX K [a (c",
    "ZUNIONSTORE K 2 K K",
    "ZUNIONSTORE K 2 K K WEIGHTS F F AGGREGATE MAX",
    "ZINTERSTORE K 2 K K",
    "GEOADD K I I M I I M",
    "GEORADIUS K I I 3000 km STORE K",
    "GEORADIUS K I I 5000 km COUNT 2 STOREDIST K",
    "PFADD K M M M",
    "PFADD K V",
    "PFCOUNT K",
    "PFCOUNT K K",
    "PFMERGE K K K",
    "PFDEBUG todense K",
    "DEBUG POPULATE I K",
    "SADD A M M M M M V V",
    "SADD A I I I I I I I",
    "SPOP A",
    "SPOP A 2",
    "SPOP A 5",
    "SPOP A 12",
    "SMOVE A A M",
    "EXPIRE A S",
    "DEL A",
    "PFADD B V V V",
    "PFADD B V M V",
    "PFADD B M M M",
    "PFCOUNT B",
    "PFMERGE B B B",
    "SETRANGE B 30 V",
    "DEL B",
    "GEOADD C I I M I I M I I M",
    "GEORADIUS C I I 3000 km STORE K",
    "GEORADIUS C I I 5000 km COUNT 2 STOREDIST C",
    "ZREM C M",
    "SELECT D",
    "SELECT D",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "ECHO V",
};

static char *random_word(GRand *rand, char kind)
{
    switch (kind) {
    case 'K': return g_strdup_printf("key%d", g_rand_int_range(rand, 0, 40));
    case 'A':
    case 'B':
    case 'C': return g_strdup_printf("own%c%d", kind, g_rand_int_range(rand, 0, 2));
    case 'M': return g_strdup_printf("m%d", g_rand_int_range(rand, 0, 12));
    case 'I': return g_strdup_printf("%d", g_rand_int_range(rand, -3, 40));
    case 'F': return g_strdup_printf("%.*g", g_rand_int_range(rand, 1, 17), g_rand_double_range(rand, -50, 50));
    case 'S': return g_strdup_printf("%d", g_rand_int_range(rand, -1, 4));
    case 'P': return g_strdup_printf("%d", g_rand_int_range(rand, -10, 3000));
    case 'T': return g_strdup_printf("%ld", clock_unix_ms + g_rand_int_range(rand, -500, 3000));
    case 'D': return g_strdup_printf("%d", g_rand_int_range(rand, 0, 4));
    default: return g_strnfill((gsize)g_rand_int_range(rand, 0, 90), (char)('a' + g_rand_int_range(rand, 0, 26)));
    }
}

/* Runs the words of one command and drops the reply; returns its beginning (g_free). */
static char *run(char **words)
{
    Slice argv[16];
    uint32_t argc = g_strv_length(words);
    g_assert(argc <= G_N_ELEMENTS(argv));
    for (uint32_t i = 0; i < argc; i++)
        argv[i] = slice_of(words[i]);
    Incoming in = { .client = client, .argc = argc, .argv = argv };
    command_run_batch(&in, 1);
    return host_take_reply(client);
}

static char *run_text(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    return run(words);
}

static void run_random(GRand *rand)
{
    const char *template = templates[g_rand_int_range(rand, 0, G_N_ELEMENTS(templates))];
    g_auto(GStrv) words = g_strsplit(template, " ", -1);
    for (int i = 0; words[i] != NULL; i++) {
        if (words[i][0] == '\0' || words[i][1] != '\0' || !g_ascii_isupper(words[i][0])) continue;
        char *word = random_word(rand, words[i][0]);
        g_free(words[i]);
        words[i] = word;
    }
    g_free(run(words));
}

/* ---- what the data is ---- */

static GHashTable *deadlines_seen; /* "db key": deadline */
static int db_seen;

static void note_deadline(void *element, void *context)
{
    (void)context;
    const Entry *entry = element;
    Slice key = entry_key(entry);
    char *name = g_strdup_printf("%d %.*s", db_seen, (int)key.len, key.ptr);
    g_hash_table_insert(deadlines_seen, name, GSIZE_TO_POINTER((gsize)entry_deadline(entry)));
}

static GHashTable *all_deadlines(void)
{
    deadlines_seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (db_seen = 0; db_seen < keyspace->db_count; db_seen++)
        table_each(&keyspace->dbs[db_seen].table, note_deadline, NULL);
    return deadlines_seen;
}

static void assert_same_deadlines(GHashTable *before, GHashTable *after)
{
    GHashTableIter iter;
    gpointer name, deadline, found;
    assert_int_equal(g_hash_table_size(before), g_hash_table_size(after));
    g_hash_table_iter_init(&iter, before);
    while (g_hash_table_iter_next(&iter, &name, &deadline)) {
        if (!g_hash_table_lookup_extended(after, name, NULL, &found)) fail_msg("'%s' is missing", (char *)name);
        if (found != deadline) fail_msg("'%s' goes at %p, not %p", (char *)name, found, deadline);
    }
}

/* ---- the journal ---- */

static void open_journal(void)
{
    char *wrong = NULL;
    JournalReader *reader = journal_reader_new(".", 0, NULL, &wrong);
    if (reader == NULL) fail_msg("%s", wrong);
    JournalBatch batch;
    while (journal_read(reader, &batch) == JOURNAL_BATCH)
        ;
    JournalStart how = {
        .offset = journal_reader_offset(reader), .db = -1, .history = HISTORY, .segment_bytes = 1 << 20
    };
    journal_reader_free(reader);
    assert_null(journal_open(&how));
    effects_start();
}

static void close_journal(void)
{
    effects_stop();
    assert_true(journal_close());
}

static uint64_t replay_all(uint64_t from)
{
    char *bad = NULL;
    JournalReader *reader = journal_reader_new(".", from, NULL, &bad);
    if (reader == NULL) fail_msg("%s", bad);
    JournalBatch batch;
    replay_begin(-1);
    for (JournalRead read; (read = journal_read(reader, &batch)) != JOURNAL_END;) {
        char *wrong = NULL;
        assert_int_equal(read, JOURNAL_BATCH);
        if (batch.offset < from) continue;
        if (!replay_run(batch.payload, batch.unix_ms, &wrong)) fail_msg("offset %lu: %s", batch.offset, wrong);
    }
    replay_end();
    uint64_t end = journal_reader_offset(reader);
    journal_reader_free(reader);
    return end;
}

static void flush_all(void)
{
    for (int i = 0; i < keyspace->db_count; i++)
        keyspace_flush(&keyspace->dbs[i]);
}

/* ---- the tests ---- */

/* Also keys that expire while nobody touches them, and keys that are evicted. */
static void disturb(GRand *rand)
{
    clock_unix_ms += g_rand_int_range(rand, 0, 40);
    if (g_rand_int_range(rand, 0, 50) == 0) expire_run(keyspace, 1000);
    if (g_rand_int_range(rand, 0, 500) != 0) return;
    options.maxmemory = 1; /* all that one call may evict within its time */
    evict_run(keyspace);
    options.maxmemory = 0;
}

static void test_same_data(void **state)
{
    (void)state;
    printf("seed %d\n", SEED);
    GRand *rand = g_rand_new_with_seed(SEED);
    options.maxmemory_policy = EVICT_ALLKEYS_RANDOM;
    for (int round = 0; round < ROUNDS; round++) {
        open_journal();
        uint64_t from = journal_offset();
        g_free(run_text("DISCARD"));
        g_free(run_text("FLUSHALL"));
        for (int i = 0; i < COMMANDS; i++) {
            run_random(rand);
            disturb(rand);
        }
        close_journal();
        int64_t end_ms = clock_unix_ms;
        g_autofree char *digest = run_text("DEBUG DIGEST");
        GHashTable *before = all_deadlines();
        flush_all();
        assert_true(replay_all(from) > from);
        clock_unix_ms = end_ms;
        GHashTable *after = all_deadlines();
        assert_same_deadlines(before, after);
        g_autofree char *replayed = run_text("DEBUG DIGEST");
        assert_string_equal(replayed, digest);
        g_hash_table_unref(before);
        g_hash_table_unref(after);
    }
    g_rand_free(rand);
}

static void assert_fails(const char *payload, const char *why)
{
    char *wrong = NULL;
    replay_begin(-1);
    assert_false(replay_run(slice_of(payload), clock_unix_ms, &wrong));
    replay_end();
    if (strstr(wrong, why) == NULL) fail_msg("'%s' instead of '%s'", wrong, why);
    g_free(wrong);
}

#define SET_A "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"

static void test_bad_batches(void **state)
{
    (void)state;
    flush_all();
    assert_fails("SET a 1\r\n", "byte 0 of the batch doesn't begin a command");
    assert_fails(SET_A "*3\r\n$3\r\nSET\r\n", "byte 27 of the batch doesn't begin a command");
    assert_fails(SET_A "*0\r\n", "byte 27");
    assert_fails("*2\r\n$3\r\nSET\r\n$1\r\na\r\n", "'SET' at byte 0 of the batch can't be run: it has a wrong number");
    assert_fails("*1\r\n$4\r\nWHAT\r\n", "'WHAT' at byte 0 of the batch can't be run: ckv doesn't have this command");
    assert_fails("*3\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n",
                 "'EVAL' at byte 0 of the batch can't be run: ckv doesn't have this command");
    assert_fails("*1\r\n$7\r\nMONITOR\r\n", "it has no place in a journal");
    assert_fails("*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n", "ERR invalid DB index");
    assert_fails(SET_A "*3\r\n$5\r\nLPUSH\r\n$1\r\na\r\n$1\r\n1\r\n",
                 "'LPUSH' at byte 27 of the batch can't be run: WRONGTYPE");
    assert_fails("*1\r\n$5\r\nMULTI\r\n" SET_A, "the batch ends between MULTI and EXEC");
    assert_fails("*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", "MULTI is nested");
    assert_fails(SET_A "*1\r\n$4\r\nEXEC\r\n", "there's no MULTI before it");
}

static void test_deadlines(void **state)
{
    (void)state;
    char *wrong = NULL;
    flush_all();
    replay_begin(-1);
    assert_int_equal(replay_db(), -1);
    assert_true(replay_run(SLICE("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n" SET_A), clock_unix_ms, &wrong));
    assert_int_equal(replay_db(), 3);
    /* Past, and still there, until the replay ends. */
    assert_true(replay_run(SLICE("*3\r\n$9\r\nPEXPIREAT\r\n$1\r\na\r\n$4\r\n1000\r\n"), clock_unix_ms, &wrong));
    assert_false(expire_run(keyspace, 1000));
    assert_int_equal(keyspace_size(&keyspace->dbs[3]), 1);
    assert_true(replay_run(SLICE("*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"), clock_unix_ms, &wrong));
    Entry *entry = keyspace_peek(&keyspace->dbs[3], SLICE("a"));
    assert_non_null(entry);
    assert_int_equal(entry->number, 2);
    assert_int_equal(entry_deadline(entry), 1000);
    assert_int_equal(replay_commands(), 4);
    replay_end();
    expire_run(keyspace, 1000);
    assert_int_equal(keyspace_size(&keyspace->dbs[3]), 0);
}

/* ---- set-up ---- */

static int set_up(void **state)
{
    (void)state;
    options_reset();
    options.admin_plane_all = true;
    options.fsync = FSYNC_NO;
    log_level = LOG_WARNING + 1;
    directory = g_dir_make_tmp("ckv-test-XXXXXX", NULL);
    if (directory == NULL || chdir(directory) != 0) return -1;
    clock_refresh();
    loop = host_start();
    client = host_client(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_shutdown();
    keyspace_free(keyspace);
    g_autofree char *remove = g_strdup_printf("rm -rf '%s'", directory);
    if (chdir("/") != 0 || system(remove) != 0) return -1;
    g_free(directory);
    return 0;
}

/* A batch is read into the place of the one before: what was known of a key that was there isn't true of the next one.
 */
static void test_keys_at_the_same_address(void **state)
{
    (void)state;
    static const char *const batches[] = { "*3\r\n$4\r\nMSET\r\n$4\r\naaaa\r\n$1\r\n1\r\n",
                                           "*3\r\n$4\r\nSADD\r\n$4\r\nbbbb\r\n$1\r\n1\r\n" };
    char room[64], key[] = "bbbb";
    replay_begin(0);
    for (size_t i = 0; i < G_N_ELEMENTS(batches); i++) {
        char *error = NULL;
        strcpy(room, batches[i]);
        if (!replay_run(slice_of(room), clock_unix_ms, &error)) fail_msg("%s", error);
    }
    replay_end();
    assert_non_null(keyspace_peek(&keyspace->dbs[0], slice_of(key)));
    keyspace_flush(&keyspace->dbs[0]);
}

/* ---- what later versions send ---- */

/* What it comes to, in 3.2's commands. */
static const struct {
    const char *before, *form, *same;
} newer_forms[] = {
    { "SET a 1;PEXPIREAT a T", "SET a 2 KEEPTTL", "SET a 2;PEXPIREAT a T" },
    { "SET a 1", "SET a 2 keepttl", "SET a 2" },
    { "SET a 1", "SET a 2 PXAT 33000000000000 XX", "SET a 2;PEXPIREAT a 33000000000000" },
    { "", "SET a 2 EXAT 33000000000", "SET a 2;PEXPIREAT a 33000000000000" },
    { "SET a 1;SADD b x", "UNLINK a b c", "DEL a b" },
    { "SET a 1;PEXPIREAT a T", "COPY a b", "SET b 1;PEXPIREAT b T" },
    { "ZADD a 1 x;SET b 1;PEXPIREAT b T", "COPY a b REPLACE", "DEL b;ZADD b 1 x" },
    { "SET a 1", "COPY a a DB 3;SET c 1", "SELECT 3;SET a 1;SELECT 0;SET c 1" },
    { "SET a 1", "PEXPIREAT a T NX", "PEXPIREAT a T" },
    { "SET a 1;SELECT 3;SET b 1", "SELECT 3;FLUSHDB ASYNC", "SELECT 3;DEL b" },
    { "SET a 1;SELECT 3;SET b 1", "FLUSHALL SYNC", "DEL a;SELECT 3;DEL b" },
    { "", "HSET a f 1 g 2", "HMSET a f 1 g 2" },
    { "RPUSH a 1", "LPUSHX a 2 3;RPUSHX a 4 5;LPUSHX b 1 2", "LPUSH a 2 3;RPUSH a 4 5" },
    { "RPUSH a 1 2 3 4 5", "LPOP a 2;RPOP a 2", "LPOP a;LPOP a;RPOP a;RPOP a" },
    { "RPUSH a 1 2;RPUSH b 1 2", "LPOP a 5;RPOP b 2", "DEL a b" },
    { "RPUSH a 1 2 x", "LMOVE a b RIGHT LEFT;LMOVE a b LEFT RIGHT;LMOVE a b left left", "DEL a;RPUSH b 2 x 1" },
    { "RPUSH a 1 2 x", "LMOVE a a LEFT RIGHT;LMOVE a a RIGHT RIGHT", "LPOP a;RPUSH a 1" },
    { "RPUSH a x;PEXPIREAT a T", "LMOVE a a LEFT LEFT;LMOVE a a LEFT RIGHT;LMOVE a a RIGHT LEFT", "" },
    { "ZADD a 1 x 2 y 3 z 4 w", "ZPOPMIN a;ZPOPMAX a 2", "ZREM a x z w" },
    { "ZADD a 1 x 2 y", "ZPOPMAX a 5", "DEL a" },
    { "ZADD a 5 x", "ZADD a GT CH 4 x 6 y;ZADD a GT 7 x 6 x", "ZADD a 7 x 6 y" },
    { "ZADD a 5 x", "ZADD a XX LT 4 x 6 y;ZADD a LT 9 x", "ZADD a 4 x" },
    { "ZADD a 5 x", "ZADD a GT INCR -1 x;ZADD a GT INCR 2 x;ZADD a LT INCR 1 y", "ZADD a 7 x 1 y" },
    { "ZADD a 5 x", "ZADD a XX CH 6 x 7 y", "ZADD a 6 x" },
    { "GEOADD a 1 1 x", "GEOADD a NX CH 2 2 x 3 3 y;GEOADD a XX 4 4 z 5 5 y;GEOADD a CH 6 6 z",
      "GEOADD a 5 5 y 6 6 z" },
    { "SET a 1", "SPUBLISH c m;SCRIPT LOAD x;FUNCTION LOAD y", "" },
};

/* Runs commands that are separated by semicolons, words by blanks; T: a deadline. */
static void replay_text(const char *text)
{
    g_auto(GStrv) commands = g_strsplit(text, ";", -1);
    g_autoptr(GString) payload = g_string_new(NULL);
    char *wrong = NULL;
    for (int i = 0; commands[i] != NULL && commands[i][0] != '\0'; i++) {
        g_auto(GStrv) words = g_strsplit(commands[i], " ", -1);
        g_string_append_printf(payload, "*%u\r\n", g_strv_length(words));
        for (int j = 0; words[j] != NULL; j++) {
            const char *word = strcmp(words[j], "T") == 0 ? "32000000000000" : words[j];
            g_string_append_printf(payload, "$%zu\r\n%s\r\n", strlen(word), word);
        }
    }
    replay_begin(0);
    if (!replay_run((Slice){ payload->str, payload->len }, clock_unix_ms, &wrong)) fail_msg("%s: %s", text, wrong);
    replay_end();
}

static void test_newer_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(newer_forms); i++) {
        char *digests[2];
        GHashTable *deadlines[2];
        for (int other = 0; other < 2; other++) {
            flush_all();
            replay_text(newer_forms[i].before);
            replay_text(other ? newer_forms[i].same : newer_forms[i].form);
            digests[other] = run_text("DEBUG DIGEST");
            deadlines[other] = all_deadlines();
        }
        if (strcmp(digests[0], digests[1]) != 0) fail_msg("'%s' isn't '%s'", newer_forms[i].form, newer_forms[i].same);
        assert_same_deadlines(deadlines[0], deadlines[1]);
        for (int other = 0; other < 2; other++) {
            g_free(digests[other]);
            g_hash_table_unref(deadlines[other]);
        }
    }
    flush_all();
}

/* RESTORE with a deadline: what later versions send for one with a time to live. */
static void test_restore_absttl(void **state)
{
    (void)state;
    flush_all();
    replay_text("SET a 1");
    g_autoptr(GByteArray) dump = rdb_dump(keyspace_peek(&keyspace->dbs[0], SLICE("a")));
    g_autoptr(GByteArray) payload = g_byte_array_new();
    g_autofree char *head =
        g_strdup_printf("*6\r\n$7\r\nRESTORE\r\n$1\r\nb\r\n$14\r\n33000000000000\r\n$%u\r\n", dump->len);
    static const char tail[] = "\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n";
    g_byte_array_append(payload, (const guint8 *)head, (guint)strlen(head));
    g_byte_array_append(payload, dump->data, dump->len);
    g_byte_array_append(payload, (const guint8 *)tail, (guint)strlen(tail));
    for (int i = 0; i < 2; i++) {
        char *wrong = NULL;
        replay_begin(0);
        bool ran = replay_run((Slice){ (const char *)payload->data, payload->len }, clock_unix_ms, &wrong);
        replay_end();
        if (!ran) fail_msg("%s", wrong);
        const Entry *entry = keyspace_peek(&keyspace->dbs[0], SLICE("b"));
        assert_non_null(entry);
        assert_true(entry_deadline(entry) == 33000000000000);
    }
    flush_all();
}

static uint64_t calls(const char *name)
{
    return command_stats_of(command_find(slice_of(name)))->calls;
}

/* A master's stream counts as it does on a slave of 3.2: EXEC's for what is in a transaction. */
static void test_counts(void **state)
{
    (void)state;
    static const char unit[] = "*1\r\n$5\r\nMULTI\r\n" SET_A SET_A "*1\r\n$4\r\nEXEC\r\n" SET_A "*1\r\n$4\r\nPING\r\n";
    uint64_t set = calls("set"), multi = calls("multi"), exec = calls("exec"), ping = calls("ping");
    uint64_t all = commands_processed;
    char *wrong = NULL;
    bool partly;
    replay_begin(0);
    bool ran = replay_run_live(SLICE(unit), -1, &partly, &wrong);
    replay_end();
    if (!ran) fail_msg("%s", wrong);
    assert_int_equal(calls("multi") - multi, 1);
    assert_int_equal(calls("exec") - exec, 3);
    assert_int_equal(calls("set") - set, 1);
    assert_int_equal(calls("ping") - ping, 1);
    assert_int_equal(commands_processed - all, 6);
    flush_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_at_the_same_address),
        cmocka_unit_test(test_same_data),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_newer_forms),
        cmocka_unit_test(test_restore_absttl),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
