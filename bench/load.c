/* load.c: a load generator: sends commands to a server on this machine by many connections, looks at every reply, and
 * prints what it measured as one line of JSON. `load --help` lists the options.
 *
 * Design: it has to cost so little that the server is what is measured. So all requests are built before the clock
 * starts, one after the other on one "tape". A batch is a run of neighbours on the tape: it is sent as it stands, by
 * one send(). All connections take their batches from the same tape, in turn, and begin again at its end. A
 * connection has one batch at a time, and the next when all replies have come: so what a reply has to look like is
 * known from its place. One thread, one epoll_wait() for all connections, a receive and a send for each batch.
 *
 * The value of a key is a function of its number (and of --size): what GET answers can be checked whoever wrote it.
 *
 * With --rate, request n is due n / rate seconds after the start, and its latency counts from there, whether or not a
 * connection was free to send it: a server that stalls is not asked less (no "coordinated omission").
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bench/draw.h"

#define NS_PER_S        INT64_C(1000000000)
#define TAPE_BYTES_MAX  (UINT64_C(2) << 30)
#define TAPE_KEYS_MIN   1000000 /* so that even a few keys come in no order that a cache could learn */
#define TAPE_KEYLESS    4096    /* requests, if none has a key: the shorter, the cheaper to read */
#define KEY_BYTES_MIN   14      /* so that all numbers of keys have the digits */
#define KEY_BYTES_MAX   64
#define REQUEST_OTHERS  2048  /* bytes of a request without its values, at most */
#define REQUEST_VALUES  10    /* in one request, at most */
#define POOL_PLACES     65536 /* where a value can begin: small, so that comparing costs no cache misses */
#define EVENTS_MAX      1024
#define INPUT_BYTES     (UINT64_C(1) << 20)
#define SILENCE_NS_MAX  (60 * NS_PER_S)
#define WAIT_NS_MAX     NS_PER_S
#define NESTING_MAX     4
#define DIGITS_MAX      19 /* of a number in a reply: 64 bits, signed */
#define SECONDS_DEFAULT 5
#define MIX_MAX         16

/* ---- the commands */

typedef enum {
    REPLY_PONG,
    REPLY_OK,
    REPLY_NUMBER,
    REPLY_BULK,  /* or nil, which is a miss */
    REPLY_VALUE, /* what was written for the key; or nil, a miss */
    REPLY_BULKS, /* an array of them */
} Reply;

/* Words of a command. %k: a key, drawn anew; %v: the value of the key drawn last; %d: the value of a key drawn anew;
 * %c: the name of a counter, drawn anew; %s: a number of eight digits, by chance. */
typedef struct Kind {
    const char *name, *words;
    Reply reply;
} Kind;

#define PAIR "%k %v "

