/* pubsub.c: SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE, PUNSUBSCRIBE, PUBLISH, PUBSUB; and the keyspace events, which are
 * messages too. Called by the command table, and by command.c when a session ends or a key changed.
 *
 * Design. A topic is a channel or a pattern that somebody is subscribed to; it dies with its last subscription. A
 * subscription stands in one queue and in one table of its session: a channel's subscriptions in the channel's own
 * queue, those to patterns in one queue of them all, so that a client gets a message once for each pattern that
 * matches, in the order in which it subscribed. A pattern is matched once for each message, however many clients share
 * it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/glob.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/hello.h"
#include "repl/master.h"

typedef struct Topic {
    Slice name;       /* of the bytes below; as the first member it's the topic's key in its table */
    GQueue queue;     /* a channel's subscriptions */
    size_t count;     /* subscriptions, wherever they are queued */
    uint64_t message; /* a pattern: the last message that it was compared with, */
    bool matches;     /* and whether it matched */
    char bytes[];
} Topic;

typedef struct Subscription {
    Session *session;
    Topic *topic;
    uint64_t serial; /* later ones have higher numbers */
    GList link;      /* in its queue; data is the subscription */
} Subscription;

/* What channels and patterns do alike. */
typedef struct Kind {
    GHashTable *topics;             /* by name; NULL: none yet */
    GQueue *queue;                  /* of all subscriptions; NULL: each topic has its own */
    size_t session_table;           /* offset of the session's own table */
    Slice subscribed, unsubscribed; /* the first words of the confirmations */
} Kind;

static GQueue pattern_queue = G_QUEUE_INIT;
static Kind channels = {
    .session_table = offsetof(Session, channels),
    .subscribed = { "subscribe", 9 },
    .unsubscribed = { "unsubscribe", 11 },
};
static Kind patterns = {
    .queue = &pattern_queue,
    .session_table = offsetof(Session, patterns),
    .subscribed = { "psubscribe", 10 },
    .unsubscribed = { "punsubscribe", 12 },
};
static uint64_t last_serial, last_message;

/* ---- topics ---- */

static guint name_hash(gconstpointer key)
{
    return (guint)table_hash(*(const Slice *)key);
}

static gboolean name_equal(gconstpointer a, gconstpointer b)
{
    return slice_equal(*(const Slice *)a, *(const Slice *)b);
}

static Topic *topic_find(const Kind *kind, Slice name)
{
    return kind->topics == NULL ? NULL : g_hash_table_lookup(kind->topics, &name);
}

static Topic *topic_find_or_make(Kind *kind, Slice name)
{
    Topic *topic = topic_find(kind, name);
    if (topic != NULL) return topic;
    topic = g_malloc0(sizeof(Topic) + name.len);
    if (name.len > 0) memcpy(topic->bytes, name.ptr, name.len);
    topic->name = (Slice){ topic->bytes, name.len };
    if (kind->topics == NULL) kind->topics = g_hash_table_new(name_hash, name_equal);
    g_hash_table_add(kind->topics, topic);
    return topic;
}

static GQueue *topic_queue(const Kind *kind, Topic *topic)
{
    return kind->queue != NULL ? kind->queue : &topic->queue;
}

/* ---- subscriptions ---- */

static GHashTable **session_table(const Kind *kind, Session *session)
{
    return (GHashTable **)((char *)session + kind->session_table);
}

size_t session_subscriptions(const Session *session)
{
    return (session->channels == NULL ? 0 : g_hash_table_size(session->channels)) +
           (session->patterns == NULL ? 0 : g_hash_table_size(session->patterns));
}

static void update_class(Session *session)
{
    if (session->client->class == CLIENT_SLAVE) return;
    session->client->class = session_subscriptions(session) > 0 ? CLIENT_PUBSUB : CLIENT_NORMAL;
}

static void subscription_add(Kind *kind, Session *session, Slice name)
{
    GHashTable **own = session_table(kind, session);
    if (*own == NULL) *own = g_hash_table_new(NULL, NULL);
    Topic *topic = topic_find_or_make(kind, name);
    if (g_hash_table_contains(*own, topic)) return;
    Subscription *subscription = g_new(Subscription, 1);
    *subscription = (Subscription){ session, topic, ++last_serial, { .data = subscription } };
    g_hash_table_insert(*own, topic, subscription);
    g_queue_push_tail_link(topic_queue(kind, topic), &subscription->link);
    topic->count++;
}

static void subscription_end(Kind *kind, Subscription *subscription)
{
    Topic *topic = subscription->topic;
    GHashTable **own = session_table(kind, subscription->session);
    g_hash_table_remove(*own, topic);
    if (g_hash_table_size(*own) == 0) g_clear_pointer(own, g_hash_table_destroy);
    g_queue_unlink(topic_queue(kind, topic), &subscription->link);
    g_free(subscription);
    if (--topic->count > 0) return;
    g_hash_table_remove(kind->topics, topic);
    g_free(topic);
}

