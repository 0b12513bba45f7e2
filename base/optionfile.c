/* optionfile.c: the command line and the config file, in redis.conf's syntax: reading them into the options, and
 * CONFIG REWRITE; see options.h.
 *
 * Design. A line is a directive and its words, in blanks; a word may be "quoted" (with \n \r \t \b \a \\ \" \xHH) or
 * 'quoted' (with \'). Lines that start with # are comments. `include FILE` reads another file in its place. On the
 * command line each --name starts a directive that goes on to the next --name, so `ckv a.conf --save "" --bind ::1` is
 * a.conf with two lines behind it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"

#define INCLUDES_MAX 16 /* files that include each other, nested: a file that includes itself ends here */

static GPtrArray *unused;

GPtrArray *options_unused(void)
{
    return unused;
}

/* ---- a line's words ---- */

/* The byte that the escape behind a backslash stands for; moves behind it. */
static char unescape(const char **at)
{
    const char *p = *at;
    if (p[0] == 'x' && g_ascii_isxdigit(p[1]) && g_ascii_isxdigit(p[2])) {
        *at += 3;
        return (char)(g_ascii_xdigit_value(p[1]) << 4 | g_ascii_xdigit_value(p[2]));
    }
    static const char letters[] = "nrtba", bytes[] = "\n\r\t\b\a";
    *at += 1;
    const char *letter = strchr(letters, *p);
    return letter != NULL ? bytes[letter - letters] : *p;
}

/* Reads a quoted part into `word`; false if it doesn't end, or goes on behind its end. */
static bool read_quoted(const char **at, GString *word)
{
    char quote = *(*at)++;
    while (**at != quote) {
        char c = *(*at)++;
        if (c == '\0') return false;
        if (c == '\\' && quote == '"' && **at != '\0') {
            c = unescape(at);
        } else if (c == '\\' && quote == '\'' && **at == '\'') {
            c = *(*at)++;
        }
        g_string_append_c(word, c);
    }
    (*at)++;
    return **at == '\0' || g_ascii_isspace(**at);
}

/* A line's words, NULL at their end; NULL when quotes aren't balanced. */
static GPtrArray *split_line(const char *line)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    for (const char *at = line; *(at += strspn(at, " \t\r\n\v\f")) != '\0';) {
        GString *word = g_string_new(NULL);
        bool balanced = true;
        while (balanced && *at != '\0' && !g_ascii_isspace(*at)) {
            if (*at == '"' || *at == '\'') {
                balanced = read_quoted(&at, word);
            } else {
                g_string_append_c(word, *at++);
            }
        }
        g_ptr_array_add(words, g_string_free(word, FALSE));
        if (balanced) continue;
        g_ptr_array_unref(words);
        return NULL;
    }
    g_ptr_array_add(words, NULL);
    return words;
}

/* ---- directives ---- */

static char *read_file(const char *path, int depth);

/* One directive: NULL or what is wrong with it. `count` counts the name too. */
static char *apply(char **words, int count, int depth)
{
    if (g_ascii_strcasecmp(words[0], "include") == 0) {
        if (count != 2) return g_strdup("include takes a path");
        if (depth == INCLUDES_MAX) return g_strdup_printf("include goes deeper than %d files", INCLUDES_MAX);
        return read_file(words[1], depth + 1);
    }
    const Option *option = option_find(slice_of(words[0]));
    if (option == NULL) {
        return g_strdup_printf("there is no option '%s'; the nearest is '%s' (ckv --help lists all)", words[0],
                               option_nearest(words[0]));
    }
    if (option->kind == OPTION_FIXED) g_ptr_array_add(unused, (gpointer)(uintptr_t)option->name);
    return option_set(option, words + 1, count - 1);
}

/* One line of a file. */
static char *apply_line(char *line, int depth)
{
    g_strstrip(line);
    if (line[0] == '\0' || line[0] == '#') return NULL;
    g_autoptr(GPtrArray) words = split_line(line);
    if (words == NULL) return g_strdup("quotes are not balanced");
    return apply((char **)words->pdata, (int)words->len - 1, depth);
}

static char *apply_lines(const char *text, const char *path, int depth)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i] != NULL; i++) {
        g_autofree char *wrong = apply_line(lines[i], depth);
        if (wrong != NULL) return g_strdup_printf("%s:%d: %s", path, i + 1, wrong);
    }
    return NULL;
}

static char *read_file(const char *path, int depth)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    const char *real_path = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
    if (!g_file_get_contents(real_path, &text, NULL, &error)) {
        return g_strdup_printf("can't read the config file: %s", error->message);
    }
    return apply_lines(text, path, depth);
}

/* What no single directive can say. */
static char *check_together(void)
{
    if ((options.instance_id[0] == '\0') == (options.password[0] == '\0')) return NULL;
    return g_strdup_printf("instance-id and password go together, but only %s is given",
                           options.password[0] == '\0' ? "instance-id" : "password");
}

/* The directive at argv[*index], which starts with "--", and its words. */
static char *apply_argument(char **argv, int argc, int *index)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, argv[(*index)++] + 2);
    while (*index < argc && !g_str_has_prefix(argv[*index], "--"))
        g_ptr_array_add(words, argv[(*index)++]);
    g_ptr_array_add(words, NULL);
    g_autofree char *wrong = apply((char **)words->pdata, (int)words->len - 1, 0);
    return wrong == NULL ? NULL : g_strdup_printf("--%s: %s", (char *)words->pdata[0], wrong);
}

