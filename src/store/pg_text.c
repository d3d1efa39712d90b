/* store/pg_text.c - see pg_text.h. */
#include "pg_text.h"

#include <string.h>

#include <libpq-fe.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

/* Bytes of the character at s, or 0 when there is none (cut short, too long, a surrogate). */
static size_t char_len(const unsigned char *s)
{
	static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned value = s[0];

	if (len < 2)
		return len;
	if (s[0] > 0xf4)
		return 0;
	value &= 0x7fU >> len;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (s[i] & 0x3fU);
	}
	if (value < least[len] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	return len;
}

char *gt_pg_text(const char *text)
{
	char *copy = NULL;

	for (size_t i = 0; text[i];) {
		size_t len = char_len((const unsigned char *)text + i);

		if (!len) {
			if (!copy)
				copy = gt_strdup(text);
			copy[i] = '?';
		}
		i += len ? len : 1;
	}
	return copy;
}

void gt_pg_notice(void *arg, const PGresult *res)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	(void)arg;
	gt_debug("the state database: %s", text ? text : "");
}
