/* test_building.c: what was built in import.tmp/ and is whole gets into place, wherever the machine stops meanwhile.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "store/building.h"
#include "store/checkpoint.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/state.h"
#include "tests/unit/host.h"
#include "tests/unit/simio.h"

#define POWER_CUTS 20 /* at each place */

/* In the working directory; the files are but stand-ins. */
static void make_built(bool whole)
{
    Manifest manifest;
    manifest_init(&manifest);
    manifest.checkpoint[0] = (CheckpointInfo){ .whole = whole };
    memcpy(manifest.checkpoint[0].history, manifest.history, sizeof(manifest.history));
    assert_int_equal(g_mkdir(BUILDING_DIRECTORY, 0700), 0);
    assert_int_equal(g_mkdir(BUILDING_DIRECTORY "/" JOURNAL_DIRECTORY, 0700), 0);
    assert_true(g_file_set_contents(BUILDING_DIRECTORY "/" JOURNAL_DIRECTORY "/segment", "batches", -1, NULL));
    assert_true(g_file_set_contents(BUILDING_DIRECTORY "/checkpoint-a.gdbm", "pages", -1, NULL));
    assert_null(manifest_write(BUILDING_DIRECTORY, &manifest));
    manifest_clear(&manifest);
}

static void check_in_place(const char *dir, bool in_place)
{
    static const char *const names[] = { JOURNAL_DIRECTORY "/segment", "checkpoint-a.gdbm", MANIFEST_FILE };
    g_autofree char *building = g_build_filename(dir, BUILDING_DIRECTORY, NULL);
    assert_int_not_equal(access(building, F_OK), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);
        assert_int_equal(access(path, F_OK) == 0, in_place);
    }
}

static void test_power_cut(void **context)
{
    (void)context;
    char *error = NULL;
    assert_true(host_enter_directory());
    make_built(true);
    sim_start();
    sim_record();
    assert_null(building_put_in_place("."));
    size_t events = sim_events();
    assert_true(events >= 3);
    g_autofree char *cut = g_dir_make_tmp("ckv-building-XXXXXX", NULL);
    GRand *rand = g_rand_new_with_seed(1);
    for (size_t n = 0; n <= events; n++) {
        for (int i = 0; i < POWER_CUTS; i++) {
            assert_true(state_remove(cut));
            assert_int_equal(g_mkdir(cut, 0700), 0);
            sim_power_cut(n, rand, cut);
            if (!building_finish(cut, &error)) fail_msg("%s", error);
            check_in_place(cut, true);
        }
    }
    g_rand_free(rand);
    sim_stop();
    assert_true(state_remove(cut));
    assert_true(host_leave_directory());
}

static void test_not_whole(void **context)
{
    (void)context;
    char *error = NULL;
    assert_true(host_enter_directory());
    make_built(false);
    assert_true(building_finish(".", &error));
    check_in_place(".", false);
    assert_true(host_leave_directory());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
