/* compact.c: see compact.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/compact.h"

#include "base/clock.h"
#include "base/prefetch.h"
#include "store/mem.h"

/* Memory worth a pass: as much as this, and this part of what is used. */
#define SLACK_BYTES_MIN (8UL << 20)
#define SLACK_PART      4

/* A pass that frees less than this part of the slack is followed by a pause, of twice as many looks as the one before:
 * others are making as much anew. */
#define GAIN_PART       8
#define PAUSE_LOOKS_MAX 64

/* And one that moves less than this part of the entries is in vain: there's none until the slack has grown by the part
 * above. */
#define MOVED_PART 64

/* Entries between two looks at the clock, about; and how far ahead their memory is asked for. */
#define ENTRIES_PER_LOOK 64
#define ENTRIES_AHEAD    8

static struct {
    bool running;
    int db;
    uint64_t cursor;
    size_t entries, moved;
    size_t slack_before;
    size_t in_vain;           /* slack that passes can't help */
    unsigned pause, to_pause; /* looks: the last pause, and what is left of it */
} pass;

void compact_look(void)
{
    if (pass.running || (pass.to_pause > 0 && pass.to_pause-- > 0)) return;
    size_t slack = mem_slack();
    pass.in_vain = MIN(pass.in_vain, slack);
    if (slack < SLACK_BYTES_MIN || slack < mem_used() / SLACK_PART || slack - pass.in_vain < slack / GAIN_PART) return;
    pass.running = true;
    pass.db = 0;
    pass.cursor = 0;
    pass.entries = pass.moved = 0;
    pass.slack_before = slack;
    mem_flush();
}

static void pass_end(void)
{
    pass.running = false;
    size_t slack = mem_slack();
    bool gained = slack < pass.slack_before - pass.slack_before / GAIN_PART;
    pass.in_vain = pass.moved < pass.entries / MOVED_PART ? slack : 0;
    pass.to_pause = pass.pause = gained ? 0 : MIN(pass.pause * 2 + 1, PAUSE_LOOKS_MAX);
}

static void visit_collect(void *element, void *context)
{
    g_ptr_array_add(context, element);
}

/* Some entries of the database whose turn it is. */
static void settle_some(Db *db)
{
    static GPtrArray *entries;
    if (entries == NULL) entries = g_ptr_array_new();
    g_ptr_array_set_size(entries, 0);
    do {
        pass.cursor = keyspace_scan(db, pass.cursor, visit_collect, entries);
    } while (pass.cursor != 0 && entries->len < ENTRIES_PER_LOOK);
    for (guint i = 0; i < entries->len; i++) {
        if (i + ENTRIES_AHEAD < entries->len) prefetch(entries->pdata[i + ENTRIES_AHEAD]);
        pass.moved += keyspace_settle(db, entries->pdata[i]);
    }
    pass.entries += entries->len;
}

bool compact_run(Keyspace *keyspace, int64_t budget_us)
{
    if (!pass.running) return false;
    int64_t end_us = clock_now_us() + budget_us;
    do {
        settle_some(&keyspace->dbs[pass.db]);
        if (pass.cursor == 0 && ++pass.db == keyspace->db_count) pass_end();
    } while (pass.running && clock_now_us() < end_us);
    return pass.running;
}
