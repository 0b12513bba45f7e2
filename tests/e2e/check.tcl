# check.tcl: ckv check, its repairs, and ckv dump: each kind of damage, what is said of it, and what a start has after a
# repair.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# Every type, every way of holding it, lifetimes, several databases.
proc fill {} {
    r select 0
    r mset str hello int 12345 long [repeat x 70000] empty "" "odd \r\n key" "\x00\xff"
    r setex soon 10000 value
    for {set i 0} {$i < 300} {incr i} {
        r rpush list element:$i
        r hset hash field:$i [repeat v $i]
        r sadd set member:$i
        r zadd zset [expr {$i / 3.0}] member:$i
    }
    r rpush smalllist a b 3
    r sadd ints 1 2 -3
    r sadd smallset a b 3
    r hmset smallhash a 1 b 2
    r zadd smallzset 1 a 2.5 b -inf c 1e300 d 0.1 e
    r pexpire smallhash 50000000
    r pfadd hll a b c
    r select 3
    r set other database
    r select 0
}

proc run_in {db args} {
    r select $db
    set reply [r {*}$args]
    r select 0
    return $reply
}

# Two checkpoints and some journal behind each; the digest.
proc make_directory {} {
    fill
    checkpoint_now
    r set second checkpoint
    checkpoint_now
    foreach i {1 2 3} { r set behind $i }
    set digest [r debug digest]
    kill_server
    return $digest
}

proc write_at {path offset bytes} {
    set f [open $path r+]
    fconfigure $f -translation binary
    seek $f $offset
    puts -nonewline $f $bytes
    close $f
}

proc append_to {path bytes} {
    set f [open $path a]
    fconfigure $f -translation binary
    puts -nonewline $f $bytes
    close $f
}

proc checkpoint_offset {name} {
    set f [open [server_dir]/MANIFEST]
    set text [read $f]
    close $f
    regexp "\\\[[file rootname $name]\\\].*?offset=(\\d+)\n" $text -> offset
    return $offset
}

proc newest_checkpoint {} {
    return [expr {[checkpoint_offset checkpoint-a.gdbm] > [checkpoint_offset checkpoint-b.gdbm]
                      ? "checkpoint-a.gdbm" : "checkpoint-b.gdbm"}]
}
proc older_checkpoint {} {
    return [expr {[newest_checkpoint] eq "checkpoint-a.gdbm" ? "checkpoint-b.gdbm" : "checkpoint-a.gdbm"}]
}

# Overwrites the middle of a checkpoint.
proc damage_checkpoint {name} {
    set path [server_dir]/$name
    write_at $path [expr {[file size $path] / 2}] [repeat "\xff" 3000]
}

proc segments {} { lsort [glob -nocomplain [server_dir]/journal/*.ckj] }

# The names and bytes of all files that matter.
proc snapshot {} {
    set all {}
    foreach path [lsort [glob -nocomplain [server_dir]/* [server_dir]/journal/* [server_dir]/lost/*/*]] {
        if {[file type $path] ne "file"} continue
        set f [open $path rb]
        lappend all $path [zlib crc32 [read $f]]
        close $f
    }
    return $all
}

# Checks the server's directory: {status output}.
proc check {args} {
    lassign [run_ckv check [server_dir] {*}$args] status out err
    return [list $status $out$err]
}

# Damage is found (and nothing touched), each pattern is said, and after --repair all is well and a start has `digest`.
proc assert_repairs {digest args} {
    set before [snapshot]
    lassign [check] status text
    assert_equal 3 $status
    foreach pattern $args { assert_match $pattern $text }
    assert_match "*--repair would*" $text
    assert_equal $before [snapshot]
    lassign [check --repair] status text
    assert_equal 0 $status
    assert_match "*Done*" $text
    lassign [check] status text
    assert_equal 0 $status
    launch $::current $::server($::current,options)
    if {$digest ne ""} { assert_equal $digest [r debug digest] }
}

