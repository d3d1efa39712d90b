/* fuzz_resolv.c - a resolv.conf that something on the host wrote. What comes out is short,
 * printable, ends its lines, and reads as itself: a replica's C library gets it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/resolv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool has_line(const char *text, const char *begin)
{
	for (const char *at = text; (at = strstr(at, begin)); at++)
		if (at == text || at[-1] == '\n')
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char once[GT_NET_RESOLV_SIZE], twice[GT_NET_RESOLV_SIZE];
	struct gt_resolv r;
	size_t n;

	gt_resolv_parse((const char *)data, len, true, true, &r);
	must(r.n_servers <= GT_RESOLV_SERVERS_MAX);
	gt_resolv_write(&r, once);
	n = strlen(once);
	must(n < sizeof(once) && (n == 0 || once[n - 1] == '\n'));
	for (size_t i = 0; i < n; i++)
		must((once[i] >= 0x20 && once[i] <= 0x7e) || once[i] == '\n' || once[i] == '\t');
	must(!has_line(once, "nameserver 127.") && !has_line(once, "nameserver ::1\n"));
	gt_resolv_parse(once, n, true, true, &r);
	gt_resolv_write(&r, twice);
	must(strcmp(once, twice) == 0);
	return 0;
}
