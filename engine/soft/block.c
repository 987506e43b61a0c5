/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decoded code. A block is a run of instructions with one entry: up to an unconditional transfer or an instruction after
 * which the world may look different, the end of the page, or BLOCK_MAX_INSNS. Blocks lie in pages of VMM memory and are
 * told apart by offset and mode, so they survive changes of address space.
 *
 * When may a block run? When its bytes are those in memory. Who changes them?
 *
 * - A vCPU. It is seen doing it (codepage.c): the blocks concerned are void before the next instruction of the writer, and
 *   before the next block of another vCPU that can know of the write.
 * - Somebody else: the VMM, a device. Nobody tells. So whenever the VMM has had control, and KVM_RUN is entered again, all
 *   pages are doubted: the epoch moves, and a page whose last comparison was in another epoch is compared before anything
 *   of it runs. And a page is compared whenever a translation of it is loaded, as an operating system that has code read
 *   from a disk gives the page a new mapping before it runs; that holds however the end of the transfer is noticed.
 *   A device's interrupt from outside is no reason to doubt all pages - Linux would pay that for each network packet -
 *   but those that the guest may write to by the very mapping that they run from: memory that is used for anything, by
 *   firmware, or by a system that maps all memory once and for all. Without paging a page is compared whenever control
 *   comes to it from another one.
 *
 * So nothing needs to be asked at a block's entry but cpu->stop, and all that is needed is that each way into a page ends
 * here when the page is in doubt. There are two kinds of ways. Within a page, the translator links blocks directly; nothing
 * else breaks such a link but the end of the block that it leads to, or of the page's trust (block_page_close()). All others
 * begin at a linear address: they bear a number (struct block_numbers), and are void when their class's number is another:
 * after a flush of the TLB, INVLPG of such a page, a new epoch. An address space that the guest leaves and comes back to
 * keeps its numbers. The translator's links
 * between pages are of that kind though their branches are relative: as long as a number holds, a page that has them
 * is found at one linear address (note_place()), so that their targets are, too.
 */
#include "engine/soft/lockstep.h"
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"
#include "x86/opcodes.h"
#include "x86/paging.h"
#include "x86/segment.h"
#include "x86/system.h"

/* ---- numbers --------------------------------------------------------------------------------------------------- */

/* Translated code knows the low half, which is never 0. */
static u64 new_number(struct soft_vcpu *soft)
{
	if (unlikely(!(u32)++soft->numbers)) {
		soft->numbers++;
		soft->worn = true;
	}
	return soft->numbers;
}

static void renew_links(struct soft_vcpu *soft, struct block_numbers *n, enum block_class class)
{
	n->link[class] = new_number(soft);
}

static void renew(struct soft_vcpu *soft, struct block_numbers *n, enum block_class class)
{
	n->map[class] = new_number(soft);
	renew_links(soft, n, class);
}

static void renew_kept(struct soft_vcpu *soft, enum block_class class)
{
	for (unsigned c = 0; c < SOFT_CONTEXTS; c++)
		renew(soft, &soft->kept[c], class);
}

void block_enter_context(struct soft_vcpu *soft, unsigned context, bool fresh)
{
	struct block_numbers *to = &soft->kept[context];

	soft->kept[soft->context] = soft->now;
	soft->context = context;
	for (unsigned class = 0; class < BLOCK_CLASSES; class++) {
		if (fresh)
			renew(soft, to, class);
		else if (to->expiry != soft->expiry)
			renew_links(soft, to, class);
	}
	if (!soft->kernel_local) {
		to->map[BLOCK_KERNEL] = soft->now.map[BLOCK_KERNEL];
		to->link[BLOCK_KERNEL] = soft->now.link[BLOCK_KERNEL];
	}
	to->expiry = soft->expiry;
	soft->now = *to;
	soft->flushes++;
	translate_select(soft);
}

