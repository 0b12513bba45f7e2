/* fuzz_rdb.c: arbitrary bytes as an RDB file (read as it is, in short pieces), and as the value of a RESTORE payload,
 * whose tail is made right: what is taken can be written, and read again as the same. The seeds are made
 * at the start.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <glib.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/crc64.h"
#include "store/grave.h"
#include "store/rdbformat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define DATABASES 2

typedef struct Piece {
    Slice left;
    size_t at_once;
    bool hesitated;
} Piece;

static ssize_t read_piece(void *context, void *to, size_t len)
{
    Piece *piece = context;
    piece->hesitated = !piece->hesitated;
    if (piece->hesitated) {
        errno = EAGAIN;
        return -1;
    }
    len = MIN(MIN(len, piece->at_once), piece->left.len);
    if (len == 0) return 0;
    memcpy(to, piece->left.ptr, len);
    piece->left = (Slice){ piece->left.ptr + len, piece->left.len - len };
    return (ssize_t)len;
}

/* The keyspace, or NULL: it was refused. */
static Keyspace *read_file(Slice file, size_t at_once, bool drop_expired)
{
    Piece piece = { .left = file, .at_once = at_once };
    RdbSource source = { .read = read_piece, .context = &piece, .drop_expired = drop_expired };
    Keyspace *keyspace = keyspace_new(DATABASES);
    RdbReader *reader = rdb_reader_new(keyspace, &source);
    RdbStep step;
    do {
        step = rdb_read_step(reader, 1000);
    } while (step == RDB_MORE || step == RDB_WAIT);
    g_assert((step == RDB_FAILED) == (rdb_reader_error(reader) != NULL));
    rdb_reader_free(reader);
    grave_drain();
    if (step == RDB_DONE) return keyspace;
    keyspace_free(keyspace);
    return NULL;
}

/* ---- what was taken ---- */

static bool append(void *context, Slice bytes)
{
    g_byte_array_append(context, (const guint8 *)bytes.ptr, (guint)bytes.len);
    return true;
}

static void write_one(void *element, void *context)
{
    rdb_entry_begin(context, element);
    while (rdb_entry_step(context, 16))
        ;
}

static GByteArray *write_file(const Keyspace *keyspace)
{
    GByteArray *file = g_byte_array_new();
    RdbWriter *writer = rdb_writer_new(append, file);
    rdb_write_head(writer, clock_unix_ms, 1);
    for (int i = 0; i < DATABASES; i++) {
        rdb_write_db(writer, i, (int64_t)keyspace_size(&keyspace->dbs[i]), 0);
        table_each(&keyspace->dbs[i].table, write_one, writer);
    }
    g_assert(rdb_write_end(writer));
    rdb_writer_free(writer);
    return file;
}

static void check_file(Slice bytes, size_t at_once)
{
    Keyspace *keyspace = read_file(bytes, at_once, at_once % 2 == 0);
    if (keyspace == NULL) return;
    GByteArray *file = write_file(keyspace);
    Keyspace *again = read_file((Slice){ (const char *)file->data, file->len }, SIZE_MAX, false);
    g_assert(again != NULL);
    for (int i = 0; i < DATABASES; i++)
        g_assert(keyspace_size(&again->dbs[i]) == keyspace_size(&keyspace->dbs[i]));
    GByteArray *second = write_file(again);
    g_assert(second->len == file->len);
    g_byte_array_free(second, TRUE);
    g_byte_array_free(file, TRUE);
    keyspace_free(again);
    keyspace_free(keyspace);
}

static void check_payload(Slice value)
{
    unsigned version;
    g_autofree char *error = NULL;
    g_autoptr(GByteArray) payload = g_byte_array_new();
    append(payload, value);
    append(payload, (Slice){ "\x0a\x00", 2 });
    uint64_t sum = crc64(0, (Slice){ (const char *)payload->data, payload->len });
    append(payload, (Slice){ (const char *)&sum, sizeof(sum) });
    /* Of exactly this size, so that reading past it is seen. */
    g_autofree char *exact = g_memdup2(payload->data, payload->len);
    Slice bytes = { exact, payload->len };
    g_assert(rdb_payload_valid(bytes, &version));
    Keyspace *keyspace = keyspace_new(1);
    const Entry *entry = rdb_restore(&keyspace->dbs[0], SLICE("key"), bytes, &error);
    g_assert((entry == NULL) == (error != NULL) && keyspace_size(&keyspace->dbs[0]) == (entry != NULL));
    if (entry != NULL) g_byte_array_free(rdb_dump(entry), TRUE);
    keyspace_free(keyspace);
    grave_drain();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    g_autofree char *copy = size == 1 ? NULL : g_memdup2(data + 1, size - 1);
    Slice bytes = { copy, size - 1 };
    if (data[0] & 1) {
        check_payload(bytes);
    } else {
        check_file(bytes, (size_t)data[0] / 2 + 1);
    }
    return 0;
}

