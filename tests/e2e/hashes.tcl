# hashes.tcl: hashes beyond the transcripts: encodings, keyspace events, WATCH, big hashes, HSCAN under change, overflow
# and float limits.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# A list of N field-value pairs.
proc pairs {count {prefix f}} {
    set list {}
    for {set i 0} {$i < $count} {incr i} { lappend list $prefix$i v$i }
    return $list
}

# Every field and value that a whole HSCAN gives, in the order it gives them; runs `body` between two calls.
proc hscan_all {key body args} {
    set cursor 0
    set all {}
    while 1 {
        lassign [r hscan $key $cursor {*}$args] cursor some
        lappend all {*}$some
        if {$cursor eq "0"} { return $all }
        uplevel 1 $body
    }
}

with_server {} {
    test "a small hash is a ziplist in the order of setting" {
        r hmset h c 1 a 2 b 3
        r hset h a 22222222222222222222222222
        r hdel h c
        r hset h c 4
        assert_equal ziplist [r object encoding h]
        assert_equal {a 22222222222222222222222222 b 3 c 4} [r hgetall h]
        assert_equal {a b c} [r hkeys h]
        assert_equal {22222222222222222222222222 3 4} [r hvals h]
    }

    test "the 513th field makes it a hashtable, for good" {
        r hmset h {*}[pairs 512]
        assert_equal ziplist [r object encoding h]
        r hset h f0 again
        assert_equal ziplist [r object encoding h]
        r hset h more v
        assert_equal hashtable [r object encoding h]
        foreach {field value} [pairs 512] { r hdel h $field }
        assert_equal {more v} [r hgetall h]
        assert_equal hashtable [r object encoding h]
    }

    test "a field or a value of more than 64 bytes makes it a hashtable" {
        r hset h f [repeat x 64]
        r hset h [repeat f 64] x
        assert_equal ziplist [r object encoding h]
        r hset h f [repeat x 65]
        assert_equal hashtable [r object encoding h]
        r hset g [repeat f 65] x
        assert_equal hashtable [r object encoding g]
        r hmset m a 1 b [repeat x 65]
        assert_equal hashtable [r object encoding m]
    }

    test "HSETNX converts even when it sets nothing; HINCRBY and HINCRBYFLOAT never do" {
        r hset h f v
        assert_equal 0 [r hsetnx h f [repeat x 65]]
        assert_equal v [r hget h f]
        assert_equal hashtable [r object encoding h]
        assert_equal 1 [r hincrby n [repeat f 65] 1]
        assert_equal 1.5 [r hincrbyfloat n [repeat g 65] 1.5]
        assert_equal ziplist [r object encoding n]
    }

    test "the limits are options" {
        r config set hash-max-ziplist-entries 2
        r config set hash-max-ziplist-value 3
        r hmset h a 1 b 2
        r hset v f abc
        assert_equal ziplist [r object encoding h]
        assert_equal ziplist [r object encoding v]
        r hset h c 3
        r hset v f abcd
        assert_equal hashtable [r object encoding h]
        assert_equal hashtable [r object encoding v]
        r config set hash-max-ziplist-entries 512
        r config set hash-max-ziplist-value 64
    }

    test "events" {
        assert_equal {hset h} [keyspace_events { r hset h f v }]
        assert_equal {hset h} [keyspace_events { r hset h f v }]
        assert_equal {} [keyspace_events { r hsetnx h f w }]
        assert_equal {hset h} [keyspace_events { r hsetnx h g w }]
        assert_equal {hset h} [keyspace_events { r hmset h a 1 b 2 c 3 }]
        assert_equal {hincrby h} [keyspace_events { r hincrby h a 1 }]
        assert_equal {hincrbyfloat h} [keyspace_events { r hincrbyfloat h a 1 }]
        assert_equal {} [keyspace_events { r hdel h nofield; r hdel nokey f }]
        assert_equal {hdel h} [keyspace_events { r hdel h a b nofield }]
        assert_equal {hdel h del h} [keyspace_events { r hdel h f g c more }]
        assert_equal {} [keyspace_events { r hget h f; r hgetall h; r hscan h 0; catch { r hincrby h f x } }]
    }

    test "commands that change nothing do not touch a watched hash" {
        r hmset h f v n 9223372036854775807
        set c [connect]
        $c watch h nokey
        r hsetnx h f w
        r hdel h nofield
        assert_error "ERR hash value is not an integer" { r hincrby h f 1 }
        assert_error "ERR hash value is not a valid float" { r hincrbyfloat h f 1 }
        assert_error "ERR increment or decrement would overflow" { r hincrby h n 1 }
        assert_error "ERR value is NaN or Infinity" { r hincrbyfloat nokey f inf }
        assert_equal 0 [r exists nokey]
        $c multi
        $c ping
        assert_equal PONG [$c exec]
        $c watch h
        r hset h f v
        $c multi
        $c ping
        assert_equal (nil) [$c exec]
        disconnect $c
    }

    test "HINCRBY at the ends of 64 bits" {
        assert_equal 9223372036854775807 [r hincrby h f 9223372036854775807]
        assert_error "ERR increment or decrement would overflow" { r hincrby h f 1 }
        assert_equal -1 [r hincrby h f -9223372036854775808]
        assert_equal -9223372036854775808 [r hincrby h f -9223372036854775807]
        assert_error "ERR increment or decrement would overflow" { r hincrby h f -1 }
        assert_equal -9223372036854775808 [r hget h f]
        assert_equal 20 [r hstrlen h f]
        assert_error "ERR value is not an integer or out of range" { r hincrby h f 9223372036854775808 }
    }

    test "HINCRBYFLOAT refuses what is not finite and keeps the field" {
        r hmset h inf inf big 1e4932 one 1
        assert_error "ERR increment would produce NaN or Infinity" { r hincrbyfloat h inf 1 }
        assert_error "ERR value is NaN or Infinity" { r hincrbyfloat h inf -inf }
        assert_error "ERR increment would produce NaN or Infinity" { r hincrbyfloat h big 1e4932 }
        assert_error "ERR value is NaN or Infinity" { r hincrbyfloat h one -inf }
        assert_error "ERR value is not a valid float" { r hincrbyfloat h one nan }
        assert_equal {inf inf big 1e4932 one 1} [r hgetall h]
        assert_equal 4933 [string length [r hincrbyfloat h big 0]]
        assert_equal 4933 [r hstrlen h big]
    }

    test "fields and values hold any bytes, and an integer comes back as it was written" {
        r hmset h "" "" "\x00\r\n\xff" "\xff\x00" 01 +1 -0 " 1" 10 -10
        assert_equal [list "" "" "\x00\r\n\xff" "\xff\x00" 01 +1 -0 " 1" 10 -10] [r hgetall h]
        assert_equal "\xff\x00" [r hget h "\x00\r\n\xff"]
        r hset h long [repeat x 100]
        assert_equal hashtable [r object encoding h]
        assert_equal "\xff\x00" [r hget h "\x00\r\n\xff"]
        assert_equal "" [r hget h ""]
        assert_equal {+1 { 1} -10 (nil)} [r hmget h 01 -0 10 1]
    }

    test "HMGET of many fields, there and not" {
        foreach count {300 3000} {
            r hmset h {*}[pairs $count]
            set fields {}
            set expected {}
            for {set i 0} {$i < 101} {incr i} {
                lappend fields f[expr {$i * 7}] no$i
                lappend expected v[expr {$i * 7}] (nil)
            }
            if {$count == 300} {
                set fields [lrange $fields 0 80]
                set expected [lrange $expected 0 80]
            }
            assert_equal $expected [r hmget h {*}$fields]
            r del h
        }
    }

    test "a value of 32 MB and more is no string key: it is kept" {
        set value [repeat x 33554433]
        r hset h f $value
        assert_equal 33554433 [r hstrlen h f]
        assert [string equal $value [r hget h f]]
    }

    test "a big hash gives every field once by HGETALL, HKEYS, HVALS and HSCAN" {
        r hmset h {*}[pairs 20000]
        foreach all [list [r hgetall h] [hscan_all h {}] [hscan_all h {} count 1000]] {
            array unset seen
            assert_equal 40000 [llength $all]
            foreach {field value} $all {
                assert {![info exists seen($field)]}
                assert_equal v[string range $field 1 end] $value
                set seen($field) 1
            }
        }
        assert_equal [lsort [dict keys [pairs 20000]]] [lsort [r hkeys h]]
        assert_equal [lsort [dict values [pairs 20000]]] [lsort [r hvals h]]
    }

    test "HSCAN sees what is there throughout while the hash grows and shrinks" {
        r hmset h {*}[pairs 2000]
        set round 0
        set all [hscan_all h {
            incr round
            if {$round < 60} { r hmset h {*}[pairs 100 new$round-] }
            if {$round > 80} { for {set i 0} {$i < 60} {incr i} { r hdel h {*}[dict keys [pairs 100 new$i-]] } }
        } count 10]
        array unset seen
        foreach {field value} $all { incr seen($field) }
        for {set i 0} {$i < 2000} {incr i} { assert_equal 1 $seen(f$i) }
    }

    test "HSCAN with COUNT and MATCH" {
        r hmset h {*}[pairs 5000]
        lassign [r hscan h 0 count 100] cursor some
        assert {$cursor ne "0"}
        assert {[llength $some] >= 200 && [llength $some] < 260}
        set found [hscan_all h {} match f12? count 100]
        assert_equal [lsort [list f120 v120 f121 v121 f122 v122 f123 v123 f124 v124 f125 v125 f126 v126 f127 v127 \
            f128 v128 f129 v129]] [lsort $found]
        assert_equal {0 {}} [r hscan h 0 match nothing count 1000000]
        assert_equal {0 {}} [r hscan h 0 match nothing count 9223372036854775807]
    }

    test "HSCAN looks at the cursor first, the key second, the options last" {
        r set s v
        assert_error "ERR invalid cursor" { r hscan s x foo }
        assert_error "WRONGTYPE*" { r hscan s 0 foo }
        assert_equal {0 {}} [r hscan nokey 0 foo]
        r hset h f v
        assert_error "ERR syntax error" { r hscan h 0 foo }
    }

    test "a hash loses its last field and its deadline" {
        r hset h f v
        r expire h 100
        r hset h g w
        assert_equal 100 [r ttl h]
        assert_equal 2 [r hdel h f g f]
        assert_equal 0 [r exists h]
        r hset h f v
        assert_equal -1 [r ttl h]
    }

    test "random operations agree with a model" {
        expr {srand(4711)}
        foreach {spread operations} {20 1500 1000 4000} {
            array unset model
            r del h
            for {set i 0} {$i < $operations} {incr i} {
                set field f[expr {int(rand() * $spread)}]
                set value [expr {int(rand() * 1e6)}]
                if {rand() < 0.7} {
                    assert_equal [expr {![info exists model($field)]}] [r hset h $field $value]
                    set model($field) $value
                } else {
                    assert_equal [info exists model($field)] [r hdel h $field]
                    unset -nocomplain model($field)
                }
            }
            assert_equal [array size model] [r hlen h]
            foreach {field value} [r hgetall h] { assert_equal $model($field) $value }
        }
    }
}
