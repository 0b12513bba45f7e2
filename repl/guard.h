/* guard.h: may a full sync replace this slave's data? Pure: facts in, an answer out. slave.c asks it.
 *
 * Design. The failure that users fear most: a master comes back with an empty or an old disk, and its slave, the last
 * to have the data, throws it away to become a true copy of that. So what the master says of itself (INFO) is compared
 * with what is here. A history is the life of one stream of changes, known by its id; two servers share a lineage if
 * one's id is the other's or the one before it, or an older one of which the master tells. A master whose operator
 * rolled it back says which histories that left: a slave of one of them is to lose what the master was to lose.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_GUARD_H
#define CKV_REPL_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define GUARD_ID_CHARS   40
#define GUARD_LEFT_CHARS 1024 /* more than there are; what is longer is cut off */

/* What a server says of its data. */
typedef struct GuardFacts {
    bool known;                       /* a master that answers INFO by an error tells nothing */
    uint64_t keys;                    /* in all databases */
    char history[GUARD_ID_CHARS + 1]; /* "": it doesn't say */
    char history2[GUARD_ID_CHARS + 1];
    char left[GUARD_LEFT_CHARS + 1];  /* a master's: the histories that operators took it back from, with commas */
    char older[GUARD_LEFT_CHARS + 1]; /* a master's: "id:offset" of history2 and those before it, with commas */
    uint64_t offset;                  /* bytes of the stream */
    uint64_t offset2;                 /* bytes of it that history2 has in common with history */
    uint64_t added;                   /* of ours: bytes at the end that aren't of `history`, as it was chosen */
    bool slave;                       /* it says that it's one itself */
    bool ckv;                         /* it's CKV */
    bool lost;                        /* of ours: it can't be loaded, but may be whole on the disk */
} GuardFacts;

/* Reads INFO's text, of Redis 3.2 (whose run_id is its history's id) to 7.0 and CKV. */
void guard_read_info(Slice info, GuardFacts *facts);

/* The one before the master's history is from now on that of older ones which we have, if it's one of these.
 * What we have is of the history before ours as well, but for what was added since ours began: if it's that one which
 * the master knows, the two of ours change places. If nothing was added, also if it's one that the master left. */
void guard_choose_history(GuardFacts *own, GuardFacts *master);

/* The master's history is the one after ours: somebody made it a master where ours ended for it. */
bool guard_is_successor(const GuardFacts *own, const GuardFacts *master);

/* What asking to go on at our offset can come to. */
typedef enum GuardOutlook {
    GUARD_MAY_CONTINUE, /* the master's answer must tell */
    GUARD_DIVERGED,     /* it will be a full sync, unless what we have beyond guard_common is given up */
    GUARD_FULL_SYNC,    /* it can only be a full sync */
} GuardOutlook;
GuardOutlook guard_outlook(const GuardFacts *own, const GuardFacts *master);

/* Up to which offset the two have the same, of the history that we have chosen and the master knows. */
uint64_t guard_common(const GuardFacts *own, const GuardFacts *master);

/* NULL: a full sync may replace our data. Otherwise why not, in a few words: for INFO and the log. */
const char *guard_refuses(const GuardFacts *own, const GuardFacts *master);

#endif
