/* guard.c: see guard.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/guard.h"

#include <glib.h>
#include <string.h>

#include "base/number.h"

/* ---- reading INFO ---- */

static void take_id(const char *value, char id[GUARD_ID_CHARS + 1])
{
    /* A server without a second history shows forty zeros. */
    bool none = strlen(value) != GUARD_ID_CHARS || strspn(value, "0") == GUARD_ID_CHARS;
    g_strlcpy(id, none ? "" : value, GUARD_ID_CHARS + 1);
}

/* The number that the text begins with; 0 if it's negative or none. */
static uint64_t take_number(const char *text)
{
    int64_t number;
    bool good = number_parse_int((Slice){ text, strspn(text, "-0123456789") }, &number);
    return good && number > 0 ? (uint64_t)number : 0;
}

/* "db0:keys=12,expires=…" */
static bool is_database(const char *name)
{
    return name[0] == 'd' && name[1] == 'b' && g_ascii_isdigit(name[2]);
}

static void take_field(const char *name, const char *value, GuardFacts *facts)
{
    if (strcmp(name, "role") == 0) facts->slave = strcmp(value, "slave") == 0;
    if (strcmp(name, "run_id") == 0 && facts->history[0] == '\0') take_id(value, facts->history);
    if (strcmp(name, "master_replid") == 0) take_id(value, facts->history);
    if (strcmp(name, "master_replid2") == 0) take_id(value, facts->history2);
    if (g_str_has_prefix(name, "ckv_")) facts->ckv = true;
    if (strcmp(name, "ckv_older_replids") == 0) g_strlcpy(facts->older, value, sizeof(facts->older));
    if (strcmp(name, "ckv_rolled_back_from") == 0) g_strlcpy(facts->left, value, sizeof(facts->left));
    if (strcmp(name, "ckv_rolled_back_before") == 0) {
        g_strlcat(facts->left, ",", sizeof(facts->left));
        g_strlcat(facts->left, value, sizeof(facts->left));
    }
    if (strcmp(name, "master_repl_offset") == 0) facts->offset = take_number(value);
    /* On the wire offsets count from 1: this is the first that the two don't share. */
    if (strcmp(name, "second_repl_offset") == 0) facts->offset2 = MAX(take_number(value), 1) - 1;
    if (is_database(name) && g_str_has_prefix(value, "keys=")) facts->keys += take_number(value + strlen("keys="));
}

void guard_read_info(Slice info, GuardFacts *facts)
{
    *facts = (GuardFacts){ .known = true };
    g_autofree char *text = g_strndup(info.ptr, info.len);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i] != NULL; i++) {
        char *value = strchr(g_strchomp(lines[i]), ':');
        if (lines[i][0] == '#' || value == NULL) continue;
        *value = '\0';
        take_field(lines[i], value + 1, facts);
    }
    if (facts->history2[0] == '\0') return;
    g_autofree char *before = g_strdup(facts->older);
    g_snprintf(facts->older, sizeof(facts->older), "%s:%" G_GUINT64_FORMAT "%s%s", facts->history2, facts->offset2,
               before[0] != '\0' ? "," : "", before);
}

/* ---- judging ---- */

static bool same(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

static bool related(const GuardFacts *own, const GuardFacts *master)
{
    return same(own->history, master->history) || same(own->history, master->history2);
}

/* Whether the master left the history by a rollback. */
static bool left(const GuardFacts *master, const char *history)
{
    return history[0] != '\0' && strstr(master->left, history) != NULL;
}

static bool knows(const GuardFacts *master, const char *history)
{
    return same(history, master->history) || same(history, master->history2) || left(master, history);
}

/* What is common with an older history counts as it does with the one before: two switches of the master are too few
 * for who was away to have lost the thread. */
static void recall(GuardFacts *master, const char *history)
{
    if (history[0] == '\0' || knows(master, history)) return;
    const char *at = strstr(master->older, history);
    if (at == NULL || at[GUARD_ID_CHARS] != ':') return;
    g_strlcpy(master->history2, history, sizeof(master->history2));
    master->offset2 = take_number(at + GUARD_ID_CHARS + 1);
}

void guard_choose_history(GuardFacts *own, GuardFacts *master)
{
    uint64_t added = own->offset - MIN(own->offset, own->offset2);
    recall(master, own->history);
    if (!knows(master, own->history)) recall(master, own->history2);
    if (knows(master, own->history) || !knows(master, own->history2)) return;
    if (added > 0 && !same(own->history2, master->history) && !same(own->history2, master->history2)) return;
    own->added = added;
    char history[GUARD_ID_CHARS + 1];
    memcpy(history, own->history, sizeof(history));
    memcpy(own->history, own->history2, sizeof(history));
    memcpy(own->history2, history, sizeof(history));
}

bool guard_is_successor(const GuardFacts *own, const GuardFacts *master)
{
    return same(own->history, master->history2) && !same(own->history, master->history);
}

/* What is beyond the point that the master went back to was given up by the operator's will, and is with the master's
 * backups. */
static bool given_up(const GuardFacts *own, const GuardFacts *master)
{
    return left(master, own->history) && own->added == 0;
}

uint64_t guard_common(const GuardFacts *own, const GuardFacts *master)
{
    uint64_t of_history = own->offset - own->added;
    return MIN(of_history, same(own->history, master->history) ? master->offset : master->offset2);
}

GuardOutlook guard_outlook(const GuardFacts *own, const GuardFacts *master)
{
    if (own->lost) return GUARD_FULL_SYNC;
    if (!master->known) return own->offset > 0 ? GUARD_MAY_CONTINUE : GUARD_FULL_SYNC;
    if (!related(own, master)) return GUARD_FULL_SYNC;
    uint64_t common = guard_common(own, master);
    if (own->offset <= common) return GUARD_MAY_CONTINUE;
    bool lacks = same(own->history, master->history) && master->offset < own->offset - own->added;
    return common == 0 || lacks || given_up(own, master) ? GUARD_FULL_SYNC : GUARD_DIVERGED;
}

const char *guard_refuses(const GuardFacts *own, const GuardFacts *master)
{
    if (own->keys == 0) return NULL;
    if (!master->known) return "the master doesn't answer INFO";
    if (given_up(own, master)) return NULL;
    if (master->keys == 0) return "the master has no keys";
    if (related(own, master)) return master->offset < own->offset ? "the master's history ends before ours" : NULL;
    return master->keys < own->keys ? "the master has another history and fewer keys" : NULL;
}
