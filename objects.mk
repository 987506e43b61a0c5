# SPDX-License-Identifier: GPL-2.0-only
# What each room consists of. tests/lib/objects-check compares these lists with the folders.
KVM := $(addprefix kvm/, \
	bus.o caps.o clock.o cpuid.o deliver.o device.o dirty.o eventfd.o hyperv.o hyperv_calls.o hyperv_synic.o \
	irq.o memory.o msr_filter.o msrs.o outside.o pv.o routing.o state.o stats.o steal.o vcpu.o vcpu_irq.o vm.o \
	xen.o xen_calls.o xen_events.o)
X86 := $(addprefix x86/, \
	control.o cpuid.o debug.o decode.o exception.o far.o fpu.o fpu_exec.o ioapic.o lapic.o \
	lapic_timer.o msr.o opcodes.o opcodes_evex.o opcodes_sse.o opcodes_vex.o opcodes_x87.o paging.o \
	pic.o pit.o segment.o smm.o stack.o task.o)
X86 += $(addprefix x86/emulate/, \
	alu.o bind.o bits.o branch.o exchange.o flags.o hint.o interrupt.o move.o muldiv.o operand.o \
	segreg.o shift.o stack.o string.o string_io.o syscall.o system.o)
ENGINE := $(addprefix engine/soft/, \
	block.o blockpage.o blockroom.o code.o codepage.o direct.o emit.o jit_access.o jit_bits.o jit_block.o jit_branch.o \
	jit_flags.o jit_divide.o jit_frame.o jit_integer.o jit_loop.o jit_plan.o jit_room.o jit_stack.o jit_string.o jit_system.o \
	jit_vector.o jit_window.o jit_x87.o lockstep.o native.o native_mask.o native_slow.o native_stub.o \
	native_vector.o native_vsib.o native_x87.o perfmap.o rename.o run.o step.o telling.o tlb.o translate.o window.o \
	window_map.o)
SVM := $(addprefix engine/svm/, \
	cpu.o emulate.o entry.o exits.o inject.o maps.o mem.o npt.o svm.o vmcb.o)
HOST := $(addprefix host/user/, \
	alias.o api.o clock.o copy.o eventfd.o fault.o file.o gs.o huge.o lock.o memory.o probe.o process.o \
	service.o signals.o string.o twin.o)
LINUX := $(addprefix host/linux/, \
	alloc.o copy.o cpu.o eventfd.o file.o lock.o memory.o module.o process.o time.o)
SHIM := $(addprefix shim/, \
	fds.o paths.o preload.o real.o signals.o syscall.o)
VMM := $(addprefix vmm/, \
	acpi.o backend.o cmos.o console.o cpuid.o event.o fail.o io.o linux.o loader.o machine.o \
	memory.o power.o report.o serial.o vcpu.o)
VMM += $(addprefix vmm/virtio/, \
	blk.o mmio.o queue.o rng.o)
CLI := $(addprefix cli/, \
	boot.o engine.o info.o main.o run.o stat.o stat_find.o)
INSN := $(addprefix tests/insn/, \
	bare.o compare.o generate.o guest.o main.o surround.o values.o)
TESTS := $(addprefix tests/unit/, \
	test_clock test_code test_control test_cpuid test_decode test_emit test_emulate test_emulate_system \
	test_exception test_fpu test_host test_host_files test_host_threads test_irq_chips test_irq_lapic test_irq_wiring \
	test_msr test_native test_paging test_segment test_shim test_shim_signals test_shootdown \
	test_shim_steps test_slots test_soft test_stat test_task test_telling test_tlb test_translate test_translate32 test_twin \
	test_vmm test_vmm_loader test_vmm_virtio test_direct test_window)
PROGRAMS := $(addprefix tests/unit/,programs.o programs64.o)
BENCHES := tests/unit/bench_emulate

# Every folder that these lists speak of, for the check.
ROOMS := kvm x86 x86/emulate engine/soft engine/svm host/user host/linux shim vmm vmm/virtio cli tests/insn tests/unit

# Tests with a host of their own (tests/unit/test_irq_host.h)
IRQ_MODELS := $(addprefix x86/,lapic.o lapic_timer.o pic.o ioapic.o pit.o)
IRQ_WIRING := $(addprefix kvm/, \
	irq.o deliver.o routing.o eventfd.o bus.o vcpu_irq.o clock.o pv.o steal.o hyperv_synic.o xen.o \
	xen_events.o)
OBJECTS_test_irq_chips := $(IRQ_MODELS)
OBJECTS_test_irq_lapic := $(IRQ_MODELS)
OBJECTS_test_irq_wiring := $(IRQ_MODELS) $(IRQ_WIRING)
OBJECTS_test_clock := $(IRQ_MODELS) $(IRQ_WIRING)
OBJECTS_test_stat = cli/stat_find.o $(LIB)
OBJECTS_test_translate = $(PROGRAMS) $(LIB)
OBJECTS_test_translate32 = $(PROGRAMS) $(LIB)
OBJECTS_test_vmm = $(VMM) $(LIB)
OBJECTS_test_vmm_loader = $(VMM) $(LIB)
OBJECTS_test_vmm_virtio = $(VMM) $(LIB)
OBJECTS_test_shim = $(SHIM) $(LIB)
OBJECTS_test_shim_signals = $(SHIM) $(LIB)
OBJECTS_test_shim_steps = $(SHIM) $(LIB)
