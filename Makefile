# Gantry. `make help` lists the targets.
#	SAN=address,undefined | thread	sanitizer variant, in its own tree
#	O=DIR				another build tree
#	V=1				show the commands
SHELL := /bin/bash
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
FUZZ_SECONDS ?= 20
PREFIX ?= /usr/local
VERSION := 0.1.0

comma := ,
NPROC := $(shell nproc 2>/dev/null || echo 2)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(NPROC)
endif
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

# One tree per variant. The plain tree puts its results where people look for them: build/.
PLAIN := build/plain
O ?= $(if $(FUZZ),build/fuzz,build/$(if $(SAN),$(subst $(comma),-,$(SAN)),plain))
OUT := $(if $(filter $(PLAIN),$(O)),build,$(O))
BIN := $(if $(filter $(PLAIN),$(O)),build,$(O)/bin)
RESULTS := $(OUT)/results

# ---- flags --------------------------------------------------------------------------------
PKGS := libmicrohttpd jansson yaml-0.1 libcurl libseccomp sqlite3 libpq libssl libcrypto libisal libzstd libmnl libnftnl zlib
# Asked for once, and only when something is compiled: `make deps` must work without pkg-config.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# uthash's own way out without memory is an exit that says nothing.
CPPFLAGS += -D_GNU_SOURCE -DGT_VERSION='"$(VERSION)"' -D'uthash_fatal(msg)=gt_out_of_memory()' -Iinclude
CFLAGS ?= -O2 -g
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
FORTIFY := $(if $(SAN)$(FUZZ),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
ifdef FUZZ
SAN_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
endif
BASE_FLAGS := $(CPPFLAGS) -std=gnu11 $(CFLAGS) $(WARN) $(FORTIFY) -fstack-protector-strong -fPIE \
	$(SAN_FLAGS)
FLAGS = $(BASE_FLAGS) $(PKG_CFLAGS)
LINK = $(CC) $(CFLAGS) $(SAN_FLAGS) -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
LIBS = $(PKG_LIBS) -lpthread -lm
# With musl, whose programs start in a third of the time; the kernel's headers are the host's.
INIT_FLAGS := $(CPPFLAGS) -DGT_INIT -std=gnu11 -Os $(WARN) -fstack-protector-strong \
	-ffunction-sections -fdata-sections -idirafter /usr/include \
	-idirafter /usr/include/$(shell gcc -print-multiarch) -include src/runtime/init/musl.h

# ---- sources: the tree says what there is ----------------------------------------------------
MAINS := src/daemon/main.c src/cli/main.c
SRCS := $(filter-out $(MAINS),$(wildcard src/*/*.c))
INIT_SRCS := $(wildcard src/runtime/init/*.c)
ASMS := $(if $(INIT_SRCS),$(wildcard src/runtime/*.S))
ROOMS := $(sort $(foreach f,$(SRCS),$(word 2,$(subst /, ,$(f)))))
OBJS := $(SRCS:%.c=$(O)/%.o) $(ASMS:%.S=$(O)/%.o)
room_objs = $(filter $(O)/src/$(1)/%,$(OBJS))
LIB := $(O)/libgantry.a
PREFLIGHT_SRCS := $(wildcard src/gpu/preflight/*.c)
PROGRAMS := $(if $(wildcard src/daemon/main.c),$(BIN)/gantryd) \
	$(if $(wildcard src/cli/main.c),$(BIN)/gantry) $(BIN)/gantry-preflight

# A room with all rooms below it, out of scripts/layers.txt: a unit test links nothing else, so a
# room that is broken or above stops no test of this one.
CLOSURES := $(shell awk '{ sub(/\#.*/, "") } /^[a-z]/ { sub(/:/, ""); delete s; n = "";\
	for (i = 2; i <= NF; i++) { s[$$i]; k = split(c[$$i], t, ","); for (j = 1; j <= k; j++) s[t[j]] }\
	for (r in s) if (r != "") n = n "," r; c[$$1] = n; print $$1 ":" $$1 n }' scripts/layers.txt)
closure = $(filter $(ROOMS),$(subst $(comma), ,$(patsubst $(1):%,%,$(filter $(1):%,$(CLOSURES)))))

TESTS := $(wildcard tests/unit/*/test_*.c)
TEST_ROOMS := $(sort $(foreach f,$(TESTS),$(word 3,$(subst /, ,$(f)))))
TEST_HELPERS := $(filter-out $(TESTS),$(wildcard tests/unit/*/*.c))
SIMS := $(wildcard tests/sim/test_*.c)
SIM_HELPERS := $(filter-out $(SIMS),$(wildcard tests/sim/*.c))
FUZZERS := $(wildcard tests/fuzz/fuzz_*.c)
TEST_PROGS := $(TESTS:%.c=$(O)/%)
SIM_PROGS := $(SIMS:%.c=$(O)/%)
FUZZ_PROGS := $(FUZZERS:%.c=$(O)/%)
TORTURE_SRCS := $(wildcard tests/torture/*.c tests/torture/scenes/*.c)
BENCH_SRCS := $(filter-out tests/bench/runtime/stamp.c,$(wildcard tests/bench/runtime/*.c))
BENCH := $(OUT)/tests/bench/runtime/bench
STAMP := $(OUT)/tests/bench/runtime/stamp
GATEWAY_BENCH := $(OUT)/tests/bench/gateway
GATEWAY_PROGS := $(addprefix $(GATEWAY_BENCH)/,load rootfs/upstream proxy)
ALL_OBJS := $(OBJS) $(addprefix $(O)/,$(patsubst %.c,%.o,$(wildcard $(MAINS)) $(TESTS) \
	$(TEST_HELPERS) $(SIMS) $(SIM_HELPERS) $(FUZZERS) tests/fuzz/replay.c $(BENCH_SRCS) \
	$(TORTURE_SRCS) $(wildcard tests/bench/control/*.c tests/bench/gpu/*.c tests/bench/store/*.c)))

BENCHES := bench $(addprefix bench-,runtime nodes faults cluster gateway gangs sched scale gpu)
MEASURES := $(BENCHES:bench%=measure%)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib deps doctor lint unit sim fuzz fuzz-programs fuzz-replay e2e uml chaos soak check check-stages \
	torture torture-program torture-sample \
	asan tsan valgrind $(BENCHES) $(MEASURES) report \
	demo demo-stop examples install \
	uninstall format clean help opts FORCE

all: $(PROGRAMS) $(LIB)	## build gantryd and gantry (into build/)
lib: $(LIB)		## only build/plain/libgantry.a

# ---- compile and link ------------------------------------------------------------------------
$(O)/.flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(FLAGS) / $(LINK))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(CC) $(FLAGS) / $(LINK))' > $@

# Scores are short loops over a few GPUs: worth a tenth of the decisions a second.
$(O)/src/sched/%.o: FLAGS += -O3
$(O)/src/%.o: src/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(FLAGS) -MMD -MP -c -o $@ $<

$(O)/tests/unit/%.o: tests/unit/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(FLAGS) -Isrc/$(word 3,$(subst /, ,$<)) -MMD -MP -c -o $@ $<

$(O)/tests/bench/%.o: tests/bench/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(FLAGS) -Isrc/$(word 3,$(subst /, ,$<)) -MMD -MP -c -o $@ $<

$(O)/tests/%.o: tests/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(FLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(OBJS)
	@mkdir -p $(@D)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(BIN)/gantryd: $(O)/src/daemon/main.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)

$(BIN)/gantry: $(O)/src/cli/main.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)

# Beside the daemon and without its library: it loads what may hang.
$(BIN)/gantry-preflight: $(PREFLIGHT_SRCS) src/gpu/preflight/preflight.h $(O)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) $(BASE_FLAGS) -o $@ $(PREFLIGHT_SRCS)

# The program that is process 1 of a container: static, small, and embedded in the library.
$(O)/gantry-init: $(INIT_SRCS) $(wildcard src/runtime/init/*.h include/gantry/*/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,INIT,$@)musl-gcc $(INIT_FLAGS) -static -Wl,--gc-sections,-s -o $@ $(INIT_SRCS)

$(O)/src/runtime/%.o: src/runtime/%.S $(O)/gantry-init
	@mkdir -p $(@D)
	$(call say,AS,$<)gcc -DGT_INIT_PATH='"$(O)/gantry-init"' -c -o $@ $<

# The API's contract lies in the library as it is in docs/.
$(O)/src/api/contract.o: docs/openapi.yaml

# ---- tests -----------------------------------------------------------------------------------
define room_rules
$(O)/room-$(1).a: $(call room_objs,$(1))
	@rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$(r))))

