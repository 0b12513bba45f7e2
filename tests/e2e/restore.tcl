# restore.tcl: DUMP and RESTORE: what goes in comes out, for every type; 3.2's refusals; what is journaled.
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc fill {} {
    r set text hello
    r set number 12345
    r set long [string repeat abc 1000]
    for {set i 0} {$i < 300} {incr i} {
        r rpush list "element $i"
        r sadd ints $i
        r sadd members "m$i"
        r hset hash "field $i" $i
        r zadd zset [expr {$i / 8.0}] "member $i"
    }
    r zadd ends -inf a +inf b
}

proc digest {} { r debug digest }

with_server {} {
    test "every type comes back from DUMP by RESTORE" {
        fill
        set before [digest]
        foreach key [lsort [r keys *]] {
            set payload [r dump $key]
            assert_equal 1 [r del $key]
            assert_equal OK [r restore $key 0 $payload]
            assert_equal -1 [r ttl $key]
        }
        assert_equal $before [digest]
        assert_equal (nil) [r dump missing]
    }

    test "the deadline is what is given" {
        r set text hello
        set payload [r dump text]
        assert_equal OK [r restore timed 5000000 $payload]
        assert {[r ttl timed] > 4990 && [r ttl timed] <= 5000}
        assert_equal OK [r restore timed 2569591501 $payload replace]
        assert {[r ttl timed] > 2569580 && [r ttl timed] <= 2569592}
        r set timed v ex 100
        assert_equal OK [r restore timed 0 $payload REPLACE]
        assert_equal -1 [r ttl timed]
    }

    test "3.2's refusals, which change nothing" {
        fill
        set payload [r dump list]
        set before [digest]
        assert_error "BUSYKEY Target key name already exists." {r restore text 0 $payload}
        assert_error "BUSYKEY Target key name already exists." {r restore text -1 $payload}
        assert_error "ERR Invalid TTL value, must be >= 0" {r restore new -1 $payload}
        assert_error "ERR value is not an integer or out of range" {r restore new x $payload}
        assert_error "ERR syntax error" {r restore text 0 $payload replace again}
        assert_error "ERR DUMP payload version or checksum are wrong" {r restore new 0 short}
        assert_error "ERR DUMP payload version or checksum are wrong" \
            {r restore text 0 [string replace $payload 5 5 X] replace}
        # A stream of Redis 5, with a good checksum; version 7 all the same.
        assert_error "ERR Bad data format" {r restore text 0 [binary format H* 0f0007009160cafe891c55d1] replace}
        assert_equal $before [digest]
    }

    test "a key whose time is over is no obstacle" {
        r set text hello
        set payload [r dump text]
        r set timed v px 20
        after 40
        assert_equal OK [r restore timed 0 $payload]
        assert_equal hello [r get timed]
    }

    test "whoever watches the key is told" {
        r set text hello
        set payload [r dump text]
        set c [connect]
        $c watch watched
        assert_equal OK [r restore watched 0 $payload]
        $c multi
        $c get watched
        assert_equal (nil) [$c exec]
    }
}

with_server {} {
    test "RESTORE is journaled so that a start, whenever, gives the same" {
        fill
        set payload [r dump hash]
        r restore copy 100000000 $payload
        r restore copy 200000000 $payload replace
        r set timed v
        r restore timed 0 $payload replace
        set deadline [expr {[clock milliseconds] / 1000 + 200000}]
        set before [digest]
        kill_server
        restart
        assert_equal $before [digest]
        assert {abs([clock seconds] + [r ttl copy] - $deadline) <= 1}
    }
}

# ---------------------------------------------------------------- ckv import

# An RDB file of the current server's dataset.
proc exported {} {
    set file $::scratch/dump.rdb
    lassign [run_ckv export $file --dir [server_dir]] status out err
    assert_equal "0 {}" "$status {$out}"
    return $file
}

with_server {} {
    test "an import that was killed in its checkpoint is made anew; nothing of it is taken for whole" {
        r debug populate 20000
        set file [exported]
        set dir $::scratch/killed
        # The limit of a file's size kills it.
        catch {exec bash -c "ulimit -c 0 -f 200; exec $::ckv import $file --dir $dir" 2>@1}
        assert {[file exists $dir/import.tmp/MANIFEST] && [file exists $dir/import.tmp/checkpoint-a.gdbm]}
        file copy $dir $dir.again
        lassign [run_ckv import $file --dir $dir.again] status out err
        assert_equal "0 {}" "$status {$err}"
        assert_match "*20,000 keys were imported*" $out
        # A server that starts there has nothing, rather than no way to go on.
        set ::server(killed,dir) $dir
        set ::server(killed,log) $::scratch/killed.log
        set outer $::current
        launch killed {}
        assert_equal 0 [r dbsize]
        stop_server
        set ::current $outer
        assert {![file exists $dir/import.tmp]}
    }
}

