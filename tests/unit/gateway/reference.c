/* reference.c - the second reader, and the comparison of both sides of a gateway. */
#include "reference.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define REQUESTS_MAX 512

static const char *find(const char *data, size_t len, const char *what)
{
	return len ? memmem(data, len, what, strlen(what)) : NULL;
}

static bool token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !memchr("!#$%&'*+-.^_`|~", s[i], 15))
			return false;
	return len > 0;
}

static bool printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return false;
	return true;
}

struct value {
	const char *at;
	size_t len;
};

/* How many headers of that name there are, and the last one's value. */
static unsigned headers(const struct ref_message *m, const char *name, struct value *v)
{
	const char *end = m->head + m->head_len - 2, *line = find(m->head, m->head_len, "\r\n") + 2;
	size_t n = strlen(name);
	unsigned count = 0;

	while (line < end) {
		const char *next = find(line, (size_t)(end + 2 - line), "\r\n") + 2;
		const char *stop = next - 2, *at = line + n + 1;

		if (at <= stop && line[n] == ':' && !strncasecmp(line, name, n)) {
			while (at < stop && (*at == ' ' || *at == '\t'))
				at++;
			while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t'))
				stop--;
			*v = (struct value){ at, (size_t)(stop - at) };
			count++;
		}
		line = next;
	}
	return count;
}

static bool lines_fine(const struct ref_message *m)
{
	const char *line = find(m->head, m->head_len, "\r\n") + 2;
	const char *end = m->head + m->head_len - 2;

	if (!printable(m->head, (size_t)(line - 2 - m->head)))
		return false;
	while (line < end) {
		const char *stop = find(line, (size_t)(end + 2 - line), "\r\n");
		const char *colon = memchr(line, ':', (size_t)(stop - line));

		if (!colon || !token(line, (size_t)(colon - line)) ||
		    !printable(colon, (size_t)(stop - colon)))
			return false;
		line = stop + 2;
	}
	return true;
}

static enum ref_verdict chunks(const char *data, size_t len, struct ref_message *m)
{
	const char *at = data, *end = data + len;

	for (;;) {
		const char *stop = find(at, (size_t)(end - at), "\r\n");
		uint64_t size = 0;
		size_t digits = 0;

		m->len = (size_t)(end - m->head);
		if (!stop)
			return REF_MORE;
		while (at + digits < stop && isxdigit((unsigned char)at[digits])) {
			unsigned char d = (unsigned char)tolower(at[digits++]);

			if (size >> 59)
				return REF_BAD;
			size = size * 16 + (uint64_t)(d <= '9' ? d - '0' : d - 'a' + 10);
		}
		if (!digits || (at + digits < stop && at[digits] != ';') ||
		    !printable(at, (size_t)(stop - at)))
			return REF_BAD;
		at = stop + 2;
		if (!size)
			break;
		size_t have = (size_t)GT_MIN(size, (uint64_t)(end - at));

		gt_buf_add(&m->body, at, have);
		at += have;
		if (have < size || end - at < 2)
			return REF_MORE;
		if (at[0] != '\r' || at[1] != '\n')
			return REF_BAD;
		at += 2;
	}
	for (;;) { /* trailers */
		const char *stop = find(at, (size_t)(end - at), "\r\n");

		m->len = (size_t)(end - m->head);
		if (!stop)
			return REF_MORE;
		bool last = stop == at;

		at = stop + 2;
		m->len = (size_t)(at - m->head);
		if (last)
			return REF_WHOLE;
	}
}

static enum ref_verdict body(const char *data, size_t len, bool none, struct ref_message *m)
{
	struct value length = { 0 }, coding = { 0 }, v;
	unsigned n_length = headers(m, "Content-Length", &length);
	unsigned n_coding = headers(m, "Transfer-Encoding", &coding);
	uint64_t left = 0;

