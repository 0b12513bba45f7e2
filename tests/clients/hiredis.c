/*
 * hiredis.c - hiredis as an application in C uses it: synchronous calls, pipelines by append, asynchronous calls with
 * publish/subscribe on GLib's main loop. Run by run.py, which explains the protocol.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib.h>
#include <hiredis/adapters/glib.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHECK_S_MAX = 30, BIG = 1 << 20 };

static int count;
static GString *failure; /* why the running check failed; empty as long as it did not */
static const char *password;
static int port;

/* ---- the protocol and the assertions */

G_GNUC_PRINTF(1, 2)
static void tell(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    fflush(stdout);
    char answer[16];
    if (!fgets(answer, sizeof answer, stdin)) exit(3);
}

static void expect(bool held, const char *about, const char *actual)
{
    count++;
    if (held || failure->len) return;
    g_string_printf(failure, "%s gave %.300s", about, actual);
    g_strdelimit(failure->str, "\r\n", ' ');
}

/* A reply as text: nil as (nil), an error as its text, a list's items with commas between. */
static void describe(GString *text, const redisReply *reply)
{
    if (!reply) {
        g_string_append(text, "(no reply)");
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        g_string_append_printf(text, "%lld", reply->integer);
    } else if (reply->type == REDIS_REPLY_NIL) {
        g_string_append(text, "(nil)");
    } else if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++) {
            if (i) g_string_append_c(text, ',');
            describe(text, reply->element[i]);
        }
    } else {
        g_string_append_len(text, reply->str, reply->len);
    }
}

/* Checks and frees a reply. */
static void agrees(redisReply *reply, const char *expected, const char *about)
{
    g_autoptr(GString) text = g_string_new(NULL);
    describe(text, reply);
    expect(!strcmp(text->str, expected), about, text->str);
    if (reply) freeReplyObject(reply);
}

/* Runs a command, given with spaces between its arguments, and checks its reply. */
static void run(redisContext *c, const char *command, const char *expected)
{
    g_auto(GStrv) words = g_strsplit(command, " ", -1);
    agrees(redisCommandArgv(c, (int)g_strv_length(words), (const char **)words, NULL), expected, command);
}

static redisContext *connect_with(const char *secret)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", port, (struct timeval){ CHECK_S_MAX, 0 });
    redisSetTimeout(c, (struct timeval){ CHECK_S_MAX, 0 });
    if (*secret) agrees(redisCommand(c, "AUTH %s", secret), "OK", "AUTH");
    return c;
}

static void emptied(redisContext *c)
{
    for (int database = 9; database >= 0; database -= 9) {
        agrees(redisCommand(c, "SELECT %d", database), "OK", "SELECT");
        redisReply *names = redisCommand(c, "KEYS *");
        for (size_t i = 0; i < names->elements; i++) {
            freeReplyObject(redisCommand(c, "DEL %b", names->element[i]->str, names->element[i]->len));
        }
        freeReplyObject(names);
    }
}

static void check(const char *name, void (*body)(redisContext *), redisContext *c)
{
    if (c) emptied(c);
    count = 0;
    g_string_truncate(failure, 0);
    alarm(CHECK_S_MAX);
    body(c);
    alarm(0);
    if (failure->len) {
        tell("not ok %d %s: %s", count, name, failure->str);
    } else {
        tell("ok %d %s", count, name);
    }
}

/* ---- the families: command and reply */

typedef struct {
    const char *command, *reply;
} Step;

#define REFUSED(name) "ERR unknown command '" name "' (not supported by CKV Master/Slave)"
#define WRONGTYPE     "WRONGTYPE Operation against a key holding the wrong kind of value"

static const Step strings[] = {
    { "SET s hello", "OK" },
    { "GET s", "hello" },
    { "GET none", "(nil)" },
    { "SET s x NX", "(nil)" },
    { "SET s hello EX 100 XX", "OK" },
    { "APPEND s there", "10" },
    { "STRLEN s", "10" },
    { "GETRANGE s 0 4", "hello" },
    { "SETRANGE s 5 THERE", "10" },
    { "GETSET s new", "helloTHERE" },
    { "SETNX s x", "0" },
    { "SETEX sx 100 v", "OK" },
    { "PSETEX px 100000 v", "OK" },
    { "MSET m1 a m2 b", "OK" },
    { "MGET m1 none m2", "a,(nil),b" },
    { "MSETNX m2 x m3 c", "0" },
    { "INCR n", "1" },
    { "INCRBY n 41", "42" },
    { "DECR n", "41" },
    { "DECRBY n 50", "-9" },
    { "INCRBYFLOAT n 0.5", "-8.5" },
    { "INCR s", "ERR value is not an integer or out of range" },
    { "SETBIT b 7 1", "0" },
    { "GETBIT b 7", "1" },
    { "BITCOUNT b", "1" },
    { "BITPOS b 1", "7" },
    { "BITOP OR b2 b m1", "1" },
    { "GET b2", "a" },
    { NULL, NULL },
};

