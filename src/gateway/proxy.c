/* proxy.c - reading of PROXY headers. Version 2 only, TCP only. */
#include "proxy.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

enum { LOCAL = 0x20, PROXY = 0x21 };
enum { UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21 };

void gt_proxy_begin(struct gt_proxy *p)
{
	*p = (struct gt_proxy){ .size = GT_PROXY_FIXED };
}

size_t gt_proxy_wants(const struct gt_proxy *p)
{
	return p->size - p->have;
}

static enum gt_proxy_event bad(struct gt_proxy *p, const char *why)
{
	p->why = why;
	return GT_PROXY_BAD;
}

static size_t addresses_size(uint8_t family)
{
	return family == TCP4 ? 12 : family == TCP6 ? 36 : 0;
}

/* The fixed part is here. */
static enum gt_proxy_event read_fixed(struct gt_proxy *p)
{
	uint8_t command = p->head[12], family = p->head[13];
	size_t len = (size_t)p->head[14] << 8 | p->head[15];

	if (command != LOCAL && command != PROXY)
		return bad(p, "the PROXY header's version or command is unknown");
	if (command == PROXY && family != UNSPEC && family != TCP4 && family != TCP6)
		return bad(p, "the PROXY header is not of a TCP connection");
	if (len > GT_PROXY_MAX)
		return bad(p, "the PROXY header is longer than 4096 bytes");
	if (command == PROXY && len < addresses_size(family))
		return bad(p, "the PROXY header is too short for its addresses");
	p->size = GT_PROXY_FIXED + len;
	return GT_PROXY_MORE;
}

static void read_peer(struct gt_proxy *p)
{
	const uint8_t *source = p->head + GT_PROXY_FIXED;
	struct in6_addr v6;

	if (p->head[12] != PROXY)
		return;
	memcpy(&v6, source, sizeof(v6));
	if (p->head[13] == TCP4)
		inet_ntop(AF_INET, source, p->peer, sizeof(p->peer));
	else if (p->head[13] == TCP6 && IN6_IS_ADDR_V4MAPPED(&v6))
		inet_ntop(AF_INET, source + 12, p->peer, sizeof(p->peer));
	else if (p->head[13] == TCP6)
		inet_ntop(AF_INET6, source, p->peer, sizeof(p->peer));
}

enum gt_proxy_event gt_proxy_feed(struct gt_proxy *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)data[i];

		if (p->have < sizeof(signature) && c != signature[p->have])
			return bad(p, "connections from this address begin with a PROXY header of "
				      "version 2");
		if (p->have < sizeof(p->head))
			p->head[p->have] = c;
		if (++p->have == GT_PROXY_FIXED && read_fixed(p) == GT_PROXY_BAD)
			return GT_PROXY_BAD;
	}
	if (p->have < p->size)
		return GT_PROXY_MORE;
	read_peer(p);
	return GT_PROXY_DONE;
}
