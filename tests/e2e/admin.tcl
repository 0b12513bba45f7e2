# admin.tcl: the operator's commands: CONFIG, CLIENT, SLOWLOG, LATENCY, MONITOR, DEBUG, OBJECT, FLUSHDB, FLUSHALL, ROLE,
# LASTSAVE, SHUTDOWN.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The line of CLIENT LIST for the client of this name, as a list of fields and values.
proc client_line {name} {
    foreach line [split [r client list] \n] {
        if {[string match "* name=$name *" $line]} {
            set fields {}
            foreach {-> field value} [regexp -all -inline {([\w-]+)=(\S*)} $line] { lappend fields $field $value }
            return $fields
        }
    }
    return {}
}

with_server {} {
    test "CONFIG GET matches names by pattern, in any case" {
        assert_equal {maxmemory 0} [r config get MaxMemory]
        assert_equal {slowlog-log-slower-than 10000 slowlog-max-len 128} [r config get slowlog-*]
        assert_equal {} [r config get nosuch*]
        assert {[llength [r config get *]] > 140}
    }

    test "CONFIG SET changes what may be changed, and refuses the rest by 3.2's texts" {
        assert_equal OK [r config set timeout 100]
        assert_equal {timeout 100} [r config get timeout]
        r config set timeout 0
        assert_error "ERR Invalid argument 'x' for CONFIG SET 'timeout'" {r config set timeout x}
        assert_error "ERR Invalid argument '-1' for CONFIG SET 'timeout'" {r config set timeout -1}
        assert_error "ERR Invalid argument '5' for CONFIG SET 'timeout'" {r config set timeout "5\x00"}
        assert_error "ERR Invalid argument 'lru' for CONFIG SET 'maxmemory-policy'" {r config set maxmemory-policy lru}
        assert_error "ERR Unsupported CONFIG parameter: port" {r config set port 1}
        assert_error "ERR Unsupported CONFIG parameter: nosuch" {r config set nosuch 1}
        assert_error "ERR Wrong number of arguments for CONFIG get" {r config get}
        assert_error "ERR Wrong number of arguments for CONFIG SET" {r config SET a}
        assert_error "ERR CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE" {r config foo}
        assert_error "ERR The server is running without a config file" {r config rewrite}
    }

    test "CONFIG SET of several words takes all of them or none" {
        r config set client-output-buffer-limit "normal 1mb 1kb 7 slave 1 2 3"
        set now "normal 1048576 1024 7 slave 1 2 3 pubsub 33554432 8388608 60"
        assert_equal $now [lindex [r config get client-output-buffer-limit] 1]
        assert_error "ERR Invalid argument*" {r config set client-output-buffer-limit "normal 0 0 0 slave 1 2"}
        assert_equal $now [lindex [r config get client-output-buffer-limit] 1]
        r config set client-output-buffer-limit "normal 0 0 0 slave 268435456 67108864 60"
    }

    test "CONFIG SET of what CKV has no use for is taken and changes nothing" {
        foreach {name value shown} {save "900 1" "" appendonly yes no lua-time-limit 1 5000 slave-read-only no yes} {
            assert_equal OK [r config set $name $value]
            assert_equal [list $name $shown] [r config get $name]
        }
        assert_match "*CONFIG SET appendonly has no effect*" [server_log]
    }

    test "CONFIG SET requirepass changes what AUTH checks" {
        r config set requirepass me:secret
        set c [connect]
        assert_error "NOAUTH*" {$c get a}
        assert_equal OK [$c auth me:secret]
        assert_equal (nil) [$c get a]
        disconnect $c
        assert_error "NOAUTH*" {r get a}
        assert_match "ERR Invalid argument 'secret' for CONFIG SET 'requirepass'*" \
            [admin_cli config set requirepass secret]
        assert_equal OK [admin_cli config set requirepass ""]
        assert_equal (nil) [r get a]
    }

    test "CONFIG SET maxclients holds at once" {
        r config set maxclients 2
        set c [connect]
        $c ping
        set d [connect]
        assert_error "ERR max number of clients reached" {recv $d}
        assert_closed $d
        disconnect $c
        disconnect $d
        r config set maxclients 10000
        assert_error "ERR Invalid argument*" {r config set maxclients 0}
    }

    test "CONFIG SET maxmemory makes room at once" {
        for {set i 0} {$i < 1000} {incr i} { r set k$i [repeat x 1000] }
        r config set maxmemory-policy allkeys-random
        r config set maxmemory [expr {[info_field used_memory] - 200000}]
        set limit [lindex [r config get maxmemory] 1]
        wait_until {[info_field used_memory] < $limit + 50000} ;# INFO's own reply counts, too
        assert {[r dbsize] < 1000}
        r config set maxmemory 0
        r config set maxmemory-policy noeviction
    }

    test "CLIENT LIST has 3.2's fields" {
        r client setname me
        assert {[regexp {^id=\d+ addr=127.0.0.1:\d+ fd=\d+ name=me age=\d+ idle=0 flags=N db=0 sub=0 psub=0 multi=-1\
            qbuf=\d+ qbuf-free=\d+ obl=\d+ oll=\d+ omem=\d+ events=r[w]? cmd=client\n$} [r client list]]}
        r client setname ""
    }

    test "CLIENT LIST tells what clients do" {
        set c [connect]
        $c client setname other
        $c select 3
        $c watch a
        $c multi
        $c set a 1
        array set seen [client_line other]
        assert_equal {3 x 1 set} [list $seen(db) $seen(flags) $seen(multi) $seen(cmd)]
        r select 3
        r set a 2
        r select 0
        array set seen [client_line other]
        assert_equal xd $seen(flags)
        $c discard
        $c subscribe a
        send $c psubscribe b c
        recv $c
        recv $c
        array set seen [client_line other]
        assert_equal {1 2 psubscribe} [list $seen(sub) $seen(psub) $seen(cmd)]
        disconnect $c
        set m [connect]
        $m client setname watcher
        $m monitor
        array set seen [client_line watcher]
        assert_equal O $seen(flags)
        disconnect $m
    }

    test "CLIENT SETNAME and GETNAME" {
        assert_equal (nil) [r client getname]
        assert_equal OK [r client setname a-name]
        assert_equal a-name [r client getname]
        assert_error "ERR Client names cannot contain spaces, newlines or special characters." {r client setname "a b"}
        assert_equal a-name [r client getname]
        r client setname ""
        assert_equal (nil) [r client getname]
    }

    test "CLIENT KILL by address and by filters" {
        set c [connect]
        $c client setname victim
        array set seen [client_line victim]
        assert_equal OK [r client kill $seen(addr)]
        assert_closed $c
        assert_error "ERR No such client" {r client kill $seen(addr)}
        assert_error "ERR No such client" {r client kill 000.123.321.567:0000}
        set c [connect]
        $c client setname victim
        array set seen [client_line victim]
        assert_equal 0 [r client kill id $seen(id) type pubsub]
        assert_equal 1 [r client kill id $seen(id) type normal addr $seen(addr)]
        assert_closed $c
        assert_equal 0 [r client kill id 123456789]
        assert_error "ERR syntax error" {r client kill}
        assert_error "ERR syntax error" {r client kill id 1 addr}
        assert_error "ERR syntax error" {r client kill skipme maybe}
        assert_error "ERR syntax error" {r client kill foo bar}
        assert_error "ERR Unknown client type 'foo'" {r client kill type foo}
        assert_error "ERR value is not an integer or out of range" {r client kill id x}
    }

    test "CLIENT KILL spares the caller unless SKIPME no; it may kill itself" {
        set clients {}
        for {set i 0} {$i < 5} {incr i} {
            set c [connect]
            $c subscribe channel
            lappend clients $c
        }
        assert_equal 5 [r client kill type pubsub]
        foreach c $clients { assert_closed $c }
        set c [connect]
        $c client setname self
        array set seen [client_line self]
        assert_equal 0 [$c client kill id $seen(id)]
        assert_equal 1 [$c client kill id $seen(id) skipme no]
        assert_closed $c
        set c [connect]
        $c client setname self
        array set seen [client_line self]
        assert_equal OK [$c client kill $seen(addr)]
        assert_closed $c
    }

    test "CLIENT PAUSE holds commands back until its end" {
        set c [connect]
        $c ping
        assert_below 1000 {
            assert_equal OK [r client pause 150]
            set start [clock milliseconds]
            assert_equal PONG [$c ping]
            set took [expr {[clock milliseconds] - $start}]
            assert {$took > 100}
            set took
        }
        disconnect $c
        assert_error "ERR timeout is negative" {r client pause -1}
        assert_error "ERR timeout is not an integer or out of range" {r client pause x}
        assert_error "ERR timeout is out of range" {r client pause 9223372036854775807}
        assert_equal OK [r client pause 150]
        assert_equal PONG [admin_cli ping]
        assert_equal PONG [r ping]
    }

    test "a pause that is longer than a timer can be keeps nothing busy" {
        set cpu_ms {
            set f [open /proc/[server_pid]/stat]
            set fields [split [read $f]]
            close $f
            expr {([lindex $fields 13] + [lindex $fields 14]) * 10}
        }
        assert_equal OK [r client pause 9000000000000000000]
        set before [eval $cpu_ms]
        after 600
        assert {[eval $cpu_ms] - $before < 150}
        kill_server
        launch $::current $::server($::current,options)
    }

    test "CLIENT REPLY OFF, SKIP and ON" {
        set c [connect]
        send $c client reply off
        send $c set a 1
        send $c set a 2
        assert_equal OK [$c client reply on]
        assert_equal 2 [$c get a]
        send $c client reply skip
        send $c set a 3
        assert_equal 3 [$c get a]
        assert_error "ERR syntax error" {$c client reply foo}
        disconnect $c
    }

    test "CLIENT's own syntax errors" {
        set text "ERR Syntax error, try CLIENT (LIST | KILL | GETNAME | SETNAME | PAUSE | REPLY)"
        foreach arguments {foo {list x} {setname} {setname a b} {getname x} {pause} {reply}} {
            assert_error $text {r client {*}$arguments}
        }
    }

    test "SLOWLOG keeps what took long, and only that" {
        r slowlog reset
        r config set slowlog-log-slower-than 20000
        assert_equal {0 {}} [list [r slowlog len] [r slowlog get]]
        r ping
        r debug sleep 0.05
        assert_equal 1 [r slowlog len]
        lassign [lindex [r slowlog get] 0] id time took arguments
        assert {abs($time - [clock seconds]) <= 2 && $took > 50000 && $took < 500000}
        assert_equal {debug sleep 0.05} $arguments
        r debug sleep 0.03
        assert_equal [expr {$id + 1}] [lindex [r slowlog get 1] 0 0]
        assert_equal 2 [llength [r slowlog get -1]]
        assert_equal 0 [llength [r slowlog get 0]]
        assert_equal OK [r slowlog reset]
        assert_equal 0 [r slowlog len]
        r config set slowlog-log-slower-than -1
        r debug sleep 0.01
        assert_equal 0 [r slowlog len]
        assert_error "ERR Unknown SLOWLOG subcommand or wrong # of args. Try GET, RESET, LEN." {r slowlog foo}
        assert_error "ERR value is not an integer or out of range" {r slowlog get x}
    }

    test "SLOWLOG is limited in entries, arguments and bytes" {
        r config set slowlog-log-slower-than 0
        r config set slowlog-max-len 10
        for {set i 0} {$i < 100} {incr i} { r ping }
        assert_equal 10 [r slowlog len]
        r config set slowlog-max-len 3
        assert_equal 3 [r slowlog len]
        r sadd set {*}[lmap i [split [repeat x 40] ""] {incr n}]
        set arguments [lindex [r slowlog get 1] 0 3]
        assert_equal {32 {... (11 more arguments)}} [list [llength $arguments] [lindex $arguments end]]
        r set k [repeat x 129]
        assert_equal "[repeat x 128]... (1 more bytes)" [lindex [r slowlog get 1] 0 3 2]
        r set k [repeat x 128]
        assert_equal [repeat x 128] [lindex [r slowlog get 1] 0 3 2]
        catch {r auth me:secret}
        assert_equal {auth (redacted)} [lindex [r slowlog get 1] 0 3]
        r multi
        r ping
        r exec
        assert_equal {ping multi} [lmap entry [r slowlog get 2] {lindex $entry 3 0}]
        r config set slowlog-max-len 128
        r config set slowlog-log-slower-than 10000
        r slowlog reset
    }

    test "LATENCY keeps spikes by event" {
        r config set latency-monitor-threshold 20
        r latency reset
        assert_equal {} [r latency latest]
        assert_match "Nothing took 20 ms*" [r latency doctor]
        r debug sleep 0.03
        wait_until {[clock seconds] != [lindex [r latency history command] 0 0]}
        r debug sleep 0.06
        lassign [lindex [r latency latest] 0] event time took worst
        assert_equal command $event
        assert {abs($time - [clock seconds]) <= 1 && $took >= 60 && $worst == $took}
        set history [r latency history command]
        assert_equal 2 [llength $history]
        assert {[lindex $history 0 1] >= 30 && [lindex $history 1] == [list $time $took]}
        set title "command - high $took ms, low [lindex $history 0 1] ms (all time high $took ms)\n[repeat - 80]"
        assert_match "$title\n #\n |\n |\n_|\n  \n\[0-9]\[0-9]\nss\n" [r latency graph command]
        assert_match "Latency spikes*command: 2 spikes*SLOWLOG*" [r latency doctor]
        assert_equal {} [r latency history nosuch]
        assert_error "ERR No samples available for event 'nosuch'" {r latency graph nosuch}
        assert_equal 0 [r latency reset nosuch]
        assert_equal 1 [r latency reset COMMAND nosuch]
        assert_equal {} [r latency latest]
        r config set latency-monitor-threshold 0
        assert_match "Latency isn't watched*" [r latency doctor]
        assert_error "ERR syntax error" {r latency foo}
    }

    test "MONITOR shows every client's commands, but for the operator's and AUTH's argument" {
        set m [connect]
        assert_equal OK [$m monitor]
        r set k "a \"b\"\\\r\n\t\x01\xff"
        assert_match {[0-9]*.[0-9]* \[0 127.0.0.1:[0-9]*\] "set" "k" "a \\"b\\"\\\\\\r\\n\\t\\x01\\xff"} [recv $m]
        r select 5
        recv $m
        r get k
        assert_match {* \[5 127.0.0.1:*\] "get" "k"} [recv $m]
        r select 0
        recv $m
        r config get port
        catch {r auth me:secret}
        assert_match {* "auth" "(redacted)"} [recv $m]
        r multi
        r incr n
        r exec
        foreach name {multi incr exec} { assert_match "* \"$name\"*" [recv $m] }
        foreach command {multi {select 5} {get k} exec {select 0}} { r {*}$command }
        foreach {name db} {multi 0 select 0 get 5 exec 5 select 5} { assert_match "* \\\[$db *\"$name\"*" [recv $m] }
        admin_cli ping
        assert_match {* \[0 unix:ckv.sock\] "ping"} [recv $m]
        assert_silent $m
        disconnect $m
        assert_equal PONG [r ping]
    }

    test "OBJECT and DEBUG OBJECT" {
        r set s 1
        r set e abc
        r rpush l a b c
        r sadd i 1 2
        foreach {key encoding} {s int e embstr l quicklist i intset} {
            assert_equal $encoding [r object encoding $key]
            assert_equal 1 [r object refcount $key]
            assert_equal 0 [r object idletime $key]
            assert_match "Value at:0x* refcount:1 encoding:$encoding serializedlength:* lru:* lru_seconds_idle:0*" \
                [r debug object $key]
        }
        assert_match "* ql_nodes:1 ql_avg_node:3.00 ql_ziplist_max:-2 ql_compressed:0 *" [r debug object l]
        assert_equal (nil) [r object encoding nosuch]
        assert_error "ERR no such key" {r debug object nosuch}
        assert_match "{DEBUG <subcommand> arg arg ... arg. Subcommands:} {object *} *" [r debug help]
        assert_error "LOADING no  such luck" {r debug error "LOADING no\r\nsuch luck"}
        assert_error "ERR Syntax error. Try OBJECT (refcount|encoding|idletime)" {r object foo s}
        assert_error "ERR wrong number of arguments for 'object' command" {r object encoding}
    }

    test "OBJECT IDLETIME grows, and looking doesn't stop it" {
        r set k v
        after 2100
        assert {[r object idletime k] >= 1}
        assert {[r object idletime k] >= 1}
        r get k
        assert_equal 0 [r object idletime k]
    }

    test "DEBUG DIGEST depends on the content and on nothing else" {
        set empty [r debug digest]
        assert_equal [repeat 0 40] $empty
        proc dataset {order} {
            r flushall
            foreach i $order { r set string$i $i; r sadd set $i x$i; r hset hash f$i $i; r zadd zset $i.5 m$i }
            r rpush list a b c
            r select 1
            r set other x
            r select 0
            return [r debug digest]
        }
        set digest [dataset {1 2 3 4 5}]
        # What redis-server 7.0.15 says of it.
        assert_equal 26866fc5b73484411545e9c062ba2e871f72d8be $digest
        assert_equal $digest [dataset {5 3 1 2 4}]
        foreach option {hash-max-ziplist-entries zset-max-ziplist-entries set-max-intset-entries} {
            set before [lindex [r config get $option] 1]
            r config set $option 0
            assert_equal $digest [dataset {2 1 3 5 4}]
            r config set $option $before
        }
        foreach change {{set string1 x} {rpush list d} {sadd set y} {hset hash f1 x} {zadd zset 9 m1} {expire list 100}
            {del other} {move string1 2} {rename string1 string9}} {
            dataset {1 2 3 4 5}
            r select [expr {$change eq "del other"}]
            r {*}$change
            r select 0
            assert {[r debug digest] ne $digest}
        }
        r flushall
        r rpush list a b
        set digest [r debug digest]
        r del list
        r rpush list b a
        assert {[r debug digest] ne $digest}
    }

    test "DEBUG POPULATE, SLEEP and SET-ACTIVE-EXPIRE" {
        r set key:1 mine
        assert_equal OK [r debug populate 100]
        assert_equal {100 value:0 mine value:99} [list [r dbsize] [r get key:0] [r get key:1] [r get key:99]]
        r debug populate 3 other
        assert_equal {103 value:2} [list [r dbsize] [r get other:2]]
        set start [clock milliseconds]
        assert_equal OK [r debug sleep 0.1]
        assert {[clock milliseconds] - $start >= 100}
        r flushall
        r debug set-active-expire 0
        r psetex a 10 1
        after 200
        assert_equal 1 [r dbsize]
        assert_equal (nil) [r get a]
        assert_equal 0 [r dbsize]
        r psetex a 10 1
        r debug set-active-expire 1
        wait_until {[r dbsize] == 0}
        assert_error "ERR Unknown DEBUG subcommand or wrong number of arguments for 'foo'" {r debug foo}
        assert_error "ERR You must specify a subcommand*" {r debug}
    }

    test "FLUSHDB and FLUSHALL, and those who watch" {
        set c [connect]
        r set a 1
        r select 1
        r set b 1
        $c watch a
        $c multi
        $c ping
        r flushdb
        assert_equal 0 [r dbsize]
        assert_equal PONG [$c exec]
        $c watch a
        $c multi
        $c ping
        r select 0
        assert_equal 1 [r dbsize]
        assert_equal OK [r flushall]
        assert_equal 0 [r dbsize]
        assert_equal (nil) [$c exec]
        disconnect $c
        assert_error "ERR wrong number of arguments for 'flushall' command" {r flushall async}
    }

    test "ROLE and LASTSAVE" {
        assert_equal [list master [info_field master_repl_offset] {}] [r role]
        assert {abs([r lastsave] - [clock seconds]) < 300}
    }
}