static const Step keys[] = {
    { "SET k v", "OK" },
    { "EXISTS k k none", "2" },
    { "EXPIRE k 100", "1" },
    { "TTL k", "100" },
    { "PTTL k", "100000" },
    { "PERSIST k", "1" },
    { "TTL k", "-1" },
    { "TTL none", "-2" },
    { "PEXPIRE k 50000", "1" },
    { "TTL k", "50" },
    { "EXPIREAT k 4000000000", "1" },
    { "PEXPIREAT k 4000000000000", "1" },
    { "TYPE k", "string" },
    { "RENAME k k2", "OK" },
    { "RENAMENX k2 k3", "1" },
    { "RENAME none x", "ERR no such key" },
    { "KEYS k*", "k3" },
    { "RANDOMKEY", "k3" },
    { "DBSIZE", "1" },
    { "MOVE k3 9", "1" },
    { "RPUSH tosort 3 1 2", "3" },
    { "SORT tosort DESC LIMIT 0 2", "3,2" },
    { "SORT tosort STORE sorted", "3" },
    { "SCAN 0 MATCH sor* COUNT 100", "0,sorted" },
    { "DEL tosort sorted none", "2" },
    { NULL, NULL },
};

static const Step hashes[] = {
    { "HSET h f 1", "1" },
    { "HSET h f 2", "0" },
    { "HSETNX h f 3", "0" },
    { "HGET h f", "2" },
    { "HGET h none", "(nil)" },
    { "HMSET h a x b yy", "OK" },
    { "HMGET h a none b", "x,(nil),yy" },
    { "HLEN h", "3" },
    { "HEXISTS h a", "1" },
    { "HSTRLEN h b", "2" },
    { "HINCRBY h f 40", "42" },
    { "HINCRBYFLOAT h f 0.5", "42.5" },
    { "HKEYS h", "f,a,b" },
    { "HVALS h", "42.5,x,yy" },
    { "HGETALL h", "f,42.5,a,x,b,yy" },
    { "HDEL h a b none", "2" },
    { "HSCAN h 0", "0,f,42.5" },
    { NULL, NULL },
};

static const Step lists[] = {
    { "RPUSH l b c", "2" },
    { "LPUSH l a", "3" },
    { "RPUSHX l d", "4" },
    { "LPUSHX none d", "0" },
    { "LRANGE l 0 -1", "a,b,c,d" },
    { "LLEN l", "4" },
    { "LINDEX l -1", "d" },
    { "LINSERT l BEFORE c x", "5" },
    { "LSET l 0 A", "OK" },
    { "LSET l 9 A", "ERR index out of range" },
    { "LREM l 0 x", "1" },
    { "LTRIM l 0 2", "OK" },
    { "LPOP l", "A" },
    { "RPOP l", "c" },
    { "RPOP none", "(nil)" },
    { "RPOPLPUSH l l2", "b" },
    { "LRANGE l2 0 -1", "b" },
    { NULL, NULL },
};

static const Step sets[] = {
    { "SADD a 1 2 3", "3" },      { "SADD b 2 3 4", "3" },     { "SCARD a", "3" },
    { "SISMEMBER a 2", "1" },     { "SMEMBERS a", "1,2,3" },   { "SINTER a b", "2,3" },
    { "SUNION a b", "1,2,3,4" },  { "SDIFF a b", "1" },        { "SINTERSTORE d a b", "2" },
    { "SUNIONSTORE d a b", "4" }, { "SDIFFSTORE d a b", "1" }, { "SMOVE a d 2", "1" },
    { "SREM a 3 none", "1" },     { "SRANDMEMBER a", "1" },    { "SRANDMEMBER a -2", "1,1" },
    { "SSCAN a 0", "0,1" },       { "SPOP a", "1" },           { NULL, NULL },
};

