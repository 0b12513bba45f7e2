/* simio.c: see simio.h.
 *
 * Design. The log has an event for each thing done to a file or directory. Replaying it keeps two states: what is
 * durable, and the list of events that no sync has covered; a sync covers what was logged when it began. At the cut
 * each of the others is applied, dropped, or torn (some of its 512-byte sectors, or of its bytes), while changes of a
 * directory are lost from some point on. A failed sync drops what it should have covered.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/simio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS    1024
#define SECTOR 512

typedef enum EventKind {
    CREATE,
    WRITE,
    TRUNCATE,
    SYNC,
    SYNC_FAILED,
    SYNC_DIRECTORY,
    RENAME,
    UNLINK,
    MKDIR,
    NOTE
} EventKind;

typedef struct Event {
    EventKind kind;
    int file;
    char *path, *path2;
    uint64_t at; /* WRITE: where; TRUNCATE: the length; NOTE: the value; of syncs: how many events it covers */
    char *bytes;
    size_t len;
} Event;

const char *const sim_op_name[SIM_OPS] = { "open",     "close",    "read",   "write",  "sync",
                                           "allocate", "truncate", "rename", "unlink", "mkdir" };

static GMutex lock;
static uint64_t calls[SIM_OPS], calls_here[SIM_OPS];
static const GThread *here;
static struct {
    uint64_t first, times; /* by `calls`; first 0: none */
    int error;
    bool happened;
} faults[SIM_OPS];
static int64_t disk_room;
static unsigned long sync_us;
static uint64_t begun_bytes;
static bool cold;
static off_t warm_begin, warm_end; /* what was read last by another thread, of any file */

static bool recording;
static GArray *events;   /* of Event */
static size_t standing;  /* so many of them tell what was there before, and is durable */
static GHashTable *live; /* path -> file + 1 */
static int files;
static int file_of[FDS];        /* by descriptor: file + 1; 0: none */
static char *directory_of[FDS]; /* by descriptor: a directory's path */

static void clear_event(void *data)
{
    Event *event = data;
    g_free(event->path);
    g_free(event->path2);
    g_free(event->bytes);
}

static const char *normal(const char *path)
{
    while (g_str_has_prefix(path, "./"))
        path += 2;
    return path;
}

/* A directory was renamed: so is what is below it. `names`: `live`, or a Disk's. */
static void move_below(GHashTable *names, const char *from, const char *to)
{
    g_autofree char *prefix = g_strconcat(from, "/", NULL);
    GList *paths = g_hash_table_get_keys(names);
    for (GList *item = paths; item != NULL; item = item->next) {
        const char *path = item->data;
        if (!g_str_has_prefix(path, prefix)) continue;
        g_hash_table_insert(names, g_strconcat(to, path + strlen(from), NULL), g_hash_table_lookup(names, path));
        g_hash_table_remove(names, path);
    }
    g_list_free(paths);
}

static void add_event(Event event)
{
    if (recording) {
        g_array_append_val(events, event);
    } else {
        clear_event(&event);
    }
}

/* Counts a call; true if it has to fail, with errno. */
static bool fails(SimOp op)
{
    uint64_t call = ++calls[op];
    if (g_thread_self() == here) calls_here[op]++;
    if (faults[op].first == 0 || call < faults[op].first || call - faults[op].first >= faults[op].times) return false;
    faults[op].happened = true;
    errno = faults[op].error;
    return true;
}

/* ---- the operations ---- */

static void note_open(const char *path, int flags, int fd, bool existed)
{
    g_assert(fd < FDS);
    struct stat now;
    file_of[fd] = 0;
    if (!recording || fstat(fd, &now) != 0) return;
    if (S_ISDIR(now.st_mode)) {
        directory_of[fd] = g_strdup(path);
        return;
    }
    if (!existed) {
        g_hash_table_insert(live, g_strdup(path), GINT_TO_POINTER(++files));
        add_event((Event){ .kind = CREATE, .path = g_strdup(path), .file = files });
    }
    file_of[fd] = GPOINTER_TO_INT(g_hash_table_lookup(live, path));
    if (existed && (flags & O_TRUNC) != 0) add_event((Event){ .kind = TRUNCATE, .file = file_of[fd] });
}

static int sim_open(const char *path, int flags, mode_t mode)
{
    g_mutex_lock(&lock);
    int fd = -1;
    if (!fails(SIM_OPEN)) {
        bool existed = access(path, F_OK) == 0;
        fd = io_kernel.open(path, flags, mode);
        if (fd >= 0) note_open(normal(path), flags, fd, existed);
    }
    g_mutex_unlock(&lock);
    return fd;
}

