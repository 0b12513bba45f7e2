/* pack.c: see pack.h.
 *
 * An element's header byte:
 *   0xxxxxxx           a string of x (0 to 127) bytes
 *   1000nnnn           an integer in n (1 to 8) bytes, little-endian, two's complement
 *   1001nnnn           a string whose length is in the next n (1 to 4) bytes, little-endian
 * Behind the content stands the back-length, if the pack isn't a one-way one: how many bytes header and content take,
 * seven bits a byte, the lowest in the last byte; read backwards, the top bit says that another byte precedes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pack.h"

#include <glib.h>

#include "store/table.h"

#define SHORT_STRING_MAX 127
#define KIND_MASK        0xF0
#define KIND_INT         0x80
#define KIND_LONG        0x90
#define COUNT_UNKNOWN    0x7FFFU
#define BYTES_MAX        0x3FFFFFFFU

/* A pack that has this many bytes gets room to grow by an eighth, so that filling it takes few copies. */
#define SLACK_FROM 512

G_STATIC_ASSERT(sizeof(Pack) == 6);

static const uint8_t *at(const Pack *pack, PackPos pos)
{
    return (const uint8_t *)pack + pos;
}

/* ---- one element ---- */

/* An element taken apart. */
typedef struct Element {
    Slice text; /* ptr NULL: an integer */
    int64_t number;
    uint32_t bytes; /* header and content */
} Element;

