/* rdbread.c: reads RDB files, and the payloads of RESTORE: see rdb.h.
 *
 * Design. A state machine of units: each is one function, which takes its pieces from the input (rdbinput.h), and
 * either does its work and says what the next unit is, or has no effect at all. A collection's elements are one unit
 * each, whether they stand in the file or in a blob, so that a step ends soon after its budget whatever is being read.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>

#include "base/clock.h"
#include "store/crc64.h"
#include "store/grave.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/rdbblob.h"
#include "store/rdbformat.h"
#include "store/rdbinput.h"
#include "store/set.h"
#include "store/zset.h"

/* Between two looks at the clock: so many units, and bytes that count as one more. */
#define WORK_PER_LOOK  64
#define BYTES_PER_WORK 512

/* Of a key, in messages. */
#define SHOWN_MAX 64

/* How a type of the file holds a value. */
typedef enum Shape {
    SHAPE_UNKNOWN,
    SHAPE_TEXT,     /* a string */
    SHAPE_ELEMENTS, /* their number, and the elements */
    SHAPE_BLOB,     /* a string that is a blob */
    SHAPE_NODES,    /* their number, and the blobs */
    SHAPE_TAGGED,   /* the same with a tag before each: a blob or a single element */
    SHAPE_MODULE,
    SHAPE_STREAM,
} Shape;

typedef struct Encoding {
    Shape shape;
    ValueType type;
    RdbBlobKind blob;
    bool binary_scores;
} Encoding;

static const Encoding encodings[RDB_TYPES] = {
    [RDB_STRING] = { .shape = SHAPE_TEXT, .type = TYPE_STRING },
    [RDB_LIST] = { .shape = SHAPE_ELEMENTS, .type = TYPE_LIST },
    [RDB_SET] = { .shape = SHAPE_ELEMENTS, .type = TYPE_SET },
    [RDB_ZSET] = { .shape = SHAPE_ELEMENTS, .type = TYPE_ZSET },
    [RDB_HASH] = { .shape = SHAPE_ELEMENTS, .type = TYPE_HASH },
    [RDB_ZSET_2] = { .shape = SHAPE_ELEMENTS, .type = TYPE_ZSET, .binary_scores = true },
    [RDB_MODULE] = { .shape = SHAPE_MODULE },
    [RDB_MODULE_2] = { .shape = SHAPE_MODULE },
    [RDB_HASH_ZIPMAP] = { .shape = SHAPE_BLOB, .type = TYPE_HASH, .blob = RDB_BLOB_ZIPMAP },
    [RDB_LIST_ZIPLIST] = { .shape = SHAPE_BLOB, .type = TYPE_LIST, .blob = RDB_BLOB_ZIPLIST },
    [RDB_SET_INTSET] = { .shape = SHAPE_BLOB, .type = TYPE_SET, .blob = RDB_BLOB_INTSET },
    [RDB_ZSET_ZIPLIST] = { .shape = SHAPE_BLOB, .type = TYPE_ZSET, .blob = RDB_BLOB_ZIPLIST },
    [RDB_HASH_ZIPLIST] = { .shape = SHAPE_BLOB, .type = TYPE_HASH, .blob = RDB_BLOB_ZIPLIST },
    [RDB_LIST_QUICKLIST] = { .shape = SHAPE_NODES, .type = TYPE_LIST, .blob = RDB_BLOB_ZIPLIST },
    [RDB_STREAM] = { .shape = SHAPE_STREAM },
    [RDB_HASH_LISTPACK] = { .shape = SHAPE_BLOB, .type = TYPE_HASH, .blob = RDB_BLOB_LISTPACK },
    [RDB_ZSET_LISTPACK] = { .shape = SHAPE_BLOB, .type = TYPE_ZSET, .blob = RDB_BLOB_LISTPACK },
    [RDB_LIST_QUICKLIST_2] = { .shape = SHAPE_TAGGED, .type = TYPE_LIST, .blob = RDB_BLOB_LISTPACK },
    [RDB_STREAM_2] = { .shape = SHAPE_STREAM },
    [RDB_SET_LISTPACK] = { .shape = SHAPE_BLOB, .type = TYPE_SET, .blob = RDB_BLOB_LISTPACK },
    [RDB_STREAM_3] = { .shape = SHAPE_STREAM },
};

