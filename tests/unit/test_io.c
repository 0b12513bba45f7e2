/* test_io.c: store/io: whole reads and writes over short ones and interruptions, replacing a file whole or not at all
 * whichever call fails, and copies in the kernel and through the table.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/simio.h"

#define BIG (20U << 20)

static char *directory;

static int enter_directory(void **state)
{
    (void)state;
    directory = g_dir_make_tmp("ckv-io-XXXXXX", NULL);
    return directory != NULL && chdir(directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    (void)state;
    sim_stop();
    GDir *dir = g_dir_open(".", 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL)
        unlink(name);
    g_dir_close(dir);
    if (chdir("/") != 0 || rmdir(directory) != 0) return -1;
    g_clear_pointer(&directory, g_free);
    return 0;
}

static void assert_content(const char *path, Slice wanted)
{
    size_t len;
    g_autofree char *content = io_read_file(path, &len);
    assert_non_null(content);
    assert_true(slice_equal((Slice){ content, len }, wanted));
}

/* ---- short and interrupted calls ---- */

static int interruptions;

static ssize_t short_read(int fd, void *to, size_t len, off_t at)
{
    if (interruptions++ % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return io_kernel.read(fd, to, MIN(len, 7), at);
}

static ssize_t short_write(int fd, const void *from, size_t len, off_t at)
{
    if (interruptions++ % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return io_kernel.write(fd, from, MIN(len, 5), at);
}

static void short_calls_go_on(void **state)
{
    (void)state;
    Io slow = io_kernel;
    slow.read = short_read;
    slow.write = short_write;
    io = &slow;
    char out[1000], in[1000];
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 7);
    int fd = io->open("file", O_RDWR | O_CREAT, 0600);
    assert_true(io_write_all(fd, out, sizeof(out), 3));
    assert_true(io_read_all(fd, in, sizeof(in), 3));
    assert_memory_equal(out, in, sizeof(out));
    assert_false(io_read_all(fd, in, sizeof(in), 4));
    assert_int_equal(errno, 0);
    io->close(fd);
    io = &io_kernel;
}

/* ---- much ---- */

static int waits, waits_max;

static ssize_t read_nothing(int fd, void *to, size_t len, off_t at)
{
    (void)fd;
    (void)to;
    (void)at;
    return (ssize_t)len;
}

static ssize_t write_nothing(int fd, const void *from, size_t len, off_t at)
{
    (void)fd;
    (void)from;
    (void)at;
    return (ssize_t)len;
}

static int count_waits(int fd)
{
    (void)fd;
    errno = EIO;
    return ++waits > waits_max ? -1 : 0;
}

/* A long copy waits for the disk now and then, and fails when that does: no sync would say it again. */
static void copies_wait(void **state)
{
    (void)state;
    Io table = io_kernel;
    table.read = read_nothing;
    table.write = write_nothing;
    table.finish_writing = count_waits;
    io = &table;
    int fd = io->open("file", O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 3 * IO_PILE_BYTES - 1), 0);
    io->close(fd);
    waits = 0;
    waits_max = 2;
    assert_true(io_copy_file("file", "copy", NULL, NULL));
    assert_int_equal(waits, 2);
    waits = 0;
    waits_max = 1;
    assert_false(io_copy_file("file", "copy", NULL, NULL));
    assert_int_equal(errno, EIO);
    assert_int_equal(access("copy", F_OK), -1);
    io = &io_kernel;
}

/* ---- files ---- */

static void missing_files(void **state)
{
    (void)state;
    size_t len;
    assert_null(io_read_file("none", &len));
    assert_int_equal(errno, ENOENT);
    assert_false(io_sync_directory("none"));
    assert_false(io_copy_file("none", "copy", NULL, NULL));
    assert_int_equal(access("copy", F_OK), -1);
}

static void replace(void **state)
{
    (void)state;
    assert_true(io_replace_file("file", SLICE("one")));
    assert_content("file", SLICE("one"));
    assert_true(io_replace_file("./file", (Slice){ "", 0 }));
    assert_content("file", (Slice){ "", 0 });
    assert_int_equal(access("file.tmp", F_OK), -1);
}

/* Whatever fails, the file has the old content or the new one, and no scrap is left (unless removing it fails). */
static void replace_with_failures(void **state)
{
    (void)state;
    sim_start();
    for (SimOp op = 0; op < SIM_OPS; op++) {
        bool failed = true;
        for (uint64_t nth = 1; failed; nth++) {
            sim_fail(op, 0, 0, 0);
            assert_true(io_replace_file("file", SLICE("the old one")));
            sim_fail(op, nth, 1, EIO);
            bool ok = io_replace_file("file", SLICE("the new"));
            int error = errno;
            failed = sim_has_failed(op);
            if (!ok) assert_int_equal(error, EIO);
            sim_fail(op, 0, 0, 0);
            size_t len;
            g_autofree char *content = io_read_file("file", &len);
            assert_true(strcmp(content, "the new") == 0 || (!ok && strcmp(content, "the old one") == 0));
            assert_int_equal(access("file.tmp", F_OK), -1);
        }
    }
}

