/* ack.c: see ack.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/ack.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/effect.h"
#include "repl/master.h"
#include "store/journal.h"

#define TICK_MS 10

/* Replies wait for the offset since then. */
typedef struct Awaited {
    uint64_t offset;
    int64_t since_ms;
} Awaited;

static struct {
    Loop *loop;
    GArray *awaited; /* in order */
    bool lost;
    uint64_t lost_offset; /* what wasn't confirmed */
    uint64_t closed;
    bool ticking;
    bool alone;            /* promoted, and no slave has caught up since */
    uint64_t alone_offset; /* where the journal was when a slave came; UINT64_MAX: none is there */
} ack;

bool ack_is_lost(void)
{
    return ack.lost;
}

bool ack_is_alone(void)
{
    return ack.alone;
}

uint64_t ack_closed(void)
{
    return ack.closed;
}

bool ack_admits(Out *out)
{
    if (options.ack == ACK_LOCAL || options.ack_timeout_policy == ACK_DEGRADE || ack.alone) return true;
    if (!ack.lost && master_online() > 0) return true;
    reply_errorf(out, "NOREPLICAS No slave confirms writes now (ack slave): %s.",
                 ack.lost ? "none did within ack-timeout" : "none is online");
    return false;
}

/* ---- waiting ---- */

/* A slave has all up to this offset. */
static void note_confirmed(uint64_t acked)
{
    guint confirmed = 0;
    while (confirmed < ack.awaited->len && g_array_index(ack.awaited, Awaited, confirmed).offset <= acked)
        confirmed++;
    if (confirmed > 0) g_array_remove_range(ack.awaited, 0, confirmed);
    if (!ack.lost || acked < ack.lost_offset) return;
    ack.lost = false;
    log_line(LOG_NOTICE, "A slave confirms writes again.");
}

/* ---- alone ---- */

void ack_promoted(void)
{
    ack.alone = options.ack == ACK_SLAVE && options.ack_alone;
    ack.alone_offset = UINT64_MAX;
    if (ack.alone) log_line(LOG_NOTICE, "Replies don't wait for a slave until one has caught up.");
}

/* Whether it still is; `acked`: the most that a slave has confirmed. */
static bool remain_alone(uint64_t acked)
{
    if (!ack.alone) return false;
    if (master_online() == 0) {
        ack.alone_offset = UINT64_MAX;
    } else if (ack.alone_offset == UINT64_MAX) {
        ack.alone_offset = journal_offset();
    }
    ack.alone = acked < ack.alone_offset && options.ack_alone;
    if (!ack.alone) log_line(LOG_NOTICE, "Replies wait for a slave's confirmation from now on.");
    return ack.alone;
}

/* ---- the gate ---- */

uint64_t ack_gate(uint64_t safe)
{
    if (options.ack == ACK_LOCAL) return safe;
    uint64_t acked = master_acked_offset();
    if (remain_alone(acked)) return safe;
    note_confirmed(acked);
    return ack.lost && options.ack_timeout_policy == ACK_DEGRADE ? safe : MIN(safe, acked);
}

void ack_forget(void)
{
    if (ack.awaited != NULL) g_array_set_size(ack.awaited, 0);
    ack.lost = ack.alone = false;
}

void ack_demoted(void)
{
    if (options.ack != ACK_LOCAL) ack.closed += client_gate_abandon(UINT64_MAX);
    ack_forget();
}

static void lose(uint64_t offset)
{
    ack.lost = true;
    ack.lost_offset = offset;
    if (options.ack_timeout_policy == ACK_DEGRADE) {
        log_line(LOG_WARNING,
                 "No slave confirmed offset %lu within ack-timeout (%ld ms): replies don't wait for slaves "
                 "until one does (ack-timeout-policy degrade).",
                 offset, options.ack_timeout_ms);
        g_array_set_size(ack.awaited, 0);
        return;
    }
    size_t closed = client_gate_abandon(offset);
    ack.closed += closed;
    log_line(LOG_WARNING,
             "No slave confirmed offset %lu within ack-timeout (%ld ms): %zu clients are closed without a "
             "reply, and writes are refused until one does (ack-timeout-policy refuse).",
             offset, options.ack_timeout_ms, closed);
}

/* Up to which offset the wait is over; 0: none is. */
static uint64_t timed_out(void)
{
    uint64_t offset = 0;
    guint late = 0;
    for (; late < ack.awaited->len; late++) {
        const Awaited *awaited = &g_array_index(ack.awaited, Awaited, late);
        if (clock_mono_ms() - awaited->since_ms < options.ack_timeout_ms) break;
        offset = awaited->offset;
    }
    if (late > 0) g_array_remove_range(ack.awaited, 0, late);
    return offset;
}

static int64_t tick(void *context)
{
    (void)context;
    note_confirmed(master_acked_offset());
    if (options.ack == ACK_LOCAL) ack_forget();
    uint64_t late = timed_out();
    if (late > 0) lose(late);
    /* CKV's slaves confirm each batch; Redis' only once a second, unless they're asked. */
    if (ack.awaited->len > 0) master_request_acks();
    effect_commit();
    ack.ticking = ack.awaited->len > 0 || ack.lost;
    return ack.ticking ? TICK_MS : -1;
}

void ack_awaited(uint64_t offset)
{
    if (options.ack == ACK_LOCAL || ack.alone || (ack.lost && options.ack_timeout_policy == ACK_DEGRADE)) return;
    if (!master_is_origin) {
        ack_demoted(); /* by the very EXEC that wrote */
        return;
    }
    guint count = ack.awaited->len;
    Awaited *last = count > 0 ? &g_array_index(ack.awaited, Awaited, count - 1) : NULL;
    if (last != NULL && last->since_ms == clock_mono_ms()) {
        last->offset = offset;
    } else {
        Awaited awaited = { offset, clock_mono_ms() };
        g_array_append_val(ack.awaited, awaited);
    }
    if (ack.ticking) return;
    ack.ticking = true;
    loop_timer(ack.loop, TICK_MS, tick, NULL);
}

void ack_save(Tape *tape)
{
    tape_put(tape, ack.lost);
    tape_put(tape, ack.lost_offset);
    tape_put(tape, ack.closed);
    tape_put(tape, ack.alone);
    tape_put(tape, ack.alone_offset);
    tape_put(tape, ack.awaited->len);
    for (guint i = 0; i < ack.awaited->len; i++) {
        const Awaited *awaited = &g_array_index(ack.awaited, Awaited, i);
        tape_put(tape, awaited->offset);
        tape_put(tape, (uint64_t)awaited->since_ms);
    }
}

void ack_restore(TapeReader *tape)
{
    ack.lost = tape_get_bool(tape);
    ack.lost_offset = tape_get(tape);
    ack.closed = tape_get(tape);
    ack.alone = tape_get_bool(tape);
    ack.alone_offset = tape_get(tape);
    for (size_t left = tape_get_count(tape); left > 0; left--) {
        Awaited awaited = { .offset = tape_get(tape) };
        awaited.since_ms = (int64_t)tape_get(tape);
        g_array_append_val(ack.awaited, awaited);
    }
    ack.ticking = ack.awaited->len > 0 || ack.lost;
    if (ack.ticking) loop_timer(ack.loop, TICK_MS, tick, NULL);
}

void ack_init(Loop *loop)
{
    ack.loop = loop;
    ack.awaited = g_array_new(FALSE, FALSE, sizeof(Awaited));
}
