# master.tcl: the master's half of replication against slaves played here: full and partial resyncs, the stream, WAIT,
# confirmations, limits, INFO. (replicas.tcl has real Redis servers as slaves.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

# ---- a slave played here

# A line of the master's before the stream begins; newlines that only say that it lives are left out.
proc repl_line {c} {
    set end [expr {[clock milliseconds] + $::read_ms_max}]
    while {[gets $c line] <= 0} {
        if {[eof $c]} { fail "the master closed the connection" }
        if {![fblocked $c]} continue
        wait_bytes $c $end "line from the master"
    }
    return [string trimright $line \r]
}

proc history {} { info_field master_replid }
proc repl_offset {} { info_field master_repl_offset }

# The rest of a full resync: the snapshot's bytes.
proc take_snapshot {c} {
    set line [repl_line $c]
    if {![regexp {^\$(\d+)$} $line -> len]} { fail "not the length of a snapshot: '$line'" }
    return [recv_raw $c $len]
}

# Asks for a full resync: the offset of the snapshot, which is read.
proc full_sync {c} {
    send $c psync ? -1
    assert_equal 1 [regexp {^\+FULLRESYNC ([0-9a-f]{40}) (\d+)$} [repl_line $c] -> id offset]
    assert_equal [history] $id
    assert_equal REDIS0007 [string range [take_snapshot $c] 0 8]
    return $offset
}

# A slave that has all up to `offset`.
proc partial_sync {offset {id ""}} {
    set c [connect]
    send $c psync [expr {$id eq "" ? [history] : $id}] [expr {$offset + 1}]
    assert_equal +CONTINUE [repl_line $c]
    return $c
}

# What the stream has between two offsets, as a slave gets it.
proc stream {from to} {
    set c [partial_sync $from]
    set bytes [recv_raw $c [expr {$to - $from}]]
    disconnect $c
    return $bytes
}

proc slaves {} { info_field connected_slaves }
proc quiet {} { wait_until {[slaves] == 0} }

