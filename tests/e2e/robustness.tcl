# robustness.tcl: clients that misbehave - slow, silent, broken, gone, greedy - and what the others notice: nothing.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The slowest of `count` round trips on a fresh connection, in ms.
proc slowest_ping {count} {
    set c [connect]
    set slowest 0
    for {set i 0} {$i < $count} {incr i} {
        set start [clock milliseconds]
        assert_equal PONG [$c ping]
        set slowest [expr {max($slowest, [clock milliseconds] - $start)}]
    }
    disconnect $c
    return $slowest
}

# Both ways of waiting: poll(2) for the busy and epoll for the quiet, and poll(2) for all.
foreach plain_poll {no yes} {
    with_server [list --plain-poll $plain_poll] {
        test "a client that sends byte by byte is served, and delays nobody (plain poll: $plain_poll)" {
            set c [connect]
            set value "a\r\n\$9\r\n*3\r\n"
            foreach byte [split [encode [list set slow $value]][encode {get slow}]PING\r\n ""] {
                send_raw $c $byte
                assert {[slowest_ping 1] < 1000}
            }
            assert_equal {OK PONG} [list [recv $c] [expr {[recv $c] eq $value ? [recv $c] : "?"}]]
            disconnect $c
        }

        test "a hundred thousand commands in one write are answered in order (plain poll: $plain_poll)" {
            set count [expr {$::sanitized ? 20000 : 100000}]
            set c [connect]
            send_raw $c [repeat [encode {incr n}] $count]
            for {set i 1} {$i <= $count} {incr i} { assert_equal $i [recv $c] }
            disconnect $c
        }

        test "clients that vanish halfway leave nothing behind (plain poll: $plain_poll)" {
            r ping
            set before [info_field connected_clients]
            foreach part [list "*" "*3" "*3\r\n" "*3\r\n\$3\r\nSET\r\n\$1\r\nk\r\n\$1000000\r\nabc" "SET k" \
                "*2\r\n\$3\r\nGET\r\n\$1\r\nk\r" "MULTI\r\nSET k v\r\n" "SUBSCRIBE ch\r\n" "WATCH k\r\nMULTI\r\n"] {
                for {set i 0} {$i < 20} {incr i} {
                    set c [connect]
                    send_raw $c $part
                    disconnect $c
                }
            }
            wait_until {[info_field connected_clients] == $before}
            assert_equal 0 [r dbsize]
            assert_equal {ch 0} [r pubsub numsub ch]
        }

        test "a client that half-closes still gets its replies (plain poll: $plain_poll)" {
            set c [connect]
            send_raw $c "SET k v\r\nGET k\r\n"
            close $c write
            assert_equal {OK v} [list [recv $c] [recv $c]]
            assert_closed $c
        }

        test "garbage harms nobody but its sender (plain poll: $plain_poll)" {
            expr {srand(20)}
            for {set i 0} {$i < 200} {incr i} {
                set c [connect]
                set bytes ""
                set length [expr {int(rand() * 3000)}]
                for {set j 0} {$j < $length} {incr j} { append bytes [format %c [expr {int(rand() * 256)}]] }
                if {$i % 2} { set bytes "*[expr {$i % 7}]\r\n\$3\r\nGET\r\n$bytes" }
                catch { send_raw $c $bytes }
                disconnect $c
            }
            assert {[slowest_ping 10] < 1000}
            assert_equal 0 [r dbsize]
        }
    }
}

with_server {--client-output-buffer-limit normal 8mb 0 0 --client-output-buffer-limit pubsub 1mb 0 0} {
    test "a client that does not read is cut off at its limit, and delays nobody" {
        r set k [repeat x 1000000]
        set c [connect]
        send_raw $c [repeat "GET k\r\n" 100]
        wait_until {[info_field connected_clients] == 1} 20000
        assert {[slowest_ping 10] < 1000}
        disconnect $c
    }

    test "a subscriber that does not read is cut off at its limit" {
        set c [connect]
        $c subscribe ch
        set message [repeat x 100000]
        for {set i 0} {$i < 200 && [r publish ch $message] == 1} {incr i} {}
        assert {$i > 10 && $i < 200}
        assert_equal {ch 0} [r pubsub numsub ch]
        disconnect $c
    }
}

