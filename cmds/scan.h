/* scan.h: one call of SCAN, HSCAN, SSCAN or ZSCAN: how far to go, what to collect, how to answer. The families of these
 * commands call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SCAN_H
#define CKV_CMDS_SCAN_H

#include "cmds/command.h"

typedef struct ScanOptions {
    uint64_t cursor;
    int64_t count;
    bool has_pattern;
    Slice pattern;
} ScanOptions;

/* Reads cursor at `index` and the options behind it, or answers the error. */
bool scan_options(Request *r, int index, ScanOptions *options);

/* What HSCAN, SSCAN and ZSCAN begin with: reads `key cursor [options]` and looks the key up, in 3.2's order:
 * first the cursor, then the key, then the options. False: the error, or a missing key's empty answer, is out. */
bool scan_begin(Request *r, ValueType type, ScanOptions *options, Entry **entry);

typedef struct Scan {
    ScanOptions options; /* read before scan_start */
    uint64_t cursor;     /* where the next step starts */
    uint64_t steps_left;
    int64_t visited; /* members, whether they match or not */
    bool started;
    GArray *found; /* of PackValue: members, or members and values in turn */
} Scan;

/* After the options were read. */
void scan_start(Scan *scan);
/* True when another step is due: at least one, then until COUNT members were seen or the cursor is 0. */
bool scan_more(Scan *scan);
/* A member that a step visited; `value` NULL: it has none. Both stay where they are until scan_reply. */
void scan_found(Scan *scan, PackValue member, const PackValue *value);
/* Answers, and frees what was collected. */
void scan_reply(Scan *scan, Out *out);

#endif
