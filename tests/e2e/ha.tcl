# ha.tcl: what a failover needs of a pair: the words of Redis Sentinel, who acknowledges after a promotion, and that
# nothing but the master's stream gets into a slave's journal. (tests/ha has Sentinel itself.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

with_server {} {
    set a $::current
    with_server {} {
        set b $::current

        test "what Sentinel sends in one transaction is done, and clients of the old master are closed" {
            in $a {
                r set k 1
                set client [connect]
                call $client ping
            }
            follow $b $a
            wait_same $a $b
            in $b {
                r config set slave-serve-stale-data no
                r slaveof 127.0.0.1 1
                assert_error "MASTERDOWN*" { r get k }
                r multi
                assert_equal QUEUED [r slaveof no one]
                assert_equal QUEUED [r config set slave-serve-stale-data yes]
                assert_equal QUEUED [r client kill type normal]
                assert_match {OK OK *} [r exec]
                assert_equal master [info_field role]
            }
            in $a {
                r slaveof 127.0.0.1 $::server($b,port)
                wait_same $b $a
                r slaveof no one
            }
            disconnect $client
        }

        test "WAIT at a slave that has a slave adds nothing to the stream" {
            with_server {} {
                set c $::current
                follow $b $a
                wait_same $a $b
                follow $c $b
                wait_same $a [list $b $c]
                in $b {
                    assert_equal 1 [r wait 2 100]
                    r publish channel message
                }
                in $a { r set after wait }
                wait_same $a [list $b $c]
                in $b { r slaveof no one }
            }
        }

        test "ack slave: one that was promoted refuses writes for want of a slave" {
            follow $b $a
            wait_same $a $b
            in $b {
                r config set ack slave
                r slaveof no one
                assert_equal 0 [info_field ckv_ack_alone]
                assert_error "NOREPLICAS*none is online*" { r set k 2 }
                r config set ack local
            }
        }

        test "ack-alone-if-promoted: it takes them, until a slave has caught up" {
            follow $b $a
            wait_same $a $b
            in $b {
                r config set ack slave
                r config set ack-alone-if-promoted yes
                r slaveof no one
                assert_equal {1 OK} [list [info_field ckv_ack_alone] [r set k 3]]
            }
            follow $a $b
            wait_same $b $a
            in $b {
                wait_until {[info_field ckv_ack_alone] == 0}
                assert_equal OK [r set k 4]
            }
            wait_same $b $a
            in $a { r slaveof no one }
            in $b { wait_until {[info_field connected_slaves] == 0} }
            in $b {
                assert_error "NOREPLICAS*" { r set k 5 }
                r config set ack local
            }
        }

        # Whether the current server has that role, with no switch on; it may have closed our connection.
        proc has_role {role} {
            if {[catch {list [info_field role] [info_field master_failover_state]} is]} { reopen_default }
            return [expr {$is eq [list $role no-failover]}]
        }

        # A planned switch, with clients that write and read meanwhile: they wait, and are closed.
        proc fail_over {from to args} {
            in $from {
                set writer [connect]
                set reader [connect]
                assert_equal OK [r failover {*}$args]
                send $writer incr held
                wait_until {[has_role slave]}
                assert_closed $writer
                assert_closed $reader
            }
            wait_same $to $from
            assert_equal master [in $to { info_field role }]
        }

        # As each test begins.
        proc part {a b} {
            foreach id [list $a $b] { in $id { r slaveof no one } }
        }

        test "FAILOVER: the roles are swapped, without an error, a lost write or a full sync" {
            in $a { r config set ack-alone-if-promoted yes }
            follow $b $a
            wait_same $a $b
            in $a { r set k 1 }
            set full [list [in $a { info_field sync_full }] [in $b { info_field sync_full }]]
            fail_over $a $b
            in $b { r set k 2 }
            fail_over $b $a to 127.0.0.1 $::server($a,port) timeout 5000
            assert_equal $full [list [in $a { info_field sync_full }] [in $b { info_field sync_full }]]
            assert_equal 2 [in $a { r get k }]
            part $a $b
        }

        test "Sentinels that were heard are told of FAILOVER, in their own words and with the next epoch" {
            set hello __sentinel__:hello
            set port $::server($b,port)
            follow $b $a
            wait_same $a $b
            in $a {
                set sentinel [connect]
                call $sentinel subscribe $hello
                foreach text {10.0.0.1,26379,one,3,ckv,10.0.0.9,6379,2 10.0.0.1,26379,one,4,ckv,10.0.0.9,6379,2
                              10.0.0.2,26379,two,4,ckv,10.0.0.9,6379,7 10.0.0.3,26379,other,1,name,10.0.0.9,6379,0
                              10.0.0.4,26379,words,1,name,10.0.0.9,6379 10.0.0.4,26379,more,1,name,10.0.0.9,6379,1,1} {
                    r publish $hello $text
                    assert_equal [list message $hello $text] [recv $sentinel]
                }
                r publish another 10.0.0.5,26379,five,9,ckv,10.0.0.9,6379,9
                r publish $hello [string repeat x 2000],26379,long,1,name,10.0.0.9,6379,1
                recv $sentinel
            }
            fail_over $a $b
            in $a {
                foreach {speaker name epoch} {10.0.0.1,26379,one ckv 8 10.0.0.2,26379,two ckv 8
                                              10.0.0.3,26379,other name 2} {
                    set text $speaker,$epoch,$name,127.0.0.1,$port,$epoch
                    assert_equal [list message $hello $text] [recv $sentinel]
                }
                assert_silent $sentinel
                disconnect $sentinel
            }
            part $a $b
        }

        test "FAILOVER's errors are those of Redis 7" {
            follow $b $a
            wait_same $a $b
            in $b { assert_error "ERR FAILOVER is not valid when server is a replica." { r failover } }
            in $a {
                assert_error "ERR No failover in progress." { r failover abort }
                assert_error "ERR FAILOVER timeout must be greater than 0" { r failover timeout 0 }
                assert_error "ERR FAILOVER target HOST and PORT is not a replica." { r failover to 127.0.0.1 1 }
                assert_error "ERR FAILOVER with force option requires both*" { r failover force }
                assert_error "ERR syntax error" { r failover to 127.0.0.1 }
                assert_error "ERR PSYNC FAILOVER can't be sent to a master." { r psync [repeat a 40] 1 failover }
            }
            in $b {
                assert_error "ERR PSYNC FAILOVER replid must match my replid." { r psync [repeat a 40] 1 failover }
                r slaveof no one
                assert_error "ERR FAILOVER requires connected replicas." { r failover }
            }
        }

        test "a slave that doesn't catch up: after TIMEOUT or ABORT those that waited are served" {
            follow $b $a
            wait_same $a $b
            foreach {words ending} {{timeout 300} {} {} {r failover abort}} {
                exec kill -STOP $::server($b,pid)
                in $a {
                    set client [connect]
                    r set unconfirmed 1
                    assert_equal OK [r failover {*}$words]
                    assert_equal waiting-for-sync [info_field master_failover_state]
                    assert_equal 1 [r get unconfirmed]
                    assert_error "ERR FAILOVER already in progress." { r failover }
                    assert_error "ERR SLAVEOF not allowed while failing over." { r slaveof no one }
                    send_raw $client "[encode {incr held}][encode {incr held}][encode {get held}]"
                    assert_silent $client
                    eval $ending
                    assert_equal {1 2 2} [list [recv $client] [recv $client] [recv $client]]
                    assert_equal {master no-failover} [list [info_field role] [info_field master_failover_state]]
                    r del held
                    disconnect $client
                }
                exec kill -CONT $::server($b,pid)
                wait_same $a $b
            }
            part $a $b
        }

        test "a slave that can't be asked: this server is the master as before once that is wanted" {
            follow $b $a
            wait_same $a $b
            in $a {
                set client [connect]
                exec kill -STOP $::server($b,pid)
                r set unconfirmed 2
                r failover to 127.0.0.1 $::server($b,port) force timeout 100
                wait_until {[info_field role] eq "slave"}
                assert_equal failover-in-progress [info_field master_failover_state]
                send $client incr held
                assert_silent $client
                r failover abort
                assert_equal 1 [recv $client]
                assert_equal master [info_field role]
                exec kill -CONT $::server($b,pid)
                disconnect $client
            }
            wait_same $a $b
            part $a $b
        }
    }
}

