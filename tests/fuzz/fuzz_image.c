/* fuzz_image.c: arbitrary bytes as a key's head and as a value of each type: what is taken can be used, and makes the
 * same bytes again where these don't depend on a table's order.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>

#include "base/options.h"
#include "store/hash.h"
#include "store/image.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_list(List *list)
{
    list_push(&list, LIST_HEAD, SLICE("new"));
    list_remove_range(&list, list_length(list) - 1, 1);
    list_free(list);
}

static void use_set(Set *set)
{
    set_add(&set, set_member(SLICE("new")));
    set_remove(&set, set_random(set));
    set_free(set);
}

static void use_zset(Zset *zset)
{
    double score = 1;
    zset_add(&zset, SLICE("new"), &score, 0);
    size_t rank;
    g_assert(zset_rank(zset, SLICE("new"), &rank) && rank < zset_length(zset));
    zset_remove_ranks(&zset, 0, 1);
    zset_free(zset);
}

static void use_hash(Hash *hash)
{
    hash_set(&hash, SLICE("new"), SLICE("value"));
    g_assert(hash_has(hash, SLICE("new")));
    hash_remove(&hash, SLICE("new"));
    hash_free(hash);
}

static void use_object(ValueType type, void *object)
{
    switch (type) {
    case TYPE_LIST: use_list(object); break;
    case TYPE_SET: use_set(object); break;
    case TYPE_ZSET: use_zset(object); break;
    default: use_hash(object); break;
    }
}

/* Its bytes, which lie in the image. */
static Slice put_object(ValueType type, void *object, Image *image)
{
    Entry entry = { .type = type, .object = object };
    image_put_value(image, &entry);
    Slice in = { image->bytes, image->len }, value;
    g_assert(image_get_slice(&in, &value) && in.len == 0);
    return value;
}

static void check_value(ValueType type, Slice bytes)
{
    void *object = image_get_object(type, bytes);
    if (object == NULL) return;
    Image image = { 0 }, again = { 0 };
    Slice value = put_object(type, object, &image);
    bool ordered =
        !(type == TYPE_HASH && hash_elements(object) != NULL) && !(type == TYPE_SET && set_elements(object) != NULL);
    g_assert(value.len == bytes.len);
    use_object(type, object);
    /* It may have said "many" of a few elements, which isn't repeated. */
    object = image_get_object(type, value);
    g_assert(object != NULL);
    Slice repeated = put_object(type, object, &again);
    g_assert(repeated.len == value.len && (!ordered || slice_equal(repeated, value)));
    use_object(type, object);
    g_free(image.bytes);
    g_free(again.bytes);
}

static void check_head(Slice bytes)
{
    Slice in = bytes;
    ImageHead head;
    if (!image_get_head(&in, &head)) return;
    g_assert(head.key.ptr >= bytes.ptr && head.key.ptr + head.key.len <= bytes.ptr + bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    options.hash_max_ziplist_entries = options.set_max_intset_entries = 512;
    options.zset_max_ziplist_entries = 128;
    options.hash_max_ziplist_value = options.zset_max_ziplist_value = 64;
    options.list_max_ziplist_size = -2;
    if (size == 0) return 0;
    /* Of exactly this size, so that reading past it is seen. */
    g_autofree char *copy = size == 1 ? NULL : g_memdup2(data + 1, size - 1);
    Slice bytes = { copy, size - 1 };
    check_head(bytes);
    check_value(TYPE_LIST + data[0] % 4, bytes);
    return 0;
}
