# options.tcl: the command line and the config file: what starts a server, what stops the start, and how a server starts
# and stops. (Single values and the file's syntax are in tests/unit/test_options.c.)
#
# SPDX-License-Identifier: GPL-3.0-or-later

proc write_config {text} {
    set path [file join $::scratch test.conf]
    set f [open $path w]
    puts -nonewline $f $text
    close $f
    return $path
}

proc read_whole {path} {
    set f [open $path]
    set text [read $f]
    close $f
    return $text
}

# The start must fail with exit status 1, nothing on stdout and this one line on stderr.
proc assert_start_fails {pattern args} {
    lassign [run_ckv {*}$args --dir [file join $::scratch failing]] status out err
    assert_equal 1 $status
    assert_equal "" $out
    assert_match "ckv: $pattern\n" $err
    assert_equal 2 [llength [split $err \n]]
}

test "--help shows every option, --version the version, --man a manual page" {
    lassign [run_ckv --help] status out err
    assert_equal {0 {}} [list $status $err]
    foreach word {--port --bind --requirepass --admin-plane --maxmemory-policy --hz appendonly cluster-enabled} {
        assert_match *$word* $out
    }
    lassign [run_ckv --version] status out
    assert_match "ckv * (compatible with Redis 3.2.13)\n" $out
    lassign [run_ckv --man] status out
    assert_match ".TH CKV 1\n*.SH OPTIONS\n*admin\\\\-plane*" $out
}

test "an unknown option stops the start with its place and the nearest name" {
    assert_start_fails "--prot: there is no option 'prot'; the nearest is 'port' *" --prot 1
    set path [write_config "port 0\n\nmaxmemory-polcy noeviction\n"]
    assert_start_fails "$path:3: there is no option 'maxmemory-polcy'; the nearest is 'maxmemory-policy' *" $path
}

test "a bad value stops the start and says what is taken" {
    assert_start_fails "--port: port takes a whole number from 0 to 65535, not '70000'" --port 70000
    assert_start_fails "--maxmemory-policy: maxmemory-policy takes volatile-lru | * | noeviction, not 'lru'" \
        --maxmemory-policy lru
    assert_start_fails "*:1: protected-mode takes no | yes, not 'maybe'" [write_config "protected-mode maybe"]
    assert_start_fails "--bind: bind takes addresses*" --bind
}

test "requirepass must have the whole form" {
    assert_start_fails "--requirepass: requirepass takes instance-id:password*not 'foobar'" --requirepass foobar
    assert_start_fails "instance-id and password go together*" --password x
}

test "an unreadable config file, data directory or log file stops the start" {
    assert_start_fails "can't read the config file: *does-not-exist*" does-not-exist.conf
    lassign [run_ckv --port 0 --dir /dev/null/x] status out err
    assert_equal 1 $status
    assert_match "ckv: dir /dev/null/x: Not a directory; * --dir\n" $err
    assert_start_fails "logfile /does/not/exist: No such file or directory; *" --port 0 --logfile /does/not/exist
}

test "a bad address stops the start" {
    assert_start_fails "can't listen on 192.0.2.1, port 0: *--bind" --port 0 --bind 192.0.2.1
    assert_start_fails "can't listen on no.such.host.invalid: *--bind" --port 0 --bind no.such.host.invalid
}

with_server {--bind *} {
    test "a free port is the same on all addresses" {
        if {![file exists /proc/net/if_inet6]} { skip "there's no IPv6" }
        assert_equal PONG [r ping]
        set c [socket ::1 [server_port]]
        fconfigure $c -translation binary
        puts -nonewline $c "PING\r\n"
        flush $c
        assert_equal "+PONG\r" [gets $c]
        close $c
    }
}

with_server {} {
    test "a port in use stops the start" {
        assert_start_fails "can't listen on 127.0.0.1, port [server_port]: the port is in use; *--port*" \
            --port [server_port]
    }

    test "a second server on the same data directory does not start" {
        lassign [run_ckv --port 0 --dir [server_dir]] status out err
        assert_equal 1 $status
        assert_match "ckv: dir [server_dir]: another ckv is using it; *--dir\n" $err
        assert_equal PONG [admin_cli ping]
    }

    test "the data directory's socket is the operator's alone" {
        assert_equal 0600 [string range [file attributes [server_dir]/ckv.sock -permissions] end-3 end]
        assert_equal 0600 [string range [file attributes [server_dir]/ckv.lock -permissions] end-3 end]
    }

    test "the process id is on standard output" {
        assert_match "*PID: [server_pid]*" [server_log]
    }
}

with_server {} {
    test "nor does one when somebody has deleted the lock and the socket; no tool takes the directory either" {
        r set a 1
        r save
        file delete [server_dir]/ckv.lock [server_dir]/ckv.sock
        assert_match "1 *a server is using*" [run_ckv dump [server_dir]]
        lassign [run_ckv --port 0 --dir [server_dir]] status out err
        assert_equal 1 $status
        assert_match "ckv: dir [server_dir]: another process has locked it, *--dir\n" $err
        assert_match "1 *a server is using*" [run_ckv dump [server_dir]]
        assert_match "1 *a server is using*" [run_ckv check [server_dir]]
        assert_match "1 *can't be reached*" [run_ckv backup list --dir [server_dir]]
        restart
        assert_equal 1 [r get a]
    }
}

