# client.tcl: runs one file of the upstream suite and writes down what each of its tests did; judge.py judges. run.py
# starts it, one process a file, in a scratch directory that looks like Redis' source tree:
#
#     tclsh client.tcl FILE RESULTS SKIP SEED [HOST PORT PASSWORD]
#
#     FILE      unit/type/string and so on, under tests/
#     RESULTS   the file to write: a line a test: `test name outcome message checks seconds sent refused`, and lines
#               `setup message` about what went wrong outside of tests; tab-separated, as compat/README.md says
#     SKIP      a file of lines `name<tab>reason`: tests whose bodies are not to be run
#     HOST …    the server that is up (shims.tcl); without it the suite starts its own, by src/redis-server
#
# Design. The suite stays as it is: test_helper.tcl is evaluated, all but its last block, which starts the suite's own
# parallel runner; then the procedures below take the places of the suite's. They count assertions, record the commands
# that a test's body sends and the refusals it gets, and see to it that a test which fails, or a refused command outside
# of a test, takes nothing else with it: after such a test every connection is made anew, in the database it was in.
#
# SPDX-License-Identifier: GPL-3.0-or-later

namespace eval compat {
    variable target
    variable inside 0          ;# in a test's body?
    variable refused           ;# set of the refusals that the body got
    variable database          ;# by connection: the database it selected
    variable seen              ;# by test name: how often it came
    variable sockets           ;# set of the open sockets, to see what is written to them directly
    variable raw 0             ;# did the body write to one directly?
    variable no_slave 0        ;# has SLAVEOF been refused in this outermost server's block?
    variable tries_max 5       ;# of waiting for what the refused SLAVEOF was to bring about,
    variable sleep_ms_max 10   ;# and the longest sleep
    array set refused {}
    array set database {}
    array set seen {}
    array set sockets {}
    # The methods of the suite's client that are not commands.
    variable methods {blocking reconnect read write flush close channel deferred}
    variable refusal {ERR unknown command '*' (not supported by CKV Master/Slave)}
    variable unknown_debug {ERR Unknown DEBUG subcommand or wrong number of arguments for '*'}
}

# ---------------------------------------------------------------- what is written down

proc compat::setup_note {message} { write_line setup $message }

# A name that comes again gets its number.
proc compat::unique {name} {
    variable seen
    set count [incr seen($name)]
    if {$count > 1} { return "$name #$count" }
    return $name
}

# Bytes written to a socket directly: commands as arrays of bulk strings, or whole lines of text.
proc compat::note_bytes {bytes} {
    if {[string match {\**} $bytes]} {
        foreach {- name} [regexp -all -inline {\*\d+\r\n\$\d+\r\n(\w+)\r\n} $bytes] { note_command $name {} }
        return
    }
    foreach line [lrange [split $bytes \n] 0 end-1] {
        if {[regexp {^[A-Za-z]+} $line name]} { note_command $name {} }
    }
}

# A reply, or what a failed test says of one: is it a refusal?
proc compat::note_refusal {message} {
    variable refused
    variable no_slave
    variable refusal
    variable unknown_debug
    foreach pattern [list $refusal $unknown_debug] {
        if {[string match $pattern $message]} {
            set refused($message) 1
            if {[string match -nocase {*'slaveof'*} $message]} { set no_slave 1 }
            return 1
        }
    }
    return 0
}

# Every refusal in a text.
proc compat::note_refusals {text} {
    foreach reply [regexp -all -inline {ERR (?:unknown command|Unknown DEBUG sub)[^\r\n]*} $text] {
        regexp {^.*? \(not supported by CKV Master/Slave\)} $reply reply
        note_refusal $reply
    }
}

# What a body left unread on its connections.
proc compat::unread_replies {ids} {
    set text ""
    after 20
    foreach id $ids {
        catch {
            set channel $::redis::fd($id)
            fconfigure $channel -blocking 0
            append text [read $channel 100000] \n
            fconfigure $channel -blocking $::redis::blocking($id)
        }
    }
    return $text
}

