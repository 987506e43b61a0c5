// SPDX-License-Identifier: GPL-2.0-only
/*
 * The text: "STATE hex", "VALUES hex", "PAGE gpa hex" ..., and "END hex" once, with all checksums. Bytes are two digits;
 * "z<n>." are n bytes of zero.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "tests/transplant/dump.h"
#include "tests/transplant/guest.h"

void values_add(struct values *v, uint32_t value)
{
	if (v->count == sizeof(v->value) / sizeof(v->value[0]))
		errx(1, "the guest tells too much");
	v->value[v->count++] = value;
}

bool values_equal(const struct values *a, const struct values *b)
{
	return a->count == b->count && !memcmp(a->value, b->value, a->count * sizeof(a->value[0]));
}

void values_print(const struct values *v)
{
	for (unsigned i = 0; i < v->count; i++)
		printf("%08x%c", v->value[i], i + 1 < v->count ? ' ' : '\n');
}

/* ---- writing ----------------------------------------------------------------------------------------- */

static void put(const char *word, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	printf("%s ", word);
	for (size_t i = 0; i < n;) {
		size_t zeros = 0;

		while (i + zeros < n && !p[i + zeros])
			zeros++;
		if (zeros > 2)
			printf("z%zu.", zeros), i += zeros;
		else
			printf("%02x", p[i++]);
	}
	putchar('\n');
}

void dump_state(const struct machine_state *s, const char *ram, const char *original, const struct values *so_far)
{
	char word[32];

	put("STATE", s, sizeof(*s));
	put("VALUES", so_far, sizeof(*so_far));
	for (size_t gpa = 0; gpa < GUEST_RAM; gpa += 4096) {
		if (!memcmp(ram + gpa, original + gpa, 4096))
			continue;
		snprintf(word, sizeof(word), "PAGE %zx", gpa);
		put(word, ram + gpa, 4096);
	}
}

void dump_end(const struct values *all)
{
	put("END", all, sizeof(*all));
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static char *text, *place;

static unsigned digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* The bytes after the word at the line that begins at p. */
static void get(const char *p, void *bytes, size_t n)
{
	unsigned char *out = bytes;
	size_t i = 0;

	while (i < n && *p && *p != '\n' && *p != '\r') {
		if (*p == 'z') {
			char *end;
			size_t zeros = strtoul(p + 1, &end, 10);

			if (zeros > n - i)
				break;
			memset(out + i, 0, zeros);
			i += zeros;
			p = end + 1;
		} else {
			out[i++] = (unsigned char)(digit(p[0]) << 4 | digit(p[1]));
			p += 2;
		}
	}
	if (i != n)
		errx(1, "the dump is damaged");
}

void dump_read(FILE *in, struct values *all)
{
	size_t size = 0, n;
	char *end;

	do {
		text = realloc(text, size + (1 << 20) + 1);
		n = fread(text + size, 1, 1 << 20, in);
		size += n;
	} while (n);
	text[size] = 0;
	end = strstr(text, "\nEND ");
	if (!end)
		errx(1, "the dump has no end");
	get(end + 5, all, sizeof(*all));
	place = text;
}

static char *next_line(char *p)
{
	p = strchr(p, '\n');
	return p ? p + 1 : NULL;
}

bool dump_next(struct machine_state *s, char *ram, const char *original, struct values *so_far)
{
	while (place && strncmp(place, "STATE ", 6))
		place = next_line(place);
	if (!place)
		return false;
	get(place + 6, s, sizeof(*s));
	place = next_line(place);
	get(place + 7, so_far, sizeof(*so_far));
	memcpy(ram, original, GUEST_RAM);
	for (place = next_line(place); place && !strncmp(place, "PAGE ", 5); place = next_line(place)) {
		char *hex;
		size_t gpa = strtoul(place + 5, &hex, 16);

		if (gpa > GUEST_RAM - 4096)
			errx(1, "the dump is damaged");
		get(hex + 1, ram + gpa, 4096);
	}
	return true;
}
