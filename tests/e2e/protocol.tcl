# protocol.tcl: requests as bytes on the wire: where they are cut, what follows an error or QUIT, quoting, limits, and
# who may connect. (What 3.2.13 answers to malformed requests one by one is in compat/golden/protocol.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Everything that the server sends until it closes.
proc recv_all {c} {
    set bytes ""
    set end [expr {[clock milliseconds] + $::read_ms_max}]
    while {![eof $c]} {
        if {[catch {read $c} more]} break
        append bytes $more
        if {$more eq "" && ![eof $c]} { wait_bytes $c $end close }
    }
    return $bytes
}

with_server {} {
    test "a request may be cut anywhere" {
        set bytes "*3\r\n\$3\r\nSET\r\n\$1\r\nk\r\n\$5\r\na\r\nb\n\r\n\r\n  APPEND k \"\\x41 '\"\r\n*0\r\nget k\r\n"
        set expected "+OK\r\n:8\r\n\$8\r\na\r\nb\nA '\r\n"
        for {set cut 1} {$cut < [string length $bytes]} {incr cut} {
            set c [connect]
            send_raw $c [string range $bytes 0 $cut-1]
            r ping
            send_raw $c [string range $bytes $cut end]
            assert_equal $expected [recv_raw $c [string length $expected]]
            disconnect $c
        }
    }

    test "after a protocol error come the replies before it, the error, and the end" {
        foreach {bad error} {
            "*1\r\nfoo\r\n"   "expected '$', got 'f'"
            "*x\r\n"          "invalid multibulk length"
            "*1\r\n$-5\r\n"   "invalid bulk length"
            "SET k \"a\r\n"   "unbalanced quotes in request"
        } {
            set c [connect]
            send_raw $c "INCR n\r\nMULTI\r\nINCR n\r\n[subst -nocommands -novariables $bad]INCR n\r\nEXEC\r\n"
            assert_match "+OK\r\n+QUEUED\r\n-ERR Protocol error: $error\r\n" [regsub {^:\d+\r\n} [recv_all $c] ""]
            disconnect $c
        }
        assert_equal 4 [r get n]
    }

    test "what follows QUIT is not run" {
        set c [connect]
        send_raw $c "SET a 1\r\nQUIT\r\nSET b 1\r\n*x\r\n"
        assert_equal "+OK\r\n+OK\r\n" [recv_all $c]
        assert_equal {1 0} [list [r exists a] [r exists b]]
        disconnect $c
    }

    test "an inline request's quotes" {
        set c [connect]
        foreach {line argument} {
            {ECHO plain}              plain
            {ECHO "two words"}        {two words}
            {ECHO 'two words'}        {two words}
            {ECHO "it's"}             it's
            {ECHO 'it\'s'}            it's
            {ECHO 'a\n"b'}            {a\n"b}
            {ECHO "\x61\x42\\\"\q"}   {aB\"q}
            {ECHO a"b c"}             {ab c}
            {  ECHO	 tab  }           tab
        } {
            send_raw $c "$line\r\n"
            assert_equal $argument [recv $c]
        }
        disconnect $c
    }

    test "a line or a head line of 64 kB is waited for, a longer one is not" {
        foreach {head error} {
            ""           "too big inline request"
            "*"          "too big mbulk count string"
            "*1\r\n\$"   "too big bulk count string"
        } {
            set c [connect]
            send_raw $c "$head[repeat 1 65000]"
            assert_silent $c
            send_raw $c [repeat 1 600]
            assert_equal "-ERR Protocol error: $error\r\n" [recv_all $c]
            disconnect $c
        }
    }

    test "requests of all sizes in one stream" {
        set c [connect]
        set bytes ""
        set sizes {}
        for {set i 0} {$i < 300} {incr i} {
            set size [expr {(7919 * $i * $i) % ($i % 10 ? 300 : 200000)}]
            lappend sizes $size
            append bytes [encode [list append k$i [repeat [format %c [expr {97 + $i % 26}]] $size]]] "STRLEN k$i\r\n"
        }
        send_raw $c $bytes
        foreach size $sizes { assert_equal [list $size $size] [list [recv $c] [recv $c]] }
        assert_equal [repeat e 200] [string range [r get k30] 0 199]
        disconnect $c
    }

    test "a request of 100,000 arguments" {
        set args {}
        for {set i 0} {$i < 50000} {incr i} { lappend args key:$i $i }
        assert_equal OK [r mset {*}$args]
        assert_equal 50000 [r dbsize]
    }

    test "an announced argument costs no memory until it comes" {
        r ping
        set before [resident_kb]
        set open {}
        for {set i 0} {$i < 50} {incr i} {
            lappend open [set c [connect]]
            send_raw $c "*2\r\n\$4\r\nECHO\r\n\$536870912\r\nabc"
        }
        r ping
        assert {[resident_kb] - $before < ($::sanitized ? 100000 : 10000)}
        foreach c $open { disconnect $c }
    }

    test "replies that nobody reads are limited, and nothing is lost" {
        r set k [repeat x 1000000]
        set c [connect]
        set before [resident_kb]
        set count 400
        send_raw $c "[repeat "GET k\r\n" $count]INCR n\r\nQUIT\r\n"
        wait_until {[regexp {oll=[1-9]} [r client list]]}
        for {set i 0} {$i < 20} {incr i} { r ping }
        if {!$::sanitized} { assert {[resident_kb] - $before < 150000} }
        assert_equal (nil) [r get n]
        for {set i 0} {$i < $count} {incr i} { assert_equal 1000000 [string length [recv $c]] }
        assert_equal {1 OK} [list [recv $c] [recv $c]]
        assert_closed $c
        disconnect $c
    }

    test "a client that half-closes gets all of a long reply" {
        r set k [repeat x 20000000]
        set c [connect]
        send_raw $c "GET k\r\nGET k\r\n"
        close $c write
        after 50
        assert_equal {20000000 20000000} [list [string length [recv $c]] [string length [recv $c]]]
        assert_closed $c
    }

    test "CLIENT PAUSE delays commands and loses none" {
        set c [connect]
        $c ping
        r client pause 300
        set start [clock milliseconds]
        send_raw $c "SET a 1\r\nINCR a\r\n*2\r\n\$4\r\nINCR"
        after 50
        send_raw $c "\r\n\$1\r\na\r\n"
        assert_equal {OK 2 3} [list [recv $c] [recv $c] [recv $c]]
        assert {[clock milliseconds] - $start >= 250}
        disconnect $c
    }

    test "the operator's socket" {
        assert_equal PONG [admin_cli ping]
        assert_match "*addr=*ckv.sock:0 *" [admin_cli client list]
    }
}

with_server {--maxclients 3} {
    test "the operator gets in when clients have taken every place" {
        r ping
        for {set i 0} {$i < 2} {incr i} { [connect] ping }
        assert_error {ERR max number of clients reached} {recv [connect]}
        assert_equal PONG [admin_cli ping]
    }
}

# An address of this machine that isn't loopback; "" if it has none.
set outer ""
catch { set outer [lindex [exec hostname -I] 0] }

foreach {options answer} {
    {}                                          {-DENIED CKV is running in protected mode*}
    {--protected-mode no}                       +PONG
    {--instance-id crs-1 --password secret}     {-NOAUTH Authentication required.}
} {
    with_server [concat {--bind 0.0.0.0 --admin-plane auth} $options] {
        test "a connection from elsewhere, with options '$options'" {
            if {$outer eq ""} { skip "this machine has no address but loopback" }
            set chan [socket $outer [server_port]]
            fconfigure $chan -translation binary
            catch {
                puts -nonewline $chan "PING\r\n"
                flush $chan
            }
            assert_match $answer [string trimright [gets $chan] \r]
            close $chan
        }
    }
}
