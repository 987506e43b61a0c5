// SPDX-License-Identifier: GPL-2.0-only
/* What happened, in words: exits, exceptions with their frames, state that differs from the fixed one. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/payload/payload.h"

char line[1 << 16];
static unsigned used;

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	used = (unsigned)strlen(line);
	if (used < sizeof(line) - 1)
		vsnprintf(line + used, sizeof(line) - used, format, args);
	va_end(args);
}

/* ---- exceptions ---------------------------------------------------------------------------------- */

static const char *vector_name(unsigned v)
{
	static const char *const names[20] = { "DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "9",
					       "TS", "NP", "SS",  "GP", "PF", "15", "MF", "AC", "MC", "XM" };
	static char number[8];

	if (v < 20)
		return names[v];
	snprintf(number, sizeof(number), "%02x", v);
	return number;
}

static bool has_error(unsigned v)
{
	return v == 8 || (v >= 10 && v <= 14) || v == 17;
}

static u64 frame_slot(const struct state *s, unsigned i, unsigned size)
{
	u64 at = s->regs.rsp + i * size, value = 0;

	if (!s->sregs.ss.db && size != 8)
		at &= 0xffff;
	at += size == 8 ? 0 : s->sregs.ss.base;
	if (at + 8 <= RAM_SIZE)
		memcpy(&value, ram + at, size);
	return value;
}

/* TCG pushes RF clear for faults: whether it is set is the unit tests' business. */
#define FL_RF_SHOWN (u64)FL_RF

struct frame {
	unsigned size, n;	/* bytes of a slot, slots without the error code */
	u64 error, rip, cs, rflags, rsp, ss;
};

static struct frame read_frame(const struct state *s, unsigned vector)
{
	bool is_long = s->sregs.efer & 0x400, real = !(s->sregs.cr0 & 1);
	struct frame f = { .size = is_long ? 8 : s->sregs.cs.db ? 4 : 2, .n = 3 };
	unsigned i = 0;

	if (has_error(vector) && !real)
		f.error = frame_slot(s, i++, f.size);
	f.rip = frame_slot(s, i, f.size);
	f.cs = frame_slot(s, i + 1, f.size);
	f.rflags = frame_slot(s, i + 2, f.size) & ~FL_RF_SHOWN;
	if (is_long || (f.size == 4 && (f.rflags & FL_VM)) || (!real && (f.cs & 3) != s->sregs.ss.dpl)) {
		f.rsp = frame_slot(s, i + 3, f.size);
		f.ss = frame_slot(s, i + 4, f.size);
		f.n = 5;
	}
	return f;
}

static void say_rip(u64 rip)
{
	if (rip >= CODE && rip < DATA)
		say("+%llx", (unsigned long long)(rip - CODE));
	else
		say("%llx", (unsigned long long)rip);
}

static void say_exception(const struct state *s, unsigned v)
{
	struct frame f = read_frame(s, v);

	say("#%s", vector_name(v));
	if (has_error(v) && (s->sregs.cr0 & 1))
		say("(%llx)", (unsigned long long)f.error);
	if (v == 14)
		say(" cr2=%llx", (unsigned long long)s->sregs.cr2);
	if (v == 1)
		say(" dr6=%llx", (unsigned long long)s->debug.dr6);
	say(" at ");
	say_rip(f.rip);
	say(" [cs=%llx fl=%llx", (unsigned long long)f.cs, (unsigned long long)f.rflags);
	if (f.n == 5)
		say(" sp=%llx ss=%llx", (unsigned long long)f.rsp, (unsigned long long)f.ss);
	say(" -> cpl=%d sp=%llx fl=%llx]; ", s->sregs.ss.dpl, (unsigned long long)s->regs.rsp,
	    (unsigned long long)s->regs.rflags);
}

/* The vector whose stub stopped at rip, or -1. */
static int stub_vector(u64 rip)
{
	if (rip < STUBS16 || rip >= CODE)
		return -1;
	return (int)((rip & 0xfff) >> 4);
}

/* At the end of its code: the HLT itself, or (CPL 3) its #GP. */
static bool is_end(const struct payload *p, const struct state *s, int vector)
{
	u64 end = CODE + (u64)(p->end - p->code);
	struct frame f;

	if (vector < 0)
		return s->regs.rip == end;
	f = read_frame(s, (unsigned)vector);
	return vector == 13 && f.rip == end - 1;
}

static bool report_halt(const struct payload *p, unsigned *exceptions)
{
	struct state s;
	int vector;

	vm_store(&s);
	vector = stub_vector(s.regs.rip - 1);
	if (is_end(p, &s, vector)) {
		say("end; ");
		return true;
	}
	if (vector < 0) {
		say("hlt ");
		say_rip(s.regs.rip);
		say("; ");
		return true;
	}
	say_exception(&s, (unsigned)vector);
	if (++*exceptions > p->cont)
		return true;
	if (has_error((unsigned)vector) && (s.sregs.cr0 & 1)) {
		s.regs.rsp += read_frame(&s, (unsigned)vector).size;
		vm_ioctl(vcpu_fd, KVM_SET_REGS, &s.regs);
	}
	return false;
}

/* ---- exits --------------------------------------------------------------------------------------- */

static void say_bytes(const u8 *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		say("%02x", p[i]);
}

