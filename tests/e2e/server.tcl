# server.tcl: INFO, COMMAND, TIME and DBSIZE; what INFO counts is counted.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The sections of an INFO reply, in their order.
proc sections {text} {
    set titles {}
    foreach {-> title} [regexp -all -inline {(?n)^# (\w+)\r$} $text] { lappend titles $title }
    return $titles
}

# The fields of one section.
proc fields {section} {
    set names {}
    foreach {-> name} [regexp -all -inline {(?n)^(\w+):} [r info $section]] { lappend names $name }
    return $names
}

with_server {--databases 4} {
    test "INFO's sections are 3.2's, and so is which of them a call gives" {
        set usual {Server Clients Memory Persistence Stats Replication CPU Cluster Keyspace}
        assert_equal $usual [sections [r info]]
        assert_equal $usual [sections [r info DEFAULT]]
        assert_equal {Server Clients Memory Persistence Stats Replication CPU Commandstats Cluster Keyspace} \
            [sections [r info all]]
        foreach section {Server Clients Memory Persistence Stats Replication CPU Commandstats Cluster Keyspace} {
            assert_equal $section [sections [r info [string tolower $section]]]
        }
        assert_equal "" [r info nosuch]
        assert_error "ERR syntax error" {r info server clients}
    }

    test "INFO's fields are 3.2's, in its order" {
        assert_equal [list {*}{redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits
            multiplexing_api gcc_version process_id run_id tcp_port uptime_in_seconds uptime_in_days hz lru_clock
            executable config_file ckv_version}] [fields server]
        assert_equal [list {*}{connected_clients client_longest_output_list client_biggest_input_buf blocked_clients}] \
            [fields clients]
        assert_equal [list {*}{used_memory used_memory_human used_memory_rss used_memory_rss_human used_memory_peak
            used_memory_peak_human total_system_memory total_system_memory_human used_memory_lua
            used_memory_lua_human maxmemory maxmemory_human maxmemory_policy mem_fragmentation_ratio mem_allocator}] \
            [fields memory]
        assert_equal [list {*}{loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time
            rdb_last_bgsave_status rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec aof_enabled
            aof_rewrite_in_progress aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec
            aof_last_bgrewrite_status aof_last_write_status}] [lsearch -all -inline -not [fields persistence] ckv_*]
        assert_equal [list {*}{total_connections_received total_commands_processed instantaneous_ops_per_sec
            total_net_input_bytes total_net_output_bytes instantaneous_input_kbps instantaneous_output_kbps
            rejected_connections sync_full sync_partial_ok sync_partial_err expired_keys evicted_keys keyspace_hits
            keyspace_misses pubsub_channels pubsub_patterns latest_fork_usec migrate_cached_sockets}] [fields stats]
        assert_equal [list {*}{role connected_slaves master_replid master_replid2 master_repl_offset
            second_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen
            master_failover_state ckv_ack_lost ckv_ack_alone ckv_unconfirmed_closed}] [fields replication]
        assert_equal [list {*}{used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children}] [fields cpu]
        assert_equal cluster_enabled [fields cluster]
    }

    test "INFO says who it is" {
        assert_equal 3.2.13 [info_field redis_version]
        assert_match *.*.* [info_field ckv_version]
        assert_equal [server_pid] [info_field process_id]
        assert_equal [server_port] [info_field tcp_port]
        assert {[regexp {^[0-9a-f]{40}$} [info_field run_id]]}
        assert_equal [file normalize $::ckv] [info_field executable]
        assert_equal standalone [info_field redis_mode]
        assert_equal master [info_field role]
    }

    test "INFO counts clients, commands and bytes" {
        r config resetstat
        assert_equal 1 [info_field total_commands_processed]
        set c [connect]
        $c ping
        assert_equal 2 [info_field connected_clients]
        assert_equal 1 [info_field total_connections_received]
        set before [info_field total_net_input_bytes]
        $c set k [repeat x 10000]
        assert {[info_field total_net_input_bytes] - $before > 10000}
        set before [info_field total_net_output_bytes]
        $c get k
        assert {[info_field total_net_output_bytes] - $before > 10000}
        disconnect $c
        wait_until {[info_field connected_clients] == 1}
    }

    test "INFO counts hits, misses, changes and expired keys" {
        r config resetstat
        set changes [info_field rdb_changes_since_last_save]
        r set a 1
        r set b 1 px 1
        r get a
        r get missing
        wait_until {[info_field expired_keys] == 1}
        assert_equal 1 [info_field keyspace_hits]
        assert_equal 1 [info_field keyspace_misses]
        assert_equal 2 [expr {[info_field rdb_changes_since_last_save] - $changes}]
    }

    test "TTL and TYPE are hits or misses, as in Redis; what is read to be stored is neither" {
        r set string 1
        r sadd set 1
        r zadd zset 1 a
        r config resetstat
        foreach key {string missing} {
            r type $key
            r ttl $key
            r pttl $key
        }
        assert_equal {3 3} [list [info_field keyspace_hits] [info_field keyspace_misses]]
        foreach command {sinterstore sunionstore sdiffstore} { r $command to set missing }
        foreach command {zinterstore zunionstore} { r $command to 2 zset missing }
        r object encoding string
        r exists string missing
        assert_equal {3 3} [list [info_field keyspace_hits] [info_field keyspace_misses]]
    }

    test "INFO commandstats counts calls and their time" {
        r config resetstat
        r set a 1
        r set a 2
        catch {r get}
        r debug sleep 0.02
        assert {[regexp {cmdstat_set:calls=2,usec=(\d+),usec_per_call=([\d.]+)\r\n} [r info commandstats] -> usec per]}
        assert {abs($usec / 2.0 - $per) < 0.01}
        assert_equal "" [info_field cmdstat_get]
        assert {[regexp {^calls=1,usec=(\d+),} [info_field cmdstat_debug] -> usec]}
        assert {$usec >= 20000}
    }

    test "INFO commandstats counts what EXEC runs under its name" {
        r config resetstat
        r multi
        r set a 1
        r debug sleep 0.02
        catch {r get}
        assert_error "EXECABORT*" {r exec}
        assert_match "calls=1,*" [info_field cmdstat_exec]
        r multi
        r set a 1
        r lpush a x
        r debug sleep 0.02
        catch {r exec}
        foreach name {set lpush debug get} { assert_equal "" [info_field cmdstat_$name] }
        assert_match "calls=2,*" [info_field cmdstat_multi]
        assert {[regexp {^calls=5,usec=(\d+),} [info_field cmdstat_exec] -> usec]}
        assert {$usec >= 40000} ;# DEBUG's and EXEC's own
        r set a 2
        assert_match "calls=1,*" [info_field cmdstat_set]
    }

    test "INFO counts subscriptions" {
        set c [connect]
        $c subscribe a
        send $c psubscribe x* y*
        recv $c
        recv $c
        assert_equal 1 [info_field pubsub_channels]
        assert_equal 2 [info_field pubsub_patterns]
        disconnect $c
    }

    test "INFO keyspace shows databases that aren't empty" {
        assert_equal "# Keyspace\r\n" [r info keyspace]
        r set a 1
        r set b 1 ex 100
        r select 3
        r set c 1
        assert_equal "keys=1,expires=0,avg_ttl=0" [info_field db3]
        assert {[regexp {^keys=2,expires=1,avg_ttl=(\d+)$} [info_field db0] -> ttl]}
        assert {$ttl > 90000 && $ttl <= 100000}
        r select 0
    }

    test "INFO's memory follows the data" {
        if {$::sanitized} { skip "only jemalloc counts to the byte" }
        r set other [repeat x 1000000] ;# the journal's buffer grows to what was written at a time
        set before [info_field used_memory]
        r set k [repeat x 1000000]
        set used [info_field used_memory]
        assert {$used - $before > 1000000 && $used - $before < 1300000}
        assert {[info_field used_memory_peak] >= $used}
        assert_match *M [info_field used_memory_human]
        assert {[info_field used_memory_rss] > 1000000}
        assert_match jemalloc-* [info_field mem_allocator]
    }

    test "what was deleted, replaced or flushed is freed while clients go on" {
        set count [expr {$::sanitized ? 20000 : 100000}]
        set before [info_field used_memory]
        foreach {key command} {h hset z zadd s sadd l rpush} {
            set c [connect]
            for {set i 0} {$i < $count} {incr i} {
                send $c $command $key {*}[dict get [list hset "f:$i v" zadd "$i m:$i" sadd m:$i rpush e:$i] $command]
                if {$i % 1000 == 999} { for {set j 0} {$j < 1000} {incr j} { recv $c } }
            }
            disconnect $c
        }
        set full [info_field used_memory]
        assert {$full - $before > $count * 50}
        assert_equal 2 [r del h z]
        assert_equal 0 [r exists h z]
        r set s v
        assert_equal 2 [r dbsize]
        wait_until {[info_field used_memory] < $before + ($full - $before) * 2 / 3}
        r flushall
        assert_equal 0 [r dbsize]
        assert_equal 1 [r rpush l again]
        wait_until {[info_field used_memory] < $before + 100000}
    }

    test "INFO's rates rise with the load and fall without it" {
        set c [connect]
        for {set i 0} {$i < 5000} {incr i} { $c ping }
        disconnect $c
        wait_until {[info_field instantaneous_ops_per_sec] > 50}
        assert {[info_field instantaneous_input_kbps] > 0}
        wait_until {[info_field instantaneous_ops_per_sec] < 200}
    }

    test "COMMAND lists every command with 3.2's arity, flags and keys" {
        array set listed {}
        foreach command [r command] { set listed([lindex $command 0]) $command }
        assert_equal {get 2 {readonly fast} 1 1 1} $listed(get)
        assert_equal {set -3 {write denyoom} 1 1 1} $listed(set)
        assert_equal {mset -3 {write denyoom} 1 -1 2} $listed(mset)
        assert_equal {sort -2 {write denyoom movablekeys} 1 1 1} $listed(sort)
        assert_equal {auth 2 {noscript loading stale fast} 0 0 0} $listed(auth)
        assert_equal {command 0 {loading stale} 0 0 0} $listed(command)
        assert_equal {publish 3 {pubsub loading stale fast} 0 0 0} $listed(publish)
        foreach name {quit eval blpop migrate} { assert [expr {![info exists listed($name)]}] }
    }

    test "COMMAND's sub-commands are the operator's" {
        assert_equal [llength [r command]] [r command count]
        assert_equal {{get 2 {readonly fast} 1 1 1} (nil)} [r command info GET nosuch]
        assert_equal {} [r command info]
        assert_error "ERR unknown command 'command getkeys' (not supported by CKV Master/Slave)" {
            r command getkeys get a
        }
        assert_error "ERR Unknown subcommand or wrong number of arguments." {r command count x}
    }

    test "TIME is the clock's" {
        lassign [r time] seconds microseconds
        assert {abs($seconds - [clock seconds]) <= 1}
        assert {$microseconds >= 0 && $microseconds < 1000000}
    }

    test "DBSIZE is the database's own" {
        r set a 1
        r select 1
        assert_equal 0 [r dbsize]
        r select 0
        assert_equal 1 [r dbsize]
    }
}

with_server {--admin-plane auth} {
    test "COMMAND bare is everyone's and shows what everyone may run" {
        assert_error "ERR unknown command 'COMMAND COUNT' (not supported by CKV Master/Slave)" {r COMMAND COUNT}
        set names [lmap command [r command] {lindex $command 0}]
        assert {"get" in $names && "config" ni $names && "flushall" ni $names}
        assert_equal 133 [llength $names]
    }
}
