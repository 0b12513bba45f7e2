/* effect.c: see effect.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/effect.h"

#include "base/log.h"
#include "base/number.h"
#include "base/options.h"
#include "cmds/ack.h"
#include "repl/master.h"
#include "store/checkpoint.h"
#include "store/evict.h"
#include "store/journal.h"

_Static_assert((int)FSYNC_EVERYSEC == (int)JOURNAL_SYNC_EVERYSEC && (int)FSYNC_ALWAYS == (int)JOURNAL_SYNC_ALWAYS &&
                   (int)FSYNC_NO == (int)JOURNAL_SYNC_NO,
               "the option's names are the journal's");

/* Between two commands, more than this is written at once: a turn may have very many. */
#define PENDING_MAX (1024 * 1024)

/* What is set aside for a command besides its arguments: the heads, a SELECT, a PEXPIREAT. */
#define RESERVE_MORE 1024

/* The most that is reserved: a longer string isn't stored anyway, and what the command refuses needs no room. */
#define RESERVE_MOST ((size_t)KEYSPACE_STRING_MAX)

/* A piece of a command on many elements. */
#define PIECE_ELEMENTS 1024
#define PIECE_BYTES    (256 * 1024)

bool effects_on, effects_aside, effect_muted, effect_replaced, effect_unanswered, effect_piled_up;

/* The most that a command, or a transaction, may add to the journal at once: a batch has at most 1 GB, and a slave
 * takes no more (STREAM_UNIT_MAX). */
#define CHANGE_BYTES_MAX (768UL << 20)

/* ---- aside ---- */

static bool lost;

void effects_start_aside(void)
{
    lost = false;
    effects_on = effects_aside = true;
}

void effects_stop_aside(void)
{
    effects_on = effects_aside = false;
}

bool effects_lost(void)
{
    return lost;
}

/* Nobody was refused for what is too much: then it's whoever reads it that fails. */
static bool loses(const Slice *argv, int argc)
{
    lost = lost || journal_pending_bytes() + effect_bytes(argv, argc) > CHANGE_BYTES_MAX;
    return lost;
}

/* ---- EXEC ---- */

/* A copy of a command, in one allocation. */
typedef struct Kept {
    int db, argc;
    size_t bytes;
    Slice argv[];
} Kept;

static struct {
    bool running;
    Kept *first; /* the first effect waits for a second one, which makes MULTI necessary */
    bool multi;  /* MULTI is in the journal */
} exec;

static Kept *keep(int db, const Slice *argv, int argc)
{
    size_t slices = sizeof(Slice) * (size_t)argc, bytes = 0;
    for (int i = 0; i < argc; i++)
        bytes += argv[i].len;
    Kept *kept = g_malloc(sizeof(Kept) + slices + bytes);
    kept->db = db;
    kept->argc = argc;
    kept->bytes = effect_bytes(argv, argc);
    char *at = (char *)kept + sizeof(Kept) + slices;
    for (int i = 0; i < argc; i++) {
        if (argv[i].len > 0) memcpy(at, argv[i].ptr, argv[i].len);
        kept->argv[i] = (Slice){ at, argv[i].len };
        at += argv[i].len;
    }
    return kept;
}

static void append_first(void)
{
    journal_append(exec.first->db, exec.first->argv, exec.first->argc);
    g_clear_pointer(&exec.first, g_free);
}

static void append(int db, const Slice *argv, int argc)
{
    if (effect_muted || (effects_aside && loses(argv, argc))) return;
    if (exec.running && exec.first == NULL && !exec.multi) {
        exec.first = keep(db, argv, argc);
        return;
    }
    if (exec.running && !exec.multi) {
        journal_append(-1, &SLICE("MULTI"), 1);
        append_first();
        exec.multi = true;
    }
    journal_append(db, argv, argc);
}

void effect_exec_begin(void)
{
    exec.running = effects_on;
}

void effect_exec_end(void)
{
    if (!exec.running) return;
    exec.running = false;
    if (exec.multi) journal_append(-1, &SLICE("EXEC"), 1);
    if (exec.first != NULL) append_first();
    exec.multi = false;
    effect_replaced = true; /* EXEC itself isn't journaled */
}

/* ---- what handlers put ---- */

/* Calls of effect_together that effect_together_end hasn't met yet. */
static unsigned together;

void effect_together(void)
{
    if (effects_on && !effect_muted && !exec.running && together++ == 0) journal_append(-1, &SLICE("MULTI"), 1);
}

void effect_together_end(void)
{
    if (together > 0 && --together == 0) journal_append(-1, &SLICE("EXEC"), 1);
}

void effect_put(const Db *db, const Slice *argv, int argc)
{
    if (!effects_on) return;
    append(db->index, argv, argc);
    effect_replaced = true;
}