static const Step sorted_sets[] = {
    { "ZADD z 1 a 2 b 3 c", "3" },
    { "ZADD z XX CH 2.5 b 9 new", "1" },
    { "ZCARD z", "3" },
    { "ZSCORE z b", "2.5" },
    { "ZSCORE z none", "(nil)" },
    { "ZINCRBY z 2 a", "3" },
    { "ZRANGE z 0 -1", "b,a,c" },
    { "ZRANGE z 0 0 WITHSCORES", "b,2.5" },
    { "ZREVRANGE z 0 0", "c" },
    { "ZRANGEBYSCORE z (2.5 +inf LIMIT 0 1", "a" },
    { "ZREVRANGEBYSCORE z +inf 3", "c,a" },
    { "ZCOUNT z -inf (3", "1" },
    { "ZRANK z c", "2" },
    { "ZREVRANK z c", "0" },
    { "ZADD lex 0 a 0 b 0 c", "3" },
    { "ZRANGEBYLEX lex [a (c", "a,b" },
    { "ZREVRANGEBYLEX lex + -", "c,b,a" },
    { "ZLEXCOUNT lex - +", "3" },
    { "ZREMRANGEBYLEX lex [a [a", "1" },
    { "ZUNIONSTORE u 2 z lex WEIGHTS 2 1", "3" },
    { "ZSCORE u b", "5" },
    { "ZINTERSTORE i 2 z lex", "2" },
    { "ZSCAN lex 0", "0,b,0,c,0" },
    { "ZREMRANGEBYSCORE i -inf 2.5", "1" },
    { "ZREMRANGEBYRANK u 0 1", "2" },
    { "ZREM z a x", "1" },
    { NULL, NULL },
};

static const Step others[] = {
    { "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "2" },
    { "GEODIST g Palermo Catania km", "166.2742" },
    { "GEOHASH g Palermo Catania", "sqc8b49rny0,sqdtr74hyu0" },
    { "GEORADIUS g 15 37 200 km ASC", "Catania,Palermo" },
    { "GEOPOS g none", "(nil)" },
    { "GEORADIUSBYMEMBER g Palermo 10 km WITHDIST", "Palermo,0.0000" },
    { "PFADD p a b c", "1" },
    { "PFADD q d", "1" },
    { "PFMERGE r p q", "OK" },
    { "PFCOUNT r", "4" },
    { "PFCOUNT p q", "4" },
    { "PING", "PONG" },
    { "PING hi", "hi" },
    { "ECHO hi", "hi" },
    { "DBSIZE", "4" },
    { NULL, NULL },
};

static const Step refused[] = {
    { "FLUSHALL", REFUSED("FLUSHALL") },
    { "CONFIG GET maxmemory", REFUSED("CONFIG") },
    { "EVAL x 0", REFUSED("EVAL") },
    { "BLPOP l 1", REFUSED("BLPOP") },
    { "HELLO 3", "ERR unknown command 'HELLO'" },
    { "SET s x", "OK" },
    { "LPUSH s x", WRONGTYPE },
    { "GET", "ERR wrong number of arguments for 'get' command" },
    { NULL, NULL },
};

static void steps(redisContext *c, const Step *step)
{
    for (; step->command; step++)
        run(c, step->command, step->reply);
}

#define FAMILY(name)                                                                                                   \
    static void check_##name(redisContext *c)                                                                          \
    {                                                                                                                  \
        steps(c, name);                                                                                                \
    }
FAMILY(strings)
FAMILY(keys)
FAMILY(hashes)
FAMILY(lists)
FAMILY(sets)
FAMILY(sorted_sets)
FAMILY(others)
FAMILY(refused)

/* ---- what an application does besides */

static void handshake(G_GNUC_UNUSED redisContext *unused)
{
    redisContext *c = connect_with(password);
    run(c, "SELECT 3", "OK");
    run(c, "SET where db3", "OK");
    redisContext *other = connect_with(password);
    run(other, "GET where", "(nil)");
    run(other, "SELECT 3", "OK");
    run(other, "DEL where", "1");
    redisFree(other);
    expect(redisReconnect(c) == REDIS_OK, "redisReconnect", c->errstr);
    redisFree(c);
}

static void credentials(G_GNUC_UNUSED redisContext *unused)
{
    redisContext *c = connect_with("");
    if (*password) {
        run(c, "AUTH crs-clients:wrong", "ERR invalid password");
        run(c, "AUTH crs-clients S3cret", "ERR wrong number of arguments for 'auth' command");
        run(c, "GET k", "NOAUTH Authentication required.");
    } else {
        run(c, "AUTH crs-clients:any", "ERR Client sent AUTH, but no password is set");
    }
    redisFree(c);
}

static void pipelines(redisContext *c)
{
    for (int i = 0; i < 10000; i++)
        redisAppendCommand(c, "INCRBY counter %d", i);
    redisAppendCommand(c, "LPUSH counter x");
    redisAppendCommand(c, "GET counter");
    redisReply *reply = NULL;
    long long sum = 0;
    int wrong = 0;
    for (int i = 0; i < 10000; i++) {
        sum += i;
        if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->integer != sum) wrong++;
        freeReplyObject(reply);
    }
    expect(!wrong, "INCRBY in a pipeline", "other sums");
    redisGetReply(c, (void **)&reply);
    agrees(reply, WRONGTYPE, "LPUSH in a pipeline");
    redisGetReply(c, (void **)&reply);
    agrees(reply, "49995000", "GET in a pipeline");
}

