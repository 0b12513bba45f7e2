/* clients.c: CLIENT: looking at connections and managing them. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/replay.h"
#include "cmds/subcommand.h"
#include "repl/slave.h"
#include "store/journal.h"

/* ---- CLIENT LIST ---- */

/* The letters of flags=. A client marked for closing is one whose reply is still on its way. */
static void append_flags(GString *line, const Client *client)
{
    const Session *session = client->session;
    gsize start = line->len;
    if (session->monitoring) g_string_append_c(line, 'O');
    if (client->class == CLIENT_SLAVE) g_string_append_c(line, 'S');
    if (session->in_multi) g_string_append_c(line, 'x');
    if (session->waiting) g_string_append_c(line, 'b');
    if (session->watch_touched) g_string_append_c(line, 'd');
    if (client->closing) g_string_append_c(line, 'c');
    if (client->unix_socket) g_string_append_c(line, 'U');
    if (line->len == start) g_string_append_c(line, 'N');
}

static int queued_commands(const Session *session)
{
    if (!session->in_multi) return -1;
    return session->queue == NULL ? 0 : (int)session->queue->len;
}

static int subscriptions(GHashTable *to)
{
    return to == NULL ? 0 : (int)g_hash_table_size(to);
}

/* What is in a line between flags= and the end. CKV has no fixed reply buffer, so obl is always 0. */
typedef struct Traffic {
    int db, channels, patterns, queued;
    size_t unread_bytes, unread_room;
    const Out *out;
    const char *command; /* NULL: none */
} Traffic;

static void append_traffic(GString *text, const Traffic *traffic)
{
    g_string_append_printf(text, " db=%d sub=%d psub=%d multi=%d qbuf=%zu qbuf-free=%zu obl=0 oll=%zu omem=%zu",
                           traffic->db, traffic->channels, traffic->patterns, traffic->queued, traffic->unread_bytes,
                           traffic->unread_room, out_blocks(traffic->out), out_memory(traffic->out));
    g_string_append_printf(text, " events=r%s cmd=%s\n", traffic->out->bytes > 0 ? "w" : "",
                           traffic->command != NULL ? traffic->command : "NULL");
}

/* 3.2's line. */
static void append_client(GString *text, const Client *client)
{
    const Session *session = client->session;
    char address[CLIENT_ADDRESS_CHARS];
    client_address(client, address);
    g_string_append_printf(text, "id=%lu addr=%s fd=%d name=%s age=%ld idle=%ld flags=", client->id, address,
                           client->fd, session->name != NULL ? session->name : "",
                           (clock_mono_ms() - client->created_ms) / 1000, (clock_mono_ms() - client->active_ms) / 1000);
    append_flags(text, client);
    append_traffic(text, &(Traffic){
                             .db = session->db->index,
                             .channels = subscriptions(session->channels),
                             .patterns = subscriptions(session->patterns),
                             .queued = queued_commands(session),
                             .unread_bytes = client_input_bytes(client),
                             .unread_room = client_input_room(client),
                             .out = &client->out,
                             .command = session->last != NULL ? session->last->name : NULL,
                         });
}

/* The link to this server's master: a client of 3.2. */
static void append_link(GString *text, const SlaveLink *link)
{
    char address[CLIENT_ADDRESS_CHARS];
    client_peer_address(link->fd, address);
    g_string_append_printf(text, "id=%lu addr=%s fd=%d name= age=%ld idle=%ld flags=M", link->id, address, link->fd,
                           (clock_mono_ms() - link->created_ms) / 1000, (clock_mono_ms() - link->active_ms) / 1000);
    append_traffic(text, &(Traffic){
                             .db = MAX(journal_db(), 0),
                             .queued = -1,
                             .unread_bytes = link->unread_bytes,
                             .unread_room = link->unread_room,
                             .out = link->out,
                             .command = replay_last_name(),
                         });
}

static void list_clients(Request *r)
{
    SlaveLink link;
    bool linked = slave_link(&link);
    const GPtrArray *all = client_all();
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < all->len; i++) {
        const Client *client = all->pdata[i];
        if (linked && client->id > link.id) {
            append_link(text, &link);
            linked = false;
        }
        append_client(text, client);
    }
    if (linked) append_link(text, &link);
    reply_bulk(r->out, (Slice){ text->str, text->len });
}

/* ---- CLIENT KILL ---- */

typedef struct KillFilter {
    Slice address; /* ptr NULL: any */
    int64_t id;    /* 0: any */
    int class;     /* -1: any; CLIENT_CLASSES: the master's */
    bool skip_me;
} KillFilter;

static const char *const class_names[] = { "normal", "slave", "pubsub", "master" };

static bool parse_class(Request *r, Slice name, int *class)
{
    for (size_t i = 0; i < G_N_ELEMENTS(class_names); i++) {
        if (!slice_is(name, class_names[i])) continue;
        *class = (int)i;
        return true;
    }
    reply_errorf(r->out, "ERR Unknown client type '%.*s'", (int)name.len, name.ptr);
    return false;
}

