# run.tcl: runs the end-to-end tests: tclsh tests/e2e/run.tcl [--ckv build/ckv] [--only TEXT] [--seconds N] [FILE…]
#
# Each file runs in a process of its own with a time limit (300 s) and a scratch directory that is removed afterwards.
# Prints failures, a line for each file, and at last `N passed, N failed, N skipped`; exit status 1 if anything failed.
#
# SPDX-License-Identifier: GPL-3.0-or-later

set here [file dirname [file normalize [info script]]]
set ckv build/ckv
set only ""
set seconds 300
set one ""
set files {}
for {set i 0} {$i < [llength $argv]} {incr i} {
    set arg [lindex $argv $i]
    switch -- $arg {
        --ckv - --only - --seconds - --one - --scratch { set [string range $arg 2 end] [lindex $argv [incr i]] }
        default { lappend files $arg }
    }
}
set ckv [file normalize $ckv]

# The child: one file, in this process.
if {$one ne ""} {
    fconfigure stdout -encoding utf-8 -buffering line
    source -encoding utf-8 [file join $here lib.tcl]
    set sanitized [regexp {build-(asan|tsan)} $ckv]
    if {[catch {source -encoding utf-8 $one} message details]} {
        report_failure $one $message [dict get $details -errorinfo]
    }
    foreach key [array names server *,pid] {
        set id [lindex [split $key ,] 0]
        if {[catch {stop_server $id} message]} { report_failure "the end of $one" $message }
    }
    puts "counts $tally(passed) $tally(failed) $tally(skipped)"
    exit
}

if {![llength $files]} {
    foreach file [lsort [glob -directory $here *.tcl]] {
        if {[file tail $file] ni {lib.tcl run.tcl}} { lappend files $file }
    }
}
array set total {passed 0 failed 0 skipped 0}
foreach file $files {
    close [file tempfile scratch ckv-e2e]
    file delete $scratch
    file mkdir $scratch
    set start [clock milliseconds]
    # timeout(1) signals its whole process group, so a file that hangs takes its servers with it.
    catch {
        exec -ignorestderr timeout -k 5 $seconds [info nameofexecutable] [info script] \
            --ckv $ckv --only $only --scratch $scratch --one $file 2>@1
    } output details
    if {[regexp {(.*)counts (\d+) (\d+) (\d+)(\n.*)?$} $output -> text passed failed skipped]} {
        puts -nonewline $text
    } else {
        lassign {0 1 0} passed failed skipped
        puts "$output\nFAIL  $file did not come to its end within $seconds s"
        foreach log [glob -nocomplain -directory $scratch *.log] { puts [exec tail -n 25 $log] }
    }
    puts [format "%-32s %4d passed, %d failed, %d skipped  (%.1f s)" [file tail $file] $passed $failed $skipped \
        [expr {([clock milliseconds] - $start) / 1000.0}]]
    flush stdout
    foreach count {passed failed skipped} { incr total($count) [set $count] }
    file delete -force $scratch
}
puts "$total(passed) passed, $total(failed) failed, $total(skipped) skipped"
exit [expr {$total(failed) > 0}]
