/* ckv.c: main(): starts the server as its options say, and stops it. Whatever keeps it from starting is one line on
 * standard error and exit status 1.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "ckv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dirlock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/carry.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/persist.h"
#include "cmds/replication.h"
#include "cmds/server.h"
#include "cmds/sync.h"
#include "cmds/transit.h"
#include "cmds/upgrade.h"
#include "net/client.h"
#include "net/loop.h"
#include "repl/handover.h"
#include "repl/master.h"
#include "store/keyspace.h"
#include "tools/tools.h"

#define LOCK_FILE       "ckv.lock"
#define OPERATOR_SOCKET "ckv.sock"

static void fail(const char *format, ...) G_GNUC_PRINTF(1, 2) __attribute__((noreturn));

/* Ends the start. Nothing is written that would have to be flushed, and what was allocated goes with the process. */
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    handover_refuse(text);
    fprintf(stderr, "ckv: %s\n", text);
    _exit(1);
}

/* ---- stopping ---- */

static Loop *loop;

/* A process that another one has just taken over from passes it on. */
static void on_stop_signal(int number)
{
    int saved = errno;
    server.stop_signal = number;
    if (server.successor != 0) kill(server.successor, number);
    loop_stop(loop);
    errno = saved;
}

static void catch_stop_signals(void)
{
    struct sigaction stop = { .sa_handler = on_stop_signal };
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
}

static void ignore_signals(void)
{
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write */
    signal(SIGPIPE, SIG_IGN);
}

/* ---- starting ---- */

/* Does what doesn't start a server; false if there is nothing of the kind. */
static bool answered(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        options_print_help();
        printf("\nTools, each with a --help of its own\n");
        tools_print_list();
    } else if (strcmp(word, "--man") == 0) {
        options_print_manual();
        printf(".SH TOOLS\nEach has a \\-\\-help of its own.\n.PP\n.nf\n");
        tools_print_list();
        printf(".fi\n");
    } else if (strcmp(word, "--version") == 0 || strcmp(word, "-v") == 0) {
        printf("ckv %s (compatible with Redis %s)\n", CKV_VERSION, CKV_REDIS_VERSION);
    } else {
        return false;
    }
    return true;
}

static void log_unused_options(void)
{
    const GPtrArray *unused = options_unused();
    for (guint i = 0; i < unused->len; i++)
        log_line(LOG_NOTICE, "Option '%s' has no effect: CKV has no use for it.", (char *)unused->pdata[i]);
}

/* This process is to take over from another one. */
static bool takes_over;

/* Why the directory itself isn't locked: errno, or 0. */
static int cant_lock;

/* Takes the data directory for this process alone: the lock lives as long as the process does, or one that takes over.
 */
static void lock_directory(void)
{
    if (takes_over) {
        server.locks = handover_locks();
        if (server.locks.directory < 0) server.locks.directory = dirlock_take("."); /* an older build hasn't */
        return;
    }
    int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) fail("dir %s: can't make %s: %s", options.dir, LOCK_FILE, g_strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        fail("dir %s: another ckv is using it; stop that one, or give this one a directory of its own by --dir",
             options.dir);
    }
    server.locks = (HandoverLocks){ .file = fd, .directory = dirlock_take(".") };
    if (server.locks.directory >= 0) return;
    cant_lock = errno;
    if (cant_lock == EWOULDBLOCK) {
        fail("dir %s: another process has locked it, likely a ckv whose %s was deleted; stop that one, or give this "
             "one a directory of its own by --dir",
             options.dir, LOCK_FILE);
    }
}

/* The data directory becomes the working directory, so that the operator's socket has a short path whatever the
 * directory's is. */
static void enter_directory(void)
{
    if (g_mkdir_with_parents(options.dir, 0700) != 0 || chdir(options.dir) != 0) {
        fail("dir %s: %s; give a directory that this user may write to by --dir", options.dir, g_strerror(errno));
    }
    g_free(options.dir);
    options.dir = g_get_current_dir();
    lock_directory();
}

static void open_log(void)
{
    if (!log_open(options.logfile)) {
        fail("logfile %s: %s; give a file that this user may write to, or \"\" for standard output", options.logfile,
             g_strerror(errno));
    }
    if (cant_lock == 0) return;
    log_line(LOG_NOTICE, "The data directory can't be locked (%s), but its " LOCK_FILE " is: don't delete that.",
             g_strerror(cant_lock));
}

/* Ends the program if `message` says that something couldn't be listened on. */
static void need(char *message, const char *remedy)
{
    if (message != NULL) fail("%s; %s", message, remedy);
}

static void listen_everywhere(void)
{
    int port = (int)options.port;
    g_auto(GStrv) addresses = g_strsplit(options.bind, " ", -1);
    for (int i = 0; addresses[i] != NULL; i++) {
        const char *address = strcmp(addresses[i], "*") == 0 ? NULL : addresses[i];
        need(client_listen_tcp(address, &port, (int)options.tcp_backlog),
             "choose another port by --port (0 takes a free one), or other addresses by --bind");
    }
    options.port = port;
    need(client_listen_unix(OPERATOR_SOCKET, 0600, true), "choose another data directory by --dir");
    if (options.unixsocket[0] == '\0') return;
    mode_t mask = umask(0);
    umask(mask);
    int mode = options.unixsocketperm != 0 ? (int)options.unixsocketperm : (int)(0777 & ~mask);
    need(client_listen_unix(options.unixsocket, mode, false), "choose another path by --unixsocket");
}

