# effects.tcl: what commands leave in the journal, form by form; that it gives the same data at the next start; replies
# that wait for the disk (`fsync always`); writes that are refused while the journal can't be written.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# The commands of RESP text.
proc decode {bytes} {
    set commands {}
    for {set at 0} {$at < [string length $bytes]} {} {
        set end [string first \r\n $bytes $at]
        set count [string range $bytes $at+1 $end-1]
        set at [expr {$end + 2}]
        set words {}
        for {set i 0} {$i < $count} {incr i} {
            set end [string first \r\n $bytes $at]
            set length [string range $bytes $at+1 $end-1]
            lappend words [string range $bytes $end+2 [expr {$end + 1 + $length}]]
            set at [expr {$end + 4 + $length}]
        }
        lappend commands $words
    }
    return $commands
}

# The batches of the current server's journal from an offset on: a list of lists of commands.
proc batches {{from 0}} {
    set result {}
    foreach path [lsort [glob -nocomplain -directory [server_dir]/journal *.ckj]] {
        set f [open $path rb]
        set bytes [read $f]
        close $f
        assert_equal CKVJ [string range $bytes 0 3]
        for {set at 64} {$at < [string length $bytes]} {incr at [expr {40 + $length}]} {
            assert_match {CKV[BCF]} [string range $bytes $at $at+3]
            binary scan [string range $bytes $at+4 $at+15] iw length offset
            if {$offset < $from || $length == 0} continue
            lappend result [decode [string range $bytes $at+40 [expr {$at + 39 + $length}]]]
            set ::journal_end [expr {$offset + $length}]
        }
    }
    return $result
}

# What the body journals, without SELECT. It's in the file when the reply has come.
proc effects {body} {
    set ::journal_end 0
    batches
    set from $::journal_end
    uplevel 1 $body
    set commands [concat {*}[batches $from]]
    return [lsearch -all -inline -not -regexp $commands {^SELECT }]
}

proc set_up {args} { foreach command $args { r {*}$command } }

