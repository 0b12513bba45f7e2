/* latency.c: LATENCY: the spikes of the last time, by what caused them. Called by the command table; whoever may have
 * caused one calls latency_note.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "base/clock.h"
#include "base/options.h"
#include "cmds/handlers.h"
#include "cmds/slowlog.h"
#include "cmds/subcommand.h"

#define SAMPLES 160 /* kept of each event, as in 3.2: one a second at most */

typedef struct Sample {
    int64_t at_sec; /* 0: none yet */
    int64_t took_ms;
} Sample;

typedef struct Event {
    Sample samples[SAMPLES];
    unsigned next; /* the oldest, to be overwritten */
    int64_t worst_ms;
} Event;

static GHashTable *events; /* name (a literal) -> Event; NULL: none yet */

static GHashTable *all_events(void)
{
    if (events == NULL) events = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    return events;
}

void latency_note(const char *name, int64_t took_ms)
{
    if (options.latency_monitor_threshold == 0 || took_ms < options.latency_monitor_threshold) return;
    Event *event = g_hash_table_lookup(all_events(), name);
    if (event == NULL) {
        event = g_new0(Event, 1);
        g_hash_table_insert(events, (gpointer)(uintptr_t)name, event);
    }
    event->worst_ms = MAX(event->worst_ms, took_ms);
    int64_t now_sec = clock_unix_ms / 1000;
    Sample *latest = &event->samples[(event->next + SAMPLES - 1) % SAMPLES];
    if (latest->at_sec == now_sec) {
        latest->took_ms = MAX(latest->took_ms, took_ms);
        return;
    }
    event->samples[event->next] = (Sample){ now_sec, took_ms };
    event->next = (event->next + 1) % SAMPLES;
}

void latency_save(Tape *tape)
{
    GHashTableIter iter;
    gpointer name, value;
    tape_put(tape, g_hash_table_size(all_events()));
    g_hash_table_iter_init(&iter, events);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const Event *event = value;
        tape_put_string(tape, name);
        tape_put(tape, event->next);
        tape_put(tape, (uint64_t)event->worst_ms);
        for (int i = 0; i < SAMPLES; i++) {
            tape_put(tape, (uint64_t)event->samples[i].at_sec);
            tape_put(tape, (uint64_t)event->samples[i].took_ms);
        }
    }
}

void latency_restore(TapeReader *tape)
{
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        g_autofree char *name = tape_get_string(tape);
        Event *event = g_new0(Event, 1);
        event->next = (unsigned)tape_get_below(tape, SAMPLES);
        event->worst_ms = (int64_t)tape_get(tape);
        for (int i = 0; i < SAMPLES; i++) {
            event->samples[i].at_sec = (int64_t)tape_get(tape);
            event->samples[i].took_ms = (int64_t)tape_get(tape);
        }
        g_hash_table_insert(all_events(), (gpointer)(uintptr_t)g_intern_string(name != NULL ? name : ""), event);
    }
}

/* The event's samples in their order; returns how many. */
static unsigned collect(const Event *event, Sample *samples)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        const Sample *sample = &event->samples[(event->next + i) % SAMPLES];
        if (sample->at_sec != 0) samples[count++] = *sample;
    }
    return count;
}

/* ---- HISTORY, LATEST, RESET ---- */

static const Event *find_event(Slice name)
{
    g_autofree char *text = g_strndup(name.ptr, name.len);
    return g_hash_table_lookup(all_events(), text);
}

static void reply_history(Request *r)
{
    const Event *event = find_event(r->argv[2]);
    Sample samples[SAMPLES];
    unsigned count = event == NULL ? 0 : collect(event, samples);
    reply_array(r->out, count);
    for (unsigned i = 0; i < count; i++) {
        reply_array(r->out, 2);
        reply_int(r->out, samples[i].at_sec);
        reply_int(r->out, samples[i].took_ms);
    }
}