static int by_serial(const void *a, const void *b)
{
    const Subscription *x = a, *y = b;
    return (x->serial > y->serial) - (x->serial < y->serial);
}

/* All of a session's subscriptions of the kind, in the order in which they were made. */
static GList *subscriptions_in_order(const Kind *kind, Session *session)
{
    GHashTable *own = *session_table(kind, session);
    return own == NULL ? NULL : g_list_sort(g_hash_table_get_values(own), by_serial);
}

static void forget_kind(Kind *kind, Session *session)
{
    GList *all = subscriptions_in_order(kind, session);
    for (GList *each = all; each != NULL; each = each->next)
        subscription_end(kind, each->data);
    g_list_free(all);
}

void pubsub_forget(Session *session)
{
    forget_kind(&channels, session);
    forget_kind(&patterns, session);
}

static gint by_serial_in_array(gconstpointer a, gconstpointer b)
{
    return by_serial(*(Subscription *const *)a, *(Subscription *const *)b);
}

static void collect(const Kind *kind, Session *session, GPtrArray *all)
{
    GHashTableIter iter;
    gpointer subscription;
    if (*session_table(kind, session) == NULL) return;
    g_hash_table_iter_init(&iter, *session_table(kind, session));
    while (g_hash_table_iter_next(&iter, NULL, &subscription))
        g_ptr_array_add(all, subscription);
}

static void save_kind(const Kind *kind, Tape *tape)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (guint i = 0; i < client_all()->len; i++) {
        const Client *client = client_all()->pdata[i];
        if (!client_is_gone(client)) collect(kind, client->session, all);
    }
    g_ptr_array_sort(all, by_serial_in_array);
    tape_put(tape, all->len);
    for (guint i = 0; i < all->len; i++) {
        const Subscription *subscription = all->pdata[i];
        tape_put(tape, subscription->session->client->id);
        tape_put_text(tape, subscription->topic->name);
    }
}

void pubsub_save(Tape *tape)
{
    save_kind(&channels, tape);
    save_kind(&patterns, tape);
}

static void restore_kind(Kind *kind, TapeReader *tape)
{
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        Client *client = client_by_id(tape_get(tape));
        Slice name = tape_get_text(tape);
        if (client == NULL) tape->bad = true;
        if (!tape->bad) subscription_add(kind, client->session, name);
    }
}

void pubsub_restore(TapeReader *tape)
{
    restore_kind(&channels, tape);
    restore_kind(&patterns, tape);
}

size_t pubsub_channel_count(void)
{
    return channels.topics == NULL ? 0 : g_hash_table_size(channels.topics);
}

size_t pubsub_pattern_count(void)
{
    return pattern_queue.length;
}

/* ---- messages ---- */

static int64_t publish_to_channel(Slice channel, Slice message)
{
    const Topic *topic = topic_find(&channels, channel);
    if (topic == NULL) return 0;
    for (const GList *link = topic->queue.head; link != NULL; link = link->next) {
        Out *out = client_out(((const Subscription *)link->data)->session->client);
        reply_array(out, 3);
        reply_bulk(out, SLICE("message"));
        reply_bulk(out, channel);
        reply_bulk(out, message);
    }
    return (int64_t)topic->count;
}

static bool pattern_matches(Topic *pattern, Slice channel)
{
    if (pattern->message != last_message) {
        pattern->message = last_message;
        pattern->matches = glob_match(pattern->name, channel, false);
    }
    return pattern->matches;
}

static int64_t publish_to_patterns(Slice channel, Slice message)
{
    int64_t receivers = 0;
    last_message++;
    for (const GList *link = pattern_queue.head; link != NULL; link = link->next) {
        const Subscription *subscription = link->data;
        if (!pattern_matches(subscription->topic, channel)) continue;
        Out *out = client_out(subscription->session->client);
        reply_array(out, 4);
        reply_bulk(out, SLICE("pmessage"));
        reply_bulk(out, subscription->topic->name);
        reply_bulk(out, channel);
        reply_bulk(out, message);
        receivers++;
    }
    return receivers;
}

int64_t pubsub_publish(Slice channel, Slice message)
{
    return publish_to_channel(channel, message) + publish_to_patterns(channel, message);
}

/* "__keyspace@0__:name" in a buffer that is good until the next call. */
static Slice event_channel(const char *space, const Db *db, Slice name)
{
    static GString *channel;
    if (channel == NULL) channel = g_string_new(NULL);
    g_string_printf(channel, "__%s@%d__:", space, db->index);
    g_string_append_len(channel, name.ptr, (gssize)name.len);
    return (Slice){ channel->str, channel->len };
}

void notify(Db *db, unsigned event_class, const char *event, Slice key)
{
    if (!(options.notify_events & event_class)) return;
    if (pubsub_channel_count() == 0 && pubsub_pattern_count() == 0) return;
    Slice name = slice_of(event);
    if (options.notify_events & NOTIFY_KEYSPACE) pubsub_publish(event_channel("keyspace", db, key), name);
    if (options.notify_events & NOTIFY_KEYEVENT) pubsub_publish(event_channel("keyevent", db, name), key);
}