static const Kind kinds[] = {
    { "ping", "PING", REPLY_PONG },
    { "get", "GET %k", REPLY_VALUE },
    { "set", "SET %k %v", REPLY_OK },
    { "mset", "MSET " PAIR PAIR PAIR PAIR PAIR PAIR PAIR PAIR PAIR PAIR, REPLY_OK },
    { "del", "DEL %k", REPLY_NUMBER },
    { "exists", "EXISTS %k", REPLY_NUMBER },
    { "incr", "INCR %c", REPLY_NUMBER },
    { "lpush", "LPUSH load:list %d", REPLY_NUMBER },
    { "rpush", "RPUSH load:list %d", REPLY_NUMBER },
    { "lpop", "LPOP load:list", REPLY_BULK },
    { "rpop", "RPOP load:list", REPLY_BULK },
    { "lrange_100", "LRANGE load:list 0 99", REPLY_BULKS },
    { "lrange_300", "LRANGE load:list 0 299", REPLY_BULKS },
    { "lrange_600", "LRANGE load:list 0 599", REPLY_BULKS },
    { "sadd", "SADD load:set %k", REPLY_NUMBER },
    { "sismember", "SISMEMBER load:set %k", REPLY_NUMBER },
    { "spop", "SPOP load:set", REPLY_BULK },
    { "hset", "HSET load:hash %k %v", REPLY_NUMBER },
    { "hget", "HGET load:hash %k", REPLY_VALUE },
    { "zadd", "ZADD load:zset %s %k", REPLY_NUMBER },
    { "zscore", "ZSCORE load:zset %k", REPLY_BULK },
    { "zrank", "ZRANK load:zset %k", REPLY_NUMBER },
    { "zrangebyscore", "ZRANGEBYSCORE load:zset %s +inf LIMIT 0 10", REPLY_BULKS },
    { "small_hash",
      "HMSET %k field:0 %v field:1 %v field:2 %v field:3 %v field:4 %v field:5 %v field:6 %v field:7 %v field:8 %v "
      "field:9 %v",
      REPLY_OK },
    { "small_zset",
      "ZADD %k %s member:00000000 %s member:00000001 %s member:00000002 %s member:00000003 %s member:00000004 "
      "%s member:00000005 %s member:00000006 %s member:00000007 %s member:00000008 %s member:00000009",
      REPLY_NUMBER },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* The replies that are the same every time, which most are, need no parsing. */
static const struct Exact {
    const char *bytes;
    size_t length;
} exact[] = {
    [REPLY_PONG] = { "+PONG\r\n", 7 },
    [REPLY_OK] = { "+OK\r\n", 5 },
};

/* ---- state */

typedef struct Request {
    uint64_t offset; /* of its first byte on the tape */
    uint32_t key;    /* the one drawn last */
    uint8_t kind;
} Request;

typedef struct Client {
    int fd;
    bool blocked;           /* the socket takes no more: EPOLLOUT is watched */
    uint32_t waiting;       /* replies of its batch that are to come */
    uint64_t number;        /* of the request that the next reply answers, counted from the start */
    const Request *request; /* the same, on the tape */
    const char *unsent;     /* of the batch */
    size_t unsent_bytes;
    int64_t sent_ns;
    char *part; /* the beginning of a reply that has not come whole */
    size_t part_bytes;
} Client;

static struct Settings {
    uint64_t port, clients, idle, pipeline, requests, keys, key_size, size, seed;
    double seconds, zipf, rate;
    const char *path, *mix;
    bool fill;
} settings = { .clients = 50, .pipeline = 16, .keys = 1000000, .key_size = 16, .size = 64, .mix = "set", .seed = 1 };

static struct Mix {
    uint8_t kind[MIX_MAX];
    uint32_t up_to[MIX_MAX]; /* sums of the weights so far */
    uint32_t count;
} mix;

static struct Tape {
    char *bytes;
    Request *requests; /* `count` of them, and one more that marks the end */
    uint64_t count, length;
    char *pool;          /* values are parts of it */
    char value_head[24]; /* the line before a value in a reply */
    size_t value_head_length;
} tape;

static struct Run {
    int epoll;
    Client *clients;
    Client **idle; /* --rate: a ring of clients without a batch */
    uint64_t idle_first, idle_count;
    int *silent; /* the connections of --idle */
    char *input;
    size_t input_size;
    uint64_t limit, issued, answered, errors, misses, unsent;
    int64_t start_ns, end_ns, heard_ns;
} run;

static volatile sig_atomic_t told_to_stop;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* Zeroed memory that takes room only as it is used. */
static void *reserve(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) die("no memory: %s", strerror(errno));
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
}

static void *resize(void *old, size_t bytes)
{
    void *at = realloc(old, bytes);
    if (at == NULL) die("no memory");
    return at;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- the tape */

static const char *value_of(uint32_t key)
{
    return tape.pool + (key * UINT64_C(0x9E3779B97F4A7C15) >> 48);
}

/* The values don't depend on the seed: one run checks what another wrote. They don't compress. */
static void pool_init(void)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    tape.pool = reserve(POOL_PLACES + settings.size);
    draw_init(settings.keys, 0, 0);
    for (uint64_t i = 0; i < POOL_PLACES + settings.size; i++) {
        tape.pool[i] = letters[draw_random() % 64];
    }
    tape.value_head_length = (size_t)sprintf(tape.value_head, "$%llu\r\n", (unsigned long long)settings.size);
}

static void append(const char *bytes, size_t length)
{
    memcpy(tape.bytes + tape.length, bytes, length);
    tape.length += length;
}

/* In so many digits. (By printf, it took most of the time that building a tape takes.) */
static void append_number(uint64_t number, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        tape.bytes[tape.length + (size_t)i] = (char)('0' + number % 10);
        number /= 10;
    }
    tape.length += (size_t)digits;
}

static void append_count(char mark, size_t count)
{
    int digits = 1;
    for (size_t rest = count / 10; rest > 0; rest /= 10) {
        digits++;
    }
    append(&mark, 1);
    append_number(count, digits);
    append("\r\n", 2);
}

