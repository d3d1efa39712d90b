/* ref.c - references of images, by the grammar of the OCI distribution specification. */
#include <gantry/model/ref.h>

#include <stdio.h>
#include <string.h>

#define LOWER   "abcdefghijklmnopqrstuvwxyz"
#define DIGITS  "0123456789"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool gt_digest_ok(const char *digest)
{
	return gt_starts_with(digest, "sha256:") && strlen(digest) == GT_REF_DIGEST_SIZE - 1 &&
	       strspn(digest + 7, DIGITS "abcdef") == 64;
}

static int refused(struct gt_err *err, const char *text, const char *why)
{
	return gt_err_set(err, EINVAL, "invalid_spec",
			  "\"%.100s\" is no image reference: %s; write it like "
			  "registry.example/team/echo:1",
			  text, why);
}

static bool host_ok(const char *host)
{
	size_t len = strcspn(host, ":");

	if (host[0] == '[') {
		const char *end = strchr(host, ']');

		if (!end || strspn(host + 1, DIGITS "abcdefABCDEF:.") != (size_t)(end - host - 1))
			return false;
		len = (size_t)(end - host) + 1;
	} else if (len == 0 || strspn(host, LETTERS DIGITS "-.") != len || host[0] == '-' ||
		   host[0] == '.') {
		return false;
	}
	if (host[len] == '\0')
		return true;
	return host[len] == ':' && strlen(host + len + 1) <= 5 && host[len + 1] &&
	       strspn(host + len + 1, DIGITS) == strlen(host + len + 1);
}

/* Components of a-z and 0-9, joined by '/', each with single '.', '_', "__" or '-'s inside. */
static bool path_ok(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/"), i = 0;

		while (i < len) {
			size_t word = strspn(path + i, LOWER DIGITS), sep;

			if (word == 0)
				return false;
			i += word;
			if (i == len)
				break;
			sep = strspn(path + i, path[i] == '-' ? "-" : path[i] == '_' ? "_" : ".");
			if (sep == 0 || (path[i] == '.' && sep > 1) ||
			    (path[i] == '_' && sep > 2) || i + sep == len)
				return false;
			i += sep;
		}
		if (len == 0)
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

static bool tag_ok(const char *tag)
{
	size_t len = strlen(tag);

	return len > 0 && len < GT_REF_TAG_SIZE && strspn(tag, LETTERS DIGITS "_.-") == len &&
	       tag[0] != '.' && tag[0] != '-';
}

/* Cuts the text at `at` when it is there; what follows, without the mark itself. */
static char *cut(char *at)
{
	if (!at)
		return NULL;
	*at = '\0';
	return at + 1;
}

int gt_ref_parse(const char *text, struct gt_ref *ret, struct gt_err *err)
{
	char copy[GT_REF_TEXT_SIZE], *path, *tag, *digest;
	struct gt_ref ref = { .tag = "" };

	if (!gt_strcopy(copy, sizeof(copy), text))
		return refused(err, text, "it is too long");
	digest = cut(strchr(copy, '@'));
	path = cut(strchr(copy, '/'));
	if (!path || (!strpbrk(copy, ".:") && !gt_streq(copy, "localhost")))
		return refused(err, text, "the registry's host is missing");
	if (!host_ok(copy))
		return refused(err, text, "what is before the first / is no host");
	tag = cut(strchr(path, ':'));
	if (!path_ok(path))
		return refused(err, text,
			       "the name has lower-case letters, digits and single separators");
	if (tag && !tag_ok(tag))
		return refused(err, text, "the tag has up to 128 letters, digits, '_', '.', '-'");
	if (digest && !gt_digest_ok(digest))
		return refused(err, text, "after @ comes sha256: and 64 lower-case hex digits");
	if (!gt_strcopy(ref.host, sizeof(ref.host), copy) ||
	    !gt_strcopy(ref.path, sizeof(ref.path), path))
		return refused(err, text, "host and name have up to 255 characters each");
	gt_strcopy(ref.tag, sizeof(ref.tag), tag ? tag : digest ? "" : "latest");
	gt_strcopy(ref.digest, sizeof(ref.digest), digest ? digest : "");
	*ret = ref;
	return 0;
}

void gt_ref_format(const struct gt_ref *ref, char out[GT_REF_TEXT_SIZE])
{
	snprintf(out, GT_REF_TEXT_SIZE, "%s/%s%s%s%s%s", ref->host, ref->path,
		 ref->tag[0] ? ":" : "", ref->tag, ref->digest[0] ? "@" : "", ref->digest);
}
