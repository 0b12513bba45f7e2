# roles.tcl: a server that becomes a slave or a master while something else is under way, or at an offset where two
# servers know the stream's database differently: what was acknowledged stays, both have the same, and a slave writes
# nothing of its own.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# A slave of a master whose stream is in database 3.
proc follow_in_3 {b a} {
    follow $b $a
    wait_same $a $b
    in $a {
        r select 3
        r set x 1
    }
    wait_same $a $b
}

# The stream of the master `a` ends in database 3, and a checkpoint of it knows of none. Then `b` becomes the master.
foreach {how change} {
    "FAILOVER" {
        in $a {
            checkpoint_now
            admin_cli failover
            wait_until {[string match *master_link_status:up* [admin_cli info replication]]} 20000
            reopen_default
        }
    }
    "a stop and a promotion" {
        in $a stop_server
        in $b { admin_cli slaveof no one }
        launch $a [list --slaveof 127.0.0.1 $::server($b,port)]
    }
    "a kill and a promotion" {
        in $a {
            checkpoint_now
            kill_server
        }
        in $b { admin_cli slaveof no one }
        launch $a [list --slaveof 127.0.0.1 $::server($b,port)]
    }
    "a restart without its master" {
        in $a checkpoint_now
        in $b restart
        in $a {
            admin_cli slaveof 127.0.0.1 $::server($b,port)
            reopen_default
        }
    }
} {
    with_server {} {
        set a $::current
        with_server {} {
            set b $::current
            test "the new master's stream names its database, after $how" {
                follow_in_3 $b $a
                eval $change
                wait_until {[in $a { info_field master_link_status }] eq "up"} 20000
                in $b {
                    reopen_default
                    r select 3
                    r set y 2
                }
                wait_same $b $a
                in $a {
                    r select 3
                    assert_equal 2 [r get y]
                }
            }
        }
    }
}

# The other way round: the stream of the master `a` is in database 3, and goes on there. Meanwhile its slave `b` was a
# master, whose own stream would have begun with a SELECT.
foreach {how change} {
    "was made a master" {
        r slaveof no one
    }
    "has made a checkpoint as a master" {
        r slaveof no one
        checkpoint_now
    }
    "was stopped as a master" {
        r slaveof no one
        restart [list --slaveof 127.0.0.1 $::server($a,port)]
    }
    "was killed as a master that had made a checkpoint" {
        r slaveof no one
        checkpoint_now
        kill_server
        launch $b [list --slaveof 127.0.0.1 $::server($a,port)]
    }
    "was started without its master" {
        restart {}
        checkpoint_now
    }
    "goes back to where it was made a master" {
        r slaveof no one
        checkpoint_now
        r set z 1
    }
} {
    with_server {} {
        set a $::current
        with_server {} {
            set b $::current
            test "a slave that $how knows the database that its master's stream is in" {
                follow_in_3 $b $a
                in $b $change
                follow $b $a
                wait_same $a $b
                in $a { r set y 2 }
                wait_same $a $b
                in $b {
                    r select 3
                    assert_equal 2 [r get y]
                }
                assert_equal 1 [in $a { info_field sync_full }]
                with_server {} {
                    # Perhaps of the checkpoint that was made meanwhile.
                    follow $::current $b
                    wait_same $b $::current
                }
            }
        }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current
        test "a slave begins at the checkpoint that was made where its master was promoted, in another database" {
            follow $b $a
            wait_same $a $b
            in $a { r select 3; r set x 1 }
            wait_same $a $b
            r slaveof no one
            checkpoint_now
            set log_before [server_log]
            with_server {--checkpoint-every 0} {
                follow $::current $b
                wait_same $b $::current
                in $b {
                    set log [string range [server_log] [string length $log_before] end]
                    assert_equal 0 [regexp {Checkpoint done} $log]
                    r incr x
                }
                wait_same $b $::current
            }
            # Further on it's one whose stream names the database behind it, again.
            set ::current $b
            checkpoint_now
            set log_before [server_log]
            with_server {--checkpoint-every 0} {
                follow $::current $b
                wait_same $b $::current
            }
            assert_equal 0 [regexp {Checkpoint done} [string range [server_log] [string length $log_before] end]]
        }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current
        set ::current $a

        test "a slave that is started without its master has a history of its own, which goes on from the master's" {
            follow $b $a
            r set k v
            wait_same $a $b
            in $b {
                restart {--checkpoint-every 0}
                assert {[info_field master_replid] ne [in $a { info_field master_replid }]}
                assert_equal [in $a { info_field master_replid }] [info_field master_replid2]
                assert_equal [in $a offset] [expr {[info_field second_repl_offset] - 1}]
            }
        }

        test "what a slave saved is kept when it's rolled back as a master" {
            follow $b $a
            r set k v
            wait_same $a $b
            in $b {
                checkpoint_now
                r slaveof no one
                r set k first
                after 10
                set moment [clock milliseconds]
                after 10
                r set k second
                foreach {target value} [list "to $moment" first "" second] {
                    if {$target eq ""} { set target [lindex [r rollback status] 1] }
                    r rollback {*}$target
                    wait_until {![string match "running *" [r rollback status]]}
                    assert_match "done *" [r rollback status]
                    assert_equal $value [r get k]
                }
            }
        }
    }
}