void block_flush_jumps(struct soft_vcpu *soft, bool keep_global)
{
	soft->flushes++;
	renew(soft, &soft->now, BLOCK_USER);
	if (!keep_global || soft->kernel_local)
		renew(soft, &soft->now, BLOCK_KERNEL);
	if (!keep_global) {
		renew_kept(soft, BLOCK_USER);
		renew_kept(soft, BLOCK_KERNEL);
		soft->kernel_local = soft->devices = false;
		soft->nr_fetched = 0;
		memset(soft->fetched, 0, sizeof(soft->fetched));
	}
	translate_select(soft);
}

void block_expire_links(struct soft_vcpu *soft)
{
	for (unsigned class = 0; class < BLOCK_CLASSES; class++)
		renew_links(soft, &soft->now, class);
	soft->now.expiry = ++soft->expiry;
	soft->devices = false;
	translate_select(soft);
}

void block_distrust(struct soft_vcpu *soft)
{
	soft->epoch++;
	block_expire_links(soft);
}

void block_distrust_devices(struct soft_vcpu *soft)
{
	if (soft->devices)
		block_distrust(soft);
}

static struct fetch_entry *fetch_slot(struct soft_vcpu *soft, u64 linear, unsigned context)
{
	return &soft->fetch[((linear >> 12) + context * 97) & (ARRAY_SIZE(soft->fetch) - 1)];
}

/* Where the page at linear is looked up now: supervisor code is the same in all address spaces as long as it is global. */
static struct fetch_entry *fetch_slot_now(struct soft_vcpu *soft, u64 linear, enum block_class class)
{
	return fetch_slot(soft, linear, class == BLOCK_KERNEL && !soft->kernel_local ? 0 : soft->context);
}

static u64 *fetched_word(struct soft_vcpu *soft, u64 linear, u64 page_size, u64 *bit)
{
	u64 n = ((linear & -page_size) ^ page_size) * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_FETCHED_BITS);

	*bit = BIT64(n % 64);
	return &soft->fetched[n / 64];
}

/* Code at linear's page is known from now on. With too many of them the bits would no longer tell one page from another. */
static void note_fetched(struct soft_vcpu *soft, u64 linear, u64 page_size)
{
	u64 bit, *word = fetched_word(soft, linear, page_size, &bit);

	if (!(*word & bit) && ++soft->nr_fetched > (1u << BLOCK_FETCHED_BITS) / 4)
		block_flush_jumps(soft, false);
	*word |= bit;
}

static bool fetched(struct soft_vcpu *soft, u64 linear, u64 page_size)
{
	u64 bit, *word = fetched_word(soft, linear, page_size, &bit);

	return *word & bit;
}

/*
 * Most pages of which this is asked hold no code. What is global may be known in other address spaces, by other numbers; of
 * a large page what lies anywhere in it goes.
 */
void block_fetch_flush_page(struct soft_vcpu *soft, u64 gva)
{
	soft->flushes++;
	if (fetched(soft, gva, 1ull << 21) || fetched(soft, gva, 1ull << 22) || fetched(soft, gva, 1ull << 30)) {
		block_flush_jumps(soft, false);
		return;
	}
	if (!fetched(soft, gva, PAGE_SIZE))
		return;
	for (unsigned c = 0; c < SOFT_CONTEXTS; c++) {
		struct fetch_entry *e = fetch_slot(soft, gva, c);

		if (e->linear == (gva & PAGE_MASK))
			e->number = 0;
	}
	block_expire_links(soft);
}

/* ---- void blocks --------------------------------------------------------------------------------------------- */

static void forget_jump(struct soft_vcpu *soft, struct block *b)
{
	struct jump *j = block_jump(soft, b->rip);

	if (b->many_rips)
		block_expire_links(soft);
	else if (b->entered && j->block == b)
		j->number = 0;
}

