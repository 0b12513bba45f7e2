# ckv: build, run, test. `make help` lists the targets.

CC ?= cc
SAN ?=
BUILD := build$(if $(SAN),-$(SAN))$(if $(findstring clang,$(CC)),-clang)

PKGS := glib-2.0
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion -Werror
CFLAGS := -std=gnu11 -O2 -g -fno-omit-frame-pointer $(WARN) -I. $(shell pkg-config --cflags $(PKGS))
LDLIBS := $(shell pkg-config --libs $(PKGS)) -lm -lpthread
ifeq ($(SAN),asan)
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SAN),tsan)
CFLAGS += -fsanitize=thread
else
LDLIBS += -ljemalloc
endif

SRC := $(wildcard base/*.c net/*.c store/*.c cmds/*.c repl/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))

.PHONY: all unit clean format
all: $(BUILD)/ckv

$(BUILD)/ckv: $(BUILD)/ckv.o $(OBJ)
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/test_%: $(BUILD)/tests/unit/test_%.o $(OBJ)
	$(CC) $(CFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

unit: $(UNIT)
	@set -e; for t in $(UNIT); do $$t; done

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build*/

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
