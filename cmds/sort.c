/* sort.c: SORT. Called by the command table.
 *
 * Design. The elements are loaded as they stand in the collection (no copies: nothing changes it before the answer is
 * out), get their weights, are sorted, and the range that LIMIT leaves is answered or stored. Keys named by BY and GET
 * are looked up in batches, so that their cache misses overlap. Sorting is stable, which shows only where 3.2 breaks no
 * ties either: equal weights of BY with ALPHA.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>

#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

/* Elements whose BY or GET keys are looked up together. */
#define BATCH_ITEMS 16

typedef struct SortItem {
    PackValue value; /* the element, inside the collection */
    union {
        double score;
        Slice text; /* ALPHA; ptr NULL: BY's key or field doesn't exist */
    } weight;
} SortItem;

typedef struct Sort {
    Request *r;
    bool descending, alpha;
    bool unsorted; /* BY names no other keys: the collection's own order stays */
    int64_t offset, limit;
    const Slice *by, *store; /* NULL: not given */
    GArray *gets;            /* of Slice */
    GArray *items;           /* of SortItem */
    GString *names;          /* of a batch's keys */
    GStringChunk *digits;    /* integers as text, for ALPHA */
} Sort;

/* What BY or GET finds. */
typedef struct Found {
    bool exists;
    PackValue value;
} Found;

/* ---- arguments ---- */

static bool has_star(Slice pattern)
{
    return memchr(pattern.ptr, '*', pattern.len) != NULL;
}

/* Reads the option at *index and moves it behind; false: the error is out. */
static bool parse_option(Sort *sort, int *index)
{
    Request *r = sort->r;
    int i = *index, values = r->argc - i - 1;
    *index = i + 1;
    if (arg_is(r, i, "asc") || arg_is(r, i, "desc")) {
        sort->descending = arg_is(r, i, "desc");
    } else if (arg_is(r, i, "alpha")) {
        sort->alpha = true;
    } else if (arg_is(r, i, "limit") && values >= 2) {
        *index += 2;
        return arg_int(r, i + 1, &sort->offset, NULL) && arg_int(r, i + 2, &sort->limit, NULL);
    } else if (arg_is(r, i, "store") && values >= 1) {
        sort->store = &r->argv[(*index)++];
    } else if (arg_is(r, i, "by") && values >= 1) {
        sort->by = &r->argv[(*index)++];
        if (!has_star(*sort->by)) sort->unsorted = true;
    } else if (arg_is(r, i, "get") && values >= 1) {
        g_array_append_val(sort->gets, r->argv[(*index)++]);
    } else {
        reply_error(r->out, ERROR_SYNTAX);
        return false;
    }
    return true;
}

static bool parse_options(Sort *sort)
{
    for (int i = 2; i < sort->r->argc;) {
        if (!parse_option(sort, &i)) return false;
    }
    return true;
}

/* ---- loading ---- */

static void load_item(Sort *sort, PackValue value)
{
    SortItem item = { .value = value };
    g_array_append_val(sort->items, item);
}

static size_t collection_length(const Entry *entry)
{
    switch (entry->type) {
    case TYPE_LIST: return list_length(entry->list);
    case TYPE_SET: return set_length(entry->set);
    default: return zset_length(entry->zset);
    }
}

/* Loads `count` elements from `offset` on, counted from the other end with `reverse`. */
static void load_items(Sort *sort, const Entry *entry, size_t offset, size_t count, bool reverse)
{
    if (count == 0) return;
    if (entry->type == TYPE_LIST) {
        PackValue value;
        size_t start = reverse ? list_length(entry->list) - 1 - offset : offset;
        ListWalk walk = list_walk(entry->list, start, reverse ? LIST_HEAD : LIST_TAIL);
        for (; count > 0 && list_next(&walk, &value); count--)
            load_item(sort, value);
    } else {
        ZsetPair pair;
        size_t start = reverse ? zset_length(entry->zset) - 1 - offset : offset;
        ZsetWalk walk = zset_walk(entry->zset, start, reverse);
        for (; count > 0 && zset_next(&walk, &pair); count--)
            load_item(sort, pair.member);
    }
}

static void load_set(Sort *sort, const Set *set)
{
    SetMember member;
    SetWalk walk = set_walk(set);
    while (set_next(&walk, &member))
        load_item(sort, member);
}

