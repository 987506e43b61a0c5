// SPDX-License-Identifier: GPL-2.0-only
/* The VMM's memory behind guest memory: pages by address, and news of what the kernel does with them. */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <asm/io.h>
#include "host/hw.h"

/* ---- frames ----------------------------------------------------------------------------------------------- */

/* How much the kernel maps around hva at once. Tables of the mm are freed only after an IPI to this processor. */
static u64 mapping_size(u64 hva)
{
	u64 size = PAGE_SIZE;
	unsigned long flags;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(current->mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	if (pud_large(pud)) {
		size = PUD_SIZE;
		goto out;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	if (!pmd_none(pmd) && pmd_present(pmd) && pmd_large(pmd))
		size = PMD_SIZE;
out:
	local_irq_restore(flags);
	return size;
}

static void set_frame(struct host_frame *f, struct page *page, u64 size, bool writable)
{
	f->phys = page_to_phys(page);
	f->size = size;
	f->writable = writable;
	f->opaque = (u64)page;
}

int host_frames_get(u64 hva, unsigned int n, bool write, struct host_frame *out)
{
	struct page *page[HOST_FRAMES_MAX];
	bool writable = true;
	long got;

	if (!current->mm)
		return -EFAULT;
	got = get_user_pages_fast_only(hva & PAGE_MASK, n, FOLL_WRITE, page);
	if (got < 1) {
		got = get_user_pages_unlocked(hva & PAGE_MASK, 1, page, write ? FOLL_WRITE : 0);
		writable = write;
	}
	if (got < 1)
		return got == -EINTR || got == -EAGAIN || fatal_signal_pending(current) ? -EINTR : -EFAULT;
	set_frame(&out[0], page[0], PageCompound(page[0]) ? mapping_size(hva) : PAGE_SIZE, writable);
	for (long i = 1; i < got; i++)
		set_frame(&out[i], page[i], PAGE_SIZE, true);
	return got;
}

void host_frame_put(struct host_frame *f)
{
	struct page *page = (struct page *)f->opaque;

	/* A write of the guest's may come until the mapping is invalidated, where the kernel wants to know this already. */
	if (f->writable && !PageDirty(page) && !PageReserved(page))
		SetPageDirty(page);
	put_page(page);
}

/* ---- watching an mm ------------------------------------------------------------------------------------------ */

static struct host_mm_watch *watch_of(struct mmu_notifier *mn)
{
	return container_of((u64 *)mn, struct host_mm_watch, opaque[0]);
}

static int watch_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct host_mm_watch *w = watch_of(mn);

	w->begin(w, range->start, range->end);
	return 0;
}

static void watch_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct host_mm_watch *w = watch_of(mn);

	w->end(w, range->start, range->end);
}

static int watch_clear_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct host_mm_watch *w = watch_of(mn);

	return w->young(w, start, end, true);
}

static int watch_test_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long at)
{
	struct host_mm_watch *w = watch_of(mn);

	return w->young(w, at, at + 1, false);
}

/* The process is gone, the VM's descriptors are not yet. */
static void watch_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct host_mm_watch *w = watch_of(mn);

	w->begin(w, 0, ~0ull);
	w->end(w, 0, ~0ull);
}

static const struct mmu_notifier_ops watch_ops = {
	.invalidate_range_start = watch_start,
	.invalidate_range_end = watch_end,
	.clear_flush_young = watch_clear_young, /* what the TLB keeps of it is forgotten in time, as with the kernel's own */
	.clear_young = watch_clear_young,
	.test_young = watch_test_young,
	.release = watch_release,
};

int host_mm_watch(struct host_mm_watch *w)
{
	struct mmu_notifier *mn = (struct mmu_notifier *)w->opaque;

	BUILD_BUG_ON(sizeof(*mn) > sizeof(w->opaque));
	memset(mn, 0, sizeof(*mn));
	mn->ops = &watch_ops;
	return mmu_notifier_register(mn, current->mm);
}

void host_mm_unwatch(struct host_mm_watch *w)
{
	struct mmu_notifier *mn = (struct mmu_notifier *)w->opaque;

	mmu_notifier_unregister(mn, mn->mm);
}
