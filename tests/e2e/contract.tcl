# contract.tcl: what CKV Master/Slave does otherwise than Redis 3.2: strings of 32 MB at most, PTTL in whole seconds,
# the form of AUTH, refused commands, the admin plane; and what stops a start.
#
# SPDX-License-Identifier: GPL-3.0-or-later

set limit 33554432
set too_long {ERR string exceeds maximum allowed size (32MB)}

with_server {} {
    # Each runs with a value of $size bytes; `k` is a string of 3 bytes before.
    set creators {
        {set k $value}
        {set k $value EX 100}
        {setex k 100 $value}
        {psetex k 100000 $value}
        {setnx new $value}
        {getset k $value}
        {mset a 1 k $value b 2}
        {msetnx a 1 new $value b 2}
    }

    test "a command that would create a string of more than 32 MB is refused and changes nothing" {
        set value [repeat x [expr {$limit + 1}]]
        foreach command $creators {
            r flushall
            r set k abc
            set events [keyspace_events { assert_error $too_long {r {*}[subst $command]} }]
            assert_equal {} $events
            assert_equal abc [r get k]
            assert_equal 1 [r dbsize]
            assert_equal -1 [r ttl k]
        }
    }

    test "a string of exactly 32 MB can be created" {
        set value [repeat x $limit]
        foreach command $creators {
            r flushall
            r set k abc
            r {*}[subst $command]
            assert_equal $limit [r strlen [expr {"new" in $command ? "new" : "k"}]]
        }
        assert_equal $value [r get new]
    }

    test "a string grows to exactly 32 MB and no further" {
        foreach {last beyond} [list \
            [list append k [repeat y [expr {$limit - 3}]]] {append k y} \
            [list setrange k [expr {$limit - 1}] y] [list setrange k $limit y] \
            [list setrange k 3 [repeat y [expr {$limit - 3}]]] [list setrange k 4 [repeat y [expr {$limit - 3}]]] \
            [list setbit k [expr {$limit * 8 - 1}] 1] [list setbit k [expr {$limit * 8}] 1]] {
            r set k abc
            r {*}$last
            assert_equal $limit [r strlen k]
            set before [r getrange k -20 -1]
            assert_equal {} [keyspace_events { assert_error $too_long {r {*}$beyond} }]
            assert_equal $limit [r strlen k]
            assert_equal $before [r getrange k -20 -1]
        }
    }

    test "growth far beyond the limit is refused without a try" {
        foreach command {
            {setrange k 536870911 x} {setrange k 536870912 x} {setrange k 2147483648 x}
            {setrange k 9223372036854775807 x}
            {setbit k 4294967295 1} {setbit k 4294967295 0}
        } {
            assert_error $too_long {r {*}$command}
            assert_equal 0 [r exists k]
        }
        assert_equal 0 [r setrange k 9223372036854775807 ""]
        assert_error {ERR bit offset is not an integer or out of range} {r setbit k 4294967296 1}
    }

    test "BITOP's result may have 32 MB" {
        r setbit a [expr {$limit * 8 - 1}] 1
        r set b abc
        foreach {operation sources} {not a or {a b} and {a b} xor {a b}} {
            assert_equal $limit [r bitop $operation d {*}$sources]
            assert_equal $limit [r strlen d]
        }
    }

    test "a refused string inside MULTI is an error in EXEC's reply, and the rest runs" {
        r multi
        r set a 1
        r set k [repeat x [expr {$limit + 1}]]
        r set b 2
        assert_equal [list OK -$too_long OK] [r exec]
        assert_equal {1 (nil) 2} [r mget a k b]
    }

    test "a refused string does not touch a watched key" {
        r set k abc
        set c [connect]
        $c watch k
        assert_error $too_long {r setrange k $limit x}
        $c multi
        $c get k
        assert_equal abc [$c exec]
        disconnect $c
    }

    test "PTTL answers 1000 x TTL in TTL's rounding" {
        foreach {px ttl} {100000 100 2300 2 1900 2 1300 1 900 1 400 0} {
            r set k v px $px
            assert_equal [list $ttl [expr {$ttl * 1000}]] [list [r ttl k] [r pttl k]]
        }
        r persist k
        assert_equal -1 [r pttl k]
        r del k
        assert_equal -2 [r pttl k]
    }

    test "deadlines are kept to the millisecond all the same" {
        assert_below 600 {
            set start [clock milliseconds]
            r set k v px 300
            wait_until {[r exists k] == 0}
            set took [expr {[clock milliseconds] - $start}]
            assert {$took >= 300}
            set took
        }
    }
}

# Commands of Redis 3.2 that CKV Master/Slave does not have; those of the admin plane.
set refused {
    {bitfield k} {substr k 0 1} {brpop k 0} {blpop k 0} {brpoplpush a b 0} {bgrewriteaof} {sync}
    {psync ? -1} {replconf ack 1} {touch k} {slaveof no one} {cluster info} {restore-asking k 0 x}
    {migrate h 1 k 0 1} {asking} {readonly} {readwrite} {eval {return 1} 0} {evalsha x 0} {script flush}
    {wait 0 0} {georadius_ro k 0 0 1 m} {georadiusbymember_ro k m 1 m}
}
set operators_only {
    {shutdown nosave} {lastsave} {save} {bgsave} {flushdb} {flushall} {monitor} {role} {debug sleep 0} {config get port}
    {object encoding k} {client list} {slowlog len} {pfselftest} {pfdebug encoding k} {latency latest} {dump k}
    {restore k 0 x}
}