/* ---- BY and GET ---- */

/* A pattern in parts: "before*after->field". */
typedef struct Pattern {
    bool element;  /* "#": the element itself */
    bool constant; /* without a star: finds nothing */
    Slice before, after;
    Slice field; /* empty: none, the key holds a string */
} Pattern;

static Pattern pattern_parse(Slice text)
{
    Pattern pattern = { .element = slice_equal(text, SLICE("#")), .constant = !has_star(text) };
    if (pattern.constant) return pattern;
    const char *star = memchr(text.ptr, '*', text.len), *end = text.ptr + text.len;
    pattern.before = (Slice){ text.ptr, (size_t)(star - text.ptr) };
    pattern.after = (Slice){ star + 1, (size_t)(end - star - 1) };
    const char *arrow = g_strstr_len(pattern.after.ptr, (gssize)pattern.after.len, "->");
    if (arrow == NULL || arrow + 2 == end) return pattern; /* an arrow to nothing is a part of the key */
    pattern.after.len = (size_t)(arrow - pattern.after.ptr);
    pattern.field = (Slice){ arrow + 2, (size_t)(end - arrow - 2) };
    return pattern;
}

/* The value that one key of the pattern leads to. */
static Found found_in(const Entry *entry, const Pattern *pattern)
{
    Found found = { .exists = false };
    if (entry == NULL) return found;
    if (pattern->field.len > 0) {
        found.exists = entry->type == TYPE_HASH && hash_get(entry->hash, pattern->field, &found.value);
    } else if (entry->type == TYPE_STRING) {
        found.exists = true;
        if (entry->encoding == STRING_INT) {
            found.value.number = entry->number;
        } else {
            found.value.text = entry_string(entry, NULL);
        }
    }
    return found;
}

/* Looks up the pattern's keys of `count` <= BATCH_ITEMS items. */
static void look_up(Sort *sort, const Pattern *pattern, const SortItem *items, size_t count, Found *found)
{
    size_t ends[BATCH_ITEMS];
    Slice names[BATCH_ITEMS];
    KeyPlace places[BATCH_ITEMS];
    Db *db = sort->r->db;
    char digits[NUMBER_INT_CHARS];
    g_string_truncate(sort->names, 0);
    for (size_t i = 0; i < count; i++) {
        Slice element = pack_value_text(items[i].value, digits);
        g_string_append_len(sort->names, pattern->before.ptr, (gssize)pattern->before.len);
        g_string_append_len(sort->names, element.ptr, (gssize)element.len);
        g_string_append_len(sort->names, pattern->after.ptr, (gssize)pattern->after.len);
        ends[i] = sort->names->len;
    }
    for (size_t i = 0; i < count; i++) {
        size_t start = i == 0 ? 0 : ends[i - 1];
        names[i] = (Slice){ sort->names->str + start, ends[i] - start };
        places[i] = keyspace_prefetch(db, names[i]);
    }
    for (size_t i = 0; i < count; i++)
        keyspace_prefetch_entry(places[i]);
    for (size_t i = 0; i < count; i++)
        found[i] = found_in(keyspace_read(db, names[i]), pattern);
}

static void find_values(Sort *sort, const Pattern *pattern, const SortItem *items, size_t count, Found *found)
{
    if (!pattern->element && !pattern->constant) {
        look_up(sort, pattern, items, count, found);
        return;
    }
    for (size_t i = 0; i < count; i++)
        found[i] = (Found){ pattern->element, items[i].value };
}

/* ---- weights ---- */

/* A number as strtod takes it from a whole text: blanks may lead, and nothing is 0. */
static bool parse_weight(PackValue value, double *weight)
{
    *weight = (double)value.number;
    if (value.text.ptr == NULL) return true;
    size_t blanks = 0;
    while (blanks < value.text.len && isspace((unsigned char)value.text.ptr[blanks]))
        blanks++;
    if (blanks > 0 && blanks == value.text.len) return false;
    return number_parse_double((Slice){ value.text.ptr + blanks, value.text.len - blanks }, weight);
}

/* The text, which stays: an integer's digits are kept in sort->digits. */
static Slice weight_text(Sort *sort, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(value, digits);
    if (value.text.ptr == NULL) text.ptr = g_string_chunk_insert_len(sort->digits, text.ptr, (gssize)text.len);
    return text;
}

