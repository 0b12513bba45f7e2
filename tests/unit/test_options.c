/* test_options.c: base/options: every option's default, good and bad values; files, includes and the command line; what
 * CONFIG REWRITE writes reads back as the same values, whatever they are.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/options.h"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SEED   20261123
#define ROUNDS 300

static char *directory;

static char *path_of(const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static void write_file(const char *name, const char *text)
{
    g_autofree char *path = path_of(name);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

static char *read_back(const char *name)
{
    g_autofree char *path = path_of(name);
    char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

/* Loads a file of this text, and further arguments up to NULL; the message, or NULL. */
static char *load(const char *text, ...)
{
    g_autofree char *path = path_of("test.conf");
    char *argv[32] = { (char *)(uintptr_t) "ckv" };
    int argc = 1;
    if (text != NULL) {
        write_file("test.conf", text);
        argv[argc++] = path;
    }
    va_list args;
    va_start(args, text);
    for (char *arg; (arg = va_arg(args, char *)) != NULL;)
        argv[argc++] = arg;
    va_end(args);
    options_reset();
    return options_load(argc, argv);
}

static void assert_option(const char *name, const char *expected)
{
    g_autofree char *text = option_text(option_find(slice_of(name)));
    assert_string_equal(text, expected);
}

/* The message must hold this text. */
static void assert_message(char *message, const char *part)
{
    assert_non_null(message);
    if (strstr(message, part) == NULL) fail_msg("'%s' isn't in '%s'", part, message);
    assert_null(strchr(message, '\n'));
    g_free(message);
}

static void test_defaults(void **state)
{
    (void)state;
    options_reset();
    for (size_t i = 0; i < option_count; i++) {
        const Option *option = &option_table[i];
        g_autofree char *text = option_text(option), *usage = option_usage(option);
        if (option->start != NULL) assert_string_equal(text, option->start);
        assert_true(strlen(usage) > 0);
        assert_ptr_equal(option_find(slice_of(option->name)), option);
        assert_string_equal(option_nearest(option->name), option->name);
        if (option->group != OPTIONS_UNUSED) assert_true(strlen(option->help) > 0);
    }
    assert_null(option_find(SLICE("")));
    assert_null(option_find(SLICE("por")));
    assert_non_null(option_find(SLICE("PORT")));
    assert_string_equal(option_nearest("prot"), "port");
    assert_string_equal(option_nearest("maxmemory_policy"), "maxmemory-policy");
    assert_string_equal(option_nearest("requirepas"), "requirepass");
}