with_server {--admin-plane auth --requirepass crs-1:secret --admin-password adm} {
    test "the service plane refuses by name what the published list does not have" {
        set c [connect]
        $c auth crs-1:secret
        foreach command [concat $refused $operators_only] {
            set name [lindex $command 0]
            assert_error "ERR unknown command '$name' (not supported by CKV Master/Slave)" {$c {*}$command}
            set name [string toupper $name]
            assert_error "ERR unknown command '$name' (not supported by CKV Master/Slave)" {$c $name}
        }
        assert_equal PONG [$c ping]
        disconnect $c
    }

    test "COMMAND works bare; its sub-commands are refused" {
        set c [connect]
        $c auth crs-1:secret
        set names [lmap entry [$c command] { lindex $entry 0 }]
        assert_equal [llength $names] [llength [lsort -unique $names]]
        foreach name {get zadd georadius publish} { assert {$name in $names} }
        foreach name {eval flushall config save} { assert {$name ni $names} }
        foreach sub {info count getkeys} {
            assert_error "ERR unknown command 'command $sub' (not supported by CKV Master/Slave)" {$c command $sub get}
        }
        assert_error {ERR Unknown subcommand or wrong number of arguments.} {$c command nosuch}
        disconnect $c
    }

    test "a refused or unknown command inside MULTI aborts the transaction" {
        set c [connect]
        $c auth crs-1:secret
        foreach bad {{flushall} {eval x 0} {nosuch}} {
            $c multi
            assert_equal QUEUED [$c set k v]
            assert_error {ERR unknown command*} {$c {*}$bad}
            assert_error {EXECABORT Transaction discarded because of previous errors.} {$c exec}
            assert_equal 0 [$c exists k]
        }
        disconnect $c
    }

    test "AUTH admin:password opens the admin plane, and only that of its connection" {
        set operator [connect]
        set user [connect]
        assert_equal OK [$operator auth admin:adm]
        assert_equal OK [$user auth crs-1:secret]
        $user set k v
        assert_equal raw [expr {[$operator object encoding k] eq "embstr" ? "raw" : "?"}]
        assert_error {ERR unknown command*} {$user flushall}
        assert_equal OK [$operator flushall]
        assert_equal 0 [$user dbsize]
        disconnect $operator
        disconnect $user
    }

    test "the Unix socket in the data directory is the operator's, and needs no password" {
        file stat [file join [server_dir] ckv.sock] socket
        assert_equal 600 [format %o [expr {$socket(mode) & 0777}]]
        assert_equal PONG [admin_cli ping]
        assert_equal OK [admin_cli flushall]
        assert_match "maxmemory\n*" [admin_cli config get maxmemory]
    }

    test "INFO and SELECT stay within the service plane" {
        set c [connect]
        $c auth crs-1:secret
        assert_match *redis_version:3.2.13* [$c info]
        assert_match *ckv_version:* [$c info server]
        assert_equal OK [$c select 15]
        disconnect $c
    }
}

# The start fails: exit status 1 and one line that names the reason.
proc assert_no_start {pattern args} {
    lassign [run_ckv {*}$args --dir $::scratch] status out err
    assert_equal 1 $status
    assert_match $pattern $err
    assert_equal 1 [llength [split [string trim $err] \n]]
}

proc write_file {name text} {
    set path [file join $::scratch $name]
    set f [open $path w]
    puts -nonewline $f $text
    close $f
    return $path
}

test "requirepass must have the form instance-id:password" {
    foreach bad {secret :secret crs-1: :} { assert_no_start *requirepass* --port 0 --requirepass $bad }
}

test "bad options stop the start with one line" {
    assert_no_start *maxmemroy*maxmemory* --port 0 --maxmemroy 1mb
    foreach {option value} {port 65536 port x databases 0 maxmemory-policy nothing maxmemory lots loglevel loud} {
        assert_no_start *$option* --$option $value
    }
}

test "a bad address stops the start" {
    assert_no_start *203.0.113.77* --port 0 --bind 203.0.113.77
}

test "a configuration file's errors name file and line" {
    assert_no_start *no-such.conf* [file join $::scratch no-such.conf]
    set path [write_file bad.conf "# fine\nport 0\n\nmaxmemroy 1mb\n"]
    assert_no_start *bad.conf*4*maxmemroy*maxmemory* $path
}

with_server {} {
    test "a port in use stops the start" {
        assert_no_start *[server_port]* --port [server_port]
        assert_equal PONG [r ping]
    }

    test "a data directory in use stops the start" {
        lassign [run_ckv --port 0 --dir [server_dir]] status out err
        assert_equal 1 $status
        assert_equal PONG [admin_cli ping]
    }
}

# An address of this machine that is not loopback, or "".
proc outside_address {} {
    foreach address [exec hostname -I] {
        if {[regexp {^\d+\.\d+\.\d+\.\d+$} $address]} { return $address }
    }
    return ""
}

with_server {--bind 0.0.0.0} {
    test "a server without a password serves loopback only" {
        set address [outside_address]
        if {$address eq ""} { skip "this machine has no address but loopback" }
        assert_equal PONG [r ping]
        set chan [socket $address [server_port]]
        fconfigure $chan -blocking 0 -translation binary
        assert_error DENIED* {recv $chan}
        assert_closed $chan
        close $chan
    }
}