with_server {} {
    test "a command that changes data is journaled as it came, with its database" {
        set ::journal_end 0
        batches
        set from $::journal_end
        r select 3
        r seT a "x\r\n\x00y"
        r incr n
        r select 0
        r del nokey
        r get a
        r set b 1
        assert_equal [list {SELECT 3} [list seT a "x\r\n\x00y"] {incr n} {SELECT 0} {set b 1}] \
            [concat {*}[batches $from]]
    }

    test "what changes nothing isn't journaled" {
        set_up {rpush l a} {sadd s a} {hset h f v} {zadd z 1 a} {set k v} {pfadd p a} {pfcount p}
        assert_equal {} [effects {
            foreach command {{get k} {del nokey} {sadd s a} {srem s b} {zadd z 1 a} {hsetnx h f w} {hdel h g}
                    {setnx k w} {set k w nx} {set nokey w xx} {expire nokey 10} {persist k} {lrem l 0 b}
                    {lpushx nolist a}
                    {rename k k} {renamenx k l} {move nokey 3} {pfadd p a} {pfcount p} {zremrangebyrank z 5 9}
                    {setrange nokey 5 ""} {msetnx k 1 j 2} {spop noset} {spop s 0} {smove s l2 nomember}
                    {zunionstore nodst 1 nokey} {bitop not nodst nokey} {sort l alpha} {publish a b}
                    {watch k} {unwatch}} {
                r {*}$command
            }
            foreach command {{incr k} {lpush k a} {hset k a b} {incrbyfloat k 1} {rename nokey a}} {
                assert_error * {r {*}$command}
            }
        }]
    }

    foreach {command expected} {
        {set k v nx} {{SET k v}}
        {set k v keep} ERR
        {setnx k v} {{setnx k v}}
        {getset k v} {{getset k v}}
        {mset k v j w} {{mset k v j w}}
        {append k v} {{append k v}}
        {incrbyfloat k 1.5} {{SET k 1.5}}
        {hincrbyfloat k f 1e3} {{HSET k f 1000}}
        {sadd k a b} {{sadd k a b}}
        {zincrby k 1.5 a} {{zincrby k 1.5 a}}
        {zadd k "" a 2 b} {{zadd k 0 a 2 b}}
        {zincrby k "1.5\0x" a} {{zincrby k 1.5 a}}
        {decrby k -9223372036854775808} {{INCRBY k -9223372036854775808}}
        {decrby k -9223372036854775807} {{decrby k -9223372036854775807}}
        {pfadd k a} {{pfadd k a}}
        {geoadd k 13 38 a} {{geoadd k 13 38 a}}
        {debug populate 2 k} {{SET k:0 value:0} {SET k:1 value:1}}
        {flushdb} {}
        {flushall} flushall
    } {
        test "the effect of [lrange $command 0 end]" {
            if {$expected eq "ERR"} {
                assert_equal {} [effects {assert_error ERR* {r {*}$command}}]
            } else {
                assert_equal $expected [effects {r {*}$command}]
            }
        }
    }

    # Commands on the same keys: k a string, l a list, s a set of one, z places.
    foreach {command expected} {
        {set k w xx} {{SET k w}}
        {move k 4} {{move k 4}}
        {rename k j} {{rename k j}}
        {expire k 0} {{DEL k}}
        {pexpireat k 1} {{DEL k}}
        {expireat k 33000000000} {{PEXPIREAT k 33000000000000}}
        {pexpireat k 33000000000001} {{PEXPIREAT k 33000000000001}}
        {spop s} {{SREM s one}}
        {spop s 1} {{DEL s}}
        {spop s 7} {{DEL s}}
        {sort l store m} {MULTI {DEL m} {RPUSH m 1 2 3} EXEC}
        {sort l limit 1 1 store k} {MULTI {DEL k} {RPUSH k 2} EXEC}
        {sort nokey store k} {{DEL k}}
        {sort nokey store nokey2} {}
        {sort l store l} {MULTI {DEL l} {RPUSH l 1 2 3} EXEC}
        {georadius z 15 37 200 km store z} {MULTI {DEL z} {ZADD z 3479099956230698 a 3479447370796909 b} EXEC}
        {sort l by nosort get # get no* store m} {MULTI {DEL m} {RPUSH m 3 {} 1 {} 2 {}} EXEC}
        {georadius z 15 37 200 km store m} {MULTI {DEL m} {ZADD m 3479099956230698 a 3479447370796909 b} EXEC}
        {georadius z 0 0 1 km store k} {{DEL k}}
        {georadius z 0 0 1 km store m} {}
        {georadiusbymember z a 1 m storedist m} {MULTI {DEL m} {ZADD m 0 a} EXEC}
        {sinterstore k s nokey} {{DEL k}}
        {pfdebug todense p} {{pfdebug todense p}}
        {pfcount p} {{pfcount p}}
        {flushdb} flushdb
    } {
        test "the effect of [lrange $command 0 end] on what is there" {
            set_up {set k v} {rpush l 3 1 2} {sadd s one} {pfadd p x} \
                {geoadd z 13.361389 38.115556 a 15.087269 37.502669 b}
            assert_equal $expected [effects {r {*}$command}]
        }
    }

    foreach command {
        {set k v ex 100} {set k v px 100000} {set k v nx ex 100} {setex k 100 v} {psetex k 100000 v}
    } {
        test "[lrange $command 0 end]: the value, and the deadline as a time" {
            set now [clock milliseconds]
            lassign [effects {r {*}$command}] multi set expire exec
            assert_equal {MULTI {SET k v} EXEC} [list $multi $set $exec]
            assert_equal {PEXPIREAT k} [lrange $expire 0 1]
            assert {abs([lindex $expire 2] - $now - 100000) < 2000}
        }
    }

    test "relative deadlines become times" {
        set_up {set k v}
        foreach command {{expire k 100} {pexpire k 100000}} {
            lassign [effects {r {*}$command}] expire rest
            assert_equal {} $rest
            assert {abs([lindex $expire 2] - [clock milliseconds] - 100000) < 2000}
        }
        set at [lindex $expire 2]
        assert_equal {{persist k}} [effects {r persist k}]
        r pexpireat k $at
        assert_equal [list {append k w}] [effects {r append k w}]
        r set k 1 px 100000
        set at [lindex [effects {r pexpire k 200000}] 0 2]
        assert_equal [list MULTI {SET k 2.5} [list PEXPIREAT k $at] EXEC] [effects {r incrbyfloat k 1.5}]
        assert_equal [list MULTI {SET k 3} [list PEXPIREAT k $at] {SET j 1} EXEC] [effects {
            r multi
            r incrbyfloat k 0.5
            r incrbyfloat j 1
            r exec
        }]
    }

    test "SPOP with a count: SREM of what was popped, in pieces" {
        for {set i 0} {$i < 3000} {incr i} { lappend members m$i }
        r sadd s {*}$members
        foreach count {10 200 2700} {
            set effect [effects {set popped [r spop s $count]}]
            if {$count > 1024} {
                assert_equal {MULTI EXEC} [list [lindex $effect 0] [lindex $effect end]]
                set effect [lrange $effect 1 end-1]
            }
            set removed {}
            foreach command $effect {
                assert_equal {SREM s} [lrange $command 0 1]
                assert {[llength $command] <= 1100}
                lappend removed {*}[lrange $command 2 end]
            }
            assert_equal $count [llength $removed]
            assert_equal [lsort $popped] [lsort $removed]
            r sadd s {*}$members
        }
    }

    test "SORT STORE of much: RPUSH in pieces" {
        for {set i 0} {$i < 3000} {incr i} { lappend numbers $i }
        r rpush l {*}$numbers
        set effect [effects {r sort l store m}]
        assert_equal {MULTI {DEL m} EXEC} [list {*}[lrange $effect 0 1] [lindex $effect end]]
        assert_equal 3 [llength [lrange $effect 2 end-1]]
        set pushed {}
        foreach command [lrange $effect 2 end-1] { lappend pushed {*}[lrange $command 2 end] }
        assert_equal $numbers $pushed
    }

    test "an expired key is deleted before the command that met it, or by itself" {
        r config set notify-keyspace-events ""
        r debug set-active-expire 0
        set_up {set k v px 20} {set j v px 20}
        after 40
        assert_equal {{DEL k} {append k w}} [effects {r append k w}]
        assert_equal {{DEL j}} [effects {r get j}]
        r set k v px 20
        after 40
        set effect [effects {r set k w px 5000}]
        assert_equal {{DEL k} MULTI {SET k w}} [lrange $effect 0 2]
        r debug set-active-expire 1
        assert_equal {MULTI {SET k v} {PEXPIREAT k} EXEC {DEL k}} [lmap command [effects {
            r set k v px 20
            after 200
            r get nokey
        }] {lrange $command 0 [expr {[lindex $command 0] eq "PEXPIREAT" ? 1 : "end"}]}]
    }

    test "an evicted key is deleted" {
        r set k v
        r config set maxmemory-policy allkeys-random
        assert_equal {{DEL k}} [effects {
            r config set maxmemory 1
            r ping
        }]
        r config set maxmemory 0
    }

    test "EXEC: between MULTI and EXEC, if there are two or more effects" {
        foreach {commands expected} {
            {} {}
            {{get a}} {}
            {{get a} {set a 1} {get a}} {{set a 1}}
            {{set a 1} {incr a}} {MULTI {set a 1} {incr a} EXEC}
            {{incrbyfloat f 1} {set b 1} {lpush b 1}} {MULTI {SET f 1} {set b 1} EXEC}
            {{debug populate 2}} {MULTI {SET key:0 value:0} {SET key:1 value:1} EXEC}
            {{select 2} {set a 1} {select 0} {set a 1}} {MULTI {set a 1} {set a 1} EXEC}
            {flushall} flushall
        } {
            r flushall
            assert_equal $expected [effects {
                r multi
                foreach command $commands { r {*}$command }
                r exec
            }]
        }
        r select 0
        assert_equal {} [effects {
            r multi
            r set a 1
            r discard
        }]
    }

    test "one EXEC is one batch, and so is a pipeline that came at once" {
        set from $::journal_end
        batches
        set from $::journal_end
        set c [connect]
        send_raw $c [encode {set a 1}][encode multi][encode {set b 2}][encode {set c 3}][encode exec][encode {set d 4}]
        for {set i 0} {$i < 6} {incr i} { recv $c }
        assert_equal [list {{set a 1} MULTI {set b 2} {set c 3} EXEC {set d 4}}] \
            [lmap batch [batches $from] {lsearch -all -inline -not -exact $batch {SELECT 0}}]
        disconnect $c
    }
}

test "without persistence there's no journal" {
    with_server {--persistence no} {
        r set a 1
        assert_equal {} [glob -nocomplain -directory [server_dir] journal*]
        restart
        assert_equal (nil) [r get a]
    }
}

# ---------------------------------------------------------------- the same data again

proc pick {list} { lindex $list [expr {int(rand() * [llength $list])}] }

proc random_commands {count} {
    set bytes ""
    for {set i 0} {$i < $count} {incr i} {
        set k k[expr {int(rand() * 60)}]
        set j k[expr {int(rand() * 60)}]
        set m m[expr {int(rand() * 10)}]
        set n [expr {int(rand() * 20) - 4}]
        append bytes [encode [pick [list "set $k $m" "set $k $n px [expr {1 + int(rand() * 400)}]" \
            "incrbyfloat $k 0.1" "incr $k" "append $k $m" "pexpire $k [expr {$n * 30}]" "expire $k $n" "persist $k" \
            "rename $k $j" "move $k 3" "del $k" "lpush $k $m $n" "rpoplpush $k $j" "sadd $k $m $n 1 2 3" \
            "spop $k" "spop $k 2" "smove $k $j $m" "sunionstore $k $k $j" "hset $k $m $n" \
            "hincrbyfloat $k $m 1.1" "zadd $k $n $m" \
            "zinterstore $k 2 $k $j" "sort $k alpha store $j" "pfadd $k $m $n" "pfcount $k" "setbit $k 77 1" \
            "select [expr {int(rand() * 4)}]" multi exec exec exec]]]
    }
    return $bytes
}

# The replies aren't looked at: many are errors.
proc run_random {connections count} {
    set all {}
    for {set i 0} {$i < $connections} {incr i} {
        set c [connect]
        send_raw $c [random_commands $count][encode discard][encode {echo end}]
        lappend all $c
    }
    foreach c $all {
        while {[catch {recv $c} reply] || $reply ne "end"} {}
        disconnect $c
    }
}

# No key has a deadline any more: none goes between two looks.
proc keep_all {} {
    foreach db {0 1 2 3} {
        r select $db
        foreach key [r keys *] { r persist $key }
    }
    r select 0
    after 300 ;# those that had expired by then are gone
    r ping
}

foreach fsync {everysec always no} {
    foreach way {stop kill} {
        with_server [list --fsync $fsync --journal-segment-bytes 100kb] {
            test "after a $way, fsync $fsync, the data is as before" {
                expr {srand(20261125)}
                puts "      seed 20261125"
                run_random 5 [expr {$::sanitized ? 400 : 3000}]
                keep_all
                set digest [r debug digest]
                set size [r dbsize]
                assert {$size > 5}
                if {$way eq "stop"} { stop_server } else { kill_server }
                launch $::current $::server($::current,options)
                after 100
                assert_equal $digest [r debug digest]
                assert_equal $size [r dbsize]
                run_random 2 300
                keep_all
                set digest [r debug digest]
                restart
                assert_equal $digest [r debug digest]
            }
        }
    }
}

# ---------------------------------------------------------------- the gate

with_server {--fsync always} {
    test "replies wait for the disk, in order, and none is lost" {
        set c [connect]
        set bytes ""
        for {set i 0} {$i < 5000} {incr i} {
            append bytes [encode [list set k$i v$i]][encode [list get k$i]][encode [list incr n]]
        }
        send_raw $c $bytes
        for {set i 0} {$i < 5000} {incr i} {
            assert_equal [list OK v$i [expr {$i + 1}]] [list [recv $c] [recv $c] [recv $c]]
        }
        disconnect $c
    }

    test "QUIT behind a write: everything is answered before the close" {
        for {set i 0} {$i < 50} {incr i} {
            set c [connect]
            send_raw $c [encode {incr n}][encode quit]
            assert_equal [list [expr {$i + 1}] OK] [list [recv $c] [recv $c]]
            assert_closed $c
            disconnect $c
        }
    }

    test "many clients share a sync" {
        set all {}
        for {set i 0} {$i < 50} {incr i} { lappend all [connect] }
        for {set round 0} {$round < 20} {incr round} {
            foreach c $all { send $c incr n }
            set replies {}
            foreach c $all { lappend replies [recv $c] }
            assert_equal 50 [llength [lsort -unique $replies]]
        }
        assert_equal 1000 [r get n]
        foreach c $all { disconnect $c }
    }

    test "the end of the server answers what it did" {
        set c [connect]
        send $c set last 1
        after 50
        exec kill -TERM [server_pid]
        assert_equal OK [recv $c]
        assert_closed $c
        wait_until {![alive [server_pid]]}
        assert_equal "" [reap $::current]
        launch $::current $::server($::current,options)
        assert_equal 1 [r get last]
    }

    test "CONFIG SET fsync and appendfsync" {
        foreach {name value} {fsync no appendfsync EVERYSEC appendfsync always fsync everysec} {
            r config set $name $value
            assert_equal [list appendfsync [string tolower $value]] [r config get appendfsync]
            assert_equal [list fsync [string tolower $value]] [r config get fsync]
            assert_equal OK [r set a $value]
        }
        assert_error "ERR Invalid argument 'often' for CONFIG SET 'fsync'" {r config set fsync often}
    }
}

# ---------------------------------------------------------------- trouble

with_server {} {
    # The kernel refuses what makes a file longer than this.
    proc limit_files {bytes} { exec prlimit --pid [server_pid] --fsize=$bytes:unlimited }

    test "a write that the disk didn't take isn't answered; others are refused, reads go on, and it heals" {
        r set a 1
        foreach c {first multi broken} { set $c [connect] }
        $multi multi
        $multi set b 1
        $broken multi
        limit_files 100
        send $first echo before
        send $first set a 2
        send $first echo behind
        assert_equal before [recv $first]
        assert_silent $first
        set error "MISCONF CKV can't write its journal: journal/*. Writes are refused until it can; reads go on."
        foreach command {{set a 3} {del a} flushall {expire a 10} {spop nokey}} {
            assert_error $error {r {*}$command}
        }
        assert_equal 2 [r get a]
        assert_error $error {$broken set a 3}
        assert_error EXECABORT* {$broken exec}
        assert_error $error {$multi exec}
        assert_equal 0 [r exists b]
        assert_error $error {r ping} ;# as a 3.2 that can't save
        after 300
        assert_silent $first
        limit_files unlimited
        assert_equal {OK behind} [list [recv $first] [recv $first]]
        wait_until {![catch {r set b 3}]}
        kill_server
        launch $::current $::server($::current,options)
        assert_equal {2 3} [r mget a b]
    }

    test "keys don't expire by themselves while the journal can't be written" {
        r set a 1
        r set b 1 px 100
        set c [connect]
        limit_files 100
        send $c set a 2
        after 300
        assert_equal 2 [r dbsize]
        assert_equal (nil) [r get b]
        assert_equal 1 [r dbsize]
        limit_files unlimited
        assert_equal OK [recv $c]
        disconnect $c
        restart
        assert_equal {2 (nil)} [r mget a b]
    }

    test "a stop that couldn't write everything isn't noted as one" {
        r set pad [repeat x 30000]
        limit_files 20000 ;# MANIFEST is shorter
        send [connect] set a 2
        wait_until {![catch {r get a} a] && $a eq "2"}
        exec kill -TERM [server_pid]
        wait_until {![alive [server_pid]]} 10000
        assert_match "CHILDSTATUS * 1" [reap $::current]
        disconnect_all $::current
        set f [open [server_dir]/MANIFEST]
        assert_equal 1 [regexp -line {^boot=(.*)$} [read $f] -> boot]
        close $f
        assert {$boot ne ""}
        launch $::current $::server($::current,options)
        assert_equal 30000 [r strlen pad]
    }
}

# A checkpoint, a commit or a reload in the middle of a transaction.
with_server {} {
    proc saving {} { expr {[info_field rdb_bgsave_in_progress] || [info_field ckv_backup_in_progress]} }

    set long [repeat a-long-name 20] ;# 100,000 of it fill more than one batch of the journal
    foreach commands [subst {
        {{incr a} bgsave}
        {{incr a} {incr a} bgsave {incr a}}
        {{incr a} save {incr a}}
        {{incr a} {incr a} save}
        {{set a 1} flushall save {set b 1}}
        {{incr a} {debug reload}}
        {{incr a} {incr a} {debug reload} {incr a}}
        {{incr a} {incr a} {debug loadaof} {incr a}}
        {{incr a} {backup create} {incr a}}
        {{incr a} {incr a} {backup create} {incr a}}
        {{incr a} {incr a} {rollback to 99999999999999} {incr a}}
        {{incr a} {debug populate 100000 $long} {incr a}}
    }] {
        test "EXEC of [join $commands {, }]: after a crash the data is as it was" {
            r flushall
            r multi
            foreach command $commands { assert_equal QUEUED [r {*}$command] }
            assert_equal [llength $commands] [llength [r exec]]
            wait_until {![saving]}
            after 100
            set digest [r debug digest]
            kill_server
            assert_match "0 *A start would load*" [run_ckv check [server_dir]]
            launch $::current $::server($::current,options)
            assert_equal $digest [r debug digest]
        }
    }
}