static int sim_close(int fd)
{
    g_mutex_lock(&lock);
    bool failed = fails(SIM_CLOSE);
    int error = errno;
    g_assert(fd >= 0 && fd < FDS);
    file_of[fd] = 0;
    g_clear_pointer(&directory_of[fd], g_free);
    int result = io_kernel.close(fd);
    g_assert(result == 0); /* no descriptor is closed twice */
    g_mutex_unlock(&lock);
    if (failed) errno = error;
    return failed ? -1 : result;
}

static ssize_t sim_read(int fd, void *to, size_t len, off_t at)
{
    g_mutex_lock(&lock);
    bool failed = fails(SIM_READ);
    int error = errno;
    g_mutex_unlock(&lock);
    if (failed) errno = error;
    ssize_t got = failed ? -1 : io_kernel.read(fd, to, len, at);
    if (got <= 0 || g_thread_self() == here) return got;
    g_mutex_lock(&lock);
    if (at != warm_end) warm_begin = at;
    warm_end = at + got;
    g_mutex_unlock(&lock);
    return got;
}

static ssize_t sim_read_cached(int fd, void *to, size_t len, off_t at)
{
    g_mutex_lock(&lock);
    bool cached = !cold || (at >= warm_begin && at < warm_end);
    if (cold && cached) len = MIN(len, (size_t)(warm_end - at));
    g_mutex_unlock(&lock);
    if (!cached) errno = EAGAIN;
    return cached ? io_kernel.read(fd, to, len, at) : -1;
}

static ssize_t write_and_log(int fd, const void *from, size_t len, off_t at)
{
    ssize_t put = io_kernel.write(fd, from, len, at);
    if (put > 0 && file_of[fd] > 0) {
        add_event((Event){ .kind = WRITE,
                           .file = file_of[fd],
                           .at = (uint64_t)at,
                           .bytes = g_memdup2(from, (gsize)put),
                           .len = (size_t)put });
    }
    return put;
}

static ssize_t sim_write(int fd, const void *from, size_t len, off_t at)
{
    g_mutex_lock(&lock);
    ssize_t put = -1;
    if (fails(SIM_WRITE)) {
        int saved = errno;
        (void)write_and_log(fd, from, len / 2, at);
        errno = saved;
    } else if (disk_room == 0) {
        errno = ENOSPC;
    } else {
        if (disk_room > 0) len = MIN(len, (size_t)disk_room);
        put = write_and_log(fd, from, len, at);
        if (disk_room > 0) disk_room -= put;
    }
    g_mutex_unlock(&lock);
    return put;
}

static int sim_sync(int fd)
{
    g_mutex_lock(&lock);
    bool failed = fails(SIM_SYNC);
    int error = errno;
    uint64_t covered = recording ? events->len : 0;
    unsigned long wait_us = sync_us;
    g_mutex_unlock(&lock);
    if (wait_us > 0) g_usleep(wait_us);
    g_mutex_lock(&lock);
    if (directory_of[fd] != NULL && !failed)
        add_event((Event){ .kind = SYNC_DIRECTORY, .path = g_strdup(directory_of[fd]), .at = covered });
    if (file_of[fd] > 0) add_event((Event){ .kind = failed ? SYNC_FAILED : SYNC, .file = file_of[fd], .at = covered });
    g_mutex_unlock(&lock);
    if (failed) errno = error;
    return failed ? -1 : 0;
}

static int sim_allocate(int fd, off_t at, off_t len)
{
    g_mutex_lock(&lock);
    int result = -1;
    if (!fails(SIM_ALLOCATE)) {
        if (disk_room >= 0 && len > disk_room)
            errno = ENOSPC;
        else
            result = io_kernel.allocate(fd, at, len);
    }
    g_mutex_unlock(&lock);
    return result;
}

static void sim_begin_writing(int fd, off_t at, off_t len)
{
    (void)fd;
    (void)at;
    g_mutex_lock(&lock);
    begun_bytes += (uint64_t)len;
    g_mutex_unlock(&lock);
}

static int sim_finish_writing(int fd)
{
    (void)fd;
    g_mutex_lock(&lock);
    int result = fails(SIM_SYNC) ? -1 : 0;
    g_mutex_unlock(&lock);
    return result;
}