static void replace_and_power_cut(void **state)
{
    (void)state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    sim_start();
    sim_record();
    assert_true(io_replace_file("file", SLICE("the old one")));
    sim_note(1);
    assert_true(io_replace_file("file", SLICE("the new")));
    sim_note(2);
    size_t events = sim_events();
    for (int round = 0; round < 300; round++) {
        g_autofree char *there = g_dir_make_tmp("ckv-cut-XXXXXX", NULL);
        uint64_t promised = sim_power_cut((size_t)g_rand_int_range(rand, 0, (gint32)events + 1), rand, there);
        g_autofree char *path = g_build_filename(there, "file", NULL);
        g_autofree char *temporary = g_strconcat(path, ".tmp", NULL);
        g_autofree char *content = NULL;
        bool exists = g_file_get_contents(path, &content, NULL, NULL);
        if (promised >= 1) assert_true(exists);
        if (promised == 2) assert_string_equal(content, "the new");
        if (exists) assert_true(strcmp(content, "the new") == 0 || strcmp(content, "the old one") == 0);
        unlink(path);
        unlink(temporary);
        assert_int_equal(rmdir(there), 0);
    }
}

/* ---- copies ---- */

static void count_progress(uint64_t done, void *context)
{
    uint64_t *last = context;
    assert_true(done > *last);
    *last = done;
}

static void check_copy(size_t len)
{
    g_autofree char *bytes = g_malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 131 + (i >> 13));
    assert_true(io_replace_file("from", (Slice){ bytes, len }));
    uint64_t last = 0;
    assert_true(io_copy_file("from", "to", count_progress, &last));
    assert_int_equal(last, len);
    assert_content("to", (Slice){ bytes, len });
}

static void copies(void **state)
{
    (void)state;
    for (int simulated = 0; simulated < 2; simulated++) {
        check_copy(0);
        check_copy(1);
        check_copy(BIG + 17);
        check_copy(5); /* over a longer file */
        sim_start();
    }
}

static void copies_with_failures(void **state)
{
    (void)state;
    sim_start();
    assert_true(io_replace_file("from", SLICE("content")));
    for (SimOp op = 0; op < SIM_OPS; op++) {
        bool failed = true;
        for (uint64_t nth = 1; failed; nth++) {
            unlink("to");
            sim_fail(op, nth, 1, EIO);
            bool ok = io_copy_file("from", "to", NULL, NULL);
            failed = sim_has_failed(op);
            sim_fail(op, 0, 0, 0);
            if (ok)
                assert_content("to", SLICE("content"));
            else
                assert_int_equal(access("to", F_OK), -1);
        }
    }
}

static off_t begun_at, begun_len;
static int finished, finish_result;

static void note_begin(int fd, off_t at, off_t len)
{
    (void)fd;
    begun_at = at;
    begun_len = len;
}

static int note_finish(int fd)
{
    (void)fd;
    finished++;
    return finish_result;
}

/* What is written without a sync waits for the disk now and then, and is told what fails there. */
static void writes_wait(void **state)
{
    (void)state;
    Io noting = io_kernel;
    noting.begin_writing = note_begin;
    noting.finish_writing = note_finish;
    io = &noting;
    uint64_t out = 0;
    assert_true(io_write_out(-1, &out, 0));
    assert_true(io_write_out(-1, &out, IO_PILE_BYTES - 1));
    assert_int_equal(finished, 0);
    assert_true(io_write_out(-1, &out, IO_PILE_BYTES + 5));
    assert_int_equal(finished, 1);
    assert_true(begun_at == 0 && begun_len == IO_PILE_BYTES + 5);
    assert_true(io_write_out(-1, &out, 2 * IO_PILE_BYTES + 4));
    assert_int_equal(finished, 1);
    finish_result = -1;
    assert_false(io_write_out(-1, &out, 2 * IO_PILE_BYTES + 5));
    assert_true(begun_at == IO_PILE_BYTES + 5 && begun_len == IO_PILE_BYTES);
    io = &io_kernel;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_calls_go_on, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(copies_wait, enter_directory, leave_directory),
        cmocka_unit_test(writes_wait),
        cmocka_unit_test_setup_teardown(missing_files, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(replace, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(replace_with_failures, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(replace_and_power_cut, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(copies, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(copies_with_failures, enter_directory, leave_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
