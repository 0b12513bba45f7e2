# slave.tcl: a slave against a master that this script plays: handshake, full syncs, the stream, what a broken link
# leaves, histories, the guard, what clients may do; then pairs and chains of ckv; then a real Redis as the master
# (Debian's redis-server, and the one that $REDIS32 names).
#
# SPDX-License-Identifier: GPL-3.0-or-later

# ---------------------------------------------------------------- what the master sends

# Strings as an RDB file: without a checksum.
proc rdb {pairs} {
    set file "REDIS0007\xfe\x00"
    foreach {key value} $pairs {
        append file "\x00" [binary format c [string length $key]] $key [binary format c [string length $value]] $value
    }
    return "$file\xff[string repeat \x00 8]"
}

proc full_sync {c id offset pairs} {
    set file [rdb $pairs]
    fake_send $c "+FULLRESYNC $id $offset\r\n\$[string length $file]\r\n$file"
    wait_until {[info_field master_link_status] eq "up"}
}

# A fresh slave of a fresh master: the link, with these keys at offset 100 of history a.
proc synced {{pairs {k v}}} {
    set ::fake_port [fake_listen]
    r slaveof 127.0.0.1 $::fake_port
    set c [fake_link]
    fake_handshake $c [fake_info $::id_a 100 [expr {[llength $pairs] / 2}]]
    full_sync $c $::id_a 100 $pairs
    return $c
}

proc stream {c args} {
    set bytes ""
    foreach command $args { append bytes [encode $command] }
    fake_send $c $bytes
    return [string length $bytes]
}

proc end_sync {} {
    fake_close
    r slaveof no one
}


# ---------------------------------------------------------------- the handshake and full syncs

with_server {--read-only-slave yes --masterauth admin:pw --slave-announce-ip 10.1.2.3 --slave-announce-port 777} {
    test "the handshake says who the slave is, and asks for all of what it has nothing of" {
        r set k v
        set port [fake_listen]
        assert_equal OK [r slaveof 127.0.0.1 $port]
        assert_equal "OK Already connected to specified master" [r slaveof 127.0.0.1 $port]
        assert_equal slave [info_field role]
        assert_equal down [info_field master_link_status]
        assert_equal "127.0.0.1 $port" [lindex [r config get slaveof] 1]
        set c [fake_link]
        assert_equal {? -1} [fake_handshake $c [fake_info $id_a 100 1]]
        assert_equal {ping {auth admin:pw} {replconf listening-port 777} {replconf ip-address 10.1.2.3}\
            {replconf capa eof capa psync2} info} [lrange $::said 0 end-1]
        assert_equal handshake [lindex [r role] 3]
        full_sync $c $id_a 100 {other data}
        assert_equal connected [lindex [r role] 3]
        assert_equal 100 [offset]
        assert_equal $id_a [info_field master_replid]
        assert_equal {data {}} [list [r get other] [string map {(nil) {}} [r get k]]]
        assert_equal {replconf ack 100} [fake_command $c 1]
        end_sync
    }
}

