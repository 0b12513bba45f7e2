# transactions.tcl: MULTI, EXEC, DISCARD, WATCH, UNWATCH beyond the transcripts: many watchers, FLUSHALL,
# disconnects, refused commands.
#
# SPDX-License-Identifier: GPL-3.0-or-later

with_server {} {
    test "a transaction runs in one piece, in order" {
        r multi
        for {set i 0} {$i < 1000} {incr i} { assert_equal QUEUED [r rpush l $i] }
        set other [connect]
        assert_equal 0 [$other llen l]
        set lengths [r exec]
        assert_equal 1000 [llength $lengths]
        assert_equal 1000 [lindex $lengths end]
        assert_equal {0 1 2} [$other lrange l 0 2]
        disconnect $other
    }

    test "SELECT inside a transaction holds for the rest of it and after it" {
        r multi
        r select 3
        r set k three
        r exec
        assert_equal three [r get k]
        r select 0
        assert_equal (nil) [r get k]
    }

    test "one change fails every watcher, and only those" {
        set watchers {}
        for {set i 0} {$i < 20} {incr i} {
            set c [connect]
            $c watch k[expr {$i % 2}]
            lappend watchers $c
        }
        r set k0 changed
        set i 0
        foreach c $watchers {
            $c multi
            $c ping
            assert_equal [expr {$i % 2 == 0 ? "(nil)" : "PONG"}] [$c exec]
            disconnect $c
            incr i
        }
    }

    test "FLUSHALL and FLUSHDB touch what is watched" {
        r set k v
        set c [connect]
        $c watch k
        r flushdb
        $c multi
        $c ping
        assert_equal (nil) [$c exec]
        $c watch k
        r select 5
        r flushdb
        r select 0
        $c multi
        $c ping
        assert_equal PONG [$c exec]
        r set k v
        $c watch k
        r flushall
        $c multi
        $c ping
        assert_equal (nil) [$c exec]
        disconnect $c
    }

    test "FLUSHALL and FLUSHDB leave alone who watches a key that is missing" {
        set c [connect]
        foreach flush {flushdb flushall} {
            $c watch k
            r set other v
            r $flush
            $c multi
            $c ping
            assert_equal PONG [$c exec]
        }
        disconnect $c
    }

    test "a key that expires under its watcher does not fail it" {
        r psetex k 20 v
        r watch k
        after 60
        r multi
        r ping
        assert_equal PONG [r exec]
    }

    test "a watcher that goes away is forgotten" {
        for {set i 0} {$i < 50} {incr i} {
            set c [connect]
            $c watch a b c
            $c multi
            $c set a 1
            disconnect $c
        }
        r set a 2
        r set b 2
        assert_equal 2 [r get a]
    }

    test "watching the same key twice and another database's key of the same name" {
        r watch k k
        r select 1
        r set k other
        r multi
        r ping
        assert_equal PONG [r exec]
        r select 0
        r watch k
        r set k mine
        r multi
        r ping
        assert_equal (nil) [r exec]
    }

    test "errors of queued commands stand in EXEC's reply, and the others run" {
        r set s text
        r multi
        r incr s
        r lpush s x
        r append s !
        assert_equal [list {-ERR value is not an integer or out of range} \
            {-WRONGTYPE Operation against a key holding the wrong kind of value} 5] [r exec]
    }

    test "a subscriber made inside a transaction gets its confirmations there" {
        set c [connect]
        $c multi
        $c subscribe news
        $c exec
        assert_equal 1 [r publish news hello]
        assert_equal {message news hello} [recv $c]
        disconnect $c
    }

    test "QUIT inside MULTI ends the connection and runs nothing" {
        set c [connect]
        $c multi
        $c set k v
        assert_equal OK [$c quit]
        assert_closed $c
        assert_equal 0 [r exists k]
    }
}

with_server {--admin-plane auth --instance-id crs-1 --password secret} {
    test "a refused command aborts the transaction" {
        set c [connect]
        assert_error {NOAUTH*} {$c get k}
        $c auth crs-1:secret
        $c multi
        assert_error {ERR unknown command 'flushall' (not supported by CKV Master/Slave)} {$c flushall}
        assert_error {EXECABORT*} {$c exec}
        $c multi
        assert_error {ERR unknown command 'COMMAND count' (not supported by CKV Master/Slave)} {$c COMMAND count}
        assert_error {EXECABORT*} {$c exec}
        assert_error {ERR EXEC without MULTI} {$c exec}
        disconnect $c
    }

    test "an unauthenticated client can't build a transaction" {
        set c [connect]
        assert_error {NOAUTH*} {$c multi}
        assert_error {NOAUTH*} {$c watch k}
        assert_equal OK [$c quit]
        disconnect $c
    }
}
