/* ref.c - image references by the grammar of the distribution specification, less its short
 * names: one walk from the left, each part with its own check. */
#include <gantry/model/ref.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>

#define SHA256_PREFIX "sha256:"
#define HEX_LEN       64
#define QUOTE_MAX     120 /* bytes of the text that a refusal repeats */

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool lower_alnum(char c)
{
	return digit(c) || (c >= 'a' && c <= 'z');
}

static bool alnum(char c)
{
	return lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool hex_lower(char c)
{
	return digit(c) || (c >= 'a' && c <= 'f');
}

bool gt_digest_ok(const char *digest)
{
	if (!digest || !gt_starts_with(digest, SHA256_PREFIX))
		return false;
	const char *hex = gt_digest_hex(digest);

	if (strnlen(hex, HEX_LEN + 1) != HEX_LEN)
		return false;
	for (size_t i = 0; i < HEX_LEN; i++)
		if (!hex_lower(hex[i]))
			return false;
	return true;
}

const char *gt_digest_hex(const char *digest)
{
	return digest + strlen(SHA256_PREFIX);
}

bool gt_host_is_hub(const char *host)
{
	static const char *const names[] = { GT_HUB_HOST, ("index." GT_HUB_HOST), GT_HUB_API };

	for (size_t i = 0; i < GT_LEN(names); i++) {
		if (strcasecmp(host, names[i]) == 0)
			return true;
	}
	return false;
}

/* Labels of letters, digits and inner dashes, joined by single dots. */
static bool name_ok(const char *s, size_t len)
{
	char before = '.';

	for (size_t i = 0; i < len; i++) {
		if (!alnum(s[i]) && s[i] != '-' && s[i] != '.')
			return false;
		if (!alnum(s[i]) && (before == '.' || (before == '-' && s[i] == '.')))
			return false;
		before = s[i];
	}
	return alnum(before);
}

static bool v6_ok(const char *s, size_t len)
{
	size_t colons = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == ':')
			colons++;
		else if (!digit(s[i]) && !((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'f'))
			return false;
	}
	return colons >= 2;
}

static bool port_ok(const char *s)
{
	uint64_t port;

	return strlen(s) <= 5 && gt_parse_u64(s, UINT16_MAX, &port) == 0 && port > 0;
}

static bool host_ok(const char *host)
{
	if (host[0] == '[') {
		const char *end = strchr(host, ']');

		return end && v6_ok(host + 1, (size_t)(end - host) - 1) &&
		       (!end[1] || (end[1] == ':' && port_ok(end + 2)));
	}
	size_t len = strcspn(host, ":");

	return name_ok(host, len) && (!host[len] || port_ok(host + len + 1));
}

/* What tells a host from the first word of a path. */
static bool looks_like_host(const char *s, size_t len)
{
	return memchr(s, '.', len) || memchr(s, ':', len) || s[0] == '[' ||
	       (len == strlen("localhost") && strncasecmp(s, "localhost", len) == 0);
}

/* Words of lower-case letters and digits, joined by one of '.' '_' '__' or any number of '-'. */
static bool component_ok(const char *s, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t word = i;

		while (i < len && lower_alnum(s[i]))
			i++;
		if (i == word)
			return false;
		if (i == len)
			return true;
		size_t sep = i;

		while (i < len && s[i] == s[sep] && (s[i] == '.' || s[i] == '_' || s[i] == '-'))
			i++;
		if (i == sep || (s[sep] == '.' && i - sep > 1) || (s[sep] == '_' && i - sep > 2))
			return false;
	}
}

static bool path_ok(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!component_ok(path, len))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

static bool tag_ok(const char *tag)
{
	if (!alnum(tag[0]) && tag[0] != '_')
		return false;
	for (const char *p = tag; *p; p++)
		if (!alnum(*p) && *p != '_' && *p != '.' && *p != '-')
			return false;
	return true;
}

/* The text is repeated without anything that a terminal would act on. */
static int refuse(struct gt_err *err, const char *text, const char *why)
{
	char quote[QUOTE_MAX + 1];
	bool whole = gt_strcopy(quote, sizeof(quote), text);

	for (char *p = quote; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return gt_err_set(err, EINVAL, "invalid_spec", "image \"%s%s\": %s", quote,
			  whole ? "" : "...", why);
}

/* Cuts [s, s + len) out into dst. */
static bool take(char *dst, size_t size, const char *s, size_t len)
{
	if (len >= size)
		return false;
	memcpy(dst, s, len);
	dst[len] = '\0';
	return true;
}

static const char *take_host(const char *text, struct gt_ref *ref)
{
	const char *slash = strchr(text, '/');

	if (!slash || slash == text || !looks_like_host(text, (size_t)(slash - text)))
		return "write the registry's host: registry.example/team/echo:1";
	if (!take(ref->host, sizeof(ref->host), text, (size_t)(slash - text)) ||
	    !host_ok(ref->host))
		return "the host is not valid; write HOST or HOST:PORT, as in "
		       "registry.example:5000/team/echo:1";
	/* Names of hosts mean the same in either case; one spelling keeps one credential. */
	for (char *p = ref->host; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p |= 0x20;
	return NULL;
}

static const char *take_rest(const char *rest, struct gt_ref *ref)
{
	size_t len = strcspn(rest, ":@");

	if (!take(ref->path, sizeof(ref->path), rest, len))
		return "the path is longer than 255 bytes";
	if (!path_ok(ref->path))
		return "the path is not valid; it has lower-case words, as in "
		       "registry.example/team/echo:1";
	rest += len;
	if (*rest == ':') {
		len = strcspn(++rest, "@");
		if (!take(ref->tag, sizeof(ref->tag), rest, len) || !tag_ok(ref->tag))
			return "the tag is not valid; it has up to 128 letters, digits, '_', '.' "
			       "and '-', as in registry.example/team/echo:1.2";
		rest += len;
	}
	if (*rest == '@') {
		if (!gt_digest_ok(++rest))
			return "the digest is not valid; write @sha256: and 64 lower-case hex "
			       "digits";
		gt_strcopy(ref->digest, sizeof(ref->digest), rest);
	}
	return NULL;
}

int gt_ref_parse(const char *text, struct gt_ref *ret, struct gt_err *err)
{
	struct gt_ref ref = { 0 };
	const char *why = take_host(text, &ref);

	if (!why)
		why = take_rest(strchr(text, '/') + 1, &ref);
	if (why)
		return refuse(err, text, why);
	if (!ref.tag[0] && !ref.digest[0])
		gt_strcopy(ref.tag, sizeof(ref.tag), "latest");
	*ret = ref;
	return 0;
}

void gt_ref_format(const struct gt_ref *ref, char out[GT_REF_TEXT_SIZE])
{
	snprintf(out, GT_REF_TEXT_SIZE, "%s/%s%s%s%s%s", ref->host, ref->path,
		 ref->tag[0] ? ":" : "", ref->tag, ref->digest[0] ? "@" : "", ref->digest);
}
