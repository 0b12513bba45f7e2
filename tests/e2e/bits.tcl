# bits.tcl: the commands on bits beyond the transcripts: each against a model written out bit by bit, at every length
# and offset around a word; events; big values.
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc random_bytes {count} {
    set bytes ""
    for {set i 0} {$i < $count} {incr i} { append bytes [format %c [expr {int(rand() * 256)}]] }
    return $bytes
}

# A string's bits as text of 0 and 1, and back.
proc bits_of {bytes} {
    binary scan $bytes B* bits
    return $bits
}

proc bytes_of {bits} { return [binary format B* $bits] }

# The bits of an operation over the bits of sources, the shorter ones padded.
proc model_bitop {operation sources} {
    set longest [tcl::mathfunc::max {*}[lmap s $sources { string length $s }]]
    set result ""
    for {set i 0} {$i < $longest} {incr i} {
        set column [lmap s $sources { expr {[string index $s $i] eq "1"} }]
        switch $operation {
            and { set bit [expr {0 ni $column}] }
            or  { set bit [expr {1 in $column}] }
            xor { set bit [expr {[tcl::mathop::+ {*}$column] % 2}] }
            not { set bit [expr {![lindex $column 0]}] }
        }
        append result $bit
    }
    return $result
}

with_server {} {
    test "BITOP of strings of every length around a word" {
        expr {srand(3)}
        foreach operation {and or xor not} {
            for {set length 1} {$length <= 40} {incr length} {
                set names {}
                set sources {}
                set count [expr {$operation eq "not" ? 1 : 1 + int(rand() * 4)}]
                for {set i 0} {$i < $count} {incr i} {
                    set bytes [random_bytes [expr {$i == 0 ? $length : int(rand() * $length)}]]
                    r set s$i $bytes
                    lappend names s$i
                    lappend sources [bits_of $bytes]
                }
                assert_equal $length [r bitop $operation d {*}$names]
                assert_equal [bytes_of [model_bitop $operation $sources]] [r get d]
            }
        }
    }

    test "BITOP may write over a source, takes integers, and treats a missing key as empty" {
        r set a "\x0f\xf0"
        assert_equal 2 [r bitop not a a]
        assert_equal "\xf0\x0f" [r get a]
        r set n 12
        assert_equal 2 [r bitop or n n none x]
        assert_equal 12 [r get n]
    }

    test "BITOP with nothing to write deletes the destination" {
        r set d v
        assert_equal {del d} [keyspace_events { assert_equal 0 [r bitop and d none1 none2] }]
        assert_equal {} [keyspace_events { assert_equal 0 [r bitop and d none1 none2] }]
        r hset d f v
        r set s ab ex 100
        assert_equal {set d} [keyspace_events { assert_equal 2 [r bitop or d s] }]
        assert_equal {string -1 raw} [list [r type d] [r ttl d] [r object encoding d]]
    }

    test "BITOP of a hundred sources" {
        set names {}
        for {set i 0} {$i < 100} {incr i} {
            r setbit s$i $i 1
            lappend names s$i
        }
        assert_equal 13 [r bitop or d {*}$names]
        assert_equal 100 [r bitcount d]
        assert_equal 100 [r bitpos d 0 0]
        r bitop and d {*}$names
        assert_equal 0 [r bitcount d]
    }

    test "BITCOUNT of every range of a string around a word" {
        expr {srand(5)}
        set bytes [random_bytes 35]
        r set k $bytes
        for {set from 0} {$from < 35} {incr from} {
            for {set to $from} {$to < 35} {incr to 3} {
                set ones [string length [string map {0 ""} [bits_of [string range $bytes $from $to]]]]
                assert_equal $ones [r bitcount k $from $to]
                assert_equal $ones [r bitcount k [expr {$from - 35}] [expr {$to - 35}]]
            }
        }
    }

    test "BITPOS finds the only bit wherever it is" {
        foreach length {1 7 8 9 16 17 31} {
            for {set at 0} {$at < $length * 8} {incr at} {
                set bits [repeat 0 [expr {$length * 8}]]
                set bits [string replace $bits $at $at 1]
                r set k [bytes_of $bits]
                assert_equal $at [r bitpos k 1]
                r set k [bytes_of [string map {0 1 1 0} $bits]]
                assert_equal $at [r bitpos k 0]
            }
        }
    }

    test "BITPOS in every range of a string" {
        foreach {byte bit} {\x00 1 \xff 0} {
            set bytes [repeat $byte 20]
            foreach at {3 17} { set bytes [string replace $bytes $at $at [expr {$bit ? "\x10" : "\xef"}]] }
            r set k $bytes
            for {set from 0} {$from < 20} {incr from} {
                for {set to $from} {$to < 20} {incr to} {
                    set expected [expr {$from <= 3 && $to >= 3 ? 27 : $from <= 17 && $to >= 17 ? 139 : -1}]
                    assert_equal $expected [r bitpos k $bit $from $to]
                }
            }
        }
    }

    test "beyond a string of ones the first zero is behind its end, unless an end is given" {
        r set k [repeat \xff 9]
        assert_equal {72 72 -1 -1} [list [r bitpos k 0] [r bitpos k 0 3] [r bitpos k 0 3 -1] [r bitpos k 0 20]]
        assert_equal {0 -1} [list [r bitpos none 0] [r bitpos none 1]]
        r set empty ""
        assert_equal {-1 -1} [list [r bitpos empty 0] [r bitpos empty 1]]
    }

    test "SETBIT grows with zeros, gives the old bit and announces itself each time" {
        assert_equal {setbit k setbit k} [keyspace_events { r setbit k 100 1; r setbit k 100 1 }]
        assert_equal {13 1 0 1} [list [r strlen k] [r bitcount k] [r getbit k 99] [r setbit k 100 0]]
        assert_equal [repeat \x00 13] [r get k]
        r set n 12 ex 100
        assert_equal 0 [r setbit n 6 1]
        assert_equal {32 raw} [list [expr {[r ttl n] > 0 ? [r get n] : "gone"}] [r object encoding n]]
    }

    test "bits set one by one in random order" {
        expr {srand(9)}
        set bits [repeat 0 2000]
        for {set i 0} {$i < 1500} {incr i} {
            set at [expr {int(rand() * 2000)}]
            set bit [expr {rand() < 0.7}]
            assert_equal [string index $bits $at] [r setbit k $at $bit]
            set bits [string replace $bits $at $at $bit]
            assert_equal $bit [r getbit k $at]
        }
        r setbit k 1999 [string index $bits 1999]
        assert_equal [bytes_of $bits] [r get k]
    }

    test "big bitmaps" {
        r set a [repeat \x55 1000003]
        r set b [repeat \xaa 1000001]
        assert_equal {4000012 4000004} [list [r bitcount a] [r bitcount b]]
        r bitop xor d a b
        assert_equal [expr {1000001 * 8 + 8}] [r bitcount d]
        assert_equal [expr {1000001 * 8}] [r bitpos d 0]
        r bitop and d a b
        assert_equal {0 -1 1000003} [list [r bitcount d] [r bitpos d 1] [r strlen d]]
    }

    test "offsets and bits that are none" {
        foreach offset {-1 4294967296 9223372036854775807 9223372036854775808 x "" 1.0 #1} {
            assert_error {ERR bit offset is not an integer or out of range} {r setbit k $offset 1}
            assert_error {ERR bit offset is not an integer or out of range} {r getbit k $offset}
        }
        foreach bit {2 -1 x "" 9223372036854775808} {
            assert_error {ERR bit is not an integer or out of range} {r setbit k 0 $bit}
        }
        assert_equal 0 [r getbit k 4294967295]
        assert_equal 0 [r exists k]
    }
}