static int sim_truncate(int fd, off_t len)
{
    g_mutex_lock(&lock);
    int result = fails(SIM_TRUNCATE) ? -1 : io_kernel.truncate(fd, len);
    if (result == 0 && file_of[fd] > 0)
        add_event((Event){ .kind = TRUNCATE, .file = file_of[fd], .at = (uint64_t)len });
    g_mutex_unlock(&lock);
    return result;
}

static int sim_rename(const char *from, const char *to)
{
    g_mutex_lock(&lock);
    int result = fails(SIM_RENAME) ? -1 : io_kernel.rename(from, to);
    if (result == 0 && recording) {
        void *file = g_hash_table_lookup(live, normal(from));
        g_hash_table_remove(live, normal(from));
        if (file != NULL) {
            g_hash_table_insert(live, g_strdup(normal(to)), file);
        } else {
            move_below(live, normal(from), normal(to));
        }
        add_event((Event){ .kind = RENAME, .path = g_strdup(normal(from)), .path2 = g_strdup(normal(to)) });
    }
    g_mutex_unlock(&lock);
    return result;
}

static int sim_unlink(const char *path)
{
    g_mutex_lock(&lock);
    int result = fails(SIM_UNLINK) ? -1 : io_kernel.unlink(path);
    if (result == 0 && recording) {
        g_hash_table_remove(live, normal(path));
        add_event((Event){ .kind = UNLINK, .path = g_strdup(normal(path)) });
    }
    g_mutex_unlock(&lock);
    return result;
}

static int sim_mkdir(const char *path, mode_t mode)
{
    g_mutex_lock(&lock);
    int result = fails(SIM_MKDIR) ? -1 : io_kernel.mkdir(path, mode);
    if (result == 0) add_event((Event){ .kind = MKDIR, .path = g_strdup(normal(path)) });
    g_mutex_unlock(&lock);
    return result;
}

static const Io sim_table = {
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .read_cached = sim_read_cached,
    .write = sim_write,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .begin_writing = sim_begin_writing,
    .finish_writing = sim_finish_writing,
    .truncate = sim_truncate,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
};

/* ---- settings ---- */

/* Logs what is in a directory as if it had been made. */
static void log_directory(const char *directory)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    g_assert(dir != NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *inside = g_build_filename(directory, name, NULL);
        const char *path = normal(inside);
        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            add_event((Event){ .kind = MKDIR, .path = g_strdup(path) });
            log_directory(path);
            continue;
        }
        Event content = { .kind = WRITE, .file = ++files };
        g_assert(g_file_get_contents(path, &content.bytes, &content.len, NULL));
        g_hash_table_insert(live, g_strdup(path), GINT_TO_POINTER(files));
        add_event((Event){ .kind = CREATE, .path = g_strdup(path), .file = files });
        add_event(content);
    }
}

static void forget_log(void)
{
    recording = false;
    if (events != NULL) g_array_unref(events);
    if (live != NULL) g_hash_table_unref(live);
    events = NULL;
    live = NULL;
    files = 0;
    for (int fd = 0; fd < FDS; fd++)
        g_clear_pointer(&directory_of[fd], g_free);
    memset(file_of, 0, sizeof(file_of));
}

/* Whether threads of store/warm run, which nobody waits for. */
static bool is_warming(void)
{
    bool found = false;
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename("/proc/self/task", name, "comm", NULL), *comm = NULL;
        if (g_file_get_contents(path, &comm, NULL, NULL) && strcmp(comm, "ckv-warm\n") == 0) found = true;
    }
    g_dir_close(dir);
    return found;
}

void sim_set_cold(bool is_cold)
{
    g_mutex_lock(&lock);
    cold = is_cold;
    warm_begin = warm_end = -1;
    g_mutex_unlock(&lock);
}

void sim_start(void)
{
    forget_log();
    memset(calls, 0, sizeof(calls));
    memset(calls_here, 0, sizeof(calls_here));
    here = g_thread_self();
    memset(faults, 0, sizeof(faults));
    disk_room = -1;
    sync_us = 0;
    begun_bytes = 0;
    sim_set_cold(false);
    io = &sim_table;
}

void sim_stop(void)
{
    while (is_warming())
        g_usleep(100);
    g_mutex_lock(&lock);
    forget_log();
    g_mutex_unlock(&lock);
    io = &io_kernel;
}

