/* test_manifest.c: store/manifest.c: what is written comes back; a file that was changed in any byte, cut or lengthened
 * is refused, and never read as something else.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/random.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static char *directory, *path;

static int set_up(void **state)
{
    (void)state;
    directory = g_dir_make_tmp("ckv-manifest-XXXXXX", NULL);
    path = g_build_filename(directory, MANIFEST_FILE, NULL);
    return directory == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    g_unlink(path);
    g_rmdir(directory);
    g_free(path);
    g_free(directory);
    return 0;
}

/* One with something in every field, the greatest numbers included. */
static Manifest example(void)
{
    Manifest manifest;
    manifest_init(&manifest);
    random_hex(manifest.history2, MANIFEST_ID_CHARS);
    for (size_t i = 0; i < MANIFEST_LEFT_MAX; i++) {
        char *id = manifest.rolled_back_from + i * (MANIFEST_ID_CHARS + 1);
        random_hex(id, MANIFEST_ID_CHARS);
        if (i > 0) id[-1] = ',';
    }
    manifest.offset2 = UINT64_MAX;
    for (size_t i = 0; i < MANIFEST_OLDER_MAX; i++) {
        random_hex(manifest.older[i].id, MANIFEST_ID_CHARS);
        manifest.older[i].offset = UINT64_MAX - i;
    }
    manifest.start = 7;
    g_strlcpy(manifest.state, MANIFEST_FOLLOWS, sizeof(manifest.state));
    g_strlcpy(manifest.place, "18446744073709551615-1795920000.123456789", sizeof(manifest.place));
    manifest.note = g_strdup("before rollback to 2026-11-25 15:30:00,\nwith \"quotes\" and an \xc3\xa9");
    manifest.checkpoint[1] = (CheckpointInfo){
        .whole = true,
        .offset = UINT64_MAX,
        .db = 15,
        .unix_ms = 1795620000123,
        .took_ms = 1,
        .records = 45000,
        .sum = UINT64_MAX - 1,
        .keys = 1000000,
        .file_bytes = 1ULL << 40,
        .next_id = 99,
    };
    memcpy(manifest.checkpoint[1].history, manifest.history, sizeof(manifest.history));
    return manifest;
}

static void assert_same_checkpoint(const CheckpointInfo *a, const CheckpointInfo *b)
{
    assert_int_equal(a->whole, b->whole);
    assert_string_equal(a->history, b->history);
    assert_true(a->offset == b->offset && a->unix_ms == b->unix_ms && a->took_ms == b->took_ms);
    assert_int_equal(a->db, b->db);
    assert_true(a->records == b->records && a->sum == b->sum && a->keys == b->keys);
    assert_true(a->file_bytes == b->file_bytes && a->next_id == b->next_id);
}

static void assert_same(const Manifest *a, const Manifest *b)
{
    assert_string_equal(a->instance, b->instance);
    assert_string_equal(a->history, b->history);
    assert_string_equal(a->history2, b->history2);
    assert_string_equal(a->rolled_back_from, b->rolled_back_from);
    assert_true(a->offset2 == b->offset2 && a->start == b->start);
    g_autofree char *older_a = manifest_older(a), *older_b = manifest_older(b);
    assert_string_equal(older_a, older_b);
    assert_memory_equal(a->secret, b->secret, sizeof(a->secret));
    assert_true(g_strcmp0(a->note, b->note) == 0);
    assert_string_equal(a->state, b->state);
    assert_string_equal(a->place, b->place);
    assert_same_checkpoint(&a->checkpoint[0], &b->checkpoint[0]);
    assert_same_checkpoint(&a->checkpoint[1], &b->checkpoint[1]);
}

static void write_manifest(const Manifest *manifest)
{
    char *error = manifest_write(directory, manifest);
    assert_null(error);
}

