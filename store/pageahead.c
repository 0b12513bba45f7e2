/* pageahead.c: see pageahead.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pageahead.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/background.h"
#include "store/pagefile.h"
#include "store/record.h"

#define BATCH       32 /* records; big enough that a wake-up each costs nothing */
#define BATCH_BYTES (1U << 20)
#define BATCHES     8

typedef struct Batch {
    PageRecord records[BATCH];
    unsigned count;
    bool last;   /* nothing follows */
    char *error; /* why not */
} Batch;

struct PageAhead {
    char *path;
    PageFile *file;  /* the thread's, which opens and closes it */
    Slice key;       /* the thread's: of the record that its walk is at */
    GThread *thread; /* NULL: there could be none, and the loader reads for itself */
    GMutex lock;
    GCond changed;
    unsigned filled, taken; /* batches, ever; under the lock: filled - taken of them wait, or are being read */
    bool stop;              /* under the lock */
    Batch ring[BATCHES];
    unsigned at; /* the loader's: in the batch that it reads */
    bool reading;
};

static void empty_batch(Batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        g_free((void *)(uintptr_t)batch->records[i].key.ptr);
        free((void *)(uintptr_t)batch->records[i].payload.ptr);
    }
    batch->count = 0;
}

/* ---- in the thread ---- */

static bool open_file(PageAhead *ahead, Batch *batch)
{
    if (ahead->file == NULL) ahead->file = pagefile_open(ahead->path, PAGEFILE_READ, 0, &batch->error);
    return ahead->file != NULL;
}

static bool is_page(Slice key)
{
    return record_is(key, RECORD_PAGE);
}

/* False: it can't be read. */
static bool read_record(PageAhead *ahead, Batch *batch)
{
    Slice payload = pagefile_get(ahead->file, ahead->key, &batch->error);
    if (payload.ptr == NULL) {
        if (batch->error == NULL) batch->error = g_strdup("gdbm lists a record that it can't find");
        return false;
    }
    uint64_t checksum;
    memcpy(&checksum, payload.ptr + payload.len, sizeof(checksum));
    Slice key = { g_memdup2(ahead->key.ptr, ahead->key.len), ahead->key.len };
    batch->records[batch->count++] = (PageRecord){ key, payload, pagefile_sum(checksum) };
    return true;
}

static void fill(PageAhead *ahead, Batch *batch)
{
    empty_batch(batch);
    batch->last = !open_file(ahead, batch);
    for (size_t bytes = 0; !batch->last && batch->count < BATCH && bytes < BATCH_BYTES;) {
        if (!pagefile_next(ahead->file, &ahead->key, &batch->error) ||
            (is_page(ahead->key) && !read_record(ahead, batch))) {
            batch->last = true;
        } else if (is_page(ahead->key)) {
            bytes += batch->records[batch->count - 1].payload.len;
        }
    }
}

static void forget_all(PageAhead *ahead)
{
    for (unsigned i = 0; i < BATCHES; i++)
        empty_batch(&ahead->ring[i]);
    free((void *)(uintptr_t)ahead->key.ptr);
    if (ahead->file != NULL) pagefile_abandon(ahead->file);
}

static gpointer run(gpointer context)
{
    PageAhead *ahead = context;
    bool last = false;
    g_mutex_lock(&ahead->lock);
    while (!last && !ahead->stop) {
        if (ahead->filled - ahead->taken == BATCHES) {
            g_cond_wait(&ahead->changed, &ahead->lock);
            continue;
        }
        Batch *batch = &ahead->ring[ahead->filled % BATCHES];
        g_mutex_unlock(&ahead->lock);
        fill(ahead, batch);
        last = batch->last;
        g_mutex_lock(&ahead->lock);
        ahead->filled++;
        g_cond_signal(&ahead->changed);
    }
    while (!ahead->stop)
        g_cond_wait(&ahead->changed, &ahead->lock);
    g_mutex_unlock(&ahead->lock);
    forget_all(ahead);
    return NULL;
}

/* ---- for the loader ---- */

PageAhead *pageahead_new(const char *path)
{
    PageAhead *ahead = g_new0(PageAhead, 1);
    ahead->path = g_strdup(path);
    g_mutex_init(&ahead->lock);
    g_cond_init(&ahead->changed);
    g_autofree char *no_thread = NULL;
    ahead->thread = background_start("ckv-load", run, ahead, &no_thread);
    return ahead;
}

void pageahead_free(PageAhead *ahead)
{
    if (ahead == NULL) return;
    g_mutex_lock(&ahead->lock);
    ahead->stop = true;
    g_cond_signal(&ahead->changed);
    g_mutex_unlock(&ahead->lock);
    if (ahead->thread != NULL)
        g_thread_join(ahead->thread);
    else
        forget_all(ahead);
    for (unsigned i = 0; i < BATCHES; i++)
        g_free(ahead->ring[i].error);
    g_mutex_clear(&ahead->lock);
    g_cond_clear(&ahead->changed);
    g_free(ahead->path);
    g_free(ahead);
}

/* Waits for a batch. False: there's none yet. */
static bool await_batch(PageAhead *ahead, int64_t until_us)
{
    if (ahead->thread == NULL) {
        fill(ahead, &ahead->ring[ahead->filled++ % BATCHES]);
        return true;
    }
    g_mutex_lock(&ahead->lock);
    while (ahead->filled == ahead->taken && g_cond_wait_until(&ahead->changed, &ahead->lock, until_us))
        ;
    bool there = ahead->filled != ahead->taken;
    g_mutex_unlock(&ahead->lock);
    return there;
}

static void give_back_batch(PageAhead *ahead)
{
    g_mutex_lock(&ahead->lock);
    ahead->taken++;
    g_cond_signal(&ahead->changed);
    g_mutex_unlock(&ahead->lock);
    ahead->reading = false;
    ahead->at = 0;
}

PageAheadState pageahead_next(PageAhead *ahead, int64_t until_us, PageRecord *record, char **error)
{
    for (;;) {
        if (!ahead->reading && !await_batch(ahead, until_us)) return PAGEAHEAD_LATER;
        ahead->reading = true;
        Batch *batch = &ahead->ring[ahead->taken % BATCHES];
        if (ahead->at < batch->count) {
            *record = batch->records[ahead->at++];
            return PAGEAHEAD_RECORD;
        }
        if (batch->error != NULL) {
            *error = g_strdup(batch->error);
            return PAGEAHEAD_FAILED;
        }
        if (batch->last) return PAGEAHEAD_END;
        give_back_batch(ahead);
    }
}

bool pageahead_peek(const PageAhead *ahead, PageRecord *record)
{
    const Batch *batch = &ahead->ring[ahead->taken % BATCHES];
    if (!ahead->reading || ahead->at >= batch->count) return false;
    *record = batch->records[ahead->at];
    return true;
}
