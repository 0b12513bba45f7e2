# sort.tcl: SORT beyond the transcripts: against Tcl's own lsort, big collections, patterns, STORE's events, what isn't
# there, what has expired.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Fills list l, set s and zset z with the same elements; their scores go the other way.
proc put_collections {elements} {
    r del l s z
    r rpush l {*}$elements
    r sadd s {*}$elements
    set score 0
    foreach element $elements { r zadd z [incr score -1] $element }
}

with_server {} {
    test "numbers, up and down, from each type, against lsort" {
        expr {srand(20160506)}
        for {set i 0} {$i < 3000} {incr i} { lappend numbers [expr {int(rand() * 2000000) - 1000000}] }
        set numbers [lsort -unique $numbers]
        put_collections $numbers
        set up [lsort -integer $numbers]
        set down [lreverse $up]
        foreach key {l s z} {
            assert_equal $up [r sort $key]
            assert_equal $down [r sort $key desc]
            assert_equal [lrange $up 100 149] [r sort $key limit 100 50]
            assert_equal [lrange $down 2990 end] [r sort $key limit 2990 50 desc]
            assert_equal [lsort $numbers] [r sort $key alpha]
            assert_equal [lreverse [lsort $numbers]] [r sort $key desc alpha]
        }
    }

    test "fractions, infinities, signs and blanks are numbers; equal ones are in the order of their bytes" {
        r rpush l 1.5 -1.5 inf -inf +2 0x10 1e1 " 7" 010 ""
        assert_equal {-inf -1.5 {} 1.5 +2 { 7} 010 1e1 0x10 inf} [r sort l]
        assert_equal [lreverse {-inf -1.5 {} 1.5 +2 { 7} 010 1e1 0x10 inf}] [r sort l desc]
    }

    test "what isn't a number is refused, but by ALPHA" {
        foreach odd {x 1x "1 " " " nan 1e999 --1} {
            r del l
            r rpush l 1 $odd 2
            assert_error "ERR One or more scores can't be converted into double" { r sort l }
            assert_error "ERR One or more scores can't be converted into double" { r sort l store d }
            assert_error "ERR One or more scores can't be converted into double" { r sort l limit 0 0 }
            assert_equal [lsort [list 1 $odd 2]] [r sort l alpha]
            assert_equal 3 [llength [r sort l by nosort]]
        }
        assert_equal 0 [r exists d]
    }

    test "ALPHA compares bytes up to a zero byte, and all of them for STORE" {
        set elements [list b "a\x00b" "\xff" "a\x00a" B "" ba "\x80" a b]
        r rpush l {*}$elements
        assert_equal [list "" B "a\x00b" "a\x00a" a b b ba "\x80" "\xff"] [r sort l alpha]
        assert_equal [list "\xff" "\x80" ba b b "a\x00b" "a\x00a" a B ""] [r sort l alpha desc]
        r sort l alpha store d
        assert_equal [list "" B a "a\x00a" "a\x00b" b b ba "\x80" "\xff"] [r lrange d 0 -1]
        r rpush n 1 2 3
        r mset w_1 "x\x00b" w_2 "x\x00a" w_3 w
        assert_equal {3 1 2} [r sort n by w_* alpha]
        r sort n by w_* alpha store d
        assert_equal {3 2 1} [r lrange d 0 -1]
    }

    test "BY keys and BY fields" {
        put_collections {1 2 3 4}
        r mset w_1 30 w_2 10 w_3 20
        foreach {i weight} {1 c 2 a 3 b} { r hset h_$i weight $weight }
        foreach key {l s z} {
            assert_equal {4 2 3 1} [r sort $key by w_*]
            assert_equal {1 3 2 4} [r sort $key by w_* desc]
            assert_equal {2 3} [r sort $key by w_* limit 1 2]
            assert_equal {4 2 3 1} [r sort $key by h_*->weight alpha]
            assert_equal {1 3 2 4} [r sort $key by h_*->weight alpha desc]
            assert_error "ERR One or more scores*" { r sort $key by h_*->weight }
        }
    }

    test "equal weights: the elements' bytes decide, or with ALPHA the order in the list stays" {
        r rpush l c a d b
        r mset w_a 1 w_b 1 w_c 1 w_d 1
        assert_equal {a b c d} [r sort l by w_*]
        assert_equal {d c b a} [r sort l by w_* desc]
        assert_equal {a b c d} [r sort l by nokey_*]
        assert_equal {c a d b} [r sort l by w_* alpha]
        assert_equal {c a d b} [r sort l by w_* alpha desc]
        assert_equal {c a d b} [r sort l by nokey_* alpha]
    }

    test "GET: keys, fields, the element, what isn't there" {
        r rpush l 2 1
        r mset v_1 one v_2 22
        r hmset h_1 f hash-one number 11
        r rpush list_1 x
        assert_equal {1 one hash-one 2 22 (nil)} [r sort l get # get v_* get h_*->f]
        assert_equal {11 (nil)} [r sort l get h_*->number]
        assert_equal {(nil) (nil)} [r sort l get list_*]
        assert_equal {(nil) (nil)} [r sort l get list_*->f]
        assert_equal {(nil) (nil)} [r sort l get h_*]
        assert_equal {(nil) (nil)} [r sort l get v_1]
        assert_equal {(nil) (nil)} [r sort l get h_*->nofield]
        assert_equal {(nil) (nil)} [r sort l get ##]
        assert_equal {22 one} [r sort l get v_* by l]
    }

    test "patterns: only the first star counts, an arrow to nothing is a part of the key" {
        r rpush l 1
        r set "a1b*" two-stars
        r set "k1->" arrow
        r set "->1" before
        r hset h1x f hash
        r hset "h1" "f->g" nested
        assert_equal two-stars [r sort l get a*b*]
        assert_equal arrow [r sort l get k*->]
        assert_equal before [r sort l get ->*]
        assert_equal hash [r sort l get h*x->f]
        assert_equal nested [r sort l get h*->f->g]
    }

    test "BY a constant keeps the collection's order" {
        r rpush l 5 3 9 1
        r zadd z 1 d 2 c 3 b 4 a
        assert_equal {5 3 9 1} [r sort l by nosort]
        assert_equal {1 9 3 5} [r sort l by nosort desc]
        assert_equal {3 9} [r sort l by nosort limit 1 2]
        assert_equal {9 3} [r sort l by nosort limit 1 2 desc]
        assert_equal {d c b a} [r sort z by nosort]
        assert_equal {a b c d} [r sort z by nosort desc]
        assert_equal {c b} [r sort z by nosort limit 1 2]
        assert_equal {b c} [r sort z by nosort limit 1 2 desc]
        assert_equal {a} [r sort z by nosort limit 3 10]
        assert_equal {} [r sort z by nosort limit 4 10]
        r sadd s c a b
        assert_equal 3 [r sort s by nosort store d]
        assert_equal {a b c} [r lrange d 0 -1]
    }

    test "LIMIT at and beyond the ends" {
        r rpush l 3 1 2
        assert_equal {1 2 3} [r sort l limit 0 -1]
        assert_equal {1 2 3} [r sort l limit -5 100]
        assert_equal {} [r sort l limit 0 0]
        assert_equal {} [r sort l limit 3 1]
        assert_equal {3} [r sort l limit 2 9223372036854775807]
        assert_equal {} [r sort l limit 9223372036854775807 9223372036854775807]
        assert_equal {2 3} [r sort l limit 1 -7]
        assert_error "ERR value is not an integer or out of range" { r sort l limit x 1 }
        assert_error "ERR syntax error" { r sort l limit 1 }
    }

    test "STORE makes a list, or takes away what was there" {
        r rpush l 3 1 2
        r set d string ex 100
        assert_equal {sortstore d} [keyspace_events { assert_equal 3 [r sort l store d] }]
        assert_equal {1 2 3} [r lrange d 0 -1]
        assert_equal -1 [r ttl d]
        assert_equal 6 [r sort l get # get nokey_* store d]
        assert_equal {1 {} 2 {} 3 {}} [r lrange d 0 -1]
        assert_equal {del d} [keyspace_events { assert_equal 0 [r sort nokey store d] }]
        assert_equal {} [keyspace_events { assert_equal 0 [r sort nokey store d] }]
        r set d x
        assert_equal {del d} [keyspace_events { assert_equal 0 [r sort l limit 5 1 store d] }]
        assert_equal 3 [r sort l desc store l]
        assert_equal {3 2 1} [r lrange l 0 -1]
    }

    test "errors: the type is looked at before the options" {
        r set k v
        r hset h f v
        assert_error "WRONGTYPE*" { r sort k nonsense }
        assert_error "WRONGTYPE*" { r sort h }
        assert_error "ERR syntax error" { r sort nokey nonsense }
        assert_error "ERR syntax error" { r sort nokey by }
        assert_equal {} [r sort nokey]
        assert_equal {} [r sort nokey get # by w_*]
    }

    test "what has expired weighs nothing" {
        r debug set-active-expire 0
        r rpush l 1 2 3
        r mset w_1 1 w_2 2 w_3 3
        r pexpire w_3 1
        after 20
        assert_equal {3 1 2} [r sort l by w_*]
        assert_equal {1 2 (nil)} [r sort l get w_*]
        r debug set-active-expire 1
    }

    test "a big list by keys and with several GETs" {
        set count [expr {$sanitized ? 3000 : 20000}]
        set c [connect]
        for {set i 0} {$i < $count} {incr i 100} {
            for {set j $i} {$j < $i + 100} {incr j} {
                send $c rpush l $j
                send $c mset w_$j [expr {($j * 7919) % $count}] v_$j value-$j
            }
            for {set j 0} {$j < 200} {incr j} { recv $c }
        }
        disconnect $c
        set sorted [r sort l by w_* get # get v_* get w_*]
        assert_equal [expr {3 * $count}] [llength $sorted]
        set rank 0
        foreach {element value weight} $sorted {
            assert {$weight == $rank && ($element * 7919) % $count == $rank && $value eq "value-$element"}
            incr rank
        }
    }
}