static void put_file(const char *text, size_t len)
{
    g_unlink(path); /* not all versions of GLib cut a file that was longer */
    assert_true(g_file_set_contents_full(path, text, (gssize)len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

/* It must be refused, with a message that names the file; or, `same` not NULL, mean exactly that. */
static void assert_refused(const Manifest *same)
{
    Manifest back;
    char *error = NULL;
    ManifestRead result = manifest_read(directory, &back, &error);
    if (result == MANIFEST_READ && same != NULL) {
        assert_same(&back, same);
    } else {
        assert_int_equal(result, MANIFEST_BAD);
        assert_non_null(strstr(error, path));
    }
    g_free(error);
    manifest_clear(&back);
}

static void round_trips(void **state)
{
    (void)state;
    Manifest manifest = example(), back;
    char *error = NULL;
    write_manifest(&manifest);
    assert_int_equal(manifest_read(directory, &back, &error), MANIFEST_READ);
    assert_null(error);
    assert_same(&back, &manifest);
    manifest_clear(&back);
    manifest_clear(&manifest);
    manifest_init(&manifest);
    write_manifest(&manifest);
    assert_int_equal(manifest_read(directory, &back, &error), MANIFEST_READ);
    assert_same(&back, &manifest);
    assert_int_equal(back.checkpoint[0].db, -1);
    manifest_clear(&back);
}

static void new_ones_differ(void **state)
{
    (void)state;
    Manifest a, b;
    manifest_init(&a);
    manifest_init(&b);
    assert_string_not_equal(a.instance, b.instance);
    assert_string_not_equal(a.history, b.history);
    assert_string_not_equal(a.instance, a.history);
    assert_memory_not_equal(a.secret, b.secret, sizeof(a.secret));
}

static void missing(void **state)
{
    (void)state;
    Manifest back;
    char *error = NULL;
    g_unlink(path);
    assert_int_equal(manifest_read(directory, &back, &error), MANIFEST_MISSING);
    assert_null(error);
    assert_int_equal(g_mkdir(path, 0700), 0); /* there, but not to be read: not missing */
    assert_refused(NULL);
    g_rmdir(path);
}

static void every_byte_changed(void **state)
{
    (void)state;
    Manifest manifest = example();
    write_manifest(&manifest);
    g_autofree char *text = NULL;
    gsize len;
    assert_true(g_file_get_contents(path, &text, &len, NULL));
    static const uint8_t masks[] = { 0x01, 0x10, 0x20, 0x80, 0xff };
    for (gsize i = 0; i < len; i++) {
        for (size_t m = 0; m < sizeof(masks); m++) {
            char was = text[i];
            text[i] = (char)(text[i] ^ masks[m]);
            put_file(text, len);
            assert_refused(&manifest);
            text[i] = '\0';
            put_file(text, len);
            assert_refused(NULL);
            text[i] = was;
        }
    }
    manifest_clear(&manifest);
}

static void every_length(void **state)
{
    (void)state;
    Manifest manifest = example();
    write_manifest(&manifest);
    g_autofree char *text = NULL;
    gsize len;
    assert_true(g_file_get_contents(path, &text, &len, NULL));
    for (gsize cut = 0; cut < len; cut++) {
        put_file(text, cut);
        assert_refused(NULL);
    }
    g_autofree char *longer = g_strconcat(text, "\n", NULL);
    put_file(longer, len + 1);
    assert_refused(NULL);
    g_autofree char *twice = g_strconcat(text, text, NULL);
    put_file(twice, 2 * len);
    assert_refused(NULL);
    manifest_clear(&manifest);
}

/* The file with `from` replaced by `to`, and the checksum that belongs to that. */
static void put_forged(const char *from, const char *to)
{
    Manifest manifest = example();
    write_manifest(&manifest);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    *strstr(text, "checksum=") = '\0';
    char *at = strstr(text, from);
    assert_non_null(at);
    g_autofree char *body = g_strdup_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    g_autofree char *whole =
        g_strdup_printf("%schecksum=%016lx\n", body, (unsigned long)XXH3_64bits(body, strlen(body)));
    put_file(whole, strlen(whole));
    manifest_clear(&manifest);
}

static void other_versions(void **state)
{
    (void)state;
    Manifest back;
    char *error = NULL;
    put_forged("version=2", "version=3");
    assert_int_equal(manifest_read(directory, &back, &error), MANIFEST_BAD);
    assert_non_null(strstr(error, path));
    assert_non_null(strstr(error, "version 2"));
    g_free(error);
    put_forged("version=2", "vision=2");
    assert_refused(NULL);
}

/* The one before is kept with those before it, as many as there's room for, and none beyond the last one's beginning.
 */
static void histories_in_a_row(void **state)
{
    (void)state;
    Manifest manifest;
    manifest_init(&manifest);
    char ids[MANIFEST_OLDER_MAX + 3][MANIFEST_ID_CHARS + 1];
    g_strlcpy(ids[0], manifest.history, sizeof(ids[0]));
    for (int i = 1; i < MANIFEST_OLDER_MAX + 3; i++) {
        random_hex(ids[i], MANIFEST_ID_CHARS);
        manifest_begin_history(&manifest, ids[i], 10 * i);
        assert_string_equal(manifest.history, ids[i]);
        assert_string_equal(manifest.history2, ids[i - 1]);
        assert_int_equal(manifest.offset2, 10 * i);
        for (int back = 2; back <= i && back < MANIFEST_OLDER_MAX + 2; back++) {
            assert_string_equal(manifest.older[back - 2].id, ids[i - back]);
            assert_int_equal(manifest.older[back - 2].offset, 10 * (i - back + 1));
        }
    }
    manifest_begin_history(&manifest, ids[0], 45);
    for (int i = 0; i < MANIFEST_OLDER_MAX; i++)
        assert_true(manifest.older[i].offset <= 45);
}

/* What another knows comes among them by what it has in common, once each, and the least of too many go. */
static void histories_of_another(void **state)
{
    (void)state;
    Manifest manifest;
    manifest_init(&manifest);
    char ids[MANIFEST_OLDER_MAX + 4][MANIFEST_ID_CHARS + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
        random_hex(ids[i], MANIFEST_ID_CHARS);
    g_autofree char *first = g_strdup_printf("%s:10,%s:30,%s:20,%s:99", ids[1], ids[2], ids[3], manifest.history);
    assert_true(manifest_add_older(&manifest, first) && manifest_add_older(&manifest, ""));
    g_autofree char *sorted = g_strdup_printf("%s:30,%s:20,%s:10", ids[2], ids[3], ids[1]);
    g_autofree char *known = manifest_older(&manifest);
    assert_string_equal(known, sorted);

    manifest_begin_history(&manifest, ids[0], 25);
    g_strlcpy(manifest.history2, ids[4], sizeof(manifest.history2));
    g_autofree char *second = g_strdup_printf("%s:40,%s:24,%s:5,%s:60", ids[4], ids[1], ids[3], ids[5]);
    assert_true(manifest_add_older(&manifest, second));
    assert_int_equal(manifest.offset2, 40);
    g_autofree char *more = g_strdup_printf("%s:7,%s:8,%s:9,%s:50", ids[6], ids[7], ids[8], ids[9]);
    assert_true(manifest_add_older(&manifest, more));
    g_autofree char *most =
        g_strdup_printf("%s:60,%s:50,%s:25,%s:24,%s:20,%s:9", ids[5], ids[9], ids[2], ids[1], ids[3], ids[8]);
    g_autofree char *kept = manifest_older(&manifest);
    assert_string_equal(kept, most);
    assert_false(manifest_add_older(&manifest, "x:1"));
    assert_false(manifest_add_older(&manifest, ids[0]));
}

/* As it was before anybody wrote it, and as a rollback-less one is. */
static void without_rollback(void **state)
{
    (void)state;
    Manifest back;
    char *error = NULL;
    put_forged("rolled-back-from=", "a-key-of-a-later-version=");
    assert_int_equal(manifest_read(directory, &back, &error), MANIFEST_READ);
    assert_string_equal(back.rolled_back_from, "");
    manifest_clear(&back);
}

/* What no writer wrote, under a good checksum: a program that went wrong, or a hand that edited. */
static void nonsense(void **state)
{
    (void)state;
    static const char *const forged[][2] = {
        { "instance=", "instance=0" },
        { "history2=", "history2=0" },
        { "rolled-back-from=", "rolled-back-from=0" },
        { "rolled-back-before=", "rolled-back-before=0" },
        { "rolled-back-before=", "rolled-back-before=0123456789012345678901234567890123456789," },
        { "secret=", "secret=zz" },
        { "secret=", "secrets=" },
        { "db=15", "db=-2" },
        { "db=15", "db=99999999999" },
        { "db=15", "db=x" },
        { "records=", "record=" },
        { "offset2=", "offset2=x" },
        { "[ckv]", "[kcv]" },
        { "[ckv]", "" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(forged); i++) {
        put_forged(forged[i][0], forged[i][1]);
        assert_refused(NULL);
    }
}

/* What came from elsewhere isn't forgotten when the checkpoint that it came in has been replaced. */
static void from_elsewhere(void **state)
{
    (void)state;
    char *error = NULL;
    Manifest manifest, read;
    manifest_init(&manifest);
    memcpy(manifest.checkpoint[0].history, manifest.history, sizeof(manifest.history));
    manifest.checkpoint[0].whole = true;
    write_manifest(&manifest);
    assert_int_equal(manifest_read(directory, &read, &error), MANIFEST_READ);
    assert_true(manifest_begins_empty(&read));
    manifest.checkpoint[0].keys = 1;
    for (manifest.checkpoint[0].offset = 0; manifest.checkpoint[0].offset < 3; manifest.checkpoint[0].offset++) {
        write_manifest(&manifest);
        assert_int_equal(manifest_read(directory, &manifest, &error), MANIFEST_READ);
        assert_false(manifest_begins_empty(&manifest));
    }
}

static void newest(void **state)
{
    (void)state;
    Manifest manifest = example();
    assert_int_equal(manifest_newest(&manifest), 1);
    manifest.checkpoint[0] = manifest.checkpoint[1];
    manifest.checkpoint[1].unix_ms++; /* nothing was written in between */
    assert_int_equal(manifest_newest(&manifest), 1);
    manifest.checkpoint[1].offset = 5;
    assert_int_equal(manifest_newest(&manifest), 0);
    manifest.checkpoint[0].history[0] = manifest.history[0] == 'a' ? 'b' : 'a'; /* another history */
    assert_int_equal(manifest_newest(&manifest), 1);
    manifest.checkpoint[1].whole = false;
    assert_int_equal(manifest_newest(&manifest), -1);
    manifest_clear(&manifest);
}

static void facts_of_a_file(void **state)
{
    (void)state;
    Manifest manifest = example();
    CheckpointInfo back;
    uint8_t secret[MANIFEST_SECRET_BYTES];
    g_autoptr(GBytes) bytes = checkpoint_info_encode(&manifest.checkpoint[1], manifest.secret);
    gsize len;
    const char *text = g_bytes_get_data(bytes, &len);
    assert_true(checkpoint_info_decode(text, len, &back, secret));
    assert_same_checkpoint(&back, &manifest.checkpoint[1]);
    assert_memory_equal(secret, manifest.secret, sizeof(secret));
    assert_false(checkpoint_info_decode("", 0, &back, secret));
    assert_false(checkpoint_info_decode(text, len / 2, &back, secret));
    manifest_clear(&manifest);
}

/* A directory that can't be written to: told, and the file that was there stays. */
static void write_fails(void **state)
{
    (void)state;
    Manifest manifest = example();
    char *error = manifest_write("/nonexistent-directory", &manifest);
    assert_non_null(strstr(error, "/nonexistent-directory/MANIFEST"));
    g_free(error);
    manifest_clear(&manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(new_ones_differ),
        cmocka_unit_test(missing),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(every_length),
        cmocka_unit_test(other_versions),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(newest),
        cmocka_unit_test(facts_of_a_file),
        cmocka_unit_test(from_elsewhere),
        cmocka_unit_test(write_fails),
        cmocka_unit_test(histories_in_a_row),
        cmocka_unit_test(histories_of_another),
        cmocka_unit_test(without_rollback),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
