# keys.tcl: the commands on keys of any type beyond the transcripts: events, WATCH, what RENAME and MOVE carry along,
# SCAN while keys come and go.
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc one_of_each_type {} {
    r set string value
    r rpush list a b
    r sadd set a b
    r zadd zset 1 a
    r hset hash f v
    return {string list set zset hash}
}

# All keys that a whole SCAN gives; runs `body` between two calls.
proc scan_all {body args} {
    set cursor 0
    set all {}
    while 1 {
        lassign [r scan $cursor {*}$args] cursor some
        lappend all {*}$some
        if {$cursor eq "0"} { return $all }
        uplevel 1 $body
    }
}

# Whether a change made by `body` fails a transaction that watches `key`.
proc touches {key body} {
    set c [connect]
    $c watch $key
    uplevel 1 $body
    $c multi
    $c ping
    set result [$c exec]
    disconnect $c
    return [expr {$result eq "(nil)"}]
}

with_server {} {
    test "DEL takes keys of every type, once each, and tells of each" {
        set types [one_of_each_type]
        assert_equal {del string del hash del set} [keyspace_events {
            assert_equal 3 [r del string nokey hash set string]
        }]
        assert_equal 2 [r dbsize]
        assert_equal 2 [r exists {*}$types]
    }

    test "DEL and EXISTS of more keys than are looked up together" {
        set keys {}
        for {set i 0} {$i < 1000} {incr i} {
            if {$i % 3} { r set key:$i $i }
            lappend keys key:$i
        }
        assert_equal 666 [r exists {*}$keys]
        assert_equal 1332 [r exists {*}$keys {*}$keys]
        assert_equal 666 [r del {*}$keys {*}$keys]
        assert_equal 0 [r dbsize]
    }

    test "TYPE" {
        foreach key [one_of_each_type] { assert_equal $key [r type $key] }
        assert_equal none [r type nokey]
    }

    test "empty and binary names" {
        r set "" empty
        r set "\x00\r\n\xff" binary
        assert_equal 2 [r exists "" "\x00\r\n\xff"]
        assert_equal OK [r rename "" "\x00"]
        assert_equal empty [r get "\x00"]
        assert_equal [lsort [list "\x00" "\x00\r\n\xff"]] [lsort [r keys *]]
    }

    test "RENAME replaces whatever was there, and the deadline moves along" {
        foreach key [one_of_each_type] {
            r set other x ex 1000
            set events [keyspace_events { r rename $key other }]
            assert_equal [list rename_from $key rename_to other] $events
            assert_equal $key [r type other]
            assert_equal -1 [r ttl other]
            assert_equal 0 [r exists $key]
        }
        r set a 1 ex 100
        r rename a b
        assert {[r ttl b] in {99 100}}
        r set big [repeat x 3000000]
        r rename big b
        assert_equal 3000000 [r strlen b]
        assert_equal -1 [r ttl b]
    }

    test "RENAME to itself, RENAMENX to what is there: nothing happens" {
        r mset a 1 b 2
        assert_equal {} [keyspace_events {
            assert_equal OK [r rename a a]
            assert_equal 0 [r renamenx a a]
            assert_equal 0 [r renamenx a b]
            assert_error "ERR no such key" { r rename nokey nokey }
            assert_error "ERR no such key" { r renamenx nokey a }
        }]
        assert_equal {rename_from a rename_to c} [keyspace_events { assert_equal 1 [r renamenx a c] }]
    }

    test "RENAMENX to a key that has expired" {
        r debug set-active-expire 0
        r set a 1
        r psetex b 1 gone
        after 20
        assert_equal 1 [r renamenx a b]
        assert_equal {1 -1} [list [r get b] [r ttl b]]
        r debug set-active-expire 1
    }

    test "MOVE carries every type and the deadline along, and tells nobody" {
        foreach key [one_of_each_type] {
            r expire $key 100
            assert_equal {} [keyspace_events { assert_equal 1 [r move $key 9] }]
            assert_equal 0 [r exists $key]
            r select 9
            assert_equal $key [r type $key]
            assert {[r ttl $key] in {99 100}}
            r select 0
        }
    }

    test "MOVE: what is there already stays" {
        r set k nine
        r move k 9
        r set k zero
        assert_equal 0 [r move k 9]
        assert_equal 0 [r move nokey 9]
        assert_equal zero [r get k]
        assert_error "ERR index out of range" { r move k 16 }
        assert_error "ERR index out of range" { r move k -1 }
        assert_error "ERR index out of range" { r move k x }
        assert_error "ERR index out of range" { r move k 9223372036854775808 }
        assert_error "ERR source and destination objects are the same" { r move nokey 0 }
    }

    test "which changes WATCH sees" {
        foreach {change key} {
            {r del k} k  {r rename k other} k  {r rename k other} other  {r expire k 100} k
            {r expire k -1} k  {r renamenx k new} new
        } {
            r flushall
            r set k 1
            r set e 1 ex 100
            assert_equal "$change 1" "$change [touches $key $change]"
        }
        foreach {change key} {
            {r del nokey} k  {r rename k k} k  {r renamenx k e} k  {r persist k} k  {r expire nokey 1} nokey
            {r keys *} k  {r ttl k} k  {r move k 9} k  {r persist e} e
        } {
            r flushall
            r set k 1
            r set e 1 ex 100
            assert_equal "$change 0" "$change [touches $key $change]"
        }
    }

    test "RANDOMKEY gives each key sooner or later, but none that has expired" {
        assert_equal (nil) [r randomkey]
        r debug set-active-expire 0
        for {set i 0} {$i < 10} {incr i} {
            r set key:$i x
            r psetex gone:$i 1 x
        }
        after 20
        for {set i 0} {$i < 500} {incr i} { incr seen([r randomkey]) }
        assert_equal 10 [llength [array names seen key:*]]
        assert_equal 10 [array size seen]
        for {set i 0} {$i < 10} {incr i} { r pexpire key:$i 1 }
        after 20
        assert_equal (nil) [r randomkey]
        r debug set-active-expire 1
    }

    test "KEYS and SCAN leave out what has expired" {
        r debug set-active-expire 0
        r mset a 1 b 2
        r psetex c 1 gone
        after 20
        assert_equal {a b} [lsort [r keys *]]
        assert_equal {} [r keys c]
        assert_equal {a b} [lsort [scan_all {} count 100]]
        r debug set-active-expire 1
    }

    test "KEYS over many keys and databases" {
        for {set i 0} {$i < 2000} {incr i} { r set key:$i x }
        r select 1
        r set other x
        assert_equal other [r keys *]
        r select 0
        assert_equal 2000 [llength [lsort -unique [r keys *]]]
        assert_equal 100 [llength [r keys key:7??]]
        assert_equal {key:0 key:1 key:2} [lsort [r keys {key:[0-2]}]]
        assert_equal {} [r keys k]
    }

    test "SCAN gives what is there throughout exactly once, while other keys come and go" {
        for {set i 0} {$i < 2000} {incr i} { r set stays:$i x }
        for {set i 0} {$i < 2000} {incr i} { r set goes:$i x }
        set next 0
        set all [scan_all {
            for {set i 0} {$i < 40} {incr i} {
                r del goes:$next
                r set comes:$next x
                incr next
            }
        } count 50]
        set stays [lsearch -all -inline $all stays:*]
        assert_equal 2000 [llength $stays]
        assert_equal 2000 [llength [lsort -unique $stays]]
    }

    test "SCAN's COUNT is the number of keys to look at, MATCH only filters" {
        for {set i 0} {$i < 1000} {incr i} { r set key:$i x }
        lassign [r scan 0] cursor some
        assert {[llength $some] >= 10 && [llength $some] < 40}
        lassign [r scan 0 count 500] cursor some
        assert {[llength $some] >= 500 && [llength $some] < 540}
        lassign [r scan 0 count 500 match nothing*] cursor some
        assert_equal {} $some
        assert {$cursor ne "0"}
        lassign [r scan 0 count 9223372036854775807] cursor some
        assert_equal {0 1000} [list $cursor [llength $some]]
        assert_equal 111 [llength [scan_all {} match key:*5 match key:5* count 7 match key:5*]]
    }

    test "any cursor is safe" {
        for {set i 0} {$i < 100} {incr i} { r set key:$i x }
        foreach cursor {1 7 18446744073709551615 9223372036854775808 -1 "" 00012 +5 "7\x00x"} {
            assert_equal 2 [llength [r scan $cursor]]
        }
        foreach cursor {x " 1" "1 " 18446744073709551616 - + 1.0 0x10} {
            assert_error "ERR invalid cursor" { r scan $cursor }
        }
        assert_error "ERR syntax error" { r scan 0 count 0 }
        assert_error "ERR syntax error" { r scan 0 count }
        assert_error "ERR syntax error" { r scan 0 type string }
        assert_error "ERR value is not an integer or out of range" { r scan 0 count x }
    }
}