with_server {} {
    test "a client that reads late gets everything" {
        r set k [repeat x 1000000]
        set c [connect]
        for {set i 0} {$i < 40} {incr i} { send $c get k }
        assert {[slowest_ping 10] < 1000}
        for {set i 0} {$i < 40} {incr i} { assert_equal 1000000 [string length [recv $c]] }
        disconnect $c
    }

    test "a client that doesn't read small replies is held as well; all that it sent is answered in the end, in order" {
        foreach form {array inline} {
            set c [connect]
            $c client setname held
            set commands ""
            set replies ""
            for {set i 0} {$i < 8192} {incr i} {
                set word [format %0100d $i]
                append commands [expr {$form eq "array" ? [encode [list echo $word]] : "echo $word\r\n"}]
                append replies "\$100\r\n$word\r\n"
            }
            # More than 64 MB of replies, and tens of MB of commands behind those that have been answered.
            set rounds 110
            fconfigure $c -blocking 1
            for {set i 0} {$i < $rounds} {incr i} { send_raw $c $commands }
            fconfigure $c -blocking 0
            wait_until {
                [regexp {name=held [^\n]* qbuf=(\d+) [^\n]* omem=(\d+) } [r client list] -> input output] &&
                $input > 10000000
            }
            assert {$output > 60000000 && $output < 80000000}
            for {set i 0} {$i < $rounds} {incr i} {
                if {[recv_raw $c [string length $replies]] ne $replies} { fail "$form: wrong replies in round $i" }
            }
            assert_equal PONG [$c ping]
            disconnect $c
        }
        wait_until {[info_field used_memory] < 20000000}
    }

    test "a bulk of 512 MB is taken in linear time and refused by the command, not the connection" {
        set mib [expr {$::sanitized ? 64 : 512}]
        # With what the replies of the tests before took, which the allocator gives back some seconds later.
        regexp {VmRSS:\s+(\d+) kB} [exec cat /proc/[server_pid]/status] -> before_kb
        set c [connect]
        set chunk [repeat x 1048576]
        set start [clock milliseconds]
        send_raw $c "*3\r\n\$3\r\nSET\r\n\$1\r\nk\r\n\$[expr {$mib * 1048576}]\r\n"
        fconfigure $c -blocking 1
        for {set i 0} {$i < $mib} {incr i} { send_raw $c $chunk }
        send_raw $c "\r\n"
        fconfigure $c -blocking 0
        assert_error {ERR string exceeds maximum allowed size (32MB)} {recv $c}
        assert_equal PONG [$c ping]
        assert {[clock milliseconds] - $start < 20000}
        assert_equal 0 [r exists k]
        # What has come is never there twice, so it isn't copied when there has to be more room.
        regexp {VmHWM:\s+(\d+) kB} [exec cat /proc/[server_pid]/status] -> peak_kb
        assert {$::sanitized || $peak_kb < $before_kb + ($mib + 128) * 1024}
        disconnect $c
    }

    test "a bulk of 32 MB that comes in small pieces is taken in linear time" {
        set c [connect]
        set chunk [repeat x 4096]
        set start [clock milliseconds]
        send_raw $c "*3\r\n\$3\r\nSET\r\n\$1\r\nk\r\n\$33554432\r\n"
        fconfigure $c -blocking 1
        for {set i 0} {$i < 8192} {incr i} { send_raw $c $chunk }
        send_raw $c "\r\n"
        fconfigure $c -blocking 0
        assert_equal OK [recv $c]
        assert {[clock milliseconds] - $start < 10000}
        assert_equal 33554432 [r strlen k]
        disconnect $c
    }

    test "who asks for far more than it reads, and leaves, isn't answered any further" {
        r set k [repeat x 1000000]
        r ping
        set before [info_field total_commands_processed]
        set c [connect]
        set gets [repeat "GET k\r\n" 1000]
        for {set i 0} {$i < 300} {incr i} { send_raw $c $gets }
        wait_until {[regexp {qbuf=(\d+)[^\n]*cmd=get} [r client list] -> unread] && $unread > 1000000} 20000
        disconnect $c
        wait_until {[info_field connected_clients] == 1} 20000
        assert {[info_field total_commands_processed] - $before < 10000}
    }

    test "what runs of one that is gone keeps others waiting for a few replies at a time" {
        r set k [repeat x 1000000]
        r config resetstat
        set gone [connect]
        set other [connect]
        exec kill -STOP [server_pid]
        send_raw $gone [repeat "GET k\r\n" 2000]
        disconnect $gone
        send $other info commandstats ;# in the same turn
        exec kill -CONT [server_pid]
        set calls 0
        regexp {cmdstat_get:calls=(\d+)} [recv $other] -> calls
        assert {$calls < 1000}
        disconnect $other
        wait_until {[info_field connected_clients] == 1} 20000
        assert_match "*cmdstat_get:calls=2000,*" [r info commandstats] ;# but all of it runs
    }

    test "announced sizes beyond the protocol's are refused before a byte of them is read" {
        foreach {bytes error} {
            "*2\r\n\$3\r\nGET\r\n\$536870913\r\n" {ERR Protocol error: invalid bulk length}
            "*1048577\r\n" {ERR Protocol error: invalid multibulk length}
            "*1\r\n\$-1\r\n" {ERR Protocol error: invalid bulk length}
            "*1\r\nPING\r\n" {ERR Protocol error: expected '$', got 'P'}
        } {
            set c [connect]
            send_raw $c [subst -nocommands -novariables $bytes]
            assert_error $error {recv $c}
            assert_closed $c
        }
    }

    test "an endless line is cut off" {
        set c [connect]
        catch { send_raw $c [repeat x 200000] }
        assert_error {ERR Protocol error: too big inline request} {recv $c}
        assert_closed $c
    }
}

