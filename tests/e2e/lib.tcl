# lib.tcl: the framework of the end-to-end tests: starts servers, talks RESP to them over real sockets, counts tests.
# run.tcl sources it before each test file, so a test file holds nothing but `with_server` and `test` blocks:
#
#     with_server {--databases 4} {            # options as on ckv's command line; a data directory of its own, a free
#         test "GET of a missing key" {        # port, and `--admin-plane all` unless the options say otherwise
#             assert_equal (nil) [r get k]     # `r` is the server's default connection; the dataset is empty
#         }
#     }
#
# Values. Arguments and replies are bytes ("\xff" is one byte). A reply becomes a Tcl value: integers and statuses their
# text, nil (bulk or array) "(nil)", an array a list; an error is thrown (see assert_error), one inside an array
# (EXEC) is its text with the leading "-".
#
# Servers.      with_server OPTIONS BODY | start_server OPTIONS -> id | stop_server ?id? | restart ?OPTIONS?
#               kill_server (SIGKILL) | server_pid | server_port | server_dir | server_log | run_ckv ARGS
# Connections.  connect ?id? -> c, then `$c get k` | disconnect c | send c ARG… | recv c | send_raw c BYTES
#               recv_raw c COUNT | assert_closed c | assert_silent c ?ms?
# Checks.       assert_equal EXPECTED ACTUAL | assert_match GLOB ACTUAL | assert_error GLOB BODY | assert EXPR
#               wait_until EXPR ?ms? | skip REASON (leaves the test) | fail MESSAGE (fails it)
# Conveniences. info_field FIELD | keyspace_events BODY -> {event key event key …} | repeat TEXT COUNT
#               admin_cli ARGS (redis-cli over the operator's socket) | with_redis_auth PASSWORD BODY
#
# run.tcl sets $ckv, $scratch (a directory), $only (run just the tests whose name contains it) and $sanitized (the build
# is a slow one; tests may use smaller sizes). Every read has a time limit ($read_ms_max). A server that exits by
# itself, does not stop within 10 s, exits with another status than 0 or leaves a sanitizer's report in its log fails
# the test file.
#
# SPDX-License-Identifier: GPL-3.0-or-later

set read_ms_max 10000
# What is counted has no name that a test's own variable may have: bodies run in the global scope.
array set tally {passed 0 failed 0 skipped 0}
set slow_ms 5000           ;# a test that takes longer is named
set servers_started 0
set current ""             ;# the server that `r` and friends mean
array set server {}        ;# id,field: chan pid port dir log options r

# ---------------------------------------------------------------- tests

# Of the current server.
proc resident_kb {} {
    set f [open /proc/[server_pid]/status]
    regexp {VmRSS:\s+(\d+) kB} [read $f] -> kb
    close $f
    return $kb
}

# Runs `body` until what it measures is below the bound, 10 times at most: for bounds of time, which a busy machine
# breaks now and then and a slow server each time. What the body itself asserts has to hold in every round.
proc assert_below {bound body} {
    for {set round 1} {[set value [uplevel 1 $body]] >= $bound} {incr round} {
        if {$round == 10} { fail "not below $bound in $round rounds: $value" }
    }
}

proc test {name body} {
    global tally current only
    if {$only ne "" && [string first $only $name] < 0} return
    set start [clock milliseconds]
    set before [open_connections]
    set code [catch {
        empty_dataset
        uplevel 1 $body
    } message details]
    set took [expr {[clock milliseconds] - $start}]
    if {$took > $::slow_ms} { puts "slow  $name: $took ms" }
    if {$code == 0 || $code == 2} {
        incr tally(passed)
        return
    }
    if {[dict get $details -errorcode] eq "SKIP"} {
        incr tally(skipped)
        puts "skip  $name: $message"
        return
    }
    report_failure $name $message [dict get $details -errorinfo]
    # Whatever the test left half done goes with its connections.
    foreach c [open_connections] {
        if {$c ni $before} { disconnect $c }
    }
    if {$current ne ""} reopen_default
}

proc report_failure {name message {details ""}} {
    global tally current server
    incr tally(failed)
    puts "FAIL  $name: [string range $message 0 2000]"
    foreach line [lrange [split $details \n] 1 8] { puts "      [string range $line 0 200]" }
    if {$current ne ""} { puts [log_tail $server($current,log)] }
    flush stdout
}

proc log_tail {path} {
    set text ""
    catch {
        set f [open $path]
        set lines [lrange [split [read $f] \n] end-25 end]
        close $f
        set text "      ---- the server's log ends:\n      | [join $lines "\n      | "]"
    }
    return $text
}