static void reply_latest(Request *r)
{
    GHashTableIter iter;
    gpointer name, value;
    reply_array(r->out, g_hash_table_size(all_events()));
    g_hash_table_iter_init(&iter, events);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const Event *event = value;
        const Sample *latest = &event->samples[(event->next + SAMPLES - 1) % SAMPLES];
        reply_array(r->out, 4);
        reply_bulk_cstring(r->out, name);
        reply_int(r->out, latest->at_sec);
        reply_int(r->out, latest->took_ms);
        reply_int(r->out, event->worst_ms);
    }
}

static gboolean name_is_given(gpointer key, gpointer value, gpointer data)
{
    (void)value;
    const Request *r = data;
    for (int i = 2; i < r->argc; i++) {
        if (slice_is(r->argv[i], key)) return TRUE;
    }
    return r->argc == 2;
}

static void reset(Request *r)
{
    reply_int(r->out, g_hash_table_foreach_remove(all_events(), name_is_given, r));
}

/* ---- GRAPH ---- */

#define GRAPH_ROWS    4
#define GRAPH_STEPS   3
#define GRAPH_COLUMNS 80
#define AGE_CHARS     8

/* "12s", "3m", "2h", "5d". */
static void format_age(int64_t seconds, char *out)
{
    static const struct {
        int64_t below, unit;
        char letter;
    } ages[] = { { 60, 1, 's' }, { 3600, 60, 'm' }, { 86400, 3600, 'h' }, { INT64_MAX, 86400, 'd' } };
    unsigned i = 0;
    while (seconds >= ages[i].below)
        i++;
    g_snprintf(out, AGE_CHARS, "%d%c", (int)(seconds / ages[i].unit), ages[i].letter);
}

/* The ages of the samples, written downwards below their columns. */
static void append_ages(GString *graph, const Sample *samples, unsigned count)
{
    char ages[GRAPH_COLUMNS][AGE_CHARS] = { 0 };
    size_t longest = 0;
    for (unsigned i = 0; i < count; i++) {
        format_age(MAX(clock_unix_ms / 1000 - samples[i].at_sec, 0), ages[i]);
        longest = MAX(longest, strlen(ages[i]));
    }
    for (size_t row = 0; row < longest; row++) {
        g_string_append_c(graph, '\n');
        for (unsigned i = 0; i < count; i++)
            g_string_append_c(graph, row < strlen(ages[i]) ? ages[i][row] : ' ');
    }
    g_string_append_c(graph, '\n');
}

/* What a bar of that many steps, from 0 on, shows in a row: its top tells three heights apart. */
static char bar_char(int64_t steps, int row)
{
    static const char tops[GRAPH_STEPS + 1] = "_o#";
    int top_row = (int)(steps / GRAPH_STEPS);
    if (row > top_row) return ' ';
    return row < top_row ? '|' : tops[steps % GRAPH_STEPS];
}

/* A bar for each of the latest samples, as Redis draws them, and its empty line. */
static void append_bars(GString *graph, const Sample *samples, unsigned count, int64_t low, int64_t high)
{
    const int64_t steps = (int64_t)GRAPH_ROWS * GRAPH_STEPS;
    for (int row = GRAPH_ROWS - 1; row >= -1; row--) {
        g_string_append_c(graph, '\n');
        for (unsigned i = 0; i < count; i++) {
            int64_t step = high == low ? 0 : (samples[i].took_ms - low) * steps / (high - low);
            g_string_append_c(graph, row < 0 ? ' ' : bar_char(MIN(step, steps - 1), row));
        }
    }
}

