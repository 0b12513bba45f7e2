/* hello.c: tells Sentinels of a planned switch, in their own words. Called by PUBLISH and by failover.c.
 *
 * Design. Sentinels publish on a channel of each server, every two seconds, who they are and whom they take for the
 * master: `ip,port,run id,current epoch,name,master's ip,master's port,epoch of that`. Each of them takes over what
 * another says with a higher epoch. FAILOVER is no decision of theirs: they would find out only by INFO, and name the
 * old master for some 30 s until then. So what was heard of each is said once more, with the next epoch and the new
 * master; as nobody heeds its own words, it takes two Sentinels for each to be told. That epoch may be taken by an
 * election at the same moment; then two opinions stand until the next one, as when nothing is said here.
 *
 * Only what operators' sessions publish counts, which Sentinel's is: an application can't have Sentinels told anything
 * that it couldn't publish itself.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/hello.h"

#include <glib.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmds/command.h"

#define CHANNEL       "__sentinel__:hello"
#define SENTINELS_MAX 32
#define BYTES_MAX     1024
#define FRESH_MS      10000 /* five hellos */

enum { IP, PORT, RUN_ID, EPOCH, NAME, MASTER_IP, MASTER_PORT, MASTER_EPOCH, WORDS };

typedef struct Hello {
    char **words; /* NULL: the place is free */
    int64_t heard_ms;
} Hello;

static Hello hellos[SENTINELS_MAX];

static bool is_fresh(const Hello *hello)
{
    return hello->words != NULL && hello->heard_ms >= clock_mono_ms() - FRESH_MS;
}

static bool same_speaker(char **a, char **b)
{
    return strcmp(a[RUN_ID], b[RUN_ID]) == 0 && strcmp(a[NAME], b[NAME]) == 0;
}

/* Where a hello goes: in place of the same Sentinel's last one, or of one that isn't heard any more; NULL: nowhere. */
static Hello *place_for(char **words)
{
    Hello *free_one = NULL;
    for (int i = 0; i < SENTINELS_MAX; i++) {
        if (hellos[i].words != NULL && same_speaker(hellos[i].words, words)) return &hellos[i];
        if (free_one == NULL && !is_fresh(&hellos[i])) free_one = &hellos[i];
    }
    return free_one;
}

void hello_heard(Slice channel, Slice message)
{
    if (!slice_equal(channel, SLICE(CHANNEL)) || message.len > BYTES_MAX) return;
    g_autofree char *text = g_strndup(message.ptr, message.len);
    g_auto(GStrv) words = g_strsplit(text, ",", WORDS + 1);
    if (g_strv_length(words) != WORDS) return;
    Hello *place = place_for(words);
    if (place == NULL) return;
    g_strfreev(place->words);
    *place = (Hello){ g_steal_pointer(&words), clock_mono_ms() };
}

static uint64_t epoch_of(char **words)
{
    return MAX(g_ascii_strtoull(words[EPOCH], NULL, 10), g_ascii_strtoull(words[MASTER_EPOCH], NULL, 10));
}

/* One that none of those who speak of this master has had. */
static uint64_t next_epoch(const char *name)
{
    uint64_t last = 0;
    for (int i = 0; i < SENTINELS_MAX; i++) {
        if (is_fresh(&hellos[i]) && strcmp(hellos[i].words[NAME], name) == 0)
            last = MAX(last, epoch_of(hellos[i].words));
    }
    return last + 1;
}

void hello_tell(const char *host, int port)
{
    uint64_t epochs[SENTINELS_MAX] = { 0 };
    for (int i = 0; i < SENTINELS_MAX; i++)
        if (is_fresh(&hellos[i])) epochs[i] = next_epoch(hellos[i].words[NAME]);
    int64_t receivers = 0;
    for (int i = 0; i < SENTINELS_MAX; i++) {
        if (epochs[i] == 0) continue;
        char **words = hellos[i].words;
        g_autofree char *text = g_strdup_printf("%s,%s,%s,%lu,%s,%s,%d,%lu", words[IP], words[PORT], words[RUN_ID],
                                                epochs[i], words[NAME], host, port, epochs[i]);
        receivers = pubsub_publish(SLICE(CHANNEL), slice_of(text));
    }
    if (receivers > 0) log_line(LOG_NOTICE, "FAILOVER: %ld subscribers of " CHANNEL " are told", receivers);
}
