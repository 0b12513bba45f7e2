# sentinel.tcl: runs one unit of the upstream suite's tests of Sentinel and writes down what each of its tests did, as
# client.tcl does for the other files. sentinel.py starts it, one process a unit, in a directory that looks like Redis'
# source tree:
#
#     tclsh sentinel.tcl UNIT RESULTS SKIP PORT
#
#     UNIT      00-base and so on, in tests/sentinel/tests/
#     RESULTS   the file to write: a line a test, as client.tcl says
#     SKIP      a file of lines `name<tab>reason`: tests whose bodies are not to be run
#     PORT      the first of those that the servers may listen on: the Sentinels from there, the others above them
#
# Design. tests/sentinel/run.tcl is evaluated, all but its last block, which runs everything; and so is instances.tcl,
# which it loads. Then the procedures below take the places of the suite's. As in the suite, a test that fails ends its
# unit, for those that come after it build on it.
#
# SPDX-License-Identifier: GPL-3.0-or-later

source [file join [file dirname [file normalize [info script]]] common.tcl]

namespace eval compat {
    variable seen             ;# by test name: how often it came
    variable redis_ports 40   ;# above the Sentinels' first
    array set seen {}
}

interp alias {} ::compat::puts_plain {} ::puts

# Ports differ from run to run; a name that comes again gets its number.
proc compat::unique {name} {
    variable seen
    regsub -all {127\.0\.0\.1:\d+} $name {127.0.0.1:PORT} name
    set count [incr seen($name)]
    if {$count > 1} { return "$name #$count" }
    return $name
}

proc compat::test {name body} {
    variable skip
    variable sent
    variable checks 0
    set name [unique $name]
    if {[dict exists $skip $name]} {
        write_line test $name skipped [dict get $skip $name] 0 0 "" ""
        return
    }
    array unset sent
    set start [clock milliseconds]
    set failed [catch {uplevel 1 $body} reply]
    set seconds [format %.3f [expr {([clock milliseconds] - $start) / 1000.0}]]
    set outcome [expr {$failed ? [list failed [regsub {^assertion:} $reply ""]] : {passed ""}}]
    write_line test $name {*}$outcome $checks $seconds [join [lsort [array names sent]] ";"] ""
    if {$failed} { return -code continue }
}

# A command to a server that is no Sentinel.
proc compat::R {number name args} {
    note_command $name $args
    tailcall compat::R_plain $number $name {*}$args
}

proc compat::abort_sentinel_test {message} {
    write_line setup $message
    error $message
}

# A wait is an assertion, whose failure is the suite's `fail`.
proc compat::wait_for_condition {args} {
    variable checks
    incr checks
    tailcall compat::wait_for_condition_plain {*}$args
}

# What tests/sentinel/run.tcl does, but for its main.
proc compat::load_suite {} {
    set f [open tests/sentinel/run.tcl]
    set text [read $f]
    close $f
    set runner [string first "\nif \{\[catch main " $text]
    if {$runner < 0} { error "tests/sentinel/run.tcl does not end in the block that starts it" }
    uplevel #0 [string range $text 0 $runner]
    foreach name {test R abort_sentinel_test wait_for_condition} { replace ::$name $name }
    count_assertions
}

proc compat::run_unit {unit} {
    spawn_instance sentinel $::sentinel_base_port $::instances_count
    spawn_instance redis $::redis_base_port $::instances_count
    # A loop, because a failed test continues the suite's over its units.
    foreach file [list ../tests/$unit.tcl] { uplevel #0 [list source $file] }
}

proc compat::main {argv} {
    variable redis_ports
    lassign $argv unit path skip_path port
    open_files $path $skip_path
    set ::argv {}
    load_suite
    set ::sentinel_base_port $port
    set ::redis_base_port [expr {$port + $redis_ports}]
    if {[catch {run_unit $unit} message]} { write_line setup "the unit ended early: $message\n$::errorInfo" }
    catch cleanup
    write_line end
}

compat::main $argv
