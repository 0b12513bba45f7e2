/* test_diverged.c: cmds/diverged: what is written aside is durable before the slave goes back.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/diverged.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/clock.h"
#include "store/journal.h"
#include "store/state.h"
#include "tests/unit/simio.h"

#define POWER_CUTS 20

static const char from_then_on[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
                                   "*2\r\n$3\r\nDEL\r\n$1\r\nb\r\n*2\r\n$3\r\nDEL\r\n$1\r\nc\r\n";

/* The text of the file that the directory has; NULL: there's none. */
static char *read_aside(const char *path)
{
    char *text = NULL;
    GDir *dir = g_dir_open(path, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        if (!g_str_has_prefix(name, "diverged-")) continue;
        g_autofree char *file = g_build_filename(path, name, NULL);
        assert_true(g_file_get_contents(file, &text, NULL, NULL));
    }
    g_dir_close(dir);
    return text;
}

static void append_del(const char *key)
{
    clock_refresh();
    journal_append(3, (Slice[]){ SLICE("DEL"), slice_of(key) }, 2);
    assert_true(journal_commit());
}

/* A journal in a new directory, which is the working one then; from where on it's to be written aside. */
static uint64_t begin(char **scratch, Manifest *manifest)
{
    *scratch = g_dir_make_tmp("ckv-diverged-XXXXXX", NULL);
    assert_int_equal(chdir(*scratch), 0);
    manifest_init(manifest);
    JournalStart start = { .db = -1, .history = manifest->history, .sync = JOURNAL_SYNC_NO, .segment_bytes = 1 << 20 };
    sim_start();
    assert_null(journal_open(&start));
    append_del("a");
    uint64_t offset = journal_written();
    append_del("b");
    append_del("c");
    assert_true(journal_close());
    return offset;
}

static void end(const char *scratch)
{
    sim_stop();
    assert_int_equal(chdir("/"), 0);
    assert_true(state_remove(scratch));
}

static void test_power_cut(void **context)
{
    (void)context;
    Manifest manifest;
    g_autofree char *scratch = NULL;
    uint64_t offset = begin(&scratch, &manifest);
    sim_record();
    char *error = diverged_save(&manifest, offset);
    if (error != NULL) fail_msg("%s", error);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    for (int i = 0; i < POWER_CUTS; i++) {
        assert_int_equal(g_mkdir("after", 0700), 0);
        sim_power_cut(sim_events(), rand, "after");
        g_autofree char *text = read_aside("after");
        assert_non_null(text);
        assert_string_equal(text, from_then_on);
        assert_true(state_remove("after"));
    }
    end(scratch);
}

/* What would be a part of it, and look like all, isn't left. */
static void test_no_room(void **context)
{
    (void)context;
    Manifest manifest;
    g_autofree char *scratch = NULL;
    uint64_t offset = begin(&scratch, &manifest);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        sim_fail(SIM_WRITE, nth, 1, ENOSPC);
        g_autofree char *error = diverged_save(&manifest, offset), *text = read_aside(".");
        assert_non_null(strstr(error, g_strerror(ENOSPC)));
        assert_null(text);
    }
    end(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_power_cut), cmocka_unit_test(test_no_room) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
