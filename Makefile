# casulo: Linux containers described in Lua.
#
#   make            build
#   sudo make demo  a container to look at
#   sudo make test  the whole suite
#   sudo make test-cgroup   what wants the controllers of cgroup v2: here where they are, else in a throw-away machine
#   sudo make test-kernels  the suite in such machines, by KERNELS="6.1 6.12 newest", as root and as a user: hours (ONLY=text: those specs; JOBS=2)
#   sudo make bench what containers cost, beside other tools (QUICK=1: in short; ONLY=text: the sections with it in their name;
#                    REVISION=commit: beside casulo of that one, too)
#   sudo make mutate  each protective step taken out in turn, and the test that notices (ONLY=text: those with it in their name)
#   sudo make mutate-cgroup   the same with the steps of limits, in a throw-away machine: minutes (ONLY=text)
#   sudo make soak  callers killed at random moments, and load, thousands of times (QUICK=1: in short; ONLY=text: those with it in their name)
#   sudo make faults  each system call of a start, an exec and an end made to fail in turn (ONLY=text: some; QUICK=1: a sample)
#   sudo make fuzz  casulo.sys with arguments of every kind, for a minute (RUNS=10000000: so many), and with too little memory
#   sudo make coverage  the lines of Lua and C that the suite reaches
#   make lint       compilers and linters, with every warning an error
#   make install    into PREFIX (and DESTDIR)
#   make doc        the reference as pages, in doc/api (needs lua-ldoc)
#   make filters    what is made of libseccomp's tables, and of casulo's list of system calls, when one of them has changed
#   make env        the export lines that let a shell use this checkout

LUA = lua5.4
LUA_CFLAGS = $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
PREFIX = /usr/local
JOBS = 2
KERNELS = 6.1 6.12 newest
CFLAGS = -O2 -g
WARNINGS = -Wall -Wextra -Werror
SHARED = $(CFLAGS) $(WARNINGS) -fPIC -shared -fvisibility=hidden $(LUA_CFLAGS)
FREESTANDING = -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie -nostdlib -static \
  -Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--build-id=none -s
