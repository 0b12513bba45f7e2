# backup.tcl: backups, rolling back and clones: on a running server and without one, undone again, to recorded moments;
# the schedule; what is refused.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Every type, and a collection that is kept as pages.
proc fill {{round 0}} {
    r select 0
    r mset str hello:$round int 12345 long [repeat x 5000] empty ""
    r setex later 10000 value
    for {set i 0} {$i < 100} {incr i} {
        r rpush list element:$i:$round
        r hset hash field:$i [repeat v $i]$round
        r sadd set member:$i:$round
        r zadd zset [expr {$i * 1.5}] member:$i:$round
    }
    for {set i 0} {$i < 6000} {incr i 100} {
        set args {}
        for {set j $i} {$j < $i + 100} {incr j} { lappend args field:$j [repeat v 20]:$j:$round }
        r hmset bighash {*}$args
    }
    r select 3
    r set other database:$round
    r select 0
}

# The n-th change: several values, in one transaction.
proc step {n} {
    r multi
    r set steps $n
    r lpush steplist $n
    r hset bighash field:[expr {$n % 6000}] step:$n
    r zadd stepset $n member:$n
    r exec
}

# The first so many of them, all of each, and no other.
proc check_steps {at_least at_most} {
    set n [r get steps]
    assert {$at_least <= $n && $n <= $at_most}
    assert_equal $n [r llen steplist]
    assert_equal $n [r lindex steplist 0]
    assert_equal $n [r zcard stepset]
    assert_equal step:$n [r hget bighash field:[expr {$n % 6000}]]
    set next [r hget bighash field:[expr {($n + 1) % 6000}]]
    assert {[scan $next step:%d m] != 1 || $m <= $n}
}

# Waits for the job; its outcome: "done ID" or "failed WHY".
proc outcome {command} {
    wait_until {![string match "running *" [outcome_now $command]]} 20000
    return [outcome_now $command]
}

# While the data is loaded anew, too.
proc outcome_now {command} { r $command status }

proc backup_now {args} {
    set id [r backup create {*}$args]
    assert_equal "done $id" [outcome backup]
    return $id
}

proc roll_back {args} {
    r rollback {*}$args
    set result [outcome rollback]
    assert_match "done *" $result
    return [lindex $result 1]
}

proc backup_ids {} {
    set ids {}
    foreach line [r backup list] { lappend ids [lindex [split $line] 0] }
    return $ids
}

proc relaunch {} { launch $::current $::server($::current,options) }

proc tool {args} {
    lassign [run_ckv {*}$args] status out err
    if {$status != 0} { fail "ckv $args: status $status: $err" }
    return [string trim $out]
}

