# SPDX-License-Identifier: GPL-2.0-only
#
#	make			build/anykvm and build/libanykvm.so
#	make test		unit tests
#	make insn		instruction tests (tests/insn)
#	make module		the kernel module, build/module/anykvm.ko (KDIR=: the kernel's build folder)
#	make docs/api.md	what of the KVM API there is, from the code's tables
#	make test-module	that module in a machine of QEMU's TCG, beside Debian's kvm-amd.ko
#	make bench		measurements beside QEMU TCG and the bare machine
#	make exits		how long exits and wake-ups take
#	make dirty		what the dirty log costs a guest that stores
#	make install		DESTDIR, PREFIX
#	make install-dkms	the module's sources for DKMS, the udev rule; DESTDIR
#	make SANITIZE=1 ...	the same under ASan and UBSan, in build/san/; SANITIZE=thread: under TSan, in build/tsan/
#	make V=1 ...		shows the commands

CC ?= gcc
PREFIX ?= /usr/local
OPT ?= -O2 -g
Q := $(if $(V),,@)

WARN := -Wall -Wextra -Werror
BASE := -std=gnu11 $(OPT) $(WARN) -I. -fno-strict-aliasing -MMD -MP

ifeq ($(SANITIZE),thread)
B := build/tsan
# What unwinds from a fault leaves functions without their ends.
BASE += -fsanitize=thread -Wno-tsan --param tsan-instrument-func-entry-exit=0
LINK := -fsanitize=thread
else ifdef SANITIZE
B := build/san
# Unaligned guest operands are accessed as the processor does it, so alignment is not checked.
BASE += -fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LINK := -fsanitize=address,undefined
else
B := build
endif

# ---- rooms (docs/architecture.md) -----------------------------------------------------------------------

include objects.mk

CORE := $(KVM) $(X86)
LIB := $(CORE) $(ENGINE) $(HOST)

# The core and the engine know no libc and leave vector registers to the guest; the host layer calls libc, with care.
$(addprefix $(B)/,$(CORE) $(ENGINE) $(SVM)): ROOM := -ffreestanding -mgeneral-regs-only -fPIC -fvisibility=hidden
$(addprefix $(B)/,$(HOST)): ROOM := -mgeneral-regs-only -fPIC -fvisibility=hidden -fno-builtin
ifeq ($(SANITIZE),thread)
# Signal handlers may come in the middle of the sanitizer's own work.
$(addprefix $(B)/host/user/,fault.o signals.o): ROOM += -fno-sanitize=thread
endif
$(addprefix $(B)/,$(SHIM)): ROOM := -fPIC -fvisibility=hidden
$(addprefix $(B)/,$(VMM) $(CLI)): ROOM := -fPIC

LIB_O := $(addprefix $(B)/,$(LIB))
SHIM_O := $(addprefix $(B)/,$(SHIM))
CLI_O := $(addprefix $(B)/,$(CLI) $(VMM))

# The engine for the kernel module compiles here too, lest it be forgotten.
SVM_O := $(addprefix $(B)/,$(filter-out %/entry.o,$(SVM)))

all: objects-check $(B)/anykvm $(B)/libanykvm.so $(B)/core-check $(SVM_O)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC $@'
	$(Q)$(CC) $(BASE) $(ROOM) $(CFLAGS) -c -o $@ $<

$(B)/libanykvm.so: $(LIB_O) $(SHIM_O) shim/exports.map
	@echo '  LD $@'
	$(Q)$(CC) $(LINK) -shared -Wl,-z,defs -Wl,-z,noexecstack -Wl,-soname,libanykvm.so \
		-Wl,--version-script=shim/exports.map $(LDFLAGS) -o $@.new $(filter %.o,$^) -lpthread -ldl
	$(Q)mv $@.new $@ # never half there for a program that starts now

$(B)/anykvm: $(CLI_O) $(LIB_O)
	@echo '  LD $@'
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ -lpthread

# Every .c file is in a list of objects.mk.
objects-check:
	@sh tests/lib/objects-check "$(ROOMS)" $(LIB) $(LINUX) $(SVM) $(SHIM) $(VMM) $(CLI) $(INSN) $(PROGRAMS) \
		$(addsuffix .o,$(TESTS) $(BENCHES))

# The core asks for nothing but what host/host.h offers and what its engine table names.
$(B)/core-check: $(addprefix $(B)/,$(CORE))
	$(if $(SANITIZE),,@sh tests/lib/core-check $^)
	@touch $@

# ---- tests ------------------------------------------------------------------------------------------------

TESTS_B := $(addprefix $(B)/,$(TESTS))
BENCHES_B := $(addprefix $(B)/,$(BENCHES))