with_server {} {
    set a $::current
    with_server {} {
        set b $::current
        with_server {} {
            set c $::current
            test "a slave of a slave that becomes the master is of its new history, too" {
                follow $b $a
                follow $c $b
                wait_same $a [list $b $c]
                in $b {
                    r slaveof no one
                    r set k v
                }
                wait_until {[in $c { info_field master_replid }] eq [in $b { info_field master_replid }]} 20000
                wait_same $b $c
                assert_equal 1 [in $b { info_field sync_full }]
            }
        }
    }
}

# Of `a`, whose slave is `b`.
proc leave_stream_in_20 {} {
    upvar 1 a a b b
    in $a {
        r select 20
        r set x 1
        r del x
    }
    wait_same $a $b
}

with_server {--databases 32} {
    set b $::current
    with_server {--databases 32} {
        set a $::current

        test "a full sync is refused if the stream behind it is in a database that there isn't" {
            follow $b $a
            wait_same $a $b
            leave_stream_in_20
            in $b checkpoint_now
            with_server {} {
                r set kept 1
                follow $::current $b
                wait_until {[string match "*is in database 20, and there are 16 here*" [info_field ckv_sync_error]]}
                assert_equal 1 [r get kept]
            }
        }

        test "a slave's start says how many databases its master's stream needs, and the tools need none said" {
            follow $b $a
            wait_same $a $b
            leave_stream_in_20
            in $b {
                stop_server
                set wrong [list --port 0 --databases 16 --slaveof 127.0.0.1 $::server($a,port) --dir [server_dir]]
                lassign [run_ckv {*}$wrong] status out err
                assert_equal 1 $status
                assert_match "*--databases 21*" $err
                foreach tool {check dump} { assert_equal 0 [lindex [run_ckv $tool [server_dir]] 0] }
            }
            launch $b [list --databases 32 --slaveof 127.0.0.1 $::server($a,port)]
            set ::current $a
            r set y 2
            wait_same $a $b
        }
    }
}

# Connections of operators, which stay when the server becomes a slave.
set guarded {--admin-plane auth --requirepass ckv:secret --admin-password adm --masterauth admin:adm}

with_server $guarded {
    set a $::current
    set on_a [log_in]
    with_server $guarded {
        set b $::current
        set on_b [log_in]
        foreach id [list $a $b] { in $id { r auth admin:adm } }

        test "a transaction that was queued by a master's client writes nothing on the slave that it became" {
            foreach name {writes reads} { set $name [in $a log_in] }
            call $writes multi
            call $writes set x 1
            call $reads multi
            call $reads get x
            call $on_a slaveof 127.0.0.1 $::server($b,port)
            assert_error "ERR Transaction contains write commands but instance is now a read-only slave. EXEC*" {
                call $writes exec
            }
            assert_equal (nil) [call $reads exec]
            foreach c [list $writes $reads] { disconnect $c }
            wait_same $b $a
        }

        test "what comes behind SLAVEOF in a transaction writes nothing" {
            call $on_a slaveof no one
            call $on_a multi
            call $on_a set before 1
            call $on_a slaveof 127.0.0.1 $::server($b,port)
            call $on_a set after 1
            call $on_a get after
            assert_match {OK OK {-READONLY *} (nil)} [call $on_a exec]
            wait_same $b $a
        }

        test "neither DEBUG POPULATE nor PFCOUNT changes a slave" {
            call $on_b pfadd estimate a b c
            wait_same $b $a
            assert_error "READONLY *" { call $on_a debug populate 10 }
            assert_equal 3 [call $on_a pfcount estimate]
            wait_same $b $a
            assert_equal 3 [call $on_b pfcount estimate]
            wait_same $b $a
            assert_equal 3 [call $on_a pfcount estimate]
        }
    }
}