with_server {--read-only-slave yes --checkpoint-every 0} {
    test "a full sync of either framing, in pieces of any size" {
        foreach piece {1 7 40 41 1000} {
            set port [fake_listen]
            r slaveof 127.0.0.1 $port
            set c [fake_link]
            fake_handshake $c [fake_info $id_b 5 1]
            set file [rdb [list piece $piece half [repeat $ 60]]]
            set mark [repeat $ 39]x
            set bytes "\n\n+FULLRESYNC $id_b 5\r\n\n\$EOF:$mark\r\n$file$mark"
            for {set i 0} {$i < [string length $bytes]} {incr i $piece} {
                fake_send $c [string range $bytes $i [expr {$i + $piece - 1}]]
                if {$i % 20 == 0} { after 1 }
            }
            wait_until {[info_field master_link_status] eq "up"}
            assert_equal $piece [r get piece]
            assert_equal [repeat $ 60] [r get half]
            end_sync
        }
    }

    test "what can't be read changes nothing, and is tried again" {
        r set mine 1
        set port [fake_listen]
        r slaveof 127.0.0.1 $port
        foreach bytes {"+FULLRESYNC X 5\r\n" "-ERR no\r\n" "+WHAT\r\n" "+FULLRESYNC ID 5\r\n-ERR aborted\r\n"
                "+FULLRESYNC ID 5\r\nhello\r\n" "+FULLRESYNC ID 5\r\n\$30\r\n"} {
            set c [fake_link]
            fake_handshake $c [fake_info $id_a 5 10]
            fake_send $c [string map [list ID $id_a] $bytes]
            close $c
            wait_until {[info_field ckv_sync_error] ne ""}
            assert_equal 1 [r get mine]
        }
        set c [fake_link]
        fake_handshake $c [fake_info $id_a 5 10]
        fake_send $c "+FULLRESYNC $id_a 5\r\n\$30\r\nREDIS0007[repeat x 30]"
        wait_until {[string match "*what the master sent can't be used*" [info_field ckv_sync_error]]}
        assert_equal 1 [r get mine]
        assert {![file exists [server_dir]/rollback.tmp]}
        end_sync
        assert_equal 1 [r get mine]
    }

    test "a full sync that ends in the middle leaves nothing in the directory" {
        r set mine 1
        foreach end {broken promoted} {
            r slaveof 127.0.0.1 [fake_listen]
            set c [fake_link]
            fake_handshake $c [fake_info $id_a 5 10]
            fake_send $c "+FULLRESYNC $id_a 5\r\n\$1000\r\n[string range [rdb {k v}] 0 12]"
            wait_until {[file exists [server_dir]/rollback.tmp]}
            fake_close ;# no other sync takes its place
            if {$end eq "broken"} { close $c }
            if {$end eq "promoted"} { r slaveof no one }
            wait_until {![file exists [server_dir]/rollback.tmp]}
            assert_equal [dict get {broken slave promoted master} $end] [info_field role]
            r slaveof no one
        }
        assert_equal idle [r backup status] ;# it's no command's job
        assert_equal 1 [r get mine]
    }

    test "a master that wants a password: what to do is said" {
        r slaveof 127.0.0.1 [fake_listen]
        set c [fake_link]
        assert_equal ping [fake_command $c]
        fake_send $c "-NOAUTH Authentication required.\r\n"
        wait_until {[string match "The master wants a password: set masterauth *'-NOAUTH*" [info_field ckv_sync_error]]}
        end_sync
    }

    test "what came by a full sync at offset 0, as of a new Redis, isn't taken for nothing later" {
        set ::fake_port [fake_listen]
        r slaveof 127.0.0.1 $::fake_port
        set c [fake_link]
        fake_handshake $c [fake_info $id_a 0 1]
        full_sync $c $id_a 0 {came 1}
        end_sync
        r set early 1
        after 3
        set moment [clock milliseconds]
        after 3
        foreach n {1 2} {
            r set late $n
            r save
        }
        # When the backup of what was before has been deleted.
        wait_until {![catch {r rollback to $moment} why]} 10000
        wait_until {![string match running* [r rollback status]]}
        assert_match "failed*can't be reached*" [r rollback status]
        assert_equal {1 1 2} [r mget came early late]
        kill_server
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} { file delete [server_dir]/$name }
        lassign [run_ckv --port 0 --dir [server_dir]] status out err
        assert_equal 1 $status
        assert_match "*there's no other checkpoint*" $err
        file delete -force {*}[glob [server_dir]/*]
        launch $::current $::server($::current,options)
    }

    test "what a full sync replaced is a backup, until there's a checkpoint" {
        r set old 1
        set c [synced]
        assert_match "*before full sync from 127.0.0.1:$::fake_port" [lindex [r backup list] end]
        stream $c {select 0} {set x y}
        wait_until {[r get x] eq "y"}
        r save
        wait_until {[r backup list] eq ""} 10000
        end_sync
    }
}

# ---------------------------------------------------------------- the stream

with_server {--read-only-slave yes} {
    test "the stream is run, and its bytes count" {
        set c [synced]
        set bytes [stream $c {select 3} {set a 1} {ping} {multi} {incr a} {incr a} {exec} {select 0} {del k}]
        wait_until {[offset] == 100 + $bytes}
        assert_equal {(nil) 0} [list [r get k] [r dbsize]]
        r select 3
        assert_equal 3 [r get a]
        r select 0
        incr bytes [stream $c {replconf getack *}]
        set want "replconf ack [expr {100 + $bytes}]"
        while {[fake_command $c 1] ne $want} {}
        end_sync
    }

    test "what isn't in the journal yet isn't confirmed, whoever asks" {
        set c [synced]
        assert_equal {replconf ack 100} [fake_command $c 1]
        exec prlimit --pid [server_pid] --fsize=100:unlimited ;# a longer file can't be written
        set bytes [stream $c {select 0} {set a 1} {replconf getack *}]
        wait_until {[r get a] eq "1"}
        # One is the answer, the other comes by itself.
        foreach n {1 2} { assert_equal {replconf ack 100} [fake_command $c 1] }
        exec prlimit --pid [server_pid] --fsize=unlimited:unlimited
        while {[set words [fake_command $c 1]] eq "replconf ack 100"} {}
        assert_equal "replconf ack [expr {100 + $bytes}]" $words
        end_sync
    }

    test "forms of later versions are understood" {
        set c [synced]
        set far [expr {[clock milliseconds] + 100000}]
        stream $c {select 0} [list set a 1 pxat $far] {set a 2.5 keepttl} [list set b 1 exat [expr {$far / 1000}]] \
            {hset h f 1 g 2} {set u 1} {unlink u k} {set n 1 nx}
        wait_until {[r get n] eq "1"}
        assert {[r ttl a] > 90 && [r ttl b] > 90}
        assert_equal {2.5 2 0} [list [r get a] [r hget h g] [r exists u k]]
        set digest [r debug digest]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
        fake_close
    }

    test "lifetimes count from when they came, also after a restart" {
        set c [synced]
        stream $c {select 0} {setex s 100 v} {set e v} {expire e 200}
        wait_until {[r ttl e] > 0}
        after 2200
        kill_server
        launch $::current $::server($::current,options)
        assert {[r ttl s] <= 98 && [r ttl e] <= 198}
        fake_close
    }

    test "a link that breaks inside a transaction or a command leaves nothing of it" {
        set c [synced]
        set bytes [stream $c {select 0} {set a 1}]
        fake_send $c "[encode multi][encode {set a 2}][encode {set b 2}]"
        wait_until {[r get a] eq "1"}
        close $c
        set c [fake_link]
        assert_equal [list $id_a [expr {101 + $bytes}]] [fake_handshake $c [fake_info $id_a 1000 1]]
        assert_equal {1 (nil)} [list [r get a] [r get b]]
        fake_send $c "+CONTINUE\r\n[string range [encode {set a 3}] 0 end-3]"
        wait_until {[info_field master_link_status] eq "up"}
        close $c
        set c [fake_link]
        assert_equal [expr {101 + $bytes}] [lindex [fake_handshake $c [fake_info $id_a 1000 1]] 1]
        fake_send $c "+CONTINUE\r\n[encode {set a 3}]"
        wait_until {[r get a] eq "3"}
        end_sync
    }

    test "a stream that can't be followed ends the link, and leaves the data as it was" {
        set c [synced]
        stream $c {select 0} {set a 1} {rpush l x}
        wait_until {[r exists l]}
        set digest [r debug digest]
        foreach bytes [list "hello\r\n" "*1\r\n+OK\r\n" [encode {eval x 0}] [encode {incr l}] [encode {select 99}] \
                "[encode multi][encode {set a 2}][encode {incr l}][encode exec]" [encode exec]] {
            set before [offset]
            fake_send $c $bytes
            wait_until {[info_field master_link_status] eq "down"}
            assert_match "*can't be followed*" [info_field ckv_sync_error]
            wait_until {[info_field loading] == 0}
            assert_equal $digest [r debug digest]
            assert_equal $before [offset]
            set c [fake_link]
            assert_equal [list $id_a [expr {$before + 1}]] [fake_handshake $c [fake_info $id_a 1000 10]]
            fake_send $c "+CONTINUE\r\n[encode ping]"
            wait_until {[offset] > $before}
        }
        end_sync
    }

    test "what can't be followed is asked for again at once, then later, and all is taken anew after SLAVEOF" {
        set c [synced]
        fake_send $c [encode {eval x 0}]
        set c [fake_link]
        assert_equal [list $id_a 101] [fake_handshake $c [fake_info $id_a 1000 10]]
        set sent_ms [clock milliseconds]
        fake_send $c "+CONTINUE\r\n[encode {eval x 0}]"
        set c [fake_link]
        assert {[clock milliseconds] - $sent_ms >= 900}
        assert_equal "OK Already connected to specified master" [r slaveof 127.0.0.1 $::fake_port]
        assert_equal {? -1} [fake_handshake $c [fake_info $id_a 1000 10]]
        full_sync $c $id_a 1000 {other data}
        assert_equal data [r get other]
        end_sync
    }

    test "a master that continues where all was asked for isn't followed" {
        set port [fake_listen]
        r slaveof 127.0.0.1 $port
        set c [fake_link]
        assert_equal {? -1} [fake_handshake $c [fake_info $id_c 5 10]]
        fake_send $c "+CONTINUE\r\n"
        wait_until {[info_field ckv_sync_error] ne ""}
        assert_equal "The master would continue where a full sync was asked for" [info_field ckv_sync_error]
        end_sync
    }

    test "messages, events, WATCH and MONITOR are as on a master" {
        set c [synced]
        r config set notify-keyspace-events KEA
        set s [connect]
        $s psubscribe *
        set m [connect]
        $m monitor
        set w [connect]
        $w watch k
        $w multi
        $w ping
        stream $c {select 0} {publish news hello} {set k 2}
        assert_equal {pmessage * news hello} [recv $s]
        assert_equal {pmessage * __keyspace@0__:k set} [recv $s]
        assert_equal (nil) [$w exec]
        set seen ""
        while {![string match {*"set" "k" "2"*} $seen]} { set seen [recv $m] }
        foreach each [list $s $m $w] { disconnect $each }
        r config set notify-keyspace-events ""
        end_sync
    }

    test "a key whose time is over can't be seen, and stays until the master says so" {
        set c [synced]
        set bytes [stream $c {select 0} {psetex e 100 v}]
        wait_until {[offset] == 100 + $bytes}
        after 300
        assert_equal {(nil) 0 -2 {} 2} [list [r get e] [r exists e] [r ttl e] [r keys e*] [r dbsize]]
        stream $c {incr n} {del e}
        wait_until {[r dbsize] == 2}
        stream $c {psetex e 100 v}
        after 300
        assert_equal 3 [r dbsize]
        fake_close
        r slaveof no one
        wait_until {[r dbsize] == 2}
    }
}

# ---------------------------------------------------------------- histories, restarts

with_server {} {
    test "a CKV whose history changes between INFO and PSYNC is asked anew: what else INFO told may be old, too" {
        set c [synced]
        close $c
        set c [fake_link]
        fake_handshake $c "[fake_info $id_a 100 1]ckv_ack_lost:0\r\n"
        fake_send $c "+CONTINUE $id_b\r\n"
        assert_closed $c
        set c [fake_link]
        assert_equal [list $id_a 101] \
            [fake_handshake $c "[fake_info $id_b 100 1 $id_a 101]ckv_rolled_back_from:$id_c\r\n"]
        fake_send $c "+CONTINUE $id_b\r\n"
        wait_until {[info_field master_link_status] eq "up"}
        assert_equal [list $id_b $id_c] [list [info_field master_replid] [info_field ckv_rolled_back_from]]
        end_sync
    }
}

with_server {--read-only-slave yes} {
    test "a master's new history, and our own" {
        set c [synced]
        close $c
        set c [fake_link]
        fake_handshake $c [fake_info $id_b 100 1 $id_a 101]
        fake_send $c "+CONTINUE $id_b\r\n"
        wait_until {[info_field master_link_status] eq "up"}
        assert_equal [list $id_b $id_a 101] \
            [list [info_field master_replid] [info_field master_replid2] [info_field second_repl_offset]]
        set bytes [stream $c {select 0} {set a 1}]
        wait_until {[r get a] eq "1"}
        fake_close
        kill_server
        launch $::current "$::server($::current,options) --slaveof 127.0.0.1 $::fake_port"
        assert_equal {slave 1} [list [info_field role] [r get a]]
        assert_equal [list $id_b $id_a] [list [info_field master_replid] [info_field master_replid2]]
        set ::fake_listener [socket -server fake_arrive -myaddr 127.0.0.1 $::fake_port]
        set c [fake_link]
        assert_equal [list $id_b [expr {101 + $bytes}]] [fake_handshake $c [fake_info $id_b 1000 2 $id_a 101]]
        r slaveof no one
        assert_equal [list $id_b [expr {101 + $bytes}]] \
            [list [info_field master_replid2] [info_field second_repl_offset]]
        assert_equal OK [r set mine 1]
        fake_close
        kill_server
        launch $::current {--read-only-slave yes}
        assert_equal {1 1} [list [r get a] [r get mine]]
        assert_equal $id_b [info_field master_replid2]
        stop_server
        assert_equal 0 [lindex [run_ckv check [server_dir]] 0]
    }
}

# ---------------------------------------------------------------- the guard

with_server {--read-only-slave yes} {
    test "an empty, older or smaller master doesn't replace our data on a reconnect" {
        set c [synced {a 1 b 2 c 3}]
        foreach {info reason} [list \
                [fake_info $id_b 500 0] "the master has no keys" \
                [fake_info $id_a 50 10] "the master's history ends before ours" \
                [fake_info $id_b 80 10 $id_a 51] "the master's history ends before ours" \
                [fake_info $id_b 500 2] "the master has another history and fewer keys"] {
            close $c
            set c [fake_link]
            catch {fake_handshake $c $info} message
            assert_equal "the slave closed the link" $message
            assert_equal $reason [info_field ckv_sync_refused]
            assert_equal {3 down} [list [r dbsize] [info_field master_link_status]]
        }
        assert_match "*is refused, and our data kept: the master has no keys.*SLAVEOF again.*" [server_log]
        # The lineage is the same, so it's asked; but the answer is a full sync, of an empty master.
        set c [fake_link]
        fake_handshake $c [fake_info $id_a 500 0]
        fake_send $c "+FULLRESYNC $id_a 500\r\n"
        wait_until {[info_field ckv_sync_refused] eq "the master has no keys"}
        assert_equal 3 [r dbsize]
        end_sync
    }
}

with_server {--read-only-slave yes} {
    test "accept-data-loss, and SLAVEOF again, are consent" {
        set c [synced {a 1 b 2 c 3}]
        close $c
        set c [fake_link]
        catch {fake_handshake $c [fake_info $id_b 500 1]}
        r config set accept-data-loss yes
        set c [fake_link]
        fake_handshake $c [fake_info $id_b 500 1]
        full_sync $c $id_b 500 {only one}
        r config set accept-data-loss no
        assert_equal {1 {}} [list [r dbsize] [info_field ckv_sync_refused]]
        close $c
        set c [fake_link]
        catch {fake_handshake $c [fake_info $id_c 0 0]}
        assert_equal "the master has no keys" [info_field ckv_sync_refused]
        r slaveof 127.0.0.1 $::fake_port
        set c [fake_link]
        fake_handshake $c [fake_info $id_c 0 0]
        full_sync $c $id_c 0 {}
        assert_equal 0 [r dbsize]
        end_sync
    }
}

# ---------------------------------------------------------------- what clients may do

with_server {--admin-plane auth} {
    test "reads need read-only-slave yes, writes never go" {
        set port [fake_listen]
        admin_cli set k v
        set other [connect]
        assert_equal PONG [$other ping]
        admin_cli slaveof 127.0.0.1 $port
        assert_closed $other
        set refusal "READONLY reads from the slave are disabled (read-only-slave no)"
        foreach command {{get k} {exists k} {keys *} {dbsize} {pfcount k}} {
            assert_error $refusal { r {*}$command }
        }
        foreach command {{set k w} {del k} {sort k}} {
            assert_error "READONLY You can't write against a read only slave." { r {*}$command }
        }
        assert_equal {PONG 0} [list [r ping] [r publish a b]]
        assert_match "*role:slave*" [r info]
        assert_equal v [admin_cli get k]
        admin_cli config set read-only-slave yes
        assert_equal v [r get k]
        assert_error "READONLY You can't*" { r set k w }
        r multi
        assert_error "READONLY You can't*" { r set k w }
        assert_equal QUEUED [r get k]
        assert_equal v [r exec]
        admin_cli config set slave-serve-stale-data no
        assert_error "MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'." { r get k }
        assert_equal PONG [r ping]
        admin_cli slaveof no one
        assert_equal v [r get k]
        fake_close
    }
}

test "a server without persistence is nobody's slave" {
    set dir [file join $::scratch rewritten]
    set said [lindex [run_ckv --dir $dir --persistence no --slaveof localhost 1] 2]
    assert_match "*slaveof needs persistence yes*" $said
    with_server {--persistence no} {
        assert_error "ERR a slave needs the journal*" { r slaveof 127.0.0.1 1 }
    }
}

# ---------------------------------------------------------------- pairs and chains of ckv

proc wait_same {of ids} {
    set offset [in $of { info_field master_repl_offset }]
    foreach id $ids {
        in $id { wait_until {[info_field master_link_status] eq "up" && [offset] >= $offset} 15000 }
    }
    set digest [in $of { r debug digest }]
    foreach id $ids { assert_equal $digest [in $id { r debug digest }] }
}

with_server {--read-only-slave yes} {
    set a $::current
    with_server {--read-only-slave yes} {
        set b $::current
        test "a slave that stopped reading is disconnected at its limit, and goes on by offset" {
            follow $b $a
            wait_same $a $b
            set full [in $a { info_field sync_full }]
            in $a { r config set journal-keep-bytes 1mb; r config set client-output-buffer-limit "slave 8mb 0 0" }
            exec kill -STOP $::server($b,pid)
            set value [repeat v 1000000]
            in $a {
                for {set i 0} {$i < 60 && [info_field connected_slaves] > 0} {incr i} { r set big $value }
                assert_equal 0 [info_field connected_slaves]
            }
            exec kill -CONT $::server($b,pid)
            wait_same $a $b
            in $a { assert_equal $full [info_field sync_full] }
        }
    }
}

# Some 65 MB: more than what receives a full sync holds. (A sanitizer takes what bigger tables hold for leaked.)
proc fill_much {prefix} {
    r debug populate 100000 $prefix
    set value [repeat $prefix 100000]
    for {set i 0} {$i < 100} {incr i} { r set $prefix:big:$i $value$i }
}

with_server {--read-only-slave yes} {
    set a $::current
    with_server {--read-only-slave yes} {
        set b $::current
        test "a full sync of much data takes the place of as much, and both are never in memory" {
            in $a { fill_much master }
            in $b { fill_much slaves }
            follow $b $a
            wait_same $a $b
            in $b {
                assert_equal 100100 [r dbsize]
                assert {[info_field used_memory_peak] < 1.3 * [info_field used_memory]}
                restart [list --read-only-slave yes --slaveof 127.0.0.1 $::server($a,port)]
            }
            wait_same $a $b
            assert_equal 1 [in $a { info_field sync_full }]
        }
    }
}

with_server {--read-only-slave yes} {
    set a $::current
    with_server {--read-only-slave yes} {
        set b $::current
        with_server {--read-only-slave yes} {
            set c $::current

            test "a chain, a promotion, and the old master back without a full sync" {
                in $a { r mset k 1 l 2; fill_big }
                follow $b $a
                wait_same $a $b
                assert_equal {1 0} [in $a { list [info_field sync_full] [info_field sync_partial_err] }]
                follow $c $b
                wait_same $a [list $b $c]
                in $a { r select 5; r set deep 1; r select 0; r incr k }
                wait_same $a [list $b $c]
                in $b { r slaveof no one; r set on b }
                wait_same $b $c
                set full [in $b { info_field sync_full }]
                follow $a $b
                wait_same $b [list $a $c]
                assert_equal $full [in $b { info_field sync_full }]
                in $b { assert_equal b [r get on] }
                in $a { r slaveof no one }
                in $c { r slaveof no one }
            }

            test "a slave's slave gets the stream's database, and none while there's no link" {
                follow $b $a
                in $a { r select 7; r set k 1 }
                wait_same $a $b
                in $b { r save }
                follow $c $b
                wait_same $a [list $b $c]
                in $a { r set l 1; r select 0 }
                wait_same $a [list $b $c]
                in $c { r slaveof no one }
                in $b {
                    # By SYNC, as redis-cli --rdb and, told that it can't be by PSYNC, a slave of 3.2 come.
                    set client [connect]
                    # With the id that it was told elsewhere, from where it counts since it came by SYNC: the same.
                    foreach {id offset} [list ? -1 [info_field master_replid] 1] {
                        assert_error "ERR a slave of this version can't go on*" { $client psync $id $offset }
                    }
                    in $a { r select 7; r set before_sync 1 }
                    wait_same $a $b
                    send $client sync
                    wait_until {[gets $client line] > 0}
                    assert_equal 1 [regexp {^\$(\d+)\r$} $line -> len]
                    assert_match REDIS0007*before_sync* [recv_raw $client $len]
                    in $a { r set n 1; r select 0 }
                    assert_equal {SELECT 7} [recv $client]
                    while {[set command [recv $client]] ne {set n 1}} {
                        assert {[string tolower [lindex $command 0]] in {ping replconf}}
                    }
                    disconnect $client
                    r slaveof 127.0.0.1 1
                    assert_error "NOMASTERLINK Can't SYNC while not connected with my master" { r psync ? -1 }
                    r slaveof no one
                }
            }

            test "SLAVEOF in a transaction: what came before it is one" {
                in $a {
                    r multi
                    foreach command {{set x 1} {incr x} {slaveof 127.0.0.1 1} {config get slaveof}} { r {*}$command }
                    assert_equal {OK 2 OK {slaveof {127.0.0.1 1}}} [r exec]
                    assert_equal slave [info_field role]
                    r multi
                    r slaveof no one
                    assert_equal OK [r exec]
                    r set y 1
                    set digest [r debug digest]
                    kill_server
                    launch $a $::server($a,options)
                    assert_equal $digest [r debug digest]
                    assert_equal {2 1 master} [list [r get x] [r get y] [info_field role]]
                }
            }

            test "what an old master alone had is written to a file, and it goes on from there" {
                in $a { r set base 1 }
                follow $b $a
                wait_same $a $b
                in $b { r slaveof no one; r set new 1 }
                in $a { r set lost 1; r select 2; r set lost 2; r select 0 }
                set full [in $b { info_field sync_full }]
                follow $a $b
                wait_same $b $a
                assert_equal $full [in $b { info_field sync_full }]
                in $a {
                    assert_equal {(nil) 1} [list [r get lost] [r get new]]
                    set files [glob -directory [server_dir] diverged-*.resp]
                    assert_equal 1 [llength $files]
                    set f [open $files]
                    set text [read $f]
                    close $f
                    assert_match "*lost*lost*" $text
                    assert_match "*2 commands that the new master doesn't have are in diverged-*" [server_log]
                    assert_match "*before going back to offset*" [r backup list]
                    r slaveof no one
                }
            }

            test "both sides restarted and killed go on by offset" {
                follow $b $a
                wait_same $a $b
                in $a { r set one 1 }
                foreach how {stop kill} {
                    foreach id [list $a $b] {
                        in $id {
                            set options "--read-only-slave yes --port $::server($id,port)"
                            if {$id eq $b} { append options " --slaveof 127.0.0.1 $::server($a,port)" }
                            if {$how eq "stop"} { stop_server $id } else { kill_server }
                            launch $id $options
                        }
                        in $a { r incr one }
                        wait_same $a $b
                        assert_equal 0 [in $a { info_field sync_full }]
                    }
                }
                in $b { r slaveof no one }
            }

            test "the link to the master is one of the clients, and ends with CLIENT KILL" {
                follow $b $a
                wait_same $a $b
                set full [in $a { info_field sync_full }]
                set line {(?n)^id=(\d+) addr=(\S+) fd=\d+ name= age=\d+ idle=\d+ flags=M db=(\d+) sub=0 psub=0 }
                append line {multi=-1 qbuf=0 qbuf-free=\d+ obl=0 oll=0 omem=0 events=r cmd=(\w+)$}
                in $a { r select 3; r set k v; r select 0 }
                wait_same $a $b
                in $b {
                    wait_until {[regexp $line [r client list] -> id address db command]}
                    assert_equal [list 127.0.0.1:$::server($a,port) 3 set] [list $address $db $command]
                    assert_equal 2 [info_field connected_clients]
                    foreach {words reply} [list {type master} 1 [list id $id] 1 [list addr $address] 1 $address OK] {
                        assert_equal $reply [r client kill {*}$words]
                        assert_equal 0 [regexp $line [r client list]]
                        assert_equal 1 [info_field connected_clients]
                        wait_until {[info_field master_link_status] eq "up"}
                        wait_until {[regexp $line [r client list] -> again]}
                        assert_equal $id $again
                    }
                    assert_equal {0 0} [list [r client kill type normal] [r client kill id $id type normal]]
                    assert_equal up [info_field master_link_status]
                }
                in $a { assert_equal $full [info_field sync_full] }
                in $b {
                    r slaveof no one
                    assert_equal {0 0} [list [r client kill type master] [regexp $line [r client list]]]
                }
            }

            test "a slave that is started as a master has a history of its own, and leaves that without a full sync" {
                follow $b $a
                wait_same $a $b
                foreach writes {0 1} {
                    in $b { restart --read-only-slave\ yes }
                    set history [in $a { info_field master_replid }]
                    in $b {
                        assert {[info_field master_replid] ne $history}
                        assert_equal $history [info_field master_replid2]
                        if {$writes} { r set k b:[repeat x 1000] }
                    }
                    in $a { r set k a:[repeat y 1000] }
                    set full [in $a { info_field sync_full }]
                    follow $b $a
                    wait_same $a $b
                    assert_equal $full [in $a { info_field sync_full }]
                    assert_equal $writes [llength [in $b { glob -nocomplain -directory [server_dir] diverged-*.resp }]]
                }
                in $b { r slaveof no one }
            }
        }
    }
}

# ---------------------------------------------------------------- a real Redis as the master

set redis_pids {}

proc start_redis {program} {
    set probe [socket -server {} -myaddr 127.0.0.1 0]
    set port [lindex [fconfigure $probe -sockname] 2]
    close $probe
    set dir [file join $::scratch redis$port]
    file mkdir $dir
    set pid [exec $program --port $port --dir $dir --save "" --bind 127.0.0.1 --repl-diskless-sync-delay 0 \
        >& $dir/log &]
    lappend ::redis_pids $pid
    set id redis$port
    set ::server($id,port) $port
    set ::server($id,r) ""
    set ::server($id,options) ""
    set ::redis_pid $pid
    set end [expr {[clock milliseconds] + 5000}]
    while {[catch {connect $id} c]} {
        if {[clock milliseconds] > $end} { fail "$program didn't start" }
        after 20
    }
    disconnect $c
    return $id
}

proc stop_redis {id} {
    disconnect_all $id
    exec kill $::redis_pid
    set ::redis_pids [lsearch -all -inline -not -exact $::redis_pids $::redis_pid]
    array unset ::server $id,*
}

proc pick {args} { lindex $args [expr {int(rand() * [llength $args])}] }

# What later versions have; 3.2 answers errors.
proc newer_command {k n} {
    return [pick [list set $k $n keepttl] [list set $k $n get ex 100] [list set $k $n pxat 33000000000000] \
        [list getex $k ex 100] [list getex $k persist] [list getdel $k] [list copy $k k:$n replace] \
        [list copy $k k:1 db 9 replace] [list lmove $k k:$n [pick left right] [pick left right]] \
        [list lmove $k $k [pick left right] [pick left right]] [list lpop $k [pick 1 3 100]] [list rpop $k 2] \
        [list lpushx $k a b] [list rpushx $k a b] [list lmpop 2 $k k:1 right count 2] [list blpop $k 0.01] \
        [list expire $k 100 [pick nx xx gt lt]] [list zadd $k [pick gt lt] $n 5 3 6 10 5] \
        [list zadd $k xx gt ch $n 7] [list zadd $k [pick gt lt] incr [pick -3 3] 7] [list zpopmin $k] \
        [list zpopmax $k [pick 1 3 400]] [list zmpop 1 $k max count 2] [list geoadd $k [pick nx xx] ch 2 48 $n] \
        [list unlink $k] [list hset $k a 1 b 2 $n 3] [list spublish c m] [list script load "return 1"]]
}

# Random writes of every type; errors are Redis' to make. INCRBYFLOAT has keys of its own, which never expire:
# before 6.0 Redis sends it to its slaves as SET, and they forget the lifetime.
proc random_load {id count} {
    set c [connect $id]
    for {set i 0} {$i < $count} {incr i} {
        set k k:[expr {int(rand() * 80)}]
        set n [expr {int(rand() * 1000)}]
        set many {}
        for {set j [expr {int(rand() * 40) + 1}]} {$j > 0} {incr j -1} { lappend many [expr {int(rand() * 300)}] $j }
        set command [pick [list set $k $n] [list set $k $n ex [pick 1 100 1000]] [list setex $k 50 v] \
            [list rpush $k {*}$many] [list lpush $k $n] [list lpop $k] [list sadd $k {*}$many] [list spop $k] \
            [list hmset $k {*}$many] [list hdel $k [lindex $many 0]] [list zadd $k {*}$many] [list zincrby $k 1.5 $n] \
            [list incrbyfloat f:$n 1.25] [list hincrbyfloat $k f 0.5] [list expire $k [pick 1 60 600]] \
            [list persist $k] \
            [list del $k] [list rename $k k:$n] [list append $k [repeat x $n]] [list setbit $k $n 1] \
            [list getset $k $n] [list pfadd $k $n] [list geoadd $k 13.36 38.11 $n] [list move $k 1] \
            [list sunionstore $k k:1 k:2] [list ltrim $k 0 5] [list select [pick 0 1 9]] [list multi] \
            [newer_command $k $n] [newer_command $k $n] [newer_command k:l[expr {$n % 3}] $n] [list dump $k]]
        catch {call $c {*}$command} answer
        if {[lindex $command 0] eq "dump"} { catch {call $c restore k:$n [pick 0 50000] $answer replace} }
        if {$command ne "multi"} continue
        foreach inner [list [list sadd $k:m $i] [list incr counter] [list set $k:s $n]] { catch {call $c {*}$inner} }
        catch {call $c exec}
    }
    disconnect $c
}

proc contents {id} {
    set all {}
    set c [connect $id]
    foreach db {0 1 9} {
        call $c select $db
        foreach k [lsort [call $c keys *]] {
            set value [switch [call $c type $k] {
                string { call $c get $k }
                list { call $c lrange $k 0 -1 }
                set { lsort [call $c smembers $k] }
                zset { call $c zrange $k 0 -1 withscores }
                hash { lsort -stride 2 [call $c hgetall $k] }
            }]
            lappend all $db/$k $value [expr {[call $c ttl $k] >= 0}]
        }
    }
    disconnect $c
    return $all
}

proc assert_same_as {redis} {
    set c [connect $redis]
    # The master's own PINGs move the offset: they're few.
    wait_until {[info_field master_link_status] eq "up" &&
        [regexp "master_repl_offset:[offset]\\D" [call $c info replication]]} 15000
    disconnect $c
    # What goes for its age doesn't go at the same moment.
    set end [expr {[clock milliseconds] + 3000}]
    while {[set expected [contents $redis]] ne [set here [contents $::current]] && [clock milliseconds] < $end} {
        after 100
    }
    set i 0
    foreach one $expected other $here {
        set key [lindex $expected [expr {$i / 3 * 3}]]
        if {$one ne $other} { fail "$key: '[shorten $one]' there, '[shorten $other]' here" }
        incr i
    }
}

# ---------------------------------------------------------------- INFO and ROLE, beside 3.2.13's

# The names of INFO's fields, in order, but those that 3.2 doesn't have; and ROLE's word for the link.
proc slave_shape {id} {
    set names {}
    foreach {line name} [regexp -all -inline {(?n)^(\w+):} [in $id { r info replication }]] {
        if {![regexp {^(ckv_|master_replid|second_repl|master_failover)} $name]} { lappend names $name }
    }
    return [list [lindex [in $id { r role }] 3] [in $id { info_field master_link_status }] $names]
}

# What a slave looks like while it gets nowhere, waits, is sent a snapshot, and is online.
proc slave_shapes {id} {
    in $id {
        r slaveof 127.0.0.1 1
        wait_until {[lindex [r role] 3] eq "connect"}
        lappend shapes [slave_shape $id]
        assert {[info_field master_link_down_since_seconds] > 1000000000}
        set port [fake_listen]
        r slaveof 127.0.0.1 $port
        set c [fake_link]
        wait_until {[lindex [r role] 3] eq "handshake"}
        lappend shapes [slave_shape $id]
        fake_handshake $c [fake_info $::id_a 100 1]
        fake_send $c "+FULLRESYNC $::id_a 100\r\n"
        wait_until {[info_field master_sync_left_bytes] == -1}
        lappend shapes [slave_shape $id]
        set file [rdb {k v}]
        fake_send $c "\$[string length $file]\r\n[string range $file 0 9]"
        wait_until {[info_field master_sync_left_bytes] > 0}
        lappend shapes [slave_shape $id]
        fake_send $c [string range $file 10 end]
        wait_until {[info_field master_link_status] eq "up"}
        lappend shapes [slave_shape $id]
        assert_equal [list slave 127.0.0.1 $port connected 100] [r role]
        assert_equal 100 [offset]
        fake_close
        close $c
        wait_until {[info_field master_link_status] eq "down"}
        assert {[info_field master_link_down_since_seconds] < 1000}
        r slaveof no one
    }
    return $shapes
}

set before {role master_host master_port master_link_status master_last_io_seconds_ago master_sync_in_progress
    slave_repl_offset}
set after {slave_priority slave_read_only connected_slaves master_repl_offset repl_backlog_active repl_backlog_size
    repl_backlog_first_byte_offset repl_backlog_histlen}
set shapes {}
set sync {master_sync_left_bytes master_sync_last_io_seconds_ago}
foreach {state status} {connect down handshake down sync down sync down connected up} {
    set fields [expr {$state eq "sync" ? $sync : ""}]
    set down [expr {$status eq "down" ? "master_link_down_since_seconds" : ""}]
    lappend shapes [list $state $status [list {*}$before {*}$fields {*}$down {*}$after]]
}

# A master's with a slave that takes its snapshot slowly, and one that is online.
proc master_shapes {id} {
    in $id {
        set value ""
        while {[string length $value] < 500000} { append value [binary format f [expr {rand()}]] }
        for {set i 0} {$i < 40} {incr i} { r set big:$i $value$i }
        r save
        set slow [connect $id]
        assert_equal OK [call $slow replconf listening-port 1234]
        send $slow psync ? -1
        wait_until {[string match *state=send_bulk* [r info replication]]} 15000
        set shapes [list [r role]]
        set c [connect $id]
        send $c psync ? -1
        set end [expr {[clock milliseconds] + 15000}]
        while {![string match *state=online* [r info replication]] && [clock milliseconds] < $end} {
            read $c
            after 5
        }
        r config set min-slaves-to-write 1
        foreach line [split [r info replication] \r\n] {
            regsub {offset=\d+,lag=\d+} $line offset=N,lag=N line
            if {![regexp {^(\w+):} $line -> name] || [regexp {^(ckv|master_replid|second|master_fail)} $name]} continue
            lappend shapes [expr {[regexp {^slave\d} $name] ? $line : $name}]
        }
        r config set min-slaves-to-write 0
        disconnect $slow
        disconnect $c
    }
    return $shapes
}

set master_shapes {{master OFFSET {}} role connected_slaves min_slaves_good_slaves
    slave0:ip=127.0.0.1,port=1234,state=send_bulk,offset=N,lag=N slave1:ip=127.0.0.1,port=0,state=online,offset=N,lag=N
    master_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen}

proc assert_shapes {id} {
    assert_equal $::shapes [slave_shapes $id]
    set got [master_shapes $id]
    assert_equal [list {*}[string map [list OFFSET [lindex $got 0 1]] $::master_shapes]] $got
}

with_server {--read-only-slave yes --repl-ping-slave-period 1000} {
    test "INFO replication and ROLE have 3.2's fields in 3.2's order, in each state" {
        assert_shapes $::current
        if {![info exists ::env(REDIS32)]} return
        set redis [start_redis $::env(REDIS32)]
        in $redis { assert_shapes $redis }
        stop_redis $redis
    }
}

set masters [list redis-server]
if {[info exists ::env(REDIS32)]} { lappend masters $::env(REDIS32) }
foreach program $masters {
    with_server {--read-only-slave yes} {
        test "a slave of [file tail $program] is its copy ($program)" {
            set redis [start_redis $program]
            random_load $redis 2000
            r slaveof 127.0.0.1 $::server($redis,port)
            random_load $redis 500
            assert_same_as $redis
            random_load $redis 3000
            assert_same_as $redis
            after 1100
            set c [connect $redis]
            call $c select 0
            call $c client kill type slave
            random_load $redis 300
            assert_same_as $redis
            set stats [call $c info stats]
            assert_match "*sync_full:1\r*sync_partial_ok:1\r*" $stats
            kill_server
            random_load $redis 300
            launch $::current "--read-only-slave yes --slaveof 127.0.0.1 $::server($redis,port)"
            assert_same_as $redis
            assert_match "*sync_full:1\r*" [call $c info stats]
            call $c select 0
            call $c del k:1
            call $c bitfield k:1 set u8 0 65
            wait_until {[info_field master_link_status] eq "down"}
            assert_match "*can't be followed*'bitfield' at byte * can't be run: ckv doesn't have this command*" \
                [info_field ckv_sync_error]
            r slaveof no one
            r slaveof 127.0.0.1 $::server($redis,port)
            assert_same_as $redis
            assert_equal A [r get k:1]
            disconnect $c
            stop_redis $redis
        }
    }
}

# Those of tests that failed.
foreach pid $::redis_pids { catch {exec kill -KILL $pid} }
