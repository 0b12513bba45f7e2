/* clone.c: `ckv clone`.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/tools.h"

ToolStatus tool_clone(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return tool_fail("WIP");
}