proc fail {message} { return -code error -errorcode FAIL $message }
proc skip {reason} { return -code error -errorcode SKIP $reason }

proc shorten {value} {
    if {[string length $value] <= 500} { return $value }
    return "[string range $value 0 500]… ([string length $value] bytes)"
}

proc assert_equal {expected actual} {
    if {$expected ne $actual} { fail "expected '[shorten $expected]', got '[shorten $actual]'" }
}

proc assert_match {pattern actual} {
    if {![string match $pattern $actual]} { fail "expected a match of '$pattern', got '[shorten $actual]'" }
}

proc assert {condition} {
    if {![uplevel 1 [list expr $condition]]} { fail "not true: $condition" }
}

# The body must be answered with an error that matches the pattern.
proc assert_error {pattern body} {
    if {![catch {uplevel 1 $body} message details]} { fail "expected an error '$pattern', got '[shorten $message]'" }
    if {[dict get $details -errorcode] ne "REPLY"} { return -options $details $message }
    assert_match $pattern $message
}

proc wait_until {condition {ms 5000}} {
    set end [expr {[clock milliseconds] + $ms}]
    while {![uplevel 1 [list expr $condition]]} {
        if {[clock milliseconds] > $end} { fail "not within $ms ms: $condition" }
        after 10
    }
}

# A field of INFO; "" if there is none.
proc info_field {field} {
    set value ""
    regexp "(?n)^$field:(\[^\r\]*)" [r info all] -> value
    return $value
}

proc repeat {text count} { string repeat $text $count }

# ---------------------------------------------------------------- servers

proc with_server {options body} {
    global current
    set outer $current
    if {[catch {start_server $options} message]} {
        report_failure "start of a server with '$options'" $message
        return
    }
    set id $current
    set code [catch {uplevel 1 $body} message details]
    if {$code == 1} { report_failure "a server's block, outside of any test" $message [dict get $details -errorinfo] }
    set current $id
    if {[catch {stop_server $id} message]} { report_failure "stop of a server with '$options'" $message }
    set current $outer
}

# Starts a server and makes it the current one; its id.
proc start_server {options} {
    global server servers_started current
    set id s[incr servers_started]
    set server($id,dir) [file join $::scratch $id]
    file mkdir $server($id,dir)
    set server($id,log) [file join $::scratch $id.log]
    launch $id $options
    return $id
}

proc launch {id options} {
    global server current
    set server($id,options) $options
    set args [list --dir $server($id,dir)]
    if {"--port" ni $options} { lappend args --port 0 }
    if {"--admin-plane" ni $options} { lappend args --admin-plane all }
    set offset [expr {[file exists $server($id,log)] ? [file size $server($id,log)] : 0}]
    set server($id,chan) [open |[concat [list $::ckv] $args $options [list >>& $server($id,log)]] w]
    set server($id,pid) [pid $server($id,chan)]
    set server($id,port) [wait_ready $id $offset]
    set server($id,r) ""
    set current $id
}

# The port that the server says it listens on, in the log behind `offset`.
proc wait_ready {id offset} {
    global server read_ms_max
    set end [expr {[clock milliseconds] + $read_ms_max}]
    while {[clock milliseconds] < $end} {
        set f [open $server($id,log)]
        seek $f $offset
        set text [read $f]
        close $f
        if {[regexp {ready to accept connections[^\n]*\y(\d+)[^\d\n]*\n} $text -> port]} { return $port }
        if {![alive $server($id,pid)]} break
        after 5
    }
    catch {exec kill -KILL $server($id,pid)}
    reap $id
    fail "the server did not become ready; it said:\n$text"
}

# Running, and not a zombie.
proc alive {pid} {
    if {[catch {
        set f [open /proc/$pid/stat]
        set stat [read $f]
        close $f
    }]} { return 0 }
    return [expr {![regexp {\) [ZX] } $stat]}]
}

proc stop_server {{id ""}} {
    global server current
    if {$id eq ""} { set id $current }
    if {$server($id,pid) == 0} return
    if {![alive $server($id,pid)]} {
        reap $id
        fail "the server had ended by itself: [log_tail $server($id,log)]"
    }
    disconnect_all $id
    exec kill -TERM $server($id,pid)
    set end [expr {[clock milliseconds] + 10000}]
    while {[alive $server($id,pid)]} {
        if {[clock milliseconds] > $end} {
            exec kill -KILL $server($id,pid)
            reap $id
            fail "the server did not stop within 10 s of SIGTERM"
        }
        after 5
    }
    set status [reap $id]
    check_sanitizers $id
    if {$status ne ""} { fail "the server's exit: $status [log_tail $server($id,log)]" }
}