void sim_fail(SimOp op, uint64_t nth, uint64_t times, int error)
{
    g_mutex_lock(&lock);
    faults[op].first = nth == 0 ? 0 : calls[op] + nth;
    faults[op].times = times;
    faults[op].error = error;
    faults[op].happened = false;
    g_mutex_unlock(&lock);
}

bool sim_has_failed(SimOp op)
{
    g_mutex_lock(&lock);
    bool result = faults[op].happened;
    g_mutex_unlock(&lock);
    return result;
}

uint64_t sim_calls(SimOp op)
{
    g_mutex_lock(&lock);
    uint64_t result = calls[op];
    g_mutex_unlock(&lock);
    return result;
}

uint64_t sim_calls_here(SimOp op)
{
    g_mutex_lock(&lock);
    uint64_t result = calls_here[op];
    g_mutex_unlock(&lock);
    return result;
}

void sim_set_room(int64_t bytes)
{
    g_mutex_lock(&lock);
    disk_room = bytes < 0 ? -1 : bytes;
    g_mutex_unlock(&lock);
}

void sim_set_sync_us(unsigned long us)
{
    g_mutex_lock(&lock);
    sync_us = us;
    g_mutex_unlock(&lock);
}

uint64_t sim_begun_bytes(void)
{
    g_mutex_lock(&lock);
    uint64_t bytes = begun_bytes;
    g_mutex_unlock(&lock);
    return bytes;
}

void sim_record(void)
{
    g_mutex_lock(&lock);
    forget_log();
    events = g_array_new(FALSE, FALSE, sizeof(Event));
    g_array_set_clear_func(events, clear_event);
    live = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    recording = true;
    log_directory(".");
    standing = events->len;
    g_mutex_unlock(&lock);
}

void sim_note(uint64_t value)
{
    g_mutex_lock(&lock);
    add_event((Event){ .kind = NOTE, .at = value });
    g_mutex_unlock(&lock);
}

size_t sim_events(void)
{
    g_mutex_lock(&lock);
    size_t result = events->len - standing;
    g_mutex_unlock(&lock);
    return result;
}

/* ---- the power cut ---- */

typedef struct Disk {
    GPtrArray *content; /* by file: GByteArray, what is durable */
    GHashTable *names;  /* path -> file (0: a directory): what is durable */
    GArray *pending;    /* of size_t: events that no sync has covered, in order */
    GRand *rand;
} Disk;

static Event *event_at(size_t index)
{
    return &g_array_index(events, Event, index);
}

static GByteArray *content_of(Disk *disk, int file)
{
    while (disk->content->len <= (guint)file)
        g_ptr_array_add(disk->content, g_byte_array_new());
    return g_ptr_array_index(disk->content, (guint)file);
}

static void resize(GByteArray *bytes, size_t len)
{
    guint before = bytes->len;
    g_byte_array_set_size(bytes, (guint)len);
    if (len > before) memset(bytes->data + before, 0, len - before);
}

static void apply_bytes(GByteArray *bytes, const Event *event, size_t from, size_t to)
{
    if (event->at + to > bytes->len) resize(bytes, event->at + to);
    if (to > from) memcpy(bytes->data + event->at + from, event->bytes + from, to - from);
}

static bool is_name_event(const Event *event)
{
    return event->kind == CREATE || event->kind == RENAME || event->kind == UNLINK || event->kind == MKDIR;
}

static void apply_name(Disk *disk, const Event *event)
{
    void *file = NULL;
    if (event->kind == RENAME && !g_hash_table_lookup_extended(disk->names, event->path, NULL, &file)) return;
    if (event->kind == CREATE || event->kind == MKDIR)
        g_hash_table_insert(disk->names, g_strdup(event->path), GINT_TO_POINTER(event->file));
    if (event->kind == RENAME || event->kind == UNLINK) g_hash_table_remove(disk->names, event->path);
    if (event->kind != RENAME) return;
    g_hash_table_insert(disk->names, g_strdup(event->path2), file);
    if (file == NULL) move_below(disk->names, event->path, event->path2);
}

static void apply(Disk *disk, const Event *event)
{
    if (is_name_event(event))
        apply_name(disk, event);
    else if (event->kind == WRITE)
        apply_bytes(content_of(disk, event->file), event, 0, event->len);
    else
        resize(content_of(disk, event->file), event->at);
}

static bool covers(const Event *sync, const Event *event)
{
    if (sync->kind != SYNC_DIRECTORY) return !is_name_event(event) && event->file == sync->file;
    if (!is_name_event(event)) return false;
    g_autofree char *directory = g_path_get_dirname(event->path2 != NULL ? event->path2 : event->path);
    return strcmp(directory, sync->path) == 0;
}