# `a` has one command more than `b`, its slave until now, when that becomes the master and writes more.
proc diverge {a b} {
    in $a { r set shared v }
    follow $b $a
    wait_same $a $b
    in $b {
        admin_cli slaveof no one
        reopen_default
    }
    in $a { r set only-here 1 }
    in $b {
        for {set i 0} {$i < 30} {incr i} { r set more$i v }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {} {
        set b $::current

        test "an old master that goes back, and is made the master again meanwhile, keeps what it acknowledges" {
            in $a {
                r debug populate [expr {$::sanitized ? 20000 : 200000}] ;# more keys than the leak checker can follow
                checkpoint_now
            }
            diverge $a $b
            in $a {
                admin_cli slaveof 127.0.0.1 $::server($b,port)
                reopen_default
                for {set tries 0} {$tries < 200 && ![string match running* [r rollback status]]} {incr tries} {
                    after 1
                }
                admin_cli slaveof no one
                reopen_default
                for {set i 0} {$i < 500} {incr i} { assert_equal OK [r set acknowledged$i v] }
                wait_until {![string match running* [r rollback status]]} 20000
                for {set i 0} {$i < 500} {incr i} { assert_equal v [r get acknowledged$i] }
                # What wasn't wanted any more was the way back, not what comes later.
                set id [r backup create]
                wait_until {![string match running* [r backup status]]} 20000
                assert_equal "done $id" [r backup status]
                restart
                assert_equal v [r get acknowledged499]
            }
        }
    }
}

with_server {} {
    set a $::current
    with_server {} {
        set b $::current

        test "a rollback that failed some time doesn't keep an old master from going back" {
            in $a {
                r rollback to 1000
                wait_until {[string match failed* [r rollback status]]}
            }
            diverge $a $b
            in $a {
                admin_cli slaveof 127.0.0.1 $::server($b,port)
                reopen_default
            }
            wait_same $b $a
            in $a { assert_equal 1 [llength [glob -nocomplain -directory [server_dir] diverged-*.resp]] }
        }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current

        test "an old master that couldn't go back tries again after another SLAVEOF" {
            diverge $a $b
            in $a {
                exec touch [server_dir]/rollback.tmp
                admin_cli slaveof 127.0.0.1 $::server($b,port)
                reopen_default
                wait_until {[string match "*Going back isn't possible: *rollback.tmp*" [server_log]]}
                file delete [server_dir]/rollback.tmp
                admin_cli slaveof localhost $::server($b,port)
            }
            wait_same $b $a
            in $a { assert_match "*from 127.0.0.1:* accepted*" [in $b server_log] }
            assert_equal 0 [in $b { info_field sync_full }]
        }
    }
}

with_server {--checkpoint-every 0 --accept-data-loss yes} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current

        test "an old master that couldn't go back once, and was online since, goes back the next time" {
            diverge $a $b
            in $a {
                checkpoint_now
                file delete {*}[lrange [lsort [glob -directory [server_dir]/journal *.ckj]] 0 end-1]
                admin_cli slaveof 127.0.0.1 $::server($b,port)
                reopen_default
            }
            wait_same $b $a
            assert_equal 1 [in $b { info_field sync_full }]
            # The master comes back with an older disk.
            in $b {
                set port [server_port]
                stop_server
                file copy [server_dir] [server_dir].kept
                launch $b [list --checkpoint-every 0 --port $port]
                r set later v
            }
            wait_same $b $a
            in $b {
                kill_server
                file delete -force [server_dir]
                file rename [server_dir].kept [server_dir]
                launch $b [list --checkpoint-every 0 --port $port]
            }
            wait_same $b $a
            assert_equal {0 0} [list [in $a { r exists later }] [in $b { info_field sync_full }]]
        }
    }
}

with_server {} {
    test "what a full sync brought begins a history of its own if the slave is killed before it has loaded it" {
        r set k v
        set dir [server_dir]
        assert_equal 0 [lindex [run_ckv export $dir/all.rdb --socket $dir/ckv.sock] 0]
        stop_server
        exec sh -c "cd $dir && exec $ckv receive $id_a 100 $id_b '' <all.rdb"
        set ::server($::current,dir) $dir/rollback.tmp
        launch $::current {}
        assert_equal [list v $id_a 101 $id_b] [list [r get k] [info_field master_replid2] \
            [info_field second_repl_offset] [info_field ckv_rolled_back_from]]
    }
}

