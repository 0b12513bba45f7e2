/* manifest.c: see manifest.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/random.h"
#include "store/io.h"
#include "store/journal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

const char *const checkpoint_file_name[2] = { "checkpoint-a.gdbm", "checkpoint-b.gdbm" };

static const char *const groups[2] = { "checkpoint-a", "checkpoint-b" };

#define BOOT_FILE    "/proc/sys/kernel/random/boot_id"
#define CHECKSUM_KEY "checksum="

void manifest_init(Manifest *manifest)
{
    *manifest = (Manifest){ .checkpoint = { { .db = -1 }, { .db = -1 } } };
    random_hex(manifest->instance, MANIFEST_ID_CHARS);
    random_hex(manifest->history, MANIFEST_ID_CHARS);
    random_secret(manifest->secret, sizeof(manifest->secret));
}

static bool is_id(const char *text)
{
    return strlen(text) == MANIFEST_ID_CHARS && strspn(text, "0123456789abcdef") == MANIFEST_ID_CHARS;
}

bool manifest_set_left(Manifest *manifest, const char *ids)
{
    manifest->rolled_back_from[0] = '\0';
    g_auto(GStrv) each = g_strsplit(ids, ",", -1);
    for (guint i = 0; each[i] != NULL; i++) {
        if (i == MANIFEST_LEFT_MAX || !is_id(each[i])) return false;
    }
    g_strlcpy(manifest->rolled_back_from, ids, sizeof(manifest->rolled_back_from));
    return true;
}

void manifest_limit_older(Manifest *manifest, uint64_t offset)
{
    for (int i = 0; i < MANIFEST_OLDER_MAX; i++)
        manifest->older[i].offset = MIN(manifest->older[i].offset, offset);
}

void manifest_begin_history(Manifest *manifest, const char *history, uint64_t offset)
{
    OlderHistory *older = manifest->older;
    if (manifest->history2[0] != '\0') {
        memmove(&older[1], older, (MANIFEST_OLDER_MAX - 1) * sizeof(*older));
        memcpy(older->id, manifest->history2, sizeof(older->id));
        older->offset = manifest->offset2;
    }
    manifest_limit_older(manifest, offset);
    memcpy(manifest->history2, manifest->history, sizeof(manifest->history2));
    manifest->offset2 = offset;
    g_strlcpy(manifest->history, history, sizeof(manifest->history));
}

/* A place among those with as much in common or more, which come first. */
static void insert_older(Manifest *manifest, const OlderHistory *one)
{
    OlderHistory *older = manifest->older;
    int at = 0, end = 0;
    while (at < MANIFEST_OLDER_MAX && older[at].id[0] != '\0' && older[at].offset >= one->offset) {
        if (strcmp(older[at++].id, one->id) == 0) return;
    }
    if (at == MANIFEST_OLDER_MAX) return;
    for (end = at; end < MANIFEST_OLDER_MAX - 1 && older[end].id[0] != '\0';) { /* to where it was, or behind all */
        if (strcmp(older[end].id, one->id) == 0) break;
        end++;
    }
    memmove(&older[at + 1], &older[at], (size_t)(end - at) * sizeof(*older));
    older[at] = *one;
}

/* "id:offset", which is changed. */
static bool parse_older(char *text, OlderHistory *one)
{
    char *offset = strchr(text, ':');
    if (offset == NULL) return false;
    *offset++ = '\0';
    if (!is_id(text) || !g_ascii_string_to_unsigned(offset, 10, 0, UINT64_MAX, &one->offset, NULL)) return false;
    memcpy(one->id, text, sizeof(one->id));
    return true;
}

bool manifest_add_older(Manifest *manifest, const char *text)
{
    g_auto(GStrv) each = g_strsplit(text, ",", -1);
    for (guint i = 0; each[i] != NULL; i++) {
        OlderHistory one;
        if (!parse_older(each[i], &one)) return false;
        if (strcmp(one.id, manifest->history) == 0) continue;
        if (strcmp(one.id, manifest->history2) == 0) {
            manifest->offset2 = MAX(manifest->offset2, one.offset);
        } else {
            insert_older(manifest, &one);
        }
    }
    return true;
}

char *manifest_older(const Manifest *manifest)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < MANIFEST_OLDER_MAX && manifest->older[i].id[0] != '\0'; i++)
        g_string_append_printf(text, "%s%s:%" G_GUINT64_FORMAT, i > 0 ? "," : "", manifest->older[i].id,
                               manifest->older[i].offset);
    return g_string_free(text, FALSE);
}

void manifest_clear(Manifest *manifest)
{
    g_clear_pointer(&manifest->note, g_free);
}

