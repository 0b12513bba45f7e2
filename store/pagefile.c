/* pagefile.c: see pagefile.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pagefile.h"

#include <errno.h>
#include <gdbm.h>
#include <glib.h>
#include <stdlib.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/io.h"

/* gdbm's blocks: a big one holds a directory of more records, which makes writing quicker and the file smaller; a small
 * dataset isn't to take 100 kB for that. */
#define BLOCK_SMALL   4096
#define BLOCK_BIG     32768
#define BIG_FILE_FROM 4096 /* records */

/* Blocks of its index that gdbm keeps in memory. */
#define CACHED_BLOCKS 256

struct PageFile {
    GDBM_FILE db;
    char *path;
    bool writes;
    size_t unwritten; /* bytes put since the kernel was told to write */
};

/* The first failure of the system since it was asked for last; of any thread. */
static char *system_failure;

/* That there's no such file, or no such place in it, is what the files say; anything else isn't their fault. Where
 * gdbm has forgotten the code, errno may be of something else. */
static void keep_failure(gdbm_error code, int system, const char *text)
{
    bool kept = gdbm_check_syserr(code) ? system != ENOENT && system != EINVAL : system == EIO;
    char *copy = kept ? g_strdup(text) : NULL;
    if (copy != NULL && !g_atomic_pointer_compare_and_exchange(&system_failure, NULL, copy)) g_free(copy);
}

char *pagefile_take_failure(void)
{
    return g_atomic_pointer_exchange(&system_failure, NULL);
}

static char *describe(const PageFile *file, const char *path)
{
    gdbm_error code = file == NULL ? gdbm_errno : gdbm_last_errno(file->db);
    int system = file == NULL ? errno : gdbm_last_syserr(file->db);
    if (system == 0) system = errno; /* gdbm forgets it when it marks the file as one that needs recovery */
    bool by_system = gdbm_check_syserr(code) || (code == GDBM_NEED_RECOVERY && system != 0);
    if (!by_system) return g_strdup_printf("%s: %s", path, gdbm_strerror(code));
    char *text = g_strdup_printf("%s: %s (%s)", path, g_strerror(system), gdbm_strerror(code));
    keep_failure(code, system, text);
    return text;
}

PageFile *pagefile_open(const char *path, PageFileMode mode, size_t expected, char **error)
{
    static const int modes[] = { GDBM_READER, GDBM_WRITER, GDBM_NEWDB };
    int block = expected >= BIG_FILE_FROM ? BLOCK_BIG : BLOCK_SMALL;
    errno = 0;
    GDBM_FILE db = gdbm_open(path, block, modes[mode] | GDBM_NOLOCK | GDBM_NOMMAP | GDBM_CLOEXEC, 0600, NULL);
    if (db == NULL) {
        *error = describe(NULL, path);
        return NULL;
    }
    PageFile *file = g_new(PageFile, 1);
    *file = (PageFile){ .db = db, .path = g_strdup(path), .writes = mode != PAGEFILE_READ };
    if (gdbm_needs_recovery(db)) { /* a new file whose first sync failed */
        *error = describe(file, path);
        pagefile_abandon(file);
        return NULL;
    }
    size_t cached = CACHED_BLOCKS;
    gdbm_setopt(db, GDBM_SETCACHESIZE, &cached, sizeof(cached));
    return file;
}

static void release(PageFile *file)
{
    g_free(file->path);
    g_free(file);
}

bool pagefile_close(PageFile *file, char **error)
{
    errno = 0;
    bool good = !file->writes || gdbm_sync(file->db) == 0;
    if (!good) *error = describe(file, file->path);
    errno = 0;
    if (gdbm_close(file->db) != 0 && good) {
        *error = describe(NULL, file->path);
        good = false;
    }
    release(file);
    return good;
}

void pagefile_abandon(PageFile *file)
{
    gdbm_close(file->db);
    release(file);
}

static datum to_datum(Slice slice)
{
    return (datum){ (char *)(uintptr_t)slice.ptr, (int)slice.len };
}

/* What became of a change. GDBM says 0 even where it couldn't write the data (1.23), but marks the file; the next call
 * would fail, without the reason. */
static bool changed(const PageFile *file, bool said_good, char **error)
{
    if (said_good && !gdbm_needs_recovery(file->db)) return true;
    *error = describe(file, file->path);
    return false;
}

/* Begins to write what was put, once what had begun before is written. (Not rarely and much at a time: meanwhile pages
 * that the loop sends pile up in memory.) False: errno. */
