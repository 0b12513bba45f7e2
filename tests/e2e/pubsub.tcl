# pubsub.tcl: publish/subscribe beyond the transcripts: many clients, the order of messages, ends of connections,
# transactions, and which keyspace events are published.
#
# SPDX-License-Identifier: GPL-3.0-or-later

# `count` replies.
proc receive {c count} {
    set replies {}
    for {set i 0} {$i < $count} {incr i} { lappend replies [recv $c] }
    return $replies
}

with_server {} {
    test "every subscriber gets every message once, in order" {
        set clients {}
        for {set i 0} {$i < 100} {incr i} {
            set c [connect]
            $c subscribe news
            lappend clients $c
        }
        for {set i 0} {$i < 50} {incr i} { assert_equal 100 [r publish news $i] }
        foreach c $clients {
            for {set i 0} {$i < 50} {incr i} { assert_equal [list message news $i] [recv $c] }
            disconnect $c
        }
        wait_until {[r pubsub numsub news] eq {news 0}}
        assert_equal 0 [r publish news nobody]
    }

    test "a client gets a message for its channel first, then for each matching pattern in the order subscribed" {
        set other [connect]
        $other psubscribe n*
        set c [connect]
        send $c psubscribe *s nothing ne?s n* \[n\]ews
        send $c subscribe news
        receive $c 6
        assert_equal 6 [r publish news hello]
        set expected {{message news hello}}
        foreach pattern {*s ne?s n* {[n]ews}} { lappend expected [list pmessage $pattern news hello] }
        assert_equal $expected [receive $c 5]
        assert_equal {pmessage n* news hello} [recv $other]
        disconnect $other
        disconnect $c
    }

    test "subscribing twice counts once, and the confirmations count channels and patterns" {
        set c [connect]
        send $c subscribe a b a
        assert_equal {{subscribe a 1} {subscribe b 2} {subscribe a 2}} [receive $c 3]
        send $c psubscribe a b a
        assert_equal {{psubscribe a 3} {psubscribe b 4} {psubscribe a 4}} [receive $c 3]
        assert_equal 2 [r publish a x]
        assert_equal {{message a x} {pmessage a a x}} [receive $c 2]
        send $c unsubscribe b nothing b
        assert_equal {{unsubscribe b 3} {unsubscribe nothing 3} {unsubscribe b 3}} [receive $c 3]
        send $c punsubscribe
        assert_equal {{punsubscribe a 2} {punsubscribe b 1}} [receive $c 2]
        send $c punsubscribe
        assert_equal {{punsubscribe (nil) 1}} [receive $c 1]
        send $c unsubscribe
        assert_equal {{unsubscribe a 0}} [receive $c 1]
        send $c unsubscribe
        assert_equal {{unsubscribe (nil) 0}} [receive $c 1]
        assert_equal OK [$c set k v]
        disconnect $c
    }

    test "UNSUBSCRIBE without channels ends them in the order subscribed" {
        set c [connect]
        for {set i 0} {$i < 500} {incr i} { lappend names ch[expr {$i * 7919 % 500}] }
        foreach {subscribe unsubscribe} {subscribe unsubscribe psubscribe punsubscribe} {
            send $c $subscribe {*}$names
            receive $c 500
            send $c $unsubscribe
            set left 500
            foreach name $names { assert_equal [list $unsubscribe $name [incr left -1]] [recv $c] }
        }
        disconnect $c
    }

    test "while subscribed only some commands are allowed" {
        set c [connect]
        $c subscribe a
        foreach command {{get k} {set k v} {publish a x} {multi} {info} {nonsense-is-unknown}} {
            catch { $c {*}$command } message
            if {$command eq "nonsense-is-unknown"} {
                assert_match "ERR unknown command*" $message
            } else {
                assert_equal "ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context" $message
            }
        }
        assert_equal {pong {}} [$c ping]
        assert_equal {pong text} [$c ping text]
        assert_equal {unsubscribe a 0} [$c unsubscribe a]
        assert_equal PONG [$c ping]
        disconnect $c
    }

    test "a connection's end ends its subscriptions" {
        set c [connect]
        send $c subscribe a b
        send $c psubscribe x* y*
        receive $c 4
        assert_equal {a b} [lsort [r pubsub channels]]
        assert_equal 2 [r pubsub numpat]
        disconnect $c
        wait_until {[r pubsub numpat] == 0}
        assert_equal {} [r pubsub channels]
        set c [connect]
        $c subscribe a
        assert_equal OK [$c quit]
        wait_until {[r pubsub channels] eq {}}
        disconnect $c
    }

    test "a subscriber's end in the middle of others' messages" {
        for {set round 0} {$round < 20} {incr round} {
            set gone [connect]
            set stays [connect]
            $gone subscribe a
            $stays subscribe a
            for {set i 0} {$i < 20} {incr i} { send $stays ping }
            disconnect $gone
            r publish a $round
            set kinds [lmap reply [receive $stays 21] { lindex $reply 0 }]
            assert_equal 1 [llength [lsearch -all $kinds message]]
            disconnect $stays
        }
    }

    test "PUBSUB" {
        set c [connect]
        $c subscribe abc
        $c subscribe "\x00\xff"
        $c psubscribe p*
        set d [connect]
        $d psubscribe p*
        $d subscribe abc
        assert_equal [lsort [list abc "\x00\xff"]] [lsort [r pubsub channels]]
        assert_equal abc [r pubsub channels a*]
        assert_equal {} [r pubsub channels p*]
        assert_equal {abc 2 p* 0 nothing 0} [r pubsub numsub abc p* nothing]
        assert_equal {} [r pubsub numsub]
        assert_equal 2 [r pubsub numpat]
        assert_match "*pubsub_channels:2\r*pubsub_patterns:2\r*" [r info stats]
        foreach command {{pubsub numpat x} {pubsub channels a b} {pubsub nonsense}} {
            assert_error "ERR Unknown PUBSUB subcommand or wrong number of arguments for '[lindex $command 1]'" {
                r {*}$command
            }
        }
        disconnect $c
        disconnect $d
    }

    test "binary and empty names and messages, and big ones" {
        set c [connect]
        $c subscribe ""
        $c subscribe "\x00\r\n\xff"
        assert_equal 1 [r publish "" ""]
        assert_equal {message {} {}} [recv $c]
        assert_equal 1 [r publish "\x00\r\n\xff" [repeat x 1000000]]
        assert_equal [list message "\x00\r\n\xff" [repeat x 1000000]] [recv $c]
        disconnect $c
    }

    test "in a transaction" {
        set c [connect]
        $c subscribe a
        r multi
        r publish a one
        r set k v
        r publish a two
        assert_silent $c
        assert_equal {1 OK 1} [r exec]
        assert_equal {{message a one} {message a two}} [receive $c 2]
        r multi
        r publish a never
        r discard
        assert_silent $c
        disconnect $c
    }

    test "keyspace events: the channels and classes asked for" {
        set c [connect]
        $c psubscribe __key*
        r config set notify-keyspace-events K\$
        r set k v
        r lpush l x
        r del k
        assert_equal {pmessage __key* __keyspace@0__:k set} [recv $c]
        r config set notify-keyspace-events El
        r set k v
        r lpush l x
        r lrem l 0 x
        assert_equal {pmessage __key* __keyevent@0__:lpush l} [recv $c]
        r config set notify-keyspace-events KEg
        r select 7
        r set k v
        r del k
        assert_equal {{pmessage __key* __keyspace@7__:k del} {pmessage __key* __keyevent@7__:del k}} [receive $c 2]
        r rpush l x y
        r lrem l 0 x
        assert_equal {{pmessage __key* __keyspace@7__:l lrem} {pmessage __key* __keyevent@7__:lrem l}} [receive $c 2]
        r select 0
        foreach useless {K E g gx KEx ""} {
            r config set notify-keyspace-events $useless
            r set k v
            r lpush l x
        }
        assert_silent $c
        r config set notify-keyspace-events ""
        disconnect $c
    }

    test "a slow subscriber beyond its output limit is cut off" {
        r config set client-output-buffer-limit "pubsub 1000000 0 0"
        set c [connect]
        $c subscribe a
        set receivers 1
        for {set i 0} {$i < 200 && $receivers == 1} {incr i} { set receivers [r publish a [repeat x 100000]] }
        assert_equal 0 $receivers
        assert_equal {} [r pubsub channels]
        disconnect $c
    }
}