with_server {} {
    set m $::current
    with_server {} {
        set a $::current
        with_server {} {
            set b $::current

            test "what a slave gives up for another one, that has less, is written down with its database" {
                follow $a $m
                follow $b $m
                wait_same $m [list $a $b]
                in $m {
                    r select 3
                    r set x 1
                }
                wait_same $m [list $a $b]
                in $a checkpoint_now ;# it begins a segment, which doesn't say SELECT
                in $m { r set y 1 }
                wait_same $m [list $a $b]
                in $b { r slaveof 127.0.0.1 1 }
                in $m { r set lost 1 }
                wait_same $m $a
                in $b {
                    r slaveof no one
                    r set instead [repeat v 100]
                }
                follow $a $b
                wait_same $b $a
                in $a {
                    set f [open [glob -directory [server_dir] diverged-*.resp]]
                    fconfigure $f -translation binary
                    assert_equal [encode {SELECT 3}][encode {set lost 1}] [read $f]
                    close $f
                }
            }
        }
    }
}

# Backups of the current server last from now on until `end_long_backup`: they wait for an upgrade, whose program hangs.
proc begin_long_backup {} {
    set ::hanging [file join $::scratch hanging]
    set f [open $::hanging w]
    puts $f "#!/bin/sh\necho $$ >$::hanging.pid\nexec sleep 60"
    close $f
    file attributes $::hanging -permissions 0700
    file delete $::hanging.pid
    send [set ::upgrader [connect]] upgrade $::hanging
    wait_until {[file exists $::hanging.pid] && [file size $::hanging.pid] > 0}
    r backup create
    assert_match "running *" [r backup status]
}

proc end_long_backup {} {
    assert_match "running *" [r backup status]
    exec kill [exec cat $::hanging.pid]
    disconnect $::upgrader
    wait_until {[string match "done *" [r backup status]]}
}

with_server {} {
    set a $::current
    with_server {} {
        set b $::current
        set ::current $a ;# what is emptied before a test is the master

        test "a slave that makes a backup is linked again at once, and goes on by offset" {
            follow $b $a
            wait_same $a $b
            in $b {
                begin_long_backup
                r client kill type master
            }
            in $a { r set k v }
            wait_same $a $b
            in $b end_long_backup
            assert_equal 1 [in $a { info_field sync_full }]
        }

        test "what a full sync brought waits for a backup, and needn't be sent again" {
            in $b {
                foreach value {1 2} {
                    r slaveof no one ;# for the second time, so it has no history in common with the master
                    r set own $value
                    r slaveof 127.0.0.1 1
                }
                begin_long_backup
            }
            in $a { r set k w }
            follow $b $a
            in $a { wait_until {[string match *state=online* [info_field slave0]]} }
            in $b {
                assert_equal {1 1} [list [r exists own] [info_field master_sync_in_progress]]
                end_long_backup
            }
            wait_same $a $b
            assert_equal {2 0} [list [in $a { info_field sync_full }] [in $b { r exists own }]]
        }

        test "so does an old master that has to go back" {
            in $a { r set k v }
            wait_same $a $b
            in $b {
                r slaveof no one
                r set more [repeat v 100]
            }
            in $a {
                r set lost 1
                begin_long_backup
                r slaveof 127.0.0.1 $::server($b,port)
                wait_until {[string match "*a backup is*" [info_field ckv_sync_error]]}
                assert_equal 1 [r exists lost]
                end_long_backup
            }
            wait_same $b $a
            assert_equal {0 0} [list [in $b { info_field sync_full }] [in $a { r exists lost }]]
        }
    }
}

