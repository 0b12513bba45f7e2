# evict.tcl: maxmemory: that the limit holds under each policy, which keys go, what is refused, and the events.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Stores keys `prefix`0 … of about `bytes` each, in pipelines; the number that was refused.
proc fill {prefix count bytes args} {
    set refused 0
    set c [connect]
    for {set i 0} {$i < $count} {incr i 100} {
        for {set j $i} {$j < $i + 100} {incr j} { send $c set $prefix$j [repeat x $bytes] {*}$args }
        for {set j 0} {$j < 100} {incr j} {
            if {[catch { recv $c } message]} {
                assert_match "OOM command not allowed when used memory > 'maxmemory'." $message
                incr refused
            }
        }
    }
    disconnect $c
    return $refused
}

# How many of the keys are still there.
proc survivors {prefix count {step 1}} {
    set keys {}
    for {set i 0} {$i < $count} {incr i $step} { lappend keys $prefix$i }
    return [r exists {*}$keys]
}

# The memory in use, once what was deleted is freed: that takes some runs of the server's timer.
proc settled_memory {} {
    set used [info_field used_memory]
    while 1 {
        after 60
        set now [info_field used_memory]
        if {$now >= $used} { return $now }
        set used $now
    }
}

# The limit: so much more than what is in use now.
proc limit {bytes policy} {
    r config set maxmemory-policy $policy
    r config set maxmemory [expr {[settled_memory] + $bytes}]
}

proc no_limit {} {
    r config set maxmemory 0
    r config set maxmemory-policy noeviction
}

with_server {} {
    foreach policy {allkeys-lru allkeys-random volatile-lru volatile-random volatile-ttl} {
        test "$policy keeps memory within the limit" {
            limit 2000000 $policy
            assert_equal 0 [fill key: 10000 1000 ex 1000]
            set over [expr {[info_field used_memory] - [lindex [r config get maxmemory] 1]}]
            assert {$over < 100000}
            set left [r dbsize]
            assert {$left > 1000 && $left < 2500}
            assert_equal [expr {10000 - $left}] [info_field evicted_keys]
            r config resetstat
            no_limit
        }
    }

    foreach policy {volatile-lru volatile-random volatile-ttl} {
        test "$policy leaves keys without a deadline, and refuses when there are no others" {
            assert_equal 0 [fill stays: 1000 1000]
            limit 1000000 $policy
            assert_equal 0 [fill goes: 1000 1000 ex 1000]
            assert_equal 1000 [survivors stays: 1000]
            assert {[fill more: 2000 1000] > 500}
            assert_equal 1000 [survivors stays: 1000]
            assert_equal 0 [survivors goes: 1000]
            no_limit
        }
    }

    test "noeviction refuses what may need memory, and nothing else" {
        fill key: 1000 1000
        r rpush l a b
        r sadd s a b
        limit 100 noeviction
        r config set maxmemory 1
        foreach command {{set k v} {append k v} {lpush l c} {sadd s c} {hset h f v} {zadd z 1 m} {incr n} {mset a b}
                {setrange k 10 x} {sort l store d alpha} {pfadd p x} {geoadd g 1 1 m} {sunionstore d s}} {
            assert_error "OOM command not allowed when used memory > 'maxmemory'." { r {*}$command }
        }
        foreach command {{get key:1} {del key:2} {lpop l} {srem s a} {expire key:3 100} {rename key:4 key:5} {ping}
                {keys key:9?} {config get maxmemory} {persist key:3} {exists k}} {
            r {*}$command
        }
        r multi
        assert_error "OOM*" { r set k v }
        assert_error "EXECABORT*" { r exec }
        no_limit
        assert_equal OK [r set k v]
    }

    test "allkeys-lru takes what wasn't used for long" {
        fill key: 2000 500
        after 2100
        for {set i 0} {$i < 2000} {incr i 2} { r get key:$i }
        limit 0 allkeys-lru
        fill new: 700 500
        set used [survivors key: 2000 2]
        set idle [expr {[survivors key: 2000] - $used}]
        assert {$used > 950}
        assert {$idle < 400}
        no_limit
    }

    test "volatile-ttl takes what would expire soonest" {
        fill late: 1000 500 ex 100000
        fill soon: 1000 500 ex 100
        limit 0 volatile-ttl
        fill more: 500 500
        assert {[survivors late: 1000] == 1000}
        assert {[survivors soon: 1000] < 600}
        no_limit
    }

    test "keys go from all databases" {
        foreach db {0 3 9} {
            r select $db
            for {set i 0} {$i < 300} {incr i} { r set key:$i [repeat x 1000] }
        }
        r select 0
        limit 0 allkeys-random
        fill new: 600 1000
        foreach db {3 9} {
            r select $db
            assert {[r dbsize] < 290}
        }
        r select 0
        no_limit
    }

    test "a lower limit makes room over some commands, each of them short" {
        set count [expr {$sanitized ? 20000 : 100000}]
        assert_below [expr {$sanitized ? 500000 : 100000}] {
            r flushall
            fill key: $count 100
            r config set maxmemory-policy allkeys-lru
            r config set maxmemory [expr {[info_field used_memory] - $count * 100}]
            set longest 0
            for {set i 0} {$i < 10000 && [info_field used_memory] > [lindex [r config get maxmemory] 1]} {incr i} {
                set start [clock microseconds]
                r ping
                set longest [expr {max($longest, [clock microseconds] - $start)}]
            }
            assert {[info_field used_memory] <= [lindex [r config get maxmemory] 1]}
            no_limit
            set longest
        }
    }

    test "an evicted key is told of, and doesn't fail who watches another" {
        r set watched v
        fill key: 100 1000 ex 1000
        set c [connect]
        $c watch watched
        set events [keyspace_events {
            limit 0 volatile-lru
            r set big [repeat x 20000]
        }]
        no_limit
        assert {[llength [lsearch -all -exact $events evicted]] >= 10}
        assert_match key:* [lindex $events [lsearch -exact $events evicted]+1]
        $c multi
        $c ping
        assert_equal PONG [$c exec]
        disconnect $c
    }
}

with_server {--checkpoint-every 0} {
    test "nothing goes while data is loaded, which the journal wouldn't know of" {
        # So many that loading takes some turns of the loop. Each of the last changes needs its key to be there.
        r debug populate [expr {$sanitized ? 100000 : 1000000}]
        for {set i 0} {$i < 300} {incr i} { r set old$i v }
        checkpoint_now
        for {set i 0} {$i < 300} {incr i} { r rename old$i new$i }
        kill_server
        launch $current {--checkpoint-every 0 --maxmemory 1mb --maxmemory-policy allkeys-random}
        wait_until {[info_field loading] == 0} 20000
        r config set maxmemory 0
        set digest [r debug digest]
        kill_server
        launch $current {--checkpoint-every 0}
        wait_until {[info_field loading] == 0} 20000
        assert_equal $digest [r debug digest]
    }
}