/* One filter and its value, at `index`; false: the error is out. */
static bool parse_filter(Request *r, int index, KillFilter *filter)
{
    bool has_value = index + 1 < r->argc;
    if (has_value && arg_is(r, index, "id")) return arg_int(r, index + 1, &filter->id, NULL);
    if (has_value && arg_is(r, index, "type")) return parse_class(r, r->argv[index + 1], &filter->class);
    if (has_value && arg_is(r, index, "addr")) {
        filter->address = r->argv[index + 1];
        return true;
    }
    bool yes = has_value && arg_is(r, index + 1, "yes"), no = has_value && arg_is(r, index + 1, "no");
    if (arg_is(r, index, "skipme") && (yes || no)) {
        filter->skip_me = yes;
        return true;
    }
    reply_error(r->out, ERROR_SYNTAX);
    return false;
}

static bool matches(const KillFilter *filter, uint64_t id, int class, const char *address)
{
    if (filter->id != 0 && id != (uint64_t)filter->id) return false;
    if (filter->class >= 0 && class != filter->class) return false;
    return filter->address.ptr == NULL || slice_equal(filter->address, slice_of(address));
}

static bool filter_takes(const Request *r, const KillFilter *filter, const Client *client)
{
    char address[CLIENT_ADDRESS_CHARS] = "";
    if (filter->skip_me && client == r->client) return false;
    if (filter->address.ptr != NULL) client_address(client, address);
    return matches(filter, client->id, (int)client->class, address);
}

/* How many it was: 1 or 0. */
static int64_t kill_link(const KillFilter *filter)
{
    SlaveLink link;
    char address[CLIENT_ADDRESS_CHARS];
    if (!slave_link(&link)) return 0;
    client_peer_address(link.fd, address);
    if (!matches(filter, link.id, CLIENT_CLASSES, address)) return 0;
    slave_cut_link();
    return 1;
}

static int64_t kill_clients(const Request *r, const KillFilter *filter)
{
    int64_t killed = kill_link(filter);
    const GPtrArray *all = client_all();
    for (guint i = 0; i < all->len; i++) {
        Client *client = all->pdata[i];
        if (client->closing || !filter_takes(r, filter, client)) continue;
        killed++;
        if (client != r->client) client_close_now(client);
    }
    return killed;
}

static void kill_by_address(Request *r)
{
    KillFilter filter = { .address = r->argv[2], .class = -1 };
    if (kill_clients(r, &filter) == 0) {
        reply_error(r->out, "ERR No such client");
        return;
    }
    reply_ok(r->out);
    if (filter_takes(r, &filter, r->client)) client_close_after_reply(r->client);
}

static void kill_by_filters(Request *r)
{
    KillFilter filter = { .class = -1, .skip_me = true };
    for (int i = 2; i < r->argc; i += 2) {
        if (!parse_filter(r, i, &filter)) return;
    }
    reply_int(r->out, kill_clients(r, &filter));
    if (filter_takes(r, &filter, r->client)) client_close_after_reply(r->client);
}

static void kill_command(Request *r)
{
    if (r->argc == 3) {
        kill_by_address(r);
    } else if (r->argc > 3) {
        kill_by_filters(r);
    } else {
        reply_error(r->out, ERROR_SYNTAX);
    }
}

/* ---- the client's own state ---- */

static void set_name(Request *r)
{
    Slice name = r->argv[2];
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] >= '!' && name.ptr[i] <= '~') continue;
        reply_error(r->out, "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    g_free(r->session->name);
    r->session->name = name.len == 0 ? NULL : g_strndup(name.ptr, name.len);
    reply_ok(r->out);
}

static void get_name(Request *r)
{
    if (r->session->name == NULL) {
        reply_nil(r->out);
    } else {
        reply_bulk_cstring(r->out, r->session->name);
    }
}

static void pause_clients(Request *r)
{
    int64_t duration_ms, until_ms;
    if (!arg_int(r, 2, &duration_ms, "ERR timeout is not an integer or out of range")) return;
    if (duration_ms < 0) {
        reply_error(r->out, "ERR timeout is negative");
        return;
    }
    if (__builtin_add_overflow(clock_mono_ms(), duration_ms, &until_ms)) {
        reply_error(r->out, "ERR timeout is out of range"); /* 3.2's sum overflows: nobody is paused */
        return;
    }
    client_pause(until_ms);
    reply_ok(r->out);
}

static void set_reply_mode(Request *r)
{
    Session *session = r->session;
    if (arg_is(r, 2, "on")) {
        session->reply_off = false;
        session->reply_skip = 0;
        r->out->muted = false;
        reply_ok(r->out);
    } else if (arg_is(r, 2, "off")) {
        session->reply_off = true;
    } else if (arg_is(r, 2, "skip")) {
        if (!session->reply_off) session->reply_skip = 2;
    } else {
        reply_error(r->out, ERROR_SYNTAX);
    }
}

static const SubCommand sub_commands[] = {
    { "list", 2, 2, list_clients }, { "reply", 3, 3, set_reply_mode }, { "kill", 2, 0, kill_command },
    { "setname", 3, 3, set_name },  { "getname", 2, 2, get_name },     { "pause", 3, 3, pause_clients },
};

/* CLIENT LIST | KILL address | KILL filter value ... | PAUSE milliseconds | SETNAME name | GETNAME | REPLY ON|OFF|SKIP
 */
void cmd_client(Request *r)
{
    if (subcommand_run(r, sub_commands, G_N_ELEMENTS(sub_commands)) == SUBCOMMAND_RAN) return;
    reply_error(r->out, "ERR Syntax error, try CLIENT (LIST | KILL | GETNAME | SETNAME | PAUSE | REPLY)");
}
