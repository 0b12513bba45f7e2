# strings.tcl: string commands beyond the transcripts: encodings, keyspace events and their order, lifetimes, WATCH,
# numbers at their limits, many keys at once, random edits against a model.
#
# SPDX-License-Identifier: GPL-3.0-or-later

with_server {} {
    test "how a string is held shows in OBJECT ENCODING" {
        foreach {value encoding} [list \
            12345 int -1 int 9223372036854775807 int 9223372036854775808 embstr 007 embstr 1.5 embstr "" embstr \
            [repeat x 44] embstr [repeat x 45] raw] {
            r set k $value
            assert_equal $encoding [r object encoding k]
            assert_equal $value [r get k]
        }
        r set k 12
        r append k 3
        assert_equal {raw 123} [list [r object encoding k] [r get k]]
        r incr k
        assert_equal int [r object encoding k]
        r setrange k 0 9
        assert_equal {raw 924} [list [r object encoding k] [r get k]]
        r set k short
        assert_equal embstr [r object encoding k]
        r append fresh 77
        assert_equal int [r object encoding fresh]
        r setrange new 0 77
        assert_equal raw [r object encoding new]
    }

    test "each command publishes its events, and only if it changes something" {
        foreach {before command events} {
            {}                  {set k v}               {set k}
            {}                  {set k v ex 100}        {set k expire k}
            {}                  {set k v xx}            {}
            {set k v}           {set k w nx}            {}
            {}                  {setnx k v}             {set k}
            {set k v}           {setnx k v}             {}
            {}                  {setex k 100 v}         {set k expire k}
            {}                  {psetex k 100000 v}     {set k expire k}
            {}                  {getset k v}            {set k}
            {}                  {mset a 1 b 2 a 3}      {set a set b set a}
            {}                  {msetnx a 1 b 2}        {set a set b}
            {set b 1}           {msetnx a 1 b 2}        {}
            {}                  {append k ""}           {append k}
            {set k v}           {append k w}            {append k}
            {}                  {setrange k 5 ""}       {}
            {set k v}           {setrange k 5 ""}       {}
            {set k v}           {setrange k 0 v}        {setrange k}
            {}                  {incr k}                {incrby k}
            {}                  {decrby k 0}            {incrby k}
            {}                  {incrbyfloat k 1.5}     {incrbyfloat k}
            {set k 1}           {get k}                 {}
            {set k 1}           {getrange k 0 1}        {}
        } {
            r flushall
            if {$before ne ""} { r {*}$before }
            assert_equal $events [keyspace_events { r {*}$command }]
        }
    }

    test "what replaces a value ends its lifetime, what changes it does not" {
        foreach {command keeps} {
            {set k 2} 0  {getset k 2} 0  {mset k 2} 0  {setrange k 0 2} 1  {append k 2} 1  {incr k} 1
            {incrbyfloat k 0.5} 1  {incrbyfloat k 1e30} 1  {setrange k 100 x} 1  {set k 2 nx} 1
        } {
            r set k 1 ex 1000
            r {*}$command
            assert_equal [list $command $keeps] [list $command [expr {[r ttl k] > 0}]]
        }
        r set k 1 ex 1000
        assert_error {ERR value is not an integer*} {r incrby k x}
        r getset k [repeat x 100]
        assert_equal -1 [r ttl k]
    }

    test "a value with a lifetime takes the place of anything" {
        set values [list 5 text [repeat x 100] "" [repeat y 60] -7]
        foreach before [concat {{}} {{hset k f v}} {{set k 1}} {{set k 1 ex 50}} [list "set k [repeat z 80] ex 50"]] {
            foreach value $values {
                r del k
                if {$before ne ""} { r {*}$before }
                r setex k 1000 $value
                assert_equal $value [r get k]
                assert {[r ttl k] > 900}
                r set k ${value}2 px 60
                assert_equal ${value}2 [r get k]
                r setex k 2000 $value
            }
            after 80
            assert {[r ttl k] > 1900}
        }
        r set k [repeat x 100] px 60
        wait_until {[r dbsize] == 0}
    }

    test "a lifetime that overflows the clock is refused" {
        foreach {name command} {
            set    {set k v ex 9223372036854775807}
            set    {set k v ex 9223372036854775}
            set    {set k v px 9223372036854775807}
            setex  {setex k 9223372036854775807 v}
            setex  {setex k 9223372036854775 v}
            psetex {psetex k 9223372036854775807 v}
            setex  {setex k 0 v}
            psetex {psetex k -1 v}
        } {
            assert_error "ERR invalid expire time in $name" {r {*}$command}
            assert_equal 0 [r exists k]
        }
        r set k v ex 9000000000000000
        assert {[r ttl k] > 8999999999999000}
    }

    test "the last of SET's lifetimes counts; units don't mix" {
        r set k v ex 10 ex 500
        assert {[r ttl k] > 400}
        foreach bad {{ex 1 px 1} {px 1 ex 1} {nx xx} {xx nx} {ex} {px} {keepttl} {get} {"" 1} {nx 1}} {
            assert_error {ERR syntax error} {r set k v {*}$bad}
        }
        assert_equal (nil) [r set fresh v xx px 1000]
        assert_equal OK [r set fresh v NX PX 100000]
    }

    test "a command that changes a watched key, or fails to, is seen by EXEC" {
        set c [connect]
        foreach {command touched} {
            {set w 1} 1  {set w 1 nx} 0  {setnx w 1} 0  {append w ""} 1  {setrange w 3 ""} 0  {incr w} 1
            {incrby w x} 0  {msetnx w 1 v 1} 0  {mset v 1} 0  {getset w 5} 1  {incrbyfloat w nan} 0  {get w} 0
        } {
            r set w 7
            $c watch w
            catch { r {*}$command }
            $c multi
            $c ping
            assert_equal [list $command [expr {$touched ? "(nil)" : "PONG"}]] [list $command [$c exec]]
        }
        disconnect $c
    }

    test "INCRBYFLOAT gives every digit of what it stores" {
        r set k 1e300
        set digits [r incrbyfloat k 1]
        assert_equal 301 [string length $digits]
        assert {[string is digit $digits]}
        assert_equal $digits [r get k]
        r set k 1e4932
        set digits [r incrbyfloat k 0]
        assert_equal 4933 [string length $digits]
        assert_equal $digits [r get k]
        assert_equal $digits [r incrbyfloat k 0]
        assert_error {ERR increment would produce NaN or Infinity} {r incrbyfloat k 1e4932}
        assert_error {ERR increment would produce NaN or Infinity} {r incrbyfloat k inf}
        assert_equal 1.5 [r incrbyfloat fresh 1.5]
        assert_equal 1000001.5 [r incrbyfloat fresh 1e6]
    }

    test "counting stops at the ends of 64 bits" {
        r set k 9223372036854775806
        assert_equal 9223372036854775807 [r incr k]
        assert_error {ERR increment or decrement would overflow} {r incr k}
        r set k -9223372036854775807
        assert_equal -9223372036854775808 [r decr k]
        assert_error {ERR increment or decrement would overflow} {r decrby k 1}
        assert_error {ERR increment or decrement would overflow} {r incrby k -9223372036854775808}
        assert_equal -1 [r incrby k 9223372036854775807]
        foreach text {"" " 1" "1 " 1.0 1e3 0x1 +1 01 -0 9223372036854775808 "1\x00"} {
            r set k $text
            assert_error {ERR value is not an integer or out of range} {r incr k}
            assert_equal $text [r get k]
        }
    }

    test "thousands of keys in one MSET, MGET and MSETNX" {
        set pairs {}
        set keys {}
        set values {}
        for {set i 0} {$i < 5000} {incr i} {
            lappend pairs key:$i value:$i
            lappend keys key:$i missing:$i
            lappend values value:$i (nil)
        }
        assert_equal OK [r mset {*}$pairs]
        assert_equal 5000 [r dbsize]
        assert_equal $values [r mget {*}$keys]
        assert_equal 0 [r msetnx fresh 1 {*}$pairs]
        assert_equal 0 [r exists fresh]
    }

    test "MGET gives nil for what is no string" {
        r set s v
        r hset h f v
        r zadd z 1 m
        assert_equal {(nil) v (nil) (nil)} [r mget h s z none]
    }

    test "a value may be any bytes, and a key too" {
        set bytes ""
        for {set i 0} {$i < 256} {incr i} { append bytes [format %c $i] }
        r set $bytes $bytes
        assert_equal $bytes [r get $bytes]
        assert_equal 512 [r append $bytes $bytes]
        assert_equal $bytes$bytes [r get $bytes]
        r set "" empty
        assert_equal empty [r get ""]
        assert_equal empty [r getset "" ""]
        assert_equal "" [r get ""]
    }

    test "values of many sizes overwrite each other in place" {
        expr {srand(7)}
        for {set round 0} {$round < 300} {incr round} {
            set key k[expr {int(rand() * 3)}]
            set value [repeat [expr {$round % 10}] [expr {int(pow(2, rand() * 14)) - 1}]]
            r set $key $value
            set stored($key) $value
            foreach known [array names stored] { assert_equal $stored($known) [r get $known] }
        }
    }

    test "random edits agree with a model" {
        expr {srand(11)}
        set model ""
        for {set round 0} {$round < 2000} {incr round} {
            set piece [repeat [format %c [expr {97 + $round % 26}]] [expr {int(rand() * 30)}]]
            set at [expr {int(rand() * 400)}]
            if {rand() < 0.3} {
                append model $piece
                assert_equal [string length $model] [r append k $piece]
            } elseif {rand() < 0.1} {
                set model $piece
                r set k $piece
            } elseif {$piece ne ""} {
                set end [expr {$at + [string length $piece]}]
                set padded $model[repeat \x00 [expr {max(0, $at - [string length $model])}]]
                set model [string range $padded 0 $at-1]$piece[string range $padded $end end]
                assert_equal [string length $model] [r setrange k $at $piece]
            }
            set to [expr {$at + int(rand() * 50)}]
            assert_equal [string range $model $at $to] [r getrange k $at $to]
            assert_equal [string length $model] [r strlen k]
        }
        assert_equal $model [r get k]
    }

    test "a string grown byte by byte keeps every byte" {
        set c [connect]
        for {set i 0} {$i < 20000} {incr i} { send $c append k [format %c [expr {$i % 251}]] }
        for {set i 1} {$i <= 20000} {incr i} { assert_equal $i [recv $c] }
        disconnect $c
        foreach at {0 250 251 9999 19999} { assert_equal [format %c [expr {$at % 251}]] [r getrange k $at $at] }
    }
}