set options {--checkpoint-every 0 --checkpoint-journal-bytes 0}

with_server $options {
    test "a directory without damage" {
        make_directory
        lassign [check] status text
        assert_equal 0 $status
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} { assert_match "*$name: ok, * records, * keys*" $text }
        assert_match "*MANIFEST: ok*journal/*: ok, *A start would load [newest_checkpoint]*" $text
        assert_equal [list $status $text] [check --repair]
        lassign [run_ckv check --dir [server_dir]] status text
        assert_equal 0 $status
        launch $::current $::server($::current,options)
    }

    test "while a server runs" {
        set before [snapshot]
        lassign [check --repair] status text
        assert_equal 1 $status
        assert_match "*a server is using this directory*" $text
        lassign [run_ckv dump [server_dir]] status out err
        assert_equal 1 $status
        assert_match "*--backup ID*" $err
        assert_equal $before [snapshot]
    }

    test "usage" {
        lassign [run_ckv check a b] status
        assert_equal 2 $status
        lassign [run_ckv check --nonsense] status
        assert_equal 2 $status
        lassign [run_ckv dump --backup ../x] status
        assert_equal 2 $status
        lassign [run_ckv check $::scratch/none] status out err
        assert_equal 1 $status
        assert_match "*no data here*" $err
        foreach tool {check dump} {
            lassign [run_ckv $tool --help] status out
            assert_equal 0 $status
            assert_match "*Exit status*" $out
        }
    }
}

