/* admin.c: the operator's commands on the server as a whole: FLUSHALL, FLUSHDB, MONITOR, ROLE, SHUTDOWN.
 * Called by the command table, and by command.c for what MONITOR shows.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/server.h"

/* ---- emptying ---- */

static void flush(Db *db)
{
    keyspace->changes += keyspace_flush(db);
}

/* FLUSHDB */
void cmd_flushdb(Request *r)
{
    transaction_touch_all(r->db);
    flush(r->db);
    reply_ok(r->out);
}

/* FLUSHALL */
void cmd_flushall(Request *r)
{
    transaction_touch_all(NULL);
    for (int i = 0; i < keyspace->db_count; i++)
        flush(&keyspace->dbs[i]);
    keyspace->changes++;
    reply_ok(r->out);
}

/* ---- monitoring ---- */

static GPtrArray *monitors; /* Client *; NULL: there never was one */
guint monitor_count;

void monitor_begin(Session *session)
{
    if (monitors == NULL) monitors = g_ptr_array_new();
    g_ptr_array_add(monitors, session->client);
    monitor_count = monitors->len;
    session->monitoring = session->client->never_idle = true;
}

/* MONITOR */
void cmd_monitor(Request *r)
{
    if (r->session->monitoring) return; /* 3.2 doesn't answer a second time */
    monitor_begin(r->session);
    reply_ok(r->out);
}

void monitor_forget(Session *session)
{
    if (!session->monitoring) return;
    g_ptr_array_remove(monitors, session->client);
    monitor_count = monitors->len;
}

/* The argument in quotes, with what can't be printed escaped. (By printf a value of 32 MB took 3 s.) */
static void append_quoted(GString *line, Slice text)
{
    static const char escaped[] = "\\\"\n\r\t\a\b", letters[] = "\\\"nrtab", digits[] = "0123456789abcdef";
    g_string_append_c(line, '"');
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        const char *found = c == '\0' ? NULL : strchr(escaped, c);
        if (found != NULL) {
            g_string_append_len(line, (const char[]){ '\\', letters[found - escaped] }, 2);
        } else if (g_ascii_isprint(c)) {
            g_string_append_c(line, c);
        } else {
            uint8_t byte = (uint8_t)c;
            g_string_append_len(line, (const char[]){ '\\', 'x', digits[byte >> 4], digits[byte & 15] }, 4);
        }
    }
    g_string_append_c(line, '"');
}

static void append_sender(GString *line, const Client *client)
{
    char address[CLIENT_ADDRESS_CHARS];
    client_address(client, address);
    if (client->unix_socket) {
        *strrchr(address, ':') = '\0';
        g_string_append_printf(line, "unix:%s", address);
    } else {
        g_string_append(line, address);
    }
}

/* +1339518083.107412 [0 127.0.0.1:60866] "set" "a" "1" */
static GString *monitor_line(const Request *r)
{
    int64_t now_us = g_get_real_time(); /* the turn's clock stands still */
    GString *line = g_string_new(NULL);
    g_string_append_printf(line, "+%ld.%06ld [%d ", now_us / 1000000, now_us % 1000000, r->db->index);
    append_sender(line, r->client);
    g_string_append_c(line, ']');
    for (int i = 0; i < r->argc; i++) {
        g_string_append_c(line, ' ');
        append_quoted(line, arg_shown(r, i));
    }
    return g_string_append(line, "\r\n");
}

void monitor_show(const Request *r)
{
    if (monitor_count == 0) return;
    g_autoptr(GString) line = monitor_line(r);
    for (guint i = 0; i < monitor_count; i++)
        out_write(client_out(monitors->pdata[i]), line->str, line->len);
}

/* ---- the rest ---- */

/* SHUTDOWN [NOSAVE | SAVE] */
void cmd_shutdown(Request *r)
{
    bool known = r->argc == 1 || (r->argc == 2 && (arg_is(r, 1, "nosave") || arg_is(r, 1, "save")));
    if (!known) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    server.stop_without_save = r->argc == 2 && arg_is(r, 1, "nosave");
    loop_stop(server.loop);
}
