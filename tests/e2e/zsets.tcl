# zsets.tcl: sorted sets beyond the transcripts: encodings, keyspace events and their order, WATCH, big sets against a
# model, ZSCAN under change, unions and intersections of big sets.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# "1 m1 2 m2 …": scores and members for ZADD.
proc pairs {count {prefix m}} {
    set list {}
    for {set i 0} {$i < $count} {incr i} { lappend list $i $prefix$i }
    return $list
}

# {member score …} of a model (dict of member to score), in the order of a sorted set.
proc model_in_order {model} {
    set rows {}
    dict for {member score} $model { lappend rows [list $score $member] }
    set flat {}
    foreach row [lsort -real -index 0 [lsort -index 1 $rows]] { lappend flat [lindex $row 1] [lindex $row 0] }
    return $flat
}

with_server {} {
    test "a sorted set becomes a skiplist with its 129th member, and stays one" {
        r zadd z {*}[pairs 128]
        assert_equal ziplist [r object encoding z]
        r zadd z 500 m5
        assert_equal ziplist [r object encoding z]
        r zadd z 1 another
        assert_equal skiplist [r object encoding z]
        assert_equal 120 [r zremrangebyrank z 0 119]
        assert_equal skiplist [r object encoding z]
        assert_equal {m120 m121 m122 m123 m124 m125 m126 m127 m5} [r zrange z 0 -1]
    }

    test "a member of 65 bytes makes a skiplist, one of 64 doesn't" {
        r zadd z 1 [repeat x 64]
        assert_equal ziplist [r object encoding z]
        r zadd z 1 [repeat x 65]
        assert_equal skiplist [r object encoding z]
        r zadd fresh 1 [repeat y 65]
        assert_equal skiplist [r object encoding fresh]
    }

    test "zset-max-ziplist-entries and -value say which, for results of ZUNIONSTORE too" {
        r config set zset-max-ziplist-entries 2
        r zadd z 1 a 2 b
        r zunionstore d 1 z
        assert_equal {ziplist ziplist} [list [r object encoding z] [r object encoding d]]
        r zadd z 3 c
        r zunionstore d 1 z
        assert_equal {skiplist skiplist} [list [r object encoding z] [r object encoding d]]
        r zinterstore d 2 z z
        assert_equal skiplist [r object encoding d]
        r zremrangebyrank z 0 0
        r zunionstore d 1 z
        assert_equal {skiplist ziplist} [list [r object encoding z] [r object encoding d]]
        r config set zset-max-ziplist-value 3
        r zadd y 1 abc
        r zunionstore d 1 y
        assert_equal {ziplist ziplist} [list [r object encoding y] [r object encoding d]]
        r zadd y 1 abcd
        r zunionstore d 1 y
        assert_equal {skiplist skiplist} [list [r object encoding y] [r object encoding d]]
        r config set zset-max-ziplist-entries 0
        r zadd x 1 a
        assert_equal skiplist [r object encoding x]
        r config set zset-max-ziplist-entries 128
        r config set zset-max-ziplist-value 64
    }

    test "events of adding and removing, in their order" {
        assert_equal {zadd z zadd z zincr z zincr z} [keyspace_events {
            r zadd z 1 a
            r zadd z 2 a 1 b
            r zincrby z 1 a
            r zadd z incr 1 b
        }]
        assert_equal {zrem z} [keyspace_events { r zrem z a nope }]
        assert_equal {zrem z del z} [keyspace_events { r zrem z b b }]
    }

    test "what changes nothing publishes nothing" {
        r zadd z 1 a 2 b
        assert_equal {} [keyspace_events {
            r zadd z 1 a
            r zadd z nx 5 a
            r zadd z xx 5 new
            r zincrby z 0 a
            r zrem z nope
            r zremrangebyscore z 10 20
            r zremrangebyrank z 10 20
            r zremrangebylex z (b (b
            r zrem nokey a
            r zadd nokey xx 1 a
            r zunionstore nokey2 1 nokey
        }]
        catch { r zadd z 7 c x d }
        assert_equal 2 [r zcard z]
    }

    test "events of removing ranges" {
        r zadd z 1 a 2 b 3 c 4 d 5 e
        assert_equal {zremrangebyrank z zremrangebyscore z zremrangebylex z} [keyspace_events {
            r zremrangebyrank z 0 0
            r zremrangebyscore z 2 2
            r zremrangebylex z \[c \[c
        }]
        assert_equal {zremrangebyscore z del z} [keyspace_events { r zremrangebyscore z -inf +inf }]
    }

    test "events of ZUNIONSTORE and ZINTERSTORE" {
        r zadd a 1 x 2 y
        r zadd b 1 y
        r set d string
        assert_equal {zunionstore d zinterstore d del d} [keyspace_events {
            r zunionstore d 2 a b
            r zinterstore d 2 a b
            r zinterstore d 2 a nokey
            r zunionstore d 1 nokey
        }]
    }

    test "WATCH notices changes and only those" {
        foreach {command fails} {
            {zadd z 1 a} 0  {zadd z 2 a} 1  {zadd z nx 9 a} 0  {zincrby z 1 a} 1  {zincrby z 0 a} 0  {zrem z nope} 0
            {zrem z b} 1  {zremrangebyrank z 5 9} 0  {zremrangebyrank z 0 0} 1  {zunionstore z 1 nokey} 1
        } {
            r del z
            r zadd z 1 a 2 b
            set other [connect]
            $other watch z
            r {*}$command
            $other multi
            $other ping
            assert_equal [expr {$fails ? "(nil)" : "PONG"}] [$other exec]
            disconnect $other
        }
    }

    test "the same as a model, small and big" {
        foreach {range rounds} {60 1500 1000 4000} {
            r del z
            set model {}
            expr {srand(4711 + $range)}
            for {set i 0} {$i < $rounds} {incr i} {
                set member m[expr {int(rand() * $range)}]
                set score [expr {int(rand() * 100) - 50}]
                if {$i % 4 == 3} {
                    assert_equal [dict exists $model $member] [r zrem z $member]
                    dict unset model $member
                } elseif {$i % 4 == 2} {
                    set sum [expr {$score + ([dict exists $model $member] ? [dict get $model $member] : 0)}]
                    assert_equal $sum [r zincrby z $score $member]
                    dict set model $member $sum
                } else {
                    assert_equal [expr {![dict exists $model $member]}] [r zadd z $score $member]
                    dict set model $member $score
                }
            }
            set ordered [model_in_order $model]
            assert_equal $ordered [r zrange z 0 -1 withscores]
            set members [r zrange z 0 -1]
            assert_equal [lreverse $members] [r zrevrange z 0 -1]
            foreach member [lrange $members 0 200] {
                assert_equal [lsearch -exact $members $member] [r zrank z $member]
            }
            foreach {min max} {-10 10 -100 -40 20 100 5 5 10 -10} {
                set inside {}
                foreach {member score} $ordered { if {$score >= $min && $score <= $max} { lappend inside $member } }
                assert_equal $inside [r zrangebyscore z $min $max]
                assert_equal [lreverse $inside] [r zrevrangebyscore z $max $min]
                assert_equal [llength $inside] [r zcount z $min $max]
                assert_equal [lrange $inside 3 7] [r zrangebyscore z $min $max limit 3 5]
                assert_equal [lrange [lreverse $inside] 2 4] [r zrevrangebyscore z $max $min limit 2 3]
                assert_equal [lrange $inside 1 end] [r zrangebyscore z $min $max limit 1 -1]
                assert_equal {} [r zrangebyscore z $min $max limit -1 5]
            }
        }
    }

    test "members of one score in a big set" {
        set scores {}
        for {set i 0} {$i < 3000} {incr i} { lappend scores 0 [format %05d [expr {$i * 7919 % 3000}]] }
        assert_equal 3000 [r zadd z {*}$scores]
        assert_equal {00100 00101 00102} [r zrangebylex z \[00100 \[00102]
        assert_equal {00101} [r zrangebylex z (00100 (00102]
        assert_equal {00102 00101} [r zrevrangebylex z \[00102 (00100]
        assert_equal 3000 [r zlexcount z - +]
        assert_equal 1000 [r zlexcount z \[01000 (02000]
        assert_equal {00005 00006} [r zrangebylex z - + limit 5 2]
        assert_equal {02994 02993} [r zrevrangebylex z + - limit 5 2]
        assert_equal 1000 [r zremrangebylex z \[01000 (02000]
        assert_equal {00999 02000} [r zrange z 999 1000]
        assert_equal 1500 [r zrank z 02500]
    }

    test "removing ranges of a big set, down to nothing" {
        r zadd z {*}[pairs 20000]
        assert_equal 15000 [r zremrangebyrank z 2000 16999]
        assert_equal {m1999 m17000} [r zrange z 1999 2000]
        assert_equal 2000 [r zrank z m17000]
        assert_equal 1000 [r zremrangebyscore z (17499 18499]
        assert_equal {m17499 m18500} [r zrangebyscore z 17499 18500]
        assert_equal 4000 [r zcard z]
        assert_equal 4000 [r zremrangebyscore z -inf inf]
        assert_equal 0 [r exists z]
    }

    test "scores that are hard to keep" {
        set scores {0.1 -0 1e300 5e-324 inf -inf 123456789012345680 0.30000000000000004 9007199254740993 -1}
        foreach count {10 200} {
            r del z
            if {$count > 10} { r zadd z {*}[pairs $count filler] }
            set i 0
            foreach score $scores { r zadd z $score s[incr i] }
            set back {}
            for {set i 1} {$i <= 10} {incr i} { lappend back [r zscore z s$i] }
            assert_equal {0.10000000000000001 -0 1.0000000000000001e+300 4.9406564584124654e-324 inf -inf\
                1.2345678901234568e+17 0.30000000000000004 9007199254740992 -1} $back
        }
    }

    test "ZINCRBY looks for ZADD's options too, and then lacks arguments" {
        r zadd z 1 a
        foreach option {nx XX ch incr} {
            assert_error "ERR syntax error" { r zincrby z $option a }
            assert_error "ERR syntax error" { r zincrby z $option nx }
        }
        assert_equal {a 1} [r zrange z 0 -1 withscores]
    }

    test "infinities that don't add up leave everything as it was" {
        r zadd z inf a
        assert_equal {} [keyspace_events {
            assert_error "ERR resulting score is not a number (NaN)" { r zincrby z -inf a }
            assert_error "ERR resulting score is not a number (NaN)" { r zadd z incr -inf a }
        }]
        assert_equal inf [r zscore z a]
        r zadd y -inf a
        assert_equal 1 [r zunionstore d 2 z y]
        assert_equal {a 0} [r zrange d 0 -1 withscores]
    }

    test "ZSCAN gives every member that stays, while others come and go" {
        r zadd z {*}[pairs 3000]
        set cursor 0
        array unset seen
        set round 0
        while 1 {
            lassign [r zscan z $cursor count 20] cursor some
            foreach {member score} $some { set seen($member) $score }
            if {$cursor eq "0"} break
            incr round
            for {set i 0} {$i < 20} {incr i} { r zadd z 1 new[expr {$round * 20 + $i}] }
            if {$round % 2} { r zremrangebyrank z -30 -1 }
        }
        foreach member [r zrangebyscore z 0 1000] {
            if {[string match m* $member]} { assert_equal [string range $member 1 end] $seen($member) }
        }
        lassign [r zscan z 0 match m7 count 100000] cursor some
        assert_equal {0 {m7 7}} [list $cursor $some]
    }

    test "unions and intersections of big sets" {
        set evens {}
        set threes {}
        for {set i 0} {$i < 3000} {incr i} {
            if {$i % 2 == 0} { lappend evens $i m$i }
            if {$i % 3 == 0} { lappend threes $i m$i }
        }
        r zadd evens {*}$evens
        r zadd threes {*}$threes
        r sadd set {*}[lmap {score member} $threes {set member}]
        assert_equal 500 [r zinterstore d 2 evens threes weights 1 10]
        assert_equal {m0 0 m6 66 m12 132} [r zrange d 0 2 withscores]
        assert_equal 2000 [r zunionstore d 2 evens threes aggregate max]
        assert_equal {m2998 2998 m2997 2997 m2996 2996} [r zrevrange d 0 2 withscores]
        assert_equal 500 [r zinterstore d 3 evens set threes aggregate min weights 1 5 1]
        assert_equal {m0 0 m1002 5 m1008 5} [r zrange d 0 2 withscores]
        assert_equal 2000 [r zunionstore evens 2 evens set weights 0 1]
        assert_equal {1000 1000} [list [r zcount evens 0 0] [r zcount evens 1 1]]
    }

    test "zero times infinity" {
        r zadd a 5 x
        r zadd b inf x 1 y
        r zunionstore d 2 a b weights 1 0
        assert_equal {y 0 x 5} [r zrange d 0 -1 withscores]
        r zinterstore d 2 a b weights 1 0
        assert_equal {x 0} [r zrange d 0 -1 withscores]
    }

    test "a big set moves, is copied over and is deleted whole" {
        r zadd z {*}[pairs 1000]
        r expire z 100
        r rename z y
        assert_equal {1000 1} [list [r zcard y] [expr {[r ttl y] > 90}]]
        r zadd y 5 new
        assert_equal 1 [expr {[r ttl y] > 90}]
        r set y string
        assert_error "WRONGTYPE*" { r zcard y }
    }

    test "ZADD of many pairs at once, pipelined" {
        set c [connect]
        for {set i 0} {$i < 50} {incr i} { send $c zadd z {*}[pairs 500 p$i-] }
        for {set i 0} {$i < 50} {incr i} { assert_equal 500 [recv $c] }
        assert_equal 25000 [r zcard z]
        disconnect $c
    }
}
