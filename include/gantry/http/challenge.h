/* http/challenge.h - WWW-Authenticate: how a server wants to be asked again (RFC 9110, 11.6.1).
 * Pure; strict: what two readers could take differently is refused. */
#ifndef GANTRY_HTTP_CHALLENGE_H
#define GANTRY_HTTP_CHALLENGE_H

#include <gantry/base/err.h>

#define GT_CHALLENGE_TEXT_MAX 2048 /* bytes of one parameter */

enum gt_challenge_scheme { GT_CHALLENGE_BASIC, GT_CHALLENGE_BEARER };

struct gt_challenge {
	enum gt_challenge_scheme scheme;
	/* "" when not given. */
	char realm[GT_CHALLENGE_TEXT_MAX + 1];
	char service[GT_CHALLENGE_TEXT_MAX + 1];
	char scope[GT_CHALLENGE_TEXT_MAX + 1];
};

/* The first Bearer challenge of the field's value, else the first Basic one. -EPROTO when there is
 * neither or the value is malformed; slug "unavailable". */
GT_MUST_USE int gt_challenge_parse(const char *value, struct gt_challenge *ret, struct gt_err *err);

#endif