# ---------------------------------------------------------------- what takes the places of the suite's procedures

proc compat::dispatch {id method args} {
    variable inside
    variable database
    variable methods
    variable target
    if {$method eq "write"} {
        note_bytes [lindex $args 0]
    } elseif {$method ni $methods} {
        if {$target ne "" && [shim $id [string tolower $method] $args reply]} { return $reply }
        note_command $method $args
    }
    set code [catch {dispatch_plain $id $method {*}$args} reply options]
    if {$code == 1 && [note_refusal $reply] && !$inside} {
        setup_note "outside of a test: $reply"
        return ""
    }
    if {$code == 0 && $method eq "select"} { set database($id) [lindex $args 0] }
    return -options $options $reply
}

proc compat::test {name body {expected undefined}} {
    variable inside
    variable checks
    variable sent
    variable refused
    variable skip
    variable raw
    set name [unique $name]
    if {[dict exists $skip $name]} {
        write_line test $name skipped [dict get $skip $name] 0 0 "" ""
        return
    }
    array unset sent
    array unset refused
    set checks 0
    set raw 0
    set ids [array names ::redis::fd]
    set databases [server_databases]
    set start [clock milliseconds]
    set inside 1
    set failed [catch {uplevel 1 $body} reply]
    set inside 0
    set seconds [format %.3f [expr {([clock milliseconds] - $start) / 1000.0}]]
    lassign [verdict $failed $reply $expected] outcome message
    set own [lmap id [array names ::redis::fd] { expr {$id in $ids ? [continue] : $id} }]
    if {$outcome ne "passed" || $raw} { set own [array names ::redis::fd] }
    if {[llength $own] > 0} { note_refusals "$message\n[unread_replies $own]" }
    write_line test $name $outcome $message $checks $seconds [join [lsort [array names sent]] ";"] \
        [join [lsort [array names refused]] ";"]
    if {$outcome ne "passed" || [array size refused] > 0} { recover $ids $databases }
}

# A body that ended with an error failed, whatever the error; else its value must equal or match what is expected.
proc compat::verdict {failed reply expected} {
    variable checks
    if {$failed} { return [list failed [regsub {^assertion:} $reply ""]] }
    if {$expected eq "undefined"} { return {passed ""} }
    incr checks
    if {$expected eq $reply || [string match $expected $reply]} { return {passed ""} }
    return [list failed "Expected '$expected' to equal or match '$reply'"]
}

# The connections that the suite's servers have for `r`: {id database id database …}.
proc compat::server_databases {} {
    variable database
    set found {}
    foreach server $::servers {
        if {![dict exists $server client]} continue
        set id [string range [dict get $server client] [string length ::redis::redisHandle] end]
        lappend found $id [expr {[info exists database($id)] ? $database($id) : -1}]
    }
    return $found
}

# After a test that failed or was refused: its own connections are closed, those of the servers made anew in place.
proc compat::recover {ids databases} {
    set keep [concat $ids [dict keys [server_databases]]]
    foreach id [array names ::redis::fd] {
        if {$id ni $keep} { catch {::redis::__method__close $id $::redis::fd($id)} }
    }
    foreach {id number} $databases {
        if {[catch {renew $id $number} message]} { setup_note "no new connection after a failed test: $message" }
    }
}

proc compat::renew {id number} {
    variable database
    if {![info exists ::redis::fd($id)]} return
    catch {close $::redis::fd($id)}
    set ::redis::fd($id) [socket {*}$::redis::addr($id)]
    fconfigure $::redis::fd($id) -translation binary
    set ::redis::blocking($id) 1
    ::redis::redis_reset_state $id
    if {$number < 0} return
    dispatch_plain $id select $number
    set database($id) $number
}

