# SPDX-License-Identifier: GPL-2.0-only
# What each room consists of.
KVM := $(patsubst %.c,%.o,$(wildcard kvm/*.c))
X86 := $(patsubst %.c,%.o,$(wildcard x86/*.c x86/emulate/*.c))
ENGINE := $(patsubst %.c,%.o,$(wildcard engine/soft/*.c))
HOST := $(patsubst %.c,%.o,$(wildcard host/user/*.c))
SHIM := $(patsubst %.c,%.o,$(wildcard shim/*.c))
VMM := $(patsubst %.c,%.o,$(wildcard vmm/*.c vmm/virtio/*.c))
CLI := $(patsubst %.c,%.o,$(wildcard cli/*.c))
TESTS := $(patsubst %.c,%,$(wildcard tests/unit/test_*.c))