static bool write_out(PageFile *file, size_t bytes)
{
    bool good = true;
    if (file->unwritten >= IO_BURST_BYTES) {
        good = io->finish_writing(gdbm_fdesc(file->db)) == 0;
        if (good) io->begin_writing(gdbm_fdesc(file->db), 0, 0);
        file->unwritten = 0;
    }
    file->unwritten += bytes;
    return good;
}

bool pagefile_put(PageFile *file, Slice key, Slice sealed, char **error)
{
    if (!write_out(file, key.len + sealed.len)) {
        *error = g_strdup_printf("%s: %s", file->path, g_strerror(errno));
        return false;
    }
    errno = 0;
    return changed(file, gdbm_store(file->db, to_datum(key), to_datum(sealed), GDBM_REPLACE) == 0, error);
}

bool pagefile_delete(PageFile *file, Slice key, char **error)
{
    errno = 0;
    bool good = gdbm_delete(file->db, to_datum(key)) == 0 || gdbm_last_errno(file->db) == GDBM_ITEM_NOT_FOUND;
    return changed(file, good, error);
}

/* A key for a message: letters as they are, other bytes in hexadecimal. */
static char *show_key(Slice key)
{
    GString *shown = g_string_new(NULL);
    for (size_t i = 0; i < MIN(key.len, PAGEFILE_KEY_MAX); i++)
        g_string_append_printf(shown, g_ascii_isalpha(key.ptr[i]) ? "%c" : "%02x", (unsigned char)key.ptr[i]);
    return g_string_free(shown, FALSE);
}

Slice pagefile_get(PageFile *file, Slice key, char **error)
{
    static const Slice none = { NULL, 0 };
    errno = 0;
    datum found = gdbm_fetch(file->db, to_datum(key));
    *error = NULL;
    if (found.dptr == NULL) {
        if (gdbm_last_errno(file->db) != GDBM_ITEM_NOT_FOUND) *error = describe(file, file->path);
        return none;
    }
    Slice payload = { found.dptr, (size_t)found.dsize - PAGEFILE_CHECKSUM_BYTES };
    uint64_t checksum = 0;
    bool long_enough = found.dsize >= PAGEFILE_CHECKSUM_BYTES;
    if (long_enough) memcpy(&checksum, payload.ptr + payload.len, sizeof(checksum));
    if (long_enough && checksum == pagefile_checksum(key, payload)) return payload;
    g_autofree char *shown = show_key(key);
    *error = g_strdup_printf("%s: record %s is damaged", file->path, shown);
    free(found.dptr);
    return none;
}

bool pagefile_next(PageFile *file, Slice *key, char **error)
{
    *error = NULL;
    bool first = key->ptr == NULL;
    errno = 0;
    datum next = first ? gdbm_firstkey(file->db) : gdbm_nextkey(file->db, to_datum(*key));
    if (!first) free((void *)(uintptr_t)key->ptr);
    *key = (Slice){ next.dptr, next.dptr == NULL ? 0 : (size_t)next.dsize };
    if (next.dptr != NULL) return true;
    gdbm_error code = gdbm_last_errno(file->db);
    if (code != GDBM_ITEM_NOT_FOUND && code != GDBM_NO_ERROR) *error = describe(file, file->path);
    return false;
}

uint64_t pagefile_checksum(Slice key, Slice payload)
{
    return XXH3_64bits_withSeed(payload.ptr, payload.len, XXH3_64bits(key.ptr, key.len));
}

/* The library's own state by our name. */
static XXH3_state_t *checksum_state(PageChecksum *checksum)
{
    return (XXH3_state_t *)(void *)checksum;
}

PageChecksum *pagefile_checksum_begin(Slice key)
{
    XXH3_state_t *checksum = XXH3_createState();
    g_assert(checksum != NULL);
    XXH3_64bits_reset_withSeed(checksum, XXH3_64bits(key.ptr, key.len));
    return (PageChecksum *)(void *)checksum;
}

void pagefile_checksum_add(PageChecksum *checksum, Slice piece)
{
    XXH3_64bits_update(checksum_state(checksum), piece.ptr, piece.len);
}

uint64_t pagefile_checksum_end(PageChecksum *checksum)
{
    uint64_t sum = XXH3_64bits_digest(checksum_state(checksum));
    XXH3_freeState(checksum_state(checksum));
    return sum;
}

uint32_t pagefile_sum(uint64_t checksum)
{
    uint32_t sum = (uint32_t)checksum;
    return sum == 0 ? 1 : sum;
}