define unit_rules
$(filter $(O)/tests/unit/$(1)/%,$(TEST_PROGS)): %: %.o \
		$(patsubst %.c,$(O)/%.o,$(filter tests/unit/$(1)/%,$(TEST_HELPERS))) \
		$(foreach r,$(call closure,$(1)),$(O)/room-$(r).a)
	$$(call say,LD,$$@)$$(LINK) -o $$@ $$(filter %.o,$$^) -Wl,--start-group \
		$$(filter %.a,$$^) -Wl,--end-group -lcmocka $$(LIBS)
.PHONY: unit-$(1)
unit-$(1): $(filter $(O)/tests/unit/$(1)/%,$(TEST_PROGS))
	@scripts/run-tests.sh $(RESULTS)/unit-$(1).part $$^
endef
$(foreach r,$(TEST_ROOMS),$(eval $(call unit_rules,$(r))))

# The other reader of HTTP/1.1 that the codec is compared with: sources of a Debian package.
LLHTTP := $(addprefix $(O)/tests/llhttp/,api.o http.o llhttp.o)
$(LLHTTP): $(O)/tests/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -O2 -g $(SAN_FLAGS) -fPIE -w -I/usr/share/include/llhttp -c -o $@ $<
$(O)/tests/unit/http/test_http1_llhttp.o: private BASE_FLAGS += -I/usr/share/include/llhttp
$(O)/tests/unit/http/test_http1_llhttp: $(LLHTTP)

