/* test_transfer.c: repl/transfer: what a child gets of a full sync's bytes, in either framing and in pieces of any
 * size; a child that is slow, fails, or doesn't read. The program is its own child.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/transfer.h"

#include <fcntl.h>
#include <glib.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MARK      "0123456789abcdefghij0123456789ABCDEFGHIJ"
#define BYTES_MAX 3000000

static Loop *loop;
static char *directory, *copy;

/* ---- the child ---- */

static int play_child(const char *what, const char *path)
{
    static char bytes[70000];
    if (strcmp(what, "fail") == 0) {
        fprintf(stderr, "first line\nit went wrong\n");
        return 1;
    }
    if (strcmp(what, "slow") == 0) g_usleep(300000);
    FILE *file = fopen(path, "w");
    for (ssize_t got; (got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0;)
        fwrite(bytes, 1, (size_t)got, file);
    return fclose(file);
}

/* ---- driving it ---- */

static int64_t stop_loop(void *context)
{
    (void)context;
    loop_stop(loop);
    return -1;
}

static void turn(void)
{
    loop_timer(loop, 1, stop_loop, NULL);
    loop_run(loop);
}

static int rooms;

static void on_room(void)
{
    rooms++;
}

static Transfer *begin(const char *what)
{
    char *error = NULL;
    char *words[] = { (char *)"test", (char *)"child", (char *)(uintptr_t)what, copy, NULL };
    unlink(copy);
    Transfer *transfer = transfer_new(loop, words, on_room, &error);
    assert_null(error);
    return transfer;
}

/* Gives all bytes, in pieces, waiting for room; returns how many were taken. */
static size_t give(Transfer *transfer, const char *bytes, size_t len, size_t piece)
{
    size_t taken = 0;
    for (size_t at = 0; at < len && !transfer_is_whole(transfer); at += piece) {
        while (transfer_is_full(transfer))
            turn();
        size_t part = MIN(piece, len - at), took = transfer_take(transfer, (Slice){ bytes + at, part });
        taken += took;
        if (!transfer_is_whole(transfer)) assert_int_equal(took, part);
    }
    return taken;
}

static int await_end(Transfer *transfer, char **error)
{
    int result;
    while ((result = transfer_poll(transfer, error)) == 1)
        turn();
    return result;
}

static void expect_copy(const char *bytes, size_t len)
{
    g_autofree char *text = NULL;
    gsize got;
    assert_true(g_file_get_contents(copy, &text, &got, NULL));
    assert_int_equal(got, len);
    assert_memory_equal(text, bytes, len);
}

/* ---- tests ---- */

static void run_framing(const char *data, size_t len, bool marked, size_t piece, const char *child)
{
    char *error = NULL;
    g_autofree char *head = marked ? g_strdup("$EOF:" MARK) : g_strdup_printf("$%zu", len);
    g_autofree char *bytes = g_malloc(len + strlen(MARK) + 4);
    size_t end = len + (marked ? strlen(MARK) : 0);
    memcpy(bytes, data, len);
    memcpy(bytes + len, MARK, strlen(MARK));
    memcpy(bytes + end, "next", 4);
    Transfer *transfer = begin(child);
    assert_false(transfer_begin(transfer, SLICE("$EOF:short")));
    assert_false(transfer_begin(transfer, SLICE("$-1")));
    assert_false(transfer_begin(transfer, SLICE("+OK")));
    assert_true(transfer_begin(transfer, slice_of(head)));
    assert_int_equal(give(transfer, bytes, end + 4, piece), end);
    assert_true(transfer_is_whole(transfer));
    assert_int_equal(transfer_received(transfer), len);
    assert_int_equal(await_end(transfer, &error), 0);
    transfer_free(transfer);
    expect_copy(data, len);
}

static void framings(void **state)
{
    (void)state;
    g_autofree char *data = g_strnfill(1000, '0');
    memcpy(data + 100, MARK, strlen(MARK) - 1); /* nearly one */
    memcpy(data + 970, MARK, 30);               /* the beginning of one */
    for (size_t piece = 1; piece < 100; piece += 13) {
        run_framing(data, 1000, true, piece, "copy");
        run_framing(data, 1000, false, piece, "copy");
    }
    run_framing(data, 1, true, 1, "copy");
}

static void slow_child(void **state)
{
    (void)state;
    g_autofree char *data = g_strnfill(BYTES_MAX, 'x');
    rooms = 0;
    run_framing(data, BYTES_MAX, false, 65536, "slow");
    run_framing(data, BYTES_MAX, true, 65536, "slow");
    assert_true(rooms > 0);
}

static void failing_child(void **state)
{
    (void)state;
    char *error = NULL;
    Transfer *transfer = begin("fail");
    assert_true(transfer_begin(transfer, SLICE("$1000000")));
    assert_int_equal(await_end(transfer, &error), -1);
    assert_string_equal(error, "it went wrong");
    g_free(error);
    transfer_take(transfer, SLICE("bytes for nobody"));
    transfer_free(transfer);
    transfer = begin("slow");
    transfer_free(transfer); /* is ended */
    g_usleep(400000);
    assert_int_not_equal(access(copy, F_OK), 0);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0) return play_child(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framings),
        cmocka_unit_test(slow_child),
        cmocka_unit_test(failing_child),
    };
    loop = loop_new(false);
    directory = g_dir_make_tmp("ckv-transfer-XXXXXX", NULL);
    copy = g_build_filename(directory, "copy", NULL);
    signal(SIGPIPE, SIG_IGN);
    int failed = cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
    unlink(copy);
    rmdir(directory);
    return failed;
}
