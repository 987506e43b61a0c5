/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest payloads: what the driver (C) and the payloads (assembly) agree about.
 *
 * A case is a piece of guest code with a starting mode. The driver puts the machine into a fixed state, lets
 * the code run, and prints in one line everything that happened: exits, exceptions with their frames, and
 * what differs from the fixed state at the end. Every vector leads to a stub "hlt; iret" of its own, so that
 * an exception shows as an exit, with RIP telling the vector; the driver may let the stub return (cont=N).
 */
#ifndef ANYKVM_TESTS_PAYLOAD_H
#define ANYKVM_TESTS_PAYLOAD_H

/* Guest-physical layout; linear is the same in all modes unless a case says otherwise. */
#define IDT 0x1000
#define GDT 0x2000
#define LDT 0x2e00
#define TSS 0x3000
#define IO_MAP 0x88		/* offset in the TSS; the redirection map lies below */
#define TSS_B 0x4000		/* 32-bit, for task switches */
#define TSS_C 0x4100		/* 16-bit */
#define STUBS16 0x5000
#define STUBS32 0x6000
#define STUBS64 0x7000
#define CODE 0x8000
#define CODE_USER 0xa000	/* spare code pages for payloads' own use */
#define DATA 0xc000
#define STACK 0x12000
#define STACK_RSP0 0x14000
#define STACK_IST1 0x16000
#define STACK_IST2 0x17000
#define STACK_RSP1 0x18000
#define STACK_RSP2 0x19000
#define STACK_B 0x1a000
#define STACK_USER 0x1c000
#define LOW_END 0x20000
#define TABLES 0x100000
#define TABLES_END 0x108000
#define TEST_LA 0x400000	/* linear region with page tables of its own; not mapped unless a case does */
#define TEST_PA 0x200000
#define LARGE_PA 0x400000
#define RAM_SIZE 0x800000
#define ROM_PA 0x1000000
#define ROM_SIZE 0x10000
#define MMIO_PA 0x2000000
#define MMIO_LA 0x600000	/* two pages of MMIO, mapped in all paging modes */
#define ROM_LA 0x602000
#define TEST_LA_END 0x604000

/* Selectors */
#define K64 0x08
#define KDATA 0x10
#define K32 0x18
#define U32 0x20
#define UDATA 0x28
#define U64 0x30
#define K16 0x38
#define KDATA16 0x40
#define U16 0x48
#define UDATA16 0x50
#define SEL_TSS 0x58
#define SEL_LDT 0x68
#define SEL_TSS_B 0x78
#define SEL_TSS_C 0x80
#define SEL_DESC 0x100		/* cases make descriptors here */
#define RPL3 3
#define D_RO 0x200		/* ready-made descriptors */
#define D_DOWN16 0x208		/* expand-down, limit 0xcfff, 16-bit */
#define D_DOWN32 0x210		/* the same, 32-bit */
#define D_XO 0x218		/* execute-only code */
#define D_CONF 0x220		/* conforming, DPL 0 */
#define D_ABSENT 0x228		/* data */
#define D_CABSENT 0x230		/* code */
#define D_SMALL 0x238		/* data at DATA, limit 0xf */
#define D_USMALL 0x240		/* the same, DPL 3 */
#define D_DPL1 0x248
#define D_GATE32 0x250		/* call gate, DPL 3, to K32:gate_target, 0 parameters */
#define D_GATE16 0x258		/* the same, 16-bit, 2 parameters */
#define D_GATE64 0x260		/* to K64, 16 bytes */
#define D_TASKGATE 0x270	/* to TSS_B, DPL 3 */
#define D_GATE32P 0x278		/* 3 parameters */
#define D_C32SMALL 0x280	/* 32-bit code, base CODE, limit 0xfff */
#define D_CDPL1 0x288		/* code of DPL 1, 32-bit */
#define D_NOACC 0x290		/* data, accessed bit clear */
#define GDT_END 0x300

