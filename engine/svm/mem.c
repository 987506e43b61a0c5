/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory as the emulator sees it: each access walks the guest's page tables and goes to the VMM's memory through the
 * slots, or to devices. There is no TLB here (cpu->tlbs stay invalid): what is emulated is rare, and mostly MMIO.
 */
#include "engine/svm/svm.h"
#include "kvm/irqchip.h"
#include "x86/paging.h"
#include "x86/system.h"

/* ---- translation ------------------------------------------------------------------------------------------------- */

/* One page of an access. */
struct piece {
	u64 gpa, hva; /* hva 0: MMIO, or a write to read-only memory */
	unsigned size;
	struct memslot *slot;
};

/* The in-kernel LAPIC's page lies over whatever the slots have there. */
bool svm_is_apic_page(const struct vcpu *vcpu, u64 gpa)
{
	return vcpu->apic && !((gpa ^ vcpu->apic_base) & PAGE_MASK & ~BIT64(63)) &&
	       (vcpu->apic_base & (BIT64(11) | BIT64(10))) == BIT64(11);
}

static void find_memory(struct x86_cpu *cpu, unsigned access, struct piece *p)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	p->hva = 0;
	p->slot = svm_is_apic_page(vcpu, p->gpa) ? NULL : memslot_find(vcpu->vm, vcpu_as_id(vcpu), p->gpa >> 12);
	if (!p->slot)
		return;
	if ((access & X86_ACCESS_WRITE) && !(access & X86_ACCESS_RMW) && (p->slot->flags & KVM_MEM_READONLY))
		return;
	p->hva = p->slot->hva + (p->gpa - (p->slot->base_gfn << 12));
}

/* The processor has found a device there by its own walk. */
static bool known_access(struct x86_cpu *cpu, u64 gva, unsigned access, u64 *gpa)
{
	struct svm_access *a = &svm_of(cpu)->access;

	if (!a->valid || (access & (X86_ACCESS_FETCH | X86_ACCESS_SYSTEM)))
		return false;
	if (((access & (X86_ACCESS_WRITE | X86_ACCESS_RMW)) && !a->write) || ((gva ^ a->gpa) & (PAGE_SIZE - 1)))
		return false;
	if (a->used && a->gva != gva)
		return false;
	a->used = true;
	a->gva = gva;
	*gpa = a->gpa;
	return true;
}

static enum x86_result translate(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, struct piece *p)
{
	struct x86_translation t;
	enum x86_result r;

	if (!known_access(cpu, gva, access, &p->gpa)) {
		r = x86_walk(cpu, gva, access, true, &t);
		if (r)
			return r;
		p->gpa = t.gpa;
	}
	p->size = size;
	find_memory(cpu, access, p);
	return X86_OK;
}

/* Splits at the page end; both halves are translated before anything is accessed. */
static enum x86_result translate_range(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, struct piece p[2],
				       unsigned *n)
{
	unsigned first = (unsigned)min_u64(size, PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	u64 next = gva + first;
	enum x86_result r;

	*n = 1;
	r = translate(cpu, gva, first, access, &p[0]);
	if (r || first == size)
		return r;
	if (cpu->code_bits != 64)
		next &= 0xffffffffull;
	*n = 2;
	return translate(cpu, next, size - first, access, &p[1]);
}

/* ---- accesses ------------------------------------------------------------------------------------------------------ */

/* Memory that the VMM has unmapped meanwhile reads as holes do; a hardware access to it ends KVM_RUN with -EFAULT. */
static enum x86_result read_piece(struct x86_cpu *cpu, const struct piece *p, void *dst)
{
	if (!p->hva)
		return cpu->env->mmio_read(cpu, p->gpa, dst, p->size);
	if (host_copy_from_user(dst, p->hva, p->size))
		memset(dst, 0xff, p->size);
	return X86_OK;
}

static enum x86_result write_piece(struct x86_cpu *cpu, const struct piece *p, const void *src)
{
	if (!p->hva)
		return cpu->env->mmio_write(cpu, p->gpa, src, p->size);
	if (!host_copy_to_user(p->hva, src, p->size))
		memslot_mark_dirty(vcpu_of(cpu), p->slot, p->gpa >> 12);
	return X86_OK;
}

/*
 * An instruction that repeats may do so for hours, with devices that are in the kernel. Now and then it stops, so that
 * signals and the scheduler get their turn.
 */
#define ACCESSED_MAX 4096u

static void note_access(struct x86_cpu *cpu, unsigned size)
{
	struct svm_vcpu *svm = svm_of(cpu);

	svm->accessed += size;
	if (likely(svm->accessed < ACCESSED_MAX))
		return;
	svm->accessed = 0;
	atomic_or(&cpu->stop, X86_STOP_EVENT);
}

static void note_breakpoint(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access)
{
	u64 hit;

	if (likely(!x86_debug_data_active(cpu)) || (access & X86_ACCESS_SYSTEM))
		return;
	hit = x86_debug_data(cpu, gva, size, access & X86_ACCESS_WRITE);
	if (hit) {
		cpu->pending_dr6 |= hit;
		atomic_or(&cpu->stop, X86_STOP_EVENT);
	}
}

static enum x86_result svm_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access)
{
	struct piece p[2];
	unsigned n;
	enum x86_result r = translate_range(cpu, gva, size, access, p, &n);