/* ---- commands ---- */

/* Confirms one (un)subscription. `name` NULL: there was nothing to end; `left`: what the session is subscribed to then.
 */
static void reply_confirmation(Request *r, Slice word, const Slice *name, size_t left)
{
    reply_array(r->out, 3);
    reply_bulk(r->out, word);
    if (name == NULL) {
        reply_nil(r->out);
    } else {
        reply_bulk(r->out, *name);
    }
    reply_int(r->out, (int64_t)left);
}

static void subscribe(Request *r, Kind *kind)
{
    for (int i = 1; i < r->argc; i++) {
        subscription_add(kind, r->session, r->argv[i]);
        reply_confirmation(r, kind->subscribed, &r->argv[i], session_subscriptions(r->session));
    }
    update_class(r->session);
}

static void unsubscribe_one(Request *r, Kind *kind, Slice name)
{
    GHashTable *own = *session_table(kind, r->session);
    const Topic *topic = own == NULL ? NULL : topic_find(kind, name);
    Subscription *subscription = topic == NULL ? NULL : g_hash_table_lookup(own, topic);
    if (subscription != NULL) subscription_end(kind, subscription);
    reply_confirmation(r, kind->unsubscribed, &name, session_subscriptions(r->session));
}

static void unsubscribe_all(Request *r, Kind *kind)
{
    GList *all = subscriptions_in_order(kind, r->session);
    if (all == NULL) reply_confirmation(r, kind->unsubscribed, NULL, session_subscriptions(r->session));
    for (GList *each = all; each != NULL; each = each->next) {
        Subscription *subscription = each->data;
        const Slice *name = &subscription->topic->name; /* which may die with it */
        reply_confirmation(r, kind->unsubscribed, name, session_subscriptions(r->session) - 1);
        subscription_end(kind, subscription);
    }
    g_list_free(all);
}

static void unsubscribe(Request *r, Kind *kind)
{
    for (int i = 1; i < r->argc; i++)
        unsubscribe_one(r, kind, r->argv[i]);
    if (r->argc == 1) unsubscribe_all(r, kind);
    update_class(r->session);
}

/* SUBSCRIBE channel [channel ...] */
void cmd_subscribe(Request *r)
{
    subscribe(r, &channels);
}

/* UNSUBSCRIBE [channel [channel ...]] */
void cmd_unsubscribe(Request *r)
{
    unsubscribe(r, &channels);
}

/* PSUBSCRIBE pattern [pattern ...] */
void cmd_psubscribe(Request *r)
{
    subscribe(r, &patterns);
}

/* PUNSUBSCRIBE [pattern [pattern ...]] */
void cmd_punsubscribe(Request *r)
{
    unsubscribe(r, &patterns);
}

/* PUBLISH channel message */
void cmd_publish(Request *r)
{
    if (master_slaves() > 0 && !effect_fits(r->out, effect_bytes(r->argv, r->argc))) return;
    reply_int(r->out, pubsub_publish(r->argv[1], r->argv[2]));
    if (session_is_admin(r->session)) hello_heard(r->argv[1], r->argv[2]);
    effect_for_slaves(r);
}

/* `pattern` NULL: all. */
static void reply_channels(Request *r, const Slice *pattern)
{
    OutMark mark = reply_array_begin(r->out);
    size_t count = 0;
    GHashTableIter iter;
    gpointer topic;
    if (channels.topics != NULL) {
        g_hash_table_iter_init(&iter, channels.topics);
        while (g_hash_table_iter_next(&iter, &topic, NULL)) {
            Slice name = ((const Topic *)topic)->name;
            if (pattern != NULL && !glob_match(*pattern, name, false)) continue;
            reply_bulk(r->out, name);
            count++;
        }
    }
    reply_array_set(r->out, mark, count);
}

static void reply_subscribers(Request *r)
{
    reply_array(r->out, (size_t)(r->argc - 2) * 2);
    for (int i = 2; i < r->argc; i++) {
        const Topic *topic = topic_find(&channels, r->argv[i]);
        reply_bulk(r->out, r->argv[i]);
        reply_int(r->out, topic == NULL ? 0 : (int64_t)topic->count);
    }
}

/* PUBSUB CHANNELS [pattern] | NUMSUB [channel ...] | NUMPAT */
void cmd_pubsub(Request *r)
{
    if (arg_is(r, 1, "channels") && r->argc <= 3) {
        reply_channels(r, r->argc == 3 ? &r->argv[2] : NULL);
    } else if (arg_is(r, 1, "numsub")) {
        reply_subscribers(r);
    } else if (arg_is(r, 1, "numpat") && r->argc == 2) {
        reply_int(r->out, (int64_t)pubsub_pattern_count());
    } else {
        reply_errorf(r->out, "ERR Unknown PUBSUB subcommand or wrong number of arguments for '%.*s'",
                     (int)MIN(r->argv[1].len, INT32_MAX), r->argv[1].ptr);
    }
}
