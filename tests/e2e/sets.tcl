# sets.tcl: sets beyond the transcripts: encodings, keyspace events, WATCH, big sets, SSCAN under change, the odds of
# random members, and the set algebra against a model.
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc numbered {prefix count {step 1}} {
    set list {}
    for {set i 0} {$i < $count} {incr i} { lappend list $prefix[expr {$i * $step}] }
    return $list
}

# Every member that a whole SSCAN gives; runs `body` between two calls.
proc sscan_all {key body args} {
    set cursor 0
    set all {}
    while 1 {
        lassign [r sscan $key $cursor {*}$args] cursor some
        lappend all {*}$some
        if {$cursor eq "0"} { return $all }
        uplevel 1 $body
    }
}

with_server {} {
    test "integers are an intset, sorted, of every width" {
        r sadd s 5 -5 100000 9223372036854775807 -9223372036854775808 0
        assert_equal intset [r object encoding s]
        assert_equal {-9223372036854775808 -5 0 5 100000 9223372036854775807} [r smembers s]
        assert_equal {0 {-9223372036854775808 -5 0 5 100000 9223372036854775807}} [r sscan s 77 count 1]
        assert_equal 1 [r sismember s 100000]
        assert_equal 0 [r sismember s 1e5]
    }

    test "what only looks like an integer makes it a hashtable" {
        foreach odd {01 +1 -0 1.0 9223372036854775808 "" " 1" x} {
            r del s
            r sadd s 1 2
            assert_equal 0 [r sismember s $odd]
            assert_equal 1 [r sadd s $odd]
            assert_equal hashtable [r object encoding s]
            assert_equal [lsort [list 1 2 $odd]] [lsort [r smembers s]]
            r srem s $odd
            assert_equal hashtable [r object encoding s]
        }
    }

    test "the 513th integer makes it a hashtable; set-max-intset-entries says which" {
        r sadd s {*}[numbered "" 512]
        assert_equal intset [r object encoding s]
        r sadd s 511
        assert_equal intset [r object encoding s]
        r sadd s 512
        assert_equal hashtable [r object encoding s]
        assert_equal [numbered "" 513] [lsort -integer [r smembers s]]
        r config set set-max-intset-entries 2
        r sadd small 1 2
        assert_equal intset [r object encoding small]
        r sadd small 3
        assert_equal hashtable [r object encoding small]
        assert_equal {1 2 3} [lsort [r smembers small]]
        r config set set-max-intset-entries 512
    }

    test "events" {
        assert_equal {sadd s} [keyspace_events { r sadd s a b c }]
        assert_equal {} [keyspace_events { r sadd s a }]
        assert_equal {srem s} [keyspace_events { r srem s a x }]
        assert_equal {} [keyspace_events { r srem s x; r srem nokey x }]
        assert_equal {srem s del s} [keyspace_events { r srem s b c more }]
        r sadd s a b c d
        assert_equal {spop s} [keyspace_events { r spop s }]
        assert_equal {spop s} [keyspace_events { r spop s 2 }]
        assert_equal {spop s del s} [keyspace_events { r spop s }]
        r sadd s a b c d
        assert_equal {spop s del s} [keyspace_events { r spop s 9 }]
        assert_equal {sadd t} [keyspace_events { r spop s 9; r spop s; r sadd t a; r spop t 0; r srandmember t -3 }]
    }

    test "events of SMOVE" {
        r sadd a x y
        r sadd b y
        assert_equal {srem a sadd b} [keyspace_events { r smove a b x }]
        assert_equal {srem a del a} [keyspace_events { r smove a b y }]
        assert_equal {} [keyspace_events { r smove a b y; r smove b b y; r smove b a nothing }]
        assert_equal {srem b sadd c} [keyspace_events { r smove b c x }]
        assert_equal {srem b del b sadd c} [keyspace_events { r smove b c y }]
    }

    test "events of the algebra" {
        r sadd a 1 2 3
        r sadd b 2 3 4
        r sadd x 9
        r set d string
        assert_equal {sinterstore d} [keyspace_events { r sinterstore d a b }]
        assert_equal {sunionstore d} [keyspace_events { r sunionstore d a b }]
        assert_equal {sdiffstore d} [keyspace_events { r sdiffstore d a b }]
        assert_equal {del d} [keyspace_events { r sinterstore d a x }]
        assert_equal {} [keyspace_events { r sinterstore d a x }]
        r sadd d 1
        assert_equal {del d} [keyspace_events { r sdiffstore d a a }]
        r sadd d 1
        assert_equal {del d} [keyspace_events { r sunionstore d nokey1 nokey2 }]
        assert_equal {} [keyspace_events { r sdiffstore d nokey a }]
    }

    test "SINTERSTORE with a missing key deletes the destination without an event, as 3.2 does" {
        r sadd a 1
        r sadd d 1
        assert_equal {} [keyspace_events { assert_equal 0 [r sinterstore d a nokey] }]
        assert_equal 0 [r exists d]
    }

    test "commands that change nothing do not touch a watched set" {
        r sadd s 1 a
        set c [connect]
        $c watch s nokey
        r sadd s a
        r srem s b
        r smove s s a
        r smove s nokey nothing
        r spop s 0
        assert_error "ERR index out of range" { r spop s -1 }
        r sinterstore nokey s none
        $c multi
        $c ping
        assert_equal PONG [$c exec]
        foreach command {{sadd s new} {srem s new} {spop s} {sunionstore s s} {smove other s 1}} {
            r sadd s 1 a
            r sadd other 1
            $c watch s
            r {*}$command
            $c multi
            $c ping
            assert_equal (nil) [$c exec]
        }
        disconnect $c
    }

    test "SMOVE keeps the deadlines and does not care for a missing source" {
        r set string v
        assert_equal 0 [r smove nokey string x]
        r sadd a x y
        r sadd b z
        r expire a 100
        r expire b 200
        assert_equal 1 [r smove a b x]
        assert_equal {100 200} [list [r ttl a] [r ttl b]]
        assert_error "WRONGTYPE*" { r smove a string y }
        assert_error "WRONGTYPE*" { r smove string a y }
        assert_equal 1 [r smove a c y]
        assert_equal {0 -1} [list [r exists a] [r ttl c]]
        r sadd ints 1
        r smove c ints y
        assert_equal hashtable [r object encoding ints]
    }

    test "SINTER stops at the first missing key, before a later one of the wrong type" {
        r sadd s a
        r set string v
        assert_equal {} [r sinter s nokey string]
        assert_error "WRONGTYPE*" { r sinter string nokey }
        assert_equal 0 [r sinterstore d s nokey string]
        assert_error "WRONGTYPE*" { r sunion s nokey string }
        assert_error "WRONGTYPE*" { r sdiff nokey string }
    }

    test "the stored set replaces whatever there was, deadline and sources included" {
        r sadd a 1 2 3
        r sadd b 2 3 4
        r expire a 100
        assert_equal 2 [r sinterstore a a b]
        assert_equal {2 3} [r smembers a]
        assert_equal -1 [r ttl a]
        assert_equal intset [r object encoding a]
        assert_equal 3 [r sunionstore b a b]
        assert_equal {2 3 4} [r smembers b]
        assert_equal 1 [r sdiffstore b b a]
        assert_equal 4 [r smembers b]
        r rpush l x
        assert_equal 2 [r sunionstore l a]
        assert_equal set [r type l]
    }

    test "the algebra agrees with a model, for every mix of encodings" {
        expr {srand(4711)}
        set pools [list [numbered "" 30] [numbered m 30] [concat [numbered "" 15] [numbered m 15]] \
            [numbered "" 2000 3] [concat [numbered "" 1000] [numbered m 1000]]]
        for {set round 0} {$round < 60} {incr round} {
            set keys {}
            array unset model
            for {set k 0} {$k < 1 + $round % 4} {incr k} {
                set members {}
                foreach m [lindex $pools [expr {int(rand() * [llength $pools])}]] {
                    if {rand() < 0.6} { lappend members $m }
                }
                r del k$k
                if {$members ne ""} { r sadd k$k {*}$members }
                lappend keys k$k
                foreach m $members { incr model($m) }
                if {$k == 0} { set first $members }
            }
            set inter {}
            set diff {}
            foreach m $first {
                if {$model($m) == [llength $keys]} { lappend inter $m }
                if {$model($m) == 1} { lappend diff $m }
            }
            foreach {command expected} [list sinter $inter sunion [array names model] sdiff $diff] {
                assert_equal [lsort $expected] [lsort [r $command {*}$keys]]
                assert_equal [llength $expected] [r ${command}store d {*}$keys]
                assert_equal [lsort $expected] [lsort [r smembers d]]
            }
        }
    }

    test "SDIFF by either way: few big sets, many small ones" {
        r sadd a {*}[numbered m 1000]
        set keys {}
        for {set i 0} {$i < 100} {incr i} {
            r sadd k$i m[expr {$i * 5}] other
            lappend keys k$i
        }
        set rest [r sdiff a {*}$keys]
        assert_equal 900 [llength $rest]
        assert_equal -1 [lsearch $rest m495]
        assert_equal 0 [llength [r sdiff a {*}$keys a]]
        r sadd big {*}[numbered m 3000 2]
        assert_equal 500 [llength [r sdiff a big nokey]]
    }

    test "a big set gives every member once by SMEMBERS, SSCAN, SPOP" {
        set members [lsort [numbered member: 20000]]
        r sadd s {*}$members
        assert_equal $members [lsort [r smembers s]]
        assert_equal $members [lsort [sscan_all s {}]]
        assert_equal $members [lsort [sscan_all s {} count 1000]]
        set some [r spop s 100]
        set most [r spop s 19800]
        assert_equal 100 [r scard s]
        assert_equal $members [lsort [concat $some $most [r smembers s]]]
        assert_equal 100 [llength [r spop s 1000]]
        assert_equal 0 [r exists s]
    }

    test "SPOP of nearly all keeps the deadline" {
        r sadd s {*}[numbered m 600]
        r expire s 100
        assert_equal 599 [llength [r spop s 599]]
        assert_equal 1 [r scard s]
        assert_equal 100 [r ttl s]
    }

    test "SPOP with more than 32 bits asks for everything" {
        r sadd s a b c
        assert_equal {a b c} [lsort [r spop s 4294967296]]
    }

    test "SSCAN sees what is there throughout while the set grows and shrinks" {
        r sadd s {*}[numbered m 2000]
        set round 0
        set all [sscan_all s {
            incr round
            if {$round < 60} { r sadd s {*}[numbered new$round- 100] }
            if {$round > 120} { for {set i 0} {$i < 60} {incr i} { r srem s {*}[numbered new$i- 100] } }
        } count 10]
        array unset seen
        foreach m $all { incr seen($m) }
        for {set i 0} {$i < 2000} {incr i} { assert_equal 1 $seen(m$i) }
    }

    test "SRANDMEMBER with a count gives that many, all different" {
        foreach {members small} [list [numbered "" 50] 1 [numbered "" 500] 1 [numbered m 20] 1 [numbered m 2000] 0] {
            r del s
            r sadd s {*}$members
            set size [llength $members]
            foreach count [list 1 2 [expr {$size / 4}] [expr {$size / 2}] [expr {$size - 1}] $size [expr {$size * 2}]] {
                set drawn [r srandmember s $count]
                assert_equal [expr {min($count, $size)}] [llength $drawn]
                assert_equal [llength $drawn] [llength [lsort -unique $drawn]]
                foreach m $drawn { assert {[lsearch -exact $members $m] >= 0} }
            }
            assert_equal [expr {3 * $size}] [llength [r srandmember s [expr {-3 * $size}]]]
            assert_equal $size [r scard s]
        }
    }

    # Draws until each of the set's members is due 200 times; the sum of squares then has mean N and variance 2 N.
    foreach {title members count} [list "one of an intset" [numbered "" 20] 0 "one of few" [numbered m 20] 0 \
        "one of many" [numbered m 600] 0 "repeating" [numbered m 100] -100 "few of many" [numbered m 600] 60 \
        "most of many" [numbered m 600] 500 "half of few" [numbered m 20] 10] {
        test "SRANDMEMBER gives each member as often: $title" {
            r sadd s {*}$members
            set size [llength $members]
            array unset seen
            foreach m $members { set seen($m) 0 }
            set each [expr {$count == 0 ? 1 : abs($count)}]
            set draws [expr {200 * $size / $each}]
            set c [connect]
            for {set i 0} {$i < $draws} {incr i} { send $c srandmember s {*}[expr {$count == 0 ? "" : $count}] }
            for {set i 0} {$i < $draws} {incr i} { foreach m [recv $c] { incr seen($m) } }
            disconnect $c
            set sum 0
            foreach m $members { set sum [expr {$sum + ($seen($m) - 200) ** 2 / 200.0}] }
            assert {$sum < $size + 6 * sqrt(2 * $size)}
        }
    }

    test "SPOP takes each member as often" {
        set members [numbered m 100]
        foreach m $members { set seen($m) 0 }
        for {set i 0} {$i < 400} {incr i} {
            r sadd s {*}$members
            foreach m [r spop s 50] { incr seen($m) }
        }
        set sum 0
        foreach m $members { set sum [expr {$sum + ($seen($m) - 200) ** 2 / 200.0}] }
        assert {$sum < 100 + 6 * sqrt(200)}
    }

    test "members hold any bytes" {
        set members [list "" "\x00" "\xff\r\n" [repeat x 64] [repeat x 65] [repeat y 20000] 12 012]
        foreach m $members { assert_equal 1 [r sadd s $m] }
        foreach m $members { assert_equal 0 [r sadd s $m] }
        assert_equal [lsort $members] [lsort [r smembers s]]
        foreach m $members { assert_equal 1 [r srem s $m] }
        assert_equal 0 [r exists s]
    }

    test "SSCAN with COUNT and MATCH; the cursor first, the key second, the options last" {
        r sadd s {*}[numbered m 5000]
        lassign [r sscan s 0 count 100] cursor some
        assert {$cursor ne "0"}
        assert {[llength $some] >= 100 && [llength $some] < 130}
        assert_equal [lsort {m7 m17 m27 m37 m47 m57 m67 m77 m87 m97}] [lsort [concat \
            [sscan_all s {} match m7 count 100] [sscan_all s {} match {m[0-9]7}]]]
        r set string v
        assert_error "ERR invalid cursor" { r sscan string x foo }
        assert_error "WRONGTYPE*" { r sscan string 0 foo }
        assert_equal {0 {}} [r sscan nokey 0 foo]
        assert_error "ERR syntax error" { r sscan s 0 foo }
    }

    test "SRANDMEMBER of a count that has no opposite" {
        r sadd s a
        assert_error "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807" {
            r srandmember s -9223372036854775808
        }
    }

    test "random operations agree with a model" {
        expr {srand(4712)}
        foreach {spread operations prefixes} {20 1000 {"" m} 700 3000 {""} 1000 4000 {"" m}} {
            array unset model
            r del s
            for {set i 0} {$i < $operations} {incr i} {
                set m [lindex $prefixes [expr {int(rand() * [llength $prefixes])}]][expr {int(rand() * $spread)}]
                if {rand() < 0.7} {
                    assert_equal [expr {![info exists model($m)]}] [r sadd s $m]
                    set model($m) 1
                } else {
                    assert_equal [info exists model($m)] [r srem s $m]
                    unset -nocomplain model($m)
                }
            }
            assert_equal [lsort [array names model]] [lsort [r smembers s]]
        }
    }
}