static void append_word(const char *bytes, size_t length)
{
    append_count('$', length);
    append(bytes, length);
    append("\r\n", 2);
}

/* One word of a Kind's. */
static void append_pattern(const char *word, size_t length, Request *request)
{
    if (word[0] != '%') {
        append_word(word, length);
        return;
    }
    if (word[1] == 'k' || word[1] == 'd' || word[1] == 'c') request->key = draw_key();
    if (word[1] == 'v' || word[1] == 'd') {
        append_word(value_of(request->key), settings.size);
        return;
    }
    if (word[1] == 's') {
        append_count('$', 8);
        append_number(draw_random() % 100000000, 8);
    } else {
        bool is_key = word[1] == 'k';
        int digits = is_key ? (int)settings.key_size - 4 : 12;
        append_count('$', (size_t)digits + (is_key ? 4 : 8));
        append(is_key ? "key:" : "counter:", is_key ? 4 : 8);
        append_number(request->key, digits);
    }
    append("\r\n", 2);
}

static void append_request(uint8_t kind)
{
    Request *request = &tape.requests[tape.count++];
    *request = (Request){ .offset = tape.length, .kind = kind };
    size_t words = 0;
    for (const char *at = kinds[kind].words; *at != '\0'; at += strspn(at, " ")) {
        at += strcspn(at, " ");
        words++;
    }
    append_count('*', words);
    for (const char *at = kinds[kind].words; *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        append_pattern(at, length, request);
        at += length;
    }
}

static uint8_t mix_draw(void)
{
    uint64_t point = draw_random() % mix.up_to[mix.count - 1];
    uint32_t i = 0;
    while (point >= mix.up_to[i]) {
        i++;
    }
    return mix.kind[i];
}

/* How many keys a request draws; one that draws something else counts as if it were a key. */
static uint64_t keys_drawn(uint8_t kind)
{
    uint64_t count = 0;
    for (const char *at = kinds[kind].words; (at = strchr(at, '%')) != NULL; at++) {
        if (strchr("kdc", at[1]) != NULL) count++;
    }
    return count == 0 && strchr(kinds[kind].words, '%') != NULL ? 1 : count;
}

/* How many requests the tape is to have: with several kinds each key comes several times, so as to meet them all. */
static uint64_t tape_wanted(void)
{
    uint64_t wanted = TAPE_KEYLESS;
    for (uint32_t i = 0; i < mix.count; i++) {
        uint64_t drawn = keys_drawn(mix.kind[i]);
        if (drawn > 0) wanted = larger(wanted, mix.count * larger(settings.keys, TAPE_KEYS_MIN) / drawn);
    }
    return settings.requests > 0 ? smaller(wanted, settings.requests) : wanted;
}

static void tape_build(void)
{
    uint64_t wanted = tape_wanted(), request_max = REQUEST_OTHERS + REQUEST_VALUES * settings.size;
    pool_init();
    draw_init(settings.keys, settings.zipf, settings.seed);
    tape.bytes = reserve(TAPE_BYTES_MAX);
    tape.requests = reserve((wanted + 1) * sizeof(Request));
    while (tape.count < wanted && tape.length + request_max <= TAPE_BYTES_MAX) {
        append_request(mix_draw());
    }
    tape.requests[tape.count].offset = tape.length;
    if (settings.fill && tape.count < wanted) die("--fill: only %lu such keys fit in its memory", tape.count);
}

/* ---- latencies */

/* A bucket is 1/64 of a power of two: none is further than 1.6 % off. Below 64 ns each has its own. */
#define BUCKET_BITS 6
#define BUCKETS     ((64 - BUCKET_BITS + 1) << BUCKET_BITS)

static struct Histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
    int64_t max_ns;
} histogram;

static void histogram_add(int64_t ns, uint64_t count)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    int shift = value < (1 << BUCKET_BITS) ? 0 : 63 - __builtin_clzll(value) - BUCKET_BITS;
    histogram.counts[((uint64_t)shift << BUCKET_BITS) + (value >> shift)] += count;
    histogram.total += count;
    if (ns > histogram.max_ns) histogram.max_ns = ns;
}