static void reply_graph(Request *r)
{
    const Event *event = find_event(r->argv[2]);
    if (event == NULL) {
        reply_errorf(r->out, "ERR No samples available for event '%.*s'", (int)r->argv[2].len, r->argv[2].ptr);
        return;
    }
    Sample all[SAMPLES];
    unsigned count = collect(event, all), shown = MIN(count, GRAPH_COLUMNS);
    const Sample *samples = all + count - shown;
    int64_t low = samples[0].took_ms, high = low;
    for (unsigned i = 1; i < shown; i++) {
        low = MIN(low, samples[i].took_ms);
        high = MAX(high, samples[i].took_ms);
    }
    g_autoptr(GString) graph = g_string_new(NULL);
    g_string_printf(graph, "%.*s - high %ld ms, low %ld ms (all time high %ld ms)\n", (int)r->argv[2].len,
                    r->argv[2].ptr, high, low, event->worst_ms);
    for (int i = 0; i < GRAPH_COLUMNS; i++)
        g_string_append_c(graph, '-');
    append_bars(graph, samples, shown, low, high);
    append_ages(graph, samples, shown);
    reply_bulk(r->out, (Slice){ graph->str, graph->len });
}

/* ---- DOCTOR ---- */

static const struct {
    const char *event, *advice;
} remedies[] = {
    { "command", "Look for slow commands by SLOWLOG GET: KEYS, SMEMBERS, SORT or DEL on something big take time in "
                 "proportion to its size. CONFIG SET slowlog-log-slower-than lowers what it keeps." },
    { "fast-command", "A command that takes constant time was slow, so the machine was: look for other busy processes, "
                      "swapping, or a virtual machine that got no processor." },
    { "expire-cycle", "Many keys expire at the same moment, or big ones do: spread their deadlines." },
};

static void append_diagnosis(GString *report, const char *name, const Event *event)
{
    Sample samples[SAMPLES];
    unsigned count = collect(event, samples);
    int64_t sum = 0, deviation = 0, average;
    g_assert(count > 0); /* an event is made with its first sample */
    for (unsigned i = 0; i < count; i++)
        sum += samples[i].took_ms;
    average = sum / count;
    for (unsigned i = 0; i < count; i++)
        deviation += llabs(samples[i].took_ms - average);
    int64_t watched_sec = clock_unix_ms / 1000 - samples[0].at_sec;
    g_string_append_printf(report,
                           "%s: %u spikes, %ld ms on average (mean deviation %ld ms), one every %.1f s; the worst "
                           "ever took %ld ms.\n",
                           name, count, average, deviation / count, (double)watched_sec / count, event->worst_ms);
    for (size_t i = 0; i < G_N_ELEMENTS(remedies); i++) {
        if (strcmp(remedies[i].event, name) == 0) g_string_append_printf(report, "  %s\n", remedies[i].advice);
    }
}

static void reply_diagnosis(Request *r)
{
    g_autoptr(GString) report = g_string_new(NULL);
    GHashTableIter iter;
    gpointer name, value;
    g_hash_table_iter_init(&iter, all_events());
    while (g_hash_table_iter_next(&iter, &name, &value))
        append_diagnosis(report, name, value);
    if (report->len > 0) {
        g_string_prepend(report, "Latency spikes that were seen:\n\n");
    } else if (options.latency_monitor_threshold == 0) {
        g_string_assign(report, "Latency isn't watched. CONFIG SET latency-monitor-threshold <milliseconds> starts "
                                "keeping every event that takes at least that long.\n");
    } else {
        g_string_printf(report, "Nothing took %ld ms or longer.\n", options.latency_monitor_threshold);
    }
    reply_bulk(r->out, (Slice){ report->str, report->len });
}

static const SubCommand sub_commands[] = {
    { "history", 3, 3, reply_history },  { "graph", 3, 3, reply_graph }, { "latest", 2, 2, reply_latest },
    { "doctor", 2, 2, reply_diagnosis }, { "reset", 2, 0, reset },
};

/* LATENCY LATEST | HISTORY event | GRAPH event | RESET [event ...] | DOCTOR */
void cmd_latency(Request *r)
{
    if (subcommand_run(r, sub_commands, G_N_ELEMENTS(sub_commands)) == SUBCOMMAND_RAN) return;
    reply_error(r->out, ERROR_SYNTAX);
}
