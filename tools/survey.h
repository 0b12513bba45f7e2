/* survey.h: what `ckv check` finds in a data directory, or in a backup: which checkpoints and which stretches of the
 * journal are whole. Nothing here writes anything.
 *
 * Design. A journal is read segment by segment, past damage, so that it can be said what lies behind: that's what a
 * repair would lose. What a start can make of it is a base (a whole checkpoint, or the beginning of the history) and as
 * much of the journal as connects to it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_SURVEY_H
#define CKV_TOOLS_SURVEY_H

#include <glib.h>

#include "store/journal.h"
#include "store/manifest.h"

/* Whole batches in a row, and seals. */
typedef struct BatchRun {
    uint64_t batches;
    uint64_t durable;          /* the furthest offset that one of them says was on the disk before */
    int64_t first_ms, last_ms; /* of the first and the last; 0: there's none */
} BatchRun;

typedef struct SegmentSurvey {
    JournalSegment file;
    char history[JOURNAL_ID_CHARS + 1];
    bool head_good;
    bool other_version; /* not damaged, but not for this program */
    bool unreadable;    /* nor that, as far as one can see */
    uint64_t end;       /* the offset up to which it's whole, and where that is in the file */
    uint64_t file_end;
    bool finished;       /* it says that the journal goes on in another one */
    BatchRun good, rest; /* up to there, and those that are whole behind it */
    char *problem;       /* NULL: all of it is whole */
} SegmentSurvey;

/* The segments in order (of SegmentSurvey). NULL: *error. */
GArray *survey_journal(const char *directory, char **error);
static inline SegmentSurvey *survey_segment(GArray *segments, guint index)
{
    return &g_array_index(segments, SegmentSurvey, index);
}

typedef struct CheckpointSurvey {
    char *name;  /* in the directory */
    bool exists; /* the file */
    bool listed; /* in MANIFEST, or would be in one made from the files */
    CheckpointInfo info;
    uint8_t secret[MANIFEST_SECRET_BYTES]; /* only if `listed` by its own record */
    char *problem;                         /* NULL: every record is whole (if it's listed) */
    bool loads;                            /* a start can load it in spite of the problem */
    char *missing; /* what a start says of the journal that should begin at its offset; NULL: it does */
} CheckpointSurvey;

typedef struct Survey {
    char *directory;
    ManifestRead manifest_state;
    char *manifest_problem;
    char *unreadable;   /* a file that could not even be looked at, or not all of it; NULL: none */
    bool other_version; /* something was written by a ckv to come: not to be repaired */
    Manifest manifest;  /* as read, or else made from the files (`rebuilt`) */
    bool rebuilt;
    CheckpointSurvey checkpoint[2];
    GArray *segments;
    char *journal_problem; /* why `segments` is empty */
} Survey;

/* `backup`: it's that of a backup, which has one checkpoint. */
void survey_read(Survey *survey, const char *directory, bool backup);
void survey_clear(Survey *survey);

/* Where data can come from. */
typedef struct Base {
    bool found;
    int slot;        /* the checkpoint's; -1: the journal from the beginning of the history */
    uint64_t offset; /* of what it holds */
    uint64_t reach;  /* up to where the journal goes on from there */
    bool connected;  /* the journal has `offset`, or there's none */
    bool missing;    /* no segment begins there, although one should */
    guint first;     /* the segments that continue it: these and those between are whole up to `reach` */
    guint last;
    guint chain; /* the first segment from which on there's no gap up to `first` */
} Base;

/* Whether data can come from it. */
bool survey_whole(const CheckpointSurvey *checkpoint);
/* From this checkpoint (-1: from the beginning) on. */
Base survey_base(const Survey *survey, int slot);
/* The history that a start wants the journal to be of; NULL: any. */
const char *survey_history(const Survey *survey);
/* The first segment that continues the base and is of another one; NULL: none is. */
const SegmentSurvey *survey_stranger(const Survey *survey, const Base *base);
/* The base that gets furthest. */
Base survey_best(const Survey *survey);

/* "1,234" and "2026-11-25 16:00:00 UTC", to g_free. */
char *survey_count(uint64_t number);
char *survey_time(int64_t unix_ms);

#endif
