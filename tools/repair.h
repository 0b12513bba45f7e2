/* repair.h: what `ckv check --repair` does: a plan is made, told, and then done as it was told. What is taken away goes
 * to DIR/lost/<time>/.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_REPAIR_H
#define CKV_TOOLS_REPAIR_H

#include "tools/survey.h"

typedef struct Plan {
    Base base;           /* what the data will come from; not found: nothing can be done */
    bool write_manifest; /* because of what is given up, or because there's none that is whole */
    bool drop[2];        /* checkpoints that aren't whole: out of MANIFEST, and moved away */
    guint head;          /* so many segments at the beginning of the journal lead nowhere: moved away */
    bool cut;            /* what is behind base.reach is taken away */
    bool begin;          /* an empty segment takes the place of the one that should go on from the checkpoint */
} Plan;

Plan repair_plan(const Survey *survey);
/* Whether there's anything to do. */
bool repair_needed(const Plan *plan);
/* Says on standard output what will be done and what is lost by it: `will` do, or `would`. */
void repair_tell(const Survey *survey, const Plan *plan, bool will);
/* Does it. NULL, or a message (g_free): what was done so far is no worse than before. */
char *repair_run(const Survey *survey, const Plan *plan);

#endif