# Waits for the ended process; "" for exit status 0, else what happened.
proc reap {id} {
    global server
    set code [catch {close $server($id,chan)} message details]
    set server($id,pid) 0
    return [expr {$code ? [dict get $details -errorcode] : ""}]
}

proc check_sanitizers {id} {
    global server
    set f [open $server($id,log)]
    set text [read $f]
    close $f
    set marks {[^\n]*(ERROR: \w*Sanitizer|runtime error:|WARNING: ThreadSanitizer|LeakSanitizer)[^\n]*}
    if {[regexp $marks $text report]} {
        fail "a sanitizer reports: $report\n[log_tail $server($id,log)]"
    }
}

# Stops the current server, cleanly, and starts it again on its data directory.
proc restart {{options ""}} {
    global server current
    stop_server $current
    launch $current [expr {$options eq "" ? $server($current,options) : $options}]
}

proc kill_server {} {
    global server current
    disconnect_all $current
    exec kill -KILL $server($current,pid)
    reap $current
}

proc server_pid {} { return $::server($::current,pid) }
proc server_port {} { return $::server($::current,port) }
proc server_dir {} { return $::server($::current,dir) }
proc server_log {} {
    set f [open $::server($::current,log)]
    set text [read $f]
    close $f
    return $text
}

# Runs ckv to its end (10 s at most): {exit-status stdout stderr}.
proc run_ckv {args} {
    set out [file join $::scratch run.out]
    set err [file join $::scratch run.err]
    set status 0
    if {[catch {exec timeout -k 1 10 $::ckv {*}$args >$out 2>$err} message details]} {
        set code [dict get $details -errorcode]
        set status [expr {[lindex $code 0] eq "CHILDSTATUS" ? [lindex $code 2] : $code}]
    }
    foreach path [list $out $err] {
        set f [open $path]
        lappend texts [read $f]
        close $f
    }
    return [list $status {*}$texts]
}

# With the password that redis-cli and ckv's tools take from the environment.
proc with_redis_auth {password body} {
    set ::env(REDISCLI_AUTH) $password
    try { uplevel 1 $body } finally { unset ::env(REDISCLI_AUTH) }
}

# One command by redis-cli over the operator's socket, as redis-cli prints the reply into a pipe.
proc admin_cli {args} {
    return [exec timeout 10 redis-cli -s [file join [server_dir] ckv.sock] {*}$args]
}

# Collections of more than the 64 kB from which on checkpoints keep them as pages: bighash, bigset, bigzset, biglist.
proc fill_big {} {
    foreach type {hash set zset list} {
        for {set i 0} {$i < 6000} {incr i 100} {
            set args {}
            for {set j $i} {$j < $i + 100} {incr j} {
                switch $type {
                    hash { lappend args field:$j [repeat v 20]:$j }
                    zset { lappend args $j.5 member:$j:[repeat m 10] }
                    default { lappend args member:$j:[repeat m 20] }
                }
            }
            r [dict get {hash hmset set sadd zset zadd list rpush} $type] big$type {*}$args
        }
    }
}

# ---------------------------------------------------------------- connections

# Opens a connection; its name is a command: `$c get k`.
proc connect {{id ""}} {
    global server current
    if {$id eq ""} { set id $current }
    set chan [socket 127.0.0.1 $server($id,port)]
    fconfigure $chan -blocking 0 -translation binary -buffering full -buffersize 65536
    interp alias {} $chan {} call $chan
    lappend ::connections($id) $chan
    return $chan
}

proc disconnect {c} {
    foreach {id list} [array get ::connections] {
        set ::connections($id) [lsearch -all -inline -not -exact $list $c]
    }
    catch {interp alias {} $c {}}
    catch {
        fconfigure $c -blocking 0
        close $c
    }
}

proc open_connections {} {
    set all {}
    foreach {id list} [array get ::connections] { lappend all {*}$list }
    return $all
}

proc disconnect_all {id} {
    if {![info exists ::connections($id)]} return
    foreach c $::connections($id) { disconnect $c }
    set ::server($id,r) ""
}

# The default connection of the current server.
proc r {args} {
    global server current
    if {$server($current,r) eq ""} { set server($current,r) [connect] }
    return [call $server($current,r) {*}$args]
}

proc reopen_default {} {
    global server current
    if {$server($current,r) ne ""} { disconnect $server($current,r) }
    set server($current,r) ""
}

