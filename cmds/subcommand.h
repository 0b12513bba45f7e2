/* subcommand.h: commands whose first argument names what to do: CLIENT, CONFIG, DEBUG, LATENCY, SLOWLOG. Their handlers
 * call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SUBCOMMAND_H
#define CKV_CMDS_SUBCOMMAND_H

#include "cmds/command.h"

typedef struct SubCommand {
    const char *name;
    int argc_min, argc_max; /* with the two names; argc_max 0: no limit */
    CommandHandler run;
} SubCommand;

typedef enum SubCommandResult { SUBCOMMAND_RAN, SUBCOMMAND_UNKNOWN, SUBCOMMAND_ARITY } SubCommandResult;

/* Runs what argv[1] names, if it's in the table and the number of arguments fits; otherwise nothing is answered. */
SubCommandResult subcommand_run(Request *r, const SubCommand *table, size_t count);

#endif