proc append_bytes {file bytes} {
    set f [open $file ab]
    puts -nonewline $f $bytes
    close $f
}

with_server {} {
    test "an append-only file that begins as an RDB file isn't taken for all there is" {
        fill
        set file [exported]
        set mark [string repeat 0123456789abcdef0123 2] ;# redis-cli leaves it of a transfer
        append_bytes $file $mark
        assert_equal 0 [lindex [run_ckv import $file --dir $::scratch/marked] 0]
        set file [exported]
        append_bytes $file "*2\r\n\$6\r\nSELECT\r\n\$1\r\n0\r\n"
        foreach place [list "--dir $::scratch/appended" "--replace --port [server_port]"] {
            lassign [run_ckv import $file {*}$place] status out err
            assert_match "1 ckv: *: commands follow at byte *append-only file*" "$status $err"
        }
        assert_equal {} [glob -nocomplain $::scratch/appended/{MANIFEST,import.tmp}]
    }
}

# Imports into the current server, in vain; what is said.
proc import_fails {file args} {
    lassign [run_ckv import $file --port [server_port] {*}$args] status out err
    assert_equal "1 {}" "$status {$out}"
    assert_equal 2 [llength [split $err \n]]
    return $err
}

# A file with keys that expire, some of them large; the digest of what is in it.
proc file_to_import {} {
    fill
    fill_big
    foreach key [r keys *] { r expire $key 5000 }
    for {set i 0} {$i < 2000} {incr i} { r psetex key:$i [expr {5000000 + $i}] $i }
    r select 9
    r set other database
    r select 0
    return [list [exported] [digest]]
}