static void transactions(redisContext *c)
{
    static const Step plain[] = {
        { "MULTI", "OK" },
        { "SET t 1", "QUEUED" },
        { "INCR t", "QUEUED" },
        { "LPUSH t x", "QUEUED" },
        { "EXEC", "OK,2," WRONGTYPE },
        { "MULTI", "OK" },
        { "SET t 9", "QUEUED" },
        { "FLUSHALL", REFUSED("FLUSHALL") },
        { "EXEC", "EXECABORT Transaction discarded because of previous errors." },
        { "MULTI", "OK" },
        { "DISCARD", "OK" },
        { "EXEC", "ERR EXEC without MULTI" },
        { "WATCH t", "OK" },
        { NULL, NULL },
    };
    static const Step lost[] = {
        { "MULTI", "OK" },   { "SET t mine", "QUEUED" }, { "EXEC", "(nil)" }, { "GET t", "changed" },
        { "WATCH t", "OK" }, { "UNWATCH", "OK" },        { NULL, NULL },
    };
    redisContext *other = connect_with(password);
    steps(c, plain);
    run(other, "SET t changed", "OK");
    steps(c, lost);
    redisFree(other);
}

static void pubsub(redisContext *c)
{
    redisContext *listener = connect_with(password);
    redisReply *reply = NULL;
    run(listener, "SUBSCRIBE news", "subscribe,news,1");
    run(listener, "PSUBSCRIBE n*", "psubscribe,n*,2");
    run(c, "PUBLISH news hello", "2");
    run(c, "PUBLISH silence x", "0");
    redisGetReply(listener, (void **)&reply);
    agrees(reply, "message,news,hello", "the message");
    redisGetReply(listener, (void **)&reply);
    agrees(reply, "pmessage,n*,news,hello", "the pattern's message");
    run(c, "PUBSUB NUMSUB news", "news,1");
    run(listener, "GET k", "ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context");
    run(listener, "UNSUBSCRIBE news", "unsubscribe,news,1");
    run(listener, "PUNSUBSCRIBE n*", "punsubscribe,n*,0");
    run(listener, "GET k", "(nil)");
    redisFree(listener);
}

static void values(redisContext *c)
{
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    agrees(redisCommand(c, "SET %b %b", bytes, sizeof bytes, bytes, sizeof bytes), "OK", "SET of 256 bytes");
    redisReply *reply = redisCommand(c, "GET %b", bytes, sizeof bytes);
    expect(reply->len == sizeof bytes && !memcmp(reply->str, bytes, sizeof bytes), "GET of 256 bytes", reply->str);
    freeReplyObject(reply);
    g_autofree char *big = g_malloc(BIG);
    for (int i = 0; i < BIG; i++)
        big[i] = (char)(i * 7 >> 3);
    agrees(redisCommand(c, "SET big %b", big, (size_t)BIG), "OK", "SET of 1 MB");
    reply = redisCommand(c, "GET big");
    expect(reply->len == BIG && !memcmp(reply->str, big, BIG), "GET of 1 MB", "something else");
    freeReplyObject(reply);
}

