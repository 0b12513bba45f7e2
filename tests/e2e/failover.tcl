# failover.tcl: what becomes of clients that wait when their server becomes a slave; and FAILOVER when something is in
# its way: an answer that is lost, a backup, a rollback. (ha.tcl has the switch itself.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The operator is who knows the admin password; anybody else is a client.
set guarded {--admin-plane auth --requirepass ckv:secret --admin-password adm --masterauth admin:adm}

proc log_in {{password admin:adm}} {
    set c [connect]
    assert_equal OK [call $c auth $password]
    return $c
}

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
