# hyperloglog.tcl: PFADD, PFCOUNT and PFMERGE beyond the transcripts: the bytes and estimates of a real 3.2.13,
# encodings and their limit, the estimate kept in the value, corrupt values, events.
#
# SPDX-License-Identifier: GPL-3.0-or-later

set head "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
set corrupt {INVALIDOBJ Corrupted HLL object detected}
set no_hll {WRONGTYPE Key is not a valid HyperLogLog string value.}

# Adds the numbers from $from up to and without $to.
proc add_numbers {key from to} {
    while {$from < $to} {
        set elements {}
        for {set i 0} {$i < 1000 && $from < $to} {incr i; incr from} { lappend elements $from }
        r pfadd $key {*}$elements
    }
}

with_server {} {
    test "bytes and estimates are those of Redis 3.2.13" {
        assert_equal 1 [r pfadd h]
        assert_equal "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff" [r get h]
        assert_equal 0 [r pfcount h]
        assert_equal 1 [r pfadd h 0]
        assert_equal "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80s\xa8\x8cLU" [r get h]
        set from 0
        foreach {to count length} {
            1 1 21  2 2 24  3 3 27  10 10 48  100 100 287  200 201 507  500 502 1061  1000 1000 1923  1500 1511 2766
            2000 2007 12304  5000 4983 12304  10000 9976 12304  41000 41512 12304  72000 71970 12304
            100000 99556 12304
        } {
            add_numbers h $from $to
            assert_equal [list $to $count $length] [list $to [r pfcount h] [r strlen h]]
            set from $to
        }
    }

    test "an element changes the value once" {
        assert_equal 1 [r pfadd h a b c]
        assert_equal 0 [r pfadd h a]
        assert_equal 0 [r pfadd h c b]
        assert_equal 0 [r pfadd h]
        assert_equal 1 [r pfadd h c d]
        assert_equal 1 [r pfadd h ""]
        assert_equal 5 [r pfcount h]
    }

    test "hll-sparse-max-bytes bounds the sparse form" {
        foreach limit {0 100 3000 20000} {
            r config set hll-sparse-max-bytes $limit
            r del h
            for {set i 0} {$i < 400} {incr i} {
                r pfadd h $i
                if {[r pfdebug encoding h] eq "dense"} break
                assert {$limit == 0 || [r strlen h] <= $limit}
            }
            assert_equal [expr {$limit < 1000 ? "dense" : "sparse"}] [r pfdebug encoding h]
        }
        r config set hll-sparse-max-bytes 3000
    }

    test "sparse and dense hold the same" {
        for {set i 0} {$i < 700} {incr i 7} {
            r pfadd sparse $i [expr {$i * 31}]
            r pfadd dense $i [expr {$i * 31}]
            r pfdebug todense dense
            assert_equal {sparse dense} [list [r pfdebug encoding sparse] [r pfdebug encoding dense]]
            assert_equal [r pfcount sparse] [r pfcount dense]
        }
        r set copy [r get sparse]
        assert_equal [r pfdebug getreg dense] [r pfdebug getreg copy]
        assert_equal dense [r pfdebug encoding copy]
    }

    test "PFCOUNT keeps the estimate in the value, and only then changes it" {
        r pfadd h a b
        set c [connect]
        $c watch h
        assert_equal 2 [r pfcount h]
        $c multi
        $c ping
        assert_equal (nil) [$c exec]
        assert_equal "HYLL\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00" [r getrange h 0 15]
        $c watch h
        assert_equal 2 [r pfcount h]
        r pfadd h a
        $c multi
        $c ping
        assert_equal PONG [$c exec]
        disconnect $c
        r setrange h 8 \x39\x30
        assert_equal 12345 [r pfcount h]
        r pfadd h c
        assert_equal 3 [r pfcount h]
    }

    test "PFCOUNT of several keys and PFMERGE are the union" {
        add_numbers a 0 3000
        add_numbers b 2000 5000
        add_numbers c 0 300
        add_numbers all 0 5000
        assert_equal [r pfcount all] [r pfcount a b c none]
        assert_equal OK [r pfmerge d a b c none]
        assert_equal [r pfcount all] [r pfcount d]
        assert_equal [r pfdebug getreg all] [r pfdebug getreg d]
        assert_equal OK [r pfmerge c a b]
        assert_equal [r pfdebug getreg all] [r pfdebug getreg c]
        assert_equal OK [r pfmerge fresh]
        assert_equal {0 dense} [list [r pfcount fresh] [r pfdebug encoding fresh]]
    }

    test "events, lifetimes and encodings" {
        assert_equal {pfadd h} [keyspace_events { r pfadd h a; r pfadd h a; r pfcount h }]
        assert_equal {pfadd h} [keyspace_events { r pfmerge h none }]
        assert_equal {pfadd new} [keyspace_events { r pfadd new }]
        assert_equal {raw string} [list [r object encoding new] [r type new]]
        r expire new 100
        add_numbers new 0 3000
        r pfmerge new h
        assert {[r ttl new] > 0}
    }

    test "a string that is none is refused, and stays as it is" {
        r set dense [repeat x 12304]
        r setrange dense 0 "HYLL\x00"
        assert_equal 0 [r exists none]
        set bad [list "" a 123 HYLL [string range $head 0 14] "hyll[string range $head 4 end]\x7f\xff" \
            "HYLL\x02[string range $head 5 end]\x7f\xff" [string range [r get dense] 0 end-1] [r get dense]x]
        foreach value $bad {
            r set k $value
            foreach command {
                {pfadd k a} {pfcount k} {pfcount none k} {pfmerge d k} {pfmerge k d} {pfdebug encoding k}
            } {
                assert_error $no_hll {r {*}$command}
            }
            assert_equal [list $value 0] [list [r get k] [r exists d]]
        }
    }

    test "runs that do not cover the registers are refused" {
        foreach runs {"" \x7f \x7f\xfe \x7f\xff\x00 \x7f\xfe\x81 \x7f\xff\x7f \x80\x80\x80} {
            set value [string replace $head 15 15 \x80]$runs
            r set k $value
            foreach command {{pfcount k} {pfcount none k} {pfmerge d k} {pfdebug todense k} {pfdebug getreg k}} {
                assert_error $corrupt {r {*}$command}
            }
            assert_equal [list $value 0] [list [r get k] [r exists d]]
        }
        r set k $head\x80\x80\x80
        assert_error $corrupt {r pfadd k a b c d e f}
        r set k $head[repeat \x80 33554416]
        assert_error $corrupt {r pfadd k a b c d e f}
        assert_equal 33554432 [r strlen k]
    }

    test "PFDEBUG looks inside" {
        r pfadd h a
        assert_equal "Z:12711 v:2,1 Z:3672" [r pfdebug decode h]
        assert_equal 1 [r pfdebug todense h]
        assert_equal 0 [r pfdebug todense h]
        assert_error {ERR HLL encoding is not sparse} {r pfdebug decode h}
        set registers [r pfdebug getreg h]
        assert_equal {16384 12711} [list [llength $registers] [lsearch $registers 2]]
        assert_error {ERR The specified key does not exist} {r pfdebug decode none}
        assert_error {ERR Wrong number of arguments for the 'GetReg' subcommand} {r pfdebug GetReg h x}
        assert_error {ERR Unknown PFDEBUG subcommand 'nope'} {r pfdebug nope h}
        r hset hash f v
        assert_error {WRONGTYPE Operation*} {r pfdebug decode hash}
    }

    test "PFSELFTEST passes" {
        if {$::sanitized} { skip "ten million elements" }
        assert_equal OK [r pfselftest]
    }
}