with_server $options {
    test "the newest checkpoint damaged" {
        set digest [make_directory]
        damage_checkpoint [newest_checkpoint]
        set name [newest_checkpoint]
        assert_repairs $digest "*$name: PROBLEM:*" "*A start would load [older_checkpoint]*" \
            "*take out of MANIFEST: $name*"
        assert {[file exists [glob [server_dir]/lost/*/$name]]}
    }

    test "a file that can't be read isn't damaged: nothing is touched" {
        kill_server
        if {[exec id -u] == 0} {
            close [open [server_dir]/journal/odd.ckj w]
            set pattern "*odd.ckj*no name of a segment*Nothing was changed*"
        } else {
            file attributes [lindex [segments] end] -permissions 0
            set pattern "*Permission denied*Nothing was changed*"
        }
        set names [glob [server_dir]/* [server_dir]/journal/*]
        lassign [check --repair] status text
        assert_equal 1 $status
        assert_match $pattern $text
        assert_equal $names [glob [server_dir]/* [server_dir]/journal/*]
        file delete [server_dir]/journal/odd.ckj
        file attributes [lindex [segments] end] -permissions 0600
        launch $::current $::server($::current,options)
    }
}

with_server $options {
    test "a checkpoint of which a start needs every record that is whole is kept while it's needed" {
        set digest [make_directory]
        set path [server_dir]/[newest_checkpoint]
        set f [open $path rb]
        write_at $path [expr {[string first "version=2\nsecret=" [read $f]] + 30}] "x"
        close $f
        write_at [lindex [segments] 0] 100 "\xff"
        file delete [format %s/journal/%020d.ckj [server_dir] [checkpoint_offset [older_checkpoint]]]
        lassign [check --repair] status text
        assert_equal 3 $status
        assert_match "*record ckv is damaged; it can be loaded*would load [newest_checkpoint]*stays as it is*" $text
        lassign [check] status text
        assert_equal 3 $status
        assert_match "*nothing to repair*" $text
        launch $::current $::server($::current,options)
        assert_equal $digest [r debug digest]
        foreach i {1 2} {
            r set more $i
            checkpoint_now
        }
        kill_server
        assert_equal 0 [lindex [check] 0]
        launch $::current $::server($::current,options)
    }
}

with_server $options {
    test "both checkpoints damaged: the journal from its beginning" {
        set digest [make_directory]
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} { damage_checkpoint $name }
        assert_repairs $digest "*load: the journal from its beginning*"
        assert_equal 2 [llength [glob [server_dir]/lost/*/*.gdbm]]
    }
}

with_server {--checkpoint-every 0 --checkpoint-journal-bytes 0 --journal-keep 0 --journal-segment-bytes 4kb} {
    test "both checkpoints damaged and no beginning of the journal: nothing is touched" {
        make_directory
        foreach name {checkpoint-a.gdbm checkpoint-b.gdbm} { damage_checkpoint $name }
        file delete [lindex [segments] 0]
        set before [snapshot]
        lassign [check --repair] status text
        assert_equal 1 $status
        assert_match "*nothing whole is left*Nothing was changed*" $text
        assert_equal $before [snapshot]
    }
}

with_server $options {
    test "a torn tail" {
        set digest [make_directory]
        append_to [lindex [segments] end] "CKVB\x40\x00\x00\x00torn"
        assert_repairs $digest "*there's no whole batch, but 12 bytes*" "*cut the journal*12 bytes*" \
            "*A start would load [newest_checkpoint]*"
        assert_equal 1 [llength [glob [server_dir]/lost/*/*.ckj]]
    }
}

# Damages the second of the three batches of equal size behind the newest checkpoint.
proc make_hole {} {
    make_directory
    set path [lindex [segments] end]
    set size [expr {([file size $path] - 64) / 3}]
    write_at $path [expr {64 + $size + 45}] "\xff"
}

with_server [concat $options --fsync always] {
    test "damage in the journal behind the newest checkpoint: what follows is lost, and said" {
        make_hole
        assert_repairs "" "*A start would refuse*" "*1 whole batches follow*" "*Lost: *with 1 whole batches of *"
        assert_equal 1 [r get behind]
        assert_equal 300 [r llen list]
        assert_equal database [run_in 3 get other]
    }
}

with_server [concat $options --fsync no] {
    test "a hole in what was never synced: the start cuts there, and so does the repair" {
        make_hole
        set kept $::scratch/kept.ckj
        set path [lindex [segments] end]
        file copy $path $kept
        assert_repairs "" "*1 whole batches follow, which were never synced*" "*A start would load*" \
            "*a start does the same*"
        assert_equal 1 [r get behind]
        kill_server
        file delete [lindex [segments] end] ;# of the history that began with the repair
        file copy -force $kept $path
        launch $::current $::server($::current,options)
        assert_equal 1 [r get behind]
        assert_match "*bytes behind offset * that were never synced are removed (*were never synced*" [server_log]
        r set more 1
        restart
        assert_equal 1 [r get more]
        assert_equal 1 [r get behind]
    }
}

with_server [concat $options {--fsync always --journal-segment-bytes 4kb}] {
    test "the last segment of the journal is missing: the one before it says so" {
        make_directory
        launch $::current $::server($::current,options)
        foreach i {1 2 3 4} { r set big$i [repeat x 5000] }
        r set last 1
        kill_server
        set last [lindex [segments] end]
        file delete $last
        lassign [run_ckv --port 0 --dir [server_dir]] status out message
        assert_equal 1 $status
        assert_match "*the segment that follows, journal/[file tail $last], is missing; run: ckv check*" $message
        set before [segments]
        assert_repairs "" "*is missing*A start would refuse*" "*cut the journal*what was in the missing segment*"
        # Behind them is that of the history that begins where the journal was cut.
        assert_equal $before [lrange [segments] 0 end-1]
        assert_match "*The data was repaired: history [info_field master_replid] begins*" [server_log]
        assert_equal 3 [r get behind]
    }
}

with_server $options {
    test "damage in the journal between the checkpoints: no data is lost" {
        set digest [make_directory]
        set path [format %s/journal/%020d.ckj [server_dir] [checkpoint_offset [older_checkpoint]]]
        write_at $path 100 "\xff\xff"
        assert_repairs $digest "*A start would load [newest_checkpoint]*" "*No data is lost*"
    }
}

with_server $options {
    test "the newest checkpoint and the journal behind it damaged: the longest way is taken" {
        make_directory
        damage_checkpoint [newest_checkpoint]
        set path [lindex [segments] end]
        write_at $path [expr {[file size $path] - 3}] "\xff"
        assert_repairs "" "*load: [older_checkpoint]*"
        assert_equal 2 [r get behind]
        assert_equal checkpoint [r get second]
    }
}

with_server $options {
    test "a segment of the journal is missing" {
        make_directory
        damage_checkpoint [newest_checkpoint]
        set path [format %s/journal/%020d.ckj [server_dir] [checkpoint_offset [older_checkpoint]]]
        file delete $path
        assert_repairs "" "*A start would refuse*" "*cut the journal*"
        assert_equal (nil) [r get second]
        assert_equal 300 [r llen list]
    }
}

# How many backups the directory has.
proc backup_count {} { llength [glob -nocomplain [server_dir]/backups/*] }

with_server $options {
    test "no segment begins at the newest checkpoint: who would load it refuses, and a repair gives up the rest" {
        foreach lost {journal journal/*} {
            make_directory
            file delete -force {*}[glob [server_dir]/$lost]
            set pattern "*journal/[format %020d [checkpoint_offset [newest_checkpoint]]].ckj is missing*"
            set before [snapshot]
            foreach tool [list [list --port 0 --dir [server_dir]] [list dump [server_dir]] \
                    [list backup create --dir [server_dir]] [list clone --now $::scratch/clone --dir [server_dir]] \
                    [list rollback --to [expr {[clock milliseconds] / 1000.0}] --dir [server_dir]]] {
                lassign [run_ckv {*}$tool] status out err
                assert_equal 1 $status
                assert_match "$pattern--repair*" $err
                assert_equal "" [string trim [regsub -all -line {^\d+:M .*$} $out ""]]
            }
            assert_equal $before [snapshot]
            assert_equal 0 [backup_count]
            assert {![file exists $::scratch/clone]}
            assert_repairs "" "*PROBLEM: no segment begins at offset*[newest_checkpoint]*can't be fallen back to*" \
                "*A start would refuse this directory: *is missing*" \
                "*begin the journal anew*Lost: whatever was written*"
            assert_equal checkpoint [r get second]
            assert_equal (nil) [r get behind]
            assert_match "*: history [info_field master_replid] begins at*" [server_log]
            r set more 1
            restart
            assert_equal 1 [r get more]
        }
    }

    test "only the segment that begins at the newest checkpoint is gone, and no seal tells of it" {
        make_directory
        file delete [lindex [segments] end]
        set f [open [lindex [segments] end] r+]
        fconfigure $f -translation binary
        seek $f -40 end
        assert_equal CKVF [read $f 4]
        chan truncate $f [expr {[tell $f] - 4}]
        close $f
        lassign [run_ckv dump [server_dir]] status out
        assert_equal 1 $status
        assert_equal "" $out
        assert_repairs "" "*PROBLEM: no segment begins at offset*" "*A start would refuse this directory*" \
            "*begin the journal anew*"
        assert_equal checkpoint [r get second]
    }
}

with_server $options {
    test "MANIFEST missing, or damaged: made anew from the files" {
        fill_big
        set digest [make_directory]
        file delete [server_dir]/MANIFEST
        assert_repairs $digest "*MANIFEST is missing*" "*make a new MANIFEST*the checkpoints that are whole*"
        kill_server
        write_at [server_dir]/MANIFEST 30 "x"
        assert_repairs $digest "*MANIFEST: PROBLEM:*damaged*"
        kill_server
        file delete [server_dir]/MANIFEST
        damage_checkpoint checkpoint-a.gdbm
        assert_repairs $digest "*checkpoint-a.gdbm: PROBLEM*" "*make a new MANIFEST*"
        assert_equal 3 [r get behind]
    }
}

with_server $options {
    test "MANIFEST missing with nothing but a journal from the beginning" {
        fill
        set digest [r debug digest]
        kill_server
        file delete [server_dir]/MANIFEST
        assert_repairs $digest "*make a new MANIFEST*no checkpoint*"
        r set more 1
        restart
        assert_equal 1 [r get more]
    }

    test "a MANIFEST of a version to come is refused, not repaired" {
        fill
        kill_server
        file rename [server_dir]/MANIFEST [server_dir]/kept
        append_to [server_dir]/MANIFEST "\[ckv\]\nversion=3\nchecksum=00885c87372a71a0\n"
        set before [snapshot]
        lassign [check --repair] status text
        assert_equal 1 $status
        assert_match "*has version 3*use that one. Nothing was changed*" $text
        assert_equal $before [snapshot]
        file rename -force [server_dir]/kept [server_dir]/MANIFEST
        launch $::current $::server($::current,options)
        assert_equal 300 [r llen list]
    }
}

with_server $options {
    test "a backup is verified, and never repaired" {
        make_directory
        set backup [server_dir]/backups/20260101T000000Z
        file mkdir $backup
        file copy [server_dir]/MANIFEST $backup
        lassign [check] status text
        assert_equal 3 $status
        assert_match "*backups/20260101T000000Z/*PROBLEM*aren't repaired*" $text
        lassign [check --repair] status text
        assert_equal 3 $status
        file delete -force $backup
        launch $::current $::server($::current,options)
    }
}

with_server $options {
    test "a backup that has lost its journal is damaged, and nothing is made of it" {
        make_directory
        lassign [run_ckv backup create --dir [server_dir]] status id
        set id [string trim $id]
        assert_equal 0 [lindex [check] 0]
        file rename [server_dir]/backups/$id/journal [server_dir]/aside
        lassign [check] status text
        assert_equal 3 $status
        assert_match "*backups/$id/journal: PROBLEM: it ends at offset *, not at * as MANIFEST says*" $text
        foreach {status tool} [list 3 [list backup verify $id] 1 [list dump --backup $id] 1 [list rollback $id] \
                1 [list clone $id $::scratch/lost.clone]] {
            lassign [run_ckv {*}$tool --dir [server_dir]] got out err
            assert_equal "$status $tool" "$got $tool"
            assert_match "*ckv: *backups/$id: its journal ends at offset *" $err
            assert_equal "" $out
        }
        assert {![file exists $::scratch/lost.clone/MANIFEST] && [backup_count] == 1}
        file rename [server_dir]/aside [server_dir]/backups/$id/journal
        assert_equal 0 [lindex [run_ckv rollback $id --dir [server_dir]] 0]
        launch $::current $::server($::current,options)
        assert_equal 3 [r get behind]
    }
}

# In place of what may not be read, which a test that runs as root can't have.
proc swap_for_file {path body} {
    file rename $path $path.kept
    close [open $path w]
    set code [catch {uplevel 1 $body} message details]
    file delete $path
    file rename $path.kept $path
    return -options $details $message
}

with_server $options {
    test "what can't be read is said so, and not taken for something that isn't there" {
        r set a 1
        r backup create
        wait_until {[string match "done *" [r backup status]]}
        set id [lindex [r backup status] 1]
        swap_for_file [server_dir]/backups {
            assert_error "*backups*Not a directory*" {r backup list}
            assert_error "*backups*Not a directory*" {r backup verify $id}
        }
        stop_server
        set dir [server_dir]
        swap_for_file $dir/backups {
            lassign [check] status text
            assert_equal 1 $status
            assert_match "*A start would load*backups*Not a directory*weren't verified*" $text
            lassign [run_ckv backup list --dir $dir] status out err
            assert {$status != 0}
            assert_match "*backups*Not a directory*" $err
            lassign [run_ckv rollback $id --dir $dir] status out err
            assert_match "*backups/$id: Not a directory*" $err
        }
        lassign [run_ckv check $dir/MANIFEST] status out err
        assert_match "*MANIFEST/MANIFEST: Not a directory*" $err
        assert_equal {1 {}} [list $status $out]
        # As by an error of the disk: what isn't read isn't damaged.
        set file $dir/backups/$id/checkpoint.gdbm
        file rename $file $dir/aside
        file mkdir $file
        lassign [check] status text
        assert_equal 1 $status
        assert_match "*$file: Is a directory*; try again.*" $text
        assert {![string match "*delete*" $text]}
        file delete $file
        file rename $dir/aside $file
        file rename $dir/backups $dir/aside
        swap_for_file $dir/journal {
            lassign [run_ckv rollback --to [clock seconds] --dir $dir] status out err
            assert_equal 1 $status
            assert_match "*can't be reached: *journal*Not a directory*" $err
        }
        file rename $dir/aside $dir/backups
        launch $::current $::server($::current,options)
    }
}

# As run_ckv, while the server's directory is mounted read-only for this process.
proc run_read_only {args} {
    set script {mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99; shift; exec "$@"}
    set status 0
    set dir [server_dir]
    if {[catch {exec timeout 10 unshare -m sh -c $script $dir "" $::ckv {*}$args 2>@1} text details]} {
        set code [dict get $details -errorcode]
        set status [expr {[lindex $code 0] eq "CHILDSTATUS" ? [lindex $code 2] : $code}]
    }
    if {$status eq "99" || ![string is integer $status] || [string match "unshare: *" $text]} {
        skip "no mounts here: $text"
    }
    return [list $status $text]
}

with_server $options {
    test "a directory on a read-only file system: all that only reads works" {
        r set a value
        r backup create
        wait_until {[string match "done *" [r backup status]]}
        set id [lindex [r backup status] 1]
        foreach tool {check dump} { assert_match "1 *a server is using*" [run_read_only $tool --dir [server_dir]] }
        stop_server
        file mkdir [server_dir]/rollback.tmp [server_dir]/lost ;# remains, as a snapshot may have some
        foreach lock {there gone} {
            assert_match "0 *A start would load*" [run_read_only check --dir [server_dir]]
            assert_match "0 *value*1 keys*" [run_read_only dump --dir [server_dir]]
            assert_match "0 *1 keys*" [run_read_only export $::scratch/$lock.rdb --dir [server_dir]]
            assert_match "0 *" [run_read_only clone --now $::scratch/$lock.clone --dir [server_dir]]
            assert_match "0 *$id *" [run_read_only backup list --dir [server_dir]]
            assert_match "0 *$id is whole*" [run_read_only backup verify $id --dir [server_dir]]
            foreach tool [list [list backup create] [list backup delete $id] [list rollback $id]] {
                assert_match "1 *Read-only file system*" [run_read_only {*}$tool --dir [server_dir]]
            }
            file delete [server_dir]/ckv.lock
        }
        append_to [lindex [segments] end] torn
        assert_match "1 *lost/*: Read-only file system*" [run_read_only check --repair --dir [server_dir]]
        assert_equal 0 [lindex [check --repair] 0]
        launch $::current $::server($::current,options)
        assert_equal value [r get a]
    }
}

# ---------------------------------------------------------------- dump

# What DEBUG DIGEST says of a second server that was given the current one's dump.
proc digest_of_dump {args} {
    set path $::scratch/dump.resp
    exec $::ckv dump [server_dir] {*}$args >$path 2>$::scratch/dump.err
    set first $::current
    start_server {}
    set said [exec redis-cli -p [server_port] --pipe <$path 2>@1]
    assert_match "*errors: 0*" $said
    set digest [r debug digest]
    stop_server
    set ::current $first
    return $digest
}

with_server $options {
    test "dump | redis-cli --pipe gives the same dataset" {
        fill_big
        set digest [make_directory]
        set before [snapshot]
        assert_equal $digest [digest_of_dump]
        assert_equal $before [snapshot]
        # From the older checkpoint, and with a torn tail: the same.
        damage_checkpoint [newest_checkpoint]
        append_to [lindex [segments] end] "CKVB\x40\x00\x00\x00torn"
        set before [snapshot]
        assert_equal $digest [digest_of_dump]
        assert_equal $before [snapshot]
        set f [open $::scratch/dump.err]
        assert_match "*it isn't used*cut off*keys were written*" [read $f]
        close $f
        launch $::current $::server($::current,options)
    }

    test "into redis-server: the same keys" {
        fill
        kill_server
        set log $::scratch/redis.log
        exec redis-server --port 0 --unixsocket $::scratch/redis.sock --dir $::scratch --save {} >$log 2>@1 &
        wait_until {[file exists $::scratch/redis.sock]}
        exec $::ckv dump [server_dir] >$::scratch/dump.resp 2>$::scratch/dump.err
        catch {exec redis-cli -s $::scratch/redis.sock --pipe <$::scratch/dump.resp 2>@1} said
        set score [exec redis-cli -s $::scratch/redis.sock zscore zset member:1]
        set size [exec redis-cli -s $::scratch/redis.sock dbsize]
        catch {exec redis-cli -s $::scratch/redis.sock shutdown nosave}
        assert_match "*errors: 0*" $said
        assert {$score == 1 / 3.0}
        launch $::current $::server($::current,options)
        assert_equal $size [r dbsize]
    }

    test "keys that have expired are left out" {
        r psetex goes 200 value
        r set stays value
        kill_server
        after 300
        lassign [run_ckv dump --dir [server_dir]] status out
        assert_equal 0 $status
        assert_match "*stays*" $out
        assert {![string match *goes* $out]}
        launch $::current $::server($::current,options)
    }

    test "what can't be written is an error" {
        r set a [repeat x 100000]
        kill_server
        set code [catch {exec $::ckv dump [server_dir] >/dev/full} message details]
        assert_equal 1 $code
        assert_equal 1 [lindex [dict get $details -errorcode] 2]
        assert_match "*No space left on device*" $message
        launch $::current $::server($::current,options)
    }
}

with_server {--databases 200 --checkpoint-every 0} {
    test "as many databases as there are, in the checkpoint and in the journal" {
        run_in 150 set a 1
        checkpoint_now
        run_in 199 set b 2
        kill_server
        lassign [run_ckv dump [server_dir]] status out
        assert_equal 0 $status
        assert_match "*150*199*" $out
        launch $::current $::server($::current,options)
    }
}

with_server $options {
    test "gdbmtool lists a checkpoint" {
        make_directory
        set keys [exec gdbmtool --read-only [server_dir]/[newest_checkpoint] list 2>@1]
        assert_match "*ckv*" $keys
        assert_match "*version=2*secret=*history=*" \
            [exec gdbmtool --read-only [server_dir]/[newest_checkpoint] fetch ckv 2>@1]
        launch $::current $::server($::current,options)
    }
}

with_server {--checkpoint-every 0} {
    test "the journal of another history than MANIFEST's" {
        r set a mine
        set mine [server_dir]
        with_server {--checkpoint-every 0} {
            r set a theirs
            set digest [r debug digest]
            kill_server
            set theirs [segments]
        }
        kill_server
        file copy -force {*}$theirs [lindex [segments] 0]
        assert_repairs $digest "*PROBLEM: *journal/*.ckj is of history *" "*A start would refuse this directory*" \
            "*note in MANIFEST*Nothing is lost*"
        assert_equal theirs [r get a]
    }
}
