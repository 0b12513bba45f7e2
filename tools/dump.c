/* dump.c: `ckv dump`.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/tools.h"

ToolStatus tool_dump(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return tool_fail("WIP");
}