void block_void(struct soft_vcpu *soft, struct block *b)
{
	struct block **link = &b->page->first[b->offset / CODE_CHUNK];

	soft->stat->blocks_voided++;
	translate_unlink(soft, b);
	forget_jump(soft, b);
	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	if (b->spans) {
		for (link = &b->tail_page->spanning; *link != b;)
			link = &(*link)->next_spanning;
		*link = b->next_spanning;
	}
	block_free(soft, b);
}

/* ---- fetch ------------------------------------------------------------------------------------------------------- */

/* Not every way to a non-canonical RIP is checked: SYSRET on AMD, KVM_SET_REGS, running on past the end. */
static enum x86_result fetch_walk(struct x86_cpu *cpu, u64 page, struct x86_translation *t)
{
	if (unlikely(cpu->code_bits == 64 && !x86_canonical(cpu, page)))
		return x86_raise(cpu, X86_GP, 0);
	return x86_walk(cpu, page, X86_ACCESS_FETCH, true, t);
}

/* Only as long as all supervisor code is global is it the same in all address spaces. */
static void note_global(struct soft_vcpu *soft, enum block_class class, bool global)
{
	if (class == BLOCK_USER || global || soft->kernel_local)
		return;
	soft->kernel_local = true;
	renew_kept(soft, BLOCK_KERNEL);
	renew_links(soft, &soft->now, BLOCK_KERNEL); /* as its code's places are noted elsewhere from now on */
	translate_select(soft);
}

static bool paging(const struct x86_cpu *cpu)
{
	return cpu->cr0 & X86_CR0_PG;
}

static struct fetch_entry *fetch_load(struct vcpu *vcpu, u64 linear, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	enum block_class class = block_class(block_key(cpu));
	struct fetch_entry *e = fetch_slot_now(soft, linear, class);
	struct x86_translation t;
	struct memslot *slot;
	const u8 *host;

	soft->stat->fetch_misses++;
	if (fetch_walk(cpu, linear & PAGE_MASK, &t) != X86_OK) {
		*miss = BLOCK_FAULT;
		if (cpu->fault.vector == X86_PF_VECTOR)
			cpu->fault.payload = linear;
		return NULL;
	}
	e->number = 0;
	host = soft_ram(cpu, t.gpa & PAGE_MASK, &slot);
	*miss = host ? 0 : BLOCK_NOT_MEMORY;
	e->page = host ? block_page_get(vcpu, (u64)host) : NULL;
	if (!e->page)
		return NULL;
	note_fetched(soft, linear, t.page_size);
	e->page->compared = 0;
	e->linear = linear & PAGE_MASK;
	e->devices = !paging(cpu) || t.writable;
	note_global(soft, class, t.global || !paging(cpu));
	e->number = soft->now.map[class];
	return e;
}

/* NULL: *miss says why, or it is 0: no memory for what must be known of the page. */
static struct fetch_entry *fetch_page(struct vcpu *vcpu, u64 linear, enum block_miss *miss)
{
	struct soft_vcpu *soft = vcpu->engine;
	enum block_class class = block_class(block_key(&vcpu->cpu));
	struct fetch_entry *e = fetch_slot_now(soft, linear, class);

	if (likely(e->linear == (linear & PAGE_MASK) && e->number == soft->now.map[class]))
		return e;
	return fetch_load(vcpu, linear, miss);
}

/*
 * The page's blocks may run, as far as it depends on their bytes, until the epoch moves or the page is posted. False: what
 * was fetched is void now.
 */
static bool trust(struct vcpu *vcpu, struct block_page *page)
{
	struct soft_vcpu *soft = vcpu->engine;
	bool armed = page->arming == atomic_read(&page->record->armings) && page->arming;
	u64 flushes = soft->flushes;

	if (unlikely(!armed && page->chunks)) {
		code_page_arm(vcpu, page, page->chunks);
		if (soft->flushes != flushes)
			return false;
		page->compared = 0;
	}
	if (page->compared != soft->epoch || (!paging(&vcpu->cpu) && page != soft->last_page)) {
		block_page_compare(soft, page, page->chunks);
		page->compared = soft->epoch;
	}
	soft->last_page = page;
	return true;
}

