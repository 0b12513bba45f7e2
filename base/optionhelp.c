/* optionhelp.c: --help and the manual page, from the option table; see options.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "base/options.h"

static const char *const group_titles[OPTIONS_GROUPS] = {
    [OPTIONS_NETWORK] = "Network",         [OPTIONS_ACCESS] = "Access",           [OPTIONS_GENERAL] = "General",
    [OPTIONS_MEMORY] = "Memory",           [OPTIONS_PERSISTENCE] = "Persistence", [OPTIONS_ENCODING] = "Encodings",
    [OPTIONS_REPLICATION] = "Replication", [OPTIONS_WATCHING] = "Watching",       [OPTIONS_UNUSED] = "Without use",
};

static const char synopsis[] = "ckv [config-file] [--option value ...]";
static const char intro[] =
    "A Redis 3.2 compatible key-value server with the contract of CKV Master/Slave. Options may stand in a file in "
    "redis.conf's syntax, which is named first, or on the command line, or both: the last one counts. A running server "
    "shows and changes them by CONFIG GET, SET and REWRITE.";
static const char unused_intro[] =
    "Options of Redis 3.2 for which CKV has no use. They are taken, a line in the log says so, and change nothing; "
    "CONFIG GET shows what CKV does, or the default of Redis 3.2.";

static const struct {
    const char *word, *help;
} actions[] = {
    { "--help", "show this" },
    { "--man", "print the manual page, for man -l -" },
    { "--version", "print the version" },
};

/* Prints words, each line behind `indent` blanks and at most 100 characters long. */
static void print_wrapped(const char *text, int indent)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    int column = 0;
    for (int i = 0; words[i] != NULL; i++) {
        int len = (int)strlen(words[i]);
        if (column + 1 + len > 100) column = 0;
        column += column == 0 ? printf("%s%*s%s", i == 0 ? "" : "\n", indent, "", words[i]) : printf(" %s", words[i]);
    }
    printf("\n");
}

static void print_option(const Option *option)
{
    g_autofree char *usage = option_usage(option);
    printf("  --%s %s\n", option->name, option->start[0] == '\0' ? "\"\"" : option->start);
    g_autofree char *help = g_strdup_printf("%s (%s).%s", option->help, usage,
                                            option->flags & OPTION_LIVE ? " CONFIG SET may change it." : "");
    print_wrapped(help, 8);
}

/* The unused options' names. */
static char *unused_names(void)
{
    GString *names = g_string_new(NULL);
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].group != OPTIONS_UNUSED) continue;
        g_string_append_printf(names, "%s%s", names->len == 0 ? "" : ", ", option_table[i].name);
    }
    return g_string_free(names, FALSE);
}

void options_print_help(void)
{
    printf("%s\n\n", synopsis);
    print_wrapped(intro, 0);
    printf("\n");
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++)
        printf("  %-12s %s\n", actions[i].word, actions[i].help);
    printf("\nEach option is shown with its default.\n");
    for (int group = 0; group < OPTIONS_UNUSED; group++) {
        printf("\n%s\n", group_titles[group]);
        for (size_t i = 0; i < option_count; i++) {
            if ((int)option_table[i].group == group) print_option(&option_table[i]);
        }
    }
    g_autofree char *names = unused_names();
    printf("\n%s\n", group_titles[OPTIONS_UNUSED]);
    print_wrapped(unused_intro, 2);
    print_wrapped(names, 2);
}

/* Text for roff: what it would take for a command is escaped. */
static void print_roff(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void print_roff_option(const Option *option)
{
    g_autofree char *usage = option_usage(option);
    g_autofree char *text = g_strdup_printf("%s (%s).%s Default: %s.\n", option->help, usage,
                                            option->flags & OPTION_LIVE ? " CONFIG SET may change it." : "",
                                            option->start[0] == '\0' ? "\"\"" : option->start);
    printf(".TP\n.B \\-\\-");
    print_roff(option->name);
    printf("\n");
    print_roff(text);
}

void options_print_manual(void)
{
    printf(".TH CKV 1\n.SH NAME\nckv \\- Redis 3.2 compatible key\\-value server\n.SH SYNOPSIS\n.B ckv\n"
           "[config\\-file] [\\-\\-option value ...]\n.SH DESCRIPTION\n");
    print_roff(intro);
    printf("\n.SH OPTIONS\n");
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        printf(".TP\n.B ");
        print_roff(actions[i].word);
        printf("\n%c%s.\n", g_ascii_toupper(actions[i].help[0]), actions[i].help + 1);
    }
    for (int group = 0; group < OPTIONS_UNUSED; group++) {
        printf(".SS %s\n", group_titles[group]);
        for (size_t i = 0; i < option_count; i++) {
            if ((int)option_table[i].group == group) print_roff_option(&option_table[i]);
        }
    }
    g_autofree char *names = unused_names();
    printf(".SS %s\n", group_titles[OPTIONS_UNUSED]);
    print_roff(unused_intro);
    printf("\n.PP\n");
    print_roff(names);
    printf("\n");
}
