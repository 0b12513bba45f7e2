/* pending.c: weak stand-ins until every part is there; goes away with the last of them. */
#include "base/options.h"
#include "cmds/slowlog.h"
#include "store/evict.h"
#include "store/list.h"
#define W __attribute__((weak))
W bool evict_run(Keyspace *k)
{
    (void)k;
    return true;
}
W void pubsub_forget(Session *s)
{
    (void)s;
}
W size_t session_subscriptions(const Session *s)
{
    (void)s;
    return 0;
}
W void notify(Db *db, unsigned c, const char *e, Slice k)
{
    (void)db;
    (void)c;
    (void)e;
    (void)k;
}
W void list_free(List *l)
{
    (void)l;
}
