/* subcommand.c: see subcommand.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/subcommand.h"

SubCommandResult subcommand_run(Request *r, const SubCommand *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!arg_is(r, 1, table[i].name)) continue;
        if (r->argc < table[i].argc_min || (table[i].argc_max != 0 && r->argc > table[i].argc_max))
            return SUBCOMMAND_ARITY;
        table[i].run(r);
        return SUBCOMMAND_RAN;
    }
    return SUBCOMMAND_UNKNOWN;
}
