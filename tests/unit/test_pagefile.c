/* test_pagefile.c: store/pagefile: much isn't left in the page cache, and what can't be written is told.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pagefile.h"

#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/io.h"

#define RECORD_BYTES (1UL << 20)

static int waits;

static int finish_writing(int fd)
{
    waits++;
    return io_kernel.finish_writing(fd);
}

static int fail_to_finish(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static bool put_records(PageFile *file, unsigned long bytes, char **error)
{
    g_autofree char *value = g_strnfill(RECORD_BYTES, 'v');
    for (unsigned long i = 0; i < bytes / RECORD_BYTES; i++) {
        g_autofree char *key = g_strdup_printf("key:%lu", i);
        if (!pagefile_put(file, slice_of(key), (Slice){ value, RECORD_BYTES }, error)) return false;
    }
    return true;
}

/* Who puts much waits for the disk now and then, and is told what that says: no sync would say it again. */
static void waits_for_the_disk(void **state)
{
    (void)state;
    char *error = NULL;
    Io table = io_kernel;
    table.finish_writing = finish_writing;
    io = &table;
    PageFile *file = pagefile_open("file", PAGEFILE_NEW, 100, &error);
    assert_non_null(file);
    assert_true(put_records(file, IO_BURST_BYTES, &error));
    assert_int_equal(waits, 0);
    assert_true(put_records(file, 9 * IO_BURST_BYTES, &error));
    assert_int_equal(waits, 9);
    table.finish_writing = fail_to_finish;
    assert_false(put_records(file, IO_BURST_BYTES + RECORD_BYTES, &error));
    assert_string_equal(error, "file: Input/output error");
    g_free(error);
    pagefile_abandon(file);
    assert_int_equal(unlink("file"), 0);
    io = &io_kernel;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(waits_for_the_disk) };
    g_autofree char *directory = g_dir_make_tmp("ckv-pagefile-XXXXXX", NULL);
    if (directory == NULL || chdir(directory) != 0) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return chdir("/") != 0 || rmdir(directory) != 0 ? 1 : failed;
}