	m->upgrade = headers(m, "Upgrade", &v) != 0;
	m->len = m->head_len;
	if (n_length + n_coding > 1 || (n_length && !length.len))
		return REF_BAD;
	for (size_t i = 0; i < length.len; i++) {
		if (!isdigit((unsigned char)length.at[i]) || left > UINT64_MAX / 20)
			return REF_BAD;
		left = left * 10 + (uint64_t)(length.at[i] - '0');
	}
	if (n_coding && (coding.len != 7 || strncasecmp(coding.at, "chunked", 7) != 0))
		return REF_BAD;
	m->head_done = true;
	m->until_close = m->status && !none && !n_coding && !n_length;
	if (none || (!n_coding && !n_length && !m->status))
		return REF_WHOLE;
	if (n_coding)
		return chunks(data + m->head_len, len - m->head_len, m);
	if (m->until_close)
		left = UINT64_MAX;
	size_t have = (size_t)GT_MIN(left, (uint64_t)(len - m->head_len));

	gt_buf_add(&m->body, data + m->head_len, have);
	m->len = m->head_len + have;
	return have < left ? REF_MORE : REF_WHOLE;
}

static enum ref_verdict head(const char *data, size_t len, struct ref_message *m)
{
	const char *end = find(data, len, "\r\n\r\n");

	*m = (struct ref_message){ .head = data, .len = len };
	gt_buf_init(&m->body, 0);
	if (!end)
		return REF_MORE;
	m->head_len = (size_t)(end + 4 - data);
	return lines_fine(m) ? REF_WHOLE : REF_BAD;
}

enum ref_verdict ref_request(const char *data, size_t len, struct ref_message *m)
{
	enum ref_verdict r = head(data, len, m);

	if (r != REF_WHOLE)
		return r;
	const char *eol = find(data, len, "\r\n"), *sp = memchr(data, ' ', (size_t)(eol - data));

	if (!sp || !token(data, (size_t)(sp - data)))
		return REF_BAD;
	m->method = data;
	m->method_len = (size_t)(sp - data);
	m->target = sp + 1;
	sp = memchr(m->target, ' ', (size_t)(eol - m->target));
	if (!sp || sp == m->target || eol - sp != 9 || strncmp(sp, " HTTP/1.", 8) != 0 ||
	    (sp[8] != '0' && sp[8] != '1'))
		return REF_BAD;
	m->target_len = (size_t)(sp - m->target);
	return body(data, len, false, m);
}

enum ref_verdict ref_response(const char *data, size_t len, bool to_head, struct ref_message *m)
{
	enum ref_verdict r = head(data, len, m);

	if (r != REF_WHOLE)
		return r;
	if (m->head_len < 17 || strncmp(data, "HTTP/1.1 ", 9) != 0 || data[12] != ' ')
		return REF_BAD;
	for (int i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)data[i]))
			return REF_BAD;
		m->status = m->status * 10 + data[i] - '0';
	}
	if (m->status < 100)
		return REF_BAD;
	return body(data, len, to_head || m->status < 200 || m->status == 204 || m->status == 304,
		    m);
}

/* ---- both sides ---- */

static char why[480];

/* What a client sent, as requests. Returns how many; the last one may be incomplete. */
static size_t requests_of(struct script_end *e, struct ref_message *list, bool *last_whole)
{
	const char *at = gt_buf_str(&e->sent);
	size_t len = e->sent.len, n = 0;

	*last_whole = true;
	while (len && n < REQUESTS_MAX) {
		if (len >= 2 && !memcmp(at, "\r\n", 2)) { /* one is allowed before a request */
			at += 2;
			len -= 2;
		}
		enum ref_verdict r = ref_request(at, len, &list[n]);

		if (!list[n].head_done) {
			gt_buf_fini(&list[n].body);
			break;
		}
		n++;
		*last_whole = r == REF_WHOLE;
		if (r != REF_WHOLE)
			break; /* a body that is malformed was passed on up to there */
		at += list[n - 1].len;
		len -= list[n - 1].len;
	}
	return n;
}

static void requests_free(struct ref_message *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gt_buf_fini(&list[i].body);
}

/* Could `seen` be what the gateway made of `sent`? */
static bool same_request(const struct ref_message *seen, bool seen_whole,
			 const struct ref_message *sent, bool sent_whole)
{
	const char *path = seen->target[0] == '/' ? seen->target + 1 : seen->target;
	size_t path_len = seen->target_len - (size_t)(path - seen->target);

	if (seen->method_len != sent->method_len ||
	    memcmp(seen->method, sent->method, seen->method_len) != 0)
		return false;
	if (path_len > sent->target_len ||
	    memcmp(path, sent->target + sent->target_len - path_len, path_len) != 0)
		return false;
	if (seen_whole ? !sent_whole || seen->body.len != sent->body.len
		       : seen->body.len > sent->body.len)
		return false;
	return !seen->body.len || !memcmp(seen->body.data, sent->body.data, seen->body.len);
}