with_server {} {
    test "an import into a server: all of it, with its deadlines" {
        lassign [file_to_import] file digest
        foreach mode {{} --replace --replace} {
            if {$mode eq ""} { r flushall }
            lassign [run_ckv import $file --port [server_port] {*}$mode] status out err
            assert_equal "0 {}" "$status {$err}"
            assert_equal $digest [digest]
            foreach key {key:0 key:1999 list hash biglist bigzset} {
                assert {[r ttl $key] > 4900 && [r ttl $key] <= 5002}
            }
            assert_equal {} [r keys ckv-import-*]
        }
        restart
        assert_equal $digest [digest]
    }

    test "a large key is there for a day only while it isn't complete, and then as long as it's meant to be" {
        foreach key {biglist bighash} { ;# of more bytes than are restored at once
            for {set i 0} {$i < 6000} {incr i 2} {
                set part {} ;# hardly to be compressed
                foreach n [list $i [expr {$i + 1}]] { lappend part $n "[expr rand()][expr rand()][expr rand()]" }
                if {$key eq "bighash"} { r hmset bighash {*}$part } else { r rpush biglist {*}$part }
            }
        }
        r expire bighash 5000
        lassign [list [exported] [digest]] file digest
        r flushall
        r config set slowlog-max-len 100000
        r config set slowlog-log-slower-than 0
        assert_equal 0 [lindex [run_ckv import $file --port [server_port]] 0]
        r config set slowlog-log-slower-than -1
        assert_equal 2 [regexp -all -nocase {expire ckv-import-[-0-9a-f]+ 86400} [r slowlog get 100000]]
        assert_equal $digest [digest]
        assert_equal -1 [r ttl biglist]
        assert {[r ttl bighash] > 4900}
    }

    test "an import into Redis: its deadlines are exact, and what is there stays" {
        lassign [file_to_import] file
        r flushall
        r set later v
        r pexpireat later 4102444800123
        file mkdir $::scratch/redis
        set path $::scratch/redis/redis.sock
        exec redis-server --port 0 --unixsocket $path --dir $::scratch/redis --save {} >$::scratch/redis.log 2>@1 &
        wait_until {[file exists $path]}
        set redis [list exec redis-cli -s $path]
        set failed [catch {
            lassign [run_ckv import $file --socket $path] status out err
            assert_equal "0 {}" "$status {$err}"
            assert_equal 6000 [{*}$redis llen biglist]
            assert {[{*}$redis ttl key:1999] > 4900 && [{*}$redis ttl biglist] > 4900}
            lassign [run_ckv import [exported] --socket $path] status
            assert_equal "0 4102444800123" "$status [{*}$redis pexpiretime later]"
            {*}$redis set later mine
            lassign [run_ckv import [exported] --socket $path] status out err
            assert_match "1 ckv: key \"later\": BUSYKEY*" "$status $err"
            assert_equal "mine -1" "[{*}$redis get later] [{*}$redis ttl later]"
        } why]
        catch {{*}$redis shutdown nosave}
        if {$failed} { fail $why }
    }

    test "an import into a Redis that wants a password" {
        r flushall
        r set k v
        set file [exported]
        file mkdir $::scratch/guarded
        set path $::scratch/guarded/redis.sock
        exec redis-server --port 0 --unixsocket $path --dir $::scratch/guarded --save {} --requirepass "a word" \
            >$::scratch/redis.log 2>@1 &
        wait_until {[file exists $path]}
        set import [list import $file --socket $path]
        set failed [catch {
            lassign [run_ckv {*}$import] status out err
            assert_match "1 ckv: $path: it asks for a password; *--password*REDISCLI_AUTH*" "$status $err"
            lassign [run_ckv {*}$import --password wrong] status out err
            assert_match "1 ckv: $path: AUTH was refused (WRONGPASS*); *" "$status $err"
            assert_equal "0 {}" [lreplace [run_ckv {*}$import --password "a word"] 1 1]
            with_redis_auth "a word" {
                lassign [run_ckv {*}$import] status out err
                assert_match "1 ckv: key \"k\": BUSYKEY*" "$status $err"
                assert_equal "0 {}" [lreplace [run_ckv {*}$import --replace] 1 1]
                assert_equal v [exec redis-cli -s $path get k]
            }
        } why]
        catch {exec redis-cli -s $path -a "a word" shutdown nosave}
        if {$failed} { fail $why }
    }

    test "an import names a key with bytes of any kind" {
        r flushall
        r set "a\x00b\n\"c" v
        set err [import_fails [exported]]
        assert_match {ckv: key "a\\x00b\\x0a\\x22c": BUSYKEY*} $err
    }

    test "an import leaves a key that's there as it is, and nothing behind it comes" {
        lassign [file_to_import] file
        set keys [r keys *]
        foreach key {key:7 text biglist bigset} {
            r flushall
            if {$key in {biglist bigset}} { r sadd $key mine } else { r set $key mine }
            set before [digest]
            set err [import_fails $file]
            assert_match "ckv: key \"$key\": BUSYKEY * Give --replace to *. * keys were imported*" $err
            assert_equal -1 [r ttl $key]
            # As many as it says, and the one that was there.
            assert {[regexp {([0-9,]+) keys were} $err -> count]}
            r select 9
            set others [r dbsize]
            r flushdb
            r select 0
            assert_equal [string map {, {}} $count] [expr {[r dbsize] - 1 + $others}]
            foreach other [r keys *] { if {$other ne $key} { r del $other } }
            assert_equal $before [digest]
        }
        # Each of them is there: not one comes.
        r flushall
        foreach key $keys { r set $key mine }
        r select 9
        r set other mine
        r select 0
        set before [digest]
        assert_match "*BUSYKEY*. 0 keys were imported*" [import_fails $file]
        assert_equal $before [digest]
        foreach key $keys { assert_equal -1 [r ttl $key] }
    }

    test "a replacement that's refused leaves the old value, without a deadline" {
        lassign [file_to_import] file
        set keys [r keys *]
        r flushall
        foreach key $keys { r set $key mine }
        set before [digest]
        r config set maxmemory 1
        set err [import_fails $file --replace]
        r config set maxmemory 0
        assert_match "ckv: key *: OOM *. 0 keys were imported*" $err
        assert_equal $before [digest]
        foreach key $keys { assert_equal -1 [r ttl $key] }
        # A large one, whose first part is refused, or its last.
        r flushall
        fill_big
        set file [exported]
        r flushall
        foreach key {biglist bighash bigset bigzset} { r set $key mine }
        set before [digest]
        r config set maxmemory 1
        assert_match "ckv: key \"big*\": OOM *. 0 keys were imported*" [import_fails $file --replace]
        r config set maxmemory 0
        assert_equal $before [digest]
    }
}

with_server {--databases 32} {
    test "an import puts nothing of a database that the server doesn't have into another" {
        r set a first
        r select 20
        r set a other
        r set b other
        set file [exported]
        with_server {--databases 16} {
            r set a mine
            set err [import_fails $file --databases 32 --replace]
            assert_match "ckv: database 20 of the file: the server says: invalid DB index. * were imported*" $err
            assert_equal {a} [r keys *]
            assert {[r get a] in {first mine}}
            r del a
            assert_match "*database 20*" [import_fails $file --databases 32]
            assert {[r keys *] in {{} a} && [r get a] in {first (nil)}}
        }
    }
}