with_server {--repl-ping-slave-period 1000} {
    test "REPLCONF takes what slaves say, and nothing else" {
        assert_equal OK [r replconf]
        assert_equal OK [r replconf listening-port 1234 ip-address 10.1.2.3 capa eof capa psync2 capa unheard-of]
        assert_error "ERR syntax error" {r replconf listening-port}
        assert_error "ERR value is not an integer*" {r replconf listening-port x}
        assert_error "ERR Unrecognized REPLCONF option: color" {r replconf color red}
        assert_error "*provided by slave instance is too long: 46 bytes" {r replconf ip-address [repeat 1 46]}
        send [set c [connect]] replconf ack 5
        assert_silent $c
        disconnect $c
        assert_error "ERR value is not an integer*" {r psync ? x}
        assert_equal 0 [slaves]
    }

    test "a full resync: a snapshot, then the stream from its offset" {
        r set a 1
        r select 5
        r set b 2
        r select 0
        set c [connect]
        assert_equal OK [$c replconf listening-port 1234 ip-address 10.1.2.3]
        set full [info_field sync_full]
        set offset [full_sync $c]
        assert_equal [expr {$full + 1}] [info_field sync_full]
        r select 5
        r set b 3
        set to [repl_offset]
        set bytes [recv_raw $c [expr {$to - $offset}]]
        assert_match "*SELECT*5*set*b*3*" $bytes
        assert_equal $bytes [stream $offset $to]
        r select 0
        send $c replconf ack $to
        wait_until {[regexp "slave0:ip=10.1.2.3,port=1234,state=online,offset=$to,lag=\[01\]\r\n" [r info replication]]}
        assert_equal [list master $to [list [list 10.1.2.3 1234 $to]]] [r role]
        assert_match "*flags=S *" [r client list]
        assert_equal 1 [info_field connected_clients]
        assert_equal 1 [r client kill type slave]
        assert_closed $c
        quiet
    }

    test "SYNC gets a snapshot without a word before it, and is never silent for too long" {
        r set a 1
        set c [connect]
        send $c sync
        assert_equal REDIS0007 [string range [take_snapshot $c] 0 8]
        assert_equal 1 [slaves]
        send $c sync
        send $c psync ? -1
        disconnect $c
        quiet
        send_raw [set c [connect]] [encode {ping}][encode {psync ? -1}]
        assert_equal PONG [recv $c]
        assert_error "ERR SYNC and PSYNC are invalid with pending output" {recv $c}
        disconnect $c
        assert_error "ERR SYNC and PSYNC are invalid*" {
            r multi
            r sync
            set reply [lindex [r exec] 0]
            return -code error -errorcode REPLY [string range $reply 1 end]
        }
    }

    test "SYNC's snapshot has what was answered before: redis-cli --rdb takes no more than that" {
        r set in_checkpoint 1
        r save
        r set behind_checkpoint 1
        set slave [connect]
        full_sync $slave
        r set behind_snapshot 1
        set c [connect]
        send $c sync
        set rdb [take_snapshot $c]
        foreach key {in_checkpoint behind_checkpoint behind_snapshot} { assert_match *$key* $rdb }
        foreach client [list $slave $c] { disconnect $client }
        quiet
    }

    test "two slaves that come at once share a snapshot" {
        for {set i 0} {$i < 20} {incr i} { r set k$i [repeat x 100000] }
        set before [regexp -all {Making a snapshot} [server_log]]
        set one [connect]
        set two [connect]
        send $one psync ? -1
        send $two psync ? -1
        assert_match "+FULLRESYNC *" [set first [repl_line $one]]
        assert_equal $first [repl_line $two]
        assert_equal [take_snapshot $one] [take_snapshot $two]
        assert_equal [expr {$before + 1}] [regexp -all {Making a snapshot} [server_log]]
        # And a third one gets the same checkpoint, as long as the journal behind it is short.
        r set after 1
        set three [connect]
        send $three psync ? -1
        assert_equal $first [repl_line $three]
        foreach c [list $one $two $three] { disconnect $c }
        quiet
    }

    test "slaves that go while their snapshot is made, or sent, leave nothing behind" {
        for {set i 0} {$i < 50} {incr i} { r set k$i [repeat x 500000] }
        foreach ms {0 1 5 20 50 200} {
            set c [connect]
            send $c psync ? -1
            after $ms
            disconnect $c
            quiet
        }
        wait_until {[info_field rdb_bgsave_in_progress] == 0} 20000
        r set more 1
        assert_equal OK [r save]
        assert_equal "" [glob -nocomplain -directory [server_dir] sync-*]
        foreach fd [glob /proc/[server_pid]/fd/*] {
            if {![catch {file readlink $fd} target]} { assert_equal 0 [string match *sync-* $target] }
        }
    }

    test "a slave goes on from any offset, also after restarts and kills of the master" {
        r set a 1
        set from [repl_offset]
        r rpush l a b c
        r multi
        r set b 2
        r hset h f v
        r exec
        set id [history]
        restart
        assert_equal $id [history]
        r incr n
        set to [repl_offset]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $to [repl_offset]
        set all [stream $from $to]
        assert_match "*rpush*MULTI*hset*EXEC*incr*n*" $all
        foreach skip {1 2 30 60 90 120} {
            assert_equal [string range $all $skip end] [stream [expr {$from + $skip}] $to]
        }
        set c [partial_sync $to]
        assert_silent $c
        r incr n
        set expected "[encode {SELECT 0}][encode {incr n}]" ;# a start names the database anew
        assert_equal $expected [recv_raw $c [string length $expected]]
        disconnect $c
        quiet
    }

    test "what a slave says in one go with a sign of life is heard, and nothing is put into its stream" {
        set from [repl_offset]
        set c [partial_sync $from]
        foreach life {"\n" "\r\n" "\n\n\n" "\n\r\n\n"} {
            r set a $life
            set to [repl_offset]
            send_raw $c "$life[encode "replconf ack $to"]"
            wait_until {[regexp "slave0:.*,state=online,offset=$to," [r info replication]]}
        }
        assert_equal [stream $from $to] [recv_raw $c [expr {$to - $from}]]
        send $c sync
        send $c psync ? -1
        assert_silent $c
        disconnect $c
        quiet
    }

    test "a slave that asks for a reply is closed without one" {
        foreach bytes [list [encode ping] "ping\r\n" [encode {replconf capa eof}] [encode {replconf ack}] \
                [encode quit] "*1\r\n+x\r\n" "'\r\n" [encode [list "what\n"]] [encode {replconf ack 1 x}]] {
            send_raw [set c [partial_sync [repl_offset]]] $bytes
            assert_closed $c
            quiet
        }
        assert_match "*it sent 'what\\\\n', whose reply has no place in the stream*" [server_log]
        send [set c [connect]] monitor
        assert_equal OK [recv $c]
        send $c psync ? -1
        send $c sync
        assert_silent $c
        assert_equal 0 [slaves]
        disconnect $c
    }

    test "what can't go on gets a full resync" {
        r set a 1
        set err [info_field sync_partial_err]
        foreach {id offset} [list [repeat a 40] 1 [history] [expr {[repl_offset] + 2}] [history] -3 x 1] {
            set c [connect]
            send $c psync $id $offset
            assert_match "+FULLRESYNC [history] *" [repl_line $c]
            disconnect $c
        }
        assert_equal [expr {$err + 4}] [info_field sync_partial_err]
        quiet
    }

    test "a slave that reads slowly costs no memory, and gets all" {
        set from [repl_offset]
        set c [partial_sync $from]
        set value [repeat v 1000000]
        for {set i 0} {$i < 60} {incr i} { r set big $value }
        set to [repl_offset]
        regexp {flags=S [^\n]*omem=(\d+)} [r client list] -> memory
        assert {$memory < 6000000}
        set bytes [recv_raw $c [expr {$to - $from}]]
        assert_equal 60 [regexp -all {set\r\n\$3\r\nbig} $bytes]
        r set small 1
        assert_match "*small*" [recv_raw $c [string length [encode {set small 1}]]]
        disconnect $c
        quiet
    }

    test "PUBLISH reaches slaves in the stream, but only if there are any" {
        set before [repl_offset]
        r publish c m
        assert_equal $before [repl_offset]
        set c [partial_sync $before]
        assert_equal 0 [r publish c m]
        assert_equal [encode {publish c m}] [recv_raw $c [string length [encode {publish c m}]]]
        disconnect $c
        quiet
        restart
    }

    test "WAIT: until slaves have confirmed, or time is up" {
        assert_equal 0 [r wait 0 0]
        set start [clock milliseconds]
        assert_equal 0 [r wait 1 100]
        assert {[clock milliseconds] - $start >= 90}
        assert_error "ERR value is not an integer*" {r wait x 0}
        assert_error "ERR timeout is not an integer*" {r wait 1 x}
        assert_error "ERR timeout is negative" {r wait 1 -1}
        set offset [repl_offset]
        set one [partial_sync $offset]
        set two [partial_sync $offset]
        r set a 1
        set to [repl_offset]
        set w [connect]
        send_raw $w [encode {set a 2}][encode {wait 1 0}][encode {get a}]
        assert_equal OK [recv $w]
        assert_silent $w
        assert_equal 1 [info_field blocked_clients]
        assert_match "*flags=b *" [r client list]
        # The slaves are asked.
        set getack [encode {REPLCONF GETACK *}]
        assert_match *$getack [recv_raw $one [expr {[repl_offset] - $offset}]]
        send $one replconf ack $to
        assert_silent $w
        send $one replconf ack [repl_offset]
        assert_equal 1 [recv $w]
        assert_equal 2 [recv $w]
        assert_equal 0 [info_field blocked_clients]
        assert_equal 1 [$w wait 2 50]
        send $two replconf ack [repl_offset]
        wait_until {[$w wait 0 0] == 2}
        # In MULTI it doesn't wait, and what MULTI itself changes isn't asked for: as in 3.2.
        $w multi
        $w set a 3
        $w wait 5 0
        assert_equal {OK 2} [$w exec]
        # One that goes while it waits is forgotten.
        send $w wait 5 0
        wait_until {[info_field blocked_clients] == 1}
        disconnect $w
        wait_until {[info_field blocked_clients] == 0}
        disconnect $one
        disconnect $two
        quiet
    }

    test "min-slaves-to-write" {
        r config set min-slaves-to-write 1
        assert_error "NOREPLICAS Not enough good slaves to write." {r set a 1}
        assert_equal (nil) [r get a]
        assert_equal 0 [info_field min_slaves_good_slaves]
        set c [partial_sync [repl_offset]]
        assert_equal OK [r set a 1]
        assert_equal 1 [info_field min_slaves_good_slaves]
        disconnect $c
        quiet
        assert_error "NOREPLICAS*" {r set a 2}
        r config set min-slaves-to-write 0
    }

    test "ack slave: without a confirmation the client is closed, and writes are refused" {
        r config set ack-timeout 200
        set c [partial_sync [set offset [repl_offset]]]
        r config set ack slave
        set w [connect]
        send $w set a 1
        assert_silent $w
        assert_closed $w
        assert_equal 1 [info_field ckv_ack_lost]
        assert_error "NOREPLICAS No slave confirms writes now (ack slave): none did*" {r set a 2}
        assert_equal 1 [r get a]
        send $c replconf ack [repl_offset]
        wait_until {[info_field ckv_ack_lost] == 0}
        r config set ack local
        assert_equal OK [r set a 2]
        disconnect $c
        quiet
    }

    test "a rollback ends the stream" {
        r set a 1
        set id [r backup create]
        wait_until {[info_field ckv_backup_in_progress] == 0}
        set c [partial_sync [repl_offset]]
        r rollback [info_field ckv_last_backup_id]
        wait_until {[eof $c] || [catch {read $c}]}
        disconnect $c
        wait_until {[info_field ckv_backup_in_progress] == 0 && [info_field loading] == 0}
    }
}

with_server {--repl-ping-slave-period 1 --repl-timeout 3} {
    test "slaves are pinged, and closed if they're silent for too long, but for those of SYNC, which say nothing" {
        send [set plain [connect]] sync
        take_snapshot $plain
        set c [partial_sync [repl_offset]]
        assert_equal [encode {PING}] [recv_raw $c [string length [encode {PING}]]]
        set d [partial_sync [repl_offset]]
        for {set i 0} {$i < 50 && ![eof $c]} {incr i} {
            send_raw $d "\n"
            after 100
            foreach slave [list $c $plain] { catch {read $slave} }
        }
        assert {[eof $c] && ![eof $plain]}
        assert_equal 2 [slaves]
        foreach slave [list $c $d $plain] { disconnect $slave }
        quiet
    }

    test "a slave that loads takes nothing for as long as that takes, and isn't closed while it says that it lives" {
        set c [partial_sync [repl_offset]]
        set value [repeat v 1000000]
        for {set i 0} {$i < 40} {incr i} { r set big $value }
        for {set i 0} {$i < 50} {incr i} {
            send_raw $c "\n"
            after 100
        }
        assert_equal 1 [slaves]
        disconnect $c
        quiet
    }
}

# A snapshot of it is more than a connection takes that isn't read.
proc make_noise {} {
    set noise [open /dev/urandom rb]
    for {set i 0} {$i < 16} {incr i} { r set noise:$i [read $noise 1000000] }
    close $noise
}

with_server {--journal-keep 0 --journal-segment-bytes 100000 --repl-ping-slave-period 1000 --checkpoint-every 0} {
    test "the journal keeps what an attached slave hasn't been sent yet" {
        r set a 1
        set from [repl_offset]
        set c [partial_sync $from]
        set value [repeat v 1000000]
        for {set i 0} {$i < 40} {incr i} {
            r set big $value
            if {$i % 10 == 9} { assert_equal OK [r save] }
        }
        assert {[info_field ckv_journal_first_offset] <= $from + 15000000}
        set to [repl_offset]
        set bytes [recv_raw $c [expr {$to - $from}]]
        assert_equal 40 [regexp -all {set\r\n\$3\r\nbig} $bytes]
        disconnect $c
        quiet
        r set a 2
        assert_equal OK [r save]
        r set a 3
        assert_equal OK [r save]
        wait_until {[info_field ckv_journal_first_offset] > $from + 30000000}
        set c [connect]
        send $c psync [history] [expr {$from + 1}]
        assert_match "+FULLRESYNC *" [repl_line $c]
        disconnect $c
        quiet
    }

    test "the journal keeps what is behind a snapshot for as long as a slave is sent that" {
        make_noise
        r save ;# this is what is sent
        set c [connect]
        send $c psync ? -1
        set from [lindex [repl_line $c] 2]
        assert_equal 1 [regexp {^\$(\d+)$} [repl_line $c] -> len]
        for {set i 0} {$i < 4} {incr i} {
            r set big $i[repeat v 200000]
            assert_equal OK [r save]
        }
        assert {[info_field ckv_journal_first_offset] <= $from}
        assert_equal REDIS0007 [string range [recv_raw $c $len] 0 8]
        set bytes [recv_raw $c [expr {[repl_offset] - $from}]]
        assert_equal 4 [regexp -all {set\r\n\$3\r\nbig} $bytes]
        disconnect $c
        quiet
    }

    test "a slave is given the snapshot that there is, though one by SYNC waits for a newer, which can't be made" {
        make_noise
        r save
        foreach name {sending newer late} { set $name [connect] }
        send $sending psync ? -1
        assert_match "+FULLRESYNC *" [set first [repl_line $sending]]
        assert_match \$* [repl_line $sending] ;# the rest isn't read: so it stays
        r set behind_snapshot 1
        exec prlimit --pid [server_pid] --fsize=10:unlimited ;# a longer file can't be written
        send $newer sync
        wait_until {[slaves] == 2}
        send $late psync ? -1
        assert_equal $first [repl_line $late]
        exec prlimit --pid [server_pid] --fsize=unlimited:unlimited
        disconnect $sending
        disconnect $late
        assert_match *behind_snapshot* [take_snapshot $newer]
        disconnect $newer
        quiet
    }
}

# Writes until the server has closed its slave; how many MB that took.
proc write_until_closed {mb_max} {
    set value [repeat v 1000000]
    for {set i 0} {[slaves] > 0} {incr i} {
        if {$i == $mb_max} { fail "the slave is still there after $i MB" }
        r set big $value
    }
    return $i
}

with_server {--journal-keep 0 --journal-keep-bytes 1mb --journal-segment-bytes 100000 --repl-ping-slave-period 1000
        --checkpoint-every 0 --client-output-buffer-limit slave 8mb 0 0} {
    test "a slave that is further behind than the journal and the limit allow is disconnected" {
        set from [repl_offset]
        set c [partial_sync $from]
        assert {[write_until_closed 60] >= 9}
        assert_match "*Client id=* addr=127.0.0.1:* scheduled to be closed ASAP for overcoming of output buffer limits:\
            slave 127.0.0.1:* is * bytes behind.*" [server_log]
        assert_match "*Connection with slave 127.0.0.1:* lost.*" [server_log]
        disconnect $c
        foreach step {1 2} {
            r set a $step
            assert_equal OK [r save]
        }
        wait_until {[info_field ckv_journal_first_offset] > $from}
    }

    test "the soft limit waits, for one that takes nothing" {
        r config set client-output-buffer-limit "slave 0 4mb 1"
        set c [partial_sync [repl_offset]]
        set value [repeat v 1000000]
        set since [clock milliseconds]
        for {set i 0} {$i < 30} {incr i} { r set big $value }
        wait_until {[slaves] == 0} 10000
        assert {[clock milliseconds] - $since > 900}
        disconnect $c
    }

    test "without a limit it stays" {
        r config set client-output-buffer-limit "slave 0 0 0"
        set from [repl_offset]
        set c [partial_sync $from]
        set value [repeat v 1000000]
        for {set i 0} {$i < 40} {incr i} { r set big $value }
        assert_equal 1 [slaves]
        set to [repl_offset]
        recv_raw $c [expr {$to - $from}]
        disconnect $c
        quiet
    }
}

with_server {--persistence no} {
    test "without a journal there's nothing to replicate" {
        assert_error "ERR replication needs the journal*" {r psync ? -1}
        assert_error "ERR replication needs the journal*" {r sync}
        assert_equal 0 [r wait 1 20]
        assert_equal {master 0 {}} [r role]
    }
}

# ---- a slave that is promoted while a slave of its own waits for a checkpoint

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    set master $::current
    with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
        set slave $::current

        test "a promotion ends the checkpoint that a slave waits for, and the new history stays" {
            in $master { r debug populate 100000 }
            follow $slave $master
            wait_until {[info_field master_link_status] eq "up"} 20000
            set value [repeat v 1000000]
            in $master { for {set i 0} {$i < 70} {incr i} { r set big:$i $value } } ;# no checkpoint is recent then
            wait_until {[r debug digest] eq [in $master { r debug digest }]} 20000
            set c [connect]
            assert_equal OK [call $c replconf capa psync2]
            send $c psync ? -1
            wait_until {[info_field rdb_bgsave_in_progress] || [string match "*snapshot for slaves*" [server_log]]}
            r slaveof no one
            r set after promotion
            set history [info_field master_replid]
            wait_until {[info_field rdb_bgsave_in_progress] == 0} 20000
            after 200
            wait_until {[info_field rdb_bgsave_in_progress] == 0} 20000
            set f [open [server_dir]/MANIFEST]
            assert_match "*\nhistory=$history\n*" [read $f]
            close $f
            set digest [r debug digest]
            disconnect $c
            kill_server
            launch $::current $::server($::current,options)
            assert_equal $digest [r debug digest]
            assert_equal $history [info_field master_replid]
        }
    }
}

# The stream that it passed on was in database 3; where its own history begins, it says SELECT again, but not before.
with_server {} {
    set a $::current
    with_server {} {
        set b $::current
        test "what a slave saved in the middle of its master's stream isn't sent by the master that it becomes" {
            in $a {
                r select 3
                r set x 1
            }
            follow $b $a
            wait_until {[in $b { info_field master_link_status }] eq "up" && [in $b offset] == [in $a offset]} 20000
            in $a { r set x 2 }
            wait_until {[in $b offset] == [in $a offset]} 20000
            in $b { checkpoint_now }
            set saved [in $b { info_field ckv_last_checkpoint_offset }]
            in $a { r set y behind }
            wait_until {[in $b offset] == [in $a offset]} 20000
            in $b {
                r slaveof no one
                set c [connect]
                send $c psync ? -1
                set from [lindex [repl_line $c] 2]
                assert {$from > $saved}
                disconnect $c
                quiet
            }
        }
    }
}

with_server {--checkpoint-every 0} {
    test "no checkpoint is begun while one is copied for a slave" {
        r debug populate [expr {$::sanitized ? 20000 : 200000}] ;# more keys than the leak checker can follow
        checkpoint_now
        for {set round 0} {$round < 5} {incr round} {
            set c [connect]
            send $c sync
            while {[set slave [info_field slave0]] eq ""} {}
            while {[string match *state=wait_bgsave* $slave]} {
                r multi
                r bgsave
                r info replication
                lassign [r exec] save info
                regexp {slave0:[^\r]*} $info slave
                assert {![string match *state=wait_bgsave* $slave] || [string match "-ERR*" $save]}
            }
            disconnect $c
            wait_until {[info_field slave0] eq "" && [info_field rdb_bgsave_in_progress] == 0}
        }
    }
}