/* Reads are answered with bytes that tell from where. */
static bool report_io(const struct payload *p, unsigned *exceptions)
{
	u8 *data = (u8 *)run + run->io.data_offset;
	unsigned n = run->io.size * run->io.count;

	if (run->io.port == STOP_PORT) {
		vm_finish_io();
		return report_halt(p, exceptions);
	}
	say("%s %x size=%d count=%d", run->io.direction ? "out" : "in", run->io.port, run->io.size,
	    run->io.count);
	if (run->io.direction) {
		say(" ");
		say_bytes(data, n);
	} else {
		for (unsigned i = 0; i < n; i++)
			data[i] = (u8)(run->io.port + i + 0x80);
	}
	say("; ");
	return false;
}

static bool report_mmio(void)
{
	say("%s %llx:%d", run->mmio.is_write ? "write" : "read", (unsigned long long)run->mmio.phys_addr,
	    run->mmio.len);
	if (run->mmio.is_write) {
		say(" ");
		say_bytes(run->mmio.data, run->mmio.len);
	} else {
		for (unsigned i = 0; i < run->mmio.len; i++)
			run->mmio.data[i] = (u8)(run->mmio.phys_addr + i + 0x40);
	}
	say("; ");
	return false;
}

static bool report_debug(void)
{
	say("debug exit exception=%d pc=%llx dr6=%llx dr7=%llx; ", run->debug.arch.exception,
	    (unsigned long long)run->debug.arch.pc, (unsigned long long)run->debug.arch.dr6,
	    (unsigned long long)run->debug.arch.dr7);
	return true;
}

bool report_exit(const struct payload *p, unsigned *exceptions)
{
	switch (run->exit_reason) {
	case KVM_EXIT_HLT:
		return report_halt(p, exceptions);
	case KVM_EXIT_IO:
		return report_io(p, exceptions);
	case KVM_EXIT_MMIO:
		return report_mmio();
	case KVM_EXIT_DEBUG:
		return report_debug();
	case KVM_EXIT_SHUTDOWN:
		say("shutdown; ");
		return true;
	case KVM_EXIT_INTERNAL_ERROR:
		say("internal error %d; ", run->internal.suberror);
		return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		say("window; ");
		return false;
	case KVM_EXIT_SET_TPR:
		say("tpr; ");
		return false;
	}
	say("exit %d; ", run->exit_reason);
	return true;
}

/* ---- what changed -------------------------------------------------------------------------------- */

#define R(name) { #name, offsetof(struct state, regs.name) }
#define S(name) { #name, offsetof(struct state, sregs.name) }

static const struct {
	const char *name;
	size_t offset;
} words[] = {
	R(rax),
	R(rbx),
	R(rcx),
	R(rdx),
	R(rsi),
	R(rdi),
	R(rsp),
	R(rbp),
	R(r8),
	R(r9),
	R(r10),
	R(r11),
	R(r12),
	R(r13),
	R(r14),
	R(r15),
	R(rflags),
	S(cr0),
	S(cr2),
	S(cr3),
	S(cr4),
	S(cr8),
	S(efer),
	{ "dr0", offsetof(struct state, debug.db[0]) },
	{ "dr1", offsetof(struct state, debug.db[1]) },
	{ "dr2", offsetof(struct state, debug.db[2]) },
	{ "dr3", offsetof(struct state, debug.db[3]) },
	{ "dr6", offsetof(struct state, debug.dr6) },
	{ "dr7", offsetof(struct state, debug.dr7) },
};

static const struct {
	const char *name;
	size_t offset;
} segments[] = { S(cs), S(ds), S(es), S(fs), S(gs), S(ss), S(tr), S(ldt) };

static void say_word(const struct state *now, unsigned i)
{
	u64 a, b;

	memcpy(&a, (const u8 *)&start + words[i].offset, 8);
	memcpy(&b, (const u8 *)now + words[i].offset, 8);
	if (a != b)
		say(" %s=%llx", words[i].name, (unsigned long long)b);
}

/* Hidden parts are told only where they mean something. */
static void say_segment(const struct state *now, unsigned i)
{
	const struct kvm_segment *a = (const void *)((const u8 *)&start + segments[i].offset);
	const struct kvm_segment *b = (const void *)((const u8 *)now + segments[i].offset);

	if (a->selector == b->selector && a->base == b->base && a->limit == b->limit &&
	    ((a->type ^ b->type) & ~2) == 0 && a->dpl == b->dpl && a->db == b->db && a->l == b->l &&
	    a->unusable == b->unusable)
		return;
	say(" %s=%x", segments[i].name, b->selector);
	if (b->unusable || (b->selector == 0 && segments[i].offset == offsetof(struct state, sregs.ldt)))
		say("(null)");
	else
		say("(%llx,%x,%x,dpl%d%s%s)", (unsigned long long)b->base, b->limit, b->type, b->dpl,
		    b->db ? ",d" : "", b->l ? ",l" : "");
}

static void say_table(const char *name, const struct kvm_dtable *a, const struct kvm_dtable *b)
{
	if (a->base != b->base || a->limit != b->limit)
		say(" %s=%llx,%x", name, (unsigned long long)b->base, b->limit);
}

static void say_events(const struct state *now)
{
	if (now->events.interrupt.shadow)
		say(" shadow=%d", now->events.interrupt.shadow);
	if (now->events.nmi.masked)
		say(" nmi-masked");
	if (now->events.nmi.pending)
		say(" nmi-pending");
	if (now->events.smi.smm)
		say(" smm");
}

void report_changes(void)
{
	struct state now;

	if (strstr(line, "shutdown; "))	/* AMD's KVM resets the vCPU, Intel's does not */
		return;
	vm_store(&now);
	say("|");
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		say_word(&now, i);
	for (unsigned i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		say_segment(&now, i);
	say_table("gdt", &start.sregs.gdt, &now.sregs.gdt);
	say_table("idt", &start.sregs.idt, &now.sregs.idt);
	say_events(&now);
}
