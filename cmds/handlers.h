/* handlers.h: every command handler, for the command table only. Each is documented where it is defined: cmd_<name> in
 * its family's file.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_HANDLERS_H
#define CKV_CMDS_HANDLERS_H

#include "cmds/command.h"

/* strings.c */
void cmd_get(Request *r) __attribute__((weak));
void cmd_set(Request *r) __attribute__((weak));
void cmd_setnx(Request *r) __attribute__((weak));
void cmd_setex(Request *r) __attribute__((weak));
void cmd_psetex(Request *r) __attribute__((weak));
void cmd_append(Request *r) __attribute__((weak));
void cmd_strlen(Request *r) __attribute__((weak));
void cmd_setbit(Request *r) __attribute__((weak));
void cmd_getbit(Request *r) __attribute__((weak));
void cmd_setrange(Request *r) __attribute__((weak));
void cmd_getrange(Request *r) __attribute__((weak));
void cmd_incr(Request *r) __attribute__((weak));
void cmd_decr(Request *r) __attribute__((weak));
void cmd_mget(Request *r) __attribute__((weak));
void cmd_incrby(Request *r) __attribute__((weak));
void cmd_decrby(Request *r) __attribute__((weak));
void cmd_incrbyfloat(Request *r) __attribute__((weak));
void cmd_getset(Request *r) __attribute__((weak));
void cmd_mset(Request *r) __attribute__((weak));
void cmd_msetnx(Request *r) __attribute__((weak));
void cmd_bitop(Request *r) __attribute__((weak));
void cmd_bitcount(Request *r) __attribute__((weak));
void cmd_bitpos(Request *r) __attribute__((weak));
/* lists.c */
void cmd_rpush(Request *r) __attribute__((weak));
void cmd_lpush(Request *r) __attribute__((weak));
void cmd_rpushx(Request *r) __attribute__((weak));
void cmd_lpushx(Request *r) __attribute__((weak));
void cmd_linsert(Request *r) __attribute__((weak));
void cmd_rpop(Request *r) __attribute__((weak));
void cmd_lpop(Request *r) __attribute__((weak));
void cmd_llen(Request *r) __attribute__((weak));
void cmd_lindex(Request *r) __attribute__((weak));
void cmd_lset(Request *r) __attribute__((weak));
void cmd_lrange(Request *r) __attribute__((weak));
void cmd_ltrim(Request *r) __attribute__((weak));
void cmd_lrem(Request *r) __attribute__((weak));
void cmd_rpoplpush(Request *r) __attribute__((weak));
/* sets.c */
void cmd_sadd(Request *r) __attribute__((weak));
void cmd_srem(Request *r) __attribute__((weak));
void cmd_smove(Request *r) __attribute__((weak));
void cmd_sismember(Request *r) __attribute__((weak));
void cmd_scard(Request *r) __attribute__((weak));
void cmd_spop(Request *r) __attribute__((weak));
void cmd_srandmember(Request *r) __attribute__((weak));
void cmd_sinter(Request *r) __attribute__((weak));
void cmd_sinterstore(Request *r) __attribute__((weak));
void cmd_sunion(Request *r) __attribute__((weak));
void cmd_sunionstore(Request *r) __attribute__((weak));
void cmd_sdiff(Request *r) __attribute__((weak));
void cmd_sdiffstore(Request *r) __attribute__((weak));
void cmd_smembers(Request *r) __attribute__((weak));
void cmd_sscan(Request *r) __attribute__((weak));
/* zsets.c */
void cmd_zadd(Request *r) __attribute__((weak));
void cmd_zincrby(Request *r) __attribute__((weak));
void cmd_zrem(Request *r) __attribute__((weak));
void cmd_zremrangebyscore(Request *r) __attribute__((weak));
void cmd_zremrangebyrank(Request *r) __attribute__((weak));
void cmd_zremrangebylex(Request *r) __attribute__((weak));
void cmd_zunionstore(Request *r) __attribute__((weak));
void cmd_zinterstore(Request *r) __attribute__((weak));
void cmd_zrange(Request *r) __attribute__((weak));
void cmd_zrangebyscore(Request *r) __attribute__((weak));
void cmd_zrevrangebyscore(Request *r) __attribute__((weak));
void cmd_zrangebylex(Request *r) __attribute__((weak));
void cmd_zrevrangebylex(Request *r) __attribute__((weak));
void cmd_zcount(Request *r) __attribute__((weak));
void cmd_zlexcount(Request *r) __attribute__((weak));
void cmd_zrevrange(Request *r) __attribute__((weak));
void cmd_zcard(Request *r) __attribute__((weak));
void cmd_zscore(Request *r) __attribute__((weak));
void cmd_zrank(Request *r) __attribute__((weak));
void cmd_zrevrank(Request *r) __attribute__((weak));
void cmd_zscan(Request *r) __attribute__((weak));
/* hashes.c */
void cmd_hset(Request *r) __attribute__((weak));
void cmd_hsetnx(Request *r) __attribute__((weak));
void cmd_hget(Request *r) __attribute__((weak));
void cmd_hmset(Request *r) __attribute__((weak));
void cmd_hmget(Request *r) __attribute__((weak));
void cmd_hincrby(Request *r) __attribute__((weak));
void cmd_hincrbyfloat(Request *r) __attribute__((weak));
void cmd_hdel(Request *r) __attribute__((weak));
void cmd_hlen(Request *r) __attribute__((weak));
void cmd_hstrlen(Request *r) __attribute__((weak));
void cmd_hkeys(Request *r) __attribute__((weak));
void cmd_hvals(Request *r) __attribute__((weak));
void cmd_hgetall(Request *r) __attribute__((weak));
void cmd_hexists(Request *r) __attribute__((weak));
void cmd_hscan(Request *r) __attribute__((weak));
/* hyperloglog.c */
void cmd_pfadd(Request *r) __attribute__((weak));
void cmd_pfcount(Request *r) __attribute__((weak));
void cmd_pfmerge(Request *r) __attribute__((weak));
/* geo.c */
void cmd_geoadd(Request *r) __attribute__((weak));
void cmd_georadius(Request *r) __attribute__((weak));
void cmd_georadiusbymember(Request *r) __attribute__((weak));
void cmd_geohash(Request *r) __attribute__((weak));
void cmd_geopos(Request *r) __attribute__((weak));
void cmd_geodist(Request *r) __attribute__((weak));
/* keys.c */
void cmd_del(Request *r) __attribute__((weak));
void cmd_exists(Request *r) __attribute__((weak));
void cmd_randomkey(Request *r) __attribute__((weak));
void cmd_move(Request *r) __attribute__((weak));
void cmd_rename(Request *r) __attribute__((weak));
void cmd_renamenx(Request *r) __attribute__((weak));
void cmd_expire(Request *r) __attribute__((weak));
void cmd_expireat(Request *r) __attribute__((weak));
void cmd_pexpire(Request *r) __attribute__((weak));
void cmd_pexpireat(Request *r) __attribute__((weak));
void cmd_keys(Request *r) __attribute__((weak));
void cmd_scan(Request *r) __attribute__((weak));
void cmd_type(Request *r) __attribute__((weak));
void cmd_sort(Request *r) __attribute__((weak));
void cmd_ttl(Request *r) __attribute__((weak));
void cmd_pttl(Request *r) __attribute__((weak));
void cmd_persist(Request *r) __attribute__((weak));
/* transactions.c */
void cmd_multi(Request *r) __attribute__((weak));
void cmd_exec(Request *r) __attribute__((weak));
void cmd_discard(Request *r) __attribute__((weak));
void cmd_watch(Request *r) __attribute__((weak));
void cmd_unwatch(Request *r) __attribute__((weak));
/* pubsub.c */
void cmd_subscribe(Request *r) __attribute__((weak));
void cmd_unsubscribe(Request *r) __attribute__((weak));
void cmd_psubscribe(Request *r) __attribute__((weak));
void cmd_punsubscribe(Request *r) __attribute__((weak));
void cmd_publish(Request *r) __attribute__((weak));
void cmd_pubsub(Request *r) __attribute__((weak));
/* connection.c */
void cmd_select(Request *r) __attribute__((weak));
void cmd_auth(Request *r) __attribute__((weak));
void cmd_ping(Request *r) __attribute__((weak));
void cmd_echo(Request *r) __attribute__((weak));
void cmd_quit(Request *r) __attribute__((weak));
/* server.c */
void cmd_dbsize(Request *r) __attribute__((weak));
void cmd_info(Request *r) __attribute__((weak));
void cmd_time(Request *r) __attribute__((weak));
void cmd_command(Request *r) __attribute__((weak));
/* admin.c */
void cmd_shutdown(Request *r) __attribute__((weak));
void cmd_lastsave(Request *r) __attribute__((weak));
void cmd_flushdb(Request *r) __attribute__((weak));
void cmd_flushall(Request *r) __attribute__((weak));
void cmd_monitor(Request *r) __attribute__((weak));
void cmd_role(Request *r) __attribute__((weak));
void cmd_debug(Request *r) __attribute__((weak));
void cmd_config(Request *r) __attribute__((weak));
void cmd_object(Request *r) __attribute__((weak));
void cmd_client(Request *r) __attribute__((weak));
void cmd_slowlog(Request *r) __attribute__((weak));
void cmd_pfselftest(Request *r) __attribute__((weak));
void cmd_pfdebug(Request *r) __attribute__((weak));
void cmd_latency(Request *r) __attribute__((weak));

#endif
