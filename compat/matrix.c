/* matrix.c: prints the published matrix from the command table, as Markdown for README, or with --tsv for the tools: a
 * line per command, under a header, of name, family, plane, arity, flags and summary. A program of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "cmds/command.h"

static const char *const family_titles[] = {
    [FAMILY_CONNECTION] = "Connection",   [FAMILY_GEO] = "Geo",         [FAMILY_HASHES] = "Hashes",
    [FAMILY_HYPERLOGLOG] = "HyperLogLog", [FAMILY_KEYS] = "Keys",       [FAMILY_LISTS] = "Lists",
    [FAMILY_PUBSUB] = "Pub/Sub",          [FAMILY_SERVER] = "Server",   [FAMILY_SETS] = "Sets",
    [FAMILY_ZSETS] = "Sorted sets",       [FAMILY_STRINGS] = "Strings", [FAMILY_TRANSACTIONS] = "Transactions",
    [FAMILY_ADMIN] = "Admin plane",
};

static int by_name(gconstpointer a, gconstpointer b)
{
    const Command *const *left = a, *const *right = b;
    return g_strcmp0((*left)->name, (*right)->name);
}

/* The commands of one plane and family, or of all families for -1, in alphabetical order. */
static GPtrArray *commands_of(CommandPlane plane, int family)
{
    GPtrArray *found = g_ptr_array_new();
    for (size_t i = 0; i < command_count; i++) {
        const Command *command = &command_table[i];
        if (command->plane == plane && (family < 0 || (int)command->family == family)) {
            g_ptr_array_add(found, (gpointer)command);
        }
    }
    g_ptr_array_sort(found, by_name);
    return found;
}

static void print_command(const Command *command)
{
    char *name = g_ascii_strup(command->name, -1);
    /* A bar inside a table's cell must be escaped, in code as well. */
    char **parts = g_strsplit(command->arguments, "|", -1);
    char *arguments = g_strjoinv("\\|", parts);
    printf("| `%s%s%s` | %s |\n", name, *arguments ? " " : "", arguments, command->summary);
    g_free(arguments);
    g_strfreev(parts);
    g_free(name);
}

static void print_table(CommandPlane plane, int family)
{
    GPtrArray *commands = commands_of(plane, family);
    if (commands->len > 0) {
        printf("\n**%s** (%u)\n\n| command | what it does |\n| --- | --- |\n", family_titles[family], commands->len);
        for (guint i = 0; i < commands->len; i++)
            print_command(g_ptr_array_index(commands, i));
    }
    g_ptr_array_free(commands, TRUE);
}

static void print_refused(void)
{
    GPtrArray *commands = commands_of(PLANE_REFUSED, -1);
    printf("\n**Refused by name, on both planes** (%u):", commands->len);
    for (guint i = 0; i < commands->len; i++) {
        char *name = g_ascii_strup(((const Command *)g_ptr_array_index(commands, i))->name, -1);
        printf("%s%s", i ? ", " : " ", name);
        g_free(name);
    }
    printf(".\n");
    g_ptr_array_free(commands, TRUE);
}

static void print_tsv(void)
{
    static const char *const planes[] = { "service", "admin", "refused" };
    printf("name\tfamily\tplane\tarity\tflags\tsummary\n");
    for (size_t i = 0; i < command_count; i++) {
        const Command *command = &command_table[i];
        printf("%s\t%s\t%s\t%d\t", command->name, family_titles[command->family], planes[command->plane],
               command->arity);
        const char *space = "";
        for (size_t bit = 0; bit < COMMAND_FLAGS_SHOWN; bit++) {
            const char *flag = command_flag_name(command, bit);
            if (flag == NULL) continue;
            printf("%s%s", space, flag);
            space = " ";
        }
        printf("\t%s\n", command->summary);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--tsv") == 0) {
        print_tsv();
        return 0;
    }
    if (argc > 1) {
        fprintf(stderr, "usage: matrix [--tsv]\n");
        return 2;
    }
    for (int family = 0; family < (int)G_N_ELEMENTS(family_titles); family++)
        print_table(PLANE_SERVICE, family);
    print_table(PLANE_ADMIN, FAMILY_ADMIN);
    print_refused();
    return 0;
}
