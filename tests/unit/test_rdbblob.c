/* test_rdbblob.c: store/rdbblob: blobs that lie about themselves, in one way each (test_rdb.c reads the good ones); and
 * store/crc64.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/rdbblob.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "store/crc64.h"

static void test_crc64(void **state)
{
    (void)state;
    assert_true(crc64(0, SLICE("123456789")) == 0xe9c6d914c4b8d9caULL);
    assert_true(crc64(crc64(0, SLICE("1234")), SLICE("56789")) == 0xe9c6d914c4b8d9caULL);
    assert_true(crc64(0, SLICE("")) == 0);
}

/* Blobs that lie about themselves in one way each. */
static void test_bad_blobs(void **state)
{
    (void)state;
    static const struct {
        RdbBlobKind kind;
        const char *bytes;
        size_t len;
    } blobs[] = {
        { RDB_BLOB_ZIPLIST, "\x0b\0\0\0\x0a\0\0\0\x01\0\xff", 11 },         /* the count */
        { RDB_BLOB_ZIPLIST, "\x0b\0\0\0\x0b\0\0\0\0\0\xff", 11 },           /* the tail */
        { RDB_BLOB_ZIPLIST, "\x0c\0\0\0\x0a\0\0\0\0\0\xff", 11 },           /* the bytes */
        { RDB_BLOB_ZIPLIST, "\x0b\0\0\0\x0a\0\0\0\0\0\xfe", 11 },           /* the end */
        { RDB_BLOB_ZIPLIST, "\x0d\0\0\0\x0a\0\0\0\x01\0\x01\xf1\xff", 13 }, /* the size before */
        { RDB_BLOB_ZIPLIST, "\x0d\0\0\0\x0a\0\0\0\x01\0\x00\x01\xff", 13 }, /* a string's length */
        { RDB_BLOB_ZIPLIST, "\x0d\0\0\0\x0a\0\0\0\x01\0\x00\xc0\xff", 13 }, /* an integer cut off */
        { RDB_BLOB_ZIPLIST, "\x0d\0\0\0\x0a\0\0\0\x01\0\x00\xff\xff", 13 }, /* an unknown encoding */
        { RDB_BLOB_ZIPLIST, "\x0c\0\0\0\x0a\0\0\0\x01\0\x00\xff", 12 },     /* no encoding */
        { RDB_BLOB_LISTPACK, "\x07\0\0\0\x01\0\xff", 7 },                   /* the count */
        { RDB_BLOB_LISTPACK, "\x09\0\0\0\x01\0\x01\x02\xff", 9 },           /* the size behind */
        { RDB_BLOB_LISTPACK, "\x08\0\0\0\x01\0\x01\xff", 8 },               /* no size behind */
        { RDB_BLOB_LISTPACK, "\x09\0\0\0\x01\0\x85\x01\xff", 9 },           /* a string's length */
        { RDB_BLOB_LISTPACK, "\x09\0\0\0\x01\0\xf5\x01\xff", 9 },           /* an unknown encoding */
        { RDB_BLOB_INTSET, "\x02\0\0\0\x02\0\0\0\x01\0", 10 },              /* the count */
        { RDB_BLOB_INTSET, "\x03\0\0\0\x01\0\0\0\x01\0\0", 11 },            /* the width */
        { RDB_BLOB_ZIPMAP, "\x02\x01\x61\x01\x00\x31\xff", 7 },             /* the count */
        { RDB_BLOB_ZIPMAP, "\x01\x01\x61\x01\x09\x31\xff", 7 },             /* unused bytes */
        { RDB_BLOB_ZIPMAP, "\x01\x01\x61\xff\x00\x31\xff", 7 },             /* a length that is the end */
        { RDB_BLOB_ZIPMAP, "\xfe\xfe\x01\x00\xff", 5 },                     /* a length cut off */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(blobs); i++) {
        g_autofree char *copy = g_memdup2(blobs[i].bytes, blobs[i].len);
        RdbBlob blob;
        PackValue value;
        RdbBlobNext next = RDB_BLOB_BAD;
        if (rdb_blob_open(&blob, blobs[i].kind, (Slice){ copy, blobs[i].len })) {
            while ((next = rdb_blob_next(&blob, &value)) == RDB_BLOB_ELEMENT)
                ;
        }
        if (next != RDB_BLOB_BAD) fail_msg("blob %zu (%s) was taken", i, rdb_blob_name(blobs[i].kind));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc64),
        cmocka_unit_test(test_bad_blobs),
    };
    return cmocka_run_group_tests_name("rdbblob", tests, NULL, NULL);
}