set guarded {--admin-plane auth --requirepass ckv:secret --admin-password adm --masterauth admin:adm}
with_server $guarded {
    set a $::current
    with_server $guarded {
        set b $::current

        test "what an application says on Sentinels' channel isn't said again" {
            foreach id [list $a $b] { in $id { r auth admin:adm } }
            follow $b $a
            in $b { wait_until {[info_field master_link_status] eq "up"} }
            in $a {
                foreach {name password} {sentinel admin:adm application ckv:secret} {
                    set $name [connect]
                    call [set $name] auth $password
                }
                call $sentinel subscribe __sentinel__:hello
                set forged 10.0.0.1,26379,forged,1,ckv,10.0.0.9,6379,1
                set true 10.0.0.1,26379,true,1,ckv,10.0.0.9,6379,1
                assert_equal 1 [call $application publish __sentinel__:hello $forged]
                assert_equal 1 [r publish __sentinel__:hello $true]
                assert_equal [list $forged $true] [list [lindex [recv $sentinel] 2] [lindex [recv $sentinel] 2]]
                assert_equal OK [r failover]
                assert_equal 10.0.0.1,26379,true,2,ckv,127.0.0.1,$::server($b,port),2 [lindex [recv $sentinel] 2]
                assert_silent $sentinel
                disconnect $sentinel
                disconnect $application
            }
        }
    }
}
