// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/cmos.h"

#include <string.h>
#include <time.h>

/* MC146818 registers; the century byte is where ACPI's FADT says. */
enum {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_WEEKDAY = 0x06,
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
};

#define RTC_A_DEFAULT 0x26 /* 32.768 kHz, 1024 Hz */
#define RTC_A_UIP 0x80
#define RTC_B_24H 0x02
#define RTC_B_BINARY 0x04
#define RTC_B_SET 0x80
#define RTC_D_VALID 0x80
#define RTC_PM 0x80

static u64 host_clock(void)
{
	return time(NULL);
}

static bool is_time_register(u8 index)
{
	switch (index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		return true;
	default:
		return false;
	}
}

static u8 encode(const struct cmos *c, unsigned value)
{
	return c->ram[RTC_B] & RTC_B_BINARY ? value : (value / 10) << 4 | value % 10;
}

static unsigned decode(const struct cmos *c, u8 value)
{
	return c->ram[RTC_B] & RTC_B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static u8 encode_hours(const struct cmos *c, unsigned hour)
{
	if (c->ram[RTC_B] & RTC_B_24H)
		return encode(c, hour);
	return encode(c, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? RTC_PM : 0);
}

static unsigned decode_hours(const struct cmos *c, u8 value)
{
	if (c->ram[RTC_B] & RTC_B_24H)
		return decode(c, value);
	return decode(c, value & ~RTC_PM) % 12 + (value & RTC_PM ? 12 : 0);
}

/* The clock's present time into the registers, unless the guest is setting them. */
static void load_time(struct cmos *c)
{
	time_t t = c->now() + c->offset;
	struct tm tm;

	if ((c->ram[RTC_B] & RTC_B_SET) || !gmtime_r(&t, &tm))
		return;
	c->ram[RTC_SECONDS] = encode(c, tm.tm_sec);
	c->ram[RTC_MINUTES] = encode(c, tm.tm_min);
	c->ram[RTC_HOURS] = encode_hours(c, tm.tm_hour);
	c->ram[RTC_WEEKDAY] = encode(c, tm.tm_wday + 1);
	c->ram[RTC_DAY] = encode(c, tm.tm_mday);
	c->ram[RTC_MONTH] = encode(c, tm.tm_mon + 1);
	c->ram[RTC_YEAR] = encode(c, tm.tm_year % 100);
	c->ram[RTC_CENTURY] = encode(c, (tm.tm_year + 1900) / 100 % 100);
}

/* The registers' time becomes the clock's. timegm normalises whatever nonsense they hold. */
static void store_time(struct cmos *c)
{
	struct tm tm = {
		.tm_sec = decode(c, c->ram[RTC_SECONDS]),
		.tm_min = decode(c, c->ram[RTC_MINUTES]),
		.tm_hour = decode_hours(c, c->ram[RTC_HOURS]),
		.tm_mday = decode(c, c->ram[RTC_DAY]),
		.tm_mon = (int)decode(c, c->ram[RTC_MONTH]) - 1,
		.tm_year = (int)(decode(c, c->ram[RTC_CENTURY]) * 100 + decode(c, c->ram[RTC_YEAR])) - 1900,
	};

	c->offset = (s64)timegm(&tm) - (s64)c->now();
}

void cmos_init(struct cmos *c, u64 (*now)(void))
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->now = now ? now : host_clock;
	c->ram[RTC_A] = RTC_A_DEFAULT;
	c->ram[RTC_B] = RTC_B_24H;
	c->ram[RTC_D] = RTC_D_VALID;
}

static u8 cmos_read(struct cmos *c)
{
	if (is_time_register(c->index))
		load_time(c);
	return c->ram[c->index];
}

static void cmos_write(struct cmos *c, u8 value)
{
	switch (c->index) {
	case RTC_A:
		c->ram[RTC_A] = value & ~RTC_A_UIP;
		return;
	case RTC_B:
		/* Formats change with the time they show; SET freezes it, and lets it run again. */
		load_time(c);
		if ((c->ram[RTC_B] & RTC_B_SET) && !(value & RTC_B_SET))
			store_time(c);
		c->ram[RTC_B] = value;
		return;
	case RTC_C:
	case RTC_D:
		return;
	}
	if (is_time_register(c->index))
		load_time(c);
	c->ram[c->index] = value;
	if (is_time_register(c->index) && !(c->ram[RTC_B] & RTC_B_SET))
		store_time(c);
}

void cmos_io(void *cmos, u64 offset, u8 *data, unsigned size, bool write)
{
	struct cmos *c = cmos;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < size; i++) {
		bool is_data = offset + i == 1;

		if (!write)
			data[i] = is_data ? cmos_read(c) : 0xff;
		else if (is_data)
			cmos_write(c, data[i]);
		else
			c->index = data[i] & 0x7f; /* bit 7 masks NMIs, of which there are none */
	}
	pthread_mutex_unlock(&c->lock);
}