static bool was_sent(struct script *s, const struct ref_message *seen, bool whole)
{
	static struct ref_message list[REQUESTS_MAX];
	bool found = false;
	struct value peer = { 0 };

	if (headers(seen, "X-Forwarded-For", &peer) != 1)
		return false;

	for (size_t i = 0; i < s->n_ends && !found; i++) {
		struct script_end *e = &s->ends[i];
		bool last_whole;

		if (e->role != SCRIPT_CLIENT || peer.len != strlen(e->name) ||
		    memcmp(peer.at, e->name, peer.len) != 0)
			continue;
		size_t n = requests_of(e, list, &last_whole);

		for (size_t k = 0; k < n && !found; k++)
			found = same_request(seen, whole, &list[k], last_whole || k + 1 < n);
		requests_free(list, n);
	}
	return found;
}

static const char *check_replica(struct script *s, struct script_end *e)
{
	const char *at = gt_buf_str(&e->got);
	size_t len = e->got.len;

	while (len) {
		struct ref_message m;
		enum ref_verdict r = ref_request(at, len, &m);
		struct value v;
		bool fine = r != REF_BAD;

		if (fine && m.head_done)
			fine = headers(&m, "Host", &v) == 1 && was_sent(s, &m, r == REF_WHOLE);
		if (!fine)
			snprintf(why, sizeof(why), "a replica saw what no client sent: %.350s", at);
		gt_buf_fini(&m.body);
		if (!fine)
			return why;
		if (r == REF_MORE || m.upgrade)
			return NULL;
		at += m.len;
		len -= m.len;
	}
	return NULL;
}

static const char *bad_answer(const char *what, const char *at)
{
	snprintf(why, sizeof(why), "a client saw %s: %.350s", what, at);
	return why;
}

static const char *check_client(struct script_end *e)
{
	static struct ref_message list[REQUESTS_MAX];
	const char *at = gt_buf_str(&e->got), *bad = NULL;
	size_t len = e->got.len, k = 0;
	bool last_whole, closed = e->closed || e->shut;
	size_t n = requests_of(e, list, &last_whole);

	while (len && !bad) {
		bool to_head = k < n && list[k].method_len == 4 &&
			       !memcmp(list[k].method, "HEAD", 4);
		struct ref_message m;
		enum ref_verdict r = ref_response(at, len, to_head, &m);

		gt_buf_fini(&m.body);
		if (r == REF_BAD)
			bad = bad_answer("what is no HTTP", at);
		else if (m.head_done && m.status >= 200 && k > n)
			bad = bad_answer("more answers than it made requests", at);
		if (bad || r == REF_MORE || m.status == 101)
			break;
		k += m.status >= 200;
		/* A request that was not read to its end, or is none: nothing may follow. */
		if (m.status >= 200 && k > n && len > m.len)
			bad = bad_answer("more after its last answer", at + m.len);
		at += m.len;
		len -= m.len;
	}
	if (!bad && k > n && !closed && !e->full)
		bad = "a connection whose end of requests is unknown was kept";
	requests_free(list, n);
	return bad;
}

static const char *check_slots(struct script *s)
{
	struct gt_fn *fn = gt_routes_function(s->gw, "echo", 4);
	struct gt_target *t;
	uint32_t sum = 0;

	if (!fn)
		return NULL;
	for (t = fn->targets; t; t = t->next) {
		sum += t->in_flight;
		if (t->in_flight > fn->route.concurrency)
			return "a replica has more calls than slots";
	}
	return sum == fn->in_flight ? NULL : "slots were miscounted";
}

const char *ref_check(struct script *s)
{
	const char *bad = check_slots(s);

	for (size_t i = 0; i < s->n_ends && !bad; i++) {
		struct script_end *e = &s->ends[i];

		if (e->role == SCRIPT_CLIENT)
			bad = check_client(e);
		else if (e->role == SCRIPT_UP || e->role == SCRIPT_API)
			bad = check_replica(s, e);
	}
	return bad;
}
