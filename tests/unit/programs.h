/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random programs for the translator's tests (test_translate.c): a machine with paging that runs the same one in
 * different modes of the engine, and what puts programs together. Each is made from its number alone.
 */
#ifndef ANYKVM_TESTS_UNIT_PROGRAMS_H
#define ANYKVM_TESTS_UNIT_PROGRAMS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define RAM_SIZE (1u << 20)
#define PAGE_TABLES 0x1000u	/* PML4, PDPT, PD, PT */
#define GDT 0x5000u
#define TSS 0x5800u
#define IDT 0x6000u
#define HANDLERS 0x7000u	/* 16 bytes for each vector: PUSH vector, HLT */
#define CODE 0x18000u	/* 4 pages; what runs directly lies above 64 KiB */
#define READ_ONLY 0x1f000u
#define DATA 0x20000u		/* 4 pages */
#define DATA_END 0x24000u
#define STACK 0x30000u
#define EXCEPTION_STACK 0x3f000u
#define LOOPS 60u

struct outcome {
	struct kvm_regs regs;
	struct kvm_fpu fpu;
	uint64_t cr2;
	int error;	/* errno of KVM_RUN */
	int exit;
};

extern uint8_t *ram;
extern uint64_t seed;
extern bool user; /* programs run at CPL 3, where a HLT at the end is one more exception */
extern bool compat; /* they are 32-bit code; FS has a limit, GS a base */
extern bool direct; /* those of CPL 3 are not translated, but run as they are */
extern uint64_t direct_runs; /* how often that was */

void open_memory(void); /* before cmocka's first test */

uint32_t rnd(uint32_t n);
bool one_in(uint32_t n);

/* ---- programs -------------------------------------------------------------------------------------- */

extern uint8_t *at; /* where code goes */
/* The displacement of a branch ahead that is open, and after how many instructions it is closed; 0: there is none. */
extern uint8_t *last_jump;
extern unsigned to_jump;

void put8(unsigned v);
void put(uint64_t v, unsigned n);
void code(const char *bytes, unsigned n);
#define BYTES(s) code(s, sizeof(s) - 1)
void jump(void);

typedef void make_fn(void);

/* In programs64.c. */
make_fn make_program;	/* all kinds of instructions */
make_fn make_sweep;	/* accesses that move over the ends of pages */
make_fn make_floats;	/* x87, MMX and scalar SSE, with their exceptions */

/* ---- the machine ----------------------------------------------------------------------------------- */

struct vm {
	int kvm, vm, vcpu, size;
	struct kvm_run *shared;
};

void word(unsigned where, uint64_t value);
void set_system(int vcpu);
void open_vm(struct vm *v, const char *mode);
void close_vm(struct vm *v);
/* The program that make makes of this seed, and the registers it starts with. */
void load_program(struct vm *v, uint64_t program, make_fn *make);
void collect(struct vm *v, int error, struct outcome *o);
/* Runs a program under mode until it halts. Unusable: a page that the host may not access. */
void run(const char *mode, uint64_t program, make_fn *make, unsigned unusable, struct outcome *o);
void show(uint64_t program, const struct outcome *a, const struct outcome *b, const uint8_t *memory);

const char *mode_wanted(void); /* TRANSLATE_MODE */
unsigned programs_wanted(unsigned otherwise); /* TRANSLATE_PROGRAMS */
uint64_t first_wanted(uint64_t otherwise); /* TRANSLATE_FIRST */
/* How many of n come to something else under mode than in the interpreter. */
unsigned compare_programs(const char *mode, make_fn *make, uint64_t first, unsigned n);

#endif