/* What ALPHA compares: strcoll in the C locale ends at a zero byte; what is stored is in the order of all bytes. */
static Slice compared_text(Sort *sort, PackValue value)
{
    Slice text = weight_text(sort, value);
    if (sort->store == NULL) text.len = strnlen(text.ptr, text.len);
    return text;
}

/* What doesn't exist weighs 0, or with ALPHA comes first. */
static bool weigh_item(Sort *sort, SortItem *item, Found found)
{
    if (sort->alpha) {
        item->weight.text = found.exists ? compared_text(sort, found.value) : (Slice){ NULL, 0 };
        return true;
    }
    item->weight.score = 0;
    return !found.exists || parse_weight(found.value, &item->weight.score);
}

/* False: a weight that should be a number isn't. */
static bool weigh_items(Sort *sort)
{
    Pattern pattern = pattern_parse(sort->by == NULL ? SLICE("#") : *sort->by);
    Found found[BATCH_ITEMS];
    bool numbers = true;
    for (guint done = 0; done < sort->items->len; done += BATCH_ITEMS) {
        SortItem *items = &g_array_index(sort->items, SortItem, done);
        guint count = MIN(sort->items->len - done, BATCH_ITEMS);
        find_values(sort, &pattern, items, count, found);
        for (guint i = 0; i < count; i++)
            numbers &= weigh_item(sort, &items[i], found[i]);
    }
    return numbers;
}

/* ---- sorting ---- */

static int compare_texts(Slice a, Slice b)
{
    if (a.ptr == NULL || b.ptr == NULL) return (a.ptr != NULL) - (b.ptr != NULL);
    return slice_compare(a, b);
}

/* Equal scores: the elements' bytes decide. */
static int compare_scores(const SortItem *a, const SortItem *b)
{
    if (a->weight.score != b->weight.score) return a->weight.score > b->weight.score ? 1 : -1;
    char digits_a[NUMBER_INT_CHARS], digits_b[NUMBER_INT_CHARS];
    return slice_compare(pack_value_text(a->value, digits_a), pack_value_text(b->value, digits_b));
}

static int compare_items(const void *a, const void *b, void *context)
{
    const Sort *sort = context;
    const SortItem *x = a, *y = b;
    int order = sort->alpha ? compare_texts(x->weight.text, y->weight.text) : compare_scores(x, y);
    return sort->descending ? -order : order;
}

/* Loads what LIMIT leaves of the collection, sorted: on return items[*first] on, *count of them. False: the weights
 * aren't numbers. */
static bool sort_items(Sort *sort, const Entry *entry, size_t *first, size_t *count)
{
    size_t length = collection_length(entry);
    *first = (size_t)CLAMP(sort->offset, 0, (int64_t)length);
    *count = sort->limit < 0 ? length - *first : MIN((size_t)sort->limit, length - *first);
    if (sort->unsorted && entry->type != TYPE_SET) {
        load_items(sort, entry, *first, *count, sort->descending);
        *first = 0;
        return true;
    }
    if (sort->unsorted && sort->store != NULL) { /* what is stored is in an order that doesn't depend on chance */
        sort->unsorted = false;
        sort->alpha = true;
        sort->by = NULL;
    }
    if (entry->type == TYPE_SET) {
        load_set(sort, entry->set);
    } else {
        load_items(sort, entry, 0, length, false);
    }
    if (sort->unsorted) return true;
    if (!weigh_items(sort)) return false;
    g_array_sort_with_data(sort->items, compare_items, sort);
    return true;
}

/* ---- answering ---- */

/* Calls `emit` for each value that the items yield: themselves, or what the GETs find for them. */
typedef void (*SortEmit)(Found found, void *context);

static void emit_values(Sort *sort, const SortItem *items, size_t count, SortEmit emit, void *context)
{
    if (sort->gets->len == 0) g_array_append_val(sort->gets, SLICE("#"));
    guint gets = sort->gets->len;
    Pattern *patterns = g_new(Pattern, gets);
    for (guint g = 0; g < gets; g++)
        patterns[g] = pattern_parse(g_array_index(sort->gets, Slice, g));
    Found *found = g_new(Found, (size_t)gets * BATCH_ITEMS);
    for (size_t done = 0; done < count; done += BATCH_ITEMS) {
        size_t batch = MIN(count - done, BATCH_ITEMS);
        for (guint g = 0; g < gets; g++)
            find_values(sort, &patterns[g], &items[done], batch, &found[g * BATCH_ITEMS]);
        for (size_t i = 0; i < batch; i++) {
            for (guint g = 0; g < gets; g++)
                emit(found[g * BATCH_ITEMS + i], context);
        }
    }
    g_free(found);
    g_free(patterns);
}