/* STI has the instruction in its shadow in its own block; STAC and CLAC change nothing that code depends on. */
static bool ends_block(const struct x86_insn *insn)
{
	if (insn->op == X86_OP_STI || insn->op == X86_OP_STAC || insn->op == X86_OP_CLAC)
		return false;
	if (insn->desc->flags & X86_F_END)
		return true;
	return (insn->desc->flags & X86_F_BRANCH) && insn->op != X86_OP_JCC;
}

/* ---- making blocks -------------------------------------------------------------------------------------------------- */

/* Code bytes at hand while a block is made: those of its page, and for the last instruction some of the next. */
struct source {
	u8 bytes[BLOCK_MAX_BYTES]; /* from the block's first on */
	unsigned avail;		/* of them */
	struct block_page *tail_page; /* that they go on in, for one instruction: */
	u8 joined[2 * X86_MAX_INSN_LEN];
	unsigned nr_joined;	/* bytes of the one instruction that spans pages */
};

static void bind(struct vcpu *vcpu, struct x86_insn *insn, unsigned off)
{
	x86_bind(&vcpu->cpu, insn, off);
	if (insn->op == X86_OP_INT3) {
		insn->native = (void *)insn->exec;
		insn->exec = soft_exec_int3;
	}
}

/* The page after the one that holds linear, as the mode counts addresses. */
static u64 next_page(const struct vcpu *vcpu, u64 linear)
{
	u64 next = (linear & PAGE_MASK) + PAGE_SIZE;

	return vcpu->cpu.code_bits == 64 ? next : next & 0xffffffffull;
}

/* The instruction at RIP reaches into the next page: fetches from both. */
static bool join_pages(struct vcpu *vcpu, struct source *s, u64 linear, enum block_miss *miss)
{
	struct fetch_entry *e = fetch_page(vcpu, next_page(vcpu, linear), miss);

	if (!e)
		return false;
	memcpy(s->joined, s->bytes, s->avail);
	memcpy(s->joined + s->avail, (const u8 *)e->page->record->hva, X86_MAX_INSN_LEN);
	s->nr_joined = s->avail + X86_MAX_INSN_LEN;
	s->tail_page = e->page;
	((struct soft_vcpu *)vcpu->engine)->devices |= e->devices;
	return true;
}

static bool decode_first(struct vcpu *vcpu, struct source *s, u64 linear, struct x86_insn *insn, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	unsigned n = (unsigned)min_u64(s->avail, X86_MAX_INSN_LEN);
	enum x86_decode_status status = x86_decode(insn, s->bytes, n, cpu->code_bits);

	if (status == X86_DECODE_MORE && n < X86_MAX_INSN_LEN) {
		if (!join_pages(vcpu, s, linear, miss))
			return false;
		status = x86_decode(insn, s->joined, X86_MAX_INSN_LEN, cpu->code_bits);
	}
	if (status == X86_DECODE_OK)
		return true;
	*miss = BLOCK_FAULT;
	if (status == X86_DECODE_UD)
		x86_raise(cpu, X86_UD, 0);
	else
		x86_raise(cpu, X86_GP, 0);
	return false;
}

static enum x86_result block_end(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->regs[X86_REG_RIP] += insn->off;
	if (cpu->code_bits != 64)
		cpu->regs[X86_REG_RIP] &= 0xffffffffull;
	return X86_BRANCH;
}

