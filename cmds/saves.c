/* saves.c: the operator's commands that make checkpoints: SAVE, BGSAVE, LASTSAVE. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/server.h"
#include "store/checkpoint.h"

#define ERROR_RUNNING "ERR Background save already in progress"

static bool check_idle(Request *r)
{
    if (checkpoint_status().state == CHECKPOINT_IDLE) return true;
    reply_error(r->out, ERROR_RUNNING);
    return false;
}

/* Answers what went wrong, and frees it. */
static void reply_failure(Request *r, char *error)
{
    reply_errorf(r->out, "ERR Can't save: %s", error);
    g_free(error);
}

/* SAVE: nobody is served until it's done */
void cmd_save(Request *r)
{
    char *error = NULL;
    if (!check_idle(r)) return;
    if (checkpoints_save(&error)) {
        reply_ok(r->out);
    } else {
        reply_failure(r, error);
    }
}

/* BGSAVE [SCHEDULE] */
void cmd_bgsave(Request *r)
{
    char *error = NULL;
    if (r->argc > 2 || (r->argc == 2 && !arg_is(r, 1, "schedule"))) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    if (!check_idle(r)) return;
    if (checkpoints_begin(&error)) {
        reply_status(r->out, "Background saving started");
    } else {
        reply_failure(r, error);
    }
}

/* LASTSAVE */
void cmd_lastsave(Request *r)
{
    reply_int(r->out, server.last_save_sec);
}