SOURCES = $(wildcard src/*.c)
HEADERS = $(wildcard src/*.h)
MODULES = $(shell find lua -name '*.lua')
BUSTED = $(LUA) /usr/bin/busted

NEEDED = gcc make pkg-config lua5.4 liblua5.4-dev lua-dkjson busybox-static
NEEDED_BY_TESTS = lua-busted luarocks strace iproute2 uidmap lua-luv lua-cqueues libseccomp-dev
NEEDED_BY_MACHINES = qemu-system-x86 xz-utils debian-archive-keyring systemd
MEASURED_BY_BENCH = hyperfine bubblewrap crun runc gnuplot-nox
NEEDED_BY_LINT = lua-check clang clang-tidy libclang-rt-14-dev valgrind

LIBLUA = $(shell pkg-config --variable=libdir lua5.4 2>/dev/null)/liblua5.4.a

all: build/casulo/sys.so build/bin/casulo

# A program of its own without a C library: PID 1 of containers. casulo.sys carries it inside.
build/casulo-init: src/init/casulo-init.c src/walk.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) -O2 $(WARNINGS) $(FREESTANDING) -o $@ $(filter %.c,$^)

build/casulo/sys.so: $(SOURCES) $(HEADERS) build/casulo-init
	@mkdir -p $(@D)
	$(CC) $(SHARED) -o $@ $(SOURCES) $(LDFLAGS)

# The command, with the interpreter and the modules inside.
build/bin/casulo: src/command/casulo.c src/command/modules.h build/modules.c $(SOURCES) $(HEADERS) build/casulo-init
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $(LUA_CFLAGS) -DLUA='"$(LUA)"' -fPIE -static-pie -o $@ src/command/casulo.c build/modules.c \
	  $(SOURCES) $(LIBLUA) -lm -Wl,--wrap=dlopen,--wrap=dlerror,--wrap=system,--wrap=popen $(LDFLAGS)

build/modules.c: src/bundle.lua $(MODULES)
	@mkdir -p $(@D)
	$(LUA) src/bundle.lua $@ $(MODULES)

# Installs what of its packages is missing, and says so.
define install_packages
	@missing=$$(for package in $(1); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
	  echo "casulo: installing the Debian packages" $$missing; \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; } \
	    >build-packages.log 2>&1 || { cat build-packages.log; exit 1; }; \
	  rm -f build-packages.log; \
	fi
endef

packages:
	$(call install_packages,$(NEEDED))

test-packages:
	$(call install_packages,$(NEEDED) $(NEEDED_BY_TESTS))

machine-packages:
	$(call install_packages,$(NEEDED) $(NEEDED_BY_TESTS) $(NEEDED_BY_MACHINES))

lint-packages:
	$(call install_packages,$(NEEDED) $(NEEDED_BY_TESTS) $(NEEDED_BY_LINT))

# What cannot be installed is not measured.
install-%:
	$(call install_packages,$*)

bench-packages:
	$(call install_packages,$(NEEDED))
	-@$(MAKE) -s -k $(addprefix install-,$(MEASURED_BY_BENCH))

# What root builds for a user under sudo is the user's to build again.
give_back = @[ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" build

demo: packages
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && $(LUA) examples/04-busybox-container.lua
	$(give_back)

test: test-packages
	@$(MAKE) -s all
	$(give_back)
	@eval "$$($(MAKE) -s env)" && $(BUSTED)

test-cgroup: machine-packages
	@$(MAKE) -s all
	$(give_back)
	@eval "$$($(MAKE) -s env)" && bash spec/kernels/cgroup.sh

test-kernels: machine-packages
	@$(MAKE) -s all
	$(give_back)
	@bash spec/kernels/run.sh $(JOBS) "$(KERNELS)" "$(ONLY)"

lint: lint-packages build/casulo-init build/bench/filter.h
	@sh src/lint.sh "$(LUA_CFLAGS)"

bench: bench-packages
	@$(MAKE) -s all build/bench/by_hand build/bench/pause
	@eval "$$($(MAKE) -s env)" && sh bench/run.sh $(if $(QUICK),quick,whole) "$(ONLY)" "$(REVISION)"
	$(give_back)

build/bench/filter.h: bench/filter.lua lua/casulo/default_filter.lua build/casulo/sys.so
	@mkdir -p $(@D)
	eval "$$($(MAKE) -s env)" && $(LUA) bench/filter.lua >$@

mutate: test-packages
	@$(MAKE) -s all
	$(give_back)
	@eval "$$($(MAKE) -s env)" && sh mutate/run.sh $(JOBS) "$(ONLY)"

mutate-cgroup: machine-packages
	@$(MAKE) -s all
	$(give_back)
	@bash mutate/cgroup.sh "$(ONLY)"

soak: test-packages
	@$(MAKE) -s all
	$(give_back)
	@eval "$$($(MAKE) -s env)" && sh soak/run.sh $(if $(QUICK),quick,whole) "$(ONLY)"

faults: test-packages
	@$(MAKE) -s all
	$(give_back)
	@sh faults/run.sh $(JOBS) "$(if $(QUICK),quick)" "$(ONLY)"

build/bench/by_hand: bench/by_hand.c bench/through.c bench/through.h build/bench/filter.h src/clone3.c src/clone3.h
	$(CC) $(CFLAGS) $(WARNINGS) -static -o $@ $(filter %.c,$^)

build/bench/pause: bench/pause.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) -fPIE -static-pie -nostdlib -Wl,-z,noseparate-code -o $@ $<

fuzz: lint-packages
	@$(MAKE) -s all
	@sh fuzz/run.sh "$(LUA_CFLAGS)" "$(LIBLUA)" $(RUNS)
	$(give_back)
	@eval "$$($(MAKE) -s env)" && CASULO_SWEEP=full $(BUSTED) spec/scarce_memory_spec.lua

# SPECS="spec/plan_spec.lua …": these alone
coverage: test-packages
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && sh coverage/run.sh "$(LUA_CFLAGS)" "$(LIBLUA)" $(SPECS)
	$(give_back)

sanitize: lint-packages build/casulo-init
	@sh src/sanitize.sh "$(LUA_CFLAGS)"

# These are kept with the sources: a build needs neither libseccomp nor the time.
filters: all
	$(CC) $(CFLAGS) $(WARNINGS) -o build/syscalls src/filter/syscalls.c -lseccomp
	build/syscalls >build/syscalls.lua && cp build/syscalls.lua lua/casulo/syscalls.lua
	eval "$$($(MAKE) -s env)" && $(LUA) src/filter/default.lua >build/default_filter.lua
	cp build/default_filter.lua lua/casulo/default_filter.lua

doc:
	@mkdir -p build/doc
	@cat src/sys.c $(filter-out src/sys.c,$(SOURCES)) >build/doc/sys.c
	ldoc .

env:
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$${LUA_PATH:-;}"'
	@echo 'export LUA_CPATH="$(CURDIR)/build/?.so;$${LUA_CPATH:-;}"'
	@echo 'export PATH="$(CURDIR)/build/bin:$$PATH"'

INSTALLED_LUA = $(DESTDIR)$(PREFIX)/share/lua/5.4
INSTALLED_LIB = $(DESTDIR)$(PREFIX)/lib/lua/5.4
INSTALLED_BIN = $(DESTDIR)$(PREFIX)/bin

install: all
	cd lua && find casulo -name '*.lua' -exec install -D -m 644 {} $(INSTALLED_LUA)/{} \;
	install -D -m 755 build/casulo/sys.so $(INSTALLED_LIB)/casulo/sys.so
	install -D -m 755 build/bin/casulo $(INSTALLED_BIN)/casulo

uninstall:
	rm -rf $(INSTALLED_LUA)/casulo $(INSTALLED_LIB)/casulo $(INSTALLED_BIN)/casulo

clean:
	rm -rf build doc/api casulo src/*.o

.PHONY: all packages test-packages machine-packages lint-packages bench-packages demo test test-cgroup test-kernels bench mutate \
  mutate-cgroup soak faults lint sanitize fuzz coverage filters doc env install uninstall clean
