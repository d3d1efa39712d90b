/* resolv.c - reading a resolv.conf: the host's, so written by whatever manages its network. */
#include "resolv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define FILE_MAX 16384

/* Inside a replica these mean the replica itself, or a link that it is not on. */
static bool usable(const struct gt_cidr *c)
{
	static const uint8_t zero[16] = { 0 }, mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (c->bits != c->len * 8 || memcmp(c->addr, zero, c->len) == 0)
		return false;
	if (c->len == 4)
		return c->addr[0] != 127;
	return !(memcmp(c->addr, zero, 15) == 0 && c->addr[15] == 1) &&
	       memcmp(c->addr, mapped, sizeof(mapped)) != 0 &&
	       !(c->addr[0] == 0xfe && (c->addr[1] & 0xc0) == 0x80);
}

static void add_server(struct gt_resolv *r, const char *word, bool has4, bool has6)
{
	struct gt_cidr c;

	if (r->n_servers == GT_RESOLV_SERVERS_MAX || !gt_cidr_parse(word, &c) || !usable(&c) ||
	    !(c.len == 4 ? has4 : has6))
		return;
	r->servers[r->n_servers++] = c;
}

/* A later line of a kind counts instead of an earlier one for the C library too, or adds to it: the
 * order stays as it was. */
static void add_rest(struct gt_resolv *r, const char *line)
{
	size_t used = strlen(r->rest);

	if (used + strlen(line) + 2 > sizeof(r->rest))
		return;
	snprintf(r->rest + used, sizeof(r->rest) - used, "%s\n", line);
}

static bool printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] != '\t' && (s[i] < 0x20 || s[i] > 0x7e))
			return false;
	return true;
}

static void take_line(struct gt_resolv *r, char *line, bool has4, bool has6)
{
	static const char blanks[] = " \t";
	size_t len = strcspn(line, blanks);
	char *value = line + len + strspn(line + len, blanks);

	if (line[len] == '\0' || *value == '\0')
		return;
	if (strncmp(line, "nameserver", len) == 0 && len == strlen("nameserver")) {
		value[strcspn(value, blanks)] = '\0';
		add_server(r, value, has4, has6);
	} else if ((strncmp(line, "search", len) == 0 && len == strlen("search")) ||
		   (strncmp(line, "domain", len) == 0 && len == strlen("domain")) ||
		   (strncmp(line, "options", len) == 0 && len == strlen("options"))) {
		add_rest(r, line);
	}
}

void gt_resolv_parse(const char *text, size_t len, bool has4, bool has6, struct gt_resolv *ret)
{
	struct gt_resolv r = { .n_servers = 0 };
	const char *end = text + len;
	char line[512];

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);

		if (n < sizeof(line) && printable(text, n)) {
			memcpy(line, text, n);
			line[n] = '\0';
			take_line(&r, line, has4, has6);
		}
		text += n + 1;
	}
	*ret = r;
}

static size_t read_file(const char *path, char *buf, size_t size)
{
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size);

	return n < 0 ? 0 : (size_t)n;
}

void gt_resolv_find(const char *const *paths, size_t n, bool has4, bool has6, struct gt_resolv *ret)
{
	struct gt_resolv r = { .n_servers = 0 };
	char text[FILE_MAX];

	for (size_t i = 0; i < n && r.n_servers == 0; i++)
		gt_resolv_parse(text, read_file(paths[i], text, sizeof(text)), has4, has6, &r);
	*ret = r;
}

void gt_resolv_write(const struct gt_resolv *r, char out[GT_NET_RESOLV_SIZE])
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < r->n_servers; i++) {
		char text[50];

		gt_cidr_text(&r->servers[i], text, sizeof(text));
		len += (size_t)snprintf(out + len, GT_NET_RESOLV_SIZE - len, "nameserver %s\n",
					text);
	}
	snprintf(out + len, GT_NET_RESOLV_SIZE - len, "%s", r->rest);
}

void gt_net_resolv_host(char out[GT_NET_RESOLV_SIZE])
{
	size_t n = read_file("/etc/resolv.conf", out, GT_NET_RESOLV_SIZE - 1);

	while (n == GT_NET_RESOLV_SIZE - 1 && out[n - 1] != '\n')
		out[--n - 1] = '\n'; /* no half line */
	out[n] = '\0';
}