$(B)/tests/%.o: ROOM :=
# OBJECTS_<test> (objects.mk): all that a test is linked with, if it brings a host and vCPUs of its own.
.SECONDEXPANSION:
$(TESTS_B) $(BENCHES_B): $(B)/%: $(B)/%.o \
		$$(if $$(OBJECTS_$$(@F)),$$(addprefix $(B)/,$$(OBJECTS_$$(@F))),$(LIB_O))
	@echo '  LD $@'
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $(filter %.o,$^) -lcmocka -lZydis -lpthread -ldl

# Instruction tests (tests/insn): bare.c's handlers are entered with the sample's registers and segments.
INSN_O := $(addprefix $(B)/,$(INSN))

$(INSN_O): ROOM := -fno-stack-protector
$(B)/tests/insn/bare.o: ROOM := -fno-stack-protector -fno-sanitize=all
$(B)/tests/insn/insn: $(INSN_O) $(LIB_O)
	@echo '  LD $@'
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ -lZydis -lpthread

insn: $(B)/tests/insn/insn

test: all $(TESTS_B)
	@sh tests/lib/unit $(TESTS_B)

# docs/api.md says what the tables in kvm/ say; tests/suites/35-api sees that it is current.
$(B)/docs/api: $(B)/docs/api.o $(LIB_O)
	@echo '  LD $@'
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ -lpthread

docs/api.md: $(B)/docs/api
	$(B)/docs/api >$@.new
	mv $@.new $@

bench: all
	bench/run

# Exits and wake-ups in nanoseconds (bench/exits.c)
exits: all
	@mkdir -p $(B)/bench
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -o $(B)/bench/exits bench/exits.c -lpthread
	$(B)/anykvm run -q -- $(B)/bench/exits

# How soon a kick is noticed (bench/kick.c)
kick: all
	@mkdir -p $(B)/bench
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -o $(B)/bench/kick bench/kick.c -lpthread
	$(B)/anykvm run -q -- $(B)/bench/kick

# What the dirty log costs (bench/dirty.c)
dirty: all
	@mkdir -p $(B)/bench
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -o $(B)/bench/dirty bench/dirty.c -lpthread
	$(B)/anykvm run -q -- $(B)/bench/dirty

# The kernel module, beside a mirror of the sources as Kbuild leaves its objects next to them.
KDIR ?= /lib/modules/$(shell uname -r)/build
KBUILD := $(MAKE) -C $(KDIR) M=$(CURDIR)/$(B)/module $(if $(V),V=1)

module:
	@mkdir -p $(B)/module
	@cp -rsf $(CURDIR)/kvm $(CURDIR)/x86 $(CURDIR)/engine $(CURDIR)/host $(CURDIR)/include \
		$(CURDIR)/objects.mk $(B)/module/
	@ln -sf $(CURDIR)/host/linux/Kbuild $(B)/module/Kbuild
	$(Q)+$(KBUILD) W=1 modules

test-module: all
	tests/module/run

install: all
	install -D -m 755 $(B)/anykvm $(DESTDIR)$(PREFIX)/bin/anykvm
	install -D -m 755 $(B)/libanykvm.so $(DESTDIR)$(PREFIX)/lib/anykvm/libanykvm.so
	install -D -m 644 include/anykvm.h $(DESTDIR)$(PREFIX)/include/anykvm.h
	install -D -m 644 docs/anykvm.1 $(DESTDIR)$(PREFIX)/share/man/man1/anykvm.1

# The module's sources for DKMS (dkms install anykvm/VERSION follows), and the udev rule.
VERSION = $(shell sed -n 's/^.define ANYKVM_VERSION "\(.*\)"/\1/p' include/anykvm.h)
DKMS = $(DESTDIR)/usr/src/anykvm-$(VERSION)
DKMS_SOURCES = objects.mk include/anykvm.h include/anykvm_stats.h engine/engine.h host/host.h host/hw.h host/types.h \
	$(wildcard kvm/*.[ch] x86/*.[ch] x86/emulate/*.[ch] engine/svm/*.[chS] host/linux/*.[ch] host/linux/uapi/linux/*.h)

install-dkms:
	for f in $(DKMS_SOURCES); do install -D -m 644 $$f $(DKMS)/$$f || exit 1; done
	install -m 644 host/linux/Kbuild $(DKMS)/Kbuild
	sed 's/@VERSION@/$(VERSION)/' packaging/dkms/dkms.conf >$(DKMS)/dkms.conf
	install -D -m 644 packaging/udev/65-anykvm.rules $(DESTDIR)/lib/udev/rules.d/65-anykvm.rules

clean:
	rm -rf build

.PHONY: all objects-check insn test bench dirty exits kick module test-module install install-dkms clean
-include $(patsubst %.o,%.d,$(LIB_O) $(SVM_O) $(SHIM_O) $(CLI_O)) $(INSN_O:.o=.d) $(addsuffix .d,$(TESTS_B) $(BENCHES_B)) \
	$(addprefix $(B)/,$(PROGRAMS:.o=.d)) $(B)/docs/api.d