bool manifest_begins_empty(const Manifest *manifest)
{
    for (int f = 0; f < 2; f++) {
        const CheckpointInfo *info = &manifest->checkpoint[f];
        if (info->offset <= manifest->start && info->keys > 0) return false;
    }
    return !manifest->from_elsewhere;
}

static bool is_newer(const CheckpointInfo *a, const CheckpointInfo *b)
{
    return a->offset != b->offset ? a->offset > b->offset : a->unix_ms > b->unix_ms;
}

int manifest_newest(const Manifest *manifest)
{
    int newest = -1;
    for (int f = 0; f < 2; f++) {
        const CheckpointInfo *info = &manifest->checkpoint[f];
        if (!info->whole || strcmp(info->history, manifest->history) != 0) continue;
        if (newest < 0 || is_newer(info, &manifest->checkpoint[newest])) newest = f;
    }
    return newest;
}

/* ---- as a key file ---- */

static char *to_hex(const uint8_t *bytes, size_t len)
{
    GString *hex = g_string_sized_new(2 * len);
    for (size_t i = 0; i < len; i++)
        g_string_append_printf(hex, "%02x", bytes[i]);
    return g_string_free(hex, FALSE);
}

static bool from_hex(const char *hex, uint8_t *bytes, size_t len)
{
    if (hex == NULL || strlen(hex) != 2 * len) return false;
    for (size_t i = 0; i < len; i++) {
        int high = g_ascii_xdigit_value(hex[2 * i]), low = g_ascii_xdigit_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void put_checkpoint(GKeyFile *file, const char *group, const CheckpointInfo *info)
{
    g_key_file_set_string(file, group, "history", info->history);
    g_key_file_set_uint64(file, group, "offset", info->offset);
    g_key_file_set_integer(file, group, "db", info->db);
    g_key_file_set_int64(file, group, "unix-ms", info->unix_ms);
    g_key_file_set_int64(file, group, "took-ms", info->took_ms);
    g_key_file_set_uint64(file, group, "records", info->records);
    g_key_file_set_uint64(file, group, "sum", info->sum);
    g_key_file_set_uint64(file, group, "keys", info->keys);
    g_key_file_set_uint64(file, group, "file-bytes", info->file_bytes);
    g_key_file_set_uint64(file, group, "next-id", info->next_id);
}

/* A 40-digit id; "" only if `may_be_empty`. */
static bool get_id(GKeyFile *file, const char *group, const char *key, char *id, bool may_be_empty)
{
    g_autofree char *text = g_key_file_get_string(file, group, key, NULL);
    if (text == NULL || !(is_id(text) || (may_be_empty && text[0] == '\0'))) return false;
    g_strlcpy(id, text, MANIFEST_ID_CHARS + 1);
    return true;
}

static bool get_u64(GKeyFile *file, const char *group, const char *key, uint64_t *value)
{
    g_autoptr(GError) error = NULL;
    *value = g_key_file_get_uint64(file, group, key, &error);
    return error == NULL;
}

static bool get_i64(GKeyFile *file, const char *group, const char *key, int64_t *value)
{
    g_autoptr(GError) error = NULL;
    *value = g_key_file_get_int64(file, group, key, &error);
    return error == NULL;
}

static bool get_checkpoint(GKeyFile *file, const char *group, CheckpointInfo *info)
{
    int64_t db;
    bool good = get_id(file, group, "history", info->history, false) && get_i64(file, group, "db", &db) &&
                get_u64(file, group, "offset", &info->offset) && get_i64(file, group, "unix-ms", &info->unix_ms) &&
                get_i64(file, group, "took-ms", &info->took_ms) && get_u64(file, group, "records", &info->records) &&
                get_u64(file, group, "sum", &info->sum) && get_u64(file, group, "keys", &info->keys) &&
                get_u64(file, group, "file-bytes", &info->file_bytes) &&
                get_u64(file, group, "next-id", &info->next_id);
    if (!good || db < -1 || db > INT32_MAX) return false;
    info->db = (int)db;
    info->whole = true;
    return true;
}

static uint64_t checksum_of(const char *text, size_t len)
{
    return XXH3_64bits(text, len);
}

const char *manifest_boot(void)
{
    static char boot[MANIFEST_BOOT_CHARS + 1];
    static gsize once;
    if (g_once_init_enter(&once)) {
        g_autofree char *text = NULL;
        bool read = g_file_get_contents(BOOT_FILE, &text, NULL, NULL);
        g_strlcpy(boot, read ? g_strstrip(text) : MANIFEST_UNKNOWN, sizeof(boot));
        g_once_init_leave(&once, 1);
    }
    return boot;
}

void manifest_place(char place[MANIFEST_PLACE_CHARS + 1])
{
    struct statx found;
    place[0] = '\0';
    if (statx(AT_FDCWD, JOURNAL_DIRECTORY, 0, STATX_INO | STATX_BTIME, &found) != 0) return;
    if ((found.stx_mask & STATX_INO) == 0 || (found.stx_mask & STATX_BTIME) == 0) return;
    snprintf(place, MANIFEST_PLACE_CHARS + 1, "%llu-%lld.%09u", (unsigned long long)found.stx_ino,
             (long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
}

static void put_backup(GKeyFile *file, const Manifest *manifest)
{
    g_key_file_set_string(file, "ckv", "note", manifest->note);
    g_key_file_set_uint64(file, "ckv", "end", manifest->end);
    g_key_file_set_int64(file, "ckv", "end-ms", manifest->end_ms);
}

/* The last one has a key of its own, for programs that know no others. */
static void put_rolled_back_from(GKeyFile *file, const char *ids)
{
    const char *before = strchr(ids, ',');
    if (ids[0] == '\0') return;
    g_autofree char *last = g_strndup(ids, MANIFEST_ID_CHARS);
    g_key_file_set_string(file, "ckv", "rolled-back-from", last);
    if (before != NULL) g_key_file_set_string(file, "ckv", "rolled-back-before", before + 1);
}

static void put_older(GKeyFile *file, const Manifest *manifest)
{
    g_autofree char *older = manifest_older(manifest);
    if (older[0] != '\0') g_key_file_set_string(file, "ckv", "older-histories", older);
}

static char *manifest_text(const Manifest *manifest)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *secret = to_hex(manifest->secret, sizeof(manifest->secret));
    g_key_file_set_integer(file, "ckv", "version", MANIFEST_VERSION);
    g_key_file_set_string(file, "ckv", "instance", manifest->instance);
    g_key_file_set_string(file, "ckv", "history", manifest->history);
    g_key_file_set_string(file, "ckv", "history2", manifest->history2);
    g_key_file_set_uint64(file, "ckv", "offset2", manifest->offset2);
    put_older(file, manifest);
    put_rolled_back_from(file, manifest->rolled_back_from);
    g_key_file_set_uint64(file, "ckv", "start", manifest->start);
    if (!manifest_begins_empty(manifest)) g_key_file_set_boolean(file, "ckv", "from-elsewhere", true);
    g_key_file_set_string(file, "ckv", "secret", secret);
    g_key_file_set_string(file, "ckv", "boot", manifest->state);
    g_key_file_set_string(file, "ckv", "place", manifest->place);
    if (manifest->note != NULL) put_backup(file, manifest);
    for (int f = 0; f < 2; f++) {
        if (manifest->checkpoint[f].whole) put_checkpoint(file, groups[f], &manifest->checkpoint[f]);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    uint64_t checksum = checksum_of(text, strlen(text));
    return g_strdup_printf("%s" CHECKSUM_KEY "%016" G_GINT64_MODIFIER "x\n", text, checksum);
}

char *manifest_write(const char *directory, const Manifest *manifest)
{
    return manifest_write_by(directory, MANIFEST_FILE ".tmp", manifest);
}

char *manifest_write_by(const char *directory, const char *name, const Manifest *manifest)
{
    g_autofree char *path = g_build_filename(directory, MANIFEST_FILE, NULL), *text = manifest_text(manifest);
    g_autofree char *temporary = g_build_filename(directory, name, NULL);
    if (io_replace_file_by(temporary, path, slice_of(text))) return NULL;
    return g_strdup_printf("%s: %s", path, g_strerror(errno));
}

/* ---- back ---- */

/* Cuts the last line off, if it's the checksum of what stands before it. */
static bool take_checksum(char *text, size_t len)
{
    size_t line = strlen(CHECKSUM_KEY) + 17;
    if (len < line || strlen(text) != len) return false;
    char *last = text + len - line;
    g_autofree char *expected =
        g_strdup_printf(CHECKSUM_KEY "%016" G_GINT64_MODIFIER "x\n", checksum_of(text, len - line));
    if (strcmp(last, expected) != 0) return false;
    *last = '\0';
    return true;
}

/* Which may be missing, and those before the last one as well. */
static bool get_rolled_back_from(GKeyFile *file, Manifest *manifest)
{
    g_autofree char *last = g_key_file_get_string(file, "ckv", "rolled-back-from", NULL);
    g_autofree char *before = g_key_file_get_string(file, "ckv", "rolled-back-before", NULL);
    if (last == NULL) return true;
    g_autofree char *all = g_strjoin(",", last, before, NULL);
    return manifest_set_left(manifest, all) && last[0] != '\0';
}

/* Which may be missing. */
static bool get_older(GKeyFile *file, Manifest *manifest)
{
    g_autofree char *text = g_key_file_get_string(file, "ckv", "older-histories", NULL);
    g_auto(GStrv) each = g_strsplit(text != NULL ? text : "", ",", -1);
    for (guint i = 0; each[i] != NULL; i++) {
        if (i == MANIFEST_OLDER_MAX || !parse_older(each[i], &manifest->older[i])) return false;
    }
    return true;
}

static bool get_manifest(GKeyFile *file, Manifest *manifest)
{
    g_autofree char *secret = g_key_file_get_string(file, "ckv", "secret", NULL);
    bool good = get_id(file, "ckv", "instance", manifest->instance, false) &&
                get_id(file, "ckv", "history", manifest->history, false) &&
                get_id(file, "ckv", "history2", manifest->history2, true) &&
                get_u64(file, "ckv", "offset2", &manifest->offset2) && get_older(file, manifest) &&
                get_rolled_back_from(file, manifest) && get_u64(file, "ckv", "start", &manifest->start) &&
                from_hex(secret, manifest->secret, sizeof(manifest->secret));
    manifest->from_elsewhere = g_key_file_get_boolean(file, "ckv", "from-elsewhere", NULL);
    for (int f = 0; f < 2 && good; f++) {
        if (g_key_file_has_group(file, groups[f])) good = get_checkpoint(file, groups[f], &manifest->checkpoint[f]);
    }
    g_autofree char *boot = g_key_file_get_string(file, "ckv", "boot", NULL);
    g_strlcpy(manifest->state, boot != NULL ? boot : MANIFEST_CLOSED, sizeof(manifest->state));
    g_autofree char *place = g_key_file_get_string(file, "ckv", "place", NULL);
    g_strlcpy(manifest->place, place != NULL ? place : "", sizeof(manifest->place));
    manifest->note = g_key_file_get_string(file, "ckv", "note", NULL);
    if (good && manifest->note != NULL)
        good = get_u64(file, "ckv", "end", &manifest->end) && get_i64(file, "ckv", "end-ms", &manifest->end_ms);
    return good;
}

/* NULL, or what is wrong. */
static char *parse(const char *path, char *text, size_t len, Manifest *manifest)
{
    if (!take_checksum(text, len)) return g_strdup_printf("%s is damaged: its checksum is wrong", path);
    g_autoptr(GKeyFile) file = g_key_file_new();
    int64_t version = 0;
    if (!g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL) ||
        !get_i64(file, "ckv", "version", &version))
        return g_strdup_printf("%s has no version", path);
    if (version != MANIFEST_VERSION) {
        return g_strdup_printf("%s has version %" G_GINT64_FORMAT ", and this ckv knows version %d only: another ckv "
                               "wrote it, use that one",
                               path, version, MANIFEST_VERSION);
    }
    return get_manifest(file, manifest) ? NULL : g_strdup_printf("%s lacks something, or has what it mustn't", path);
}

ManifestRead manifest_read(const char *directory, Manifest *manifest, char **error)
{
    *manifest = (Manifest){ .checkpoint = { { .db = -1 }, { .db = -1 } } };
    g_autofree char *path = g_build_filename(directory, MANIFEST_FILE, NULL);
    size_t len;
    g_autofree char *text = io_read_file(path, &len);
    if (text == NULL && errno == ENOENT) return MANIFEST_MISSING;
    int why = text == NULL ? errno : 0;
    *error = text == NULL ? g_strdup_printf("%s: %s", path, g_strerror(why)) : parse(path, text, len, manifest);
    errno = why;
    return *error == NULL ? MANIFEST_READ : MANIFEST_BAD;
}

/* ---- the facts in a checkpoint file ---- */

GBytes *checkpoint_info_encode(const CheckpointInfo *info, const uint8_t *secret)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *hex = to_hex(secret, MANIFEST_SECRET_BYTES);
    g_key_file_set_integer(file, "ckv", "version", MANIFEST_VERSION);
    g_key_file_set_string(file, "ckv", "secret", hex);
    put_checkpoint(file, "checkpoint", info);
    gsize len;
    char *text = g_key_file_to_data(file, &len, NULL);
    return g_bytes_new_take(text, len);
}

bool checkpoint_info_decode(const void *bytes, size_t len, CheckpointInfo *info, uint8_t *secret)
{
    *info = (CheckpointInfo){ .db = -1 };
    g_autoptr(GKeyFile) file = g_key_file_new();
    int64_t version = 0;
    if (!g_key_file_load_from_data(file, bytes, len, G_KEY_FILE_NONE, NULL) ||
        !get_i64(file, "ckv", "version", &version) || version != MANIFEST_VERSION)
        return false;
    g_autofree char *hex = g_key_file_get_string(file, "ckv", "secret", NULL);
    return from_hex(hex, secret, MANIFEST_SECRET_BYTES) && get_checkpoint(file, "checkpoint", info);
}