# Before each test. A server whose admin plane is not open to all keeps its data: such tests use keys of their own.
proc empty_dataset {} {
    global server current
    if {$current eq "" || $server($current,pid) == 0} return
    if {"--admin-plane" in $server($current,options)} return
    set c [connect]
    call $c flushall
    disconnect $c
}

proc call {c args} {
    send $c {*}$args
    return [recv $c]
}

proc encode {arguments} {
    set bytes *[llength $arguments]\r\n
    foreach argument $arguments { append bytes $ [string length $argument] \r\n $argument \r\n }
    return $bytes
}

# Sends a command and does not read its reply.
proc send {c args} { send_raw $c [encode $args] }

# Sends bytes; what does not go out at once follows in the background while replies are read.
proc send_raw {c bytes} {
    puts -nonewline $c $bytes
    flush $c
}

# Sleeps until bytes may have come; fails at `end` (clock milliseconds).
proc wait_bytes {c end what} {
    set left [expr {$end - [clock milliseconds]}]
    if {$left <= 0} { fail "no $what within $::read_ms_max ms" }
    set timer [after $left {set ::arrived late}]
    fileevent $c readable {set ::arrived bytes}
    vwait ::arrived
    after cancel $timer
    fileevent $c readable {}
}

proc recv_line {c} {
    set end [expr {[clock milliseconds] + $::read_ms_max}]
    while {[gets $c line] < 0} {
        if {[eof $c]} { return -code error -errorcode CLOSED "the server closed the connection" }
        wait_bytes $c $end reply
    }
    if {[string index $line end] ne "\r"} { fail "a reply line without CR: '[shorten $line]'" }
    return [string range $line 0 end-1]
}

# Exactly `count` bytes.
proc recv_raw {c count} {
    set end [expr {[clock milliseconds] + $::read_ms_max}]
    set bytes ""
    while {[set missing [expr {$count - [string length $bytes]}]] > 0} {
        set more [read $c $missing]
        append bytes $more
        if {$more ne ""} {
            set end [expr {[clock milliseconds] + $::read_ms_max}]
        } elseif {[eof $c]} {
            fail "closed $missing bytes before the end; got '[shorten $bytes]'"
        } else {
            wait_bytes $c $end "further bytes (missing $missing, got '[shorten $bytes]')"
        }
    }
    return $bytes
}

# One reply; an error is thrown.
proc recv {c} {
    lassign [recv_typed $c] type value
    if {$type eq "-"} { return -code error -errorcode REPLY $value }
    return $value
}

# One reply as {type value}.
proc recv_typed {c} {
    set line [recv_line $c]
    set type [string index $line 0]
    set rest [string range $line 1 end]
    switch -exact -- $type {
        + - - - : { return [list $type $rest] }
        $ {
            if {$rest == -1} { return [list $type (nil)] }
            set bytes [recv_raw $c [expr {$rest + 2}]]
            return [list $type [string range $bytes 0 end-2]]
        }
        * {
            if {$rest == -1} { return [list $type (nil)] }
            set list {}
            for {set i 0} {$i < $rest} {incr i} {
                lassign [recv_typed $c] element_type value
                if {$element_type eq "-"} { set value -$value } ;# not by expr, which rewrites what looks like a number
                lappend list $value
            }
            return [list $type $list]
        }
    }
    fail "not a reply: '[shorten $line]'"
}

# The server closes the connection, sending nothing more (before that, recv what is due).
proc assert_closed {c} {
    set end [expr {[clock milliseconds] + $::read_ms_max}]
    while {1} {
        if {[catch {read $c 1000} bytes]} return
        if {$bytes ne ""} { fail "expected a close, got '[shorten $bytes]'" }
        if {[eof $c]} return
        wait_bytes $c $end close
    }
}

# Nothing arrives for `ms`, and the connection stays open.
proc assert_silent {c {ms 60}} {
    after $ms
    set bytes [read $c 1000]
    if {$bytes ne ""} { fail "expected silence, got '[shorten $bytes]'" }
    if {[eof $c]} { fail "expected silence, but the connection was closed" }
}

# Runs the body and returns what was published meanwhile on the key-event channels: {event key event key …}.
proc keyspace_events {body} {
    r config set notify-keyspace-events EA
    set c [connect]
    $c psubscribe __keyevent@*__:* e2e:*
    recv $c
    uplevel 1 $body
    r publish e2e:end ""
    set events {}
    while {1} {
        lassign [recv $c] kind pattern channel message
        if {$channel eq "e2e:end"} break
        lappend events [regsub {^.*?:} $channel ""] $message
    }
    disconnect $c
    r config set notify-keyspace-events ""
    return $events
}