char *options_load(int argc, char **argv)
{
    int i = 1;
    if (unused == NULL) unused = g_ptr_array_new();
    g_ptr_array_set_size(unused, 0);
    if (argc > 1 && !g_str_has_prefix(argv[1], "--")) {
        char *wrong = read_file(argv[1], 0);
        if (wrong != NULL) return wrong;
        g_free(options.config_file);
        options.config_file = strcmp(argv[1], "-") == 0 ? g_strdup("") : g_canonicalize_filename(argv[1], NULL);
        i++;
    }
    while (i < argc) {
        if (!g_str_has_prefix(argv[i], "--")) {
            return g_strdup_printf("'%s': an option starts with -- (ckv --help lists all)", argv[i]);
        }
        char *wrong = apply_argument(argv, argc, &i);
        if (wrong != NULL) return wrong;
    }
    return check_together();
}

/* ---- CONFIG REWRITE ---- */

/* A word as the file has it: quoted if it must be. */
static void append_word(GString *text, const char *word)
{
    if (word[0] != '\0' && strpbrk(word, " \t\r\n\v\f\b\a\"'\\#") == NULL) {
        g_string_append(text, word);
        return;
    }
    g_string_append_c(text, '"');
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\') {
            g_string_append_printf(text, "\\%c", *word);
        } else if (g_ascii_iscntrl(*word)) {
            g_string_append_printf(text, "\\x%02x", (unsigned char)*word);
        } else {
            g_string_append_c(text, *word);
        }
    }
    g_string_append_c(text, '"');
}

static void append_directive(GString *text, const Option *option)
{
    g_autofree char *value = option_text(option);
    g_string_append_printf(text, "%s ", option->name);
    if (option->flags & OPTION_WORDS) {
        g_string_append(text, value);
    } else {
        append_word(text, value);
    }
    g_string_append_c(text, '\n');
}

static bool differs_from_default(const Option *option)
{
    g_autofree char *value = option_text(option);
    return strcmp(value, option->start) != 0;
}

/* The option that a line of the file sets, if REWRITE has a say in it. */
static const Option *line_option(const char *line)
{
    g_autofree char *stripped = g_strstrip(g_strdup(line));
    g_autoptr(GPtrArray) words = stripped[0] == '#' ? NULL : split_line(stripped);
    if (words == NULL || words->len < 2) return NULL;
    const Option *option = option_find(slice_of(words->pdata[0]));
    return option != NULL && option->kind != OPTION_FIXED ? option : NULL;
}

/* The old file's text with each option's first line changed to its value and its further lines dropped. */
static void rewrite_lines(GString *text, const char *old, bool *written)
{
    g_auto(GStrv) lines = g_strsplit(old, "\n", -1);
    for (int i = 0; lines[i] != NULL; i++) {
        const Option *option = line_option(lines[i]);
        if (option == NULL) {
            if (lines[i + 1] != NULL || lines[i][0] != '\0') g_string_append_printf(text, "%s\n", lines[i]);
        } else if (!(option->flags & OPTION_ALIAS) && !written[option - option_table]) {
            append_directive(text, option);
            written[option - option_table] = true;
        }
    }
}

static void add_missing(GString *text, const bool *written)
{
    static const char heading[] = "# Generated by CONFIG REWRITE\n";
    bool headed = strstr(text->str, heading) != NULL;
    for (size_t i = 0; i < option_count; i++) {
        const Option *option = &option_table[i];
        if (option->kind == OPTION_FIXED || (option->flags & OPTION_ALIAS) || written[i]) continue;
        if (!differs_from_default(option)) continue;
        if (!headed) g_string_append(text, heading);
        headed = true;
        append_directive(text, option);
    }
}

/* In the file that is there, as 3.2 does it; room for all is made before anything is overwritten. */
static bool overwrite_file(const char *path, const GString *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    int failed = posix_fallocate(fd, 0, MAX((off_t)text->len, 1));
    bool good = failed == 0 && pwrite(fd, text->str, text->len, 0) == (ssize_t)text->len &&
                ftruncate(fd, (off_t)text->len) == 0 && fsync(fd) == 0;
    if (failed != 0) errno = failed;
    int saved = errno;
    close(fd);
    errno = saved;
    return good;
}

/* NULL, or what went wrong. By a new file in its place; but the owner of another user's would change, and there may be
 * no right to make files in its directory. */
static char *replace_file(const char *name, const GString *text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *target = realpath(name, NULL); /* a link stays one */
    const char *path = target != NULL ? target : name;
    struct stat before;
    bool there = stat(path, &before) == 0, ours = !there || before.st_uid == geteuid();
    /* It may hold passwords, so nobody may read the new file who couldn't read the old one. */
    int mode = there ? (int)(before.st_mode & 0777) : 0600;
    const GFileSetContentsFlags how = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;
    if (ours && g_file_set_contents_full(path, text->str, (gssize)text->len, how, mode, &error)) return NULL;
    bool may_not = ours && (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES) ||
                            g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_PERM) ||
                            g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ROFS));
    if (ours && !(there && may_not)) return g_strdup(error->message);
    return overwrite_file(path, text) ? NULL : g_strdup_printf("%s: %s", path, g_strerror(errno));
}

char *options_rewrite(void)
{
    g_autofree char *old = NULL;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(options.config_file, &old, NULL, &error) &&
        !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return g_strdup(error->message);
    g_clear_error(&error);
    g_autofree bool *written = g_new0(bool, option_count);
    g_autoptr(GString) text = g_string_new(NULL);
    rewrite_lines(text, old != NULL ? old : "", written);
    add_missing(text, written);
    return replace_file(options.config_file, text);
}
