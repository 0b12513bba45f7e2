/* config.c: CONFIG: the option table, as the operator sees it. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/glob.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/server.h"
#include "cmds/subcommand.h"
#include "store/evict.h"
#include "store/journal.h"

/* GET pattern */
static void config_get(Request *r)
{
    size_t shown = 0;
    OutMark mark = reply_array_begin(r->out);
    for (size_t i = 0; i < option_count; i++) {
        const Option *option = &option_table[i];
        if (!glob_match(r->argv[2], slice_of(option->name), true)) continue;
        g_autofree char *text = option_text(option);
        if (text == NULL) continue;
        reply_bulk_cstring(r->out, option->name);
        reply_bulk_cstring(r->out, text);
        shown += 2;
    }
    reply_array_set(r->out, mark, shown);
}

/* What some options need beyond their new value. False: it can't be had, the error is out. */
static bool apply_change(Request *r, const Option *option, int64_t old_maxclients)
{
    if (option->value == &options.maxmemory && server_may_evict()) evict_run(keyspace);
    if (option->value == &options.fsync && journal_is_open()) journal_set_sync((JournalSync)options.fsync);
    if (option->value != &options.maxclients) return true;
    int64_t possible = server_make_room_for(options.maxclients);
    if (possible >= options.maxclients) return true;
    options.maxclients = old_maxclients;
    reply_errorf(r->out, "ERR The operating system is not able to handle the specified number of clients, try with %ld",
                 possible);
    return false;
}

/* SET option value */
static void config_set(Request *r)
{
    Slice name = r->argv[2], value = r->argv[3];
    const Option *option = option_find(name);
    if (option == NULL || !(option->flags & OPTION_LIVE)) {
        reply_errorf(r->out, "ERR Unsupported CONFIG parameter: %.*s", (int)name.len, name.ptr);
        return;
    }
    if (option->kind == OPTION_FIXED)
        log_line(LOG_NOTICE, "CONFIG SET %s has no effect: CKV has no use for it.", option->name);
    int64_t old_maxclients = options.maxclients;
    g_autofree char *text = g_strndup(value.ptr, value.len);
    g_auto(GStrv) words = option->flags & OPTION_WORDS ? g_strsplit(text, " ", -1) : NULL;
    char *whole[] = { text, NULL };
    /* A text ends where it has a zero byte, in 3.2 as well; a number with one is none. */
    bool torn = option->kind == OPTION_NUMBER && strlen(text) != value.len;
    g_autofree char *wrong = torn            ? g_strdup("a number has no zero byte")
                             : words != NULL ? option_set(option, words, (int)g_strv_length(words))
                                             : option_set(option, whole, 1);
    if (wrong != NULL) {
        reply_errorf(r->out, "ERR Invalid argument '%s' for CONFIG SET '%.*s'", text, (int)name.len, name.ptr);
        return;
    }
    if (apply_change(r, option, old_maxclients)) reply_ok(r->out);
}

/* RESETSTAT */
static void config_resetstat(Request *r)
{
    server_reset_stats();
    reply_ok(r->out);
}

/* REWRITE */
static void config_rewrite(Request *r)
{
    if (options.config_file[0] == '\0') {
        reply_error(r->out, "ERR The server is running without a config file");
        return;
    }
    g_autofree char *wrong = options_rewrite();
    if (wrong != NULL) {
        log_line(LOG_WARNING, "CONFIG REWRITE failed: %s", wrong);
        reply_errorf(r->out, "ERR Rewriting config file: %s", wrong);
        return;
    }
    log_line(LOG_WARNING, "CONFIG REWRITE wrote %s", options.config_file);
    reply_ok(r->out);
}

static const SubCommand sub_commands[] = {
    { "set", 4, 4, config_set },
    { "get", 3, 3, config_get },
    { "resetstat", 2, 2, config_resetstat },
    { "rewrite", 2, 2, config_rewrite },
};

/* CONFIG GET pattern | SET option value | RESETSTAT | REWRITE */
void cmd_config(Request *r)
{
    SubCommandResult result = subcommand_run(r, sub_commands, G_N_ELEMENTS(sub_commands));
    if (result == SUBCOMMAND_UNKNOWN) {
        reply_error(r->out, "ERR CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE");
    } else if (result == SUBCOMMAND_ARITY) {
        reply_errorf(r->out, "ERR Wrong number of arguments for CONFIG %.*s", (int)r->argv[1].len, r->argv[1].ptr);
    }
}