void effect_del(const Db *db, Slice key)
{
    effect_put(db, (Slice[]){ SLICE("DEL"), key }, 2);
}

void effect_deadline(const Db *db, Slice key, int64_t deadline_ms)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = { digits, number_format_int(digits, deadline_ms) };
    effect_put(db, (Slice[]){ SLICE("PEXPIREAT"), key, text }, 3);
}

void effect_set(const Db *db, Slice key, Slice value, int64_t deadline_ms)
{
    if (deadline_ms >= 0) effect_together();
    effect_put(db, (Slice[]){ SLICE("SET"), key, value }, 3);
    if (deadline_ms >= 0) effect_deadline(db, key, deadline_ms);
    if (deadline_ms >= 0) effect_together_end();
}

void effect_gone(const Db *db, Slice key)
{
    if (!effects_on || effect_muted) return;
    append(db->index, (Slice[]){ SLICE("DEL"), key }, 2);
    /* By itself: the change that the key was looked up for may need most of a batch. */
    if (journal_pending_bytes() > PENDING_MAX && !exec.running && together == 0) journal_commit();
}

/* ---- pieces ---- */

struct EffectPieces {
    const Db *db;
    bool several;      /* it's more than one piece */
    GArray *argv;      /* Slice: command, key, elements; ptr of these is an offset into bytes until they are put */
    GByteArray *bytes; /* of the elements */
};

#define PIECE_HEAD 2

EffectPieces *effect_pieces_begin(const Db *db, Slice command, Slice key)
{
    if (!effects_on) return NULL;
    EffectPieces *pieces = g_new(EffectPieces, 1);
    *pieces = (EffectPieces){ .db = db, .argv = g_array_new(FALSE, FALSE, sizeof(Slice)), .bytes = g_byte_array_new() };
    g_array_append_vals(pieces->argv, (Slice[]){ command, key }, PIECE_HEAD);
    return pieces;
}

static void put_piece(EffectPieces *pieces)
{
    Slice *argv = (Slice *)(void *)pieces->argv->data;
    for (guint i = PIECE_HEAD; i < pieces->argv->len; i++)
        argv[i].ptr = (const char *)pieces->bytes->data + GPOINTER_TO_SIZE(argv[i].ptr);
    if (pieces->argv->len > PIECE_HEAD) effect_put(pieces->db, argv, (int)pieces->argv->len);
    g_array_set_size(pieces->argv, PIECE_HEAD);
    g_byte_array_set_size(pieces->bytes, 0);
}

void effect_pieces_add(EffectPieces *pieces, const Slice *elements, int count)
{
    if (pieces == NULL) return;
    if (pieces->argv->len >= PIECE_ELEMENTS || pieces->bytes->len >= PIECE_BYTES) {
        if (!pieces->several) effect_together();
        pieces->several = true;
        put_piece(pieces);
    }
    for (int i = 0; i < count; i++) {
        Slice element = { GSIZE_TO_POINTER((gsize)pieces->bytes->len), elements[i].len };
        g_array_append_val(pieces->argv, element);
        g_byte_array_append(pieces->bytes, (const guint8 *)elements[i].ptr, (guint)elements[i].len);
    }
}

void effect_pieces_add_value(EffectPieces *pieces, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    if (pieces == NULL) return;
    Slice text = pack_value_text(value, digits);
    effect_pieces_add(pieces, &text, 1);
}

void effect_pieces_end(EffectPieces *pieces)
{
    if (pieces == NULL) return;
    put_piece(pieces);
    if (pieces->several) effect_together_end();
    g_array_free(pieces->argv, TRUE);
    g_byte_array_free(pieces->bytes, TRUE);
    g_free(pieces);
}

/* ---- how much at once ---- */

/* "$33554432\r\n" and "\r\n". */
#define ELEMENT_FRAME 13

static bool refuse_size(Out *out)
{
    reply_error(out, "ERR more than 768 MB can't be changed at once; send it in several parts");
    return false;
}

size_t effect_room(void)
{
    if (!effects_on || effects_aside) return SIZE_MAX;
    size_t waiting = journal_pending_bytes() + (exec.first == NULL ? 0 : exec.first->bytes);
    return waiting < CHANGE_BYTES_MAX ? CHANGE_BYTES_MAX - waiting : 0;
}

bool effect_fits(Out *out, size_t bytes)
{
    return bytes <= effect_room() || refuse_size(out);
}

size_t effect_pieces_bytes(Slice key, size_t elements, size_t bytes)
{
    size_t pieces = 1 + elements / (PIECE_ELEMENTS - PIECE_HEAD) + bytes / PIECE_BYTES;
    return bytes + elements * ELEMENT_FRAME + (1 + pieces) * (key.len + RESERVE_MORE);
}