/* The upper edge of the bucket that has this part of all latencies below or in it, in microseconds. */
static double histogram_us(double part)
{
    uint64_t before = 0, rank = (uint64_t)ceil(part * (double)histogram.total);
    for (uint64_t i = 0; i < BUCKETS; i++) {
        before += histogram.counts[i];
        if (before >= rank) {
            uint64_t shift = i >> BUCKET_BITS > 1 ? (i >> BUCKET_BITS) - 1 : 0;
            double edge = (double)(((i - (shift << BUCKET_BITS)) + 1) << shift);
            return fmin(edge, (double)histogram.max_ns) / 1000;
        }
    }
    return 0;
}

/* ---- replies */

/* A line that has a number behind its first byte: how long it is, 0: it has not come whole, -1: it's none. (What this
 * takes decides how much load there can be: most replies begin with one.) */
static int64_t line_measure(const char *bytes, size_t length, int64_t *number)
{
    bool negative = length > 1 && bytes[1] == '-';
    size_t first = 1 + negative, at = first;
    uint64_t value = 0;
    for (; at < length && at < first + DIGITS_MAX && bytes[at] >= '0' && bytes[at] <= '9'; at++)
        value = value * 10 + (uint64_t)(bytes[at] - '0');
    if (at == length) return 0;
    if (bytes[at] != '\r' || at == first || value > (uint64_t)INT64_MAX + negative) return -1;
    if (at + 1 == length) return 0;
    *number = (int64_t)(negative ? 0 - value : value);
    return bytes[at + 1] == '\n' ? (int64_t)at + 2 : -1;
}

/* The same for a bulk string, or nil. */
static int64_t bulk_measure(const char *bytes, size_t length)
{
    int64_t number, line = line_measure(bytes, length, &number);
    if (line <= 0 || number < 0) return line;
    size_t whole = (size_t)line + (size_t)number + 2;
    if (length < whole) return 0;
    return memcmp(bytes + whole - 2, "\r\n", 2) == 0 ? (int64_t)whole : -1;
}

/* How long a reply is; 0: it has not come whole; -1: that is no reply. */
static int64_t reply_measure(const char *bytes, size_t length, int depth)
{
    if (depth > NESTING_MAX) return -1;
    int64_t number;
    switch (bytes[0]) {
    case '$': return bulk_measure(bytes, length);
    case ':': return line_measure(bytes, length, &number);
    case '*': break;
    case '+':
    case '-': {
        const char *newline = memchr(bytes, '\n', length);
        if (newline == NULL) return 0;
        return newline[-1] == '\r' ? newline + 1 - bytes : -1;
    }
    default: return -1;
    }
    int64_t at = line_measure(bytes, length, &number);
    for (int64_t i = 0; at > 0 && i < number; i++) {
        size_t rest = length - (size_t)at;
        int64_t part = rest > 0 ? reply_measure(bytes + at, rest, depth + 1) : 0;
        if (part <= 0) return part;
        at += part;
    }
    return at;
}

static bool is_nil(const char *bytes)
{
    return memcmp(bytes, "$-1", 3) == 0;
}

/* An array of bulk strings and nothing else: how long it is; 0: it's something else, or has not come whole. */
static size_t bulks_measure(const char *bytes, size_t length)
{
    int64_t number, at = bytes[0] == '*' ? line_measure(bytes, length, &number) : 0;
    for (int64_t i = 0; at > 0 && i < number; i++) {
        size_t rest = length - (size_t)at;
        int64_t part = rest > 0 && bytes[at] == '$' ? bulk_measure(bytes + at, rest) : 0;
        if (part <= 0) return 0;
        at += part;
    }
    return at > 0 ? (size_t)at : 0;
}

/* The key's value, as a bulk string: how long it is; 0: it's something else, or has not come whole. */
static size_t value_measure(uint32_t key, const char *bytes, size_t length)
{
    size_t whole = tape.value_head_length + settings.size + 2;
    if (length < whole || memcmp(bytes, tape.value_head, tape.value_head_length) != 0) return 0;
    bool fits = memcmp(bytes + tape.value_head_length, value_of(key), settings.size) == 0 &&
                memcmp(bytes + whole - 2, "\r\n", 2) == 0;
    return fits ? whole : 0;
}

/* Whether a whole reply is one of those that the request can have, but for what was looked for first. */
static bool reply_fits(const Request *request, const char *bytes)
{
    Reply reply = kinds[request->kind].reply;
    if (reply == REPLY_NUMBER && bytes[0] == ':') return true;
    if ((reply == REPLY_NUMBER || reply == REPLY_BULK || reply == REPLY_VALUE) && is_nil(bytes)) {
        run.misses++;
        return true;
    }
    return reply == REPLY_BULK && bytes[0] == '$';
}