static void make_room_for_clients(void)
{
    int64_t possible = server_make_room_for(options.maxclients);
    if (possible == options.maxclients) return;
    if (possible < 1) fail("the limit of open files is too low for any client; raise it by ulimit -n");
    log_line(LOG_WARNING, "maxclients is %ld instead of %ld: the limit of open files can't be raised. Use ulimit -n.",
             possible, options.maxclients);
    options.maxclients = possible;
}

/* In the background: where the process that was started waits to hear that all went well. -1: it's this one. */
static int ready_fd = -1;

/* What the process that was started does: it ends when the other is ready, or as that one did. */
static void await_ready(int fd, pid_t child)
{
    char byte;
    int status = 0;
    if (read(fd, &byte, 1) == 1) _exit(0);
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* Before anything is opened or any thread is started, which a child wouldn't have. */
static void fork_to_background(void)
{
    int ends[2];
    pid_t child = pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    if (child < 0) fail("daemonize: %s", g_strerror(errno));
    close(ends[child > 0]);
    if (child > 0) await_ready(ends[0], child);
    ready_fd = ends[1];
    setsid();
}

/* All went well: leaves the terminal. */
static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    ssize_t told = write(ready_fd, "", 1);
    (void)told; /* whoever waited may have been killed */
    close(ready_fd);
}

static void write_pid_file(void)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    g_autoptr(GError) error = NULL;
    if (options.pidfile[0] == '\0' ||
        g_file_set_contents_full(options.pidfile, text, -1, G_FILE_SET_CONTENTS_NONE, 0666, &error))
        return;
    log_line(LOG_WARNING, "pidfile: %s", error->message);
}

static void start(int argc, char **argv)
{
    takes_over = handover_inherited();
    server.words = g_strdupv(argv);
    server.start_directory = g_get_current_dir();
    options_reset();
    char *wrong = options_load(argc, argv);
    if (wrong != NULL) fail("%s", wrong);
    carry_note_options();
    if (takes_over) carry_hello();
    if (options.daemonize && !takes_over) fork_to_background();
    char *executable = g_file_read_link("/proc/self/exe", NULL);
    enter_directory();
    open_log();
    if (takes_over) carry_take_options();

    if (options.master_host[0] != '\0' && !options.persistence)
        fail("slaveof needs persistence yes: a slave keeps its master's journal");
    clock_refresh();
    if (!takes_over) transit_clean();
    if (takes_over) {
        persist_open_read_only();
    } else if (options.persistence) {
        persist_open();
    } else {
        transit_init();
    }
    loop = loop_new(options.plain_poll);
    client_init(loop, (ClientHandlers){ .opened = command_opened,
                                        .closed = command_closed,
                                        .run = command_run_batch,
                                        .before_send = command_before_send,
                                        .turn_ends = effects_end_turn,
                                        .drained = master_drained });
    command_init(keyspace_new((int)options.databases));
    server_init(loop, executable);
    sync_init(loop);
    replication_init(loop);
    ignore_signals();
    if (!takes_over) catch_stop_signals();
    make_room_for_clients();
    if (!takes_over) listen_everywhere();
}

static bool announced;

/* What is said when all is ready, whatever the log level: whoever started the server waits for it. */
static void announce(void)
{
    if (announced) return; /* a reload */
    announced = true;
    if (ready_fd >= 0) leave_terminal();
    log_line(LOG_WARNING, "ckv %s (compatible with Redis %s), PID: %d, data in %s", CKV_VERSION, CKV_REDIS_VERSION,
             (int)getpid(), options.dir);
    log_unused_options();
    /* A notice where notices are shown: test suites of clients look for Redis' line as it is, mark and all. */
    log_line(MAX(LOG_NOTICE, log_level), "The server is now ready to accept connections on port %ld", options.port);
    sd_notifyf(0, "READY=1\nMAINPID=%d", (int)getpid());
}

/* Where standard input, output or error is closed, the next file that is opened would take its place, and what is said
 * be written into it: the lock, the journal. Using it still fails. */
static void hold_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        bool closed = fcntl(fd, F_GETFD) < 0;
        if (closed && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) _exit(1);
    }
}

int main(int argc, char **argv)
{
    hold_standard_files();
    const Tool *tool = argc > 1 ? tool_find(argv[1]) : NULL;
    if (tool != NULL) return (int)tool_end(tool->run(argc - 1, argv + 1));
    if (argc == 2 && answered(argv[1])) return (int)tool_end(TOOL_OK);
    start(argc, argv);
    if (takes_over) {
        carry_prepare(loop, announce);
        catch_stop_signals(); /* until here such a signal ends this process, and the old one goes on */
        carry_take_over();
        write_pid_file();
        announce();
        carry_taken_over();
    } else {
        write_pid_file();
        persist_start(loop, announce);
    }
    loop_run(loop);

    upgrade_abort();
    sd_notify(0, "STOPPING=1");
    log_line(LOG_WARNING, "Stopping: %s",
             server.stop_signal == 0         ? "SHUTDOWN was called"
             : server.stop_signal == SIGTERM ? "received SIGTERM"
                                             : "received SIGINT");
    bool good = persist_stop(!server.stop_without_save);
    transit_finish();
    client_shutdown();
    if (options.pidfile[0] != '\0') unlink(options.pidfile);
    log_line(LOG_WARNING, "ckv has stopped, bye.");
    return good ? 0 : 1;
}
