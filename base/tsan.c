/* tsan.c: tells TSan what GLib's locks, conditions and queues order, in builds with SAN=tsan only; else it's empty.
 *
 * GLib makes them from futexes, in a library that isn't instrumented, so TSan takes all that they protect for races.
 * These functions stand before GLib's own in the order of linking.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif

#ifdef TSAN

#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

const char *__tsan_default_options(void);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

/* A server that ends doesn't wait for what its threads write that nobody needs then: files for slaves, a backup. */
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0";
}

/* GLib's function of the name of the one that asks. */
#define REAL(type) ((type)dlsym(RTLD_NEXT, __func__))

void g_mutex_lock(GMutex *mutex)
{
    REAL(void (*)(GMutex *))(mutex);
    __tsan_acquire(mutex);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    gboolean locked = REAL(gboolean(*)(GMutex *))(mutex);
    if (locked) __tsan_acquire(mutex);
    return locked;
}

void g_mutex_unlock(GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(void (*)(GMutex *))(mutex);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(void (*)(GCond *, GMutex *))(cond, mutex);
    __tsan_acquire(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    __tsan_release(mutex);
    gboolean signalled = REAL(gboolean(*)(GCond *, GMutex *, gint64))(cond, mutex, end_time);
    __tsan_acquire(mutex);
    return signalled;
}

void g_async_queue_push(GAsyncQueue *queue, gpointer data)
{
    __tsan_release(queue);
    REAL(void (*)(GAsyncQueue *, gpointer))(queue, data);
}

/* What takes from a queue frees its node, too: the other thread's, before it can be told that they're in order. */
gpointer g_async_queue_pop(GAsyncQueue *queue)
{
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    gpointer data = REAL(gpointer(*)(GAsyncQueue *))(queue);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    __tsan_acquire(queue);
    return data;
}

gpointer g_async_queue_try_pop(GAsyncQueue *queue)
{
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    gpointer data = REAL(gpointer(*)(GAsyncQueue *))(queue);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    __tsan_acquire(queue);
    return data;
}

gpointer g_async_queue_timeout_pop(GAsyncQueue *queue, guint64 timeout)
{
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    gpointer data = REAL(gpointer(*)(GAsyncQueue *, guint64))(queue, timeout);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    __tsan_acquire(queue);
    return data;
}

/* It keeps each text for whoever asks next, of whatever thread. */
const gchar *g_strerror(gint number)
{
    static char order;
    const gchar *text = REAL(const gchar *(*)(gint))(number);
    __tsan_release(&order);
    __tsan_acquire(&order);
    return text;
}

#endif
