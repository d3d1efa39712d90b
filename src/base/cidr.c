/* cidr.c - reading, comparing and showing networks. */
#include <gantry/base/cidr.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/units.h>

/* The first `bits` bits of both are the same. */
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned rest = bits % 8;

	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

bool gt_cidr_parse(const char *text, struct gt_cidr *ret)
{
	const char *slash = strchr(text, '/');
	struct gt_cidr c = { .len = strchr(text, ':') ? 16 : 4 };
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint8_t masked[16] = { 0 };
	uint64_t bits = c.len * 8u;
	char host[64];

	if (n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(c.len == 16 ? AF_INET6 : AF_INET, host, c.addr) != 1 ||
	    (slash && gt_parse_u64(slash + 1, c.len * 8u, &bits) < 0))
		return false;
	c.bits = (uint8_t)bits;
	memcpy(masked, c.addr, bits / 8);
	if (bits % 8)
		masked[bits / 8] = (uint8_t)(c.addr[bits / 8] & (0xff00u >> (bits % 8)));
	if (memcmp(masked, c.addr, sizeof(masked)) != 0)
		return false;
	*ret = c;
	return true;
}

bool gt_cidr_overlap(const struct gt_cidr *a, const struct gt_cidr *b)
{
	return a->len == b->len && same_prefix(a->addr, b->addr, GT_MIN(a->bits, b->bits));
}

void gt_cidr_text(const struct gt_cidr *c, char *out, size_t size)
{
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(c->len == 16 ? AF_INET6 : AF_INET, c->addr, addr, sizeof(addr));
	if (c->bits == c->len * 8)
		snprintf(out, size, "%s", addr);
	else
		snprintf(out, size, "%s/%u", addr, c->bits);
}

int gt_cidr_list(const char *key, const char *text, struct gt_cidr *ret, size_t max,
		 struct gt_err *err)
{
	static const char between[] = ", \t";
	size_t n = 0;

	for (text += strspn(text, between); *text; text += strspn(text, between)) {
		size_t len = strcspn(text, between);
		char word[64];

		snprintf(word, sizeof(word), "%.*s", (int)GT_MIN(len, sizeof(word) - 1), text);
		text += len;
		if (n == max)
			return gt_err_set(err, EINVAL, "bad_config", "%s: more than %zu entries",
					  key, max);
		if (len >= sizeof(word) || !gt_cidr_parse(word, &ret[n]))
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is no network like 10.0.0.0/8 or fd00::/8",
					  key, word);
		n++;
	}
	return (int)n;
}
