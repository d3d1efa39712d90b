/* base/cidr.h - networks as addresses with a prefix length. */
#ifndef GANTRY_BASE_CIDR_H
#define GANTRY_BASE_CIDR_H

#include <gantry/base/err.h>

struct gt_cidr {
	uint8_t addr[16]; /* network byte order; the bits behind the prefix are zero */
	uint8_t len;      /* 4 or 16 bytes */
	uint8_t bits;
};

/* "10.0.0.0/8", "fd00::/8"; an address alone is a network of one. False when it is none, or has
 * bits behind its prefix. */
bool gt_cidr_parse(const char *text, struct gt_cidr *ret);
bool gt_cidr_overlap(const struct gt_cidr *a, const struct gt_cidr *b);
void gt_cidr_text(const struct gt_cidr *c, char *out, size_t size); /* 50 bytes are enough */
/* At most `max` of a list with blanks or commas between. Returns how many, or -EINVAL with a text
 * that begins with `key`. */
int gt_cidr_list(const char *key, const char *text, struct gt_cidr *ret, size_t max,
		 struct gt_err *err);

#endif