/* A directive on the command line, and what it becomes; NULL: it is refused, and nothing changes. */
static const struct {
    const char *name, *given, *becomes;
} cases[] = {
    { "port", "0", "0" },
    { "port", "65535", "65535" },
    { "port", "65536", NULL },
    { "port", "-1", NULL },
    { "port", "6379x", NULL },
    { "port", "", NULL },
    { "maxmemory", "0", "0" },
    { "maxmemory", "1b", "1" },
    { "maxmemory", "1k", "1000" },
    { "maxmemory", "1Kb", "1024" },
    { "maxmemory", "2m", "2000000" },
    { "maxmemory", "2MB", "2097152" },
    { "maxmemory", "3g", "3000000000" },
    { "maxmemory", "3gb", "3221225472" },
    { "maxmemory", "9223372036854775807gb", NULL },
    { "maxmemory", "-1", NULL },
    { "maxmemory", "mb", NULL },
    { "maxmemory", "1.5gb", NULL },
    { "maxmemory", "1 gb", NULL },
    { "maxmemory-policy", "ALLKEYS-LRU", "allkeys-lru" },
    { "maxmemory-policy", "allkeys-lfu", NULL },
    { "maxmemory", "0010kb", "10240" },
    { "maxmemory", "00", "0" },
    { "protected-mode", "No", "no" },
    { "protected-mode", "true", NULL },
    { "admin-plane", "all", "all" },
    { "admin-plane", "yes", NULL },
    { "hz", "0", "1" },
    { "hz", "1000", "500" },
    { "hz", "-1", NULL },
    { "hz", "x", NULL },
    { "list-max-ziplist-size", "-5", "-5" },
    { "unixsocketperm", "770", "770" },
    { "unixsocketperm", "0700", "700" },
    { "unixsocketperm", "789", NULL },
    { "unixsocketperm", "1777", NULL },
    { "notify-keyspace-events", "KEA", "AKE" },
    { "notify-keyspace-events", "g$lshzxe", "A" },
    { "notify-keyspace-events", "xE", "xE" },
    { "notify-keyspace-events", "KEq", NULL },
    { "requirepass", "id:pass", "id:pass" },
    { "requirepass", "id:pass:word", "id:pass:word" },
    { "requirepass", "", "" },
    { "requirepass", "foobar", NULL },
    { "requirepass", ":foobar", NULL },
    { "requirepass", "foobar:", NULL },
    { "client-output-buffer-limit", "pubsub 1mb 1kb 7",
      "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 1024 7" },
    { "client-output-buffer-limit", "normal 1 2 3 slave 4 5 6", "normal 1 2 3 slave 4 5 6 pubsub 33554432 8388608 60" },
    { "client-output-buffer-limit", "pubsub 010 1 2", "normal 0 0 0 slave 268435456 67108864 60 pubsub 10 1 2" },
    { "client-output-buffer-limit", "normal 1 2 3 slave 4 5", NULL },
    { "client-output-buffer-limit", "normal 1 2 3 master 4 5 6", NULL },
    { "client-output-buffer-limit", "normal 1 2 -3", NULL },
    { "bind", "127.0.0.1 ::1", "127.0.0.1 ::1" },
    { "slaveof", "10.0.0.1 6379", "10.0.0.1 6379" },
    { "slaveof", "No One", "" },
    { "slaveof", "", "" },
    { "slaveof", "10.0.0.1", NULL },
    { "slaveof", "10.0.0.1 0", NULL },
    { "slaveof", "10.0.0.1 65536", NULL },
    { "slaveof", "10.0.0.1 x", NULL },
    { "slaveof", "10.0.0.1 1 2", NULL },
    { "masterauth", "admin:secret", "admin:secret" },
    { "read-only-slave", "Yes", "yes" },
    { "repl-timeout", "0", NULL },
    { "save", "900 1", "" },
    { "appendonly", "yes", "no" },
    { "persistence", "no", "no" },
    { "fsync", "ALWAYS", "always" },
    { "appendfsync", "Always", "always" },
    { "appendfsync", "no", "no" },
    { "fsync", "sometimes", NULL },
    { "journal-segment-bytes", "1mb", "1048576" },
    { "journal-segment-bytes", "1", NULL },
    { "journal-keep", "0", "0" },
    { "journal-keep", "-1", NULL },
    { "journal-keep-bytes", "2gb", "2147483648" },
    { "checkpoint-every", "0", "0" },
    { "checkpoint-journal-bytes", "0", "0" },
    { "backup-schedule", "", "" },
    { "backup-schedule", "04:30", "04:30" },
    { "backup-schedule", "23:59", "23:59" },
    { "backup-schedule", "24:00", NULL },
    { "backup-schedule", "12:60", NULL },
    { "backup-schedule", "4:30", NULL },
    { "backup-schedule", "04:3", NULL },
    { "backup-schedule", "04:30 ", NULL },
    { "backup-schedule", "every 30 minutes", "every 30 minutes" },
    { "backup-schedule", "every 5 seconds", "every 5 seconds" },
    { "backup-schedule", "EVERY 1 Hour", "EVERY 1 Hour" },
    { "backup-schedule", "every 0 hours", NULL },
    { "backup-schedule", "every -1 hours", NULL },
    { "backup-schedule", "every 1 day", NULL },
    { "backup-schedule", "every 1", NULL },
    { "backup-keep", "0", "0" },
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Option *option = option_find(slice_of(cases[i].name));
        options_reset();
        g_auto(GStrv) words = option->flags & OPTION_WORDS ? g_strsplit(cases[i].given, " ", -1) : g_new0(char *, 2);
        if (!(option->flags & OPTION_WORDS)) words[0] = g_strdup(cases[i].given);
        char *message = option_set(option, words, (int)g_strv_length(words));
        if (cases[i].becomes != NULL) {
            assert_null(message);
            assert_option(cases[i].name, cases[i].becomes);
        } else {
            assert_message(message, cases[i].name);
            assert_option(cases[i].name, option->start);
        }
    }
}

static void test_backup_schedule(void **state)
{
    (void)state;
    BackupSchedule schedule;
    assert_true(backup_schedule_parse("", &schedule) && !schedule.daily && schedule.every_sec == 0);
    assert_true(backup_schedule_parse("04:30", &schedule) && schedule.daily && schedule.every_sec == 0);
    assert_int_equal(schedule.minute, 270);
    assert_true(backup_schedule_parse("every 90 minutes", &schedule) && !schedule.daily);
    assert_int_equal(schedule.every_sec, 5400);
    assert_true(backup_schedule_parse("every 2 hours", &schedule));
    assert_int_equal(schedule.every_sec, 7200);
    assert_false(backup_schedule_parse("hourly", &schedule));
}

