/* zsets.h: what the families that store sorted sets share: zsets.c, zstore.c and geo.c call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_ZSETS_H
#define CKV_CMDS_ZSETS_H

#include "cmds/command.h"
#include "store/zset.h"

/* Scores for members of the request: scores[i] belongs to argv[first_member + i * step]. */
typedef struct ZaddPairs {
    const double *scores;
    int count;
    int first_member, step;
} ZaddPairs;

/* Stores the pairs in the sorted set at argv[1] under ZSET_… flags, answers how many members were added (or, with
 * `count_changes`, also those whose score changed; with ZSET_INCR the score), and publishes. */
void zadd_run(Request *r, ZaddPairs pairs, unsigned flags, bool count_changes);

/* Puts a result, which it takes, under the key and publishes the event; NULL: nothing is there any more. */
void zset_store(Request *r, Slice key, Zset *result, unsigned event_class, const char *event);

#endif
