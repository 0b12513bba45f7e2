/* connection.c: AUTH, ECHO, PING, QUIT, SELECT. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/number.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/handlers.h"

/* Compares in a time that depends on the lengths only, so that a password can't be guessed byte by byte. */
static bool equal_in_constant_time(Slice given, const char *expected)
{
    size_t expected_len = strlen(expected);
    unsigned differs = given.len != expected_len;
    for (size_t i = 0; i < given.len; i++) {
        differs |= (unsigned)(given.ptr[i] ^ expected[expected_len == 0 ? 0 : i % expected_len]);
    }
    return differs == 0;
}

/* Whether `given` is "name:password". */
static bool credentials_match(Slice given, const char *name, const char *password)
{
    if (password[0] == '\0') return false;
    g_autofree char *expected = g_strconcat(name, ":", password, NULL);
    return equal_in_constant_time(given, expected);
}

/* AUTH instance-id:password | admin:admin-password */
void cmd_auth(Request *r)
{
    Session *session = r->session;
    if (credentials_match(r->argv[1], "admin", options.admin_password)) {
        session->authenticated = session->admin = true;
        reply_ok(r->out);
    } else if (options.password[0] == '\0') {
        reply_error(r->out, "ERR Client sent AUTH, but no password is set");
    } else if (credentials_match(r->argv[1], options.instance_id, options.password)) {
        session->authenticated = true;
        session->admin = r->client->operator_socket;
        reply_ok(r->out);
    } else {
        session->authenticated = false;
        session->admin = r->client->operator_socket;
        reply_error(r->out, "ERR invalid password");
    }
}

/* ECHO message */
void cmd_echo(Request *r)
{
    reply_bulk(r->out, r->argv[1]);
}

/* PING [message] */
void cmd_ping(Request *r)
{
    if (r->argc > 2) {
        reply_errorf(r->out, "ERR wrong number of arguments for '%s' command", r->command->name);
    } else if (session_subscriptions(r->session) > 0) {
        reply_array(r->out, 2);
        reply_bulk(r->out, SLICE("pong"));
        reply_bulk(r->out, r->argc == 2 ? r->argv[1] : SLICE(""));
    } else if (r->argc == 2) {
        reply_bulk(r->out, r->argv[1]);
    } else {
        reply_status(r->out, "PONG");
    }
}

/* QUIT */
void cmd_quit(Request *r)
{
    reply_ok(r->out);
    client_close_after_reply(r->client);
}

Db *select_db(Slice index, Db *otherwise)
{
    int64_t number;
    bool good = number_parse_int(index, &number) && number >= 0 && number < keyspace->db_count;
    return good ? &keyspace->dbs[number] : otherwise;
}

/* SELECT index */
void cmd_select(Request *r)
{
    Db *db = select_db(r->argv[1], NULL);
    if (db == NULL) {
        reply_error(r->out, "ERR invalid DB index");
        return;
    }
    r->session->db = db;
    reply_ok(r->out);
}
