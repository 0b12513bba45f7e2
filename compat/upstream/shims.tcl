# shims.tcl: lets tests of the upstream suite run against a server that is up already and offers nothing beyond the
# published matrix. client.tcl sources it; run.py --target uses it. The shims, each named in compat/README.md:
#
#     start_server      empties the target and connects to it; a block inside another's is left out
#     socket            opens each connection with AUTH if there is a password
#     flushall, flushdb KEYS * and DEL, in every database or in the one selected
#     debug populate    SET key:N value:N
#     assert_encoding   nothing
#     config set        of an option that chooses encodings: nothing
#     other commands    outside of tests, that are not in the matrix: nothing
#
# SPDX-License-Identifier: GPL-3.0-or-later

namespace eval compat {
    variable databases 16
    variable keeper ""         ;# a connection of our own, for the shims
    variable outside_matrix {bgrewriteaof bgsave client config debug flushall flushdb latency migrate monitor object
        role save script slaveof slowlog sync}
}

proc compat::authenticate {channel host port} {
    variable target
    lassign $target to_host to_port password
    if {$password eq "" || $host ne $to_host || $port != $to_port} return
    set before [fconfigure $channel -translation]
    fconfigure $channel -translation binary
    puts_plain -nonewline $channel "*2\r\n\$4\r\nAUTH\r\n\$[string length $password]\r\n$password\r\n"
    flush $channel
    gets $channel reply
    if {[string trim $reply] ne "+OK"} { error "the target answered AUTH with: $reply" }
    fconfigure $channel -translation $before
}

# One command on our own connection.
proc compat::keep {args} {
    variable target
    variable keeper
    if {$keeper eq ""} {
        redis {*}[lrange $target 0 1]
        set keeper $::redis::id
    }
    dispatch_plain $keeper {*}$args
}

proc compat::empty_database {number} {
    keep select $number
    if {[keep dbsize] == 0} return
    set keys [keep keys *]
    for {set i 0} {$i < [llength $keys]} {incr i 1000} { keep del {*}[lrange $keys $i $i+999] }
}

proc compat::empty_target {} {
    variable databases
    for {set number 0} {$number < $databases} {incr number} { empty_database $number }
    return OK
}

proc compat::populate {number count {prefix key}} {
    keep select $number
    for {set i 0} {$i < $count} {incr i} { keep setnx $prefix:$i value:$i }
    return OK
}

# Does what the command asks for by commands of the matrix, and answers in its place: true, with the reply.
proc compat::shim {id name arguments reply_name} {
    variable database
    variable inside
    variable outside_matrix
    upvar 1 $reply_name reply
    set number [expr {[info exists database($id)] ? $database($id) : 0}]
    set option [lrange $arguments 0 1]
    if {$name eq "flushall"} {
        set reply [empty_target]
    } elseif {$name eq "flushdb"} {
        empty_database $number
        set reply OK
    } elseif {$name eq "debug" && [string equal -nocase [lindex $arguments 0] populate]} {
        set reply [populate $number {*}[lrange $arguments 1 end]]
    } elseif {$name eq "config" && [string match -nocase {set *-max-*} $option]} {
        set reply OK
    } elseif {!$inside && $name in $outside_matrix} {
        set reply ""
    } else {
        return 0
    }
    return 1
}

# The target in a started server's place. A block inside another's would need a second server.
proc compat::borrow_server {options code} {
    variable target
    if {[llength $::servers] > 0} return
    empty_target
    lassign $target host port
    set ::host $host
    set ::port $port
    set ::servers [list [dict create host $host port $port config {} pid 0 stdout /dev/null stderr /dev/null]]
    reconnect
    if {[catch {uplevel 1 $code} message]} { setup_note "a server's block ended early: $message" }
    catch { [dict get [lindex $::servers 0] client] close }
    set ::servers {}
}