with_server {} {
    set a $::current
    with_server {} {
        set b $::current

        test "what an old master alone had is written down, also if it began another history before it came back" {
            in $a { r set base 1 }
            follow $b $a
            wait_same $a $b
            in $b {
                r slaveof no one
                for {set i 0} {$i < 20} {incr i} { r set instead$i v }
            }
            in $a {
                r set lost 1
                kill_server
                # As after a power cut: it can't know who has what of its history, and something is added at once.
                file rename [server_dir] [server_dir].old
                exec cp -a [server_dir].old [server_dir]
                set history [in $b { info_field master_replid2 }]
                launch $a {}
                assert_equal $history [info_field master_replid2]
                r set later 1
            }
            follow $a $b
            wait_same $b $a
            assert_equal 0 [in $b { info_field sync_full }]
            in $a {
                set f [open [glob -directory [server_dir] diverged-*.resp]]
                fconfigure $f -translation binary
                assert_equal [encode {SELECT 0}][encode {set lost 1}][encode {SELECT 0}][encode {set later 1}] [read $f]
                close $f
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
            set ::current $a

            test "a slave that was away while the master's role went to another and back goes on by offset" {
                foreach slave [list $b $c] { follow $slave $a }
                in $a { for {set i 0} {$i < 20} {incr i} { r set key$i v } }
                wait_same $a [list $b $c]
                set full [in $a { info_field sync_full }]
                in $c { stop_server }
                foreach {next last} [list $b $a $a $b] {
                    in $next { r slaveof no one }
                    follow $last $next
                    in $next { r del key1 key2 key3 }
                    wait_same $next $last
                }
                in $c { launch $c [list --slaveof 127.0.0.1 $::server($a,port)] }
                wait_same $a $c
                in $a { assert_equal $full [info_field sync_full] }
            }

            test "one that has more than what it's still told of goes back to there" {
                in $a { r set k v }
                wait_same $a $c
                in $c {
                    set behind [offset]
                    r slaveof no one
                    r set mine 1
                }
                foreach {next last} [list $b $a $a $b] {
                    in $next { r slaveof no one }
                    follow $last $next
                    in $next { r set theirs [repeat x 1000] }
                    wait_same $next $last
                }
                set history [in $a { info_field ckv_older_replids }]
                in $a { restart {--checkpoint-every 0} }
                assert_equal $history [in $a { info_field ckv_older_replids }]
                follow $c $a
                wait_same $a $c
                assert_equal 0 [in $a { info_field sync_full }]
                in $c {
                    assert_match "*went on from offset $behind of our history*" [server_log]
                    assert_equal (nil) [r get mine]
                }
            }
        }
    }
}

# `d` is of a history that `a` had for a while, and `c` learns of it from `a` alone: as a slave that was away, or anew.
foreach how {"was away" "is new"} {
    with_server {--checkpoint-every 0} {
        set a $::current
        with_server {--checkpoint-every 0} {
            set b $::current
            with_server {--checkpoint-every 0} {
                set c $::current
                with_server {--checkpoint-every 0} {
                    set d $::current
                    set ::current $a

                    test "who missed a change of the master's role goes on by offset behind a slave that $how" {
                        in $a {
                            r set first 1
                            checkpoint_now
                        }
                        foreach slave [list $b $d] { follow $slave $a }
                        if {$how eq "was away"} { follow $c $a }
                        wait_same $a [list $b $d]
                        if {$how eq "was away"} { wait_same $a $c }
                        in $c stop_server
                        in $b {
                            r slaveof no one
                            r set second 2
                        }
                        foreach slave [list $a $d] { follow $slave $b }
                        wait_same $b [list $a $d]
                        in $d stop_server
                        in $a {
                            r slaveof no one
                            r set third 3
                        }
                        launch $c [list --slaveof 127.0.0.1 $::server($a,port)]
                        wait_same $a $c
                        in $c {
                            r slaveof no one
                            r set fourth 4
                            restart {--checkpoint-every 0}
                        }
                        launch $d [list --slaveof 127.0.0.1 $::server($c,port)]
                        wait_same $c $d
                        in $c { assert_equal 0 [info_field sync_full] }
                        in $d { assert_equal 0 [string match "*went on from offset*" [server_log]] }
                    }
                }
            }
        }
    }
}

with_server {--checkpoint-every 0} {
    set a $::current
    with_server {--checkpoint-every 0} {
        set b $::current

        test "a slave of Redis 3.2 is sent nothing of the stream that came from another master" {
            follow $b $a
            in $a { r set k v }
            wait_same $a $b
            in $b checkpoint_now
            in $a { r set k w }
            wait_same $a $b
            in $b {
                r slaveof no one
                r set own 1
                set begun [expr {[info_field second_repl_offset] - 1}]
                set c [connect]
                send $c psync ? -1
                while {[set line [recv_line $c]] eq ""} {} ;# signs of life
                assert_match "+FULLRESYNC *" $line
                assert_equal 1 [expr {[lindex $line 2] >= $begun}]
                disconnect $c
            }
        }
    }
}
