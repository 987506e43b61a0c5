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

# Tests with a host of their own (tests/unit/test_irq_host.h)
IRQ_MODELS := $(addprefix x86/,lapic.o lapic_timer.o pic.o ioapic.o pit.o)
IRQ_WIRING := $(addprefix kvm/,irq.o routing.o eventfd.o bus.o vcpu_irq.o clock.o pv.o)
OBJECTS_test_irq_chips := $(IRQ_MODELS)
OBJECTS_test_irq_lapic := $(IRQ_MODELS)
OBJECTS_test_irq_wiring := $(IRQ_MODELS) $(IRQ_WIRING)
OBJECTS_test_clock := $(IRQ_MODELS) $(IRQ_WIRING)
