/* fetch_head.c - the head of an answer, and the texts that go into requests. */
#include "fetch_head.h"

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>

void gt_fetch_answer_reset(struct gt_fetch_answer *a)
{
	for (size_t i = 0; i < a->n; i++) {
		free(a->fields[i].name);
		free(a->fields[i].value);
	}
	*a = (struct gt_fetch_answer){ .retry_after_s = -1 };
}

/* "HTTP/1.1 200 ...": curl lets no other form through. */
static enum gt_fetch_line status_line(struct gt_fetch_answer *a, const char *line, size_t len)
{
	const char *blank = memchr(line, ' ', len);
	size_t at = blank ? (size_t)(blank - line) + 1 : len;
	int status = 0;

	gt_fetch_answer_reset(a); /* of a 1xx before this one */
	if (len - at < 3)
		return GT_FETCH_LINE_BAD;
	for (size_t i = at; i < at + 3; i++) {
		if (line[i] < '0' || line[i] > '9')
			return GT_FETCH_LINE_BAD;
		status = status * 10 + (line[i] - '0');
	}
	a->status = status;
	a->bytes = len;
	return GT_FETCH_LINE_OK;
}

static struct gt_fetch_field *field_find(const struct gt_fetch_answer *a, const char *name)
{
	for (size_t i = 0; i < a->n; i++)
		if (strcasecmp(a->fields[i].name, name) == 0)
			return (struct gt_fetch_field *)&a->fields[i];
	return NULL;
}

static enum gt_fetch_line field_line(struct gt_fetch_answer *a, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);

	/* A name with a blank before its colon, or a folded line, reads differently elsewhere. */
	if (!colon || colon == line || memchr(line, ' ', (size_t)(colon - line)) ||
	    memchr(line, '\t', (size_t)(colon - line)))
		return GT_FETCH_LINE_BAD;
	const char *value = colon + 1, *end = line + len;

	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	gt_auto(free) char *name = gt_strndup(line, (size_t)(colon - line));
	struct gt_fetch_field *before = field_find(a, name);

	if (before) {
		char *joined = gt_asprintf("%s, %.*s", before->value, (int)(end - value), value);

		free(before->value);
		before->value = joined;
		return GT_FETCH_LINE_OK;
	}
	if (a->n == GT_FETCH_HEADERS_MAX)
		return GT_FETCH_LINE_BAD;
	a->fields[a->n++] = (struct gt_fetch_field){ gt_steal(&name),
						     gt_strndup(value, (size_t)(end - value)) };
	return GT_FETCH_LINE_OK;
}

enum gt_fetch_line gt_fetch_answer_line(struct gt_fetch_answer *a, const char *line, size_t len)
{
	if (a->complete)
		return GT_FETCH_LINE_OK;
	a->bytes += len;
	if (a->bytes > GT_FETCH_HEAD_BYTES_MAX || memchr(line, '\0', len))
		return GT_FETCH_LINE_BAD;
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
		return status_line(a, line, len);
	if (len > 0)
		return field_line(a, line, len);
	a->complete = a->status >= 200;
	return a->complete ? GT_FETCH_LINE_LAST : GT_FETCH_LINE_OK;
}

int gt_fetch_status(const struct gt_fetch_answer *a)
{
	return a->complete ? a->status : 0;
}

const char *gt_fetch_header(const struct gt_fetch_answer *a, const char *name)
{
	const struct gt_fetch_field *f = field_find(a, name);

	return f ? f->value : NULL;
}

bool gt_fetch_length(const struct gt_fetch_answer *a, uint64_t *ret)
{
	const char *text = gt_fetch_header(a, "content-length");

	return text && !gt_fetch_header(a, "transfer-encoding") &&
	       gt_parse_u64(text, UINT64_MAX, ret) == 0;
}

int64_t gt_fetch_retry_after_s(const struct gt_fetch_answer *a)
{
	return a->retry_after_s;
}

void gt_fetch_escape(struct gt_buf *out, const char *text)
{
	static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-._~";

	for (; *text; text++) {
		if (strchr(safe, *text))
			gt_buf_addc(out, *text);
		else
			gt_buf_addf(out, "%%%02X", (unsigned char)*text);
	}
}

char *gt_fetch_basic(const char *user, const char *password)
{
	gt_auto(free) char *plain = gt_asprintf("%s:%s", user, password);
	size_t len = strlen(plain);
	gt_auto(free) char *text = gt_alloc(4 * ((len + 2) / 3) + 1);

	EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)len);
	return gt_asprintf("Basic %s", text);
}
