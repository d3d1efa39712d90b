/* xid.c - the table of Xid errors, and their lines in the kernel's log. */
#include "xid.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_ 512

static const struct {
	uint32_t first, last;
	enum gpu_xid_class class;
	const char *words;
} rows[] = {
#define XID(first, last, class, words) { first, last, GPU_XID_##class, words },
#include "xid.tbl"
#undef XID
};

enum gpu_xid_class gpu_xid_class(uint32_t xid, const char **words)
{
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		if (xid < rows[i].first || xid > rows[i].last)
			continue;
		*words = rows[i].words;
		return rows[i].class;
	}
	*words = "an error that this version does not know";
	return GPU_XID_WARN;
}

enum gt_gpu_health gpu_xid_health(enum gpu_xid_class c)
{
	static const enum gt_gpu_health health[GPU_XID_CLASS_N] = {
		[GPU_XID_RESET] = GT_GPU_RESET, [GPU_XID_LOST] = GT_GPU_LOST
	};

	return health[c];
}

/* "0000:c6:00" or "0000:c6:00.0", and 8 digits for the domain. */
static bool read_pci(const char *at, char ret[GT_GPU_PCI_MAX + 1])
{
	unsigned domain, bus, device;

	if (sscanf(at, "%8x:%2x:%2x", &domain, &bus, &device) != 3 || !isxdigit((unsigned char)*at))
		return false;
	snprintf(ret, GT_GPU_PCI_MAX + 1, "%04x:%02x:%02x.0", domain & 0xffff, bus & 0xff,
		 device & 0xff);
	return true;
}

static bool parse_fallen(const char *text, struct gt_gpu_incident *ret)
{
	const char *at = strstr(text, "GPU ");

	if (!strstr(text, "fallen off the bus"))
		return false;
	ret->xid = 79;
	while (at && !read_pci(at + 4, ret->pci))
		at = strstr(at + 4, "GPU ");
	return at != NULL;
}

bool gpu_xid_parse(const char *line, size_t len, struct gt_gpu_incident *ret, int32_t *pid)
{
	char text[LINE_MAX_];
	const char *at, *end;
	unsigned long code;

	len = GT_MIN(len, sizeof(text) - 1);
	memcpy(text, line, len);
	text[len] = '\0';
	*ret = (struct gt_gpu_incident){ .action = -1 };
	*pid = 0;
	at = strstr(text, "NVRM: ");
	if (!at)
		return false;
	at += 6;
	if (!gt_starts_with(at, "Xid ("))
		return parse_fallen(at, ret);
	at += 5;
	if (gt_starts_with(at, "PCI:"))
		at += 4;
	end = strchr(at, ')');
	if (!read_pci(at, ret->pci) || !end || end[1] != ':')
		return false;
	end += 2;
	code = strtoul(end, (char **)&at, 10);
	if (at == end || code == 0 || code > 100000)
		return false;
	ret->xid = (uint32_t)code;
	at = strstr(at, "pid=");
	if (at) { /* "pid=4711", "pid='4711'", "pid='<unknown>'" */
		code = strtoul(at + 4 + (at[4] == '\''), NULL, 10);
		*pid = code < INT32_MAX ? (int32_t)code : 0;
	}
	return true;
}
