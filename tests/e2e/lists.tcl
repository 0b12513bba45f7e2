# lists.tcl: the commands on lists beyond the transcripts: many chunks, chunk sizes, huge elements, keyspace events.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# RPUSHes e0 … e<count-1>, in batches.
proc fill {key count} {
    for {set i 0} {$i < $count} {incr i 1000} {
        set batch {}
        for {set j $i} {$j < min($count, $i + 1000)} {incr j} { lappend batch e$j }
        r rpush $key {*}$batch
    }
}

with_server {} {
    test "an index is found from either end of a long list" {
        fill l 100000
        assert_equal 100000 [r llen l]
        foreach i {0 1 777 49999 50000 99998 99999} {
            assert_equal e$i [r lindex l $i]
            assert_equal e$i [r lindex l [expr {$i - 100000}]]
        }
        assert_equal (nil) [r lindex l 100000]
        assert_equal (nil) [r lindex l -100001]
    }

    test "LRANGE across chunks" {
        fill l 5000
        assert_equal {e2498 e2499 e2500} [r lrange l 2498 2500]
        assert_equal 5000 [llength [r lrange l 0 -1]]
        assert_equal e4999 [lindex [r lrange l -5000 100000] end]
        assert_equal {} [r lrange l 3 2]
        assert_equal {} [r lrange l 5000 6000]
        assert_equal e0 [r lrange l -99999 0]
    }

    test "LSET, LINSERT and LREM in the middle of a long list" {
        fill l 20000
        r lset l 10000 [repeat x 9000]
        assert_equal [repeat x 9000] [r lindex l 10000]
        assert_equal 20001 [r linsert l before e15000 here]
        assert_equal {e14999 here e15000} [r lrange l 14999 15001]
        assert_equal 20002 [r linsert l after e15000 [repeat y 20000]]
        assert_equal [repeat y 20000] [r lindex l 15002]
        assert_equal -1 [r linsert l before nosuch x]
        assert_equal 1 [r lrem l 0 here]
        assert_equal 20001 [r llen l]
    }

    test "LREM counts from the end it is told to" {
        for {set i 0} {$i < 3000} {incr i} { r rpush l same other$i }
        assert_equal 2 [r lrem l 2 same]
        assert_equal {other0 other1 same other2} [r lrange l 0 3]
        assert_equal 2 [r lrem l -2 same]
        assert_equal {same other2997 other2998 other2999} [r lrange l -4 -1]
        assert_equal 2996 [r lrem l 0 same]
        assert_equal 3000 [r llen l]
        assert_equal 0 [r lrem l -9223372036854775808 same]
    }

    test "LTRIM leaves what it says and nothing else" {
        foreach {start stop} {0 -1 100 -101 5000 5000 9999 20000 -3 -1 3 2 20000 30000} {
            r del l
            fill l 10000
            set expected [r lrange l $start $stop]
            r ltrim l $start $stop
            assert_equal $expected [r lrange l 0 -1]
            assert_equal [expr {$expected ne ""}] [r exists l]
        }
    }

    test "a queue that is as long as it was uses the memory it used" {
        set c [connect]
        fill l 10000
        regexp {used_memory:(\d+)} [r info memory] -> before
        for {set i 0} {$i < 20000} {incr i 100} {
            for {set j 0} {$j < 100} {incr j} {
                send $c lpop l
                send $c rpush l more
            }
            for {set j 0} {$j < 200} {incr j} { recv $c }
        }
        assert_equal 10000 [r llen l]
        regexp {used_memory:(\d+)} [r info memory] -> after
        assert {$after < $before + 50000}
        disconnect $c
        assert_equal more [r lindex l 0]
    }

    test "integers and any bytes come back as they were" {
        set values [list 0 -1 00 +5 1e3 9223372036854775807 -9223372036854775808 9223372036854775808 "" "\x00\r\n\xff"]
        r rpush l {*}$values
        assert_equal $values [r lrange l 0 -1]
        foreach v [lreverse $values] { assert_equal $v [r rpoplpush l l] }
        assert_equal $values [r lrange l 0 -1]
        foreach v $values { assert_equal $v [r lpop l] }
        assert_equal 0 [r exists l]
    }

    test "elements may be larger than a string value may" {
        set big [repeat z 34000000]
        assert_equal 3 [r rpush l a $big b]
        assert_equal 34000000 [string length [r lindex l 1]]
        assert_equal OK [r lset l 0 $big]
        assert_equal b [r rpoplpush l other]
        assert_equal 34000000 [string length [r lpop l]]
        r del l other
    }

    test "the encoding is always quicklist" {
        r rpush l 1
        assert_equal quicklist [r object encoding l]
        fill l 3000
        assert_equal quicklist [r object encoding l]
    }

    test "RPOPLPUSH keeps the deadline of neither, and makes and deletes lists" {
        r rpush from a b
        r expire from 100
        r rpoplpush from to
        assert_equal {-1 100} [list [r ttl to] [r ttl from]]
        r rpoplpush from to
        assert_equal {0 2} [list [r exists from] [r llen to]]
        r set s text
        assert_error {WRONGTYPE*} {r rpoplpush to s}
        assert_error {WRONGTYPE*} {r rpoplpush s to}
        assert_equal (nil) [r rpoplpush nosuch s]
        assert_equal {a b} [r lrange to 0 -1]
    }

    test "events, in their order" {
        assert_equal {rpush l lpush l linsert l lset l lrem l ltrim l rpop l lpop l del l} [keyspace_events {
            r rpush l b c
            r lpush l a
            r linsert l after a x
            r lset l 0 z
            r lrem l 1 x
            r ltrim l 0 1
            r rpop l
            r lpop l
        }]
        assert_equal {rpush l lpush m rpop l del l lpush m rpop m} [keyspace_events {
            r rpush l a
            r rpoplpush l m
            r rpoplpush m m
        }]
        assert_equal {rpush l ltrim l del l rpush l lrem l del l} [keyspace_events {
            r lpushx l a
            r rpush l a
            r ltrim l 5 6
            r rpush l a
            r lrem l 0 a
            r lrem l 0 a
            r linsert l before a b
        }]
    }
}

foreach size {-1 -5 1 7} {
    with_server [list --list-max-ziplist-size $size] {
        test "lists with list-max-ziplist-size $size" {
            set expected {}
            for {set i 0} {$i < 2000} {incr i} {
                if {$i % 2} {
                    r rpush l v$i
                    lappend expected v$i
                } else {
                    r lpush l v$i
                    set expected [linsert $expected 0 v$i]
                }
            }
            assert_equal $expected [r lrange l 0 -1]
            r linsert l before v1001 mid
            assert_equal [linsert $expected [lsearch -exact $expected v1001] mid] [r lrange l 0 -1]
            while {[r rpop l] ne "(nil)"} {}
            assert_equal 0 [r exists l]
        }
    }
}
