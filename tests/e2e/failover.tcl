# failover.tcl: what becomes of clients that wait when their server becomes a slave; and FAILOVER when something is in
# its way: an answer that is lost, a backup, a rollback. (ha.tcl has the switch itself.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The operator is who knows the admin password; anybody else is a client.
set guarded {--admin-plane auth --requirepass ckv:secret --admin-password adm --masterauth admin:adm}

# The current server's default connection, anew: it may have been closed.
proc be_operator {} {
    reopen_default
    r auth admin:adm
}

proc follow_online {id of} {
    in $id { be_operator }
    follow $id $of
    in $id { wait_until {[info_field master_link_status] eq "up"} 15000 }
    in $of {
        be_operator
        wait_until {[info_field connected_slaves] == 1}
    }
}

proc signal {id name} { exec kill -$name $::server($id,pid) }

with_server $guarded {
    set a $::current
    with_server $guarded {
        set b $::current

        test "SLAVEOF ends WAIT: operators are told, and all are closed" {
            in $a {
                set operator [log_in]
                set client [log_in ckv:secret]
                foreach c [list $operator $client] { call $c set k v }
                send $operator wait 3 0
                send $client get k
                assert_equal v [recv $client]
                be_operator
                wait_until {[info_field blocked_clients] == 1}
                r slaveof 127.0.0.1 1
                assert_error "UNBLOCKED *instance state changed*" { recv $operator }
                assert_closed $operator
                assert_closed $client
                assert_equal 0 [info_field blocked_clients]
                r slaveof no one
            }
        }

        test "ack slave: SLAVEOF closes whoever waits for a confirmation, operators as well" {
            follow_online $b $a
            in $a {
                r config set ack slave
                r config set ack-timeout 60000
                signal $b STOP
                set waits [log_in]
                set pipelines [log_in]
                set executes [log_in]
                send $waits set k 1
                send_raw $pipelines "[encode {set k 2}][encode {get k}]"
                after 50
                foreach command {multi {set k 3} {slaveof 127.0.0.1 1}} { call $executes {*}$command }
                send $executes exec
                foreach c [list $waits $pipelines $executes] { assert_closed $c }
                be_operator
                assert_equal {slave 3} [list [info_field role] [info_field ckv_unconfirmed_closed]]
                signal $b CONT
                r config set ack local
                r slaveof no one
            }
            in $b {
                be_operator
                r slaveof no one
            }
        }

        test "ack slave: FAILOVER, and ABORT, don't make the wait for a confirmation any longer" {
            follow_online $b $a
            in $a {
                r config set ack slave
                r config set ack-timeout 600
                set client [log_in]
                signal $b STOP
                send $client set k 1
                after 50
                assert_equal OK [r failover to 127.0.0.1 $::server($b,port) force timeout 50]
                wait_until {[info_field master_failover_state] eq "failover-in-progress"}
                assert_equal OK [r failover abort]
                assert_closed $client
                assert_equal {1 4} [list [info_field ckv_ack_lost] [info_field ckv_unconfirmed_closed]]
                signal $b CONT
                wait_until {[info_field ckv_ack_lost] == 0 && [info_field connected_slaves] == 1} 15000
                assert_equal OK [r set k 2]
            }
        }

        test "ack slave: a switch that is forced closes whoever waits for a confirmation" {
            in $a {
                r config set ack-timeout 60000
                set client [log_in]
                signal $b STOP
                send $client set k 3
                after 50
                assert_equal OK [r failover to 127.0.0.1 $::server($b,port) force timeout 50]
                wait_until {[info_field master_failover_state] eq "failover-in-progress"}
                signal $b CONT
                assert_closed $client
                wait_until {[info_field master_failover_state] eq "no-failover"} 15000
                assert_equal slave [info_field role]
            }
        }
    }
}

# ---------------------------------------------------------------- a slave of our own, which is asked to be the master

