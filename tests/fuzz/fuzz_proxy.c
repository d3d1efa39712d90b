/* fuzz_proxy.c - PROXY headers: any cut gives the same verdict and peer, no byte after the header
 * is asked for, and the peer is an address. The first byte picks the cuts. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/gateway/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static enum gt_proxy_event feed(struct gt_proxy *p, const uint8_t *data, size_t len, size_t step)
{
	enum gt_proxy_event ev = GT_PROXY_MORE;
	size_t at = 0;

	gt_proxy_begin(p);
	while (ev == GT_PROXY_MORE && at < len) {
		size_t wants = gt_proxy_wants(p), n = GT_MIN(GT_MIN(step, wants), len - at);

		must(wants > 0 && p->have + wants <= GT_PROXY_FIXED + GT_PROXY_MAX);
		ev = gt_proxy_feed(p, (const char *)data + at, n);
		at += n;
	}
	must(ev != GT_PROXY_DONE || at == p->size);
	must(ev != GT_PROXY_BAD || p->why);
	return ev;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_proxy whole, cut;
	uint8_t addr[16];

	if (len < 1)
		return 0;
	enum gt_proxy_event ev = feed(&whole, data + 1, len - 1, SIZE_MAX);

	must(feed(&cut, data + 1, len - 1, data[0] % 64 + 1) == ev);
	if (ev != GT_PROXY_DONE)
		return 0;
	must(strcmp(whole.peer, cut.peer) == 0);
	must(!whole.peer[0] || inet_pton(AF_INET, whole.peer, addr) == 1 ||
	     inet_pton(AF_INET6, whole.peer, addr) == 1);
	return 0;
}