static void reconnects(G_GNUC_UNUSED redisContext *unused)
{
    redisContext *c = connect_with(password);
    run(c, "SET k before", "OK");
    tell("kill");
    redisReply *reply = redisCommand(c, "GET k");
    expect(!reply && c->err, "GET while the server is away", "a reply");
    expect(redisReconnect(c) != REDIS_OK, "redisReconnect while the server is away", "success");
    tell("start");
    expect(redisReconnect(c) == REDIS_OK, "redisReconnect", c->errstr);
    if (*password) run(c, "GET k", "NOAUTH Authentication required.");
    if (*password) agrees(redisCommand(c, "AUTH %s", password), "OK", "AUTH");
    run(c, "SET k after", "OK");
    run(c, "GET k", "after");
    run(c, "QUIT", "OK");
    reply = redisCommand(c, "PING");
    /* The end of the file, or a reset connection if it was sent after the server had closed. */
    expect(!reply && c->err, "PING after QUIT", "a reply");
    redisFree(c);
}

/* ---- asynchronous */

typedef struct {
    GMainLoop *loop;
    redisAsyncContext *speaker;
    GString *heard;
    int sum, left;
} Async;

static void on_incr(G_GNUC_UNUSED redisAsyncContext *c, void *answer, void *data)
{
    Async *async = data;
    redisReply *reply = answer;
    async->sum += reply ? (int)reply->integer : 0;
    if (--async->left == 0) redisAsyncCommand(async->speaker, NULL, NULL, "PUBLISH news %s", "hello");
}

static void on_message(G_GNUC_UNUSED redisAsyncContext *c, void *answer, void *data)
{
    Async *async = data;
    if (!answer) return;
    describe(async->heard, answer);
    g_string_append_c(async->heard, ';');
    if (g_str_has_suffix(async->heard->str, "news,hello;")) g_main_loop_quit(async->loop);
    if (strcmp(async->heard->str, "psubscribe,n*,1;")) return;
    for (int i = 0; i < 100; i++) {
        async->left++;
        redisAsyncCommand(async->speaker, on_incr, async, "INCR n");
    }
}

static redisAsyncContext *connect_async(void)
{
    redisAsyncContext *c = redisAsyncConnect("127.0.0.1", port);
    g_source_attach(redis_source_new(c), NULL);
    if (*password) redisAsyncCommand(c, NULL, NULL, "AUTH %s", password);
    return c;
}

static void asynchronous(G_GNUC_UNUSED redisContext *unused)
{
    Async async = { .loop = g_main_loop_new(NULL, FALSE), .speaker = connect_async(), .heard = g_string_new(NULL) };
    redisAsyncContext *listener = connect_async();
    redisAsyncCommand(listener, on_message, &async, "PSUBSCRIBE n*");
    g_main_loop_run(async.loop);
    g_autofree char *sum = g_strdup_printf("%d", async.sum);
    expect(async.sum == 5050, "100 asynchronous INCR", sum);
    expect(!strcmp(async.heard->str, "psubscribe,n*,1;pmessage,n*,news,hello;"), "PSUBSCRIBE", async.heard->str);
    redisAsyncFree(listener);
    redisAsyncFree(async.speaker);
    g_main_loop_unref(async.loop);
    g_string_free(async.heard, TRUE);
}

int main(void)
{
    port = atoi(getenv("CKV_PORT"));
    password = getenv("CKV_PASSWORD");
    failure = g_string_new(NULL);
    tell("version %d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    check("handshake, AUTH and SELECT", handshake, NULL);
    check("wrong and missing passwords", credentials, NULL);
    redisContext *c = connect_with(password);
    check("strings", check_strings, c);
    check("keys", check_keys, c);
    check("hashes", check_hashes, c);
    check("lists", check_lists, c);
    check("sets", check_sets, c);
    check("sorted sets", check_sorted_sets, c);
    check("geo, hyperloglog, server", check_others, c);
    check("refused commands and errors", check_refused, c);
    check("pipelines", pipelines, c);
    check("transactions", transactions, c);
    check("publish and subscribe", pubsub, c);
    check("binary and big values", values, c);
    check("asynchronous calls and subscriptions", asynchronous, c);
    check("reconnects and quits", reconnects, NULL);
    redisFree(c);
    return 0;
}