bool effect_pieces_take(const EffectPieces *pieces, size_t len)
{
    if (pieces == NULL) return true;
    Slice key = g_array_index(pieces->argv, Slice, PIECE_HEAD - 1);
    return effect_pieces_bytes(key, pieces->argv->len, pieces->bytes->len + len) <= effect_room();
}

/* ---- the command that ran ---- */

void effect_of(const Request *r)
{
    if (!effect_replaced) append(r->command->flags & CMD_ALL_DBS ? -1 : r->db->index, r->argv, r->argc);
    /* What PFCOUNT caches is nothing that its client is told. */
    if (!(r->command->flags & CMD_READONLY)) effect_unanswered = true;
}

void effect_for_slaves(const Request *r)
{
    if (!effects_on || master_slaves() == 0 || journal_trouble() != NULL) return;
    append(-1, r->argv, r->argc);
    effect_piled_up = journal_pending_bytes() > PENDING_MAX;
}

/* ---- replies, and the gate ---- */

/* Who is answered, since the last commit, for having changed something; each client once. */
typedef struct Answer {
    Client *client;
    size_t position;
} Answer;

static GArray *answers;
static uint64_t commits = 1; /* Session.answer_noted of those who are in it */

void effect_answered(Client *client, size_t position)
{
    Session *session = client->session;
    effect_unanswered = false;
    if (!effects_aside) session->written = journal_offset();
    if (!effects_aside && session->answer_noted != commits) {
        session->answer_noted = commits;
        Answer answer = { client, position };
        g_array_append_val(answers, answer);
    }
    if (journal_pending_bytes() > PENDING_MAX) effect_commit();
}

uint64_t effect_local_offset(void)
{
    return options.fsync == FSYNC_ALWAYS ? journal_durable() : journal_written();
}

uint64_t effect_gate_offset(void)
{
    return ack_gate(effect_local_offset());
}

void effect_tell_trouble(void)
{
    static bool told;
    const char *failure = journal_take_failure(); /* first: without trouble behind it, it's over */
    const char *trouble = journal_trouble();
    if (failure != NULL && trouble == NULL && !told)
        log_line(LOG_WARNING, "The journal couldn't be written for a moment: %s. It has been since; nothing is lost.",
                 failure);
    if ((trouble != NULL) == told) return;
    told = trouble != NULL;
    if (told) {
        log_line(LOG_WARNING, "The journal can't be written: %s. Writes are refused until it can; reads go on.",
                 trouble);
    } else {
        log_line(LOG_NOTICE, "The journal is written again.");
    }
}

bool effect_write(void)
{
    if (exec.running) {
        bool replaced = effect_replaced;
        effect_exec_end();
        effect_replaced = replaced;
        effect_exec_begin();
    }
    return journal_commit();
}

void effect_commit(void)
{
    if (!effects_on) return;
    effect_piled_up = false;
    effect_write(); /* what can't be written now waits in it */
    if (effects_aside) return;
    effect_tell_trouble();
    uint64_t offset = journal_offset(), safe = effect_gate_offset();
    for (guint i = 0; i < answers->len && safe < offset; i++) {
        const Answer *answer = &g_array_index(answers, Answer, i);
        client_gate_close(answer->client, answer->position, offset);
    }
    if (answers->len > 0) {
        commits++;
        if (safe < offset) ack_awaited(offset);
    }
    g_array_set_size(answers, 0);
    if (client_gate_waiting() > 0) client_gate_open(safe);
}

void effects_start(void)
{
    if (answers == NULL) answers = g_array_new(FALSE, FALSE, sizeof(Answer));
    effects_on = true;
}

void effects_stop(void)
{
    if (!effects_on) return;
    effect_commit();
    journal_wait_durable();
    client_gate_open(effect_gate_offset());
    ack_forget();
    client_gate_abandon(UINT64_MAX); /* what isn't safe by now won't be confirmed */
    effects_on = false;
}

bool effects_end_turn(void)
{
    checkpoint_end_turn();
    evict_end_turn();
    return journal_end_turn();
}

/* ---- refusing ---- */

size_t effect_bytes(const Slice *argv, int argc)
{
    size_t bytes = 0;
    for (int i = 0; i < argc; i++)
        bytes += argv[i].len + NUMBER_INT_CHARS;
    return bytes;
}

bool effect_admit(Out *out, size_t bytes)
{
    if (bytes > CHANGE_BYTES_MAX) return refuse_size(out);
    const char *trouble = journal_trouble();
    if (trouble == NULL && journal_reserve(MIN(bytes, RESERVE_MOST) + RESERVE_MORE)) return true;
    if (trouble == NULL) trouble = journal_trouble();
    reply_errorf(out, "MISCONF CKV can't write its journal: %s. Writes are refused until it can; reads go on.",
                 trouble != NULL ? trouble : "there is no room");
    return false;
}

bool effect_in_trouble(void)
{
    return effects_on && !effects_aside && journal_trouble() != NULL;
}