# Attaches one with all there is to the current server, begins a switch to it, and answers the first try: the link.
proc ask_fake {args} {
    set ::fake_port [fake_listen]
    set ::history [info_field master_replid]
    set ::slave [connect]
    call $::slave replconf listening-port $::fake_port
    call $::slave replconf capa psync2
    set offset [info_field master_repl_offset]
    assert_equal "CONTINUE $::history" [call $::slave psync $::history [expr {$offset + 1}]]
    wait_until {[string match *state=online* [info_field slave0]]}
    assert_equal OK [r failover {*}$args]
    after 20 ;# FAILOVER asks for an acknowledgement: the slave has that, too
    send $::slave replconf ack 1000000
    set c [fake_link]
    set ::offset [info_field slave_repl_offset]
    return $c
}

proc fake_slave_info {} { fake_info $::history $::offset 1 "" -1 slave }

# Takes the question and is gone without an answer, which may have been yes.
proc lose_answer {c} {
    assert_equal [list $::history [expr {$::offset + 1}] failover] [fake_handshake $c [fake_slave_info] 3]
    close $c
}

# It's a master's, or slave's, of the history that goes on from ours.
proc fake_successor_info {role} {
    fake_info $::id_b [expr {$::offset + 10}] 1 $::history [expr {$::offset + 1}] $role
}

proc failover_is {state role} {
    return [expr {[info_field master_failover_state] eq $state && [info_field role] eq $role}]
}

proc end_ask {} {
    fake_close
    catch {disconnect $::slave}
    r slaveof no one
}

with_server {} {
    test "FAILOVER: an error before it's asked, or to the very question, is a refusal" {
        r set k v
        set c [ask_fake]
        fake_command $c
        fake_send $c "-ERR not now\r\n"
        wait_until {[failover_is no-failover master]} 500
        end_ask
        set c [ask_fake]
        fake_handshake $c [fake_slave_info] 3
        fake_send $c "-ERR PSYNC FAILOVER replid must match my replid.\r\n"
        wait_until {[failover_is no-failover master]} 500
        end_ask
    }

    test "FAILOVER whose answer was lost: nothing else is taken for a refusal, and the new master is followed" {
        r set k v
        set writer [connect]
        lose_answer [ask_fake]
        send $writer set k w
        set c [fake_link]
        fake_command $c
        fake_send $c "-LOADING wait\r\n"
        foreach answer {"-NOMASTERLINK not now" "-ERR PSYNC FAILOVER can't be sent to a master."} {
            set c [fake_link]
            assert_equal [list $::history [expr {$::offset + 1}] failover] [fake_handshake $c [fake_slave_info] 3]
            fake_send $c "$answer\r\n"
        }
        set c [fake_link]
        assert [failover_is failover-in-progress slave]
        assert_silent $writer
        assert_equal [list $::history [expr {$::offset + 1}]] [fake_handshake $c [fake_successor_info master]]
        assert_closed $writer
        reopen_default
        fake_send $c "+CONTINUE $::id_b\r\n"
        wait_until {[info_field master_link_status] eq "up"}
        assert_equal [list $::id_b $::history] [list [info_field master_replid] [info_field master_replid2]]
        assert [failover_is no-failover slave]
        assert_match "*FAILOVER: 127.0.0.1:$::fake_port is the master now*" [server_log]
        end_ask
    }

    test "FAILOVER: who took over and is a slave again is asked again, and never outlived by TIMEOUT" {
        r set k v
        lose_answer [ask_fake timeout 1500]
        foreach round {1 2} {
            set c [fake_link]
            assert_equal [list $::id_b [expr {$::offset + 1}] failover] \
                [fake_handshake $c [fake_successor_info slave] 3]
            if {$round == 1} { fake_send $c "-ERR PSYNC FAILOVER replid must match my replid.\r\n" }
        }
        after 600
        assert [failover_is failover-in-progress slave]
        fake_send $c "+CONTINUE $::id_c\r\n"
        after 50
        reopen_default
        wait_until {[info_field master_link_status] eq "up"}
        assert_equal [list $::id_c $::history] [list [info_field master_replid] [info_field master_replid2]]
        assert [failover_is no-failover slave]
        end_ask
    }

    test "FAILOVER whose answer was lost ends by TIMEOUT while nothing else is known, and by ABORT" {
        r set k v
        lose_answer [ask_fake timeout 700]
        wait_until {[failover_is no-failover master]} 1500
        end_ask
        lose_answer [ask_fake timeout 100000]
        fake_handshake [fake_link] [fake_successor_info slave] 3
        r failover abort
        assert [failover_is no-failover master]
        assert_equal v [r get k]
        end_ask
    }
}

