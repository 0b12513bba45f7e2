# expire.tcl: deadlines beyond the transcripts: how soon an expired key is gone, rounding, ends of the range, many keys
# at once, what keeps and what ends a deadline.
#
# SPDX-License-Identifier: GPL-3.0-or-later

with_server {} {
    test "TTL rounds to seconds, PTTL is 1000 times TTL" {
        foreach {ms seconds} {100400 100 100600 101 900 1 400 0} {
            r set k v px $ms
            assert_equal $seconds [r ttl k]
            assert_equal [expr {$seconds * 1000}] [r pttl k]
        }
        r set k v
        assert_equal {-1 -1} [list [r ttl k] [r pttl k]]
        assert_equal {-2 -2} [list [r ttl nokey] [r pttl nokey]]
    }

    test "a deadline that has passed deletes" {
        foreach command {{expire k -1} {expire k 0} {pexpire k -1000000} {expireat k 1} {pexpireat k -5}
                {expire k -9223372036854775} {pexpire k -9223372036854775808}} {
            r set k v
            assert_equal {del k} [keyspace_events { assert_equal 1 [r {*}$command] }]
            assert_equal 0 [r exists k]
            assert_equal 0 [r {*}$command]
        }
    }

    test "a deadline that doesn't fit 64 bits is refused" {
        r set k v
        foreach {name value} {
            expire 9223372036854775807  expire 9223372036854776  expire -9223372036854776  expire 9223372036854775
            pexpire 9223372036854775807  expireat 9223372036854776  expireat -9223372036854776
        } {
            assert_error "ERR invalid expire time in '$name' command" { r $name k $value }
            assert_error "ERR invalid expire time in '$name' command" { r $name nokey $value }
        }
        assert_error "ERR value is not an integer or out of range" { r expire k 9223372036854775808 }
        assert_error "ERR value is not an integer or out of range" { r expire k 1.5 }
        assert_equal {v -1} [list [r get k] [r ttl k]]
    }

    test "the farthest deadlines" {
        r set k v
        assert_equal 1 [r pexpireat k 9223372036854775807]
        set ttl [expr {(9223372036854775807 - [clock milliseconds]) / 1000}]
        assert {abs([r ttl k] - $ttl) <= 2}
        assert {abs([r pttl k] - $ttl * 1000) <= 2000}
        assert_equal 1 [r expireat k 9223372036854775]
        assert_equal 1 [r expire k 8000000000000000]
        assert {abs([r ttl k] - 8000000000000000) <= 1}
        assert_equal 1 [r persist k]
        assert_equal {v -1} [list [r get k] [r ttl k]]
    }

    # 300 keys that are due 3 ms apart: returns how many ms after its time the latest went.
    proc latest_expiry {subscriber} {
        set now [clock milliseconds]
        for {set i 0} {$i < 300} {incr i} {
            set due($i) [expr {$now + 50 + $i * 3}]
            r set $i v
            r pexpireat $i $due($i)
        }
        set latest 0
        for {set i 0} {$i < 300} {incr i} {
            set key [lindex [recv $subscriber] 2]
            set late [expr {[clock milliseconds] - $due($key)}]
            assert {$late >= 0}
            set latest [expr {max($latest, $late)}]
            assert_equal 0 [r exists $key]
        }
        return $latest
    }

    test "an expired key is gone within 100 ms, and not before its time" {
        r config set notify-keyspace-events Ex
        set c [connect]
        $c subscribe __keyevent@0__:expired
        assert_below [expr {$sanitized ? 501 : 151}] { latest_expiry $c }
        assert_equal 0 [r dbsize]
        disconnect $c
        r config set notify-keyspace-events ""
    }

    test "many keys that are due at once don't stop the server" {
        set count [expr {$sanitized ? 20000 : 100000}]
        r debug set-active-expire 0
        set c [connect]
        for {set i 0} {$i < $count} {incr i 1000} {
            for {set j $i} {$j < $i + 1000} {incr j} { send $c set key:$j some-value-of-a-usual-length px 1 }
            for {set j 0} {$j < 1000} {incr j} { recv $c }
        }
        assert_equal $count [r dbsize]
        r debug set-active-expire 1
        set longest 0
        set end [expr {[clock milliseconds] + 3000}]
        while {[r dbsize] > 0 && [clock milliseconds] < $end} {
            set start [clock microseconds]
            r ping
            set longest [expr {max($longest, [clock microseconds] - $start)}]
        }
        assert_equal 0 [r dbsize]
        assert {$longest < ($sanitized ? 500000 : 100000)}
        disconnect $c
    }

    test "commands that replace a value end its deadline, those that change it don't" {
        foreach {command ends} {
            {set k v} 1  {getset k v} 1  {mset k v} 1  {append k 1} 0  {incr k} 0  {setrange k 0 5} 0  {setbit k 1 0} 0
            {incrbyfloat k 1.5} 0  {decrby k 3} 0  {bitop and k k k} 1
        } {
            r set k 1 ex 100
            r {*}$command
            assert_equal "$command: $ends" "$command: [expr {[r ttl k] == -1}]"
        }
    }

    test "a value that grows or shrinks keeps its deadline, and expires" {
        r set k 1 px 300
        r append k [repeat x 100000]
        r setrange k 200000 y
        r set n 1 px 300
        for {set i 0} {$i < 200} {incr i} { r incrbyfloat n 1.25 }
        assert_equal {1 1} [list [r exists k] [r exists n]]
        wait_until {[r dbsize] == 0} 2000
    }

    test "a new deadline replaces the old one, either way" {
        r set early v ex 1000
        r pexpire early 50
        r set late v px 50
        r expire late 1000
        r set never v px 50
        r persist never
        wait_until {[r dbsize] == 2} 2000
        after 60
        assert_equal {0 1 1} [list [r exists early] [r exists late] [r exists never]]
        assert {[r ttl late] > 990}
    }

    test "events: expire when it's set, expired when it's over, nothing for PERSIST" {
        set events [keyspace_events {
            r set k v
            r expire k 100
            r persist k
            r persist k
            r pexpire k 30
            r expire nokey 10
            wait_until {[r dbsize] == 0} 2000
        }]
        assert_equal {set k expire k expire k expired k} $events
    }

    test "a key that has expired is gone for every command, even while nobody looks for it" {
        r debug set-active-expire 0
        foreach command {{get k} {exists k} {append k x} {incr k} {sadd k x} {ttl k} {type k} {del k} {rename k x}
                {persist k} {expire k 10} {setnx k 1} {lpush k 1} {object encoding k} {move k 1}} {
            r psetex k 1 value
            after 3
            catch { r {*}$command } result
            r del k
            catch { r {*}$command } fresh
            assert_equal "$command: $fresh" "$command: $result"
            r flushall
        }
        assert_equal {expired k set k} [keyspace_events {
            r config set notify-keyspace-events ""
            r psetex k 1 value
            after 3
            r config set notify-keyspace-events EA
            r set k new
        }]
        r debug set-active-expire 1
    }

    test "expiry doesn't fail a transaction that watches the key" {
        r set k v px 30
        set c [connect]
        $c watch k
        wait_until {[r dbsize] == 0} 2000
        $c multi
        $c get k
        assert_equal {(nil)} [$c exec]
        disconnect $c
    }

    test "deadlines in all databases, and of big collections" {
        for {set db 0} {$db < 16} {incr db} {
            r select $db
            r set k v px 50
            for {set i 0} {$i < 2000} {incr i} { lappend members $i }
            r sadd s x {*}$members
            r pexpire s 60
        }
        for {set db 0} {$db < 16} {incr db} {
            r select $db
            wait_until {[r dbsize] == 0} 2000
        }
        r select 0
    }

    test "INFO counts keys, expires and the average time to live" {
        r set a v ex 1000
        r set b v ex 1000
        r set c v
        assert_match "*db0:keys=3,expires=2,avg_ttl=*" [r info keyspace]
        regexp {avg_ttl=(\d+)} [r info keyspace] -> average
        assert {$average > 990000 && $average <= 1000000}
        set before [regexp -inline {expired_keys:\d+} [r info stats]]
        r pexpire a 1
        wait_until {[r dbsize] == 2} 2000
        assert {[regexp -inline {expired_keys:\d+} [r info stats]] ne $before}
    }
}
