# common.tcl: what client.tcl and sentinel.tcl share: writing down what the tests did, and taking the places of the
# suite's procedures.
#
# SPDX-License-Identifier: GPL-3.0-or-later

namespace eval compat {
    variable results           ;# the file that is written
    variable skip {}           ;# by test name: the reason why its body is not to be run
    variable checks 0          ;# assertions of the body
    variable sent              ;# set of the commands that the body sent
    # The commands that say only with their first argument what they do.
    variable containers {client config debug object slowlog latency script pfdebug cluster}
    array set sent {}
}

# The file of lines `name<tab>reason` is read.
proc compat::open_files {path skip_path} {
    variable results
    variable skip
    set results [open $path w]
    fconfigure $results -encoding utf-8
    set f [open $skip_path]
    foreach line [split [string trim [read $f]] \n] {
        lassign [split $line \t] name reason
        dict set skip $name $reason
    }
    close $f
}

proc compat::write_line {args} {
    variable results
    set fields {}
    foreach field $args {
        set field [string map [list \\ \\\\ \t \\t \n \\n \r \\r] [string range $field 0 1500]]
        lappend fields [regsub -all {[^\x20-\x7e]} $field ?]
    }
    puts_plain $results [join $fields \t]
    flush $results
}

proc compat::note_command {name arguments} {
    variable sent
    variable containers
    set name [string tolower $name]
    if {$name in $containers} { append name " " [string tolower [lindex $arguments 0]] }
    if {$name eq "config set"} { append name " " [string tolower [lindex $arguments 1]] }
    if {$name eq "command" && [llength $arguments] > 0} { append name " " [string tolower [lindex $arguments 0]] }
    set sent($name) 1
}

# The suite's procedure goes to compat::NAME_plain.
proc compat::replace {theirs ours} {
    rename $theirs ::compat::${ours}_plain
    interp alias {} $theirs {} ::compat::$ours
}

proc compat::count_assertions {} {
    foreach name {assert assert_match assert_equal} {
        rename ::$name ::compat::${name}_plain
        proc ::$name {args} "incr ::compat::checks; tailcall ::compat::${name}_plain {*}\$args"
    }
}