$(SIM_PROGS): %: %.o $(SIM_HELPERS:%.c=$(O)/%.o) $(LIB)
	$(call say,LD,$@)$(LINK) -o $@ $^ -lcmocka $(LIBS)

$(O)/tests/fuzz/fuzz_gateway: $(O)/tests/unit/gateway/script.o $(O)/tests/unit/gateway/reference.o

ifdef FUZZ
$(FUZZ_PROGS): %: %.o $(LIB)
	$(call say,LD,$@)$(CC) $(SAN_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
else
$(FUZZ_PROGS): %: %.o $(O)/tests/fuzz/replay.o $(LIB)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)
endif

# Test doubles of the GPU driver's libraries.
FAKE_GPU := $(O)/tests/fake/gpu
$(FAKE_GPU)/libnvidia-ml.so.1: tests/fake/gpu/nvml.c
$(FAKE_GPU)/libcuda.so.1: tests/fake/gpu/cuda.c
FAKE_GPU_LIBS := $(FAKE_GPU)/libnvidia-ml.so.1 $(FAKE_GPU)/libcuda.so.1
$(FAKE_GPU_LIBS): tests/fake/gpu/script.c $(wildcard tests/fake/gpu/*.h src/gpu/*.h) $(O)/.flags
	@mkdir -p $(@D)
	$(call say,SO,$@)$(CC) $(CPPFLAGS) -std=gnu11 -O1 -g $(WARN) -fPIC -fvisibility=hidden -shared \
		-o $@ $(filter %.c,$^) -ljansson -lpthread
$(filter $(O)/tests/unit/gpu/%,$(TEST_PROGS)): | $(FAKE_GPU_LIBS)
examples: $(FAKE_GPU_LIBS)

unit: $(TEST_PROGS)	## unit tests; `make unit-<room>` for one room alone
	@scripts/run-tests.sh $(RESULTS)/unit.txt $^

sim: $(SIM_PROGS)	## simulations of a whole fleet on a fake clock
	@scripts/run-tests.sh $(RESULTS)/sim.txt $^

fuzz-replay: $(FUZZ_PROGS)	## every input in tests/fuzz/corpus through its fuzz target
	@scripts/run-fuzz.sh replay $(RESULTS)/fuzz.txt $^

fuzz-programs: $(FUZZ_PROGS)

ifeq ($(shell command -v $(CLANG)),)
fuzz: fuzz-replay
else
fuzz:			## fuzz each target for FUZZ_SECONDS (20); replays only when clang is absent
	+@$(MAKE) --no-print-directory FUZZ=1 CC=$(CLANG) fuzz-programs
	@scripts/run-fuzz.sh $(FUZZ_SECONDS) $(RESULTS)/fuzz-live.txt $(FUZZERS:%.c=build/fuzz/%)
endif

format:			## write the source as the format check wants it
	@find src include tests examples -name '*.[ch]' -print0 | xargs -0 -r clang-format -i

lint:			## layers, size ratchets, headers alone, format
	@CPPFLAGS='$(subst ','\'',$(CPPFLAGS))' CC='$(CC)' scripts/lint.sh $(RESULTS)/lint.txt

FAKE_NCCL := $(OUT)/tests/fake/libnccl.so.2
$(FAKE_NCCL): tests/fake/nccl/nccl.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -shared -fPIC -o $@ $<

# A host's clock that tests set.
FAKE_CLOCK := $(OUT)/tests/fake/libclock.so
$(FAKE_CLOCK): tests/fake/clock/clock.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -shared -fPIC -o $@ $<
examples: $(FAKE_CLOCK)

e2e: all examples $(FAKE_NCCL)	## the real binaries against a real kernel
	@scripts/run-stage.sh e2e $(RESULTS)/e2e.txt env BIN=$(BIN) scripts/e2e.sh

# Hosts in network namespaces, and everything that can go wrong between and on them. CHAOS_SECONDS of faults, SEED=N
# for those of an earlier run; the short one is a part of `e2e`.
chaos: all examples	## three hosts under faults for CHAOS_SECONDS (60)
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-60} BIN=$(BIN) GT_RESULTS=$(RESULTS)/chaos.txt scripts/e2e.sh tests/chaos -s
soak: all examples	## the same for an hour
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-3600} BIN=$(BIN) GT_RESULTS=$(RESULTS)/soak.txt scripts/e2e.sh tests/chaos -s

# Every call and allocation of every scene fails once, under the address and leak sanitizers: `make torture`, and a few points of
# them, without the former, as a part of `check`. SEED=N picks the errors and the points; JOBS=N are tried at once.
TORTURE_HELPERS := $(addprefix $(O)/tests/unit/,http/fake_server.o image/layer_tar.o image/reg_world.o)
TORTURE_PROG := $(O)/tests/torture/torture
$(O)/tests/torture/%.o: FLAGS += -DGT_SANITIZED
$(O)/tests/torture/memory.o: FLAGS += -fno-sanitize=all # called before the sanitizer is ready
$(TORTURE_PROG): $(TORTURE_SRCS:%.c=$(O)/%.o) $(TORTURE_HELPERS) $(LIB)
	$(call say,LD,$@)$(LINK) $(if $(SAN),,-fsanitize=leak) -o $@ $^ -lcmocka $(LIBS)
GUARD := $(OUT)/tests/torture/guard
$(GUARD): tests/torture/guard/guard.c tests/torture/inject.c tests/torture/inject.h tests/torture/calls.tbl Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -o $@ $(filter %.c,$^)
MEMORY_LIB := $(OUT)/tests/torture/libmemory.so
$(MEMORY_LIB): tests/torture/memory.c tests/torture/memory.h tests/torture/inject.h Makefile
	@mkdir -p $(@D)
	$(call say,SO,$@)gcc -std=gnu11 -D_GNU_SOURCE -DGT_TORTURE_LIBRARY -O2 -g $(WARN) -fPIC -shared -o $@ $<

torture:		## every call and allocation of 59 scenes fails once, then some of a whole daemon's
	+@$(MAKE) --no-print-directory SAN=address,undefined torture-program
	+@$(MAKE) --no-print-directory all examples $(GUARD) $(MEMORY_LIB)
	@SEED=$${SEED:-1} POINTS=$${POINTS:-20} BIN=$(BIN) scripts/torture.sh
torture-program: $(TORTURE_PROG)
torture-sample: $(TORTURE_PROG)	## 200 points of the former, with the leak sanitizer alone
	@scripts/run-stage.sh torture $(RESULTS)/torture.txt $(TORTURE_PROG) -n 200 -s $${SEED:-1}

# A kernel that this machine may not have (tests/uml/run.sh). Too slow for `check`.
UML_PROGS := $(addprefix $(O)/tests/unit/runtime/test_,cgroup cgroup_live container hardening ids inject layers prepared)
uml: all examples $(UML_PROGS)	## control groups, containers, images under Linux 6.1 with cgroup v2 alone
	@BIN=$(BIN) tests/uml/run.sh $(RESULTS)/uml.txt $(UML_PROGS)

STAGES := lint unit sim torture-sample fuzz-replay e2e
check: deps		## everything a change must pass; ends in `N passed, N failed`
	+@$(MAKE) --no-print-directory check-stages

check-stages:
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	+@for s in $(STAGES); do echo "== $$s"; \
		$(MAKE) --no-print-directory $$s || echo "$$s" >> $(RESULTS)/stages.failed; done
	@scripts/summary.sh $(RESULTS)

asan:			## unit tests and simulations under address and undefined sanitizers
	+@$(MAKE) --no-print-directory SAN=address,undefined unit sim fuzz-replay
tsan:			## unit tests under the thread sanitizer
	+@$(MAKE) --no-print-directory SAN=thread unit

# Valgrind 3.19 knows neither pidfd_open nor open_tree nor mounts without a type, so what talks to the
# kernel that way is left to `make asan`, and so are thousands of stores that open, and leases of half a second; the others
# run without root, which skips such tests.
VALGRIND_PROGS = $(filter-out $(foreach r,os runtime agent,$(O)/tests/unit/$(r)/%) \
	$(O)/tests/unit/gpu/% $(addprefix $(O)/tests/unit/,cli/test_doctor store/test_power store/test_split),$(TEST_PROGS))
valgrind: $(VALGRIND_PROGS)	## unit tests under valgrind
	@RUNNER='$(if $(filter 0,$(shell id -u)),setpriv --reuid 65534 --regid 65534 --clear-groups) valgrind -q --error-exitcode=9 --leak-check=full --child-silent-after-fork=yes' \
		scripts/run-tests.sh $(RESULTS)/valgrind.txt $^

# ---- the rest --------------------------------------------------------------------------------
deps:			## install the Debian packages that build and tests need
	@scripts/deps.sh build demo test

doctor: all		## can this machine run containers? says what to fix
	@$(BIN)/gantry doctor

bench:			## measure; writes build/bench
bench-runtime:	## containers and images against crun and others
bench-nodes:		## durable calls through the public API, and the store alone
bench-faults:		## what is promised for faults: the chaos suite's counts, and times
bench-cluster:	## a day of ten million calls on a simulated cluster
bench-gateway:	## the gateway against nginx, HAProxy and Go's proxy
bench-gangs:		## gangs under faults, and the preflight of their GPUs
bench-sched:		## placement over recorded clusters; TRACES=dir has them
bench-scale:		## autoscaling over recorded calls, TRACES=dir
bench-gpu:		## the GPU side against its goals; most of it needs no GPU
# What is missing is there before a make begins that asks for libraries and builds with them.
bench-runtime bench-faults bench-gangs bench-gpu: ALSO = test
bench-gateway: ALSO = test bench
$(BENCHES):
	@scripts/deps.sh build demo $(ALSO)
	+@$(MAKE) --no-print-directory $(@:bench%=measure%)

measure: all examples
	@scripts/bench.sh
measure-runtime: all examples $(BENCH) $(STAMP)
	@scripts/bench.sh runtime
$(BENCH): $(BENCH_SRCS:%.c=$(O)/%.o) $(LIB)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)
$(STAMP): tests/bench/runtime/stamp.c Makefile
	@mkdir -p $(@D)
	$(call say,STATIC,$@)gcc -std=gnu11 -Os $(WARN) -ffreestanding -fno-stack-protector -fno-pie \
		-no-pie -nostdlib -static -s -o $@ $<
STORE_BENCH := $(OUT)/tests/bench/store/store
measure-nodes: all examples $(STORE_BENCH) $(GATEWAY_BENCH)/rootfs/upstream
	@scripts/bench.sh nodes
measure-faults: chaos $(addprefix $(O)/tests/unit/store/,test_power test_split) \
		$(GATEWAY_BENCH)/load $(GATEWAY_BENCH)/rootfs/upstream
	@scripts/bench.sh faults faults_store leak
$(STORE_BENCH): $(O)/tests/bench/store/store.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)
CONTROL_MEMORY := $(OUT)/tests/bench/control/memory
measure-cluster: all $(CONTROL_MEMORY)
	@scripts/bench.sh cluster
$(CONTROL_MEMORY): $(O)/tests/bench/control/memory.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)
measure-gateway: all examples $(GATEWAY_PROGS) $(O)/tests/sim/test_queue $(O)/tests/unit/http/test_http1_llhttp
	@scripts/bench.sh gateway
$(GATEWAY_BENCH)/load: $(wildcard tests/bench/gateway/*.[ch]) Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -o $@ \
		tests/bench/gateway/load.c tests/bench/gateway/measure.c
$(GATEWAY_BENCH)/rootfs/upstream: tests/bench/gateway/upstream.c Makefile
	@mkdir -p $(@D)
	$(call say,STATIC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -static -o $@ $<
$(GATEWAY_BENCH)/proxy: tests/bench/gateway/proxy.go
	@mkdir -p $(@D)
	$(call say,GO,$@)GOCACHE=$(abspath $(O))/go go build -o $@ $<
measure-gangs: all $(FAKE_NCCL) $(O)/tests/sim/test_gangs
	@scripts/bench.sh gangs
measure-sched: all
	@scripts/bench.sh sched
measure-scale: all
	@scripts/bench.sh scale
WEIGHTS_BENCH := $(OUT)/tests/bench/gpu/weights
measure-gpu: all examples $(WEIGHTS_BENCH) $(FAKE_NCCL) $(addprefix $(O)/tests/,unit/runtime/test_inject unit/agent/test_park_steps sim/test_gangs)
	@scripts/bench.sh gpu
$(WEIGHTS_BENCH): $(O)/tests/bench/gpu/weights.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LINK) -o $@ $^ $(LIBS)
report:			## measured figures against the goals
	@scripts/report.py
demo:			## a call served from a cold container, from nothing
	@scripts/deps.sh build demo
	+@$(MAKE) --no-print-directory all examples
	@scripts/demo.sh
demo-stop:		## end the demo's daemon and everything it runs
	@scripts/demo.sh stop

ECHO := $(OUT)/examples/echo/rootfs/echo
examples: $(if $(wildcard examples/echo/echo.c),$(ECHO))	## the example images
$(ECHO): examples/echo/echo.c Makefile
	@mkdir -p $(@D)
	$(call say,STATIC,$@)gcc -std=gnu11 -D_GNU_SOURCE -Os -g $(WARN) -static -s -o $@ $<

# The function that tries to get out: tests/e2e/test_escape.py runs it.
ESCAPE := $(OUT)/tests/e2e/escape
examples: $(ESCAPE)
$(ESCAPE): $(wildcard tests/e2e/escape/*.[ch]) Makefile
	@mkdir -p $(@D)
	$(call say,STATIC,$@)gcc -std=gnu11 -D_GNU_SOURCE -O1 -g $(WARN) -static -o $@ $(filter %.c,$^)

install: all		## into $(DESTDIR)$(PREFIX)
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/gantryd $(BIN)/gantry \
		$(BIN)/gantry-preflight
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/gantry README.md docs/openapi.yaml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/gantry.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/man/gantryd.8
	install -D -m 0644 scripts/gantry-completion.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/gantry
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system scripts/gantryd.service \
		scripts/gantry-agent.service

uninstall:		## what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,gantryd gantry gantry-preflight)
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/gantry
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/man/,man1/gantry.1 man8/gantryd.8)
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/gantry
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/system/,gantryd.service gantry-agent.service)

clean:			## remove build/
	rm -rf build 2>/dev/null || sudo rm -rf build # the demo's daemon is root's

opts:			## the flags in use
	@printf '%s\n' 'CC     $(CC)' 'FLAGS  $(subst ','\'',$(FLAGS))' 'LIBS   $(LIBS)' 'O      $(O)'

help:			## this list
	@awk -F ':.*## |##' '/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

-include $(ALL_OBJS:.o=.d)
