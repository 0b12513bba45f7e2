# geo.tcl: positions beyond the transcripts: circles against all points one by one, the date line and the poles,
# keyspace events, encodings of what is stored.
#
# SPDX-License-Identifier: GPL-3.0-or-later

set pi [expr {acos(-1)}]

# Metres between two positions, by the haversine formula on Redis' sphere.
proc distance {lon1 lat1 lon2 lat2} {
    foreach name {lon1 lat1 lon2 lat2} { set $name [expr {[set $name] * $::pi / 180}] }
    set u [expr {sin(($lat2 - $lat1) / 2)}]
    set v [expr {sin(($lon2 - $lon1) / 2)}]
    return [expr {2 * 6372797.560856 * asin(sqrt($u * $u + cos($lat1) * cos($lat2) * $v * $v))}]
}

# Fills key g with `count` random positions around a centre, and gives {member lon lat …} as stored.
proc scatter {count lon lat degrees} {
    set add {}
    for {set i 0} {$i < $count} {incr i} {
        set x [expr {$lon + (rand() * 2 - 1) * $degrees}]
        if {$x > 180} { set x [expr {$x - 360}] }
        if {$x < -180} { set x [expr {$x + 360}] }
        set y [expr {min(85.05, max(-85.05, $lat + (rand() * 2 - 1) * $degrees))}]
        lappend add $x $y p$i
    }
    r geoadd g {*}$add
    set names [lmap {x y name} $add {set name}]
    set all {}
    foreach name $names point [r geopos g {*}$names] { lappend all $name [lindex $point 0] [lindex $point 1] }
    return $all
}

with_server {} {
    test "a circle holds the same points as a look at each one" {
        expr {srand(8)}
        foreach {lon lat degrees radius} {
            13 38 2 100000     0 0 0.01 500     -122 37 10 800000
            100 -60 5 200000   5 80 10 700000   0 0 180 5000000
        } {
            r del g
            set all [scatter 400 $lon $lat $degrees]
            set inside {}
            foreach {name x y} $all { if {[distance $lon $lat $x $y] <= $radius} { lappend inside $name } }
            assert {[llength $inside] > 0}
            assert_equal [lsort $inside] [lsort [r georadius g $lon $lat $radius m]]
        }
    }

    test "circles across the date line and at the poles" {
        expr {srand(9)}
        foreach {lon lat degrees radius} {
            180 0 1 80000     -180 10 1 80000     179.9 -40 2 150000     -179.9 70 3 150000
            0 85 5 600000     180 -85 5 600000     90 84 90 1000000
        } {
            r del g
            set all [scatter 400 $lon $lat $degrees]
            set inside {}
            foreach {name x y} $all { if {[distance $lon $lat $x $y] <= $radius} { lappend inside $name } }
            assert {[llength $inside] > 0}
            assert_equal [lsort $inside] [lsort [r georadius g $lon $lat $radius m]]
        }
    }

    test "a point at exactly 180 degrees is found from both sides" {
        r geoadd g 180 10 edge -180 10 other
        foreach lon {180 -180 179.9999 -179.9999} {
            assert_equal {edge other} [lsort [r georadius g $lon 10 1 km]]
        }
        assert_equal {edge other} [lsort [r georadiusbymember g edge 1 m]]
    }

    test "a circle in a big set looks at its surroundings only" {
        set add {}
        for {set i 0} {$i < 20000} {incr i} {
            lappend add [expr {($i % 200) * 1.7 - 170}] [expr {($i / 200) * 1.6 - 80}] p$i
        }
        r geoadd g {*}$add
        assert_equal skiplist [r object encoding g]
        set start [clock microseconds]
        for {set i 0} {$i < 200} {incr i} { assert_equal p10100 [r georadius g 0 0 10 km] }
        assert {[clock microseconds] - $start < 1000000}
    }

    test "distances ascending and descending, and COUNT" {
        r geoadd g 0 0 a 0 1 b 0 2 c 0 3 d
        assert_equal {a b c d} [r georadius g 0 0 1000 km asc]
        assert_equal {d c b a} [r georadius g 0 0 1000 km desc]
        assert_equal {a b} [r georadius g 0 0 1000 km count 2]
        assert_equal {d c} [r georadius g 0 0 1000 km desc count 2]
        assert_equal {d b a} [lmap hit [r georadius g 0 0 1000 km withdist desc withhash] {
            if {[lindex $hit 0] eq "c"} continue
            lindex $hit 0
        }]
        assert_equal {a b c} [r georadius g 0 0 1000 km desc count 2 asc count 3]
    }

    test "events" {
        r set target string
        assert_equal {zadd g georadiusstore target del target} [keyspace_events {
            r geoadd g 1 1 a 2 2 b
            r geoadd g 1 1 a
            r georadius g 1 1 10 km store target
            r georadius g 50 50 1 km store target
            r georadius g 50 50 1 km storedist target
        }]
    }

    test "the stored result is as small as it may be, and doesn't expire" {
        r geoadd g 1 1 a
        r set target string ex 100
        r georadius g 1 1 10 km storedist target
        assert_equal {zset ziplist -1} [list [r type target] [r object encoding target] [r ttl target]]
        r geoadd g 1 1 [repeat x 65]
        r georadiusbymember g a 10 km store target
        assert_equal {2 skiplist} [list [r zcard target] [r object encoding target]]
    }

    test "many points at once, one of them wrong: none is stored" {
        set add {}
        for {set i 0} {$i < 100} {incr i} { lappend add 1 1 p$i }
        assert_error "ERR invalid longitude,latitude pair 1.000000,90.000000" { r geoadd g {*}$add 1 90 wrong }
        assert_equal 0 [r exists g]
        assert_equal 100 [r geoadd g {*}$add]
    }

    test "positions of sorted sets that were never any" {
        r zadd z inf a -inf b 1e300 c -1e300 d 18446744073709551616 e
        assert_equal 5 [llength [r geopos z a b c d e]]
        foreach hash [r geohash z a b c d e] { assert_equal 11 [string length $hash] }
        assert_equal 1 [llength [r geodist z a b]]
        r georadius z 0 0 20000 km
        r georadiusbymember z d 20000 km
    }
}
