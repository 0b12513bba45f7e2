# persist.tcl: the data on disk: restarts, kills, checkpoints, SAVE, BGSAVE, DEBUG RELOAD, INFO persistence, what damage
# does to a start.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Every type, every way of holding it, lifetimes, several databases.
proc fill {} {
    r select 0
    r mset str hello int 12345 long [repeat x 5000] empty ""
    r setex soon 10000 value
    r append raw abc
    for {set i 0} {$i < 300} {incr i} {
        r rpush list element:$i
        r hset hash field:$i [repeat v $i]
        r sadd set member:$i
        r zadd zset [expr {$i * 1.5}] member:$i
    }
    r rpush smalllist a b c
    r sadd ints 1 2 3
    r sadd smallset a b 3
    r hmset smallhash a 1 b 2
    r zadd smallzset 1 a 2.5 b -inf c
    r pexpire smallhash 50000000
    r pfadd hll a b c d e f
    r geoadd geo 13.361389 38.115556 Palermo
    r select 3
    r set other database
    r select 0
}

proc wait_saved {} { wait_until {[info_field rdb_bgsave_in_progress] == 0} 20000 }

proc encodings {} {
    set all {}
    foreach key [lsort [r keys *]] { lappend all $key [r type $key] [r object encoding $key] [expr {[r ttl $key] > 0}] }
    return $all
}