/* Decodes on from insn[0] as far as a block may go; the bytes are a private copy. */
static unsigned decode_more(struct vcpu *vcpu, struct x86_insn *insn, const u8 *bytes, unsigned avail, unsigned *len)
{
	bool lockstep = ((struct soft_vcpu *)vcpu->engine)->lockstep;
	unsigned nr = 1, off = insn[0].len;

	while (nr < BLOCK_MAX_INSNS && off < avail && !ends_block(&insn[nr - 1]) &&
	       !(lockstep && lockstep_alone(&insn[nr - 1]))) {
		unsigned n = avail - off < X86_MAX_INSN_LEN ? avail - off : X86_MAX_INSN_LEN;

		if (x86_decode(&insn[nr], bytes + off, n, vcpu->cpu.code_bits) != X86_DECODE_OK)
			break;
		if (lockstep && lockstep_alone(&insn[nr]))
			break;
		bind(vcpu, &insn[nr], off);
		off += insn[nr].len;
		nr++;
	}
	*len = off;
	return nr;
}

/* What bytes hold, decoded as far as a block goes: in the draft. */
static struct block *decode(struct vcpu *vcpu, struct source *s, const struct x86_insn *first)
{
	struct soft_vcpu *soft = vcpu->engine;
	struct block *b = &soft->draft;
	unsigned len = first->len;

	b->insn = soft->draft_insn;
	b->insn[0] = *first;
	bind(vcpu, &b->insn[0], 0);
	b->nr = 1;
	b->spans = s->nr_joined != 0;
	if (!b->spans)
		b->nr = (u16)decode_more(vcpu, b->insn, s->bytes, s->avail, &len);
	else
		memcpy(b->tail, s->joined + s->avail, len - s->avail);
	b->tail_page = s->tail_page;
	b->insn[b->nr] = (struct x86_insn){ .exec = block_end, .off = (u16)len, .next = (u16)len };
	b->len = (u16)len;
	b->key = block_key(&vcpu->cpu);
	return b;
}

/*
 * From now on writes to these len bytes at offset are noticed: marks their chunks, and only then takes them over into the
 * shadow. False: they are no longer those that were decoded, or what was fetched is void.
 */
static bool admit(struct vcpu *vcpu, struct block_page *page, unsigned offset, const u8 *bytes, unsigned len)
{
	struct soft_vcpu *soft = vcpu->engine;
	u64 chunks = code_chunks(offset, len), flushes = soft->flushes;

	code_page_arm(vcpu, page, chunks | page->chunks);
	if (soft->flushes != flushes)
		return false;
	for (u64 new = chunks & ~page->chunks; new; new &= new - 1) {
		unsigned at = (unsigned)__builtin_ctzll(new) * CODE_CHUNK;

		memcpy(page->shadow + at, (const u8 *)page->record->hva + at, CODE_CHUNK);
	}
	atomic_set(&page->chunks, page->chunks | chunks);
	if (likely(!memcmp(page->shadow + offset, bytes, len)))
		return true;
	block_page_compare(soft, page, chunks);
	return false;
}

/* The part of the draft that is in its page, and the rest. */
static bool admit_all(struct vcpu *vcpu, struct block_page *page, const struct block *draft, const u8 *bytes)
{
	unsigned here = (unsigned)PAGE_SIZE - draft->offset;

	if (!draft->spans)
		return admit(vcpu, page, draft->offset, bytes, draft->len);
	return admit(vcpu, page, draft->offset, bytes, here) &&
	       admit(vcpu, draft->tail_page, 0, draft->tail, draft->len - here);
}

static struct block *keep(struct soft_vcpu *soft, struct block_page *page, const struct block *draft)
{
	struct block *b = block_alloc(soft, draft->nr + 1u), **link = &page->first[draft->offset / CODE_CHUNK];
	struct x86_insn *insn = b->insn;
	u16 units = b->units;

	soft->stat->blocks_decoded++;
	memcpy(insn, draft->insn, (draft->nr + 1u) * sizeof(*insn));
	*b = *draft;
	b->insn = insn;
	b->units = units;
	b->page = page;
	b->next = *link;
	b->heat = 0;
	b->entered = b->many_rips = false;
	b->incoming = 0;
	b->code = NULL;
	b->home = 0;
	b->pieces = NULL;
	b->probed = 0;
	*link = b;
	if (b->spans) {
		b->next_spanning = b->tail_page->spanning;
		b->tail_page->spanning = b;
	}
	return b;
}

