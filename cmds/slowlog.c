/* slowlog.c: SLOWLOG: the commands that took longest. Called by the command table, and by command.c after each command.
 * (Latency events are in latency.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/slowlog.h"

#include "base/clock.h"
#include "base/options.h"
#include "cmds/handlers.h"
#include "cmds/subcommand.h"

/* What an entry keeps at most, as in 3.2. */
#define ARGUMENTS_MAX      32
#define ARGUMENT_BYTES_MAX 128

typedef struct SlowEntry {
    int64_t id, at_sec, took_us;
    GPtrArray *arguments; /* GBytes * */
} SlowEntry;

static GQueue entries = G_QUEUE_INIT; /* the latest first */
static int64_t next_id;

static void free_entry(gpointer data)
{
    SlowEntry *entry = data;
    g_ptr_array_unref(entry->arguments);
    g_free(entry);
}

static void trim(void)
{
    while (g_queue_get_length(&entries) > (guint)options.slowlog_max_len)
        free_entry(g_queue_pop_tail(&entries));
}

/* The argument as far as it is kept, and how much was left out. */
static GBytes *keep_argument(Slice text)
{
    if (text.len <= ARGUMENT_BYTES_MAX) return g_bytes_new(text.ptr, text.len);
    GString *kept = g_string_new_len(text.ptr, ARGUMENT_BYTES_MAX);
    g_string_append_printf(kept, "... (%zu more bytes)", text.len - ARGUMENT_BYTES_MAX);
    return g_string_free_to_bytes(kept);
}

static GPtrArray *keep_arguments(const Request *r)
{
    int kept = r->argc > ARGUMENTS_MAX ? ARGUMENTS_MAX - 1 : r->argc;
    GPtrArray *arguments = g_ptr_array_new_full(ARGUMENTS_MAX, (GDestroyNotify)g_bytes_unref);
    for (int i = 0; i < kept; i++)
        g_ptr_array_add(arguments, keep_argument(arg_shown(r, i)));
    if (kept < r->argc) {
        char *more = g_strdup_printf("... (%d more arguments)", r->argc - kept);
        g_ptr_array_add(arguments, g_bytes_new_take(more, strlen(more)));
    }
    return arguments;
}

static void note_slow(const Request *r, int64_t took_us)
{
    SlowEntry *entry = g_new(SlowEntry, 1);
    *entry = (SlowEntry){ next_id++, clock_unix_ms / 1000, took_us, keep_arguments(r) };
    g_queue_push_head(&entries, entry);
    trim();
}

void slowlog_keep(const Request *r, int64_t took_us)
{
    /* EXEC's time is that of the commands it ran, which were noted. */
    if (r->command->handler == cmd_exec) return;
    if (slowlog_is_slow(took_us)) note_slow(r, took_us);
    if (latency_is_spike(took_us))
        latency_note(r->command->flags & CMD_FAST ? "fast-command" : "command", took_us / 1000);
}

void slowlog_save(Tape *tape)
{
    tape_put(tape, (uint64_t)next_id);
    tape_put(tape, entries.length);
    for (const GList *link = entries.head; link != NULL; link = link->next) {
        const SlowEntry *entry = link->data;
        tape_put(tape, (uint64_t)entry->id);
        tape_put(tape, (uint64_t)entry->at_sec);
        tape_put(tape, (uint64_t)entry->took_us);
        tape_put(tape, entry->arguments->len);
        for (guint i = 0; i < entry->arguments->len; i++) {
            gsize len;
            const char *bytes = g_bytes_get_data(entry->arguments->pdata[i], &len);
            tape_put_text(tape, (Slice){ bytes, len });
        }
    }
}

void slowlog_restore(TapeReader *tape)
{
    next_id = (int64_t)tape_get(tape);
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        SlowEntry *entry = g_new(SlowEntry, 1);
        entry->id = (int64_t)tape_get(tape);
        entry->at_sec = (int64_t)tape_get(tape);
        entry->took_us = (int64_t)tape_get(tape);
        entry->arguments = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
        for (size_t more = tape_get_count(tape); more > 0; more--) {
            Slice text = tape_get_text(tape);
            g_ptr_array_add(entry->arguments, g_bytes_new(text.ptr, text.len));
        }
        g_queue_push_tail(&entries, entry);
    }
}

static void reply_entry(Out *out, const SlowEntry *entry)
{
    reply_array(out, 4);
    reply_int(out, entry->id);
    reply_int(out, entry->at_sec);
    reply_int(out, entry->took_us);
    reply_array(out, entry->arguments->len);
    for (guint i = 0; i < entry->arguments->len; i++) {
        gsize len;
        const char *bytes = g_bytes_get_data(entry->arguments->pdata[i], &len);
        reply_bulk(out, (Slice){ bytes != NULL ? bytes : "", len });
    }
}

static void reply_entries(Request *r)
{
    int64_t count = 10;
    if (r->argc == 3 && !arg_int(r, 2, &count, NULL)) return;
    guint there = g_queue_get_length(&entries), left = count < 0 ? there : (guint)MIN(count, (int64_t)there);
    reply_array(r->out, left);
    for (const GList *link = entries.head; left > 0; link = link->next, left--)
        reply_entry(r->out, link->data);
}

static void reply_count(Request *r)
{
    reply_int(r->out, g_queue_get_length(&entries));
}

static void reset(Request *r)
{
    g_queue_clear_full(&entries, free_entry);
    reply_ok(r->out);
}

static const SubCommand sub_commands[] = {
    { "reset", 2, 2, reset },
    { "len", 2, 2, reply_count },
    { "get", 2, 3, reply_entries },
};

/* SLOWLOG GET [count] | LEN | RESET */
void cmd_slowlog(Request *r)
{
    trim(); /* CONFIG SET may have changed the limit */
    if (subcommand_run(r, sub_commands, G_N_ELEMENTS(sub_commands)) == SUBCOMMAND_RAN) return;
    reply_error(r->out, "ERR Unknown SLOWLOG subcommand or wrong # of args. Try GET, RESET, LEN.");
}
