/* units.c - numbers as people write them. */
#include <gantry/base/units.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: formatting takes the first that divides. */
static const struct unit duration_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};
static const struct unit bytes_units[] = {
	{ "TiB", GT_GIB * 1024 }, { "GiB", GT_GIB }, { "MiB", GT_MIB },
	{ "KiB", GT_KIB },        { "", 1 },         { "TB", 1000000000000 },
	{ "GB", 1000000000 },     { "MB", 1000000 }, { "KB", 1000 },
};
#define BYTES_UNITS_EXACT 5 /* the binary ones, which formatting uses */

/* Reads digits; *end is left at the first other character. */
static int parse_digits(const char *s, uint64_t *ret, const char **end)
{
	uint64_t n = 0;

	if (!s || *s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (unsigned)(*s - '0'), &n))
			return -ERANGE;
	*ret = n;
	*end = s;
	return 0;
}

static int parse_with_unit(const char *s, const struct unit *units, size_t n_units, uint64_t *ret)
{
	uint64_t n;
	const char *end;
	int r = parse_digits(s, &n, &end);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n_units; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (n > UINT64_MAX / units[i].factor)
			return -ERANGE;
		*ret = n * units[i].factor;
		return 0;
	}
	return -EINVAL;
}

int gt_parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	const char *end;
	int r = parse_digits(s, &n, &end);

	if (r < 0)
		return r;
	if (*end)
		return -EINVAL;
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

int gt_parse_duration_ms(const char *s, uint64_t *ret)
{
	return parse_with_unit(s, duration_units, GT_LEN(duration_units), ret);
}

int gt_parse_bytes(const char *s, uint64_t *ret)
{
	return parse_with_unit(s, bytes_units, GT_LEN(bytes_units), ret);
}

void gt_format_duration_ms(uint64_t ms, char *out, size_t size)
{
	size_t i = 0;

	if (ms == 0) {
		snprintf(out, size, "0s");
		return;
	}
	while (ms % duration_units[i].factor)
		i++;
	snprintf(out, size, "%" PRIu64 "%s", ms / duration_units[i].factor, duration_units[i].name);
}

void gt_format_bytes(uint64_t bytes, char *out, size_t size)
{
	size_t i = bytes ? 0 : BYTES_UNITS_EXACT - 1;

	while (bytes % bytes_units[i].factor)
		i++;
	snprintf(out, size, "%" PRIu64 "%s", bytes / bytes_units[i].factor, bytes_units[i].name);
}

char *gt_put_u64(char *out, uint64_t n)
{
	char digits[GT_U64_SIZE];
	size_t len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len > 0)
		*out++ = digits[--len];
	return out;
}