with_server {--maxclients 20} {
    test "beyond maxclients a connection is told so and closed, and there is room again afterwards" {
        r ping
        set open {}
        for {set i 0} {$i < 19} {incr i} { lappend open [connect] }
        assert_equal PONG [[lindex $open end] ping]
        set c [connect]
        assert_error {ERR max number of clients reached} {recv $c}
        assert_closed $c
        foreach c $open { disconnect $c }
        wait_until {[info_field connected_clients] == 1}
        set c [connect]
        assert_equal PONG [$c ping]
    }
}

with_server {--timeout 1} {
    test "who waits for the server isn't idle" {
        set waiting [connect]
        set reading [connect]
        r set big [string repeat x 30000000]
        send $waiting wait 1 3000
        send $reading get big
        set end [expr {[clock milliseconds] + 20000}]
        for {set got 0} {$got < 30000013 && ![eof $reading] && [clock milliseconds] < $end} {after 5} {
            incr got [string length [read $reading 60000]] ;# for two seconds and more
        }
        assert_equal 30000013 $got
        assert_equal 0 [recv $waiting]
        foreach c [list $waiting $reading] {
            assert_equal PONG [call $c ping]
            disconnect $c
        }
        reopen_default
    }

    test "idle clients are closed after the timeout; subscribers are not" {
        set idle [connect]
        set subscriber [connect]
        $idle ping
        $subscriber subscribe ch
        set start [clock milliseconds]
        assert_closed $idle
        set took [expr {[clock milliseconds] - $start}]
        assert {$took >= 900 && $took < 4000}
        set c [connect]
        assert_equal 1 [$c publish ch hello]
        assert_equal {message ch hello} [recv $subscriber]
    }
}

# 10,000, or as many as this machine's limit on open files leaves.
set room [expr {min([exec sh -c "ulimit -n"], 20000) - 200}]
set idle_max [expr {min(10000, $room)}]

foreach plain_poll {no yes} {
    with_server [list --maxclients [expr {$idle_max + 100}] --plain-poll $plain_poll] {
        test "$idle_max idle connections cost little memory and no speed (plain poll: $plain_poll)" {
            set pings [repeat "PING\r\n" 100]
            set measure {
                set start [clock microseconds]
                for {set i 0} {$i < 200} {incr i} {
                    send_raw $busy $pings
                    recv_raw $busy 700
                }
                expr {[clock microseconds] - $start}
            }
            set busy [connect]
            eval $measure
            set alone_us [eval $measure]
            set before_kb [resident_kb]
            set used_before [info_field used_memory]
            r ping
            # Opened without the framework's bookkeeping, which is made for a few; and after those that are read from,
            # because Tcl waits for descriptors below 1024 only.
            set idle {}
            try {
                for {set i 0} {$i < $idle_max} {incr i} {
                    # From many addresses, because one's free ports run low, and finding one gets slow.
                    set from 127.0.1.[expr {$i / 100 + 1}]
                    lappend idle [socket -myaddr $from 127.0.0.1 [server_port]]
                    # Lets it catch up: a full backlog costs a second's wait.
                    if {$i % 50 == 0} { r ping }
                }
                wait_until {[info_field connected_clients] >= $idle_max}
                set resident [expr {([resident_kb] - $before_kb) * 1024.0}]
                set bytes_each [expr {([info_field used_memory] - $used_before) * 1.0 / $idle_max}]
                # It takes a moment until the quiet ones are known as such.
                after 500
                for {set warm 0} {$warm < 5} {incr warm} { eval $measure }
                set crowded_us [eval $measure]
            } finally {
                foreach c $idle { close $c }
            }
            puts [format "      %d idle connections: %.0f bytes each (%.0f resident); 20,000 pings in %d ms alone,\
                %d ms among them" $idle_max $bytes_each [expr {$resident / $idle_max}] [expr {$alone_us / 1000}] \
                [expr {$crowded_us / 1000}]]
            # What is resident grows by huge pages: two of them, of anything's, are no fault of the connections'.
            if {!$::sanitized} {
                assert {$bytes_each < 1024}
                assert {$resident < 1400 * $idle_max + (4 << 20)}
            }
            if {!$plain_poll} { assert {$crowded_us < 3 * $alone_us + 100000} }
            wait_until {[info_field connected_clients] <= 2} 20000
        }
    }
}
