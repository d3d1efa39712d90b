/* http/outbound.c - see outbound.h. The list is IANA's of special-purpose addresses. */
#include <gantry/http/outbound.h>

#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static const char *const inside[] = {
	"0.0.0.0/8",     "10.0.0.0/8",      "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24",    "192.0.2.0/24",   "192.88.99.0/24", "192.168.0.0/16",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4",
	"::/96",         "64:ff9b::/96",    "64:ff9b:1::/48", "100::/64",       "2001::/23",
	"2001:db8::/32", "2002::/16",       "fc00::/7",       "fe80::/10",      "fec0::/10",
	"ff00::/8",
};

/* An IPv4 address in an IPv6 one is judged as what it is. */
static bool address_read(const struct sockaddr *a, struct gt_cidr *ret)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_in6 six;
	struct sockaddr_in four;

	if (a->sa_family == AF_INET) {
		memcpy(&four, a, sizeof(four));
		*ret = (struct gt_cidr){ .len = 4, .bits = 32 };
		memcpy(ret->addr, &four.sin_addr, 4);
		return true;
	}
	if (a->sa_family != AF_INET6)
		return false;
	memcpy(&six, a, sizeof(six));
	if (memcmp(&six.sin6_addr, mapped, sizeof(mapped)) == 0) {
		*ret = (struct gt_cidr){ .len = 4, .bits = 32 };
		memcpy(ret->addr, six.sin6_addr.s6_addr + 12, 4);
		return true;
	}
	*ret = (struct gt_cidr){ .len = 16, .bits = 128 };
	memcpy(ret->addr, &six.sin6_addr, 16);
	return true;
}

bool gt_outbound_permits(const struct gt_outbound *o, const struct sockaddr *address)
{
	struct gt_cidr is, net;

	if (!address_read(address, &is))
		return false;
	for (size_t i = 0; i < o->n_allowed; i++)
		if (gt_cidr_overlap(&o->allowed[i], &is))
			return true;
	for (size_t i = 0; i < GT_LEN(inside); i++)
		if (!gt_cidr_parse(inside[i], &net) || gt_cidr_overlap(&net, &is))
			return false;
	return true;
}

bool gt_outbound_url_ok(const char *url)
{
	size_t scheme = strncasecmp(url, "https://", 8) == 0  ? 8
			: strncasecmp(url, "http://", 7) == 0 ? 7
							      : 0;
	size_t host = scheme ? strcspn(url + scheme, "/?#") : 0;

	if (!host || memchr(url + scheme, '@', host))
		return false;
	for (; *url; url++)
		if (*url <= ' ' || *url >= 0x7f || *url == '\\')
			return false;
	return true;
}