static void test_file(void **state)
{
    (void)state;
    assert_null(load("# comment\n\n\t port\t7000 \r\nTIMEOUT 5\n"
                     "logfile \"a \\\"b\\\" \\x41\\\\ \\n\"\nunixsocket 'it\\'s'\nbind a  b\tc\n"
                     "client-output-buffer-limit slave 1 2 3\nclient-output-buffer-limit normal 4 5 6\nhz 10\nhz 20",
                     NULL));
    assert_option("port", "7000");
    assert_option("timeout", "5");
    assert_option("logfile", "a \"b\" A\\ \n");
    assert_option("unixsocket", "it's");
    assert_option("bind", "a b c");
    assert_option("client-output-buffer-limit", "normal 4 5 6 slave 1 2 3 pubsub 33554432 8388608 60");
    assert_option("hz", "20");
    g_autofree char *path = path_of("test.conf");
    assert_string_equal(options.config_file, path);
}

static void test_file_errors(void **state)
{
    (void)state;
    assert_message(load("port 1\nmaxmemroy 1\n", NULL),
                   "test.conf:2: there is no option 'maxmemroy'; the nearest is 'maxmemory'");
    assert_message(load("\n\nport x\n", NULL), "test.conf:3: port takes a whole number from 0 to 65535, not 'x'");
    assert_message(load("port\n", NULL), "test.conf:1: port takes");
    assert_message(load("port 1 2\n", NULL), "test.conf:1: port takes");
    assert_message(load("logfile \"x\n", NULL), "test.conf:1: quotes are not balanced");
    assert_message(load("logfile \"x\"y\n", NULL), "test.conf:1: quotes are not balanced");
    assert_message(load("logfile 'x\n", NULL), "test.conf:1: quotes are not balanced");
    assert_message(load("instance-id x\n", NULL),
                   "instance-id and password go together, but only instance-id is given");
    assert_message(load("include /does/not/exist\n", NULL), "test.conf:1: can't read the config file");
    assert_message(load("include\n", NULL), "test.conf:1: include takes a path");
    g_autofree char *itself = g_strdup_printf("include %s/test.conf\n", directory);
    assert_message(load(itself, NULL), "include goes deeper than");
    assert_message(load("", "port", "1", NULL), "'port': an option starts with --");
}

static void test_include(void **state)
{
    (void)state;
    write_file("inner.conf", "hz 33\nport 2\n");
    g_autofree char *text = g_strdup_printf("port 1\ninclude '%s/inner.conf'\ntimeout 9\n", directory);
    assert_null(load(text, NULL));
    assert_option("hz", "33");
    assert_option("port", "2");
    assert_option("timeout", "9");
    write_file("inner.conf", "hz 33\nbad\n");
    assert_message(load(text, NULL), "inner.conf:2: there is no option 'bad'");
}

static void test_command_line(void **state)
{
    (void)state;
    assert_null(load("port 1\nhz 12\n", "--port", "7", "--client-output-buffer-limit", "slave", "1", "2", "3",
                     "--list-max-ziplist-size", "-3", "--logfile", "", "--save", "", "--appendonly", "yes", NULL));
    assert_option("port", "7");
    assert_option("hz", "12");
    assert_option("list-max-ziplist-size", "-3");
    assert_option("client-output-buffer-limit", "normal 0 0 0 slave 1 2 3 pubsub 33554432 8388608 60");
    assert_int_equal(options_unused()->len, 2);
    assert_string_equal(options_unused()->pdata[0], "save");
    assert_null(load(NULL, "--instance-id", "a", "--password", "b", NULL));
    assert_option("requirepass", "a:b");
    assert_message(load(NULL, "--prot", "1", NULL), "--prot: there is no option 'prot'; the nearest is 'port'");
    assert_message(load(NULL, "--port", NULL), "--port: port takes");
    assert_message(load(NULL, "--", NULL), "--: there is no option ''");
    assert_message(load(NULL, "/does/not/exist", NULL), "can't read the config file");
}

static void test_rewrite(void **state)
{
    (void)state;
    assert_null(load("# mine\nport 1\n\nsave 900 1\nhz 5\nhz 6\nclient-output-buffer-limit slave 1 2 3\n"
                     "requirepass a:b\nappendfsync always\n# end\n",
                     NULL));
    g_autofree char *path = path_of("test.conf");
    assert_int_equal(g_chmod(path, 0640), 0);
    options.port = 2;
    assert_null(options_rewrite());
    g_autofree char *text = read_back("test.conf");
    assert_string_equal(text, "# mine\nport 2\n\nsave 900 1\nhz 6\n"
                              "client-output-buffer-limit normal 0 0 0 slave 1 2 3 pubsub 33554432 8388608 60\n"
                              "# end\n# Generated by CONFIG REWRITE\ninstance-id a\npassword b\nfsync always\n");
    struct stat after;
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0640);
    assert_null(options_rewrite());
    g_autofree char *again = read_back("test.conf");
    assert_string_equal(again, text);
}

