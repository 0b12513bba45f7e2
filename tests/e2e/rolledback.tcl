# rolledback.tcl: a master that its operator takes back to a backup or a moment: its slaves follow, for they're to lose
# what it was to lose; nobody else's data goes for it. (backup.tcl has rollbacks themselves.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc write_keys {name count} {
    for {set i 0} {$i < $count} {incr i} { r set $name:$i $i }
}

# A backup of what there is, by its id.
proc make_backup {} {
    r backup create
    wait_until {[info_field ckv_backup_in_progress] == 0}
    return [info_field ckv_last_backup_id]
}

# The tool's, on the current server's directory.
proc roll_back {args} {
    lassign [run_ckv rollback {*}$args --dir [server_dir]] status out err
    assert_equal {0 {}} [list $status [expr {$status == 0 ? "" : $err}]]
    assert_match "what there was is kept as backup *" $out
}

# Stops the server, runs the body, and starts it again at its port.
proc while_stopped {id body} {
    set port $::server($id,port)
    in $id {
        stop_server $id
        uplevel 1 $body
        launch $id [list --checkpoint-every 0 --port $port]
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current
        follow $b $a
        set ::current $a ;# what empties the dataset before a test empties that of both

        test "a running master is rolled back, and its slave follows, with ack slave as well" {
            wait_same $a $b
            in $a {
                r config set ack slave
                write_keys kept 5
                set id [make_backup]
                write_keys lost 50
                set history [info_field master_replid]
                wait_same $a $b
                roll_back $id
                reopen_default
                assert_equal $history [info_field ckv_rolled_back_from]
            }
            wait_same $a $b
            in $b {
                assert_equal {5 {}} [list [r dbsize] [info_field ckv_sync_refused]]
                assert_match "*before full sync from 127.0.0.1:$::server($a,port)*" [r backup list]
                assert_equal $history [info_field ckv_rolled_back_from] ;# for slaves of its own
            }
            in $a {
                assert_equal OK [r set after rollback]
                r config set ack local
            }
            wait_same $a $b
        }

        test "a slave isn't rolled back by itself" {
            in $b {
                set id [make_backup]
                foreach target [list $id "to [clock milliseconds]"] {
                    assert_error "ERR this is a slave, whose data is its master's*" { r rollback {*}$target }
                }
            }
            wait_same $a $b
        }

        test "the same of a stopped one, to nothing at all, and on after another start" {
            in $a {
                r flushall
                set id [make_backup]
                write_keys lost 50
                set history [info_field master_replid]
            }
            wait_same $a $b
            exec kill -STOP $::server($b,pid)
            while_stopped $a { roll_back $id }
            while_stopped $a {}
            exec kill -CONT $::server($b,pid)
            in $a { assert_equal $history [info_field ckv_rolled_back_from] }
            wait_same $a $b
            assert_equal 0 [in $b { r dbsize }]
        }

        test "a slave that is away follows over two rollbacks, whichever of the histories it's of" {
            foreach rollbacks {0 1} {
                in $a {
                    write_keys kept 5
                    set id [make_backup]
                    write_keys lost 50
                }
                wait_same $a $b
                for {set i 0} {$i < 2} {incr i} {
                    if {$i == $rollbacks} {
                        wait_same $a $b
                        in $b { stop_server $b }
                    }
                    in $a {
                        roll_back $id
                        reopen_default
                        write_keys lost 20
                    }
                }
                in $a { roll_back $id }
                in $b { launch $b [list --checkpoint-every 0 --slaveof 127.0.0.1 $::server($a,port)] }
                wait_same $a $b
                assert_equal {5 {}} [in $b { list [r dbsize] [info_field ckv_sync_refused] }]
                in $a {
                    reopen_default
                    r flushall
                }
            }
        }

        test "WAIT isn't answered for what was rolled back" {
            set id [make_backup]
            exec kill -STOP $::server($b,pid)
            set waits [connect]
            set wrote [connect]
            foreach c [list $waits $wrote] { $c set lost:$c v }
            send $waits wait 1 0
            wait_until {[info_field blocked_clients] == 1}
            r rollback $id
            assert_error "UNBLOCKED *" { recv $waits }
            assert_closed $waits
            wait_until {[string match done* [r rollback status]]}
            exec kill -CONT $::server($b,pid)
            wait_same $a $b
            assert_equal {1 0} [list [$wrote wait 1 0] [r exists lost:$wrote]]
            foreach c [list $waits $wrote] { disconnect $c }
        }

        test "a slave that hadn't got beyond the moment goes on by offset" {
            write_keys kept 5
            wait_same $a $b
            in $b { stop_server $b }
            after 50
            set moment [expr {[clock milliseconds] / 1000.0}]
            after 50
            write_keys lost 50
            while_stopped $a { roll_back --to $moment }
            in $b { launch $b [list --checkpoint-every 0 --slaveof 127.0.0.1 $::server($a,port)] }
            wait_same $a $b
            assert_equal {5 0} [list [in $b { r dbsize }] [in $a { info_field sync_full }]]
        }

        test "a slave of another history than the one that was left keeps its data" {
            in $b {
                r slaveof no one
                write_keys own 100
            }
            in $a {
                write_keys kept 5
                set id [make_backup]
                write_keys lost 5
                roll_back $id
            }
            in $b {
                stop_server $b
                launch $b [list --checkpoint-every 0 --slaveof 127.0.0.1 $::server($a,port)]
                wait_until {[info_field ckv_sync_refused] ne ""}
                assert_equal 1 [r exists own:99]
                r slaveof no one
            }
        }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current
        with_server {--checkpoint-every 0} {
            set c $::current
            follow $b $a
            follow $c $b
            set ::current $a

            test "a slave of a slave follows a rollback, too" {
                foreach how {"by a full sync" "by offset"} {
                    write_keys kept 5
                    set id [make_backup]
                    wait_same $a [list $b $c]
                    if {$how eq "by offset"} { in $b { stop_server $b } }
                    write_keys lost 50
                    if {$how eq "by a full sync"} { wait_same $a [list $b $c] }
                    roll_back $id
                    reopen_default
                    if {$how eq "by offset"} {
                        in $b { launch $b [list --checkpoint-every 0 --slaveof 127.0.0.1 $::server($a,port) \
                            --port $::server($b,port)] }
                    }
                    wait_same $a [list $b $c]
                    assert_equal 5 [in $c { r dbsize }]
                    # (It may have been connected again before its own master had learned that.)
                    set left [info_field ckv_rolled_back_from]
                    wait_until {[in $c { info_field ckv_rolled_back_from }] eq $left}
                    r flushall
                }
            }

            test "so does one that was away when the slave has become the master" {
                write_keys kept 5
                set id [make_backup]
                write_keys lost 50
                wait_same $a [list $b $c]
                in $c { stop_server $c }
                roll_back $id
                reopen_default
                wait_same $a $b
                admin_cli failover
                reopen_default
                wait_until {[in $b { info_field role }] eq "master"}
                in $c { launch $c [list --checkpoint-every 0 --slaveof 127.0.0.1 $::server($b,port)] }
                wait_same $b [list $a $c]
                assert_equal {5 {}} [in $c { list [r dbsize] [info_field ckv_sync_refused] }]
            }
        }
    }
}
