# ckv: build, run, test. `make help` lists the targets.

CC ?= cc
SAN ?=#                  asan | tsan | fuzz
FUZZ_SECONDS ?= 20
STEPS ?= 1000000#         of make fuzz-diff, in all SEEDS together
SEEDS ?= 10
PREFIX ?= /usr/local
PROFILE ?=#              generate | use: `make release` does it
BUILD := build$(if $(SAN),-$(SAN))$(if $(findstring clang,$(CC)),-clang)
ROUNDS ?= 200#            kills of each fsync mode in make fault
ROUNDS_REPLICAS ?= 8
ROUNDS_HA ?= 50#         failovers of make ha-long
RESULTS ?= $(BUILD)/results#  where the compatibility suites leave what they found

# Debian packages: to build and run; and, further, to test.
DEPS_RUN := build-essential pkg-config libglib2.0-dev libjemalloc-dev libxxhash-dev libsystemd-dev libgdbm-dev liblzf-dev
DEPS_TEST := $(DEPS_RUN) libcmocka-dev tcl tcllib procps gdbmtool redis-tools redis-server redis-sentinel python3 clang clang-format \
	systemd clang-tidy cppcheck libclang-rt-14-dev libhiredis-dev python3-redis ruby ruby-redis \
	$(if $(shell command -v npm),,nodejs npm)

PKGS := glib-2.0 libsystemd
PROFILE_generate := -fprofile-generate -fprofile-update=prefer-atomic
PROFILE_use := -fprofile-use -fprofile-partial-training -w#  what the training didn't run is no reason to complain
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion -Werror
CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -I. $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lgdbm -llzf -lm -lpthread
SAN_FLAGS_asan := -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SAN_FLAGS_tsan := -fno-omit-frame-pointer -fsanitize=thread
SAN_FLAGS_fuzz := -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS += $(SAN_FLAGS_$(SAN)) $(PROFILE_$(PROFILE))
# The server is optimised as a whole when it's linked; the tests, of which there are many, link the same objects without.
LTO := $(if $(SAN)$(findstring clang,$(CC)),,-flto=auto)
CFLAGS += $(if $(LTO),-fno-lto)
$(BUILD)/%.o: CFLAGS += $(if $(LTO),$(LTO) -ffat-lto-objects)
LDLIBS += $(if $(SAN),,-ljemalloc)

# Else sanitizers don't see who frees GLib's small structures, nor who hands them over to another thread.
$(if $(SAN),$(eval export G_SLICE := always-malloc))

