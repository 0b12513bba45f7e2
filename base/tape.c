/* tape.c: see tape.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/tape.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES  ((size_t)1 << 20)
#define NUMBER_BYTES 8
#define NO_STRING    UINT64_MAX

/* ---- writing ---- */

static bool grow(Tape *tape, size_t cap)
{
    if (ftruncate(tape->fd, (off_t)cap) != 0) return false;
    void *bytes = tape->bytes == NULL ? mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_SHARED, tape->fd, 0)
                                      : mremap(tape->bytes, tape->cap, cap, MREMAP_MAYMOVE);
    if (bytes == MAP_FAILED) return false;
    tape->bytes = bytes;
    tape->cap = cap;
    return true;
}

bool tape_open(Tape *tape)
{
    *tape = (Tape){ .fd = memfd_create("ckv-tape", MFD_CLOEXEC) };
    if (tape->fd >= 0 && grow(tape, FIRST_BYTES)) return true;
    int saved = errno;
    tape_close(tape);
    errno = saved;
    return false;
}

void tape_close(Tape *tape)
{
    if (tape->bytes != NULL) munmap(tape->bytes, tape->cap);
    if (tape->fd >= 0) close(tape->fd);
    *tape = (Tape){ .fd = -1 };
}

bool tape_is_whole(const Tape *tape)
{
    return tape->bytes != NULL && tape->len <= tape->cap && ftruncate(tape->fd, (off_t)tape->len) == 0;
}

void tape_put_bytes(Tape *tape, const void *bytes, size_t len)
{
    size_t needed = tape->len + len;
    if (tape->len <= tape->cap && needed > tape->cap && !grow(tape, MAX(needed, tape->cap * 2))) tape->len = SIZE_MAX;
    if (tape->len > tape->cap || len == 0) return;
    memcpy(tape->bytes + tape->len, bytes, len);
    tape->len = needed;
}

void tape_put(Tape *tape, uint64_t value)
{
    uint64_t little = GUINT64_TO_LE(value);
    tape_put_bytes(tape, &little, sizeof(little));
}

void tape_put_text(Tape *tape, Slice text)
{
    tape_put(tape, text.len);
    tape_put_bytes(tape, text.ptr, text.len);
}

void tape_put_string(Tape *tape, const char *string)
{
    if (string == NULL) {
        tape_put(tape, NO_STRING);
    } else {
        tape_put_text(tape, slice_of(string));
    }
}

/* ---- reading ---- */

bool tape_map(int fd, TapeReader *reader)
{
    struct stat about;
    *reader = (TapeReader){ .bytes = NULL };
    if (fstat(fd, &about) != 0) return false;
    if (about.st_size == 0) return true;
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED) return false;
    *reader = (TapeReader){ .bytes = bytes, .len = (size_t)about.st_size };
    return true;
}

void tape_unmap(TapeReader *reader)
{
    if (reader->bytes != NULL) munmap((void *)(uintptr_t)reader->bytes, reader->len);
    *reader = (TapeReader){ .bytes = NULL };
}

uint64_t tape_get(TapeReader *reader)
{
    uint64_t little;
    if (reader->bad || reader->len - reader->at < NUMBER_BYTES) {
        reader->bad = true;
        return 0;
    }
    memcpy(&little, reader->bytes + reader->at, sizeof(little));
    reader->at += NUMBER_BYTES;
    return GUINT64_FROM_LE(little);
}

uint64_t tape_get_below(TapeReader *reader, uint64_t limit)
{
    uint64_t value = tape_get(reader);
    if (value < limit) return value;
    reader->bad = true;
    return 0;
}

bool tape_get_bool(TapeReader *reader)
{
    return tape_get_below(reader, 2) != 0;
}

size_t tape_get_count(TapeReader *reader)
{
    uint64_t count = tape_get(reader);
    if (count <= (reader->len - reader->at) / NUMBER_BYTES) return (size_t)count;
    reader->bad = true;
    return 0;
}

static Slice take(TapeReader *reader, uint64_t len)
{
    if (reader->bad || len > reader->len - reader->at) {
        reader->bad = true;
        return SLICE("");
    }
    Slice text = { (const char *)reader->bytes + reader->at, (size_t)len };
    reader->at += (size_t)len;
    return text;
}

Slice tape_get_text(TapeReader *reader)
{
    return take(reader, tape_get(reader));
}

char *tape_get_string(TapeReader *reader)
{
    uint64_t len = tape_get(reader);
    if (len == NO_STRING) return NULL;
    Slice text = take(reader, len);
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) {
        reader->bad = true;
        return NULL;
    }
    return g_strndup(text.ptr, text.len);
}