with_server {--admin-plane auth --instance-id me --password secret --admin-password root} {
    test "AUTH with the admin password opens the admin plane to this connection only" {
        set c [connect]
        set d [connect]
        assert_equal OK [$d auth me:secret]
        assert_error "NOAUTH*" {$c ping}
        assert_error "ERR unknown command 'config' (not supported*" {$c config get port}
        assert_error "ERR invalid password" {$c auth admin:wrong}
        assert_equal OK [$c auth admin:root]
        assert_equal [list port [server_port]] [$c config get port]
        assert_error "ERR unknown command 'config' (not supported*" {$d config get port}
        assert_equal OK [$c auth me:secret]
        assert_error "ERR unknown command 'config' (not supported*" {$c config get port}
        disconnect $c
        disconnect $d
    }
}

test "CONFIG REWRITE keeps the file and writes what changed" {
    set path [file join $::scratch rewrite.conf]
    set f [open $path w]
    puts $f "# mine\nport 0\nadmin-plane all\nmaxmemory 1gb\nsave 900 1\n# the end"
    close $f
    set directory [file join $::scratch rewritten]
    set chan [open |[list $::ckv $path --dir $directory]]
    while {[gets $chan said] >= 0 && ![string match *ready* $said]} {}
    regexp {port (\d+)} $said -> port
    assert_equal OK [exec redis-cli -p $port config set maxmemory 2mb]
    assert_equal OK [exec redis-cli -p $port config set hz 20]
    assert_equal OK [exec redis-cli -p $port config set requirepass "me:a b"]
    assert_equal OK [exec redis-cli -s $directory/ckv.sock config rewrite]
    set f [open $path]
    assert_equal "# mine\nport $port\nadmin-plane all\nmaxmemory 2097152\nsave 900 1\n# the end\n# Generated by CONFIG\
        REWRITE\ninstance-id me\npassword \"a b\"\ndir $directory\nhz 20\n" [read $f]
    close $f
    exec kill -TERM [pid $chan]
    close $chan
}

foreach how {{} nosave save} {
    test "SHUTDOWN $how" {
        set id [start_server {}]
        assert_error "ERR syntax error" {r shutdown now}
        assert_error "ERR syntax error" {r shutdown save nosave}
        set c [connect]
        send $c shutdown {*}$how
        assert_closed $c
        wait_until {![alive [server_pid]]}
        assert_equal "" [reap $id]
        assert_match "*SHUTDOWN was called*" [server_log]
    }
}

with_server {--timeout 1} {
    test "an idle client is closed after the timeout, one that monitors is not" {
        set idle [connect]
        set watching [connect]
        assert_equal OK [$watching monitor]
        $idle ping
        recv $watching
        assert_closed $idle
        r ping
        assert_match {*"ping"*} [recv $watching]
        disconnect $watching
    }
}