test "a directory is made if it is missing, and its path may be long" {
    set deep [file join $::scratch [repeat d 100] [repeat e 100]]
    with_server [list --dir $deep] {
        assert_equal PONG [r ping]
        assert_equal $deep [lindex [r config get dir] 1]
        assert [file exists $deep/ckv.sock]
    }
}

test "a file in the Unix socket's place stops the start, and stays" {
    set path [file join $::scratch precious]
    close [open $path w]
    assert_start_fails "can't listen on $path: it's there, and no socket; *--unixsocket*" \
        --unixsocket $path
    assert [file exists $path]
}

with_server [list --unixsocket client.sock --unixsocketperm 700] {
    test "a Unix socket for clients has no operator's rights by itself" {
        set socket [server_dir]/client.sock
        assert_equal 0700 [string range [file attributes $socket -permissions] end-3 end]
        assert_equal OK [exec redis-cli -s $socket set a 1]
    }
}

with_server {--admin-plane auth --unixsocket client.sock} {
    test "the operator's socket opens the admin plane, another one does not" {
        assert_equal "" [admin_cli client getname]
        assert_match "ERR unknown command*" [exec redis-cli -s [server_dir]/client.sock client getname]
        assert_error "ERR unknown command 'flushall' (not supported by CKV Master/Slave)" {r flushall}
    }
}

test "directives without use are taken, each with a line in the log" {
    set path [write_config "save 900 1\nappendonly yes\nrename-command FLUSHALL \"\"\nlua-time-limit 1\nport 0\n"]
    lassign [list $::ckv $path] ckv config
    set directory [file join $::scratch unused]
    set chan [open |[list $ckv $config --dir $directory --cluster-enabled yes 2>@1]]
    set text ""
    while {[gets $chan line] >= 0} {
        append text $line\n
        if {[string match *ready* $line]} break
    }
    exec kill -TERM [pid $chan]
    append text [read $chan]
    close $chan
    foreach name {save appendonly rename-command lua-time-limit cluster-enabled} {
        assert_match "*Option '$name' has no effect*" $text
    }
}

test "a server is ready within 50 ms" {
    if {$::sanitized} { skip "a sanitized build starts slowly" }
    set best 1000000
    for {set i 0} {$i < 5} {incr i} {
        set start [clock microseconds]
        set chan [open |[list $::ckv --port 0 --dir [file join $::scratch quick] 2>@1]]
        while {[gets $chan line] >= 0 && ![string match *ready* $line]} {}
        set best [expr {min($best, [clock microseconds] - $start)}]
        exec kill -TERM [pid $chan]
        close $chan
    }
    assert {$best < 50000}
}

foreach {level mark} {notice \\* warning #} {
    test "a start is announced as Redis does, also with loglevel $level" {
        set chan [open |[list $::ckv --port 0 --loglevel $level --dir [file join $::scratch announced] 2>@1]]
        while {[gets $chan line] >= 0 && ![string match *ready* $line]} {}
        exec kill -TERM [pid $chan]
        close $chan
        assert_match "*:M * $mark The server is now ready to accept connections on port *" $line
    }
}

foreach signal {TERM INT} {
    test "SIG$signal stops the server cleanly" {
        set id [start_server {}]
        set port [server_port]
        set c [connect]
        $c set a 1
        exec kill -$signal [server_pid]
        assert_closed $c
        wait_until {![alive [server_pid]]}
        assert_equal "" [reap $id]
        assert_match "*received SIG$signal*" [server_log]
        assert [expr {![file exists [server_dir]/ckv.sock]}]
    }
}

test "in the background, with a pid file and a log file" {
    set directory [file join $::scratch background]
    lassign [run_ckv --port 0 --dir $directory --daemonize yes --pidfile ckv.pid --logfile ckv.log] status out err
    assert_equal {0 {} {}} [list $status $out $err]
    wait_until {[file exists $directory/ckv.log] && [string match *ready* [read_whole $directory/ckv.log]]}
    set pid [string trim [read_whole $directory/ckv.pid]]
    assert_equal PONG [exec redis-cli -s $directory/ckv.sock ping]
    assert_match "*PID: $pid,*" [read_whole $directory/ckv.log]
    exec kill -TERM $pid
    wait_until {![alive $pid]}
    assert [expr {![file exists $directory/ckv.pid]}]
    assert_match "*bye*" [read_whole $directory/ckv.log]
}

test "what is closed at the start is none of the files that are opened then" {
    set directory [file join $::scratch closed]
    set options "--port 0 --dir $directory --daemonize yes --pidfile ckv.pid"
    assert_equal "" [exec timeout 10 bash -c "exec $::ckv $options <&- >&- 2>&-"]
    set pid [string trim [read_whole $directory/ckv.pid]]
    assert_match "1 *" [run_ckv check $directory]
    exec kill -TERM $pid
    wait_until {![alive $pid]}
    # A tool says so, and not into the directory's files.
    assert_equal 1 [catch {exec bash -c "exec $::ckv check $directory <&- >&- 2>&-"}]
    assert_equal 0 [file size $directory/ckv.lock]
    lassign [run_ckv check $directory] status out err
    assert_equal "0 {}" "$status {$err}"
}