# A server's block that fails outside of any test ends there; the file goes on after it.
proc compat::start_server {options {code undefined}} {
    variable inside
    variable target
    variable no_slave
    if {$target ne ""} { tailcall compat::borrow_server $options $code }
    if {[llength $::servers] == 0} { set no_slave 0 }
    set servers $::servers
    set tags $::tags
    if {[catch {uplevel 1 [list compat::start_server_plain $options $code]} reply details]} {
        set ::servers $servers
        set ::tags $tags
        if {$inside} { return -options $details $reply }
        setup_note "a server's block ended early: $reply"
    }
    return $reply
}

# What a refused SLAVEOF was to bring about never comes: the long waits for it are cut short.
proc compat::wait_for_condition {tries delay condition else script} {
    variable no_slave
    variable tries_max
    if {$no_slave} { set tries [expr {min($tries, $tries_max)}] }
    tailcall compat::wait_for_condition_plain $tries $delay $condition $else $script
}

proc compat::after {ms args} {
    variable no_slave
    variable sleep_ms_max
    if {$no_slave && [llength $args] == 0} { set ms [expr {min($ms, $sleep_ms_max)}] }
    tailcall compat::after_plain $ms {*}$args
}

# The suite's own search for a free port looks upwards from one number: runs beside each other would collide.
proc compat::find_available_port {start} {
    while 1 {
        set port [expr {20000 + [clock microseconds] % 9973}]
        if {![catch {socket_plain -server {} -myaddr 127.0.0.1 $port} listener]} {
            close $listener
            return $port
        }
    }
}

proc compat::send_data_packet {fd status data} {
    if {$status in {err exception}} { setup_note $data }
}

proc compat::socket {args} {
    variable sockets
    variable target
    set channel [socket_plain {*}$args]
    if {"-server" ni $args} {
        set sockets($channel) 1
        if {$target ne ""} { authenticate $channel [lindex $args end-1] [lindex $args end] }
    }
    return $channel
}

proc compat::puts {args} {
    variable sockets
    variable raw
    if {[llength $args] > 1 && [info exists sockets([lindex $args end-1])]} {
        set raw 1
        note_bytes [lindex $args end]
    }
    tailcall compat::puts_plain {*}$args
}

# Counted as one need of its own, because a server without DEBUG can be spared it (shims.tcl).
proc compat::assert_encoding {encoding key} {
    variable sent
    variable target
    if {$target ne ""} return
    set before [array get sent]
    uplevel 1 [list compat::assert_encoding_plain $encoding $key]
    array unset sent
    array set sent $before
    set sent(assert_encoding) 1
}

# ---------------------------------------------------------------- putting them there

proc compat::load_suite {} {
    set f [open tests/test_helper.tcl]
    set text [read $f]
    close $f
    set runner [string first "\nif \{\$::client\} \{" $text]
    if {$runner < 0} { error "tests/test_helper.tcl does not end in the block that starts the runner" }
    uplevel #0 [string range $text 0 $runner]
    foreach name {test start_server wait_for_condition find_available_port send_data_packet assert_encoding} {
        replace ::$name $name
    }
    replace ::redis::__dispatch__ dispatch
    count_assertions
    # The client's own writes are known from their commands already.
    interp alias {} ::redis::puts {} ::compat::puts_plain
}

proc compat::main {argv} {
    variable target ""
    lassign $argv file path skip_path seed host port password
    if {$host ne ""} { set target [list $host $port $password] }
    open_files $path $skip_path
    set ::argv {}
    replace ::socket socket
    replace ::puts puts
    replace ::after after
    load_suite
    if {$target ne ""} { empty_target }
    set ::test_server_fd ""
    set ::curfile tests/$file.tcl
    expr {srand($seed)}
    if {[catch {uplevel #0 [list source $::curfile]} message]} {
        setup_note "the file ended early: $message\n$::errorInfo"
    }
    write_line end
}

foreach file {common.tcl shims.tcl} { source [file join [file dirname [file normalize [info script]]] $file] }
compat::main $argv