static void emit_reply(Found found, void *context)
{
    if (found.exists) {
        reply_value(context, found.value);
    } else {
        reply_nil(context);
    }
}

/* What is stored, as far as it can be journaled. */
typedef struct Stored {
    Slice key;
    List *list;
    size_t elements, bytes;
} Stored;

static size_t stored_bytes(const Stored *stored)
{
    return effect_pieces_bytes(stored->key, stored->elements, stored->bytes);
}

static void emit_push(Found found, void *context)
{
    Stored *stored = context;
    char digits[NUMBER_INT_CHARS];
    Slice text = found.exists ? pack_value_text(found.value, digits) : SLICE("");
    stored->elements++;
    stored->bytes += text.len;
    if (stored_bytes(stored) <= effect_room()) list_push(&stored->list, LIST_TAIL, text);
}

static void reply_items(Sort *sort, const SortItem *items, size_t count)
{
    reply_array(sort->r->out, count * MAX(sort->gets->len, 1));
    emit_values(sort, items, count, emit_reply, sort->r->out);
}

/* What is stored depends on other keys and on how numbers are read, so the elements themselves are journaled. */
static void put_stored(const Request *r, Slice key, const List *list)
{
    effect_together();
    effect_del(r->db, key);
    EffectPieces *pieces = effect_pieces_begin(r->db, SLICE("RPUSH"), key);
    PackValue value;
    for (ListWalk walk = list_walk(list, 0, LIST_TAIL); pieces != NULL && list_next(&walk, &value);)
        effect_pieces_add_value(pieces, value);
    effect_pieces_end(pieces);
    effect_together_end();
}

static void store_items(Sort *sort, const SortItem *items, size_t count)
{
    Request *r = sort->r;
    size_t length = count * MAX(sort->gets->len, 1);
    if (count > 0) {
        Stored stored = { .key = *sort->store, .list = list_new() };
        emit_values(sort, items, count, emit_push, &stored);
        if (!effect_fits(r->out, stored_bytes(&stored))) {
            list_free(stored.list);
            return;
        }
        keyspace_put_object(r->db, *sort->store, TYPE_LIST, stored.list);
        put_stored(r, *sort->store, stored.list);
        key_changed(r, *sort->store, NOTIFY_LIST, "sortstore");
    } else if (keyspace_delete(r->db, *sort->store)) {
        effect_del(r->db, *sort->store);
        key_changed(r, *sort->store, NOTIFY_GENERIC, "del");
    }
    reply_int(r->out, (int64_t)length);
}

static void sort_entry(Sort *sort, const Entry *entry)
{
    size_t first = 0, count = 0;
    if (entry != NULL && !sort_items(sort, entry, &first, &count)) {
        reply_error(sort->r->out, "ERR One or more scores can't be converted into double");
        return;
    }
    const SortItem *items = &g_array_index(sort->items, SortItem, first);
    if (sort->store != NULL) {
        store_items(sort, items, count);
    } else {
        reply_items(sort, items, count);
    }
}

/* SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE destination] */
void cmd_sort(Request *r)
{
    const Entry *entry = keyspace_read(r->db, r->argv[1]);
    if (entry != NULL && entry->type != TYPE_LIST && entry->type != TYPE_SET && entry->type != TYPE_ZSET) {
        reply_error(r->out, ERROR_WRONG_TYPE);
        return;
    }
    Sort sort = {
        .r = r,
        .limit = -1,
        .gets = g_array_new(FALSE, FALSE, sizeof(Slice)),
        .items = g_array_new(FALSE, FALSE, sizeof(SortItem)),
        .names = g_string_new(NULL),
        .digits = g_string_chunk_new(4096),
    };
    if (parse_options(&sort)) sort_entry(&sort, entry);
    g_array_free(sort.gets, TRUE);
    g_array_free(sort.items, TRUE);
    g_string_free(sort.names, TRUE);
    g_string_chunk_free(sort.digits);
}