# ---------------------------------------------------------------- who is asked

with_server {} {
    set a $::current
    test "PSYNC FAILOVER makes no server the master but a slave of that history" {
        r set k v
        assert_error "ERR PSYNC FAILOVER can't be sent to a master." {
            r psync [info_field master_replid] [expr {[offset] + 1}] failover
        }
        with_server {} {
            follow $::current $a
            wait_same $a $::current
            assert_error "ERR PSYNC FAILOVER replid must match my replid." {
                r psync [repeat b 40] [expr {[offset] + 1}] failover
            }
            assert_equal slave [info_field role]
            set history [info_field master_replid]
            set c [connect]
            $c replconf capa psync2
            send $c psync $history [expr {[offset] + 1}] failover
            set answer [recv_line $c]
            assert_equal "+CONTINUE [info_field master_replid]" $answer
            assert_equal [list master $history] [list [info_field role] [info_field master_replid2]]
            disconnect $c
        }
    }
}

# ---------------------------------------------------------------- backups and rollbacks

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    set a $::current
    with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
        set b $::current

        proc backup_done {id} {
            in $id {
                reopen_default
                wait_until {![string match running* [r backup status]]} 30000
                assert_match "done *" [r backup status]
            }
        }

        test "a backup on either side isn't in the way of FAILOVER, and comes to its end" {
            follow $b $a
            in $a { r debug populate [expr {$::sanitized ? 50000 : 600000}] }
            in $b { wait_until {[info_field master_link_status] eq "up"} 15000 }
            in $a { wait_until {[r wait 1 100] == 1} 15000 }
            in $b { r backup create }
            in $a {
                r backup create
                send_raw [set c [connect]] "[encode failover][encode {set k v}]"
                assert_equal OK [recv $c]
                assert_closed $c
                reopen_default
                assert [failover_is no-failover slave]
            }
            assert_equal master [in $b { info_field role }]
            backup_done $a
            backup_done $b
            foreach id [list $a $b] {
                in $id {
                    # What the full sync replaced is deleted, perhaps.
                    wait_until {[catch {r backup verify [info_field ckv_last_backup_id]}] == 0}
                    backup_done $id
                }
            }
            in $a { wait_until {[info_field master_link_status] eq "up"} 15000 }
            in $b { assert_equal [r debug digest] [in $a { r debug digest }] }
            foreach id [list $a $b] {
                in $id {
                    reopen_default
                    r slaveof no one
                }
            }
        }

        test "FAILOVER while a rollback runs, and the other way round, are refused" {
            foreach id [list $a $b] { in $id { r flushall } }
            follow $b $a
            in $b { wait_until {[info_field master_link_status] eq "up"} 15000 }
            in $a {
                set id [r backup create]
                wait_until {[info_field ckv_backup_in_progress] == 0}
                r set late 1
                send_raw [set c [connect]] "[encode "rollback $id"][encode failover]"
                assert_equal "Rollback started" [recv $c]
                assert_error "ERR FAILOVER not allowed while a rollback is in progress." { recv $c }
                wait_until {[string match done* [r rollback status]]} 15000
                assert_equal 0 [r exists late]
            }
            in $b { r slaveof no one }
            follow $b $a
            in $b { wait_until {[info_field master_link_status] eq "up"} 15000 }
            in $a {
                signal $b STOP
                r set unconfirmed 1
                assert_equal OK [r failover]
                assert_error "ERR ROLLBACK not allowed while failing over." { r rollback $id }
                assert_equal OK [r failover abort]
                signal $b CONT
            }
        }
    }
}