/* A link stays one; another user's file, and one in a directory where nothing may be made, are overwritten. */
static void test_rewrite_in_place(void **state)
{
    (void)state;
    assert_null(load("port 1\n# a comment that makes it longer than what is written anew\n", NULL));
    g_autofree char *path = path_of("test.conf"), *link = path_of("link.conf");
    assert_int_equal(symlink("test.conf", link), 0);
    g_free(options.config_file);
    options.config_file = g_strdup(link);
    options.port = 2;
    bool root = geteuid() == 0;
    if (root) assert_int_equal(chown(path, 65534, 65534), 0);
    assert_null(options_rewrite());
    write_file("test.conf", "port 1\n");
    assert_int_equal(g_chmod(directory, 0500), 0);
    assert_null(options_rewrite());
    assert_int_equal(g_chmod(directory, 0700), 0);
    g_autofree char *text = read_back("test.conf");
    assert_string_equal(text, "port 2\n");
    GStatBuf about;
    assert_int_equal(g_lstat(link, &about), 0);
    assert_true(S_ISLNK(about.st_mode));
    assert_int_equal(unlink(link), 0);
    if (!root) return;
    assert_int_equal(chown(path, 65534, 65534), 0);
    g_free(options.config_file);
    options.config_file = g_strdup(path);
    options.port = 33333;
    assert_null(options_rewrite());
    assert_int_equal(g_lstat(path, &about), 0);
    assert_int_equal(about.st_uid, 65534);
    g_autofree char *longer = read_back("test.conf");
    assert_string_equal(longer, "port 33333\n");
}

/* ---- random values, written and read back ---- */

static char *random_text(GRand *rand)
{
    static const char bytes[] = "ab \"'\\#\t\n\r\x01\x7f\xc3\xa4-x";
    GString *text = g_string_new(NULL);
    for (int i = g_rand_int_range(rand, 0, 12); i > 0; i--)
        g_string_append_c(text, bytes[g_rand_int_range(rand, 0, sizeof(bytes) - 1)]);
    return g_string_free(text, FALSE);
}

static void set_random_value(GRand *rand, const Option *option)
{
    if (option->kind == OPTION_NUMBER || option->kind == OPTION_MEMORY) {
        uint64_t random = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
        unsigned __int128 span = (unsigned __int128)option->max - (unsigned __int128)option->min + 1;
        *(int64_t *)option->value = (int64_t)(option->min + (__int128)(random % span));
    } else if (option->kind == OPTION_BOOL) {
        *(bool *)option->value = g_rand_boolean(rand);
    } else if (option->kind == OPTION_CHOICE) {
        guint names = g_strv_length((char **)(uintptr_t)option->names);
        *(unsigned *)option->value = (unsigned)g_rand_int_range(rand, 0, (gint32)names);
    } else if (option->kind == OPTION_TEXT) {
        g_free(*(char **)option->value);
        *(char **)option->value = random_text(rand);
    }
}

static void test_random_round_trip(void **state)
{
    (void)state;
    printf("seed %d\n", SEED);
    GRand *rand = g_rand_new_with_seed(SEED);
    assert_null(load("# the old one\nport 1\n", NULL));
    for (int round = 0; round < ROUNDS; round++) {
        GPtrArray *before = g_ptr_array_new_with_free_func(g_free);
        for (int changes = g_rand_int_range(rand, 1, 10); changes > 0; changes--)
            set_random_value(rand, &option_table[g_rand_int_range(rand, 0, (gint32)option_count)]);
        /* These two go together. */
        if ((options.instance_id[0] == '\0') != (options.password[0] == '\0')) {
            options.instance_id[0] = options.password[0] = '\0';
        }
        for (size_t i = 0; i < option_count; i++)
            g_ptr_array_add(before, option_text(&option_table[i]));
        assert_null(options_rewrite());
        g_autofree char *text = read_back("test.conf");
        char *message = load(text, NULL);
        if (message != NULL) fail_msg("round %d: %s", round, message);
        for (size_t i = 0; i < option_count; i++) {
            g_autofree char *after = option_text(&option_table[i]);
            if (g_strcmp0(after, before->pdata[i]) != 0)
                fail_msg("round %d: %s was '%s' and is '%s'", round, option_table[i].name, (char *)before->pdata[i],
                         after);
        }
        g_ptr_array_unref(before);
    }
    g_rand_free(rand);
}

int main(void)
{
    directory = g_dir_make_tmp("ckv-test-XXXXXX", NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_in_place),
        cmocka_unit_test(test_random_round_trip),
        cmocka_unit_test(test_backup_schedule),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    g_autofree char *first = path_of("test.conf"), *second = path_of("inner.conf");
    g_unlink(first);
    g_unlink(second);
    g_rmdir(directory);
    g_free(directory);
    return failed;
}
