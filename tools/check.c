/* check.c: `ckv check`.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/tools.h"

ToolStatus tool_check(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return tool_fail("WIP");
}
