# connection.tcl: AUTH, ECHO, PING, QUIT, SELECT beyond the transcripts: every form of a password, planes, databases.
#
# SPDX-License-Identifier: GPL-3.0-or-later

with_server {--databases 3} {
    test "SELECT takes the configured databases and no others" {
        assert_equal OK [r select 2]
        foreach bad {3 -1 x 1.5 "" 99999999999999999999} {
            assert_error {ERR invalid DB index} {r select $bad}
        }
        r set k v
        r select 0
        assert_equal (nil) [r get k]
    }

    test "without a password AUTH says so" {
        assert_error {ERR Client sent AUTH, but no password is set} {r auth x}
    }

    test "ECHO and PING give back any bytes" {
        set bytes "\x00\r\n\xff"
        assert_equal $bytes [r echo $bytes]
        assert_equal $bytes [r ping $bytes]
        assert_equal PONG [r PiNg]
    }

    test "what follows QUIT in a pipeline is not run" {
        set c [connect]
        send_raw $c "QUIT\r\nSET k v\r\n"
        assert_equal OK [recv $c]
        assert_closed $c
        assert_equal 0 [r exists k]
    }
}

with_server {--admin-plane auth --requirepass crs-1:se:cret --admin-password adm} {
    test "AUTH takes the whole form only" {
        set c [connect]
        foreach bad {
            se:cret crs-1 crs-1: crs-1:se crs-1:se:cret2 crs-2:se:cret :se:cret "" CRS-1:se:cret "crs-1:se:cret\x00"
        } {
            assert_error {ERR invalid password} {$c auth $bad}
            assert_error {NOAUTH Authentication required.} {$c get k}
        }
        assert_equal OK [$c auth crs-1:se:cret]
        assert_equal (nil) [$c get k]
        assert_error {ERR invalid password} {$c auth wrong}
        assert_error {NOAUTH*} {$c get k}
        disconnect $c
    }

    test "a password of a megabyte is refused like any other" {
        set c [connect]
        assert_error {ERR invalid password} {$c auth [repeat x 1000000]}
        disconnect $c
    }

    test "the admin plane opens with its password and closes with the service's" {
        set c [connect]
        assert_error {ERR invalid password} {$c auth admin:wrong}
        $c auth crs-1:se:cret
        assert_error {ERR unknown command 'config' (not supported by CKV Master/Slave)} {$c config get port}
        $c auth admin:adm
        assert_equal maxmemory [lindex [$c config get maxmemory] 0]
        $c auth crs-1:se:cret
        assert_error {ERR unknown command*} {$c config get port}
        disconnect $c
    }

    test "commands that Redis 3.2 does not have get its own words" {
        set c [connect]
        $c auth crs-1:se:cret
        assert_error {ERR unknown command 'hello'} {$c hello 3}
        assert_error {ERR unknown command 'nosuch'} {$c nosuch}
        foreach name {eval substr georadius_ro latency bitfield blpop dump} {
            assert_error "ERR unknown command '$name' (not supported by CKV Master/Slave)" {$c $name a b c d}
        }
        disconnect $c
    }

    test "COMMAND is answered, its sub-commands are refused" {
        set c [connect]
        $c auth crs-1:se:cret
        assert_equal 133 [llength [$c command]]
        foreach sub {COUNT info getkeys} {
            assert_error "ERR unknown command 'COMMAND $sub' (not supported by CKV Master/Slave)" {$c COMMAND $sub get}
        }
        assert_error {ERR Unknown subcommand or wrong number of arguments.} {$c command foo}
        disconnect $c
    }

    test "a line of HTTP ends the connection" {
        set c [connect]
        send_raw $c "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nQUIT\r\n"
        assert_error {ERR unknown command 'POST'*} {recv $c}
        assert_closed $c
    }
}