/* NULL with *miss 0: look again. */
static struct block *make(struct vcpu *vcpu, struct block_page *page, u64 linear, enum block_miss *miss)
{
	struct soft_vcpu *soft = vcpu->engine;
	u16 offset = linear & (PAGE_SIZE - 1);
	struct source s = { .avail = (unsigned)min_u64(PAGE_SIZE - offset, BLOCK_MAX_BYTES) };
	u64 flushes = soft->flushes;
	struct x86_insn first;
	struct block *draft;

	memcpy(s.bytes, (const u8 *)page->record->hva + offset, s.avail);
	if (!decode_first(vcpu, &s, linear, &first, miss) || soft->flushes != flushes)
		return NULL;
	draft = decode(vcpu, &s, &first);
	draft->offset = offset;
	if (!admit_all(vcpu, page, draft, s.nr_joined ? s.joined : s.bytes))
		return NULL;
	return keep(soft, page, draft);
}

static bool is_block(const struct block *b, const struct block_page *page, unsigned offset, u32 key)
{
	return b->offset == offset && b->key == key && b->page == page;
}

/* Of a page they are side by side, as its blocks run one after the other. */
static struct block **found_slot(struct soft_vcpu *soft, const struct block_page *page, unsigned offset, u32 key)
{
	u64 hash = (page->hva >> 12) * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_FOUND_BITS);

	return &soft->found[(hash + offset / 4 + key) & (ARRAY_SIZE(soft->found) - 1)];
}

/* Blocks of one chunk may be many, and each is a miss of the cache. */
static struct block *find(struct soft_vcpu *soft, struct block_page *page, unsigned offset, u32 key)
{
	struct block **found = found_slot(soft, page, offset, key), *b = *found;

	if (likely(b && is_block(b, page, offset, key)))
		return b;
	for (b = page->first[offset / CODE_CHUNK]; b && !is_block(b, page, offset, key);)
		b = b->next;
	if (b)
		*found = b;
	return b;
}

/*
 * Whether the page that follows is the one that b goes on in, and to be trusted. False with *miss 0: another one, what was
 * fetched is void, or b is void now as its bytes there have changed.
 */
static bool same_tail(struct vcpu *vcpu, const struct block *b, u64 linear, enum block_miss *miss)
{
	struct soft_vcpu *soft = vcpu->engine;
	struct block_page *tail = b->tail_page;
	u64 flushes = soft->flushes;
	struct fetch_entry *e = fetch_page(vcpu, next_page(vcpu, linear), miss);

	if (!e || soft->flushes != flushes || e->page != tail)
		return false;
	soft->devices |= e->devices;
	return trust(vcpu, tail) && b->page;
}

static struct block *find_or_make(struct vcpu *vcpu, struct block_page *page, u64 linear, enum block_miss *miss)
{
	struct soft_vcpu *soft = vcpu->engine;
	struct block *b = find(soft, page, linear & (PAGE_SIZE - 1), block_key(&vcpu->cpu));
	u64 flushes = soft->flushes;

	*miss = 0;
	if (b && b->spans && !same_tail(vcpu, b, linear, miss)) {
		if (*miss || soft->flushes != flushes)
			return NULL;
		if (b->page)
			block_void(soft, b);
		b = NULL;
	}
	return b ? b : make(vcpu, page, linear, miss);
}

/* Segment limit of CS for code that is not in 64-bit mode. The first byte must lie within; the rest is checked by len. */
static bool within_limit(const struct x86_cpu *cpu, unsigned len)
{
	return cpu->code_bits == 64 || x86_rip(cpu) + len - 1 <= cpu->seg[X86_CS].limit;
}

