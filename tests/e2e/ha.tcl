# ha.tcl: what a failover needs of a pair: the words of Redis Sentinel, who acknowledges after a promotion, and that
# nothing but the master's stream gets into a slave's journal. (tests/ha has Sentinel itself.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Another server, as its id's words.
proc in {id body} {
    set outer $::current
    set ::current $id
    set code [catch {uplevel 1 $body} result details]
    set ::current $outer
    return -options $details $result
}

proc follow {id of} { in $id { r slaveof 127.0.0.1 $::server($of,port) } }
proc offset {} { info_field [expr {[info_field role] eq "slave" ? "slave_repl_offset" : "master_repl_offset"}] }

proc wait_same {of ids} {
    foreach id $ids {
        wait_until {[in $id { info_field master_link_status }] eq "up" && [in $id offset] == [in $of offset]} 15000
        assert_equal [in $of { r debug digest }] [in $id { r debug digest }]
    }
}

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
    }
}
