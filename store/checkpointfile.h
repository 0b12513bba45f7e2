/* checkpointfile.h: what is known of the two checkpoint files while the server runs: checkpoint.c keeps it, and
 * checkpointload.c fills it in for the file that it loads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CHECKPOINTFILE_H
#define CKV_STORE_CHECKPOINTFILE_H

#include "store/entry.h"
#include "store/pages.h"

typedef struct CheckpointFile {
    uint32_t epoch; /* grows whenever the file is begun anew: what was saved in an earlier epoch isn't in it */
    bool usable;    /* it's whole, and what is in it is known */
    uint64_t records, sum;
    uint32_t databases_sum; /* of its record "dbs" */
} CheckpointFile;

extern CheckpointFile checkpoint_files[PAGE_FILES];

/* The first id that no value and no collection had yet. */
extern uint64_t checkpoint_next_id;

/* The collection's table, if it's of a form that may be kept as pages. */
bool checkpoint_paged(ValueType type, void *object, PagedValue *paged);

#endif