/* ---- the seeds: a file for each type of value, into the corpus that is named last ---- */

static const struct {
    uint8_t type;
    const char *bytes;
    size_t len;
} values[] = {
    { RDB_STRING,
      "\x03"
      "abc",
      4 },
    { RDB_STRING, "\xc2\x01\x02\x03\x04", 5 },
    { RDB_STRING, "\xc3\x04\x14\x00\x61\xe0\x0a", 7 },
    { RDB_LIST, "\x02\x01x\xc0\x05", 5 },
    { RDB_SET, "\x02\x01x\xc0\x05", 5 },
    { RDB_ZSET,
      "\x02\x01x\x03"
      "1.5\x01y\xfe",
      10 },
    { RDB_HASH, "\x01\x01x\xc0\x05", 5 },
    { RDB_ZSET_2, "\x01\x01x\x00\x00\x00\x00\x00\x00\xf0\x3f", 11 },
    { RDB_HASH_ZIPMAP, "\x08\x01\x01x\x01\x00y\xff\x00", 9 },
    { RDB_LIST_ZIPLIST, "\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01x\x03\xf3\xff", 17 },
    { RDB_SET_INTSET, "\x0c\x02\0\0\0\x02\0\0\0\x01\0\x05\0", 13 },
    { RDB_ZSET_ZIPLIST, "\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01x\x03\xf3\xff", 17 },
    { RDB_HASH_ZIPLIST, "\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01x\x03\xf3\xff", 17 },
    { RDB_LIST_QUICKLIST, "\x01\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01x\x03\xf3\xff", 18 },
    { RDB_HASH_LISTPACK, "\x0c\x0c\0\0\0\x02\0\x81x\x02\x05\x01\xff", 13 },
    { RDB_ZSET_LISTPACK, "\x0c\x0c\0\0\0\x02\0\x81x\x02\x05\x01\xff", 13 },
    { RDB_LIST_QUICKLIST_2, "\x02\x01\x03xyz\x02\x0c\x0c\0\0\0\x02\0\x81x\x02\x05\x01\xff", 19 },
    { RDB_SET_LISTPACK, "\x0c\x0c\0\0\0\x02\0\x81x\x02\x05\x01\xff", 13 },
};

static void put_seed(const char *corpus, size_t number, const GString *bytes)
{
    g_autofree char *path = g_strdup_printf("%s/seed-%zu", corpus, number);
    g_file_set_contents(path, bytes->str, (gssize)bytes->len, NULL);
}

static void make_seeds(const char *corpus)
{
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autoptr(GString) payload = g_string_new("\x01");
        g_string_append_c(payload, (char)values[i].type);
        g_string_append_len(payload, values[i].bytes, (gssize)values[i].len);
        put_seed(corpus, 2 * i, payload);
        g_autoptr(GString) file = g_string_new("\xfeREDIS0010\xfe");
        g_string_append_len(file, "\x00\xfb\x01\x01\xfc\x00\x00\x01\x00\x00\x01\x00\x00", 13);
        g_string_append_c(file, (char)values[i].type);
        g_string_append(file, "\x03key");
        g_string_append_len(file, values[i].bytes, (gssize)values[i].len);
        g_string_append_len(file, "\xff\0\0\0\0\0\0\0\0", 9);
        put_seed(corpus, 2 * i + 1, file);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    options_reset();
    clock_refresh();
    table_set_secret("an unguessable secret", 21);
    const char *last = (*argv)[*argc - 1];
    if (*argc > 1 && g_file_test(last, G_FILE_TEST_IS_DIR)) make_seeds(last);
    return 0;
}