static void replay_sync(Disk *disk, const Event *sync)
{
    guint kept = 0;
    for (guint i = 0; i < disk->pending->len; i++) {
        size_t index = g_array_index(disk->pending, size_t, i);
        const Event *event = event_at(index);
        bool covered = index < sync->at && covers(sync, event);
        if (covered && sync->kind != SYNC_FAILED) apply(disk, event);
        if (!covered) g_array_index(disk->pending, size_t, kept++) = index;
    }
    g_array_set_size(disk->pending, kept);
}

/* Some sectors of a write. */
static void tear_sectors(Disk *disk, const Event *event)
{
    GByteArray *bytes = content_of(disk, event->file);
    size_t at = 0;
    while (at < event->len) {
        size_t end = MIN(event->len, at + SECTOR - (event->at + at) % SECTOR);
        if (g_rand_boolean(disk->rand)) apply_bytes(bytes, event, at, end);
        at = end;
    }
}

static void apply_some(Disk *disk, const Event *event)
{
    int way = g_rand_int_range(disk->rand, 0, 8);
    if (way < 4)
        apply(disk, event);
    else if (way < 5 && event->kind == WRITE)
        tear_sectors(disk, event);
    else if (way < 6 && event->kind == WRITE)
        apply_bytes(content_of(disk, event->file), event, 0,
                    (size_t)g_rand_int_range(disk->rand, 0, (gint32)event->len + 1));
}

/* Of what wasn't synced: nothing, everything, the beginning, or anything. */
static void replay_rest(Disk *disk)
{
    int way = g_rand_int_range(disk->rand, 0, 4);
    guint count = disk->pending->len;
    guint names = way == 0 ? 0 : (guint)g_rand_int_range(disk->rand, 0, (gint32)count + 1);
    guint whole = way == 2 ? (guint)g_rand_int_range(disk->rand, 0, (gint32)count + 1) : count;
    for (guint i = 0; i < count; i++) {
        const Event *event = event_at(g_array_index(disk->pending, size_t, i));
        if (way == 1 || (is_name_event(event) && i < names))
            apply(disk, event);
        else if (is_name_event(event) || way == 0)
            continue;
        else if (way == 2 && i < whole)
            apply(disk, event);
        else if (way == 3 || i == whole)
            apply_some(disk, event);
    }
}

static void write_out(Disk *disk, const char *directory)
{
    GList *paths = g_list_sort(g_hash_table_get_keys(disk->names), (GCompareFunc)strcmp);
    for (GList *item = paths; item != NULL; item = item->next) {
        int file = GPOINTER_TO_INT(g_hash_table_lookup(disk->names, item->data));
        g_autofree char *path = g_build_filename(directory, item->data, NULL);
        g_autofree char *parent = g_path_get_dirname(path);
        if (access(parent, F_OK) != 0) continue; /* its directory didn't last */
        if (file == 0) {
            g_assert(mkdir(path, 0700) == 0);
        } else {
            GByteArray *bytes = content_of(disk, file);
            g_assert(g_file_set_contents_full(path, bytes->data != NULL ? (const char *)bytes->data : "", bytes->len,
                                              G_FILE_SET_CONTENTS_NONE, 0600, NULL));
        }
    }
    g_list_free(paths);
}

uint64_t sim_power_cut(size_t count, GRand *rand, const char *directory)
{
    g_mutex_lock(&lock);
    Disk disk = { .content = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref),
                  .names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                  .pending = g_array_new(FALSE, FALSE, sizeof(size_t)),
                  .rand = rand };
    uint64_t promised = 0;
    for (size_t i = 0; i < standing; i++)
        apply(&disk, event_at(i));
    for (size_t i = standing; i < standing + count; i++) {
        const Event *event = event_at(i);
        if (event->kind == NOTE)
            promised = MAX(promised, event->at);
        else if (event->kind == SYNC || event->kind == SYNC_FAILED || event->kind == SYNC_DIRECTORY)
            replay_sync(&disk, event);
        else
            g_array_append_val(disk.pending, i);
    }
    replay_rest(&disk);
    write_out(&disk, directory);
    g_ptr_array_unref(disk.content);
    g_hash_table_unref(disk.names);
    g_array_unref(disk.pending);
    g_mutex_unlock(&lock);
    return promised;
}