/* Modes */
#define REAL 0
#define P16 1
#define P32 2
#define P32PG 3			/* 32-bit paging */
#define PAE 4
#define V86 5			/* CPL 3; 32-bit paging off */
#define LONG 6
#define COMPAT 7
#define COMPAT16 8
#define NR_MODES 9

/* Flags of a case */
#define F_IRQCHIP 1 /* in the machine with in-kernel irqchip and PIT: stubs leave by OUT to port 0xe0 */
#define F_NOREPEAT 2		/* results legitimately differ when run again */
#define F_KEEP 4		/* memory and CPU state of the previous case stay; for sequences */

#define STOP_PORT 0xe0

#define CR0_PE 0x1
#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_TS 0x8
#define CR0_NE 0x20
#define CR0_WP 0x10000
#define CR0_AM 0x40000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000
#define CR4_VME 0x1
#define CR4_PVI 0x2
#define CR4_TSD 0x4
#define CR4_DE 0x8
#define CR4_PSE 0x10
#define CR4_PAE 0x20
#define CR4_PGE 0x80
#define CR4_PCE 0x100
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_UMIP 0x800
#define CR4_FSGSBASE 0x10000
#define CR4_OSXSAVE 0x40000
#define CR4_SMEP 0x100000
#define CR4_SMAP 0x200000
#define FL_TF 0x100
#define FL_IF 0x200
#define FL_IOPL 0x3000
#define FL_NT 0x4000
#define FL_RF 0x10000
#define FL_VM 0x20000
#define FL_AC 0x40000
#define FL_VIF 0x80000
#define FL_VIP 0x100000

#ifndef __ASSEMBLER__
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

struct payload {
	const char *name;
	const u8 *code, *end;
	u32 mode, cpl, cont, flags;
	u64 cr0, cr4, rflags;		/* added to those of the mode */
	u64 efer;			/* exclusive or */
	void (*setup)(struct payload *p); /* last before it runs: changes memory and `start` */
	const void *data;		/* for setup */
};

struct state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
};

/* machine.c: the fixed state of each mode */
extern u8 *ram, *rom;
extern struct state start;
void machine_build(const struct payload *p);
void machine_gdt(unsigned selector, u64 low, u64 high);
u64 machine_descriptor(u32 base, u32 limit, unsigned type_s_dpl_p, unsigned flags);
u64 machine_gate(unsigned selector, u32 offset, unsigned type_dpl_p, unsigned count);
void machine_idt(unsigned vector, unsigned selector, u64 offset, unsigned type_dpl_p, unsigned ist);
u64 machine_pte(u64 la, u64 pte);	/* the 4K entry of la; returns the old one */
u64 machine_pde(u64 la, u64 pde);
void *machine_entry(u64 la, unsigned level);
unsigned machine_entry_size(void);

/* vm.c: the virtual machine, and letting a case run */
extern struct kvm_run *run;
extern int kvm_fd, vm_fd, vcpu_fd;
void vm_open(bool irqchip);
bool vm_is_irqchip(void);
void vm_load(const struct state *s);
void vm_store(struct state *s);
int vm_run(unsigned timeout_ms);	/* 0 or -errno of KVM_RUN; -ETIME */
void vm_finish_io(void);
int vm_ioctl(int fd, unsigned long request, void *arg);

/* report.c */
extern char line[1 << 16];
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool report_exit(const struct payload *p, unsigned *exceptions); /* true: the case is over */
void report_changes(void);

/* run.c */
void run_case(struct payload *p);	/* twice, and prints its line */
void run_quiet(struct payload *p, char *result,
	       unsigned size); /* outcome of the first event, as a short token */
extern void (*quiet_setup)(struct payload *p); /* setup of those that have none */
void run_table(const char *group);	/* the cases of cases_*.S in this group */

struct group {
	const char *name;
	void (*run)(void);
	bool no_oracle;
};
extern const struct group groups[];
#endif
#endif