with_server {} {
    test "a journal that is deleted under the server is said to be, and nothing more is acknowledged into it" {
        r set k v
        file delete {*}[glob [server_dir]/journal/*]
        wait_until {[catch { r set other v } refusal]}
        assert_match "MISCONF *journal/*: it was deleted, *" $refusal
        assert_equal v [r get k]
        kill_server
        file delete -force {*}[glob [server_dir]/*]
        launch $::current $::server($::current,options)
    }
}

with_server {--checkpoint-every 0} {
    test "a stopped server has everything when it starts again" {
        fill
        set digest [r debug digest]
        set encodings [encodings]
        restart
        assert_equal $digest [r debug digest]
        assert_equal $encodings [encodings]
        assert_equal 1 [r del str]
        set digest [r debug digest]
        restart
        assert_equal $digest [r debug digest]
    }

    test "a killed server has everything that was acknowledged" {
        fill
        set digest [r debug digest]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
        checkpoint_now
        r set after checkpoint
        r hset hash new field
        r del list
        set digest [r debug digest]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
    }

    test "DEBUG RELOAD and LOADAOF give what was there" {
        fill
        fill_big
        set digest [r debug digest]
        set encodings [encodings]
        foreach how {reload loadaof reload} {
            assert_equal OK [r debug $how]
            assert_equal $digest [r debug digest]
            assert_equal $encodings [encodings]
        }
        r hset bighash field:17 changed
        r zincrby bigzset 100 member:5:[repeat m 10]
        r srem bigset member:9:[repeat m 20]
        r lset biglist 3000 changed
        r lpop biglist
        set digest [r debug digest]
        foreach how {reload loadaof} {
            assert_equal OK [r debug $how]
            assert_equal $digest [r debug digest]
        }
        restart
        assert_equal $digest [r debug digest]
    }

    test "a checkpoint writes what changed, not the big value beside it" {
        fill_big
        r set big [repeat x 1000000]
        foreach _ {first second third} checkpoint_now
        assert {[info_field ckv_last_checkpoint_bytes] < 2000}
        r hset bighash field:17 changed
        r set small value
        checkpoint_now
        assert {[info_field ckv_last_checkpoint_bytes] < 60000}
    }

    test "changes during a checkpoint are not in it, and not lost" {
        fill_big
        for {set round 0} {$round < 5} {incr round} {
            r bgsave
            for {set i 0} {$i < 200} {incr i} {
                r hset bighash field:[expr {$i * 7}] round:$round
                r zadd bigzset $round member:$i:[repeat m 10]
                r lpush biglist $i
                r srem bigset member:$i:[repeat m 20]
            }
            if {$round == 2} { r del bighash bigset bigzset biglist }
            if {$round == 3} { r flushall }
            wait_saved
        }
        set digest [r debug digest]
        r debug loadaof
        assert_equal $digest [r debug digest]
    }

    test "SAVE, BGSAVE and LASTSAVE" {
        r set a 1
        assert_equal OK [r save]
        assert {abs([r lastsave] - [clock seconds]) < 5}
        assert_equal 0 [info_field rdb_changes_since_last_save]
        r set a 2
        r set b 2
        assert_equal 2 [info_field rdb_changes_since_last_save]
        checkpoint_now
        assert_equal 0 [info_field rdb_changes_since_last_save]
        assert_equal [info_field ckv_journal_offset] [info_field ckv_last_checkpoint_offset]
        assert_error "ERR syntax error" {r bgsave nonsense}
        assert_error "ERR wrong number of arguments for 'save' command" {r save now}
    }

    test "SHUTDOWN NOSAVE loses nothing either" {
        fill
        set digest [r debug digest]
        catch {r shutdown nosave}
        wait_until {![alive [server_pid]]}
        reap $::current
        disconnect_all $::current
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
    }

    test "keys that expire while the server is down are gone, the others keep their deadline" {
        r set stays forever
        r psetex goes 300 value
        r setex later 1000 value
        kill_server
        after 400
        launch $::current $::server($::current,options)
        assert_equal (nil) [r get goes]
        assert_equal forever [r get stays]
        assert {[r ttl later] > 990}
    }

    test "FLUSHALL and FLUSHDB are kept" {
        fill
        r select 3
        r flushdb
        r select 0
        restart
        assert_equal 0 [llength [regexp -all -inline {db3} [r info keyspace]]]
        r flushall
        kill_server
        launch $::current $::server($::current,options)
        assert_equal 0 [r dbsize]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 200kb --journal-segment-bytes 100kb --journal-keep 0} {
    test "a grown journal starts checkpoints, and segments that nobody needs go" {
        for {set i 0} {$i < 400} {incr i} {
            r set key:[expr {$i % 50}] [repeat x 10000]
            if {$i % 100 == 99} wait_saved
        }
        wait_until {[info_field ckv_last_checkpoint_time_ms] > 0}
        wait_saved
        after 1100
        foreach a {1 2} {
            r set a $a
            checkpoint_now
        }
        wait_until {[llength [glob [server_dir]/journal/*]] < 5}
        set digest [r debug digest]
        restart
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 1} {
    test "checkpoints are made by time, when something changed" {
        r set a 1
        wait_until {[info_field ckv_last_checkpoint_time_ms] > 0}
        wait_saved
        set last [info_field ckv_last_checkpoint_time_ms]
        after 1500
        assert_equal $last [info_field ckv_last_checkpoint_time_ms]
        r set b 1
        wait_until {[info_field ckv_last_checkpoint_time_ms] > $last}
    }
}

with_server {--checkpoint-every 1 --journal-keep 2 --repl-ping-slave-period 1} {
    set master $current
    with_server {--checkpoint-every 1 --journal-keep 2} {
        set slave $current

        # Whether the last checkpoint is the last one still after three PINGs more, a second apart.
        proc checkpoint_stays {} {
            lassign [list [offset] [info_field ckv_last_checkpoint_offset]] before last
            wait_until {[offset] >= $before + 3 * 14} 20000
            return [expr {[info_field ckv_last_checkpoint_offset] == $last}]
        }

        test "what has only a master's PINGs behind it makes no checkpoint until it's much, or the server stops" {
            follow $slave $master
            wait_same $master $slave
            foreach id [list $master $slave] {
                in $master { r set k $id }
                wait_same $master $slave
                in $id {
                    set written [offset]
                    wait_until {[info_field ckv_last_checkpoint_offset] >= $written}
                    wait_until {[checkpoint_stays]} 20000
                    wait_until {[info_field ckv_journal_first_offset] >= $written} ;# old segments go all the same
                }
            }
            in $master {
                r config set checkpoint-journal-bytes 1000
                set last [info_field ckv_last_checkpoint_offset]
                r publish channel [repeat x 1000]
                wait_until {[info_field ckv_last_checkpoint_offset] > $last}
                set before [offset]
                wait_until {[offset] > $before}
                restart
                assert_match "*Saving a checkpoint before the stop*" [server_log]
            }
        }
    }
}

with_server {--persistence no} {
    test "persistence no keeps nothing, and says so" {
        r set a 1
        assert_error "ERR Can't save: persistence is off" {r save}
        assert_error "ERR Can't save: persistence is off" {r bgsave}
        assert_equal 0 [info_field ckv_journal_enabled]
        restart
        assert_equal 0 [r dbsize]
        assert {![file exists [server_dir]/MANIFEST] && ![file exists [server_dir]/journal]}
    }
}

# ---------------------------------------------------------------- what a checkpoint must see

# A file that was loaded gets only what has changed since: so the next checkpoint but one tells whether that was noted.
proc save_twice {} {
    foreach n {1 2} {
        r incr saves ;# of the same offset the first is taken for the newest
        r save
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "each kind of change is in the next checkpoint of either file" {
        set m20 [repeat m 20]
        set m10 [repeat m 10]
        fill_big
        r debug populate 3000 many
        r set vol 1 ex 1000
        r setex soon 1000 v
        r psetex over 2000 v
        save_twice
        r debug loadaof
        foreach change [subst {
            {exists over}
            {hset bighash field:5 other} {hset bighash field:6 [repeat x 300]} {hset bighash new 1}
            {hdel bighash field:7} {hincrby bighash number 5}
            {sadd bigset new} {srem bigset member:9:$m20} {spop bigset}
            {zadd bigzset 77 new} {zadd bigzset 5999999 member:10:$m10} {zincrby bigzset 3000 member:11:$m10}
            {zrem bigzset member:12:$m10} {zremrangebyrank bigzset 0 2}
            {lset biglist 3000 changed} {lpop biglist} {rpop biglist} {linsert biglist before changed in}
            {lrem biglist 1 member:70:$m20} {lpush biglist a} {ltrim biglist 1 -3}
            {set many:5 x} {append many:6 abc} {del many:7} {expire many:8 1000} {persist soon}
            {rename many:9 renamed} {rename many:10 many:11} {move many:12 3} {setrange many:13 0 x}
            {pexpire many:14 1} {pexpire bigset 1} {config set maxmemory 1} {set number 1} {incr number}
        }] {
            r config set maxmemory-policy volatile-ttl
            r {*}$change
            switch [lindex $change 0] {
                exists - pexpire { wait_until {[r exists [lindex $change 1]] == 0} }
                config { catch {r set refused x} }
            }
            r config set maxmemory 0
            save_twice
            set all [list [r incr saves] [r debug digest]]
            r debug loadaof
            assert_equal [list $change $all] [list $change [list [r get saves] [r debug digest]]]
        }
        assert_equal 0 [r exists vol]
        assert_equal 0 [regexp {it isn't used} [server_log]]
    }

    # With collections that have pages of their own the files are begun anew; else pages of keys are left out of them.
    foreach {which big flushes} {
        "and big collections" 1 {{bgsave flushall} flushdb {{move bigzset 3} {select 3} flushdb {select 0}}}
        "" 0 {{bgsave flushall} flushall {bgsave {del many:1} flushdb {set many:2 x}}}
    } {
        test "flushed keys $which leave nothing in the files, beside a checkpoint or not" {
            foreach flush $flushes {
                r flushall
                if {$big} { fill_big }
                r debug populate [expr {$big ? 2000 : 60}] many ;# in 4 pages: so many stay when they're gone
                save_twice
                r debug loadaof
                r multi
                foreach command $flush { r {*}$command }
                r exec
                wait_saved
                foreach n {1 2} save_twice
                set digest [r debug digest]
                r debug loadaof
                assert_equal [list $flush $digest] [list $flush [r debug digest]]
            }
            assert_equal 0 [regexp {it isn't used} [server_log]]
        }
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "what comes after a start takes no record of what was there before" {
        fill_big
        r set bigstring [repeat a 100000]
        r save
        kill_server
        launch $::current $::server($::current,options)
        foreach key {bighash bigset bigzset biglist bigstring} { r rename $key old:$key }
        fill_big
        r hset bighash field:1 new
        r set bigstring [repeat b 100000]
        r save
        set digest [r debug digest]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
        assert_equal 0 [regexp {it isn't used} [server_log]]
    }
}

# ---------------------------------------------------------------- damage

proc write_at {path offset bytes} {
    set f [open $path r+]
    fconfigure $f -translation binary
    seek $f $offset
    puts -nonewline $f $bytes
    close $f
}

# What a start in the directory says that can't be: {status message}.
proc refused_start {dir args} {
    lassign [run_ckv --port 0 --dir $dir {*}$args] status out err
    return [list $status $err]
}

# Makes a directory with two checkpoints and some journal; returns the digest.
proc make_directory {} {
    fill
    checkpoint_now
    r set second checkpoint
    checkpoint_now
    r set behind checkpoint
    set digest [r debug digest]
    kill_server
    return $digest
}

proc newest_checkpoint {dir} {
    set f [open $dir/MANIFEST]
    set text [read $f]
    close $f
    regexp {\[checkpoint-a\].*?offset=(\d+)\n} $text -> a
    regexp {\[checkpoint-b\].*?offset=(\d+)\n} $text -> b
    return [expr {$a > $b ? "checkpoint-a.gdbm" : "checkpoint-b.gdbm"}]
}

proc bytes_of {path} {
    set f [open $path rb]
    set bytes [read $f]
    close $f
    return $bytes
}

# In its middle, or (when some of it has been loaded already) in a value.
foreach where {middle value} {
    with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
        test "a damaged checkpoint, in its $where: the older one and more journal" {
            set digest [make_directory]
            set name [newest_checkpoint [server_dir]]
            set path [server_dir]/$name
            set older [server_dir]/[expr {$name eq "checkpoint-a.gdbm" ? "checkpoint-b.gdbm" : "checkpoint-a.gdbm"}]
            if {$where eq "middle"} {
                write_at $path [expr {[file size $path] / 2}] [repeat "\xff" 3000]
            } else {
                write_at $path [string first member:299 [bytes_of $path]] X
            }
            set good [bytes_of $older]
            launch $::current $::server($::current,options)
            assert_equal $digest [r debug digest]
            assert_match "*$name*it isn't used*" [server_log]
            # The next one takes the place of the damaged one, not of the only one that's good.
            r set after damage
            set digest [r debug digest]
            r save
            assert_equal $good [bytes_of $older]
            kill_server
            assert_equal $name [newest_checkpoint [server_dir]]
            launch $::current $::server($::current,options)
            assert_equal $digest [r debug digest]
            assert_equal 1 [regexp -all {it isn't used} [server_log]]
        }
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0 --journal-keep 0 --journal-segment-bytes 4kb} {
    test "the journal from the older checkpoint on is kept, and is enough without the newest" {
        for {set i 0} {$i < 3} {incr i} {
            set begun [info_field ckv_journal_offset]
            r save
            if {$i == 1} { set older $begun }
            for {set n 0} {$n < 30} {incr n} { r set key:$n $i[repeat x 400] }
        }
        set digest [r debug digest]
        wait_until {[info_field ckv_journal_first_offset] == $older}
        kill_server
        write_at [server_dir]/[newest_checkpoint [server_dir]] 0 [repeat "\xff" 3000]
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "a new history doesn't make a checkpoint one of another's: the newest stays as it is" {
        fill
        checkpoint_now
        for {set i 0} {$i < 2} {incr i} { ;# each of the two files is the newest once
            r set round $i
            checkpoint_now
            set newest [server_dir]/[newest_checkpoint [server_dir]]
            set history [info_field master_replid]
            r slaveof 127.0.0.1 1
            r slaveof no one
            assert {[info_field master_replid] ne $history}
            set bytes [bytes_of $newest]
            r set round behind
            checkpoint_now
            assert_equal $bytes [bytes_of $newest]
            r set round more
            checkpoint_now
        }
        set digest [r debug digest]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "both checkpoints damaged, or gone: the journal from its beginning" {
        set digest [make_directory]
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} {
            file delete [server_dir]/$name
        }
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0 --journal-keep 0 --journal-segment-bytes 4kb} {
    test "both checkpoints damaged and the journal cut short: a clear refusal, and nothing is touched" {
        make_directory
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} {
            write_at [server_dir]/$name 0 [repeat "\xff" 4000]
        }
        file delete [lindex [lsort [glob [server_dir]/journal/*]] 0]
        set before [lsort [glob [server_dir]/* [server_dir]/journal/*]]
        lassign [refused_start [server_dir]] status message
        assert_equal 1 $status
        assert_match "*checkpoint-?.gdbm*there's no other checkpoint*" $message
        assert_equal $before [lsort [glob [server_dir]/* [server_dir]/journal/*]]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "a checkpoint that can't even begin has failed: INFO and the log say so until one is made" {
        make_directory
        launch $::current $::server($::current,options)
        r set more 1
        # Else what the sync thread misses may come first, and is then what's said.
        wait_until {[info_field ckv_journal_durable_offset] == [info_field ckv_journal_offset]}
        file rename [server_dir]/journal [server_dir]/aside
        assert_equal ok [info_field rdb_last_bgsave_status]
        foreach command {bgsave save} {
            assert_error "ERR Can't save: journal/*.ckj can't be begun: No such file or directory" {r $command}
            assert_equal err [info_field rdb_last_bgsave_status]
            assert_match "journal/*.ckj can't be begun: No such file*" [info_field ckv_last_checkpoint_error]
        }
        assert_equal 2 [regexp -all {No checkpoint can be made: journal/} [server_log]]
        file rename [server_dir]/aside [server_dir]/journal
        checkpoint_now
        assert_equal "" [info_field ckv_last_checkpoint_error]
        # When it's due, and at a stop.
        file rename [server_dir]/journal [server_dir]/aside
        r config set checkpoint-every 1
        r set more 2
        wait_until {[info_field rdb_last_bgsave_status] eq "err"}
        catch {stop_server}
        file rename [server_dir]/aside [server_dir]/journal
        assert {![string match "*(null)*" [server_log]]}
        launch $::current $::server($::current,options)
        assert_equal 2 [r get more]
    }
}

# What tells it isn't a number in it: all else of the two is the same, to the byte.
with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "a segment of another directory, of the same offset and length, is refused by its history" {
        set id $::current
        r set key own
        kill_server
        set segment journal/[format %020d 0].ckj
        with_server $::server($id,options) {
            r set key its
            kill_server
            file copy -force [server_dir]/$segment $::server($id,dir)/$segment
            launch $::current $::server($::current,options)
        }
        lassign [refused_start [server_dir]] status message
        assert_equal 1 $status
        assert_match "*$segment: it's of history *, not of *" $message
        file delete [server_dir]/$segment
        launch $id $::server($id,options)
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "MANIFEST missing or damaged: a clear refusal" {
        make_directory
        set path [server_dir]/MANIFEST
        file copy $path $path.kept
        file delete $path
        lassign [refused_start [server_dir]] status message
        assert_equal 1 $status
        assert_match "*MANIFEST is missing*ckv check*" $message
        foreach {bytes pattern} {"x" *MANIFEST*damaged* "" *MANIFEST*damaged*} {
            file copy -force $path.kept $path
            if {$bytes eq ""} { close [open $path w] } else { write_at $path 20 $bytes }
            lassign [refused_start [server_dir]] status message
            assert_equal 1 $status
            assert_match $pattern $message
        }
        file delete $path
        file rename $path.kept $path
        launch $::current $::server($::current,options)
        assert_equal checkpoint [r get behind]
    }

    test "too few databases: the start says how many it needs" {
        make_directory
        lassign [refused_start [server_dir] --databases 2] status message
        assert_equal 1 $status
        assert_match "*--databases 4*" $message
        launch $::current $::server($::current,options)
    }

    test "a torn tail of the journal is cut, and said so" {
        make_directory
        set path [lindex [lsort [glob [server_dir]/journal/*]] end]
        set f [open $path a]
        fconfigure $f -translation binary
        puts -nonewline $f "CKVB\x40\x00\x00\x00torn"
        close $f
        launch $::current $::server($::current,options)
        assert_equal checkpoint [r get behind]
        assert_match "*journal's last writes were cut off: history [info_field master_replid] begins at*" [server_log]
        assert_equal [expr {[info_field master_repl_offset] + 1}] [info_field second_repl_offset]
        assert_match "*12 bytes*" [server_log]
        r set more 1
        restart
        assert_equal 1 [r get more]
    }
}

# Launches the server again as if the machine had been started anew meanwhile: the kernel's id of its run is another.
proc relaunch_after_boot {} {
    global server current ckv
    set file [server_dir]/../boot
    set f [open $file w]
    puts $f 01234567-89ab-cdef-0123-456789abcdef
    close $f
    set script [server_dir]/../other-boot
    set f [open $script w]
    puts $f "#!/bin/sh"
    puts $f "mounted='mount --bind $file /proc/sys/kernel/random/boot_id && exec $ckv \"\$@\"'"
    puts $f "exec unshare --mount sh -c \"\$mounted\" sh \"\$@\""
    close $f
    file attributes $script -permissions 0755
    if {[catch {exec $script --version}]} { skip "a mount namespace can't be had here" }
    set kept $ckv
    set ckv $script
    launch $current $server($current,options)
    set ckv $kept
}

with_server {} {
    test "after a power cut it's another history from the end on, after a kill or a clean stop it isn't" {
        r set a 1
        set history [info_field master_replid]
        kill_server
        launch $::current $::server($::current,options)
        assert_equal $history [info_field master_replid]
        r set a 2
        set end [info_field master_repl_offset]
        kill_server
        relaunch_after_boot
        assert {[info_field master_replid] ne $history}
        assert_equal $history [info_field master_replid2]
        assert_equal [expr {$end + 1}] [info_field second_repl_offset]
        assert_equal 2 [r get a]
        set history [info_field master_replid]
        stop_server
        launch $::current $::server($::current,options)
        assert_equal $history [info_field master_replid]
    }
}

with_server {--fsync no} {
    set master $::current
    with_server {} {
        set slave $::current

        test "a slave that has more than its master after a power cut goes back, and has what the master has then" {
            in $master {
                r set k 1
                stop_server
                set kept [server_dir]/kept
                file copy [server_dir]/journal $kept
                launch $master "--fsync no --port $::server($master,port)"
            }
            follow $slave $master
            in $master { r set k lost }
            in $slave { wait_until {[r get k] eq "lost"} }
            in $master {
                set history [info_field master_replid]
                kill_server
                file delete -force [server_dir]/journal
                file rename $kept [server_dir]/journal
                relaunch_after_boot
                r mset k new other [repeat x 1000]
                assert_equal $history [info_field master_replid2]
            }
            in $slave {
                wait_until {[r get other] eq [repeat x 1000]} 15000
                assert_equal new [r get k]
                assert_equal [in $master { r debug digest }] [r debug digest]
                assert_match "*1 commands that the new master doesn't have are in diverged-*" [server_log]
            }
            assert_equal 0 [in $master { info_field sync_full }]
        }
    }
}

with_server {} {
    set master $::current
    with_server {} {
        set slave $::current

        test "a slave that has more than its master, whose files were put back, goes back too" {
            in $master {
                r set k 1
                stop_server
                set kept [server_dir].kept
                file copy [server_dir] $kept
                launch $master "--port $::server($master,port)"
            }
            follow $slave $master
            in $master { r set k lost }
            in $slave { wait_until {[r get k] eq "lost"} }
            in $master {
                set history [info_field master_replid]
                stop_server
                file delete -force [server_dir]
                file rename $kept [server_dir]
                launch $master $::server($master,options)
                if {[info_field master_replid] eq $history} { skip "this file system has no times of birth" }
                r mset k new other [repeat x 1000]
                assert_equal $history [info_field master_replid2]
                assert_match "*The data directory is a copy, or was put back: history*" [server_log]
            }
            in $slave {
                wait_until {[r get other] eq [repeat x 1000]} 15000
                assert_equal new [r get k]
                assert_equal [in $master { r debug digest }] [r debug digest]
            }
            assert_equal 0 [in $master { info_field sync_full }]
            in $slave { r slaveof no one }
        }

        test "a second master on a copy has a history of its own" {
            set kept [in $master { server_dir }].copy
            in $master {
                set history [info_field master_replid]
                stop_server
                file copy [server_dir] $kept
                launch $master $::server($master,options)
                assert_equal $history [info_field master_replid]
            }
            in $slave {
                stop_server
                file delete -force [server_dir]
                file rename $kept [server_dir]
                launch $slave {}
                assert {[info_field master_replid] ne $history}
            }
        }
    }
}

# ---------------------------------------------------------------- no further threads

# A program like ckv, of a user who has no other processes: root may have as many threads as there can be.
proc as_user {} { expr {[exec id -u] eq "0" ? "setpriv --reuid 54321 --clear-groups" : ""} }

proc write_wrapper {path {limited ""}} {
    set f [open $path w 0755]
    puts $f "#!/bin/sh\nexec [as_user] $limited $::ckv \"\$@\""
    close $f
}

proc limit_threads {args} { exec {*}[as_user] prlimit --pid [server_pid] {*}$args }

with_server {} {
    test "where there can be no further threads a start says so, and what runs goes on with those that it has" {
        if {$::sanitized} { skip "sanitizers have threads of their own" }
        foreach n {1 2 3} { r set $n [repeat $n 100000] }
        stop_server
        set program $::ckv
        set dir [server_dir]
        set user $::scratch/user
        write_wrapper $user
        write_wrapper $::scratch/limited {prlimit --nproc=1:}
        file attributes $::scratch -permissions 0711
        if {[exec id -u] eq "0"} { exec chown -R 54321 $dir }
        if {[catch {exec $::scratch/limited --version 2>@1} why]} { skip "no setpriv or prlimit here: $why" }
        foreach tool [list "--dir $dir --port 0" "dump $dir" "check $dir"] {
            set status [catch {exec $::scratch/limited {*}$tool 2>@1} said($tool) details]
            lappend statuses [expr {$status ? [dict get $details -errorcode] : 0}]
        }
        assert_match "*ckv: dir $dir: *(journal*); raise the limit of threads: *" $said(--dir $dir --port 0)
        assert_equal {1 0 0} "[lindex $statuses 0 2] [lrange $statuses 1 end]"
        set ::ckv $user
        try { launch $::current {} } finally { set ::ckv $program }
        set digest [r debug digest]
        r backup create
        wait_until {[string match done* [r backup status]]}
        set id [lindex [r backup status] 1]
        set before [string trim [limit_threads --nproc --output SOFT --noheadings]]
        limit_threads --nproc=1:
        r debug loadaof
        assert_equal $digest [r debug digest]
        r set late 1
        assert_error "*raise the limit of threads*" {r bgsave}
        r rollback $id
        wait_until {![string match running* [r rollback status]]}
        assert_match "failed *raise the limit of threads*" [r rollback status]
        assert_equal 1 [r get late]
        limit_threads --nproc=$before:
        r rollback $id
        wait_until {[string match done* [r rollback status]]}
        assert_equal $digest [r debug digest]
    }
}