/* A collection in the making. */
typedef struct Growing {
    ValueType type;
    union {
        List *list;
        Set *set;
        Hash *hash;
        Zset *zset;
        void *object;
    };
} Growing;

typedef bool (*Unit)(RdbReader *r);

struct RdbReader {
    RdbSource source;
    RdbInput input;
    Unit unit; /* the next one; NULL: all was read */
    Keyspace *keyspace;
    unsigned version;
    RdbStats stats;
    char *error;

    /* the key to come */
    Db *db;
    EntryFacts facts;
    bool has_key;
    GString *key;

    /* its value */
    const Encoding *encoding;
    bool building;     /* false: it's read, but left out */
    uint64_t left;     /* elements, or nodes, to come */
    uint64_t elements; /* so far */
    Growing value;     /* object NULL: none */
    RdbBlob blob;
    RdbRoom room[2];
    bool restoring; /* one value, which replaces what is under the key */
    Entry *restored;
};

/* ---- errors: each returns false ---- */

void rdb_put_shown(GString *to, Slice text)
{
    for (size_t i = 0; i < MIN(text.len, (size_t)SHOWN_MAX); i++) {
        uint8_t byte = (uint8_t)text.ptr[i];
        g_string_append_printf(to, byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' ? "\\x%02x" : "%c", byte);
    }
    if (text.len > SHOWN_MAX) g_string_append(to, "...");
}

static Slice key_of(const RdbReader *r)
{
    return (Slice){ r->key->str, r->key->len };
}

static bool fail_at(RdbReader *r, uint64_t offset, const char *why)
{
    GString *text = g_string_new(NULL);
    g_string_printf(text, "byte %" G_GUINT64_FORMAT, offset);
    if (r->has_key) {
        g_string_append(text, ", key \"");
        rdb_put_shown(text, key_of(r));
        g_string_append_c(text, '"');
    }
    g_string_append_printf(text, ": %s", why);
    g_free(r->error);
    r->error = g_string_free(text, FALSE);
    return false;
}

static bool fail(RdbReader *r, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool fail(RdbReader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    return fail_at(r, rdb_input_offset(&r->input), why);
}

/* ---- storing ---- */

static Unit next_record(RdbReader *r);

static void forget_object(RdbReader *r)
{
    if (r->value.object != NULL) grave_take(r->value.type, r->value.object);
    r->value.object = NULL;
}

static bool stored(RdbReader *r, ValueType type, bool is_new)
{
    if (!is_new) return fail(r, "the key is there twice");
    r->stats.keys[type]++;
    if (r->facts.deadline_ms >= 0) r->stats.expiring++;
    if (r->source.loaded != NULL) r->source.loaded(r->source.context, r->db, keyspace_find(r->db, key_of(r)));
    r->unit = next_record(r);
    return true;
}

static bool left_out(RdbReader *r, uint64_t *count)
{
    ++*count;
    r->unit = next_record(r);
    return true;
}

/* Before what is under the key is replaced: nothing may stand behind the value. */
static bool restore_ends(RdbReader *r)
{
    r->unit = NULL;
    return r->input.at == r->input.end || fail(r, "more bytes than the value has");
}

static bool store_text(RdbReader *r, Slice text)
{
    if (!r->building) return left_out(r, &r->stats.expired);
    if (!r->restoring) return stored(r, TYPE_STRING, keyspace_load_text(r->db, key_of(r), &r->facts, text));
    if (!restore_ends(r)) return false;
    r->restored = keyspace_put_string(r->db, key_of(r), text);
    return true;
}

/* All elements are there. */
static bool store_object(RdbReader *r)
{
    if (r->elements == 0 && r->restoring) return fail(r, "a collection without elements");
    if (r->elements == 0) {
        forget_object(r);
        return left_out(r, &r->stats.empty);
    }
    if (!r->building) return left_out(r, &r->stats.expired);
    if (r->restoring && !restore_ends(r)) return false;
    ValueType type = r->value.type;
    void *object = g_steal_pointer(&r->value.object);
    if (!r->restoring) return stored(r, type, keyspace_load_object(r->db, key_of(r), &r->facts, type, object));
    r->restored = keyspace_put_object(r->db, key_of(r), type, object);
    return true;
}

/* ---- elements ---- */

typedef struct Element {
    Slice text[2]; /* a set's member, a list's element; a field and its value; a sorted set's member and its score, */
    double score;  /* which is here, too */
} Element;

/* Texts in one element. */
static unsigned texts_per_element(ValueType type)
{
    return type == TYPE_HASH || type == TYPE_ZSET ? 2 : 1;
}

static void *new_object(ValueType type)
{
    switch (type) {
    case TYPE_LIST: return list_new();
    case TYPE_SET: return set_new();
    case TYPE_HASH: return hash_new();
    default: return zset_new();
    }
}

static bool add_pair(Hash **hash, const Slice *pair)
{
    hash_admit(hash, pair, 2);
    return hash_set(hash, pair[0], pair[1]);
}

/* False: it's there already. */
static bool add_to_object(Growing *value, Element *element)
{
    switch (value->type) {
    case TYPE_LIST: list_push(&value->list, LIST_TAIL, element->text[0]); return true;
    case TYPE_SET: return set_add(&value->set, set_member(element->text[0]));
    case TYPE_HASH: return add_pair(&value->hash, element->text);
    default: return zset_add(&value->zset, element->text[0], &element->score, 0) == ZSET_ADDED;
    }
}

static bool add_element(RdbReader *r, Element *element)
{
    if (r->encoding->type == TYPE_ZSET && isnan(element->score)) return fail(r, "a score that is no number");
    r->elements++;
    return !r->building || add_to_object(&r->value, element) || fail(r, "an element is there twice");
}

/* ---- values ---- */

static bool unit_text(RdbReader *r)
{
    RdbString string;
    Slice text;
    if (!rdb_get_string(&r->input, KEYSPACE_STRING_MAX, &string)) return false;
    if (!rdb_string_text(&string, &r->room[0], &text)) return fail(r, "damaged compressed bytes");
    return store_text(r, text);
}

/* A score as Redis before 4.0 wrote them: a length byte and digits. */
static bool get_text_score(RdbReader *r, double *score)
{
    uint8_t len;
    Slice text;
    if (!rdb_get_byte(&r->input, &len)) return false;
    switch (len) {
    case RDB_SCORE_NAN: *score = NAN; return true;
    case RDB_SCORE_INF: *score = INFINITY; return true;
    case RDB_SCORE_MINUS_INF: *score = -INFINITY; return true;
    }
    if (!rdb_get_bytes(&r->input, len, &text)) return false;
    return (len > 0 && number_parse_double(text, score)) || fail(r, "a score that is no number");
}

static bool get_score(RdbReader *r, double *score)
{
    if (!r->encoding->binary_scores) return get_text_score(r, score);
    uint64_t bits;
    if (!rdb_get_little(&r->input, sizeof(bits), &bits)) return false;
    memcpy(score, &bits, sizeof(*score));
    return true;
}

static bool unit_element(RdbReader *r)
{
    RdbString string[2];
    Element element = { .score = 0 };
    unsigned strings = r->encoding->type == TYPE_HASH ? 2 : 1;
    for (unsigned i = 0; i < strings; i++) {
        if (!rdb_get_string(&r->input, RDB_BYTES_MAX, &string[i])) return false;
    }
    if (r->encoding->type == TYPE_ZSET && !get_score(r, &element.score)) return false;
    for (unsigned i = 0; i < strings; i++) {
        if (!rdb_string_text(&string[i], &r->room[i], &element.text[i])) return fail(r, "damaged compressed bytes");
    }
    if (!add_element(r, &element)) return false;
    return --r->left > 0 || store_object(r);
}

static bool unit_node(RdbReader *r);

/* How many elements, or nodes, there will be. */
static bool unit_count(RdbReader *r)
{
    if (!rdb_get_length(&r->input, &r->left)) return false;
    r->unit = r->encoding->shape == SHAPE_ELEMENTS ? unit_element : unit_node;
    return r->left > 0 || store_object(r);
}

/* ---- blobs ---- */

static bool fail_blob(RdbReader *r)
{
    return fail(r, "the %s that ends here is malformed at its byte %zu", rdb_blob_name(r->blob.kind), r->blob.at);
}

/* A blob is over: so is the value, unless it has more of them. */
static bool end_blob(RdbReader *r)
{
    if (r->encoding->shape == SHAPE_BLOB) return store_object(r);
    r->unit = unit_node;
    return --r->left > 0 || store_object(r);
}

/* An element of the blob, which stays where it is: nothing is read meanwhile. */
static bool unit_blob_element(RdbReader *r)
{
    char digits[2][NUMBER_INT_CHARS];
    Element element = { .score = 0 };
    for (unsigned i = 0; i < texts_per_element(r->encoding->type); i++) {
        PackValue value;
        RdbBlobNext next = rdb_blob_next(&r->blob, &value);
        if (next == RDB_BLOB_END && i == 0) return end_blob(r);
        if (next != RDB_BLOB_ELEMENT) return fail_blob(r);
        element.text[i] = pack_value_text(value, digits[i]);
    }
    if (r->encoding->type == TYPE_ZSET && !number_parse_double(element.text[1], &element.score))
        return fail(r, "a score that is no number");
    return add_element(r, &element);
}

static bool open_blob(RdbReader *r, Slice bytes)
{
    r->unit = unit_blob_element;
    return rdb_blob_open(&r->blob, r->encoding->blob, bytes) || fail_blob(r);
}

static bool get_text(RdbReader *r, Slice *text)
{
    RdbString string;
    if (!rdb_get_string(&r->input, RDB_BYTES_MAX, &string)) return false;
    return rdb_string_text(&string, &r->room[0], text) || fail(r, "damaged compressed bytes");
}

static bool unit_blob(RdbReader *r)
{
    Slice bytes;
    return get_text(r, &bytes) && open_blob(r, bytes);
}

static bool unit_node(RdbReader *r)
{
    uint64_t tag = RDB_NODE_PACKED;
    Element element = { .score = 0 };
    if (r->encoding->shape == SHAPE_TAGGED && !rdb_get_length(&r->input, &tag)) return false;
    if (tag != RDB_NODE_PACKED && tag != RDB_NODE_PLAIN) return fail(r, "a list's node of an unknown kind");
    if (!get_text(r, &element.text[0])) return false;
    if (tag == RDB_NODE_PACKED) return open_blob(r, element.text[0]);
    return add_element(r, &element) && end_blob(r);
}

/* ---- what isn't read ---- */

static void module_name(uint64_t id, char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 0; i < 9; i++)
        name[i] = letters[id >> (10 + 6 * (8 - i)) & 63];
    name[9] = '\0';
}

static bool unit_module_value(RdbReader *r)
{
    uint64_t id;
    char name[10];
    if (!rdb_get_length(&r->input, &id)) return false;
    module_name(id, name);
    return fail(r, "a value of the module type \"%s\", which can't be kept here", name);
}

static bool unit_stream(RdbReader *r)
{
    return fail(r, "a value of type stream, which can't be kept here");
}

static const Unit units_by_shape[] = {
    [SHAPE_TEXT] = unit_text,     [SHAPE_ELEMENTS] = unit_count, [SHAPE_BLOB] = unit_blob,
    [SHAPE_NODES] = unit_count,   [SHAPE_TAGGED] = unit_count,   [SHAPE_MODULE] = unit_module_value,
    [SHAPE_STREAM] = unit_stream,
};

/* The value of r->key comes next, of a type that is known. */
static void begin_value(RdbReader *r)
{
    bool over = r->facts.deadline_ms >= 0 && r->facts.deadline_ms <= clock_unix_ms;
    r->building = !(over && r->source.drop_expired);
    r->elements = 0;
    r->value.type = r->encoding->type;
    r->value.object = NULL;
    if (r->building && r->encoding->type != TYPE_STRING) r->value.object = new_object(r->encoding->type);
    r->unit = units_by_shape[r->encoding->shape];
}

static bool take_type(RdbReader *r, uint8_t type)
{
    if (type >= RDB_TYPES || encodings[type].shape == SHAPE_UNKNOWN)
        return fail(r, "a record of the unknown type %u", type);
    r->encoding = &encodings[type];
    return true;
}

static bool unit_key(RdbReader *r)
{
    Slice text;
    if (!get_text(r, &text)) return false;
    g_string_truncate(r->key, 0);
    g_string_append_len(r->key, text.ptr, (gssize)text.len);
    r->has_key = true;
    begin_value(r);
    return true;
}

/* ---- opcodes: what is behind their byte ---- */

static bool op_expire_ms(RdbReader *r)
{
    uint64_t ms;
    if (!rdb_get_little(&r->input, sizeof(ms), &ms)) return false;
    r->facts.deadline_ms = MAX((int64_t)ms, 0);
    return true;
}

static bool op_expire_sec(RdbReader *r)
{
    uint64_t sec;
    if (!rdb_get_little(&r->input, 4, &sec)) return false;
    r->facts.deadline_ms = MAX((int64_t)(int32_t)sec * 1000, 0);
    return true;
}

static bool op_idle(RdbReader *r)
{
    uint64_t sec;
    if (!rdb_get_length(&r->input, &sec)) return false;
    r->facts.lru = (uint32_t)(keyspace_lru_clock() - sec) & 0xFFFFFF;
    return true;
}

static bool op_freq(RdbReader *r)
{
    uint8_t unused;
    return rdb_get_byte(&r->input, &unused);
}

static bool op_selectdb(RdbReader *r)
{
    uint64_t index;
    if (!rdb_get_length(&r->input, &index)) return false;
    if (index >= (uint64_t)r->keyspace->db_count)
        return fail(r, "keys of database %" G_GUINT64_FORMAT ", and there are only %d databases here", index,
                    r->keyspace->db_count);
    r->db = &r->keyspace->dbs[index];
    return true;
}

/* Hints; the tables grow without them. */
static bool op_resizedb(RdbReader *r)
{
    uint64_t keys, expiring;
    return rdb_get_length(&r->input, &keys) && rdb_get_length(&r->input, &expiring);
}

static bool op_aux(RdbReader *r)
{
    RdbString string[2];
    Slice text[2];
    for (int i = 0; i < 2; i++) {
        if (!rdb_get_string(&r->input, RDB_BYTES_MAX, &string[i])) return false;
    }
    for (int i = 0; i < 2; i++) {
        if (!rdb_string_text(&string[i], &r->room[i], &text[i])) return fail(r, "damaged compressed bytes");
    }
    if (r->source.aux != NULL) r->source.aux(r->source.context, text[0], text[1]);
    return true;
}

static bool op_function(RdbReader *r)
{
    RdbString code;
    if (!rdb_get_string(&r->input, RDB_BYTES_MAX, &code)) return false;
    r->stats.functions++;
    return true;
}

static bool op_function_pre_ga(RdbReader *r)
{
    return fail(r, "functions as a pre-release of Redis 7 wrote them, which nothing reads any more");
}

/* Data of a module that belong to no key: numbers and strings up to an end. */
static bool unit_module_aux(RdbReader *r)
{
    uint64_t kind, number;
    RdbString string;
    if (!rdb_get_length(&r->input, &kind)) return false;
    switch (kind) {
    case RDB_MODULE_EOF:
        r->stats.module_fields++;
        r->unit = next_record(r);
        return true;
    case RDB_MODULE_SINT:
    case RDB_MODULE_UINT: return rdb_get_length(&r->input, &number);
    case RDB_MODULE_FLOAT: return rdb_get_little(&r->input, sizeof(float), &number);
    case RDB_MODULE_DOUBLE: return rdb_get_little(&r->input, sizeof(double), &number);
    case RDB_MODULE_STRING: return rdb_get_string(&r->input, RDB_BYTES_MAX, &string);
    default: return fail(r, "data of a module that are of an unknown kind");
    }
}

static bool op_module_aux(RdbReader *r)
{
    uint64_t id, when_kind, when;
    if (!rdb_get_length(&r->input, &id) || !rdb_get_length(&r->input, &when_kind) || !rdb_get_length(&r->input, &when))
        return false;
    if (when_kind != RDB_MODULE_UINT) return fail(r, "data of a module that are of an unknown kind");
    r->unit = unit_module_aux;
    return true;
}

static bool op_eof(RdbReader *r)
{
    uint64_t sum = 0;
    if (r->version >= RDB_VERSION_CHECKSUM && !rdb_get_little(&r->input, sizeof(sum), &sum)) return false;
    if (sum != 0 && sum != rdb_input_crc(&r->input, sizeof(sum)))
        return fail(r, "the checksum is wrong: the file is damaged");
    r->unit = NULL;
    return true;
}

static const Unit ops[] = {
    [RDB_OP_FUNCTION - RDB_OPS_FIRST] = op_function,
    [RDB_OP_FUNCTION_PRE_GA - RDB_OPS_FIRST] = op_function_pre_ga,
    [RDB_OP_MODULE_AUX - RDB_OPS_FIRST] = op_module_aux,
    [RDB_OP_IDLE - RDB_OPS_FIRST] = op_idle,
    [RDB_OP_FREQ - RDB_OPS_FIRST] = op_freq,
    [RDB_OP_AUX - RDB_OPS_FIRST] = op_aux,
    [RDB_OP_RESIZEDB - RDB_OPS_FIRST] = op_resizedb,
    [RDB_OP_EXPIRE_MS - RDB_OPS_FIRST] = op_expire_ms,
    [RDB_OP_EXPIRE_SEC - RDB_OPS_FIRST] = op_expire_sec,
    [RDB_OP_SELECTDB - RDB_OPS_FIRST] = op_selectdb,
    [RDB_OP_EOF - RDB_OPS_FIRST] = op_eof,
};

static bool unit_record(RdbReader *r)
{
    uint8_t type;
    if (!rdb_get_byte(&r->input, &type)) return false;
    if (type >= RDB_OPS_FIRST) return ops[type - RDB_OPS_FIRST](r);
    r->unit = unit_key;
    return take_type(r, type);
}

/* A key may come, of which nothing is known yet. */
static Unit next_record(RdbReader *r)
{
    r->has_key = false;
    r->facts = (EntryFacts){ .deadline_ms = -1, .lru = keyspace_lru_clock() };
    return unit_record;
}

static bool unit_head(RdbReader *r)
{
    Slice head;
    if (!rdb_get_bytes(&r->input, RDB_HEAD_BYTES, &head)) return false;
    Slice magic = { head.ptr, strlen(RDB_MAGIC) };
    r->input.at = 0; /* for the message */
    if (!slice_equal(magic, SLICE(RDB_MAGIC))) return fail(r, "this is no RDB file");
    for (size_t i = magic.len; i < head.len; i++) {
        if (!g_ascii_isdigit(head.ptr[i])) return fail(r, "this is no RDB file");
        r->version = r->version * 10 + (unsigned)(head.ptr[i] - '0');
    }
    if (r->version < 1 || r->version > RDB_VERSION_MAX)
        return fail(r, "the file has version %u, and this reads 1 to %d", r->version, RDB_VERSION_MAX);
    r->input.at = head.len;
    r->unit = next_record(r);
    return true;
}

/* ---- the steps ---- */

RdbReader *rdb_reader_new(Keyspace *ks, const RdbSource *source)
{
    RdbReader *r = g_new0(RdbReader, 1);
    r->source = *source;
    rdb_input_init(&r->input, &r->source);
    r->keyspace = ks;
    r->db = &ks->dbs[0];
    r->key = g_string_new(NULL);
    r->unit = unit_head;
    return r;
}

static void reader_clear(RdbReader *r)
{
    forget_object(r);
    rdb_input_clear(&r->input);
    g_string_free(r->key, TRUE);
    for (int i = 0; i < 2; i++)
        g_free(r->room[i].bytes);
    g_free(r->error);
}

void rdb_reader_free(RdbReader *r)
{
    if (r == NULL) return;
    reader_clear(r);
    g_free(r);
}

/* Does the next unit, if all of it is there. False: it lacks bytes, or r->error. */
static bool run_unit(RdbReader *r)
{
    rdb_input_begin(&r->input);
    if (r->unit(r)) {
        rdb_input_commit(&r->input);
        return true;
    }
    if (r->input.wrong != NULL && r->error == NULL) fail(r, "%s", r->input.wrong);
    return false;
}

/* RDB_MORE: something came. */
static RdbStep fetch(RdbReader *r)
{
    switch (rdb_input_fill(&r->input)) {
    case RDB_FILLED: return RDB_MORE;
    case RDB_FILL_WAIT: return RDB_WAIT;
    case RDB_FILL_END: fail_at(r, r->input.offset + r->input.end, "the file ends here, and isn't complete"); break;
    case RDB_FILL_ERROR: fail_at(r, r->input.offset + r->input.end, g_strerror(errno)); break;
    }
    return RDB_FAILED;
}

RdbStep rdb_read_step(RdbReader *r, int64_t budget_us)
{
    int64_t until_us = clock_now_us() + budget_us;
    size_t work = 0;
    while (r->unit != NULL && r->error == NULL) {
        if (work >= WORK_PER_LOOK) {
            if (clock_now_us() >= until_us) return RDB_MORE;
            work = 0;
        }
        size_t before = r->input.start;
        if (r->input.lacks > 0) {
            RdbStep step = fetch(r);
            if (step != RDB_MORE) return step;
            work = WORK_PER_LOOK;
        } else if (run_unit(r)) {
            work += 1 + (r->input.start - before) / BYTES_PER_WORK;
        }
    }
    return r->error != NULL ? RDB_FAILED : RDB_DONE;
}

const char *rdb_reader_error(const RdbReader *r)
{
    return r->error;
}

const RdbStats *rdb_reader_stats(const RdbReader *r)
{
    return &r->stats;
}

uint64_t rdb_reader_offset(const RdbReader *r)
{
    return r->input.offset + r->input.start;
}

Slice rdb_reader_rest(const RdbReader *r)
{
    return (Slice){ r->input.buffer + r->input.start, r->input.end - r->input.start };
}

/* ---- RESTORE ---- */

bool rdb_payload_valid(Slice payload, unsigned *version)
{
    if (payload.len < RDB_PAYLOAD_TAIL) return false;
    const uint8_t *tail = (const uint8_t *)payload.ptr + payload.len - RDB_PAYLOAD_TAIL;
    uint64_t sum;
    memcpy(&sum, tail + 2, sizeof(sum));
    *version = tail[0] | (unsigned)tail[1] << 8;
    return *version <= RDB_VERSION_MAX && crc64(0, (Slice){ payload.ptr, payload.len - sizeof(sum) }) == sum;
}

static bool restore_value(RdbReader *r)
{
    uint8_t type;
    rdb_input_begin(&r->input);
    if (!rdb_get_byte(&r->input, &type) || !take_type(r, type)) return false;
    rdb_input_commit(&r->input);
    begin_value(r);
    while (r->unit != NULL) {
        if (!run_unit(r)) return false;
    }
    return true;
}

Entry *rdb_restore(Db *db, Slice key, Slice payload, char **error)
{
    RdbReader r = { .db = db, .restoring = true, .facts = { .deadline_ms = -1 } };
    rdb_input_init_memory(&r.input, (Slice){ payload.ptr, payload.len - RDB_PAYLOAD_TAIL });
    r.key = g_string_new_len(key.ptr, (gssize)key.len);
    r.has_key = true;
    if (!restore_value(&r) && r.error == NULL) fail_at(&r, r.input.end, "the value ends here, and isn't complete");
    *error = g_steal_pointer(&r.error);
    Entry *entry = r.restored;
    reader_clear(&r);
    return entry;
}