proc tool_fails {pattern args} {
    lassign [run_ckv {*}$args] status out err
    assert {$status != 0}
    assert_match $pattern $err
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "BACKUP: create, list, verify, delete" {
        assert_equal idle [r backup status]
        assert_equal {} [r backup list]
        fill
        set id [backup_now "a note"]
        assert_match "20*T*Z" $id
        set line [lindex [r backup list] 0]
        assert_equal $id [lindex [split $line] 0]
        assert_match "* a note" $line
        assert_equal [info_field ckv_journal_offset] [lindex [split $line] 1]
        assert {abs([lindex [split $line] 2] - [clock milliseconds]) < 20000}
        assert_equal 11 [lindex [split $line] 3]
        assert_equal $id [info_field ckv_last_backup_id]
        assert_equal ok [info_field ckv_last_backup_status]
        assert_equal OK [r backup verify $id]
        assert_equal "done $id" [outcome backup]
        set second [backup_now]
        assert_equal [list $id $second] [backup_ids]
        assert_equal OK [r backup delete $id]
        assert_equal "done $id" [outcome backup]
        assert_equal [list $second] [backup_ids]
        assert_equal [list $second] [glob -tails -directory [server_dir]/backups *]
    }

    test "BACKUP and ROLLBACK: what is refused" {
        assert_error "*there's no backup 20000101T000000Z*" {r backup verify 20000101T000000Z}
        assert_error "*there's no backup ../x*" {r backup delete ../x}
        assert_error "*there's no backup .*" {r rollback .}
        assert_error "*not an integer*" {r rollback to yesterday}
        assert_error "ERR Syntax error*" {r rollback to}
        assert_error "ERR Syntax error*" {r backup nonsense}
        assert_error "ERR Syntax error*" {r backup verify}
        assert_error "*a note is one line*" {r backup create "two\nlines"}
        assert_error "*a note is one line*" {r backup create [repeat x 201]}
        foreach note {scheduled "before full sync from me"} {
            assert_error "ERR *note*choose another" {r backup create $note}
            tool_fails "ckv: *note*choose another*" backup create --note $note --dir [server_dir]
        }
        set c [connect]
        r backup create
        assert_error "*in progress*" {r backup create}
        assert_error "*in progress*" {r rollback to 0}
        outcome backup
        r rollback to 1000
        assert_match "failed *can't be reached: what can is from *" [outcome rollback]
        r rollback to 99999999999999
        assert_match "failed *can't be reached: what can is from *" [outcome rollback]
        assert {![file exists [server_dir]/rollback.tmp]}
    }

    test "ROLLBACK to a backup, and back again" {
        fill
        set first [r debug digest]
        set id [backup_now]
        fill 1
        r del list
        set second [r debug digest]
        set before [roll_back $id]
        assert_equal $first [r debug digest]
        r set after rollback
        set third [r debug digest]
        restart
        assert_equal $third [r debug digest]
        assert_equal OK [r backup verify $before]
        assert_equal "done $before" [outcome backup]
        set again [roll_back $before]
        assert_equal $second [r debug digest]
        roll_back $again
        assert_equal $third [r debug digest]
        kill_server
        relaunch
        assert_equal $third [r debug digest]
        assert {![file exists [server_dir]/rollback.tmp] && ![file exists [server_dir]/ROLLBACK]}
    }

    test "a backup under load is the dataset of one moment, behind all that was acknowledged before it" {
        fill
        set step 0
        for {set round 0} {$round < 3} {incr round} {
            r bgsave
            step [incr step]
            set at_least $step
            set id [r backup create]
            while {[string match "running *" [r backup status]]} { step [incr step] }
            set at_most $step
            assert_equal "done $id" [outcome backup]
            assert_equal OK [r backup verify $id]
            assert_equal "done $id" [outcome backup]
            set before [roll_back $id]
            check_steps $at_least $at_most
            roll_back $before
            check_steps $at_most $at_most
        }
    }

    test "killed during rollbacks: what was, or what was gone back to" {
        fill
        set first [r debug digest]
        set id [backup_now]
        fill 1
        r set more [repeat x 100000]
        set second [r debug digest]
        set kept ""
        for {set round 0} {$round < 12} {incr round} {
            set before [r debug digest]
            set ids [backup_ids]
            r rollback [expr {$before eq $first && $kept ne "" ? $kept : $id}]
            after [expr {int(rand() * 60)}]
            kill_server
            relaunch
            set now [r debug digest]
            assert {$now in [list $first $second]}
            if {$before eq $second && $now eq $first} {
                set kept [lindex [lmap one [backup_ids] { if {$one in $ids} continue; set one }] 0]
            }
            assert {![file exists [server_dir]/rollback.tmp] && ![file exists [server_dir]/ROLLBACK]}
            foreach one [backup_ids] {
                r backup verify $one
                assert_equal "done $one" [outcome backup]
            }
        }
    }

    test "check and dump don't judge a directory by what an interrupted rollback has moved so far" {
        fill
        stop_server
        exec touch [server_dir]/ROLLBACK
        foreach tool {check dump {check --repair}} {
            tool_fails "ckv: *ROLLBACK: a rollback was interrupted*ckv backup list*" {*}$tool --dir [server_dir]
        }
        file delete [server_dir]/ROLLBACK
        relaunch
        assert_equal 10 [r dbsize]
    }

    test "behind a rollback, a damaged checkpoint isn't made up for by a journal that doesn't begin at the beginning" {
        fill
        set id [backup_now]
        r set behind backup
        set before [roll_back $id]
        r set behind rollback
        kill_server
        set f [open [server_dir]/checkpoint-a.gdbm r+]
        fconfigure $f -translation binary
        seek $f 20000
        puts -nonewline $f [repeat "\xff" 100000]
        close $f
        lassign [run_ckv --port 0 --dir [server_dir]] status out err
        assert_equal 1 $status
        assert_match "*checkpoint-a.gdbm*ckv rollback ID*" $err
        # What the message says helps.
        tool rollback $before --dir [server_dir]
        relaunch
        assert_equal backup [r get behind]
    }

    test "INFO: the oldest moment that can be reached" {
        r set a 1
        set oldest [info_field ckv_oldest_rollback_time_ms]
        assert {$oldest > 0 && $oldest <= [clock milliseconds]}
        r rollback to $oldest
        assert_match "done *" [outcome rollback]
        r rollback to [expr {$oldest - 1}]
        assert_match "failed *can't be reached*" [outcome rollback]
    }

    test "a moment before 1970 is told as such, and the log names it" {
        r set a 1
        r rollback to -1
        assert_match "failed * (-0.001) can't be reached*" [outcome rollback]
        r rollback to -9223372036854775808
        assert_match "failed *(-9223372036854775.808) can't be reached*" [outcome rollback]
        assert_match "*Rollback to -1 failed: *Rollback to -9223372036854775808 failed: *" [server_log]
    }

    test "a rollback with a WATCH on a key, also on one that only it brings back: EXEC answers nil" {
        r set watched 1
        set id [backup_now]
        foreach there {1 0} {
            if {!$there} { r del watched }
            set c [connect]
            $c watch watched
            roll_back $id
            $c multi
            $c get watched
            assert_equal (nil) [$c exec]
            disconnect $c
        }
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "ROLLBACK TO: moments that were recorded, before and behind backups, and after a rollback" {
        fill
        backup_now
        set moments {}
        for {set i 0} {$i < 8} {incr i} {
            r set step $i
            r hset bighash field:$i step:$i
            r lpush list step:$i
            if {$i == 2} { r bgsave; wait_until {[info_field rdb_bgsave_in_progress] == 0} }
            if {$i == 4} backup_now
            if {$i == 6} { r save }
            after 3
            lappend moments [clock milliseconds] [r debug digest]
            after 3
        }
        foreach {ms digest} $moments {
            set before [roll_back to $ms]
            assert_equal $digest [r debug digest]
            r set only here
            after 3
            roll_back $before
        }
        # What was there, at a moment, is told by the journals of that time, whatever was rolled back since.
        foreach index {3 0 6 2} {
            roll_back to [lindex $moments [expr {2 * $index}]]
            assert_equal [lindex $moments [expr {2 * $index + 1}]] [r debug digest]
            r set step again
        }
        set digest [r debug digest]
        kill_server
        relaunch
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "a backup of what was given up by a rollback leads to no moment after that" {
        r set k kept
        set kept [backup_now]
        r set k given-up
        backup_now
        roll_back $kept
        # Beyond where the stream was that was given up.
        foreach value {1 2 3} { r set k $value[repeat x 100] }
        after 3
        set moment [clock milliseconds]
        set digest [r debug digest]
        after 3
        r set k last
        roll_back to $moment
        assert_equal $digest [r debug digest]
    }
}

with_server {--checkpoint-every 0} {
    set other $::current
    with_server {--checkpoint-every 0} {
        test "a running server isn't rolled back to another directory's backup" {
            r set k ours
            r set l 1
            set id [in $other { r set k theirs; backup_now }]
            file mkdir [server_dir]/backups
            file copy $::server($other,dir)/backups/$id [server_dir]/backups/$id
            r rollback $id
            assert_match "failed it's another directory's backup*" [outcome rollback]
            assert_equal {ours 1} [r mget k l]
            assert {![file exists [server_dir]/rollback.tmp]}
        }
    }
}

with_server {--checkpoint-every 0 --backup-schedule "every 1 second" --backup-keep 2} {
    test "backups by schedule, of which the newest are kept" {
        r set a 1
        set kept [r backup create "not scheduled"]
        wait_until {[llength [r backup list]] >= 3} 10000
        set first [lindex [backup_ids] 1]
        wait_until {$first ni [backup_ids] && [llength [r backup list]] == 3} 10000
        assert {$kept in [backup_ids]}
        assert_match "* scheduled" [lindex [r backup list] end]
        r config set backup-schedule ""
        wait_until {[info_field ckv_backup_in_progress] == 0}
        set ids [backup_ids]
        after 2200
        assert_equal $ids [backup_ids]
    }

    test "a backup that is due doesn't come in the way of an upgrade" {
        set program [file join $::scratch hanging]
        set f [open $program w]
        puts $f "#!/bin/sh\necho $$ >$program.pid\nexec sleep 60"
        close $f
        file attributes $program -permissions 0700
        r config set backup-schedule ""
        wait_until {[info_field ckv_backup_in_progress] == 0}
        send [set c [connect]] upgrade $program
        wait_until {[file exists $program.pid] && [file size $program.pid] > 0}
        r config set backup-schedule "every 1 seconds"
        set ids [backup_ids]
        after 2200
        assert_equal 0 [info_field ckv_backup_in_progress]
        exec kill [exec cat $program.pid]
        assert_error "ERR the upgrade failed*" { recv $c }
        wait_until {$ids ne [backup_ids]}
    }
}

proc listed_with {note} {
    return [llength [lsearch -all -inline -glob [r backup list] "* $note"]]
}

with_server {--checkpoint-every 0 --backup-schedule "every 1 second" --backup-keep 0} {
    test "an export deletes its own backup, whatever backups by schedule come in between" {
        r debug populate 50000
        set scheduled 0
        while {$scheduled < 4} {
            lassign [run_ckv export $::scratch/out.rdb --dir [server_dir]] status out err
            assert_match [expr {$status ? "ckv: *in progress\n" : "50,000 keys were written.\n"}] $err
            set now [listed_with scheduled]
            assert {$now >= $scheduled}
            set scheduled $now
            assert_equal 0 [listed_with "for an export"]
        }
        file delete $::scratch/out.rdb
    }
}

with_server {--checkpoint-every 0 --backup-schedule "every 4 seconds"} {
    test "an interval is counted from the newest backup by schedule, whatever restarts are between" {
        r set a 1
        wait_until {[llength [r backup list]] == 1} 3000 ;# none is there: it's overdue
        set begun [clock milliseconds]
        while {[llength [r backup list]] == 1 && [clock milliseconds] < $begun + 15000} {
            # The server looks once a second, and sees first to what a stop has left of a backup that it cut off: so
            # not just when it looks.
            after 3400
            restart
            set newest [r backup list]
        }
        assert_equal 2 [llength $newest]
        set times [lmap line $newest { clock scan [lindex $line 0] -format %Y%m%dT%H%M%SZ -timezone UTC }]
        assert {[lindex $times 1] - [lindex $times 0] >= 4}
    }
}

# ---------------------------------------------------------------- the tools

# The lines of `ckv backup list`, without its head.
proc listed {args} { return [lrange [split [tool backup list {*}$args] \n] 1 end] }

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0} {
    test "the tools on a running server" {
        set dir [server_dir]
        fill
        set first [r debug digest]
        set id [tool backup create --note "by hand" --dir $dir]
        assert_match "20*T*Z" $id
        assert_match "$id *by hand" [lindex [listed --dir $dir] 0]
        assert_match "$id *by hand" [lindex [listed --port [server_port]] 0]
        assert_match "$id *by hand" [lindex [listed --socket $dir/ckv.sock] 0]
        assert_equal "$id is whole" [tool backup verify $id --dir $dir]
        fill 1
        set second [r debug digest]
        set before [lindex [tool rollback $id --dir $dir] end]
        assert_equal $first [r debug digest]
        tool rollback $before --dir $dir
        assert_equal $second [r debug digest]
        after 5
        set now [clock milliseconds]
        after 5
        r flushall
        tool rollback --to [expr {$now / 1000.0}] --dir $dir
        assert_equal $second [r debug digest]
        r set only here
        set local [clock format [expr {$now / 1000}] -format "%Y-%m-%d %H:%M:%S"]
        tool rollback --to $local.[format %03d [expr {$now % 1000}]] --dir $dir
        assert_equal $second [r debug digest]
        assert_equal "" [tool backup delete $id --dir $dir]
        tool_fails "ckv: there's no backup $id*" backup verify $id --dir $dir
        tool_fails "ckv: there's no backup $id*" rollback $id --dir $dir
        tool_fails "*can't be reached*" rollback --to 1000 --dir $dir
    }

    test "the tools without a server" {
        set dir [server_dir]
        fill
        set first [r debug digest]
        set online [tool backup create --dir $dir]
        fill 1
        set second [r debug digest]
        kill_server
        tool_fails "ckv: the note 'scheduled' is *choose another*" backup create --note scheduled --dir $dir
        set id [tool backup create --note offline --dir $dir]
        assert_equal "$id is whole" [tool backup verify $id --dir $dir]
        set before [lindex [tool rollback $online --dir $dir] end]
        relaunch
        assert_equal $first [r debug digest]
        after 5
        set now [clock milliseconds]
        after 5
        fill 2
        stop_server
        tool rollback $id --dir $dir
        relaunch
        assert_equal $second [r debug digest]
        stop_server
        tool rollback --to [expr {$now / 1000.0}] --dir $dir
        relaunch
        assert_equal $first [r debug digest]
        kill_server
        tool rollback $before --dir $dir
        relaunch
        assert_equal $second [r debug digest]
        stop_server
        assert_equal "" [tool backup delete $id --dir $dir]
        tool_fails "*there's no backup $id*" backup verify $id --dir $dir
        assert_equal "" [tool backup delete $before --dir $dir]
        relaunch
    }

    test "a damaged backup is found, and not gone back to" {
        fill
        set id [tool backup create --dir [server_dir]]
        set path [server_dir]/backups/$id/checkpoint.gdbm
        set f [open $path r+]
        fconfigure $f -translation binary
        seek $f [expr {[file size $path] / 2}]
        puts -nonewline $f [repeat "\xff" 3000]
        close $f
        lassign [run_ckv backup verify $id --dir [server_dir]] status out err
        assert_equal 3 $status
        assert_match "ckv: $path: *" $err
        set digest [r debug digest]
        tool_fails "ckv: *checkpoint*" rollback $id --dir [server_dir]
        assert_equal $digest [r debug digest]
        r set still works
        restart
        assert_equal works [r get still]
        assert {![file exists [server_dir]/rollback.tmp]}
    }

    test "clones, from a backup and from what there is, diverge" {
        fill
        set dir [server_dir]
        set first [r debug digest]
        set id [tool backup create --dir $dir]
        r set behind backup
        set second [r debug digest]
        set backups [backup_ids]
        file mkdir $::scratch/clone.full/something
        tool_fails "*clone.full isn't empty*" clone $id $::scratch/clone.full --dir $dir
        tool_fails "*there's no backup 2000*" clone 2000 $::scratch/clone.none --dir $dir
        tool clone $id $::scratch/clone.id --dir $dir
        tool clone --now $::scratch/clone.now --dir $dir
        tool clone --now $::scratch/clone.again --dir $dir
        assert_match "done *" [r backup status]
        assert_equal $backups [backup_ids]
        kill_server
        tool clone --now $::scratch/clone.off --dir $dir
        relaunch
        set original $::current
        foreach {clone digest} [list id $first now $second off $second] {
            set id clone.$clone
            set ::server($id,dir) $::scratch/$id
            set ::server($id,log) $::scratch/$id.log
            launch $id {--checkpoint-every 0}
            assert_equal $digest [r debug digest]
            r set who $clone
            restart
            assert_equal $clone [r get who]
            assert_equal backup [expr {$clone eq "id" ? "backup" : [r get behind]}]
            stop_server
            set ::current $original
            assert_equal (nil) [r get who]
        }
        assert_equal $second [r debug digest]
        set ids {}
        foreach name {id now off} {
            set f [open $::scratch/clone.$name/MANIFEST]
            regexp {instance=(\w+)\nhistory=(\w+)\n} [read $f] -> instance history
            close $f
            lappend ids $instance $history
        }
        assert_equal 6 [llength [lsort -unique $ids]]
    }

    test "a clone that was killed is begun anew; nothing else is touched for one, and no server starts on it" {
        fill
        set id [tool backup create --dir [server_dir]]
        set to $::scratch/clone.killed
        set clone [list clone $id $to --dir [server_dir]]
        # The kernel ends it in its first file, which is longer. (-c 0: no core.)
        catch {exec bash -c "ulimit -c 0 -f 1; exec $::ckv $clone" 2>@1}
        assert {[file exists $to/clone.tmp] && ![file exists $to/MANIFEST]}
        foreach {tool} [list "--port 0 --dir $to" "check $to" "dump $to"] {
            tool_fails "ckv: *$to*is a clone that isn't complete; make it by the same ckv clone again, or delete it*" \
                {*}$tool
        }
        foreach path [list $to/mine $to/journal/mine] {
            file mkdir [file dirname $path]
            close [open $path w]
            tool_fails "*$to isn't empty, and * in it isn't from a clone*" {*}$clone
            assert {[file exists $path] && [file exists $to/clone.tmp]}
            file delete $path
        }
        file delete $to/journal
        file mkdir $::scratch/others
        close [open $::scratch/others/1.ckj w]
        file link -symbolic $to/journal $::scratch/others
        tool_fails "*$to isn't empty, and journal in it isn't from a clone*" {*}$clone
        assert {[file exists $::scratch/others/1.ckj]}
        file delete $to/journal
        tool {*}$clone
        assert_equal {MANIFEST checkpoint-a.gdbm ckv.lock journal} [lsort [glob -tails -directory $to *]]
        tool check $to
        tool_fails "*$to isn't empty*" {*}$clone
    }

    test "export reads a backup of the server that is named, and names the file that it was given" {
        fill
        set id [tool backup create --dir [server_dir]]
        r flushall
        foreach place [list "--dir [server_dir]" "--port [server_port]" "--socket [server_dir]/ckv.sock"] {
            lassign [run_ckv export $::scratch/out.rdb --backup $id {*}$place] status out err
            assert_equal "0 {11 keys were written.\n}" "$status {$err}"
            file delete $::scratch/out.rdb
            tool_fails "ckv: there's no backup 2000; *ckv backup list\n" \
                export $::scratch/out.rdb --backup 2000 {*}$place
            tool_fails "ckv: $::scratch/none/out.rdb: No such file or directory\n" \
                export $::scratch/none/out.rdb {*}$place
        }
        assert {![file exists $::scratch/out.rdb]}
        tool_fails "ckv: there's no backup 2000; *ckv backup list\n" dump --backup 2000 --dir [server_dir]
        tool_fails "ckv: $::scratch/none/MANIFEST is missing; *--dir\n" dump $::scratch/none
    }

    test "list and verify tell what is damaged from what can't be read, of a running server's, too" {
        set good [tool backup create --dir [server_dir]]
        set bad [tool backup create --dir [server_dir]]
        set checkpoint [server_dir]/backups/$good/checkpoint.gdbm
        set f [open [server_dir]/backups/$bad/MANIFEST a]
        puts $f x
        close $f
        foreach running {yes no} {
            lassign [run_ckv backup list --dir [server_dir]] status out err
            assert_match "3 *$good*ckv: *$bad/MANIFEST is damaged*" "$status $out$err"
            lassign [run_ckv backup verify $bad --dir [server_dir]] status out err
            assert_match "3 ckv: *$bad/MANIFEST is damaged*" "$status $err"
            assert_equal 1 [lindex [run_ckv backup verify 2000 --dir [server_dir]] 0]
            file rename $checkpoint $checkpoint.away
            exec ln -s [file tail $checkpoint] $checkpoint ;# to itself: it can't be opened
            lassign [run_ckv backup verify $good --dir [server_dir]] status out err
            assert_match "1 ckv: *$good/checkpoint.gdbm: Too many levels of symbolic links*" "$status $err"
            file delete $checkpoint
            file rename $checkpoint.away $checkpoint
            assert_equal "$good is whole" [tool backup verify $good --dir [server_dir]]
            if {$running} { stop_server }
        }
        file rename [server_dir]/backups [server_dir]/away
        close [open [server_dir]/backups w] ;# which is no directory
        assert_equal 1 [lindex [run_ckv backup list --dir [server_dir]] 0]
        file delete [server_dir]/backups
        file rename [server_dir]/away [server_dir]/backups
        tool backup delete $bad --dir [server_dir]
        relaunch
    }

    test "export writes into a pipe, and behind a link" {
        fill
        lassign [run_ckv export $::scratch/out.rdb --dir [server_dir]]
        set bytes [file size $::scratch/out.rdb]
        exec mkfifo $::scratch/pipe
        set read [open "|timeout 10 cat $::scratch/pipe | wc -c"]
        lassign [run_ckv export $::scratch/pipe --dir [server_dir]] status out err
        if {$status != 0 || [file type $::scratch/pipe] ne "fifo"} { fail "status $status, $err" }
        assert {[gets $read] > $bytes - 50}
        close $read
        file delete $::scratch/out.rdb $::scratch/pipe
        close [open $::scratch/out.rdb w]
        file link -symbolic $::scratch/link.rdb $::scratch/out.rdb
        assert_equal 0 [lindex [run_ckv export $::scratch/link.rdb --dir [server_dir]] 0]
        assert_equal link [file type $::scratch/link.rdb]
        assert {[file size $::scratch/out.rdb] > $bytes - 50}
        file delete $::scratch/out.rdb $::scratch/link.rdb
    }

    test "backups on another file system: no rollback and no full sync begins, since neither could be ended" {
        set elsewhere /dev/shm/ckv-e2e-[pid]
        if {[catch { file mkdir $elsewhere }]} { skip "there's no /dev/shm" }
        file stat $elsewhere its
        file stat [server_dir] ours
        try {
            if {$its(dev) == $ours(dev)} { skip "/dev/shm is no other file system" }
            file delete -force [server_dir]/backups
            file link -symbolic [server_dir]/backups $elsewhere
            fill
            set id [backup_now]
            r set after backup
            set digest [r debug digest]
            r rollback $id
            assert_match "failed *backups is mounted, or links elsewhere*plain directory" [outcome rollback]
            set slave $::current
            set master [start_server {}]
            set ::current $slave
            follow $slave $master
            wait_until {[string match "*backups is mounted, or links elsewhere*" [info_field ckv_sync_error]]}
            r slaveof no one
            in $master { stop_server }
            assert_equal $digest [r debug digest]
            stop_server
            tool_fails "ckv: *backups is mounted, or links elsewhere*" rollback $id --dir [server_dir]
            relaunch
            assert_equal $digest [r debug digest]
            file delete [server_dir]/backups
        } finally {
            file delete -force $elsewhere
        }
    }

    test "a journal that is a link: no rollback begins, since it would move the link away from its files" {
        fill
        set id [backup_now]
        stop_server
        file rename [server_dir]/journal [server_dir]/aside
        file link -symbolic [server_dir]/journal aside
        relaunch
        r set after backup
        r rollback $id
        assert_match "failed *journal is mounted, or links elsewhere*plain directory" [outcome rollback]
        assert_equal backup [r get after]
        stop_server
        file delete [server_dir]/journal
        file rename [server_dir]/aside [server_dir]/journal
        relaunch
        set before [roll_back $id]
        assert_equal (nil) [r get after]
        roll_back $before
        assert_equal backup [r get after]
    }

    test "the tools' usage" {
        foreach line {{backup} {backup nonsense} {backup verify} {backup create x} {rollback} {rollback a b}
                {rollback a --to 1} {rollback --to yesterday} {clone} {clone a} {clone --now a b} {backup --nonsense}} {
            lassign [run_ckv {*}$line --dir [server_dir]] status out err
            assert_equal "2 $line" "$status $line"
            assert {[llength [split [string trim $err] \n]] == 1}
        }
        lassign [run_ckv backup list --dir $::scratch/nowhere] status out err
        assert_equal 1 $status
        assert_match "ckv: *nowhere/MANIFEST: No such file or directory*" $err
    }

    test "what can't be printed is an error, for each tool" {
        set id [tool backup create --dir [server_dir]]
        foreach line [list {backup list} {backup create} "backup verify $id" "clone --now $::scratch/full" \
                {backup --help} {clone --help} --help --version --man] {
            set where [expr {[string match -* [lindex $line end]] ? {} : "--dir [server_dir]"}]
            set code [catch {exec $::ckv {*}$line {*}$where >/dev/full} message details]
            assert_equal "$line 1" "$line [lindex [dict get $details -errorcode] 2]"
            assert_match "ckv: standard output: No space left on device*" $message
        }
    }

    test "backup list has no head when there's nothing to list because it failed" {
        set id [lindex [backup_ids] 0]
        set f [open [server_dir]/backups/$id/MANIFEST]
        set whole [read $f]
        close $f
        foreach other [lrange [backup_ids] 1 end] { tool backup delete $other --dir [server_dir] }
        stop_server
        set f [open [server_dir]/backups/$id/MANIFEST w]
        puts $f nonsense
        close $f
        lassign [run_ckv backup list --dir [server_dir]] status out err
        assert_equal "3 {}" "$status {$out}"
        assert_match "ckv: *$id/MANIFEST*" $err
        set f [open [server_dir]/backups/$id/MANIFEST w]
        puts -nonewline $f $whole
        close $f
        assert_equal 2 [llength [split [tool backup list --dir [server_dir]] \n]]
        relaunch
    }

    test "the tools' port is checked, and only one place can be named" {
        set tools [list {backup list} {rollback x} "clone --now $::scratch/new" "import $::scratch/x.rdb" \
            "export $::scratch/x.rdb" upgrade]
        foreach tool $tools {
            foreach port {0 -1 65536 70000 x {} 6379x} {
                lassign [run_ckv {*}$tool --port $port] status out err
                assert_equal "2 {}" "$status {$out}"
                assert_match "ckv [lindex $tool 0]: --port $port: *whole number from 1 to 65535; see *" $err
            }
            set places [list "--dir [server_dir]" "--port [server_port]" "--socket [server_dir]/ckv.sock"]
            foreach {one other} {0 1 0 2 1 2} {
                lassign [run_ckv {*}$tool {*}[lindex $places $one] {*}[lindex $places $other]] status out err
                assert_equal "2 {}" "$status {$out}"
                assert_match "ckv [lindex $tool 0]: only one of --dir, --socket and --port *" $err
            }
            assert_match "*--dir=DIR * ./data\n*" [lindex [run_ckv [lindex $tool 0] --help] 1]
        }
        # What would be taken for port [server_port] modulo 65536.
        lassign [run_ckv backup list --port [expr {[server_port] + 65536}]] status
        assert_equal 2 $status
    }
}

with_server {--admin-plane auth --requirepass me:secret --admin-password root} {
    test "the tools by port need the admin password" {
        lassign [run_ckv backup create --port [server_port]] status out err
        assert_equal 1 $status
        assert_match "ckv: port *: it asks for a password; give the admin-password*REDISCLI_AUTH*" $err
        assert_equal "" [lindex [run_ckv backup list --port [server_port]] 1]
        lassign [run_ckv backup create --port [server_port] --password nonsense] status out err
        assert_equal 1 $status
        assert_match "ckv: port [server_port]: AUTH was refused (invalid password); *--password*ckv.sock*--socket*" $err
        set id [tool backup create --port [server_port] --password root]
        assert_match "$id *" [lindex [listed --port [server_port] --password root] 0]
        assert_match "$id *" [lindex [listed --dir [server_dir]] 0]
        set c [connect]
        $c auth me:secret
        assert_error "ERR unknown command*" {$c backup list}
        assert_error "ERR unknown command*" {$c rollback to 1}
    }

    test "the tools log in as redis-cli does, by its variable; by the operator's socket without" {
        set port "backup list --port [server_port]"
        with_redis_auth admin:root { assert_equal "0 {}" [lreplace [run_ckv {*}$port] 1 1] }
        with_redis_auth me:secret { tool_fails "ckv: port *: that is for operators; *REDISCLI_AUTH*" {*}$port }
        with_redis_auth nonsense {
            lassign [run_ckv {*}$port] status out err
            assert_match "1 ckv: port *: AUTH by REDISCLI_AUTH was refused (invalid password)\n*asks for a password*" \
                "$status $err"
            foreach place [list "--dir [server_dir]" "--socket [server_dir]/ckv.sock"] {
                assert_equal "0 {}" [lreplace [run_ckv backup list {*}$place] 1 1]
            }
        }
    }
}

with_server {--admin-plane auth --admin-password root} {
    test "the tools by port, where only the operator needs a password" {
        with_redis_auth admin:root { assert_equal "0 {}" [lreplace [run_ckv backup list --port [server_port]] 1 1] }
    }
}

with_server {--admin-plane auth} {
    test "the tools by port, of a server without an admin password" {
        tool_fails "ckv: port [server_port]: that is for operators; *--password*ckv.sock*--socket*" \
            backup list --port [server_port]
        tool_fails "ckv: port [server_port]: AUTH was refused (*no password is set); *--password*ckv.sock*--socket*" \
            backup list --port [server_port] --password root
        assert_equal {} [listed --dir [server_dir]]
    }
}

with_server {} {
    test "the tools, where no ckv is" {
        set path $::scratch/redis.sock
        exec redis-server --port 0 --unixsocket $path --dir $::scratch --save {} >$::scratch/redis.log 2>@1 &
        wait_until {[file exists $path]}
        set failed [catch {
            tool_fails "ckv: $path: that's no ckv; it says: unknown command*" backup list --socket $path
        } why]
        catch {exec redis-cli -s $path shutdown nosave}
        if {$failed} { fail $why }
        tool_fails "ckv: $::scratch/none: No such file*; name a running*" backup list --socket $::scratch/none
        set port [server_port]
        stop_server
        tool_fails "ckv: port $port: Connection refused; name a running*" backup list --port $port
        relaunch
    }

    test "the tools don't wait for a server that doesn't answer" {
        exec kill -STOP [server_pid]
        set failed [catch {
            tool_fails "ckv: [server_dir]/ckv.sock: the server hasn't answered for *" backup list --dir [server_dir]
        } why]
        exec kill -CONT [server_pid]
        if {$failed} { fail $why }
        assert_equal {} [listed --dir [server_dir]]
    }
}

with_server {--persistence no} {
    test "persistence no: no backups" {
        assert_error "ERR persistence is off" {r backup create}
        assert_error "ERR persistence is off" {r rollback to 1}
        assert_equal {} [r backup list]
    }
}

with_server {--checkpoint-every 0} {
    test "a backup waits while a checkpoint is copied for a slave" {
        r debug populate 100000
        set c [connect]
        send $c sync
        wait_until {[info_field rdb_bgsave_in_progress] || [string match "*snapshot for slaves*" [server_log]]}
        backup_now
        assert_equal 1 [llength [backup_ids]]
        disconnect $c
    }
}

with_server {--checkpoint-every 0} {
    test "a start removes what a killed server has half made or half deleted in backups/, and nothing else" {
        r set a 1
        set id [backup_now]
        kill_server
        set left [server_dir]/backups/.20200101T000000Z.tmp
        file mkdir $left/journal
        close [open $left/journal/00000000000000000000.ckj w]
        close [open $left/checkpoint.gdbm w]
        relaunch
        wait_until {![file exists $left]}
        assert_equal $id [backup_ids]
        assert_equal idle [outcome backup]
    }
}

# A rollback that doesn't get on, since the backup's checkpoint is a pipe that nobody writes into. Runs the body
# meanwhile.
proc while_rolling_back {id body} {
    set file [server_dir]/backups/$id/checkpoint.gdbm
    file rename $file $file.kept
    exec mkfifo $file
    uplevel 1 $body
    exec timeout 10 sh -c ": >$file"
    wait_until {![string match "running *" [r rollback status]]}
    file delete $file
    file rename $file.kept $file
}

proc segments {} { lsort [glob -tails -directory [server_dir]/journal *.ckj] }

with_server {--checkpoint-every 0 --journal-keep 0 --journal-keep-bytes 0} {
    test "what a rollback reads isn't written over or deleted, also by a checkpoint that was begun before" {
        foreach value {1 2} {
            r set k $value
            set id [backup_now]
        }
        wait_until {[llength [segments]] == 2}
        r set k 3
        set before [segments]
        r multi
        r bgsave
        r rollback $id
        while_rolling_back $id {
            r exec
            wait_until {[info_field rdb_bgsave_in_progress] == 0}
            after 100
            assert_equal {} [lmap one $before { if {$one in [segments]} continue; set one }]
            assert_error "ERR *a checkpoint is being copied*" {r bgsave}
            assert_match "running *" [r rollback status]
        }
        r set k 4
        checkpoint_now
        wait_until {[llength [segments]] == 2}
    }

    test "no checkpoint is begun while a backup is made" {
        for {set i 0} {$i < 5} {incr i} {
            r debug populate 20000 $i
            r backup create
            for {set status running} {[string match "running*" $status]} {} {
                r multi
                r bgsave
                r backup status
                lassign [r exec] save status
                assert {![string match "running*" $status] || [string match "-ERR*" $save]}
            }
            wait_until {[info_field rdb_bgsave_in_progress] == 0}
        }
    }
}