# Runs the body with another server as the current one.
proc in {id body} {
    set outer $::current
    set ::current $id
    set code [catch {uplevel 1 $body} result details]
    set ::current $outer
    return -options $details $result
}

# A connection to the current server, of an operator by default.
proc log_in {{password admin:adm}} {
    set c [connect]
    assert_equal OK [call $c auth $password]
    return $c
}

# How far the current server's stream goes, as a master or as a slave.
proc offset {} { info_field [expr {[info_field role] eq "slave" ? "slave_repl_offset" : "master_repl_offset"}] }

# Waits until each of these slaves has all that the server has.
proc wait_same {of ids} {
    foreach id $ids {
        wait_until {[in $id { info_field master_link_status }] eq "up" && [in $id offset] == [in $of offset]} 20000
        assert_equal [in $of { r debug digest }] [in $id { r debug digest }]
    }
}

proc checkpoint_now {} {
    assert_match "Background saving started*" [r bgsave]
    wait_until {[info_field rdb_bgsave_in_progress] == 0} 20000
    assert_equal ok [info_field rdb_last_bgsave_status]
}

# Makes one server the slave of another.
proc follow {id of} { in $id { r slaveof 127.0.0.1 $::server($of,port) } }

# ---------------------------------------------------------------- a master played by the test

set id_a [repeat a 40]
set id_b [repeat b 40]
set id_c [repeat c 40]
set arrived_links {}

proc fake_arrive {chan host port} {
    fconfigure $chan -blocking 0 -translation binary -buffering full
    lappend ::arrived_links $chan
}

proc fake_listen {} {
    set ::arrived_links {}
    set ::fake_listener [socket -server fake_arrive -myaddr 127.0.0.1 0]
    return [lindex [fconfigure $::fake_listener -sockname] 2]
}

proc fake_close {} {
    foreach chan $::arrived_links { catch {close $chan} }
    catch {close $::fake_listener}
}

# The slave's next link.
proc fake_link {{ms 6000}} {
    set end [expr {[clock milliseconds] + $ms}]
    while {![llength $::arrived_links]} {
        if {[clock milliseconds] > $end} { fail "no link came within $ms ms" }
        after 10
        update
    }
    set ::arrived_links [lassign $::arrived_links chan]
    return $chan
}

# The slave's next command but its acknowledgements, in small letters; signs of life are passed over.
proc fake_command {c {acks 0}} {
    while {1} {
        set end [expr {[clock milliseconds] + $::read_ms_max}]
        while {[gets $c line] < 0} {
            if {[eof $c]} { return -code error -errorcode CLOSED "the slave closed the link" }
            wait_bytes $c $end command
        }
        if {[string trimright $line \r] eq ""} continue
        set words {}
        set count [string range [string trim $line] 1 end]
        if {[string index $line 0] ne "*"} { ;# 3.2 speaks so before the stream
            set words [split [string trim $line]]
            set count 0
        }
        for {set i $count} {$i > 0} {incr i -1} {
            set len [string range [recv_line $c] 1 end]
            lappend words [string range [recv_raw $c [expr {$len + 2}]] 0 end-2]
        }
        set words [string tolower $words]
        if {$acks || [lrange $words 0 1] ne "replconf ack"} { return $words }
    }
}

proc fake_send {c bytes} {
    puts -nonewline $c $bytes
    flush $c
}

proc fake_info {id offset keys {id2 ""} {offset2 -1} {role master}} {
    set text "# Replication\r\nrole:$role\r\nmaster_replid:$id\r\nmaster_repl_offset:$offset\r\n"
    if {$id2 ne ""} { append text "master_replid2:$id2\r\nsecond_repl_offset:$offset2\r\n" }
    append text "# Keyspace\r\n"
    if {$keys > 0} { append text "db0:keys=$keys,expires=0,avg_ttl=0\r\n" }
    return $text
}

# Answers all up to PSYNC, whose words are returned: two, but for FAILOVER.
proc fake_handshake {c info {words_max 2}} {
    set ::said {}
    while {1} {
        set words [fake_command $c]
        lappend ::said $words
        switch [lindex $words 0] {
            ping { fake_send $c "+PONG\r\n" }
            info { fake_send $c "\$[string length $info]\r\n$info\r\n" }
            psync { return [lrange $words 1 $words_max] }
            default { fake_send $c "+OK\r\n" }
        }
    }
}