SRC := $(wildcard base/*.c net/*.c store/*.c cmds/*.c repl/*.c tools/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
PARALLEL := $(MAKE) --no-print-directory -j$(shell nproc)

.PHONY: all release run test unit e2e golden upstream sentinel-suite differential replicas fuzz-diff clients clients-readme \
	compat report fuzz fault fault-quick bench bench-peers bench-persistence bench-replication bench-upgrade ha ha-test \
	ha-long upgrade-test test-load test-bench asan tsan install deps deps-test help lint format readme check-readme clean
all: $(BUILD)/ckv ## build build/ckv (also CC=clang, SAN=asan, SAN=tsan)

RELEASE := build-release
release: ## build-release/ckv: the compiler knows from a load (a minute) what is run most; `make install BUILD=build-release`
	$(if $(findstring clang,$(CC)),$(error make release needs gcc: clang takes profiles in another form))
	@tests/deps.sh $(DEPS_RUN) python3
	@rm -rf $(RELEASE).tmp
	@$(PARALLEL) $(BUILD)/load
	@$(PARALLEL) BUILD=$(RELEASE).tmp PROFILE=generate $(RELEASE).tmp/ckv
	@python3 bench/train.py --ckv $(RELEASE).tmp/ckv --load $(BUILD)/load
	@find $(RELEASE).tmp -name '*.o' -delete
	@rm $(RELEASE).tmp/ckv
	@$(PARALLEL) BUILD=$(RELEASE).tmp PROFILE=use $(RELEASE).tmp/ckv
	@rm -rf $(RELEASE)
	@mv $(RELEASE).tmp $(RELEASE)

run: deps ## install what is missing, build, serve on 127.0.0.1:6379
	@$(PARALLEL) all
	@exec $(BUILD)/ckv

test: deps-test ## install what is missing, build, run every test (about 40 minutes on two cores)
	@tests/run.sh

unit: $(UNIT) ## the unit tests
	@tests/unit/run.sh $(UNIT)

e2e: $(BUILD)/ckv ## the end-to-end tests
	@tclsh tests/e2e/run.tcl --ckv $<

golden: $(BUILD)/ckv ## replay the transcripts of Redis 3.2.13
	@python3 compat/replay.py --ckv $< --results $(RESULTS)

UPSTREAM_FLAGS = $(if $(TARGET),--target $(TARGET)) $(if $(AUTH),--auth "$$AUTH") $(if $(FORCE),--force) \
	$(if $(IF_FOUND),--if-found)
upstream: $(if $(TARGET),,$(BUILD)/ckv) ## the test suite of Redis 3.2.13 (REDIS_SUITE=DIR; TARGET=host:port AUTH=password)
	@python3 compat/upstream/run.py --ckv $(BUILD)/ckv --results $(RESULTS) $(UPSTREAM_FLAGS)

sentinel-suite: $(BUILD)/ckv ## the tests of Sentinel in it, with ckv under Debian's redis-sentinel (a minute)
	@python3 compat/upstream/sentinel.py --ckv $< --results $(RESULTS) $(if $(IF_FOUND),--if-found)

differential: $(BUILD)/ckv ## the same random commands to redis-server and to ckv, 200,000 of them
	@CKV=$< python3 compat/differential/test_differential.py
	@python3 compat/differential/fuzz.py --ckv $< --steps 200000 --seeds 4 --results $(RESULTS)

REPLICA ?=#               a Redis' command line, with %p and %d; none: redis-server
replicas: $(BUILD)/ckv ## real Redis servers as slaves of ckv (ROUNDS_REPLICAS=8 REPLICA='path/redis-server --port %p')
	@python3 compat/differential/replicas.py --ckv $< --rounds $(ROUNDS_REPLICAS) $(if $(REPLICA),--replica "$(REPLICA)")

clients: $(BUILD)/ckv $(BUILD)/clients/hiredis ## redis-cli, redis-benchmark, hiredis, Python, Ruby and npm clients
	@python3 tests/clients/run.py --ckv $< --build $(BUILD) --results $(RESULTS) --check README.md

clients-readme: $(BUILD)/ckv $(BUILD)/clients/hiredis ## write README's table of clients anew
	@python3 tests/clients/run.py --ckv $< --build $(BUILD) --write README.md

fuzz-diff: $(BUILD)/ckv ## more of them: STEPS=1000000 SEEDS=10; ORACLE='path/redis-server --port %p'
	@python3 compat/differential/fuzz.py --ckv $< --steps $(STEPS) --seeds $(SEEDS) $(if $(ORACLE),--oracle "$(ORACLE)")

compat: $(if $(TARGET),,$(BUILD)/ckv) $(BUILD)/matrix ## upstream and golden with a report, in build/compat (TARGET=host:port AUTH=password)
	@compat/run.sh compat

report: $(BUILD)/ckv $(BUILD)/matrix $(BUILD)/clients/hiredis ## the compatibility suites, and compat/REPORT.md; HTML and JUnit XML in build/report
	@STEPS=$(STEPS) SEEDS=$(SEEDS) compat/run.sh report

fuzz: ## fuzz every target for FUZZ_SECONDS=20
	@$(PARALLEL) SAN=fuzz CC=clang fuzzers
	@tests/fuzz/run.sh $(FUZZ_SECONDS) build-fuzz-clang

FAULTY := $(BUILD)/ckv $(BUILD)/iofault.so $(BUILD)/clockstep.so
FAULT = --ckv $(BUILD)/ckv --library $(BUILD)/iofault.so --clock $(BUILD)/clockstep.so
fault: $(FAULTY) ## persistence under faults, all of them: hours (ROUNDS=200 kills of each fsync mode)
	@$(PARALLEL) SAN=asan all
	@python3 tests/fault/run.py $(FAULT) --rounds $(ROUNDS) --sanitized build-asan/ckv

fault-quick: $(FAULTY) ## a sample of them: kill -9 under load, failing files, full disks, flipped bytes, rollback, power cuts, set clocks
	@python3 tests/fault/run.py $(FAULT) --quick

ha: $(BUILD)/ckv ## show a failover: a master, a slave and three Sentinels from deploy/, and kill -9 (STAY=1: they go on)
	@python3 deploy/ha.py --ckv $< $(if $(STAY),--stay)

ha-test: $(BUILD)/ckv ## replication and failover: with real Redis, cut links, killed and paused servers, Sentinel
	@python3 tests/ha/run.py --ckv $<

UPGRADES ?= 20
UPGRADED := $(BUILD)/ckv $(BUILD)/ckv-next $(BUILD)/ckv-format $(BUILD)/handfault.so
upgrade-test: $(UPGRADED) ## live upgrades: either process killed at each step; connections in every state, UPGRADES=20 of them in a row
	@python3 tests/ha/upgradekill.py --ckv $< --next $<-next --format $<-format --library $(BUILD)/handfault.so
	@python3 tests/ha/upgrade.py --ckv $< --rounds $(UPGRADES) --other $<-next

ha-long: $(BUILD)/ckv ## the same, longer: ROUNDS_HA=50 failovers and more
	@python3 tests/ha/run.py --ckv $< --rounds $(ROUNDS_HA)

test-load: $(BUILD)/ckv $(BUILD)/load ## the load generator's own tests
	@tests/bench/test_load.py $^

test-bench: $(BUILD)/ckv $(BUILD)/load $(BUILD)/pinger $(BUILD)/floor ## the benchmark's own tests, at tiny sizes
	@tests/bench/test_bench.py $(BUILD)

BENCH = $(PARALLEL) release && $(PARALLEL) BUILD=$(RELEASE) $(RELEASE)/load $(RELEASE)/pinger $(RELEASE)/floor
BENCH_FLAGS = --build $(RELEASE) $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))
bench: deps-test ## side by side with redis-server: bench/RESULTS.md, half an hour or more (QUICK=1: a few minutes; ONLY=text: some rows; both to build/bench)
	@$(BENCH)
	@bench/bench.py $(BENCH_FLAGS)

PEER ?= valkey-server --port %p
bench-peers: deps-test ## the same against another server: PEER='valkey-server --port %p' (%d: a directory); to build/bench
	@$(BENCH)
	@PEER="$(PEER)" bench/peers $(BENCH_FLAGS)

bench-persistence: $(BUILD)/ckv $(BUILD)/load $(BUILD)/pinger ## persistence side by side with redis-server (QUICK=1: fewer keys; ONLY=text: some rows)
	@python3 bench/persistence.py --build $(BUILD) $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-replication: $(BUILD)/ckv $(BUILD)/load $(BUILD)/pinger ## a slave, side by side with redis-server and its own (QUICK=1; ONLY=text: some rows)
	@python3 bench/replication.py --build $(BUILD) $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-upgrade: $(BUILD)/ckv $(BUILD)/load $(BUILD)/pinger ## what a live upgrade costs at 1 M and 5 M keys (QUICK=1: a hundredth of them)
	@python3 bench/upgrade.py --build $(BUILD) $(if $(QUICK),--quick)

asan tsan: ## unit, e2e and golden under ASan and UBSan, or under TSan
	@$(PARALLEL) SAN=$@ all unit
	@$(PARALLEL) SAN=$@ e2e golden

lint: ## layout, cppcheck, clang-tidy
	@tests/lint.sh "$(filter-out -W%,$(CFLAGS))"

format: ## lay out all C files
	clang-format -i $$(find . -path './build*' -prune -o -name '*.[ch]' -print)

readme: $(BUILD)/ckv $(BUILD)/matrix ## write README's generated parts anew
	@python3 tests/readme.py $(BUILD)

check-readme: $(BUILD)/ckv $(BUILD)/matrix ## are they up to date?
	@python3 tests/readme.py $(BUILD) --check

install: $(BUILD)/ckv ## to PREFIX=/usr/local
	install -D $< $(DESTDIR)$(PREFIX)/bin/ckv

deps: ## the Debian packages to build it
	@tests/deps.sh $(DEPS_RUN)

deps-test: ## the Debian packages to test it
	@tests/deps.sh $(DEPS_TEST)

help: ## this list
	@sed -nE 's/^([a-z][a-z0-9 -]*):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

clean: ## remove every build directory
	rm -rf build build-*

# ---- rules

.PHONY: units fuzzers
units: $(UNIT)
fuzzers: $(FUZZ)

$(BUILD)/ckv: $(BUILD)/ckv.o $(OBJ)
	$(CC) $(CFLAGS) $(LTO) -o $@ $^ $(LDLIBS)

# Another version, and one with another hand-over format: only the files that know of either differ.
VERSIONED := $(shell grep -lE 'CKV_VERSION|HANDOVER_FORMAT' ckv.c $(SRC))
UNVERSIONED := $(filter-out $(VERSIONED:%.c=$(BUILD)/%.o),$(BUILD)/ckv.o $(OBJ))
$(BUILD)/next/%.o: CFLAGS += -DCKV_VERSION='"9.9.9"'
$(BUILD)/format/%.o: CFLAGS += -DHANDOVER_FORMAT=99
$(BUILD)/next/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/format/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/ckv-next: $(VERSIONED:%.c=$(BUILD)/next/%.o) $(UNVERSIONED)
$(BUILD)/ckv-format: $(VERSIONED:%.c=$(BUILD)/format/%.o) $(UNVERSIONED)
$(BUILD)/ckv-next $(BUILD)/ckv-format:
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/matrix: $(BUILD)/compat/matrix.o $(OBJ)
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

UNIT_HELP := $(patsubst %,$(BUILD)/tests/unit/%.o,simio journalmodel rdbmodel peer host)
$(BUILD)/test_%: $(BUILD)/tests/unit/test_%.o $(UNIT_HELP) $(OBJ)
	$(CC) $(CFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(BUILD)/clients/hiredis: $(BUILD)/tests/clients/hiredis.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ -lhiredis $(LDLIBS)

$(BUILD)/iofault.so: tests/fault/iofault.c
$(BUILD)/clockstep.so: tests/fault/clockstep.c
$(BUILD)/handfault.so: tests/ha/handfault.c repl/handover.h
$(BUILD)/iofault.so $(BUILD)/clockstep.so $(BUILD)/handfault.so:
	@mkdir -p $(@D)
	$(CC) $(filter-out -fsanitize% -fno-sanitize%,$(CFLAGS)) -fPIC -shared -o $@ $<

$(BUILD)/load: $(BUILD)/bench/draw.o
$(BUILD)/pinger $(BUILD)/floor $(BUILD)/load: $(BUILD)/%: $(BUILD)/bench/%.o
	$(CC) $(CFLAGS) -o $@ $^ -lm

$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(OBJ)
	$(CC) $(CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