static uint64_t read_little(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static void write_little(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static Element element_read(const uint8_t *from)
{
    if (from[0] <= SHORT_STRING_MAX) return (Element){ { (const char *)from + 1, from[0] }, 0, 1U + from[0] };
    unsigned n = from[0] & ~KIND_MASK & 0xFF;
    uint64_t value = read_little(from + 1, n);
    if ((from[0] & KIND_MASK) == KIND_INT) {
        unsigned unused = (64 - 8 * n) & 63;
        return (Element){ { NULL, 0 }, (int64_t)(value << unused) >> unused, 1 + n };
    }
    return (Element){ { (const char *)from + 1 + n, value }, 0, (uint32_t)(1 + n + value) };
}

/* The bytes that header and content of the element at `from` take: element_read's, quicker. */
static inline uint32_t element_bytes(const uint8_t *from)
{
    if (from[0] <= SHORT_STRING_MAX) return 1U + from[0];
    unsigned n = from[0] & ~KIND_MASK & 0xFF;
    if ((from[0] & KIND_MASK) == KIND_INT) return 1 + n;
    return (uint32_t)(1 + n + read_little(from + 1, n));
}

static inline unsigned back_bytes(uint32_t length)
{
    unsigned bytes = 1;
    while (G_UNLIKELY(length > 127)) {
        length >>= 7;
        bytes++;
    }
    return bytes;
}

static inline void back_write(uint8_t *to, uint32_t length)
{
    if (G_LIKELY(length <= 127)) {
        to[0] = (uint8_t)length;
        return;
    }
    unsigned bytes = back_bytes(length);
    for (unsigned i = bytes; i-- > 0; length >>= 7)
        to[i] = (uint8_t)((length & 127) | (i > 0 ? 128 : 0));
}

/* The back-length whose last byte stands before `end`, and its own size. */
static uint32_t back_read(const uint8_t *end, unsigned *bytes)
{
    uint32_t length = 0;
    for (unsigned i = 0;; i++) {
        uint8_t byte = *(end - 1 - i);
        length |= (uint32_t)(byte & 127) << (7 * i);
        if (byte & 128) continue;
        *bytes = i + 1;
        return length;
    }
}

/* How a text will be held. */
typedef struct Form {
    Slice text;
    int64_t number;
    bool is_int;
    unsigned n;     /* bytes of the integer, or of a long string's length; 0: a short string */
    uint32_t bytes; /* header and content */
} Form;

static unsigned int_bytes(int64_t value)
{
    unsigned n = 1;
    while (n < 8 && (value < -(1LL << (8 * n - 1)) || value >= (1LL << (8 * n - 1))))
        n++;
    return n;
}

static unsigned length_bytes(size_t len)
{
    unsigned n = 1;
    while (n < 4 && (len >> (8 * n)) != 0)
        n++;
    return n;
}

static Form form_of(Slice text)
{
    Form form = { .text = text };
    form.is_int = number_parse_int(text, &form.number);
    if (form.is_int) {
        form.n = int_bytes(form.number);
        form.bytes = 1 + form.n;
    } else {
        form.n = text.len <= SHORT_STRING_MAX ? 0 : length_bytes(text.len);
        form.bytes = (uint32_t)(1 + form.n + text.len);
    }
    return form;
}

/* The bytes that an element of so many takes, its back-length included if it has one. */
static inline size_t whole_bytes(uint32_t bytes, bool one_way)
{
    return bytes + (one_way ? 0 : back_bytes(bytes));
}

static void form_write(uint8_t *to, const Form *form, bool one_way)
{
    if (form->is_int) {
        to[0] = (uint8_t)(KIND_INT | form->n);
        write_little(to + 1, (uint64_t)form->number, form->n);
    } else {
        to[0] = (uint8_t)(form->n == 0 ? form->text.len : KIND_LONG | form->n);
        write_little(to + 1, form->text.len, form->n);
        if (form->text.len > 0) memcpy(to + 1 + form->n, form->text.ptr, form->text.len);
    }
    if (!one_way) back_write(to + form->bytes, form->bytes);
}

/* ---- the block ---- */

/* What is allocated for a pack of so many bytes: a function of its size alone, so it needn't be kept. */
static size_t room_for(size_t bytes)
{
    if (bytes < SLACK_FROM) return bytes;
    size_t step = (size_t)1 << (60 - __builtin_clzll(bytes));
    return (bytes + step - 1) / step * step;
}

static Pack *resize(Pack *pack, size_t bytes)
{
    g_assert(bytes <= BYTES_MAX);
    if (room_for(bytes) != room_for(pack->bytes)) pack = g_realloc(pack, room_for(bytes));
    pack->bytes = bytes & BYTES_MAX;
    return pack;
}

static void count_set(Pack *pack, uint64_t count)
{
    pack->count = (uint16_t)MIN(count, COUNT_UNKNOWN) & COUNT_UNKNOWN;
}

static void count_add(Pack *pack, int64_t change)
{
    if (pack->count != COUNT_UNKNOWN) count_set(pack, (uint64_t)(pack->count + change));
}

/* A block for so many bytes, without elements so far. */
static Pack *block_new(unsigned kind, size_t bytes)
{
    g_assert(bytes <= BYTES_MAX);
    Pack *pack = g_malloc(room_for(bytes));
    *pack = (Pack){ .bytes = bytes & BYTES_MAX, .kind = kind & PACK_KIND_MASK };
    return pack;
}

Pack *pack_new(unsigned kind)
{
    return block_new(kind, sizeof(Pack));
}

Pack *pack_new_one_way(unsigned kind)
{
    Pack *pack = pack_new(kind);
    pack->one_way = 1;
    return pack;
}

void pack_free(Pack *pack)
{
    g_free(pack);
}

size_t pack_bytes(const Pack *pack)
{
    return room_for(pack->bytes);
}

uint32_t pack_count(const Pack *pack)
{
    if (pack->count != COUNT_UNKNOWN) return pack->count;
    uint32_t count = 0;
    for (PackPos pos = pack_first(pack); pos != 0; pos = pack_next(pack, pos))
        count++;
    return count;
}

/* ---- walking ---- */

/* The position behind the element at pos: pack->bytes at the end. */
static inline PackPos behind(const Pack *pack, PackPos pos)
{
    return pos + (uint32_t)whole_bytes(element_bytes(at(pack, pos)), pack->one_way);
}

PackPos pack_first(const Pack *pack)
{
    return pack->bytes > sizeof(Pack) ? sizeof(Pack) : 0;
}

PackPos pack_next(const Pack *pack, PackPos pos)
{
    PackPos next = behind(pack, pos);
    return next < pack->bytes ? next : 0;
}

/* The element behind this one and `skip` others, or 0. */
static inline PackPos next_skipping(const Pack *pack, PackPos pos, unsigned skip)
{
    PackPos end = pack->bytes;
    bool one_way = pack->one_way;
    for (unsigned i = 0; i <= skip && pos < end; i++)
        pos += (PackPos)whole_bytes(element_bytes(at(pack, pos)), one_way);
    return pos < end ? pos : 0;
}

/* The element that ends before `end`. */
static PackPos before(const Pack *pack, PackPos end)
{
    if (end <= sizeof(Pack)) return 0;
    unsigned own;
    uint32_t bytes = back_read(at(pack, end), &own);
    return end - own - bytes;
}

PackPos pack_prev(const Pack *pack, PackPos pos)
{
    return before(pack, pos);
}

PackPos pack_last(const Pack *pack)
{
    g_assert(!pack->one_way);
    return before(pack, pack->bytes);
}

PackPos pack_at(const Pack *pack, int64_t index)
{
    if (pack->one_way) {
        if (index < 0) index += pack_count(pack);
        if (index < 0) return 0;
    } else if (pack->count != COUNT_UNKNOWN) {
        /* From whichever end is nearer. */
        if (index >= pack->count || index < -(int64_t)pack->count) return 0;
        if (index >= 0 && index > pack->count / 2) index -= pack->count;
        if (index < 0 && -index > pack->count / 2 + 1) index += pack->count;
    }
    PackPos pos;
    if (index >= 0) {
        for (pos = pack_first(pack); pos != 0 && index > 0; index--)
            pos = pack_next(pack, pos);
    } else {
        for (pos = pack_last(pack); pos != 0 && index < -1; index++)
            pos = pack_prev(pack, pos);
    }
    return pos;
}

/* ---- reading ---- */

PackValue pack_get(const Pack *pack, PackPos pos)
{
    Element element = element_read(at(pack, pos));
    return (PackValue){ element.text, element.number };
}

Slice pack_text(const Pack *pack, PackPos pos, char *digits)
{
    Element element = element_read(at(pack, pos));
    if (element.text.ptr != NULL) return element.text;
    return (Slice){ digits, number_format_int(digits, element.number) };
}

/* Whether an element has this form. One form has one encoding: integers are always held as such, in as few bytes as go.
 */
static inline bool has_form(const uint8_t *element, const Form *form)
{
    if (form->n == 0) {
        return element[0] == form->text.len &&
               (form->text.len == 0 || memcmp(element + 1, form->text.ptr, form->text.len) == 0);
    }
    if (form->is_int) {
        return element[0] == (KIND_INT | form->n) &&
               read_little(element + 1, form->n) == ((uint64_t)form->number & (UINT64_MAX >> (64 - 8 * form->n)));
    }
    return element[0] == (KIND_LONG | form->n) && read_little(element + 1, form->n) == form->text.len &&
           memcmp(element + 1 + form->n, form->text.ptr, form->text.len) == 0;
}

bool pack_equals(const Pack *pack, PackPos pos, Slice text)
{
    Form form = form_of(text);
    return has_form(at(pack, pos), &form);
}

PackPos pack_find(const Pack *pack, PackPos from, Slice text, unsigned skip)
{
    Form form = form_of(text);
    for (PackPos pos = from; pos != 0; pos = next_skipping(pack, pos, skip)) {
        if (has_form(at(pack, pos), &form)) return pos;
    }
    return 0;
}

unsigned pack_places(const Pack *pack, unsigned skip, PackPos *places, unsigned max)
{
    unsigned count = 0;
    for (PackPos pos = pack_first(pack); pos != 0 && count < max; pos = next_skipping(pack, pos, skip))
        places[count++] = pos;
    return count;
}

/* ---- changing ---- */

/* Makes the bytes from pos to pos + old become `wanted` bytes, whose content the caller writes. */
static Pack *splice(Pack *pack, PackPos pos, size_t old, size_t wanted)
{
    size_t behind_bytes = pack->bytes - pos - old, bytes = pack->bytes - old + wanted;
    if (wanted <= old) {
        memmove((char *)pack + pos + wanted, (char *)pack + pos + old, behind_bytes);
        return resize(pack, bytes);
    }
    pack = resize(pack, bytes);
    memmove((char *)pack + pos + wanted, (char *)pack + pos + old, behind_bytes);
    return pack;
}

Pack *pack_insert(Pack *pack, PackPos pos, Slice text)
{
    if (pos == 0) pos = pack->bytes;
    Form form = form_of(text);
    pack = splice(pack, pos, 0, whole_bytes(form.bytes, pack->one_way));
    form_write((uint8_t *)pack + pos, &form, pack->one_way);
    count_add(pack, 1);
    return pack;
}

Pack *pack_append(Pack *pack, Slice text)
{
    return pack_insert(pack, 0, text);
}

Pack *pack_prepend(Pack *pack, Slice text)
{
    return pack_insert(pack, sizeof(Pack), text);
}

Pack *pack_replace(Pack *pack, PackPos pos, Slice text)
{
    Form form = form_of(text);
    pack = splice(pack, pos, behind(pack, pos) - pos, whole_bytes(form.bytes, pack->one_way));
    form_write((uint8_t *)pack + pos, &form, pack->one_way);
    return pack;
}

Pack *pack_remove(Pack *pack, PackPos pos, uint32_t count)
{
    PackPos end = pos;
    uint32_t removed = 0;
    for (; removed < count && end < pack->bytes; removed++)
        end = behind(pack, end);
    count_add(pack, -(int64_t)removed);
    pack = splice(pack, pos, end - pos, 0);
    if (pack->count == COUNT_UNKNOWN && pack->bytes < COUNT_UNKNOWN) {
        /* Few enough by now, since an element takes a byte at least. */
        count_set(pack, pack_count(pack));
    }
    return pack;
}

Pack *pack_join(Pack *a, Pack *b)
{
    g_assert(a->one_way == b->one_way);
    size_t old = a->bytes, more = b->bytes - sizeof(Pack);
    uint64_t count =
        a->count == COUNT_UNKNOWN || b->count == COUNT_UNKNOWN ? COUNT_UNKNOWN : (uint64_t)a->count + b->count;
    a = resize(a, old + more);
    memcpy((char *)a + old, b->data, more);
    count_set(a, count);
    g_free(b);
    return a;
}

Pack *pack_split(Pack *pack, PackPos pos, Pack **tail)
{
    size_t moved = pack->bytes - pos;
    Pack *rest = block_new(pack->kind, sizeof(Pack) + moved);
    rest->one_way = pack->one_way;
    memcpy(rest->data, at(pack, pos), moved);
    rest->count = COUNT_UNKNOWN;
    count_set(rest, pack_count(rest));
    pack = resize(pack, pos);
    pack->count = COUNT_UNKNOWN;
    count_set(pack, pack_count(pack));
    *tail = rest;
    return pack;
}

size_t pack_element_bytes(Slice text)
{
    Form form = form_of(text);
    return whole_bytes(form.bytes, false);
}

/* ---- one way or both ---- */

/* Quicker than memcpy of an unknown length for what most elements are. */
static inline void element_copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    if (bytes >= 16 && bytes <= 32) {
        memcpy(to, from, 16);
        memcpy(to + bytes - 16, from + bytes - 16, 16);
    } else if (bytes >= 8 && bytes < 16) {
        memcpy(to, from, 8);
        memcpy(to + bytes - 8, from + bytes - 8, 8);
    } else {
        memcpy(to, from, bytes);
    }
}

/* Writes elements without their back-lengths, which they have between `from` and `end`. */
static void one_way_write(uint8_t *to, const uint8_t *from, const uint8_t *end)
{
    while (from < end) {
        uint32_t bytes = element_bytes(from);
        element_copy(to, from, bytes);
        to += bytes;
        from += whole_bytes(bytes, false);
    }
}

/* The most bytes that all elements take with their back-lengths, of which each has one and one more for each 127 bytes
 * at most. */
static size_t two_way_bytes_max(const Pack *pack)
{
    size_t bytes = pack->bytes - sizeof(Pack);
    return pack->one_way ? bytes + pack_count(pack) + bytes / 127 : bytes;
}

/* Writes them, and returns their end. */
static char *two_way_write(const Pack *pack, char *start)
{
    if (!pack->one_way) {
        memcpy(start, pack->data, pack->bytes - sizeof(Pack));
        return start + pack->bytes - sizeof(Pack);
    }
    uint8_t *to = (uint8_t *)start;
    const uint8_t *end = at(pack, pack->bytes);
    for (const uint8_t *from = (const uint8_t *)pack->data; from < end;) {
        uint32_t bytes = element_bytes(from);
        element_copy(to, from, bytes);
        back_write(to + bytes, bytes);
        to += whole_bytes(bytes, false);
        from += bytes;
    }
    return (char *)to;
}

Pack *pack_two_way(Pack *pack)
{
    if (!pack->one_way) return pack;
    Pack *both = block_new(pack->kind, sizeof(Pack) + two_way_bytes_max(pack));
    both->count = pack->count;
    both = resize(both, (size_t)(two_way_write(pack, both->data) - (char *)both));
    g_free(pack);
    return both;
}

/* ---- checking ---- */

/* Whether a whole, minimal element stands at the beginning of `left` bytes; its size with the back-length, if there
 * must be one, goes to *whole. */
static bool element_valid(const uint8_t *from, size_t left, bool one_way, size_t *whole)
{
    unsigned n = from[0] <= SHORT_STRING_MAX ? 0 : from[0] & ~KIND_MASK & 0xFF;
    bool is_int = from[0] > SHORT_STRING_MAX && (from[0] & KIND_MASK) == KIND_INT;
    bool is_long = from[0] > SHORT_STRING_MAX && (from[0] & KIND_MASK) == KIND_LONG;
    if (from[0] > SHORT_STRING_MAX && !is_int && !is_long) return false;
    if ((is_int && (n < 1 || n > 8)) || (is_long && (n < 1 || n > 4)) || 1 + n > left) return false;
    if (is_long && read_little(from + 1, n) > left - 1 - n) return false;
    Element element = element_read(from);
    *whole = whole_bytes(element.bytes, one_way);
    if (*whole > left) return false;
    if (is_int && int_bytes(element.number) != n) return false;
    if (is_long && (element.text.len <= SHORT_STRING_MAX || length_bytes(element.text.len) != n)) return false;
    int64_t number;
    if (!is_int && number_parse_int(element.text, &number)) return false;
    if (one_way) return true;
    uint8_t expected[5];
    back_write(expected, element.bytes);
    return memcmp(from + element.bytes, expected, back_bytes(element.bytes)) == 0;
}

typedef struct Sums {
    uint64_t count; /* of elements */
    size_t content; /* bytes without back-lengths */
} Sums;

/* The same for all elements, with what they come to. */
static bool elements_valid(const uint8_t *from, size_t bytes, bool one_way, Sums *sums)
{
    *sums = (Sums){ 0 };
    for (size_t done = 0, whole; done < bytes; done += whole, sums->count++) {
        if (!element_valid(from + done, bytes - done, one_way, &whole)) return false;
        sums->content += element_bytes(from + done);
    }
    return true;
}

/* A count that was too big once may stay unknown when there are fewer. */
static bool count_agrees(uint64_t said, uint64_t unknown, uint64_t count)
{
    return said == unknown || said == count;
}

bool pack_valid(const Pack *pack, size_t size)
{
    Sums sums;
    if (size < sizeof(Pack) || pack->bytes != size) return false;
    if (!elements_valid(at(pack, sizeof(Pack)), size - sizeof(Pack), pack->one_way, &sums)) return false;
    return count_agrees(pack->count, COUNT_UNKNOWN, sums.count);
}

/* The bytes of an element as it's held: one text has one form, so equal bytes are equal texts. */
static Slice element_raw(const Pack *pack, PackPos pos)
{
    return (Slice){ (const char *)at(pack, pos), element_bytes(at(pack, pos)) };
}

/* Up to here, comparing each with each is quicker than a table. */
#define COMPARE_MAX 8

static bool few_unique(const Pack *pack, unsigned skip)
{
    for (PackPos pos = pack_first(pack); pos != 0; pos = next_skipping(pack, pos, skip)) {
        Slice raw = element_raw(pack, pos);
        for (PackPos other = next_skipping(pack, pos, skip); other != 0; other = next_skipping(pack, other, skip)) {
            if (slice_equal(raw, element_raw(pack, other))) return false;
        }
    }
    return true;
}

/* By a table of positions that is at most half full. */
static bool many_unique(const Pack *pack, unsigned skip, size_t count)
{
    size_t mask = ((size_t)2 << (63 - __builtin_clzll(count * 2 - 1))) - 1;
    g_autofree PackPos *seen = g_new0(PackPos, mask + 1);
    for (PackPos pos = pack_first(pack); pos != 0; pos = next_skipping(pack, pos, skip)) {
        Slice raw = element_raw(pack, pos);
        size_t place = table_hash(raw) & mask;
        for (; seen[place] != 0; place = (place + 1) & mask) {
            if (slice_equal(raw, element_raw(pack, seen[place]))) return false;
        }
        seen[place] = pos;
    }
    return true;
}

bool pack_is_unique(const Pack *pack, unsigned skip)
{
    size_t count = pack_count(pack) / (skip + 1);
    return count <= COMPARE_MAX ? few_unique(pack, skip) : many_unique(pack, skip, count);
}

/* ---- as bytes ---- */

/* What stands in front of the elements, whose back-lengths are always there. */
typedef struct PackHead {
    uint32_t bytes;
    uint16_t count; /* saturating */
    uint8_t kind;
    uint8_t spare;
} PackHead;

size_t pack_encoded_bytes_max(const Pack *pack)
{
    return sizeof(PackHead) + two_way_bytes_max(pack);
}

void pack_encode(const Pack *pack, Image *image)
{
    char *start = image_room(image, pack_encoded_bytes_max(pack));
    size_t bytes = (size_t)(two_way_write(pack, start + sizeof(PackHead)) - start);
    PackHead head = { (uint32_t)bytes, (uint16_t)MIN(pack_count(pack), UINT16_MAX), pack->kind, 0 };
    memcpy(start, &head, sizeof(head));
    image->len += bytes;
}

Pack *pack_decode(Slice *in, unsigned kind, uint32_t one_way_max)
{
    PackHead head;
    Slice block;
    if (in->len <= sizeof(head)) return NULL;
    memcpy(&head, in->ptr, sizeof(head));
    if (head.bytes <= sizeof(head) || head.bytes > BYTES_MAX || head.kind != kind || head.spare != 0) return NULL;
    if (!image_get_bytes(in, head.bytes, &block)) return NULL;
    const uint8_t *from = (const uint8_t *)block.ptr + sizeof(head);
    size_t bytes = block.len - sizeof(head);
    Sums sums;
    if (!elements_valid(from, bytes, false, &sums) || !count_agrees(head.count, UINT16_MAX, sums.count)) return NULL;
    bool one_way = sums.count <= one_way_max;
    Pack *pack = block_new(kind, sizeof(Pack) + (one_way ? sums.content : bytes));
    count_set(pack, sums.count);
    pack->one_way = one_way;
    if (one_way)
        one_way_write((uint8_t *)pack->data, from, from + bytes);
    else
        memcpy(pack->data, from, bytes);
    return pack;
}