/* Prints bytes that came, as far as they fit in a line. */
static void show(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && i < 80; i++) {
        fprintf(stderr, bytes[i] >= ' ' && bytes[i] <= '~' ? "%c" : "\\x%02x", (unsigned char)bytes[i]);
    }
    fprintf(stderr, "%s\n", length > 80 ? "..." : "");
}

static void bad_reply(const Request *request, const char *bytes, size_t length)
{
    if (run.errors++ > 0) return;
    fprintf(stderr, "load: to %s (key %u) it answered: ", kinds[request->kind].name, (unsigned)request->key);
    show(bytes, length);
}

/* The length of the first reply if it's what it should be, as it is most often; otherwise 0. */
static size_t reply_expected(const Request *request, const char *bytes, size_t length)
{
    Reply reply = kinds[request->kind].reply;
    if (reply == REPLY_VALUE) return value_measure(request->key, bytes, length);
    if (reply == REPLY_BULKS) return bulks_measure(bytes, length);
    if (reply > REPLY_OK || length < exact[reply].length) return 0;
    return memcmp(bytes, exact[reply].bytes, exact[reply].length) == 0 ? exact[reply].length : 0;
}

/* Looks at the first reply: its length, or 0 if it has not come whole. */
static size_t reply_check(const Request *request, const char *bytes, size_t length)
{
    size_t expected = reply_expected(request, bytes, length);
    if (expected > 0) return expected;
    int64_t whole = reply_measure(bytes, length, 0);
    if (whole < 0) {
        bad_reply(request, bytes, length);
        die("that is no reply");
    }
    if (whole > 0 && !reply_fits(request, bytes)) bad_reply(request, bytes, (size_t)whole);
    return (size_t)whole;
}

/* ---- clients */

