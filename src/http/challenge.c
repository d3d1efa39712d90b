/* challenge.c - one walk over the field. A word is the name of a parameter when '=' follows it, the
 * scheme of a new challenge otherwise; that is all there is to telling the commas apart. */
#include <gantry/http/challenge.h>

#include <string.h>
#include <strings.h>

#define WORD_MAX 64

struct walk {
	const char *p;
	struct gt_challenge *now; /* the challenge that stands open; NULL = of another scheme */
};

static bool token_char(char c)
{
	return c &&
	       (strchr("!#$%&'*+-.^_`|~0123456789", c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'));
}

static void skip_blanks(struct walk *w)
{
	w->p += strspn(w->p, " \t");
}

static bool take_word(struct walk *w, char word[WORD_MAX])
{
	size_t len = 0;

	for (; token_char(*w->p); w->p++) {
		if (len + 1 == WORD_MAX)
			return false;
		word[len++] = *w->p;
	}
	word[len] = '\0';
	return len > 0;
}

/* A token or a quoted string; out may be NULL. */
static bool take_value(struct walk *w, char *out)
{
	bool quoted = *w->p == '"';
	size_t len = 0;

	w->p += quoted;
	while (quoted ? *w->p != '"' : token_char(*w->p)) {
		if (quoted && *w->p == '\\')
			w->p++;
		if ((unsigned char)*w->p < ' ' || *w->p == 0x7f || len == GT_CHALLENGE_TEXT_MAX)
			return false;
		if (out)
			out[len] = *w->p;
		len++;
		w->p++;
	}
	w->p += quoted;
	if (out)
		out[len] = '\0';
	return quoted || len > 0;
}

static bool take_param(struct walk *w, const char *name)
{
	char *out = NULL;

	if (w->now && strcasecmp(name, "realm") == 0)
		out = w->now->realm;
	else if (w->now && strcasecmp(name, "service") == 0)
		out = w->now->service;
	else if (w->now && strcasecmp(name, "scope") == 0)
		out = w->now->scope;
	if (out && out[0])
		return false; /* given twice */
	return take_value(w, out);
}

/* The one word that some schemes have instead of parameters ("Negotiate YII=="). */
static bool take_token68(struct walk *w)
{
	const char *start = w->p;

	while (token_char(*w->p) || *w->p == '/')
		w->p++;
	if (w->p == start)
		return false;
	w->p += strspn(w->p, "=");
	const char *end = w->p;

	skip_blanks(w);
	if (!*w->p || *w->p == ',')
		return true;
	w->p = end;
	return false;
}

/* Is the next thing NAME = VALUE (and not NAME==, which is a token68)? */
static bool at_param(const struct walk *w)
{
	const char *p = w->p;

	while (token_char(*p))
		p++;
	if (p == w->p)
		return false;
	p += strspn(p, " \t");
	if (*p != '=')
		return false;
	p += 1 + strspn(p + 1, " \t");
	return *p == '"' || token_char(*p);
}

static bool params(struct walk *w)
{
	char name[WORD_MAX];

	while (at_param(w)) {
		if (!take_word(w, name))
			return false;
		skip_blanks(w);
		w->p++; /* the '=' that at_param saw */
		skip_blanks(w);
		if (!take_param(w, name))
			return false;
		skip_blanks(w);
		if (!*w->p)
			return true;
		if (*w->p != ',')
			return false;
		while (*w->p == ',' || *w->p == ' ' || *w->p == '\t')
			w->p++;
	}
	return true;
}

static bool challenge(struct walk *w, struct gt_challenge found[2], bool seen[2])
{
	char word[WORD_MAX];

	if (!take_word(w, word))
		return false;
	w->now = NULL;
	for (unsigned s = 0; s < 2; s++) {
		const char *name = s == GT_CHALLENGE_BEARER ? "Bearer" : "Basic";

		if (strcasecmp(word, name) == 0 && !seen[s]) {
			seen[s] = true;
			w->now = &found[s];
			w->now->scheme = s;
		}
	}
	if (*w->p && *w->p != ' ' && *w->p != '\t' && *w->p != ',')
		return false;
	skip_blanks(w);
	if (*w->p && *w->p != ',' && !at_param(w) && (w->now || !take_token68(w)))
		return false;
	while (*w->p == ',' || *w->p == ' ' || *w->p == '\t')
		w->p++;
	return params(w);
}

int gt_challenge_parse(const char *value, struct gt_challenge *ret, struct gt_err *err)
{
	struct gt_challenge found[2];
	bool seen[2] = { false, false };
	struct walk w = { value, NULL };

	memset(found, 0, sizeof(found));
	w.p += strspn(w.p, ", \t");
	while (*w.p)
		if (!challenge(&w, found, seen))
			return gt_err_set(err, EPROTO, "unavailable",
					  "WWW-Authenticate is malformed at byte %zu",
					  (size_t)(w.p - value));
	if (!seen[GT_CHALLENGE_BEARER] && !seen[GT_CHALLENGE_BASIC])
		return gt_err_set(err, EPROTO, "unavailable",
				  "WWW-Authenticate asks for neither Bearer nor Basic");
	*ret = found[seen[GT_CHALLENGE_BEARER] ? GT_CHALLENGE_BEARER : GT_CHALLENGE_BASIC];
	return 0;
}