	note_access(cpu, size);
	if (access & X86_ACCESS_PROBE)
		return r;
	for (unsigned i = 0; !r && i < n; i++) {
		r = read_piece(cpu, &p[i], dst);
		dst = (char *)dst + p[i].size;
	}
	if (!r)
		note_breakpoint(cpu, gva, size, access);
	return r;
}

static enum x86_result svm_write(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size, unsigned access)
{
	struct piece p[2];
	unsigned n;
	enum x86_result r;

	if (unlikely(svm_of(cpu)->bounce.n))
		svm_bounce_flush(cpu);
	r = translate_range(cpu, gva, size, access | X86_ACCESS_WRITE, p, &n);
	note_access(cpu, size);
	if (access & X86_ACCESS_PROBE)
		return r;
	for (unsigned i = 0; !r && i < n; i++) {
		r = write_piece(cpu, &p[i], src);
		src = (const char *)src + p[i].size;
	}
	if (!r)
		note_breakpoint(cpu, gva, size, access | X86_ACCESS_WRITE);
	return r;
}

/* ---- string I/O ---------------------------------------------------------------------------------------------------- */

/* RDI tells how much has come: pieces that are not used after all go by a call of this before it moves. */
void svm_bounce_flush(struct x86_cpu *cpu)
{
	struct svm_bounce *b = &svm_of(cpu)->bounce;
	bool down = cpu->rflags & X86_DF;
	u64 rdi = cpu->regs[X86_RDI], bytes = (down ? b->rdi - rdi : rdi - b->rdi) & (PAGE_SIZE - 1);

	if (!bytes && rdi != b->rdi)
		bytes = PAGE_SIZE;
	for (unsigned i = 0; i < b->n; i++) {
		u64 n = min_u64(bytes, b->piece[i].size), at = down ? b->piece[i].size - n : 0;

		if (n && !host_copy_to_user(b->piece[i].hva + at, b->piece[i].copy + at, n))
			memslot_mark_dirty(vcpu_of(cpu), b->piece[i].slot, b->piece[i].gpa >> 12);
		bytes -= n;
	}
	b->n = 0;
}

/* Room for one more piece, of those that there are at the same time. */
static u8 *bounce_room(struct svm_bounce *b, unsigned size)
{
	if (!b->n)
		return b->page;
	return b->n == 1 && b->piece[0].size <= PAGE_SIZE / 2 && size <= PAGE_SIZE / 2 ? b->page + PAGE_SIZE / 2 : NULL;
}

/* Guest memory is never at hand by a pointer here: what is, for INS and OUTS alone, is a copy. */
static enum x86_result svm_pin(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, void **host)
{
	struct svm_bounce *b = &svm_of(cpu)->bounce;
	struct piece p;
	enum x86_result r;
	u8 *copy;

	*host = NULL;
	if (!b->wanted || (gva & (PAGE_SIZE - 1)) + size > PAGE_SIZE || x86_debug_data_active(cpu))
		return X86_OK;
	if (b->n && cpu->regs[X86_RDI] != b->rdi)
		svm_bounce_flush(cpu);
	note_access(cpu, size);
	copy = bounce_room(b, size);
	r = translate(cpu, gva, size, access, &p);
	if (r || !p.hva || !copy)
		return r;
	if (!(access & X86_ACCESS_WRITE)) {
		*host = host_copy_from_user(copy, p.hva, size) ? NULL : copy;
		return X86_OK;
	}
	b->piece[b->n].hva = p.hva;
	b->piece[b->n].gpa = p.gpa;
	b->piece[b->n].copy = copy;
	b->piece[b->n].size = size;
	b->piece[b->n++].slot = p.slot;
	b->rdi = cpu->regs[X86_RDI];
	*host = copy;
	return X86_OK;
}

/* ---- operations ------------------------------------------------------------------------------------------------------ */

static void svm_flush_page(struct x86_cpu *cpu, u64 gva)
{
	(void)gva;
	atomic_set(&svm_of(cpu)->flush, 1);
}

static void svm_flush_all(struct x86_cpu *cpu, bool keep_global)
{
	(void)keep_global;
	atomic_set(&svm_of(cpu)->flush, 1);
}

static void svm_flush_pcid(struct x86_cpu *cpu, unsigned pcid)
{
	(void)pcid;
	atomic_set(&svm_of(cpu)->flush, 1);
}

static void svm_switch_space(struct x86_cpu *cpu, bool keep)
{
	(void)keep;
	atomic_set(&svm_of(cpu)->flush, 1);
}

const struct x86_mem_ops svm_mem_ops = {
	.read = svm_read,
	.write = svm_write,
	.pin = svm_pin,
	.flush_page = svm_flush_page,
	.flush_all = svm_flush_all,
	.flush_pcid = svm_flush_pcid,
	.switch_space = svm_switch_space,
};

enum x86_result svm_fetch(struct x86_cpu *cpu, u64 gva, u8 *bytes, unsigned n, bool *memory)
{
	struct piece p;
	enum x86_result r = translate(cpu, gva, n, X86_ACCESS_FETCH, &p);

	*memory = !r && p.hva && !host_copy_from_user(bytes, p.hva, n);
	return r;
}