/* A block that would run over the limit of CS is cut: its first instruction alone, which faults if it reaches over. */
static struct block *check_limit(struct vcpu *vcpu, struct block *b, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	if (likely(within_limit(cpu, b->len)))
		return b;
	if (!within_limit(cpu, b->insn[0].len)) {
		x86_raise(cpu, X86_GP, 0);
		*miss = BLOCK_FAULT;
		return NULL;
	}
	((struct soft_vcpu *)vcpu->engine)->single = true;
	return b;
}

/* ---- places ----------------------------------------------------------------------------------------------------------- */

_Static_assert(CODE_PLACES == SOFT_CONTEXTS * BLOCK_CLASSES, "one for each");

/* Of supervisor's code there is one for all contexts as long as it has one number in all of them. */
static unsigned place_index(const struct soft_vcpu *soft, enum block_class class)
{
	unsigned context = class == BLOCK_KERNEL && !soft->kernel_local ? 0 : soft->context;

	return context * BLOCK_CLASSES + class;
}

bool block_page_is_at(const struct soft_vcpu *soft, const struct block_page *page, enum block_class class, u64 linear)
{
	const struct code_place *place = &page->place[place_index(soft, class)];

	return !page->many_places && place->number == soft->now.link[class] && place->linear == linear;
}

/* The page's code is about to run at linear. If it is known elsewhere too, the links from there must go, once and for all. */
static void note_place(struct soft_vcpu *soft, struct block_page *page, enum block_class class, u64 linear)
{
	struct code_place *place = &page->place[place_index(soft, class)];

	if (place->number == soft->now.link[class] && place->linear != linear && !page->many_places) {
		page->many_places = true;
		translate_unlink_far(soft, page);
		block_expire_links(soft);
	}
	*place = (struct code_place){ soft->now.link[class], linear };
}

/* The way from linear to b is known. */
static void enter_jump(struct soft_vcpu *soft, u64 linear, struct block *b, const struct fetch_entry *fetch)
{
	struct jump *j = block_jump(soft, linear);
	u64 number;

	note_place(soft, b->page, block_class(b->key), linear & PAGE_MASK);
	b->many_rips |= b->entered && b->rip != linear;
	b->entered = true;
	b->rip = linear;
	number = soft->now.link[block_class(b->key)];
	soft->displaced_jumps += j->number == number && j->rip != linear;
	*j = (struct jump){ .rip = linear, .key = b->key, .block = b, .number = number };
	if (soft->displaced_jumps > soft->jump_mask / 2 && soft->jump_mask < ARRAY_SIZE(soft->jump) - 1)
		block_size_jumps(soft, soft->jump_mask << 1 | 1);
	soft->devices |= fetch->devices;
}

struct block *block_lookup_slow(struct vcpu *vcpu, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	u64 linear = code_linear_rip(cpu);
	const struct jump *j = block_jump(soft, linear);
	u32 key = block_key(cpu);
	struct fetch_entry *fetch;
	struct block *b;

	soft->single = false;
	soft->stat->block_lookups++;
	if (unlikely(soft->worn)) {
		block_flush_all(soft);
		soft->worn = false;
	}
	if (j->rip == linear && j->key == key && j->number == soft->now.link[block_class(key)])
		return check_limit(vcpu, j->block, miss);
	if (!within_limit(cpu, 1)) {
		x86_raise(cpu, X86_GP, 0);
		*miss = BLOCK_FAULT;
		return NULL;
	}
	fetch = fetch_page(vcpu, linear, miss);
	if (!fetch)
		return NULL;
	*miss = 0;
	if (!trust(vcpu, fetch->page))
		return NULL;
	b = find_or_make(vcpu, fetch->page, linear, miss);
	if (!b)
		return NULL;
	if (paging(cpu))
		enter_jump(soft, linear, b, fetch);
	return check_limit(vcpu, b, miss);
}