static void watch(Client *client, int how, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = client };
    if (epoll_ctl(run.epoll, how, client->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static void client_send(Client *client)
{
    while (client->unsent_bytes > 0) {
        ssize_t sent = send(client->fd, client->unsent, client->unsent_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            if (!client->blocked) watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            client->blocked = true;
            return;
        }
        if (sent < 0) die("the server closed a connection: %s", strerror(errno));
        client->unsent += sent;
        client->unsent_bytes -= (size_t)sent;
    }
    if (client->blocked) watch(client, EPOLL_CTL_MOD, EPOLLIN);
    client->blocked = false;
}

/* Whether a request may still be sent. */
static bool may_issue(int64_t now)
{
    return run.issued < run.limit && now < run.end_ns && !told_to_stop;
}

/* Sends the next requests, at most `count`; fewer at the end of the tape. */
static void client_begin(Client *client, uint64_t count, int64_t now)
{
    uint64_t at = run.issued % tape.count;
    count = smaller(count, smaller(tape.count - at, run.limit - run.issued));
    client->number = run.issued;
    client->request = &tape.requests[at];
    client->waiting = (uint32_t)count;
    client->unsent = tape.bytes + tape.requests[at].offset;
    client->unsent_bytes = tape.requests[at + count].offset - tape.requests[at].offset;
    client->sent_ns = now;
    run.issued += count;
    client_send(client);
}

static int64_t due_ns(uint64_t number)
{
    return run.start_ns + (int64_t)((double)number * 1e9 / settings.rate);
}

/* `count` replies to the client have come. */
static void client_measure(Client *client, uint32_t count, int64_t now)
{
    run.answered += count;
    if (settings.rate == 0) {
        histogram_add(now - client->sent_ns, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        histogram_add(now - due_ns(client->number + i), 1);
    }
    client->number += count;
}

static void client_rest(Client *client)
{
    run.idle[(run.idle_first + run.idle_count++) % settings.clients] = client;
}

/* Keeps the beginning of a reply until the rest comes. (Replies much larger than what one receive brings are copied
 * often: the price of one input buffer for all.) */
static void client_keep(Client *client, const char *bytes, size_t length)
{
    client->part_bytes = length;
    if (length == 0) {
        free(client->part);
        client->part = NULL;
        return;
    }
    client->part = resize(client->part, length);
    memcpy(client->part, bytes, length);
}

/* Receives into the common buffer, behind what was kept; how many bytes there are, 0: nothing has come. */
static size_t client_receive(Client *client)
{
    size_t kept = client->part_bytes;
    if (kept * 2 > run.input_size) run.input = resize(run.input, run.input_size = kept * 4);
    if (kept > 0) memcpy(run.input, client->part, kept);
    ssize_t got = recv(client->fd, run.input + kept, run.input_size - kept, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) die("the server closed a connection%s%s", got < 0 ? ": " : "", got < 0 ? strerror(errno) : "");
    return kept + (size_t)got;
}

static void client_read(Client *client)
{
    size_t length = client_receive(client), at = 0;
    if (length == 0) return;
    int64_t now = run.heard_ns = now_ns();
    uint32_t count = 0;
    while (at < length && count < client->waiting) {
        size_t whole = reply_check(client->request, run.input + at, length - at);
        if (whole == 0) break;
        client->request++;
        count++;
        at += whole;
    }
    if (at < length && count == client->waiting) {
        fputs("load: nobody asked for this reply: ", stderr);
        show(run.input + at, length - at);
        exit(1);
    }
    client_keep(client, run.input + at, length - at);
    client_measure(client, count, now);
    client->waiting -= count;
    if (client->waiting > 0) return;
    if (settings.rate > 0) {
        client_rest(client);
    } else if (may_issue(now)) {
        client_begin(client, settings.pipeline, now);
    }
}

/* ---- connections */

static int connect_to_server(void)
{
    struct sockaddr_in tcp = { .sin_family = AF_INET,
                               .sin_port = htons((uint16_t)settings.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    bool by_path = settings.path != NULL;
    if (by_path) snprintf(local.sun_path, sizeof(local.sun_path), "%s", settings.path);
    int fd = socket(by_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0) die("a socket: %s", strerror(errno));
    const struct sockaddr *address = by_path ? (struct sockaddr *)&local : (struct sockaddr *)&tcp;
    if (connect(fd, address, by_path ? sizeof(local) : sizeof(tcp)) != 0) die("connecting: %s", strerror(errno));
    if (!by_path) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    return fd;
}

static void connect_all(void)
{
    struct rlimit files = { 0 };
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.clients = reserve(settings.clients * sizeof(Client));
    run.idle = reserve(settings.clients * sizeof(Client *));
    run.silent = reserve((settings.idle + 1) * sizeof(int));
    run.input = resize(NULL, run.input_size = INPUT_BYTES);
    for (uint64_t i = 0; i < settings.clients; i++) {
        run.clients[i].fd = connect_to_server();
        watch(&run.clients[i], EPOLL_CTL_ADD, EPOLLIN);
    }
    for (uint64_t i = 0; i < settings.idle; i++) {
        run.silent[i] = connect_to_server();
    }
}

/* A server that closed silent connections, or spoke to them, has failed. */
static void check_silent(void)
{
    char byte;
    for (uint64_t i = 0; i < settings.idle; i++) {
        if (recv(run.silent[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) continue;
        if (run.errors++ == 0) fputs("load: the server closed a silent connection, or spoke to it\n", stderr);
    }
}

/* ---- the run */

static void on_signal(int number)
{
    (void)number;
    told_to_stop = 1;
}

static uint64_t due_count(int64_t now)
{
    return smaller((uint64_t)((double)(now - run.start_ns) / 1e9 * settings.rate) + 1, run.limit);
}

/* --rate: sends what is due, spread over the clients that are free. */
static void issue_due(int64_t now)
{
    uint64_t due = due_count(now);
    while (run.issued < due && run.idle_count > 0 && may_issue(now)) {
        uint64_t share = (due - run.issued + run.idle_count - 1) / run.idle_count;
        Client *client = run.idle[run.idle_first];
        run.idle_first = (run.idle_first + 1) % settings.clients;
        run.idle_count--;
        client_begin(client, smaller(share, settings.pipeline), now);
    }
}

static void begin(void)
{
    run.limit = settings.requests > 0 ? settings.requests : UINT64_MAX;
    run.start_ns = run.heard_ns = now_ns();
    run.end_ns = settings.seconds > 0 ? run.start_ns + (int64_t)(settings.seconds * 1e9) : INT64_MAX;
    for (uint64_t i = 0; i < settings.clients && may_issue(run.start_ns); i++) {
        if (settings.rate > 0) {
            client_rest(&run.clients[i]);
        } else {
            client_begin(&run.clients[i], settings.pipeline, now_ns());
        }
    }
}

/* How long nothing is to be done unless a socket is ready. */
static int64_t wait_ns(int64_t now)
{
    if (settings.rate == 0 || run.idle_count == 0 || run.issued >= run.limit) return WAIT_NS_MAX;
    int64_t left = due_ns(run.issued) - now;
    return left < 0 ? 0 : left < WAIT_NS_MAX ? left : WAIT_NS_MAX;
}

static void turn(int64_t now)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = { .tv_sec = wait_ns(now) / NS_PER_S, .tv_nsec = wait_ns(now) % NS_PER_S };
    int count = epoll_pwait2(run.epoll, events, EVENTS_MAX, &wait, NULL);
    if (count < 0 && errno != EINTR) die("epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        Client *client = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) client_send(client);
        if (events[i].events & ~(uint32_t)EPOLLOUT) client_read(client);
    }
}

/* --rate: what was due and had no client to go by has waited too. */
static void count_unsent(int64_t end)
{
    if (settings.rate == 0) return;
    for (uint64_t due = due_count(end); run.issued + run.unsent < due; run.unsent++) {
        histogram_add(end - due_ns(run.issued + run.unsent), 1);
    }
}

static void run_all(void)
{
    int64_t now = run.start_ns;
    bool open = true;
    while (open || run.answered < run.issued) {
        if (settings.rate > 0) issue_due(now);
        turn(now);
        now = now_ns();
        if (run.answered < run.issued && now - run.heard_ns > SILENCE_NS_MAX) die("no reply for a minute");
        if (open && !may_issue(now)) {
            open = false;
            count_unsent(now < run.end_ns ? now : run.end_ns);
        }
    }
}

static double cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void report(double seconds, double used_us)
{
    double answered = run.answered > 0 ? (double)run.answered : 1;
    printf("{\"mix\": \"%s\", \"clients\": %lu, \"pipeline\": %lu, \"keys\": %lu, \"size\": %lu, \"zipf\": %g, "
           "\"rate\": %g, \"idle\": %lu, \"built\": %lu, ",
           settings.mix, settings.clients, settings.pipeline, settings.keys, settings.size, settings.zipf,
           settings.rate, settings.idle, tape.count);
    printf("\"requests\": %lu, \"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"errors\": %lu, \"misses\": %lu, \"unsent\": %lu, "
           "\"cpu_us\": %.3f, \"cpu_part\": %.2f}\n",
           run.answered, seconds, answered / seconds, histogram_us(0.5), histogram_us(0.99), histogram_us(0.999),
           (double)histogram.max_ns / 1000, run.errors, run.misses, run.unsent, used_us / answered,
           used_us / seconds / 1e6);
}

/* ---- options */

typedef struct Option {
    const char *name;
    uint64_t *number; /* where it goes: one of the four */
    double *real;
    const char **text;
    bool *flag;
    uint64_t min, max; /* of a number; a real may be anything from `min` up */
    const char *help;
} Option;

static const Option options[] = {
    { "port", .number = &settings.port, .min = 1, .max = 65535, .help = "of a server on 127.0.0.1" },
    { "socket", .text = &settings.path, .help = "or its Unix socket" },
    { "mix", .text = &settings.mix, .help = "commands, with weights if there are several: get:9,set:1" },
    { "clients", .number = &settings.clients, .min = 1, .max = 10000, .help = "connections [50]" },
    { "idle", .number = &settings.idle, .max = 100000, .help = "more of them, that stay silent [0]" },
    { "pipeline", .number = &settings.pipeline, .min = 1, .max = 100000, .help = "requests sent at once [16]" },
    { "requests", .number = &settings.requests, .min = 1, .max = UINT64_MAX, .help = "how many, or" },
    { "seconds", .real = &settings.seconds, .help = "how long [5]; SIGTERM ends it in any case" },
    { "rate", .real = &settings.rate,
      .help = "requests a second, whatever the server can do; 0: as fast as it can [0]" },
    { "keys", .number = &settings.keys, .min = 1, .max = UINT32_MAX, .help = "how many there are [1000000]" },
    { "key-size", .number = &settings.key_size, .min = KEY_BYTES_MIN, .max = KEY_BYTES_MAX,
      .help = "bytes of a key, or of a member [16]" },
    { "size", .number = &settings.size, .max = 32 << 20, .help = "bytes of a value [64]" },
    { "zipf", .real = &settings.zipf, .help = "draw keys by Zipf, with this exponent; 0: uniformly [0]" },
    { "seed", .number = &settings.seed, .max = UINT64_MAX, .help = "of what is drawn [1]" },
    { "fill", .flag = &settings.fill, .help = "each key exactly once, then it ends" },
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

static void usage(void)
{
    puts(
        "load: sends commands to a server, checks the replies, and prints what it measured as one line of JSON.\n"
        "Exit status: 1: a reply was wrong (the first is told) or a connection was lost; 2: these options don't do.\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        printf("  --%-9s %s %s\n", options[i].name, options[i].flag == NULL ? "X" : " ", options[i].help);
    }
    fputs("\nCommands:", stdout);
    for (size_t i = 0; i < KINDS; i++) {
        printf(" %s", kinds[i].name);
    }
    puts("\nLatencies count from the sending of a batch to each of its replies; with --rate, from when each was due."
         "\nmisses: replies that were nil. unsent: due by --rate, but no connection was free; as late as the end is.\n"
         "cpu_us: of this program, a request; cpu_part near 1: it was the bottleneck. built: requests it had at hand.");
}

static void refuse(const char *what, const char *why)
{
    fprintf(stderr, "load: %s: %s; see --help\n", what, why);
    exit(2);
}

static void option_set(const Option *option, const char *value)
{
    char *end = NULL;
    errno = 0;
    if (option->text != NULL) {
        *option->text = value;
        return;
    }
    if (option->number != NULL) {
        *option->number = strtoull(value, &end, 10);
        if (*option->number < option->min || *option->number > option->max) refuse(value, "out of range");
    } else {
        *option->real = strtod(value, &end);
        if (!(*option->real >= 0 && isfinite(*option->real))) refuse(value, "out of range");
    }
    if (end == value || *end != '\0' || value[0] == '-' || errno != 0) refuse(value, "no number");
}

static const Option *option_find(const char *word)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, options[i].name) == 0) return &options[i];
    }
    return NULL;
}

static void options_read(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage();
            exit(0);
        }
        const Option *option = option_find(argv[i]);
        if (option == NULL) {
            refuse(argv[i], "no such option");
        } else if (option->flag != NULL) {
            *option->flag = true;
        } else if (i + 1 == argc) {
            refuse(argv[i], "it needs a value");
        } else {
            option_set(option, argv[++i]);
        }
    }
}

/* One part of --mix: NAME or NAME:WEIGHT. */
static void mix_add(char *item)
{
    uint64_t weight = 1;
    size_t kind = 0;
    char *colon = strchr(item, ':');
    if (colon != NULL) {
        option_set(&(Option){ .number = &weight, .min = 1, .max = 1000000 }, colon + 1);
        *colon = '\0';
    }
    while (kind < KINDS && strcmp(kinds[kind].name, item) != 0) {
        kind++;
    }
    if (kind == KINDS || mix.count == MIX_MAX) refuse(item, "no such command, or too many");
    mix.kind[mix.count] = (uint8_t)kind;
    mix.up_to[mix.count] = (mix.count > 0 ? mix.up_to[mix.count - 1] : 0) + (uint32_t)weight;
    mix.count++;
}

static void mix_read(void)
{
    char *items = strdup(settings.mix), *rest = items, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        mix_add(item);
    }
    free(items);
}

static void options_check(void)
{
    if ((settings.port == 0) == (settings.path == NULL)) refuse("--port, --socket", "one of them is needed");
    if (settings.fill) {
        if (settings.zipf > 0 || mix.count > 1 || keys_drawn(mix.kind[0]) != 1) {
            refuse("--fill", "it needs one command, with one key, without --zipf");
        }
        settings.requests = settings.keys;
        settings.seconds = 0;
    } else if (settings.requests == 0 && settings.seconds == 0) {
        settings.seconds = SECONDS_DEFAULT;
    }
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    mix_read();
    options_check();
    struct sigaction stop = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    tape_build();
    connect_all();
    prctl(PR_SET_TIMERSLACK, 1); /* or each wait of --rate takes 50 us longer */
    double used_us = cpu_us();
    begin();
    run_all();
    double seconds = (double)(now_ns() - run.start_ns) / 1e9;
    used_us = cpu_us() - used_us;
    check_silent();
    report(seconds, used_us);
    return run.errors > 0;
}
